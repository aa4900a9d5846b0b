"""The preprocessing of Input layers, and layers that nothing feeds."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from nktc import models, reader
from nktc.data import Opening, Places, describe, open_stream, preprocessing, write_mean
from nktc.errors import LayerError
from nktc.ir import Phase, Preprocessing, Transform
from nktc.layers import ImageData, Input

PLACES = Places((), Path("nowhere"), download=False)


def of(shape: tuple[int, ...], folder: Path = Path(), **transform: object) -> Preprocessing | None:
    return preprocessing(Input((shape,), Transform(**transform)), PLACES, folder)  # type: ignore[arg-type]


def test_a_plain_input_tells_nothing() -> None:
    assert preprocessing(Input(((1, 3, 4, 4),)), PLACES, Path()) is None


def test_shape_and_transform_tell_how_a_picture_gets_there() -> None:
    found = of((10, 3, 24, 20), scale=0.5, mean_values=(1.0, 2.0, 3.0), order="RGB")
    assert found is not None
    assert (found.size, found.order, found.scale, found.crop) == ((24, 20), "RGB", 0.5, 0)
    assert found.mean is not None
    assert found.mean.ravel().tolist() == [1, 2, 3]
    gray = of((1, 1, 8, 8))
    assert gray is not None
    assert (gray.order, gray.mean) == ("GRAY", None)


def test_a_mean_image_larger_than_the_crop_gives_the_size(tmp_path: Path) -> None:
    write_mean(tmp_path / "m", np.ones((3, 12, 10), np.float32))
    found = of((1, 3, 8, 8), tmp_path, crop=8, mean_file="m")
    assert found is not None
    assert (found.size, found.crop) == ((12, 10), 8)
    with pytest.raises(LayerError) as refused:
        of((1, 3, 8, 8), tmp_path, mean_file="m")
    assert (refused.value.message, refused.value.field) == ("mean image is 3x12x10, its images are 3x8x8", "mean_file")


def test_a_mean_image_of_the_size_of_the_shape_is_taken_off_the_crop(tmp_path: Path) -> None:
    # What a net trained with a random resized crop has.
    write_mean(tmp_path / "m", np.ones((3, 8, 8), np.float32))
    found = of((1, 3, 8, 8), tmp_path, crop=8, resize=(12, 10), mean_file="m")
    assert found is not None
    assert (found.size, found.crop) == ((12, 10), 8)
    assert found.mean is not None
    assert found.mean.shape == (3, 8, 8)


def test_deviation_and_resize_mode_are_told() -> None:
    found = of((1, 3, 8, 8), std_values=(2.0,), resize_mode="FILL", fill=9)
    assert found is not None
    assert (found.resize_mode, found.fill) == ("FILL", 9)
    assert found.std is not None
    assert found.std.ravel().tolist() == [2, 2, 2]
    with pytest.raises(LayerError) as refused:
        of((1, 3, 8, 8), std_values=(1.0, 2.0))
    assert (refused.value.message, refused.value.field) == ("has 2 std values for 3 channels", "std_value")


def test_shapes_that_are_no_pictures_are_refused() -> None:
    with pytest.raises(LayerError, match="a picture's shape is batch, 1 or 3 channels, height and width"):
        of((1, 4, 8, 8))
    with pytest.raises(LayerError, match="crop_size 9 is not its 8x8 shape"):
        of((1, 3, 8, 8), crop=9)


def test_an_input_is_fed_by_nobody() -> None:
    with pytest.raises(LayerError, match="its data comes from whoever runs the net, not from a source"):
        describe(Input(((1,),)), Path())
    with pytest.raises(LayerError):
        open_stream(Input(((1,),)), Opening(PLACES, Path()))


def test_image_data_tells_what_its_files_go_through(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((9, 8, 3), np.uint8))
    (tmp_path / "l.txt").write_text("a.png 0\n")
    found = preprocessing(ImageData("l.txt", resize=(20, 30), transform=Transform(scale=2, crop=16)), PLACES, tmp_path)
    assert found is not None
    assert (found.size, found.order, found.mean, found.scale, found.crop) == ((20, 30), "BGR", None, 2, 16)


@pytest.mark.parametrize(
    "case", ["data_hdf5", "data_imagedata", "data_imagedata_gray", "data_imagedata_jpg", "data_memory"]
)
def test_the_shapes_are_those_that_caffe_fed(shared: Path, case: str) -> None:
    net = reader.read_net(shared / "goldens" / case / "net.prototxt")
    graph = reader.build(net, Phase.TEST, feeds=models.feeds(net))
    with np.load(shared / "goldens" / case / "golden.npz") as golden:
        fed = {v.name: golden[f"step0/{v.name}"].shape for v in graph.inputs}
    if case == "data_memory":
        fed["label"] = fed["label"][:1]  # Caffe builds the net with one axis, and feeds four
    assert {v.name: v.shape for v in graph.inputs} == fed
