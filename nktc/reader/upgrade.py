"""Old spellings of nets and solvers, brought to today's, on the text.

Three ages of Caffe are read: V0 of 2013 (`layers { layer { type: "conv" kernelsize: 5 } }`), V1 of 2014
(`layers { type: CONVOLUTION blobs_lr: 1 }`) and today's `layer`. What comes out is what Caffe's own upgrade makes of
them, with every comment of the old text, and with the places of the old fields.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product, zip_longest

from nktc.errors import NktcError, Note, Span, coded, near, raise_all
from nktc.ir import catalogue
from nktc.reader import forks
from nktc.reader.old_names import (
    SOLVERS,
    SPECS,
    TRANSFORM,
    TRANSFORMED,
    V0_RENAMED,
    V0_SETTINGS,
    V0_TRANSFORM,
    V0_TYPES,
    V1_TYPES,
)
from nktc.schema import SolverParameter, V1LayerParameter, old_types
from nktc.text import Field, Scalar, Tree, bind

INPUT = ("input", "input_shape", "input_dim")
NETS = ("net_param", "train_net_param", "test_net_param")  # of a solver
STATISTICS = 3  # weights of BatchNorm: mean, variance and their divisor
TRUE = ("true", "True", "t", "1")


def upgrade_net(net: Tree) -> Tree:
    """`net` in today's syntax, and what forks write otherwise as ours has it; `net` itself where it is so already. It
    binds, but for what is wrong inside today's layers. Raises located NktcErrors."""
    return forks.ours(upgrade_old(net))[0]


@coded("cannot-upgrade")
def upgrade_old(net: Tree) -> Tree:
    """`net` in today's syntax, `net` itself where it is already, with what forks write otherwise as it is. The Input
    layer made of a net's `input` fields is the first layer. Raises located NktcErrors."""
    _refuse_mixture(net)
    today = _mapped(_fold_padding(net), lambda field: _layer(field) if field.name == "layers" else field)
    today = _mapped(_with_input_layer(today), _still)
    _refuse_ignored(today)
    return today


@coded("cannot-upgrade")
def upgrade_solver(solver: Tree) -> Tree:
    """`solver`, and the nets in it, in today's syntax, `solver` itself where it is already. Raises located NktcErrors,
    all that `bind` has too."""
    bind(solver, SolverParameter)
    old, today = solver.find("solver_type"), solver.find("type")
    if old and today:
        note = Note("type is given here", today.extent())
        message = "solver_type and type both name the solver"
        raise NktcError(message, at=old.extent(), notes=[note], help="leave out solver_type")
    return _mapped(solver, _solver_field)


def _solver_field(field: Field) -> Field:
    if field.name == "solver_type":
        # bind knows names and numbers.
        said = bind(Tree((field,), field.span, field.span), SolverParameter).solver_type
        today = SOLVERS[SolverParameter.SolverType.Name(said)]
        return replace(field, name="type", value=Scalar("string", today, field.value.span))
    if field.name in NETS and isinstance(field.value, Tree):
        return _with_value(field, upgrade_net(field.value))
    return forks.solver_ours(field)


def _refuse_mixture(net: Tree) -> None:
    firsts = [field for name in ("layer", "layers") for field in [*net.all(name)][:1]]
    if len(firsts) < 2:
        return
    first, second = sorted(firsts, key=lambda field: _order(field.span))
    note = Note(f"the first {first.name} is here", first.extent())
    message = "a net has layer, or in the old spelling layers, but not both"
    raise NktcError(message, at=second.extent(), notes=[note])


def _refuse_ignored(net: Tree) -> None:
    """Refuse a data layer's old transform settings in today's `layer`: Caffe reads and then ignores them."""
    errors = []
    known = catalogue()
    for layer in net.all("layer"):
        if _word(layer.value, "type") not in known:
            continue
        for param, name in product(dict.fromkeys((*TRANSFORMED.values(), "video_data_param")), TRANSFORM):
            if isinstance(layer.value, Tree) and (found := layer.value.find(param, name)):
                help = f"write {name} in transform_param, or leave it out as Caffe does"
                message = f"{name} has no effect in the {param} of a layer"
                errors.append(NktcError(message, at=found.extent(), help=help, code="no-effect"))
    raise_all(errors)


