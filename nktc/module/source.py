"""Graph to a PyTorch source file that a person could have written, and that needs nothing of nktc.

Each layer's forward is traced into the torch calls it makes (`trace`). What depends on weights alone is worked out once
and stored (`parts`), calls with weights become modules of torch.nn (`idioms`), and what takes more than an expression
becomes a function (`statements`).
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nktc import __version__
from nktc.errors import NktcError
from nktc.files import atomic
from nktc.ir import Graph, Preprocessing, list_shape, times
from nktc.module.expression import INDENT, WIDTH, Text, bracketed, literal, statement
from nktc.module.statements import Writer, heading, staged

KINDS = {"<f4": "F32", "<f8": "F64", "<f2": "F16", "<i8": "I64", "<i4": "I32", "|u1": "U8", "|i1": "I8", "|b1": "BOOL"}
"""Types of numbers as safetensors calls them, by NumPy's."""


@dataclass(frozen=True)
class Source:
    """`text` is the file; `arrays` has the weights by the names of its state_dict, none where the graph knows none."""

    text: str
    arrays: dict[str, np.ndarray]

    def write(self, path: Path, weights: bool = False) -> list[Path]:
        """Write the file and, where the weights are known, a .safetensors file of the same name beside it, or neither;
        with `weights` that file in any case. Returns what was written."""
        written = [path]
        with atomic(path) as program:
            program.write_bytes(self.text.encode())
            if self.arrays or weights:
                written.append(path.with_suffix(".safetensors"))
                with atomic(written[-1]) as temporary, temporary.open("wb") as file:
                    file.writelines(_safetensors(self.arrays))
        return written


