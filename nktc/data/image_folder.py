"""A folder that has a folder of images for each class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from nktc.data.lists import Entry
from nktc.data.trees import is_picture, walk
from nktc.errors import LayerError


def read_folder(path: Path) -> tuple[Sequence[Entry], tuple[str, ...]]:
    """The images in and below the folders of `path`, each folder a class, classes and files sorted by name; and the
    names of the classes. Hidden folders and files are passed over. Raises LayerError where there are none."""
    entries: list[Entry] = []
    try:
        classes = sorted(f.name for f in os.scandir(path) if f.is_dir() and not f.name.startswith("."))
        for label, name in enumerate(classes):
            for folder, _, files in walk(path / name):
                entries += [Entry(f"{folder}{os.sep}{f}", label, "") for f in files if is_picture(f)]
    except OSError as error:
        raise LayerError(f"source {error.filename or path} cannot be read: {error.strerror}", field="source") from None
    if not entries:
        help = "it has a folder of images for each class: PATH/cat/1.jpg, PATH/dog/1.jpg"
        raise LayerError(f"source {path} is a folder without folders of images", field="source", help=help)
    return entries, tuple(classes)
