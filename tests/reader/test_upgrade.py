"""Old spellings on the text: the nets they make are Caffe's, and every comment and place is kept."""

from __future__ import annotations

import json
import re
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from caffe_upgrade import caffe_upgrade
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nktc import reader
from nktc.errors import NktcError, Source
from nktc.reader import upgrade_net, upgrade_solver
from nktc.reader.old_names import TRANSFORM, TRANSFORMED, V0_TYPES, V1_TYPES
from nktc.schema import LayerParameter, NetParameter, SolverParameter, V0LayerParameter, V1LayerParameter, has_label
from nktc.text import Tree, bind, parse, print_message, print_tree, read

ROOT = Path(__file__).resolve().parents[2]
GOLDENS = ROOT.parent / "shared" / "goldens"
LEGACY = sorted(GOLDENS.glob("legacy_*"))


def tree_of(text: str) -> Tree:
    return parse(Source("net.prototxt", text))


def upgraded(text: str) -> str:
    """The net's message in today's syntax, after the checks that every upgrade passes."""
    tree = tree_of(text)
    return print_message(bind(checked(tree), NetParameter))


def checked(tree: Tree) -> Tree:
    """The tree in today's syntax: it is Caffe's net, it is read as it is printed, and no comment is lost."""
    today, message = upgrade_net(tree), bind(tree, NetParameter)
    caffes, printed = caffe_upgrade(message), print_tree(today)
    assert bind(today, NetParameter) == caffes
    again = parse(Source("today.prototxt", printed))
    assert bind(again, NetParameter) == caffes
    assert upgrade_net(again) is again
    assert (today is tree) == (caffes == message)
    assert comments(printed) == comments(print_tree(tree))
    return today


def comments(text: str) -> list[str]:
    return sorted(re.findall("#(?! none).*", text))


def rewritten(text: str) -> str:
    return print_tree(checked(tree_of(text)))


def refusal(text: str) -> str:
    with pytest.raises(NktcError) as caught:
        reader.parse_net(text)
    return str(caught.value)


@pytest.mark.skipif(not LEGACY, reason="no goldens here")
@pytest.mark.parametrize("folder", LEGACY, ids=lambda folder: folder.name)
def test_old_nets_become_the_layers_that_caffe_makes_of_them(folder: Path) -> None:
    net = bind(checked(read(folder / "net.prototxt")), NetParameter)
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
    caffe = folder / "upgraded.prototxt"
    if caffe.exists():
        assert net == bind(read(caffe), NetParameter)


NETS = sorted([*GOLDENS.glob("*/*.prototxt"), *ROOT.glob("nets/*/*.prototxt")])


def net_tree(path: Path) -> Tree | None:
    """The text of a net, its blocks in place; None where it is something else, or wrong."""
    try:
        tree = reader.expand(read(path)).tree
        if reader.is_solver(tree):
            return None
        bind(tree, NetParameter)
        upgrade_net(tree)
    except NktcError:
        return None
    return tree


def test_every_net_there_is_comes_out_as_the_net_it_is() -> None:
    found = [checked(tree) for path in NETS if (tree := net_tree(path))]
    assert len(found) > len(NETS) / 2
    for path in ROOT.glob("nets/*/*.prototxt"):
        tree = read(path)
        assert upgrade_net(tree) is tree


def test_a_net_in_todays_syntax_is_returned_as_it_is() -> None:
    tree = tree_of('layer { name: "x" } layer { name: "y" }')
    assert upgrade_net(tree) is tree


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