def _fold_padding(net: Tree) -> Tree:
    """The net without V0 layers of type padding, whose pad, and what is said of them, goes to the conv or pool that
    reads them; what is said of those that nobody reads goes to the field after them."""
    if not any(_kind(field) for field in net.all("layers")):
        return net
    kept: list[Field] = []
    padding: dict[str, Field] = {}  # by the blob it writes
    untold: dict[int, tuple[int, Field]] = {}  # by id: how many fields are kept before it, itself
    for field in net.fields:
        sources, bottoms, tops = [], _words(field.value, "bottom"), _words(field.value, "top")
        if field.name == "layers":
            sources = [padding[bottom] for bottom in bottoms if bottom in padding]
        if sources:
            name = f'padding "{_word(sources[0].value, "layer.name")}" is read by a layer'
            if _kind(field) not in ("conv", "pool"):
                raise NktcError(f"{name} that cannot pad", at=field.value.span, help="only conv and pool can")
            if len(bottoms) != 1:
                raise NktcError(f"{name} with {len(bottoms)} bottoms", at=field.value.span, help="give it one")
            field = _padded(field, sources[0])
            if told := untold.pop(id(sources[0]), None):
                field = _saying(_said(told[1]), field)
        if _kind(field) == "padding":
            if len(bottoms) != 1 or len(tops) != 1:
                message = f"padding takes 1 bottom and 1 top, not {len(bottoms)} and {len(tops)}"
                raise NktcError(message, at=field.value.span)
            padding[tops[0]] = field
            untold[id(field)] = (len(kept), field)
            continue
        for top in tops:
            padding.pop(top, None)
        kept.append(field)
    closing = net.closing
    for position, field in reversed(untold.values()):
        if position < len(kept):
            kept[position] = _saying(_said(field), kept[position])
        else:
            closing = (*_said(field), *closing)
    return replace(net, fields=tuple(kept), closing=closing)


def _padded(reader: Field, source: Field) -> Field:
    """A V0 layer that takes the pad of the padding layer it reads, and reads what that reads."""
    assert isinstance(reader.value, Tree)
    assert isinstance(source.value, Tree)
    found, bottom = source.value.find("layer", "pad"), source.value.find("bottom")
    at = source.value.span
    pad = Field("pad", found.value, found.span) if found else Field("pad", Scalar("number", "0", at), at)

    def change(field: Field) -> Field:
        if field.name == "bottom" and bottom:
            return replace(field, value=bottom.value, span=bottom.span)
        if field.name == "layer" and isinstance(field.value, Tree):
            if own := field.value.find("pad"):
                pads = replace(own, value=pad.value, span=pad.span)
                return _with_value(field, _mapped(field.value, lambda inner: pads if inner is own else inner))
            return _with_value(field, replace(field.value, fields=(*field.value.fields, pad)))
        return field

    return _with_value(reader, _mapped(reader.value, change))


def _layer(old: Field) -> Field:
    """Today's layer for a V1 layer, or for the V0 layer in one."""
    assert isinstance(old.value, Tree)
    tree = _from_v0(old.value) if old.value.find("layer") else _mapped(old.value, _v1_type)
    return replace(old, name="layer", value=_with_transform_param(_with_params(tree)))


def _v1_type(field: Field) -> Field:
    if field.name != "type":
        return field
    if today := old_types().get(field.value.text) if isinstance(field.value, Scalar) else None:
        return replace(field, value=Scalar("string", today, field.value.span))
    # bind knows names and numbers.
    name = V1LayerParameter.LayerType.Name(bind(Tree((field,), field.span, field.span), V1LayerParameter).type)
    if name not in V1_TYPES:
        raise NktcError("NONE is no type of layer", at=field.extent(), code="unknown-type")
    return replace(field, value=Scalar("string", V1_TYPES[name], field.value.span))


def _from_v0(old: Tree) -> Tree:
    """The V1 layer that `old` is with the V0 layer in it, its type already today's; settings that its type does not
    have are dropped, as Caffe drops them."""
    outer = [field for field in old.fields if field.name != "layer"]
    for field in outer:
        if field.name not in ("bottom", "top"):
            message = f"{field.name} has no effect beside a layer of the oldest spelling"
            help = f"leave {field.name} out as Caffe does, or write the layer in today's syntax"
            raise NktcError(message, at=field.extent(), help=help, code="no-effect")
    inner = old.find("layer")
    assert inner
    assert isinstance(inner.value, Tree)
    kind = _word(inner.value, "type")
    if kind not in V0_TYPES:
        at = (inner.value.find("type") or inner).extent()
        help = near(kind, V0_TYPES)
        raise NktcError(f'unknown old layer type "{kind}"', at=at, help=help, code="unknown-type")
    param, names = V0_SETTINGS.get(kind, ("", ""))
    head: list[Field] = []
    messages: dict[str, list[Field]] = {"": []}  # by name; "" are fields of the layer itself
    left = tuple(filter(None, (*inner.comments, inner.value.opening, inner.aside)))
    for field in inner.value.fields:
        name, into, told = field.name, "", _saying(left, field)
        if name == "type":
            told = replace(told, value=Scalar("string", V0_TYPES[kind], field.value.span))
        elif name in names.split():
            into, told = param, replace(told, name=V0_RENAMED.get(name, name))
        elif name in V0_TRANSFORM:
            into, told = "transform_param", replace(told, name=V0_TRANSFORM[name])
        elif name not in ("name", "blobs", *SPECS) and (kind, name) != ("hdf5_output", "hdf5_output_param"):
            left = _said(told)
            continue
        left = ()
        (head if name in ("name", "type") else messages.setdefault(into, [])).append(told)
    fields = (*head, *outer, *messages.pop(""), *(_message(name, inside) for name, inside in messages.items()))
    return replace(old, fields=fields, closing=(*left, *inner.value.closing, *old.closing))


