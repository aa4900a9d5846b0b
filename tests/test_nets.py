"""The nets that ship: the gallery has the published layers, weights and sizes; blocks stand for what they say."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import h5py
import numpy as np
import pytest
import torch

from nktc import checking, module, reader, text
from nktc.checking import learned
from nktc.ir import Graph, Phase, cost
from nktc.schema import NetParameter

ROOT = Path(__file__).parents[1]
NETS = ROOT / "nets"
LINES = {"resnet50": 130, "resnet101": 130, "resnet152": 130, "gpt": 120}
"""Fewer than so many in the files of nets that blocks make short."""
RECIPES = ("alexnet", "caffenet", "googlenet", "mnist_autoencoder", "mnist_siamese")


class Published(NamedTuple):
    """What was published of a net: its layers, a fingerprint of them, parameters that learn, and multiply-adds.

    The fingerprint is the SHA-256 of a line for each layer of the prototxt that was published, inputs and Dropout for
    training apart: name, type, tops, and the shapes of its weights in the order of the .caffemodel.
    """

    layers: int
    print: str
    parameters: int
    macs: int


GALLERY = {
    # BVLC/caffe, models/bvlc_alexnet and bvlc_reference_caffenet; "60 million parameters" in the paper.
    "alexnet": Published(23, "0e686e2d73c62112", 60_965_224, 724_406_816),
    "caffenet": Published(23, "64cd124d2f67f787", 60_965_224, 724_406_816),
    # BVLC/caffe, models/bvlc_googlenet; "1.5 billion multiply-adds" is the budget of the paper.
    "googlenet": Published(142, "21f12fa554931b19", 6_998_552, 1_582_671_872),
    # The authors' VGG_ILSVRC_16_layers; 138 million in table 2 of the paper.
    "vgg16": Published(39, "1422e637cbf640e9", 138_357_544, 15_470_264_320),
    # KaimingHe/deep-residual-networks; 3.8, 7.6 and 11.3 x 10^9 in table 1 of the paper.
    "resnet50": Published(228, "3a9258cef318d87e", 25_557_096, 3_857_973_248),
    "resnet101": Published(449, "70b78859abf9cfd5", 44_549_160, 7_570_194_432),
    "resnet152": Published(670, "8c53342e54124482", 60_192_808, 11_282_415_616),
    # forresti/SqueezeNet; 1,248,424 in the paper, 1.72 GFLOPs in the repository.
    "squeezenet_v1.0": Published(66, "0528643fc4a4e4f3", 1_248_424, 861_339_936),
    "squeezenet_v1.1": Published(66, "95a76211afd66bd1", 1_235_496, 387_747_520),
    # shicai/MobileNet-Caffe; 4.2 million and 569 million in table 4 of the paper.
    "mobilenet_v1": Published(111, "ec5b81dc1e21e0af", 4_231_976, 568_740_352),
    "mobilenet_v2": Published(208, "ed3b402f726ee0f9", 3_505_960, 429_111_936),
    # shicai/DenseNet-Caffe, its ceil_mode: false read as round_mode: FLOOR.
    "densenet121": Published(547, "8911a8edbdd28930", 7_978_856, 2_834_161_664),
    # soeaver/caffe-model, cls/inception.
    "inception_v3": Published(404, "8e4569a07a3a918c", 23_834_568, 5_713_216_096),
    # hujie-frank/SENet; 3.87 GFLOPs in the paper.
    "senet50": Published(308, "3f8a9a489c44148c", 28_088_024, 3_860_488_192),
    # farmingyard/ShuffleNet, shufflenet_1x_g3.
    "shufflenet": Published(217, "2f3f731911a0b937", 1_814_734, 127_061_304),
    # shelhamer/fcn.berkeleyvision.org, voc-fcn8s; 134 million in table 1 of the paper.
    "fcn8s": Published(46, "32e8a9e3aa599104", 134_489_759, 181_529_034_048),
    # BVLC/caffe, examples/siamese and examples/mnist; its recurrent branch.
    "mnist_siamese": Published(8, "ae553baf9a0f5d80", 431_102, 2_293_020),
    "mnist_autoencoder": Published(15, "8ad7edbfeb101c84", 2_837_314, 2_833_000),
    "lstm_language_model": Published(4, "8b5ff826a4437abb", 25_614_801, 16_801_000),
}


@cache
def net(name: str) -> Graph:
    return reader.build(reader.read_net(NETS / name / "deploy.prototxt"), Phase.TEST)


def multiply_adds(graph: Graph) -> int:
    """Of the layers that multiply and add for a living, for one forward."""
    counted = [node for node in graph if node.type in ("Convolution", "InnerProduct", "Attention")]
    return sum(n.layer.flops(*(v.shape for v in (*n.inputs, *n.outputs))) for n in counted) // 2


def shapes(graph: Graph) -> dict[str, list[tuple[int, ...]]]:
    """Of the weights of each layer that has some, in their order."""
    return {n.name: [graph.parameters[w].weight.shape for w in n.weights.values()] for n in graph if n.weights}


@pytest.mark.parametrize("name", GALLERY)
def test_a_net_of_the_gallery_has_the_layers_weights_and_size_published(name: str) -> None:
    published, graph = GALLERY[name], net(name)
    own = shapes(graph)
    lines = []
    for node in graph:
        if not node.layer.source:
            tops = " ".join(value.name.partition("@")[0] for value in node.outputs)
            weights = " ".join("x".join(map(str, shape)) for shape in own.get(node.name, []))
            lines.append(f"{node.name} {node.type} {tops} {weights}".strip())
    assert len(lines) == published.layers
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] == published.print
    counted = cost(graph)
    assert (counted.parameters, counted.macs) == published[2:]


@pytest.mark.parametrize("name", GALLERY)
def test_its_page_has_its_figures(name: str) -> None:
    page = (NETS / name / "README.md").read_text()
    for figure in GALLERY[name][2:]:
        assert f"{figure:,}" in page
    assert f"nets/{name}/deploy.prototxt" in page
    assert f"[{name}](nets/{name}/README.md)" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains_the_weights_that_the_net_has(name: str) -> None:
    report = checking.check(ROOT / "solvers" / f"{name}.prototxt")
    assert report.well, str(report)
    trained = shapes(checking.graphs(NETS / name / "train_val.prototxt", [Phase.TRAIN])[0])
    for layer, own in shapes(net(name)).items():
        assert trained[layer] == own, layer


def test_fcn8s_at_once_has_two_scales_more() -> None:
    at_once = reader.build(reader.read_net(NETS / "fcn8s" / "deploy_atonce.prototxt"), Phase.TEST)
    own = shapes(net("fcn8s"))
    assert shapes(at_once) == {**own, "scale_pool4": [(512,)], "scale_pool3": [(256,)]}
    assert at_once.outputs[0].shape == net("fcn8s").outputs[0].shape == (1, 21, 500, 500)


def test_the_siamese_net_pairs_a_digit_with_its_like() -> None:
    written = (NETS / "mnist_siamese" / "train_val.prototxt").read_text()
    labels = written[written.index('layer { name: "slice_label"') : written.index('layer { name: "first"')]
    graph = reader.build(
        reader.parse_net('layer { name: "l" type: "Input" top: "label" input_param { shape { dim: 6 } } }' + labels),
        Phase.TRAIN,
    )
    alike = module.compile(graph)(torch.tensor([3.0, 0.0, 9.0, 3.0, 1.0, 9.0]))["sim"]
    assert alike.tolist() == [1, 0, 1]


def test_a_text_is_cut_into_streams_of_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written = "".join(chr(32 + i % 65) for i in range(128 * 50))
    (tmp_path / "text.txt").write_text(written)
    script().main(tmp_path / "text.txt", tmp_path / "runs" / "text")
    with h5py.File("runs/text/train.h5") as file:
        cont, given, wanted = (file[f"{name}_sentence"][()] for name in ("cont", "input", "target"))
    assert given.shape == (44, 128)  # 45 x 128 characters, whose last has none behind it
    assert not cont[0].any()
    assert cont[1:].all()
    np.testing.assert_array_equal(wanted[:-1], given[1:])
    np.testing.assert_array_equal(wanted[-1, :-1], given[0, 1:])
    (graph,) = checking.graphs(NETS / "lstm_language_model" / "train_val.prototxt", [Phase.TRAIN])
    assert [value.shape for value in graph.sources[0].outputs] == [(20, 128)] * 3


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("text_to_hdf5", NETS / "lstm_language_model" / "text_to_hdf5.py")
    assert spec
    assert spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def conv_bn(name: str, bottom: str, width: int, kernel: int = 1, stride: int = 1) -> str:
    top = f"res{name}"
    return f"""
