"""The VideoData layer: clips of the videos of a list."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from nktc.data.images import decode, planes, resize
from nktc.data.lists import Line, read_list, whole
from nktc.data.mean import file_mean
from nktc.data.order import Order, draw
from nktc.data.records import IN_A_ROW, TOLD, BadRecord
from nktc.data.resident import send
from nktc.data.stream import Batch, Opening, Stream, with_tops
from nktc.data.transforms import chance
from nktc.errors import LayerError, NktcError, NktcWarning
from nktc.files import find_file, read_bytes
from nktc.ir import Feed, Phase, Shape, times
from nktc.layers import VideoData

NEAR = 3  # pixels by which a crop of another size may miss that of the net and still is taken for it


def describe(layer: VideoData, folder: Path) -> Feed:
    """From the settings or, where they do not tell the size, the first clip. Raises LayerError."""
    return _feed(layer, Clips(layer, folder))


def open_stream(layer: VideoData, opening: Opening) -> Stream:
    """The stream of the layer. Raises LayerError."""
    return ClipStream(layer, opening)


def _feed(layer: VideoData, listed: Clips) -> Feed:
    return Feed(shapes(layer, frame_size(layer) or listed.first_size()), len(listed))


def frame_size(layer: VideoData) -> Shape:
    """Height and width of what the layer feeds where its settings tell them, else nothing."""
    return (layer.crop, layer.crop) if layer.crop else layer.resize


def shapes(layer: VideoData, size: Shape) -> tuple[Shape, Shape]:
    """Of both tops, for frames of a height and width."""
    batch, frames = layer.batch, layer.length * layer.segments
    label = (batch, layer.labels) if layer.labels else (batch,) if layer.volume else (batch, 1, 1, 1)
    inner = (layer.channels, frames) if layer.volume else (layer.channels * frames,)
    return (batch, *inner, *size), label


def first_file(layer: VideoData, folder: Path) -> Path:
    """The folder or the video file that the list has first. Raises LayerError."""
    return find_file(_entries(layer, folder)[0].path, folder)


@dataclass(frozen=True)
class _Entry:
    """A video: the folder of its frames or its file, the second number of its line, its classes, and the line."""

    path: str
    number: int
    labels: tuple[int, ...]
    line: Line


def _entries(layer: VideoData, folder: Path) -> list[_Entry]:
    """Raises LayerError."""
    lines = read_list(layer.source_path, folder)
    bare = layer.files and layer.jitter  # it tells of no first frame
    example = f"videos/cat{'.avi' if layer.files else ''}{'' if bare else ' 16'} 0"
    found = []
    for line in lines:
        words = line.text.split()
        try:
            if len(words) != (2 if bare else 3):
                raise ValueError
            labels = tuple(whole(word) for word in (words[-1].split(",") if layer.labels else words[-1:]))
            number = 0 if bare else whole(words[1])
        except ValueError:
            help = f"write: {example}"
            what = "path and label" if bare else f"path, {'first frame' if layer.volume else 'frames'} and label"
            raise LayerError(f'{line}: "{line.text}" is no {what}', field="source", help=help) from None
        if number < 0 or (layer.labels and not all(0 <= label < layer.labels for label in labels)):
            what = f"is outside 0 to {layer.labels - 1}" if number >= 0 else "is below 0"
            raise LayerError(f"{line}: {words[-1] if number >= 0 else number} {what}", field="source")
        found.append(_Entry(layer.root_folder + words[0], number, labels, line))
    return found


class Clips:
    """The clips of a list, read as they are asked for. Raises LayerErrors for a list that cannot be read."""

    def __init__(self, layer: VideoData, folder: Path, seed: int = 0) -> None:
        self._layer, self._folder, self._seed = layer, folder, seed
        self._entries = _entries(layer, folder)

    def __len__(self) -> int:
        return len(self._entries)

    def where(self, place: int) -> str:
        """The line of a place: FILE:LINE."""
        return str(self._entries[place].line)

    def label(self, place: int) -> np.ndarray:
        """f32 of the shape of one label: its number, or 0 or 1 for each class."""
        labels = list(self._entries[place].labels)
        if not self._layer.labels:
            return np.array(labels[0], np.float32)
        several = np.zeros(self._layer.labels, np.float32)
        several[labels] = 1
        return several

    def first_size(self) -> Shape:
        """Height and width of the first clip that can be used. Raises LayerError."""
        problem: NktcError | None = None
        for place in range(min(len(self), IN_A_ROW if self._layer.skips else 1)):
            try:
                return self.read(place, np.zeros(1, np.uint64)).shape[-2:]
            except BadRecord as error:
                problem = problem or error
        assert problem, "an empty list is refused"
        raise LayerError(problem.message, field="source", help=problem.help)

    def read(self, place: int, counter: np.ndarray) -> np.ndarray:
        """u8[3 frames h w], or u8[frames of all segments, each with its channels, h w], resized. Raises BadRecord."""
        layer, entry = self._layer, self._entries[place]
        path = find_file(entry.path, self._folder)
        if layer.files:
            frames = self._of_file(place, path, counter)
        else:
            numbers = self._spaced(place, counter) if layer.volume else self._segmented(entry, counter)
            frames = [self._picture(place, path, number) for number in numbers]
        if any(frame.shape != frames[0].shape for frame in frames):
            raise BadRecord(place, f"{entry.line}: its frames are not of one size")
        return np.stack(frames, 1) if layer.volume else np.concatenate(frames)

    def _segmented(self, entry: _Entry, counter: np.ndarray) -> Sequence[int]:
        """The numbers of the frames of TSN's segments; those of a video that is too short are its first."""
        layer = self._layer
        part = entry.number // layer.segments
        spare = part - layer.length + 1
        numbers: list[int] = []
        for i in range(layer.segments):
            start = 0
            if spare > 0:
                start = i * part + self._start(f"segment {i}", counter, spare)
            numbers += range(start + 1, start + layer.length + 1)
        return numbers

    def _spaced(self, place: int, counter: np.ndarray) -> Sequence[int]:
        """The numbers of the frames of C3D's clip in a folder."""
        layer, entry, rate = self._layer, self._entries[place], self._rate(counter)
        start, span = entry.number, layer.length * rate
        if layer.jitter:  # the line tells how many frames there are
            if entry.number < span:
                raise BadRecord(place, f"{entry.line}: it has {entry.number} frames, a clip takes {span}")
            drawn = layer.phase is Phase.TRAIN
            start = 1 + int(chance.whole(self._seed, "start", counter, entry.number - span + 1)[0]) if drawn else 0
        return range(start, start + span, rate)

    def _start(self, name: str, counter: np.ndarray, choices: int) -> int:
        """One of so many places: any in TRAIN, the middle in TEST."""
        if self._layer.phase is Phase.TRAIN:
            return int(chance.whole(self._seed, name, counter, choices)[0])
        return choices // 2

    def _rate(self, counter: np.ndarray) -> int:
        layer = self._layer
        return 1 + self._start("rate", counter, layer.most_rate) if layer.most_rate else layer.rate

    def _picture(self, place: int, path: Path, number: int) -> np.ndarray:
        """u8[c h w] of a frame; of flow, both directions."""
        layer = self._layer
        if layer.channels != 2:
            order = "GRAY" if layer.channels == 1 else layer.transform.order
            return self._decoded(place, path / (layer.pattern % number), order)
        both = [self._decoded(place, path / (layer.pattern % (way, number)), "GRAY") for way in "xy"]
        if both[0].shape != both[1].shape:
            raise BadRecord(place, f"{self.where(place)}: the two directions of flow are not of one size")
        return np.concatenate(both)

    def _decoded(self, place: int, path: Path, order: str) -> np.ndarray:
        try:
            picture = decode(read_bytes(path, "frame"), order)
        except NktcError as error:
            raise BadRecord(place, f"{self.where(place)}: {error.message}") from None
        if picture is None:
            raise BadRecord(place, f"{self.where(place)}: {path}: it is no 8-bit picture that can be decoded")
        return self._resized(picture)

    def _resized(self, frame: np.ndarray) -> np.ndarray:
        return resize(frame, (self._layer.resize[0], self._layer.resize[1])) if self._layer.resize else frame

    def _of_file(self, place: int, path: Path, counter: np.ndarray) -> list[np.ndarray]:
        """u8[3 h w] of each frame of a clip of a video file."""
        layer, entry, rate = self._layer, self._entries[place], self._rate(counter)
        if not path.is_file():
            raise BadRecord(place, f"{entry.line}: video {path} is not there")
        video = cv2.VideoCapture(str(path))
        try:
            there, span = int(video.get(cv2.CAP_PROP_FRAME_COUNT)), layer.length * rate
            if not video.isOpened() or there < 1:
                raise BadRecord(place, f"{entry.line}: {path} is no video that can be decoded")
            start = entry.number
            if layer.jitter and there >= span:
                start = self._start("start", counter, there - span + 1)
            if start + span > there:
                raise BadRecord(place, f"{entry.line}: {path} has {there} frames, the clip ends at {start + span}")
            if start:
                video.set(cv2.CAP_PROP_POS_FRAMES, start)
            frames: list[np.ndarray] = []
            for number in range(span):
                taken = number % rate == 0
                read, frame = video.read() if taken else (video.grab(), None)
                if not read or (taken and (frame is None or frame.ndim != 3)):
                    raise BadRecord(place, f"{entry.line}: {path}: frame {start + number} cannot be decoded")
                if frame is not None:
                    frame = frame[..., ::-1] if layer.transform.order == "RGB" else frame
                    frames.append(self._resized(planes(np.ascontiguousarray(frame))))
            return frames
        except cv2.error as error:
            raise BadRecord(place, f"{entry.line}: {path} cannot be decoded: {error.err}") from None
        finally:
            video.release()


