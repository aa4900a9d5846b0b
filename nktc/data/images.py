"""Pictures: from the bytes of a file to the numbers a net takes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from nktc.data.transforms import transform
from nktc.data.transforms.rescale import bringing
from nktc.data.trees import is_picture
from nktc.errors import NktcError
from nktc.ir import Phase, Preprocessing, Transform

MUCH = 64  # times the pixels asked for, which a picture may have in between
TRIED = 32  # ways to make a thin picture shorter

ANY = "ANY"
"""Order of planes: what the file itself has, colour as BGR."""

cv2.utils.logging.setLogLevel(0)  # what OpenCV would say of a damaged file is said here, with its name

_FLAGS = {
    "BGR": cv2.IMREAD_COLOR,
    "RGB": cv2.IMREAD_COLOR_RGB,
    "GRAY": cv2.IMREAD_GRAYSCALE,
    ANY: cv2.IMREAD_UNCHANGED,
}


@dataclass(frozen=True, eq=False)
class Images:
    """A whole set in memory: pixels u8[n c h w], labels i64[n]."""

    pixels: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


def decode(data: bytes | memoryview, order: str) -> np.ndarray | None:
    """u8[c h w] of an image file, planes in `order`: BGR, RGB, GRAY or ANY; None for what is no 8-bit picture. A view
    of OpenCV's pixels, which `pictures.put` brings into planes fastest."""
    if len(data) == 0:
        return None
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), _FLAGS[order])
    except cv2.error:
        return None
    if picture is None or picture.dtype != np.uint8:
        return None
    return planes(picture)


def planes(picture: np.ndarray) -> np.ndarray:
    """[h w] or OpenCV's [h w c] -> [c h w], a view of it."""
    return picture[None] if picture.ndim == 2 else picture.transpose(2, 0, 1)


def resize(picture: np.ndarray, size: tuple[int, int], mode: str = "SQUASH", fill: int = 0) -> np.ndarray:
    """u8 or f32 [c h w] to `size` (height, width), bilinear without smoothing, as Caffe's tools do it: a net sees a
    photo at prediction as its training set was made. A picture that has the size comes back as it is. Raises LayerError
    where that cannot be done.

    SQUASH scales each side for itself. The others scale both by one factor: CROP until the size is covered, FILL until
    the picture fits into it, HALF_CROP by the mean of the two (of what the sides are divided by, as DIGITS has it).
    Scaled sides are rounded to whole pixels, at least 1. Then the middle is cut out, an odd rest going below and to the
    right, and what is short gets `fill`, the odd rest there too.
    """
    if picture.shape[1:] == size:
        return picture
    with bringing(picture, size):
        return _brought(picture, size, mode, fill)


