"""Passes in a row, and what is told of them."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from nktc import ir, passes
from nktc.errors import NktcError
from nktc.ir import DType, Grid, rewrite

NET = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 dim: 4 dim: 4 } } }
    layer { name: "conv1" type: "Convolution" bottom: "x" top: "conv1"
      convolution_param { num_output: 4 kernel_size: 1 bias_term: false } }
    layer { name: "bn1" type: "BatchNorm" bottom: "conv1" top: "conv1" }
    layer { name: "scale1" type: "Scale" bottom: "conv1" top: "conv1" scale_param { bias_term: true } }
    layer { name: "drop" type: "Dropout" bottom: "conv1" top: "conv1" }
    layer { name: "side" type: "TanH" bottom: "x" top: "side" }
    layer { name: "quiet" type: "Silence" bottom: "side" }
    layer { name: "y" type: "ReLU" bottom: "conv1" top: "y" }
"""


def test_the_report_names_the_lines_and_counts_what_is_left(weighted, golden, preserved):
    graph = weighted(NET)
    done = passes.run(graph)
    preserved(rewrite.wanting(graph, ["y"]), done.graph)
    golden(
        f"report\n{done.report.text()}",
        """
        report
          drop_identities  net.prototxt:7 drop -> nothing
          drop_dead_nodes  net.prototxt:8 side -> nothing
          drop_dead_nodes  net.prototxt:9 quiet -> nothing
          fold_batch_norm  net.prototxt:3 conv1 + :5 bn1 + :6 scale1 -> conv1 (Convolution)

          layers            8 ->   3  -62.5 %
          parameters       25 ->  12  -52.0 %
          flops           672 -> 320  -52.4 %
          weight bytes    100 ->  48  -52.0 %
          value bytes   1,408 -> 512  -63.6 %
        """,
    )


def test_the_report_as_data_says_the_same(weighted):
    report = passes.run(weighted(NET)).report
    told = json.loads(json.dumps(report.plain()))
    (fold,) = [one for one in told["rewrites"] if one["pass"] == "fold_batch_norm"]
    assert [(place["name"], place["at"]["line"]) for place in fold["gone"]] == [("conv1", 3), ("bn1", 5), ("scale1", 6)]
    assert [(place["name"], place["type"]) for place in fold["made"]] == [("conv1", "Convolution")]
    assert told["before"]["layers"] == 8
    assert told["after"]["layers"] == 3
    # A multiply-add of 2 inputs for each of 64 outputs, and a ReLU.
    assert told["after"]["flops"] == 2 * 2 * 64 + 64
    assert told["seconds"].keys() == {each.__name__ for each in passes.INFERENCE}


def test_a_net_with_nothing_to_do_comes_back_as_it_is(weighted):
    graph = weighted("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }
        layer { name: "y" type: "ReLU" bottom: "x" top: "y" }
    """)
    done = passes.run(graph)
    assert done.graph is graph
    assert done.report.rewrites == ()
    assert done.report.text().startswith("  layers")
    assert passes.run(graph, ()).graph is graph


def test_passes_run_again_where_one_makes_work_for_another_before_it(weighted, preserved):
    # Only once the Slice and the Concat are gone does the Scale follow the convolution.
    graph = weighted("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 dim: 4 dim: 4 } } }
        layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param { num_output: 4 kernel_size: 1 } }
        layer { name: "cut" type: "Slice" bottom: "c" top: "p" top: "q" }
        layer { name: "join" type: "Concat" bottom: "p" bottom: "q" top: "j" }
        layer { name: "s" type: "Scale" bottom: "j" top: "s" }
    """)
    done = passes.run(graph, (passes.fold_batch_norm, passes.eliminate_concat))
    preserved(graph, done.graph)
    assert [node.name for node in done.graph] == ["x", "c"]
    told = [one.pass_name for one in done.report.rewrites]
    assert told == ["eliminate_concat", "eliminate_concat", "fold_batch_norm"]


def test_what_each_pass_made_can_be_looked_at(weighted):
    seen = []
    graph = weighted(NET)
    done = passes.run(graph, print_after=lambda name, graph: seen.append((name, len(graph))))
    assert seen == [("drop_identities", 7), ("drop_dead_nodes", 5), ("fold_batch_norm", 3)]
    assert len(done.graph) == 3


def test_a_pass_that_breaks_a_graph_is_named(weighted):
    def lose_an_input(graph):
        return rewrite.with_nodes(graph, graph.nodes[1:])

    def rename_an_output(graph):
        y = graph.values["y"]
        return dataclasses.replace(rewrite.renamed(graph, {"y": dataclasses.replace(y, name="z")}), wanted=("z",))

    for broken in (lose_an_input, rename_an_output):
        with pytest.raises(AssertionError, match=f"after {broken.__name__}: "):
            passes.run(weighted(NET), (broken,))


def test_passes_that_never_end_are_named(weighted):
    def change(graph):
        return dataclasses.replace(graph, name=graph.name)

    with pytest.raises(AssertionError, match="change: they still change net after 20 rounds"):
        passes.run(weighted(NET), (change,))


def test_passes_are_found_by_name():
    assert passes.find(["fold_power", "merge_sibling_convolutions"]) == (
        passes.fold_power,
        passes.merge_sibling_convolutions,
    )
    with pytest.raises(NktcError) as refusal:
        passes.find(["fold_batchnorm"])
    assert str(refusal.value) == 'error: there is no pass "fold_batchnorm"\nhelp: did you mean "fold_batch_norm"?'
    with pytest.raises(NktcError, match="help: there are drop_identities, drop_dead_nodes, "):
        passes.find(["xyz"])


def test_bytes_are_those_of_the_type_that_is_computed_in(weighted):
    graph = weighted("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 10 } } }
        layer { name: "h" type: "Cast" bottom: "x" top: "h" cast_param { type: FLOAT16 } }
        layer { name: "a" type: "InnerProduct" bottom: "h" top: "a" inner_product_param { num_output: 5 } }
        layer { name: "f" type: "Cast" bottom: "a" top: "f" }
        layer { name: "b" type: "InnerProduct" bottom: "f" top: "b" inner_product_param { num_output: 2 } }
    """)
    assert graph.values["a"].dtype is DType.F16
    graph = dataclasses.replace(graph, grids={"b.weight": Grid(np.ones(2, np.float32))})
    found = passes.totals(graph)
    assert found.layers == len(graph)
    assert found.parameters == 50 + 5 + 10 + 2
    assert found.weight_bytes == 2 * 55 + (10 + 2 * 4) + 4 * 2
    assert found.value_bytes == 2 * 10 + 2 * 5 + 4 * 5 + 4 * 2
    assert found.flops == ir.cost(graph).flops
