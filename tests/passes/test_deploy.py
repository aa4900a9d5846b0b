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


def test_a_split_for_what_is_gone_leaves_no_output(golden):
    graph = build(
        DATA
        + """
        layer { name: "two" type: "Split" bottom: "ip" top: "ip0" top: "ip1" top: "ip2" }
        layer { name: "shares" type: "Softmax" bottom: "ip2" top: "shares" softmax_param { axis: 0 } }
        layer { name: "sure" type: "Accuracy" bottom: "shares" bottom: "label" top: "sure" accuracy_param { axis: 1 } }
        layer { name: "acc" type: "Accuracy" bottom: "ip0" bottom: "label" top: "acc" }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip1" bottom: "label" top: "loss" }
    """
    )
    deployed = passes.deploy(graph)
    golden(
        deployed,
        """
        net n TEST
          data f32[1 3 6 6] = Input
          ip   f32[1 4]     = InnerProduct(outputs=4) <- data
          ip1  f32[1 4]     = Split <- ip  # two
          prob f32[1 4]     = Softmax <- ip1
        """,
    )
    assert [value.name for value in deployed.outputs] == ["prob"]
    assert list(ir.definition(deployed).layer[2].top) == ["ip1"]


def test_the_prediction_of_a_regression_is_its_output():
    graph = passes.deploy(
        build(
            DATA
            + """
        layer { name: "y" type: "InnerProduct" bottom: "ip" top: "y" inner_product_param { num_output: 1 } }
        layer { name: "r" type: "Reshape" bottom: "y" top: "r" reshape_param { shape { dim: -1 } } }
        layer { name: "loss" type: "EuclideanLoss" bottom: "r" bottom: "label" top: "loss" }
        layer { name: "r2" type: "R2Score" bottom: "r" bottom: "label" top: "r2" }
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


def fed_by_inputs(text: str) -> Graph:
    """x f32[4 3] and t f32[4] are Inputs; `s` are scores f32[4 3]."""
    return reader.build(
        reader.parse_net(
            """name: "n"
            layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 4 dim: 3 } } }
            layer { name: "t" type: "Input" top: "t" input_param { shape { dim: 4 } } }
            layer { name: "s" type: "InnerProduct" bottom: "x" top: "s" inner_product_param { num_output: 3 } }
            """
            + text
        ),
        Phase.TEST,
    )


@pytest.mark.parametrize(
    ("loss", "left"),
    [
        ('type: "SoftmaxWithLoss" bottom: "s" bottom: "t" softmax_param { axis: -1 }', "Softmax(axis=-1)"),
        (
            'type: "InfogainLoss" bottom: "s" bottom: "t" bottom: "H" infogain_loss_param { axis: -1 }',
            "Softmax(axis=-1)",
        ),
        ('type: "InfogainLoss" bottom: "s" bottom: "t" bottom: "H"', "Softmax"),
        ('type: "SigmoidCrossEntropyLoss" bottom: "s" bottom: "x"', "Sigmoid"),
    ],
)
def test_a_loss_of_probabilities_leaves_the_layer_that_makes_them(loss, left):
    graph = passes.deploy(
        fed_by_inputs(
            'layer { name: "H" type: "Input" top: "H" input_param { shape { dim: 3 dim: 3 } } }'
            f'layer {{ name: "l" top: "l" {loss} }}'
        )
    )
    assert ir.listing(graph).splitlines()[1:] == [
        "  x    f32[1 3] = Input",
        "  s    f32[1 3] = InnerProduct(outputs=3) <- x",
        f"  prob f32[1 3] = {left} <- s",
    ]


@pytest.mark.parametrize("loss", ["HingeLoss", "MultinomialLogisticLoss"])
def test_a_loss_of_scores_or_probabilities_leaves_them(loss):
    graph = passes.deploy(fed_by_inputs(f'layer {{ name: "l" type: "{loss}" bottom: "s" bottom: "t" top: "l" }}'))
    assert [node.name for node in graph] == ["x", "s"]
    assert [value.name for value in graph.outputs] == ["s"]


def test_a_loss_of_pairs_leaves_the_features_of_both_sides():
    graph = passes.deploy(
        build(
            DATA
            + """
        layer { name: "cut" type: "Power" bottom: "data" top: "other" }
        layer { name: "ip2" type: "InnerProduct" bottom: "other" top: "ip2" inner_product_param { num_output: 4 } }
        layer { name: "l" type: "ContrastiveLoss" bottom: "ip" bottom: "ip2" bottom: "label" top: "l" }
    """
        )
    )
    assert [value.name for value in graph.outputs] == ["ip", "ip2"]
    assert [value.name for value in graph.inputs] == ["data"]


def test_the_prediction_of_a_regression_may_be_its_second_input():
    text = (
        DATA + 'layer { name: "f" type: "InnerProduct" bottom: "ip" top: "f" inner_product_param { num_output: 108 } }'
    )
    text += 'layer { name: "l" type: "EuclideanLoss" bottom: "data" bottom: "f" top: "l" }'
    assert [value.name for value in passes.deploy(build(text)).outputs] == ["f"]


@pytest.mark.parametrize("before", [True, False])
def test_probabilities_that_the_net_computes_itself_are_kept_alone(before):
    softmax = 'layer { name: "p" type: "Softmax" bottom: "ip" top: "p" }'
    loss = 'layer { name: "l" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "l" }'
    accuracy = 'layer { name: "a" type: "Accuracy" bottom: "p" bottom: "label" top: "a" }'
    graph = passes.deploy(build(DATA + (softmax + loss if before else loss + softmax) + accuracy))
    assert [value.name for value in graph.outputs] == ["p"]
    assert [node.name for node in graph] == ["data", "ip", "p"]


def test_two_losses_of_the_same_scores_share_their_probabilities():
    loss = 'layer {{ name: "{0}" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "{0}" }}'
    graph = passes.deploy(build(DATA + loss.format("l1") + loss.format("l2")))
    assert [value.name for value in graph.outputs] == ["l1_prob"]


def test_a_losses_second_top_stays_under_its_name(golden):
    graph = passes.deploy(
        build(
            DATA
            + """
        layer { name: "l" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "l" top: "p"
                loss_weight: 1 loss_weight: 0 }
        layer { name: "half" type: "Power" bottom: "p" top: "half" power_param { scale: 0.5 } }
    """
        )
    )
    golden(
        graph,
        """
        net n TEST
          data f32[1 3 6 6] = Input
          ip   f32[1 4]     = InnerProduct(outputs=4) <- data
          p    f32[1 4]     = Softmax <- ip  # prob
          half f32[1 4]     = Power(scale=0.5) <- p
        """,
    )
    ir.verify(graph)
    again = reader.build(reader.parse_net(text.print_message(ir.definition(graph))), Phase.TEST)
    assert ir.listing(again) == ir.listing(graph)


def test_what_has_no_tops_goes_and_what_is_made_of_a_loss_too():
    graph = passes.deploy(
        build(
            DATA
            + """
        layer { name: "l" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "l" loss_weight: 0 }
        layer { name: "twice" type: "Power" bottom: "l" top: "twice" power_param { scale: 2 } loss_weight: 1 }
        layer { name: "mute" type: "Silence" bottom: "label" }
        layer { name: "keep" type: "HDF5Output" bottom: "ip" bottom: "label" hdf5_output_param { file_name: "o" } }
    """
        )
    )
    ir.verify(graph)
    assert [node.name for node in graph] == ["data", "ip", "prob"]


def test_a_deployed_net_loses_its_sinks():
    graph = fed_by_inputs('layer { name: "mute" type: "Silence" bottom: "t" }')
    assert [node.name for node in passes.deploy(graph)] == ["x", "s"]
