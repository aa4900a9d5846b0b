"""What nobody sees goes."""

from __future__ import annotations

from nktc.ir import Phase, rewrite
from nktc.passes import drop_dead_nodes

NET = """
    layer { name: "x" type: "Input" top: "x" top: "unused" input_param { shape { dim: 2 dim: 4 } } }
    layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" inner_product_param { num_output: 3 } }
    layer { name: "b" type: "InnerProduct" bottom: "a" top: "b" inner_product_param { num_output: 3 } }
    layer { name: "c" type: "TanH" bottom: "b" top: "c" }
    layer { name: "quiet" type: "Silence" bottom: "c" bottom: "unused" }
    layer { name: "y" type: "ReLU" bottom: "a" top: "y" }
"""


def test_what_is_silenced_goes_with_all_that_made_it(weighted, golden):
    graph = weighted(NET)
    smaller = drop_dead_nodes(graph)
    golden(
        smaller,
        """
        net net TEST
          x, unused f32[2 4], f32[2 4] = Input
          a         f32[2 3]           = InnerProduct(outputs=3) <- x
          y         f32[2 3]           = ReLU <- a
        """,
    )
    assert [value.name for value in smaller.outputs] == ["y"]
    assert list(smaller.arrays) == ["a.weight", "a.bias"]
    assert drop_dead_nodes(smaller) is smaller


def test_what_is_not_wanted_goes(weighted):
    graph = rewrite.wanting(weighted(NET), ["b"])
    assert [node.name for node in drop_dead_nodes(graph)] == ["x", "a", "b"]


def test_a_layer_that_writes_a_file_stays(weighted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    graph = weighted("""
        layer { name: "x" type: "Input" top: "x" top: "label" input_param { shape { dim: 2 dim: 4 } } }
        layer { name: "y" type: "ReLU" bottom: "x" top: "y" }
        layer { name: "z" type: "TanH" bottom: "x" top: "z" }
        layer { name: "file" type: "HDF5Output" bottom: "z" bottom: "label" hdf5_output_param { file_name: "out.h5" } }
    """)
    assert drop_dead_nodes(graph) is graph


def test_a_training_net_is_left_alone(read):
    graph = read(NET, Phase.TRAIN)
    assert drop_dead_nodes(graph) is graph
