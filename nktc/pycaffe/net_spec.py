"""Nets written in Python: each call of `layers` is a layer, what it returns are its tops, a NetSpec names them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
from google.protobuf.descriptor import FieldDescriptor

from nktc import schema, text
from nktc.errors import NktcError, Source, Span, near
from nktc.layers import find
from nktc.pycaffe.proto import caffe_pb2, union
from nktc.pycaffe.proto.caffe_pb2 import LayerParameter, NetParameter
from nktc.text import Field, Scalar, Tree

FIELDS = LayerParameter.DESCRIPTOR.fields_by_name
OWN = schema.LayerParameter.DESCRIPTOR.fields_by_name  # those that no fork has alone
# A tree has places, and these have none in any text: Python's traceback shows the line.
NOWHERE = Span(Source("", ""), 1, 1)


class SpecError(NktcError, TypeError):
    """A layer called with what its type does not take."""


class NotATop(SpecError):
    """A bottom that is no top, in the words that scripts know from Caffe; help is a note to them."""

    def __init__(self, type_name: str, index: int, given: object) -> None:
        super().__init__(f"{type_name} input {index} is not a Top (type is {type(given)})")
        if isinstance(given, tuple):
            self.add_note("help: a layer with several tops returns a tuple: write *tops")

    def __str__(self) -> str:
        return self.message


class Top:
    """What a layer makes; to be given to other layers as a bottom."""

    def __init__(self, fn: Function, n: int) -> None:
        self.fn = fn
        self.n = n

    def to_proto(self) -> NetParameter:
        """The net of all layers that this top needs, under names of their own."""
        return to_proto(self)


class Function:
    """A layer that has no name yet. `tops` are what it makes, `ntop` of them; `message` holds its settings, `params` as
    they were given."""

    def __init__(self, type_name: str, inputs: tuple[Top, ...], settings: Mapping[str, Any]) -> None:
        ours = {"ntop": 1, "in_place": False}
        ntop, self.in_place = ({**ours, **settings}[name] for name in ours)
        for index, given in enumerate(inputs):
            if not isinstance(given, Top):
                raise NotATop(type_name, index, given)
        if not isinstance(ntop, int) or ntop < 0:
            raise SpecError(f"{type_name}: ntop takes a whole number from 0, not {ntop!r}")
        if self.in_place and len(inputs) < ntop:
            raise SpecError(f"{type_name}: in_place has {ntop} tops and {len(inputs)} bottoms to put them in")
        self.type_name = type_name
        self.inputs = inputs
        self.ntop = ntop
        self.params = {name: value for name, value in settings.items() if name not in ours}
        self.tops = tuple(Top(self, n) for n in range(ntop))
        self.message = _message(type_name, self.params)

    def update(self, params: Mapping[str, Any]) -> None:
        """Give the layer other settings, or more of them. Raises SpecError, and keeps its own then."""
        params = {**self.params, **params}
        self.message = _message(self.type_name, params)
        self.params = params


class NetSpec:
    """A net that grows by attributes (`n.conv1 = L.Convolution(n.data, ...)`) or items (`n["conv1"]`). A top is called
    what it is assigned to, and a layer what its first top is. `tops` has them in the order of assignment. `keys`,
    `vals` and `update` are the SSD fork's."""

    tops: dict[str, Any]

    def __init__(self) -> None:
        super().__setattr__("tops", {})

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __getattr__(self, name: str) -> Any:
        tops = vars(self).get("tops", {})  # a copy being made has none yet
        if name not in tops:
            raise AttributeError(f'the net has no top "{name}"{_hint(name, tops)}')
        return tops[name]

    def __setitem__(self, name: str, value: Any) -> None:
        # As in Caffe a name may stand for a tuple of tops, until it is written.
        if not isinstance(value, Top | Function | tuple):
            raise SpecError(f'"{name}" is given a {type(value).__name__}, not a top')
        self.tops[name] = value

    def __getitem__(self, name: str) -> Any:
        return self.tops[name]

    def __delitem__(self, name: str) -> None:
        del self.tops[name]

    def keys(self) -> list[str]:
        """The names so far."""
        return [*self.tops]

    def vals(self) -> list[Any]:
        """What they stand for."""
        return [*self.tops.values()]

    def update(self, name: str, params: Mapping[str, Any]) -> None:
        """Give the layer behind a name other settings, or more of them. Raises SpecError."""
        made = self[name]
        (made.fn if isinstance(made, Top) else made).update(params)

    def __str__(self) -> str:
        return text.print_message(self.to_proto())

    def to_proto(self) -> NetParameter:
        """The net so far, layers in the order of assignment, those that others need before them. Layers and tops that
        were assigned to nothing are called after their type: Convolution1."""
        for name, top in self.tops.items():
            if not isinstance(top, Top | Function):
                help = f"name each of them: n.{name}, n.other = ..."
                raise SpecError(f'"{name}" is given a {type(top).__name__}, not a top', help=help)
        return _net(self.tops.values(), {top: name for name, top in self.tops.items()})


