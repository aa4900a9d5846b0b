"""The nets made of blocks: the same as written out by hand, and as large as published."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nktc import reader, text
from nktc.checking import learned
from nktc.ir import Graph, Phase
from nktc.schema import NetParameter

ROOT = Path(__file__).parents[1]
SIZES = {"resnet50": 120, "gpt": 120}  # lines


def net(name: str) -> Graph:
    return reader.build(reader.read_net(ROOT / "nets" / name / "deploy.prototxt"), Phase.TEST)


def multiply_adds(graph: Graph) -> int:
    """Of the layers that multiply and add for a living, for one forward."""
    counted = [node for node in graph if node.type in ("Convolution", "InnerProduct", "Attention")]
    return sum(n.layer.flops(*(v.shape for v in (*n.inputs, *n.outputs))) for n in counted) // 2


def conv_bn(name: str, bottom: str, top: str, width: int, kernel: int = 1, stride: int = 1) -> str:
    return f"""
layer {{ name: "res{name}" type: "Convolution" bottom: "{bottom}" top: "{top}" convolution_param {{
  num_output: {width} kernel_size: {kernel} stride: {stride} pad: {kernel // 2} bias_term: false
  weight_filler {{ type: "msra" }} }} }}
layer {{ name: "bn{name}" type: "BatchNorm" bottom: "{top}" top: "{top}" }}
layer {{ name: "scale{name}" type: "Scale" bottom: "{top}" top: "{top}" scale_param {{ bias_term: true }} }}"""


def relu(name: str, blob: str) -> str:
    return f'layer {{ name: "{name}_relu" type: "ReLU" bottom: "{blob}" top: "{blob}" }}'


def branch2(name: str, bottom: str, under: str, width: int, stride: int) -> Iterator[str]:
    yield conv_bn(f"{name}_branch2a", bottom, f"{under}/a", width, stride=stride)
    yield relu(f"res{name}_branch2a", f"{under}/a")
    yield conv_bn(f"{name}_branch2b", f"{under}/a", f"{under}/b", width, kernel=3)
    yield relu(f"res{name}_branch2b", f"{under}/b")
    yield conv_bn(f"{name}_branch2c", f"{under}/b", under, 4 * width)


def resnet50() -> Iterator[str]:
    """ResNet-50 layer by layer, without a block."""
    yield """name: "ResNet-50"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 224 dim: 224 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" convolution_param {
  num_output: 64 kernel_size: 7 pad: 3 stride: 2 bias_term: false weight_filler { type: "msra" } } }
layer { name: "bn_conv1" type: "BatchNorm" bottom: "conv1" top: "conv1" }
layer { name: "scale_conv1" type: "Scale" bottom: "conv1" top: "conv1" scale_param { bias_term: true } }
layer { name: "conv1_relu" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param { kernel_size: 3 stride: 2 } }"""
    bottom = "pool1"
    for stage, letters, width in ((2, "abc", 64), (3, "abcd", 128), (4, "abcdef", 256), (5, "abc", 512)):
        first, under = f"{stage}a", f"res{stage}"
        stride = 1 if stage == 2 else 2
        yield conv_bn(f"{first}_branch1", bottom, f"{under}/branch1", 4 * width, stride=stride)
        yield from branch2(first, bottom, f"{under}/branch2", width, stride)
        yield f"""layer {{ name: "res{first}" type: "Eltwise"
          bottom: "{under}/branch1" bottom: "{under}/branch2" top: "{under}/a" }}"""
        yield relu(f"res{first}", f"{under}/a")
        bottom = f"{under}/a"
        for index, letter in enumerate(letters[1:]):
            name, inside = f"{stage}{letter}", f"{under}/rest/{index}"
            top = f"res{name}" if letter == letters[-1] else f"{inside}/y"
            yield from branch2(name, bottom, f"{inside}/branch2", width, 1)
            yield f"""layer {{ name: "res{name}" type: "Eltwise"
              bottom: "{bottom}" bottom: "{inside}/branch2" top: "{top}" }}"""
            yield relu(f"res{name}", top)
            bottom = top
    yield f"""
layer {{ name: "pool5" type: "Pooling" bottom: "{bottom}" top: "pool5" pooling_param {{ pool: AVE kernel_size: 7 }} }}
layer {{ name: "fc1000" type: "InnerProduct" bottom: "pool5" top: "fc1000"
  inner_product_param {{ num_output: 1000 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "prob" type: "Softmax" bottom: "fc1000" top: "prob" }}"""


def test_resnet50_in_blocks_is_resnet50_by_hand() -> None:
    by_hand: NetParameter = reader.parse_net("\n".join(resnet50())).message
    in_blocks = reader.read_net(ROOT / "nets/resnet50/deploy.prototxt").message
    assert text.print_message(in_blocks) == text.print_message(by_hand)
    assert len(in_blocks.layer) == 229


@pytest.mark.parametrize(("name", "lines"), SIZES.items())
def test_a_net_of_blocks_is_a_page(name: str, lines: int) -> None:
    assert len((ROOT / "nets" / name / "deploy.prototxt").read_text().splitlines()) < lines


def test_resnet50_has_the_size_published() -> None:
    graph = net("resnet50")
    assert learned(graph) == 25_557_032
    # "3.8 x 10^9 FLOPs (multiply-adds)", table 1 of the paper, which rounds down.
    assert multiply_adds(graph) == 3_857_973_248


def test_gpt_has_the_size_published() -> None:
    graph = net("gpt")
    assert learned(graph) == 81_912_576  # DistilGPT2
    # Kaplan et al. (2020), table 1: 2 N + 2 n_layer n_ctx d_attn a token; N is without embeddings and biases.
    layers, width, context, tokens = 6, 768, 1024, 50257
    body = 12 * layers * width**2 + layers * context * width
    # Kaplan counts the half of the attention's products that a causal one needs; all are computed.
    assert multiply_adds(graph) == context * (body + layers * context * width + width * tokens)
