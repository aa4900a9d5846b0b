"""Datum: round trips, and bytes that are none."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nktc.data.databases.datum import BadDatum, pack, pack_encoded, parse
from nktc.schema import Datum


def test_bytes_and_floats_come_back() -> None:
    random = np.random.RandomState(0)
    for values in (
        random.randint(0, 256, (3, 5, 4), np.uint8),
        random.rand(2, 1, 7).astype(np.float32),
    ):
        record = parse(pack(values, 7))
        assert record.values.dtype == values.dtype
        assert record.label == 7
        np.testing.assert_array_equal(record.values, values)


@pytest.mark.parametrize(
    ("order", "planes"), [("ANY", [0, 1, 2]), ("BGR", [0, 1, 2]), ("RGB", [2, 1, 0]), ("GRAY", None)]
)
def test_an_encoded_picture_is_decoded_in_the_order_asked_for(order: str, planes: list[int] | None) -> None:
    bgr = np.random.RandomState(0).randint(0, 256, (6, 5, 3), np.uint8)
    record = parse(pack_encoded(cv2.imencode(".png", bgr)[1].tobytes(), 3), order)
    expected = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)[None] if planes is None else bgr.transpose(2, 0, 1)[planes]
    # Libraries round the weights of a gray picture differently.
    np.testing.assert_allclose(record.values.astype(int), expected, atol=order == "GRAY")


def test_a_gray_file_stays_gray_unless_colour_is_forced() -> None:
    data = pack_encoded(cv2.imencode(".png", np.zeros((4, 4), np.uint8))[1].tobytes(), 0)
    assert parse(data).values.shape == (1, 4, 4)
    assert parse(data, "BGR").values.shape == (3, 4, 4)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xff\xff\xff", "its 3 bytes are no Datum"),
        (pack_encoded(b"not a picture", 0), "its picture cannot be decoded"),
        (pack_encoded(b"", 0), "its picture cannot be decoded"),
        (Datum(channels=1, height=2).SerializeToString(), "its size is 1x2x0"),
        (
            Datum(channels=1, height=2, width=2, data=b"abc").SerializeToString(),
            "it holds 3 values, its size 1x2x2 needs 4",
        ),
    ],
)
def test_what_is_no_record_is_refused_with_the_reason(data: bytes, why: str) -> None:
    with pytest.raises(BadDatum) as refused:
        parse(data)
    assert str(refused.value) == why


@given(st.binary(max_size=60))
def test_any_bytes_give_a_record_or_a_reason(data: bytes) -> None:
    try:
        record = parse(data)
    except BadDatum:
        return
    assert record.values.ndim == 3
