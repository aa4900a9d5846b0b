"""What is legal and hardly meant, and what looks like it and is not."""

from __future__ import annotations

import pytest

from nktc import reader
from nktc.ir import Phase
from nktc.lint import lint

START = """\
layer { name: "start" type: "Input" top: "data" top: "label" input_param { shape { dim: [8, 3] } shape { dim: 8 } } }
"""
IP = """\
layer {{ name: "{0}" type: "InnerProduct" bottom: "{1}" top: "{0}" inner_product_param {{ num_output: 4 }} {2} }}
"""
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "%s" bottom: "label" top: "loss" }\n'


def ip(name: str, bottom: str, more: str = "") -> str:
    return IP.format(name, bottom, more)


def warned(text: str, phase: Phase = Phase.TRAIN) -> list[str]:
    net = reader.parse_net(START + text)
    return [f"{w.at.line if w.at else 0}: {w.message} [{w.code}]" for w in lint(net, reader.build(net, phase))]


def test_a_warning_is_located_and_helps(golden):
    net = reader.parse_net(START + ip("a", "data") + ip("b", "data") + LOSS % "a")
    (warning,) = lint(net, reader.build(net, Phase.TRAIN))
    golden(
        warning,
        """
        net.prototxt:3:55: warning: nothing takes the top "b" of InnerProduct "b"  [unused-top]
            3 | layer { name: "b" type: "InnerProduct" bottom: "data" top: "b" inner_product_param { num_output: 4 }  }
              |                                                       ^~~~~~~~
        help: connect it, leave the layer out, or end it in a Silence layer
        """,
    )


def test_an_unused_top_is_told_where_it_ends_and_the_layers_before_it_are_not():
    branch = ip("b", "data") + 'layer { name: "r" type: "ReLU" bottom: "b" top: "r" }\n' + ip("c", "r")
    assert warned(ip("a", "data") + branch + LOSS % "a") == [
        '5: nothing takes the top "c" of InnerProduct "c" [unused-top]'
    ]


@pytest.mark.parametrize(
    "watched",
    [
        'layer { name: "w" type: "Accuracy" bottom: "a" bottom: "label" top: "w" }',
        'layer { name: "w" type: "Softmax" bottom: "a" top: "w" }',
        'layer { name: "w" type: "Silence" bottom: "a" }',
        'layer { name: "w" type: "EuclideanLoss" bottom: "a" bottom: "a" top: "w" loss_weight: 0 }',
    ],
)
def test_what_is_looked_at_is_well(watched):
    assert warned(ip("a", "data") + LOSS % "a" + watched) == []


def test_in_a_net_without_a_loss_or_a_deployed_one_every_top_is_an_answer():
    assert warned(ip("a", "data") + ip("b", "data")) == []
    assert warned(ip("a", "data") + ip("b", "data") + LOSS % "a", Phase.TEST) == []


def test_a_learning_layer_that_no_loss_depends_on():
    accuracy = 'layer { name: "acc" type: "Accuracy" bottom: "b" bottom: "label" top: "acc" }\n'
    assert warned(ip("a", "data") + ip("b", "data") + LOSS % "a" + accuracy) == [
        '3: no loss depends on InnerProduct "b", so its weights never change [no-gradient]'
    ]
    assert warned(ip("a", "data") + ip("b", "a", "propagate_down: false") + LOSS % "b") == [
        '2: no loss depends on InnerProduct "a", so its weights never change [no-gradient]'
    ]
    frozen = "param { lr_mult: 0 } param { lr_mult: 0 }"
    assert warned(ip("a", "data", frozen) + ip("b", "a", "propagate_down: false") + LOSS % "b") == []


def test_a_weight_that_learns_elsewhere_learns():
    shared = 'param { name: "w" } param { name: "b" }'
    side = ip("b", "data", shared) + 'layer { name: "s" type: "Silence" bottom: "b" }\n'
    assert warned(ip("a", "data", shared) + side + LOSS % "a") == []


def test_a_net_whose_losses_all_weigh_nothing():
    loss = (LOSS % "a").replace(' top: "loss"', ' top: "loss" loss_weight: 0')
    assert warned(ip("a", "data") + loss) == [
        '3: SoftmaxWithLoss "loss" weighs 0, so nothing is learned from it [weightless-loss]'
    ]


