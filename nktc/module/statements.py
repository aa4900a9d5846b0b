"""Parts to Python statements: the lines of __init__ and forward, and the functions that these call."""

from __future__ import annotations

import builtins
import inspect
import keyword
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from nktc.ir import Filler, Graph, Layer, Value, times
from nktc.module import idioms
from nktc.module.expression import ATOM, INDENT, WIDTH, Text, bracketed, plain, statement, write
from nktc.module.parts import Part, parts
from nktc.module.trace import Call, Leaf, Made, Operand, Stored

LONGEST = 36  # letters of a name, so that two of them fit in a line
LONG = 10  # lines that want stages
_GLOBAL = ("torch", "nn", "F", "sys", "Path", "load_file", "self", "super", "print", "tuple", "float", "l", "O", "I")
_PARTED = ("max", "min", "sort", "topk", "median", "mode", "kthvalue")  # make values and indices


class Names:
    """Python names, each given once."""

    def __init__(self, taken: Iterable[str]) -> None:
        self.taken = {*taken, *keyword.kwlist}

    def new(self, wish: str) -> str:
        plain = re.sub(r"\W|^(?=\d)", "_", unicodedata.normalize("NFKC", wish))[:LONGEST] or "_"
        name, count = plain, 1
        while name in self.taken:
            count += 1
            name = f"{plain}_{count}"
        self.taken.add(name)
        return name


@dataclass(frozen=True)
class Block:
    """The lines of one part, with what the stages are told by."""

    lines: list[str]
    family: str
    picture: tuple[int, ...]


