"""Values on their own, and values of two blobs: activations and arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np

from nktc.convert.importing import Importing, rule
from nktc.convert.onnx_graph import Call
from nktc.errors import LayerError
from nktc.ir import Shape, times
from nktc.schema import EltwiseParameter, PowerParameter

FARTHEST = float(np.finfo(np.float32).max)
SIMPLE: dict[str, tuple[str, dict[str, Any]]] = {
    "Relu": ("ReLU", {}),
    "Sigmoid": ("Sigmoid", {}),
    "Tanh": ("TanH", {}),
    "Abs": ("AbsVal", {}),
    "Exp": ("Exp", {}),
    "Log": ("Log", {}),
    "Softplus": ("BNLL", {}),
    "HardSwish": ("HardSwish", {}),
    "Sqrt": ("Power", {"power_param": {"power": 0.5}}),
    "Neg": ("Power", {"power_param": {"scale": -1.0}}),
    "Reciprocal": ("Power", {"power_param": {"power": -1.0}}),
}


@rule(*SIMPLE)
def simple(net: Importing, call: Call) -> None:
    """One layer that does the same."""
    type, params = SIMPLE[call.op]
    net.layer(type, [net.blob(call.inputs[0])], call.outputs[:1], **params)


@rule("Identity", "Cast")
def copy(net: Importing, call: Call) -> None:
    """Nothing, where floats stay floats."""
    if call.op == "Cast" and call.attributes.get("to") not in (1, 10, 11, 16):
        raise LayerError("it makes whole numbers, a blob of Caffe holds floats")
    net.alias(call)


@rule("Dropout")
def dropout(net: Importing, call: Call) -> None:
    """Dropout, which copies in TEST."""
    ratio = net.number(call, "ratio", 1)
    ratio = 0.5 if ratio is None else ratio
    if any(name in net.graph.readers for name in call.outputs[1:]):
        raise LayerError("its second output, the mask, is not read")
    source = net.blob(call.inputs[0])
    if not 0 <= ratio < 1:
        net.alias(call)
    else:
        net.layer("Dropout", [source], call.outputs[:1], dropout_param={"dropout_ratio": ratio})


@rule("LeakyRelu")
def leaky(net: Importing, call: Call) -> None:
    """LeakyRelu -> ReLU with negative_slope."""
    slope = call.attributes.get("alpha", 0.01)
    net.layer("ReLU", [net.blob(call.inputs[0])], call.outputs, relu_param={"negative_slope": slope})


@rule("PRelu")
def prelu(net: Importing, call: Call) -> None:
    """PRelu with a slope for each channel, or for all -> PReLU."""
    slope, x = net.weight(call, 1, "slope"), net.shape(call.inputs[0])
    aligned = (1,) * (len(x) - slope.ndim) + slope.shape
    if len(x) < 2 or any(n != 1 for axis, n in enumerate(aligned) if axis != 1):
        raise LayerError(f"its slope {times(slope.shape)} is not one number a channel, as Caffe's PReLU has it")
    shared = slope.size == 1 and x[1] != 1
    arrays = [slope.reshape(() if shared else (-1,))]
    params = {"channel_shared": True} if shared else {}
    net.layer("PReLU", [net.blob(call.inputs[0])], call.outputs, arrays, prelu_param=params)


@rule("Elu")
def elu(net: Importing, call: Call) -> None:
    """Elu -> ELU."""
    net.layer("ELU", [net.blob(call.inputs[0])], call.outputs, elu_param={"alpha": call.attributes.get("alpha", 1.0)})


@rule("Selu")
def selu(net: Importing, call: Call) -> None:
    """Selu -> ELU, and Power for its factor."""
    alpha, gamma = call.attributes.get("alpha", 1.6732632423543772), call.attributes.get("gamma", 1.0507009873554805)
    bent = net.between(call.outputs[0], "elu")
    net.layer("ELU", [net.blob(call.inputs[0])], [bent], part="elu", elu_param={"alpha": alpha})
    net.layer("Power", [bent], call.outputs, power_param={"scale": gamma})


@rule("Clip")
def clip(net: Importing, call: Call) -> None:
    """Clip -> ReLU where it holds values above 0 alone, else Clip."""
    low, high = net.number(call, "min", 1), net.number(call, "max", 2)
    source = net.blob(call.inputs[0])
    if low == 0 and (high is None or high >= FARTHEST):
        net.layer("ReLU", [source], call.outputs)
        return
    low, high = (-FARTHEST if low is None else low), (FARTHEST if high is None else high)
    bounds = {"min": max(low, -FARTHEST), "max": min(high, FARTHEST)}
    net.layer("Clip", [source], call.outputs, clip_param=bounds)


@rule("HardSigmoid")
def hard_sigmoid(net: Importing, call: Call) -> None:
    """HardSigmoid -> Power and Clip."""
    line = {"scale": call.attributes.get("alpha", 0.2), "shift": call.attributes.get("beta", 0.5)}
    between = net.between(call.outputs[0], "line")
    net.layer("Power", [net.blob(call.inputs[0])], [between], part="line", power_param=line)
    net.layer("Clip", [between], call.outputs, clip_param={"min": 0.0, "max": 1.0})


@rule("Swish")
def swish(net: Importing, call: Call) -> None:
    """Swish."""
    net.layer(
        "Swish", [net.blob(call.inputs[0])], call.outputs, swish_param={"beta": call.attributes.get("alpha", 1.0)}
    )


@rule("Gelu")
def gelu(net: Importing, call: Call) -> None:
    """Gelu -> GELU, a type of nktc's own."""
    params = {"approximate": "TANH"} if call.attributes.get("approximate", "none") == "tanh" else {}
    net.layer("GELU", [net.blob(call.inputs[0])], call.outputs, gelu_param=params)


