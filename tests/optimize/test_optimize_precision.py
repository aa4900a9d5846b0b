"""Lower precision for an optimisation: what stays, what is scored, how many steps a weight has."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from big_nets import random_weights

from nktc import passes
from nktc.errors import NktcError
from nktc.ir import DType
from nktc.optimize import Samples, Wanted, precision

SIBLINGS = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 6 dim: 6 } } }
    layer { name: "a" type: "Convolution" bottom: "x" top: "a" convolution_param { num_output: 4 kernel_size: 3 } }
    layer { name: "b" type: "Convolution" bottom: "x" top: "b" convolution_param { num_output: 4 kernel_size: 3 } }
    layer { name: "j" type: "Concat" bottom: "a" bottom: "b" top: "j" }
    layer { name: "c" type: "Convolution" bottom: "j" top: "c" convolution_param { num_output: 4 kernel_size: 3 } }
"""
SEEN = Samples(({"x": np.random.default_rng(0).standard_normal((2, 3, 6, 6)).astype(np.float32)},))


def lowered(graph, **more) -> precision.Lowered:
    merged = passes.run(graph, (*passes.HORIZONTAL, *passes.INFERENCE)).graph
    assert [node for node in merged if node.type == "Convolution" and {"a", "b"} <= {*node.works_for}]
    variants = {"": graph, "merged": merged}
    return precision.lower(variants, ["onnxruntime"], Wanted(**more), SEEN, SEEN, lambda what: None)


def test_a_layer_that_overflows_stays_wide_also_where_it_was_merged_with_another(read):
    graph = random_weights(read(SIBLINGS))
    graph.arrays["b.bias"][0] = 1e6
    graph.arrays["c.weight"][...] *= 1e-6
    found = lowered(graph, precision="fp16")
    assert [*found.kept] == ["b", "c", "j"]
    for name, variant in found.variants.items():
        types = {node.name: node.outputs[0].dtype for node in variant if node.type == "Convolution"}
        holders = [node for node in variant if node.type == "Convolution" and "b" in node.works_for]
        assert [types[node.name] for node in holders] == [DType.F32], name
    assert found.variants[""].node("a").outputs[0].dtype is DType.F16


def test_names_to_keep_may_be_of_layers_that_were_merged_but_no_others(read):
    graph = random_weights(read(SIBLINGS))
    assert lowered(graph, precision="fp16", keep=("a",)).kept == ["a"]
    with pytest.raises(NktcError, match='--keep names no layer that is left: "z"'):
        lowered(graph, precision="fp16", keep=("z",))


def test_a_net_all_of_whose_layers_are_kept_has_none_for_8_bits(read):
    graph = random_weights(read(SIBLINGS))
    with pytest.raises(NktcError) as caught:
        lowered(graph, precision="int8", keep=("a", "b", "c"))
    assert caught.value.message == "net has no layer left that runs in 8 bits"


def test_8_bits_for_tensorrt_are_signed(read):
    found = lowered(random_weights(read(SIBLINGS)), precision="int8")
    for signed in (False, True):
        graph = next(iter(found.of(signed).values()))
        assert {node.layer.signed for node in graph if node.type == "Quantize"} == {signed}
    assert dataclasses.replace(found, signed={}).of(True) is found.variants


@pytest.mark.parametrize(
    ("flags", "steps"),
    [("fpu avx2 fma", 63), ("avx2 avx512_vnni", 127), ("avx2 avx_vnni", 127), ("asimd asimddp", 127), (None, 63)],
)
def test_weights_have_as_many_steps_as_the_cpu_adds_up(flags, steps, monkeypatch):
    def text(path: Path) -> str:
        assert str(path) == "/proc/cpuinfo"
        if flags is None:
            raise OSError
        return f"model name : a CPU\nflags : {flags}\n"

    monkeypatch.setattr(Path, "read_text", text)
    assert precision.weight_steps() == steps


def test_scores_are_against_labels_or_else_against_the_net():
    labels = Samples(({"x": np.zeros((4, 1))},), (np.array([0, 1, 2, 3]),))
    before, after = np.array([0, 1, 2, 9]), np.array([0, 1, 9, 9])
    found = precision.scores(before, after, labels)
    assert (found.before, found.after, found.drop, found.labelled) == (75, 50, 25, True)
    found = precision.scores(before, after, dataclasses.replace(labels, labels=()))
    assert (found.before, found.after, found.records, found.labelled) == (100, 75, 4, False)


@pytest.mark.parametrize(("shape", "scored"), [("dim: 2 dim: 5", "x"), ("dim: 2 dim: 1", ""), ("dim: 5", "")])
def test_what_is_scored_is_a_row_of_two_or_more(shape, scored, read):
    graph = read(f'layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ {shape} }} }} }}')
    assert precision.scoring(graph) == scored
    assert precision.scoring(read(SIBLINGS)) == ""
