"""NetParameter to Graph: choose the layers of a state, connect them, infer every shape.

Caffe's semantics: a bottom names the latest top of that name; a layer whose top is its own bottom works in place.
The graph has no places, only values, so each version of such a blob is a value of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final

import numpy as np
from google.protobuf.message import DecodeError, Message

from nktc.errors import MOST, LayerError, NktcError, Note, Span, coded, in_order, near, raise_all
from nktc.files import read_bytes
from nktc.ir import (
    Feed,
    Graph,
    Layer,
    Locate,
    Node,
    Parameter,
    Phase,
    Value,
    Weight,
    array,
    catalogue,
    infer,
    size,
    times,
)
from nktc.layers import Input, check_filler, find
from nktc.reader.forks import DEPLOY, refusals, unknown_type
from nktc.reader.net_file import NetFile, must_exist
from nktc.reader.state import State, included
from nktc.schema import BlobProto, LayerParameter, NetParameter, ParamSpec
from nktc.text import Field, Tree

Feeds = Callable[[Layer], Feed]
"""What is known of a data layer; an Input is not asked after. Raises LayerError."""

SHAPED = ("shape", "shape-mismatch", "too-large", "shared-shape")
"""Codes of refusals that are understood from the shapes of the inputs."""


OURS = 20000
"""From this number on, fields are nktc's own."""

FACTORS: Final = ("lr_mult", "decay_mult")
"""What a param entry sets of a weight, whichever of the layers that share it gives it."""

Supposed = Callable[[Layer, Sequence[str]], Feed | None]
"""What a data layer, or an Input, is taken to feed into its tops, before anything else is asked; None: nothing is
known. Raises LayerError."""


def declared(layer: Layer) -> Feed:
    """The feed of a layer that declares its own shapes, as Input does."""
    shapes = layer.shape()
    return Feed(tuple(shapes) if isinstance(shapes, list) else (shapes,))


def build(
    net: NetFile,
    phase: Phase,
    *,
    level: int | None = None,
    stages: Sequence[str] = (),
    feeds: Feeds = declared,
    supposed: Supposed = lambda layer, tops: None,
) -> Graph:
    """The graph of a net in a phase. The net's own state gives the level where none is asked for, and further stages.

    Raises every refusal found, located; layers that depend on a refused one are
    passed over in silence."""
    said = net.message.state
    state = State(phase, said.level if level is None else level, (*said.stage, *stages))
    return _Builder(net, state, feeds, supposed, [*net.errors]).run()


