"""The choice among boxes left to whoever runs the net."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from nktc import export, ir, module
from nktc.ir import Graph
from nktc.layers import Choice
from nktc.passes import nms_outside

NET = """
    layer { name: "loc" type: "Input" top: "loc" input_param { shape { dim: 2 dim: 12 } } }
    layer { name: "conf" type: "Input" top: "conf" input_param { shape { dim: 2 dim: 9 } } }
    layer { name: "prior" type: "Input" top: "prior" input_param { shape { dim: 1 dim: 2 dim: 12 } } }
    layer { name: "det" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "prior" top: "found"
            detection_output_param { num_classes: 3 confidence_threshold: 0.5 keep_top_k: 4 } }
"""


def test_an_output_becomes_boxes_and_scores(read: Callable[[str], Graph]) -> None:
    graph = read(NET)
    outside = nms_outside(graph)
    ir.verify(outside)
    assert [node.type for node in outside] == ["Input", "Input", "Input", "DetectionBoxes"]
    assert [str(value) for value in outside.outputs] == ["found:boxes f32[2 3 1 4]", "found:scores f32[2 3 3]"]
    assert outside.nodes[-1].inputs == graph.nodes[-1].inputs
    assert nms_outside(outside) is outside


def test_what_is_chosen_from_them_is_what_the_net_found(read: Callable[[str], Graph]) -> None:
    graph = read(NET)
    generator = torch.Generator().manual_seed(0)
    given = [torch.rand(value.shape, generator=generator) for value in graph.inputs]
    outside = nms_outside(graph)
    made = module.compile(outside)(*given)
    choices = export.left_to_choose(outside)
    assert choices == {"found": Choice(0, 0.5, np.float32(0.3).item(), 1.0, -1, 4)}
    rows = choices["found"].rows(made["found:boxes"].numpy(), made["found:scores"].numpy())
    np.testing.assert_array_equal(rows, module.compile(graph)(*given)["found"][0, 0])


def test_a_choice_that_the_net_goes_on_with_stays(read: Callable[[str], Graph]) -> None:
    graph = read(NET + 'layer { name: "s" type: "Split" bottom: "found" top: "a" top: "b" }')
    assert nms_outside(graph) is graph
