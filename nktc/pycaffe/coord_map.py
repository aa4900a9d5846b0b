"""Where the coordinates of one top lie in another, and the Crop layer that lays one over the other.

A map is (axis, scale, shift): a place x of the one is scale * x + shift in the other, from `axis` on; scale and shift
are numbers, or arrays of one for each axis. The identity, that of layers that work point by point, is (None, 1, 0).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

from nktc.errors import NktcError
from nktc.pycaffe.net_spec import Function, Top, layers

Map: TypeAlias = tuple[int | None, Any, Any]

IDENTITY: Map = (None, 1, 0)
PASS_THROUGH_LAYERS = (
    *("AbsVal", "BatchNorm", "Bias", "BN", "BNLL", "Clip", "CReLU", "Dropout", "Eltwise", "ELU", "Exp", "GELU"),
    *("GroupNorm", "HardSwish", "LayerNorm", "Log", "LRN", "MVN", "Power", "PReLU", "ReLU", "ReLU6", "Scale"),
    *("Sigmoid", "SiLU", "Softplus", "Split", "Swish", "TanH", "Threshold"),
)
WINDOWS = {
    "Convolution": "convolution_param",
    "ConvolutionDepthwise": "convolution_param",
    "Deconvolution": "convolution_param",
    "DepthwiseConvolution": "convolution_param",
    "Im2col": "convolution_param",
    "Pooling": "pooling_param",
}
"""Layers that slide a window, by the message that says which."""


class UndefinedMapException(NktcError):
    """A layer whose type has no map of coordinates."""


class AxisMismatchException(NktcError):
    """Maps that begin at different axes."""


class UnconnectedError(NktcError, RuntimeError):
    """Tops that no layers with maps connect."""


class CropError(NktcError, AssertionError):
    """Tops that no Crop lays over one another."""


def conv_params(fn: Function) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """The axis before the window's first, and stride, extent of the window with its holes, and pad: a number for each
    axis, or one for all. Raises UndefinedMapException where the window is not said."""
    p = getattr(fn.message, WINDOWS[fn.type_name])
    kernel = _sides(p, "kernel_size", "kernel")
    if not kernel.size:
        raise UndefinedMapException(f"{fn.type_name} says no kernel_size, so coordinates have no map through it")
    holes = np.array(list(getattr(p, "dilation", ())) or [1])
    stride, pad = _sides(p, "stride", "stride"), _sides(p, "pad", "pad")
    return (
        getattr(p, "axis", 1),
        stride if stride.size else np.array([1]),
        (kernel - 1) * holes + 1,
        pad if pad.size else np.array([0]),
    )


def _sides(p: Any, name: str, side: str) -> np.ndarray:
    """What a field says for each axis, or its two older forms for height and width; nothing where neither does."""
    if p.HasField(f"{side}_h") or p.HasField(f"{side}_w"):
        return np.array([getattr(p, f"{side}_h"), getattr(p, f"{side}_w")])
    value = getattr(p, name)
    if isinstance(value, int):
        return np.array([value] if p.HasField(name) else [], int)
    return np.array(list(value), int)


def crop_params(fn: Function) -> tuple[int, np.ndarray]:
    """The axis of a Crop layer, and its offsets, one for each axis or for all."""
    p = fn.message.crop_param
    return p.axis, np.array(list(p.offset) or [0])


def coord_map(fn: Function) -> Map:
    """The map through one layer, from its bottoms to its tops. Raises UndefinedMapException."""
    if fn.type_name == "Deconvolution":
        axis, stride, window, pad = conv_params(fn)
        return axis, stride, (window - 1) / 2 - pad
    if fn.type_name in WINDOWS:
        axis, stride, window, pad = conv_params(fn)
        return axis, 1 / stride, (pad - (window - 1) / 2) / stride
    if fn.type_name == "Crop":
        axis, offset = crop_params(fn)
        return axis - 1, 1, -offset
    if fn.type_name in PASS_THROUGH_LAYERS:
        return IDENTITY
    raise UndefinedMapException(f"coordinates have no map through a layer of type {fn.type_name}")


def compose(base_map: Map, next_map: Map) -> Map:
    """The map that is `next_map`, then `base_map`. Raises AxisMismatchException."""
    axis, scale, shift = base_map
    other, scale2, shift2 = next_map
    if axis is not None and other is not None and axis != other:
        raise AxisMismatchException(f"one map begins at axis {axis}, the other at axis {other}")
    return axis if other is None else other, scale * scale2, scale * shift2 + shift


def inverse(coord_map: Map) -> Map:
    """The map the other way."""
    axis, scale, shift = coord_map
    return axis, 1 / scale, -shift / scale


def coord_map_from_to(top_from: Top, top_to: Top) -> Map:
    """The map from one top to another, by way of a layer that both are made from; all of those are taken to agree.
    Raises UnconnectedError and AxisMismatchException."""
    known = dict(_back(top_from))
    for top, there in _back(top_to):
        if top in known:
            return compose(there, inverse(known[top]))
    raise UnconnectedError(
        "the tops have no map between them", help="they need layers in common, and only layers with maps on the way"
    )


def _back(start: Top) -> Iterator[tuple[Top, Map]]:
    """The tops that a top is made from, itself first, as far as layers have maps; and the map from each."""
    found: dict[Top, Map] = {start: IDENTITY}
    waiting = [start]
    while waiting:
        top = waiting.pop(0)
        yield top, found[top]
        try:
            step = coord_map(top.fn)
        except UndefinedMapException:
            continue
        # What a Crop takes its size from is no place of its top.
        for bottom in top.fn.inputs[:1] if top.fn.type_name == "Crop" else top.fn.inputs:
            if bottom not in found:
                found[bottom] = compose(found[top], step)
                waiting.append(bottom)


def crop(top_from: Top, top_to: Top) -> Top:
    """A Crop layer that cuts `top_from` to `top_to`, so that their places agree. Raises CropError."""
    axis, scale, shift = coord_map_from_to(top_from, top_to)
    scale, shift = np.atleast_1d(scale), np.atleast_1d(shift)
    if (scale != 1).any():
        raise CropError(f"one top has {_listed(scale)} times the scale of the other", help="a Crop keeps the scale")
    if (shift > 0).any():
        raise CropError(f"the top to be cropped begins {_listed(shift)} inside the other", help="raise a pad before it")
    if (np.round(shift) != shift).any():
        raise CropError(f"the tops are {_listed(-shift)} apart, which is no whole number of pixels")
    offsets = (-np.round(shift).astype(int)).tolist()
    first = 2 if axis is None else axis + 1
    made: Top = layers.Crop(top_from, top_to, crop_param={"axis": first, "offset": offsets})
    return made


def _listed(values: np.ndarray) -> str:
    return " x ".join(f"{value:g}" for value in np.unique(values).tolist())