layer {{ name: "{top}" type: "Convolution" bottom: "{bottom}" top: "{top}" convolution_param {{
  num_output: {width} kernel_size: {kernel} stride: {stride} pad: {kernel // 2} bias_term: false
  weight_filler {{ type: "msra" }} }} }}
layer {{ name: "bn{name}" type: "BatchNorm" bottom: "{top}" top: "{top}" }}
layer {{ name: "scale{name}" type: "Scale" bottom: "{top}" top: "{top}" scale_param {{ bias_term: true }} }}"""


def relu(blob: str) -> str:
    return f'layer {{ name: "{blob}_relu" type: "ReLU" bottom: "{blob}" top: "{blob}" }}'


def branch2(name: str, bottom: str, width: int, stride: int) -> Iterator[str]:
    at = f"{name}_branch2"
    yield conv_bn(f"{at}a", bottom, width, stride=stride)
    yield relu(f"res{at}a")
    yield conv_bn(f"{at}b", f"res{at}a", width, kernel=3)
    yield relu(f"res{at}b")
    yield conv_bn(f"{at}c", f"res{at}b", 4 * width)


def resnet50() -> Iterator[str]:
    """ResNet-50 layer by layer, without a block."""
    yield """name: "ResNet-50"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 224 dim: 224 } }
  transform_param { crop_size: 224 resize_height: 256 resize_width: 256 resize_mode: CROP
                    mean_value: 103.0626 mean_value: 115.9029 mean_value: 123.1516 } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" convolution_param {
  num_output: 64 kernel_size: 7 pad: 3 stride: 2 weight_filler { type: "msra" } } }