@dataclass
class _Builder:
    net: NetFile
    state: State
    feeds: Feeds
    supposed: Supposed
    errors: list[NktcError]
    nodes: list[Node] = field(default_factory=list)
    blobs: dict[str, Value | None] = field(default_factory=dict)  # None: made by a refused layer
    producers: dict[str, Node] = field(default_factory=dict)  # by value name
    parameters: dict[str, Parameter] = field(default_factory=dict)
    shared: dict[str, tuple[str, Span | None]] = field(default_factory=dict)  # param name -> graph name
    rated: set[tuple[str, str]] = field(default_factory=set)  # param names and their factors that some layer gives
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    again: dict[tuple[str, str], tuple[NktcError, int]] = field(default_factory=dict)  # by place and code

    def run(self) -> Graph:
        if self.net.tree:
            self.errors += refusals(self.net.tree, NetParameter.DESCRIPTOR)
        chosen = []
        instances = self.net.instances or ((),) * len(self.net.trees)
        for message, tree, within in zip(self.net.message.layer, self.net.trees, instances, strict=True):
            try:
                with infer.place(message.type, message.name, locating(tree, self.net), within):
                    if included(message, self.state):
                        chosen.append((message, tree, within))
            except NktcError as error:
                self.errors.append(error)
                self._unknown(message)
        messages = _with_tops([message for message, _, _ in chosen])
        versions, names = _versions(messages), _names(messages)
        for name, message, (_, tree, within), tops in zip(names, messages, chosen, versions, strict=True):
            if len(self.errors) >= MOST:
                break
            if tree and any(tree.holds(error.at) for error in self.net.errors):
                # What it makes may be the very word that is wrong.
                self._unknown(message, _words(tree))
                continue
            if tree and (refused := refusals(tree)):
                self.errors += refused
                self._unknown(message)
                continue
            locate = locating(tree, self.net)
            known = [self.blobs.get(b) for b in message.bottom]
            inputs = [value for value in known if value is not None]
            try:
                with infer.place(message.type, name, locate):
                    self._connect(message)
                    if len(inputs) == len(known):
                        self._add(name, message, inputs, tops, locate)
                        continue
            except NktcError as error:
                origins = infer.origins(inputs, self.producers) if error.code in SHAPED else []
                self._refuse(error.located(locate(""), *origins, *within), within)
            self._unknown(message, [message.name])  # what is meant for its top may be called like the layer
        for first, count in self.again.values():
            if count:
                first.located(None, Note(f"the same in {count} more instance{'' if count == 1 else 's'}"))
        errors = in_order(self.errors)
        # A net that trains or scores a detector is refused in one sentence; what else it wants is no further news.
        raise_all([error for error in errors if error.help == DEPLOY] or errors)
        return Graph(
            self.net.message.name or "net",
            self.state.phase,
            tuple(self.nodes),
            self.parameters,
            self.arrays,
            labels=self.labels or _labels(self.net),
            force_backward=self.net.message.force_backward,
        )

    def _refuse(self, error: NktcError, within: Sequence[Note]) -> None:
        """Collect an error; what one layer of a block does wrong in many instances is one."""
        key = (str(error.at), error.code)
        if within and key in self.again:
            first, count = self.again[key]
            self.again[key] = (first, count + 1)
            return
        self.again[key] = (error, 0)
        self.errors.append(error)

    def _unknown(self, message: LayerParameter, others: Iterable[str] = ()) -> None:
        """Nothing is known of what a refused layer makes, nor of `others` that nobody else makes; a blob that it makes
        a second time is what it was."""
        for top in message.top:
            if top in message.bottom:
                self.blobs[top] = None
        for top in (*message.top, *others):
            self.blobs.setdefault(top, None)

    def _connect(self, message: LayerParameter) -> None:
        """Refuse what is wrong before any shape is known: the type, bottoms that nobody makes, tops made twice."""
        if not message.type:
            raise LayerError("has no type", field="type", help="nktc layers lists the types", code="unknown-type")
        if message.type not in catalogue() and (refusal := unknown_type(message.type)):
            raise refusal
        kind = find(message.type)
        for position, bottom in enumerate(message.bottom):
            if bottom not in self.blobs:
                self.blobs[bottom] = None  # told once
                made = [blob for blob, value in self.blobs.items() if value]
                help = near(bottom, made) or "a layer before this one has to make it"
                said = f'its bottom "{bottom}" is made by no layer before it'
                raise LayerError(said, field=f"bottom[{position}]", help=help, code="unknown-bottom")
        infer.count_inputs(kind, len(message.bottom))
        infer.count_outputs(kind, len(message.bottom), len(message.top))
        for position, top in enumerate(message.top):
            field = f"top[{position}]"
            if not top:
                raise LayerError("its top has no name", field=field, help='write top: "NAME"', code="no-name")
            if top in message.top[:position]:
                raise LayerError(f'makes its top "{top}" twice', field=field, code="top-twice")
            if top in message.bottom:
                if not kind.in_place:
                    help = f'give it a top of its own, such as "{message.name}"'
                    said = f'cannot work in place: its top "{top}" is its bottom'
                    raise LayerError(said, field=field, help=help, code="in-place")
                if list(message.bottom).index(top) != position:
                    said = f'its top "{top}" is a bottom in another position'
                    raise LayerError(said, field=field, code="in-place")
            elif value := self.blobs.get(top):
                error = LayerError(f'its top "{top}" is made by an earlier layer too', field=field, code="top-twice")
                maker = self.producers[value.name]
                raise error.located(None, Note(f'"{top}" is first made here, by "{maker.name}"', _name(maker)))

    def _add(
        self,
        name: str,
        message: LayerParameter,
        inputs: list[Value],
        tops: list[str],
        locate: Locate,
    ) -> None:
        kind = find(message.type)
        params = (getattr(message, param) for param in kind.param)
        with coded("setting"):
            _refuse_ours(message, kind)
            phase = Phase(message.phase) if message.HasField("phase") else self.state.phase
            layer = kind.read(*params, phase).with_tops(len(message.top)).beside(self.net.folder)
            if kind.in_place and any(top in message.bottom for top in message.top):
                layer = layer.overwriting()
        shapes_in = [value.shape for value in inputs]
        if layer.source:
            with coded("setting" if isinstance(layer, Input) else "data"):
                feed = self.supposed(layer, message.top)
                if feed is None:
                    feed = declared(layer) if isinstance(layer, Input) else self.feeds(layer)
            self.labels = self.labels or feed.labels
            shapes = list(feed.shapes[: len(tops)])
            if len(shapes) < len(tops):
                raise LayerError(f"feeds {len(shapes)} tops, not {len(tops)}", field="top", code="top-count")
        else:
            shapes = infer.shapes(layer, shapes_in)
        dtype = infer.precision(layer, [value.dtype for value in inputs])
        outputs = tuple(Value(top, shape, dtype) for top, shape in zip(tops, shapes, strict=True))
        node = Node(
            name,
            layer,
            tuple(inputs),
            outputs,
            self._hold(name, message, infer.weights(layer, shapes_in), locate),
            _loss_weights(message, layer),
            _propagate(message, self.net.message.force_backward),
            message,
            locate=locate,
        )
        self.nodes.append(node)
        for top, value in zip(message.top, outputs, strict=True):
            self.blobs[top] = value
            self.producers[value.name] = node

    def _hold(self, layer: str, message: LayerParameter, weights: dict[str, Weight], locate: Locate) -> dict[str, str]:
        """Enter a layer's weights as parameters, or find those it shares; returns its names of them to ours."""
        kept = [weight for weight in weights.values() if weight.kept]
        if len(message.param) > len(kept):
            said = f"has {_count(message.param, 'param entry', 'param entries')} for {_count(kept, 'weight')}"
            raise LayerError(said, field="param", code="param-count")
        if message.blobs and len(message.blobs) != len(kept):
            said = f"has {_count(message.blobs, 'blobs entry', 'blobs entries')} for {_count(kept, 'weight')}"
            raise LayerError(said, field="blobs", code="param-count")
        held = {}
        for index, (local, weight) in enumerate(weights.items()):
            with coded("setting"):
                check_filler(weight.filler, weight.shape)
            spec = message.param[index] if index < len(message.param) else ParamSpec()
            own = Parameter(f"{layer}.{local}", weight, layer, index, spec.lr_mult, spec.decay_mult)
            if not weight.learns and spec.HasField("lr_mult") and spec.lr_mult != 0:
                help = "it is state, not a learned weight: set lr_mult: 0, or leave the param entry out"
                said = f"its {local} has lr_mult {spec.lr_mult:g}"
                raise LayerError(said, field=f"param[{index}].lr_mult", help=help, code="state-learns")
            if spec.name and spec.name in self.shared:
                held[local] = self._share(spec, own)
                continue
            if spec.name:
                self.rated |= {(spec.name, factor) for factor in FACTORS if spec.HasField(factor)}
                self.shared[spec.name] = (own.name, locate(f"param[{index}].name"))
            self.parameters[own.name] = own
            if weight.file:
                self.arrays[own.name] = _read_weight(weight, self.net)
            elif message.blobs and weight.kept:
                self.arrays[own.name] = _given(message.blobs[index], own)
            held[local] = own.name
        return held

    def _share(self, spec: ParamSpec, own: Parameter) -> str:
        name, at = self.shared[spec.name]
        owner = self.parameters[name]
        ours, theirs = own.weight.shape, owner.weight.shape
        permissive = spec.share_mode == ParamSpec.PERMISSIVE
        if size(ours) != size(theirs) if permissive else ours != theirs:
            error = LayerError(
                f'its weight {times(ours)} cannot be "{spec.name}", which is {times(theirs)} in "{owner.layer}"',
                field=f"param[{own.index}].name",
                code="shared-shape",
            )
            raise error.located(None, Note(f'"{spec.name}" is first used here', at))
        for factor in (factor for factor in FACTORS if spec.HasField(factor)):
            given, held = getattr(spec, factor), getattr(owner, factor)
            # A layer may set what none before it gives, also where that is the default; two values are a mistake.
            if (spec.name, factor) in self.rated and given != held:
                raise LayerError(
                    f'{factor} {given:g} of "{spec.name}" differs from {held:g} in "{owner.layer}"',
                    field=f"param[{own.index}].{factor}",
                    code="shared-rate",
                )
            self.rated.add((spec.name, factor))
            owner = self.parameters[name] = replace(owner, **{factor: given})
        return name


