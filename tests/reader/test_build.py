"""Reading a net: states, in-place blobs, shared weights, and what is refused where."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nktc import reader
from nktc.errors import Errors, NktcError
from nktc.ir import Graph, Phase

INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }\n'


def refusal(text: str, phase: Phase = Phase.TEST) -> str:
    with pytest.raises(NktcError) as caught:
        reader.build(reader.parse_net(INPUT + text), phase)
    return str(caught.value)


def test_the_last_version_of_an_in_place_blob_has_its_name(read, golden):
    graph = read("""
        name: "n"
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 } } }
        layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 3 } }
        layer { name: "relu" type: "ReLU" bottom: "y" top: "y" }
        layer { name: "tanh" type: "TanH" bottom: "y" top: "y" }
    """)
    golden(
        graph,
        """
        net n TEST
          x      f32[2 4] = Input
          y@ip   f32[2 3] = InnerProduct(outputs=3) <- x  # ip
          y@relu f32[2 3] = ReLU <- y@ip  # relu
          y      f32[2 3] = TanH <- y@relu  # tanh
        """,
    )


def test_an_input_keeps_its_name_whatever_works_on_it_in_place(read, golden):
    graph = read("""
        name: "n"
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 } } }
        layer { name: "relu" type: "ReLU" bottom: "x" top: "x" }
        layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 3 } }
    """)
    golden(
        graph,
        """
        net n TEST
          x      f32[2 4] = Input
          x@relu f32[2 4] = ReLU <- x  # relu
          y      f32[2 3] = InnerProduct(outputs=3) <- x@relu  # ip
        """,
    )


@pytest.mark.parametrize(
    ("rule", "phase", "level", "stages", "there"),
    [
        ("include { phase: TRAIN }", Phase.TEST, 0, (), False),
        ("include { phase: TRAIN }", Phase.TRAIN, 0, (), True),
        ("exclude { phase: TRAIN }", Phase.TRAIN, 0, (), False),
        ("include { min_level: 1 max_level: 2 }", Phase.TEST, 1, (), True),
        ("include { min_level: 1 max_level: 2 }", Phase.TEST, 3, (), False),
        ('include { stage: "a" not_stage: "b" }', Phase.TEST, 0, ("a",), True),
        ('include { stage: "a" not_stage: "b" }', Phase.TEST, 0, ("a", "b"), False),
        ('include { phase: TRAIN } include { stage: "a" }', Phase.TEST, 0, ("a",), True),
        ('exclude { stage: "a" }', Phase.TEST, 0, ("b",), True),
        ("include {}", Phase.TEST, 0, (), True),
        ("exclude {}", Phase.TEST, 0, (), False),
        ("include { min_level: 0 }", Phase.TEST, -1, (), False),
        ("include { max_level: -1 }", Phase.TEST, 0, (), False),
        ('include { stage: "a" stage: "b" }', Phase.TEST, 0, ("b",), False),
        ('include { stage: "a" stage: "b" }', Phase.TEST, 0, ("b", "c", "a"), True),
        ('include { phase: TEST not_stage: "a" not_stage: "b" }', Phase.TEST, 0, ("b",), False),
        ('exclude { phase: TRAIN } exclude { stage: "a" min_level: 1 }', Phase.TEST, 1, ("a",), False),
        ('exclude { phase: TRAIN } exclude { stage: "a" min_level: 1 }', Phase.TEST, 0, ("a",), True),
    ],
)
def test_rules_choose_layers(rule, phase, level, stages, there, read):
    graph = read(
        INPUT + f'layer {{ name: "r" type: "ReLU" bottom: "x" top: "y" {rule} }}',
        phase,
        level=level,
        stages=stages,
    )
    assert ("y" in graph.values) is there


def test_the_level_asked_for_wins_over_the_nets_own_and_stages_add_up(read):
    layer = 'layer {{ name: "{0}" type: "ReLU" bottom: "x" top: "{0}" include {{ {1} }} }}'
    net = (
        'state { level: 2 stage: "own" }'
        + INPUT
        + layer.format("two", "min_level: 2")
        + layer.format("both", 'stage: "own" stage: "asked"')
    )
    assert set(read(net, stages=("asked",)).values) == {"x", "two", "both"}
    assert set(read(net, level=1).values) == {"x"}


def test_a_window_larger_than_its_input_is_refused_at_the_window(golden):
    golden(
        refusal(
            'layer { name: "p" type: "Pooling" bottom: "x" top: "p"\n'
            "  pooling_param { pool: MAX kernel_size: 3 stride: 2 } }\n"
            'layer { name: "c" type: "Convolution" bottom: "p" top: "c"\n'
            "  convolution_param { num_output: 4 kernel_size: 9 } }\n"
        ),
        """
        net.prototxt:5:37: error: Convolution "c": window 9x9 is larger than its input 4x4  [shape]
            5 |   convolution_param { num_output: 4 kernel_size: 9 } }
              |                                     ^~~~~~~~~~~~~~
        net.prototxt:2:9: note: its input "p" is made here: x [2 3 8 8] -> p Pooling [2 3 4 4]
        help: raise pad
        """,
    )


def test_a_bottom_that_nobody_makes_is_refused_with_a_near_name(golden):
    golden(
        refusal(
            'layer { name: "conv1" type: "ReLU" bottom: "x" top: "conv1" }\n'
            'layer { name: "r" type: "ReLU" bottom: "cov1" top: "r" }\n'
        ),
        """
        net.prototxt:3:32: error: ReLU "r": its bottom "cov1" is made by no layer before it  [unknown-bottom]
            3 | layer { name: "r" type: "ReLU" bottom: "cov1" top: "r" }
              |                                ^~~~~~~~~~~~~~
        help: did you mean "conv1"?
        """,
    )


def test_independent_errors_are_reported_in_one_run_and_their_followers_are_not():
    text = (
        'layer { name: "a" type: "Convolutoin" bottom: "x" top: "a" }\n'
        'layer { name: "b" type: "ReLU" bottom: "a" top: "b" }\n'
        'layer { name: "c" type: "Eltwise" bottom: "x" top: "c" }\n'
        'layer { name: "d" type: "Softmax" bottom: "x" bottom: "x" top: "d" }\n'
    )
    with pytest.raises(Errors) as caught:
        reader.build(reader.parse_net(INPUT + text), Phase.TEST)
    assert [error.at.line for error in caught.value.errors] == [2, 4, 5]
    assert 'did you mean "Convolution"?' in str(caught.value.errors[0])


def test_shared_weights_are_one_parameter(read):
    text = INPUT + (
        'layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" inner_product_param { num_output: 192 }'
        ' param { name: "w" lr_mult: 2 } param { name: "b" } }\n'
        'layer { name: "b" type: "InnerProduct" bottom: "a" top: "b" inner_product_param { num_output: 192 }'
        ' param { name: "w" } param { name: "b" } }\n'
    )
    graph = read(text)
    assert list(graph.parameters) == ["a.weight", "a.bias"]
    assert graph.node("b").weights == {"weight": "a.weight", "bias": "a.bias"}
    assert graph.parameters["a.weight"].lr_mult == 2


def test_sharing_across_shapes_is_refused_unless_permissive():
    text = (
        'layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" param { name: "w" }'
        " inner_product_param { num_output: 3 bias_term: false } }\n"
        'layer { name: "b" type: "InnerProduct" bottom: "a" top: "b" param { name: "w" }'
        " inner_product_param { num_output: 192 bias_term: false } }\n"
    )
    assert 'its weight 192x3 cannot be "w", which is 3x192 in "a"' in refusal(text)
    permissive = text.replace('top: "b" param { name: "w"', 'top: "b" param { name: "w" share_mode: PERMISSIVE')
    assert reader.build(reader.parse_net(INPUT + permissive), Phase.TEST).node("b").weights == {"weight": "a.weight"}


def sharing(*entries: str) -> str:
    return INPUT + "".join(
        f'layer {{ name: "l{i}" type: "InnerProduct" bottom: "x" top: "l{i}" param {{ name: "w" {entry} }}'
        f" inner_product_param {{ num_output: 3 bias_term: false }} }}\n"
        for i, entry in enumerate(entries)
    )


@pytest.mark.parametrize(
    ("entries", "lr_mult", "decay_mult"),
    [
        (("", "", ""), 1, 1),
        (("lr_mult: 2", "", "lr_mult: 2"), 2, 1),
        (("", "lr_mult: 2", "lr_mult: 2 decay_mult: 0"), 2, 0),
        (("decay_mult: 3", "lr_mult: 0", "decay_mult: 3"), 0, 3),
        (("", "lr_mult: 1", "lr_mult: 1"), 1, 1),
    ],
)
def test_any_of_the_sharers_may_set_the_factors(entries, lr_mult, decay_mult, read):
    (found,) = read(sharing(*entries)).parameters.values()
    assert (found.layer, found.lr_mult, found.decay_mult) == ("l0", lr_mult, decay_mult)


@pytest.mark.parametrize(
    "entries",
    [
        ("lr_mult: 1", "lr_mult: 2"),
        ("", "lr_mult: 1", "lr_mult: 2"),
        ("lr_mult: 0", "lr_mult: 1"),
        ("decay_mult: 1", "", "decay_mult: 0"),
    ],
)
def test_two_factors_of_one_weight_are_refused_the_default_one_too(entries):
    with pytest.raises(NktcError, match=r'mult \d of "w" differs from \d in "l0"') as caught:
        reader.build(reader.parse_net(sharing(*entries)), Phase.TRAIN)
    assert caught.value.code == "shared-rate"
    assert caught.value.at.line == len(entries) + 1


TAKEN = """
layer { name: "a" type: "TanH" bottom: "x" top: "a" %s }
layer { name: "s" type: "Softmax" bottom: "%s" top: "s" }
layer { name: "r" type: "ReLU" bottom: "a" top: "a" }
layer { name: "t" type: "Softmax" bottom: "a" top: "t" }
"""


def test_a_layers_own_phase_is_what_it_computes_for(read):
    text = INPUT + 'layer { name: "d" type: "Dropout" bottom: "x" top: "d" phase: TEST }'
    text += 'layer { name: "e" type: "Dropout" bottom: "x" top: "e" }'
    assert [node.layer.active for node in read(text, Phase.TRAIN).nodes[1:]] == [False, True]
    text = text.replace("TEST", "TRAIN")
    assert [node.layer.active for node in read(text, Phase.TEST).nodes[1:]] == [True, False]


BLOBS = (
    'layer { name: "i" type: "InnerProduct" bottom: "x" top: "i" inner_product_param { num_output: 2 axis: 3 }\n'
    "blobs { shape { dim: 2 dim: 8 } %s } %s }\n"
)


def test_a_layer_may_bring_its_values(read):
    graph = read(INPUT + BLOBS % ("data: 3 " * 16, "blobs { num: 1 channels: 1 height: 1 width: 2 data: 4 data: 5 }"))
    assert graph.arrays["i.weight"].tolist() == [[3] * 8] * 2
    assert graph.arrays["i.bias"].tolist() == [4, 5]


@pytest.mark.parametrize(
    ("values", "more", "message"),
    [
        ("data: 3 " * 16, "", '3:1: error: InnerProduct "i": has 1 blobs entry for 2 weights  [param-count]'),
        ("data: 3 " * 16, "blobs { data: 1 }", "its blobs entry 1 has 1 numbers for a weight of 2  [shape]"),
        ("data: 3", "blobs { data: 1 data: 1 }", "a blob of shape [2, 8] holds 1 numbers  [shape]"),
    ],
)
def test_values_that_do_not_fit_are_refused(values, more, message):
    assert message in refusal(BLOBS % (values, more))


def test_a_loss_counts_once_unless_told_otherwise(read):
    def weights(extra: str) -> tuple:
        return read(
            INPUT + f'layer {{ name: "l" type: "EuclideanLoss" bottom: "x" bottom: "x" top: "l" {extra} }}',
            Phase.TRAIN,
        ).losses

    assert weights("") == (("l", 1.0),)
    assert weights("loss_weight: 0.5") == (("l", 0.5),)
    assert weights("loss_weight: 0") == ()


def test_learning_state_is_refused():
    text = 'layer { name: "bn" type: "BatchNorm" bottom: "x" top: "y" param { lr_mult: 1 } }'
    assert "net.prototxt:2:67: error: BatchNorm" in refusal(text)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_label_file_that_is_no_text_is_refused_where_it_is_named(content, tmp_path):
    labels = tmp_path / "labels"
    labels.write_bytes(content) if content else labels.mkdir()
    net = f'label_file: "{labels}"\n' + INPUT
    with pytest.raises(NktcError) as caught:
        reader.build(reader.parse_net(net), Phase.TEST)
    assert str(caught.value).startswith("net.prototxt:1:1: error: label_file ")


def test_a_solver_given_as_a_net_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "s.prototxt").write_text('net: "x" base_lr: 1 max_iter: 3')
    with pytest.raises(NktcError, match=r"s\.prototxt is a solver, not a net"):
        reader.read_net(tmp_path / "s.prototxt")


def test_a_loss_without_a_top_makes_one_as_in_caffe(read: Callable[..., Graph]) -> None:
    graph = read("""
        layer { name: "x" type: "Input" top: "x" top: "t" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "loss" type: "EuclideanLoss" bottom: "x" bottom: "t" }
    """)
    assert graph.losses == (("loss", 1.0),)


def test_losses_without_tops_get_names_that_nothing_else_has(read: Callable[..., Graph]) -> None:
    loss = 'layer { name: "loss" type: "EuclideanLoss" bottom: "x" bottom: "x" }\n'
    graph = read(INPUT + loss + loss + 'layer { name: "y" type: "TanH" bottom: "x" top: "loss" }')
    assert [name for name, _ in graph.losses] == ["loss(loss)", "loss(loss)(loss)"]
    assert graph.node("y").outputs[0].name == "loss"
    assert 'its bottom "loss" is made by no layer before it' in refusal(
        loss + 'layer { name: "y" type: "TanH" bottom: "loss" top: "y" }'
    )
