"""How errors print, are ordered, and get their codes."""

from __future__ import annotations

import pytest

from nktc.errors import Errors, LayerError, NktcError, NktcWarning, Note, Source, Span, coded, in_order, near, split

SOURCE = Source("net.prototxt", "first\n  second line\n")


def test_an_error_and_a_warning_print_alike():
    span = Span(SOURCE, 2, 3, 6)
    said = {
        "at": span,
        "notes": [Note("see there", Span(SOURCE, 1, 1)), Note("and think")],
        "help": "write it",
        "code": "x",
    }
    expected = "\n".join(
        [
            "net.prototxt:2:3: {}: this is odd  [x]",
            "    2 |   second line",
            "      |   ^~~~~~",
            "net.prototxt:1:1: note: see there",
            "note: and think",
            "help: write it",
        ]
    )
    assert str(NktcError("this is odd", **said)) == expected.format("error")
    assert str(NktcWarning("this is odd", **said)) == expected.format("warning")
    assert str(NktcError("this is odd")) == "error: this is odd"


def test_a_stage_names_what_has_no_code_yet():
    with pytest.raises(LayerError) as caught, coded("outer"), coded("inner"):
        raise LayerError("a")
    assert caught.value.code == "inner"
    with pytest.raises(Errors) as several, coded("stage"):
        raise Errors([NktcError("a"), NktcError("b", code="own")])
    assert [error.code for error in split(several.value)] == ["stage", "own"]


def test_errors_are_told_in_the_order_of_the_file():
    places = [(2, 1), (1, 9), (1, 2)]
    errors = [NktcError("nowhere"), *(NktcError("x", at=Span(SOURCE, *place)) for place in places)]
    assert [error.at and (error.at.line, error.at.column) for error in in_order(errors)] == [
        None,
        (1, 2),
        (1, 9),
        (2, 1),
    ]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("relu", "ReLU"),
        ("Convolutoin", "Convolution"),
        ("Conv", "Convolution"),
        ("BatchNormalization", "BatchNorm"),
        ("Attention", ""),  # "Flatten" has most of its letters
        ("Re", ""),
        ("norm_param", ""),
        ("pool_param", "pooling_param"),
        ("pooling", "pooling_param"),
        ("", ""),
    ],
)
def test_the_near_word_is_one_that_can_be_meant(word, meant):
    known = ["BatchNorm", "Convolution", "Flatten", "ReLU", "transform_param", "pooling_param"]
    assert near(word, known) == (f'did you mean "{meant}"?' if meant else "")
