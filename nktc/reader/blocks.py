"""Blocks: a part of a net, declared once with parameters, and put into the net by layers of its type.

    block {
      name: "residual"
      parameter { name: "width" }
      parameter { name: "depth" default: ${4 * width} }
      bottom: "x"
      top: "y"
      layer { name: "conv" type: "Convolution" bottom: "x" top: "conv" convolution_param { num_output: $width … } }
      …
    }
    layer { name: "res2" type: "residual" bottom: "pool1" top: "res2" repeat: 3 block_param { width: 64 } }

An instance stands for the block's layers. Their names, and the blobs between them, are put under the instance's name
("res2/conv"); the block's bottoms and tops become the instance's. With `repeat` the tops of one round are the first
bottoms of the next, and names are under "res2/0", "res2/1", …; `$index` is the round, from 0, in the block and in what
the instance gives it, and in its tops, so that each round's can be named ("res2${'abc'[index]}"). A name that starts
with "/" is the net's own. What comes out is a plain net: text to text, before a message is bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from nktc.errors import MOST, Enough, Errors, NktcError, Note, Span, near, raise_all
from nktc.ir import catalogue
from nktc.reader.expressions import Value, substitute, whole
from nktc.text import Field, Scalar, Tree

DECLARATION = ("name", "parameter", "bottom", "top", "layer")
PARAMETER = ("name", "default")
INSTANCE = ("name", "type", "bottom", "top", "include", "exclude", "repeat", "block_param")
RULES = ("include", "exclude")
MOST_FIELDS = 300_000  # of a net with its blocks in place: 40 times ResNet-152


@dataclass(frozen=True, eq=False)
class Block:
    """A declaration: `parameters` maps each to its default, None where it has none; `blobs` are the names a bottom of
    its layers can have, None where names have parameters in them."""

    name: str
    parameters: Mapping[str, Value | None]
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    layers: tuple[Tree, ...]
    blobs: frozenset[str] | None
    at: Span


@dataclass(frozen=True)
class Expansion:
    """`tree` without blocks; `instances` tells of each layer by which instances it got there, innermost first."""

    tree: Tree
    instances: tuple[tuple[Note, ...], ...] = ()

    def told(self, error: NktcError) -> list[NktcError]:
        """What is wrong with the expanded text, each once and with the first instance it is in."""
        found: dict[tuple[str, str], NktcError] = {}
        for one in error.errors if isinstance(error, Errors) else (error,):
            if (one.message, str(one.at)) not in found:
                found[one.message, str(one.at)] = one.located(None, *self._within(one.at))
        return [*found.values()]

    def _within(self, at: Span | None) -> tuple[Note, ...]:
        """The instances around a place of a block's body."""
        layers = self.tree.all("layer") if at and self.instances else ()
        for layer, within in zip(layers, self.instances, strict=False):
            span, end = layer.span, layer.value.end if isinstance(layer.value, Tree) else layer.span
            if within and at and (span.line, span.column) <= (at.line, at.column) <= (end.line, end.column):
                return within
        return ()


def expand(net: Tree) -> Expansion:
    """The text of a net with its blocks put in place; `net` itself where it has none. Raises located NktcErrors."""
    if not any(net.all("block")):
        return Expansion(net)
    errors: list[NktcError] = []
    blocks: dict[str, Block] = {}
    for found in net.all("block"):
        try:
            block = _declaration(found)
            if block.name in blocks:
                note = Note("it is first declared here", blocks[block.name].at)
                raise _refusal(f'block "{block.name}" is declared twice', found.extent(), note)
            blocks[block.name] = block
        except NktcError as error:
            errors.append(error)
    raise_all(errors)
    expander = _Expander(blocks)
    fields: list[Field] = []
    instances: list[tuple[Note, ...]] = []
    try:
        for found in net.fields:
            if found.name == "layer" and isinstance(found.value, Tree):
                for layer, within in expander.layer(found, _Scope(), ()):
                    fields.append(layer)
                    instances.append(within)
            elif found.name != "block":
                fields.append(found)
    except Enough:
        pass
    raise_all([*expander.errors.values()])
    return Expansion(replace(net, fields=tuple(fields)), tuple(instances))


