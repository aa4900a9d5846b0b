"""What conversions read besides folders: idx files, binary files, tables; and HDF5, which they also write."""

from __future__ import annotations

import gzip
import struct
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import small_cifar10 as small

from nktc.data import KNOWN, Columns, Opening, Options, Pictures, Places, SourceOptions, convert, open_stream
from nktc.data.databases.datum import parse
from nktc.data.databases.lmdb_reader import Database
from nktc.data.sets import cifar10
from nktc.errors import NktcError
from nktc.ir import Phase
from nktc.layers import HDF5Data

PLACES = Places((), Path("nowhere"), download=False)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def written(folder: Path, text: str) -> Path:
    (folder / "t.csv").write_text(text)
    return folder / "t.csv"


def records(path: Path) -> list[tuple[np.ndarray, int]]:
    database = Database(path)
    parsed = (parse(value) for _, value in database.read(0, database.records))
    return [(record.values, record.label) for record in parsed]


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_become_records_of_one_plane(tmp_path: Path, packed: bool) -> None:
    random = np.random.RandomState(0)
    pixels, labels = random.randint(0, 256, (7, 5, 4), np.uint8), random.randint(0, 10, 7).astype(np.uint8)
    suffix = ".gz" if packed else ""
    for name, array in (("some-images-idx3-ubyte", pixels), ("some-labels-idx1-ubyte", labels)):
        data = idx(array)
        (tmp_path / f"{name}{suffix}").write_bytes(gzip.compress(data) if packed else data)
    source = tmp_path / f"some-images-idx3-ubyte{suffix}"
    made = convert(str(source), tmp_path / "db", places=PLACES)
    assert (made.records, made.labels, made.sizes) == (7, (), {(1, 5, 4): 7})
    for (values, label), expected, number in zip(records(tmp_path / "db"), pixels, labels, strict=True):
        np.testing.assert_array_equal(values[0], expected)
        assert label == number
    (tmp_path / f"some-labels-idx1-ubyte{suffix}").rename(tmp_path / "elsewhere")
    with pytest.raises(NktcError, match="its labels are not in"):
        convert(str(source), tmp_path / "db2", places=PLACES)
    convert(str(source), tmp_path / "db2", reading=SourceOptions(idx_labels=tmp_path / "elsewhere"), places=PLACES)
    assert [label for _, label in records(tmp_path / "db2")] == labels.tolist()


def test_cifars_binary_files_become_records_blue_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small.shrink(monkeypatch)
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    made = np.random.RandomState(0).randint(0, 256, (24, cifar10.RECORD), np.uint8)
    made[:, 0] %= 10
    for i, name in enumerate(cifar10.FILES):
        made[4 * i : 4 * i + 4].tofile(folder / name)
    sizes = {Phase.TRAIN: 20, Phase.TEST: 4}
    monkeypatch.setitem(KNOWN, "cifar10", replace(KNOWN["cifar10"], sizes=sizes))  # type: ignore[misc]
    with pytest.raises(NktcError) as refused:
        convert(str(folder), tmp_path / "db", places=PLACES)
    assert refused.value.message == f"{folder} has the splits train and test"
    done = convert(str(folder), tmp_path / "db", reading=SourceOptions("train"), places=PLACES)
    assert done.labels == small.LABELS
    for (values, label), record in zip(records(tmp_path / "db"), made[:20], strict=True):
        np.testing.assert_array_equal(values[::-1], record[1:].reshape(3, 32, 32))
        assert label == record[0]


def test_a_table_becomes_rows_of_an_hdf5_file_that_its_layer_reads(tmp_path: Path) -> None:
    table = written(tmp_path, "x,y,t\n" + "".join(f"{i},{i / 8},{i * 10}\n" for i in range(20)))
    made = convert(str(table), tmp_path / "o.h5", reading=SourceOptions(columns=Columns(("t",))), places=PLACES)
    assert (made.records, made.sizes) == (20, {(2,): 20})
    with h5py.File(tmp_path / "o.h5") as file:
        np.testing.assert_array_equal(file["data"], [[i, i / 8] for i in range(20)])
        np.testing.assert_array_equal(file["label"], [10 * i for i in range(20)])
        assert (file["data"].dtype, file["label"].dtype) == ("<f4", "<f4")
    layer = HDF5Data(str(tmp_path / "o.txt"), 8, ("data", "label"), False)
    data, label = open_stream(layer, Opening(PLACES, tmp_path)).batch(1)
    assert data[:, 0].tolist() == list(range(8, 16))
    assert label.tolist() == [10 * i for i in range(8, 16)]


def test_several_targets_are_rows_of_the_label(tmp_path: Path) -> None:
    table = written(tmp_path, "x,y,t\n1,2,3\n4,5,6.5\n")
    columns = SourceOptions(columns=Columns(("y", "t")))
    convert(str(table), tmp_path / "o.hdf5", reading=columns, places=PLACES)
    with h5py.File(tmp_path / "o.hdf5") as file:
        np.testing.assert_array_equal(file["label"], [[2, 3], [5, 6.5]])
    for targets, said in (
        (("y", "t"), "one label, here are 2"),
        (("t",), f"whole numbers of 32 bits, {table}:3: has 6.5"),
    ):
        with pytest.raises(NktcError, match=said):
            convert(str(table), tmp_path / "db", reading=SourceOptions(columns=Columns(targets)), places=PLACES)


