"""What is said with several of Caffe's layers: one rule for each type of nktc's and of forks that has such a form."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nktc.convert.draft import Draft
from nktc.convert.resizing import deconvolved, matrices
from nktc.errors import LayerError
from nktc.ir import Graph, Node, Shape, times
from nktc.schema import ConvolutionParameter, LayerParameter, PoolingParameter

MOST_MIXED = 1 << 22  # numbers of a matrix that brings whole pictures to another size


class Layers:
    """The layers written so far, and the one that is being rewritten: `bottoms`, `tops` and `arrays` are its own."""

    def __init__(self, draft: Draft, dialect: str, graph: Graph) -> None:
        self.draft = draft
        self.dialect = dialect
        self.graph = graph
        self.name = ""
        self.bottoms: list[str] = []
        self.tops: list[str] = []
        self.arrays: Sequence[np.ndarray] = ()
        self._layer = LayerParameter()
        self._blobs = set(graph.values)

    def keep(self, layer: LayerParameter, arrays: Sequence[np.ndarray]) -> None:
        """A layer as it is."""
        self.draft.keep(layer, arrays)

    def begin(self, node: Node, layer: LayerParameter, arrays: Sequence[np.ndarray]) -> None:
        """A layer is rewritten next."""
        self.name, self.bottoms, self.tops = node.name, list(layer.bottom), list(layer.top)
        self.arrays, self._layer = arrays, layer

    def blob(self, part: str) -> str:
        """A blob between two of the layers."""
        name = f"{self.name}/{part}"
        while name in self._blobs:
            name += "'"
        self._blobs.add(name)
        return name

    def add(
        self,
        type: str,
        bottoms: Sequence[str],
        tops: Sequence[str] | str,
        arrays: Sequence[np.ndarray] = (),
        part: str = "",
        specs: slice = slice(0),
        **params: Any,
    ) -> str:
        """A layer of the rewritten one, called as it is or, where it is not the main one, with a part behind; gives its
        first top. `tops` may be the part of a new blob's name. It takes the `specs` of the rewritten one's param."""
        made = [self.blob(tops)] if isinstance(tops, str) else tops
        name = f"{self.name}/{part}" if part else self.name
        layer = self.draft.add(type, name, bottoms, made, arrays, **params)
        layer.param.extend(self._layer.param[specs])
        return made[0] if made else ""


Rewrite = Callable[[Layers, Node], None]

REWRITES: dict[str, Rewrite] = {}
"""The rule of each type."""


def rewrite(*types: str) -> Callable[[Rewrite], Rewrite]:
    """Enters a function as the rule of types."""

    def enter(function: Rewrite) -> Rewrite:
        REWRITES.update(dict.fromkeys(types, function))
        return function

    return enter


def _given(settings: dict[str, Sequence[int]], p: Any) -> None:
    """Window settings in one number, in two of their own fields, or in one for each axis."""
    for field, values in settings.items():
        numbers = tuple(values)
        default = 0 if field == "pad" else 1
        if field != "kernel" and all(n == default for n in numbers):
            continue
        if len(set(numbers)) == 1:
            name = "kernel_size" if field == "kernel" else field
            if isinstance(p, ConvolutionParameter):
                getattr(p, name).append(numbers[0])
            else:
                setattr(p, name, numbers[0])
        elif len(numbers) == 2 and field != "dilation":
            setattr(p, f"{field}_h", numbers[0])
            setattr(p, f"{field}_w", numbers[1])
        else:
            getattr(p, "kernel_size" if field == "kernel" else field).extend(numbers)


@rewrite(
    "Convolution", "DepthwiseConvolution", "ConvolutionDepthwise", "Convolution3D", "Deconvolution", "Deconvolution3D"
)
def convolution(made: Layers, node: Node) -> None:
    """The convolutions of forks, and their settings -> Convolution and Deconvolution with BVLC's."""
    layer: Any = node.layer
    x = node.inputs[0].shape
    p = ConvolutionParameter(num_output=layer.outputs, bias_term=layer.bias)
    if layer.group != 1:
        p.group = layer.group
    if layer.axis != 1:
        p.axis = layer.axis
    window = layer.window(len(x) - layer.axis % len(x) - 1)
    _given({"kernel": window.kernel, "stride": window.stride, "pad": window.pad, "dilation": window.dilation}, p)
    type = "Deconvolution" if node.type.startswith("Deconvolution") else "Convolution"
    made.add(type, made.bottoms, made.tops, made.arrays, specs=slice(None), convolution_param=p)


