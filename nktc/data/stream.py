"""A stream of batches, and reading it ahead."""

from __future__ import annotations

import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from torch import Tensor

from nktc.ir import Feed, Preprocessing, Shape

Batch = tuple[Tensor, ...]


class Batches(Protocol):
    """Anything that makes batches by their number: a stream, or several side by side."""

    @property
    def resident(self) -> bool:
        """Whether they are made from memory on the device, so that reading ahead gains nothing."""

    def batch(self, k: int) -> Batch:
        """Batch `k`; always the same one for the same k."""


class Stream(ABC):
    """What feeds one data layer.

    `feed` tells shapes, records and labels of what is really read; `preprocessing` what its pictures go
    through, None where they are none. `stand_in` names the set that is read in place of the one asked for, ""
    where it is that one, and `missing` tells why. A `resident` stream makes its batches from memory on the
    device.
    """

    feed: Feed
    preprocessing: Preprocessing | None = None
    stand_in: str = ""
    missing: str = ""
    resident: bool = False

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


def read_ahead(stream: Batches, start: int = 0, depth: int = 4) -> Iterator[Batch]:
    """The batches from `start` on, without end, up to `depth` of them made by a thread before they are asked
    for. An error of the thread comes up at the batch it belongs to. Closing the iterator ends the thread."""
    if stream.resident:
        return _one_by_one(stream, start)
    return _ahead(stream, start, max(1, depth))


def _one_by_one(stream: Batches, k: int) -> Iterator[Batch]:
    while True:
        yield stream.batch(k)
        k += 1


def _ahead(stream: Batches, start: int, depth: int) -> Iterator[Batch]:
    ready: queue.Queue[Batch | BaseException] = queue.Queue(depth)
    stopped = threading.Event()

    def produce() -> None:
        k = start
        while not stopped.is_set():
            try:
                made: Batch | BaseException = stream.batch(k)
            except BaseException as error:  # Whatever it is, the consumer is the one to know.
                made = error
            while not stopped.is_set():
                try:
                    ready.put(made, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if isinstance(made, BaseException):
                return
            k += 1

    thread = threading.Thread(target=produce, name="nktc read ahead", daemon=True)
    thread.start()
    try:
        while True:
            got = ready.get()
            if isinstance(got, BaseException):
                raise got
            yield got
    finally:
        stopped.set()
        thread.join()
