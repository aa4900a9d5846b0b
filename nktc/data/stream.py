"""A stream of batches, and reading it ahead."""

from __future__ import annotations

import atexit
import contextlib
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from nktc.ir import Feed, Preprocessing, Shape

Batch = tuple[Tensor, ...]

CPU = torch.device("cpu")


class Batches(Protocol):
    """Anything that makes batches by their number: a stream, or several side by side."""

    @property
    def resident(self) -> bool:
        """Whether they are made from memory on the device, so that reading ahead gains nothing. May become so."""

    @property
    def device(self) -> torch.device:
        """Where they are."""

    def batch(self, k: int) -> Batch:
        """Batch `k`; always the same one for the same k."""


class Stream(ABC):
    """What feeds one data layer.

    `feed` tells shapes, records and labels of what is really read; `preprocessing` what its pictures go
    through, None where they are none. `stand_in` names the set that is read in place of the one asked for, ""
    where it is that one, and `missing` tells why. A `resident` stream makes its batches from memory on the
    `device`; a stream may become resident once it has read everything.
    """

    feed: Feed
    preprocessing: Preprocessing | None = None
    stand_in: str = ""
    missing: str = ""
    resident: bool = False
    device: torch.device = CPU

    @abstractmethod
    def batch(self, k: int) -> Batch:
        """Batch `k`, counted from 0, around and around: data f32[n c h w], label f32[n]. Always the same one
        for the same k; new tensors, on the stream's device. Raises NktcError for a record that cannot be
        read."""


def data_feed(image: Shape, batch: int, records: int | None, labels: tuple[str, ...], tops: int = 2) -> Feed:
    """The feed of a layer with data and label."""
    return Feed(((batch, *image), (batch,))[:tops], records, labels)


def with_tops(feed: Feed, tops: int) -> Feed:
    """The feed of a layer that has only the first `tops`."""
    return replace(feed, shapes=feed.shapes[:tops])


def read_ahead(stream: Batches, start: int = 0, depth: int = 0) -> Iterator[Batch]:
    """The batches from `start` on, without end.

    Until the stream is resident a thread makes up to `depth` of them before they are asked for; 0 is 4, and 2 on a GPU,
    where memory is dear. An error of the thread comes up at the batch it belongs to. Closing the iterator ends the
    thread.

    Batches on a GPU are made in a CUDA stream of their own while the GPU computes; each may be used in the stream that
    is current when it is asked for, and in those that wait for it.
    """
    k = start
    if not stream.resident:
        for batch in _ahead(stream, start, depth or (2 if stream.device.type == "cuda" else 4)):
            yield batch
            k += 1
    while True:
        yield stream.batch(k)
        k += 1


@dataclass(frozen=True)
class _Made:
    """A batch of the thread's, and on a GPU the moment from which on it is there."""

    batch: Batch
    ready: torch.cuda.Event | None

    def take(self) -> Batch:
        if self.ready:
            current = torch.cuda.current_stream(self.batch[0].device)
            current.wait_event(self.ready)
            for tensor in self.batch:
                tensor.record_stream(current)  # its memory is not used anew before what is done with it here is done
        return self.batch


@lru_cache
def _beside(device: torch.device) -> torch.cuda.Stream:
    """The CUDA stream in which batches are made; one for all readers, for torch keeps memory for each stream."""
    return torch.cuda.Stream(device)


def _ahead(stream: Batches, start: int, depth: int) -> Iterator[Batch]:
    """The batches from `start` on until the stream is resident."""
    waiting: queue.Queue[_Made | BaseException | None] = queue.Queue(depth)
    stopped = threading.Event()
    beside = None
    if stream.device.type == "cuda":
        beside = _beside(stream.device)
        beside.wait_stream(torch.cuda.current_stream(stream.device))  # which made what batches are made from

    def hand_over(made: _Made | BaseException | None) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put(made, timeout=0.1)
                return

    def produce() -> None:
        k = start
        try:
            with torch.cuda.stream(beside) if beside else contextlib.nullcontext():
                while not stopped.is_set() and not stream.resident:
                    batch = stream.batch(k)
                    hand_over(_Made(batch, beside.record_event() if beside else None))
                    k += 1
            hand_over(None)
        except BaseException as error:  # Whatever it is, the consumer is the one to know.
            hand_over(error)

    def stop() -> None:
        stopped.set()
        thread.join()

    thread = threading.Thread(target=produce, name="nktc read ahead", daemon=True)
    thread.start()
    atexit.register(stop)  # a thread that is inside torch when Python ends takes the process down
    try:
        while (got := waiting.get()) is not None:
            if isinstance(got, BaseException):
                raise got
            yield got.take()
    finally:
        atexit.unregister(stop)
        stop()
