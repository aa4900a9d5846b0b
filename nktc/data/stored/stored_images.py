"""Image files that a list, a folder or an archive has, as they are stored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nktc.data.conversion.plan import Plan, Unusable
from nktc.data.lists import Entry, Line, read_paths
from nktc.data.stored.stored import (
    BAD_BOX,
    CANNOT_BE_READ,
    NO_LABEL,
    NOT_THERE,
    Fault,
    Item,
    Stored,
    not_numbers,
    one_label,
    picture,
)
from nktc.data.window_file import Window
from nktc.errors import LayerError
from nktc.files import find_file


def entries_of(lines: Sequence[Line], root: str) -> tuple[list[Entry], tuple[Fault, ...]]:
    """The images of a list, and a fault for each line that names none."""
    entries, faults = [], []
    for line in lines:
        try:
            entries += read_paths([line], root)
        except LayerError:
            faults.append(Fault(NO_LABEL, f'"{line.text}" is no path and label', None, str(line)))
    return entries, tuple(faults)


class StoredImages(Stored):
    """Files in `folder`, or under the working directory, decoded in `order`."""

    def __init__(
        self,
        entries: Sequence[Entry],
        folder: Path,
        order: str,
        classes: tuple[str, ...] = (),
        faults: tuple[Fault, ...] = (),
    ) -> None:
        self.classes, self.faults = classes, faults
        self._entries, self._folder, self._order = entries, folder, order

    def __len__(self) -> int:
        return len(self._entries)

    def called(self, place: int) -> str:
        entry = self._entries[place]
        return f"{entry.where}{find_file(entry.path, self._folder)}"

    def labels(self, places: np.ndarray) -> np.ndarray:
        return np.array([self._entries[place].label for place in places.tolist()], np.float32)

    def look(self, places: np.ndarray) -> list[Item]:
        return [self._item(place) for place in places.tolist()]

    def _item(self, place: int) -> Item:
        entry = self._entries[place]
        label = one_label(entry.label)
        data = read_file(find_file(entry.path, self._folder))
        values = picture(data, self._order) if isinstance(data, bytes) else data
        if isinstance(values, tuple):
            return Item(None, label, (Fault(*values, place, self.called(place)),))
        return Item(values, label)


def read_file(path: Path) -> bytes | tuple[str, str]:
    """A file, or the kind of fault and what is wrong with it."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return NOT_THERE, "the file does not exist"
    except (OSError, ValueError) as error:  # ValueError: a name that no system takes
        return CANNOT_BE_READ, str(getattr(error, "strerror", None) or error)


class StoredPlan(Stored):
    """What a conversion would convert: archives, idx files, CIFAR's binary files. Blue comes first."""

    def __init__(self, plan: Plan, order: str) -> None:
        self.classes = plan.classes
        self._plan, self._order = plan, order

    def __len__(self) -> int:
        return len(self._plan)

    def called(self, place: int) -> str:
        return self._plan.name(place)

    def labels(self, places: np.ndarray) -> np.ndarray:
        return self._plan.labels[places].astype(np.float32).ravel()

    def look(self, places: np.ndarray) -> list[Item]:
        return [self._item(place) for place in places.tolist()]

    def _item(self, place: int) -> Item:
        label, called = np.atleast_1d(self._plan.labels[place]).astype(np.float32), self.called(place)
        try:
            source = self._plan.read(place)
        except (OSError, KeyError, Unusable) as error:
            reason = getattr(error, "strerror", None) or (str(error) if isinstance(error, Unusable) else "it is gone")
            return Item(None, label, (Fault(CANNOT_BE_READ, reason, place, called),))
        values = picture(source, self._order) if isinstance(source, bytes) else source
        if isinstance(values, tuple):
            return Item(None, label, (Fault(*values, place, called),))
        return Item(values, label, not_numbers(values, place, called))


class StoredWindows(Stored):
    """The images of a window file, each with the labels of its windows. `windows` are in the order of the file."""

    def __init__(self, windows: Sequence[Window], folder: Path, order: str) -> None:
        self._images: dict[str, list[Window]] = {}
        for window in windows:
            self._images.setdefault(window.path, []).append(window)
        self._paths, self._folder, self._order = list(self._images), folder, order

    def __len__(self) -> int:
        return len(self._paths)

    def called(self, place: int) -> str:
        path = self._paths[place]
        return f"{self._images[path][0].where}: {find_file(path, self._folder)}"

    def labels(self, places: np.ndarray) -> np.ndarray:
        return np.array([w.label for place in places.tolist() for w in self._images[self._paths[place]]], np.float32)

    def look(self, places: np.ndarray) -> list[Item]:
        return [self._item(place) for place in places.tolist()]

    def _item(self, place: int) -> Item:
        path, labels = self._paths[place], self.labels(np.array([place]))
        data = read_file(find_file(path, self._folder))
        values = picture(data, self._order) if isinstance(data, bytes) else data
        if isinstance(values, tuple):
            return Item(None, labels, (Fault(*values, place, self.called(place)),))
        height, width = values.shape[1:]
        wrong = [
            w
            for w in self._images[path]
            if not (0 <= w.box[0] <= w.box[2] < width and 0 <= w.box[1] <= w.box[3] < height)
        ]
        if not wrong:
            return Item(values, labels)
        sides = " ".join(map(str, wrong[0].box))
        count = f"{len(wrong)} of its {len(self._images[path])} windows"
        what = f"{count} do not lie in its {height}x{width} pixels; the first: {sides}"
        return Item(values, labels, (Fault(BAD_BOX, what, place, self.called(place)),))
