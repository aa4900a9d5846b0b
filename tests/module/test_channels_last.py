"""Nets whose pictures have their channels last in memory: no layer between convolutions goes back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from module.test_autocast import graph_of
from torch import Tensor

from nktc import module
from nktc.ir import Graph, Phase

Read = Callable[..., Graph]

LAYERS = """
    BatchNorm
    Bias
    Dropout
    ELU elu_param { alpha: 0.5 }
    Eltwise bottom: "x"
    Eltwise bottom: "x" eltwise_param { operation: MAX }
    Eltwise bottom: "x" eltwise_param { coeff: 2 coeff: -1 }
    Exp
    LRN
    LRN lrn_param { local_size: 3 norm_region: WITHIN_CHANNEL }
    MVN
    PReLU
    Pooling pooling_param { kernel_size: 3 stride: 2 }
    Pooling pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }
    Pooling pooling_param { kernel_size: 3 pad: 2 }
    Power power_param { power: 2 scale: 3 }
    ReLU
    Scale
    Scale scale_param { bias_term: true }
    Sigmoid
    Split top: "y"
    TanH
    Concat bottom: "x"
    Slice top: "y"
    Convolution convolution_param { num_output: 4 kernel_size: 3 group: 2 }
    Deconvolution convolution_param { num_output: 4 kernel_size: 3 stride: 2 }
""".strip().splitlines()


def strays(graph: Graph) -> list[str]:
    """The pictures whose channels, or whose gradient's channels, are not innermost."""
    net = module.compile(graph, seed=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    given = [torch.rand(value.shape) for value in graph.inputs]
    given = [x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x for x in given]
    values = net.values(*given)
    found = []

    def look(name: str, what: str) -> Callable[[Tensor], None]:
        return lambda x: found.append(f"{what}{name}") if x.stride(1) != 1 else None

    for name, value in values.items():
        if value.dim() == 4 and min(value.shape[1:]) > 1:
            look(name, "")(value)
            if value.requires_grad and not _ends(graph, name):
                value.register_hook(look(name, "gradient of "))
    net.loss(values).backward()
    return found


def _ends(graph: Graph, name: str) -> bool:
    """Whether a picture goes into nothing, or into what flattens it: its gradient has no layout of its own."""
    readers = graph.readers[name]
    flat = [r.type == "InnerProduct" or min(r.outputs[0].shape[2:], default=1) == 1 for r in readers]
    return not readers or any(flat)


@pytest.mark.parametrize("name", ["cifar10_quick", "alexnet", "resnet18", "googlenet"])
def test_a_net_keeps_them_last(name: str) -> None:
    assert strays(graph_of(name)) == []


@pytest.mark.parametrize("layer", LAYERS, ids=str.strip)
def test_a_layer_keeps_them_last(read: Read, layer: str) -> None:
    kind, _, rest = layer.strip().partition(" ")
    graph = read(
        f"""
        force_backward: true
        layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 2 dim: 4 dim: 9 dim: 7 }} }} }}
        layer {{ name: "it" type: "{kind}" bottom: "x" top: "it" {rest} }}
        layer {{ name: "c" type: "Convolution" bottom: "it" top: "c"
                convolution_param {{ num_output: 3 kernel_size: 3 weight_filler {{ type: "xavier" }} }}
                loss_weight: 1 }}
        """,
        Phase.TRAIN,
    )
    assert strays(graph) == []
