"""The files that DetectionOutput writes: boxes in pixels, as VOC, COCO or ILSVRC have them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nktc import text
from nktc.errors import LayerError, NktcError, split
from nktc.files import atomic, find_file
from nktc.schema import DetectionResizeParameter, LabelMap, SaveOutputParameter

FORMATS = ("VOC", "COCO", "ILSVRC")
_BARE = re.compile(r"null|true|false|-?[0-9]+(\.[0-9]+)?")  # what Caffe writes without quotes, whatever it is
_LINE = re.compile(r"(\S+)\s+(-?\d+)\s+(-?\d+)")


class Found(NamedTuple):
    """A box that was found, in pixels; width and height in place of the second corner."""

    image: str
    label: int
    score: np.float32
    box: tuple[np.float32, ...]


_held: dict[str, list[Found]] = {}  # what is yet to be written, by settings


@dataclass(frozen=True)
class Files:
    """What is written, and where: after every `images` images (0: all that `sizes` lists) the files are made anew.

    `labels` is a LabelMap in text, `sizes` has a line for each image: name, height, width. `resize` says how images
    were resized: mode, height, width, and height and width that boxes of FIT_SMALL_SIZE are measured in. Files are
    looked for under the working directory, then beside the net.
    """

    directory: str
    prefix: str
    format: str
    labels: str
    sizes: str
    images: int = 0
    resize: tuple[str, int, int, int, int] | None = None
    folder: str = "."

    @classmethod
    def read(cls, p: SaveOutputParameter) -> Files | None:
        """None where a folder, a label map or the names are not given: then Caffe writes nothing either. Raises
        LayerError."""
        if not (p.output_directory and p.label_map_file and p.name_size_file):
            return None
        if p.output_format not in FORMATS:
            help = f"the formats are {', '.join(FORMATS)}"
            field = "save_output_param.output_format"
            raise LayerError(f'output_format is "{p.output_format}"', field=field, help=help)
        resize = None
        if p.HasField("resize_param"):
            r = p.resize_param
            if not (r.height and r.width):
                raise LayerError(
                    f"resize_param brings pictures to {r.height}x{r.width}", field="save_output_param.resize_param"
                )
            mode = DetectionResizeParameter.Resize_mode.Name(r.resize_mode)
            resize = (mode, r.height, r.width, r.height_scale, r.width_scale)
        names = (p.output_directory, p.output_name_prefix, p.output_format, p.label_map_file, p.name_size_file)
        return cls(*names, p.num_test_image, resize)

    def text(self) -> str:
        """The settings as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, settings: str) -> Files:
        """The reverse of `text`."""
        found = json.loads(settings)
        return cls(**found | {"resize": found["resize"] and tuple(found["resize"])})

    def add(self, rows: np.ndarray, classes: Sequence[int], before: int, count: int) -> None:
        """The rows [m 7] of `count` images more, behind `before`; writes the files where that completes them. Raises
        NktcError."""
        names, labels = self._names(), self._labels()
        images = self.images or len(names)
        if images > len(names):
            raise NktcError(f"num_test_image is {images}, and {self.sizes} names {len(names)} images")
        for image in range(count):
            place = (before + image) % images
            held = _held.setdefault(self.text(), [])
            if not place:
                held.clear()
            name, height, width = names[place]
            for row in rows[(rows[:, 0] == image) & (rows[:, 1] >= 0)]:
                label = int(row[1])
                if label not in labels:
                    raise NktcError(f"{self.labels} has no name for label {label}", help="add it to the label map")
                x0, y0, x1, y1 = self.pixels(row[3:], height, width)
                box = (x0, y0, x1 - x0, y1 - y0)
                held.append(Found(name, label, row[2], tuple(_hundredths(side) for side in box)))
            if place + 1 == images:
                self._write(held, classes, labels)

    def pixels(self, box: np.ndarray, height: int, width: int) -> np.ndarray:
        """The sides xmin, ymin, xmax, ymax in pixels of an image of that size, inside it; f32."""
        whole = np.array([width, height, width, height], np.float32)
        if self.resize is None or self.resize[0] == "WARP":
            return np.clip(box, 0, 1) * whole
        mode, high, wide, height_scale, width_scale = self.resize
        if mode == "FIT_SMALL_SIZE":
            if not (height_scale and width_scale):
                return np.clip(box, 0, 1) * whole
            measured = np.array([width_scale, height_scale] * 2, np.float32)
            return np.clip(box * measured, 0, whole)
        aspect = np.float32(width / height)
        inner = np.array([0, 0, 1, 1], np.float32)  # where in the padded picture the image is
        if aspect > np.float32(wide) / np.float32(high):
            pad = (high - wide / aspect) / 2 / high
            inner[[1, 3]] = pad, 1 - pad
        else:
            pad = (wide - high * aspect) / 2 / wide
            inner[[0, 2]] = pad, 1 - pad
        outside = (box[:2] >= inner[2:]).any() or (box[2:] <= inner[:2]).any()
        own = box if outside else (box - np.tile(inner[:2], 2)) / np.tile(inner[2:] - inner[:2], 2)
        return np.clip(own, 0, 1) * whole

    def _names(self) -> list[tuple[str, int, int]]:
        """Name, height and width of each image."""
        path = find_file(self.sizes, Path(self.folder))
        try:
            said = path.read_text(errors="surrogateescape")
        except OSError as error:
            help = "it has a line for each image: name, height, width; without save_output_param nothing is written"
            raise NktcError(f"cannot read name_size_file {path}: {error.strerror}", help=help) from None
        return [(name, int(height), int(width)) for name, height, width in _LINE.findall(said)]

    def _labels(self) -> dict[int, str]:
        """The names of the labels that have one."""
        try:
            found = text.bind(text.read(find_file(self.labels, Path(self.folder))), LabelMap).item
        except NktcError as error:
            raise split(error)[0] from None
        return {item.label: item.name for item in found}

    def _write(self, found: Sequence[Found], classes: Sequence[int], labels: Mapping[int, str]) -> None:
        folder = Path(self.directory)
        if self.format == "VOC":
            for label in classes:
                name = labels.get(label, "")
                lines = [f"{one.image} {_line(one)}" for one in found if labels[one.label] == name]
                _save(folder / f"{self.prefix}{name}.txt", lines)
        elif self.format == "ILSVRC":
            _save(folder / f"{self.prefix}.txt", [f"{one.image} {one.label} {_line(one)}" for one in found])
        else:
            objects = ",\n".join(_object(one, labels[one.label]) for one in found)
            _save(folder / f"{self.prefix}.json", [f"[\n{objects}\n    \n]"])


def _hundredths(side: np.float32) -> np.float32:
    """Rounded to hundredths, halves away from 0, as Caffe does before it writes."""
    hundreds = float(np.float32(side) * np.float32(100))
    return np.float32(math.copysign(math.floor(abs(hundreds) + 0.5), hundreds) / 100)


def _line(one: Found) -> str:
    x, y, width, height = (int(side) for side in one.box)
    return f"{float(one.score):.6g} {x} {y} {x + width} {y + height}"


def _object(one: Found, name: str) -> str:
    """A box in COCO's JSON, laid out as Caffe's library does."""
    sides = ",\n".join(f"                {_quoted(f'{float(side):.9g}')}" for side in one.box)
    return "\n".join(
        [
            "        {",
            f'            "image_id": {_quoted(one.image)},',
            f'            "category_id": {_quoted(name)},',
            '            "bbox": [',
            sides,
            "            ],",
            f'            "score": {_quoted(f"{float(one.score):.9g}")}',
            "        }",
        ]
    )


def _quoted(value: str) -> str:
    return value if _BARE.fullmatch(value) else json.dumps(value).replace("/", "\\/")


def _save(path: Path, lines: Sequence[str]) -> None:
    with atomic(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), errors="surrogateescape")