def _refuse_ours(message: LayerParameter, kind: type[Layer]) -> None:
    """Refuse settings of nktc's that the type does not read. Caffe's are passed over, as Caffe does."""
    for given, value in message.ListFields():
        if given.number >= OURS and given.name not in kind.param:
            takers = sorted(name for name, one in catalogue().items() if given.name in one.param)
            raise LayerError(f"takes no {given.name}", field=given.name, help=f"it is for {', '.join(takers)}")
        if isinstance(value, Message) and given.name not in kind.param:
            for inner, _ in value.ListFields():
                if inner.number >= OURS:
                    raise LayerError(f"takes no {inner.name}", field=f"{given.name}.{inner.name}", help="leave it out")


def _versions(layers: Sequence[LayerParameter]) -> list[list[str]]:
    """The value name of every top. A blob that in-place layers overwrite has several versions: the last one has the
    blob's name, or the first where that is fed from outside; the others are `blob@layer`, after their makers."""
    names = _names(layers)
    found = [list(layer.top) for layer in layers]
    known = catalogue()
    fed = {top for layer in layers if layer.type in known and known[layer.type].source for top in layer.top}
    latest: dict[str, tuple[int, int]] = {}
    for i, layer in enumerate(layers):
        for j, top in enumerate(layer.top):
            if top in latest and top in layer.bottom:
                at, slot = latest[top]
                if top in fed:
                    found[i][j] = f"{top}@{names[i]}"
                else:
                    found[at][slot] = f"{top}@{names[at]}"
            latest[top] = (i, j)
    return found


