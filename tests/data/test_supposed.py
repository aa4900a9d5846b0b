"""Shapes of data that is not there: from the settings, or as they are said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from nktc.data import describe, supposed
from nktc.errors import LayerError
from nktc.ir import Layer, Phase, Shape, Transform
from nktc.layers import AnnotatedData, Data, Dataset, HDF5Data, ImageData, Input, MemoryData, TableData

TWO = ("data", "label")
CROP = Transform(crop=9)


def shapes(layer: Layer, tops: tuple[str, ...] = TWO, folder: Path = Path("nowhere"), **said: Shape) -> object:
    found = supposed(layer, folder, tops, said)
    return found and found.shapes


@pytest.mark.parametrize(
    ("layer", "image"),
    [
        (Data("db", 4, transform=CROP), (3, 9, 9)),
        (Data("db", 4, transform=Transform(crop=9, force_gray=True)), (1, 9, 9)),
        (Data("db", 4, transform=Transform(crop=9, mean_values=(1, 2, 3, 4))), (4, 9, 9)),
        (ImageData("l", 4, transform=CROP), (3, 9, 9)),
        (ImageData("l", 4, color=False, resize=(9, 12)), (1, 9, 12)),
        (ImageData("l", 4, resize=(12, 12), transform=CROP), (3, 9, 9)),
    ],
)
def test_where_files_are_missing_the_settings_tell(layer: Layer, image: Shape) -> None:
    assert shapes(layer) == ((4, *image), (4,))
    assert shapes(layer, ("data",)) == ((4, *image),)


@pytest.mark.parametrize("layer", [Data("db", 4), ImageData("l", 4), HDF5Data("l", 4, TWO)])
def test_what_the_settings_do_not_tell_is_to_be_said(layer: Layer) -> None:
    with pytest.raises(LayerError) as refusal:
        shapes(layer)
    gone = Path("nowhere") / layer.source_path  # type: ignore[attr-defined]
    assert refusal.value.message == f'the shape of its top "data" is not known: {gone} is not there'
    assert (refusal.value.field, refusal.value.help.split(",")[0]) == (
        "source",
        "tell it with --input-shape data=CxHxW",
    )
    assert shapes(layer, data=(1, 5, 6)) == ((4, 1, 5, 6), (4,))


def test_three_numbers_are_an_item_and_others_the_whole() -> None:
    layer = HDF5Data("l", 4, ("data", "label", "aux"))
    assert shapes(layer, layer.blobs, data=(2, 3, 5), aux=(4, 7)) == ((4, 2, 3, 5), (4,), (4, 7))
    assert shapes(layer, layer.blobs, data=(2, 1, 3, 5)) == ((2, 1, 3, 5), (2,), (2,))


def test_what_is_said_wins_over_what_is_known(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("one.h5\n")
    with h5py.File(tmp_path / "one.h5", "w") as file:
        file["data"], file["label"] = np.zeros((9, 3, 2)), np.zeros(9)
    layer = HDF5Data("l.txt", 4, TWO)
    assert shapes(layer, folder=tmp_path) is None, "it tells its shapes itself"
    assert shapes(layer, folder=tmp_path, data=(5, 6)) == ((5, 6), (5,))
    assert shapes(layer, folder=tmp_path, label=(4, 2)) == ((4, 3, 2), (4, 2))
    digits = Dataset("digits", 4, Phase.TEST)
    assert shapes(digits) is None
    assert shapes(digits, data=(3, 6, 6)) == ((4, 3, 6, 6), (4,))
    assert shapes(MemoryData(((2, 3, 4, 5), (2,)), 2), data=(1, 1, 7, 7)) == ((1, 1, 7, 7), (1,))


def test_a_list_whose_first_file_is_missing_is_missing(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("gone.png 1\n")
    with pytest.raises(LayerError, match=r"gone\.png is not there"):
        shapes(ImageData("l.txt"), folder=tmp_path)
    assert shapes(ImageData("l.txt", 2, transform=CROP), folder=tmp_path) is None, "no image is looked into"


def test_an_input_takes_what_is_said() -> None:
    assert shapes(Input(((8, 3, 4, 4), (8,)))) is None
    assert shapes(Input(((8, 3, 4, 4), (8,))), data=(1, 5, 5)) == ((8, 1, 5, 5), (8,))
    assert shapes(Input(), ("data",), data=(1, 5, 5)) == ((1, 1, 5, 5),)
    with pytest.raises(LayerError, match='the shape of its top "label" is not known'):
        shapes(Input(), data=(1, 5, 5))


def test_tables_arrays_and_boxes_have_labels_of_their_own_shapes() -> None:
    table = TableData("t.csv", 4, ("a", "b"))
    assert shapes(table, data=(4, 7)) == ((4, 7), (4, 2))
    assert shapes(replace(table, targets=("a",), classes=True), data=(9, 7)) == ((9, 7), (9,))
    with pytest.raises(LayerError, match=r"t\.csv is not there") as refusal:
        shapes(table)
    assert refusal.value.help == (
        "name a file, or a table that nktc knows: california-housing; or tell it with --input-shape data=4xFEATURES"
    )
    assert shapes(replace(table, source_path="california-housing")) is None, "it is known without its data"
    memory = MemoryData((), 2, source_path="m.npz")
    assert shapes(memory, data=(3, 4, 5)) == ((2, 3, 4, 5), (2,))
    assert shapes(replace(memory, shapes=((2, 1, 4, 4), (2,)))) == ((2, 1, 4, 4), (2,))
    with pytest.raises(LayerError, match=r"m\.npz is not there"):
        shapes(memory)
    boxes = AnnotatedData(Data("db", 2, transform=Transform(resize=(4, 5))), 3)
    assert shapes(boxes) == ((2, 3, 4, 5), (1, 1, 6, 8))
    assert shapes(AnnotatedData(Data("db", 2), 3), data=(3, 7, 7)) == ((2, 3, 7, 7), (1, 1, 6, 8))


@pytest.mark.parametrize("name", ["n" * 300, "a\0b"])
def test_a_name_that_no_system_takes_is_not_there(tmp_path: Path, name: str) -> None:
    for layer in (Data(name, 1), ImageData(name), HDF5Data(name, 1, ("data",))):
        with pytest.raises(LayerError):
            describe(layer, tmp_path)
        with pytest.raises(LayerError, match="is not there"):
            supposed(layer, tmp_path, ("data",), {})
    (tmp_path / "l.txt").write_text(f"{name}\n")
    for listed in (ImageData("l.txt"), HDF5Data("l.txt", 1, ("data",))):
        with pytest.raises(LayerError):
            describe(listed, tmp_path)
