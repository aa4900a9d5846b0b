"""What $name and ${expression} mean, and what they refuse."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nktc.errors import NktcError, Source, Span
from nktc.reader.expressions import substitute, whole
from nktc.text import Scalar, parse

AT = Span(Source("net.prototxt", "x: ${...}"), 1, 4, 6)
KNOWN = {
    field.name: field.value
    for field in parse(
        Source("known", 'width: 64 ratio: 0.75 first: true pool: MAX id: "2a" filler { type: "msra" } hex: 0x10')
    ).fields
}


def value(expression: str) -> tuple[str, str]:
    found = substitute(Scalar("parameter", expression, AT), KNOWN)
    assert isinstance(found, Scalar)
    return found.kind, found.text


@pytest.mark.parametrize(
    ("expression", "kind", "text"),
    [
        ("$width", "number", "64"),
        ("$ratio", "number", "0.75"),
        ("$pool", "identifier", "MAX"),
        ("$id", "string", "2a"),
        ("${4 * width}", "number", "256"),
        ("${width // 3}", "number", "21"),
        ("${width / 128}", "number", "0.5"),
        ("${int(width * ratio)}", "number", "48"),
        ("${-width % 10 + 2 - 1}", "number", "7"),
        ("${max(width, 100)}", "number", "100"),
        ("${min(width)}", "number", "64"),
        ("${2 if first else 1}", "number", "2"),
        ("${not first}", "identifier", "false"),
        ("${width > 10 and id == '2a'}", "identifier", "true"),
        ("${width > 100 or false}", "identifier", "false"),
        ("${pool != 'AVE'}", "identifier", "true"),
        ("${'abc'[1]}", "string", "b"),
        ("${id[-1]}", "string", "a"),
    ],
)
def test_an_expression_comes_to_a_word(expression: str, kind: str, text: str) -> None:
    assert value(expression) == (kind, text)


def test_a_parameter_may_be_a_whole_message() -> None:
    assert substitute(Scalar("parameter", "$filler", AT), KNOWN) is KNOWN["filler"]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("res${id}_branch", "res2a_branch"),
        ("$id/$width", "2a/64"),
        ("conv${width // 32 + 1}", "conv3"),
        ("$$HOME", "$HOME"),
        ("5$", "5$"),
        ("${first}", "true"),
    ],
)
def test_a_text_takes_parameters_in(text: str, meant: str) -> None:
    assert substitute(Scalar("string", text, AT), KNOWN) == Scalar("string", meant, AT)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("$widht", 'there is no parameter "widht" here'),
        ("${widht * 2}", 'there is no parameter "widht" here'),
        ("${1 +}", '"1 +" is no expression'),
        ("${}", '"" is no expression'),
        ("${" + "(" * 400 + "}", None),
        ("${" + "1+" * 300 + "1}", "this expression has 601 characters, more than 500"),
        ("${1 / 0}", '"1 / 0": division by 0'),
        ("${width % (64 - width)}", '"width % (64 - width)": division by 0'),
        ("${9999999999 * 9999999999}", '"9999999999 * 9999999999": the number is too large'),
        ("${1e308 * 1e308}", '"1e308 * 1e308": the number is too large'),
        ("${id * 1000}", '"id * 1000": "id" is no number'),
        ("${filler}", '"filler": filler is no number, text or truth'),
        ("${hex}", '"hex": hex is no number, text or truth'),
        ("${width ** 2}", '"width ** 2": "width ** 2" has no meaning here'),
        ("${__import__('os')}", None),
        ("${id.upper}", '"id.upper": "id.upper" has no meaning here'),
        ("${[1][0]}", '"[1][0]": "[1]" has no meaning here'),
        ("${id[2]}", '"id[2]": "id[2]" is no character of a text'),
        ("${int(1, 2)}", '"int(1, 2)": int takes one number'),
        ("${first + 1}", '"first + 1": "first" is no number'),
    ],
)
def test_what_comes_to_nothing_is_refused_at_its_place(expression: str, message: str | None) -> None:
    with pytest.raises(NktcError) as refusal:
        value(expression)
    assert refusal.value.at == AT
    assert message is None or refusal.value.message == message


def test_a_text_with_a_message_in_it_is_refused() -> None:
    with pytest.raises(NktcError, match="filler is a message, which no text can hold"):
        substitute(Scalar("string", "$filler", AT), KNOWN)


def test_texts_stay_short() -> None:
    long = {"x": Scalar("string", "x" * 600, AT)}
    with pytest.raises(NktcError, match="this text comes to 1200 characters, more than 1000"):
        substitute(Scalar("string", "$x$x", AT), long)


def test_only_whole_numbers_count_rounds() -> None:
    assert whole(Scalar("number", "3", AT)) == 3
    assert whole(Scalar("number", "3.5", AT)) is None
    assert whole(Scalar("identifier", "true", AT)) is None
    assert whole(KNOWN["filler"]) is None


ATOMS = st.one_of(st.integers(-100, 100).map(str), st.just("width"), st.floats(-10, 10, allow_nan=False).map(repr))
SUMS = st.recursive(
    ATOMS, lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({' '.join(t)})")
)


@given(SUMS)
def test_arithmetic_is_pythons(expression: str) -> None:
    expected = eval(expression, {"width": 64})
    assume(len(expression) <= 500 and "e" not in expression)
    try:
        found = value("${" + expression + "}")
    except NktcError:
        # Some step on the way was too large, so the numbers that it is made of are many.
        assume(False)
    assert found == ("number", repr(expected))


@given(st.text(max_size=60))
def test_any_text_is_a_value_or_refused_at_its_place(text: str) -> None:
    inside = text.translate({ord(c): "" for c in "{}"})
    for scalar in (Scalar("string", text, AT), Scalar("parameter", "${" + inside + "}", AT)):
        refusal = refused(scalar)
        assert refusal is None or refusal.at == AT


def refused(scalar: Scalar) -> NktcError | None:
    try:
        substitute(scalar, KNOWN)
    except NktcError as refusal:
        return refusal
    return None
