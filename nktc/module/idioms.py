"""How a person writes what layers compute: other words for the same function, and the modules of torch.nn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nktc.ir import Graph, Layer, Node, Shape
from nktc.layers import LRN, BatchNorm, Eltwise, Scale
from nktc.module.expression import one, settings
from nktc.module.trace import Call, Operand, Trace

Forward = Callable[..., Any]


@dataclass(frozen=True)
class Module:
    """A module of torch.nn: `settings` are its arguments, by position ("") or by name, `holds` its tensors by their
    names in it, `x` what it is called with."""

    kind: str
    settings: tuple[tuple[str, Any], ...]
    holds: Mapping[str, Operand]
    x: Operand


def forward(layer: Layer) -> Forward:
    """The layer's forward, or one that says the same in fewer words where only the values count."""
    match layer:
        case LRN(within=False):
            return lambda x: F.local_response_norm(x, layer.size, layer.alpha, layer.beta, layer.k)
        case Eltwise(operation="MAX"):
            return lambda *inputs: reduce(torch.maximum, inputs)
    return layer.forward


def normalized(layer: Layer) -> Forward:
    """The forward of a BatchNorm and of the Scale behind it."""
    assert isinstance(layer, BatchNorm)
    eps = layer.eps

    def forward(
        x: Tensor, mean: Tensor, variance: Tensor, count: Tensor, weight: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        share = torch.where(count == 0, 0.0, 1 / count)
        shift = torch.zeros_like(weight) if bias is None else bias
        return F.batch_norm(x, mean * share, variance * share, weight, shift, eps=eps)

    return forward


def affine(node: Node, graph: Graph) -> Node | None:
    """The Scale that a BatchNorm of stored sums shares a module with, if there is one."""
    value = node.outputs[0]
    readers = [reader for reader in graph if value in reader.inputs]
    if not isinstance(node.layer, BatchNorm) or not node.layer.stored or len(readers) != 1:
        return None
    scale = readers[0].layer
    if not isinstance(scale, Scale) or len(readers[0].inputs) > 1 or len(value.shape) > 5:
        return None
    return readers[0] if scale.num_axes == 1 and scale.axis % len(value.shape) == 1 else None


def module(call: Call, trace: Trace, constant: Callable[[Operand], bool]) -> Module | None:
    """The module that a call with constant weights is, None where it is none."""
    if not call.function.startswith("F."):
        return None
    given = settings(call)
    x = given.pop("input", None)
    holds = {key: value for key, value in given.items() if value is not None and key in _HELD}
    if x is None or constant(x) or not holds or not all(map(constant, holds.values())):
        return None
    rest = {key: value for key, value in given.items() if key not in _HELD}
    found = _kind(call.function.removeprefix("F."), rest, {k: trace.shape(v) for k, v in holds.items()}, trace.shape(x))
    if not found or len(call.shapes) != 1:
        return None
    kind, args, named = found
    return Module(f"nn.{kind}", (*(("", arg) for arg in args), *named.items()), holds, x)


_HELD = ("weight", "bias", "running_mean", "running_var")


def _kind(
    function: str, rest: dict[str, Any], held: dict[str, Shape], x: Shape
) -> tuple[str, tuple[Any, ...], dict[str, Any]] | None:
    """The class, its arguments by position, those by name."""
    weight = held.get("weight", ())
    biased = {} if "bias" in held else {"bias": False}
    match function:
        case "conv1d" | "conv2d" | "conv3d" if len(x) == len(weight):
            sizes = (weight[1] * rest.get("groups", 1), weight[0], one(weight[2:]))
            return f"Conv{function[-2:]}", sizes, rest | biased
        case "conv_transpose1d" | "conv_transpose2d" | "conv_transpose3d" if len(x) == len(weight):
            sizes = (weight[0], weight[1] * rest.get("groups", 1), one(weight[2:]))
            return f"ConvTranspose{function[-2:]}", sizes, rest | biased
        case "linear":
            return "Linear", (weight[1], weight[0]), biased
        case "batch_norm" if "running_mean" in held and 2 <= len(x) <= 5 and ("weight" in held) == ("bias" in held):
            plain = {} if weight else {"affine": False}
            return f"BatchNorm{max(1, len(x) - 2)}d", (x[1],), _only(rest, "eps") | plain
        case "embedding":
            return "Embedding", weight, _only(rest, "padding_idx")
        case "prelu":
            return "PReLU", weight if weight != (1,) else (), {}
        case "layer_norm" if "weight" in held:
            return "LayerNorm", (_sides(rest["normalized_shape"]),), _only(rest, "eps") | biased
        case "rms_norm":
            return "RMSNorm", (_sides(rest["normalized_shape"]),), _only(rest, "eps")
        case "group_norm" if len(held) == 2:
            return "GroupNorm", (rest["num_groups"], weight[0]), _only(rest, "eps")
    return None


def _only(given: dict[str, Any], key: str) -> dict[str, Any]:
    return {key: given[key]} if key in given else {}


def _sides(shape: Shape) -> int | Shape:
    return shape[0] if len(shape) == 1 else tuple(shape)