def _safetensors(arrays: Mapping[str, np.ndarray]) -> Iterator[bytes | memoryview]:
    """The parts of a file, one after another; the library would make all of it in memory, twice."""
    # Numbers of more bytes first, as the library has it, so that each is where its type wants it.
    held = sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0]))
    header: dict[str, Any] = {}
    end = 0
    for name, array in held:
        start, end = end, end + array.nbytes
        header[name] = {"dtype": KINDS[array.dtype.str], "shape": array.shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for _, array in held:
        yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def source(graph: Graph, origin: str = "") -> Source:
    """The file of a graph; its class returns the graph's outputs in their order. `origin` says what it is made from.

    What a forward changes in its own state is left out: the file is for inference. Raises located NktcErrors for
    layers that are more than torch calls.
    """
    if not graph.outputs:
        raise NktcError(f"{graph.name} computes nothing: it has no layers")
    writer = Writer(graph)
    forward = writer.forward()
    inputs = [writer.names[value.name] for value in graph.inputs]
    functions = [[*lines, "", ""] for _, lines in writer.defined.values()]
    lines = [line for function in functions for line in function]
    lines += [f"class {writer.kind}(nn.Module):", *_about(graph, writer), ""]
    if writer.made:
        lines += [f"{INDENT}def __init__(self):", f"{INDENT * 2}super().__init__()", *staged(writer.made, False), ""]
    lines += [*heading("def forward(", [Text("self"), *map(Text, inputs)], 1), *forward, "", ""]
    lines += _main(graph, writer, inputs)
    lines = [*_opening(graph, writer, origin, lines), "", "", *lines]
    return Source("\n".join(lines) + "\n", writer.arrays)


def _opening(graph: Graph, writer: Writer, origin: str, lines: list[str]) -> list[str]:
    """The docstring and the imports."""
    body = "\n".join(lines)
    made = f"{graph.name}, written by nktc {__version__}" + (f" from {origin}" if origin else "") + "."
    more = ["load_file("] if "load_file(" in body else []
    said = ["Run as a program it loads the weights from the .safetensors file of its name."] if writer.made else []
    if graph.inputs:
        said.append("Its inputs are random, or the tensors of a .safetensors file that is given.")
    doc = [made, *([" ".join(said)] if said else [])]
    imports = ["import sys"] if "sys." in body else []
    imports += ["from pathlib import Path"] if "Path(" in body else []
    imports += ["", "import torch"] if imports else ["import torch"]
    imports += ["from safetensors.torch import load_file"] if more else []
    imports += ["from torch import nn"]
    imports += ["from torch.nn import functional as F"] if re.search(r"\bF\.", body) else []
    return [*_docstring(doc, ""), "", *imports]


def _about(graph: Graph, writer: Writer) -> list[str]:
    """The class's docstring: what goes in and what comes out."""
    given, made = (
        ", ".join(f"{writer.names[value.name]}{list_shape(value.shape)}" for value in values)
        for values in (graph.inputs, graph.outputs)
    )
    pictures = [f"{writer.names[name]}: {_picture(p)}" for name, p in graph.preprocessing.items()]
    return _docstring([f"{given} -> {made}" if given else f"-> {made}", *pictures], INDENT)


def _picture(p: Preprocessing) -> str:
    """What a picture goes through, in words."""
    brought = {"CROP": " (scaled to cover it)", "FILL": " (scaled to fit)", "HALF_CROP": " (half cut, half filled)"}
    steps = [f"a picture of {times(p.size)}{brought.get(p.resize_mode, '')}, {p.order}, 0 to 255"]
    if p.mean is not None:
        flat = p.mean.ravel()
        mean = f"({', '.join(f'{m:g}' for m in flat)})" if len(flat) <= 3 else "the mean picture of its training set"
        steps.append(f"minus {mean}")
    steps += [f"the centre {p.crop}x{p.crop}"] if p.crop else []
    steps += [f"times {literal(p.scale)}"] if p.scale != 1 else []
    steps += [f"over ({', '.join(f'{s:g}' for s in p.std.ravel())})"] if p.std is not None else []
    return ", ".join(steps)


def _main(graph: Graph, writer: Writer, inputs: list[str]) -> list[str]:
    """What the file does as a program."""
    lines = ['if __name__ == "__main__":', f"{INDENT}torch.manual_seed(1)", f"{INDENT}net = {writer.kind}().eval()"]
    if writer.made:
        lines += [
            f'{INDENT}weights = Path(__file__).with_suffix(".safetensors")',
            f"{INDENT}if weights.exists():",
            f"{INDENT * 2}net.load_state_dict(load_file(weights))",
            f"{INDENT}else:",
            f'{INDENT * 2}print(f"{{weights}} is not there: the weights are untrained")',
        ]
    if inputs:
        made = [f'"{name}": torch.rand({value.shape})' for name, value in zip(inputs, graph.inputs, strict=True)]
        lines += statement("inputs = ", bracketed("{", [Text(one) for one in made], "}"), 1)
        lines += [f"{INDENT}if len(sys.argv) > 1:", f"{INDENT * 2}inputs = load_file(sys.argv[1])"]
    call = "net(**inputs)" if inputs else "net()"
    names = [writer.names[value.name] for value in graph.outputs]
    lines += [f"{INDENT}with torch.inference_mode():"]
    if len(names) == 1:
        lines += [f"{INDENT * 2}{names[0]} = {call}", f'{INDENT}print("{names[0]}", tuple({names[0]}.shape))']
    else:
        lines += [f"{INDENT * 2}outputs = {call}"]
        lines += [f'{INDENT}print("{name}", tuple(outputs[{i}].shape))' for i, name in enumerate(names)]
    return lines


def _docstring(paragraphs: list[str], margin: str) -> list[str]:
    plain = ["".join(c if c.isprintable() and c not in '"\\' else "'" for c in text) for text in paragraphs]
    first, *rest = ([*textwrap.wrap(text, WIDTH - 3 - len(margin), break_on_hyphens=False)] for text in plain)
    if not rest and len(first) == 1 and len(first[0]) + 6 + len(margin) <= WIDTH:
        return [f'{margin}"""{first[0]}"""']
    lines = [f'"""{first[0]}', *first[1:]]
    for paragraph in rest:
        lines += ["", *paragraph]
    return [margin + line if line else "" for line in [*lines, '"""']]