def test_every_comment_goes_with_what_it_is_about() -> None:
    text = """\
# The net of 2013

name: "old"  # its name

# never read
layers { layer { name: "pad0" type: "padding" pad: 9 } bottom: "x" top: "pad0" }  # at all
# the border
layers { layer { name: "pad1" type: "padding" pad: 2 } bottom: "x" top: "pad1" }  # of two

# the other one
layers { layer { name: "relu" type: "relu" } bottom: "z" top: "z" }

# convolves
layers {  # first
  # inside
  layer {  # opened
    # called
    name: "conv"  # so
    type: "conv"  # kind
    # none of conv's
    dropout_ratio: 0.5  # half
    num_output: 4  # four
    pad: 1  # one, once
    # weights
    blobs_lr: 1
    blobs_lr: 2  # twice
    # decayed
    weight_decay: 1
    # a square
    kernelsize: 5
    scale: 2  # doubled
    # none of conv's either
    rand_skip: 3
    # closed
  }  # aside
  bottom: "pad1"  # the padded
  # out
  top: "y"
  # all of it
}  # end
# two readers
layers { layer { name: "again" type: "conv" } bottom: "pad1" top: "z" }
layers { layer { name: "last" type: "padding" } bottom: "y" top: "q" }  # unread
# the end
"""
    assert (
        rewritten(text)
        == """\
# The net of 2013

name: "old"  # its name

# never read
# at all
# the other one
layer { name: "relu" type: "ReLU" bottom: "z" top: "z" }

# the border
# of two
# convolves
layer {  # first
  # inside
  # opened
  # aside
  # called
  name: "conv"  # so
  type: "Convolution"  # kind
  bottom: "x"  # the padded
  # out
  top: "y"
  # weights
  param {
    lr_mult: 1
    # decayed
    decay_mult: 1
  }
  param {
    lr_mult: 2  # twice
  }
  # none of conv's
  # half
  convolution_param {
    num_output: 4  # four
    pad: 2  # one, once
    # a square
    kernel_size: 5
  }
  transform_param {
    scale: 2  # doubled
  }
  # none of conv's either
  # closed
  # all of it
}  # end
# two readers
layer { name: "again" type: "Convolution" bottom: "x" top: "z" convolution_param { pad: 2 } }
# unread
# the end
"""
    )


