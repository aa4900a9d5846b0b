"""Every net through every pass: the same answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from big_nets import BIG_NETS, random_weights

from nktc import models, passes, reader
from nktc.ir import Graph, Phase, rewrite
from nktc.layers import Softmax

NETS = Path(__file__).parents[2] / "nets"
TRAINED = sorted(path.parent.name for path in NETS.glob("*/train.prototxt"))
ALL = (*passes.INFERENCE, *passes.HORIZONTAL)


def scores_too(graph: Graph) -> Graph:
    """With what goes into a Softmax as an output beside what comes out: probabilities hide much."""
    scores = [node.inputs[0].name for node in graph if isinstance(node.layer, Softmax)]
    return rewrite.wanting(graph, [*scores, *(value.name for value in graph.outputs)])


@pytest.mark.parametrize("name", BIG_NETS)
def test_a_large_net_answers_as_before(name, preserved):
    graph = reader.build(reader.parse_net(BIG_NETS[name]()), Phase.TEST)
    graph = random_weights(scores_too(graph))
    preserved(graph, passes.run(graph, ALL).graph)


@pytest.mark.parametrize("name", TRAINED)
def test_a_trained_net_answers_as_before(name, preserved):
    net = reader.read_net(NETS / name / "train.prototxt")
    tested = reader.build(net, Phase.TEST, feeds=models.feeds(net), supposed=models.supposed(net, {}))
    graph = random_weights(scores_too(passes.deploy(tested)))
    preserved(graph, passes.run(graph, ALL).graph)


def test_resnet50_answers_as_before(preserved):
    text = (NETS / "resnet50" / "deploy.prototxt").read_text()
    smaller = text.replace("224", "64").replace("kernel_size: 7 }", "global_pooling: true }")
    graph = reader.build(reader.parse_net(smaller), Phase.TEST)
    graph = random_weights(scores_too(graph))
    preserved(graph, passes.run(graph, ALL).graph)


def test_a_gpt_answers_as_before(preserved):
    text = (NETS / "gpt" / "deploy.prototxt").read_text()
    smaller = text.replace("768", "48").replace("50257", "100").replace("1024", "16")
    graph = reader.build(reader.parse_net(smaller), Phase.TEST)
    graph = random_weights(scores_too(graph))
    preserved(graph, passes.run(graph, ALL).graph)
