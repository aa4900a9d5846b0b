"""nktc data show and nktc data verify: what they print and how they end."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from nktc.cli import nktc
from nktc.data.databases.datum import pack
from nktc.data.databases.lmdb import write_database
from nktc.errors import NktcError

NET = """
layer {{ name: "data" type: "ImageData" top: "data" top: "label" include {{ phase: TRAIN }}
  image_data_param {{ source: "train" batch_size: 2 }} }}
layer {{ name: "data" type: "ImageData" top: "data" top: "label" include {{ phase: TEST }}
  image_data_param {{ source: "test" batch_size: 1 }} }}
"""


def run(*args: object) -> Result:
    return CliRunner().invoke(nktc, ["data", *map(str, args)], catch_exceptions=False)


@pytest.fixture
def net(tmp_path: Path) -> Path:
    for i, name in enumerate(("train/cat/1.png", "train/dog/2.png", "test/dog/3.png")):
        (tmp_path / name).parent.mkdir(parents=True)
        cv2.imwrite(str(tmp_path / name), np.full((16, 20, 3), 10 * (i % 2), np.uint8))
    (tmp_path / "net.prototxt").write_text(NET.format())
    return tmp_path / "net.prototxt"


def test_show_draws_tells_labels_and_finds_what_is_trained_and_tested_with(net: Path, tmp_path: Path) -> None:
    sheet, bar = tmp_path / "out.png", "█" * 40
    done = run("show", net, "-o", sheet, "--strict")
    assert done.stdout.splitlines() == [
        f"sheet: {sheet}, 2 pictures",
        "batch 0: 2x3x16x20, 2",
        "values: 0 to 10, mean 5",
        "train: 2 records, 2 labels",
        f"  cat  1  50.00%  {bar}",
        f"  dog  1  50.00%  {bar}",
        "duplicates: 1 record of test is in train too, 1 with another label",
        f"  {tmp_path}/train/cat/1.png = {tmp_path}/test/dog/3.png: labels cat and dog",
    ]
    assert done.exit_code == 1
    assert cv2.imread(str(sheet)) is not None
    assert run("show", net, "-o", sheet, "--no-duplicates", "--phase", "test").exit_code == 0


def test_show_compares_data_with_other_data(net: Path, tmp_path: Path) -> None:
    done = run("show", tmp_path / "test", "-o", tmp_path / "out.png", "--against", tmp_path / "train")
    assert done.exit_code == 0
    assert f"duplicates: 1 record of {tmp_path}/train is in {tmp_path}/test too, 1 with another label" in done.stdout
    assert "duplicates: none in digits train and digits test" in run("show", "digits", "-o", tmp_path / "o.png").stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--layer", "dat"), 'has no data layer "dat" in TRAIN'),
        (("-o", "sheet.gif"), "sheet.gif is no .png"),
    ],
)
def test_show_says_what_cannot_be_shown(net: Path, options: tuple[str, ...], said: str) -> None:
    with pytest.raises(NktcError, match=said):
        run("show", net, *options)


def test_verify_reads_both_phases_and_exits_with_what_it_found(net: Path, tmp_path: Path) -> None:
    done = run("verify", net)
    assert done.stdout.splitlines() == [
        "train (ImageData): 2 records, 2 good, 0 bad, 3x16x20, labels 0 to 1, 2 classes",
        "test (ImageData): 1 record, 1 good, 0 bad, 3x16x20, labels 0 to 0, 1 class",
    ]
    assert done.exit_code == 0
    (tmp_path / "test" / "dog" / "3.png").write_text("words")
    done = run("verify", net, "--json")
    assert done.exit_code == 1
    reports = json.loads(done.stdout)
    assert [(one["source"], one["ok"], one["good"], one["bad"]) for one in reports] == [
        ("train", True, 2, 0),
        ("test", False, 0, 1),
    ]
    (fault,) = reports[1]["faults"]
    assert (fault["kind"], fault["count"], fault["shown"][0]["record"]) == ("cannot be decoded", 1, 0)


def test_verify_of_what_is_not_there_is_an_error_with_a_near_name() -> None:
    with pytest.raises(NktcError, match="digit is not there") as refused:
        run("verify", "digit")
    assert refused.value.help == 'did you mean "digits"?'


def test_verify_of_a_net_whose_data_is_not_there_is_a_report(net: Path, tmp_path: Path) -> None:
    (tmp_path / "train").rename(tmp_path / "gone")
    done = run("verify", net)
    assert done.exit_code == 1
    assert done.stdout.startswith(f"train: cannot be opened: 1\n  source {tmp_path}/train does not exist")


CUT = """
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { crop_size: 40 } data_param { source: "db" backend: LMDB batch_size: 2 } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  data_param { source: "db" backend: LMDB batch_size: 1 } }
"""


@pytest.fixture
def cut(tmp_path: Path) -> Path:
    pixels = np.random.RandomState(0).randint(0, 256, (3, 3, 25, 25)).astype(np.uint8)
    write_database(tmp_path / "db", ((b"%d" % i, pack(pixels[i], i)) for i in range(3)))
    (tmp_path / "cut.prototxt").write_text(CUT)
    return tmp_path / "cut.prototxt"


def test_verify_looks_at_a_source_once_for_each_way_that_a_net_cuts_it(cut: Path) -> None:
    done = run("verify", cut)
    assert done.exit_code == 1
    assert done.stdout.splitlines()[-2:] == [
        "db for data in TRAIN (Data): 3 records, 0 good, 3 bad, 3x25x25, labels 0 to 2, 3 classes",
        "db for data in TEST (Data): 3 records, 3 good, 0 bad, 3x25x25, labels 0 to 2, 3 classes",
    ]
    cut.write_text(CUT.replace("crop_size: 40", "mirror: true"))
    assert run("verify", cut).stdout == "db (Data): 3 records, 3 good, 0 bad, 3x25x25, labels 0 to 2, 3 classes\n"


def test_show_looks_for_duplicates_in_a_net_and_says_what_could_not_be_compared(cut: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "out.png"
    done = run("show", tmp_path / "db", "-o", sheet, "--against", cut)
    assert f"duplicates: 3 records of {cut}: db are in {tmp_path}/db too" in done.stdout
    (tmp_path / "list.txt").write_text("gone.png 1\nno label\n")
    done = run("show", tmp_path / "db", "-o", sheet, "--against", tmp_path / "list.txt")
    assert done.stdout.splitlines()[-3:] == [
        f"duplicates: 1 record of {tmp_path}/list.txt could not be compared",
        f"duplicates: 1 line or file of {tmp_path}/list.txt could not be compared",
        f"duplicates: none in what could be read of {tmp_path}/db and {tmp_path}/list.txt",
    ]


def test_show_says_why_there_is_no_sheet(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x\n1\n")
    (tmp_path / "list.txt").write_text("gone.png 1\n")
    for name, why in (("t.csv", "its records are no pictures"), ("list.txt", "none of the records that were looked")):
        assert run("show", tmp_path / name, "-o", tmp_path / "h.png").stdout.startswith(f"no sheet: {why}")
    assert not (tmp_path / "h.png").exists()


@pytest.mark.parametrize(
    ("command", "options", "said"),
    [
        ("show", ("cut.prototxt", "--split", "train"), "--split is of data"),
        ("verify", ("cut.prototxt", "--split", "train"), "--split is of data"),
        ("show", ("db", "--layer", "data", "--stage", "x"), "--layer and --stage are of a net"),
        ("verify", ("db", "--level", "1"), "--level is of a net"),
        ("show", ("db", "--no-duplicates", "--strict"), "--no-duplicates does not"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    command: str, options: tuple[str, ...], said: str, cut: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cut.parent)
    done = run(command, *options)
    assert (done.exit_code, said in " ".join(done.stderr.split())) == (2, True)
