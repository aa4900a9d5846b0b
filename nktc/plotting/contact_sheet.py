"""A sheet of small pictures with a caption each, as a PNG."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure

from nktc import files
from nktc.data import Box, Cell
from nktc.errors import NktcError

DPI = 100
SMALL, LARGE = 96, 256  # pixels that the longer side of a picture has at least, and at most where there are few
ROOM = 2000  # pixels that a sheet may be wide
GAP, LINE, HEAD = 10, 15, 34  # pixels between pictures, of a caption's line, of the heading
LETTER = 5.6  # pixels of a letter of a caption, nearly
COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#9a6324", "#808000")


def draw_sheet(cells: Sequence[Cell], title: str, output: Path) -> None:
    """Write the cells, row by row, into a PNG. Small pictures are enlarged by whole numbers, without blurring, so that
    their pixels can be seen; large ones are reduced. Raises NktcError."""
    if output.suffix.lower() != ".png":
        raise NktcError(f"{output} is no .png", help=f"-o {output.with_suffix('.png').name} writes one")
    pictures = [_sized(cell.picture, len(cells)) for cell in cells]
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    lines = max((len(cell.caption) for cell in cells), default=0)
    down, across = height + lines * LINE + GAP, max(width, SMALL) + GAP
    columns = min(len(cells), max(1, math.ceil(math.sqrt(len(cells) * down / across * 1.5))), max(1, ROOM // across))
    rows = math.ceil(len(cells) / columns)
    size = (max(columns * across + GAP, round(len(title) * 7.5) + 2 * GAP), rows * down + GAP + HEAD)
    figure = Figure(figsize=(size[0] / DPI, size[1] / DPI), dpi=DPI, facecolor="white")
    sheet = np.full((size[1], size[0], 3), 255, np.uint8)
    figure.text(GAP / size[0], 1 - HEAD / 2 / size[1], _plain(title), fontsize=9, va="center", parse_math=False)
    for i, (cell, picture) in enumerate(zip(cells, pictures, strict=True)):
        row, column = divmod(i, columns)
        top = HEAD + row * down + height - picture.shape[0]  # pictures of a row stand on one line
        left = GAP + column * across + (across - GAP - picture.shape[1]) // 2
        _frame(picture, cell.boxes)
        sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        for box in cell.boxes:
            _name(figure, box, (left, top), picture, size)
        middle = GAP + column * across + (across - GAP) / 2
        for n, line in enumerate(cell.caption):
            at = HEAD + row * down + height + (n + 0.5) * LINE
            shown = _shortened(_plain(line), int(across / LETTER))
            figure.text(
                middle / size[0], 1 - at / size[1], shown, fontsize=7, ha="center", va="center", parse_math=False
            )
    figure.figimage(sheet)
    with files.atomic(output) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a class may be named in any script, a font has some
        figure.savefig(temporary, format="png")


def _sized(picture: np.ndarray, count: int) -> np.ndarray:
    """u8[h w 3], a copy that is neither too small to be seen nor larger than there is room."""
    if picture.ndim == 2:
        picture = np.repeat(picture[:, :, None], 3, axis=2)
    few = count <= 24
    most, least = (LARGE, 2 * SMALL) if few else (LARGE * 5 // 8, SMALL)
    longest = max(picture.shape[:2])
    if longest <= most // 2:
        factor = max(1, min(round(least / longest), most // longest))
        return picture.repeat(factor, axis=0).repeat(factor, axis=1)
    if longest <= most:
        return picture.copy()
    height, width = (max(1, round(side * most / longest)) for side in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def _frame(picture: np.ndarray, boxes: Sequence[Box]) -> None:
    """Draw boxes into a picture."""
    height, width = picture.shape[:2]
    for box in boxes:
        x1, y1, x2, y2 = (
            round(min(max(side, 0), 1) * (n - 1)) for side, n in zip(box.sides, (width, height) * 2, strict=True)
        )
        colour = tuple(int(_colour(box)[i : i + 2], 16) for i in (1, 3, 5))
        cv2.rectangle(picture, (x1, y1), (x2, y2), colour, 2 if min(height, width) >= SMALL else 1)


def _name(figure: Figure, box: Box, corner: tuple[int, int], picture: np.ndarray, size: tuple[int, int]) -> None:
    """Write what a box shows at its upper left corner."""
    height, width = picture.shape[:2]
    x = corner[0] + min(max(box.sides[0], 0), 1) * width
    y = corner[1] + min(max(box.sides[1], 0), 1) * height
    patch = {"facecolor": _colour(box), "edgecolor": "none", "pad": 1}
    figure.text(
        (x + 2) / size[0],
        1 - (y + 2) / size[1],
        _plain(box.name),
        fontsize=6,
        color="white",
        va="top",
        bbox=patch,
        parse_math=False,
    )


def _colour(box: Box) -> str:
    return COLOURS[box.label % len(COLOURS)]


def _shortened(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[: max(1, letters - 1)]}…"


def _plain(text: str) -> str:
    """Without what no font can show: bytes of a file's name that are no text."""
    return text.encode(errors="replace").decode()
