"""Where the pixels of a result come from: windows, boxes and turns of whole batches.

A map is f64[n 3 3], one a record: the row and column (and 1) of the picture for the row and column of the result, pixel
centres on whole numbers. Maps are put together as matrices, so a picture is sampled once, whatever is done to it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nktc.data.resident import send
from nktc.data.transforms import chance
from nktc.ir import RandomResizedCrop

STEPS = 256.0  # a place is between two pixels in so many steps


def window(x: Tensor, rows: np.ndarray, columns: np.ndarray, flips: np.ndarray, size: tuple[int, int]) -> Tensor:
    """x[n c H W] -> [n c *size], of each record the window that starts at its row and column i64[n], mirrored where
    `flips` is 1; exact."""
    n, c, _, w = x.shape
    height, width = size
    # Where each window starts, and which way it goes along its rows; to a GPU in one copy.
    told = np.stack([rows * w, columns + flips * (width - 1), 1 - 2 * flips])[:, :, None]
    top, left, way = send(torch.from_numpy(told), x.device)
    down = torch.arange(0, height * w, w, device=x.device)[:, None]
    across = torch.addcmul(left, way, torch.arange(width, device=x.device))
    places = top[:, None] + down + across[:, None]
    return x.reshape(n, c, -1).gather(2, places.reshape(n, 1, -1).expand(n, c, -1)).reshape(n, c, height, width)


def middle(x: Tensor, size: tuple[int, int]) -> Tensor:
    """The centre of x[.. h w] as a view; an odd rest goes below and to the right."""
    height, width = size
    top, left = (x.shape[-2] - height) // 2, (x.shape[-1] - width) // 2
    return x[..., top : top + height, left : left + width]


def shifts(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The maps of windows that start at rows and columns [n]."""
    return _maps(len(rows), [[1, 0, rows], [0, 1, columns]])


def mirrors(flips: np.ndarray, width: int) -> np.ndarray:
    """The maps that mirror results of a width where `flips` is 1, and leave them where it is 0."""
    return _maps(len(flips), [[1, 0, 0], [0, 1 - 2 * flips, flips * (width - 1)]])


def turns(degrees: np.ndarray, picture: tuple[int, int]) -> np.ndarray:
    """The maps that turn pictures of a size (height, width) about their centres, against the clock."""
    angle = np.deg2rad(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    row, column = (picture[0] - 1) / 2, (picture[1] - 1) / 2
    return _maps(
        len(degrees),
        [
            [cos, sin, row - cos * row - sin * column],
            [-sin, cos, column + sin * row - cos * column],
        ],
    )


def stretches(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The maps of boxes f64[4 n] (top, left, height, width in pixels of the picture) stretched to a size."""
    top, left, height, width = boxes
    down, along = height / size[0], width / size[1]
    return _maps(len(top), [[down, 0, top + down / 2 - 0.5], [0, along, left + along / 2 - 0.5]])


def random_boxes(settings: RandomResizedCrop, picture: tuple[int, int], seed: int, counters: np.ndarray) -> np.ndarray:
    """f64[4 n]: top, left, height and width of a part of a picture (height, width) for each counter.

    The share of the area is drawn evenly, the aspect (width by height) evenly in its logarithm; a box that is too high
    or too wide becomes as high or wide as the picture. It may lie anywhere, also between pixels.
    """
    area = chance.even(seed, "area", counters, *settings.area) * picture[0] * picture[1]
    aspect = np.exp(chance.even(seed, "aspect", counters, *np.log(settings.aspect)))
    height = np.minimum(np.sqrt(area / aspect), picture[0])
    width = np.minimum(np.sqrt(area * aspect), picture[1])
    top = chance.even(seed, "box row", counters) * (picture[0] - height)
    left = chance.even(seed, "box column", counters) * (picture[1] - width)
    return np.stack([top, left, height, width])


def sample(x: Tensor, maps: np.ndarray, size: tuple[int, int], fill: float | None = None) -> Tensor:
    """x[n c H W], u8 or f32 -> the same kind of [n c *size]: bilinear, without smoothing; bytes are rounded.

    Outside a picture is `fill`, or its nearest pixel where that is None. Places are taken to 1/256 of a pixel: so all
    products of bytes are exact in f32, and every device gives the same ones.
    """
    n, _, height, width = x.shape
    pixels = x.to(torch.float32)
    if fill:
        pixels = pixels - fill  # outside is 0 to grid_sample
    # torch counts places from -1 to 1; where the sides are powers of two nothing is lost in that.
    whole = [1 << (side - 1).bit_length() for side in (height, width)]
    if whole != [height, width]:
        pixels = F.pad(pixels, (0, whole[1] - width, 0, whole[0] - height))
    told = send(torch.from_numpy((maps[:, :2] * STEPS).astype(np.float32)), x.device)
    rows, columns = told[..., None, None].unbind(1)
    down = torch.arange(size[0], device=x.device, dtype=torch.float32)[:, None]
    along = torch.arange(size[1], device=x.device, dtype=torch.float32)
    grid = torch.empty((n, *size, 2), device=x.device)
    outside = 0 if fill is None else 1
    for axis, (line, last, side) in enumerate(((columns, width - 1, whole[1]), (rows, height - 1, whole[0]))):
        found = (line[:, 0] * down + line[:, 2]) + line[:, 1] * along
        found = found.clamp_(-outside * STEPS, (last + outside) * STEPS).round_().mul_(2 / (STEPS * side))
        torch.add(found, 1 / side - 1, out=grid[..., axis])
    y = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    if fill:
        y += fill
    return y.round_().to(torch.uint8) if x.dtype == torch.uint8 else y


def _maps(n: int, rows: list[list[np.ndarray | float]]) -> np.ndarray:
    """f64[n 3 3] of two rows of numbers, or [n]."""
    made = np.zeros((n, 3, 3))
    made[:, 2, 2] = 1
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            made[:, i, j] = value
    return made
