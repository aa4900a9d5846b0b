"""Records that are stored twice, however they are stored."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from damage import NOWHERE, coded, picture

from nktc.data import Duplicates, find_duplicates, subject_of, subjects_of, take_prints
from nktc.data.databases.datum import pack, pack_encoded
from nktc.data.databases.lmdb import write_database
from nktc.ir import Phase, Transform
from nktc.layers import Data, Dataset, Part


def planes(i: int) -> np.ndarray:
    return picture(i).transpose(2, 0, 1)


def lmdb(path: Path, records: list[bytes]) -> Path:
    write_database(path, ((f"{i:03d}".encode(), value) for i, value in enumerate(records)))
    return path


def found(*paths: Path) -> list[Duplicates]:
    subjects = [one for path in paths for one in subjects_of(str(path), "", NOWHERE)]
    return find_duplicates([take_prints(one.name, one.open("BGR")) for one in subjects])


def test_a_png_pixels_and_floats_of_one_picture_are_the_same(tmp_path: Path) -> None:
    one = lmdb(tmp_path / "one", [pack(planes(i), i) for i in range(5)])
    other = lmdb(
        tmp_path / "other",
        [pack(planes(9), 0), pack_encoded(coded(3, ".png"), 3), pack(planes(1).astype(np.float32), 7)],
    )
    (same,) = found(one, other)
    assert str(same).splitlines() == [
        f"duplicates: 2 records of {other} are in {one} too, 1 with another label",
        '  record 1, key "001" = record 2, key "002": labels 1 and 7',
        '  record 3, key "003" = record 1, key "001": label 3',
    ]


def test_records_that_come_again_in_one_source_are_told_with_the_first_of_them(tmp_path: Path) -> None:
    (same,) = found(lmdb(tmp_path / "db", [pack(planes(i % 3), i // 3) for i in range(8)]))
    assert (same.between, same.count, same.differ) == (False, 5, 5)
    assert str(same.pairs[0]) == 'record 0, key "000" = record 3, key "003": labels 0 and 1'


def test_ten_pairs_are_shown_and_those_whose_labels_differ_come_first(tmp_path: Path) -> None:
    (same,) = found(lmdb(tmp_path / "db", [pack(planes(0), 0)] * 40 + [pack(planes(0), 5)]))
    assert (same.count, same.differ, len(same.pairs)) == (40, 1, 10)
    assert same.pairs[0].second == 'record 40, key "040"'
    assert str(same).splitlines()[-1] == "  and 30 more"


def test_a_grey_picture_is_the_same_in_one_plane_and_in_three(tmp_path: Path) -> None:
    grey = planes(0)[:1]
    one = lmdb(tmp_path / "one", [pack(grey, 0)])
    assert found(one, lmdb(tmp_path / "other", [pack(np.repeat(grey, 3, axis=0), 0)]))[0].count == 1


def test_what_differs_in_one_value_or_cannot_be_read_is_not_the_same(tmp_path: Path) -> None:
    nearly = planes(0).copy()
    nearly[2, 8, 7] ^= 1
    assert found(lmdb(tmp_path / "db", [pack(planes(0), 0), pack(nearly, 0), b"\xff", b"\xff"])) == []


def test_classes_of_two_sources_are_compared_by_their_names(tmp_path: Path) -> None:
    for name in ("one/bird/1.png", "one/cat/2.png", "other/cat/1.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        cv2.imwrite(str(tmp_path / name), picture(int(name[-5])))
    (same,) = found(tmp_path / "one", tmp_path / "other")
    assert same.pairs[0].labels == ("bird", "cat")
    (tmp_path / "other/cat/2.png").write_bytes((tmp_path / "one/cat/2.png").read_bytes())
    assert [found(tmp_path / "one", tmp_path / "other")[0].differ] == [1]


def test_the_order_of_planes_does_not_matter(tmp_path: Path) -> None:
    lmdb(tmp_path / "bgr", [pack(planes(0), 0)])
    lmdb(tmp_path / "rgb", [pack(planes(0)[::-1], 0)])
    layers = Data("bgr", 1, "LMDB"), Data("rgb", 1, "LMDB", Transform(order="RGB"))
    subjects = [subject_of(layer, NOWHERE, tmp_path) for layer in layers]
    assert find_duplicates([take_prints(one.name, one.open("BGR")) for one in subjects])[0].count == 1


def test_parts_of_a_set_have_no_records_in_common_and_their_whole_has() -> None:
    parts = [Dataset("digits", 1, Phase.TRAIN, part=Part(name, 0.25, 0, 0)) for name in ("TRAIN", "VALIDATION")]
    layers = [*parts, Dataset("digits", 1, Phase.TRAIN)]
    prints = [take_prints(str(i), subject_of(one, NOWHERE, Path()).open("BGR")) for i, one in enumerate(layers)]
    assert [(one.first, one.second, one.count) for one in find_duplicates(prints)] == [
        ("0", "2", 1078),
        ("1", "2", 359),
    ]
