"""What a conversion converts: records in order, however they lie."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RECORDS = 10  # of each whole number, on average, that make classes of them


class Unusable(Exception):
    """Why a record is left out, in words that go on after its name."""


@dataclass(frozen=True)
class Plan:
    """Records in order.

    `names` become part of their keys and `labels` are numbers of classes i64[n], or f32[n] or f32[n t]. `read(i)`
    gives a record: the bytes of an image file, a picture u8[c h w] with blue, green and red planes, or a row f32[f];
    raises Unusable, OSError or KeyError. `called(i)` is what people call it. `classes` are the names of the classes
    where they have any. `stamp` changes when the source does. `notes` are what is to be told of the source."""

    names: Sequence[str]
    labels: np.ndarray
    read: Callable[[int], bytes | np.ndarray]
    stamp: str
    classes: tuple[str, ...] = ()
    called: Callable[[int], str] | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def name(self, i: int) -> str:
        """What people call the record."""
        return self.called(i) if self.called else self.names[i]

    @property
    def strata(self) -> np.ndarray:
        """i64[n], the class of each record; all one where labels are no classes. Labels that have names are classes,
        and so are whole numbers of which there are few: ten records for each, or more, on average."""
        whole = self.labels.ndim == 1 and self.labels.dtype == np.int64
        if whole and (self.classes or len(np.unique(self.labels)) * RECORDS <= len(self)):
            return self.labels
        return np.zeros(len(self), np.int64)

    def digest(self, *more: Any) -> str:
        """Changes with the records, their order, labels and source, and with `more`."""
        digest = hashlib.sha256(self.stamp.encode())
        digest.update("\0".join(self.names).encode(errors="surrogateescape"))
        digest.update(self.labels.tobytes())
        digest.update(repr((self.classes, more)).encode())
        return digest.hexdigest()
