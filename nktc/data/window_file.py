"""The text that a WindowData layer reads: images, and windows in them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nktc.data.lists import Line, read_list
from nktc.errors import LayerError
from nktc.layers import WindowData

FORM = "# number, path, channels, height, width, count of windows, then for each: label overlap x1 y1 x2 y2"
SMALLEST, LARGEST = -(2**31), 2**31 - 1  # whole numbers, as Caffe reads them
SHOWN = 40  # characters of a wrong word


@dataclass(frozen=True)
class Window:
    """A window in the image `path`: its corners, in pixels, belong to it. `label` is 0 for background; `where` is the
    line that has it, "FILE:LINE"."""

    path: str
    label: int
    box: tuple[int, int, int, int]  # x1, y1, x2, y2
    where: str


@dataclass(frozen=True)
class Windows:
    """Those that show an object, and those that show background."""

    foreground: tuple[Window, ...]
    background: tuple[Window, ...]


def read_windows(layer: WindowData, folder: Path) -> Windows:
    """The windows that the layer draws from, in the order of the file. Raises LayerError, also where it finds none of
    either kind."""
    words = _Words(read_list(layer.source_path, folder))
    kinds: tuple[list[Window], list[Window]] = ([], [])
    while words.more():
        words.expect("#")
        words.whole("number of an image")
        path = f"{layer.root_folder}{words.take('path of an image')}"
        for what in ("channels", "height", "width"):
            words.whole(what)
        for _ in range(words.whole("count of windows")):
            label, where = words.whole("label"), words.where
            overlap = np.float32(words.number("overlap"))  # as Caffe compares it
            x1, y1, x2, y2 = (words.whole(what) for what in ("x1", "y1", "x2", "y2"))
            box = (x1, y1, x2, y2)
            if overlap >= np.float32(layer.fg_threshold):
                if label < 1:
                    problem = f"{where}: overlap {overlap:g} shows an object, and its label is {label}"
                    help = f"classes start at 1; fg_threshold is {layer.fg_threshold:g}"
                    raise LayerError(problem, field="source", help=help)
                kinds[0].append(Window(os.path.expanduser(path), label, box, where))
            elif overlap < np.float32(layer.bg_threshold):
                kinds[1].append(Window(os.path.expanduser(path), 0, box, where))
    for kind, found, field, sign in zip(
        ("an object", "background"), kinds, ("fg_threshold", "bg_threshold"), (">=", "<"), strict=True
    ):
        if not found:
            problem = f"no window of {words.path} shows {kind}: none has an overlap {sign} {getattr(layer, field):g}"
            raise LayerError(problem, field=field)
    return Windows(tuple(kinds[0]), tuple(kinds[1]))


class _Words:
    """The words of a file one after another, as Caffe reads them: lines count for its errors alone."""

    def __init__(self, lines: list[Line]) -> None:
        self.path, self.where = lines[0].path, str(lines[0])
        self._next = self._all(lines)
        self._ahead = next(self._next, None)

    def _all(self, lines: list[Line]) -> Iterator[tuple[str, str]]:
        for line in lines:
            for word in line.text.split():
                yield word, str(line)

    def more(self) -> bool:
        return self._ahead is not None

    def take(self, what: str) -> str:
        if self._ahead is None:
            raise LayerError(
                f"{self.where}: the file ends where a {what} is due", field="source", help=f"write: {FORM}"
            )
        word, self.where = self._ahead
        self._ahead = next(self._next, None)
        return word

    def expect(self, mark: str) -> None:
        if (word := self.take(f"{mark}")) != mark:
            problem = f'{self.where}: "{word}" stands where the {mark} of an image is due'
            raise LayerError(problem, field="source", help=f"write: {FORM}")

    def whole(self, what: str) -> int:
        word = self.take(what)
        try:
            number = int(word)
        except ValueError:
            raise self._wrong(word, what) from None
        if not SMALLEST <= number <= LARGEST:
            raise self._wrong(word, f"{what} of 32 bits")
        return number

    def number(self, what: str) -> float:
        word = self.take(what)
        try:
            return float(word)
        except ValueError:
            raise self._wrong(word, what) from None

    def _wrong(self, word: str, what: str) -> LayerError:
        short = word if len(word) <= SHOWN else f"{word[:SHOWN]}..."
        return LayerError(f'{self.where}: "{short}" is no {what}', field="source", help=f"write: {FORM}")
