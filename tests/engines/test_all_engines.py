"""Every engine that can run here answers alike, on every net, after the passes."""

from __future__ import annotations

from pathlib import Path

import pytest
from big_nets import BIG_NETS, random_weights

from nktc import engines, models, passes, reader
from nktc.engines import Options, Subject
from nktc.ir import Graph, Phase

NETS = Path(__file__).parents[2] / "nets"
TRAINED = sorted(path.parent.name for path in NETS.glob("*/train.prototxt"))
SMALLER = {"resnet50": (("224", "64"), ("kernel_size: 7 }", "global_pooling: true }"))}
LARGEST = 1e-4  # of the largest value that an engine gives


def graph_of(name: str) -> Graph:
    """The deployed graph of a large net, a shipped one that trains, or one that only deploys."""
    if name in TRAINED:
        net = reader.read_net(NETS / name / "train.prototxt")
        return passes.deploy(reader.build(net, Phase.TEST, feeds=models.feeds(net), supposed=models.supposed(net, {})))
    text = BIG_NETS[name]() if name in BIG_NETS else (NETS / name / "deploy.prototxt").read_text()
    for old, new in SMALLER.get(name, ()):
        text = text.replace(old, new)
    return reader.build(reader.parse_net(text), Phase.TEST)


@pytest.mark.parametrize("name", [*TRAINED, *SMALLER, *BIG_NETS])
def test_all_engines_agree_after_the_passes(name):
    graph = passes.run(random_weights(graph_of(name)), (*passes.INFERENCE, *passes.HORIZONTAL)).graph
    outputs = tuple(value.name for value in graph.outputs)
    others = [each for each in engines.usable() if each not in ("torch", "tensorrt")]
    assert "onnxruntime" in others
    subjects = [
        Subject(each, engines.engine(each).build(graph, Options("cpu", threads=1)), outputs, {})
        for each in ("torch", *others)
    ]
    for found in engines.compare(subjects, [engines.random_feeds(graph, 2, 0)]):
        assert found.alone == 0
        assert found.worst.relative < LARGEST, found.text()
