"""Reports of whole sources: what is wrong is named, whatever the files hold."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from damage import COUNT, NOWHERE, coded, damaged, picture, whole
from small_leveldb import write_records

from nktc.data import Report, subject_of, subjects_of, verify
from nktc.data.databases.datum import pack, pack_encoded
from nktc.data.databases.lmdb import write_database
from nktc.data.stored.stored import Stored, StoredPart
from nktc.data.stored.stored_arrays import StoredArrays
from nktc.errors import NktcError
from nktc.ir import Layer, Phase, Transform
from nktc.layers import AnnotatedData, Data, HDF5Data, ImageData, Part, TableData
from nktc.schema import AnnotatedDatum, Datum


def raw(i: int, label: int | None = None) -> bytes:
    return pack(picture(i).transpose(2, 0, 1), i if label is None else label)


def lmdb(folder: Path, records: Sequence[bytes]) -> Path:
    write_database(folder / "db", ((f"{i:03d}".encode(), value) for i, value in enumerate(records)))
    return folder / "db"


def report(source: Path, classes: int | None = None) -> Report:
    (subject,) = subjects_of(str(source), "", NOWHERE)
    return verify(subject, classes)


def of_layer(layer: Layer, folder: Path) -> Report:
    return verify(subject_of(layer, NOWHERE, folder))


def test_a_whole_database_is_well(tmp_path: Path) -> None:
    found = report(lmdb(tmp_path, [raw(i) for i in range(150)]))
    assert found.ok
    assert str(found) == f"{tmp_path}/db (LMDB): 150 records, 150 good, 0 bad, 3x9x8, labels 0 to 149, 150 classes"


def test_each_kind_of_bad_record_is_named_with_key_and_position(tmp_path: Path) -> None:
    datum = Datum(channels=3, height=9, width=8, data=bytes(5), label=1)
    records = [
        raw(0),
        b"\xff\xff\xff",
        datum.SerializeToString(),
        pack_encoded(b"words", 2),
        pack_encoded(b"", 2),
        pack_encoded(coded(5, ".jpg")[:-30], 3),
        pack_encoded(coded(6, ".png")[:-9], 3),
        raw(7, -1),
        raw(8, 10),
        pack(np.full((3, 9, 8), np.nan), 4),
        raw(9),
    ]
    found = report(lmdb(tmp_path, records), classes=10)
    assert (found.records, found.bad, found.ok) == (11, 9, False)
    assert {kind: (count, [str(one) for one in shown]) for kind, (count, shown) in found.faults.items()} == {
        "is no Datum": (1, ['record 1, key "001": its 3 bytes are no Datum']),
        "values do not fit the size": (
            1,
            ['record 2, key "002": it holds 5 values, its size 3x9x8 needs 216'],
        ),
        "cannot be decoded": (
            4,
            [
                'record 3, key "003": it is no 8-bit picture that can be decoded',
                'record 4, key "004": it is empty',
                'record 5, key "005": it is cut off: the end of its picture is missing',
                'record 6, key "006": it is cut off: the end of its picture is missing',
            ],
        ),
        "label out of range": (
            2,
            [f'record {i}, key "00{i}": its label is {label}, classes are 0 to 9' for i, label in ((7, -1), (8, 10))],
        ),
        "holds what is no number": (1, ['record 9, key "009": 216 of its 216 values are NaN or infinite']),
    }


def test_labels_are_those_that_have_names_and_classes_without_records_are_noted(tmp_path: Path) -> None:
    path = lmdb(tmp_path, [raw(0, 0), raw(1, 3), raw(2, 0)])
    (path / "labels.txt").write_text("cat\ndog\ncow\n")
    found = report(path)
    assert [str(one) for one in found.faults["label out of range"][1]] == [
        'record 1, key "001": its label is 3, classes are 0 to 2'
    ]
    assert found.notes == ('no record has label 1 "dog", 2 "cow"',)


def test_sizes_are_wrong_only_where_a_net_does_not_make_them_equal(tmp_path: Path) -> None:
    sizes = [(9, 8)] * 5 + [(9, 7), (4, 9)]
    lmdb(tmp_path, [pack(np.zeros((3, *size), np.uint8), 0) for size in sizes])
    alone = report(tmp_path / "db")
    assert (alone.ok, alone.notes) == (True, ("records have 3 sizes",))
    plain = of_layer(Data("db", 2, "LMDB"), tmp_path)
    assert plain.bad == 2
    assert [str(one) for one in plain.faults["has another size"][1]] == [
        'record 5, key "005": it is 3x9x7, most are 3x9x8',
        'record 6, key "006": it is 3x4x9, most are 3x9x8',
    ]
    cut = of_layer(Data("db", 2, "LMDB", Transform(crop=5)), tmp_path)
    assert [str(one) for one in cut.faults["is too small for the crop"][1]] == [
        'record 6, key "006": crop 5x5 is larger than its image 4x9'
    ]
    assert of_layer(Data("db", 2, "LMDB", Transform(crop=4)), tmp_path).ok
    assert of_layer(Data("db", 2, "LMDB", Transform(resize=(6, 6))), tmp_path).ok


def test_of_many_faults_twenty_are_shown_and_all_counted(tmp_path: Path) -> None:
    found = report(lmdb(tmp_path, [raw(0), *[b"\xff"] * 70]))
    count, shown = found.faults["is no Datum"]
    assert (count, len(shown), found.bad) == (70, 20, 70)
    assert "  and 50 more" in str(found).splitlines()


def test_a_database_that_is_cut_off_is_one_line(tmp_path: Path) -> None:
    file = lmdb(tmp_path, [raw(i) for i in range(200)]) / "data.mdb"
    file.write_bytes(file.read_bytes()[:20_000])
    found = report(tmp_path / "db")
    ((kind, (count, (fault,))),) = found.faults.items()
    assert (kind, count) == ("cannot be opened", 1)
    assert "is cut off: it has 20000 bytes" in str(fault)


def test_a_leveldb_is_looked_at_by_several_threads(tmp_path: Path) -> None:
    write_records(tmp_path / "db", [(f"{i:04d}".encode(), raw(i, i % 7)) for i in range(500)])
    found = report(tmp_path / "db")
    assert (found.ok, found.records, found.labels) == (True, 500, "labels 0 to 6, 7 classes")


def test_a_list_names_what_is_missing_empty_or_no_line_with_its_number(tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(coded(0, ".png"))
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "list.txt").write_text("good.png 0\ngone.png 1\nempty.png 2\n\nno label here\n")
    found = of_layer(ImageData("list.txt", 1), tmp_path)
    assert (found.records, found.bad) == (3, 2)
    at = tmp_path / "list.txt"
    assert [str(one) for _, shown in found.faults.values() for one in shown] == [
        f'{at}:5: "no label here" is no path and label',
        f"{at}:2: {tmp_path / 'gone.png'}: the file does not exist",
        f"{at}:3: {tmp_path / 'empty.png'}: it is empty",
    ]


def test_class_folders_are_named_by_their_files(tmp_path: Path) -> None:
    for name in ("cat/a.png", "dog/b.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(coded(0, ".png"))
    (tmp_path / "dog" / "c.png").write_text("words")
    found = report(tmp_path)
    assert (found.records, found.bad, found.labels) == (3, 1, "labels 0 to 1, 2 classes")
    assert str(found.faults["cannot be decoded"][1][0]).startswith(f"{tmp_path}/dog/c.png: ")


def test_files_of_a_list_that_are_no_hdf5_are_named_and_the_others_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file["data"] = np.array([[1, 2], [3, np.inf]], np.float32)
        file["label"] = np.array([0.5, 1.5])
    (tmp_path / "words.h5").write_text("words")
    (tmp_path / "list.txt").write_text("rows.h5\nwords.h5\ngone.h5\n")
    found = of_layer(HDF5Data("list.txt", 1, ("data", "label")), tmp_path)
    assert (found.records, found.bad, found.labels) == (2, 1, "labels 0.5 to 1.5")
    assert {kind: count for kind, (count, _) in found.faults.items()} == {
        "cannot be opened": 1,
        "is not there": 1,
        "holds what is no number": 1,
    }
    assert found.faults["holds what is no number"][1][0].called == f"{tmp_path / 'rows.h5'}: row 1"


def test_boxes_outside_their_picture_are_named(tmp_path: Path) -> None:
    message = AnnotatedDatum(type=AnnotatedDatum.BBOX)
    message.datum.ParseFromString(raw(0))
    box = message.annotation_group.add(group_label=1).annotation.add().bbox
    box.xmin, box.ymin, box.xmax, box.ymax = 0.5, 0.25, 0.25, 0.75
    lmdb(tmp_path, [message.SerializeToString()])
    found = of_layer(AnnotatedData(Data("db", 1, "LMDB")), tmp_path)
    ((_, (_, (fault,))),) = found.faults.items()
    assert str(fault) == (
        'record 0, key "000": 1 of its 1 boxes do not lie in the picture; the first: 0.5 0.25 0.25 0.75'
    )


def test_a_known_set_is_looked_at_split_by_split() -> None:
    found = [verify(subject) for subject in subjects_of("digits", "", NOWHERE)]
    assert [(one.name, one.records, one.ok) for one in found] == [
        ("digits train", 1437, True),
        ("digits test", 360, True),
    ]


def test_a_picture_that_is_empty_of_records_is_told(tmp_path: Path) -> None:
    lmdb(tmp_path, [])
    assert not report(tmp_path / "db").ok


LAYERS: dict[str, Layer] = {
    "LMDB, raw": Data("db", 4, "LMDB"),
    "LMDB, coded": Data("db", 4, "LMDB", Transform(crop=5), Phase.TRAIN),
    "LevelDB": Data("db", 4),
    "JPEG": ImageData("list.txt", 4),
    "PNG": ImageData("list.txt", 4, resize=(5, 6)),
    "list": ImageData("list.txt", 4),
    "HDF5": HDF5Data("list.txt", 4, ("data", "label")),
}


@pytest.mark.parametrize("name", LAYERS)
def test_damaged_files_of_every_kind_give_a_report(name: str, tmp_path: Path) -> None:
    source, contents = whole(name)
    for seed in range(40):
        chance, folder = random.Random(seed), tmp_path / str(seed)
        shutil.copytree(source.name, folder)
        path, content = chance.choice(sorted(contents.items()))
        (folder / path).write_bytes(damaged(content, chance))
        found = of_layer(LAYERS[name], folder)
        assert found.ok or found.bad or found.faults
        assert found.records <= COUNT or name == "list"
        assert str(found)
        found.plain()


def test_whole_files_of_every_kind_are_well(tmp_path: Path) -> None:
    for name, layer in LAYERS.items():
        found = of_layer(layer, Path(whole(name)[0].name))
        assert (name, found.ok, found.records) == (name, True, COUNT)
    assert cv2.imread(str(Path(whole("JPEG")[0].name) / "0.jpg")) is not None


def test_of_a_table_that_is_read_in_parts_all_rows_are_looked_at_where_no_part_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,t\n" + "".join(f"{i},{i}\n" for i in range(30)))
    layer = TableData("t.csv", 2, ("t",), part=Part("TEST", 0.1, 0.2))
    assert of_layer(layer, tmp_path).records == 6
    assert verify(subject_of(layer, NOWHERE, tmp_path, part=False)).records == 30


def test_layers_look_alike_where_only_their_batches_order_and_part_differ(tmp_path: Path) -> None:
    def look(layer: Layer) -> object:
        return subject_of(layer, NOWHERE, tmp_path).look

    one = Data("db", 2, "LMDB", Transform(crop=5, mirror=True), Phase.TRAIN, shuffle=True, part=Part("TRAIN", 0.1, 0))
    assert look(one) == look(Data("db", 8, "LMDB", Transform(crop=5)))
    assert look(one) != look(Data("db", 2, "LMDB", Transform(crop=6)))
    assert look(one) != look(Data("db", 2, "LMDB", Transform(crop=5, force_gray=True)))
    assert look(ImageData("l", 1)) != look(ImageData("l", 1, resize=(5, 5)))


@pytest.mark.parametrize("what", ["db", "t.csv", "list.txt", "rows.h5", "classes"])
def test_a_split_of_what_has_none_is_refused(what: str, tmp_path: Path) -> None:
    lmdb(tmp_path, [raw(0)])
    (tmp_path / "t.csv").write_text("x\n1\n")
    (tmp_path / "list.txt").write_text("a.png 1\n")
    (tmp_path / "classes" / "cat").mkdir(parents=True)
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file["data"] = np.zeros((2, 2))
    with pytest.raises(NktcError, match='has no split "test"'):
        subjects_of(str(tmp_path / what), "test", NOWHERE)
    assert subjects_of(str(tmp_path / what), "", NOWHERE)


def test_a_split_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    for name in ("train", "val"):
        write_database(tmp_path / name, [(b"0", raw(0))])
    with pytest.raises(NktcError) as refused:
        subjects_of(str(tmp_path), "nope", NOWHERE)
    assert str(refused.value) == f'error: {tmp_path} has no split "nope"\nhelp: its parts are train, val'


def refuse(*args: object, **named: object) -> None:
    raise PermissionError(13, "Permission denied", "x")


def test_what_the_system_does_not_let_us_see_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lmdb(tmp_path, [raw(0)])
    with monkeypatch.context() as patch:
        patch.setattr("os.stat", refuse)
        with pytest.raises(NktcError, match="cannot be read: Permission denied"):
            subjects_of(str(tmp_path / "db"), "", NOWHERE)
    with monkeypatch.context() as patch:
        patch.setattr("os.access", lambda path, mode: False)
        with pytest.raises(NktcError, match="cannot be read: Permission denied"):
            subjects_of(str(tmp_path / "db"), "", NOWHERE)
    with monkeypatch.context() as patch:
        patch.setattr("os.scandir", refuse)
        with pytest.raises(NktcError, match="x cannot be read: Permission denied"):
            subjects_of(str(tmp_path), "", NOWHERE)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", refuse)  # what a folder that may not be entered answers
        assert [one.kind for one in subjects_of(str(tmp_path / "db"), "", NOWHERE)] == ["LMDB"]


def test_what_cannot_be_read_when_it_is_opened_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lmdb(tmp_path, [raw(0)])
    (subject,) = subjects_of(str(tmp_path / "db"), "", NOWHERE)
    monkeypatch.setattr("nktc.data.stored.stored_sources.open_database", refuse)
    with pytest.raises(NktcError, match="x cannot be read: Permission denied"):
        subject.open("")


def test_what_is_neither_a_file_nor_a_folder_is_refused() -> None:
    with pytest.raises(NktcError, match="/dev/zero is neither a file nor a folder"):
        subjects_of("/dev/zero", "", NOWHERE)


def test_a_part_has_the_background_of_the_whole() -> None:
    whole: Stored = StoredArrays(np.zeros((4, 1)), np.zeros(4))
    whole.background = True
    assert StoredPart(whole, np.arange(2)).background
