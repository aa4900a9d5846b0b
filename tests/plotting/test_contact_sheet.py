"""Sheets of pictures with captions and boxes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from nktc.data import Box, Cell
from nktc.errors import NktcError
from nktc.plotting import draw_sheet


def picture(i: int) -> np.ndarray:
    return np.random.RandomState(i).randint(0, 256, (9, 8, 3)).astype(np.uint8)


def read(path: Path) -> np.ndarray:
    """u8[h w 3], red first."""
    return cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)


def holds(sheet: np.ndarray, part: np.ndarray) -> bool:
    _, _, (x, y), _ = cv2.minMaxLoc(cv2.matchTemplate(sheet, part, cv2.TM_SQDIFF))
    return bool((sheet[y : y + part.shape[0], x : x + part.shape[1]] == part).all())


def test_small_pictures_stand_in_the_sheet_pixel_by_pixel_enlarged(tmp_path: Path) -> None:
    pictures = [picture(i) for i in range(30)]
    draw_sheet([Cell(p, (f"{i}",)) for i, p in enumerate(pictures)], "title", tmp_path / "sheet.png")
    sheet = read(tmp_path / "sheet.png")
    for p in pictures:
        assert holds(sheet, p.repeat(11, axis=0).repeat(11, axis=1))


def test_large_and_odd_pictures_fit(tmp_path: Path) -> None:
    shapes = [(900, 1300, 3), (40, 1, 3), (1, 1), (3000, 2)]
    draw_sheet([Cell(np.zeros(shape, np.uint8)) for shape in shapes], "$x$ \udcff", tmp_path / "sheet.png")
    assert max(read(tmp_path / "sheet.png").shape) < 2100


def test_boxes_are_drawn_where_they_are(tmp_path: Path) -> None:
    cell = Cell(np.zeros((100, 200, 3), np.uint8), ("",), (Box((0.5, 0.2, 0.9, 0.8), "cat", 1),))
    draw_sheet([cell], "", tmp_path / "sheet.png")
    green = (read(tmp_path / "sheet.png") == (0x3C, 0xB4, 0x4B)).all(axis=2)
    rows, columns = np.flatnonzero(green.any(axis=1)), np.flatnonzero(green.any(axis=0))
    assert rows[-1] - rows[0] == pytest.approx(60, abs=4)
    assert columns[-1] - columns[0] == pytest.approx(80, abs=4)


def test_only_a_png_is_written(tmp_path: Path) -> None:
    with pytest.raises(NktcError, match=r"is no \.png"):
        draw_sheet([Cell(np.zeros((2, 2), np.uint8))], "", tmp_path / "sheet.jpg")