@rewrite("Pooling", "PoolingND")
def pooling(made: Layers, node: Node) -> None:
    """Pooling, however it rounds -> Pooling; without a setting where both ways give the same, and cut to size where the
    dialect has none."""
    layer: Any = node.layer
    size = node.inputs[0].shape[2:]
    if len(size) != 2 or layer.draws or layer.method == "STOCHASTIC":
        raise LayerError(f"Caffe pools pictures of 2 axes by MAX and AVE, not {layer.method} of {len(size)}")
    if len(made.tops) > 1 and made.dialect == "ssd":
        raise LayerError("SSD Caffe's Pooling has no such second top")
    p = PoolingParameter(pool=layer.method)
    if layer.kernel:
        window = layer.window(size)
        _given({"kernel": window.kernel, "stride": window.stride, "pad": window.pad}, p)
        up, wanted = window.slide(size), node.outputs[0].shape[2:]
    else:
        p.global_pooling = True
        up = wanted = (1, 1)
    if up == wanted:
        made.add("Pooling", made.bottoms, made.tops, pooling_param=p)
    elif made.dialect == "bvlc":
        p.round_mode = PoolingParameter.FLOOR
        made.add("Pooling", made.bottoms, made.tops, pooling_param=p)
    else:
        whole = made.add("Pooling", made.bottoms, "whole", pooling_param=p)
        for axis in (0, 1):
            if up[axis] > wanted[axis]:
                more = axis == 0 and up[1] > wanted[1]
                top = made.blob(f"cut{axis}") if more else made.tops[0]
                rest = made.blob(f"rest{axis}")
                given = {"axis": axis + 2, "slice_point": [wanted[axis]]}
                made.add("Slice", [whole], [top, rest], part=f"cut{axis}", slice_param=given)
                made.add("Silence", [rest], [], part=f"rest{axis}")
                whole = top


@rewrite("GlobalPooling")
def global_pooling(made: Layers, node: Node) -> None:
    """GlobalPooling -> Pooling over a picture, or Reduction over the last axes; Reshape for axes that go or stay."""
    layer: Any = node.layer
    x, y = node.inputs[0].shape, node.outputs[0].shape
    first, behind = layer.span(x)
    made_shape: Shape
    if len(x) == 4 and (first, behind) == (2, 4):
        made_shape = (*x[:2], 1, 1)
        tops: Any = made.tops if y == made_shape else "pooled"
        given = {"pool": layer.method, "global_pooling": True}
        found = made.add("Pooling", made.bottoms, tops, pooling_param=given)
    elif layer.method == "AVE" and behind == len(x):
        made_shape = x[:first]
        tops = made.tops if y == made_shape else "mean"
        found = made.add("Reduction", made.bottoms, tops, reduction_param={"operation": "MEAN", "axis": first})
    else:
        raise LayerError(f"Caffe reduces the last axes to their mean, or pictures, not axes {first} to {behind - 1}")
    if y != made_shape:
        _reshape(made, found, made.tops, y, "shape")


def _reshape(made: Layers, bottom: str, tops: Sequence[str] | str, shape: Shape, part: str) -> str:
    """Another shape of any batch."""
    return made.add("Reshape", [bottom], tops, part=part, reshape_param={"shape": {"dim": [0, *shape[1:]]}})


@rewrite("Clip", "ReLU6")
def clip(made: Layers, node: Node) -> None:
    """Clip and ReLU6 -> Clip, or where there is none two ReLUs between Powers; a slope below 0 is a ReLU before."""
    layer: Any = node.layer
    low, high = (layer.min, layer.max) if node.type == "Clip" else (0.0, 6.0)
    bottom = made.bottoms[0]
    slope = getattr(layer, "negative_slope", 0.0)
    if slope:
        bottom = made.add("ReLU", [bottom], "relu", part="relu", relu_param={"negative_slope": slope})
        low = -float(np.finfo(np.float32).max)
    _held(made, bottom, low, high, made.tops)


