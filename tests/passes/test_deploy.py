"""The net to infer with, made from the net to test with."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nktc import data, ir, module, passes, reader, text
from nktc.errors import NktcError
from nktc.ir import Feed, Graph, Phase


def build(net: str) -> Graph:
    feed = Feed(((8, 3, 6, 6), (8,)), 100, tuple("abcd"))
    return reader.build(reader.parse_net(net), Phase.TEST, feeds=lambda layer: feed)


DATA = """
name: "n"
layer { name: "d" type: "Data" top: "data" top: "label" data_param { source: "db" batch_size: 8 } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 4 } }
"""


def test_data_losses_and_accuracies_go_and_a_softmax_ends_it(golden):
    graph = build(
        DATA
        + """
        layer { name: "drop" type: "Dropout" bottom: "ip" top: "ip" }
        layer { name: "acc" type: "Accuracy" bottom: "ip" bottom: "label" top: "acc" }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
    """
    )
    golden(
        passes.deploy(graph),
        """
        net n TEST
          data  f32[1 3 6 6] = Input
          ip@ip f32[1 4]     = InnerProduct(outputs=4) <- data  # ip
          ip    f32[1 4]     = Dropout <- ip@ip  # drop
          prob  f32[1 4]     = Softmax <- ip
        """,
    )


def test_the_prediction_of_a_regression_is_its_output():
    graph = passes.deploy(
        build(
            DATA
            + """
        layer { name: "y" type: "InnerProduct" bottom: "ip" top: "y" inner_product_param { num_output: 1 } }
        layer { name: "r" type: "Reshape" bottom: "y" top: "r" reshape_param { shape { dim: -1 } } }
        layer { name: "loss" type: "EuclideanLoss" bottom: "r" bottom: "label" top: "loss" }
    """
        )
    )
    assert [value.name for value in graph.outputs] == ["r"]
    assert graph.outputs[0].shape == (1,)


def test_side_outputs_stay():
    graph = passes.deploy(
        build(
            DATA
            + """
        layer { name: "side" type: "ReLU" bottom: "data" top: "side" }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
    """
        )
    )
    assert {value.name for value in graph.outputs} == {"side", "prob"}


def test_two_losses_keep_their_names():
    graph = passes.deploy(
        build(
            DATA
            + """
        layer { name: "l1" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "l1" }
        layer { name: "b" type: "InnerProduct" bottom: "ip" top: "b" inner_product_param { num_output: 4 } }
        layer { name: "l2" type: "SoftmaxWithLoss" bottom: "b" bottom: "label" top: "l2" }
    """
        )
    )
    assert [value.name for value in graph.outputs] == ["l1_prob", "l2_prob"]


def test_a_net_written_for_its_batch_keeps_it():
    graph = passes.deploy(
        build(
            DATA
            + """
        layer { name: "r" type: "Reshape" bottom: "ip" top: "r" reshape_param { shape { dim: 8 dim: 2 dim: 2 } } }
        layer { name: "y" type: "InnerProduct" bottom: "r" top: "y" inner_product_param { num_output: 4 } }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "y" bottom: "label" top: "loss" }
    """
        )
    )
    ir.verify(graph)
    assert graph.inputs[0].shape == (8, 3, 6, 6)
    assert graph.outputs[0].shape == (8, 4)
    assert ir.definition(graph).layer[0].input_param.shape[0].dim == [8, 3, 6, 6]


def test_a_deployed_net_comes_back_as_it_is(read):
    graph = read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 4 dim: 6 } } }
        layer { name: "s" type: "Softmax" bottom: "x" top: "s" }
    """)
    assert passes.deploy(graph) is graph


def test_a_net_of_losses_alone_is_refused():
    with pytest.raises(NktcError, match="nothing of n is left"):
        passes.deploy(build(DATA + 'layer { name: "a" type: "Accuracy" bottom: "ip" bottom: "label" top: "a" }\n'))


def test_it_computes_what_the_net_computed():
    graph = build(DATA + 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }')
    net = module.compile(graph, seed=3)
    small = passes.deploy(graph)
    ir.verify(small)
    deployed = module.compile(small)
    deployed.load(net.arrays())
    x = torch.randn(8, 3, 6, 6)
    scores = net.values(x, torch.zeros(8))["ip"]
    np.testing.assert_allclose(deployed(x)["prob"].detach(), scores.softmax(1).detach(), rtol=1e-6)


def test_its_definition_reads_back_as_itself():
    graph = passes.deploy(
        build(
            DATA
            + """
        layer { name: "relu" type: "ReLU" bottom: "ip" top: "ip" include { phase: TEST } }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
    """
        )
    )
    written = text.print_message(ir.definition(graph))
    again = reader.build(reader.parse_net(written), Phase.TEST, feeds=lambda layer: data.describe(layer, None))
    assert ir.listing(again) == ir.listing(graph)