def _with_params(tree: Tree) -> Tree:
    """A layer whose i-th `param` has what the i-th blobs_lr, weight_decay and so on said."""
    columns = [[replace(field, name=today) for field in tree.all(old)] for old, today in SPECS.items()]
    params = [_message("param", [field for field in row if field]) for row in zip_longest(*columns)]
    fields: list[Field] = []
    for field in tree.fields:
        if field.name in SPECS:
            fields += params
            params = []
        else:
            fields.append(field)
    return replace(tree, fields=tuple(fields))


def _with_transform_param(tree: Tree) -> Tree:
    """A layer with its data settings for pictures moved to transform_param, where they overrule what is there."""
    kind = _word(tree, "type")
    settings = tree.find(TRANSFORMED[kind]) if kind in TRANSFORMED else None
    if not settings or not isinstance(settings.value, Tree):
        return tree
    moved = [field for field in settings.value.fields if field.name in TRANSFORM]
    if not moved:
        return tree
    stay = _with_value(settings, _without(settings.value, moved))
    own = tree.find("transform_param")
    if not own or not isinstance(own.value, Tree):
        fields: list[Field] = []
        for field in tree.fields:
            fields += [_message("transform_param", moved), stay] if field is settings else [field]
        return replace(tree, fields=tuple(fields))
    names = [field.name for field in moved]
    overruled = [field for field in own.value.fields if field.name in names]
    kept = _without(own.value, overruled)
    said = tuple(word for field in overruled for word in _said(field))
    merged = _with_value(own, replace(kept, fields=(*kept.fields, _saying(said, moved[0]), *moved[1:])))
    return _mapped(tree, lambda field: merged if field is own else stay if field is settings else field)


def _with_input_layer(net: Tree) -> Tree:
    """A net whose first layer is the Input layer that its fields `input`, `input_shape` and `input_dim` stand for."""
    old = [field for field in net.fields if field.name in INPUT]
    if not old:
        return net
    # What is said above the first of them is said above the layer.
    first, told = old[0], old[0].comments
    bare = [replace(field, comments=() if field is first else _lines(field.comments)) for field in old]
    inputs, given, sizes = ([field for field in bare if field.name == name] for name in INPUT)
    if given and len(given) != len(inputs):
        message = f"{len(inputs)} input but {len(given)} input_shape"
        raise NktcError(message, at=given[-1].extent(), help="write one for each input")
    if not given and len(sizes) != 4 * len(inputs):
        message = f"{len(inputs)} input but {len(sizes)} input_dim"
        help = "write four for each input, or an input_shape"
        raise NktcError(message, at=sizes[-1].extent() if sizes else first.extent(), help=help)
    shapes = [replace(field, name="shape") for field in given]
    if not given:
        dims = [replace(field, name="dim") for field in sizes]
        shapes = [_message("shape", dims[i : i + 4]) for i in range(0, len(dims), 4)]
    # With shapes Caffe does not look at input_dim.
    ignored = tuple(word for field in sizes if given for word in _said(field))
    name = Field("name", Scalar("string", "input", first.span), first.span)
    kind = Field("type", Scalar("string", "Input", first.span), first.span)
    tops = [replace(field, name="top") for field in inputs]
    tree = Tree((name, kind, *tops, _message("input_param", shapes)), *_extent(old), closing=ignored)
    position = next(i for i, field in enumerate(net.fields) if field is first or field.name == "layer")
    fields = [*net.fields[:position], Field("layer", tree, first.span, told), *net.fields[position:]]
    return replace(net, fields=tuple(field for field in fields if field.name not in INPUT))


def _still(field: Field) -> Field:
    """A BatchNorm whose statistics do not learn, whatever its param say: no gradient reaches them, and Caffe overrules
    the rates, NVIDIA's those of its factor and bias as well; and a fork's BN that is frozen. Other fields as they
    are."""
    if field.name == "block" and isinstance(field.value, Tree):
        return _with_value(field, _mapped(field.value, _still))
    if field.name != "layer" or not isinstance(field.value, Tree):
        return field
    layer, entries = field.value, [*field.value.all("param")]
    frozen = _word(layer, "type") == "BN" and _word(layer, "bn_param.frozen") in TRUE
    kept = _word(layer, "type") == "BatchNorm" and len(entries) == STATISTICS
    scales = _scales_itself(layer)
    if not frozen and not kept and not scales:
        return field
    learned = entries[STATISTICS:] if scales else []

    def rated(one: Field) -> Field:
        return _rated(one, "1" if any(one is entry for entry in learned) else "0")

    return _with_value(field, _mapped(layer, rated))


