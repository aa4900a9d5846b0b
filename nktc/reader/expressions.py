"""The values of a block's parameters, and the little arithmetic between them: `$width`, `${4 * width}`.

An expression is written as in Python and knows numbers, texts, true and false; + - * / // %, comparisons, `and`, `or`,
`not`, `A if CONDITION else B`, one character of a text (`"abc"[index]`) and the functions int, max, min and round.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from nktc.errors import NktcError, Span, near
from nktc.text import Scalar, Tree

Number = int | float
Value = Scalar | Tree
"""What a parameter stands for: a word or a message, as it was written."""

LONGEST = 500  # characters of an expression
LARGEST = 2**63  # no field of prototxt holds a larger number
LONGEST_TEXT = 1000  # characters of a text with parameters in it
REFERENCE = re.compile(r"\$(?:\$|([A-Za-z_]\w*)|\{([^{}]*)\})", re.ASCII)
WHOLE = re.compile(r"-?\d+", re.ASCII)

ARITHMETIC: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
FUNCTIONS: dict[str, Callable[..., Number]] = {"int": int, "max": max, "min": min, "round": round}


def substitute(scalar: Scalar, known: Mapping[str, Value]) -> Value:
    """What a word of a block's body means where its parameters are `known`. Raises located NktcErrors."""
    if scalar.kind == "parameter":
        name, expression = REFERENCE.fullmatch(scalar.text).groups()  # type: ignore[union-attr]
        return (
            _look_up(name, known, scalar.span) if name else _scalar(_evaluate(expression, known, scalar.span), scalar)
        )
    if scalar.kind != "string" or "$" not in scalar.text:
        return scalar
    text = REFERENCE.sub(lambda match: _in_text(match, known, scalar.span), scalar.text)
    if len(text) > LONGEST_TEXT:
        raise _refusal(f"this text comes to {len(text)} characters, more than {LONGEST_TEXT}", scalar.span)
    return Scalar("string", text, scalar.span)


def whole(value: Value) -> int | None:
    """The whole number that a value is; None when it is none."""
    known = _known(value)
    return known if isinstance(known, int) and not isinstance(known, bool) else None


def _in_text(match: re.Match[str], known: Mapping[str, Value], at: Span) -> str:
    """What stands for a reference inside a text; `$$` is a dollar."""
    name, expression = match.groups()
    if match[0] == "$$":
        return "$"
    if name is None:
        return _scalar(_evaluate(expression, known, at), Scalar("parameter", "", at)).text
    value = _look_up(name, known, at)
    if isinstance(value, Tree):
        raise _refusal(f"{name} is a message, which no text can hold", at)
    return value.text


def _look_up(name: str, known: Mapping[str, Value], at: Span) -> Value:
    if name not in known:
        help = near(name, known) or f"there is {', '.join(known)}"
        raise _refusal(f'there is no parameter "{name}" here', at, help=help)
    return known[name]


def _known(value: Value) -> object:
    """A parameter's value as expressions have it; None for a message."""
    if isinstance(value, Tree):
        return None
    if value.kind == "number":
        try:
            return int(value.text) if WHOLE.fullmatch(value.text) else float(value.text.rstrip("fF"))
        except ValueError:  # hexadecimal, or thousands of digits
            return None
    if value.kind == "identifier" and value.text in ("true", "false"):
        return value.text == "true"
    return value.text


def _scalar(value: object, written: Scalar) -> Scalar:
    """An expression's value as it would have been written."""
    match value:
        case bool():
            return Scalar("identifier", str(value).lower(), written.span)
        case int() | float():
            return Scalar("number", repr(value), written.span)
    return Scalar("string", str(value), written.span)


def _evaluate(expression: str, known: Mapping[str, Value], at: Span) -> object:
    """The number, text or truth that an expression comes to. Raises NktcError at `at`."""
    if len(expression) > LONGEST:
        raise _refusal(f"this expression has {len(expression)} characters, more than {LONGEST}", at)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise _refusal(f'"{expression.strip()}" is no expression', at, help="write one as ${4 * width}") from None

    def refuse(what: str) -> NktcError:
        return _refusal(f'"{expression.strip()}": {what}', at)

    def number(node: ast.expr) -> Number:
        value = of(node)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise refuse(f'"{ast.unparse(node)}" is no number')
        return value

    def bounded(value: Number) -> Number:
        if abs(value) >= LARGEST or not math.isfinite(value):
            raise refuse("the number is too large")
        return value

    def of(node: ast.expr) -> object:
        match node:
            case ast.Constant(value=int() | float() | str() as value):
                return value
            case ast.Name(id="true" | "True"):
                return True
            case ast.Name(id="false" | "False"):
                return False
            case ast.Name(id=name):
                meant = _known(_look_up(name, known, at))
                if meant is None:
                    raise refuse(f"{name} is no number, text or truth")
                return meant
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -number(operand)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not of(operand)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
                a, b = bounded(number(left)), bounded(number(right))
                if b == 0 and not isinstance(op, ast.Add | ast.Sub | ast.Mult):
                    raise refuse("division by 0")
                return bounded(ARITHMETIC[type(op)](a, b))
            case ast.BoolOp(op=op, values=values):
                return all(map(of, values)) if isinstance(op, ast.And) else any(map(of, values))
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in COMPARISONS:
                if isinstance(op, ast.Eq | ast.NotEq):
                    return COMPARISONS[type(op)](of(left), of(right))
                return COMPARISONS[type(op)](number(left), number(right))
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return of(body) if of(test) else of(orelse)
            case ast.Subscript(value=inner, slice=index):
                text, place = of(inner), number(index)
                if not isinstance(text, str) or not isinstance(place, int) or not -len(text) <= place < len(text):
                    raise refuse(f'"{ast.unparse(node)}" is no character of a text')
                return text[place]
            case ast.Call(func=ast.Name(id=name), args=[_, *_] as args, keywords=[]) if name in FUNCTIONS:
                if len(args) > 1 and name in ("int", "round"):
                    raise refuse(f"{name} takes one number")
                given = [bounded(number(arg)) for arg in args]
                return FUNCTIONS[name](*given) if len(given) > 1 or name in ("int", "round") else given[0]
        raise refuse(f'"{ast.unparse(node)}" has no meaning here')

    try:
        return of(tree.body)
    except RecursionError:
        raise refuse("it is nested too deep") from None


def _refusal(message: str, at: Span, help: str = "") -> NktcError:
    return NktcError(message, at=at, help=help, code="block-expression")