def test_settings_for_pictures_overrule_the_transform_param_that_is_there() -> None:
    text = """
        layers {
          type: DATA
          transform_param { scale: 2 crop_size: 4 }  # was there
          data_param { source: "db" scale: 3 }  # overrules
        }
    """
    assert (
        rewritten(text)
        == """\
layer {
  type: "Data"
  transform_param { crop_size: 4 scale: 3 }  # was there
  data_param { source: "db" }  # overrules
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


def test_shapes_of_the_inputs_win_over_their_dims_as_in_caffe() -> None:
    text = """
        # of the picture
        input: "a"  # RGB

        # in full
        input_shape { dim: 1 dim: 2 }  # one
        # not looked at
        input_dim: 5  # five
    """
    assert (
        rewritten(text)
        == """\
# of the picture
layer {
  name: "input"
  type: "Input"
  top: "a"  # RGB
  # in full
  input_param {
    shape { dim: 1 dim: 2 }  # one
  }
  # not looked at
  # five
}
"""
    )


def test_the_input_layer_has_the_place_of_the_first_input() -> None:
    net = reader.parse_net('name: "n"\ninput: "a"\ninput_shape { dim: 1 }')
    (text,) = net.trees
    assert text is not None
    assert str(text.span) == "net.prototxt:2:1"
    place = text.find("input_param.shape.dim")
    assert place
    assert str(place.span) == "net.prototxt:3:15"


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


@pytest.mark.parametrize("settings", ["scale_bias: true", "scale_filler { value: 1 }", "bias_filler { value: 0 }"])
def test_of_nvidias_batch_norm_the_factor_and_the_bias_learn_whatever_its_param_say(settings: str) -> None:
    text = f"""
        layer {{
          type: "BatchNorm"
          param {{ lr_mult: 1 }} param {{ lr_mult: 1 }} param {{ lr_mult: 0 }} param {{ lr_mult: 0 decay_mult: 0 }}
          batch_norm_param {{ {settings} }}
        }}
    """
    (layer,) = bind(upgrade_net(tree_of(text)), NetParameter).layer
    assert [(one.lr_mult, one.decay_mult) for one in layer.param] == [(0, 0), (0, 0), (0, 0), (1, 1)]


def test_a_block_has_its_statistics_stilled_too() -> None:
    text = """
        block {
          name: "b" top: "y"
          layer { type: "BatchNorm" top: "y" param { lr_mult: 0 } param { lr_mult: $rate } param { } }  # still
        }
    """
    tree = tree_of(text)
    assert (
        print_tree(upgrade_net(tree))
        == """\
block {
  name: "b"
  top: "y"
  layer {
    type: "BatchNorm"
    top: "y"
    param { lr_mult: 0 decay_mult: 0 }
    param { lr_mult: 0 decay_mult: 0 }
    param { lr_mult: 0 decay_mult: 0 }
  }  # still
}
"""
    )


def test_weights_ride_along() -> None:
    net = NetParameter()
    old = net.layers.add(name="fc", type=V1LayerParameter.INNER_PRODUCT)
    old.blobs.add(num=1, channels=1, height=1, width=2, data=[1, 2])
    before = net.SerializeToString()
    found = reader.from_message(net, "old.caffemodel")
    assert [*found.message.layer[0].blobs[0].data] == [1, 2]
    assert (net.SerializeToString(), found.trees) == (before, (None,))


def test_a_message_that_caffe_refuses_is_refused_without_a_place() -> None:
    net = NetParameter()
    net.layers.add(type=V1LayerParameter.NONE)
    with pytest.raises(NktcError) as caught:
        reader.from_message(net)
    assert str(caught.value) == "error: NONE is no type of layer  [unknown-type]"


def test_every_old_type_and_every_old_field_has_a_place_today() -> None:
    assert {*V1_TYPES} == {*V1LayerParameter.LayerType.keys()} - {"NONE"}
    assert {*V0_TYPES.values()} <= {*V1_TYPES.values()}
    known = {field.name for field in LayerParameter.DESCRIPTOR.fields}
    old = {field.name for field in V1LayerParameter.DESCRIPTOR.fields}
    assert old - known == {"blob_share_mode", "blobs_lr", "weight_decay", "layer"}


@pytest.mark.parametrize("kind", V0_TYPES)
def test_a_v0_layer_of_each_type_with_every_field_becomes_caffes(kind: str) -> None:
    net = NetParameter()
    old = net.layers.add(bottom=["x"], top=["y"])
    filled(old.layer, iter(range(1, 1000)))
    old.layer.type = kind
    text = upgraded(print_message(net))
    assert f'type: "{V0_TYPES[kind]}"' in text


@pytest.mark.parametrize("kind", V1_TYPES)
def test_a_v1_layer_of_each_type_with_every_field_becomes_caffes(kind: str) -> None:
    net = NetParameter()
    old = net.layers.add()
    filled(old, iter(range(1, 1000)), but=("layer",))
    old.type = V1LayerParameter.LayerType.Value(kind)
    without_ignored(old)
    text = upgraded(print_message(net))
    assert f'type: "{V1_TYPES[kind]}"' in text


def filled(message: Any, numbers: Any, but: tuple[str, ...] = ()) -> None:
    """Give every field of a message, and of those in it, a value that no other field has."""
    for field in message.DESCRIPTOR.fields:
        for _ in range(0 if field.name in but else 2 if has_label(field, "repeated") else 1):
            number = next(numbers)
            value: Any = number
            if field.message_type:
                target = getattr(message, field.name)
                filled(target.add() if hasattr(target, "add") else target, numbers)
                continue
            if field.enum_type:
                value = field.enum_type.values[-1].number
            elif field.type == FieldDescriptor.TYPE_STRING:
                value = f"text {number}"
            elif field.type == FieldDescriptor.TYPE_BYTES:
                value = b"%d" % number
            elif field.type == FieldDescriptor.TYPE_BOOL:
                value = True
            if has_label(field, "repeated"):
                getattr(message, field.name).append(value)
            else:
                setattr(message, field.name, value)


def without_ignored(old: Any) -> None:
    """Clear what Caffe ignores and we refuse: data settings in the message of another type."""
    today = V1_TYPES[V1LayerParameter.LayerType.Name(old.type)]
    for kind, name in product(TRANSFORMED, TRANSFORM):
        if kind != today and old.HasField(TRANSFORMED[kind]):
            getattr(old, TRANSFORMED[kind]).ClearField(name)


TEXTS = st.sampled_from(["", "a", "b c", "\N{SNOWMAN}", 'quo"te', "# none"])  # no comment
NUMBERS = st.sampled_from([0, 1, 2, 7, 300])


@st.composite
def messages(draw: Any, message_class: Any, depth: int = 0) -> Any:
    """A message with any of its fields."""
    message = message_class()
    fields = [f for f in message.DESCRIPTOR.fields if (depth, f.name) != (0, "layer")]
    for field in draw(st.lists(st.sampled_from(fields), max_size=8 if depth else 6, unique_by=lambda f: f.name)):
        repeated = has_label(field, "repeated")
        for _ in range(draw(st.integers(1, 3)) if repeated else 1):
            target = getattr(message, field.name)
            if field.message_type:
                if depth < 3:
                    inner = draw(messages(field.message_type._concrete_class, depth + 1))
                    (target.add() if repeated else target).CopyFrom(inner)
                continue
            value: Any = draw(NUMBERS)
            if field.enum_type:
                value = draw(st.sampled_from([v.number for v in field.enum_type.values]))
            elif field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
                value = draw(TEXTS)
                value = value.encode() if field.type == FieldDescriptor.TYPE_BYTES else value
            elif field.type == FieldDescriptor.TYPE_BOOL:
                value = value > 1
            elif field.type == FieldDescriptor.TYPE_FLOAT:
                value = draw(st.sampled_from([0.0, -0.0, 1e-3, 0.1, 1.0, 3e38, float("inf")]))
            if repeated:
                target.append(value)
            else:
                setattr(message, field.name, value)
    return message


@st.composite
def v1_layers(draw: Any) -> V1LayerParameter:
    old: V1LayerParameter = draw(messages(V1LayerParameter))
    old.type = V1LayerParameter.LayerType.Value(draw(st.sampled_from([*V1_TYPES])))
    for kind in TRANSFORMED.values():
        if draw(st.integers(0, 4)) == 0:
            getattr(old, kind).CopyFrom(draw(messages(getattr(old, kind).__class__, 1)))
    without_ignored(old)
    return old


@st.composite
def v0_layers(draw: Any) -> V1LayerParameter:
    old = V1LayerParameter(
        bottom=draw(st.lists(st.sampled_from("abc"), max_size=2)), top=[draw(st.sampled_from("abc"))]
    )
    old.layer.CopyFrom(draw(messages(V0LayerParameter, 1)))
    old.layer.type = draw(st.sampled_from([*V0_TYPES, "conv", "pool", "padding"]))
    if old.layer.type in ("conv", "pool", "padding"):
        old.bottom[:] = [draw(st.sampled_from("abc"))]
    return old


@st.composite
def old_nets(draw: Any) -> str:
    """The text of an old net, with a comment wherever chance has it."""
    net = NetParameter(name="n")
    net.layers.extend(draw(st.lists(v1_layers() if draw(st.booleans()) else v0_layers(), min_size=1, max_size=4)))
    inputs = draw(st.integers(0, 2))
    net.input.extend(["a", "b"][:inputs])
    if draw(st.booleans()):
        net.input_dim.extend(range(1, 4 * inputs + 1))
    elif inputs:
        for i in range(inputs):
            net.input_shape.add(dim=[i + 1, 2])
    lines = []
    for number, line in enumerate(print_message(net).splitlines()):
        where = draw(st.integers(0, 5))
        lines += [f"# above {number}"] if where == 0 else [""] if where == 1 else []
        lines.append(f"{line}  # behind {number}" if where == 2 else line)
    return "\n".join(lines)


@settings(max_examples=300, deadline=None)
@given(old_nets())
def test_any_old_net_becomes_caffes_with_all_its_comments(text: str) -> None:
    tree = tree_of(text)
    try:
        upgrade_net(tree)
    except NktcError as error:
        assume("padding" not in error.message)  # Caffe refuses the net too
    checked(tree)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'layer { name: "x" }\nlayers { name: "y" }',
            """\
net.prototxt:2:1: error: a net has layer, or in the old spelling layers, but not both  [cannot-upgrade]
    2 | layers { name: "y" }
      | ^~~~~~~~~~~~~~~~~~~~
net.prototxt:1:1: note: the first layer is here""",
        ),
        (
            'layers { layer { name: "x" type: "convo" } }',
            """\
net.prototxt:1:28: error: unknown old layer type "convo"  [unknown-type]
    1 | layers { layer { name: "x" type: "convo" } }
      |                            ^~~~~~~~~~~~~
help: did you mean "conv"?""",
        ),
        (
            "layers { type: NONE }",
            """\
net.prototxt:1:10: error: NONE is no type of layer  [unknown-type]
    1 | layers { type: NONE }
      |          ^~~~~~~~~~""",
        ),
        (
            'layers { layer { name: "p" type: "padding" } bottom: "x" top: "p" }\n'
            'layers { layer { type: "relu" } bottom: "p" top: "y" }',
            """\
net.prototxt:2:1: error: padding "p" is read by a layer that cannot pad  [cannot-upgrade]
    2 | layers { layer { type: "relu" } bottom: "p" top: "y" }
      | ^~~~~~~~
help: only conv and pool can""",
        ),
        (
            'layers { layer { name: "p" type: "padding" } bottom: "x" top: "p" }\n'
            'layers { layer { type: "padding" } bottom: "p" top: "q" }',
            """\
net.prototxt:2:1: error: padding "p" is read by a layer that cannot pad  [cannot-upgrade]
    2 | layers { layer { type: "padding" } bottom: "p" top: "q" }
      | ^~~~~~~~
help: only conv and pool can""",
        ),
        (
            'layers { layer { name: "p" type: "padding" } bottom: "x" top: "p" }\n'
            'layers { layer { type: "conv" } bottom: "p" bottom: "x" top: "y" }',
            """\
net.prototxt:2:1: error: padding "p" is read by a layer with 2 bottoms  [cannot-upgrade]
    2 | layers { layer { type: "conv" } bottom: "p" bottom: "x" top: "y" }
      | ^~~~~~~~
help: give it one""",
        ),
        (
            'layers { layer { name: "p" type: "padding" } top: "p" }',
            """\
net.prototxt:1:1: error: padding takes 1 bottom and 1 top, not 0 and 1  [cannot-upgrade]
    1 | layers { layer { name: "p" type: "padding" } top: "p" }
      | ^~~~~~~~""",
        ),
        (
            'layers { layer { type: "relu" } include { phase: TEST } }',
            """\
net.prototxt:1:33: error: include has no effect beside a layer of the oldest spelling  [no-effect]
    1 | layers { layer { type: "relu" } include { phase: TEST } }
      |                                 ^~~~~~~~~~~~~~~~~~~~~~~
help: leave include out as Caffe does, or write the layer in today's syntax""",
        ),
        (
            'layers { layer { type: "images" new_height: -1 } }',
            """\
net.prototxt:1:45: error: new_height takes a whole number from 0, not -1  [wrong-value]
    1 | layers { layer { type: "images" new_height: -1 } }
      |                                             ^~""",
        ),
        (
            "layers { type: MEMORY_DATA data_param { scale: 2 } }",
            """\
net.prototxt:1:41: error: scale has no effect in the data_param of a layer  [no-effect]
    1 | layers { type: MEMORY_DATA data_param { scale: 2 } }
      |                                         ^~~~~~~~
help: write scale in transform_param, or leave it out as Caffe does""",
        ),
        (
            'input: "x"\nlayer { name: "y" }',
            """\
net.prototxt:1:1: error: 1 input but 0 input_dim  [cannot-upgrade]
    1 | input: "x"
      | ^~~~~~~~~~
help: write four for each input, or an input_shape""",
        ),
        (
            'input: "x"\ninput_dim: 1',
            """\
net.prototxt:2:1: error: 1 input but 1 input_dim  [cannot-upgrade]
    2 | input_dim: 1
      | ^~~~~~~~~~~~
help: write four for each input, or an input_shape""",
        ),
        (
            'input: "x" input: "y" input_shape { dim: 1 }',
            """\
net.prototxt:1:23: error: 2 input but 1 input_shape  [cannot-upgrade]
    1 | input: "x" input: "y" input_shape { dim: 1 }
      |                       ^~~~~~~~~~~~~~~~~~~~~~
help: write one for each input""",
        ),
        (
            'layer { type: "Data" data_param { scale: 2 } }',
            """\
net.prototxt:1:35: error: scale has no effect in the data_param of a layer  [no-effect]
    1 | layer { type: "Data" data_param { scale: 2 } }
      |                                   ^~~~~~~~
help: write scale in transform_param, or leave it out as Caffe does""",
        ),
    ],
)
def test_what_no_caffe_takes_is_refused_at_its_place(text: str, expected: str) -> None:
    assert refusal(text) == expected