def _held(made: Layers, bottom: str, low: float, high: float, tops: Sequence[str] | str, part: str = "") -> str:
    """Values held between two numbers."""
    if made.dialect == "bvlc":
        return made.add("Clip", [bottom], tops, part=part, clip_param={"min": low, "max": high})
    # max(x, low) = ReLU(x - low) + low, min(x, high) = high - ReLU(high - x)
    furthest = float(np.finfo(np.float32).max)
    if low == 0:
        bottom = made.add("ReLU", [bottom], "above", part=f"{part}above")
    elif low > -furthest:
        bottom = made.add("Power", [bottom], "lowered", part=f"{part}lowered", power_param={"shift": -low})
        bottom = made.add("ReLU", [bottom], "above", part=f"{part}above")
        bottom = made.add("Power", [bottom], "raised", part=f"{part}raised", power_param={"shift": low})
    if high >= furthest:
        return made.add("Split", [bottom], tops, part=part)
    turned = {"scale": -1.0, "shift": high}
    bottom = made.add("Power", [bottom], "room", part=f"{part}room", power_param=turned)
    bottom = made.add("ReLU", [bottom], "left", part=f"{part}left")
    return made.add("Power", [bottom], tops, part=part, power_param=turned)


@rewrite("Swish", "SiLU")
def swish(made: Layers, node: Node) -> None:
    """Swish and SiLU -> Swish, or where there is none Sigmoid and a product."""
    beta = getattr(node.layer, "beta", 1.0)
    if made.dialect == "bvlc":
        made.add("Swish", made.bottoms, made.tops, swish_param={"beta": beta} if beta != 1 else {})
        return
    bent = made.bottoms[0]
    if beta != 1:
        bent = made.add("Power", [bent], "scaled", part="scaled", power_param={"scale": beta})
    factor = made.add("Sigmoid", [bent], "sigmoid", part="sigmoid")
    _product(made, [made.bottoms[0], factor])


def _product(made: Layers, bottoms: Sequence[str]) -> None:
    made.add("Eltwise", bottoms, made.tops, eltwise_param={"operation": "PROD"})


@rewrite("HardSwish")
def hard_swish(made: Layers, node: Node) -> None:
    """HardSwish -> x + 3 held between 0 and 6, over 6, times x."""
    line = made.add("Power", made.bottoms, "line", part="line", power_param={"shift": 3.0})
    held = _held(made, line, 0.0, 6.0, "held", "held")
    share = made.add("Power", [held], "share", part="share", power_param={"scale": 1 / 6})
    _product(made, [made.bottoms[0], share])


@rewrite("GELU")
def gelu(made: Layers, node: Node) -> None:
    """GELU by tanh -> its formula."""
    layer: Any = node.layer
    if not layer.tanh:
        raise LayerError("it takes the error function, which no layer of Caffe computes", help="use its tanh form")
    cube = made.add("Power", made.bottoms, "cube", part="cube", power_param={"power": 3.0})
    root = math.sqrt(2 / math.pi)
    mixed = {"operation": "SUM", "coeff": [root, root * 0.044715]}
    bent = made.add("Eltwise", [made.bottoms[0], cube], "bent", part="bent", eltwise_param=mixed)
    odd = made.add("TanH", [bent], "tanh", part="tanh")
    share = made.add("Power", [odd], "share", part="share", power_param={"scale": 0.5, "shift": 0.5})
    _product(made, [made.bottoms[0], share])


@rewrite("Softplus")
def softplus(made: Layers, node: Node) -> None:
    """Softplus -> BNLL between two Powers."""
    beta = getattr(node.layer, "beta", 1.0)
    if beta == 1:
        made.add("BNLL", made.bottoms, made.tops)
        return
    scaled = made.add("Power", made.bottoms, "scaled", part="scaled", power_param={"scale": beta})
    bent = made.add("BNLL", [scaled], "bent", part="bent")
    made.add("Power", [bent], made.tops, power_param={"scale": 1 / beta})