@rule("Mish", "Softsign")
def bent(net: Importing, call: Call) -> None:
    """Mish -> BNLL, TanH and a product; Softsign -> a quotient."""
    source, top = net.blob(call.inputs[0]), call.outputs[0]
    if call.op == "Mish":
        net.layer("BNLL", [source], [net.between(top, "softplus")], part="softplus")
        net.layer("TanH", [net.between(top, "softplus")], [net.between(top, "tanh")], part="tanh")
        factor = net.between(top, "tanh")
    else:
        net.layer("AbsVal", [source], [net.between(top, "abs")], part="abs")
        factor = net.between(top, "quotient")
        line = {"power": -1.0, "shift": 1.0}
        net.layer("Power", [net.between(top, "abs")], [factor], part="quotient", power_param=line)
    net.layer("Eltwise", [source, factor], [top], eltwise_param={"operation": "PROD"})


@rule("Pow")
def power(net: Importing, call: Call) -> None:
    """Pow with one exponent -> Power."""
    exponent = net.weight(call, 1, "exponent")
    if exponent.size != 1:
        raise LayerError(f"its exponent is {times(exponent.shape)}, Caffe's Power has one number")
    params = {"power": float(exponent.ravel()[0])}
    net.layer("Power", [net.blob(call.inputs[0])], call.outputs, power_param=params)


@rule("Add", "Sum", "Sub", "Mul", "Div", "Max", "Min", "Mean")
def arithmetic(net: Importing, call: Call) -> None:
    """Two blobs and more -> Eltwise, where one is broadcast Scale or Bias; a constant -> Power, Scale or Bias."""
    top = call.outputs[0]
    op = "Add" if call.op in ("Sum", "Mean") else call.op
    names = [*call.inputs]
    if len(names) == 1:
        net.alias(call)
        return
    same = len({net.shape(name) for name in names}) == 1 and all(net.constant(name) is None for name in names)
    if same and (len(names) > 2 or call.op == "Mean"):
        factors = [1 / len(names)] * len(names) if call.op == "Mean" else []
        _eltwise(net, op, [net.blob(name) for name in names], top, factors)
        return
    if call.op == "Mean":
        raise LayerError("its inputs differ in shape", help="write it as Add and Mul")
    left = names[0]
    for position, right in enumerate(names[1:], 1):
        last = position == len(names) - 1
        made = top if last else net.between(top, f"part{position}")
        _pair(net, op, left, right, made, "" if last else f"part{position}")
        left = made


