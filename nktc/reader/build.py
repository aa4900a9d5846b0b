"""NetParameter to Graph: choose the layers of a state, connect them, infer every shape.

Caffe's semantics: a bottom names the latest top of that name; a layer whose top is its own bottom works in place.
The graph has no places, only values, so each version of such a blob is a value of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from nktc.errors import LayerError, NktcError, Note, Span, near, raise_all
from nktc.files import read_bytes
from nktc.ir import Feed, Graph, Layer, Locate, Node, Parameter, Phase, Value, Weight, catalogue, infer, size, times
from nktc.layers import Input, find
from nktc.reader.net_file import NetFile, must_exist
from nktc.reader.state import State, included
from nktc.schema import LayerParameter, ParamSpec
from nktc.text import Tree

Feeds = Callable[[Layer], Feed]
"""What is known of a data layer; an Input is not asked after. Raises LayerError."""


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
) -> Graph:
    """The graph of a net in a phase. The net's own state gives the level where none is asked for, and further stages.

    Raises every refusal found, located; layers that depend on a refused one are
    passed over in silence."""
    said = net.message.state
    state = State(phase, said.level if level is None else level, (*said.stage, *stages))
    return _Builder(net, state, feeds).run()


@dataclass
class _Builder:
    net: NetFile
    state: State
    feeds: Feeds
    errors: list[NktcError] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    blobs: dict[str, Value | None] = field(default_factory=dict)  # None: made by a refused layer
    makers: dict[str, tuple[str, Span | None]] = field(default_factory=dict)  # by value name
    parameters: dict[str, Parameter] = field(default_factory=dict)
    shared: dict[str, tuple[str, Span | None]] = field(default_factory=dict)  # param name -> graph name
    labels: tuple[str, ...] = ()

    def run(self) -> Graph:
        chosen = []
        for message, tree in zip(self.net.message.layer, self.net.trees, strict=True):
            try:
                with infer.place(message.type, message.name, _locate(tree, self.net)):
                    if included(message, self.state):
                        chosen.append((message, tree))
            except NktcError as error:
                self.errors.append(error)
        versions = _versions([message for message, _ in chosen])
        names = _names([message for message, _ in chosen])
        for name, (message, tree), tops in zip(names, chosen, versions, strict=True):
            locate = _locate(tree, self.net)
            known = [self.blobs.get(b) for b in message.bottom]
            inputs = [value for value in known if value is not None]
            notes = infer.origins(inputs, self.makers.get)
            try:
                with infer.place(message.type, name, locate):
                    self._connect(message)
                if len(inputs) == len(known):
                    with infer.place(message.type, name, locate, notes):
                        self._add(name, message, inputs, tops, locate)
                    continue
            except NktcError as error:
                self.errors.append(error)
            self.blobs.update(dict.fromkeys(message.top))
        raise_all(self.errors)
        return Graph(
            self.net.message.name or "net",
            self.state.phase,
            tuple(self.nodes),
            self.parameters,
            labels=self.labels or _labels(self.net),
            force_backward=self.net.message.force_backward,
        )

    def _connect(self, message: LayerParameter) -> None:
        """Refuse what is wrong before any shape is known: the type, bottoms that nobody makes, tops made twice."""
        kind = find(message.type)
        for bottom in message.bottom:
            if bottom not in self.blobs:
                help = near(bottom, self.blobs) or "a layer before this one has to make it"
                raise LayerError(f'its bottom "{bottom}" is made by no layer before it', field="bottom", help=help)
        infer.count_inputs(kind, len(message.bottom))
        infer.count_outputs(kind, len(message.bottom), len(message.top))
        for position, top in enumerate(message.top):
            if top in message.top[:position]:
                raise LayerError(f'makes its top "{top}" twice', field="top")
            if top in message.bottom:
                if not kind.in_place:
                    help = f'give it a top of its own, such as "{message.name}"'
                    raise LayerError(f'cannot work in place: its top "{top}" is its bottom', field="top", help=help)
                if list(message.bottom).index(top) != position:
                    raise LayerError(f'its top "{top}" is a bottom in another position', field="top")
            elif top in self.blobs:
                value = self.blobs[top]
                maker = self.makers.get(value.name) if value else None
                error = LayerError(f'its top "{top}" is made by an earlier layer too', field="top")
                if maker:
                    error.notes = (Note(f'"{top}" is first made here, by "{maker[0]}"', maker[1]),)
                raise error

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
        layer = kind.read(*params, self.state.phase).with_tops(len(message.top))
        shapes_in = [value.shape for value in inputs]
        if layer.source:
            feed = declared(layer) if isinstance(layer, Input) else self.feeds(layer)
            self.labels = self.labels or feed.labels
            shapes = list(feed.shapes[: len(tops)])
            if len(shapes) < len(tops):
                raise LayerError(f"feeds {len(shapes)} tops, not {len(tops)}", field="top")
        else:
            shapes = infer.shapes(layer, shapes_in)
        outputs = tuple(Value(top, shape) for top, shape in zip(tops, shapes, strict=True))
        node = Node(
            name,
            layer,
            tuple(inputs),
            outputs,
            self._hold(name, message, infer.weights(layer, shapes_in), locate),
            _loss_weights(message, layer),
            _propagate(message),
            message,
            locate,
        )
        self.nodes.append(node)
        for top, value in zip(message.top, outputs, strict=True):
            self.blobs[top] = value
            self.makers[value.name] = (name, locate("name") or locate(""))

    def _hold(self, layer: str, message: LayerParameter, weights: dict[str, Weight], locate: Locate) -> dict[str, str]:
        """Enter a layer's weights as parameters, or find those it shares; returns its names of them to ours."""
        if len(message.param) > len(weights):
            raise LayerError(f"has {len(message.param)} param entries for {len(weights)} weights", field="param")
        held = {}
        for index, (local, weight) in enumerate(weights.items()):
            spec = message.param[index] if index < len(message.param) else ParamSpec()
            own = Parameter(f"{layer}.{local}", weight, layer, index, spec.lr_mult, spec.decay_mult)
            if not weight.learns and spec.HasField("lr_mult") and spec.lr_mult != 0:
                help = "it is state, not a learned weight: set lr_mult: 0, or leave the param entry out"
                raise LayerError(f"its {local} has lr_mult {spec.lr_mult:g}", field="param.lr_mult", help=help)
            if spec.name and spec.name in self.shared:
                held[local] = self._share(spec, own)
                continue
            if spec.name:
                self.shared[spec.name] = (own.name, locate("param.name"))
            self.parameters[own.name] = own
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
                field="param.name",
            )
            error.notes = (Note(f'"{spec.name}" is first used here', at),)
            raise error
        for factor in ("lr_mult", "decay_mult"):
            if spec.HasField(factor) and getattr(spec, factor) != getattr(owner, factor):
                # Caffe lets a sharer set what the owner leaves at its default; two different values are a mistake.
                if getattr(owner, factor) != 1.0:
                    raise LayerError(
                        f'{factor} {getattr(spec, factor):g} of "{spec.name}" differs from {getattr(owner, factor):g}'
                        f' in "{owner.layer}"',
                        field=f"param.{factor}",
                    )
                owner = self.parameters[name] = replace(owner, **{factor: getattr(spec, factor)})
        return name


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


