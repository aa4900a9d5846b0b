"""Signals, while a solver runs: what each effect does."""

from __future__ import annotations

import signal
from types import SimpleNamespace

import pytest

from nktc.train.interrupts import Effects, interrupts
from nktc.train.ranks import Ranks

STOP, SNAPSHOT, NOTHING = (True, False), (False, True), (False, False)


def solver(size: int = 1) -> SimpleNamespace:
    ranks = Ranks()
    ranks.size = size
    return SimpleNamespace(stop_asked=False, snapshot_asked=False, ranks=ranks)


def send(number: int) -> None:
    """A signal, as Python hears of it; a real one, as test_launch and test_spawn send, could reach another thread here
    and find the handlers put back."""
    handler = signal.getsignal(number)
    if callable(handler):
        handler(number, None)


@pytest.mark.parametrize(
    ("effects", "number", "expected"),
    [
        (Effects(), signal.SIGINT, STOP),
        (Effects(), signal.SIGHUP, SNAPSHOT),
        (Effects(), signal.SIGTERM, STOP),
        (Effects(sigint="snapshot"), signal.SIGINT, SNAPSHOT),
        (Effects(sigint="none"), signal.SIGINT, NOTHING),
        (Effects(sighup="stop"), signal.SIGHUP, STOP),
        (Effects(sighup="none"), signal.SIGHUP, NOTHING),
    ],
)
def test_a_signal_has_its_effect(effects, number, expected):
    heard = solver()
    with interrupts(heard, effects):
        send(number)
    assert (heard.stop_asked, heard.snapshot_asked) == expected


def test_a_second_ctrl_c_stops_at_once():
    heard = solver()
    with interrupts(heard, Effects()):
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_a_rank_is_sent_more_than_one_and_stops_in_order():
    heard = solver(size=2)
    with interrupts(heard, Effects()):
        send(signal.SIGINT)
        send(signal.SIGTERM)
    assert heard.stop_asked


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with interrupts(solver(), Effects()):
        pass
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