layer { name: "bn_conv1" type: "BatchNorm" bottom: "conv1" top: "conv1" }
layer { name: "scale_conv1" type: "Scale" bottom: "conv1" top: "conv1" scale_param { bias_term: true } }
layer { name: "conv1_relu" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param { kernel_size: 3 stride: 2 } }"""
    bottom = "pool1"
    for stage, letters, width in ((2, "abc", 64), (3, "abcd", 128), (4, "abcdef", 256), (5, "abc", 512)):
        for letter in letters:
            name = f"{stage}{letter}"
            first = letter == "a"
            stride = 2 if first and stage > 2 else 1
            if first:
                yield conv_bn(f"{name}_branch1", bottom, 4 * width, stride=stride)
            yield from branch2(name, bottom, width, stride)
            shortcut = f"res{name}_branch1" if first else bottom
            yield f"""layer {{ name: "res{name}" type: "Eltwise"
              bottom: "{shortcut}" bottom: "res{name}_branch2c" top: "res{name}" }}"""
            yield relu(f"res{name}")
            bottom = f"res{name}"
    yield """
layer { name: "pool5" type: "Pooling" bottom: "res5c" top: "pool5" pooling_param { pool: AVE kernel_size: 7 } }
layer { name: "fc1000" type: "InnerProduct" bottom: "pool5" top: "fc1000"
  inner_product_param { num_output: 1000 weight_filler { type: "xavier" } } }
layer { name: "prob" type: "Softmax" bottom: "fc1000" top: "prob" }"""


def test_resnet50_in_blocks_is_resnet50_by_hand() -> None:
    by_hand: NetParameter = reader.parse_net("\n".join(resnet50())).message
    in_blocks = reader.read_net(NETS / "resnet50" / "deploy.prototxt").message
    assert text.print_message(in_blocks) == text.print_message(by_hand)
    assert len(in_blocks.layer) == 229


@pytest.mark.parametrize(("name", "lines"), LINES.items())
def test_a_net_of_blocks_is_a_page(name: str, lines: int) -> None:
    assert len((NETS / name / "deploy.prototxt").read_text().splitlines()) < lines


def test_gpt_has_the_size_published() -> None:
    graph = net("gpt")
    assert learned(graph) == 81_912_576  # DistilGPT2
    # Kaplan et al. (2020), table 1: 2 N + 2 n_layer n_ctx d_attn a token; N is without embeddings and biases.
    layers, width, context, tokens = 6, 768, 1024, 50257
    body = 12 * layers * width**2 + layers * context * width
    # Kaplan counts the half of the attention's products that a causal one needs; all are computed.
    assert multiply_adds(graph) == context * (body + layers * context * width + width * tokens)
