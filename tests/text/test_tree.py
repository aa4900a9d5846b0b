from nktc.errors import Source, Span
from nktc.text import Scalar, Tree, parse

TEXT = """\
layer {
  name: "conv1"
  convolution_param { num_output: 20  kernel_size: 5 }
  param { lr_mult: 1 }
  param {
    lr_mult: 2
  }
}
"""
SOURCE = Source("net.prototxt", TEXT)


def layer() -> Tree:
    found = parse(SOURCE).find("layer")
    assert found is not None
    assert isinstance(found.value, Tree)
    return found.value


def test_a_field_is_found_along_a_path_in_either_spelling() -> None:
    for path in (["convolution_param", "kernel_size"], ["convolution_param.kernel_size"]):
        found = layer().find(*path)
        assert found is not None
        assert found.value == Scalar("number", "5", found.span)


def test_the_last_of_several_is_found_and_all_are_listed() -> None:
    found = layer().find("param.lr_mult")
    assert found is not None
    assert isinstance(found.value, Scalar)
    assert found.value.text == "2"
    assert len([*layer().all("param")]) == 2


def test_what_is_not_there_is_none() -> None:
    assert layer().find("pooling_param") is None
    assert layer().find("name.length") is None
    assert layer().find("convolution_param.stride") is None


def test_spans_mark_the_name_and_extents_the_whole_field_on_its_line() -> None:
    field = layer().find("convolution_param.num_output")
    assert field is not None
    assert field.span == Span(SOURCE, 3, 23, len("num_output"))
    assert field.extent() == Span(SOURCE, 3, 23, len("num_output: 20"))
    whole = layer().find("convolution_param")
    assert whole is not None
    assert whole.extent() == Span(SOURCE, 3, 3, len("convolution_param { num_output: 20  kernel_size: 5 }"))
    assert layer().span == Span(SOURCE, 1, 1, len("layer {"))
    assert [field.extent().width for field in layer().all("param")] == [
        len("param { lr_mult: 1 }"),
        len("param {"),
    ]


def test_trees_that_say_the_same_are_equal_wherever_they_stand() -> None:
    assert parse(Source("a", "x: 1 # one")) == parse(Source("b", "\n\n  x: 1"))
    assert parse(Source("a", "x: 1")) != parse(Source("a", "x: 2"))
