"""Several sessions as one: rows in order, whatever the batch."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pytest

from nktc import engines, module
from nktc.engines import Options, engine
from nktc.engines.streams import Streams

NET = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 } } }
    layer { name: "i" type: "InnerProduct" bottom: "x" top: "i"
            inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
"""


@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_rows_come_back_in_their_order(read, rows) -> None:
    graph = read(NET)
    graph = dataclasses.replace(graph, arrays=module.compile(graph, seed=1).arrays())
    one = engine("onnxruntime").build(graph, Options("cpu", 1))
    several = Streams([engine("onnxruntime").build(graph, Options("cpu", 1)) for _ in range(3)])
    feeds = engines.random_feeds(graph, rows, 0)
    assert several.inputs == one.inputs
    np.testing.assert_allclose(several.run(feeds)["i"], one.run(feeds)["i"], rtol=1e-6)


def test_they_run_side_by_side() -> None:
    together = threading.Barrier(2, timeout=20)

    class Waiting:
        device, facts, inputs, outputs = "cpu", engines.Facts(), (), ()

        def run(self, feeds: dict) -> dict:
            together.wait()  # which nobody passes alone
            return {"y": feeds["x"] * 2}

    found = Streams([Waiting(), Waiting()]).run({"x": np.arange(6).reshape(6, 1)})
    assert found["y"][:, 0].tolist() == [0, 2, 4, 6, 8, 10]
