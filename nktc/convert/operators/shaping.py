"""The same values in another shape or order, and parts of them."""

from __future__ import annotations

from math import prod

import numpy as np

from nktc.convert.importing import Importing, rule
from nktc.convert.onnx_graph import Call
from nktc.convert.operators.windows import cut
from nktc.errors import LayerError
from nktc.ir import times

FIRST, LAST = -(1 << 31), (1 << 31) - 1  # ends of a Slice beyond these are those of the axis


@rule("Concat")
def concat(net: Importing, call: Call) -> None:
    """Concat."""
    if len(call.inputs) == 1:
        net.alias(call)
        return
    axis = call.attributes["axis"] % len(net.shape(call.inputs[0]))
    net.layer("Concat", [net.blob(name) for name in call.inputs], call.outputs, concat_param={"axis": axis})


@rule("Split")
def split(net: Importing, call: Call) -> None:
    """Split -> Slice."""
    x = net.shape(call.inputs[0])
    axis = call.attributes.get("axis", 0) % len(x)
    if len(call.outputs) == 1:
        net.alias(call)
        return
    sizes = net.numbers(call, "split", 1)
    if sizes is None:
        each = -(-x[axis] // len(call.outputs))
        sizes = [min(each, x[axis] - each * i) for i in range(len(call.outputs))]
    if any(size < 1 for size in sizes):
        raise LayerError(f"its parts are {sizes}, one of them empty")
    points = np.cumsum(sizes)[:-1].tolist()
    given = {"axis": axis, "slice_point": points}
    net.layer("Slice", [net.blob(call.inputs[0])], call.outputs, slice_param=given)
    unread = [top for top in call.outputs if top not in net.graph.readers and top not in net.graph.outputs]
    if unread:
        net.layer("Silence", unread, [], part="rest")


@rule("Slice")
def slices(net: Importing, call: Call) -> None:
    """Slice with a step of 1 -> Slice, and Silence for the rest."""
    x = net.shape(call.inputs[0])
    starts, ends = net.numbers(call, "starts", 1) or [], net.numbers(call, "ends", 2) or []
    axes = net.numbers(call, "axes", 3) or list(range(len(starts)))
    steps = net.numbers(call, "steps", 4) or [1] * len(starts)
    parts = []
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step != 1:
            raise LayerError(f"it takes steps of {step}, Caffe's Slice takes whole stretches")
        size = x[axis]
        first, last, _ = slice(max(start, FIRST), min(end, LAST)).indices(size)
        if last <= first:
            raise LayerError(f"it leaves nothing of axis {axis}")
        if (first, last) != (0, size):
            parts.append((axis % len(x), first, last, size))
    source, top = net.blob(call.inputs[0]), call.outputs[0]
    if not parts:
        net.alias(call)
    for position, (axis, first, last, size) in enumerate(parts):
        made = top if position == len(parts) - 1 else net.between(top, f"axis{axis}")
        cut(net, source, made, axis, first, last, size)
        source = made


@rule("Gather")
def gather(net: Importing, call: Call) -> None:
    """Gather of one place, or of a stretch, of a blob -> Slice; of rows of a weight it would be Embed, which takes
    floats."""
    x = net.shape(call.inputs[0])
    axis = call.attributes.get("axis", 0) % len(x)
    if net.constant(call.inputs[0]) is not None:
        raise LayerError("it looks rows up by whole numbers, a blob of Caffe holds floats")
    places = net.weight(call, 1, "indices") % x[axis]
    run = places.ravel()
    if places.ndim > 1 or not len(run) or (np.diff(run) != 1).any():
        raise LayerError(f"its indices {run[:8].tolist()} are no stretch, Caffe's Slice takes whole stretches")
    source, top = net.blob(call.inputs[0]), call.outputs[0]
    kept = (*x[:axis], len(run), *x[axis + 1 :])
    made = top if places.ndim else net.between(top, "part")
    if len(run) < x[axis]:
        cut(net, source, made, axis, int(run[0]), int(run[-1]) + 1, x[axis])
    elif places.ndim:
        net.alias(call)
    else:
        made = source
    if not places.ndim:
        net.reshape(made, top, kept, net.shape(top))


@rule("Flatten")
def flatten(net: Importing, call: Call) -> None:
    """Flatten; Reshape where it joins axes on both sides."""
    x, axis = net.shape(call.inputs[0]), call.attributes.get("axis", 1)
    after = (prod(x[:axis]), prod(x[axis:]))
    if axis == 1 and len(x) > 1:
        net.layer("Flatten", [net.blob(call.inputs[0])], call.outputs)
    else:
        net.reshape(net.blob(call.inputs[0]), call.outputs[0], x, after)


@rule("Reshape", "Squeeze", "Unsqueeze")
def reshape(net: Importing, call: Call) -> None:
    """Flatten where it joins all axes but the first, else Reshape."""
    before, after = net.shape(call.inputs[0]), net.shape(call.outputs[0])
    source, top = net.blob(call.inputs[0]), call.outputs[0]
    if before == after:
        net.alias(call)
    elif len(before) > 2 and after == (before[0], prod(before[1:])):
        net.layer("Flatten", [source], [top])
    else:
        net.reshape(source, top, before, after)


@rule("Transpose")
def transpose(net: Importing, call: Call) -> None:
    """Reshape where only axes of 1 move, else SSD's Permute."""
    x = net.shape(call.inputs[0])
    order = call.attributes.get("perm") or list(range(len(x)))[::-1]
    source, top = net.blob(call.inputs[0]), call.outputs[0]
    after = tuple(x[axis] for axis in order)
    if [*order] == sorted(order):
        net.alias(call)
    elif [axis for axis in order if x[axis] != 1] == [axis for axis in range(len(x)) if x[axis] != 1] and (
        order[0] == 0 or x[0] != 1
    ):
        net.reshape(source, top, x, after)
    else:
        net.layer("Permute", [source], [top], permute_param={"order": order})


@rule("Tile")
def tile(net: Importing, call: Call) -> None:
    """Tile, one layer an axis."""
    repeats = net.numbers(call, "repeats", 1) or []
    source, top = net.blob(call.inputs[0]), call.outputs[0]
    along = [(axis, count) for axis, count in enumerate(repeats) if count != 1]
    if not along:
        net.alias(call)
    for position, (axis, count) in enumerate(along):
        made = top if position == len(along) - 1 else net.between(top, f"axis{axis}")
        part = "" if made == top else f"axis{axis}"
        net.layer("Tile", [source], [made], part=part, tile_param={"axis": axis, "tiles": count})
        source = made


@rule("DepthToSpace")
def depth_to_space(net: Importing, call: Call) -> None:
    """DepthToSpace in the order of torch's pixel_shuffle -> PixelShuffle, a type of nktc's own."""
    x, factor = net.shape(call.inputs[0]), call.attributes["blocksize"]
    if call.attributes.get("mode", "DCR") != "CRD" and x[1] != factor**2:
        raise LayerError("mode DCR is not read", help="export it with mode CRD, as torch's pixel_shuffle is")
    net.layer("PixelShuffle", [net.blob(call.inputs[0])], call.outputs, pixel_shuffle_param={"upscale_factor": factor})


@rule("Resize", "Upsample")
def resize(net: Importing, call: Call) -> None:
    """Resize, Upsample -> Resize, a type of nktc's own, where it means the same."""
    x, y = net.shape(call.inputs[0]), net.shape(call.outputs[0])
    mode = call.attributes.get("mode", "nearest")
    placed = call.attributes.get("coordinate_transformation_mode", "half_pixel")
    if call.op == "Upsample" or call.opset < 11:
        placed = "asymmetric"
    if len(x) != len(y) or x[:2] != y[:2] or len(x) < 3:
        raise LayerError(f"it makes {times(y)} of {times(x)}, which resizes more than pictures")
    if call.attributes.get("antialias") or call.attributes.get("exclude_outside"):
        raise LayerError("antialias and exclude_outside are nothing that a layer has")
    sizes = list(zip(x[2:], y[2:], strict=True))
    params = {"size": y[2:]}
    if placed == "pytorch_half_pixel" and all(m > 1 for _, m in sizes):
        placed = "half_pixel"
    given = len(call.inputs) > 2 and net.constant(call.inputs[2])
    scales = given if isinstance(given, np.ndarray) and given.size == len(x) else None
    if scales is not None and placed in ("half_pixel", "asymmetric"):
        for (n, m), scale in zip(sizes, scales[2:].tolist(), strict=True):
            if abs(n * scale - m) > 1e-3:
                raise LayerError(f"its scale {scale:g} brings {n} to {n * scale:g}, not to {m} pixels")
    if mode == "nearest":
        how = call.attributes.get("nearest_mode", "round_prefer_floor" if call.opset >= 11 else "floor")
        for n, m in sizes:
            if _nearest(n, m, placed, how) != [i * n // m for i in range(m)]:
                raise LayerError(f"{placed} with {how} takes other pixels from {n} to {m} than Resize does")
    elif mode in ("linear", "cubic"):
        if placed not in ("half_pixel", "align_corners"):
            raise LayerError(f"{placed} is not how Resize places pixels", help="use half_pixel or align_corners")
        if mode == "cubic" and call.attributes.get("cubic_coeff_a", -0.75) != -0.75:
            raise LayerError("its cubic_coeff_a is not -0.75")
        params |= {"mode": mode.upper(), "align_corners": placed == "align_corners"}
    else:
        raise LayerError(f"mode {mode} is not read")
    net.layer("Resize", [net.blob(call.inputs[0])], call.outputs, resize_param=params)


def _nearest(n: int, m: int, placed: str, how: str) -> list[int]:
    """Which of n pixels each of m is, as ONNX has it."""
    i = np.arange(m)
    match placed:
        case "asymmetric":
            at = i * n / m
        case "align_corners":
            at = i * (n - 1) / max(m - 1, 1)
        case _:
            at = (i + 0.5) * n / m - 0.5
    match how:
        case "floor":
            found = np.floor(at)
        case "ceil":
            found = np.ceil(at)
        case "round_prefer_ceil":
            found = np.floor(at + 0.5)
        case _:
            found = np.ceil(at - 0.5)
    return np.clip(found, 0, n - 1).astype(int).tolist()