@pytest.mark.parametrize(
    ("filler", "told"), [("xavier", True), ("gaussian", True), ("constant", False), ("positive_unitball", True)]
)
def test_frozen_weights_that_start_at_random_are_one_warning_a_net(filler, told):
    setting = f'inner_product_param {{ num_output: 4 weight_filler {{ type: "{filler}" }} }}'
    layers = [
        f'layer {{ name: "{n}" type: "InnerProduct" bottom: "data" top: "{n}" param {{ lr_mult: 0 }} {setting} }}\n'
        for n in "abcde"
    ]
    found = warned("".join(layers))
    said = '2: lr_mult 0 leaves weights as random as they start in "a", "b", "c" and 2 more [frozen-random]'
    assert found == ([said] if told else [])
    assert warned("".join(layers), Phase.TEST) == []


def test_a_filler_for_a_bias_that_is_not_there():
    scale = 'layer { name: "s" type: "Scale" bottom: "data" top: "s" scale_param { %s bias_filler { value: 1 } } }'
    assert warned(scale % "") == ['2: Scale "s" has a bias_filler and no bias [unused-filler]']
    assert warned(scale % "bias_term: true") == []


def test_two_layers_of_one_name():
    layers = (
        'layer { name: "r" type: "ReLU" bottom: "data" top: "a" }\n'
        'layer { name: "r" type: "ReLU" bottom: "a" top: "b" }'
    )
    assert warned(layers) == ['3: two layers are called "r" [same-name]']
    assert warned(layers.replace('name: "r"', "")) == []
    phases = layers.replace('top: "a"', 'top: "a" include { phase: TEST }').replace(
        '"b"', '"a" include { phase: TRAIN }'
    )
    assert warned(phases.replace('bottom: "a"', 'bottom: "data"')) == []


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ('stage: "a" not_stage: "a"', 'stage "a" is asked for and excluded'),
        ("min_level: 3 max_level: 2", "min_level 3 is above max_level 2"),
        ('stage: "a" not_stage: "b" min_level: 2 max_level: 2', ""),
    ],
)
def test_a_rule_that_never_holds(rule, why):
    text = f'layer {{ name: "r" type: "ReLU" bottom: "data" top: "r" exclude {{ {rule} }} }}'
    assert warned(text) == ([f'2: this rule of layer "r" never holds: {why} [rule-never-holds]'] if why else [])


def test_old_spellings_are_one_warning_a_file():
    net = reader.parse_net('input: "x" input_dim: [1, 3, 4, 4]\nlayers { name: "r" type: RELU bottom: "x" top: "r" }')
    (warning,) = lint(net, reader.build(net, Phase.TEST))
    assert (warning.message, warning.code) == ("input is an old spelling of an Input layer", "old-spelling")


@pytest.mark.parametrize(
    ("loss", "taken", "message"),
    [
        ("", "a", 'ReLU "r" overwrites "a", which "s" takes as it was before'),
        ("loss_weight: 2", "data", 'ReLU "r" overwrites "a", which weighs 2 in the loss, as it was before'),
        ("", "data", None),
    ],
)
def test_what_is_taken_as_it_is_and_then_overwritten(loss, taken, message):
    net = f"""layer {{ name: "a" type: "Power" bottom: "data" top: "a" {loss} }}
layer {{ name: "s" type: "Softmax" bottom: "{taken}" top: "s" }}
layer {{ name: "r" type: "ReLU" bottom: "a" top: "a" }}
layer {{ name: "p" type: "Softmax" bottom: "a" top: "p" }}"""
    assert warned(net, Phase.TEST) == ([f"4: {message} [overwritten]"] if message else [])


def test_an_in_place_layer_that_passes_another_gradient_is_told_where_something_learns_through_it():
    clip = 'layer { name: "p" type: "Power" bottom: "%s" top: "%s" power_param { scale: 2 } }\n'
    loss = LOSS % "a"
    assert warned(ip("a", "data") + clip % ("a", "a") + loss) == [
        '3: Power "p" in place passes the gradient of its output, not of its input [in-place-gradient]'
    ]
    assert warned(clip % ("data", "data") + ip("a", "data") + loss) == []
