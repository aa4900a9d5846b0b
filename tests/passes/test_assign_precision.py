"""Halves where they are safe: which layers, which Casts, and that the answers stay."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from big_nets import BIG_NETS, random_inputs, random_weights

from nktc import engines, ir, module, passes, reader, text
from nktc.engines import Options
from nktc.ir import DType, Phase
from nktc.passes import assign_precision

INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }\n'


def layer(name: str, kind: str, bottoms: str, settings: str = "", top: str = "") -> str:
    connected = " ".join(f'bottom: "{bottom}"' for bottom in bottoms.split())
    return f'layer {{ name: "{name}" type: "{kind}" {connected} top: "{top or name}" {settings} }}\n'


def conv(name: str, bottom: str, outputs: int = 4) -> str:
    return layer(name, "Convolution", bottom, f"convolution_param {{ num_output: {outputs} kernel_size: 3 pad: 1 }}")


NET = (
    INPUT
    + conv("c1", "x")
    + layer("r1", "ReLU", "c1", top="c1")
    + layer("n", "LRN", "c1")
    + conv("c2", "n")
    + layer("s", "Eltwise", "c2 c1")
    + layer("i", "InnerProduct", "s", "inner_product_param { num_output: 5 }")
    + layer("p", "Softmax", "i")
)


def test_layers_that_16_bits_hurt_stay_wide_and_casts_stand_where_values_pass(weighted, golden):
    half = assign_precision(weighted(NET), DType.F16)
    ir.verify(half)
    golden(
        half,
        """
        net net TEST
          x      f32[2 3 8 8] = Input
          x@f16  f16[2 3 8 8] = Cast(to=F16) <- x  # x@f16:cast
          c1@c1  f16[2 4 8 8] = Convolution(outputs=4 kernel=3 pad=1) <- x@f16  # c1
          c1@f16 f16[2 4 8 8] = ReLU <- c1@c1  # r1
          c1     f32[2 4 8 8] = Cast <- c1@f16  # c1:cast
          n      f32[2 4 8 8] = LRN <- c1
          n@f16  f16[2 4 8 8] = Cast(to=F16) <- n  # n@f16:cast
          c2     f16[2 4 8 8] = Convolution(outputs=4 kernel=3 pad=1) <- n@f16
          s      f16[2 4 8 8] = Eltwise <- c2, c1@f16
          i@f16  f16[2 5]     = InnerProduct(outputs=5) <- s  # i
          i      f32[2 5]     = Cast <- i@f16  # i:cast
          p      f32[2 5]     = Softmax <- i
        """,
    )


def test_what_layers_stay_can_be_said(weighted, golden):
    half = assign_precision(weighted(NET), DType.BF16, keep=["c2", "s", "i"])
    golden(
        half,
        """
        net net TEST
          x       f32[2 3 8 8]  = Input
          x@bf16  bf16[2 3 8 8] = Cast(to=BF16) <- x  # x@bf16:cast
          c1@c1   bf16[2 4 8 8] = Convolution(outputs=4 kernel=3 pad=1) <- x@bf16  # c1
          c1@bf16 bf16[2 4 8 8] = ReLU <- c1@c1  # r1
          c1      f32[2 4 8 8]  = Cast <- c1@bf16  # c1:cast
          n       f32[2 4 8 8]  = LRN <- c1
          c2      f32[2 4 8 8]  = Convolution(outputs=4 kernel=3 pad=1) <- n
          s       f32[2 4 8 8]  = Eltwise <- c2, c1
          i       f32[2 5]      = InnerProduct(outputs=5) <- s
          p       f32[2 5]      = Softmax <- i
        """,
    )


def test_a_folded_layer_is_kept_by_the_name_it_had(weighted):
    net = INPUT + conv("c", "x") + layer("b", "BatchNorm", "c") + layer("s", "Scale", "b") + conv("d", "s")
    folded = passes.run(weighted(net)).graph
    assert [node.name for node in folded] == ["x", "c", "d"]
    half = assign_precision(folded, DType.F16, keep=["b"])
    assert {node.name: node.outputs[0].dtype for node in half if node.type == "Convolution"} == {
        "c": DType.F32,
        "d": DType.F16,
    }


def test_a_graph_without_such_layers_is_the_same_graph(weighted):
    graph = weighted(INPUT + layer("n", "LRN", "x") + layer("p", "Softmax", "n"))
    assert assign_precision(graph, DType.F16) is graph
    every = weighted(NET)
    assert assign_precision(every, DType.F16, keep=[node.name for node in every]) is every


@pytest.mark.parametrize("name", sorted(BIG_NETS))
@pytest.mark.parametrize("dtype", [DType.F16, DType.BF16])
def test_casts_are_few_and_inputs_and_outputs_stay(name, dtype):
    graph = random_weights(reader.build(reader.parse_net(BIG_NETS[name]()), Phase.TEST))
    half = assign_precision(graph, dtype)
    ir.verify(half)
    assert half.inputs == graph.inputs
    assert half.outputs == graph.outputs
    assert graph.values.keys() <= half.values.keys()
    for node in half:
        if node.type == "Cast":
            assert node.inputs[0].dtype is not node.outputs[0].dtype
            assert half.producers[node.inputs[0].name].type != "Cast"  # no value goes there and back
            assert half.readers[node.outputs[0].name] or node.outputs[0] in half.outputs
    again = reader.build(reader.parse_net(text.print_message(ir.definition(half))), half.phase)
    assert [(n.name, n.type, n.layer) for n in again] == [(n.name, n.type, n.layer) for n in half]
    assert [[v.dtype for v in n.outputs] for n in again] == [[v.dtype for v in n.outputs] for n in half]


@pytest.mark.parametrize(
    ("backend", "dtype", "apart"),
    [("onnxruntime", DType.F16, 1e-2), ("openvino", DType.F16, 1e-2), ("openvino", DType.BF16, 6e-2)],
)
def test_runtimes_agree_with_the_net(backend, dtype, apart, weighted):
    if find_spec(backend) is None:
        pytest.skip(f"needs {backend}, which is not installed")
    graph = weighted(NET)
    given = random_inputs(graph)
    expected = module.compile(graph)(*given)["p"].detach().numpy()
    found = engines.engine(backend).build(assign_precision(graph, dtype), Options("cpu"))
    found = found.run({"x": given[0].numpy()})["p"]
    assert found.dtype == np.float32
    assert 0 < np.abs(found - expected).max() < apart * expected.max()


def test_torch_computes_in_the_halves_that_the_graph_says(weighted):
    half = assign_precision(weighted(NET), DType.F16)
    values = module.compile(half).values(*random_inputs(half))
    assert values["s"].dtype is torch.float16
    assert values["n"].dtype is values["p"].dtype is torch.float32


def test_numbers_of_places_stay_wide(weighted):
    pool = "pooling_param { kernel_size: 2 stride: 2 }"
    places = f'layer {{ name: "q" type: "Pooling" bottom: "c" top: "q" top: "where" {pool} }}\n'
    half = assign_precision(weighted(INPUT + conv("c", "x") + places), DType.F16)
    assert {value.name: value.dtype for value in half.outputs} == {"q": DType.F32, "where": DType.F32}
    assert half.node("q").inputs[0].dtype is DType.F32