def solver(text: str) -> SolverParameter:
    return bind(upgrade_solver(parse(Source("solver.prototxt", text))), SolverParameter)


@pytest.mark.parametrize(
    ("old", "today"),
    [
        ("SGD", "SGD"),
        ("NESTEROV", "Nesterov"),
        ("ADAGRAD", "AdaGrad"),
        ("RMSPROP", "RMSProp"),
        ("ADADELTA", "AdaDelta"),
        ("ADAM", "Adam"),
        ("5", "Adam"),
    ],
)
def test_the_old_name_of_the_solver_becomes_its_type(old: str, today: str) -> None:
    assert solver(f"base_lr: 1 solver_type: {old}") == SolverParameter(base_lr=1, type=today)


def test_a_solver_in_todays_syntax_is_returned_as_it_is() -> None:
    tree = parse(Source("s", 'type: "Adam" net_param { layer { name: "x" } }'))
    assert upgrade_solver(tree) is tree


def test_the_nets_inside_a_solver_are_upgraded_with_it() -> None:
    text = """\
# Adam, as of 2014
solver_type: ADAM  # see the paper
train_net_param { layers { name: "r" type: RELU bottom: "x" top: "x" } }  # of the training
test_net_param { input: "x" input_dim: 1 input_dim: 1 input_dim: 2 input_dim: 2 }
test_net_param { layer { name: "r" type: "ReLU" bottom: "x" top: "x" } }
"""
    tree = upgrade_solver(parse(Source("solver.prototxt", text)))
    assert (
        print_tree(tree)
        == """\
# Adam, as of 2014
type: "Adam"  # see the paper
train_net_param { layer { name: "r" type: "ReLU" bottom: "x" top: "x" } }  # of the training
test_net_param {
  layer {
    name: "input"
    type: "Input"
    top: "x"
    input_param { shape { dim: 1 dim: 1 dim: 2 dim: 2 } }
  }
}
test_net_param { layer { name: "r" type: "ReLU" bottom: "x" top: "x" } }
"""
    )


@pytest.mark.skipif(not LEGACY, reason="no goldens here")
def test_an_old_solver_becomes_what_caffe_makes_of_it() -> None:
    folder = GOLDENS / "solver_legacy_solver_type"
    tree = upgrade_solver(read(folder / "solver.prototxt"))
    assert bind(tree, SolverParameter) == bind(read(folder / "upgraded_solver.prototxt"), SolverParameter)


def test_two_names_for_the_solver_are_refused() -> None:
    with pytest.raises(NktcError) as caught:
        solver('type: "SGD"\nsolver_type: ADAM')
    assert (
        str(caught.value)
        == """\
solver.prototxt:2:1: error: solver_type and type both name the solver  [cannot-upgrade]
    2 | solver_type: ADAM
      | ^~~~~~~~~~~~~~~~~
solver.prototxt:1:1: note: type is given here
help: leave out solver_type"""
    )


def test_a_solver_that_is_wrong_is_refused_in_its_own_words() -> None:
    with pytest.raises(NktcError) as caught:
        solver("solver_type: ADAMM")
    assert "solver_type takes SGD," in str(caught.value)
