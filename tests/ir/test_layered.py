"""The layout: boxes apart from each other and in their ranks, whatever the graph."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nktc.ir.layered import Picture, _rising, lay_out

SVG = "{http://www.w3.org/2000/svg}"


@st.composite
def pictures(draw: st.DrawFn) -> Picture:
    """Acyclic pictures of up to 12 boxes, any box reading any before it."""
    count = draw(st.integers(1, 12))
    names = [draw(st.text("abcmW/_", max_size=20)) for _ in range(count)]
    pairs = [(i, j) for j in range(count) for i in range(j)]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=20)) if pairs else []
    edges.sort(key=lambda pair: pair[1])
    boxes = [(name, "text", "#fff") for name in names]
    return Picture(boxes, [(i, j, "1x2") for i, j in edges], draw(st.booleans()))


def rectangles(svg: str) -> list[tuple[float, float, float, float]]:
    """Left, top, right and bottom of every box."""
    found = [rect for rect in ET.fromstring(svg).iter(f"{SVG}rect") if rect.get("rx")]
    corners = [[float(rect.get(key, "")) for key in ("x", "y", "width", "height")] for rect in found]
    return [(x, y, x + width, y + height) for x, y, width, height in corners]


@given(pictures())
def test_no_box_covers_another_and_all_are_on_the_page(picture: Picture) -> None:
    svg = lay_out(picture)
    boxes = rectangles(svg)
    assert len(boxes) == len(picture.boxes)
    for a, b in combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    page = ET.fromstring(svg)
    width, height = float(page.get("width", "")), float(page.get("height", ""))
    assert all(x >= 0 and y >= 0 and right <= width and bottom <= height for x, y, right, bottom in boxes)


def test_a_chain_is_straight() -> None:
    picture = Picture([(name, "", "#fff") for name in ("a", "a longer name", "c")], [(0, 1, ""), (1, 2, "")])
    middles = {round((left + right) / 2, 1) for left, _, right, _ in rectangles(lay_out(picture))}
    assert len(middles) == 1


def test_a_source_stands_just_before_who_reads_it() -> None:
    boxes = [(name, "", "#fff") for name in ("data", "label", "conv", "pool", "loss")]
    picture = Picture(boxes, [(0, 2, ""), (2, 3, ""), (3, 4, ""), (1, 4, "")])
    tops = sorted({top for _, top, _, _ in rectangles(lay_out(picture))})
    page = ET.fromstring(lay_out(picture))
    label = next(float(text.get("y", "")) for text in page.iter(f"{SVG}text") if text.text == "label")
    assert tops[2] < label < tops[3]


@given(st.lists(st.floats(-100, 100), max_size=8))
def test_rising_numbers_are_the_nearest_that_never_fall(wished: list[float]) -> None:
    found = _rising(wished)
    assert all(a <= b + 1e-9 for a, b in pairwise(found))
    # The condition of optimality: up to any place the sums differ by 0 at most from above, and at the end not at all.
    sums = [sum(found[: i + 1]) - sum(wished[: i + 1]) for i in range(len(wished))]
    assert all(difference <= 1e-6 for difference in sums)
    assert sums == [] or sums[-1] == pytest.approx(0, abs=1e-6)