def _names(layers: Sequence[LayerParameter]) -> list[str]:
    """A unique name a layer; Caffe tolerates missing and repeated ones."""
    names: list[str] = []
    taken: dict[str, int] = {}
    for position, layer in enumerate(layers):
        name = layer.name or f"{layer.type or 'layer'}{position}"
        taken[name] = taken.get(name, 0) + 1
        names.append(name if taken[name] == 1 else f"{name}#{taken[name]}")
    return names


def _with_tops(layers: Sequence[LayerParameter]) -> list[LayerParameter]:
    """A loss that names no top makes one all the same, called like the layer where no blob is: in Caffe it is
    anonymous."""
    taken = {blob for layer in layers for blob in (*layer.bottom, *layer.top)}
    found = []
    for layer in layers:
        kind = catalogue().get(layer.type)
        topped = layer
        if kind and kind.loss and not layer.top:
            top = layer.name or "(loss)"
            while top in taken:
                top += "(loss)"
            taken.add(top)
            topped = LayerParameter()
            topped.CopyFrom(layer)
            topped.top.append(top)
        found.append(topped)
    return found


def _loss_weights(message: LayerParameter, layer: Layer) -> tuple[float, ...]:
    given = tuple(message.loss_weight)
    if given and len(given) != len(message.top):
        said = f"has {len(given)} loss_weight for {_count(message.top, 'top')}"
        raise LayerError(said, field="loss_weight", code="loss-weight")
    if layer.loss and not given:
        if len(message.top) > 1:
            help = f"add {' '.join(['loss_weight: 1'] + ['loss_weight: 0'] * (len(message.top) - 1))}"
            said = f"is a loss with {len(message.top)} tops and no loss_weight"
            raise LayerError(said, field="top", help=help, code="loss-weight")
        return (1.0,)
    return given


