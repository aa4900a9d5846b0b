"""One graph from another: what stays, what goes, what keeps its name."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nktc import ir, reader, text
from nktc.errors import LayerError
from nktc.ir import Graph, Phase, Preprocessing, rewrite

CHAIN = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 8 dim: 4 } } }
    layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" inner_product_param { num_output: 3 } }
    layer { name: "d" type: "Dropout" bottom: "a" top: "d" }
    layer { name: "r" type: "ReLU" bottom: "d" top: "r" }
    layer { name: "b" type: "InnerProduct" bottom: "r" top: "b" inner_product_param { num_output: 2 } }
"""


def without(graph: Graph, *names: str) -> Graph:
    smaller = rewrite.bypass(graph, [node for node in graph if node.name in names])
    ir.verify(smaller)
    return smaller


def read_back(graph: Graph) -> str:
    """The listing of the net that the graph's definition reads as."""
    written = text.print_message(ir.definition(graph))
    return ir.listing(reader.build(reader.parse_net(written), graph.phase))


def test_bypass_connects_the_consumers_to_the_input(read, golden):
    graph = without(read(CHAIN), "d")
    golden(
        graph,
        """
        net net TEST
          x f32[8 4] = Input
          a f32[8 3] = InnerProduct(outputs=3) <- x
          r f32[8 3] = ReLU <- a
          b f32[8 2] = InnerProduct(outputs=2) <- r
        """,
    )
    assert read_back(graph) == ir.listing(graph)
    assert graph.node("r").at.line == 5


def test_bypass_of_an_in_place_copy_keeps_the_blobs_name(read, golden):
    graph = read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 8 dim: 4 } } }
        layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" inner_product_param { num_output: 3 } }
        layer { name: "d" type: "Dropout" bottom: "a" top: "a" }
        layer { name: "r" type: "ReLU" bottom: "a" top: "a" }
    """)
    smaller = without(graph, "d")
    golden(
        smaller,
        """
        net net TEST
          x   f32[8 4] = Input
          a@d f32[8 3] = InnerProduct(outputs=3) <- x  # a
          a   f32[8 3] = ReLU <- a@d  # r
        """,
    )
    assert [value.name for value in without(graph, "d", "r").outputs] == ["a"]


def test_bypass_of_a_row_of_copies(read, golden):
    graph = read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 8 dim: 4 } } }
        layer { name: "a" type: "ReLU" bottom: "x" top: "a" }
        layer { name: "d" type: "Dropout" bottom: "a" top: "d" }
        layer { name: "e" type: "Dropout" bottom: "d" top: "e" }
        layer { name: "f" type: "Dropout" bottom: "e" top: "f" }
    """)
    smaller = without(graph, "d", "e", "f")
    golden(
        smaller,
        """
        net net TEST
          x f32[8 4] = Input
          f f32[8 4] = ReLU <- x  # a
        """,
    )
    assert read_back(smaller) == ir.listing(smaller)


def test_a_definition_keeps_blobs_with_signs_of_ours_in_their_names(read):
    graph = read("""
        layer { name: "x" type: "Input" top: "x@1" input_param { shape { dim: 8 } } }
        layer { name: "r" type: "ReLU" bottom: "x@1" top: "x@1" }
    """)
    assert [list(layer.top) for layer in ir.definition(graph).layer] == [["x@1"], ["x@1"]]


@pytest.mark.parametrize(
    "rest",
    [
        'layer { name: "d" type: "Dropout" bottom: "x" top: "d" }',
        """layer { name: "a" type: "ReLU" bottom: "x" top: "a" }
           layer { name: "d" type: "Dropout" bottom: "a" top: "d" }
           layer { name: "r" type: "TanH" bottom: "a" top: "r" }""",
    ],
    ids=["its input is fed from outside", "its input is used elsewhere too"],
)
def test_a_copy_stays_where_its_output_could_not_keep_its_name(rest, read):
    graph = read('layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 8 } } }\n' + rest)
    assert ir.listing(without(graph, "d")) == ir.listing(graph)


def test_with_nodes_drops_what_nobody_holds(read):
    graph = read(CHAIN)
    arrays = {name: np.zeros(p.weight.shape, np.float32) for name, p in graph.parameters.items()}
    graph = dataclasses.replace(graph, arrays=arrays, preprocessing={"x": Preprocessing((2, 2), "GRAY")})
    smaller = rewrite.with_nodes(graph, graph.nodes[:2])
    assert list(smaller.parameters) == list(smaller.arrays) == ["a.weight", "a.bias"]
    assert list(smaller.preprocessing) == ["x"]
    assert rewrite.with_nodes(graph, graph.nodes[1:]).preprocessing == {}
    assert len(graph.arrays) == 4


def test_keep_leaves_what_the_wanted_is_computed_from(read, golden):
    graph = read(
        CHAIN
        + """
        layer { name: "side" type: "TanH" bottom: "a" top: "side" }
        layer { name: "late" type: "TanH" bottom: "b" top: "late" }
    """
    )
    golden(
        rewrite.keep(graph, ["side"]),
        """
        net net TEST
          x    f32[8 4] = Input
          a    f32[8 3] = InnerProduct(outputs=3) <- x
          side f32[8 3] = TanH <- a
        """,
    )
    assert len(rewrite.keep(graph, ["late", "side"])) == len(graph)


def test_with_batch_infers_every_shape_again(read, golden):
    golden(
        rewrite.with_batch(read(CHAIN), 1),
        """
        net net TEST
          x f32[1 4] = Input
          a f32[1 3] = InnerProduct(outputs=3) <- x
          d f32[1 3] = Dropout <- a
          r f32[1 3] = ReLU <- d
          b f32[1 2] = InnerProduct(outputs=2) <- r
        """,
    )