def _scales_itself(layer: Tree) -> bool:
    """Whether it is a BatchNorm with a factor and a bias of its own, as NVIDIA's Caffe has it."""
    if _word(layer, "type") != "BatchNorm":
        return False
    intel = any(layer.find("batch_norm_param", name) for name in ("use_weight_bias", "bias_term", "filler"))
    said = [name for name in ("scale_filler", "bias_filler") if layer.find("batch_norm_param", name)]
    return _word(layer, "batch_norm_param.scale_bias") in TRUE or "scale_filler" in said or bool(said and not intel)


def _rated(field: Field, rate: str) -> Field:
    """A param entry with both its rates at 0 or 1; other fields as they are."""
    if field.name != "param" or not isinstance(field.value, Tree):
        return field
    tree = _mapped(field.value, lambda one: _at_rate(one, rate))
    missing = [name for name in ("lr_mult", "decay_mult") if rate == "0" and not tree.find(name)]
    if missing:
        at = tree.span
        zeros = (Field(name, Scalar("number", "0", at), at) for name in missing)
        tree = replace(tree, fields=(*tree.fields, *zeros))
    return _with_value(field, tree)


def _at_rate(field: Field, rate: str) -> Field:
    """A rate as `rate` says, as it is where it says so already."""
    value = field.value
    if field.name not in ("lr_mult", "decay_mult") or isinstance(value, Tree):
        return field
    if (rate == "0" and not value.text.strip("-0.fF")) or value.text == rate:
        return field
    return replace(field, value=Scalar("number", rate, value.span))


def _mapped(tree: Tree, change: Callable[[Field], Field]) -> Tree:
    """`tree` with its fields changed; `tree` itself where none is."""
    fields = tuple(map(change, tree.fields))
    return tree if all(map(operator.is_, fields, tree.fields)) else replace(tree, fields=fields)


def _with_value(field: Field, value: Tree) -> Field:
    return field if value is field.value else replace(field, value=value)


def _without(tree: Tree, fields: Sequence[Field]) -> Tree:
    return replace(tree, fields=tuple(field for field in tree.fields if not any(field is one for one in fields)))


def _message(name: str, fields: Sequence[Field]) -> Field:
    """`name { fields }`; what is said above the first of them is said above it."""
    first, *rest = fields
    inside = (replace(first, comments=()), *(replace(field, comments=_lines(field.comments)) for field in rest))
    start, end = _extent(fields)
    return Field(name, Tree(inside, start, end, inline=True), start, first.comments)


def _extent(fields: Sequence[Field]) -> tuple[Span, Span]:
    """The first name and the last word of some fields."""
    ends = (field.value.end if isinstance(field.value, Tree) else field.value.span for field in fields)
    return min((field.span for field in fields), key=_order), max(ends, key=_order)


def _order(at: Span) -> tuple[int, int]:
    return at.line, at.column


def _saying(words: Sequence[str], field: Field) -> Field:
    """`field` with more comments above, but below the empty line that sets it off."""
    gap = 1 if field.comments[:1] == ("",) else 0
    return replace(field, comments=(*field.comments[:gap], *words, *field.comments[gap:]))


def _said(field: Field) -> tuple[str, ...]:
    """All that is said above, in and behind a field."""
    inside: tuple[str, ...] = ()
    if isinstance(field.value, Tree):
        told = (word for inner in field.value.fields for word in _said(inner))
        inside = (field.value.opening, *told, *field.value.closing)
    return _lines((*field.comments, *inside, field.aside))


def _lines(comments: Sequence[str]) -> tuple[str, ...]:
    """Comments without the empty lines between them."""
    return tuple(filter(None, comments))


def _kind(field: Field) -> str:
    """The type of a V0 layer, "" for other fields."""
    return _word(field.value, "layer.type") if field.name == "layers" else ""


def _word(value: Tree | Scalar, path: str) -> str:
    """The word at a path, "" where there is none."""
    found = value.find(path) if isinstance(value, Tree) else None
    return found.value.text if found and isinstance(found.value, Scalar) else ""


def _words(value: Tree | Scalar, name: str) -> list[str]:
    fields = value.all(name) if isinstance(value, Tree) else ()
    return [field.value.text for field in fields if isinstance(field.value, Scalar)]
