"""What a layer does with tensors: every torch call of its forward, settings and shapes worked in.

Only forward itself knows this, so it is run, on tensors without values where that can be, and torch tells each call.
"""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, resolve_name

from nktc.errors import LayerError
from nktc.ir import Shape

_ABOUT = {"dim", "ndimension", "size", "numel", "nelement", "stride", "element_size", "type", "is_contiguous"}
_ABOUT |= {"is_floating_point", "__len__"}
"""Methods of Tensor that give no tensor and say nothing of its values."""
_SHAPES = {"reshape", "view", "view_as", "reshape_as", "expand", "expand_as", "flatten", "squeeze", "detach"}
"""Methods of Tensor that may change nothing but the shape."""


@dataclass(frozen=True)
class Leaf:
    """An input or a weight, by forward's name of it."""

    name: str


@dataclass(frozen=True)
class Made:
    """What a call made; `part` counts the tensors of a call that makes several."""

    call: int
    part: int = 0


@dataclass(frozen=True)
class Rows:
    """A number that follows the batch: `times` as large."""

    times: int


@dataclass(frozen=True, eq=False)
class Stored:
    """Numbers that forward brings along."""

    numbers: Tensor


Operand = Leaf | Made | Stored


@dataclass
class Call:
    """One torch call, such as F.relu, torch.cat or Tensor.add. Tensors among its arguments are Operands. `changes` is
    the storage that it writes to in place; `names` are the author's, of each tensor it makes, where there are any."""

    function: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    shapes: tuple[Shape, ...] = ()
    several: bool = False
    changes: int | None = None
    storages: tuple[int, ...] = ()
    names: dict[int, str] = field(default_factory=dict)

    def operands(self) -> Iterator[Operand]:
        """The tensors it is given, in order."""
        yield from _operands((self.args, self.kwargs))


@dataclass
class Trace:
    """The calls in order, and what forward returns; `shapes` are those of the leaves."""

    shapes: dict[str, Shape]
    calls: list[Call] = field(default_factory=list)
    results: tuple[Operand, ...] = ()

    def shape(self, operand: Operand) -> Shape:
        match operand:
            case Leaf(name):
                return self.shapes[name]
            case Made(call, part):
                return self.calls[call].shapes[part]
        return tuple(operand.numbers.shape)

    def live(self) -> list[int]:
        """The calls that the results are made by. What only updates weights is left out."""
        wanted: set[Operand] = set(self.results)
        storages = {self.storage(operand) for operand in wanted}
        found = []
        for i in reversed(range(len(self.calls))):
            call = self.calls[i]
            made = {Made(i, part) for part in range(len(call.shapes))}
            if made & wanted or (call.changes is not None and call.changes in storages):
                found.append(i)
                wanted.update(call.operands())
                storages.update(self.storage(operand) for operand in call.operands())
        return found[::-1]

    def storage(self, operand: Operand) -> int | None:
        return self.calls[operand.call].storages[operand.part] if isinstance(operand, Made) else None


def trace(
    forward: Callable[..., Any],
    inputs: Sequence[Shape],
    weights: Mapping[str, Shape],
    batches: Sequence[Sequence[Shape]] = (),
) -> Trace:
    """The calls of a forward. With `batches`, the shapes of the inputs with a batch of 2 and of 3, numbers that follow
    the batch are told from others. Raises LayerError where what it does depends on the values."""
    if batches:
        try:
            return _merged(*(_run(forward, shapes, weights) for shapes in batches))
        except _Differs:
            pass
    return _run(forward, inputs, weights)


class _Differs(Exception):
    """Two runs are not explained by their batch."""


def _run(forward: Callable[..., Any], inputs: Sequence[Shape], weights: Mapping[str, Shape]) -> Trace:
    try:
        return _record(forward, inputs, weights, "meta")
    except (RuntimeError, NotImplementedError):
        # Not everything is possible without values.
        return _record(forward, inputs, weights, "cpu")