class ClipStream(Stream):
    """Reads and transforms as it goes. What is drawn for a clip follows from the seed and its counter alone."""

    def __init__(self, layer: VideoData, opening: Opening) -> None:
        self._layer, self._seed = layer, opening.seed
        self._listed = Clips(layer, opening.folder, opening.seed)
        self.feed, self.device = with_tops(_feed(layer, self._listed), opening.tops), opening.device
        self.skipped: dict[int, str] = {}
        seed, clips = opening.seed, len(self._listed)
        skipped = int(draw(seed, "rand_skip", 0, 1)[0] % np.uint64(layer.rand_skip)) if layer.rand_skip else 0
        self._order = Order(clips, layer.batch, seed, layer.shuffle, skipped)
        self._shape = self.feed.shapes[0][1:]
        self._labels = shapes(layer, ())[1]
        transform = layer.transform
        self._image = file_mean(transform, opening.folder, 4 if layer.volume else 3)
        self._mean = _by_channel(transform.mean_values, self._shape, layer.volume, "mean_value")
        self._std = _by_channel(transform.std_values, self._shape, layer.volume, "std_value")

    def batch(self, k: int) -> Batch:
        chosen, counters = self._order.batch_records(k), self._order.counters(k)
        places = np.arange(chosen.start, chosen.stop) if isinstance(chosen, slice) else chosen
        found = [self._record(p, counters[i : i + 1]) for i, p in enumerate(places.tolist())]
        data = np.stack([values for values, _ in found])
        labels = np.stack([label for _, label in found]).reshape(self._labels)
        return tuple(send(torch.from_numpy(top), self.device) for top in (data, labels)[: len(self.feed.shapes)])

    def _record(self, place: int, counter: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The clip at a place and its label, or the next that can be used where others may be skipped."""
        for attempt in range(IN_A_ROW):
            within = (place + attempt) % len(self._listed)
            try:
                return self._cut(within, self._listed.read(within, counter), counter), self._listed.label(within)
            except BadRecord as error:
                if not self._layer.skips:
                    raise
                last = error.message
                if within not in self.skipped and len(self.skipped) < TOLD:
                    print(NktcWarning(f"skipped: {last}"), file=sys.stderr)
                self.skipped.setdefault(within, last)
        raise NktcError(f"{IN_A_ROW} clips in a row cannot be used; the last: {last}")

    def _cut(self, place: int, clip: np.ndarray, counter: np.ndarray) -> np.ndarray:
        """Cut out, brought to the crop's size, the mean taken off, scaled and mirrored."""
        layer, size = self._layer, self._shape[-2:]
        there = clip.shape[-2:]
        if not layer.crop and there != size:
            said = f"{self._listed.where(place)}: it is {times(there)}, the first one is {times(size)}"
            raise BadRecord(place, said, help="bring them to one size with new_height and new_width, or a crop")
        if min(there) < layer.crop:
            raise BadRecord(place, f"{self._listed.where(place)}: it is {times(there)}, the crop is {times(size)}")
        if self._image is not None and self._image.shape != clip.shape:
            said = f"mean file is {times(self._image.shape)}, its clips are {times(clip.shape)}"
            raise NktcError(f"{self._listed.where(place)}: {said}")
        train = layer.phase is Phase.TRAIN
        flipped = layer.mirror and train and chance.whole(self._seed, "mirror", counter, 2)[0]
        height, width = self._window(there, counter) if layer.crop and train else size
        top, left = self._corner((there[0] - height, there[1] - width), counter) if train else _middle(there, size)
        values = clip[..., top : top + height, left : left + width]
        if (height, width) != size:
            flat = values.reshape(-1, height, width)
            values = np.concatenate([resize(plane[None], (size[0], size[1])) for plane in flat]).reshape(self._shape)
        values = values.astype(np.float32)
        if flipped and layer.inverts:
            values[::2] = 255 - values[::2]
        if self._image is not None:
            if layer.sizes:  # its own corner, whatever is cut out, as TSN's Caffe has it
                top, left = 0, 0
            values -= self._image[..., top : top + size[0], left : left + size[1]]
        elif self._mean is not None:
            values -= self._mean
        values *= np.float32(layer.transform.scale)
        if self._std is not None:
            values /= self._std
        return np.ascontiguousarray(values[..., ::-1] if flipped else values)

    def _window(self, there: Shape, counter: np.ndarray) -> Shape:
        """The height and width of what is cut out in TRAIN."""
        layer = self._layer
        if not layer.sizes:
            return layer.crop, layer.crop
        base = np.float32(min(there))
        sides = [int(base * np.float32(ratio)) for ratio in layer.sizes]
        sides = [layer.crop if abs(side - layer.crop) < NEAR else max(1, side) for side in sides]
        pairs = [
            (high, wide)
            for i, high in enumerate(sides)
            for j, wide in enumerate(sides)
            if abs(i - j) <= max(0, layer.distort)
        ]
        return pairs[int(chance.whole(self._seed, "size", counter, len(pairs))[0])]

    def _corner(self, spare: Shape, counter: np.ndarray) -> Shape:
        """Top and left of what is cut out in TRAIN."""
        layer = self._layer
        if not layer.crop:
            return 0, 0
        if layer.places:
            steps = QUARTERS[int(chance.whole(self._seed, "place", counter, layer.places)[0])]
            return steps[0] * (spare[0] // 4), steps[1] * (spare[1] // 4)
        names = ("row", "column")
        drawn = [int(chance.whole(self._seed, n, counter, s + 1)[0]) for n, s in zip(names, spare, strict=True)]
        return drawn[0], drawn[1]


QUARTERS = (
    *((0, 0), (0, 4), (4, 0), (4, 4), (2, 2)),
    *((0, 2), (4, 2), (2, 0), (2, 4), (1, 1), (1, 3), (3, 1), (3, 3)),
)
"""The places of a crop, in quarters of the space that it leaves: fix_crop's are the first 5, more_fix_crop's all."""


def _middle(there: Shape, size: Shape) -> Shape:
    return (there[0] - size[0]) // 2, (there[1] - size[1]) // 2


def _by_channel(values: Sequence[float], shape: Shape, volume: bool, field: str) -> np.ndarray | None:
    """One number a channel, or fewer, which are for the channels in turn, as f32[c 1 1] or f32[c 1 1 1]. Raises
    LayerError."""
    if not values:
        return None
    if shape[0] % len(values) or (volume and len(values) not in (1, shape[0])):
        said = f"has {len(values)} of {field} for {shape[0]} channels"
        raise LayerError(said, field=field, help="give one for all, or one a channel")
    repeated = np.tile(np.array(values, np.float32), shape[0] // len(values))
    return repeated.reshape(-1, *(1,) * (3 if volume else 2))