@rewrite("SeLu", "SeLU", "SELU", "Selu")
def selu(made: Layers, node: Node) -> None:
    """SeLu -> ELU and its factor."""
    layer: Any = node.layer
    bent = made.add("ELU", made.bottoms, "elu", part="elu", elu_param={"alpha": layer.alpha})
    made.add("Power", [bent], made.tops, power_param={"scale": layer.scale})


@rewrite("CReLU")
def crelu(made: Layers, node: Node) -> None:
    """CReLU -> the values and their negatives, joined, and ReLU."""
    layer: Any = node.layer
    negative = made.add("Power", made.bottoms, "negative", part="negative", power_param={"scale": -1.0})
    joined = made.add("Concat", [made.bottoms[0], negative], "both", part="both", concat_param={"axis": layer.axis})
    slope = {"negative_slope": layer.negative_slope} if layer.negative_slope else {}
    made.add("ReLU", [joined], made.tops, relu_param=slope)


@rewrite("Axpy")
def axpy(made: Layers, node: Node) -> None:
    """Axpy -> Scale by a blob, and a sum."""
    scaled = _scaled(made, made.bottoms[1], made.bottoms[0], node.inputs[0].shape, "scaled", "scale")
    made.add("Eltwise", [scaled, made.bottoms[2]], made.tops)


@rewrite("BroadcastMul")
def broadcast_mul(made: Layers, node: Node) -> None:
    """BroadcastMul -> Scale by a blob."""
    sizes = [math.prod(value.shape[1:]) for value in node.inputs]
    large = 0 if sizes[0] >= sizes[1] else 1
    _scaled(made, made.bottoms[large], made.bottoms[1 - large], node.inputs[1 - large].shape, made.tops)


def _scaled(made: Layers, blob: str, factors: str, shape: Shape, tops: Sequence[str] | str, part: str = "") -> str:
    """A blob times a factor for each channel of each item."""
    if len(shape) > 2:
        factors = made.add("Flatten", [factors], "factors", part="factors")
    return made.add("Scale", [blob, factors], tops, part=part, scale_param={"axis": 0})


@rewrite("BatchNorm")
def batch_norm(made: Layers, node: Node) -> None:
    """NVIDIA's and Intel's BatchNorm with a factor and a bias, or a ReLU -> BatchNorm, Scale and ReLU."""
    layer: Any = node.layer
    if not layer.stored:
        raise LayerError("it normalises by the batch, with settings that Caffe's BatchNorm does not have")
    held = dict(zip(node.weights, made.arrays, strict=True))
    last: Any = "bent" if layer.bends else made.tops
    given = {"use_global_stats": True, "eps": layer.eps}
    arrays = [held[name] for name in ("mean", "variance", "count")]
    if "weight" in held:
        found = made.add("BatchNorm", made.bottoms, "normalized", arrays, batch_norm_param=given)
        found = _scale(made, found, last, held["weight"], held.get("bias"))
    else:
        found = made.add("BatchNorm", made.bottoms, last, arrays, batch_norm_param=given)
    if layer.bends:
        made.add("ReLU", [found], made.tops, part="relu")


@rewrite("BN")
def bn(made: Layers, node: Node) -> None:
    """SegNet's BN with folded statistics -> Scale; PSPNet's -> BatchNorm and Scale."""
    layer: Any = node.layer
    held = {name: array.reshape(-1) for name, array in zip(node.weights, made.arrays, strict=True)}
    if layer.kind == "AFFINE":
        _scale(made, made.bottoms[0], made.tops, held["slope"], held["bias"], part="")
        return
    if layer.kind != "STORED":
        raise LayerError("it normalises by the batch", field="bn_mode", help="fold its statistics: bn_mode: INFERENCE")
    given = {"use_global_stats": True, "eps": layer.eps}
    arrays = [held["mean"], held["variance"], np.ones(1, np.float32)]
    found = made.add("BatchNorm", made.bottoms, "normalized", arrays, batch_norm_param=given)
    _scale(made, found, made.tops, held["slope"], held["bias"])


