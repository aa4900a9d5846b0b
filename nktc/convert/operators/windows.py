"""Windows over pictures: Conv, ConvTranspose, MaxPool, AveragePool, global pools, Pad."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from nktc.convert.importing import Importing, rule
from nktc.convert.onnx_graph import Call
from nktc.errors import LayerError
from nktc.ir import Shape, times
from nktc.schema import ConvolutionParameter, PoolingParameter, ScaleParameter

LOWEST = -1e30  # below it, padding for a MaxPool is as good as none


@dataclass(frozen=True)
class _Window:
    """A window over the axes behind the channels, with one number an axis; `begin` and `end` are its padding."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]

    @property
    def extent(self) -> tuple[int, ...]:
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))


def _window(call: Call, kernel: Sequence[int], size: Shape) -> _Window:
    """The window of a call over a picture of that size. Raises LayerError."""
    axes = len(size)
    stride = tuple(call.attributes.get("strides") or (1,) * axes)
    dilation = tuple(call.attributes.get("dilations") or (1,) * axes)
    pads = tuple(call.attributes.get("pads") or (0,) * (2 * axes))
    if not len(kernel) == len(stride) == len(dilation) == axes or len(pads) != 2 * axes:
        raise LayerError(f"its kernel, strides, dilations and pads are not for {axes} axes")
    if min(pads) < 0:
        raise LayerError(f"its pads {list(pads)} cut the picture off, which no layer of Caffe does")
    begin, end = pads[:axes], pads[axes:]
    auto = call.attributes.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER") and call.op != "ConvTranspose":
        steps = zip(size, kernel, stride, dilation, strict=True)
        total = [max(0, (ceil(n / s) - 1) * s + (k - 1) * d + 1 - n) for n, k, s, d in steps]
        less = [t // 2 for t in total]
        more = [t - a for t, a in zip(total, less, strict=True)]
        begin, end = (tuple(less), tuple(more)) if auto == "SAME_UPPER" else (tuple(more), tuple(less))
    elif auto not in ("NOTSET", "VALID"):
        raise LayerError(f"auto_pad {auto} is not read", help="export with pads")
    return _Window(tuple(kernel), stride, dilation, tuple(begin), tuple(end))


def _pictures(net: Importing, call: Call) -> tuple[str, Shape, list[int], list[int]]:
    """The blob that a call reads, its shape, and what a Pad in front of it adds before and behind."""
    name = call.inputs[0]
    if name in net.padded:
        source, before, behind = net.padded[name]
        return source, net.shape(source), before, behind
    shape = net.shape(name)
    return net.blob(name), shape, [0] * (len(shape) - 2), [0] * (len(shape) - 2)


def _params(outputs: int, group: int, bias: bool, window: _Window) -> ConvolutionParameter:
    """Settings, in one number where all axes have the same."""
    p = ConvolutionParameter(num_output=outputs, bias_term=bias)
    if group != 1:
        p.group = group
    for field, values in (("kernel_size", window.kernel), ("stride", window.stride), ("pad", window.begin)):
        flat = len(values) == 2 and values[0] != values[1]
        if flat:
            # What readers of old know for unequal sides.
            short = field.removesuffix("_size")
            setattr(p, f"{short}_h", values[0])
            setattr(p, f"{short}_w", values[1])
        elif field == "kernel_size" or any(value != (field == "stride") for value in values):
            getattr(p, field).extend(values[:1] if len(set(values)) == 1 else values)
    if any(d != 1 for d in window.dilation):
        p.dilation.extend(window.dilation[:1] if len(set(window.dilation)) == 1 else window.dilation)
    return p


def _even(window: _Window, weight: np.ndarray) -> tuple[_Window, np.ndarray]:
    """A convolution whose padding is the same on both sides, which is all that Caffe has: zeros in the window make up
    for the difference. Raises LayerError."""
    if window.begin == window.end:
        return window, weight
    added = []
    for b, e, d in zip(window.begin, window.end, window.dilation, strict=True):
        if (e - b) % d:
            raise LayerError(f"its padding {b} and {e} differs by no multiple of its dilation {d}")
        # In front they move the window back where there is more padding behind, and the other way round.
        added.append((max(0, e - b) // d, max(0, b - e) // d))
    kernel = tuple(k + before + behind for k, (before, behind) in zip(window.kernel, added, strict=True))
    pad = tuple(map(max, window.begin, window.end))
    return _Window(kernel, window.stride, window.dilation, pad, pad), np.pad(weight, [(0, 0), (0, 0), *added])


@rule("Conv")
def convolution(net: Importing, call: Call) -> None:
    """Conv -> Convolution."""
    weight = net.weight(call, 1, "weight")
    source, x, before, behind = _pictures(net, call)
    if not 3 <= len(x) <= 5:
        raise LayerError(f"its input has {len(x)} axes, a picture has 3 to 5")
    window = _window(call, weight.shape[2:], tuple(map(sum, zip(x[2:], before, behind, strict=True))))
    begin, end = (
        tuple(map(sum, zip(own, more, strict=True))) for own, more in ((window.begin, before), (window.end, behind))
    )
    window, weight = _even(_Window(window.kernel, window.stride, window.dilation, begin, end), weight)
    arrays = [weight]
    if len(call.inputs) > 2 and call.inputs[2]:
        arrays.append(net.weight(call, 2, "bias"))
    params = _params(len(weight), call.attributes.get("group", 1), len(arrays) > 1, window)
    net.layer("Convolution", [source], call.outputs, arrays, convolution_param=params)


@rule("ConvTranspose")
def deconvolution(net: Importing, call: Call) -> None:
    """ConvTranspose -> Deconvolution; what is cut off unevenly, and output_padding, are zeros in the window."""
    weight = net.weight(call, 1, "weight")
    x = net.shape(call.inputs[0])
    window = _window(call, weight.shape[2:], x[2:])
    more = call.attributes.get("output_padding") or [0] * len(window.kernel)
    if call.attributes.get("output_shape"):
        raise LayerError("output_shape is not read", help="export with pads and output_padding")
    added, pad = [], []
    for b, e, o, d in zip(window.begin, window.end, more, window.dilation, strict=True):
        front, back = max(0, e - b - o), max(0, b - e + o)
        if front % d or back % d:
            raise LayerError(f"its padding {b} and {e} differs by no multiple of its dilation {d}")
        added.append((front // d, back // d))
        pad.append(b + front)
    kernel = tuple(k + sum(zeros) for k, zeros in zip(window.kernel, added, strict=True))
    arrays = [np.pad(weight, [(0, 0), (0, 0), *added])]
    if len(call.inputs) > 2 and call.inputs[2]:
        arrays.append(net.weight(call, 2, "bias"))
    group = call.attributes.get("group", 1)
    even = _Window(kernel, window.stride, window.dilation, tuple(pad), tuple(pad))
    params = _params(weight.shape[1] * group, group, len(arrays) > 1, even)
    net.layer("Deconvolution", [net.blob(call.inputs[0])], call.outputs, arrays, convolution_param=params)


@rule("MaxPool", "AveragePool")
def pooling(net: Importing, call: Call) -> None:
    """MaxPool, AveragePool -> Pooling; where Caffe divides a mean by another number of cells, a Scale mends it, and
    where it has more windows they are cut off."""
    source, x, before, behind = _pictures(net, call)
    if len(x) != 4:
        raise LayerError(f"its input has {len(x)} axes, Caffe pools pictures of 4")
    if len([name for name in call.outputs if name]) > 1:
        raise LayerError("its second output, where the largest values are, is not read")
    padded = any((*before, *behind))
    window = _window(call, call.attributes["kernel_shape"], tuple(map(sum, zip(x[2:], before, behind, strict=True))))
    if any(d != 1 for d in window.dilation):
        raise LayerError(f"dilations {list(window.dilation)} are nothing that Caffe's Pooling has")
    window = _Window(
        window.kernel,
        window.stride,
        window.dilation,
        tuple(map(sum, zip(window.begin, before, strict=True))),
        tuple(map(sum, zip(window.end, behind, strict=True))),
    )
    if any(p >= k for p, k in zip(window.begin, window.kernel, strict=True)):
        raise LayerError(f"its padding {list(window.begin)} is not smaller than its window {list(window.kernel)}")
    wanted = net.shape(call.outputs[0])[2:]
    mean = call.op == "AveragePool"
    p = PoolingParameter(pool=PoolingParameter.AVE if mean else PoolingParameter.MAX)
    for field, values in (("kernel", window.kernel), ("stride", window.stride), ("pad", window.begin)):
        if values[0] != values[1]:
            setattr(p, f"{field}_h", values[0])
            setattr(p, f"{field}_w", values[1])
        elif field == "kernel" or values[0] != (field == "stride"):
            setattr(p, "kernel_size" if field == "kernel" else field, values[0])
    made = _positions(x[2:], window, up=True)
    down = _positions(x[2:], window, up=False)
    # Without the setting, which oldest Caffes lack, where both give the same.
    if made != wanted and all(map(int.__ge__, down, wanted)):
        made, p.round_mode = down, PoolingParameter.FLOOR
    if not all(map(int.__ge__, made, wanted)):
        raise LayerError(f"it gives {times(wanted)} of {times(x[2:])}, Caffe's Pooling {times(made)}")
    maps = _shares(x[2:], window, wanted, bool(call.attributes.get("count_include_pad", 0)) or padded) if mean else None
    top = call.outputs[0]
    steps = [f"cut{axis}" for axis in range(2) if made[axis] > wanted[axis]] + (["share"] if maps is not None else [])
    tops = [*(net.between(top, step) for step in ["whole", *steps][: len(steps)]), top]
    net.layer("Pooling", [source], tops[:1], pooling_param=p)
    for position, step in enumerate(steps):
        if step == "share" and maps is not None:
            given = ScaleParameter(axis=2, num_axes=2)
            net.layer("Scale", [tops[position]], [tops[position + 1]], [maps], part=step, scale_param=given)
        else:
            axis = int(step[-1])
            cut(net, tops[position], tops[position + 1], axis + 2, 0, wanted[axis], made[axis])


def _positions(size: Shape, window: _Window, up: bool) -> tuple[int, ...]:
    """How many windows Caffe's Pooling has."""
    found = []
    for n, k, s, p in zip(size, window.kernel, window.stride, window.begin, strict=True):
        room = n + 2 * p - k
        count = (-(-room // s) if up else room // s) + 1
        # The last one starts inside the picture or its padding in front of it.
        found.append(count - 1 if p and (count - 1) * s >= n + p else count)
    return tuple(found)


def _shares(size: Shape, window: _Window, wanted: Shape, counted: bool) -> np.ndarray | None:
    """The factors [h w] from the means that Caffe's Pooling makes to those wanted, whose padding is `counted` or not;
    None where they are 1."""
    along = []
    for n, k, s, b, e, m in zip(size, window.kernel, window.stride, window.begin, window.end, wanted, strict=True):
        start = np.arange(m) * s - b
        caffe = np.minimum(start + k, n + b) - start
        mine = np.minimum(start + k, n + e) - start
        if not counted:
            mine = np.minimum(start + k, n) - np.maximum(start, 0)
        along.append(caffe / np.maximum(mine, 1))
    factors = np.outer(*along)
    return None if (factors == 1).all() else factors


def cut(net: Importing, source: str, top: str, axis: int, start: int, stop: int, size: int) -> None:
    """The places `start` to `stop` of an axis of that size; the rest is silenced, so that it is no output."""
    points = [point for point in (start, stop) if 0 < point < size]
    tops = [top]
    rest = []
    if start > 0:
        rest.append(net.between(top, f"before{axis}"))
        tops.insert(0, rest[-1])
    if stop < size:
        rest.append(net.between(top, f"behind{axis}"))
        tops.append(rest[-1])
    net.layer("Slice", [source], tops, part=f"slice{axis}", slice_param={"axis": axis, "slice_point": points})
    net.layer("Silence", rest, [], part=f"rest{axis}")


@rule("GlobalAveragePool", "GlobalMaxPool")
def global_pooling(net: Importing, call: Call) -> None:
    """GlobalAveragePool, GlobalMaxPool -> Pooling over all of the picture."""
    pool_all(net, net.blob(call.inputs[0]), net.shape(call.inputs[0]), call.outputs[0], call.op == "GlobalMaxPool")


def pool_all(net: Importing, source: str, x: Shape, top: str, largest: bool, part: str = "") -> None:
    """The mean or the largest of each channel, [n c 1 1]; the type is nktc's own where that has not 4 axes."""
    method: Any = PoolingParameter.MAX if largest else PoolingParameter.AVE
    if len(x) == 4:
        given = PoolingParameter(pool=method, global_pooling=True)
        net.layer("Pooling", [source], [top], part=part, pooling_param=given)
    else:
        own = {"pool": "MAX" if largest else "AVE"}
        net.layer("GlobalPooling", [source], [top], part=part, global_pooling_param=own)


@rule("Pad")
def pad(net: Importing, call: Call) -> None:
    """Pad with zeros -> the padding of the windows behind it, or a Convolution that copies each channel."""
    x = net.shape(call.inputs[0])
    mode = call.attributes.get("mode", "constant")
    if mode != "constant":
        raise LayerError(f"mode {mode} is nothing that a layer of Caffe does", help="pad with zeros")
    pads = net.numbers(call, "pads", 1) or []
    if len(call.inputs) > 3 and call.inputs[3]:
        axes = [axis % len(x) for axis in net.numbers(call, "axes", 3) or []]
        whole = [0] * (2 * len(x))
        for position, axis in enumerate(axes):
            whole[axis], whole[axis + len(x)] = pads[position], pads[position + len(axes)]
        pads = whole
    value = net.number(call, "value", 2) or 0.0
    before, behind = pads[: len(x)], pads[len(x) :]
    if len(pads) != 2 * len(x) or min(pads, default=0) < 0:
        raise LayerError(f"its pads {pads} cut the picture off, which no layer of Caffe does")
    if not any(pads):
        net.alias(call)
        return
    top = call.outputs[0]
    if any((*before[:2], *behind[:2])) or len(x) < 3:
        raise LayerError(f"its pads {pads} are not only around pictures")
    readers = net.graph.readers.get(top, [])
    source = net.blob(call.inputs[0])
    if readers and top not in net.graph.outputs and all(_takes(reader, top, value) for reader in readers):
        net.padded[top] = (source, before[2:], behind[2:])
        net.shapes[source] = x
        return
    if value:
        raise LayerError(f"it pads with {value:g}, which no layer of Caffe does", help="pad with zeros")
    ones = np.ones((x[1], 1, *(1,) * (len(x) - 2)), np.float32)
    plain = (1,) * (len(x) - 2)
    window, weight = _even(_Window(plain, plain, plain, tuple(before[2:]), tuple(behind[2:])), ones)
    params = _params(x[1], x[1], False, window)
    net.layer("Convolution", [source], [top], [weight], convolution_param=params)


def _takes(reader: Call, name: str, value: float) -> bool:
    """Whether a call can do the padding of its input itself."""
    if reader.inputs[0] != name or name in reader.inputs[1:] or reader.attributes.get("auto_pad", "NOTSET") != "NOTSET":
        return False
    own = any(reader.attributes.get("pads") or ())
    match reader.op:
        case "Conv":
            return value == 0
        case "MaxPool":
            return value <= LOWEST
        case "AveragePool":
            return value == 0 and (not own or bool(reader.attributes.get("count_include_pad", 0)))
    return False
