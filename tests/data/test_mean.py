"""Mean images: of databases, and their files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nktc.data import database_mean, read_mean, write_mean
from nktc.data.databases.datum import pack
from nktc.data.databases.lmdb import write_database
from nktc.errors import NktcError
from nktc.schema import BlobProto


def test_a_mean_comes_back_with_the_old_dimensions(tmp_path: Path) -> None:
    mean = np.random.RandomState(0).rand(3, 5, 4).astype(np.float32)
    write_mean(tmp_path / "mean.binaryproto", mean)
    np.testing.assert_array_equal(read_mean(tmp_path / "mean.binaryproto"), mean)
    blob = BlobProto.FromString((tmp_path / "mean.binaryproto").read_bytes())
    assert (blob.num, blob.channels, blob.height, blob.width) == (1, 3, 5, 4)


def test_new_shapes_and_doubles_are_read_too(tmp_path: Path) -> None:
    blob = BlobProto(double_data=range(6))
    blob.shape.dim.extend([1, 1, 2, 3])
    (tmp_path / "m").write_bytes(blob.SerializeToString())
    np.testing.assert_array_equal(read_mean(tmp_path / "m"), np.arange(6, dtype=np.float32).reshape(1, 2, 3))


def test_what_real_caffe_wrote_is_read(shared: Path) -> None:
    assert read_mean(shared / "goldens" / "data_lmdb_meanfile" / "mean.binaryproto").shape == (3, 12, 10)


def test_the_mean_of_a_database_is_that_of_its_records(tmp_path: Path) -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (2500, 2, 3, 4), np.uint8)
    write_database(tmp_path / "db", ((f"{i:08d}".encode(), pack(p, 0)) for i, p in enumerate(pixels)))
    np.testing.assert_allclose(database_mean(tmp_path / "db"), pixels.mean(axis=0), rtol=1e-6)


def test_records_that_do_not_fit_are_named(tmp_path: Path) -> None:
    records = [(b"a", pack(np.zeros((1, 2, 2), np.uint8), 0)), (b"b", pack(np.zeros((1, 2, 3), np.uint8), 0))]
    write_database(tmp_path / "sizes", records)
    write_database(tmp_path / "garbage", [records[0], (b"b", b"\xff")])
    write_database(tmp_path / "empty", [])
    for name, why in {
        "sizes": ': record 1, key "b": it is 1x2x3, the first one is 1x2x2',
        "garbage": ': record 1, key "b": its 1 bytes are no Datum',
        "empty": " holds no records",
    }.items():
        with pytest.raises(NktcError) as refused:
            database_mean(tmp_path / name)
        assert refused.value.message == f"{tmp_path / name}{why}"


def test_files_that_are_no_mean_are_refused(tmp_path: Path) -> None:
    (tmp_path / "garbage").write_bytes(b"\xff\xff")
    (tmp_path / "two").write_bytes(BlobProto(num=2, channels=1, height=1, width=1, data=[1, 2]).SerializeToString())
    (tmp_path / "uneven").write_bytes(BlobProto(num=1, channels=1, height=1, width=3, data=[1, 2]).SerializeToString())
    for name, why in {
        "garbage": f"mean file {tmp_path / 'garbage'} holds no BlobProto: the number at byte 0 has no end",
        "uneven": f"mean file {tmp_path / 'uneven'} holds no BlobProto: a blob of shape [1, 1, 1, 3] holds 2 numbers",
        "two": f"mean file {tmp_path / 'two'} holds 2 values of shape 2x1x1x1, not one image",
        "none": f"mean file {tmp_path / 'none'} does not exist",
    }.items():
        with pytest.raises(NktcError) as refused:
            read_mean(tmp_path / name)
        assert refused.value.message == why
