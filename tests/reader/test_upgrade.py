import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nktc.errors import NktcError, Source
from nktc.reader.upgrade import V0_TYPES, V1_TYPES, upgrade, upgrade_solver
from nktc.schema import LayerParameter, NetParameter, SolverParameter, V0LayerParameter, V1LayerParameter
from nktc.text import bind, parse, print_message, read

ROOT = Path(__file__).resolve().parents[2]
GOLDENS = ROOT.parent / "shared" / "goldens"
LEGACY = sorted(GOLDENS.glob("legacy_*"))


def upgraded(text: str) -> str:
    tree = parse(Source("net.prototxt", text))
    return print_message(upgrade(bind(tree, NetParameter), tree)[0])


def refusal(text: str) -> str:
    with pytest.raises(NktcError) as caught:
        upgraded(text)
    return str(caught.value)


@pytest.mark.skipif(not LEGACY, reason="no goldens here")
@pytest.mark.parametrize("folder", LEGACY, ids=lambda folder: folder.name)
def test_old_nets_become_the_layers_that_caffe_makes_of_them(folder: Path) -> None:
    tree = read(folder / "net.prototxt")
    net, trees = upgrade(bind(tree, NetParameter), tree)
    with np.load(folder / "golden.npz") as golden:
        meta = json.loads(str(golden["meta"]))
        shapes = {key: golden[key].shape for key in golden.files}
    # Caffe's own layers have the splits it inserts; ours get none here.
    layers = [(name, kind) for name, kind in meta["layers"] if kind != "Split"]
    assert [(layer.name, layer.type) for layer in net.layer] == layers
    for layer in net.layer:
        assert [*layer.top] == meta["tops"][layer.name]
        assert [name.split("_split_")[0].split("_tanh_")[0] for name in meta["bottoms"][layer.name]] == [*layer.bottom]
        for blob, shape in zip(layer.top, layer.input_param.shape, strict=False):
            assert tuple(shape.dim) == shapes[f"blob/{blob}"]
    assert len(trees) == len(net.layer)
    assert all(text is not None for text in trees)
    caffe = folder / "upgraded.prototxt"
    if caffe.exists():
        assert net == bind(read(caffe), NetParameter)


def test_a_net_in_todays_syntax_is_returned_as_it_is() -> None:
    tree = parse(Source("net.prototxt", 'layer { name: "x" } layer { name: "y" }'))
    net = bind(tree, NetParameter)
    again, trees = upgrade(net, tree)
    assert again is net
    assert trees == [field.value for field in tree.fields]
    assert upgrade(net, None) == (net, [None, None])


def test_v1_becomes_todays_syntax() -> None:
    assert (
        upgraded("""
        name: "old"
        layers {
          name: "conv" type: CONVOLUTION bottom: "x" top: "y" include { phase: TRAIN }
          param: "w" param: "b" blob_share_mode: PERMISSIVE
          blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0
          convolution_param { num_output: 4 kernel_size: 3 }
        }
        layers { name: "loss" type: SOFTMAX_LOSS bottom: "y" bottom: "label" loss_weight: 0.5 }
        """)
        == """\
name: "old"
layer {
  name: "conv"
  type: "Convolution"
  bottom: "x"
  top: "y"
  param { name: "w" share_mode: PERMISSIVE lr_mult: 1 decay_mult: 1 }
  param { name: "b" lr_mult: 2 decay_mult: 0 }
  include { phase: TRAIN }
  convolution_param { num_output: 4 kernel_size: 3 }
}
layer {
  name: "loss"
  type: "SoftmaxWithLoss"
  bottom: "y"
  bottom: "label"
  loss_weight: 0.5
}
"""
    )


def test_transform_settings_of_v1_data_layers_move_to_transform_param() -> None:
    assert (
        upgraded("""
        layers {
          name: "d" type: DATA top: "x"
          data_param { source: "db" scale: 0.5 mean_file: "m" crop_size: 8 mirror: true batch_size: 2 }
        }
        """)
        == """\
layer {
  name: "d"
  type: "Data"
  top: "x"
  transform_param { scale: 0.5 mirror: true crop_size: 8 mean_file: "m" }
  data_param { source: "db" batch_size: 2 }
}
"""
    )


