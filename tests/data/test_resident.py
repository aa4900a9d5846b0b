"""Records that stay in memory: the same batches, read once, and only where there is room."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from nktc.data import Opening, Places, Stream, open_stream, read_ahead, resident, write_mean
from nktc.data.database import DatabaseRecords
from nktc.data.databases.datum import pack, pack_encoded
from nktc.data.databases.lmdb import write_database
from nktc.data.record_stream import RecordStream
from nktc.data.records import Taken
from nktc.data.resident import Kept, free_memory, room
from nktc.errors import NktcError
from nktc.ir import Phase, Transform
from nktc.layers import Data, Part

NOWHERE = Places((), Path("nowhere"), download=False)
CPU = torch.device("cpu")
RECORDS = 23


def picture(i: int, channels: int = 3) -> np.ndarray:
    return np.random.RandomState(i).randint(0, 256, (channels, 9, 8), np.uint8)


def png(i: int, height: int = 9) -> bytes:
    pixels = np.random.RandomState(i).randint(0, 256, (height, 8, 3), np.uint8)
    return pack_encoded(cv2.imencode(".png", pixels)[1].tobytes(), i)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Databases of the same length, raw, encoded, and such that cannot be kept, and a mean picture."""
    path = tmp_path_factory.mktemp("databases")
    kinds = {
        "raw": lambda i: pack(picture(i), i),
        "encoded": png,
        "sizes": lambda i: png(i, 9 + i % 2),
        "floats": lambda i: pack(picture(i).astype(np.float32), i),
        "mixed": lambda i: pack(picture(i).astype(np.float32) if i == 20 else picture(i), i),
    }
    for name, made in kinds.items():
        write_database(path / name, ((f"{i:03}".encode(), made(i)) for i in range(RECORDS)))
    write_mean(path / "mean", np.random.RandomState(1).rand(3, 9, 8).astype(np.float32) * 255)
    return path