class Writer:
    """Writes a graph's parts, in order: `made` gets the lines of __init__, `defined` the functions."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.variables = Names(_GLOBAL)
        self.names = {value.name: self.variables.new(_wish(value, graph)) for value in graph.values.values()}
        self.kind = self.variables.new(_class_name(graph.name))
        self.attributes = Names(dir(nn.Module()))
        self.texts = {name: Text(text) for name, text in self.names.items()}
        self.waiting: set[str] = set()
        self.made: list[Block] = []
        self.held: dict[str, str] = {}
        self.defined: dict[str, tuple[str, list[str]]] = {}
        self.arrays: dict[str, np.ndarray] = {}
        self.known = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in graph.arrays.items()}
        self.read = Counter(2 * [value.name for value in graph.outputs])
        self.parts: list[Part] = []
        for part in reversed(parts(graph)):
            if any(self.read[value.name] for value in part.outputs):
                self.parts.insert(0, part)
                self.read.update(value.name for value in part.leaves().values())

    def forward(self) -> list[str]:
        """The lines of forward's body."""
        blocks = [_block(part, self._statements(part)) for part in self.parts]
        returned = _listed([self.texts[value.name] for value in self.graph.outputs])
        return [*staged(blocks), *statement("return ", returned, 2)]

    def _statements(self, part: Part) -> list[str]:
        """One part on one line, failing that with its inputs named, failing that with every step named."""
        settled: list[str] = []
        taken = {*self.variables.taken}
        for named, inlined in ((False, True), (True, True), (True, False)):
            for leaf, value in part.leaves().items():
                if value.name in self.waiting and (named or part.used[Leaf(leaf)] != 1 or part.follows):
                    settled += self._settle(value)
            lines: list[str] = []
            self.variables.taken = {*taken, *(name for name, _ in self.defined.values())}
            results = self._expressions(part, lines, inlined) if part.plain else [self._call(part)]
            lines += self._assigned(part, results)
            if len(lines) <= len(part.outputs) and all(len(line) <= WIDTH for line in lines):
                break
        if len(results) == len(part.outputs):
            for value, text in zip(part.outputs, results, strict=True):
                if self._stands_in(value, text):
                    self.texts[value.name] = text
                    if not text.text.isidentifier():
                        self.waiting.add(value.name)
        return [*settled, *lines]

    def _settle(self, value: Value) -> list[str]:
        """Give a value that stands in its reader's line a line of its own."""
        self.waiting.remove(value.name)
        text, self.texts[value.name] = self.texts[value.name], Text(self.names[value.name])
        return statement(f"{self.names[value.name]} = ", text, 2)

    def _stands_in(self, value: Value, text: Text) -> bool:
        """Whether a text is used in the place of a value: a copy's, and that of a version of a blob that only the next
        layer reads, where it is short."""
        inner = "@" in value.name and self.read[value.name] == 1 and len(text.text) <= WIDTH - 30
        return text.text.isidentifier() or inner

    def _assigned(self, part: Part, results: Sequence[Text]) -> list[str]:
        names = [self.names[value.name] for value in part.outputs]
        if len(results) == len(names):
            lines = []
            for value, name, text in zip(part.outputs, names, results, strict=True):
                if self.read[value.name] and not self._stands_in(value, text):
                    lines += statement(f"{name} = ", text, 2)
            return lines
        all_names = ", ".join(self.names[value.name] if self.read[value.name] else "_" for value in part.outputs)
        if len(INDENT * 2 + all_names + results[0].text) + 3 <= WIDTH:
            return [f"{INDENT * 2}{all_names} = {results[0].text}"]
        whole = self.variables.new(f"{part.node.name}_parts")
        return [
            *statement(f"{whole} = ", results[0], 2),
            *(f"{INDENT * 2}{name} = {whole}[{i}]" for i, name in enumerate(names)),
        ]

    def _expressions(self, part: Part, lines: list[str], inlined: bool) -> list[Text]:
        """The texts of what a part makes; steps that need names get `lines` of their own."""
        leaves = part.leaves()

        def bind(wishes: Sequence[str], text: Text) -> list[Text]:
            names = [self.variables.new(f"{self.names[part.outputs[0].name]}_{wish}") for wish in wishes]
            lines.extend(_binding(names, text, 2))
            return [*map(Text, names)]

        def module(call: Call) -> Text | None:
            found = part.module(call)
            name = f"self.{self._module(part, found)}(" if found else ""
            return bracketed(name, [spelled.operand(found.x)], ")") if found else None

        spelled = Spelling(
            part,
            lambda leaf: self.texts[leaves[leaf].name],
            lambda one: Text(f"self.{self._attribute(part, one)}"),
            bind,
            module,
        )
        return spelled.results(inlined)

    def _call(self, part: Part) -> Text:
        """The call of a function that does what the part does."""
        names = Names((*_GLOBAL, *part.trace.shapes))
        held: dict[str, Text] = {}
        lines: list[str] = []

        def constant(one: Operand) -> Text:
            attribute = self._attribute(part, one)
            if attribute not in held:
                local = part.local(one)
                held[attribute] = Text(local if local in part.weights else names.new(local))
            return held[attribute]

        def bind(wishes: Sequence[str], text: Text) -> list[Text]:
            given = [names.new(wish) for wish in wishes]
            lines.extend(_binding(given, text, 1))
            return [*map(Text, given)]

        spelled = Spelling(part, Text, constant, bind)
        taken = {*names.taken}
        for inlined in (True, False):
            lines.clear()
            names.taken = {*taken}
            results = _listed(spelled.results(inlined))
            lines += statement("return ", results, 1)
            if all(len(line) <= WIDTH for line in lines):
                break
        leaves = [Text(leaf) for leaf in part.leaves()]
        name = self._defined(part, [*leaves, *held.values()], lines)
        given = [self.texts[value.name] for value in part.leaves().values()]
        return bracketed(f"{name}(", [*given, *(Text(f"self.{attribute}") for attribute in held)], ")")

    def _defined(self, part: Part, parameters: Sequence[Text], lines: list[str]) -> str:
        """The name of the function with these parameters and lines, made where there is none yet."""
        said = f'{INDENT}"""{_sentence(part.node.layer)}"""'
        body = [*([said] if len(said) <= WIDTH else []), *lines]
        key = "\n".join([*(p.text for p in parameters), *body])
        if key not in self.defined:
            wish = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", part.node.type).lower()
            name = self.variables.new(f"{wish}_layer" if hasattr(builtins, wish) else wish)
            self.defined[key] = name, [*heading(f"def {name}(", parameters, 0), *body]
        return self.defined[key][0]

    # Weights

    def _attribute(self, part: Part, operand: Operand) -> str:
        """The attribute that holds a constant of a part."""
        key = part.key(operand)
        if key not in self.held:
            owner = self._owner(part, operand)
            name = self.held[key] = self.attributes.new(f"{owner}_{part.local(operand)}")
            shape = part.trace.shape(operand)
            start = f"torch.{self._start(part, operand)}("
            zeros = bracketed(start, [Text(str(n)) for n in shape] if shape else [Text("()")], ")")
            if any(self.graph.parameters[weight].weight.learns for weight in part.owned(operand)):
                lines = statement(f"self.{name} = ", bracketed("nn.Parameter(", [zeros], ")"), 2)
            else:
                lines = statement("", bracketed("self.register_buffer(", [Text(f'"{name}"'), zeros], ")"), 2)
            self._hold(part, lines, {name: operand})
        return self.held[key]

    def _start(self, part: Part, operand: Operand) -> str:
        """How a tensor begins, before its values are loaded."""
        owned = part.owned(operand)
        filler = self.graph.parameters[owned[0]].weight.filler if len(owned) == 1 else Filler()
        return "randn" if filler.type != "constant" else "ones" if filler.value == 1 else "zeros"

    def _module(self, part: Part, module: idioms.Module) -> str:
        """The attribute that holds a module."""
        key = part.module_key(module)
        if key not in self.held:
            name = self.held[key] = self.attributes.new(part.node.name)
            items = [Text(f"{k}={plain(v).text}" if k else plain(v).text) for k, v in module.settings]
            lines = statement(f"self.{name} = ", bracketed(f"{module.kind}(", items, ")"), 2)
            self._hold(part, lines, {f"{name}.{local}": one for local, one in module.holds.items()})
            if module.kind.startswith("nn.BatchNorm") and f"{name}.running_mean" in self.arrays:
                self.arrays[f"{name}.num_batches_tracked"] = np.zeros((), np.int64)
        return self.held[key]

    def _hold(self, part: Part, lines: list[str], tensors: dict[str, Operand]) -> None:
        self.made.append(_block(part, lines))
        if all(name in self.known or p.weight.volatile for name, p in self.graph.parameters.items()):
            for name, operand in tensors.items():
                self.arrays[name] = part.value(operand, self.known).contiguous().numpy()

    def _owner(self, part: Part, operand: Operand) -> str:
        """The layer that a constant is named after: that of its first weight, which may be another's."""
        owned = part.owned(operand) or [part.weights.get(getattr(operand, "name", ""), "")]
        return self.graph.parameters[owned[0]].layer if owned[0] else part.node.name


