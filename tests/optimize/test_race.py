"""Ways to run a net: which are tried, and which is chosen."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from big_nets import random_weights

from nktc import engines
from nktc.errors import NktcError
from nktc.optimize import Samples, Wanted, race
from nktc.optimize.precision import Lowered

NET = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 4 } } }
    layer { name: "i" type: "InnerProduct" bottom: "x" top: "i" inner_product_param { num_output: 5 } }
"""
SAMPLES = Samples(({"x": np.ones((4, 4), np.float32)},))


@pytest.fixture
def lowered(read) -> Lowered:
    graph = random_weights(read(NET))
    return Lowered({"": graph, "merged": dataclasses.replace(graph)}, {"s8": dataclasses.replace(graph)})


def test_every_backend_variant_and_number_of_threads_is_tried(lowered, monkeypatch):
    monkeypatch.setattr(race, "cores", lambda: 4)
    wanted = Wanted(device="cpu", batch=2, settings={"a": 1})
    found = race.ways(lowered, ["onnxruntime", "tensorrt"], wanted)
    assert [(way.backend, way.variant, way.options.threads) for way in found] == [
        ("onnxruntime", "", 4),
        ("onnxruntime", "", 1),
        ("onnxruntime", "merged", 4),
        ("onnxruntime", "merged", 1),
        ("tensorrt", "s8", 4),
        ("tensorrt", "s8", 1),
    ]
    assert all(way.options.batch == 2 and way.options.settings == {"a": 1} for way in found)
    assert found[1].name == "onnxruntime, 1 thread, a 1"
    one = race.ways(lowered, ["onnxruntime"], dataclasses.replace(wanted, threads=3))
    assert [way.options.threads for way in one] == [3, 3]


def test_the_fastest_is_first_and_the_net_as_it_is_last_and_never_chosen(lowered, monkeypatch):
    def given(runs, batches, seconds):
        medians = {"onnxruntime, 1 thread": 2.0, "onnxruntime, merged, 1 thread": 1.0}
        return {name: engines.Times(batches[name], (medians.get(name, 0.1),)) for name in runs}

    monkeypatch.setattr(engines, "race", given)
    wanted = Wanted(device="cpu", threads=1)
    plain = race.as_it_is(lowered.variants[""], wanted)
    measured, way, notes = race.race(race.ways(lowered, ["onnxruntime"], wanted), plain, SAMPLES, 4, 1.0)
    assert [one.name for one in measured] == [
        "onnxruntime, merged, 1 thread",
        "onnxruntime, 1 thread",
        "onnxruntime, the net as it is, 1 thread",
    ]
    assert [one.chosen for one in measured] == [True, False, False]
    assert (way.variant, notes) == ("merged", [])


def test_what_fails_is_told_and_only_where_nothing_runs_an_error(lowered):
    good, bad = Wanted(device="cpu", threads=1), Wanted(device="cpu", threads=1, settings={"warp": 9})
    plain = race.as_it_is(lowered.variants[""], good)
    tried = [race.ways(lowered, ["onnxruntime"], bad)[0], race.ways(lowered, ["onnxruntime"], good)[1]]
    measured, way, notes = race.race(tried, plain, SAMPLES, 4, 0.0)
    assert way.variant == "merged"
    assert len(measured) == 2
    assert notes == [
        'onnxruntime, 1 thread, warp 9 cannot run it: the backend onnxruntime has no setting "warp"',
    ]
    with pytest.raises(NktcError) as caught:
        race.race(tried[:1], plain, SAMPLES, 4, 0.0)
    assert caught.value.message == f"no engine runs the net: {notes[0]}"


@pytest.mark.parametrize(
    ("medians", "limit", "best"),
    [
        ({1: 1.0, 2: 2.0, 4: 4.0, 8: 8.0}, 0.0, 1),  # as many records a second
        ({1: 1.0, 2: 1.5, 4: 2.0, 8: 3.95}, 0.0, 4),  # of nearly equal ones the smallest
        ({1: 1.0, 2: 1.5, 4: 2.0, 8: 3.95}, 1600.0, 2),  # within the limit
        ({1: 1.0, 2: 1.5, 4: 2.0, 8: 3.95}, 1.0, 1),  # which none is
    ],
)
def test_the_best_batch_is_the_smallest_with_about_the_most_records_a_second(
    medians, limit, best, lowered, monkeypatch
):
    times = {str(batch): engines.Times(batch, (seconds,)) for batch, seconds in medians.items()}
    monkeypatch.setattr(engines, "race", lambda runs, batches, seconds: {name: times[name] for name in runs})
    wanted = Wanted(device="cpu", threads=1, most_batch=8, latency_ms=limit)
    found = race.by_batch(race.ways(lowered, ["onnxruntime"], wanted)[0], SAMPLES, wanted)
    assert [one.times.batch for one in found] == [1, 2, 4, 8]
    assert [one.times.batch for one in found if one.chosen] == [best]
