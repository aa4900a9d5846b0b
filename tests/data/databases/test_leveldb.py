"""LevelDB: what the real library wrote, files of our own making, all kinds of damage."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import small_leveldb as small

from nktc import reader
from nktc.data import Opening, Places, database_mean, describe, open_stream
from nktc.data.databases.datum import pack
from nktc.data.databases.leveldb import Database, open_database
from nktc.errors import NktcError
from nktc.ir import Phase

HELP = (
    "help: make an LMDB and set backend: LMDB; "
    "nktc data convert TREE OUT.lmdb makes one from folders of images, one folder a class"
)


def everything(path: Path) -> list[tuple[bytes, bytes]]:
    database = Database(path)
    return database.read(0, database.records) if database.records else []


def contents(folder: Path) -> dict[str, tuple[int, str]]:
    return {
        file.name: (file.stat().st_mtime_ns, hashlib.sha256(file.read_bytes()).hexdigest())
        for file in sorted(folder.iterdir())
    }


def changed(chance: random.Random, count: int, keys: int) -> tuple[list[small.Change], dict[bytes, bytes]]:
    """Changes one after the other, one in five a deletion, and what they come to."""
    changes: list[small.Change] = []
    final: dict[bytes, bytes] = {}
    for sequence in range(1, count + 1):
        key = b"%05d" % chance.randrange(keys) + b"k" * chance.choice([0, 0, 3, 200])
        value = None if chance.random() < 0.2 else chance.randbytes(chance.choice([0, 1, 90, 130])) + b"." * 40
        changes.append((sequence, key, value))
        final.pop(key, None)
        if value is not None:
            final[key] = value
    return changes, final


def written(
    folder: Path, seed: int, count: int = 1500, packed: bool = False, harm: small.Harm = small.unharmed
) -> dict[bytes, bytes]:
    """A database with tables over tables on several levels, and two logs; returns what is alive."""
    chance = random.Random(seed)
    changes, final = changed(chance, count, keys=count // 3)
    borders = sorted(chance.sample(range(1, count), 5))
    *old, first, second = [changes[a:b] for a, b in zip([0, *borders], [*borders, count], strict=True)]
    tables: list[tuple[int, list[small.Change]]] = []
    for level, some in zip((2, 1, 0, 0), old, strict=True):
        some = small.in_order(some)
        half = len(some) // 2 if level else 0
        while 0 < half < len(some) and some[half][1] == some[half - 1][1]:
            half += 1
        tables += [(level, part) for part in (some[:half], some[half:]) if part]
    logs = [[log[i : i + 7] for i in range(0, len(log), 7)] for log in (first, second)]
    small.write(folder, tables, logs, packed=packed, size=600, harm=harm)
    return final


def test_batches_are_real_caffes(shared: Path) -> None:
    folder = shared / "goldens" / "data_leveldb"
    if not folder.is_dir():
        pytest.skip("needs ../shared/goldens/data_leveldb, which is not here")
    before = contents(folder / "db")
    golden = np.load(folder / "golden.npz")
    graph = reader.build(
        reader.read_net(folder / "net.prototxt"), Phase.TEST, feeds=lambda layer: describe(layer, folder)
    )
    (node,) = graph.nodes
    stream = open_stream(node.layer, Opening(places=Places((), Path("nowhere"), download=False), folder=folder, seed=0))
    assert stream.feed.records == 8
    for step in (3, 0, 1, 2):
        for top, found in zip(("data", "label"), stream.batch(step), strict=True):
            np.testing.assert_array_equal(found, golden[f"step{step}/{top}"])
    assert contents(folder / "db") == before


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_newest_of_every_key_comes_in_order(tmp_path: Path, seed: int, packed: bool) -> None:
    final = written(tmp_path / "db", seed, packed=packed)
    before = contents(tmp_path / "db")
    assert everything(tmp_path / "db") == sorted(final.items())
    assert contents(tmp_path / "db") == before


def test_records_come_back_by_position_in_any_order(tmp_path: Path) -> None:
    records = sorted(written(tmp_path / "db", seed=9).items())
    database = Database(tmp_path / "db")
    chance = random.Random(0)

    def look(_: int) -> None:
        first, count = chance.randrange(3 * len(records)), chance.choice([1, 1, 7, 100, 900])
        assert database.read(first, count) == [records[(first + i) % len(records)] for i in range(count)]

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(look, range(100)))


@pytest.mark.parametrize("packed", [False, True])
def test_large_records_are_told_from_their_heads(tmp_path: Path, packed: bool) -> None:
    chance = random.Random(0)
    values = [chance.randbytes(120_000 + i) for i in range(12)]
    changes: list[small.Change] = [(i, b"%08d_aaaaaaaa" % (i % 9), value) for i, value in enumerate(values, 1)]
    long = (20, b"long" * 200, chance.randbytes(150_000))
    repeats = (21, b"x" * 90, b"x" * 5_000_000)
    folder = small.write(
        tmp_path / "db", [(0, [*changes, long, repeats, (22, b"%08d_aaaaaaaa" % 4, None)])], packed=packed
    )
    final = {key: value for _, key, value in [*changes, long, repeats] if value}
    del final[b"%08d_aaaaaaaa" % 4]
    database = Database(folder)
    assert database.read(0, database.records) == sorted(final.items())
    assert database.read(5, 2) == sorted(final.items())[5:7]
    # Damage to what was passed over shows when it is read.
    file = folder / "000011.ldb"
    data = bytearray(file.read_bytes())
    data[60_000] ^= 1
    file.write_bytes(data)
    database = Database(folder)
    assert database.read(1, 3) == sorted(final.items())[1:4]
    for _ in range(2):
        with pytest.raises(NktcError, match=rf"error: {re.escape(str(file))} is damaged at byte 0: the checksum is "):
            database.read(0, 1)
    assert database.read(1, 3) == sorted(final.items())[1:4]


def test_what_the_real_library_wrote_is_read(tmp_path: Path) -> None:
    plyvel = pytest.importorskip("plyvel", reason="plyvel, a binding of the real LevelDB, is not installed")
    chance = random.Random(5)
    for compression in ("snappy", None):
        path = tmp_path / f"db_{compression}"
        final: dict[bytes, bytes] = {}
        settings = {"write_buffer_size": 65536, "block_size": 1024, "max_file_size": 1 << 20}
        for _ in range(3):  # opening it again makes a table of the log
            with plyvel.DB(str(path), create_if_missing=True, compression=compression, **settings) as theirs:
                for _ in range(100):
                    with theirs.write_batch() as batch:
                        for _ in range(60):
                            key = b"%06d_img" % chance.randrange(9000)
                            if chance.random() < 0.2:
                                batch.delete(key)
                                final.pop(key, None)
                            else:
                                final[key] = chance.randbytes(chance.choice([10, 60])) * chance.choice([1, 4])
                                batch.put(key, final[key])
        assert len(list(path.glob("*.ldb"))) > 1
        before = contents(path)
        assert everything(path) == sorted(final.items())
        assert contents(path) == before
        with plyvel.DB(str(path)) as theirs:
            assert list(theirs) == sorted(final.items())


def test_the_old_names_of_tables_are_known(tmp_path: Path) -> None:
    folder = small.write(tmp_path / "db", [(0, [(1, b"a", b"1")])], suffix=".sst")
    assert everything(folder) == [(b"a", b"1")]


def test_reading_needs_no_right_to_write(tmp_path: Path) -> None:
    folder = small.write_records(tmp_path / "db", [(b"a", b"1")])
    for file in folder.iterdir():
        file.chmod(0o444)
    folder.chmod(0o555)
    assert everything(folder) == [(b"a", b"1")]
    folder.chmod(0o755)


def test_a_database_stays_open_until_its_files_change(tmp_path: Path) -> None:
    folder = small.write(tmp_path / "db", logs=[[[(1, b"a", b"1")]]])
    database = open_database(folder)
    assert open_database(folder) is database
    (folder / "000051.log").write_bytes(small.log([small.batch([(1, b"a", b"1"), (2, b"b", b"2")])]))
    assert open_database(folder).records == 2


def test_a_mean_is_taken_of_it(tmp_path: Path) -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (1500, 2, 3, 4), np.uint8)
    folder = small.write_records(tmp_path / "db", ((b"%08d" % i, pack(p, 0)) for i, p in enumerate(pixels)))
    np.testing.assert_allclose(database_mean(folder), pixels.mean(axis=0), rtol=1e-6)


def test_the_end_of_the_last_log_may_be_missing_as_when_its_writer_died(tmp_path: Path) -> None:
    batches: list[list[small.Change]] = [
        [(1, b"a", b"1"), (2, b"b", b"2")],
        [(3, b"c", b"x" * 70_000)],
        [(5, b"d", b"4")],
    ]
    folder = small.write(tmp_path / "db", logs=[batches])
    file = folder / "000051.log"
    whole = file.read_bytes()
    ends = [len(small.log(map(small.batch, batches[:count]))) for count in range(4)]
    cuts = [*range(60), 32767, 32768, 32770, 65536, *range(ends[2] - 3, len(whole) + 1)]
    for cut in cuts:
        keys = [key for done, end in zip(batches, ends[1:], strict=True) for _, key, _ in done if end <= cut]
        for tail in (b"", bytes(40_000)):  # an old LevelDB reserves space
            if tail and not (cut in ends or (cut == 32768)):
                continue
            file.write_bytes(whole[:cut] + tail)
            assert [key for key, _ in everything(folder)] == keys
    (folder / "000052.log").write_bytes(small.log([small.batch([(9, b"z", b"9")])]))
    file.write_bytes(whole[:-1])
    with pytest.raises(NktcError) as refused:
        Database(folder)
    assert str(refused.value) == f"error: {file} is cut off: it ends inside a record"


def test_an_empty_start_at_the_end_of_a_page_starts_nothing(tmp_path: Path) -> None:
    folder = small.write(tmp_path / "db", logs=[[[(1, b"a", b"x" * (32768 - 7 - 7 - 18))], [(2, b"b", b"y")]]])
    file = folder / "000051.log"
    whole = file.read_bytes()
    assert whole[32761:32768] == small.checksum(b"\2") + b"\0\0\2"  # an empty FIRST
    assert [key for key, _ in everything(folder)] == [b"a", b"b"]
    file.write_bytes(whole[:32768] + small.log([small.batch([(2, b"b", b"y")])]))
    assert [key for key, _ in everything(folder)] == [b"a", b"b"]


def test_damage_in_the_middle_names_file_and_place(tmp_path: Path) -> None:
    def refusal(file: Path, at: int, new: bytes) -> str:
        old = file.read_bytes()
        file.write_bytes(old[:at] + new + old[at + len(new) :])
        with pytest.raises(NktcError) as refused:
            everything(folder)
        file.write_bytes(old)
        return str(refused.value)

    changes: list[small.Change] = [(i, b"%03d" % i, b"%03d" % i * 20) for i in range(1, 200)]
    log: list[list[small.Change]] = [[(300, b"a", b"1")], [(301, b"b", b"2")], [(302, b"c", b"3" * 40_000)]]
    folder = small.write(tmp_path / "db", [(0, changes)], [log], size=1000)
    table, written = folder / "000011.ldb", folder / "000051.log"
    at = len(small.log([small.batch(log[0])]))
    found = (
        re.escape(f"error: {written} is damaged at byte {at}: the checksum is ")
        + "[0-9a-f]{8}, that of its bytes [0-9a-f]{8}"
    )
    assert re.fullmatch(found, refusal(written, at + 10, b"!"))
    assert refusal(written, 2 * at, small.checksum(b"\4") + b"\0\0\4").endswith(
        f"at byte {2 * at}: the record has no start"
    )
    assert refusal(written, 32768, small.checksum(b"\1") + b"\0\0\1").endswith(
        f"at byte 32768: the record at byte {2 * at} has no end"
    )
    assert refusal(written, 32768, bytes(7)).endswith(f"at byte {2 * at}: the record has no end")
    assert refusal(written, at, small.checksum(b"\7") + b"\0\0\7").endswith(f"at byte {at}: a fragment of kind 7")
    assert refusal(written, at + 4, b"\xff\xff").endswith(
        f"at byte {at}: 65535 bytes are told of, {32768 - at - 7} are left in the page"
    )
    assert re.fullmatch(
        re.escape(f"error: {table} is damaged at byte 0: the checksum is ") + ".*", refusal(table, 500, b"!")
    )
    size = table.stat().st_size
    assert refusal(table, size - 1, b"!") == (
        f"error: {table} is damaged at byte {size - 48}: "
        "its last 8 bytes are 214775248b80fb57, those of a table db4775248b80fb57"
    )
    assert refusal(table, size - 48, b"\0\0\0\xff\xff\x7f") == (
        f"error: {table} is damaged at byte {size - 48}: "
        f"a block ends at byte {(1 << 21) - 1 + 5}, the last one at byte {size - 48}"
    )
    assert refusal(folder / "MANIFEST-000002", 20, b"!").startswith(
        f"error: {folder / 'MANIFEST-000002'} is damaged at byte 0: the checksum is "
    )


def test_files_that_are_not_there_or_are_something_else_are_named(tmp_path: Path) -> None:
    def refusal(path: Path) -> str:
        with pytest.raises(NktcError) as refused:
            Database(path)
        return str(refused.value)

    assert refusal(tmp_path / "db") == f"error: there is no LevelDB at {tmp_path / 'db'}\n{HELP}"
    assert refusal(tmp_path) == f"error: {tmp_path} holds no CURRENT\n{HELP}"
    folder = small.write(tmp_path / "db", [(0, [(1, b"a", b"1")]), (0, [(2, b"b", b"1")])])
    table = folder / "000011.ldb"
    data = table.read_bytes()
    table.write_bytes(data[:-9])
    assert refusal(folder) == (
        f"error: {table} is cut off: it has {len(data) - 9} bytes, its database tells of {len(data)}"
    )
    table.unlink()
    assert refusal(folder) == f"error: {table} is missing"
    (folder / "000012.ldb").unlink()
    assert refusal(folder) == f"error: {table} is missing, and 1 more of 2 tables"
    (folder / "CURRENT").write_text("MANIFEST-000003\n")
    assert refusal(folder) == f"error: {folder / 'MANIFEST-000003'} is missing"
    (folder / "MANIFEST-000003").touch()
    assert refusal(folder) == (
        f"error: {folder / 'MANIFEST-000003'} tells of no log, so it is no manifest of a LevelDB, or cut off"
    )
    (folder / "MANIFEST-000003").write_bytes(small.log([b"\x67\1"]))
    assert refusal(folder) == (
        f"error: {folder / 'MANIFEST-000003'} is damaged at byte 0: a change of kind 103, which LevelDB does not have"
    )
    (folder / "CURRENT").write_text("../MANIFEST-000002\n")
    assert refusal(folder) == f"error: {folder / 'CURRENT'} names no manifest: it holds b'../MANIFEST-000002\\n'"
    folder = small.write(tmp_path / "other", order=b"idb_cmp1")
    assert refusal(folder) == (
        f"error: {folder / 'MANIFEST-000002'}: its keys are in the order idb_cmp1, leveldb.BytewiseComparator is known"
    )


def test_an_empty_database_is_refused_when_read(tmp_path: Path) -> None:
    folder = small.write(tmp_path / "db", [(0, [(1, b"a", b"1")])], [[[(2, b"a", None)]]])
    with pytest.raises(NktcError) as refused:
        Database(folder).read(0, 1)
    assert str(refused.value) == f"error: {folder} holds no records\n{HELP}"


def spoilt(chance: random.Random, data: bytes) -> bytes:
    """The bytes with one thing wrong."""
    at = chance.randrange(len(data) + 1)
    match chance.randrange(5):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + chance.randbytes(chance.randrange(1, 20)) + data[at:]
        case 2:
            return data[:at] + data[at + chance.randrange(1, 20) :]
        case 3:
            return data[:at] + bytes(chance.randrange(1, 20)) + data[at + 20 :]
        case _:
            return data[:at] + bytes([chance.choice([0, 1, 127, 128, 255, chance.randrange(256)])]) + data[at + 1 :]


def outcome(folder: Path) -> Iterator[str]:
    """What a damaged database does: anything that is no NktcError comes up."""
    try:
        database = Database(folder)
        yield f"{database.records} records"
        if database.records:
            database.read(database.records // 2, database.records)
        yield "all read"
    except NktcError as error:
        yield error.message


def test_random_damage_is_an_error_of_the_users_or_none(tmp_path: Path) -> None:
    written(tmp_path / "db", 1, count=300, packed=True)
    files = [file for file in sorted((tmp_path / "db").iterdir()) if file.stat().st_size]
    messages = set()
    for seed in range(100):
        chance = random.Random(seed)
        file = chance.choice(files)
        old = file.read_bytes()
        file.write_bytes(spoilt(chance, old))
        messages.update(outcome(tmp_path / "db"))
        file.write_bytes(old)
    assert len(messages) > 20


def test_random_damage_under_good_checksums_is_an_error_of_the_users_or_none(tmp_path: Path) -> None:
    messages = set()
    for seed in range(100):
        chance = random.Random(seed)
        rate = chance.choice([0.01, 0.05, 0.2])

        def harm(data: bytes, chance: random.Random = chance, rate: float = rate) -> bytes:
            return spoilt(chance, data) if chance.random() < rate else data

        written(tmp_path / f"{seed}", seed, count=150, packed=seed % 2 == 0, harm=harm)
        messages.update(outcome(tmp_path / f"{seed}"))
    assert len(messages) > 20
