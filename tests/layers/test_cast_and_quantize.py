"""Cast and Quantize: rounding, ranges, and what goes with halves."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir
import onnxruntime
import pytest
import torch

from nktc import export, module
from nktc.errors import NktcError

NET = """
    layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 2 dim: 3 dim: 5 dim: 5 }} }} }}
    layer {{ name: "half" type: "Cast" bottom: "x" top: "half" cast_param {{ type: {type} }} }}
    layer {{ name: "conv" type: "Convolution" bottom: "half" top: "conv"
            convolution_param {{ num_output: 4 kernel_size: 3 weight_filler {{ type: "xavier" }} }} }}
    layer {{ name: "relu" type: "ReLU" bottom: "conv" top: "relu" }}
    layer {{ name: "y" type: "Cast" bottom: "relu" top: "y" }}
"""


def quantized(values: list[float], settings: str, read) -> list[float]:
    graph = read(f"""
        layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: {len(values)} }} }} }}
        layer {{ name: "y" type: "Quantize" bottom: "x" top: "y" quantize_param {{ {settings} }} }}
    """)
    return module.compile(graph)(torch.tensor(values))["y"].tolist()


def test_values_become_whole_steps_and_stay_in_range(read) -> None:
    found = quantized([-9.0, 0.0, 0.24, 0.25, 0.75, 200.0], "scale: 0.5", read)
    assert found == [0.0, 0.0, 0.0, 0.0, 1.0, 127.5]  # halves go to the even step


def test_signed_steps_go_both_ways(read) -> None:
    assert quantized([-100.0, -0.4, 100.0], "scale: 0.5 signed: true", read) == [-64.0, -0.5, 63.5]


def test_the_zero_point_moves_the_range(read) -> None:
    assert quantized([-100.0, 100.0], "scale: 0.5 zero_point: 100", read) == [-50.0, 77.5]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("", 'Quantize "y": scale is 0'),
        ("scale: -1", 'Quantize "y": scale is -1'),
        ("scale: 1 zero_point: 256", 'Quantize "y": zero_point 256 is outside 0 to 255'),
        ("scale: 1 zero_point: 128 signed: true", 'Quantize "y": zero_point 128 is outside -128 to 127'),
    ],
)
def test_settings_without_a_meaning_are_refused(settings: str, told: str, read) -> None:
    with pytest.raises(NktcError, match="is") as refusal:
        quantized([1.0], settings, read)
    assert refusal.value.message == told


def test_a_layer_computes_in_what_it_is_given(read) -> None:
    net = module.compile(read(NET.format(type="FLOAT16")), seed=1)
    values = net.values(torch.randn(2, 3, 5, 5))
    assert [values[name].dtype for name in ("half", "conv", "relu", "y")] == [torch.float16] * 3 + [torch.float32]


def test_onnx_runtime_computes_in_halves_too(read) -> None:
    net = module.compile(read(NET.format(type="FLOAT16")), seed=1)
    graph = dataclasses.replace(net.graph, arrays=net.arrays())
    model = onnx_ir.to_proto(export.to_onnx(graph))
    assert {i.data_type for i in model.graph.initializer} == {10}  # FLOAT16
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 5), np.float32)
    (found,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    np.testing.assert_allclose(found, net(torch.from_numpy(x))["y"].detach(), atol=2e-3)


def test_bfloat16_is_written_as_an_opset_that_has_it(read) -> None:
    net = module.compile(read(NET.format(type="BFLOAT16")), seed=1)
    graph = dataclasses.replace(net.graph, arrays=net.arrays())
    model = onnx_ir.to_proto(export.to_onnx(graph, target=export.target("tensorrt")))
    assert model.opset_import[0].version == 22
    assert {i.data_type for i in model.graph.initializer} == {16}  # BFLOAT16


def test_inputs_of_two_types_are_refused(read) -> None:
    with pytest.raises(NktcError) as refusal:
        read("""
            layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
            layer { name: "half" type: "Cast" bottom: "x" top: "half" cast_param { type: FLOAT16 } }
            layer { name: "y" type: "Eltwise" bottom: "x" bottom: "half" top: "y" }
        """)
    assert refusal.value.message == 'Eltwise "y": its inputs are of two types, f32 and f16'
    assert refusal.value.help == "bring them to one with a layer of type Cast"
