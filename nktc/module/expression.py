"""Python text of torch calls: with as few brackets as they need, and laid out as ruff format has it."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from nktc.module.trace import Call, Leaf, Made, Rows, Stored

WIDTH = 100
INDENT = "    "

# How tightly an expression holds together.
ATOM, POWER, SIGN, TIMES, PLUS, AND, OR, COMPARISON = 9, 8, 7, 6, 5, 4, 3, 2

_INFIX = {
    "add": ("+", PLUS),
    "sub": ("-", PLUS),
    "mul": ("*", TIMES),
    "div": ("/", TIMES),
    "true_divide": ("/", TIMES),
    "floor_divide": ("//", TIMES),
    "remainder": ("%", TIMES),
    "matmul": ("@", TIMES),
    "pow": ("**", POWER),
    "gt": (">", COMPARISON),
    "ge": (">=", COMPARISON),
    "lt": ("<", COMPARISON),
    "le": ("<=", COMPARISON),
    "eq": ("==", COMPARISON),
    "ne": ("!=", COMPARISON),
    "and": ("&", AND),
    "or": ("|", OR),
}
_SAME = {"truediv": "div", "floordiv": "floor_divide", "mod": "remainder"}
_REVERSED = {"rsub": "sub", "rtruediv": "div", "rdiv": "div", "rpow": "pow", "radd": "add", "rmul": "mul"}
_REVERSED |= {"rfloordiv": "floor_divide", "rmod": "remainder", "rmatmul": "matmul", "rand": "and", "ror": "or"}
_PREFIX = {"neg": "-", "__neg__": "-", "__invert__": "~", "bitwise_not": "~"}
_SPREAD = ["reshape", "view", "expand", "permute", "repeat", "flip"]
"""Methods that take a list as arguments too."""

# torch tells the settings of these, but not their defaults.
_CONVOLUTION = {"input": ..., "weight": ..., "bias": None, "stride": 1, "padding": 0}
_POOL = {"input": ..., "kernel_size": ..., "stride": None, "padding": 0}
_SETTINGS: dict[str, dict[str, Any]] = {
    "linear": {"input": ..., "weight": ..., "bias": None},
    "prelu": {"input": ..., "weight": ...},
    "gelu": {"input": ..., "approximate": "none"},
    "softplus": {"input": ..., "beta": 1, "threshold": 20},
    "pixel_shuffle": {"input": ..., "upscale_factor": ...},
    **{f"conv{d}d": _CONVOLUTION | {"dilation": 1, "groups": 1} for d in (1, 2, 3)},
    **{f"conv_transpose{d}d": _CONVOLUTION | {"output_padding": 0, "groups": 1, "dilation": 1} for d in (1, 2, 3)},
    **{f"max_pool{d}d": _POOL | {"dilation": 1, "ceil_mode": False, "return_indices": False} for d in (1, 2, 3)},
    **{
        f"avg_pool{d}d": _POOL | {"ceil_mode": False, "count_include_pad": True, "divisor_override": None}
        for d in (1, 2, 3)
    },
}


@dataclass(frozen=True)
class Text:
    """An expression. Where it ends in brackets, `head`, `items` and `tail` are its parts; the items of a call may
    share a line that those of a list may not."""

    text: str
    rank: int = ATOM
    head: str = ""
    items: tuple[Text, ...] = ()
    tail: str = ""

    def within(self, rank: int) -> str:
        """Its text as a part of something that holds together at least so tightly."""
        return self.text if self.rank >= rank else f"({self.text})"


def bracketed(head: str, items: Sequence[Text], tail: str) -> Text:
    """head(item, item)tail"""
    return Text(head + ", ".join(item.text for item in items) + tail, ATOM, head, tuple(items), tail)


def settings(call: Call) -> dict[str, Any]:
    """The arguments of a call of torch.nn.functional by name, those left out that are as they would be anyway; where
    torch tells no names, those given by name."""
    name = call.function.removeprefix("F.")
    known = _known(name)
    given = dict(zip(known, call.args, strict=False)) | call.kwargs
    if name in _SETTINGS:  # convolutions and pools take one number for all sides
        given = {key: one(value) for key, value in given.items()}
        if given.get("stride") == given.get("kernel_size", ...):
            del given["stride"]
    return {key: value for key, value in given.items() if key not in known or not _same(value, known[key])}


def write(call: Call, operand: Callable[[Leaf | Made | Stored], Text], batch: str) -> Text:
    """A call as Python. `operand` has the text of a tensor, `batch` that of the number of items."""
    writer = _Writer(operand, batch)
    room, _, name = call.function.partition(".")
    if room == "F":
        return writer.call(f"{call.function}(", *_arranged(call))
    found = writer.operator(name, call.args, call.kwargs)
    if found:
        return found
    if name == "addcmul" and not call.kwargs:
        x, y, b = (writer.value(call.args[i]) for i in (1, 2, 0))
        return Text(f"{x.within(TIMES)} * {y.within(POWER)} + {b.within(TIMES)}", PLUS)
    if room == "torch":
        return writer.call(f"{call.function}(", call.args, call.kwargs)
    self, *rest = call.args
    if name.endswith(".__get__"):
        return Text(f"{writer.value(self).within(ATOM)}.{name.removesuffix('.__get__')}")
    if name == "flatten" and len(rest) == 2 and rest[1] == -1:
        rest = rest[:1]
    if name in _SPREAD and len(rest) == 1 and isinstance(rest[0], tuple | list):
        rest = list(rest[0])
    if name in ("reshape", "view") and sum(isinstance(n, Rows) for n in rest) == 1 and -1 not in rest:
        rest = [-1 if isinstance(n, Rows) else n for n in rest]
    kwargs = {key: value for key, value in call.kwargs.items() if (key, value) != ("keepdim", False)}
    return writer.call(f"{writer.value(self).within(ATOM)}.{name}(", rest, kwargs)


def plain(value: Any) -> Text:
    """A value without tensors as Python."""
    return _Writer(lambda operand: Text(""), "").value(value)


def literal(value: Any) -> str:
    """A number, name or nothing as Python."""
    match value:
        case float() if math.isinf(value) or math.isnan(value):
            return f'float("{value}")'
        case float():
            if abs(value) == torch.finfo(torch.float32).max:
                return f"torch.finfo(torch.float32).{'max' if value > 0 else 'min'}"
            return repr(_short(value)).replace("e-0", "e-").replace("e+", "e")
        case str():
            return '"' + repr(value)[1:-1].replace('"', '\\"') + '"'
    return "..." if value is Ellipsis else str(value)


def statement(prefix: str, text: Text, depth: int) -> list[str]:
    """`prefix` and the expression, on one line where it fits."""
    margin = INDENT * depth
    if len(margin + prefix + text.text) <= WIDTH:
        return [margin + prefix + text.text]
    if not text.items:
        return [f"{margin}{prefix}(", f"{margin}{INDENT}{text.text}", f"{margin})"]
    inner = ", ".join(item.text for item in text.items)
    if text.head.endswith("(") and len(text.head) > 1 and len(margin + INDENT + inner) <= WIDTH:
        lines = [f"{margin}{INDENT}{inner}"]
    else:
        lines = []
        for item in text.items:
            *first, last = statement("", item, depth + 1)
            lines += [*first, f"{last},"]
    return [margin + prefix + text.head, *lines, margin + text.tail]


class _Writer:
    def __init__(self, operand: Callable[[Leaf | Made | Stored], Text], batch: str) -> None:
        self.operand = operand
        self.batch = batch

    def value(self, value: Any) -> Text:
        match value:
            case Leaf() | Made() | Stored():
                return self.operand(value)
            case Rows(times):
                rows = f"{self.batch}.shape[0]"
                return Text(rows) if times == 1 else Text(f"{times} * {rows}", TIMES)
            case tuple() if len(value) == 1:
                return Text(f"({self.value(value[0]).text},)")
            case tuple():
                return bracketed("(", [self.value(item) for item in value], ")")
            case list():
                return bracketed("[", [self.value(item) for item in value], "]")
            case torch.device():
                return Text(f"{self.batch}.device" if self.batch else '"cpu"')
            case int() | float() if value < 0:
                return Text(literal(value), SIGN)
        return Text(literal(value))

    def call(self, head: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Text:
        items = [self.value(value) for value in args]
        items += [_named(key, self.value(value)) for key, value in kwargs.items()]
        return bracketed(head, items, ")")

    def operator(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Text | None:
        """An operator, a subscript or an assignment to one; None where the function is none of these."""
        if name in ("__getitem__", "__setitem__"):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            found = Text(f"{self.value(args[0]).within(ATOM)}[{', '.join(map(self._index, index))}]")
            return found if name == "__getitem__" else Text(f"{found.text} = {self.value(args[2]).text}")
        if name in _PREFIX and len(args) == 1:
            return Text(_PREFIX[name] + self.value(args[0]).within(SIGN), SIGN)
        plain = name.strip("_") if name.startswith("__") else name
        plain = _SAME.get(plain, plain)
        alpha = kwargs.get("alpha", 1)
        if len(args) != 2 or name.startswith("__i") or set(kwargs) - {"alpha"} or name == "add_":
            return None
        a, b = map(self.value, args)
        if plain in _REVERSED:
            plain, a, b = _REVERSED[plain], b, a
        if plain not in _INFIX:
            return None
        sign, rank = _INFIX[plain]
        if sign == "+" and b.text.startswith("-") and b.rank == SIGN:
            sign, b = "-", Text(b.text[1:])
        if alpha != 1:
            if isinstance(alpha, int | float) and alpha < 0 and sign == "+":
                sign, alpha = "-", -alpha
            b = b if alpha == 1 else Text(f"{literal(alpha)} * {b.within(SIGN)}", TIMES)
        if rank == POWER:
            left, right = a.within(ATOM), b.within(SIGN)
            # As ruff format has it: spaces around it unless both sides are simple.
            space = "" if all(re.fullmatch(r"-?[\w.]+", side) for side in (left, right)) else " "
            return Text(f"{left}{space}**{space}{right}", rank)
        # a - (b - c) keeps its brackets, a + b - c needs none; comparisons do not chain.
        loose = rank + 1 if rank == COMPARISON else rank
        return Text(f"{a.within(loose)} {sign} {b.within(rank + 1)}", rank)

    def _index(self, index: Any) -> str:
        if not isinstance(index, slice):
            return self.value(index).text
        start, stop, step = ("" if part is None else self.value(part).text for part in _parts(index))
        simple = all(re.fullmatch(r"-?\w*", part) for part in (start, stop, step))
        if simple:
            return f"{start}:{stop}" + (f":{step}" if step else "")
        found = f"{start} :" if start else ":"
        found += f" {stop}" if stop else ""
        return found + (f" : {step}" if step else "")


def _named(key: str, text: Text) -> Text:
    return Text(f"{key}={text.text}", ATOM, f"{key}={text.head}" if text.items else "", text.items, text.tail)


def _parts(index: slice) -> tuple[Any, Any, Any]:
    return index.start, index.stop, index.step


def _known(name: str) -> dict[str, Any]:
    """The parameters of a function of torch.nn.functional with their defaults, `...` where there is none."""
    if name in _SETTINGS:
        return _SETTINGS[name]
    try:
        parameters = inspect.signature(getattr(F, name)).parameters
    except ValueError:
        return {}  # torch tells nothing of this one
    return {key: ... if p.default is p.empty else p.default for key, p in parameters.items()}


def _arranged(call: Call) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a call of torch.nn.functional, by position as far as they are tensors or have no default."""
    known = _known(call.function.removeprefix("F."))
    given, args = settings(call), [] if known else [*call.args]
    for key, default in known.items():
        if key not in given or not (default is ... or isinstance(given[key], Leaf | Made | Stored)):
            break
        args.append(given.pop(key))
    return args, given


def one(value: Any) -> Any:
    """(3, 3) as 3."""
    return value[0] if isinstance(value, tuple | list) and len({*value}) == 1 else value


def _same(value: Any, default: Any) -> bool:
    if isinstance(value, float):
        value = _short(value)
    return type(value) in (int, float, bool, str, type(None)) and value == default


def _short(value: float) -> float:
    """What was written: a setting of a prototxt is an f32, so that 0.1 is 0.10000000149011612."""
    single = np.float32(value)
    return float(str(single)) if float(single) == value else value
