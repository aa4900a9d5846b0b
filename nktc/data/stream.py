"""A stream of batches, and reading it ahead."""

from __future__ import annotations

import atexit
import contextlib
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, Self

import torch
from torch import Tensor

from nktc.data.places import Places
from nktc.errors import LayerError
from nktc.ir import Feed, Phase, Preprocessing, Shape, Transform

Batch = tuple[Tensor, ...]

PLAIN = Transform()
EXPECTED = 32  # batches that a stream is told of before they are asked for; it takes on as many as it has hands

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Opening:
    """What a layer's stream is opened with.

    Files lie in `folder`, that of the net, or under the working directory; named sets in `places`. The stream gives the
    first `tops` tops on `device`, its chances follow from `seed`. With `resident` what has been read stays there
    where it takes at most `cache` bytes, None for a quarter of what is free. `workers` processes read and decode, None
    for as many as the machine suggests; the device's memory is for `sharers` such streams. Labels have to be below
    `classes`, or `ignored`; 0 for any.
    """

    places: Places
    folder: Path
    seed: int = 0
    device: torch.device = CPU
    tops: int = 2
    resident: bool = False
    cache: int | None = None
    workers: int | None = 0
    sharers: int = 1
    classes: int = 0
    ignored: int | None = None

    def elsewhere(self) -> Self:
        """The same for another process, which reads, on the host, and keeps nothing."""
        return replace(self, device=CPU, resident=False, workers=0)


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

    def expect(self, k: int) -> None:
        """Told before batch `k` is asked for; may be told again."""

    def forget(self) -> None:
        """Batches that were expected will not be asked for."""


class Stream(ABC):
    """What feeds one data layer.

    `feed` tells shapes, records and labels of what is really read; `preprocessing` what its pictures go
    through, None where they are none. `stand_in` names the set that is read in place of the one asked for, ""
    where it is that one, and `missing` tells why. A `resident` stream makes its batches from memory on the
    `device`; a stream may become resident once it has read everything. `skipped` names records that could not be used
    and were replaced, by their places.
    """

    feed: Feed
    preprocessing: Preprocessing | None = None
    stand_in: str = ""
    missing: str = ""
    resident: bool = False
    device: torch.device = CPU
    skipped: Mapping[int, str] = MappingProxyType({})

    @abstractmethod
    def batch(self, k: int) -> Batch:
        """Batch `k`, counted from 0, around and around: data f32[n c h w], label f32[n]. Always the same one
        for the same k; new tensors, on the stream's device. Raises NktcError for a record that cannot be
        read."""

    def expect(self, k: int) -> None:
        """Told before batch `k` is asked for, so that it can be made elsewhere meanwhile; may be told again."""
        return

    def forget(self) -> None:
        """Batches that were expected will not be asked for."""
        return


def data_feed(
    image: Shape,
    batch: int,
    records: int | None,
    labels: tuple[str, ...],
    transform: Transform = PLAIN,
    phase: Phase = Phase.TEST,
) -> Feed:
    """The feed of a layer with data and label; where a batch is mixed a label is one share a class. Raises LayerError
    where it is not known how many classes there are."""
    label: Shape = (batch,)
    if transform.mixes and phase is Phase.TRAIN:
        if not (classes := transform.classes or len(labels)):
            problem = "mixes labels, and its source does not tell how many classes there are"
            raise LayerError(problem, field="mixup" if transform.mixup else "cutmix", help="add num_classes: 10")
        label = (batch, classes)
    return Feed(((batch, *image), label), records, labels)


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
                    for later in range(k, k + EXPECTED):
                        stream.expect(later)
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
        stream.forget()