def _record(forward: Callable[..., Any], inputs: Sequence[Shape], weights: Mapping[str, Shape], device: str) -> Trace:
    with torch.device(device), torch.no_grad():
        given = [torch.zeros(shape) for shape in inputs]
        held = {name: torch.zeros(shape) for name, shape in weights.items()}
        leaves = dict(zip(input_names(forward, len(given)), given, strict=True)) | held
        recorder = _Recorder(leaves, inspect.unwrap(forward).__code__)
        with recorder:
            made = forward(*given, **held)
    for number, name in recorder.names.items():
        operand = recorder.known.get(number)
        if isinstance(operand, Made):
            recorder.trace.calls[operand.call].names[operand.part] = name
    recorder.trace.results = tuple(map(recorder.operand, made if isinstance(made, tuple | list) else (made,)))
    return recorder.trace


def input_names(forward: Callable[..., Any], inputs: int) -> list[str]:
    """What forward calls its inputs; x0, x1, .. where it takes any number."""
    names: list[str] = []
    for name, parameter in inspect.signature(forward).parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            names += [f"x{i}" for i in range(inputs - len(names))]
        elif parameter.kind is not parameter.KEYWORD_ONLY:
            names.append(name)
    return names[:inputs]


class _Recorder(TorchFunctionMode):
    def __init__(self, leaves: Mapping[str, Tensor], code: types.CodeType) -> None:
        super().__init__()
        self.code = code
        self.trace = Trace({name: tuple(tensor.shape) for name, tensor in leaves.items()})
        self.known: dict[int, Operand] = {id(tensor): Leaf(name) for name, tensor in leaves.items()}
        self.names: dict[int, str] = {}
        self.nothing: set[Operand] = set()
        """Zeros that are there for their gradient, such as x - x.detach()."""
        self._kept: list[Any] = []  # so that no id is given twice

    def operand(self, tensor: Tensor) -> Operand:
        self._kept.append(tensor)
        return self.known.setdefault(id(tensor), Stored(tensor))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "namespace", "") == "nktc" and func._schema.returns:
            help = "nktc export writes it with the operators of ONNX"
            raise LayerError("what it computes is not written with operators of torch alone", help=help)
        function = _function(func)
        plain = self._plain(args), self._plain(kwargs)
        self._read_names(sys._getframe(1))
        made = func(*args, **kwargs)
        tensors = [made] if isinstance(made, Tensor) else list(made) if isinstance(made, tuple | list) else []
        writes = _writes(function) or bool(kwargs.get("inplace"))
        if not all(isinstance(tensor, Tensor) for tensor in tensors) or not (tensors or writes):
            tail = function.rpartition(".")[2]
            if tail not in _ABOUT and tail != "__get__" and any(_operands(plain)):
                raise LayerError(f"what it computes depends on the values it is given ({tail})")
            return made
        copied = None if writes or len(tensors) != 1 else self._copied(function, plain, tensors[0])
        if copied is not None:
            self.known[id(made)] = copied
            self._kept.append(made)
            return made
        call = Call(function, *plain, tuple(tuple(t.shape) for t in tensors), not isinstance(made, Tensor))
        call.storages = tuple(map(_storage, tensors))
        if function == "F.batch_norm" and call.kwargs.get("training"):
            # What it makes of the batch's own moments is state, which nobody reads.
            call.args, call.kwargs = (call.args[0], None, None, *call.args[3:]), call.kwargs | {"momentum": 0.1}
        elif writes:
            # Of the tensors of a torch._foreach_mul_, state that nobody reads, the first stands for all.
            call.changes = _storage(args[0] if isinstance(args[0], Tensor) else args[0][0])
        self.trace.calls.append(call)
        self._kept.append((args, kwargs, made))
        for part, tensor in enumerate(tensors):
            self.known.setdefault(id(tensor), Made(len(self.trace.calls) - 1, part))
        if (function == "Tensor.sub" and plain[0][0] == plain[0][1]) or (
            function in ("Tensor.mul", "Tensor.div") and any(one in self.nothing for one in _operands(plain[0]))
        ):
            self.nothing.add(self.known[id(made)])
        return made

    def _read_names(self, frame: types.FrameType | None) -> None:
        """Note what forward calls its tensors by now."""
        while frame is not None and frame.f_code is not self.code:
            frame = frame.f_back
        if frame is not None:
            self.names |= {id(value): name for name, value in frame.f_locals.items() if isinstance(value, Tensor)}

    def _plain(self, value: Any) -> Any:
        """`value` with operands for tensors."""
        match value:
            case Tensor():
                return self.operand(value)
            case tuple() | list():
                return tuple(map(self._plain, value)) if isinstance(value, tuple) else list(map(self._plain, value))
            case dict():
                return {key: self._plain(item) for key, item in value.items()}
            case slice():
                return slice(self._plain(value.start), self._plain(value.stop), self._plain(value.step))
        return value

    def _copied(self, function: str, given: tuple[Any, Any], made: Tensor) -> Operand | None:
        """The argument that a call only hands on."""
        args = given[0]
        for one in args:
            if isinstance(one, Leaf | Made) and self.known.get(id(made)) == one:
                return one
        if not args or not isinstance(args[0], Leaf | Made) or self.trace.shape(args[0]) != tuple(made.shape):
            return None
        match function.removeprefix("Tensor."), args[1:]:
            case (("add" | "sub" | "mul" | "div"), (int() | float() as number,)) if made.is_floating_point():
                same = number == (0 if function in ("Tensor.add", "Tensor.sub") else 1)
            case (("add" | "sub"), (other,)) if isinstance(other, Leaf | Made):
                same = other in self.nothing
            case "__getitem__", (index,):
                parts = index if isinstance(index, tuple) else (index,)
                same = all(part is ... or (isinstance(part, slice) and part.step in (None, 1)) for part in parts)
            case "F.pad", (sides, *_):
                same = not any(sides)
            case name, _:
                same = name in _SHAPES
        return args[0] if same else None


