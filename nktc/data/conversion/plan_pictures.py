"""Conversions of image files: a folder or an archive of class folders, a list, a table with a column of paths."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from nktc.data.conversion.columns import check_columns, labels_of, words_of
from nktc.data.conversion.plan import Plan
from nktc.data.places import fingerprint
from nktc.data.table_file import Table
from nktc.data.trees import Tree, common_folder
from nktc.errors import NktcError, Source, Span
from nktc.files import read_bytes

WHOLE = re.compile(r"-?[0-9]{1,10}")
SPLITS = ("train", "test", "val", "valid", "validation")


def plan_of_tree(tree: Tree, split: str) -> Plan:
    """A class a folder, in the order of their names, also where a folder is empty, as an ImageData layer has it; hidden
    folders are none. `split` is a folder above those. Raises NktcError."""
    pictures = tree.pictures()
    if not pictures:
        raise NktcError(f"{tree.path} holds no image files")
    root = _root(tree, pictures)
    tops = sorted({name[len(root) :].split("/")[0] for name in pictures})
    if split:
        if split not in tops:
            raise NktcError(f'{tree.path} has no split "{split}"', help=f"its folders are {', '.join(tops)}")
        root = f"{root}{split}/"
    elif all(top in SPLITS for top in tops):
        raise NktcError(f"{tree.path} holds the splits {', '.join(tops)}", help=f"give --split {tops[0]}")
    pictures = [name for name in pictures if name.startswith(root) and name[len(root)] != "."]
    names = [name[len(root) :] for name in pictures]
    if loose := next((name for name in names if "/" not in name), None):
        raise NktcError(
            f"{tree.path}: {loose} lies in no class folder",
            help="put each class into a folder of its own, or give --list FILE of lines: path label",
        )
    if not names:
        raise NktcError(f"{tree.path} holds no image files but in hidden folders")
    classes = tuple(tree.folders_in(root))
    numbers = {name: number for number, name in enumerate(classes)}
    labels = np.array([numbers[name.split("/")[0]] for name in names], np.int64)
    empty = [name for i, name in enumerate(classes) if not (labels == i).any()]
    notes = tuple(f"{tree.path}: the class folder {root}{name} holds no image files" for name in empty)
    _check_written(tree, root, classes)
    return Plan(names, labels, lambda i: tree.read(pictures[i]), tree.stamp(pictures), classes, notes=notes)


def _root(tree: Tree, pictures: Sequence[str]) -> str:
    """The folder that the class folders lie in ("a/b/"): what is wrapped around all pictures is none of a class."""
    root = common_folder(pictures)
    # A tree of one class alone: its only folder is the class, not a wrapping.
    if root and all("/" not in name[len(root) :] for name in pictures):
        root = root[: root[:-1].rfind("/") + 1]
    # In a folder several folders beside one another are classes, empty ones too; archives carry folders of all kinds.
    around = [root[:end] for end in range(len(root)) if end == 0 or root[end - 1] == "/"]
    return root if tree.packed else next((one for one in around if len(tree.folders_in(one)) > 1), root)


def _check_written(tree: Tree, root: str, classes: Sequence[str]) -> None:
    """Raises NktcError for a name of a class that no text file can hold."""
    for name in classes:
        shown = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
        if shown != name or name.splitlines() != [name]:
            problem = f"{tree.path}: {root}{shown!a} is no name of a class, for it is no UTF-8 of one line"
            raise NktcError(problem.replace("\\\\", "\\"), help="rename the folder")


def plan_of_list(tree: Tree, file: Path) -> Plan:
    """The pictures of a list, lines of a path inside the tree and a number. Raises NktcError with the place of the
    first line that is none."""
    names, labels, lines = [], [], []
    source = Source(str(file), read_bytes(file, "list").decode("utf-8", "replace"))
    for number, line in enumerate(source.lines, 1):
        name, _, label = line.strip().rpartition(" ")
        if name and WHOLE.fullmatch(label):
            names.append(name.strip())
            labels.append(int(label))
            lines.append(number)
        elif line.strip():
            raise NktcError("a line has a path and a number", at=Span(source, number, 1, len(line)))
    if not names:
        raise NktcError(f"list {file} names no pictures")
    return Plan(
        names,
        np.array(labels, np.int64),
        lambda i: tree.read(names[i]),
        tree.stamp(names),
        called=_with_line(file, lines, names),
    )


def plan_of_paths(table: Table, image: str, label: str) -> Plan:
    """The pictures that a column names, with paths from the table's folder on, and the labels of another. Raises
    NktcError."""
    check_columns(table, (image, label))
    paths = words_of(table, image)
    labels, there, classes = labels_of(table, label)
    folder = table.path.parent
    empty = next((i for i, path in enumerate(paths) if not path or not there[i]), None)
    if empty is not None:
        raise NktcError(f"{table.at(empty)}: {label if paths[empty] else image} is empty")
    files = [folder / os.path.expanduser(path) for path in paths]
    return Plan(
        paths,
        labels,
        lambda i: files[i].read_bytes(),
        fingerprint(files),
        classes,
        lambda i: f"{table.at(i)}: {paths[i]}",
    )


def _with_line(file: Path, lines: Sequence[int], names: Sequence[str]) -> Callable[[int], str]:
    return lambda i: f"{file}:{lines[i]}: {names[i]}"
