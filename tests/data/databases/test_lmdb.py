"""LMDB: by position, shared, damaged, replaced whole."""

from __future__ import annotations

import random
from pathlib import Path

import lmdb
import numpy as np
import pytest

from nktc.data.databases.lmdb import write_database
from nktc.data.databases.lmdb_reader import Database, open_database
from nktc.errors import NktcError


def made(path: Path, count: int, size: int = 20) -> list[tuple[bytes, bytes]]:
    records = [(f"{i:08d}_x".encode(), f"{i}".encode().ljust(size, b".")) for i in range(count)]
    assert write_database(path, records) == count
    return records


def test_records_come_back_by_position_in_any_order(tmp_path: Path) -> None:
    records = made(tmp_path / "db", 3500)
    database = Database(tmp_path / "db")
    assert database.records == 3500
    chance = random.Random(0)
    for _ in range(60):
        first, count = chance.randrange(9000), chance.choice([1, 7, 100, 1200, 4000])
        assert database.read(first, count) == [records[(first + i) % 3500] for i in range(count)]


def test_the_library_itself_reads_what_was_written(tmp_path: Path) -> None:
    records = made(tmp_path / "db", 2500)
    with (
        lmdb.open(str(tmp_path / "db"), readonly=True, lock=False) as environment,
        environment.begin() as reading,
    ):
        assert list(reading.cursor()) == records


def test_the_map_grows_until_everything_fits(tmp_path: Path) -> None:
    made(tmp_path / "db", 90, size=1 << 20)  # 90 MiB, the map starts with 64
    assert Database(tmp_path / "db").records == 90


def test_data_mdb_itself_may_be_named(tmp_path: Path) -> None:
    records = made(tmp_path / "db", 3)
    assert Database(tmp_path / "db" / "data.mdb").read(0, 3) == records


def test_reading_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    made(tmp_path / "db", 3)
    (tmp_path / "db" / "data.mdb").chmod(0o444)
    (tmp_path / "db").chmod(0o555)
    Database(tmp_path / "db").read(0, 3)
    (tmp_path / "db").chmod(0o755)
    assert [file.name for file in (tmp_path / "db").iterdir()] == ["data.mdb"]


def test_two_readers_may_be_open_at_once(tmp_path: Path) -> None:
    records = made(tmp_path / "db", 10)
    one, other = open_database(tmp_path / "db"), open_database(tmp_path / "db" / "data.mdb")
    assert one.read(4, 1) == other.read(4, 1) == records[4:5]


def test_a_replaced_database_is_read_anew(tmp_path: Path) -> None:
    made(tmp_path / "db", 10)
    old = open_database(tmp_path / "db")
    made(tmp_path / "db", 4)
    assert open_database(tmp_path / "db").records == 4
    assert len(old.read(0, 10)) == 10
    assert [path.name for path in tmp_path.iterdir()] == ["db"]


def test_a_failed_conversion_leaves_what_was_there(tmp_path: Path) -> None:
    records = made(tmp_path / "db", 3)

    def broken():
        yield b"a", b"1"
        raise OSError(28, "No space left on device")

    with pytest.raises(NktcError) as refused:
        write_database(tmp_path / "db", broken())
    assert str(refused.value) == f"error: cannot write {tmp_path / 'db'}: No space left on device"
    assert Database(tmp_path / "db").read(0, 3) == records
    assert [path.name for path in tmp_path.iterdir()] == ["db"]


def test_what_is_no_database_is_refused_by_name(tmp_path: Path) -> None:
    help = "help: nktc data convert TREE OUT.lmdb makes one from folders of images, one folder a class"
    with pytest.raises(NktcError) as refused:
        Database(tmp_path / "db")
    assert str(refused.value) == f"error: there is no LMDB at {tmp_path / 'db'}\n{help}"
    with pytest.raises(NktcError) as refused:
        Database(tmp_path)
    assert str(refused.value) == f"error: {tmp_path} holds no data.mdb\n{help}"
    (tmp_path / "data.mdb").write_bytes(b"garbage" * 2000)
    with pytest.raises(NktcError, match=r"data\.mdb cannot be opened as an LMDB \("):
        Database(tmp_path)


