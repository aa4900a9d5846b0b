"""Pictures or other arrays with a label each, by their places: what a source of them has to tell."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from nktc.errors import LayerError, NktcError

TOLD = 10  # bad records of a source that are named while it runs
IN_A_ROW = 1000  # bad records, after which a source is taken for broken


class BadRecord(NktcError):
    """A record that cannot be used; `place` is counted from 0."""

    def __init__(self, place: int, message: str, *, help: str = "") -> None:
        super().__init__(message, help=help)
        self.place = place


@dataclass(frozen=True, eq=False)
class Taken:
    """Records: values u8 or f32 [n c h w], or a list of [c h w] where they are pictures, perhaps of several sizes, with
    pixels in whatever order; labels f32[n]."""

    values: np.ndarray | list[np.ndarray]
    labels: np.ndarray


class Records(ABC):
    """Pictures or other arrays with a label each, by their places from 0."""

    @abstractmethod
    def __len__(self) -> int:
        """How many there are."""

    @abstractmethod
    def read(self, places: np.ndarray) -> Taken:
        """The records at i64[n] `places`. Raises BadRecord for the first that cannot be read, or another NktcError."""

    def take(self, places: np.ndarray) -> Taken:
        """The records at i64[n] `places`. Raises BadRecord for whatever keeps them from being read, such as a database
        that is damaged there."""
        try:
            return self.read(places)
        except BadRecord:
            raise
        except NktcError as error:
            raise BadRecord(int(places[0]), error.message, help=error.help) from None

    def first(self, skips: bool) -> np.ndarray:
        """The values of the first record; with `skips`, of the first that can be used. Raises LayerError."""
        problem: NktcError | None = None
        for place in range(max(1, min(len(self), IN_A_ROW if skips else 1))):
            try:
                values: np.ndarray = self.read(np.array([place])).values[0]
                return values
            except NktcError as error:
                problem = problem or error
        assert problem, "an empty source has no record 0"
        raise LayerError(problem.message, field="source", help=problem.help)

    @abstractmethod
    def refusal(self, place: int, what: str) -> BadRecord:
        """What to raise for the record at a place."""
