"""Prototxt of well-known shape and size, written by program: as large as the nets people bring; and weights for any
net with which its values neither vanish nor explode."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch

from nktc.ir import Graph, Node, infer, size
from nktc.layers import BatchNorm, Convolution, Deconvolution, Embed, InnerProduct


def googlenet(size: int = 224, classes: int = 1000) -> str:
    """Nine inception modules between a stem and a classifier, layers named module/branch; 84 layers with weights or
    pools, in-place ReLUs."""
    net = _Net("GoogLeNet")
    net.input("data", (1, 3, size, size))
    x = net.convolution("conv1/7x7_s2", "data", 64, 7, 2)
    x = net.pool("pool1/3x3_s2", x, 3, 2)
    x = net.layer("pool1/norm1", "LRN", [x], "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }")
    x = net.convolution("conv2/3x3_reduce", x, 64, 1)
    x = net.convolution("conv2/3x3", x, 192, 3)
    x = net.layer("conv2/norm2", "LRN", [x], "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }")
    x = net.pool("pool2/3x3_s2", x, 3, 2)
    widths = {
        "3a": (64, 96, 128, 16, 32, 32),
        "3b": (128, 128, 192, 32, 96, 64),
        "4a": (192, 96, 208, 16, 48, 64),
        "4b": (160, 112, 224, 24, 64, 64),
        "4c": (128, 128, 256, 24, 64, 64),
        "4d": (112, 144, 288, 32, 64, 64),
        "4e": (256, 160, 320, 32, 128, 128),
        "5a": (256, 160, 320, 32, 128, 128),
        "5b": (384, 192, 384, 48, 128, 128),
    }
    for name, (one, reduce3, three, reduce5, five, pooled) in widths.items():
        at = f"inception_{name}"
        if name in ("4a", "5a"):
            x = net.pool(f"pool{int(name[0]) - 1}/3x3_s2", x, 3, 2)
        branches = [
            net.convolution(f"{at}/1x1", x, one, 1),
            net.convolution(f"{at}/3x3", net.convolution(f"{at}/3x3_reduce", x, reduce3, 1), three, 3),
            net.convolution(f"{at}/5x5", net.convolution(f"{at}/5x5_reduce", x, reduce5, 1), five, 5),
            net.convolution(f"{at}/pool_proj", net.pool(f"{at}/pool", x, 3, 1, 1), pooled, 1),
        ]
        x = net.layer(f"{at}/output", "Concat", branches)
    x = net.layer("pool5/7x7_s1", "Pooling", [x], "pooling_param { pool: AVE global_pooling: true }")
    net.layer("pool5/drop", "Dropout", [x], "dropout_param { dropout_ratio: 0.4 }", top=x)
    x = net.layer("loss3/classifier", "InnerProduct", [x], f"inner_product_param {{ num_output: {classes} }}")
    net.layer("prob", "Softmax", [x])
    return net.text()


def alexnet(size: int = 227, classes: int = 1000, width: int = 4096) -> str:
    """Five convolutions, three of them in two groups, LRN, three inner products with Dropout between."""
    net = _Net("AlexNet")
    net.input("data", (1, 3, size, size))
    lrn = "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }"
    x = net.convolution("conv1", "data", 96, 11, 4, pad=0)
    x = net.layer("norm1", "LRN", [x], lrn)
    x = net.pool("pool1", x, 3, 2)
    x = net.convolution("conv2", x, 256, 5, group=2)
    x = net.layer("norm2", "LRN", [x], lrn)
    x = net.pool("pool2", x, 3, 2)
    x = net.convolution("conv3", x, 384, 3)
    x = net.convolution("conv4", x, 384, 3, group=2)
    x = net.convolution("conv5", x, 256, 3, group=2)
    x = net.pool("pool5", x, 3, 2)
    for name in ("6", "7"):
        x = net.layer(f"fc{name}", "InnerProduct", [x], f"inner_product_param {{ num_output: {width} }}")
        net.layer(f"relu{name}", "ReLU", [x], top=x)
        net.layer(f"drop{name}", "Dropout", [x], top=x)
    x = net.layer("fc8", "InnerProduct", [x], f"inner_product_param {{ num_output: {classes} }}")
    net.layer("prob", "Softmax", [x])
    return net.text()


def squeezenet11(size: int = 227, classes: int = 1000) -> str:
    """Eight fire modules: a 1x1 convolution, then a 1x1 and a 3x3 beside each other; no inner product."""
    net = _Net("SqueezeNet 1.1")
    net.input("data", (1, 3, size, size))
    x = net.convolution("conv1", "data", 64, 3, 2, pad=0)
    x = net.pool("pool1", x, 3, 2)
    for number, width in zip(range(2, 10), (16, 16, 32, 32, 48, 48, 64, 64), strict=True):
        x = net.convolution(f"fire{number}/squeeze1x1", x, width, 1)
        parts = [net.convolution(f"fire{number}/expand{k}x{k}", x, 4 * width, k) for k in (1, 3)]
        x = net.layer(f"fire{number}/concat", "Concat", parts)
        if number in (3, 5):
            x = net.pool(f"pool{number}", x, 3, 2)
    net.layer("drop9", "Dropout", [x], top=x)
    x = net.convolution("conv10", x, classes, 1)
    x = net.layer("pool10", "Pooling", [x], "pooling_param { pool: AVE global_pooling: true }")
    net.layer("prob", "Softmax", [x])
    return net.text()


def mobilenet_v1(size: int = 224, classes: int = 1000) -> str:
    """Thirteen pairs of a depthwise and a 1x1 convolution, each with BatchNorm, Scale and ReLU in place."""
    net = _Net("MobileNet")
    net.input("data", (1, 3, size, size))
    width = 32
    x = net.normalized("conv1", "data", width, 3, 2)
    pairs = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    for number, (wider, stride) in enumerate(pairs, 2):
        x = net.normalized(f"conv{number}/dw", x, width, 3, stride, group=width)
        x = net.normalized(f"conv{number}/sep", x, wider, 1)
        width = wider
    x = net.layer("pool6", "Pooling", [x], "pooling_param { pool: AVE global_pooling: true }")
    x = net.layer("fc7", "Convolution", [x], f"convolution_param {{ num_output: {classes} kernel_size: 1 }}")
    net.layer("prob", "Softmax", [x])
    return net.text()


def densenet(size: int = 64, classes: int = 10, growth: int = 12, blocks: Sequence[int] = (4, 5, 4)) -> str:
    """BatchNorm, Scale and ReLU before each convolution, all of whose outputs are joined: 30 BatchNorms."""
    net = _Net("DenseNet")
    net.input("data", (1, 3, size, size))
    width = 2 * growth
    x = net.normalized("conv1", "data", width, 3, 2)
    for number, layers in enumerate(blocks, 1):
        for index in range(1, layers + 1):
            at = f"conv{number}_{index}"
            y = net.prepared(f"{at}/x1", x, 4 * growth, 1)
            y = net.prepared(f"{at}/x2", y, growth, 3)
            x = net.layer(f"concat{number}_{index}", "Concat", [x, y])
            width += growth
        if number < len(blocks):
            width //= 2
            x = net.prepared(f"conv{number}_blk", x, width, 1)
            pooling = "pooling_param { pool: AVE kernel_size: 2 stride: 2 }"
            x = net.layer(f"pool{number}", "Pooling", [x], pooling)
    x = net.activated("last", x)
    x = net.layer("pool", "Pooling", [x], "pooling_param { pool: AVE global_pooling: true }")
    x = net.layer("fc", "InnerProduct", [x], f"inner_product_param {{ num_output: {classes} }}")
    net.layer("prob", "Softmax", [x])
    return net.text()


def inception_bn(size: int = 64, classes: int = 10) -> str:
    """Two inception modules with BatchNorm behind each convolution, one that halves the size."""
    net = _Net("Inception-BN")
    net.input("data", (1, 3, size, size))
    x = net.normalized("conv1", "data", 32, 7, 2)
    x = net.pool("pool1", x, 3, 2)
    at = "3a"
    three = net.normalized(f"{at}/3x3", net.normalized(f"{at}/3x3_reduce", x, 24, 1), 32, 3)
    double = net.normalized(f"{at}/double_reduce", x, 24, 1)
    double = net.normalized(f"{at}/double_2", net.normalized(f"{at}/double_1", double, 32, 3), 32, 3)
    pooled = net.layer(f"{at}/pool", "Pooling", [x], "pooling_param { pool: AVE kernel_size: 3 stride: 1 pad: 1 }")
    branches = [net.normalized(f"{at}/1x1", x, 24, 1), three, double, net.normalized(f"{at}/proj", pooled, 16, 1)]
    x = net.layer(f"{at}/output", "Concat", branches)
    at = "3b"
    three = net.normalized(f"{at}/3x3", net.normalized(f"{at}/3x3_reduce", x, 32, 1), 48, 3, 2)
    double = net.normalized(f"{at}/double_reduce", x, 24, 1)
    double = net.normalized(f"{at}/double_2", net.normalized(f"{at}/double_1", double, 32, 3), 32, 3, 2)
    # The pool rounds up and the convolutions down, which is the same for an even size.
    pooled = net.pool(f"{at}/pool", x, 3, 2)
    x = net.layer(f"{at}/output", "Concat", [three, double, pooled])
    x = net.layer("pool", "Pooling", [x], "pooling_param { pool: AVE global_pooling: true }")
    x = net.layer("fc", "InnerProduct", [x], f"inner_product_param {{ num_output: {classes} }}")
    net.layer("prob", "Softmax", [x])
    return net.text()


BIG_NETS = {
    "alexnet": lambda: alexnet(99, 50, 128),
    "densenet": densenet,
    "googlenet": lambda: googlenet(64, 50),
    "inception_bn": inception_bn,
    "mobilenet_v1": lambda: mobilenet_v1(64, 50),
    "squeezenet11": lambda: squeezenet11(67, 50),
}
"""Their texts at sizes that take a moment."""


def random_weights(graph: Graph, seed: int = 0) -> Graph:
    """The graph with all weights known: drawn at random, then scaled along the net so that what a layer with a matrix
    makes has deviation 1. BatchNorms have means about 0 and variances from 0.5 to 1.5."""
    draw = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray] = {}
    values: dict[str, torch.Tensor] = dict(zip((v.name for v in graph.inputs), random_inputs(graph, seed), strict=True))
    for node in graph:
        own = infer.weights(node.layer, [value.shape for value in node.inputs])
        weights = {}
        for local, name in node.weights.items():
            parameter = graph.parameters[name]
            if name not in arrays:
                arrays[name] = _drawn(draw, node, local, graph).astype(np.float32)
            weights[local] = torch.from_numpy(arrays[name].reshape(own[local].shape))
            if parameter.weight.volatile:
                del arrays[name]
        if node.layer.source:
            continue
        with torch.no_grad():
            made = _run(node, values, weights)
            if isinstance(node.layer, Convolution | Deconvolution | InnerProduct):
                # In place, so that layers which share the weight have it too.
                spread = made[0].std(correction=0)
                if spread > 0:
                    weights["weight"] /= spread
                made = _run(node, values, weights)
        values.update(zip((value.name for value in node.outputs), made, strict=True))
    return dataclasses.replace(graph, arrays=arrays)


def random_inputs(graph: Graph, seed: int = 0) -> list[torch.Tensor]:
    """What to feed, in order: normal numbers, or, where an Embed reads them, words that it has."""
    draw = np.random.default_rng(seed + 1000)
    found = []
    for value in graph.inputs:
        words = [n.layer.rows for n in graph.readers[value.name] if isinstance(n.layer, Embed)]
        drawn = draw.integers(0, min(words), value.shape) if words else draw.normal(size=value.shape)
        found.append(torch.from_numpy(drawn.astype(np.float32)))
    return found


def _run(node: Node, values: dict[str, torch.Tensor], weights: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    given = [values[value.name] for value in node.inputs]
    weights = {local: weight.to(given[0].dtype) if given else weight for local, weight in weights.items()}
    if node.layer.each:
        return tuple(node.layer.forward(x, **weights) for x in given)
    made = node.layer.forward(*given, **weights)
    return made if isinstance(made, tuple) else (made,)


def _drawn(draw: np.random.Generator, node: Node, local: str, graph: Graph) -> np.ndarray:
    weight = graph.parameters[node.weights[local]].weight
    shape = weight.shape
    if weight.start is not None:
        return weight.start
    if isinstance(node.layer, BatchNorm):
        count = 3.0  # the stored sums are of so many batches
        match local:
            case "mean":
                return draw.normal(0, 0.1, shape) * count
            case "variance":
                return draw.uniform(0.5, 1.5, shape) * count
            case "count":
                return np.full(shape, count)
    if not weight.learns:
        return np.full(shape, weight.filler.value)
    if len(shape) > 1:
        return draw.normal(0, math.sqrt(2 * shape[0] / size(shape)), shape)
    return (
        draw.uniform(0.1, 0.4, shape)
        if local == "slope"
        else (draw.uniform(0.5, 1.5, shape) if local == "weight" else draw.normal(0, 0.1, shape))
    )


class _Net:
    def __init__(self, name: str) -> None:
        self.lines = [f'name: "{name}"']

    def text(self) -> str:
        return "\n".join(self.lines) + "\n"

    def layer(self, name: str, kind: str, bottoms: Sequence[str], settings: str = "", top: str = "") -> str:
        """Adds a layer and returns its top, which is called as it is unless said otherwise."""
        connected = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
        self.lines.append(f'layer {{ name: "{name}" type: "{kind}" {connected} top: "{top or name}" {settings} }}')
        return top or name

    def input(self, name: str, shape: Sequence[int]) -> str:
        dims = " ".join(f"dim: {n}" for n in shape)
        return self.layer(name, "Input", [], f"input_param {{ shape {{ {dims} }} }}")

    def convolution(
        self, name: str, x: str, outputs: int, kernel: int, stride: int = 1, pad: int | None = None, group: int = 1
    ) -> str:
        """A convolution that keeps the size but for its stride, and its ReLU in place."""
        filler = 'weight_filler { type: "xavier" }' + (f" group: {group}" if group > 1 else "")
        pad = kernel // 2 if pad is None else pad
        settings = f"num_output: {outputs} kernel_size: {kernel} stride: {stride} pad: {pad} {filler}"
        y = self.layer(name, "Convolution", [x], f"convolution_param {{ {settings} }}")
        family, _, last = name.partition("/")
        return self.layer(f"{family}/relu_{last}", "ReLU", [y], top=y)

    def pool(self, name: str, x: str, kernel: int, stride: int, pad: int = 0) -> str:
        return self.layer(
            name, "Pooling", [x], f"pooling_param {{ kernel_size: {kernel} stride: {stride} pad: {pad} }}"
        )

    def normalized(self, name: str, x: str, outputs: int, kernel: int, stride: int = 1, group: int = 1) -> str:
        """A convolution without bias, and BatchNorm, Scale and ReLU in place."""
        y = self._plain(name, x, outputs, kernel, stride, group)
        self.layer(f"{name}/bn", "BatchNorm", [y], top=y)
        self.layer(f"{name}/scale", "Scale", [y], "scale_param { bias_term: true }", top=y)
        return self.layer(f"{name}/relu", "ReLU", [y], top=y)

    def prepared(self, name: str, x: str, outputs: int, kernel: int) -> str:
        """BatchNorm, Scale and ReLU, then a convolution without bias."""
        return self._plain(name, self.activated(name, x), outputs, kernel)

    def activated(self, name: str, x: str) -> str:
        y = self.layer(f"{name}/bn", "BatchNorm", [x])
        self.layer(f"{name}/scale", "Scale", [y], "scale_param { bias_term: true }", top=y)
        return self.layer(f"{name}/relu", "ReLU", [y], top=y)

    def _plain(self, name: str, x: str, outputs: int, kernel: int, stride: int = 1, group: int = 1) -> str:
        settings = f"num_output: {outputs} kernel_size: {kernel} stride: {stride} pad: {kernel // 2} bias_term: false"
        grouped = f" group: {group}" if group > 1 else ""
        return self.layer(name, "Convolution", [x], f"convolution_param {{ {settings}{grouped} }}")