def test_a_batch_that_a_layer_refuses_raises_its_refusal(read):
    graph = read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 4 dim: 6 } } }
        layer { name: "r" type: "Reshape" bottom: "x" top: "y" reshape_param { shape { dim: 8 dim: 3 } } }
    """)
    with pytest.raises(LayerError):
        rewrite.with_batch(graph, 1)


def test_graphs_are_left_as_they_were(read):
    graph = read(CHAIN)
    before = ir.listing(graph)
    without(graph, "d")
    rewrite.with_batch(graph, 3)
    rewrite.keep(graph, ["a"])
    assert ir.listing(graph) == before
    assert graph.phase is Phase.TEST
    assert read_back(graph) == before


SPLIT = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 8 dim: 4 } } }
    layer { name: "a" type: "ReLU" bottom: "x" top: "a" }
    layer { name: "s" type: "Split" bottom: "a" top: "p" top: "q" }
    layer { name: "y" type: "TanH" bottom: "p" top: "y" }
"""


def test_bypass_of_a_layer_with_several_copies(read):
    graph = read(SPLIT + 'layer { name: "z" type: "TanH" bottom: "q" top: "z" }')
    assert [v.name for node in without(graph, "s") for v in node.inputs] == ["x", "a", "a"]
    # q is an output and would be none if y read it, unless the outputs are said.
    graph = read(SPLIT)
    assert without(graph, "s") is graph
    smaller = without(rewrite.pinned(graph), "s")
    assert [v.name for node in smaller for v in node.inputs] == ["x", "q"]
    assert [v.name for v in smaller.outputs] == ["q", "y"]


def test_a_copy_stays_where_what_it_copies_is_wanted_as_well(read):
    graph = rewrite.wanting(read(CHAIN), ["a", "d"])
    assert without(graph, "d") is graph
    both = rewrite.wanting(read(SPLIT), ["p", "q"])
    assert without(both, "s") is both


def test_pinned_outputs_stay_what_they_are(read):
    graph = rewrite.pinned(read(CHAIN))
    assert graph.wanted == ("b",)
    assert rewrite.pinned(graph) is graph
    assert [v.name for v in rewrite.with_nodes(graph, graph.nodes).outputs] == ["b"]


def test_living_is_what_outputs_and_losses_need_and_what_is_fed_or_written(read):
    graph = read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 8 dim: 4 } } }
        layer { name: "t" type: "Input" top: "t" input_param { shape { dim: 8 } } }
        layer { name: "a" type: "TanH" bottom: "x" top: "a" }
        layer { name: "b" type: "TanH" bottom: "x" top: "b" }
        layer { name: "c" type: "TanH" bottom: "x" top: "c" }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "x" bottom: "t" top: "loss" }
        layer { name: "quiet" type: "Silence" bottom: "c" }
    """)
    assert rewrite.living(graph) is graph
    wanted = dataclasses.replace(graph, wanted=("a",))
    assert [node.name for node in rewrite.living(wanted)] == ["x", "t", "a", "c", "loss", "quiet"]


def filled(graph: Graph) -> Graph:
    arrays = {name: np.full(p.weight.shape, i, np.float32) for i, (name, p) in enumerate(graph.parameters.items())}
    return dataclasses.replace(graph, arrays=arrays)


def test_exchange_puts_nodes_with_weights_of_their_own_in_the_place_of_others(read, golden):
    graph = filled(read(CHAIN))
    a, r = graph.node("a"), graph.node("r")
    made = dataclasses.replace(a, outputs=r.outputs, origins=("a", "d", "r"))
    weight = np.arange(12.0).reshape(3, 4)
    found = rewrite.exchange(graph, {"a", "d", "r"}, [made], {"a": {"weight": weight}})
    ir.verify(found)
    golden(
        found,
        """
        net net TEST
          x f32[8 4] = Input
          r f32[8 3] = InnerProduct(outputs=3) <- x  # a
          b f32[8 2] = InnerProduct(outputs=2) <- r
        """,
    )
    assert found.arrays["a.weight"].dtype == np.float32
    assert np.array_equal(found.arrays["a.weight"], weight)
    assert found.arrays["a.bias"] is graph.arrays["a.bias"]
    assert list(found.parameters) == ["a.weight", "a.bias", "b.weight", "b.bias"]


def test_exchange_leaves_a_shared_weight_to_those_who_share_it(read):
    shared = 'param { name: "w" }'
    graph = filled(
        read(f"""
        layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 8 dim: 4 }} }} }}
        layer {{ name: "a" type: "InnerProduct" bottom: "x" top: "a" {shared}
          inner_product_param {{ num_output: 4 bias_term: false }} }}
        layer {{ name: "b" type: "InnerProduct" bottom: "a" top: "b" {shared}
          inner_product_param {{ num_output: 4 bias_term: false }} }}
        """)
    )
    found = rewrite.exchange(graph, {"a"}, [graph.node("a")], {"a": {"weight": np.ones((4, 4))}})
    ir.verify(found)
    assert found.node("b").weights == {"weight": "a.weight"}
    assert found.arrays["a.weight"] is graph.arrays["a.weight"]
    assert found.node("a").weights == {"weight": "a_2.weight"}
    assert found.parameters["a_2.weight"].layer == "a"
    # Where the owner goes, who is left owns it.
    alone = rewrite.exchange(graph, {"a"}, [])
    assert alone.parameters["a.weight"].layer == "b"
