"""Which layers may write their output over their input, because nobody can tell."""

from __future__ import annotations

from nktc.ir import Graph
from nktc.layers import (
    LRN,
    BatchNorm,
    Bias,
    Concat,
    Convolution,
    Deconvolution,
    Eltwise,
    InnerProduct,
    Pooling,
    ReLU,
    Scale,
)

_NEW = (LRN, BatchNorm, Bias, Concat, Convolution, Deconvolution, Eltwise, InnerProduct, Pooling, Scale)
"""Types that make a tensor of their own, which their backward does without."""


def overwriting(graph: Graph) -> set[str]:
    """The names of ReLUs and sums that nobody sees overwrite their first input: no other layer takes it, it is no
    loss, and autograd does not keep it."""
    found = set()
    for node in graph:
        match node.layer:
            case ReLU(overwrites=False) | Eltwise(operation="SUM", coefficients=()):
                x = node.inputs[0].name
                maker = graph.producers[x].layer
                kept = isinstance(maker, Eltwise) and maker.operation == "PROD"
                kept = kept or (isinstance(maker, BatchNorm) and maker.bends)
                if isinstance(maker, _NEW) and not kept and graph.only_reader(x) is node:
                    found.add(node.name)
    return found
