"""Batches that other processes read: the same as without them, whatever happens to the processes."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from nktc.data import Opening, Places, open_stream, read_ahead, record_stream
from nktc.data.record_stream import RecordStream
from nktc.data.workers import Workers
from nktc.errors import NktcError
from nktc.ir import Phase, Transform
from nktc.layers import ImageData

NOWHERE = Places((), Path("nowhere"), download=False)
COUNT = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of two sizes, in a list each; the third list has two that are none."""
    path = tmp_path_factory.mktemp("images")
    chance = np.random.RandomState(0)
    for i in range(COUNT):
        for name, height in (("even", 12), ("mixed", 12 + i % 3)):
            pixels = chance.randint(0, 256, (height, 14, 3), np.uint8)
            (path / f"{name}{i}.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    for name in ("even", "mixed"):
        (path / f"{name}.txt").write_text("".join(f"{name}{i}.png {i}\n" for i in range(COUNT)))
    (path / "none.png").write_bytes(b"no picture")
    lines = [f"even{i}.png {i}\n" for i in range(COUNT)]
    lines[7], lines[20] = "none.png 7\n", "gone.png 20\n"
    (path / "bad.txt").write_text("".join(lines))
    return path


def layer(source: str, skips: bool = False, batch: int = 4) -> ImageData:
    transform = Transform(crop=11, mirror=True)
    return ImageData(source, batch, transform=transform, phase=Phase.TRAIN, shuffle=True, skips=skips)


def opened(layer: ImageData, folder: Path, workers: int) -> RecordStream:
    stream = open_stream(layer, Opening(NOWHERE, folder, seed=3, workers=workers))
    assert isinstance(stream, RecordStream)
    return stream


@pytest.fixture
def worked(folder: Path) -> Iterator[RecordStream]:
    """A stream of images of one size, whose two processes are up."""
    stream = opened(layer("even.txt"), folder, 2)
    wait_for(stream)
    yield stream
    stream.close()


def wait_for(stream: RecordStream) -> None:
    """Returns when every process of the stream is up."""
    stream.expect(0)
    assert stream._workers
    until = time.monotonic() + 60
    while not all(stream._workers._is_ready(hand) for hand in list(stream._workers._hands)):
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize("source", ["even.txt", "mixed.txt"])
def test_they_are_those_that_are_read_here(folder: Path, source: str) -> None:
    plain, stream = opened(layer(source), folder, 0), opened(layer(source), folder, 2)
    wait_for(stream)
    taken: list[int] = []
    take = stream._workers.take  # type: ignore[union-attr]
    stream._workers.take = lambda k: found if (found := take(k)) is None else taken.append(k) or found  # type: ignore
    batches = read_ahead(stream, 5)
    for k in range(5, 40):
        here, there = plain.batch(k), next(batches)
        assert torch.equal(here[0], there[0])
        assert torch.equal(here[1], there[1])
    batches.close()  # type: ignore[attr-defined]
    assert len(taken) >= 30  # other processes did the work
    again = read_ahead(stream, 2)  # what was expected before is forgotten
    assert torch.equal(next(again)[0], plain.batch(2)[0])
    again.close()  # type: ignore[attr-defined]
    stream.close()


def test_batches_larger_than_expected_come_too(folder: Path) -> None:
    plain = opened(layer("even.txt"), folder, 1)
    assert plain._reading.again
    workers = Workers(plain._reading.again, 1, largest=10)
    while not workers._is_ready(workers._hands[0]):
        time.sleep(0.02)
    for k in range(4):
        workers.expect(k, whole=False)
        fetched = workers.take(k)
        assert fetched
        np.testing.assert_array_equal(fetched.values, plain.fetch(k, whole=False).values)
        workers.done(k)
    workers.close()


def test_what_they_meet_with_is_raised_where_the_batch_is_asked_for(folder: Path) -> None:
    stream = opened(layer("bad.txt"), folder, 1)
    wait_for(stream)
    batches = read_ahead(stream, 0)
    with pytest.raises(
        NktcError, match=r"bad\.txt:(8: .*none\.png: it is no 8-bit|21: image .*gone\.png does not exist)"
    ):
        list(itertools.islice(batches, 8))
    stream.close()


def test_what_they_skip_is_counted_here(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, stream = opened(layer("bad.txt", skips=True), folder, 0), opened(layer("bad.txt", skips=True), folder, 2)
    wait_for(stream)
    batches = read_ahead(stream, 0)
    for k in range(15):
        assert torch.equal(next(batches)[0], plain.batch(k)[0])
    batches.close()  # type: ignore[attr-defined]
    assert stream.skipped == plain.skipped
    assert {place: "8: " in what or "21: " in what for place, what in stream.skipped.items()} == {7: True, 20: True}
    said = capsys.readouterr().err
    assert said.count("warning: skipped: ") == 4  # two for each stream, each once
    stream.close()


def test_one_that_is_killed_is_replaced_by_who_asks(
    folder: Path, worked: RecordStream, capfd: pytest.CaptureFixture[str]
) -> None:
    plain = opened(layer("even.txt"), folder, 0)
    assert worked._workers
    for hand in worked._workers._hands:
        assert hand.process.pid
        os.kill(hand.process.pid, signal.SIGKILL)
        hand.process.join()
    for k in range(10):
        worked.expect(k + 1)
        assert torch.equal(worked.batch(k)[0], plain.batch(k)[0])
    assert "a process that reads batches has ended (exit code -9)" in capfd.readouterr().err


def test_where_little_is_kept_none_are_started_until_it_turns_out_that_it_cannot_be(folder: Path) -> None:
    even, mixed = (
        open_stream(layer(source), Opening(NOWHERE, folder, seed=3, workers=1, resident=True))
        for source in ("even.txt", "mixed.txt")
    )
    assert isinstance(even, RecordStream)
    assert isinstance(mixed, RecordStream)
    for stream in (even, mixed):
        stream.expect(0)
        assert stream._workers is None
        stream.batch(0)
        stream.expect(1)
    assert even._workers is None
    assert mixed._workers is not None
    mixed.close()


def test_a_stream_that_is_kept_whole_ends_its_processes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_stream, "SMALL", 0)
    plain = opened(layer("even.txt"), folder, 0)
    stream = open_stream(layer("even.txt"), Opening(NOWHERE, folder, seed=3, workers=1, resident=True))
    assert isinstance(stream, RecordStream)
    wait_for(stream)
    for k in range(20):
        stream.expect(k)
        assert torch.equal(stream.batch(k)[0], plain.batch(k)[0])
    assert stream.resident
    assert stream._workers is None
