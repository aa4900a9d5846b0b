"""What comes next is made beforehand, in order, and an error comes up where it belongs."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from nktc.inference.ahead import ahead


def test_everything_comes_in_its_order_whatever_it_is():
    things = [None, 0, (), *range(100), None]
    assert list(ahead(iter(things), 3)) == things
    assert list(ahead([], 1)) == []


def test_so_many_are_made_before_they_are_asked_for_and_no_more():
    made: list[int] = []
    enough = threading.Event()

    def making() -> Iterator[int]:
        for i in range(100):
            made.append(i)
            if i == 3:
                enough.set()
            yield i

    coming = ahead(making(), 2)
    assert next(coming) == 0
    assert enough.wait(10)  # one asked for, two waiting, one that has no room
    assert len(made) <= 4
    coming.close()


def test_an_error_comes_up_behind_what_was_made_before_it():
    def making() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    coming = ahead(making(), 5)
    assert next(coming) == 1
    with pytest.raises(ValueError, match="no more"):
        next(coming)


def test_closing_ends_the_thread_and_what_it_makes_from():
    ended = threading.Event()

    def making() -> Iterator[int]:
        try:
            yield from range(1000000)
        finally:
            ended.set()

    coming = ahead(making(), 1)
    next(coming)
    coming.close()
    assert ended.wait(10)
    assert not [thread for thread in threading.enumerate() if thread.name == "nktc infer ahead"]
