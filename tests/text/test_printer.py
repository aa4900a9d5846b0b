from nktc.errors import Source
from nktc.schema import NetParameter
from nktc.text import bind, parse, print_message, print_tree


def reprinted(text: str) -> str:
    return print_tree(parse(Source("net.prototxt", text)))


def test_a_file_is_rewritten_in_the_usual_layout_with_its_comments() -> None:
    text = """\


# LeNet

name : "LeNet"     # of 1998
layer{  # first
    name:'conv1'


    # learns twice as fast
    param  { lr_mult:2 }  # bias
    convolution_param <
      num_output: 20; kernel_size: [5, 5] >

    # the end of conv1

}
# the end

"""
    expected = """\
# LeNet

name: "LeNet"  # of 1998
layer {  # first
  name: "conv1"

  # learns twice as fast
  param { lr_mult: 2 }  # bias
  convolution_param {
    num_output: 20
    kernel_size: 5
    kernel_size: 5
  }

  # the end of conv1
}
# the end
"""
    assert reprinted(text) == expected
    assert reprinted(expected) == expected


def test_a_message_on_one_line_stays_there_unless_it_is_long_or_has_comments() -> None:
    assert reprinted("m { x: 1 n { } }") == "m { x: 1 n { } }\n"
    assert reprinted("m { x: 1 # one\n}") == "m {\n  x: 1  # one\n}\n"
    long = "a" * 60
    assert reprinted(f"m {{ {long}: 1 {long}: 2 }}") == f"m {{\n  {long}: 1\n  {long}: 2\n}}\n"


def test_texts_are_written_so_that_they_read_back() -> None:
    assert reprinted(r"""a: '"\\ \n\377é\1' """) == 'a: "\\"\\\\ \\n\\377é\\001"\n'


def test_nothing_prints_as_nothing() -> None:
    assert reprinted("\n\n") == ""
    assert reprinted("# only this") == "# only this\n"


def test_a_message_is_printed_for_reading() -> None:
    text = """\
name: "n"
layer {
  name: "conv1"
  type: "Convolution"
  param { lr_mult: 0.1 decay_mult: 1e-08 }
  convolution_param { num_output: 20 kernel_size: 5 weight_filler { type: "xavier" } }
}
layer {
  type: "Input"
  input_param { shape { dim: 1 dim: 3 } }
}
"""
    message = bind(parse(Source("x", text)), NetParameter)
    assert print_message(message) == text
    assert print_message(NetParameter()) == ""