def _pair(net: Importing, op: str, a: str, b: str, top: str, part: str) -> None:
    """One operator of two values."""
    left, right = net.constant(a), net.constant(b)
    if left is None and right is None:
        _blobs(net, op, a, b, top, part)
        return
    if left is not None and right is None:
        # What is left is not turned about: c - x = -x + c, c / x = 1/x * c.
        x, given = b, left
        turned = {"Sub": ("Add", {"scale": -1.0}), "Div": ("Mul", {"power": -1.0})}
        if op in turned:
            op, params = turned[op]
            if given.size == 1:
                value = float(given.ravel()[0])
                both = {**params, "shift": value} if op == "Add" else {**params}
                if op == "Add" or value == 1:
                    net.layer("Power", [net.blob(x)], [top], part=part, power_param=both)
                    return
            turn = net.between(top, "turned")
            net.layer("Power", [net.blob(x)], [turn], part="turned", power_param=params)
            net.shapes[turn] = net.shape(x)
            x = turn
    else:
        assert right is not None
        x, given = a, right
        if op == "Sub":
            op, given = "Add", -given
        elif op == "Div":
            if not given.all():
                raise LayerError("it divides by 0")
            op, given = "Mul", (1 / given.astype(np.float64)).astype(np.float32)
    _constant(net, op, x, given, top, part)


def _constant(net: Importing, op: str, name: str, given: np.ndarray, top: str, part: str) -> None:
    """A blob and a constant, in any order."""
    x, source = net.shape(name), net.blob(name)
    if op in ("Max", "Min"):
        if given.size != 1:
            raise LayerError(f"its constant is {times(given.shape)}, Caffe's Clip has one number")
        value = float(given.ravel()[0])
        if op == "Max" and value == 0:
            net.layer("ReLU", [source], [top], part=part)
        else:
            bounds = {"min": value, "max": FARTHEST} if op == "Max" else {"min": -FARTHEST, "max": value}
            net.layer("Clip", [source], [top], part=part, clip_param=bounds)
        return
    if given.ndim > len(x) or np.broadcast_shapes(given.shape, x) != x:
        whole = np.broadcast_shapes(given.shape, x)
        raise LayerError(
            f"its constant {times(given.shape)} makes {times(whole)} of {times(x)}", help="expand it first"
        )
    if given.size == 1:
        value = float(given.ravel()[0])
        line = PowerParameter(scale=value) if op == "Mul" else PowerParameter(shift=value)
        net.layer("Power", [source], [top], part=part, power_param=line)
        return
    aligned = given.reshape((1,) * (len(x) - given.ndim) + given.shape)
    along = [axis for axis, n in enumerate(aligned.shape) if n != 1]
    first, behind = along[0], along[-1] + 1
    array = np.broadcast_to(aligned, (*aligned.shape[:first], *x[first:behind], *aligned.shape[behind:]))
    array = array.reshape(x[first:behind])
    params = {"axis": first, "num_axes": behind - first}
    if op == "Mul":
        net.layer("Scale", [source], [top], [array], part=part, scale_param=params)
    elif not _biased(net, source, array, top, first, len(x)):
        net.layer("Bias", [source], [top], [array], part=part, bias_param=params)


def _biased(net: Importing, source: str, array: np.ndarray, top: str, axis: int, axes: int) -> bool:
    """Whether the layer that has just made the blob took the sum as its bias, and makes `top` now."""
    before = net.draft.net.layer[-1]
    if list(before.top) != [source] or source in net.graph.outputs or len(net.graph.readers.get(source, [])) != 1:
        return False
    param: Any = {"Convolution": before.convolution_param, "InnerProduct": before.inner_product_param}.get(before.type)
    if param is None or param.bias_term or array.shape != (param.num_output,):
        return False
    if axis != (1 if before.type == "Convolution" else before.inner_product_param.axis) or (
        before.type == "InnerProduct" and axis != axes - 1
    ):
        return False
    param.bias_term = True
    before.top[:] = [top]
    net.draft.arrays[before.name].append(np.require(array, np.float32, ["C", "W"]))
    net.blobs[top] = top
    return True


