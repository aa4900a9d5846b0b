"""Compute in 16 bits where that is safe."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator

from nktc.ir import DType, Graph, Node, Value, rewrite
from nktc.layers import (
    AbsVal,
    Axpy,
    Bias,
    BroadcastMul,
    Cast,
    Clip,
    Concat,
    Convolution,
    CReLU,
    Crop,
    Deconvolution,
    Dropout,
    Eltwise,
    Flatten,
    Flip,
    GlobalPooling,
    InnerProduct,
    MatMul,
    Padding,
    Permute,
    PixelShuffle,
    Pooling,
    Pooling3D,
    PoolingND,
    PReLU,
    ReLU,
    ReLU6,
    Reorg,
    Reshape,
    Reverse,
    Scale,
    ShuffleChannel,
    Sigmoid,
    Slice,
    Split,
    TanH,
    Tile,
    Transpose,
)
from nktc.schema import CastParameter, LayerParameter

TYPES = {DType.F32: CastParameter.FLOAT, DType.F16: CastParameter.FLOAT16, DType.BF16: CastParameter.BFLOAT16}
HALVES = (
    AbsVal,
    Axpy,
    Bias,
    BroadcastMul,
    Clip,
    Concat,
    Convolution,
    CReLU,
    Crop,
    Deconvolution,
    Dropout,
    Eltwise,
    Flatten,
    Flip,
    GlobalPooling,
    InnerProduct,
    MatMul,
    Padding,
    Permute,
    PixelShuffle,
    Pooling,
    Pooling3D,
    PoolingND,
    PReLU,
    ReLU,
    ReLU6,
    Reorg,
    Reshape,
    Reverse,
    Scale,
    ShuffleChannel,
    Sigmoid,
    Slice,
    Split,
    TanH,
    Tile,
    Transpose,
)
"""Types that lose little in 16 bits. LRN squares, norms and Softmax sum, powers and logarithms grow: those stay f32."""


def assign_precision(graph: Graph, dtype: DType, keep: Collection[str] = ()) -> Graph:
    """f32 layers => layers in `dtype` (F16 or BF16), with Casts where a value passes from one to the other.

    Layers that `keep` names or that do the work of such, and types that 16 bits would hurt (LRN, Softmax, norms, ...),
    stay in f32, as do the net's inputs and outputs. Each value keeps its name, but for the other form of one that is
    needed in both, NAME@f16.
    """
    chosen = {n.name for n in graph if _takes_halves(n) and {n.name, *n.works_for}.isdisjoint(keep)}
    if not chosen:
        return graph
    return rewrite.with_nodes(graph, [*_cast(graph, dtype, chosen)])


def _takes_halves(node: Node) -> bool:
    if not node.inputs or any(value.dtype is not DType.F32 for value in node.inputs):
        return False
    places = isinstance(node.layer, Pooling) and node.layer.where  # numbers of places, that halves cannot count
    return isinstance(node.layer, HALVES) and not places


def _cast(graph: Graph, dtype: DType, chosen: Collection[str]) -> Iterator[Node]:
    """The nodes, the chosen ones in `dtype`, each Cast right where its input is made."""
    outputs = {value.name for value in graph.outputs}
    for node in graph:
        half = node.name in chosen
        inputs = tuple(_half(value, dtype, graph, chosen) for value in node.inputs) if half else node.inputs
        made = tuple(_half(value, dtype, graph, chosen) for value in node.outputs) if half else node.outputs
        yield dataclasses.replace(node, inputs=inputs, outputs=made)
        for value, own in zip(node.outputs, made, strict=True):
            readers = [reader.name in chosen for reader in graph.readers[value.name]]
            if half and (value.name in outputs or not all(readers)):
                yield _node(own, value, DType.F32, node)
            elif not half and any(readers):
                yield _node(value, _half(value, dtype, graph, chosen), dtype, node)


def _half(value: Value, dtype: DType, graph: Graph, chosen: Collection[str]) -> Value:
    """The form of a value in `dtype`: of the same name where no other form is needed."""
    wide = graph.producers[value.name].name not in chosen or value in graph.outputs
    wide = wide or any(reader.name not in chosen for reader in graph.readers[value.name])
    return Value(f"{value.name}@{dtype.value}" if wide else value.name, value.shape, dtype)


def _node(source: Value, target: Value, dtype: DType, near: Node) -> Node:
    definition = LayerParameter(type="Cast", cast_param=CastParameter(type=TYPES[dtype]))
    name = f"{target.name}:cast"
    return Node(
        name, Cast(dtype), (source,), (target,), definition=definition, origins=near.works_for, locate=near.locate
    )
