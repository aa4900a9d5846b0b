"""Blocks: what instances stand for, and how mistakes in and around them are told."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import pytest

from nktc import reader, text
from nktc.errors import Errors, NktcError, Source
from nktc.ir import Graph, Phase
from nktc.reader import expand

DATA = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }\n'
CONV = """
block {
  name: "conv_relu"
  parameter { name: "width" }
  parameter { name: "kernel" default: 3 }
  parameter { name: "half" default: ${kernel // 2} }
  bottom: "x"
  top: "y"
  layer {
    name: "conv" type: "Convolution" bottom: "x" top: "y"
    convolution_param { num_output: $width kernel_size: $kernel pad: $half }
  }
  layer { name: "relu" type: "ReLU" bottom: "y" top: "y" }
}
"""


def expanded(prototxt: str) -> str:
    return text.print_tree(expand(text.parse(Source("net.prototxt", textwrap.dedent(prototxt)))).tree)


def refusals(prototxt: str) -> list[NktcError]:
    prototxt = DATA + CONV + textwrap.dedent(prototxt)
    with pytest.raises(NktcError) as caught:
        reader.build(reader.parse_net(prototxt), Phase.TEST)
    return [*caught.value.errors] if isinstance(caught.value, Errors) else [caught.value]


def refusal(prototxt: str) -> str:
    (error,) = refusals(prototxt)
    return str(error)


def test_an_instance_stands_for_the_layers_of_its_block(golden: Callable[[object, str], None]) -> None:
    found = expanded(CONV + 'layer { name: "a" type: "conv_relu" bottom: "data" top: "a" block_param { width: 4 } }')
    golden(
        found,
        """
        layer {
          name: "a/conv"
          type: "Convolution"
          bottom: "data"
          top: "a"
          convolution_param { num_output: 4 kernel_size: 3 pad: 1 }
        }
        layer { name: "a/relu" type: "ReLU" bottom: "a" top: "a" }
        """,
    )


def test_rounds_follow_each_other(read: Callable[..., Graph], golden: Callable[[object, str], None]) -> None:
    graph = read(
        DATA
        + CONV
        + """
        layer {
          name: "a" type: "conv_relu" bottom: "data" top: "last" repeat: 3
          block_param { width: ${4 + index} kernel: 1 }
        }
        """
    )
    golden(
        graph,
        """
        net net TEST
          data           f32[1 3 8 8] = Input
          a/0/y@a/0/conv f32[1 4 8 8] = Convolution(outputs=4 kernel=1) <- data  # a/0/conv
          a/0/y          f32[1 4 8 8] = ReLU <- a/0/y@a/0/conv  # a/0/relu
          a/1/y@a/1/conv f32[1 5 8 8] = Convolution(outputs=5 kernel=1) <- a/0/y  # a/1/conv
          a/1/y          f32[1 5 8 8] = ReLU <- a/1/y@a/1/conv  # a/1/relu
          last@a/2/conv  f32[1 6 8 8] = Convolution(outputs=6 kernel=1) <- a/1/y  # a/2/conv
          last           f32[1 6 8 8] = ReLU <- last@a/2/conv  # a/2/relu
        """,
    )


def test_the_tops_of_rounds_can_be_named(read: Callable[..., Graph]) -> None:
    graph = read(
        DATA
        + CONV
        + """
        block {
          name: "stage"
          parameter { name: "id" }
          bottom: "x"
          top: "y"
          layer {
            name: "convs" type: "conv_relu" bottom: "x" top: "/res${id}${'abc'[index]}" repeat: 3
            block_param { width: ${4 + index} }
          }
          layer { name: "once" type: "conv_relu" bottom: "/res${id}c" top: "once" repeat: 1 block_param { width: 2 } }
          layer { name: "last" type: "ReLU" bottom: "once" top: "y" }
        }
        layer { name: "s" type: "stage" bottom: "data" top: "s${index}" repeat: 2 block_param { id: $index } }
        layer { name: "sum" type: "Eltwise" bottom: "s0" bottom: "s1" top: "sum" }
        """
    )
    widths = {node.outputs[0].name: node.outputs[0].shape[1] for node in graph if node.type == "ReLU"}
    assert widths == {
        "res0a": 4, "res0b": 5, "res0c": 6, "s/0/once": 2, "s0": 2,
        "res1a": 4, "res1b": 5, "res1c": 6, "s/1/once": 2, "s1": 2,
    }  # fmt: skip


def test_blocks_are_made_of_blocks(read: Callable[..., Graph], golden: Callable[[object, str], None]) -> None:
    graph = read(
        DATA
        + CONV
        + """
        block {
          name: "residual"
          parameter { name: "width" }
          bottom: "x"
          bottom: "shortcut"
          top: "y"
          layer { name: "body" type: "conv_relu" bottom: "x" top: "body" repeat: 2 block_param { width: $width } }
          layer { name: "sum" type: "Eltwise" bottom: "shortcut" bottom: "body" top: "y" }
        }
        layer { name: "r" type: "residual" bottom: "data" bottom: "data" top: "r" block_param { width: 3 } }
        """
    )
    golden(
        graph,
        """
        net net TEST
          data                     f32[1 3 8 8] = Input
          r/body/0/y@r/body/0/conv f32[1 3 8 8] = Convolution(outputs=3 kernel=3 pad=1) <- data  # r/body/0/conv
          r/body/0/y               f32[1 3 8 8] = ReLU <- r/body/0/y@r/body/0/conv  # r/body/0/relu
          r/body@r/body/1/conv     f32[1 3 8 8] = Convolution(outputs=3 kernel=3 pad=1) <- r/body/0/y  # r/body/1/conv
          r/body                   f32[1 3 8 8] = ReLU <- r/body@r/body/1/conv  # r/body/1/relu
          r                        f32[1 3 8 8] = Eltwise <- data, r/body  # r/sum
        """,
    )


def test_names_with_a_slash_are_the_nets_own(golden: Callable[[object, str], None]) -> None:
    found = expanded("""
        block {
          name: "tied"
          parameter { name: "id" }
          bottom: "x"
          top: "y"
          layer {
            name: "/ip${id}" type: "InnerProduct" bottom: "x" top: "/out${id}"
            param { name: "/shared" lr_mult: 2 }
            param { name: "own" }
            inner_product_param { num_output: 2 }
          }
          layer { name: "sum" type: "Eltwise" bottom: "/out${id}" bottom: "/data" top: "y" }
        }
        layer { name: "t" type: "tied" bottom: "data" top: "t" block_param { id: 7 } }
        """)
    golden(
        found,
        """
        layer {
          name: "ip7"
          type: "InnerProduct"
          bottom: "data"
          top: "out7"
          param { name: "shared" lr_mult: 2 }
          param { name: "t/own" }
          inner_product_param { num_output: 2 }
        }
        layer { name: "t/sum" type: "Eltwise" bottom: "out7" bottom: "data" top: "t" }
        """,
    )


def test_the_round_is_a_parameter_of_what_an_instance_gives() -> None:
    found = expanded("""
        block {
          name: "inner"
          parameter { name: "said" }
          bottom: "x"
          top: "y"
          layer { name: "${said}-${index}" type: "ReLU" bottom: "x" top: "y" }
        }
        block {
          name: "outer"
          bottom: "x"
          top: "y"
          layer { name: "once" type: "inner" bottom: "x" top: "once" block_param { said: $index } }
          layer { name: "often" type: "inner" bottom: "once" top: "y" repeat: 2 block_param { said: $index } }
        }
        layer { name: "o" type: "outer" bottom: "data" top: "o" repeat: 2 }
        """)
    names = [line.split('"')[1] for line in found.splitlines() if line.strip().startswith(("layer { name", "name"))]
    assert names == [
        "o/0/once/0-0",
        "o/0/often/0/0-0",
        "o/0/often/1/1-1",
        "o/1/once/1-0",
        "o/1/often/0/0-0",
        "o/1/often/1/1-1",
    ]


def test_a_parameter_may_be_a_message_a_name_or_a_truth(golden: Callable[[object, str], None]) -> None:
    found = expanded("""
        block {
          name: "any"
          parameter { name: "filler" default { type: "msra" } }
          parameter { name: "pool" default: AVE }
          parameter { name: "bias" }
          bottom: "x"
          top: "y"
          layer {
            name: "ip" type: "InnerProduct" bottom: "x" top: "ip"
            inner_product_param { num_output: 1 bias_term: $bias weight_filler: $filler }
          }
          layer { name: "pool" type: "Pooling" bottom: "ip" top: "y" pooling_param { pool: $pool kernel_size: 1 } }
        }
        layer { name: "a" type: "any" bottom: "data" top: "a" block_param { bias: false filler { type: "xavier" } } }
        """)
    golden(
        found,
        """
        layer {
          name: "a/ip"
          type: "InnerProduct"
          bottom: "data"
          top: "a/ip"
          inner_product_param { num_output: 1 bias_term: false weight_filler { type: "xavier" } }
        }
        layer {
          name: "a/pool"
          type: "Pooling"
          bottom: "a/ip"
          top: "a"
          pooling_param { pool: AVE kernel_size: 1 }
        }
        """,
    )


def test_rules_of_an_instance_are_those_of_its_layers(read: Callable[..., Graph]) -> None:
    net = (
        DATA
        + CONV
        + """
        layer {
          name: "a" type: "conv_relu" bottom: "data" top: "a" include { phase: TRAIN } block_param { width: 4 }
        }
    """
    )
    assert [node.name for node in read(net, Phase.TRAIN)] == ["data", "a/conv", "a/relu"]
    assert [node.name for node in read(net, Phase.TEST)] == ["data"]


def test_a_block_may_work_in_place(read: Callable[..., Graph]) -> None:
    graph = read(
        DATA
        + """
        block { name: "act" bottom: "x" top: "x" layer { name: "relu" type: "ReLU" bottom: "x" top: "x" } }
        layer { name: "pool" type: "Pooling" bottom: "data" top: "pool" pooling_param { kernel_size: 2 } }
        layer { name: "a" type: "act" bottom: "pool" top: "pool" }
        """
    )
    assert [value.name for value in graph.outputs] == ["pool"]


def test_a_net_without_blocks_stays_as_it_is() -> None:
    tree = text.parse(Source("net.prototxt", DATA))
    assert expand(tree).tree is tree


def test_a_mistake_inside_names_the_instance(golden: Callable[[object, str], None]) -> None:
    found = refusal("""
        layer { name: "a" type: "conv_relu" bottom: "data" top: "a" block_param { width: 4 kernel: 9 half: 0 } }
        """)
    golden(
        found,
        """
        net.prototxt:12:44: error: Convolution "a/conv": window 9x9 is larger than its input 8x8  [shape]
           12 |     convolution_param { num_output: $width kernel_size: $kernel pad: $half }
              |                                            ^~~~~~~~~~~
        net.prototxt:1:9: note: its input "data" is made here: data [1 3 8 8]
        net.prototxt:17:19: note: in "a", which is a "conv_relu"
        help: raise pad
        """,
    )


def test_a_mistake_of_the_body_is_told_once_however_often_it_is_used(golden: Callable[[object, str], None]) -> None:
    found = refusal("""
        block { name: "typo" bottom: "x" top: "y" layer { name: "l" type: "ReLU" botom: "x" top: "y" } }
        layer { name: "a" type: "typo" bottom: "data" top: "a" repeat: 3 }
        """)
    golden(
        found,
        """
        net.prototxt:17:74: error: unknown field "botom" in layer  [unknown-field]
           17 | block { name: "typo" bottom: "x" top: "y" layer { name: "l" type: "ReLU" botom: "x" top: "y" } }
              |                                                                          ^~~~~~~~~~
        net.prototxt:18:19: note: in "a/0", which is a "typo"
        help: did you mean "bottom"?
        """,
    )


def test_a_wrong_argument_is_blamed_where_it_is_given(golden: Callable[[object, str], None]) -> None:
    found = refusal("""
        layer { name: "a" type: "conv_relu" bottom: "data" top: "a" block_param { width: "many" } }
        """)
    golden(
        found,
        """
        net.prototxt:17:82: error: num_output takes a whole number from 0, not "many"  [wrong-value]
           17 | layer { name: "a" type: "conv_relu" bottom: "data" top: "a" block_param { width: "many" } }
              |                                                                                  ^~~~~~
        """,
    )


def test_a_shape_that_does_not_fit_deep_inside_tells_the_way_there(golden: Callable[[object, str], None]) -> None:
    found = refusal("""
        block {
          name: "conv"
          bottom: "x"
          top: "y"
          layer {
            name: "c" type: "Convolution" bottom: "x" top: "y" convolution_param { num_output: 4 kernel_size: 1 }
          }
        }
        block {
          name: "twice"
          bottom: "x"
          top: "y"
          layer { name: "one" type: "conv" bottom: "x" top: "one" }
          layer { name: "sum" type: "Eltwise" bottom: "x" bottom: "one" top: "y" }
        }
        layer { name: "a" type: "twice" bottom: "data" top: "a" }
        """)
    golden(
        found,
        """
        net.prototxt:30:51: error: Eltwise "a/sum": its inputs 1x3x8x8 and 1x4x8x8 differ  [shape-mismatch]
           30 |   layer { name: "sum" type: "Eltwise" bottom: "x" bottom: "one" top: "y" }
              |                                                   ^~~~~~~~~~~~~
        net.prototxt:1:9: note: its input "data" is made here: data [1 3 8 8]
        net.prototxt:22:5: note: its input "a/one" is made here: data [1 3 8 8] -> a/one/c Convolution [1 4 8 8]
        net.prototxt:32:19: note: in "a", which is a "twice"
        """,
    )


@pytest.mark.parametrize(
    ("instance", "line"),
    [
        ('type: "conv_relu" bottom: "data" top: "a"', 'block "conv_relu" needs its parameter "width"'),
        (
            'type: "conv_relu" bottom: "data" top: "a" block_param { with: 4 }',
            'block "conv_relu" has no parameter "with"',
        ),
        ('type: "conv_relu" bottom: "data" bottom: "data" top: "a"', 'block "conv_relu" has 1 bottom, not 2'),
        ('type: "conv_relu" bottom: "data"', 'block "conv_relu" has 1 top, not 0'),
        ('type: "conv_relu" bottom: "data" top: "a" repeat: 0', "repeat takes a whole number from 1"),
        ('type: "conv_relu" bottom: "data" top: "a" repeat: many', "repeat takes a whole number from 1"),
        ('type: "conv_relu" bottom: "data" top: "a" param { lr_mult: 0 }', "param does not go with a block"),
        ('type: "ReLU" bottom: "data" top: "a" repeat: 2', 'repeat goes with a block, and "ReLU" is none'),
        (
            'type: "conv_rel" bottom: "data" top: "a" block_param { }',
            'block_param goes with a block, and "conv_rel" is none',
        ),
        (
            'type: "conv_relu" bottom: "data" top: "a" block_param { width: 4 width: 5 }',
            "width is given twice in block_param",
        ),
    ],
)
def test_an_instance_that_does_not_fit_its_block_is_refused(instance: str, line: str) -> None:
    (error,) = refusals(f'layer {{ name: "a" {instance} }}')
    assert error.message == line
    assert error.at is not None
    assert error.at.source.line(error.at.line).startswith('layer { name: "a"')


@pytest.mark.parametrize(
    ("block", "line"),
    [
        ('layer { name: "l" type: "ReLU" bottom: "x" top: "y" }', "this block has no name"),
        ('name: "b"', 'block "b" has no layers'),
        ('name: "ReLU" layer { type: "ReLU" }', 'block "ReLU" has the name of a layer type'),
        ('name: "conv_relu" layer { type: "ReLU" }', 'block "conv_relu" is declared twice'),
        ('name: "b" top: "z" layer { top: "y" type: "ReLU" }', 'no layer of block "b" makes its top "z"'),
        ('name: "b" bottom: "x" bottom: "x" layer { }', 'block "b" has two bottoms of one name'),
        ('name: "b" parameter { name: "1a" } layer { }', '"1a" cannot name a parameter'),
        ('name: "b" parameter { name: "index" } layer { }', 'parameter "index" index is the number of the round'),
        ('name: "b" parameter { nam: "a" } layer { }', "a parameter has a name and may have a default"),
        ('name: "b" layers { }', 'unknown field "layers" in block'),
    ],
)
def test_a_wrong_declaration_is_refused(block: str, line: str) -> None:
    (error,) = refusals(f"block {{ {block} }}")
    assert error.message == line
    assert error.at is not None


def test_a_blob_from_nowhere_is_refused_with_a_near_name(golden: Callable[[object, str], None]) -> None:
    found = refusal("""
        block {
          name: "b"
          bottom: "input"
          top: "y"
          layer { name: "l" type: "ReLU" bottom: "inptu" top: "y" }
        }
        layer { name: "a" type: "b" bottom: "data" top: "a" }
        """)
    golden(
        found,
        """
        net.prototxt:21:34: error: "inptu" is no bottom of block "b", and no layer in it makes it  [unknown-bottom]
           21 |   layer { name: "l" type: "ReLU" bottom: "inptu" top: "y" }
              |                                  ^~~~~~~~~~~~~~~
        net.prototxt:23:19: note: in "a", which is a "b"
        help: did you mean "input"?
        """,
    )


def test_a_block_inside_itself_is_refused() -> None:
    (error,) = refusals("""
        block { name: "p" bottom: "x" top: "y" layer { name: "l" type: "q" bottom: "x" top: "y" } }
        block { name: "q" bottom: "x" top: "y" layer { name: "l" type: "p" bottom: "x" top: "y" } }
        layer { name: "a" type: "p" bottom: "data" top: "a" }
        """)
    assert error.message == 'block "p" in "q" in "p" would go on for ever'


def test_a_net_that_grows_beyond_all_measure_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nktc.reader.blocks.MOST_FIELDS", 20_000)
    doubling = "".join(
        f'block {{ name: "b{i}" bottom: "x" top: "y"'
        f' layer {{ name: "l" type: "b{i + 1}" bottom: "x" top: "m" }}'
        f' layer {{ name: "r" type: "b{i + 1}" bottom: "m" top: "y" }} }}\n'
        for i in range(40)
    )
    end = 'block { name: "b40" bottom: "x" top: "y" layer { name: "l" type: "ReLU" bottom: "x" top: "y" } }\n'
    (error,) = refusals(doubling + end + 'layer { name: "a" type: "b0" bottom: "data" top: "a" }')
    assert error.message == "with its blocks in place the net has more than 20000 fields"
    empty = 'block { name: "e" bottom: "x" top: "y" layer { top: "y" } }'
    (error,) = refusals(empty + 'layer { name: "a" type: "e" bottom: "data" top: "a" repeat: 1000000000 }')
    assert error.message == "with its blocks in place the net has more than 20000 fields"


def test_parameters_outside_a_block_are_refused() -> None:
    (error,) = refusals('layer { name: "a" type: "ReLU" bottom: "data" top: $top }')
    assert error.message == "top takes a text in quotes, not $top"
    assert error.help == "$ stands for a parameter, which only a block has"
