"""The shapes of data layers whose batches nothing reads yet."""

from __future__ import annotations

from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from nktc import models, reader
from nktc.data import Places, describe, open_stream, supposed
from nktc.errors import LayerError
from nktc.ir import Feed, Phase, Transform
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


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with two lists and what they name first."""
    (tmp_path / "h.txt").write_text("\none.h5\ntwo.h5\n")
    with h5py.File(tmp_path / "one.h5", "w") as file:
        file["data"], file["more"] = np.zeros((5, 3, 2)), np.zeros((5, 7), np.int32)
        file["short"], file["number"] = np.zeros((4, 2)), 1.0
        file.create_group("group")
    (tmp_path / "i.txt").write_text("a b.png 3\nc.png 1\n")
    cv2.imwrite(str(tmp_path / "a b.png"), np.zeros((8, 6, 3), np.uint8))
    return tmp_path


def test_hdf5_data_has_the_rows_of_the_first_file(files: Path) -> None:
    assert describe(HDF5Data("h.txt", 10, ("more", "data")), files) == Feed(((10, 7), (10, 3, 2)))


def test_image_data_has_the_size_it_resizes_and_crops_to_or_that_of_the_first_image(files: Path) -> None:
    def image(**settings: object) -> tuple[int, ...]:
        found = describe(ImageData("i.txt", 4, **settings), files)  # type: ignore[arg-type]
        assert (found.shapes[1], found.records) == ((4,), 2)
        return found.shapes[0]

    assert image() == (4, 3, 8, 6)
    assert image(color=False) == (4, 1, 8, 6)
    assert image(resize=(20, 30)) == (4, 3, 20, 30)
    assert image(resize=(20, 30), transform=Transform(crop=16)) == (4, 3, 16, 16)
    assert image(transform=Transform(crop=5)) == (4, 3, 5, 5)


def test_the_root_folder_is_put_before_a_path_as_it_is(files: Path) -> None:
    (files / "pre_x.png").write_bytes((files / "a b.png").read_bytes())
    (files / "p.txt").write_text("x.png 0\n")
    assert describe(ImageData("p.txt", root_folder="pre_"), files).shapes[0] == (1, 3, 8, 6)


@pytest.mark.parametrize(
    ("layer", "said", "help"),
    [
        (HDF5Data("no.txt", 1, ("data",)), "source {}/no.txt does not exist", ""),
        (HDF5Data("empty.txt", 1, ("data",)), "source {}/empty.txt lists nothing", ""),
        (HDF5Data("h.txt", 1, ("date",)), '{}/one.h5 has no dataset "date"', 'did you mean "data"?'),
        (
            HDF5Data("h.txt", 1, ("group",)),
            '{}/one.h5 has no dataset "group"',
            "it has data, more, number, short",
        ),
        (HDF5Data("h.txt", 1, ("number",)), 'dataset "number" of {}/one.h5 is a single number, not rows', ""),
        (HDF5Data("h.txt", 1, ("data", "short")), 'dataset "short" of {}/one.h5 has 4 rows, "data" has 5', ""),
        (HDF5Data("gone.txt", 1, ("data",)), "cannot read {}/gone.h5, which source lists: it does not exist", ""),
        (HDF5Data("i.txt", 1, ("data",)), "cannot read {}/a b.png 3, which source lists: it does not exist", ""),
        (HDF5Data("text.txt", 1, ("data",)), "cannot read {}/text.txt, which source lists: it is no HDF5 file", ""),
        (ImageData("no.txt"), "source {}/no.txt does not exist", ""),
        (ImageData("gone.txt"), "image {}/gone.h5 does not exist, which source lists first", ""),
        (ImageData("text.txt"), "{}/text.txt, which source lists first, is no 8-bit picture", ""),
    ],
)
def test_what_cannot_be_read_is_refused(files: Path, layer: HDF5Data | ImageData, said: str, help: str) -> None:
    (files / "empty.txt").write_text("\n")
    (files / "gone.txt").write_text("gone.h5\n")
    (files / "text.txt").write_text("text.txt\n")
    with pytest.raises(LayerError) as refusal:
        describe(layer, files)
    assert (refusal.value.message, refusal.value.help) == (said.format(files), help)
    assert refusal.value.field in ("source", "top")


def test_a_crop_larger_than_its_images_is_refused(files: Path) -> None:
    with pytest.raises(LayerError, match="crop 9x9 is larger than its image 8x20"):
        describe(ImageData("i.txt", resize=(8, 20), transform=Transform(crop=9)), files)


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (HDF5Data("h.txt", 1, ("data",)), "its batches are not read by this version of nktc"),
        (ImageData("i.txt"), "its batches are not read by this version of nktc"),
        (WindowData("w.txt", 1), "its batches are not read by this version of nktc"),
        (MemoryData((), 1), "its data comes from whoever runs the net, not from a source"),
    ],
)
def test_their_batches_are_refused(files: Path, layer: HDF5Data, said: str) -> None:
    with pytest.raises(LayerError, match=said):
        open_stream(layer, places=Places((), files), folder=files, seed=0)


@pytest.mark.parametrize("name", ["n" * 300, "a\0b"])
def test_a_name_that_no_system_takes_is_refused(files: Path, name: str) -> None:
    for layer in (Data(name, 1), ImageData(name), HDF5Data(name, 1, ("data",))):
        with pytest.raises(LayerError):
            describe(layer, files)
        with pytest.raises(LayerError, match="is not there"):
            supposed(layer, files, ("data",), {})
    (files / "l.txt").write_text(f"{name}\n")
    for layer in (ImageData("l.txt"), HDF5Data("l.txt", 1, ("data",))):
        with pytest.raises(LayerError):
            describe(layer, files)
