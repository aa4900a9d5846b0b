"""Parts of a source's records: disjoint, of exact sizes, drawn from seed and number of records alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import small_cifar10
import small_leveldb
import torch

from nktc.data import Opening, Places, Stream, describe, open_stream
from nktc.data.databases.datum import pack
from nktc.data.databases.lmdb import write_database
from nktc.data.parts import part_records, part_size
from nktc.errors import LayerError, NktcError
from nktc.ir import Layer, Phase, Transform
from nktc.layers import Data, Dataset, Part

NOWHERE = Places((), Path("nowhere"), download=False)
PARTS = ("TRAIN", "VALIDATION", "TEST")


def drawn(name: str, records: int, validation: float = 0.2, test: float = 0.1, seed: int = 0) -> list[int]:
    found = part_records(Part(name, validation, test, seed), records)
    assert found is not None
    assert part_size(Part(name, validation, test, seed), records) == len(found)
    return found.tolist()


@pytest.mark.parametrize(
    ("records", "sizes"), [(1000, (700, 200, 100)), (7, (5, 1, 1)), (13, (9, 3, 1)), (50_000, (35_000, 10_000, 5_000))]
)
def test_parts_are_disjoint_and_together_everything(records: int, sizes: Sequence[int]) -> None:
    parts = [drawn(name, records) for name in PARTS]
    assert tuple(map(len, parts)) == sizes
    assert sorted(chain(*parts)) == list(range(records))
    assert all(part == sorted(part) for part in parts)


def test_parts_depend_on_the_seed_and_hardly_on_a_record_more() -> None:
    one = drawn("VALIDATION", 1000)
    assert one == drawn("VALIDATION", 1000)
    assert len({*one} & {*drawn("VALIDATION", 1000, seed=1)}) < 80  # 40 are expected by chance
    assert len({*one} ^ {*drawn("VALIDATION", 1001)}) < 5


def test_the_test_part_stays_when_validation_grows() -> None:
    assert drawn("TEST", 1000, validation=0.1) == drawn("TEST", 1000, validation=0.5)


def test_a_part_is_spread_evenly_over_the_source() -> None:
    counts = np.bincount(np.array(drawn("VALIDATION", 100_000)) // 10_000)
    assert abs(counts - 2_000).max() < 160  # four standard deviations


def test_parts_are_the_same_in_every_version() -> None:
    # A change here moves records from the training to the validation of a run that is resumed.
    assert drawn("VALIDATION", 20, seed=7) == VALIDATION
    assert drawn("TEST", 20, seed=7) == TEST


def test_no_part_is_everything() -> None:
    assert part_records(None, 5) is None
    assert part_size(None, 5) == 5


@pytest.mark.parametrize("name", PARTS)
def test_fewer_records_of_a_part_lie_within_more(name: str) -> None:
    whole = drawn(name, 1000)
    before: set[int] = set()
    for records in (1, 7, 50, len(whole), 5000):
        part = Part(name, 0.2, 0.1, records=records)
        found = part_records(part, 1000)
        assert found is not None
        assert part_size(part, 1000) == len(found) == min(records, len(whole))
        assert found.tolist() == sorted(found)
        assert before <= {*found.tolist()} <= {*whole}
        before = {*found.tolist()}
    seven = part_records(Part(name, 0.2, 0.1, records=7), 1000)
    assert seven is not None
    assert seven.tolist() != whole[:7], "they are drawn, not the first of the source"


@pytest.mark.parametrize(("name", "share"), [("VALIDATION", 0.1), ("TEST", 0.1), ("TRAIN", 0.9)])
def test_an_empty_part_is_refused(name: str, share: float) -> None:
    part = Part(name, share if name != "TEST" else 0.0, share if name == "TEST" else 0.0)
    for find in (part_size, part_records):
        with pytest.raises(LayerError) as refused:
            find(part, 3)
        assert refused.value.field == "split_param"
        assert refused.value.message == (
            f"its {name} part is empty: 3 records, validation {part.validation:g}, test {part.test:g}"
        )


def opened(layer: Layer, folder: Path, places: Places = NOWHERE, seed: int = 0) -> Stream:
    stream = open_stream(layer, Opening(places=places, folder=folder, seed=seed))
    assert stream.feed.records == describe(layer, folder).records
    return stream


def labels(stream: Stream, count: int) -> list[int]:
    """The labels of the first `count` records."""
    found: list[int] = []
    for k in range(count):
        if len(found) >= count:
            break
        found += stream.batch(k)[1].int().tolist()
    return found[:count]


@pytest.mark.parametrize("backend", ["LMDB", "LEVELDB"])
@pytest.mark.parametrize("resident", [False, True])
def test_a_database_gives_its_part_in_its_own_order_whatever_the_batch(
    tmp_path: Path, backend: str, resident: bool
) -> None:
    records = [(f"{i:08d}".encode(), pack(np.full((1, 2, 2), i, np.uint8), i)) for i in range(90)]
    if backend == "LMDB":
        write_database(tmp_path / "db", records)
    else:
        small_leveldb.write_records(tmp_path / "db", records)
    for name in PARTS:
        part = Part(name, 0.2, 0.1, seed=3)
        expected = drawn(name, 90, seed=3)
        for batch in (1, 7, 90, 200):
            layer = Data("db", batch, backend, part=part)
            stream = open_stream(layer, Opening(places=NOWHERE, folder=tmp_path, seed=0, resident=resident))
            assert stream.feed.records == describe(layer, tmp_path).records == len(expected)
            assert labels(stream, 2 * len(expected)) == expected * 2
            pixels, again = stream.batch(5)
            assert pixels[:, 0, 0, 0].tolist() == again.tolist()


def test_a_damaged_record_of_a_part_is_named_by_its_place_in_the_database(tmp_path: Path) -> None:
    bad = drawn("TEST", 40)[2]
    good = pack(np.zeros((1, 2, 2), np.uint8), 0)
    write_database(tmp_path / "db", ((f"{i:02}".encode(), good[:-3] if i == bad else good) for i in range(40)))
    stream = opened(Data("db", 3, "LMDB", part=Part("TEST", 0.2, 0.1)), tmp_path)
    with pytest.raises(NktcError) as refused:
        stream.batch(0)
    assert refused.value.message.startswith(f'{tmp_path / "db"}: record {bad}, key "{bad:02}": ')


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    small_cifar10.shrink(monkeypatch)
    small_cifar10.write_tree(tmp_path / "root" / "cifar10")
    return Places((str(tmp_path / "root"),), tmp_path / "cache", download=False)


def whole(stream: Stream, epochs: int = 1) -> torch.Tensor:
    """Every record of some epochs."""
    records = (stream.feed.records or 0) * epochs
    batch = stream.feed.shapes[0][0]
    return torch.cat([stream.batch(k)[0] for k in range(-(-records // batch))])[:records]


def test_a_dataset_is_split_as_a_database_is(cifar: Places) -> None:
    everything = whole(opened(Dataset("cifar10", 6, Phase.TRAIN), Path(), cifar))
    for name in PARTS:
        stream = opened(Dataset("cifar10", 6, Phase.TRAIN, part=Part(name, 0.2, 0.1)), Path(), cifar)
        assert torch.equal(whole(stream), everything[drawn(name, 20)])


def test_a_part_is_shuffled_within_itself(cifar: Places) -> None:
    layer = Dataset("cifar10", 4, Phase.TRAIN, shuffle=True, part=Part("TRAIN", 0.2, 0.1))
    plain = whole(opened(Dataset("cifar10", 4, Phase.TRAIN, part=Part("TRAIN", 0.2, 0.1)), Path(), cifar))
    mixed = whole(opened(layer, Path(), cifar, seed=1), epochs=2)
    rows = [sorted(part.flatten(1).tolist()) for part in (plain, mixed[:14], mixed[14:])]
    assert rows[0] == rows[1] == rows[2]
    assert not torch.equal(mixed[:14], mixed[14:])


def test_augmentation_follows_the_place_in_the_stream_of_the_part(tmp_path: Path) -> None:
    pictures = np.random.RandomState(0).randint(0, 256, (40, 3, 9, 9), np.uint8)
    write_database(tmp_path / "db", ((f"{i:02}".encode(), pack(p, i)) for i, p in enumerate(pictures)))
    chosen = drawn("TRAIN", 40)
    write_database(tmp_path / "part", ((f"{i:02}".encode(), pack(pictures[i], i)) for i in chosen))
    transform = Transform(crop=6, mirror=True)
    one = opened(Data("db", 5, "LMDB", transform, Phase.TRAIN, part=Part("TRAIN", 0.2, 0.1)), tmp_path, seed=4)
    other = opened(Data("part", 5, "LMDB", transform, Phase.TRAIN), tmp_path, seed=4)
    for k in (0, 5, 9):
        assert torch.equal(one.batch(k)[0], other.batch(k)[0])


VALIDATION = [3, 5, 9, 10]
TEST = [14, 17]