def _blobs(net: Importing, op: str, a: str, b: str, top: str, part: str) -> None:
    """Two blobs; the smaller is spread over the larger."""
    x, y = net.shape(a), net.shape(b)
    left, right = net.blob(a), net.blob(b)
    if op == "Div" or (op == "Sub" and x != y):
        turn = net.between(top, "turned")
        params = {"power": -1.0} if op == "Div" else {"scale": -1.0}
        net.layer("Power", [right], [turn], part=f"{part}turned", power_param=params)
        op, right = ("Mul" if op == "Div" else "Add"), turn
    if x == y:
        _eltwise(net, op, [left, right], top, part=part)
        return
    whole = tuple(np.broadcast_shapes(x, y))
    if op in ("Add", "Mul") and whole in (x, y):
        (large, small), shape = ((left, right), y) if whole == x else ((right, left), x)
        aligned = (1,) * (len(whole) - len(shape)) + shape
        along = [axis for axis, n in enumerate(aligned) if n != 1]
        first, behind = (along[0], along[-1] + 1) if along else (0, 0)
        if first == 1 and whole[0] == 1:
            first = 0  # an item of its own, so that the batch is in it
        if aligned[first:behind] == whole[first:behind]:
            run = whole[first:behind]
            if shape != run:
                narrow = net.between(top, "narrow")
                net.reshape(small, narrow, shape, run, part=f"{part}narrow")
                small = narrow
            settings: Any = {"scale_param" if op == "Mul" else "bias_param": {"axis": first}}
            net.layer("Scale" if op == "Mul" else "Bias", [large, small], [top], part=part, **settings)
            return
    left, right = (
        _tiled(net, blob, shape, whole, top, f"{part}{side}")
        for blob, shape, side in ((left, x, "first"), (right, y, "second"))
    )
    _eltwise(net, op, [left, right], top, part=part)


def _tiled(net: Importing, source: str, shape: Shape, whole: Shape, top: str, part: str) -> str:
    """A blob spread over a shape by copies of it."""
    if len(shape) < len(whole):
        aligned = (1,) * (len(whole) - len(shape)) + shape
        made = net.between(top, f"{part}/shape")
        net.reshape(source, made, shape, aligned, part=f"{part}/shape")
        source, shape = made, aligned
    for axis, (n, m) in enumerate(zip(shape, whole, strict=True)):
        if n != m:
            made = net.between(top, f"{part}/tile{axis}")
            net.layer("Tile", [source], [made], part=f"{part}/tile{axis}", tile_param={"axis": axis, "tiles": m})
            source = made
    return source


def _eltwise(
    net: Importing, op: str, blobs: list[str], top: str, factors: list[float] | None = None, part: str = ""
) -> None:
    """Blobs of one shape, value by value."""
    if op == "Min":
        # The smallest is what is left of the largest of the negatives.
        turned = []
        for position, blob in enumerate(blobs):
            turned.append(net.between(top, f"negative{position}"))
            net.layer("Power", [blob], turned[-1:], part=f"{part}negative{position}", power_param={"scale": -1.0})
        largest = net.between(top, "largest")
        net.layer("Eltwise", turned, [largest], part=f"{part}largest", eltwise_param={"operation": "MAX"})
        net.layer("Power", [largest], [top], part=part, power_param={"scale": -1.0})
        return
    operations = {"Mul": EltwiseParameter.PROD, "Max": EltwiseParameter.MAX}
    p = EltwiseParameter(operation=operations.get(op, EltwiseParameter.SUM))
    if op == "Sub":
        factors = [1.0, -1.0]
    p.coeff.extend(factors or [])
    net.layer("Eltwise", blobs, [top], part=part, eltwise_param=p)


@rule("Expand")
def expand(net: Importing, call: Call) -> None:
    """Expand -> Tile."""
    before, after = net.shape(call.inputs[0]), net.shape(call.outputs[0])
    made = _tiled(net, net.blob(call.inputs[0]), before, after, call.outputs[0], "expand")
    net.layer("Split", [made], call.outputs)
