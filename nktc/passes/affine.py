"""Layers that multiply each value by a factor and add a shift, and what the layers with a matrix make of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nktc.ir import Graph, Layer, Node, infer, rewrite
from nktc.layers import BN, BatchNorm, Bias, Convolution, Deconvolution, InnerProduct, Parameter, Power, Scale
from nktc.passes.definitions import changed, joined

MATRIX = (Convolution, Deconvolution, InnerProduct)


@dataclass(frozen=True, eq=False)
class Affine:
    """y = factor x + shift. Both are f64 with as many axes as x, of size 1 where they do not run along it."""

    factor: np.ndarray
    shift: np.ndarray

    def then(self, other: Affine) -> Affine:
        """The two in a row."""
        return Affine(self.factor * other.factor, self.shift * other.factor + other.shift)

    @property
    def copies(self) -> bool:
        return bool((self.factor == 1).all() and (self.shift == 0).all())


def known(graph: Graph, node: Node) -> dict[str, np.ndarray] | None:
    """The weights of a node by the layer's own names, f64 in the layer's own shapes; None where one is not known, or
    lies on a grid."""
    own = infer.weights(node.layer, [value.shape for value in node.inputs])
    if any(name not in graph.arrays or name in graph.grids for name in node.weights.values()):
        return None
    return {
        local: graph.arrays[name].astype(np.float64).reshape(own[local].shape) for local, name in node.weights.items()
    }


def affine(graph: Graph, node: Node) -> Affine | None:
    """What a node does to its first input where that is a factor and a shift, finite and known."""
    weights = known(graph, node)
    if weights is None or len(node.outputs) != 1:
        return None
    rank = len(node.inputs[0].shape) if node.inputs else 0
    given = _given(graph, node) if len(node.inputs) == 2 else None
    if len(node.inputs) == 2 and given is None:
        return None
    factor, shift = np.ones((1,) * rank), np.zeros((1,) * rank)
    match node.layer:
        case Power(power=1, scale=scale, shift=added) if scale != 0:
            factor, shift = factor * scale, shift + added
        case BatchNorm(stored=True, bends=False, eps=eps):
            share = 0.0 if weights["count"][0] == 0 else 1 / weights["count"][0]
            factor, shift = _normalising(weights["mean"] * share, weights["variance"] * share, eps, weights, rank)
        case BN(kind="STORED", eps=eps):
            flat = {name: array.ravel() for name, array in weights.items()}
            own = {"weight": flat["slope"], "bias": flat["bias"]}
            factor, shift = _normalising(flat["mean"], flat["variance"], eps, own, rank)
        case BN(kind="AFFINE"):
            factor, shift = (_aligned(weights[name].ravel(), 1, rank) for name in ("slope", "bias"))
        case Scale(axis=axis):
            factor = _aligned(weights["weight"] if given is None else given, axis, rank)
            shift = _aligned(weights["bias"], axis, rank) if "bias" in weights else shift
        case Bias(axis=axis):
            shift = _aligned(weights["bias"] if given is None else given, axis, rank)
        case _:
            return None
    return Affine(factor, shift) if np.isfinite(factor).all() and np.isfinite(shift).all() else None


def _normalising(
    mean: np.ndarray, variance: np.ndarray, eps: float, learned: Mapping[str, np.ndarray], rank: int
) -> tuple[np.ndarray, np.ndarray]:
    """Factor and shift of channels brought to mean 0 and variance 1, then to a learned weight and bias if there are."""
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = learned.get("weight", 1.0) / np.sqrt(variance + eps)
        shift = learned.get("bias", 0.0) - mean * factor
    return _aligned(factor, 1, rank), _aligned(shift, 1, rank)


def fold_behind(graph: Graph, node: Node, kinds: tuple[type[Layer], ...]) -> Graph | None:
    """The graph in which a layer with a matrix does the work of the affine layer of those kinds that alone reads it;
    None where it cannot."""
    behind = graph.only_reader(node.outputs[0].name) if len(node.outputs) == 1 else None
    if behind is None or not isinstance(behind.layer, kinds) or behind.inputs[0] != node.outputs[0]:
        return None
    weights, other = known(graph, node), affine(graph, behind)
    if weights is None or other is None:
        return None
    axis = _channels(node)
    factor, shift = (_along(array, axis, node.outputs[0].shape[axis]) for array in (other.factor, other.shift))
    if factor is None or shift is None:
        return None
    return _with(graph, node, behind, scaled_outputs(node, weights, factor, shift), behind.outputs[0].name)


def fold_before(graph: Graph, node: Node, kinds: tuple[type[Layer], ...]) -> Graph | None:
    """The graph in which a layer with a matrix does the work of the affine layer of those kinds whose output it alone
    reads; None where it cannot."""
    before = graph.producers[node.inputs[0].name] if len(node.inputs) == 1 else None
    if before is None or not isinstance(before.layer, kinds) or graph.only_reader(node.inputs[0].name) is not node:
        return None
    weights, other = known(graph, node), affine(graph, before)
    if weights is None or other is None:
        return None
    return _with(graph, node, before, scaled_inputs(node, weights, other), node.outputs[0].name)


def scaled_outputs(
    node: Node, weights: dict[str, np.ndarray], factor: np.ndarray, shift: np.ndarray
) -> dict[str, np.ndarray]:
    """The weights with which a layer with a matrix gives `factor` [o] times what it gave, plus `shift` [o]."""
    layer, weight = node.layer, weights["weight"]
    match layer:
        case Deconvolution(group=group):
            grouped = weight.reshape(group, -1, *weight.shape[1:])
            weight = (grouped * _spread(factor.reshape(group, 1, -1), grouped.ndim)).reshape(weight.shape)
        case InnerProduct(transpose=True):
            weight = weight * factor
        case _:
            weight = weight * _spread(factor, weight.ndim)
    bias = weights["bias"] * factor + shift if "bias" in weights else shift
    return {"weight": weight, "bias": bias} if "bias" in weights or shift.any() else {"weight": weight}


def scaled_inputs(node: Node, weights: dict[str, np.ndarray], other: Affine) -> dict[str, np.ndarray] | None:
    """The weights with which a layer with a matrix gives for x what it gave for `other` of x; None where none do: at a
    padded border there is no shift."""
    layer, weight, x = node.layer, weights["weight"], node.inputs[0].shape
    if isinstance(layer, InnerProduct):
        axis = layer.axis % len(x)
        if any(array.shape[:axis] != (1,) * axis for array in (other.factor, other.shift)):
            return None
        factors, shifts = (np.broadcast_to(a[(0,) * axis], x[axis:]).ravel() for a in (other.factor, other.shift))
        added = shifts @ weight if layer.transpose else weight @ shifts
        return _biased(weights, weight * (factors[:, None] if layer.transpose else factors), added)
    assert isinstance(layer, Convolution | Deconvolution)
    axis = layer.axis % len(x)
    factor, shift = (_along(array, axis, x[axis]) for array in (other.factor, other.shift))
    if factor is None or shift is None:
        return None
    if isinstance(layer, Deconvolution):
        return None if shift.any() else _biased(weights, weight * _spread(factor, weight.ndim), shift[:0])
    if shift.any() and any(layer.window(len(x) - axis - 1).pad):
        return None
    grouped = weight.reshape(layer.group, -1, *weight.shape[1:])
    added = (grouped * _spread(shift.reshape(layer.group, 1, -1), grouped.ndim)).sum(tuple(range(2, grouped.ndim)))
    scaled = grouped * _spread(factor.reshape(layer.group, 1, -1), grouped.ndim)
    return _biased(weights, scaled.reshape(weight.shape), added.ravel())


def rebuilt(node: Node, arrays: dict[str, np.ndarray]) -> Node | None:
    """A layer with a matrix as it holds those weights, with a bias or without; None where they are not finite in
    f32."""
    with np.errstate(over="ignore", invalid="ignore"):
        if not all(np.isfinite(array.astype(np.float32)).all() for array in arrays.values()):
            return None
    bias = "bias" in arrays
    layer: Any = node.layer
    definition = changed(node)
    if definition is not None and not layer.bias and bias:
        getattr(definition, layer.param[0]).bias_term = True
    return dataclasses.replace(node, layer=dataclasses.replace(layer, bias=bias), definition=definition)


def _with(graph: Graph, node: Node, other: Node, arrays: dict[str, np.ndarray] | None, output: str) -> Graph | None:
    """The graph in which `node`, with these weights, does the work of `other` as well."""
    first, last = (node, other) if other.inputs[0] == node.outputs[0] else (other, node)
    made = rebuilt(node, arrays) if arrays is not None else None
    if made is None or arrays is None:
        return None
    made = dataclasses.replace(
        made, inputs=first.inputs[:1], outputs=(graph.values[output],), origins=joined(first, last)
    )
    gone, held = {node.name, other.name}, {node.name: arrays}
    if len(other.inputs) == 1:
        return rewrite.exchange(graph, gone, [made], held)
    # Nobody may be left to read the constant that was the second input.
    return rewrite.living(rewrite.exchange(rewrite.pinned(graph), gone, [made], held))


def _biased(weights: dict[str, np.ndarray], weight: np.ndarray, added: np.ndarray) -> dict[str, np.ndarray]:
    """`weight`, and the bias with `added` to it, if there is either."""
    if "bias" in weights:
        return {"weight": weight, "bias": weights["bias"] + added if added.size else weights["bias"]}
    return {"weight": weight, "bias": added} if added.any() else {"weight": weight}


def _given(graph: Graph, node: Node) -> np.ndarray | None:
    """The second input of a node where it is a constant."""
    maker = graph.producers[node.inputs[1].name]
    weights = known(graph, maker) if isinstance(maker.layer, Parameter) else None
    return weights["value"] if weights else None


def _channels(node: Node) -> int:
    """The axis of a layer's output that its matrix makes."""
    layer: Any = node.layer
    return int(layer.axis % len(node.inputs[0].shape))


def _aligned(array: np.ndarray, axis: int, rank: int) -> np.ndarray:
    """What runs along axes of x from `axis` on, with as many axes as x has, which are `rank`."""
    first = axis % rank if array.ndim else 0
    return array.reshape((1,) * first + array.shape + (1,) * (rank - first - array.ndim))


def _along(array: np.ndarray, axis: int, size: int) -> np.ndarray | None:
    """What runs along one axis of that size alone, as [size]; None for what runs along another."""
    if math.prod(array.shape) != array.shape[axis]:
        return None
    return np.broadcast_to(array.ravel(), (size,))


def _spread(array: np.ndarray, axes: int) -> np.ndarray:
    """With axes of size 1 behind, so many in all."""
    return array.reshape(array.shape + (1,) * (axes - array.ndim))
