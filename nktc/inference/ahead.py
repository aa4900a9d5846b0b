"""Making what comes next while what is there is worked on."""

from __future__ import annotations

import atexit
import queue
import threading
from collections.abc import Generator, Iterable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 2.0  # seconds that are waited for a thread that is to end; one that waits for a terminal's input does not


def ahead(made: Iterable[T], depth: int) -> Generator[T, None, None]:
    """The same, in the same order; a thread makes up to `depth` of them before they are asked for. Its errors come up
    where they belong. Closing the iterator ends the thread."""
    waiting: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(depth)
    stopped = threading.Event()

    def hand_over(one: tuple[T] | BaseException | None) -> None:
        while not stopped.is_set():
            with suppress(queue.Full):
                waiting.put(one, timeout=0.1)
                return

    def produce() -> None:
        try:
            for one in made:
                hand_over((one,))
                if stopped.is_set():
                    return
            hand_over(None)
        except BaseException as error:  # Whatever it is, the consumer is the one to know.
            hand_over(error)

    def stop() -> None:
        stopped.set()
        thread.join(PATIENCE)

    thread = threading.Thread(target=produce, name="nktc infer ahead", daemon=True)
    thread.start()
    atexit.register(stop)  # a thread that is inside torch when Python ends takes the process down
    try:
        while (got := waiting.get()) is not None:
            if isinstance(got, BaseException):
                raise got
            yield got[0]
    finally:
        atexit.unregister(stop)
        stop()
