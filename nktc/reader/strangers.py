"""What a file is that is no net, told in one sentence rather than by each of its words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError

from nktc.errors import NktcError, Span, near, split
from nktc.files import ELSEWHERE, Mapped, in_its_place
from nktc.schema import LayerParameter, NetParameter, SolverParameter, TransformationParameter, fork_fields
from nktc.text import Field, Scalar, Tree

HEAD = 1 << 16  # bytes of a file that tell what it is
SHOWN = 3  # fields that are named
LAYERS: Final = ("layer", "layers", "block")
MEANT: Final = (*LAYERS, "net", "net_param", "train_net", "train_net_param", "base_lr", "lr_policy", "max_iter")
"""What hardly any other text has: with one of these it is meant for a net or a solver."""
MESSAGES: Final = ("NetParameter", "SolverParameter")
A_NET = "a net is a list of layer { ... }"
WEIGHTS = "it holds weights, not the net: that is in the .prototxt it was trained with"

TENSORFLOW = f"it is a model of TensorFlow: {ELSEWHERE}"
ONNX = "it is an ONNX model as text: save it as a binary .onnx, and nktc convert takes that"
SAMPLERS = "it has samplers of SSD's training: they belong in the annotated_data_param of a layer"
TEXTS: Final = (
    ("item", ("id",), "it is a label map of TensorFlow's: one of Caffe's has item { name label display_name }"),
    ("item", ("label",), "it is a label map: label_map_file in a layer's settings names it"),
    ("batch_sampler", (), SAMPLERS),
    ("sampler", (), SAMPLERS),
    ("node", ("op_type",), ONNX),
    ("graph", ("node",), ONNX),
    ("node", ("op",), TENSORFLOW),
    ("meta_graphs", (), TENSORFLOW),
    ("train_config", (), f"it configures TensorFlow's training: {ELSEWHERE}"),
    ("model_checkpoint_path", (), "it is TensorFlow's list of its checkpoints: give a net"),
    ("op", ("input", "output", "type"), f"it is a net of Caffe2: {ELSEWHERE}"),
    ("max_batch_size", (), f"it configures a Triton server: {A_NET}"),
    ("bottom", (), "it is the inside of a layer: write layer { ... } around it"),
    ("top", (), "it is the inside of a layer: write layer { ... } around it"),
)
"""Texts of other kinds: a field that they have, names of which each such field has one inside, and what they are."""

BYTES: Final = (
    (b"\x89HDF", WEIGHTS.replace(",", " or the state of a solver,", 1)),
    (b"PK\x03\x04", f"{WEIGHTS}; nktc convert takes a .pt2"),
)
PROGRAM = re.compile(
    rb"^(?:import [\w., ]++|from [\w.]+ import .+|(?:def|class) \w++.*:)\s*$|\A#!.*python", re.MULTILINE
)
WORDS: Final = (
    (PROGRAM, "it is a program in Python: if it writes a net, run it with python -m nktc.pycaffe"),
    (re.compile(rb"\A#!"), f"it is a script: {A_NET}"),
    (re.compile(rb"^\[net(?:work)?\]\s*$", re.MULTILINE), f"it is a net of Darknet: {ELSEWHERE}"),
    (re.compile(rb"\A(?:Log file created at|[IWEF]\d{4} \d\d:\d\d:)"), "it is a log of Caffe: nktc parse_log reads it"),
    (
        re.compile(rb"\A[\w./-]+\.(?:prototxt|pt)\s*\Z"),
        "it is a link that git wrote as text: give the file that it names",
    ),
)
MARKED = re.compile(r"\{\{|\{%|<%|\$\{|\$\(|%\(\w+\)|%[sdfr]\b|(?<!_param):\s*\{\w*\}|@\w+@")
"""What templates have in place of a value."""
TEMPLATE = "it is a template: fill in what is marked in it first"


def refuse_stranger(tree: Tree, path: str | Path, wanted: str = "net") -> None:
    """Raises NktcError for a text that neither is nor was meant for a net or a solver."""
    if told := _of_text(tree):
        raise _refusal(path, told, wanted)
    if "$" in tree.span.source.text and not tree.find("block") and (at := _placeholder(tree)):
        raise _refusal(path, TEMPLATE, wanted, at)


def refuse_other_bytes(path: str | Path) -> None:
    """Raises NktcError for a binary file of another kind than a .caffemodel."""
    if told := _of_bytes(_head(path)):
        raise _refusal(path, told, "net")


def stranger(path: str | Path, refused: NktcError, wanted: str = "net") -> NktcError:
    """What is said of a file that cannot be read as a prototxt, for which `refused` was raised: that, or what the file
    is."""
    if refused.code == "wrong-file":
        return refused
    head = _head(path)
    if told := _of_bytes(head) or _of_words(head):
        return _refusal(path, told, wanted)
    at = split(refused)[0].at
    if at and MARKED.search(at.source.line(at.line)):
        return _refusal(path, TEMPLATE, wanted, at)
    return refused


def _head(path: str | Path) -> bytes:
    """The first bytes of a file, none where it cannot be read."""
    try:
        return bytes(Mapped(path, "net").view[:HEAD])
    except NktcError:
        return b""


def _of_bytes(head: bytes) -> str:
    """What a binary file is and what to do, "" where it may be a net."""
    told = next((told for start, told in BYTES if head.startswith(start)), "") or in_its_place(head[:300])
    if not told and _is_binary_solver(head):
        return "it is a solver in binary, which Caffe does not read either: print the message as text"
    return told


def _of_words(head: bytes) -> str:
    """The same of what ought to be text."""
    if b"\0" in head:
        return ""
    return next((told for words, told in WORDS if words.search(head)), "")


def _refusal(path: str | Path, told: str, wanted: str, at: Span | None = None) -> NktcError:
    return NktcError(f"{path} is no {wanted}", at=at, help=told, code="wrong-file")


def _is_binary_solver(data: bytes) -> bool:
    try:
        message = SolverParameter.FromString(data)
    except DecodeError:
        return False
    return message.HasField("base_lr") and message.HasField("lr_policy")


def _of_text(tree: Tree) -> str:
    """What a text is and what to do; "" for a net or a solver, or what may be meant for one."""
    names = list(dict.fromkeys(field.name for field in tree.fields))
    if any(name in MEANT for name in names):
        return ""
    for name, inside, told in TEXTS:
        if name in names and all(_has(field, inside) for field in tree.all(name)):
            return told
    strange = [name for name in names if not _is_known(tree, name)]
    if 2 * len(strange) <= len(names) or any(near(name, LAYERS) for name in strange):
        return ""
    settings: dict[str, Descriptor | None] = {"transform_param": TransformationParameter.DESCRIPTOR}
    settings |= {name: field.message_type for name, field in LayerParameter.DESCRIPTOR.fields_by_name.items()}
    for name, message in settings.items():
        if message and name.endswith("_param") and all(one in message.fields_by_name for one in names):
            return f"it is the inside of a {name}: write layer {{ ... {name} {{ ... }} }} around it"
    more = f" and {len(strange) - SHOWN} more" if len(strange) > SHOWN else ""
    return f"neither a net nor a solver has {', '.join(strange[:SHOWN])}{more}: {A_NET}"


def _has(field: Field, names: Sequence[str]) -> bool:
    """Whether a field is a message with one of some fields, or, where there are none, anything."""
    inside = field.value.fields if isinstance(field.value, Tree) else ()
    return not names or any(one.name in names for one in inside)


def _placeholder(tree: Tree) -> Span | None:
    """Where the first $NAME stands that ought to be a value."""
    for field in tree.fields:
        if isinstance(field.value, Tree):
            if at := _placeholder(field.value):
                return at
        elif field.value.kind == "parameter":
            return field.value.span
    return None


def _is_known(tree: Tree, name: str) -> bool:
    """Whether a net or a solver, of any fork, has such a field."""
    for message in (NetParameter, SolverParameter):
        found = message.DESCRIPTOR.fields_by_name.get(name)
        if found and (found.message_type is None) == isinstance(next(tree.all(name)).value, Scalar):
            return True
    return any(fork_fields(message, name) for message in MESSAGES)