@dataclass(frozen=True)
class _Scope:
    """Where the layers of an instance stand: `under` is put before names, `blobs` maps the block's bottoms and tops to
    the net's, `known` are the parameters' values, `rules` the instance's include and exclude, `around` the blocks it
    is in, innermost last."""

    under: str = ""
    blobs: Mapping[str, str] = field(default_factory=dict)
    known: Mapping[str, Value] = field(default_factory=dict)
    rules: tuple[Field, ...] = ()
    around: tuple[Block, ...] = ()

    def name(self, name: str) -> str:
        """A name inside as the net has it."""
        if name.startswith("/"):
            return name[1:]
        return self.under + name if name else ""

    def blob(self, name: str) -> str:
        return self.blobs.get(name) or self.name(name)


Layers = Iterator[tuple[Field, tuple[Note, ...]]]


@dataclass
class _Expander:
    blocks: Mapping[str, Block]
    errors: dict[tuple[str, str], NktcError] = field(default_factory=dict)  # one, however many instances have it
    fields: int = 0

    def layer(self, found: Field, scope: _Scope, within: tuple[Note, ...]) -> Layers:
        """What stands for one layer of a block's body, or of the net. Collects what is refused."""
        tree = found.value
        assert isinstance(tree, Tree)
        try:
            if scope.around:
                tree = self.placed(tree, scope)
                found = Field(found.name, tree, found.span)
            block = self.blocks.get(_text(tree, "type"))
            if block:
                yield from self.instance(tree, block, scope, within)
                return
            for name in ("repeat", "block_param"):
                if stray := tree.find(name):
                    kind = _text(tree, "type")
                    message = f'{name} goes with a block, and "{kind}" is none'
                    raise _refusal(message, stray.extent(), help=near(kind, self.blocks))
            yield found, within
        except NktcError as error:
            self.refuse(error.located(tree.span, *within))

    def refuse(self, error: NktcError) -> None:
        self.errors.setdefault((error.message, str(error.at)), error)
        if len(self.errors) >= MOST:
            raise Enough

    def instance(self, tree: Tree, block: Block, scope: _Scope, within: tuple[Note, ...]) -> Layers:
        """The layers of an instance; `tree` is its text, its names already those of the net."""
        at = (tree.find("type") or tree.fields[0]).extent()
        declared = Note(f'block "{block.name}" is declared here', block.at)
        for other in tree.fields:
            if other.name not in INSTANCE:
                help = f"give {other.name} to the layers of the block"
                raise _refusal(f"{other.name} does not go with a block", other.extent(), declared, help=help)
        name, bottoms, tops = _text(tree, "name"), _texts(tree, "bottom"), _texts(tree, "top")
        if not name:
            raise _refusal(f'this instance of block "{block.name}" has no name', at, help='add name: "..."')
        if block in scope.around:
            names = " in ".join(f'"{b.name}"' for b in (block, *scope.around[::-1]))
            raise _refusal(f"block {names} would go on for ever", at, declared)
        for what, given, wanted in (("bottom", bottoms, block.bottoms), ("top", tops, block.tops)):
            if len(given) != len(wanted):
                place = tree.find(what)
                message = f'block "{block.name}" has {_count(len(wanted), what)}, not {len(given)}'
                raise _refusal(message, place.extent() if place else at, declared)
        rounds = self.rounds(tree, block)
        first = last = tops
        if tree.find("repeat"):
            first, last = self.tops(tree, scope, 0), self.tops(tree, scope, rounds - 1)
        rules = tuple(rule for rule in tree.fields if rule.name in RULES)
        for index in range(rounds):
            here = f"{name}/{index}" if rounds > 1 else name
            written = last
            if index < rounds - 1:
                named = self.tops(tree, scope, index) if first != last else last
                written = tuple(
                    f"{here}/{top}" if one == other else own
                    for top, own, one, other in zip(block.tops, named, first, last, strict=True)
                )
            for top, outside in zip(block.tops, written, strict=True):
                if top in block.bottoms and outside != bottoms[block.bottoms.index(top)]:
                    message = f'"{top}" is a bottom and a top of block "{block.name}", which works on it in place'
                    help = "give the instance one blob as bottom and top, without repeat"
                    raise _refusal(message, at, declared, help=help)
            known = self.known(tree, block, scope.known, index, at)
            blobs = {**dict(zip(block.bottoms, bottoms, strict=True)), **dict(zip(block.tops, written, strict=True))}
            inner = _Scope(f"{here}/", blobs, known, rules, (*scope.around, block))
            inside = (Note(f'in "{here}", which is a "{block.name}"', at), *within)
            for layer in block.layers:
                yield from self.layer(Field("layer", layer, layer.span), inner, inside)
            bottoms = (*written, *bottoms[len(written) :])

    def rounds(self, tree: Tree, block: Block) -> int:
        """How often an instance is repeated."""
        found = tree.find("repeat")
        count = whole(found.value) if found else 1
        if found and (count is None or count < 1):
            raise _refusal("repeat takes a whole number from 1", found.extent())
        assert count
        if found and count > 1 and len(block.tops) > len(block.bottoms):
            tops, bottoms = _count(len(block.tops), "top"), _count(len(block.bottoms), "bottom")
            message = f'block "{block.name}" has {tops} and {bottoms}, so no round can follow another'
            raise _refusal(message, found.extent(), Note(f'block "{block.name}" is declared here', block.at))
        return count

    def tops(self, tree: Tree, scope: _Scope, index: int) -> tuple[str, ...]:
        """The tops of one round of a repeated instance, as the net has them."""
        known = {**scope.known, "index": Scalar("number", str(index), tree.span)}
        texts = (substitute(top.value, known) for top in tree.all("top") if isinstance(top.value, Scalar))
        return tuple(scope.blob(t.text) if scope.around else t.text for t in texts if isinstance(t, Scalar))

    def known(self, tree: Tree, block: Block, around: Mapping[str, Value], index: int, at: Span) -> dict[str, Value]:
        """The parameters' values in one round: those the instance gives, and the defaults of the others."""
        declared = Note(f'block "{block.name}" is declared here', block.at)
        round_ = Scalar("number", str(index), at)
        outside = {"index": round_, **around}
        if tree.find("repeat"):
            outside["index"] = round_
        said: dict[str, Value] = {}
        given = tree.find("block_param")
        for value in given.value.fields if given and isinstance(given.value, Tree) else ():
            if value.name not in block.parameters:
                has = ", ".join(block.parameters)
                help = near(value.name, block.parameters) or f"it has {has or 'none'}"
                message = f'block "{block.name}" has no parameter "{value.name}"'
                raise _refusal(message, value.extent(), declared, help=help)
            if value.name in said:
                raise _refusal(f"{value.name} is given twice in block_param", value.extent())
            said[value.name] = self.value(value.value, outside)
        known: dict[str, Value] = {"index": round_}
        for name, default in block.parameters.items():
            if name in said:
                known[name] = said[name]
            elif default is not None:
                known[name] = self.value(default, known)
            else:
                help = f"add block_param {{ {name}: ... }}"
                raise _refusal(f'block "{block.name}" needs its parameter "{name}"', at, declared, help=help)
        return known

    def value(self, value: Value, known: Mapping[str, Value]) -> Value:
        """A value of a block's body, its parameters replaced."""
        if isinstance(value, Scalar):
            return substitute(value, known)
        self.fields += 1 + len(value.fields)
        if self.fields > MOST_FIELDS:
            message = f"with its blocks in place the net has more than {MOST_FIELDS} fields"
            self.refuse(_refusal(message, value.span))
            raise Enough
        # What an instance gives, and the tops of a repeated one, are known only in its rounds.
        later = ("block_param", "top") if value.find("repeat") else ("block_param",)
        fields = tuple(
            f if f.name in later else Field(f.name, self.value(f.value, known), f.span) for f in value.fields
        )
        return Tree(fields, value.span, value.end, inline=value.inline)

    def placed(self, layer: Tree, scope: _Scope) -> Tree:
        """A layer of a block's body, its parameters replaced and its names those of the net."""
        tree = self.value(layer, scope.known)
        assert isinstance(tree, Tree)
        block = scope.around[-1]
        fields = []
        for found in tree.fields:
            match found.name, found.value:
                case "name", Scalar() as name:
                    found = replace(found, value=replace(name, text=scope.name(name.text)))
                case "top", Scalar() if tree.find("repeat"):
                    pass
                case "bottom" | "top" as what, Scalar() as blob:
                    if what == "bottom" and block.blobs and blob.text not in block.blobs and blob.text[:1] != "/":
                        help = near(blob.text, block.blobs) or f'a blob of the net itself is written "/{blob.text}"'
                        message = f'"{blob.text}" is no bottom of block "{block.name}", and no layer in it makes it'
                        raise _refusal(message, found.extent(), help=help, code="unknown-bottom")
                    found = replace(found, value=replace(blob, text=scope.blob(blob.text)))
                case "param", Tree() as spec:
                    found = replace(found, value=_renamed(spec, scope))
            fields.append(found)
        own = next((f for f in fields if f.name in RULES), None)
        if own and scope.rules:
            note = Note("the instance's are here", scope.rules[0].extent())
            raise _refusal("the layer has rules of its own, and so has the instance it is in", own.extent(), note)
        return replace(tree, fields=(*fields, *scope.rules))


