"""What a model is fed: pictures, prepared exactly as its training batches were, or arrays as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from nktc import data
from nktc.errors import NktcError
from nktc.inference.crops import ten_crops
from nktc.ir import DType, Preprocessing, Shape, Value, times

Rows = Mapping[str, np.ndarray]
"""Arrays [k ...] by input: one row, or one for each crop of a picture."""

CODES = {
    ("BGR", "RGB"): cv2.COLOR_BGR2RGB,
    ("BGR", "GRAY"): cv2.COLOR_BGR2GRAY,
    ("RGB", "BGR"): cv2.COLOR_RGB2BGR,
    ("RGB", "GRAY"): cv2.COLOR_RGB2GRAY,
    ("GRAY", "BGR"): cv2.COLOR_GRAY2BGR,
    ("GRAY", "RGB"): cv2.COLOR_GRAY2RGB,
}


@dataclass(frozen=True)
class Job:
    """One thing to be inferred: what it is called, and how its rows are had, which may raise NktcError and may be done
    on any thread. Of a `whole` one the arrays are all that the model takes at once."""

    name: str
    load: Callable[[], Rows]
    whole: bool = False


@dataclass(frozen=True, eq=False)
class Intake:
    """The inputs of a model and what a picture goes through; with `oversample` it becomes ten crops."""

    inputs: tuple[Value, ...]
    preprocessing: Mapping[str, Preprocessing]
    oversample: bool = False

    @property
    def pictures(self) -> Preprocessing | None:
        """What pictures go through, None for a model that takes none."""
        return self.preprocessing.get(self.inputs[0].name) if len(self.inputs) == 1 else None

    def file(self, image: bytes, name: str) -> Rows:
        """The rows of an image file. Raises NktcError."""
        p = self._picture(name)
        planes = data.decode(image, self._order(p))
        if planes is None:
            raise NktcError(f"{name} is not an image that can be decoded")
        return self._rows(planes, p)

    def pixels(self, picture: np.ndarray, order: str, name: str) -> Rows:
        """The rows of u8 [h w], or [h w 3] with colours in `order`. Raises NktcError."""
        p = self._picture(name)
        gray = picture.ndim == 2 or picture.shape[2] == 1
        flat = picture.reshape(picture.shape[:2]) if gray else picture
        have, want = "GRAY" if gray else order, self._order(p)
        brought = flat if have == want else cv2.cvtColor(np.ascontiguousarray(flat), CODES[have, want])
        return self._rows(brought[None] if brought.ndim == 2 else brought.transpose(2, 0, 1), p)

    def record(self, value: bytes | memoryview, name: str) -> Rows:
        """The rows of a Datum, what it holds treated as a Data layer does. Raises NktcError."""
        p = self.pictures
        try:
            values = data.parse_datum(value, self._order(p) if p else "BGR").values
        except data.BadDatum as error:
            raise NktcError(f"{name}: {error}") from None
        if p is None:
            return self.row(values, name)
        wanted = 1 if self._order(p) == "GRAY" else 3
        if len(values) != wanted:
            raise NktcError(f"{name} is {times(values.shape)}, the model takes {wanted} planes")
        return self._rows(values, p)

    def row(self, values: np.ndarray, name: str) -> Rows:
        """The one row of numbers in any shape, for the only input. Raises NktcError."""
        value = self.only(name)
        shape = value.shape[1:]
        if all(shape) and values.size == np.prod(shape, dtype=int):
            values = values.reshape(shape)
        if not fits(values.shape, shape):
            raise NktcError(f"{name} is {times(values.shape)}, the model takes {open_times(shape)}")
        return {value.name: values[None].astype(value.dtype.numpy)}

    def only(self, name: str) -> Value:
        """The one input of the model. Raises NktcError where it has several."""
        if len(self.inputs) != 1:
            takes = ", ".join(f"{v.name} {open_times(v.shape)}" for v in self.inputs) or "nothing"
            help = "give an .npz file that has an array for each"
            raise NktcError(f"{name} is one thing, and the model takes {takes}", help=help)
        return self.inputs[0]

    def _picture(self, name: str) -> Preprocessing:
        """What a picture goes through. Raises NktcError where the model takes none."""
        value, p = self.only(name), self.pictures
        if p is None and len(value.shape) == 4 and value.shape[1] in (1, 3) and not all(value.shape[2:]):
            raise NktcError(
                f"the model leaves the size of its pictures open: {value.name} {open_times(value.shape[1:])}",
                help="export it with a fixed height and width",
            )
        if p is None:
            raise NktcError(
                f"{name} is taken for a picture, and the model takes {value.dtype.value} {open_times(value.shape)}",
                help="give arrays, as .npy or .npz files",
            )
        return p

    def _order(self, p: Preprocessing) -> str:
        return _inside(self.inputs[0], p) or p.order

    def _rows(self, planes: np.ndarray, p: Preprocessing) -> Rows:
        """u8 or f32 [c h w], planes in the right order, as the model takes them."""
        value = self.inputs[0]
        if _inside(value, p):
            if self.oversample:
                raise NktcError(
                    "a model that prepares its pictures itself takes no crops", help="leave --oversample out"
                )
            pixels = data.resize(planes, p.size, p.resize_mode, p.fill)
            return {value.name: np.ascontiguousarray(pixels.transpose(1, 2, 0))[None]}
        if self.oversample:
            rows = ten_crops(planes, p)
        else:
            rows = data.prepared(data.resize(planes, p.size, p.resize_mode, p.fill)[None], p).numpy()
        return {value.name: rows.astype(value.dtype.numpy, copy=False)}


def _inside(value: Value, p: Preprocessing) -> str:
    """The order of colours where the model prepares pictures itself, u8 [n h w c]; else ""."""
    if value.dtype is DType.U8 and len(value.shape) == 4 and value.shape[3] in (1, 3):
        return "RGB" if value.shape[3] == 3 else "GRAY"
    return ""


def fits(shape: Shape, wanted: Shape) -> bool:
    """Whether a shape is the one wanted, in which 0 is any size."""
    return len(shape) == len(wanted) and all(b in (0, a) for a, b in zip(shape, wanted, strict=True))


def open_times(shape: Shape) -> str:
    """nx3x224x224: a shape in which 0 is any size."""
    return "x".join(str(dim or "n") for dim in shape) or times(shape)