class Layers:
    """Every layer type as a function: `layers.Convolution(bottom, ..., num_output=20)`.

    Settings are named as in prototxt, and go to the message of the type that has them; a message is a dict, what is
    repeated a list. `ntop` is how many tops are returned: one, a tuple of several, or with 0 the layer itself.
    """

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def layer(*bottoms: Top, **settings: Any) -> Top | Function | tuple[Top, ...]:
            made = Function(name, bottoms, settings)
            return made.tops[0] if len(made.tops) == 1 else made.tops or made

        return layer


class Constant(int):
    """The number of a constant, which NetSpec writes by its name."""

    name: str


class Constants:
    """The constants of several messages that are called the same."""

    def __init__(self, *messages: Any) -> None:
        self._messages = messages

    def __getattr__(self, name: str) -> Constant:
        known = [value for message in self._messages for enum in message.DESCRIPTOR.enum_types for value in enum.values]
        for value in known:
            if value.name == name:
                made = Constant(value.number)
                made.name = name
                return made
        raise AttributeError(f'there is no constant "{name}"{_hint(name, [value.name for value in known])}')


class Parameters:
    """The constants of every type's settings: `params.Pooling.MAX`."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(caffe_pb2, f"{name}Parameter", None)
        if found is None:
            known = [other.removesuffix("Parameter") for other in dir(caffe_pb2) if other.endswith("Parameter")]
            raise AttributeError(f'nothing has parameters called "{name}"{_hint(name, known)}')
        other = union.SAME_NAME.get(f"{name}Parameter")
        return Constants(found, getattr(caffe_pb2, other)) if other else found


layers = Layers()
params = Parameters()


def to_proto(*tops: Top | Function) -> NetParameter:
    """The net of all layers that these tops need. Layers and tops are called after their type: Convolution1."""
    return _net(tops, {})


def _net(roots: Iterable[Top | Function], names: dict[Top | Function, str]) -> NetParameter:
    numbers: Counter[str] = Counter()

    def name(made: Top | Function, type_name: str) -> str:
        if made not in names:
            numbers[type_name] += 1
            names[made] = f"{type_name}{numbers[type_name]}"
        return names[made]

    written: dict[Function, LayerParameter] = {}
    for function in _in_order(roots):
        bottoms = [written[top.fn].top[top.n] for top in function.inputs]
        count, kind = len(function.tops), function.type_name
        tops = bottoms[:count] if function.in_place else [name(top, kind) for top in function.tops]
        called = name(function.tops[0] if count else function, kind)
        layer = LayerParameter(name=called, type=kind, bottom=bottoms, top=tops)
        layer.MergeFrom(function.message)
        written[function] = layer
    return NetParameter(layer=written.values())


def _in_order(roots: Iterable[Top | Function]) -> Iterable[Function]:
    """The layers of some tops, each after those it needs."""
    done: dict[Function, None] = {}
    for root in roots:
        # A chain of layers can be longer than Python's stack.
        path = [root.fn if isinstance(root, Top) else root]
        while path:
            needed = (top.fn for top in path[-1].inputs if top.fn not in done)
            following = next(needed, None)
            if following:
                path.append(following)
            else:
                done[path.pop()] = None
    return done


def _message(type_name: str, settings: Mapping[str, Any]) -> LayerParameter:
    """The settings of a layer, each in the message that has it. Raises SpecError, and for the type LayerError."""
    named = [name for name, field in FIELDS.items() if _type(field) == f"{type_name}Parameter"]
    if type_name not in schema.fork_types():
        taken = find(type_name).param
        # Another fork's layer may have a message of this name: CTPN's Lstm has LSTMParameter, LSTM has recurrent_param.
        named = [*dict.fromkeys((*(name for name in named if name in taken), *taken))]
    messages = [name for name in named if _type(FIELDS[name])]
    label = type_name + (f' "{settings["name"]}"' if "name" in settings else "")
    own: list[Field] = []
    inside: dict[str, list[Field]] = {}
    for name, value in settings.items():
        holding = [one for one in messages if name in _inside(FIELDS[one])]
        # What only forks have in one message may be everybody's in another.
        into = next((one for one in holding if name in _inside(OWN.get(one))), next(iter(holding), None))
        if name in FIELDS and (into is None or name.endswith("param")):
            for field in _fields(label, name, value, FIELDS[name]):
                if isinstance(field.value, Tree) and not schema.has_label(FIELDS[name], "repeated"):
                    inside[name] = _merged(inside.get(name, []), [*field.value.fields], _inside(FIELDS[name]))
                else:
                    own.append(field)
        elif into:
            fields = _fields(label, name, value, _inside(FIELDS[into])[name])
            inside[into] = _merged(inside.get(into, []), fields, _inside(FIELDS[into]))
        else:
            known = [*FIELDS, *(name for one in messages for name in _inside(FIELDS[one]))]
            raise SpecError(f'{label} has no setting "{name}"', help=near(name, known), code="unknown-field")
    own += [Field(name, _tree(fields), NOWHERE) for name, fields in inside.items()]
    errors: list[NktcError] = []
    message = text.bind(_tree(own), LayerParameter, errors)
    if errors:
        raise SpecError(f"{label}: {errors[0].message}", help=errors[0].help, code=errors[0].code)
    return message


def _merged(before: list[Field], after: list[Field], known: Mapping[str, FieldDescriptor]) -> list[Field]:
    """Settings of two sources: as in Caffe the later one counts where there is one value, and messages are put
    together."""
    once = {one.name for one in after if one.name in known and not schema.has_label(known[one.name], "repeated")}
    kept = {one.name: one.value for one in before if one.name in once}
    made = [one for one in before if one.name not in once]
    for one in after:
        was, now = kept.get(one.name), one.value
        if isinstance(was, Tree) and isinstance(now, Tree):
            now = _tree(_merged([*was.fields], [*now.fields], _inside(known[one.name])))
        made.append(Field(one.name, now, NOWHERE))
    return made


def _fields(label: str, name: str, value: Any, field: FieldDescriptor | None) -> list[Field]:
    """`name: value` as prototxt has it; a list is several. `field` is None where there is none of that name. As in
    Caffe, what an empty dict would be is left out."""
    if isinstance(value, Mapping) and not value and field and not schema.has_label(field, "repeated"):
        return []
    several = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
    return [Field(name, _value(label, name, one, field), NOWHERE) for one in (value if several else [value])]


def _value(label: str, name: str, value: Any, field: FieldDescriptor | None) -> Tree | Scalar:
    if isinstance(value, Mapping):
        known = _inside(field)
        items = ((str(key), inner) for key, inner in value.items())
        return _tree([one for key, inner in items for one in _fields(label, key, inner, known.get(key))])
    if isinstance(value, str):
        return Scalar("identifier" if field and field.enum_type else "string", value, NOWHERE)
    if isinstance(value, bytes):
        return Scalar("string", value.decode("utf-8", "surrogateescape"), NOWHERE)
    if isinstance(value, bool | np.bool_):
        return Scalar("identifier", str(bool(value)).lower(), NOWHERE)
    if isinstance(value, Constant) and field and field.enum_type:
        return Scalar("identifier", value.name, NOWHERE)
    if isinstance(value, Integral):
        return Scalar("number", str(int(value)), NOWHERE)
    if isinstance(value, Real):
        number = repr(float(value))
        return Scalar("identifier" if number in ("inf", "nan") else "number", number, NOWHERE)
    raise SpecError(f"{label}: {name} is given a {type(value).__name__}, which prototxt does not have")


def _tree(fields: Iterable[Field]) -> Tree:
    return Tree(tuple(fields), NOWHERE, NOWHERE)


def _inside(field: FieldDescriptor | None) -> Mapping[str, FieldDescriptor]:
    """The fields of the message in a field, by name."""
    return field.message_type.fields_by_name if field and field.message_type else {}


def _type(field: FieldDescriptor) -> str:
    """The name of the message in a field, "" where there is none."""
    return field.message_type.name if field.message_type else ""


def _hint(name: str, known: Iterable[str]) -> str:
    found = near(name, known)
    return f": {found}" if found else ""
