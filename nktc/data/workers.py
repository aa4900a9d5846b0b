"""Processes that read and decode the batches of a stream, and give them back in shared memory."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.shared_memory import SharedMemory
from typing import Any, Protocol

import cv2
import numpy as np
import torch

from nktc.errors import NktcError, NktcWarning

SLOTS = 2  # batches that a process has room for: one being taken, one being made
MOST = 8  # processes, unless more are asked for
SHARED = "/dev/shm"  # where Linux keeps shared memory; containers often have little


@dataclass(frozen=True, eq=False)
class Fetched:
    """A batch on the host: values u8 or f32 [n c h w], labels f32[n]; whether it is cut already; records that were
    skipped, and why."""

    values: np.ndarray
    labels: np.ndarray
    cut: bool
    skipped: Mapping[int, str] = field(default_factory=dict)


class Fetches(Protocol):
    """What a process makes for itself: a stream."""

    def fetch(self, k: int, whole: bool) -> Fetched: ...


def suggested_workers(device: torch.device, ranks: int = 1) -> int:
    """How many processes to read with, in each of `ranks` on this machine: beside a GPU all cores but one, on a CPU,
    which trains too, half of them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores //= ranks
    return min(MOST, max(1, cores - 1 if device.type == "cuda" else cores // 2))


@dataclass
class _Hand:
    """A process, the way to it, its memory, the slots that are free in it, and the batches it has been told to make."""

    process: BaseProcess
    connection: Connection
    memory: SharedMemory
    free: list[int]
    asked: list[int] = field(default_factory=list)
    ready: bool = False


class Workers:
    """Processes that fetch batches which are expected, each in memory of its own; until they are up, nobody waits for
    them. Used by one thread at a time. Should one be lost, batches are made by whoever asks for them."""

    def __init__(self, again: Callable[[], Fetches], count: int, largest: int) -> None:
        """`again` makes a stream in a process; it is pickled. `largest` is the bytes that a batch usually has at most;
        larger ones take a slower way."""
        self._size = largest
        self._hands: list[_Hand] = []
        self._made: dict[int, tuple[_Hand, Fetched, int]] = {}
        context: Any = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")
        if context.get_start_method() == "forkserver":
            context.set_forkserver_preload([__name__])  # so that torch is imported once
        with suppress(OSError):
            room = os.statvfs(SHARED)
            fitting = room.f_bavail * room.f_frsize // (2 * SLOTS * max(largest, 1))
            if fitting < count:
                said = f"{SHARED} has room for {fitting} processes that read, not for {count}"
                print(NktcWarning(said, help="docker run --shm-size=8g gives a container more"), file=sys.stderr)
                count = fitting
        try:
            for _ in range(count):
                here, there = context.Pipe()
                memory = SharedMemory(create=True, size=SLOTS * max(largest, 1))
                work = context.Process(target=_work, args=(there, again, memory.name, largest), daemon=True)
                self._hands.append(_Hand(work, here, memory, list(range(SLOTS))))
                work.start()
                there.close()
        except OSError as error:
            print(NktcWarning(f"batches are read without other processes ({error.strerror})"), file=sys.stderr)
        self._close = weakref.finalize(self, _close, self._hands)

    def expect(self, k: int, whole: bool) -> None:
        """Have batch `k` made if anybody is free."""
        if k in self._made or any(k in hand.asked for hand in self._hands):
            return
        free = [hand for hand in self._hands if hand.free and self._is_ready(hand)]
        if free:
            hand = min(free, key=lambda hand: len(hand.asked))
            hand.asked.append(k)
            with suppress(OSError):  # its end is noticed when the batch is taken
                hand.connection.send((k, whole, hand.free.pop()))

    def take(self, k: int) -> Fetched | None:
        """Batch `k`, None where nobody was told to make it. It lies in shared memory until `done`. Raises what was
        met with."""
        hand = next((hand for hand in self._hands if k in hand.asked), None)
        while hand and k not in self._made:
            if not self._receive(hand):
                return None
        return self._made[k][1] if k in self._made else None

    def done(self, k: int) -> None:
        """Batch `k` is not needed any more."""
        hand, _, slot = self._made.pop(k)
        if slot >= 0:
            hand.free.append(slot)

    def forget(self) -> None:
        """Nobody will take what was expected."""
        for hand in list(self._hands):
            while hand.asked:
                with suppress(NktcError, RuntimeError):
                    if not self._receive(hand):
                        break
        for k in list(self._made):
            self.done(k)

    def close(self) -> None:
        """End the processes."""
        self._close()
        self._hands.clear()
        self._made.clear()

    def _is_ready(self, hand: _Hand) -> bool:
        """Whether a process is up. One that cannot start will be noticed by a batch."""
        if not hand.ready and hand.connection.poll():
            with suppress(EOFError, OSError):
                hand.ready = hand.connection.recv() == "ready"
            if not hand.ready:
                self._lose(hand)
        return hand.ready

    def _receive(self, hand: _Hand) -> bool:
        """Take in the next batch that a process has made; False where it is lost. Raises what it met with."""
        try:
            k, slot, answer = hand.connection.recv()
        except (EOFError, OSError):
            self._lose(hand)
            return False
        hand.asked.remove(k)
        if isinstance(answer, _Failure):
            hand.free.append(slot)
            raise answer.error()
        if isinstance(answer, _Lies):
            view = np.ndarray(answer.shape, answer.kind, hand.memory.buf, slot * self._size)
            answer = replace(answer.rest, values=view)
        self._made[k] = hand, answer, slot
        return True

    def _lose(self, hand: _Hand) -> None:
        if hand in self._hands:
            self._hands.remove(hand)
            hand.process.join(1)
            code = hand.process.exitcode
            rest = "the others do its work" if self._hands else "they are read in this one from here on"
            what = f"a process that reads batches has ended (exit code {code}); {rest}"
            print(NktcWarning(what), file=sys.stderr)
            _close([hand])


@dataclass(frozen=True)
class _Lies:
    """A batch whose values lie in shared memory."""

    shape: tuple[int, ...]
    kind: np.dtype
    rest: Fetched


@dataclass(frozen=True)
class _Failure:
    """What kept a process from making a batch."""

    message: str
    help: str
    ours: bool

    def error(self) -> Exception:
        return NktcError(self.message, help=self.help) if self.ours else RuntimeError(self.message)


def _close(hands: list[_Hand]) -> None:
    for hand in hands:
        hand.connection.close()  # which ends the process
    for hand in hands:
        if hand.process.pid is not None:
            hand.process.terminate()
            hand.process.join()
        with suppress(BufferError):  # a batch is still in use: its memory goes with it
            hand.memory.close()
        with suppress(FileNotFoundError):
            hand.memory.unlink()


def _work(connection: Connection, again: Callable[[], Fetches], memory: str, size: int) -> None:
    """The life of a process: batches as they are asked for, until nobody asks."""
    for name in ("SIGINT", "SIGHUP"):  # these are for whoever asks
        if number := getattr(signal, name, None):
            signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    slots = SharedMemory(memory)
    stream: Fetches | None = None
    with suppress(EOFError, OSError):  # nobody asks any more
        connection.send("ready")
        while True:
            k, whole, slot = connection.recv()
            try:
                stream = stream or again()
                fetched = stream.fetch(k, whole)
            except NktcError as error:
                connection.send((k, slot, _Failure(error.message, error.help, True)))
                continue
            except Exception:
                connection.send((k, slot, _Failure(traceback.format_exc(), "", False)))
                continue
            values = fetched.values
            if values.nbytes > size:
                connection.send((k, slot, fetched))
                continue
            np.ndarray(values.shape, values.dtype, slots.buf, slot * size)[...] = values
            connection.send((k, slot, _Lies(values.shape, values.dtype, replace(fetched, values=values[:0]))))