def test_rows_become_records_of_floats(tmp_path: Path) -> None:
    table = written(tmp_path, "x,y,t\n1,2.5,dog\n4,5,cat\n")
    made = convert(str(table), tmp_path / "db", reading=SourceOptions(columns=Columns(("t",))), places=PLACES)
    assert made.labels == ("cat", "dog")
    assert [(values.ravel().tolist(), label) for values, label in records(tmp_path / "db")] == [
        ([1, 2.5], 1),
        ([4, 5], 0),
    ]
    assert records(tmp_path / "db")[0][0].shape == (2, 1, 1)


def test_rows_without_a_number_are_left_out_and_named(tmp_path: Path) -> None:
    table = written(tmp_path, "x,t\n1,0\n,1\n3,1\n")
    made = convert(str(table), tmp_path / "o.h5", reading=SourceOptions(columns=Columns(("t",))), places=PLACES)
    assert (made.records, made.refused) == (2, ((f"{table}:3:", "x has no value"),))


def test_a_table_can_name_pictures(tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), random.randint(0, 256, (3, 4, 3), np.uint8))
    table = written(tmp_path, "file,kind\nb.png,dog\na.png,cat\nc.png,cat\n")
    reading = SourceOptions(columns=Columns(image="file", label="kind"))
    made = convert(str(table), tmp_path / "db", reading=reading, places=PLACES)
    assert made.labels == ("cat", "dog")
    assert made.refused == ((f"{table}:4: c.png", "cannot be read (no such file or directory)"),)
    values, label = records(tmp_path / "db")[0]
    np.testing.assert_array_equal(values, cv2.imread(str(tmp_path / "b.png")).transpose(2, 0, 1))
    assert label == 1
    with pytest.raises(NktcError) as refused:
        convert(str(table), tmp_path / "x", reading=SourceOptions(columns=Columns(image="file")), places=PLACES)
    assert refused.value.message == "--image-column is given without --label-column"
    with pytest.raises(NktcError, match="which column is to be predicted is not said"):
        convert(str(table), tmp_path / "x", places=PLACES)


def test_pictures_in_hdf5_are_those_of_the_database(tmp_path: Path) -> None:
    options = Options(shuffle=True, seed=4)
    reading = SourceOptions("test")
    convert("digits", tmp_path / "db", options, reading, places=Places((), tmp_path / "cache"))
    convert("digits", tmp_path / "o.h5", options, reading, places=Places((), tmp_path / "cache"))
    expected = records(tmp_path / "db")
    with h5py.File(tmp_path / "o.h5") as file:
        np.testing.assert_array_equal(file["data"], [values for values, _ in expected])
        np.testing.assert_array_equal(file["label"], [label for _, label in expected])


def test_hdf5_takes_one_size_and_no_image_files(tmp_path: Path) -> None:
    for name, side in (("a/1.png", 4), ("a/2.png", 5)):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "tree" / name), np.zeros((side, 3, 3), np.uint8))
    cases = {
        "a/2.png is 3x5x3, a/1.png is 3x4x3: HDF5 takes one size": Options(),
        "HDF5 holds numbers, not image files": Options(Pictures(encoded=True)),
    }
    for said, options in cases.items():
        with pytest.raises(NktcError) as refused:
            convert(str(tmp_path / "tree"), tmp_path / "o.h5", options, places=PLACES)
        assert refused.value.message == said
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]
    (tmp_path / "o.txt").write_text("mine")
    with pytest.raises(NktcError) as refused:
        convert(str(tmp_path / "tree"), tmp_path / "o.h5", places=PLACES)
    assert refused.value.message == f"{tmp_path / 'o.txt'} is there already"


def test_leveldb_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(NktcError) as refused:
        convert("digits", tmp_path / "db", Options(backend="leveldb"), SourceOptions("test"), places=PLACES)
    assert refused.value.message == "nktc reads LevelDB and does not write it"


@pytest.mark.parametrize("backend", ["lmdb", "hdf5"])
def test_parts_are_written_together_and_each_class_has_its_share(tmp_path: Path, backend: str) -> None:
    places = Places((), tmp_path / "cache")
    options = Options(val=0.2, test=0.1, seed=3, backend=backend)
    made = convert("digits", tmp_path / "out", options, SourceOptions("test"), places=places)
    assert [(part.name, part.records) for part in made.parts] == [("train", 252), ("val", 72), ("test", 36)]
    whole = records(convert("digits", tmp_path / "db", reading=SourceOptions("test"), places=places).output)
    found: list[tuple[bytes, int]] = []
    for part in made.parts:
        if backend == "lmdb":
            part_records = records(part.path)
        else:
            assert part.path.with_suffix(".txt").read_text() == f"{part.path}\n"
            with h5py.File(part.path) as file:
                pairs = zip(file["data"][:], file["label"][:], strict=True)
                part_records = [(values.astype(np.uint8), int(label)) for values, label in pairs]
        counts = np.bincount([label for _, label in part_records], minlength=10)
        assert np.abs(counts - part.records / 360 * np.bincount([label for _, label in whole])).max() < 2
        found += [(values.tobytes(), label) for values, label in part_records]
    assert sorted(found) == sorted((values.tobytes(), label) for values, label in whole)


def test_a_part_of_which_nothing_is_left_is_refused(tmp_path: Path) -> None:
    table = written(tmp_path, "x,t\n" + "".join(f"{i if i < 2 else ''},0\n" for i in range(4)))
    reading = SourceOptions(columns=Columns(("t",)))
    said = []
    for seed in range(8):
        try:
            convert(str(table), tmp_path / f"{seed}.h5", Options(val=0.5, seed=seed), reading, places=PLACES)
        except NktcError as error:
            said.append(error.message)
    assert {*said} <= {f"its {name} part is empty: none of its 2 records can be converted" for name in ("val", "train")}
    assert 0 < len(said) < 8
