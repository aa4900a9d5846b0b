"""The digits of scikit-learn."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from nktc.data.sets import digits
from nktc.ir import Phase


def test_the_splits_hold_every_digit_of_scikit_learn_once() -> None:
    splits = digits.copy().read()
    ours = {(p.tobytes(), int(label)) for s in splits.values() for p, label in zip(s.pixels, s.labels, strict=True)}
    table = load_digits()
    stretched = np.rint(table.images * 255 / 16).astype(np.uint8)
    assert {(p.tobytes(), int(label)) for p, label in zip(stretched, table.target, strict=True)} == ours
    assert [splits[split].pixels.shape for split in Phase] == [(1437, 1, 8, 8), (360, 1, 8, 8)]
    assert {splits[Phase.TRAIN].pixels.min(), splits[Phase.TRAIN].pixels.max()} == {0, 255}


def test_both_splits_have_their_share_of_every_class_in_mixed_order() -> None:
    splits = digits.copy().read()
    train, test = (np.bincount(splits[split].labels) for split in Phase)
    assert (abs(test - (train + test) / 5) <= 1).all()
    assert len(set(splits[Phase.TRAIN].labels[:50])) == len(set(splits[Phase.TEST].labels[:50])) == 10


def test_the_split_is_always_the_same() -> None:
    # A change here changes every figure measured on digits, and asks for another key in digits.copy.
    assert digits.copy().read()[Phase.TEST].labels[:12].tolist() == [0, 6, 4, 2, 3, 1, 8, 7, 9, 6, 5, 4]