def _scale(
    made: Layers,
    bottom: str,
    tops: Sequence[str] | str,
    factor: np.ndarray,
    bias: np.ndarray | None,
    part: str = "scale",
) -> str:
    """A factor for each channel, and a bias where there is one."""
    arrays = [factor, *([] if bias is None else [bias])]
    return made.add("Scale", [bottom], tops, arrays, part=part, scale_param={"bias_term": bias is not None})


@rewrite("ShuffleChannel")
def shuffle_channel(made: Layers, node: Node) -> None:
    """ShuffleChannel -> a Convolution that takes each channel from its place."""
    layer: Any = node.layer
    x = node.inputs[0].shape
    if len(x) < 3:
        raise LayerError(f"its input {times(x)} is no picture")
    taken(made, np.arange(x[1]).reshape(layer.group, -1).T.ravel(), len(x) - 2)


def taken(made: Layers, order: np.ndarray, axes: int) -> None:
    """Channels in another order, of pictures of so many axes."""
    weight = np.zeros((len(order), len(order), *(1,) * axes), np.float32)
    weight[np.arange(len(order)), order] = 1
    given = {"num_output": len(order), "kernel_size": [1], "bias_term": False}
    made.add("Convolution", made.bottoms, made.tops, [weight], convolution_param=given)


@rewrite("PixelShuffle")
def pixel_shuffle(made: Layers, node: Node) -> None:
    """PixelShuffle -> a Deconvolution that writes each channel to its pixel."""
    layer: Any = node.layer
    r, channels = layer.factor, node.outputs[0].shape[1]
    weight = np.tile(np.eye(r * r, dtype=np.float32).reshape(r * r, 1, r, r), (channels, 1, 1, 1))
    _deconvolution(made, made.bottoms[0], made.tops, weight, channels, (r, r), (0, 0))


