"""The DenseImageData and ImageSegData layers: pictures of a list, and pictures of the class of each pixel."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from nktc.data.images import decode, resize
from nktc.data.lists import Line, read_list, whole
from nktc.data.mean import file_mean
from nktc.data.order import Order, draw
from nktc.data.records import IN_A_ROW, TOLD, BadRecord
from nktc.data.resident import send
from nktc.data.stream import Batch, Opening, Stream, with_tops
from nktc.data.transforms import chance
from nktc.data.transforms.transform import mean_of, std_of
from nktc.errors import LayerError, NktcError, NktcWarning
from nktc.files import find_file, read_bytes
from nktc.ir import Feed, Phase, Shape, times
from nktc.layers import DenseImageData, ImageSegData
from nktc.layers import LabelledPixels as Settings


@dataclass(frozen=True, eq=False)
class Labelled:
    """A picture [c h w], its classes [1 h w], and the height and width that its file has."""

    values: np.ndarray
    classes: np.ndarray
    size: tuple[int, int]


def describe(layer: DenseImageData | ImageSegData, folder: Path) -> Feed:
    """From the settings or, where they do not tell the size, the first picture. Raises LayerError."""
    pixels = layer.pixels
    return _feed(pixels, Listed(pixels, folder))


def _feed(pixels: Settings, listed: Listed) -> Feed:
    known = picture_size(pixels)
    size = known or listed.first_size()
    return Feed(shapes(pixels, size), len(listed))


def open_stream(layer: DenseImageData | ImageSegData, opening: Opening) -> Stream:
    """The stream of the layer. Raises LayerError."""
    return PixelStream(layer.pixels, opening)


def first_file(pixels: Settings, folder: Path) -> Path:
    """The picture that the list has first. Raises LayerError."""
    line = read_list(pixels.source_path, folder)[0]
    return find_file(pixels.root_folder + line.text.split()[0], folder)


def picture_size(pixels: Settings) -> Shape:
    """Height and width of what the layer feeds where its settings tell them, else nothing."""
    return pixels.crop or pixels.resize


def shapes(pixels: Settings, size: Shape) -> tuple[Shape, Shape, Shape]:
    """Of all tops that the layer can have, for pictures of a height and width."""
    small = tuple(side // pixels.divisor for side in size)
    batch = pixels.batch
    return (batch, 3 if pixels.color else 1, *size), (batch, 1, *small), (batch, 1, 1, 2)


class Listed:
    """The pictures of a list and their classes, read as they are asked for. Raises LayerErrors for a list that cannot
    be read or has a line without a label."""

    def __init__(self, pixels: Settings, folder: Path) -> None:
        self._pixels, self._folder = pixels, folder
        self._lines = read_list(pixels.source_path, folder)
        for line in self._lines:
            if pixels.label != "NONE" and len(line.text.split()) < 2:
                help = "write: cat.jpg 0" if pixels.label == "IMAGE" else "write: cat.jpg cat_classes.png"
                raise LayerError(f'{line}: "{line.text}" is no path and label', field="source", help=help)

    def __len__(self) -> int:
        return len(self._lines)

    def where(self, place: int) -> str:
        """The line of a place: FILE:LINE."""
        return str(self._lines[place])

    def first_size(self) -> tuple[int, int]:
        """Height and width of the first picture that can be used. Raises LayerError."""
        problem: NktcError | None = None
        for place in range(min(len(self), IN_A_ROW if self._pixels.skips else 1)):
            try:
                return self.read(place).size
            except BadRecord as error:
                problem = problem or error
        assert problem, "an empty list is refused"
        raise LayerError(problem.message, field="source", help=problem.help)

    def read(self, place: int) -> Labelled:
        """The picture at a place and its classes, u8 or f32, both resized. Raises BadRecord."""
        pixels, line = self._pixels, self._lines[place]
        words = line.text.split()
        picture = self._picture(place, line, words[0], pixels.transform.order if pixels.color else "GRAY")
        size = picture.shape[1], picture.shape[2]
        if pixels.resize:
            picture = resize(picture, (pixels.resize[0], pixels.resize[1]))
        there = picture.shape[1], picture.shape[2]
        wanted = there[0] // pixels.divisor, there[1] // pixels.divisor
        if 0 in wanted:
            said = f"classes {pixels.divisor} times smaller than {times(there)} are less than a pixel"
            raise BadRecord(place, f"{line}: {said}")
        if pixels.label == "PIXEL":
            classes = self._picture(place, line, words[1], "GRAY")
            if pixels.resize or pixels.divisor > 1:
                classes = nearest(classes, wanted)
            if classes.shape[1:] != wanted:
                said = f"its classes are {times(classes.shape[1:])}, the picture is {times(there)}"
                raise BadRecord(place, f"{line}: {said}")
        else:
            classes = np.full((1, *wanted), self._class(place, line, words), np.float32)
        return Labelled(picture, classes, size)

    def _class(self, place: int, line: Line, words: list[str]) -> int:
        if self._pixels.label == "NONE":
            return self._pixels.outside
        try:
            return whole(words[1])
        except ValueError:
            help = "write: cat.jpg 0; with label_type: PIXEL it is a picture of the class of each pixel"
            raise BadRecord(place, f'{line}: "{words[1]}" is no class', help=help) from None

    def _picture(self, place: int, line: Line, name: str, order: str) -> np.ndarray:
        path = find_file(self._pixels.root_folder + name, self._folder)
        try:
            picture = decode(read_bytes(path, "image"), order)
        except NktcError as error:
            raise BadRecord(place, f"{line}: {error.message}") from None
        if picture is None:
            raise BadRecord(place, f"{line}: {path}: it is no 8-bit picture that can be decoded")
        return picture


class PixelStream(Stream):
    """Reads and transforms as it goes. What is drawn for a record follows from the seed and its counter alone."""

    def __init__(self, pixels: Settings, opening: Opening) -> None:
        self._pixels, self._seed = pixels, opening.seed
        self._listed = Listed(pixels, opening.folder)
        self.feed, self.device = with_tops(_feed(pixels, self._listed), opening.tops), opening.device
        self.skipped: dict[int, str] = {}
        records = len(self._listed)
        skipped = int(draw(opening.seed, "rand_skip", 0, 1)[0] % np.uint64(pixels.rand_skip)) if pixels.rand_skip else 0
        self._order = Order(records, pixels.batch, opening.seed, pixels.shuffle, skipped)
        channels, *size = self.feed.shapes[0][1:]
        self._size: tuple[int, int] = (size[0], size[1])
        self._mean = mean_of(pixels.transform, (channels, *size), file_mean(pixels.transform, opening.folder))
        self._std = std_of(pixels.transform, (channels, *size))

    def batch(self, k: int) -> Batch:
        chosen, counters = self._order.batch_records(k), self._order.counters(k)
        places = np.arange(chosen.start, chosen.stop) if isinstance(chosen, slice) else chosen
        found = [self._record(p, counters[i : i + 1]) for i, p in enumerate(places.tolist())]
        sizes = [[min(there, most) for there, most in zip(one.size, self._size, strict=True)] for one in found]
        tops = (
            np.stack([one.values for one in found]),
            np.stack([one.classes for one in found]),
            np.array(sizes, np.float32).reshape(-1, 1, 1, 2),
        )
        return tuple(send(torch.from_numpy(top), self.device) for top in tops[: len(self.feed.shapes)])

    def _record(self, place: int, counter: np.ndarray) -> Labelled:
        """The record at a place, or the next that can be used where others may be skipped."""
        for attempt in range(IN_A_ROW):
            within = (place + attempt) % len(self._listed)
            try:
                return self._cut(within, self._listed.read(within), counter)
            except BadRecord as error:
                if not self._pixels.skips:
                    raise
                last = error.message
                if within not in self.skipped and len(self.skipped) < TOLD:
                    print(NktcWarning(f"skipped: {last}"), file=sys.stderr)
                self.skipped.setdefault(within, last)
        raise NktcError(f"{IN_A_ROW} records in a row cannot be used; the last: {last}")

    def _cut(self, place: int, found: Labelled, counter: np.ndarray) -> Labelled:
        """Scaled, padded, cut out and mirrored; then the arithmetic."""
        pixels, (height, width) = self._pixels, self._size
        picture, classes = found.values, found.classes
        if pixels.factors:
            drawn = int(chance.whole(self._seed, "scale factor", counter, len(pixels.factors))[0])
            factor = np.float32(pixels.factors[drawn])
            scaled = (max(1, int(np.float32(side) * factor)) for side in picture.shape[1:])
            size = next(scaled), next(scaled)
            picture, classes = resize(picture, size), nearest(classes, size)
        there = picture.shape[1], picture.shape[2]
        if there != self._size and not pixels.crop:
            said = f"{self._listed.where(place)}: it is {times(there)}, the first one is {times(self._size)}"
            raise BadRecord(place, said, help="bring them to one size with new_height and new_width, or a crop")
        if not pixels.pads and (there[0] < height or there[1] < width):
            said = f"{self._listed.where(place)}: it is {times(there)}, the crop is {times(self._size)}"
            raise BadRecord(place, said)
        spare = max(0, there[0] - height), max(0, there[1] - width)
        if pixels.phase is Phase.TRAIN:
            top, left = (
                int(chance.whole(self._seed, name, counter, rest + 1)[0])
                for name, rest in zip(("row", "column"), spare, strict=True)
            )
        else:
            top, left = spare[0] // 2, spare[1] // 2
        flipped = pixels.mirror and pixels.phase is Phase.TRAIN and chance.whole(self._seed, "mirror", counter, 2)[0]
        values = np.zeros((picture.shape[0], height, width), np.float32)
        rows, columns = min(height, there[0]), min(width, there[1])
        part = np.s_[:, top : top + rows, left : left + columns]
        values[:, :rows, :columns] = picture[part]
        self._arithmetic(values, rows, columns)
        if pixels.divisor == 1:
            cut = np.full((1, height, width), pixels.outside, np.float32)
            cut[:, :rows, :columns] = classes[part]
        else:
            cut = classes.astype(np.float32)
        if flipped:
            values, cut = values[:, :, ::-1], cut[:, :, ::-1]
        return Labelled(values, cut, found.size)

    def _arithmetic(self, values: np.ndarray, rows: int, columns: int) -> None:
        """Minus the mean, times the scale, by the deviation, where the picture is; the padding is the mean, so 0."""
        inside = values[:, :rows, :columns]
        if self._mean is not None:
            inside -= np.broadcast_to(self._mean, values.shape)[:, :rows, :columns]
        inside *= np.float32(self._pixels.transform.scale)
        if self._std is not None:
            inside /= self._std


def nearest(classes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[1 h w] to `size`, each pixel that of the nearest there."""
    if classes.shape[1:] == size:
        return classes
    return cv2.resize(np.ascontiguousarray(classes[0]), size[::-1], interpolation=cv2.INTER_NEAREST)[None]
