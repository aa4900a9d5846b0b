"""8 bits: which layers, what is rounded, weights on their grids, and that runtimes compute what torch supposes."""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import pytest
import torch
from big_nets import BIG_NETS, random_inputs, random_weights

from nktc import engines, export, ir, module, passes, reader, text
from nktc.engines import Options
from nktc.ir import DType, Graph, Phase, rewrite
from nktc.layers import Quantize
from nktc.passes import quantizable, quantize

INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 8 dim: 8 dim: 8 } } }\n'
MOST = 63  # which every CPU adds up without overflow


def layer(name: str, kind: str, bottoms: str, settings: str = "", tops: str = "") -> str:
    connected = " ".join(f'bottom: "{bottom}"' for bottom in bottoms.split())
    connected += "".join(f' top: "{top}"' for top in (tops or name).split())
    return f'layer {{ name: "{name}" type: "{kind}" {connected} {settings} }}\n'


def conv(name: str, bottom: str, more: str = "") -> str:
    settings = f"convolution_param {{ num_output: 8 kernel_size: 3 pad: 1 {more} }}"
    return layer(name, "Convolution", bottom, settings)


def relu(name: str, blob: str) -> str:
    return layer(name, "ReLU", blob, tops=blob)


PLAIN = (
    INPUT
    + conv("c1", "x")
    + relu("r1", "c1")
    + layer("m", "Pooling", "c1", "pooling_param { kernel_size: 2 stride: 2 }")
    + conv("c2", "m")
    + layer("i", "InnerProduct", "c2", "inner_product_param { num_output: 5 }")
    + layer("p", "Softmax", "i")
)
RESIDUAL = INPUT + conv("a", "x") + relu("ra", "a") + conv("b", "a") + layer("s", "Eltwise", "a b") + relu("rs", "s")
RESIDUAL += conv("c", "s") + layer("g", "Pooling", "c", "pooling_param { pool: AVE global_pooling: true }")
CONCAT = INPUT + conv("a", "x") + relu("ra", "a") + conv("b", "x") + layer("j", "Concat", "a b") + conv("c", "j")
NETS = {"plain": PLAIN, "residual": RESIDUAL, "concat": CONCAT}


def ranges_of(graph: Graph) -> dict[str, tuple[float, float]]:
    """What the values hold for the inputs of two seeds."""
    found: dict[str, tuple[float, float]] = {}
    with torch.no_grad():
        for seed in range(2):
            for name, y in module.compile(graph).values(*random_inputs(graph, seed)).items():
                low, high = found.get(name, (0.0, 0.0))
                found[name] = (min(low, float(y.min())), max(high, float(y.max())))
    return found


def lowered(graph: Graph, **more) -> Graph:
    found = quantize(graph, ranges_of(graph), **{"most": MOST, **more})
    ir.verify(found)
    return found