def test_a_database_cut_off_is_refused_not_mapped(tmp_path: Path) -> None:
    made(tmp_path / "db", 2000, size=100)
    file = tmp_path / "db" / "data.mdb"
    size = file.stat().st_size
    with file.open("r+b") as opened:
        opened.truncate(size // 2)
    with pytest.raises(NktcError) as refused:
        Database(tmp_path / "db")
    assert str(refused.value).startswith(f"error: {file} is cut off: it has {size // 2} bytes, its own index tells of ")


def test_an_empty_database_is_refused_when_read(tmp_path: Path) -> None:
    write_database(tmp_path / "db", [])
    with pytest.raises(NktcError, match="db holds no records"):
        Database(tmp_path / "db").read(0, 1)


def test_places_in_any_order_are_those_of_the_library(tmp_path: Path) -> None:
    chance = np.random.RandomState(3)
    sizes = [0, 1, 100, 2000, 2100, 5000, 70_000]
    records = [(f"{i:05d}".encode() + b"k" * (i % 300), chance.bytes(sizes[i % 7])) for i in range(5000)]
    write_database(tmp_path / "db", records)
    database = Database(tmp_path / "db")
    for _ in range(20):
        places = chance.randint(0, 5000, 50)
        assert [(k, bytes(v)) for k, v in database.read_at(places)] == [records[i] for i in places.tolist()]


def test_a_database_that_was_changed_many_times_is_read_as_it_is_now(tmp_path: Path) -> None:
    kept: dict[bytes, bytes] = {}
    chance = random.Random(5)
    with lmdb.open(str(tmp_path), map_size=64 << 20) as environment:
        for _ in range(30):
            with environment.begin(write=True) as transaction:
                for _ in range(100):
                    key = f"{chance.randrange(3000):05d}".encode()
                    if chance.random() < 0.3:
                        transaction.delete(key)
                        kept.pop(key, None)
                    else:
                        kept[key] = chance.randbytes(chance.choice([10, 3000, 20_000]))
                        transaction.put(key, kept[key])
            database = Database(tmp_path)
            assert database.read(0, database.records) == sorted(kept.items())


def test_a_tree_of_keys_with_several_values_is_refused(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path), max_dbs=1, map_size=1 << 20) as environment:
        named = environment.open_db(b"inner")
        with environment.begin(write=True, db=named) as transaction:
            transaction.put(b"k", b"v")
    with pytest.raises(NktcError, match=r"record 0 .*is no key and value"):
        Database(tmp_path).read(0, 1)


@pytest.mark.parametrize("size", [60, 3000])
def test_whatever_is_damaged_it_is_named_or_the_rest_is_read(tmp_path: Path, size: int) -> None:
    """300 times a few bytes are changed at random, most of them in the pages of the tree: LMDB's own library ends the
    process at one in ten of these."""
    made(tmp_path / "db", 300, size)
    file = tmp_path / "db" / "data.mdb"
    whole = file.read_bytes()
    tree = [at for at in range(0, len(whole), 4096) if whole[at + 10] in (1, 2, 8)]
    chance, said = random.Random(size), list[str]()
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(chance.choice([1, 8])):
            damaged[chance.choice(tree) + chance.choice([chance.randrange(4096), chance.randrange(160)])] = (
                chance.randrange(256)
            )
        if chance.random() < 0.1:
            del damaged[chance.randrange(len(damaged)) :]
        file.write_bytes(damaged)
        try:
            database = Database(tmp_path / "db")
            for place in range(min(database.records, 300)):
                database.read(place, 1)
        except NktcError as error:
            said.append(str(error))
    assert len(said) > 15
    assert all(str(tmp_path / "db") in line for line in said)