def _propagate(message: LayerParameter, force_backward: bool) -> tuple[bool, ...]:
    """Through which inputs the gradient goes on; force_backward outweighs propagate_down, as in Caffe."""
    given = tuple(message.propagate_down)
    if given and len(given) != len(message.bottom):
        said = f"has {len(given)} propagate_down for {_count(message.bottom, 'bottom')}"
        raise LayerError(said, field="propagate_down", code="propagate-down")
    return () if force_backward else given


def _count(found: Sized, one: str, many: str = "") -> str:
    """ "1 top", "2 tops"."""
    return f"{len(found)} {one if len(found) == 1 else many or f'{one}s'}"


def _name(node: Node) -> Span | None:
    """Where a layer is named."""
    return node.locate("name") or node.at


def _words(tree: Tree) -> Iterator[str]:
    """Every name that a text has in it, in quotes or not."""
    for found in tree.fields:
        if isinstance(found.value, Tree):
            yield from _words(found.value)
        else:
            yield found.value.text


def _find(tree: Tree, path: str) -> Field | None:
    """The field at a path; "param[1].name" is in the second param, "param.name" in the last that has one."""
    first, _, rest = path.partition(".")
    name, _, index = first.rstrip("]").partition("[")
    if not index:
        return tree.find(path)
    found = next(islice(tree.all(name), int(index), None), None)
    if not found or not rest:
        return found
    return found.value.find(rest) if isinstance(found.value, Tree) else None


def locating(tree: Tree | None, net: NetFile) -> Locate:
    """Finds a field in a layer's text: among its own fields, then inside its parameter messages."""

    def locate(path: str) -> Span | None:
        if tree is None:
            return None
        found = _find(tree, path or "type")
        for inner in tree.fields if found is None else ():
            if isinstance(inner.value, Tree):
                found = inner.value.find(path or "type") or found
        if found is None and not path:
            found = next(iter(tree.fields), None)
        return found.extent() if found else None

    return locate


def _given(blob: BlobProto, own: Parameter) -> np.ndarray:
    """The values that the net itself has for a weight. Raises LayerError."""
    shape, field = own.weight.shape, f"blobs[{own.index}]"
    try:
        values = array(blob)
    except NktcError as error:
        raise LayerError(error.message, field=field, code="shape") from None
    if values.size != size(shape):
        problem = f"its blobs entry {own.index} has {times(values.shape)} numbers for a weight of {times(shape)}"
        raise LayerError(problem, field=field, code="shape")
    return values.reshape(shape)


def _read_weight(weight: Weight, net: NetFile) -> np.ndarray:
    """The values that the net names a .binaryproto for. Raises LayerError."""
    try:
        path = must_exist(weight.file, net.folder, "source")
        blob = BlobProto()
        blob.ParseFromString(read_bytes(path, "source"))
        values = array(blob)
    except DecodeError:
        raise LayerError(f"source {path} holds no BlobProto", field="source", code="file-unreadable") from None
    except NktcError as error:
        code = error.code or "file-unreadable"
        raise LayerError(error.message, field="source", help=error.help, code=code) from None
    if values.size != size(weight.shape):
        problem = f"source {path} holds {times(values.shape)} numbers, not {times(weight.shape)}"
        raise LayerError(problem, field="source", code="shape")
    return values.reshape(weight.shape)


def _labels(net: NetFile) -> tuple[str, ...]:
    """The class names of the net's label_file, one a line."""
    if not net.message.label_file:
        return ()
    at = net.span("label_file")
    path = must_exist(net.message.label_file, net.folder, "label_file", at)
    try:
        with coded("file-unreadable"):
            names = read_bytes(path, "label_file").decode()
    except NktcError as error:
        raise error.located(at) from None
    except UnicodeDecodeError:
        message, help = f"label_file {path} is no text in UTF-8", "give one class name a line"
        raise NktcError(message, at=at, help=help, code="file-unreadable") from None
    return tuple(line.strip() for line in names.splitlines() if line.strip())
