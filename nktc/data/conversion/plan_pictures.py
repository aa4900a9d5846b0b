"""Conversions of image files: a folder or an archive of class folders, a list, a table with a column of paths."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from nktc.data.conversion.columns import Table, classes_of
from nktc.data.conversion.plan import Plan
from nktc.data.places import fingerprint
from nktc.data.trees import Tree, common_folder
from nktc.errors import NktcError, Source, Span
from nktc.files import read_bytes

WHOLE = re.compile(r"-?[0-9]{1,10}")
SPLITS = ("train", "test", "val", "valid", "validation")


def plan_of_tree(tree: Tree, split: str) -> Plan:
    """A class a folder, in the order of their names. `split` is a folder above those. Raises NktcError."""
    pictures = tree.pictures()
    if not pictures:
        raise NktcError(f"{tree.path} holds no image files")
    root = common_folder(pictures)
    # A tree of one class alone: its only folder is the class, not a wrapping.
    if root and all("/" not in name[len(root) :] for name in pictures):
        root = root[: root[:-1].rfind("/") + 1]
    tops = sorted({name[len(root) :].split("/")[0] for name in pictures})
    if split:
        if split not in tops:
            raise NktcError(f'{tree.path} has no split "{split}"', help=f"its folders are {', '.join(tops)}")
        root = f"{root}{split}/"
        pictures = [name for name in pictures if name.startswith(root)]
    elif all(top in SPLITS for top in tops):
        raise NktcError(f"{tree.path} holds the splits {', '.join(tops)}", help=f"give --split {tops[0]}")
    names = [name[len(root) :] for name in pictures]
    if loose := next((name for name in names if "/" not in name), None):
        raise NktcError(
            f"{tree.path}: {loose} lies in no class folder",
            help="put each class into a folder of its own, or give --list FILE of lines: path label",
        )
    classes = tuple(sorted({name.split("/")[0] for name in names}))
    numbers = {name: number for number, name in enumerate(classes)}
    labels = np.array([numbers[name.split("/")[0]] for name in names], np.int64)
    return Plan(names, labels, lambda i: tree.read(pictures[i]), tree.stamp(pictures), classes)


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
    paths, words = table.column(image), table.column(label)
    folder = table.path.parent
    empty = next((i for i, (path, word) in enumerate(zip(paths, words, strict=True)) if not path or not word), None)
    if empty is not None:
        missing = label if paths[empty] else image
        raise NktcError(f"{table.path}:{table.lines[empty]}: {missing} is empty")
    labels, classes = classes_of(words)
    files = [folder / os.path.expanduser(path) for path in paths]
    return Plan(
        paths,
        labels,
        lambda i: files[i].read_bytes(),
        fingerprint(files),
        classes,
        _with_line(table.path, table.lines, paths),
    )


def _with_line(file: Path, lines: Sequence[int], names: Sequence[str]) -> Callable[[int], str]:
    return lambda i: f"{file}:{lines[i]}: {names[i]}"
