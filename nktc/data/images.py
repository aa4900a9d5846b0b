"""Pictures: from the bytes of a file to the numbers a net takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from nktc.data import transform
from nktc.data.trees import is_picture
from nktc.errors import NktcError
from nktc.ir import Phase, Preprocessing, Transform

ANY = "ANY"
"""Order of planes: what the file itself has, colour as BGR."""

_FLAGS = {
    "BGR": cv2.IMREAD_COLOR,
    "RGB": cv2.IMREAD_COLOR,
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
    """u8[c h w] of an image file, planes in `order`: BGR, RGB, GRAY or ANY; None for what is no 8-bit
    picture."""
    if len(data) == 0:
        return None
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), _FLAGS[order])
    except cv2.error:
        return None
    if picture is None or picture.dtype != np.uint8:
        return None
    return planes(picture, order)


def planes(picture: np.ndarray, order: str) -> np.ndarray:
    """u8[h w] or OpenCV's u8[h w c] -> u8[c h w], red first when `order` is RGB."""
    if picture.ndim == 2:
        return picture[None]
    if order == "RGB":
        picture = picture[..., ::-1]
    return np.ascontiguousarray(picture.transpose(2, 0, 1))


def resize(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """u8[c h w] to `size` (height, width), bilinear without smoothing, as Caffe's tools do it: a net sees a
    photo at prediction as its training set was made. A picture that has the size comes back as it is."""
    if picture.shape[1:] == size:
        return picture
    resized = cv2.resize(picture.transpose(1, 2, 0), size[::-1], interpolation=cv2.INTER_LINEAR)
    return resized[None] if resized.ndim == 2 else np.ascontiguousarray(resized.transpose(2, 0, 1))


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
    pixels = torch.from_numpy(resize(picture, p.size))[None]
    settings = Transform(scale=p.scale, crop=p.crop)
    pipeline = transform.Pipeline(settings, Phase.TEST, tuple(pixels.shape[1:]), mean=p.mean)
    return pipeline(pixels)[0]


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
