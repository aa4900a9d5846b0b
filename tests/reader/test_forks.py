"""What forks of Caffe write in their nets: works, is told of once, or is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nktc import checking, module, reader
from nktc.errors import NktcError, Source, split
from nktc.ir import Graph, Phase, listing
from nktc.text import parse, print_tree

X = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 dim: 9 dim: 9 } } }'
Read = Callable[..., Graph]


def today(prototxt: str) -> str:
    """One line."""
    return " ".join(print_tree(reader.upgrade_net(parse(Source("net.prototxt", prototxt)))).split())


def refusal(prototxt: str, phase: Phase = Phase.TEST) -> list[NktcError]:
    with pytest.raises(NktcError) as error:
        reader.build(reader.parse_net(prototxt), phase)
    return list(split(error.value))


@pytest.mark.parametrize(
    ("layer", "same"),
    [
        (
            'type: "Convolution" convolution_param { num_output: 3 kernel_size: 3 hole: 2 }',
            'type: "Convolution" convolution_param { num_output: 3 kernel_size: 3 dilation: 2 }',
        ),
        (
            'type: "Convolution" convolution_param { num_output: 3 kernel_size: 3 hole_w: 3 }',
            'type: "Convolution" convolution_param { num_output: 3 kernel_size: 3 dilation: 1 dilation: 3 }',
        ),
        (
            'type: "Convolution" convolution_param { num_output: 3 kernel_size: 3 engine: MKL2017 relu: false }',
            'type: "Convolution" convolution_param { num_output: 3 kernel_size: 3 }',
        ),
    ],
)
def test_what_ours_has_by_another_name_is_the_same_net(read: Read, layer: str, same: str) -> None:
    graphs = [read(f'{X} layer {{ name: "a" bottom: "x" top: "y" {one} }}') for one in (layer, same)]
    assert listing(graphs[0]) == listing(graphs[1])


@pytest.mark.parametrize("param", ["convolution_param { kernel_size: 1", "inner_product_param {"])
def test_intels_relu_inside_a_layer_is_a_relu_behind_it(read: Read, param: str) -> None:
    kind = "Convolution" if param.startswith("conv") else "InnerProduct"
    fused = f'layer {{ name: "a" type: "{kind}" bottom: "x" top: "y" {param} num_output: 3'
    graph = read(f"{X} {fused} relu: true negative_slope: 0.25 }} }}")
    plain = read(
        f"{X} {fused} }} }}"
        'layer { name: "r" type: "ReLU" bottom: "y" top: "z" relu_param { negative_slope: 0.25 } }'
    )
    x = torch.randn(2, 4, 9, 9)
    expected = {kind: module.compile(one, seed=3)(x) for kind, one in (("fused", graph), ("plain", plain))}
    torch.testing.assert_close(expected["fused"]["y"], expected["plain"]["z"])


def run(graph: Graph, x: torch.Tensor) -> torch.Tensor:
    """The only output of a graph."""
    (found,) = module.compile(graph)(x).values()
    return found


@pytest.mark.parametrize(
    ("settings", "test", "train"),
    [
        ("dropout_ratio: 0.2", 1.0, {0.0, 1.25}),
        ("dropout_ratio: 0.2 scale_train: true", 1.0, {0.0, 1.25}),
        ("dropout_ratio: 0.2 scale_train: false", 0.8, {0.0, 1.0}),
        ("scale_train: false", 0.5, {0.0, 1.0}),
    ],
)
def test_a_dropout_that_does_not_scale_up_in_train_scales_down_in_test(
    read: Read, settings: str, test: float, train: set[float]
) -> None:
    text = f'{X} layer {{ name: "d" type: "Dropout" bottom: "x" top: "d" dropout_param {{ {settings} }} }}'
    ones = torch.ones(2, 4, 9, 9)
    torch.testing.assert_close(run(read(text), ones), ones * test)
    torch.manual_seed(0)
    values = run(read(text, Phase.TRAIN), ones).unique()
    torch.testing.assert_close(values, torch.tensor(sorted(train)))


def test_segnets_dropout_in_test_is_one_of_train(read: Read) -> None:
    text = 'layer { name: "d" type: "Dropout" bottom: "x" top: "d" dropout_param { sample_weights_test: true } }'
    torch.manual_seed(0)
    assert set(run(read(f"{X} {text}"), torch.ones(2, 4, 9, 9)).unique().tolist()) == {0.0, 2.0}


def test_nvidias_elu_has_a_factor(read: Read) -> None:
    text = 'layer { name: "e" type: "ELU" bottom: "x" top: "e" elu_param { alpha: 2 lambda: 3 } }'
    x = torch.randn(2, 4, 9, 9)
    expected = 3 * torch.where(x > 0, x, 2 * (x.exp() - 1))
    torch.testing.assert_close(run(read(f"{X} {text}"), x), expected)


@pytest.mark.parametrize("more", ["", 'top: "p" loss_weight: 0'])
def test_intels_loss_over_a_number_is_a_sum_divided(read: Read, more: str) -> None:
    loss = f"""
        layer {{ name: "l" type: "Input" top: "l" input_param {{ shape {{ dim: 2 dim: 9 dim: 9 }} }} }}
        layer {{ name: "s" type: "SoftmaxWithLoss" bottom: "x" bottom: "l" top: "s" loss_weight: 3 {more}
                loss_param {{ normalization: %s }} }}
    """
    fixed = read(X + loss % "PRE_FIXED pre_fixed_normalizer: 8", Phase.TRAIN)
    plain = read(X + loss % "NONE", Phase.TRAIN)
    torch.manual_seed(0)
    inputs = torch.randn(2, 4, 9, 9), torch.randint(4, (2, 9, 9)).float()
    found, expected = (module.compile(graph)(*inputs)["s"] for graph in (fixed, plain))
    torch.testing.assert_close(found, expected / 8)
    assert (fixed.losses, plain.losses) == ((("s", 3.0),), (("s", 3.0),))


def test_settings_of_ssds_pictures_that_ours_can_say_are_said() -> None:
    data = 'layer { name: "d" type: "Data" top: "d" transform_param { %s } data_param { source: "s" } }'
    said = today(
        data
        % "crop_h: 30 crop_w: 30 resize_param { prob: 1 resize_mode: WARP height: 30 width: 40 interp_mode: LINEAR }"
    )
    assert "transform_param { crop_size: 30 resize_height: 30 resize_width: 40 }" in said
    for kept in ("crop_h: 30 crop_w: 31", "resize_param { height: 30 width: 40 prob: 0.5 }"):
        assert f"transform_param {{ {kept} }}" in today(data % kept)


def test_a_layer_that_becomes_two_leaves_the_places_of_the_others() -> None:
    net = reader.parse_net(
        f"""{X}
        block {{ name: "b" bottom: "i" top: "c"
          layer {{ name: "c" type: "Convolution" bottom: "i" top: "c"
                  convolution_param {{ num_output: 2 kernel_size: 1 relu: true }} }} }}
        layer {{ name: "one" type: "b" bottom: "x" top: "y" }}
        layer {{ name: "p" type: "Pooling" bottom: "y" top: "p" pooling_param {{ kernel_size: 99 }} }}"""
    )
    assert [layer.name for layer in net.message.layer] == ["x", "one/c", "one/c(ReLU)", "p"]
    assert [len(told) for told in net.instances] == [0, 1, 1, 0]
    with pytest.raises(NktcError) as error:
        reader.build(net, Phase.TEST)
    assert "kernel_size: 99" in str(error.value)


@pytest.mark.parametrize(
    ("old", "kind"),
    [
        ("type: BN bn_param { slope_filler { value: 1 } }", "BN"),
        ("type: INTERP interp_param { zoom_factor: 2 }", "Interp"),
        ("type: RELU6", "ReLU6"),
        ("type: PERMUTE permute_param { order: 0 order: 2 order: 3 order: 1 }", "Permute"),
        ("type: CONVOLUTION3D convolution_param { num_output: 2 kernel_size: 1 kernel_depth: 1 }", "Convolution3D"),
        ("type: POOLING3D pooling_param { kernel_size: 2 kernel_depth: 1 }", "Pooling3D"),
    ],
)
def test_forks_layers_of_2014_are_todays(old: str, kind: str) -> None:
    net = reader.parse_net(f'layers {{ name: "a" bottom: "x" top: "a" {old} }}')
    (layer,) = net.message.layer
    assert layer.type == kind
    set_ = [field.name for field, _ in layer.ListFields() if field.name.endswith("_param")]
    assert set_ in ([], [f"{kind.lower()}_param"], ["bn_param"])


def test_an_old_type_that_nobody_has_is_refused_as_such() -> None:
    with pytest.raises(NktcError) as error:
        reader.parse_net('layers { name: "a" type: CONVOLUTON bottom: "x" top: "a" }')
    assert str(error.value).splitlines()[0] == "net.prototxt:1:26: error: unknown layer type CONVOLUTON  [unknown-type]"
    assert error.value.help == 'did you mean "CONVOLUTION"?'


def test_what_has_no_effect_is_told_of_once_a_file(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(
        "default_forward_type: FLOAT16\n"
        + X
        + '\nlayer { name: "a" type: "ReLU" bottom: "x" top: "a" forward_type: FLOAT16 }'
        '\nlayer { name: "b" type: "ReLU" bottom: "a" top: "b" forward_type: FLOAT16 cudnn_math_override: 1 }'
    )
    report = checking.check(path)
    assert report.well
    told = [str(warning).splitlines()[0] for warning in report.warnings if warning.code == "fork-no-effect"]
    said = "default_forward_type, forward_type, cudnn_math_override (NVIDIA) have no effect here"
    assert told == [f"{path}:1:1: warning: {said}  [fork-no-effect]"]


@pytest.mark.parametrize(
    ("layer", "said", "at"),
    [
        (
            'type: "Pooling" pooling_param { kernel_size: 2 avg_include_pad: false }',
            "avg_include_pad of Intel is not supported: AVE counts the padding, as in Caffe",
            "avg_include_pad: false",
        ),
        (
            'type: "Eltwise" eltwise_param { coeff_blob: true }',
            "coeff_blob of LRCN is not supported",
            "coeff_blob: true",
        ),
        ('type: "Eltwise" eltwise_param { operation: SORT }', "operation of caffe-windows is not supported", "SORT"),
        (
            'type: "Softmax" softmax_param { scaling_temperature: 2 }',
            "scaling_temperature of DeepDetect is not supported",
            "scaling_temperature: 2",
        ),
    ],
)
def test_what_matters_and_is_not_had_is_refused_at_its_place(layer: str, said: str, at: str) -> None:
    (error,) = refusal(f'{X}\nlayer {{ name: "a" bottom: "x" top: "a" {layer} }}')
    assert said in error.message
    assert error.code == "fork-field"
    assert error.at
    line = error.at.source.line(error.at.line)
    assert at in line[error.at.column - 1 : error.at.column - 1 + error.at.width]


@pytest.mark.parametrize(
    "settings",
    [
        'type: "Pooling" pooling_param { kernel_size: 2 avg_include_pad: true }',
        'type: "Softmax" softmax_param { scaling_temperature: 1.0 }',
        'type: "Eltwise" bottom: "x" eltwise_param { coeff_blob: 0 }',
    ],
)
def test_what_says_what_holds_anyway_is_no_reason_to_refuse(read: Read, settings: str) -> None:
    assert len(read(f'{X} layer {{ name: "a" bottom: "x" top: "a" {settings} }}')) == 2


def test_a_layer_type_of_a_fork_is_refused_by_the_forks_name_whatever_its_settings() -> None:
    net = f"""{X}
        layer {{ name: "a" type: "BoxData" bottom: "x" top: "a" box_data_param {{ source: "a" what: 1 }} }}
        layer {{ name: "b" type: "NobodysOwn" bottom: "x" top: "b" nobodys_param {{ width: 3 }} inner: 1 }}
        layer {{ name: "c" type: "ReLU" bottom: "a" top: "c" }}
    """
    with pytest.raises(NktcError) as error:
        reader.parse_net(net)
    assert [one.message for one in split(error.value)] == ['unknown field "inner" in layer']
    first, second = refusal(net.replace(" inner: 1", ""))
    assert first.message == (
        'BoxData "a": layer type "BoxData" of Intel is not supported: '
        "labels of this kind are not read: feed them with HDF5Data"
    )
    assert second.message == 'NobodysOwn "b": unknown layer type "NobodysOwn"'
    assert {first.code, second.code} == {"unknown-type"}


def test_a_refused_field_of_a_layer_that_is_left_out_is_none() -> None:
    layer = 'type: "Softmax" bottom: "x" top: "a" softmax_param { hard_ratio: 0.7 } include { phase: TRAIN }'
    text = f'{X} layer {{ name: "a" {layer} }}'
    assert len(reader.build(reader.parse_net(text), Phase.TEST)) == 1
    assert "hard_ratio of caffe-windows" in refusal(text, Phase.TRAIN)[0].message


def test_intels_part_of_the_batch_is_that_of_each_batch_norm() -> None:
    net = f"""bn_stats_batch_size: 2 {X}
    layer {{ name: "a" type: "BatchNorm" bottom: "x" top: "a" }}
    layer {{ name: "b" type: "BatchNorm" bottom: "a" top: "b" batch_norm_param {{ eps: 0.1 stats_batch_size: 4 }} }}"""
    told = today(net)
    assert "bn_stats_batch_size" not in told
    assert told.count("stats_batch_size: 2") == 2
    assert "eps: 0.1 stats_batch_size: 2" in told
    layers = [node.layer for node in reader.build(reader.parse_net(net), Phase.TRAIN)]
    alone = reader.parse_net(
        net.replace("bn_stats_batch_size: 2", "")
        .replace("_size: 4", "_size: 2")
        .replace('top: "a" }', 'top: "a" batch_norm_param { stats_batch_size: 2 } }')
    )
    assert layers == [node.layer for node in reader.build(alone, Phase.TRAIN)]


def test_r_fcns_losses_with_a_top_of_what_each_item_costs(read: Read) -> None:
    scores = 'layer { name: "l" type: "Input" top: "l" input_param { shape { dim: 2 } } }'
    graph = read(
        f"""{X} {scores}
        layer {{ name: "f" type: "InnerProduct" bottom: "x" top: "f" inner_product_param {{ num_output: 3 }} }}
        layer {{ name: "s" type: "SoftmaxWithLoss" bottom: "f" bottom: "l" top: "t" top: "p" top: "c"
        loss_weight: 0 loss_weight: 0 loss_weight: 0 }}
        layer {{ name: "d" type: "SmoothL1Loss" bottom: "f" bottom: "f" top: "u" top: "e"
        loss_weight: 0 loss_weight: 0 }}"""
    )
    assert [type(node.layer).__name__ for node in graph][-2:] == ["SoftmaxWithLossOHEM", "SmoothL1LossOHEM"]


def test_a_net_that_trains_or_scores_a_detector_is_refused_in_one_sentence() -> None:
    data = """layer { name: "data" type: "AnnotatedData" top: "data" top: "label" data_param { source: "no" }
    annotated_data_param { batch_sampler { max_sample: 1 } }
    transform_param { resize_param { prob: 0.5 } emit_constraint { emit_type: CENTER } mirror: true } }"""
    rest = 'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }'
    for kind, what in (("MultiBoxLoss", "training"), ("DetectionEvaluate", "scoring")):
        (error,) = refusal(f'{data} {rest} layer {{ name: "m" type: "{kind}" bottom: "r" bottom: "label" top: "m" }}')
        assert error.message == (
            f'{kind} "m": layer type "{kind}" of SSD is not supported: the {what} of detectors is not in this version; '
            "their deploy nets work, up to the boxes of DetectionOutput"
        )
        assert error.help == "give the deploy net: nktc check, infer, export and convert take it"
    assert len(refusal(f"{data} {rest}")) > 1


def test_a_net_with_more_errors_than_are_told_is_refused_though_its_detector_comes_behind_them() -> None:
    wrong = "".join(f'layer {{ name: "x{i}" type: "Nothing" top: "x{i}" }}' for i in range(100))
    errors = refusal(f'{wrong} layer {{ name: "m" type: "MultiBoxLoss" bottom: "x0" top: "m" }}')
    assert errors[0].message == 'Nothing "x0": unknown layer type "Nothing"'
