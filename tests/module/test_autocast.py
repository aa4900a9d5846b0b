"""Nets under torch.autocast: what is computed in 32 bits all the same, and that they train."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from layers.examples import EXAMPLES, Example

from nktc import data, module, reader
from nktc.ir import Graph, Phase, rewrite

ROOT = Path(__file__).parents[2]


def bench_nets() -> ModuleType:
    """The nets of the training benchmark."""
    spec = importlib.util.spec_from_file_location("bench_nets", ROOT / "tools/bench/nets.py")
    assert spec
    assert spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def graph_of(name: str) -> Graph:
    """The net with an eighth of its channels: a CPU without instructions for halves takes long for the whole."""
    if name in ("cifar10_quick", "lenet"):
        net = reader.read_net(ROOT / "nets" / name / "train.prototxt").message
    else:
        net = bench_nets().NETS[name][0](2)
    for layer in net.layer:
        for settings in (layer.convolution_param, layer.inner_product_param):
            if settings.num_output:
                settings.num_output = max(10, settings.num_output // 8)
    graph = reader.build(reader.from_message(net), Phase.TRAIN, feeds=lambda layer: data.describe(layer, ROOT))
    return rewrite.with_batch(graph, 2)


def inputs(graph: Graph) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    images, labels = graph.inputs
    return [torch.rand(images.shape, generator=generator), torch.arange(labels.shape[0]).float()]


@pytest.mark.parametrize("name", ["cifar10_quick", "lenet", "alexnet", "resnet18", "googlenet"])
def test_the_loss_is_near_that_in_float32_and_every_gradient_is_finite(name: str) -> None:
    graph = graph_of(name)
    net = module.compile(graph, seed=1)
    given = inputs(graph)
    losses = []
    for enabled in (False, True):
        torch.manual_seed(2)  # the same dropout
        with torch.set_grad_enabled(enabled), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses.append(net.loss(net(*given)))
    assert losses[1].dtype == torch.float32
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=0.02)
    losses[1].backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all(), key
    assert all(buffer.dtype == torch.float32 for buffer in net.buffers())


@pytest.mark.parametrize("example", [e for e in EXAMPLES if e.inputs], ids=str)
def test_every_layer_takes_halves_and_gives_gradients(example: Example) -> None:
    """What another layer made is halved, what is fed is not."""
    net = module.compile(example.graph(), seed=1)
    given = [torch.rand(shape) + 0.1 for shape in example.inputs]
    if example.classes:
        given[example.label] = torch.randint(0, example.classes, example.inputs[example.label]).float()
    for x in given[: example.label] if example.classes else given:
        x.requires_grad_()
    halved = [x.bfloat16() if x.requires_grad else x for x in given]
    with torch.autocast("cpu", torch.bfloat16):
        made = [y for y in net(*halved).values() if y.requires_grad]
    if made:
        sum(y.float().sum() for y in made).backward()
        assert all(x.grad is None or x.grad.isfinite().all() for x in given)
        assert all(p.grad is None or p.grad.dtype == torch.float32 for p in net.parameters())
    if net.graph.nodes[-1].layer.loss:
        assert made[0].dtype == torch.float32


def test_places_and_shares_are_exact(read: Callable[..., Graph]) -> None:
    """Halves hold no whole number above 256 for sure."""
    graph = read("""
        layer { name: "x" type: "Input" top: "x" top: "l" input_param {
                shape { dim: 300 dim: 1001 } shape { dim: 300 } } }
        layer { name: "f" type: "InnerProduct" bottom: "x" top: "f" inner_product_param { num_output: 1001 } }
        layer { name: "m" type: "ArgMax" bottom: "f" top: "m" argmax_param { axis: 1 } }
        layer { name: "a" type: "Accuracy" bottom: "f" bottom: "l" top: "a" }
    """)
    net = module.compile(graph)
    net.load({"f.weight": torch.eye(1001).numpy()})
    places = torch.arange(300) + 700
    x = torch.nn.functional.one_hot(places, 1001).float()
    labels = places.where(torch.arange(300) < 299, 0).float()
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        values = net(x, labels)
    assert torch.equal(values["m"].flatten().long(), places)
    assert values["a"].item() == pytest.approx(299 / 300)