@rewrite("Reorg")
def reorg(made: Layers, node: Node) -> None:
    """Reorg in reverse -> a Deconvolution that writes each channel to its pixel."""
    layer: Any = node.layer
    if not layer.reverse:
        raise LayerError("Darknet's order moves pixels between rows, which no layer of Caffe does")
    s, channels = layer.stride, node.outputs[0].shape[1]
    weight = np.zeros((s * s, channels, channels, s, s), np.float32)
    for place in range(s * s):
        weight[place, np.arange(channels), np.arange(channels), place // s, place % s] = 1
    weight = weight.reshape(-1, channels, s, s)
    given = {"num_output": channels, "kernel_size": [s], "stride": [s], "bias_term": False}
    made.add("Deconvolution", made.bottoms, made.tops, [weight], convolution_param=given)


def _deconvolution(
    made: Layers,
    bottom: str,
    tops: Sequence[str] | str,
    weight: np.ndarray,
    channels: int,
    stride: Sequence[int],
    pad: Sequence[int],
) -> str:
    """A Deconvolution of every output channel from its own inputs."""
    p = ConvolutionParameter(num_output=channels, bias_term=False, group=channels)
    _given({"kernel": weight.shape[2:], "stride": stride, "pad": pad}, p)
    return made.add("Deconvolution", [bottom], tops, [weight], convolution_param=p)


@rewrite("Padding")
def padding(made: Layers, node: Node) -> None:
    """Padding with zeros -> a padded Convolution that copies each channel."""
    layer: Any = node.layer
    if min(layer.before, layer.behind) < 0:
        raise LayerError("it cuts rows and columns off", help="use Crop")
    side, channels = abs(layer.before - layer.behind) + 1, node.inputs[0].shape[1]
    weight = np.zeros((channels, 1, side, side), np.float32)
    corner = -1 if layer.behind > layer.before else 0
    weight[:, :, corner, corner] = 1
    p = ConvolutionParameter(num_output=channels, bias_term=False, group=channels)
    pad = max(layer.before, layer.behind)
    _given({"kernel": (side, side), "pad": (pad, pad)}, p)
    made.add("Convolution", made.bottoms, made.tops, [weight], convolution_param=p)


@rewrite("Resize")
def resize(made: Layers, node: Node) -> None:
    """Resize -> a Deconvolution, with a Scale at the edges; else a matrix for whole pictures, where that is small."""
    layer: Any = node.layer
    x, y = node.inputs[0].shape, node.outputs[0].shape
    if len(x) != 4:
        raise LayerError(f"its input {times(x)} is no picture of 4 axes")
    mix(made, x, y, matrices(x[2:], y[2:], layer.mode, layer.corners))


def mix(made: Layers, x: Shape, y: Shape, along: list[np.ndarray]) -> None:
    """Pictures x to pictures y by a matrix for each axis. Raises LayerError where that takes too much."""
    found = [deconvolved(matrix) for matrix in along]
    if all(found):
        rows, columns = (one for one in found if one)
        kernel = np.outer(rows.kernel, columns.kernel)
        weight = np.tile(kernel.astype(np.float32), (x[1], 1, 1, 1))
        factors = np.outer(rows.factors, columns.factors)
        plain = bool(np.allclose(factors, 1, atol=1e-6))
        tops: Any = made.tops if plain else "spread"
        stride, pad = (rows.stride, columns.stride), (rows.pad, columns.pad)
        spread = _deconvolution(made, made.bottoms[0], tops, weight, x[1], stride, pad)
        if not plain:
            edges = {"axis": 2, "num_axes": 2}
            made.add("Scale", [spread], made.tops, [factors], part="edges", scale_param=edges)
        return
    if math.prod(x[2:]) * math.prod(y[2:]) > MOST_MIXED:
        said = f"from {times(x[2:])} to {times(y[2:])} pixels no Deconvolution does it"
        raise LayerError(said, help="a whole factor would do, with align_corners one between the sizes less 1")
    pixels = made.add("Reshape", made.bottoms, "pixels", part="pixels", reshape_param={"shape": {"dim": [0, 0, -1]}})
    given = {"num_output": math.prod(y[2:]), "bias_term": False, "axis": 2}
    mixed = made.add("InnerProduct", [pixels], "mixed", [np.kron(*along)], inner_product_param=given)
    made.add("Reshape", [mixed], made.tops, part="shape", reshape_param={"shape": {"dim": [0, 0, *y[2:]]}})


@rewrite("Interp")
def interp(made: Layers, node: Node) -> None:
    """Interp with a size of its own -> what Resize becomes."""
    layer: Any = node.layer
    x, y = node.inputs[0].shape, node.outputs[0].shape
    if layer.before or layer.behind or layer.mode != "LINEAR" or len(node.inputs) > 1:
        raise LayerError("with pads, a second bottom or NEAREST no layers of Caffe do its work")
    mix(made, x, y, matrices(x[2:], y[2:], "LINEAR", True))


@rewrite("Upsample", "Unpooling", "UnPooling")
def upsample(made: Layers, node: Node) -> None:
    """Upsample, Unpooling and UnPooling without a mask -> a Deconvolution."""
    layer: Any = node.layer
    x, y = node.inputs[0].shape, node.outputs[0].shape
    if len(node.inputs) > 1 or len(x) != 4:
        raise LayerError("a mask says where its values go, which no layer of Caffe reads")
    if node.type == "Upsample":
        mix(made, x, y, matrices(x[2:], y[2:], "NEAREST", False))
    else:
        mix(made, x, y, [matrix.double().numpy() for matrix in layer.matrices(x, y)])


@rewrite("Permute", "Transpose")
def permute(made: Layers, node: Node) -> None:
    """An order of axes that leaves the numbers where they are -> Reshape; in SSD's dialect Permute."""
    layer: Any = node.layer
    x, y = node.inputs[0].shape, node.outputs[0].shape
    order = list(getattr(layer, "dims", ()) or [*layer.order, *(i for i in range(len(x)) if i not in layer.order)])
    moved = [axis for axis in order if x[axis] != 1]
    if moved == sorted(moved) and order[0] == 0:
        _reshape(made, made.bottoms[0], made.tops, y, "")
    elif made.dialect == "ssd":
        made.add("Permute", made.bottoms, made.tops, permute_param={"order": order})
    else:
        raise LayerError("BVLC Caffe has no layer that moves axes", help="give --caffe ssd, whose Permute does")


@rewrite("Cast")
def cast(made: Layers, node: Node) -> None:
    """Cast to floats -> Split."""
    made.add("Split", made.bottoms, made.tops)
