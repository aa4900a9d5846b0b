"""The shapes of data layers whose batches nothing reads yet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nktc import models, reader
from nktc.data import Places, describe, open_stream, supposed
from nktc.errors import LayerError
from nktc.ir import Phase
from nktc.layers import Data, HDF5Data, ImageData, MemoryData, WindowData


@pytest.mark.parametrize(
    "case", ["data_hdf5", "data_imagedata", "data_imagedata_gray", "data_imagedata_jpg", "data_memory"]
)
def test_the_shapes_are_those_that_caffe_fed(shared: Path, case: str) -> None:
    net = reader.read_net(shared / "goldens" / case / "net.prototxt")
    graph = reader.build(net, Phase.TEST, feeds=models.feeds(net))
    with np.load(shared / "goldens" / case / "golden.npz") as golden:
        assert {v.name: v.shape for v in graph.inputs} == {
            v.name: golden[f"step0/{v.name}"].shape for v in graph.inputs
        }


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (WindowData("w.txt", 1), "its batches are not read by this version of nktc"),
        (MemoryData((), 1), "its data comes from whoever runs the net, not from a source"),
    ],
)
def test_their_batches_are_refused(tmp_path: Path, layer: WindowData | MemoryData, said: str) -> None:
    with pytest.raises(LayerError, match=said):
        open_stream(layer, places=Places((), tmp_path), folder=tmp_path, seed=0)


@pytest.mark.parametrize("name", ["n" * 300, "a\0b"])
def test_a_name_that_no_system_takes_is_refused(tmp_path: Path, name: str) -> None:
    for layer in (Data(name, 1), ImageData(name), HDF5Data(name, 1, ("data",))):
        with pytest.raises(LayerError):
            describe(layer, tmp_path)
        with pytest.raises(LayerError, match="is not there"):
            supposed(layer, tmp_path, ("data",), {})
    (tmp_path / "l.txt").write_text(f"{name}\n")
    for layer in (ImageData("l.txt"), HDF5Data("l.txt", 1, ("data",))):
        with pytest.raises(LayerError):
            describe(layer, tmp_path)