class Spelling:
    """Turns a part's calls into texts. `leaf` has the text of an input, `constant` that of a constant; `bind` gives
    what a step makes names and a line, `module` has the text of the module that a call is."""

    def __init__(
        self,
        part: Part,
        leaf: Callable[[str], Text],
        constant: Callable[[Operand], Text],
        bind: Callable[[Sequence[str], Text], list[Text]],
        module: Callable[[Call], Text | None] = lambda call: None,
    ) -> None:
        self.part, self.leaf, self.constant, self.bind, self.module = part, leaf, constant, bind, module
        self.texts: dict[Operand, Text] = {}

    def results(self, inlined: bool) -> list[Text]:
        """The texts of what forward returns: one for each, or one for all of a call that makes just these. Steps are
        worked into those that use them where that is once and short, and the author had no name for them."""
        part, used = self.part, self.part.used
        calls, results = part.live, part.trace.results
        changing = any(call.changes is not None for call in calls.values())
        inlined = inlined and not changing
        batch = self.leaf(next(iter(part.leaves()))).text if part.leaves() else ""
        for i, call in calls.items():
            if call.function == "Tensor.clone" and not changing:
                text = self.operand(call.args[0])
            else:
                text = self.module(call) or write(call, self.operand, batch)
            made = [Made(i, at) for at in range(len(call.shapes))]
            wish = call.names.get(0) or call.function.rpartition(".")[2].strip("_")
            if call.changes is not None:
                self.bind([], text)
            elif call.several:
                if results == tuple(made) and len(made) > 1:
                    return [text]
                if len(call.names) == len(made) > 1 and all(used[one] for one in made):
                    self.texts |= zip(made, self.bind([*call.names.values()], text), strict=True)
                    continue
                whole = text if sum(used[one] for one in made) == 1 else self.bind([wish], text)[0]
                self.texts |= {one: _taken(whole, call.function, one.part) for one in made}
            elif used[made[0]] == 1 and (
                made[0] in results or (inlined and (part.plain or not call.names) and len(text.text) < WIDTH - 30)
            ):
                self.texts[made[0]] = text
            else:
                self.texts[made[0]] = self.bind([wish], text)[0]
        return [self.operand(one) for one in results]

    def operand(self, one: Operand) -> Text:
        match one:
            case Made() if one in self.texts:
                return self.texts[one]
            case Leaf(name) if name not in self.part.weights:
                return self.leaf(name)
            case Stored(numbers) if not self.part.constant(one):
                return bracketed("torch.tensor(", [plain(numbers.tolist())], ")")
        return self.constant(one)