def _function(func: Any) -> str:
    """F.relu, torch.cat, Tensor.add, Tensor.T.__get__."""
    name = resolve_name(func) or getattr(func, "__name__", "")
    tail = name.rpartition(".")[2]
    if name == "torch.group_norm":
        return "F.group_norm"
    if name.startswith("torch.Tensor."):
        return name.removeprefix("torch.")
    return f"F.{tail}" if name.startswith("torch.nn.functional.") or not hasattr(torch, tail) else f"torch.{tail}"


def _writes(function: str) -> bool:
    """Whether a function changes its first argument."""
    tail = function.rpartition(".")[2]
    return tail == "__setitem__" or (tail.endswith("_") and not tail.endswith("__"))


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _operands(value: Any) -> Iterator[Operand]:
    match value:
        case Leaf() | Made() | Stored():
            yield value
        case tuple() | list():
            for item in value:
                yield from _operands(item)
        case dict():
            yield from _operands(list(value.values()))
        case slice():
            yield from _operands([value.start, value.stop, value.step])


def _merged(a: Trace, b: Trace) -> Trace:
    """The trace with a batch of 2, with Rows for what differs from that with a batch of 3. Raises _Differs."""
    if len(a.calls) != len(b.calls):
        raise _Differs
    _follow(a.results, b.results)
    for one, other in zip(a.calls, b.calls, strict=True):
        if one.function != other.function:
            raise _Differs
        one.args, one.kwargs = _follow(one.args, other.args), _follow(one.kwargs, other.kwargs)
    return a


def _follow(a: Any, b: Any) -> Any:
    match a, b:
        case Stored(), Stored():
            if a.numbers.shape != b.numbers.shape or not torch.equal(a.numbers, b.numbers):
                raise _Differs
            return a
        case ((tuple() | list()), (tuple() | list())) if len(a) == len(b):
            followed = [_follow(x, y) for x, y in zip(a, b, strict=True)]
            return followed if isinstance(a, list) else tuple(followed)
        case dict(), dict() if a.keys() == b.keys():
            return {key: _follow(a[key], b[key]) for key in a}
        case slice(), slice():
            return slice(*(_follow(getattr(a, s), getattr(b, s)) for s in ("start", "stop", "step")))
        case int(), int() if a != b and 3 * a == 2 * b:
            return Rows(a // 2)
    if a != b and not (a != a and b != b):
        raise _Differs
    return a
