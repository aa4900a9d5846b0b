"""Samples: counted, cut, put into batches; noise; a net's own data."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from nktc import models
from nktc.errors import NktcError
from nktc.ir import Phase, Preprocessing
from nktc.optimize import Samples, samples

DIGITS = Path(__file__).parents[2] / "nets/digits_quick/train.prototxt"


def made(*sizes: int) -> Samples:
    """Batches of these sizes, the records numbered, the labels their numbers."""
    ends = np.cumsum([0, *sizes])
    numbers = [np.arange(a, b) for a, b in itertools.pairwise(ends)]
    return Samples(tuple({"x": n[:, None] * [1.0, 2.0], "y": n[:, None]} for n in numbers), tuple(numbers), "numbers")


def numbers(one: Samples) -> list[list[int]]:
    for feeds in one.feeds:
        np.testing.assert_array_equal(feeds["x"], feeds["y"] * [1.0, 2.0])
    return [feeds["y"][:, 0].tolist() for feeds in one.feeds]


def test_records_are_counted_and_cut_to_whole_batches():
    assert made(3, 3, 2).records == 8
    assert numbers(made(3, 3, 2).first(4)) == [[0, 1, 2], [3, 4, 5]]
    assert made(3, 3, 2).first(99).records == 8
    assert [*map(len, made(3, 3, 2).first(3).labels)] == [3]
    assert made(3).first(1).about == "numbers"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_other_batches_have_the_same_records_and_labels(size):
    found = made(3, 3, 2).in_batches(size)
    assert numbers(found) == [[*range(i, i + size)] for i in range(0, 8 - size + 1, size)]
    assert [label.tolist() for label in found.labels] == numbers(found)
    assert (found.about, found.real) == ("numbers", True)


def test_too_few_records_come_again_and_again_without_labels():
    found = made(2).in_batches(5)
    assert numbers(found) == [[0, 1, 0, 1, 0]]
    assert found.labels == ()
    assert numbers(Samples((made(3, 3).single(4),))) == [[0, 1, 2, 0]]


def test_batches_of_the_size_stay_whatever_else_they_have():
    odd = Samples(({"x": np.zeros((2, 4)), "rois": np.zeros((7, 5))},) * 2)
    assert odd.in_batches(2) is odd
    assert odd.single(2) is odd.feeds[0]


def test_noise_follows_the_net(trained, small, places):
    graph = models.open_model(trained()[0], [], places)
    found = samples.noise(graph)
    assert [feeds["x"].shape for feeds in found.feeds] == [(2, 3, 8, 8)] * 2
    assert (found.feeds[0]["x"] != found.feeds[1]["x"]).any()
    assert not found.real
    wide = models.open_model(trained(small.replace("dim: 1 dim: 3", "dim: 5 dim: 3"))[0], [], places)
    assert samples.noise(wide).records == 10


def test_a_nets_own_data_comes_with_its_labels(places):
    graph = models.open_model(DIGITS, [], places)
    test = samples.of_net(DIGITS, graph, Phase.TEST, 100, places)
    assert test is not None
    assert [len(feeds["data"]) for feeds in test.feeds] == [60, 40]
    assert [len(labels) for labels in test.labels] == [60, 40]
    assert {label.dtype.kind for label in test.labels} == {"i"}
    assert {*np.concatenate(test.labels)} == {*range(10)}
    assert 0.9 < max(feeds["data"].max() for feeds in test.feeds) < 1
    assert test.about == "100 records of the test data"
    learned = samples.of_net(DIGITS, graph, Phase.TRAIN, 50, places)
    assert learned is not None
    assert learned.about == "50 records of the training data"
    assert samples.of_net(DIGITS, graph, Phase.TEST, 10**6, places).records == 360


def test_a_net_without_data_layers_has_none(trained, places):
    net = trained()[0]
    assert samples.of_net(net, models.open_model(net, [], places), Phase.TEST, 10, places) is None


def test_given_files_are_told(trained, records, places):
    graph = models.open_model(trained()[0], [], places)
    found = samples.of_files(graph, [records], 20)
    assert ([len(feeds["x"]) for feeds in found.feeds], found.real) == ([16, 4], True)
    assert found.about == f"20 records of {records}"
    with pytest.raises(NktcError, match="does not say how pictures become its inputs"):
        samples.of_files(graph, [records.parent], 20)


def test_inputs_prepared_in_one_way_become_those_of_another():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 4)).astype(np.float32)
    mean = np.arange(108, dtype=np.float32).reshape(3, 6, 6)
    one = Preprocessing((6, 6), "BGR", mean=mean, scale=0.5, crop=4)
    two = Preprocessing((6, 6), "BGR", std=np.array([1.0, 2.0, 4.0], np.float32).reshape(3, 1, 1), crop=4)
    by_one, by_two = (pixels - mean[:, 1:5, 1:5]) * 0.5, pixels / two.std
    other = np.ones((2, 7), np.float32)
    found = samples.change({"x": one, "y": two}, {"x": two, "y": two})({"x": by_one, "y": other})
    np.testing.assert_allclose(found["x"], by_two, rtol=1e-5, atol=1e-4)
    assert found["y"] is other
    back = samples.change({"x": two}, {"x": one})({"x": by_two})["x"]
    np.testing.assert_allclose(back, by_one, rtol=1e-5, atol=1e-4)
    moved = Samples(({"x": by_one},), (np.zeros(2),), "pictures").changed(samples.change({"x": one}, {"x": two}))
    np.testing.assert_array_equal(moved.feeds[0]["x"], found["x"])
    assert (moved.about, len(moved.labels)) == ("pictures", 1)
