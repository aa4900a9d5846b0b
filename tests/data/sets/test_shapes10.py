"""shapes10: the same everywhere, balanced, and out of reach for a linear model."""

from __future__ import annotations

import numpy as np

from nktc.data.sets import shapes10
from nktc.ir import Phase


def test_pictures_are_always_the_same() -> None:
    few, more = shapes10.draw(Phase.TRAIN, 300), shapes10.draw(Phase.TRAIN, 1200)
    np.testing.assert_array_equal(few.pixels, more.pixels[:300])
    np.testing.assert_array_equal(few.labels, more.labels[:300])
    # A change here changes every figure measured on shapes10, and asks for another key in shapes10.copy.
    assert few.labels[:12].tolist() == [8, 4, 3, 5, 1, 0, 3, 3, 9, 2, 0, 6]


def test_classes_come_equally_often_and_splits_differ() -> None:
    train, test = shapes10.draw(Phase.TRAIN, 2000), shapes10.draw(Phase.TEST, 1000)
    assert np.bincount(train.labels).tolist() == [200] * 10
    assert np.bincount(test.labels).tolist() == [100] * 10
    assert not {p.tobytes() for p in train.pixels} & {p.tobytes() for p in test.pixels}


def test_pixels_use_their_range() -> None:
    pixels = shapes10.draw(Phase.TRAIN, 500).pixels
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert 110 < pixels.mean() < 145
    assert 50 < pixels.std() < 75


def test_a_linear_model_on_pixels_stays_near_chance() -> None:
    train, test = shapes10.draw(Phase.TRAIN, 6000), shapes10.draw(Phase.TEST, 1000)
    x, y = (
        images.pixels[:, :, ::2, ::2].reshape(len(images), -1).astype(np.float32) / 255 - 0.5
        for images in (train, test)
    )
    wanted = np.eye(10, dtype=np.float32)[train.labels] - 0.1
    best = 0.0
    for ridge in (100, 3000):
        weights = np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1], dtype=np.float32), x.T @ wanted)
        best = max(best, float(((y @ weights).argmax(1) == test.labels).mean()))
    assert best < 0.2


def test_shapes_are_told_apart_by_what_they_cover() -> None:
    """Drawn upright and large: a ring has a hole, a bar is thin, and so on."""
    steps = (np.arange(32, dtype=np.float32) - 15.5) / 13
    x, y = np.meshgrid(steps, steps)
    covered = {name: outline(x, y) < 0 for name, outline in shapes10.OUTLINES.items()}
    assert list(covered) == list(shapes10.SET.labels)
    middle = {name for name, mask in covered.items() if mask[15, 15]}
    assert middle == {"bar", "cross", "disk", "square", "star", "triangle"}
    area = {name: int(mask.sum()) for name, mask in covered.items()}
    assert area["bar"] < area["star"] < area["square"]
    different = [np.logical_xor(covered[a], covered[b]).sum() for a in covered for b in covered if a < b]
    assert min(different) > 60