def test_v0_becomes_todays_syntax_with_padding_folded_in() -> None:
    assert (
        upgraded("""
        layers { layer { name: "d" type: "images" source: "list" batchsize: 2 meanfile: "m" cropsize: 8
                         shuffle_images: true new_height: 9 } top: "x" }
        layers { layer { name: "pad" type: "padding" pad: 2 } bottom: "x" top: "padded" }
        layers { layer { name: "conv" type: "conv" num_output: 4 kernelsize: 5 biasterm: false blobs_lr: 1
                         weight_decay: 2 } bottom: "padded" top: "y" }
        layers { layer { name: "fc" type: "innerproduct" num_output: 3 kernelsize: 7 } bottom: "y" top: "z" }
        """)
        == """\
layer {
  name: "d"
  type: "ImageData"
  top: "x"
  transform_param { crop_size: 8 mean_file: "m" }
  image_data_param { source: "list" batch_size: 2 shuffle: true new_height: 9 }
}
layer {
  name: "conv"
  type: "Convolution"
  bottom: "x"
  top: "y"
  param { lr_mult: 1 decay_mult: 2 }
  convolution_param { num_output: 4 bias_term: false pad: 2 kernel_size: 5 }
}
layer {
  name: "fc"
  type: "InnerProduct"
  bottom: "y"
  top: "z"
  inner_product_param { num_output: 3 }
}
"""
    )


def test_inputs_of_the_net_become_an_input_layer() -> None:
    expected = """\
name: "n"
layer {
  name: "input"
  type: "Input"
  top: "a"
  top: "b"
  input_param { shape { dim: 1 dim: 2 dim: 3 dim: 4 } shape { dim: 5 dim: 6 dim: 7 dim: 8 } }
}
layer {
  name: "x"
}
"""
    sizes = "".join(f"input_dim: {size} " for size in range(1, 9))
    assert upgraded(f'name: "n" input: "a" input: "b" {sizes} layer {{ name: "x" }}') == expected
    shapes = "input_shape { dim: [1, 2, 3, 4] } input_shape { dim: [5, 6, 7, 8] }"
    assert upgraded(f'name: "n" input: ["a", "b"] {shapes} layer {{ name: "x" }}') == expected


def test_the_input_layer_has_the_place_of_the_first_input() -> None:
    tree = parse(Source("net.prototxt", 'name: "n"\ninput: "a"\ninput_shape { dim: 1 }'))
    _, (text,) = upgrade(bind(tree, NetParameter), tree)
    assert text is not None
    assert str(text.span) == "net.prototxt:2:1"


def test_the_statistics_of_batch_norm_do_not_learn_but_stay_shared() -> None:
    text = 'layer { type: "BatchNorm" param { name: "m" lr_mult: 1 } param { } param { lr_mult: 0 } }'
    assert (
        upgraded(text)
        == """\
layer {
  type: "BatchNorm"
  param { name: "m" lr_mult: 0 decay_mult: 0 }
  param { lr_mult: 0 decay_mult: 0 }
  param { lr_mult: 0 decay_mult: 0 }
}
"""
    )


def test_weights_ride_along_and_the_old_net_is_left_as_it_is() -> None:
    net = NetParameter()
    old = net.layers.add(name="fc", type=V1LayerParameter.INNER_PRODUCT)
    old.blobs.add(num=1, channels=1, height=1, width=2, data=[1, 2])
    before = net.SerializeToString()
    today, trees = upgrade(net, None)
    assert [*today.layer[0].blobs[0].data] == [1, 2]
    assert (net.SerializeToString(), trees) == (before, [None])


