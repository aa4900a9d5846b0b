"""The WindowData layer: windows cut out of images, so many of objects and the rest of background, drawn anew for each
batch."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import cv2
import numpy as np
import torch

from nktc.data.images import decode
from nktc.data.mean import file_mean
from nktc.data.order import draw_at
from nktc.data.records import IN_A_ROW, TOLD, BadRecord
from nktc.data.resident import send
from nktc.data.stream import Batch, Opening, Stream, with_tops
from nktc.data.transforms.transform import mean_of, std_of
from nktc.data.window_file import Window, read_windows
from nktc.errors import LayerError, NktcError, NktcWarning
from nktc.files import find_file, read_bytes
from nktc.ir import Feed, times
from nktc.layers import WindowData

F = np.float32  # Caffe computes where windows lie in these, and truncates


def describe(layer: WindowData, folder: Path) -> Feed:
    """From the settings; windows are drawn without end. Raises LayerError."""
    return Feed(tuple(layer.shape()))


def open_stream(layer: WindowData, opening: Opening) -> Stream:
    """The stream of the layer. Raises LayerError."""
    return WindowStream(layer, opening)


class WindowStream(Stream):
    """Background first, then objects. What is drawn for a place in a batch follows from the seed and from how many
    windows came before it."""

    def __init__(self, layer: WindowData, opening: Opening) -> None:
        self.feed, self.device = with_tops(describe(layer, opening.folder), opening.tops), opening.device
        self.skipped: dict[int, str] = {}
        self._layer, self._folder, self._seed = layer, opening.folder, opening.seed
        windows = read_windows(layer, opening.folder)
        # Their places: objects first.
        self._windows = (*windows.foreground, *windows.background)
        self._objects = len(windows.foreground)
        self._of_objects = int(F(layer.batch) * F(layer.fg_fraction))
        self._mean = _mean(layer, opening.folder)
        self._std = std_of(layer.transform, (3, layer.transform.crop, layer.transform.crop))
        self._files: dict[str, bytes] = {}

    def batch(self, k: int) -> Batch:
        layer, side = self._layer, self._layer.transform.crop
        pixels = np.zeros((layer.batch, 3, side, side), np.float32)
        labels = np.zeros(layer.batch, np.float32)
        for i in range(layer.batch):
            labels[i] = self._fill(pixels[i], k * layer.batch + i, i >= layer.batch - self._of_objects)
        tops = (torch.from_numpy(pixels), torch.from_numpy(labels))
        return tuple(send(top, self.device) for top in tops[: len(self.feed.shapes)])

    def _fill(self, out: np.ndarray, counter: int, shows_object: bool) -> int:
        """Draw a window, write it into f32[3 h w] of zeros and tell its label; another one where it cannot be used and
        may be skipped."""
        first, count = (0, self._objects) if shows_object else (self._objects, len(self._windows) - self._objects)
        for attempt in range(IN_A_ROW):
            again = f" again {attempt}" if attempt else ""
            place = first + self._draw(f"window{again}", counter) % count
            mirrored = self._layer.transform.mirror and self._draw(f"mirror{again}", counter) % 2 == 1
            try:
                self._write(out, place, mirrored)
                return self._windows[place].label
            except BadRecord as error:
                if not self._layer.skips:
                    raise
                last = error.message
                if place not in self.skipped and len(self.skipped) < TOLD:
                    print(NktcWarning(f"skipped: {last}"), file=sys.stderr)
                self.skipped[place] = last
        raise NktcError(f"{IN_A_ROW} windows in a row cannot be used; the last: {last}")

    def _draw(self, purpose: str, counter: int) -> int:
        return int(draw_at(self._seed, purpose, np.array([counter]))[0])

    def _write(self, out: np.ndarray, place: int, mirrored: bool) -> None:
        window, transform = self._windows[place], self._layer.transform
        picture = decode(self._bytes(place), transform.order)
        if picture is None:
            raise self._bad(place, "it is no 8-bit picture that can be decoded")
        size = (picture.shape[1], picture.shape[2])
        x1, y1, x2, y2, left, top, height, width = _fit(self._layer, window.box, size, mirrored)
        if x1 < 0 or y1 < 0 or x2 >= size[1] or y2 >= size[0] or x1 > x2 or y1 > y2:
            what = f"the window {' '.join(map(str, window.box))} does not lie in its {times(size)} pixels"
            raise self._bad(place, what)
        if not height or not width:  # so little of the window is inside that nothing of it is left to see
            return
        part = np.ascontiguousarray(picture[:, y1 : y2 + 1, x1 : x2 + 1].transpose(1, 2, 0))
        part = cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR)
        part = (part[:, ::-1] if mirrored else part).transpose(2, 0, 1)
        target = np.s_[:, top : top + height, left : left + width]
        values = part.astype(np.float32)
        if self._mean is not None:
            values -= np.broadcast_to(self._mean, out.shape)[target]
        values *= F(transform.scale)
        out[target] = values if self._std is None else values / self._std

    def _bytes(self, place: int) -> bytes:
        path = self._windows[place].path
        if path in self._files:
            return self._files[path]
        try:
            data = read_bytes(find_file(path, self._folder), "image")
        except NktcError as error:
            raise BadRecord(place, f"{self._windows[place].where}: {error.message}") from None
        if self._layer.cache_images:
            self._files[path] = data
        return data

    def _bad(self, place: int, what: str) -> BadRecord:
        window: Window = self._windows[place]
        return BadRecord(place, f"{window.where}: image {find_file(window.path, self._folder)}: {what}")


def _mean(layer: WindowData, folder: Path) -> np.ndarray | None:
    """What is taken off a window: f32[3 1 1], or the middle of the mean image, f32[3 crop crop]. Raises LayerError."""
    side, image = layer.transform.crop, file_mean(layer.transform, folder)
    if image is None:
        return mean_of(layer.transform, (3, side, side))
    if image.shape[0] != 3 or min(image.shape[1:]) < side:
        problem = f"mean image is {times(image.shape)}, a window is 3x{side}x{side}"
        raise LayerError(problem, field="mean_file")
    start = (image.shape[2] - side) // 2  # of both axes, as in Caffe, whose mean images are square
    if start + side > image.shape[1]:
        problem = f"mean image is {times(image.shape)}: its middle is looked for as if it were square"
        raise LayerError(problem, field="mean_file")
    return image[:, start : start + side, start : start + side]


def _fit(
    layer: WindowData, box: tuple[int, int, int, int], size: tuple[int, int], mirrored: bool
) -> tuple[int, int, int, int, int, int, int, int]:
    """What is cut out of an image of `size` (height, width): x1, y1, x2, y2; and where it goes: left, top, height and
    width. With surroundings the window grows, so that after scaling `context_pad` pixels are around it; where it leaves
    the image there is as much less."""
    side = layer.transform.crop
    x1, y1, x2, y2 = box
    if not layer.context_pad and layer.crop_mode != "square":
        return x1, y1, x2, y2, 0, 0, side, side
    grown = F(side) / F(side - 2 * layer.context_pad)
    half_height, half_width = F(y2 - y1 + 1) / F(2), F(x2 - x1 + 1) / F(2)
    center_x, center_y = F(x1) + half_width, F(y1) + half_height
    if layer.crop_mode == "square":
        half_height = half_width = max(half_height, half_width)
    x1, x2 = _round(center_x - half_width * grown), _round(center_x + half_width * grown)
    y1, y2 = _round(center_y - half_height * grown), _round(center_y + half_height * grown)
    outside_x, outside_y = (max(0, -x1), max(0, x2 - size[1] + 1)), (max(0, -y1), max(0, y2 - size[0] + 1))
    # A window whose corners are the wrong way around may come out with no side; the caller refuses it.
    scale_x, scale_y = F(side) / F(max(1, x2 - x1 + 1)), F(side) / F(max(1, y2 - y1 + 1))
    x1, x2, y1, y2 = x1 + outside_x[0], x2 - outside_x[1], y1 + outside_y[0], y2 - outside_y[1]
    left = _round(F(outside_x[mirrored]) * scale_x)
    top = _round(F(outside_y[0]) * scale_y)
    # Rounding may make the sum larger than the side.
    width = min(_round(F(x2 - x1 + 1) * scale_x), side - left)
    height = min(_round(F(y2 - y1 + 1) * scale_y), side - top)
    return x1, y1, x2, y2, left, top, max(0, height), max(0, width)


def _round(x: np.float32) -> int:
    """To the nearest whole number, halves away from 0, as C's round."""
    return int(math.copysign(math.floor(abs(float(x)) + 0.5), x))