def _declaration(found: Field) -> Block:
    """What a `block { ... }` declares. Raises located NktcErrors."""
    tree = found.value
    if not isinstance(tree, Tree):
        raise _refusal("block takes { ... }", found.extent())
    for inner in tree.fields:
        if inner.name not in DECLARATION:
            raise _refusal(f'unknown field "{inner.name}" in block', inner.extent(), help=near(inner.name, DECLARATION))
    name, at = _text(tree, "name"), found.extent()
    if not name:
        raise _refusal("this block has no name", at, help='add name: "..."')
    if name in catalogue():
        raise _refusal(f'block "{name}" has the name of a layer type', _at(tree, "name"), help="give it another name")
    parameters: dict[str, Value | None] = {}
    for parameter in tree.all("parameter"):
        inner_name = _text(parameter.value, "name") if isinstance(parameter.value, Tree) else ""
        if not isinstance(parameter.value, Tree) or any(f.name not in PARAMETER for f in parameter.value.fields):
            raise _refusal("a parameter has a name and may have a default", parameter.extent())
        if not inner_name.isidentifier() or not inner_name.isascii():
            message = f'"{inner_name}" cannot name a parameter' if inner_name else "this parameter has no name"
            raise _refusal(message, parameter.extent(), help="letters, digits and _, a letter first")
        if inner_name in parameters or inner_name == "index":
            message = "index is the number of the round" if inner_name == "index" else "is declared twice"
            raise _refusal(f'parameter "{inner_name}" {message}', parameter.extent())
        default = parameter.value.find("default")
        parameters[inner_name] = default.value if default else None
    bottoms, tops = _texts(tree, "bottom"), _texts(tree, "top")
    layers = tuple(layer.value for layer in tree.all("layer") if isinstance(layer.value, Tree))
    if not layers:
        raise _refusal(f'block "{name}" has no layers', at, help="a block is a list of layer { ... }")
    blobs = {*bottoms, *(top for layer in layers for top in _texts(layer, "top"))}
    if not any("$" in blob for blob in blobs):
        for top in tops:
            if top not in blobs:
                message = f'no layer of block "{name}" makes its top "{top}"'
                raise _refusal(message, _at(tree, "top"), help=near(top, blobs))
    for what, names in (("bottom", bottoms), ("top", tops)):
        if len(set(names)) < len(names):
            raise _refusal(f'block "{name}" has two {what}s of one name', _at(tree, what))
    known = None if any("$" in blob for blob in blobs) else frozenset(blobs)
    return Block(name, parameters, bottoms, tops, layers, known, at)


def _renamed(spec: Tree, scope: _Scope) -> Tree:
    """A ParamSpec whose shared name is put under the instance's."""
    fields = [
        replace(f, value=replace(f.value, text=scope.name(f.value.text)))
        if f.name == "name" and isinstance(f.value, Scalar)
        else f
        for f in spec.fields
    ]
    return replace(spec, fields=tuple(fields))


def _text(tree: Tree, name: str) -> str:
    """The word of a field, "" where there is none."""
    found = tree.find(name)
    return found.value.text if found and isinstance(found.value, Scalar) else ""


def _texts(tree: Tree, name: str) -> tuple[str, ...]:
    return tuple(found.value.text for found in tree.all(name) if isinstance(found.value, Scalar))


def _at(tree: Tree, name: str) -> Span:
    found = tree.find(name)
    return found.extent() if found else tree.span


def _count(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"


def _refusal(message: str, at: Span, *notes: Note, help: str = "", code: str = "block") -> NktcError:
    return NktcError(message, at=at, notes=notes, help=help, code=code)