def _brought(picture: np.ndarray, size: tuple[int, int], mode: str, fill: int) -> np.ndarray:
    height, width = picture.shape[1:]
    ratios = height / size[0], width / size[1]
    match mode:
        case "CROP":
            ratio = min(ratios)
        case "FILL":
            ratio = max(ratios)
        case "HALF_CROP":
            ratio = sum(ratios) / 2
        case _:
            return _scale(picture, size)
    sides = max(1, round(height / ratio)), max(1, round(width / ratio))
    if math.prod(sides) > max(MUCH * math.prod(size), height * width):  # so thin that nearly all would be cut off
        picture, sides = _narrowed(picture, sides, size)
    scaled = _scale(picture, sides)
    top, left = (max(0, there - wanted) // 2 for there, wanted in zip(scaled.shape[1:], size, strict=True))
    kept = scaled[:, top : top + size[0], left : left + size[1]]
    if kept.shape[1:] == size:
        return kept
    whole = np.full((picture.shape[0], *size), fill, picture.dtype)
    top, left = ((wanted - there) // 2 for there, wanted in zip(kept.shape[1:], size, strict=True))
    whole[:, top : top + kept.shape[1], left : left + kept.shape[2]] = kept
    return whole


def resized(picture: np.ndarray, settings: Transform, phase: Phase = Phase.TEST) -> np.ndarray:
    """u8 or f32 [c h w] as the settings resize a record once it is decoded; a random resized crop takes it as it is."""
    if not any(settings.resize) or (settings.random_resized_crop and phase is Phase.TRAIN):
        return picture
    return resize(picture, settings.resize, settings.resize_mode, settings.fill)


def _scale(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Each side of [c h w] for itself."""
    if picture.shape[1:] == size:
        return picture
    scaled = cv2.resize(picture.transpose(1, 2, 0), size[::-1], interpolation=cv2.INTER_LINEAR)
    return planes(scaled)


def _narrowed(picture: np.ndarray, sides: tuple[int, int], size: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int]]:
    """[c h w] without the rows and columns of which nothing is left when the middle of `size` is cut out of it, once it
    is scaled to `sides`; and what its own sides are to be scaled to."""
    kept, rest = [slice(None)], []
    for there, side, wanted in zip(picture.shape[1:], sides, size, strict=True):
        # As much goes at either end, so the middle stays the middle; two more stay, which are mixed in at the edges.
        most = max(0, there - math.ceil(wanted * there / side) - 2) // 2
        # Of some numbers the one that comes nearest to whole pixels when it is scaled: the rest then lies as it would.
        off = min(range(most, max(-1, most - TRIED), -1), key=lambda n: abs(n * side / there - round(n * side / there)))
        kept.append(slice(off, there - off))
        rest.append(side - 2 * round(off * side / there))
    return picture[tuple(kept)], (rest[0], rest[1])


def prepare(image: bytes | str | Path, p: Preprocessing) -> Tensor:
    """An image file, or its bytes, as the net takes it: f32[c h w], by the arithmetic of the training
    batches. Raises NktcError for what cannot be read or decoded."""
    name = "the image" if isinstance(image, bytes) else str(image)
    try:
        data = image if isinstance(image, bytes) else Path(image).read_bytes()
    except OSError as error:
        raise NktcError(f"{name} cannot be read ({error.strerror})") from None
    picture = decode(data, p.order)
    if picture is None:
        raise NktcError(f"{name} is not an image that can be decoded")
    return prepared(resize(picture, p.size, p.resize_mode, p.fill)[None], p)[0]


def prepared(pictures: np.ndarray, p: Preprocessing) -> Tensor:
    """u8 or f32 [n c h w] of one size, planes in the order of `p`, as the net takes them: f32[n c h w], all but the
    resize done. Raises LayerError for what has another size than the mean."""
    deviations = () if p.std is None else tuple(p.std.ravel().tolist())
    settings = Transform(scale=p.scale, crop=p.crop, std_values=deviations)
    pipeline = transform.Pipeline(settings, Phase.TEST, tuple(pictures.shape[1:]), mean=p.mean)
    # torch takes none that cannot be written to, as in a file that is mapped, and none that run backwards.
    held = pictures if pictures.flags.writeable and min(pictures.strides) >= 0 else pictures.copy()
    return pipeline(torch.from_numpy(held), np.zeros(len(pictures), np.uint64))


def load_images(paths: Sequence[str | Path], p: Preprocessing, threads: int | None = None) -> Tensor:
    """f32[n c h w] of image files, in their order, decoded side by side. Raises NktcError naming the first
    file that cannot be decoded."""
    with ThreadPoolExecutor(threads) as pool:
        return torch.stack(list(pool.map(lambda path: prepare(path, p), paths)))


def find_images(paths: Iterable[str | Path]) -> list[Path]:
    """Image files: those given as they are, those of given folders and the folders in them, sorted. Raises
    NktcError for a path that is not there and for a folder without images."""
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.is_file() and is_picture(file.name))
            if not inside:
                raise NktcError(f"{path} holds no image files")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise NktcError(f"{path} is not there")
    return found
