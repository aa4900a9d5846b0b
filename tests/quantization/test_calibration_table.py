"""Calibration tables as files: written, read, edited by hand, damaged."""

from __future__ import annotations

import json

import pytest

from nktc.errors import NktcError
from nktc.quantization import Entry, Table, read_table

TABLE = Table(
    "lenet",
    "entropy",
    500,
    {
        "data": Entry(0.0, 0.99609375, 0.0, 0.99609375),
        'con"v\\1é': Entry(-1.2345678901, 2.5, -7.0, 1e30),
        "zeros": Entry(0.0, 0.0, 0.0, 0.0),
    },
)


@pytest.fixture
def file(tmp_path):
    TABLE.save(tmp_path / "new" / "table.json")
    return tmp_path / "new" / "table.json"


def test_a_table_is_read_as_it_was_written_to_7_digits(file):
    found = read_table(file)
    assert (found.net, found.method, found.records) == ("lenet", "entropy", 500)
    assert [*found.blobs] == [*TABLE.blobs]
    for name, entry in TABLE.blobs.items():
        assert found.ranges[name] == pytest.approx((entry.low, entry.high), rel=1e-6)
        assert found.blobs[name].largest == pytest.approx(entry.largest, rel=1e-6)


def test_a_blob_is_a_line_that_can_be_edited(file):
    lines = file.read_text().splitlines()
    assert [line for line in lines if '"data"' in line] == [
        '    "data": {"low": 0.0, "high": 0.9960938, "least": 0.0, "largest": 0.9960938},'
    ]
    assert len(lines) == 1 + 4 + 1 + 3 + 2
    file.write_text(file.read_text().replace('"high": 2.5', '"high": 3'))
    assert read_table(file).ranges['con"v\\1é'] == (pytest.approx(-1.234568), 3.0)


HELP = "nktc optimize --precision int8 --save-calibration FILE writes one"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "{} is no calibration table: Expecting value: line 1 column 1 (char 0)"),
        ("[]", "{} is no calibration table: list indices must be integers or slices, not str"),
        ("{}", "{} is no calibration table: it has no format"),
        ('{"format": 3}', "{} is no calibration table"),
        ('{"format": "nktc calibration 9"}', '{} is a calibration table of another kind: "nktc calibration 9"'),
        ('{"format": "nktc calibration 1", "net": "n"}', "{} is no calibration table: it has no blobs"),
        ("[" * 100000, "{} is no calibration table: maximum recursion depth exceeded"),
    ],
)
def test_a_file_of_something_else_is_refused(text, told, tmp_path):
    file = tmp_path / "other.json"
    file.write_text(text)
    with pytest.raises(NktcError) as caught:
        read_table(file)
    assert caught.value.message.startswith(told.format(file))
    assert caught.value.help == HELP


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"low": 2.0, "high": 1.0}, "data has the range 2 to 1"),
        ({"low": float("nan")}, "data has the range nan to 0.996094"),
        ({"high": float("inf")}, "data has the range 0 to inf"),
        ({"high": 10**400}, "int too large to convert to float"),
        ({"high": "many"}, "could not convert string to float: 'many'"),
        ({"high": None}, "float() argument must be a string or a real number, not 'NoneType'"),
    ],
)
def test_a_range_that_is_none_is_refused(change, told, file):
    table = json.loads(file.read_text())
    table["blobs"]["data"] |= change
    file.write_text(json.dumps(table))
    with pytest.raises(NktcError) as caught:
        read_table(file)
    assert caught.value.message == f"{file} is no calibration table: {told}"


def test_counts_that_are_none_are_refused(file):
    for records in ("Infinity", '"many"', "[]"):
        file.write_text(file.read_text().replace('"records": 500', f'"records": {records}'))
        with pytest.raises(NktcError, match="is no calibration table"):
            read_table(file)
        TABLE.save(file)


def test_every_cut_of_a_table_is_refused_in_one_sentence(file):
    whole = file.read_bytes()
    for length in range(0, len(whole) - 3, 7):
        file.write_bytes(whole[:length])
        with pytest.raises(NktcError) as caught:
            read_table(file)
        assert "\n" not in caught.value.message
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(NktcError, match="is no calibration table"):
        read_table(file)


def test_a_table_that_is_not_there_or_cannot_be_written_is_told(tmp_path):
    with pytest.raises(NktcError, match=r"the calibration table .*no\.json does not exist"):
        read_table(tmp_path / "no.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(NktcError, match="is not a folder"):
        TABLE.save(tmp_path / "file" / "table.json")