def _loss_weights(message: LayerParameter, layer: Layer) -> tuple[float, ...]:
    given = tuple(message.loss_weight)
    if given and len(given) != len(message.top):
        raise LayerError(f"has {len(given)} loss_weight for {len(message.top)} tops", field="loss_weight")
    if layer.loss and not given:
        if len(message.top) > 1:
            help = f"add {' '.join(['loss_weight: 1'] + ['loss_weight: 0'] * (len(message.top) - 1))}"
            raise LayerError(f"is a loss with {len(message.top)} tops and no loss_weight", field="top", help=help)
        return (1.0,)
    return given


def _propagate(message: LayerParameter) -> tuple[bool, ...]:
    given = tuple(message.propagate_down)
    if given and len(given) != len(message.bottom):
        raise LayerError(f"has {len(given)} propagate_down for {len(message.bottom)} bottoms", field="propagate_down")
    return given


def _locate(tree: Tree | None, net: NetFile) -> Locate:
    """Finds a field in a layer's text: among its own fields, then inside its parameter messages."""

    def locate(path: str) -> Span | None:
        if tree is None:
            return None
        parts = path.split(".") if path else ["type"]
        found = tree.find(*parts)
        for inner in tree.fields if found is None else ():
            if isinstance(inner.value, Tree):
                found = inner.value.find(*parts) or found
        if found is None and not path:
            found = next(iter(tree.fields), None)
        return found.extent() if found else None

    return locate


def _labels(net: NetFile) -> tuple[str, ...]:
    """The class names of the net's label_file, one a line."""
    if not net.message.label_file:
        return ()
    at = net.span("label_file")
    path = must_exist(net.message.label_file, net.folder, "label_file", at)
    try:
        names = read_bytes(path, "label_file").decode()
    except NktcError as error:
        raise error.located(at) from None
    except UnicodeDecodeError:
        raise NktcError(f"label_file {path} is no text in UTF-8", at=at, help="give one class name a line") from None
    return tuple(line.strip() for line in names.splitlines() if line.strip())