def by_torch(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    return {name: y.detach().numpy() for name, y in module.compile(graph)(*random_inputs(graph, seed)).items()}


def test_a_chain_runs_in_8_bits_up_to_its_scores(weighted, golden):
    graph = weighted(PLAIN)
    ranges = {"x": (-1, 1), "c1": (0, 2), "m": (0, 1), "c2": (-3, 2.1), "i": (-9, 9), "c1@c1": (-2, 2), "p": (0, 1)}
    golden(
        quantize(graph, ranges),
        """
        net net TEST
          x        f32[2 8 8 8] = Input
          x@u8     f32[2 8 8 8] = Quantize(scale=0.00784314 zero=127) <- x  # x:quantize
          c1@c1    f32[2 8 8 8] = Convolution(outputs=8 kernel=3 pad=1) <- x@u8  # c1
          c1       f32[2 8 8 8] = Quantize(scale=0.00784314) <- c1@c1  # c1:quantize
          m@raw    f32[2 8 4 4] = Pooling(method=MAX kernel=2 stride=2) <- c1  # m
          m        f32[2 8 4 4] = Quantize(scale=0.00784314) <- m@raw  # m:quantize
          c2@raw   f32[2 8 4 4] = Convolution(outputs=8 kernel=3 pad=1) <- m  # c2
          c2       f32[2 8 4 4] = Quantize(scale=0.02 zero=150) <- c2@raw  # c2:quantize
          c2@i@raw f32[2 128]   = Flatten <- c2  # i:flatten
          c2@i     f32[2 128]   = Quantize(scale=0.02 zero=150) <- c2@i@raw  # c2@i:quantize
          i        f32[2 5]     = InnerProduct(outputs=5) <- c2@i
          p        f32[2 5]     = Softmax <- i
        """,
    )


def test_both_sides_of_a_residual_sum_are_rounded_and_its_relu_goes_with_the_rounding(weighted, golden):
    graph = weighted(RESIDUAL)
    golden(
        quantize(graph, dict.fromkeys(graph.values, (0.0, 255.0))),
        """
        net net TEST
          x     f32[2 8 8 8] = Input
          x@u8  f32[2 8 8 8] = Quantize(scale=1) <- x  # x:quantize
          a@a   f32[2 8 8 8] = Convolution(outputs=8 kernel=3 pad=1) <- x@u8  # a
          a     f32[2 8 8 8] = Quantize(scale=1) <- a@a  # a:quantize
          b@raw f32[2 8 8 8] = Convolution(outputs=8 kernel=3 pad=1) <- a  # b
          b     f32[2 8 8 8] = Quantize(scale=1) <- b@raw  # b:quantize
          s@s   f32[2 8 8 8] = Eltwise <- a, b  # s
          s     f32[2 8 8 8] = Quantize(scale=1) <- s@s  # s:quantize
          c@raw f32[2 8 8 8] = Convolution(outputs=8 kernel=3 pad=1) <- s  # c
          c     f32[2 8 8 8] = Quantize(scale=1) <- c@raw  # c:quantize
          g     f32[2 8 1 1] = Pooling(method=AVE) <- c
        """,
    )


def test_what_a_concat_joins_has_the_same_steps(weighted, golden):
    graph = weighted(CONCAT)
    ranges = dict.fromkeys(graph.values, (-1.0, 1.0)) | {"a": (0.0, 7.0), "b": (-10.0, 4.0)}
    golden(
        quantize(graph, ranges),
        """
        net net TEST
          x     f32[2 8 8 8]  = Input
          x@u8  f32[2 8 8 8]  = Quantize(scale=0.00784314 zero=127) <- x  # x:quantize
          a@a   f32[2 8 8 8]  = Convolution(outputs=8 kernel=3 pad=1) <- x@u8  # a
          a@raw f32[2 8 8 8]  = ReLU <- a@a  # ra
          a     f32[2 8 8 8]  = Quantize(scale=0.0666667 zero=150) <- a@raw  # a:quantize
          b@raw f32[2 8 8 8]  = Convolution(outputs=8 kernel=3 pad=1) <- x@u8  # b
          b     f32[2 8 8 8]  = Quantize(scale=0.0666667 zero=150) <- b@raw  # b:quantize
          j@raw f32[2 16 8 8] = Concat <- a, b  # j
          j     f32[2 16 8 8] = Quantize(scale=0.0666667 zero=150) <- j@raw  # j:quantize
          c     f32[2 8 8 8]  = Convolution(outputs=8 kernel=3 pad=1) <- j
        """,
    )


def test_signed_activations_have_their_zero_at_0(weighted, golden):
    graph = weighted(PLAIN)
    found = quantize(graph, dict.fromkeys(graph.values, (-1.0, 254.0)), signed=True)
    golden(
        found,
        """
        net net TEST
          x        f32[2 8 8 8] = Input
          x@s8     f32[2 8 8 8] = Quantize(scale=2 signed=True) <- x  # x:quantize
          c1@c1    f32[2 8 8 8] = Convolution(outputs=8 kernel=3 pad=1) <- x@s8  # c1
          c1@raw   f32[2 8 8 8] = ReLU <- c1@c1  # r1
          c1       f32[2 8 8 8] = Quantize(scale=2 signed=True) <- c1@raw  # c1:quantize
          m@raw    f32[2 8 4 4] = Pooling(method=MAX kernel=2 stride=2) <- c1  # m
          m        f32[2 8 4 4] = Quantize(scale=2 signed=True) <- m@raw  # m:quantize
          c2@raw   f32[2 8 4 4] = Convolution(outputs=8 kernel=3 pad=1) <- m  # c2
          c2       f32[2 8 4 4] = Quantize(scale=2 signed=True) <- c2@raw  # c2:quantize
          c2@i@raw f32[2 128]   = Flatten <- c2  # i:flatten
          c2@i     f32[2 128]   = Quantize(scale=2 signed=True) <- c2@i@raw  # c2@i:quantize
          i        f32[2 5]     = InnerProduct(outputs=5) <- c2@i
          p        f32[2 5]     = Softmax <- i
        """,
    )
    model = onnx_ir.to_proto(export.to_onnx(found, target=export.target("tensorrt")))
    numbers = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    points = [numbers[node.input[2]] for node in model.graph.node if "Linear" in node.op_type and len(node.input) > 2]
    assert len(points) > 10
    assert all(point.dtype == np.int8 and not point.any() for point in points)


@pytest.mark.parametrize("net", sorted(NETS))
@pytest.mark.parametrize("signed", [False, True])
def test_the_graph_can_be_written_as_prototxt_and_read_again(net, signed, weighted):
    found = lowered(weighted(NETS[net]), signed=signed)
    again = reader.build(reader.parse_net(text.print_message(ir.definition(found))), found.phase)
    assert [(n.name, n.layer, [v.shape for v in n.outputs]) for n in again] == [
        (n.name, n.layer, [v.shape for v in n.outputs]) for n in found
    ]
    arrays = {name: found.arrays[other] for name, other in zip(again.parameters, found.parameters, strict=True)}
    expected, answers = by_torch(found), by_torch(dataclasses.replace(again, arrays=arrays))
    for one, other in zip(expected.values(), answers.values(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("net", sorted(NETS))
def test_the_answers_are_near_those_in_f32(net, weighted):
    graph = weighted(NETS[net])
    for signed in (False, True):
        found = by_torch(lowered(graph, signed=signed, most=127))
        for name, expected in by_torch(graph).items():
            apart = np.abs(found[name] - expected).max() / np.abs(expected).max()
            assert 0 < apart < 0.05, (name, signed)


@pytest.mark.parametrize("net", sorted(NETS))
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_runtimes_compute_what_torch_supposes(net, backend, weighted):
    if find_spec(backend) is None:
        pytest.skip(f"needs {backend}, which is not installed")
    found = lowered(weighted(NETS[net]))
    answers = engines.engine(backend).build(found, Options("cpu")).run({"x": random_inputs(found)[0].numpy()})
    for name, expected in by_torch(found).items():
        # A sum at the edge of two steps may fall to the other; what follows is moved by a few steps at most.
        np.testing.assert_allclose(answers[name], expected, atol=0.03 * np.abs(expected).max(), rtol=0)


def test_onnx_runtime_multiplies_in_8_bits(weighted, tmp_path):
    found = lowered(weighted(PLAIN))
    model = onnx_ir.to_proto(export.to_onnx(found, target=export.target("onnxruntime")))
    settings = onnxruntime.SessionOptions()
    settings.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    settings.log_severity_level = 4
    onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    done = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert done.count("QLinearConv") == 2
    assert "QGemm" in done
    assert not {"Conv", "Gemm", "MatMul"} & {*done}


def test_weights_are_whole_steps_in_the_file_and_the_same_numbers_in_the_graph(weighted):
    graph = weighted(PLAIN)
    found = lowered(graph)
    model = onnx_ir.to_proto(export.to_onnx(found, target=export.target("onnxruntime")))
    numbers = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    assert sorted(found.grids) == ["c1.weight", "c2.weight", "i.weight"]
    for name, grid in found.grids.items():
        steps, scale = numbers[f"{name}:steps"], numbers[f"{name}:scale"]
        assert steps.dtype == np.int8
        along = scale.reshape(-1, *[1] * (steps.ndim - 1))
        np.testing.assert_array_equal((steps * along).astype(np.float32), found.arrays[name])
        # The largest weight of each output is the last step; the others are off by half a step at most.
        np.testing.assert_array_equal(np.abs(steps).reshape(len(steps), -1).max(1), MOST)
        assert (np.abs(found.arrays[name] - graph.arrays[name]) <= along * 0.5001).all()
        assert grid.steps.shape == (len(steps),)


def test_a_matrix_that_lies_transposed_has_its_steps_by_output(weighted):
    net = INPUT + layer("i", "InnerProduct", "x", "inner_product_param { num_output: 5 transpose: true }")
    found = lowered(weighted(net))
    assert found.grids["i.weight"].axis == 1
    assert found.grids["i.weight"].steps.shape == (5,)
    answers = engines.engine("onnxruntime").build(found, Options("cpu"))
    expected = by_torch(found)["i"]
    np.testing.assert_allclose(answers.run({"x": random_inputs(found)[0].numpy()})["i"], expected, atol=1e-4)


def test_outputs_of_zeros_and_blobs_of_zeros_stay_zeros(weighted):
    graph = weighted(PLAIN, {"c2.weight": 0.0, "c2.bias": 0.0, "i.bias": 0.0})
    found = by_torch(lowered(graph))["p"]
    np.testing.assert_array_equal(found, np.full((2, 5), np.float32(0.2)))


SHARED = (
    INPUT
    + layer("a", "Convolution", "x", 'param { name: "w" } convolution_param { num_output: 8 kernel_size: 1 }')
    + layer("b", "Convolution", "a", 'param { name: "w" } convolution_param { num_output: 8 kernel_size: 1 }')
)


def test_a_bias_beside_weights_of_almost_nothing_is_still_there(weighted):
    graph = weighted(INPUT + conv("a", "x") + conv("b", "a"))
    graph.arrays["a.weight"][:2] *= 1e-9
    graph.arrays["a.bias"][:] = [3, -2, 1, 0, 0, 1, 0, 0]
    found = lowered(graph)
    x = random_inputs(found)[0].numpy()
    answers = engines.engine("onnxruntime").build(rewrite.wanting(found, ["a"]), Options("cpu")).run({"x": x})
    with torch.no_grad():
        expected = module.compile(found).values(*random_inputs(found))["a"].numpy()
    # Steps of a bias in 32 bits, of weights of 1e-9, would end far below 3.
    np.testing.assert_allclose(answers["a"], expected, atol=0.03 * np.abs(expected).max(), rtol=0)


def test_shared_weights_are_copied_so_that_one_layer_may_stay(weighted):
    graph = weighted(SHARED)
    found = lowered(graph, keep=["b"])
    assert [*found.grids] == ["a:s8.weight"]
    np.testing.assert_array_equal(found.arrays[found.node("b").weights["weight"]], graph.arrays["a.weight"])
    both = lowered(graph)
    assert sorted(both.grids) == ["a:s8.weight", "b:s8.weight"]
    assert "a.weight" not in both.arrays
    assert {p.layer for p in both.parameters.values()} == {"a", "b"}


def test_weights_shared_in_another_shape_have_a_step_an_output(weighted):
    rows = 'param { name: "w" } inner_product_param { num_output: 4 bias_term: false }'
    windows = "convolution_param { num_output: 32 kernel_h: 1 kernel_w: 8 bias_term: false }"
    windows = f'param {{ name: "w" share_mode: PERMISSIVE }} {windows}'
    graph = weighted(INPUT + layer("i", "InnerProduct", "x", rows) + layer("c", "Convolution", "x", windows))
    found = lowered(graph)
    assert found.grids["i:s8.weight"].steps.shape == (4,)
    assert found.grids["c:s8.weight"].steps.shape == (32,)
    for name, expected in by_torch(graph).items():
        np.testing.assert_allclose(by_torch(found)[name], expected, atol=0.05 * np.abs(expected).max())


def test_a_kept_layer_and_one_with_an_unknown_range_stay_wide(weighted):
    graph = weighted(PLAIN)
    ranges = ranges_of(graph)
    assert [*lowered(graph, keep=["c1"]).grids] == ["c2.weight", "i.weight"]
    for blob, expected in {"x": ["c2", "i"], "m": ["c1", "i"], "c2": ["c1"], "i": ["c1", "c2"]}.items():
        found = quantize(graph, {name: one for name, one in ranges.items() if name != blob}, most=MOST)
        ir.verify(found)
        assert [*found.grids] == [f"{name}.weight" for name in expected], blob


def test_a_slice_of_which_one_part_is_unknown_stays_wide(weighted):
    net = INPUT + conv("a", "x") + layer("s", "Slice", "a", tops="u v") + conv("b", "u", "group: 4") + conv("c", "v")
    graph = weighted(net)
    ranges = ranges_of(graph)
    del ranges["v"]
    found = quantize(graph, ranges)
    ir.verify(found)
    assert [*found.grids] == ["a.weight", "b.weight"]
    every = quantize(graph, ranges_of(graph))
    scales = {node.layer for node in every if isinstance(node.layer, Quantize) and "a" in node.works_for}
    assert len(scales) == 1
    assert {n.name for n in every if isinstance(n.layer, Quantize)} == {f"{name}:quantize" for name in "xauv"}


def test_a_layer_folded_into_another_is_kept_by_its_name(weighted):
    folded = passes.run(weighted(INPUT + conv("c", "x") + layer("b", "BatchNorm", "c") + conv("d", "b"))).graph
    assert [*lowered(folded, keep=["b"]).grids] == ["d.weight"]


def test_nothing_to_do_gives_the_same_graph(weighted):
    graph = weighted(PLAIN)
    assert quantize(graph, {}) is graph
    assert quantize(graph, ranges_of(graph), keep=quantizable(graph)) is graph


def test_the_layers_with_weights_are_those_that_can(weighted):
    net = PLAIN + layer("d", "Deconvolution", "c2", "convolution_param { num_output: 2 kernel_size: 2 }")
    assert quantizable(weighted(net)) == ["c1", "c2", "i"]
    half = passes.assign_precision(weighted(net), DType.F16, keep=["c2"])
    assert quantizable(half) == ["c2"]


def test_what_a_net_gives_is_not_rounded_even_where_8_bits_read_it(weighted):
    graph = rewrite.wanting(weighted(PLAIN), ["c1", "m", "p"])
    found = lowered(graph)
    assert [value.name for value in found.outputs] == ["c1", "m", "p"]
    assert {found.producers[name].type for name in ("c1", "m", "p")} == {"ReLU", "Pooling", "Softmax"}
    assert {node.name for node in found if node.type == "Quantize"} >= {"c1:quantize", "m:quantize"}
    assert len(np.unique(by_torch(found)["c1"])) > 256


@pytest.mark.parametrize("name", sorted(BIG_NETS))
@pytest.mark.parametrize("signed", [False, True])
def test_well_known_nets_run_in_8_bits(name, signed):
    graph = passes.run(random_weights(reader.build(reader.parse_net(BIG_NETS[name]()), Phase.TEST))).graph
    found = lowered(graph, signed=signed)
    assert found.inputs == graph.inputs
    assert found.outputs == graph.outputs
    assert len(found.grids) == len(quantizable(graph)) > 7
    answers, expected = by_torch(found)["prob"], by_torch(graph)["prob"]
    assert np.abs(answers - expected).max() < 0.2 * expected.max()
