"""idx files."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from nktc.data.sets.idx import parse_idx
from nktc.errors import NktcError

TWO_BY_THREE = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6])  # as LeCun's page describes it


@pytest.mark.parametrize("data", [TWO_BY_THREE, gzip.compress(TWO_BY_THREE, mtime=0)], ids=["plain", "packed"])
def test_sizes_come_before_the_bytes(data: bytes) -> None:
    np.testing.assert_array_equal(parse_idx(data, "x"), [[1, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "x is no idx file of bytes: it begins with nothing"),
        (b"\x89PNG", "x is no idx file of bytes: it begins with 89 50 4e 47"),
        (TWO_BY_THREE[:-1], "x is cut off: it tells of 2x3 elements and holds 5"),
        (TWO_BY_THREE[:9], "x is cut off: it tells of 2 elements and holds 0"),
        (
            gzip.compress(TWO_BY_THREE, mtime=0)[:-9],
            "x is damaged (Compressed file ended before the end-of-stream marker",
        ),
    ],
)
def test_what_is_none_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(NktcError) as refused:
        parse_idx(data, "x")
    assert refused.value.message.startswith(said)