def opened(layer: Data, folder: Path, keeps: bool) -> RecordStream:
    stream = open_stream(layer, Opening(places=NOWHERE, folder=folder, seed=5, resident=keeps))
    assert isinstance(stream, RecordStream)
    return stream


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many records each reading of a database took."""
    counts: list[int] = []
    plain = DatabaseRecords.read

    def read(self: DatabaseRecords, places: np.ndarray) -> Taken:
        counts.append(len(places))
        return plain(self, places)

    monkeypatch.setattr(DatabaseRecords, "read", read)
    return counts


@pytest.mark.parametrize("source", ["raw", "encoded"])
@pytest.mark.parametrize("batch", [1, 4, RECORDS, 50])
@pytest.mark.parametrize(
    "transform",
    [
        Transform(),
        Transform(scale=0.1, crop=6, mirror=True, mean_file="mean"),
        Transform(scale=0.1, crop=5, mirror=True, mean_values=(100.0, 110.0, 120.0)),
        Transform(mirror=True, force_color=True, order="RGB"),
    ],
    ids=["plain", "mean file", "mean values", "RGB"],
)
@pytest.mark.parametrize("part", [None, Part("TRAIN", 0.25)])
def test_batches_are_those_that_are_streamed(
    folder: Path, reads: list[int], source: str, batch: int, transform: Transform, part: Part | None
) -> None:
    layer = Data(source, batch, "LMDB", transform, Phase.TRAIN, part=part)
    streamed, kept = opened(layer, folder, False), opened(layer, folder, True)
    epoch = -(-(kept.feed.records or 0) // batch)
    for k in range(epoch):
        assert not kept.resident
        for one, other in zip(streamed.batch(k), kept.batch(k), strict=True):
            assert torch.equal(one, other)
    assert kept.resident
    assert not streamed.resident
    expected = [streamed.batch(k) for k in (0, *range(epoch, 3 * epoch))]
    reads.clear()
    for wanted, k in zip(expected, (0, *range(epoch, 3 * epoch)), strict=True):
        for one, other in zip(wanted, kept.batch(k), strict=True):
            assert torch.equal(one, other)
    assert not reads


def test_gray_pictures_are_kept_gray(folder: Path) -> None:
    layer = Data("encoded", 5, "LMDB", Transform(force_gray=True), Phase.TRAIN)
    streamed, kept = opened(layer, folder, False), opened(layer, folder, True)
    for k in range(12):
        assert torch.equal(streamed.batch(k)[0], kept.batch(k)[0])
    assert kept.resident
    assert kept.batch(0)[0].shape == (5, 1, 9, 8)


@pytest.mark.parametrize("source", ["sizes", "floats", "mixed"])
def test_records_of_several_sizes_or_of_floats_are_streamed(folder: Path, source: str) -> None:
    layer = Data(source, 4, "LMDB", Transform(crop=8, mirror=True), Phase.TRAIN)
    streamed, kept = opened(layer, folder, False), opened(layer, folder, True)
    for k in range(15):
        assert torch.equal(streamed.batch(k)[0], kept.batch(k)[0])
    assert not kept.resident


def test_records_that_take_a_quarter_of_the_free_memory_are_streamed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = RECORDS * 3 * 9 * 8
    for free, expected in ((4 * size, False), (4 * size + 1, True), (0, False)):
        monkeypatch.setattr(resident, "free_memory", lambda device, free=free: free)
        stream = opened(Data("raw", RECORDS, "LMDB"), folder, True)
        stream.batch(0)
        assert stream.resident is expected


def test_nothing_is_kept_unless_asked_for(folder: Path) -> None:
    stream = open_stream(Data("raw", RECORDS, "LMDB"), Opening(places=NOWHERE, folder=folder, seed=0))
    stream.batch(0)
    assert not stream.resident


def test_a_short_run_reads_what_it_uses_and_no_more(folder: Path, reads: list[int]) -> None:
    stream = opened(Data("raw", 3, "LMDB"), folder, True)
    reads.clear()
    for k in (0, 1, 2, 1, 0):
        stream.batch(k)
    assert sum(reads) == 9


def test_batches_whose_records_are_there_are_not_read_again(folder: Path, reads: list[int]) -> None:
    # As of one of two processes, which takes every second batch and never sees the others.
    stream = opened(Data("raw", 4, "LMDB", part=Part("TRAIN", 0.3)), folder, True)
    assert stream.feed.records == 16
    expected = [stream.batch(k)[0].clone() for k in (1, 3)]
    reads.clear()
    found = [stream.batch(k)[0] for k in (5, 7)]
    assert not reads
    assert not stream.resident
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_a_batch_from_memory_is_the_callers_to_change(folder: Path) -> None:
    stream = opened(Data("raw", RECORDS, "LMDB"), folder, True)
    expected = [blob.clone() for blob in stream.batch(0)]
    for _ in range(2):
        for blob in stream.batch(0):
            blob.zero_()
    assert all(torch.equal(a, b) for a, b in zip(expected, stream.batch(0), strict=True))


def test_a_damaged_record_is_still_refused_at_its_batch(tmp_path: Path) -> None:
    good = pack(picture(0), 0)
    write_database(tmp_path / "db", [(b"a", good), (b"b", good[:-3])])
    stream = opened(Data("db", 1, "LMDB"), tmp_path, True)
    stream.batch(0)
    for _ in range(2):
        with pytest.raises(NktcError, match='record 1, key "b"'):
            stream.batch(1)


def test_the_reading_thread_ends_with_the_first_epoch_and_no_batch_is_lost(folder: Path) -> None:
    layer = Data("raw", 4, "LMDB", Transform(crop=6, mirror=True), Phase.TRAIN)
    plain: Stream = opened(layer, folder, False)
    batches = read_ahead(opened(layer, folder, True), 2)
    for k, batch in enumerate(itertools.islice(batches, 30), 2):
        assert all(torch.equal(a, b) for a, b in zip(plain.batch(k), batch, strict=True))
    assert "nktc read ahead" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("keeps", [False, True])
def test_batches_made_beside_a_busy_gpu_are_those_of_the_cpu(folder: Path, keeps: bool) -> None:
    gpu, work = torch.device("cuda", 0), torch.randn(2000, 2000, device="cuda")
    for source in ("raw", "encoded", "sizes"):
        transform = Transform(scale=0.1, crop=6, mirror=True, mean_values=(100.0,))
        layer = Data(source, 4, "LMDB", transform, Phase.TRAIN)
        plain = opened(layer, folder, False)
        there = open_stream(layer, Opening(places=NOWHERE, folder=folder, seed=5, device=gpu, resident=keeps))
        sums = []
        for k, batch in enumerate(itertools.islice(read_ahead(there), 60)):
            for _ in range(20):
                work = (work @ work).tanh()
            sums.append([blob.double().sum() for blob in batch])
            if k % 10 == 9:
                assert all(torch.equal(a, b.cpu()) for a, b in zip(plain.batch(k), batch, strict=True))
        expected = [[blob.double().sum().item() for blob in plain.batch(k)] for k in range(60)]
        assert [[total.item() for total in each] for each in sums] == [[pytest.approx(e) for e in x] for x in expected]
        assert there.resident is (keeps and source != "sizes")


def test_records_are_there_once_they_were_put() -> None:
    kept = Kept(torch.zeros(5, 1, 2, 2, dtype=torch.uint8), torch.zeros(5))
    places = np.array([3, 0])
    pixels, labels = torch.arange(8, dtype=torch.uint8).reshape(2, 1, 2, 2), torch.tensor([7.0, 8.0])
    kept.put(places, pixels, labels)
    assert kept.has(places)
    assert kept.has(slice(3, 4))
    assert not kept.has(slice(2, 4))
    assert not kept.whole
    for found, expected in zip(kept.take(places), (pixels, labels), strict=True):
        assert torch.equal(found, expected)
    kept.put(slice(1, 5), torch.ones(4, 1, 2, 2, dtype=torch.uint8), torch.ones(4))
    assert kept.whole
    assert kept.take(slice(0, 5))[1].tolist() == [8, 1, 1, 1, 1]


def test_the_free_memory_is_that_of_the_machine() -> None:
    free = free_memory(CPU)
    assert 1 << 20 < free < 1 << 50  # more than a megabyte, less than any machine has
    assert room(10, (3, 4, 4), CPU) is not None
    assert room(free, (1, 1, 1), CPU) is None