def staged(blocks: Sequence[Block], titled: bool = True) -> list[str]:
    """The lines of blocks, an empty line and a title where a stage begins: a family of layers, or a smaller picture."""
    if sum(len(block.lines) for block in blocks) <= LONG:
        return [line for block in blocks for line in block.lines]
    sizes = Counter(block.family for block in blocks)
    lines: list[str] = []
    before: tuple[str, tuple[int, ...]] = "", ()
    for block in (block for block in blocks if block.lines):
        family = block.family if sizes[block.family] >= 4 else ""
        smaller = 5 * math.prod(block.picture) < 3 * math.prod(before[1]) or not block.picture
        if family != before[0] or (smaller and before[1]) or (block.picture and not before[1]):
            title = ": ".join(filter(None, (family, times(block.picture) if block.picture else "")))
            lines += [""] if lines else []
            lines += [f"{INDENT * 2}# {title}"] if title and titled else []
            before = family, block.picture
        lines += block.lines
    return lines


def heading(start: str, parameters: Sequence[Text], depth: int) -> list[str]:
    """The first line of a function, or several."""
    flat = INDENT * depth + start + ", ".join(one.text for one in parameters) + "):"
    if len(flat) <= WIDTH:
        return [flat]
    return [
        INDENT * depth + start,
        *(f"{INDENT * (depth + 1)}{one.text}," for one in parameters),
        f"{INDENT * depth}):",
    ]


def _block(part: Part, lines: list[str]) -> Block:
    shape = part.outputs[0].shape
    return Block(lines, part.node.name.rpartition("/")[0], shape[2:] if len(shape) == 4 else ())


def _binding(names: Sequence[str], text: Text, depth: int) -> list[str]:
    """The statement that gives these names to what an expression makes."""
    return statement(f"{', '.join(names)} = " if names else "", text, depth)


def _listed(texts: Sequence[Text]) -> Text:
    """What is returned: one text, or several with commas between."""
    if len(texts) == 1:
        return texts[0]
    whole = bracketed("(", texts, ")")
    return whole if len(whole.text) > WIDTH - 15 else Text(whole.text[1:-1])


def _taken(text: Text, function: str, part: int) -> Text:
    """One tensor of a call that makes several."""
    if function.rpartition(".")[2] in _PARTED:
        return Text(f"{text.within(ATOM)}.{('values', 'indices')[part]}")
    return Text(f"{text.within(ATOM)}[{part}]")


def _wish(value: Value, graph: Graph) -> str:
    """A variable for a value: its blob, or for another version of the blob the layer that makes it."""
    blob, _, layer = value.name.partition("@")
    return blob if not layer else f"{blob}_{layer}" if layer in graph.values else layer


def _class_name(name: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"\W|_", name)) or "Net"


def _sentence(layer: Layer) -> str:
    """What a layer does, in one line of a docstring."""
    text = " ".join((inspect.getdoc(type(layer)) or "").partition("\n\n")[0].split())
    return text.replace("\\", "/").replace('"', "'")