def test_every_old_type_and_every_old_field_has_a_place_today() -> None:
    assert {*V1_TYPES} == {*V1LayerParameter.LayerType.keys()} - {"NONE"}
    assert {*V0_TYPES.values()} <= {*V1_TYPES.values()}
    known = {field.name for field in LayerParameter.DESCRIPTOR.fields}
    old = {field.name for field in V1LayerParameter.DESCRIPTOR.fields}
    assert old - known == {"blob_share_mode", "blobs_lr", "weight_decay", "layer"}
    # A V0 layer of each type with every field set: nothing in it may trip the upgrade.
    for kind in V0_TYPES:
        flat: dict[str, Any] = {
            field.name: 1 for field in V0LayerParameter.DESCRIPTOR.fields if field.default_value in (0, 0.5, 1, 5)
        }
        net = NetParameter()
        net.layers.add().layer.MergeFrom(V0LayerParameter(**(flat | {"type": kind, "source": "s"})))
        assert upgrade(net, None)[0].layer[0].type == V0_TYPES[kind]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'layer { name: "x" }\nlayers { name: "y" }',
            """\
net.prototxt:2:1: error: a net has layer, or in the old spelling layers, but not both
    2 | layers { name: "y" }
      | ^~~~~~~~~~~~~~~~~~~~
net.prototxt:1:1: note: the first layer is here""",
        ),
        (
            'layers { layer { name: "x" type: "convo" } }',
            """\
net.prototxt:1:28: error: unknown old layer type "convo"
    1 | layers { layer { name: "x" type: "convo" } }
      |                            ^~~~~~~~~~~~~
help: did you mean "conv"?""",
        ),
        (
            "layers { type: NONE }",
            """\
net.prototxt:1:10: error: NONE is no type of layer
    1 | layers { type: NONE }
      |          ^~~~~~~~~~""",
        ),
        (
            'layers { layer { name: "p" type: "padding" } bottom: "x" top: "p" }\n'
            'layers { layer { type: "relu" } bottom: "p" top: "y" }',
            """\
net.prototxt:2:1: error: padding "p" is read by a layer that cannot pad
    2 | layers { layer { type: "relu" } bottom: "p" top: "y" }
      | ^~~~~~~~
help: only conv and pool can""",
        ),
        (
            'input: "x"\ninput_dim: 1',
            """\
net.prototxt:2:1: error: 1 input but 1 input_dim
    2 | input_dim: 1
      | ^~~~~~~~~~~~
help: write four for each input, or an input_shape""",
        ),
        (
            'input: "x" input: "y" input_shape { dim: 1 }',
            """\
net.prototxt:1:23: error: 2 input but 1 input_shape
    1 | input: "x" input: "y" input_shape { dim: 1 }
      |                       ^~~~~~~~~~~~~~~~~~~~~~
help: write one for each input""",
        ),
        (
            'layer { type: "Data" data_param { scale: 2 } }',
            """\
net.prototxt:1:35: error: scale has no effect in the data_param of a layer
    1 | layer { type: "Data" data_param { scale: 2 } }
      |                                   ^~~~~~~~
help: write scale in transform_param, or leave it out as Caffe does""",
        ),
    ],
)
def test_what_no_caffe_takes_is_refused_at_its_place(text: str, expected: str) -> None:
    assert refusal(text) == expected


def test_the_old_name_of_the_solver_becomes_its_type() -> None:
    for old, today in (("SGD", "SGD"), ("NESTEROV", "Nesterov"), ("ADADELTA", "AdaDelta"), ("ADAM", "Adam")):
        solver = bind(parse(Source("s", f"base_lr: 1 solver_type: {old}")), SolverParameter)
        assert upgrade_solver(solver) == SolverParameter(base_lr=1, type=today)
        assert solver.HasField("solver_type")
    solver = SolverParameter(type="Adam")
    assert upgrade_solver(solver) is solver


@pytest.mark.skipif(not LEGACY, reason="no goldens here")
def test_an_old_solver_becomes_what_caffe_makes_of_it() -> None:
    folder = GOLDENS / "solver_legacy_solver_type"
    solver = upgrade_solver(bind(read(folder / "solver.prototxt"), SolverParameter))
    assert solver == bind(read(folder / "upgraded_solver.prototxt"), SolverParameter)


def test_two_names_for_the_solver_are_refused() -> None:
    tree = parse(Source("solver.prototxt", 'type: "SGD"\nsolver_type: ADAM'))
    with pytest.raises(NktcError) as caught:
        upgrade_solver(bind(tree, SolverParameter), tree)
    assert (
        str(caught.value)
        == """\
solver.prototxt:2:1: error: solver_type and type both name the solver
    2 | solver_type: ADAM
      | ^~~~~~~~~~~~~~~~~
solver.prototxt:1:1: note: type is given here
help: leave out solver_type"""
    )
