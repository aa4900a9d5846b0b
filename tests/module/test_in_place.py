"""What a net runs as one, or over its input, gives what its layers give one by one; nobody's values are touched."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nktc import layers, module
from nktc.ir import Graph, Phase, rewrite
from nktc.module import Net

Read = Callable[..., Graph]

START = """
    force_backward: true
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 4 dim: 3 dim: 5 dim: 5 } } }
"""
CONVOLUTION = """
    layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param {
            num_output: 4 kernel_size: 3 weight_filler { type: "gaussian" } } }
"""
NORM = 'layer { name: "n" type: "BatchNorm" bottom: "c" top: "n" }\n'
SCALE = """
    layer { name: "s" type: "Scale" bottom: "n" top: "s" scale_param {
            bias_term: true filler { type: "gaussian" std: 1 } bias_filler { type: "gaussian" } } }
"""
RELU = 'layer { name: "r" type: "ReLU" bottom: "%s" top: "r" }\n'


def run(net: Net, given: list[Tensor], one_by_one: bool) -> tuple[dict[str, Tensor], list[Tensor | None]]:
    """The outputs and losses; the gradients of what is fed and of all weights."""
    given = [x.clone().requires_grad_() for x in given]
    before = [x.clone() for x in given]
    found = (net.values if one_by_one else net)(*given)
    wanted = {name: y for name, y in found.items() if name in net._wanted}
    sum((y * torch.arange(y.numel()).reshape(y.shape)).sum() for y in wanted.values()).backward()
    for x, y in zip(given, before, strict=True):
        assert torch.equal(x, y)
    gradients = [tensor.grad for tensor in (*given, *net.parameters())]
    net.zero_grad()
    return wanted, gradients


def same_one_by_one(graph: Graph) -> None:
    whole, apart = module.compile(graph, seed=1).double(), module.compile(graph, seed=1).double()
    generator = torch.Generator().manual_seed(2)
    given = [torch.randn(value.shape, generator=generator).double() for value in graph.inputs]
    for _ in range(2):
        torch.testing.assert_close(run(whole, given, False), run(apart, given, True), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(whole.state_dict(), apart.state_dict(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("phase", list(Phase))
def test_a_batch_norm_and_its_scale_run_as_one(read: Read, phase: Phase) -> None:
    graph = read(START + CONVOLUTION + NORM + SCALE + RELU % "s", phase)
    assert [node.name for node in rewrite.joined(graph)] == ["x", "c", "n", "r"]
    same_one_by_one(graph)


def test_a_single_value_a_channel_is_scaled_too(read: Read) -> None:
    start = 'layer { name: "c" type: "Input" top: "c" input_param { shape { dim: 1 dim: 4 } } }'
    same_one_by_one(read(start + NORM + SCALE, Phase.TRAIN))


@pytest.mark.parametrize(
    "more",
    [
        'layer { name: "t" type: "TanH" bottom: "n" top: "t" }',
        NORM.replace('top: "n"', 'top: "n" loss_weight: 2').replace('"n" type', '"m" type'),
        SCALE.replace("bias_term: true", ""),
        SCALE.replace("bias_term: true", "bias_term: true axis: 2"),
        SCALE.replace("bias_term: true", "bias_term: true num_axes: 2"),
        SCALE.replace('bottom: "n"', 'bottom: "n" propagate_down: false'),
    ],
    ids=["read twice", "a loss", "no bias", "another axis", "two axes", "cut off"],
)
def test_they_run_apart_where_it_would_show(read: Read, more: str) -> None:
    text = START + CONVOLUTION
    match more:
        case _ if "TanH" in more:
            text += NORM + SCALE + more
        case _ if "loss_weight" in more:
            text += more + SCALE
        case _:
            text += NORM + more
    if "propagate_down" in more:
        text = text.replace("force_backward: true", "")
    graph = read(text, Phase.TRAIN)
    assert len(rewrite.joined(graph)) == len(graph)
    same_one_by_one(graph)


@pytest.mark.parametrize(
    "before",
    [
        CONVOLUTION,
        CONVOLUTION + NORM,
        'layer { name: "p" type: "Pooling" bottom: "x" top: "p" pooling_param { kernel_size: 3 stride: 2 } }',
        'layer { name: "e" type: "Eltwise" bottom: "x" bottom: "x" top: "e" }',
        'layer { name: "l" type: "LRN" bottom: "x" top: "l" }',
        'layer { name: "i" type: "InnerProduct" bottom: "x" top: "i" inner_product_param {'
        ' num_output: 4 weight_filler { type: "gaussian" } } }',
    ],
    ids=["Convolution", "BatchNorm", "Pooling", "Eltwise", "LRN", "InnerProduct"],
)
@pytest.mark.parametrize("slope", ["", "relu_param { negative_slope: 0.1 }"], ids=["", "slope"])
def test_a_relu_overwrites_what_nobody_else_wants(
    read: Read, before: str, slope: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    overwritten = []
    in_place = layers.ReLU.forward_in_place

    def spy(layer: layers.ReLU, x: Tensor) -> Tensor:
        y = in_place(layer, x)
        overwritten.append(y.data_ptr() == x.data_ptr())
        return y

    monkeypatch.setattr(layers.ReLU, "forward_in_place", spy)
    text = START + before
    last = text.rpartition('top: "')[2][0]
    relu = (RELU % last).replace(" }\n", f" {slope} }}\n")
    same_one_by_one(read(text + relu, Phase.TRAIN))
    assert overwritten == [True, True]


def test_a_sum_overwrites_its_first_input(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    overwritten = []
    in_place = layers.Eltwise.forward_in_place

    def spy(layer: layers.Eltwise, *inputs: Tensor) -> Tensor:
        y = in_place(layer, *inputs)
        overwritten.append(y.data_ptr() == inputs[0].data_ptr())
        return y

    monkeypatch.setattr(layers.Eltwise, "forward_in_place", spy)
    residual = 'layer { name: "e" type: "Eltwise" bottom: "n" bottom: "d" bottom: "d" top: "e" }'
    text = START + CONVOLUTION + CONVOLUTION.replace('"c"', '"d"') + NORM + residual + RELU % "e"
    graph = read(text, Phase.TRAIN)
    same_one_by_one(graph)
    assert overwritten == [True, True]
    with torch.autocast("cpu", torch.bfloat16):  # what it would overwrite cannot hold the sum
        halves, whole = torch.ones(2, dtype=torch.bfloat16), torch.full((2,), 1e-3)
        assert layers.Eltwise().forward_in_place(halves, whole).tolist() == pytest.approx([1.001] * 2)


@pytest.mark.parametrize(
    "text",
    [
        RELU % "x",
        CONVOLUTION + RELU % "c" + 'layer { name: "t" type: "TanH" bottom: "c" top: "t" }',
        CONVOLUTION.replace('top: "c"', 'top: "c" loss_weight: 2') + RELU % "c",
        'layer { name: "t" type: "TanH" bottom: "x" top: "t" }' + RELU % "t",
        'layer { name: "f" type: "Flatten" bottom: "x" top: "f" }' + RELU % "f",
        'layer { name: "d" type: "Split" bottom: "x" top: "a" top: "b" }' + RELU % "a",
        'layer { name: "s" type: "Slice" bottom: "x" top: "a" top: "b" slice_param { slice_point: 1 } }' + RELU % "a",
        'layer { name: "e" type: "Eltwise" bottom: "x" bottom: "x" top: "e"'
        " eltwise_param { operation: PROD stable_prod_grad: false } }" + RELU % "e",
        CONVOLUTION + 'layer { name: "e" type: "Eltwise" bottom: "c" bottom: "c" top: "e" }',
        CONVOLUTION
        + CONVOLUTION.replace('"c"', '"d"')
        + 'layer { name: "e" type: "Eltwise" bottom: "c" bottom: "d" top: "e" eltwise_param { coeff: 1 coeff: 2 } }',
    ],
    ids=["fed", "read twice", "a loss", "TanH", "Flatten", "Split", "Slice", "PROD", "a sum", "another sum"],
)
def test_it_overwrites_nothing_that_is_wanted(read: Read, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(layers.ReLU, "forward_in_place")
    monkeypatch.delattr(layers.Eltwise, "forward_in_place")
    same_one_by_one(read(START + text, Phase.TRAIN))
