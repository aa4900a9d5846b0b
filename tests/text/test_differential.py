"""Our parser and printer against google.protobuf.text_format: the same messages, the same refusals."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import given, settings
from hypothesis import strategies as st

from nktc.errors import NktcError, Source
from nktc.reader import forks
from nktc.schema import LayerParameter, NetParameter, SolverParameter
from nktc.text import bind, parse, print_message, print_tree, read

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = [ROOT.parent / "shared" / "goldens", ROOT / "nets", ROOT / "solvers"]
FILES = [path for folder in FOLDERS for path in sorted(folder.glob("**/*.prototxt"))]
MAX_DEPTH = 3


def message_class(path: Path) -> type[Any]:
    return SolverParameter if "solver" in path.name or path.parent.name == "solvers" else NetParameter


def ours(text: str, cls: type[Any]) -> Any:
    """The message, or None where it is refused."""
    try:
        return bind(parse(Source("x.prototxt", text)), cls)
    except NktcError:
        return None


def theirs(text: str, cls: type[Any]) -> Any:
    try:
        message = text_format.Parse(text.removeprefix("\ufeff"), cls())
    except (text_format.ParseError, RecursionError):
        return None
    return message if message.IsInitialized() else None


@pytest.mark.skipif(not FILES, reason="neither goldens nor nets here")
def test_every_file_reads_as_protobuf_reads_it_and_prints_back() -> None:
    for path in FILES:
        cls = message_class(path)
        message = theirs(path.read_text(), cls)
        found = ours(path.read_text(), cls)
        if found and message is None and any(forks.found(read(path), cls.DESCRIPTOR)):
            continue  # protobuf takes no fields that only forks have
        assert found == message, path
        if message is not None:
            tree = read(path)
            again = parse(Source("again", print_tree(tree)))
            assert again == tree, path
            assert print_tree(again) == print_tree(tree), path
            assert ours(print_message(message), cls) == message, path


def values(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_INT32:
            return st.integers(-(2**31), 2**31 - 1)
        case FieldDescriptor.CPPTYPE_INT64:
            return st.integers(-(2**63), 2**63 - 1)
        case FieldDescriptor.CPPTYPE_UINT32:
            return st.integers(0, 2**32 - 1)
        case FieldDescriptor.CPPTYPE_FLOAT:
            return st.floats(width=32, allow_nan=False)
        case FieldDescriptor.CPPTYPE_DOUBLE:
            return st.floats(allow_nan=False)
        case FieldDescriptor.CPPTYPE_BOOL:
            return st.booleans()
        case FieldDescriptor.CPPTYPE_ENUM:
            return st.sampled_from([value.number for value in field.enum_type.values])
        case FieldDescriptor.CPPTYPE_MESSAGE:
            return messages(field.message_type._concrete_class, depth + 1)
        case _:
            return st.binary(max_size=9) if field.type == field.TYPE_BYTES else st.text(max_size=9)


def repeated(field: FieldDescriptor) -> bool:
    return field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED


def required(field: FieldDescriptor) -> bool:
    return field.is_required if hasattr(field, "is_required") else field.label == field.LABEL_REQUIRED


@st.composite
def messages(draw: st.DrawFn, cls: type[Any], depth: int = 0) -> Any:
    fields = [f for f in cls.DESCRIPTOR.fields if depth < MAX_DEPTH or not f.message_type]
    chosen = draw(st.lists(st.sampled_from(fields), max_size=4, unique_by=lambda f: f.name)) if fields else []
    chosen += [f for f in fields if required(f) and f not in chosen]
    arguments = {}
    for field in chosen:
        value = values(field, depth)
        arguments[field.name] = draw(st.lists(value, max_size=3) if repeated(field) else value)
    return cls(**arguments)


CLASSES = st.sampled_from([NetParameter, LayerParameter, SolverParameter])


@settings(deadline=None, max_examples=150)
@given(CLASSES.flatmap(messages), st.booleans(), st.booleans())
def test_a_random_message_reads_back_from_protobufs_text(message: Any, one_line: bool, utf8: bool) -> None:
    text = text_format.MessageToString(message, as_one_line=one_line, as_utf8=utf8)
    assert ours(text, type(message)) == message


@settings(deadline=None, max_examples=150)
@given(CLASSES.flatmap(messages))
def test_a_random_message_reads_back_from_our_text(message: Any) -> None:
    text = print_message(message)
    assert ours(text, type(message)) == message
    assert theirs(text, type(message)) == message


SEED = """
name: "n" 'et' # words
layer { name: "a\\n\\x41\\u00e9\\303\\251" type: "Clip", clip_param < min: -inf max: .5e-3f > }
layer: { top: ["x", "y"] loss_weight: [1, 2.] pooling_param { pool: AVE kernel_size: 0x1F pad: 017; } }
layers { type: CONVOLUTION blobs_lr: nan weight_decay: 1 }
force_backward: true
"""
BITS = [
    "{",
    "}",
    "<",
    ">",
    "[",
    "]",
    ":",
    ",",
    ";",
    '"',
    "'",
    "#",
    "\\",
    "\n",
    " ",
    "-",
    "+",
    ".",
    "0",
    "9",
    "x",
    "e",
]
BITS += [
    "layer",
    "name",
    "top",
    "inf",
    "true",
    "AVE",
    "\\u",
    "\\U0010ffff",
    "\\ud800",
    "\\777",
    "\0",
    "\ufeff",
    "é",
    "€",
]
EDIT = st.tuples(st.integers(0, len(SEED)), st.integers(0, 6), st.sampled_from(BITS) | st.text(max_size=2))


@settings(deadline=None, max_examples=400)
@given(st.lists(EDIT, min_size=1, max_size=4))
def test_a_damaged_text_is_read_as_protobuf_reads_it_or_refused_with_a_place(
    edits: list[tuple[int, int, str]],
) -> None:
    text = SEED
    assert ours(SEED, NetParameter) is not None
    for place, removed, added in edits:
        text = text[:place] + added + text[place + removed :]
    refusal = ""
    try:
        message = bind(parse(Source("x.prototxt", text)), NetParameter)
    except NktcError as error:
        refusal = str(error)
    if refusal:
        assert refusal.startswith("x.prototxt:")
        return
    expected = theirs(text, NetParameter)
    assert expected is not None
    assert message.SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)


@settings(deadline=None, max_examples=300)
@given(st.text(alphabet=st.sampled_from("layerinput{}<>[]:,;#\"'\\ \n\t\r0129.-+exf\ufeff\0é\udc80"), max_size=40))
def test_no_text_raises_anything_but_our_errors(text: str) -> None:
    try:
        tree = parse(Source("x.prototxt", text))
    except NktcError:
        return
    assert parse(Source("again", print_tree(tree))) == tree
    with contextlib.suppress(NktcError):
        bind(tree, NetParameter)
