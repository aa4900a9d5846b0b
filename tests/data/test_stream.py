"""Reading ahead: the order kept, errors handed on, the thread ended."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time

import pytest
import torch

from nktc.data import Stream, read_ahead
from nktc.data.stream import Batch
from nktc.errors import NktcError


class Counting(Stream):
    def __init__(self, fails_at: int = -1, resident: bool = False) -> None:
        self.fails_at, self.resident = fails_at, resident
        self.made: list[tuple[int, str]] = []

    def batch(self, k: int) -> Batch:
        if k == self.fails_at:
            raise NktcError(f"record {k} is damaged")
        self.made.append((k, threading.current_thread().name))
        return (torch.tensor(k),)


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "nktc read ahead"]


@pytest.mark.parametrize("resident", [False, True])
def test_batches_come_in_order_from_the_start_given(resident: bool) -> None:
    batches = read_ahead(Counting(resident=resident), 5, depth=3)
    assert [int(batch[0]) for batch in itertools.islice(batches, 20)] == list(range(5, 25))
    batches.close()  # type: ignore[attr-defined]
    assert not readers()


def test_only_so_many_are_made_ahead() -> None:
    stream = Counting()
    batches = read_ahead(stream, 0, depth=2)
    next(batches)
    deadline = time.monotonic() + 5
    while len(stream.made) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert [k for k, _ in stream.made] == [0, 1, 2, 3]  # one taken, two waiting, one in hand
    assert {name for _, name in stream.made} == {"nktc read ahead"}
    batches.close()  # type: ignore[attr-defined]
    assert not readers()


def test_what_lies_in_memory_needs_no_thread() -> None:
    stream = Counting(resident=True)
    next(read_ahead(stream, 0))
    assert stream.made == [(0, threading.current_thread().name)]


@pytest.mark.parametrize("resident", [False, True])
def test_an_error_comes_up_at_its_own_batch(resident: bool) -> None:
    batches = read_ahead(Counting(fails_at=2, resident=resident), 0)
    assert [int(next(batches)[0]) for _ in range(2)] == [0, 1]
    with pytest.raises(NktcError, match="record 2 is damaged"):
        next(batches)
    assert not readers()


def test_an_iterator_left_behind_ends_its_thread() -> None:
    batches = read_ahead(Counting(), 0)
    next(batches)
    del batches
    assert not readers()


class Reading(Counting):
    """Resident once the batches up to 7 were made."""

    def batch(self, k: int) -> Batch:
        self.resident = self.resident or k == 7
        return super().batch(k)


def test_a_stream_that_becomes_resident_goes_on_without_the_thread() -> None:
    stream = Reading()
    batches = read_ahead(stream, 3, depth=2)
    assert [int(batch[0]) for batch in itertools.islice(batches, 10)] == list(range(3, 13))
    assert not readers()
    thread, here = "nktc read ahead", threading.current_thread().name
    assert stream.made == [(k, thread if k < 8 else here) for k in range(3, 13)]


def test_a_process_that_ends_while_batches_are_read_ends_well() -> None:
    program = """if True:
        import torch
        from nktc.data import Stream, read_ahead

        class Busy(Stream):
            def batch(self, k):
                return (torch.randn(100_000).sort()[0],)

        batches = read_ahead(Busy())
        next(batches)
    """
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
