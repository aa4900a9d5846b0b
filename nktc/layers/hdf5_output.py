"""HDF5Output: keeps what comes by."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

import h5py
import torch
from torch import Tensor

from nktc.errors import LayerError, NktcError
from nktc.ir import Layer, Phase, Shape, Weight, times
from nktc.schema import HDF5OutputParameter

AXES = 4  # Caffe writes every blob as num, channels, height, width


class HDF5Output(Layer, param="hdf5_output_param", tops=0):
    """Writes its two bottoms to an HDF5 file, as the datasets data and label, each batch below the last.

    The file, under the working directory unless its name says otherwise, is made anew at the first forward. Datasets
    have four axes, as Caffe writes them: missing ones are added behind, of length 1.
    """

    file_name: str

    @classmethod
    def read(cls, p: HDF5OutputParameter, phase: Phase) -> Self:
        if not p.file_name:
            help = 'add hdf5_output_param { file_name: "out.h5" }'
            raise LayerError("has no file_name", field="hdf5_output_param", help=help)
        return cls(p.file_name)

    def shape(self, data: Shape, label: Shape) -> list[Shape]:
        if not data or data[:1] != label[:1]:
            raise LayerError(f"its inputs {times(data)} and {times(label)} differ in axis 0, the rows", field="bottom")
        longest = max(data, label, key=len)
        if len(longest) > AXES:
            problem = f"its input {times(longest)} has {len(longest)} axes, the file takes up to {AXES}"
            raise LayerError(problem, field="bottom", help="a Reshape or Flatten before it brings it there")
        return []

    def weights(self, data: Shape, label: Shape) -> dict[str, Weight]:
        return {"rows": Weight((1,), learns=False, kept=False)}

    def forward(self, data: Tensor, label: Tensor, rows: Tensor) -> tuple[()]:
        """data[n ..] label[n ..] rows[1] -> nothing; `rows` counts what is written"""
        _append(data.detach(), label.detach(), rows, self.file_name)
        return ()


# An operator of its own, so that torch.compile takes the forward in one piece.
@torch.library.custom_op("nktc::append_rows", mutates_args={"rows"})
def _append(data: Tensor, label: Tensor, rows: Tensor, file_name: str) -> None:
    path = Path(file_name).expanduser()
    try:
        with h5py.File(path, "a" if rows.any() else "w") as file:
            for name, values in (("data", data), ("label", label)):
                padded = values.reshape(*values.shape, *[1] * (AXES - values.dim()))
                array = padded.to("cpu", torch.float32).numpy()
                if name not in file:
                    file.create_dataset(name, data=array, maxshape=(None, *array.shape[1:]))
                    continue
                held = file[name]
                held.resize(len(held) + len(array), axis=0)
                held[-len(array) :] = array
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        # HDF5 puts pages of its own into the message.
        errno = getattr(error, "errno", None)
        reason = os.strerror(errno) if errno else str(error).splitlines()[0]
        raise NktcError(f"HDF5Output cannot write {path}: {reason}") from None
    rows += len(data)
