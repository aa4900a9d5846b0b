"""A layered drawing as SVG: boxes in ranks along the flow, the lines between them as straight as they can be.

Ranks by longest path, order within a rank by the mean place of neighbours, places by least squares under the order:
the steps of Sugiyama, Tagawa and Toda (1981).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

FONT = 11  # px
PADDING = 8
GAP = 14  # between boxes of a rank
BETWEEN = 23  # between ranks
LINE = 13
SWEEPS = 24


@dataclass(frozen=True)
class Picture:
    """`boxes` have a name, a text and a colour, `edges` the numbers of two boxes and a text; `across` is the flow to
    the right instead of downwards."""

    boxes: Sequence[tuple[str, str, str]]
    edges: Sequence[tuple[int, int, str]]
    across: bool = False


@dataclass
class _Spot:
    """A box, or the place where a long line crosses a rank (`box` is None)."""

    rank: int
    breadth: float  # along its rank
    box: int | None = None
    at: float = 0.0  # its middle, along its rank
    before: list[_Spot] = field(default_factory=list)
    after: list[_Spot] = field(default_factory=list)


def lay_out(picture: Picture) -> str:
    """The SVG text."""
    sizes = [_size(name, text) for name, text, _ in picture.boxes]
    ranks, lines = _ranked(picture, sizes)
    for sweep in range(SWEEPS):
        _order(ranks, down=sweep % 2 == 0)
    for sweep in range(SWEEPS):
        _place(ranks, sweep)
    return _drawn(picture, sizes, ranks, lines)


def _size(name: str, text: str) -> tuple[float, float]:
    """Width and height of a box; letters are taken as wide as the wide ones are on average."""
    return max(len(name) * 0.64, len(text) * 0.58) * FONT + 2 * PADDING, 2 * LINE + 6


def _ranked(picture: Picture, sizes: Sequence[tuple[float, float]]) -> tuple[list[list[_Spot]], list[list[_Spot]]]:
    """The spots of every rank, and those that each edge passes."""
    rank = [0] * len(picture.boxes)
    for start, end, _ in picture.edges:  # boxes are in order of execution, edges in order of their ends
        rank[end] = max(rank[end], rank[start] + 1)
    for i in reversed(range(len(rank))):
        ends = [rank[end] for start, end, _ in picture.edges if start == i]
        if ends and not any(end == i for _, end, _ in picture.edges):
            rank[i] = min(ends) - 1  # a source stands just before who reads it
    side = 1 if picture.across else 0
    spots = [_Spot(r, sizes[i][side], i) for i, r in enumerate(rank)]
    ranks: list[list[_Spot]] = [[] for _ in range(max(rank, default=-1) + 1)]
    for spot in spots:
        ranks[spot.rank].append(spot)
    lines = []
    for start, end, _ in picture.edges:
        line = [spots[start]]
        for between in range(rank[start] + 1, rank[end]):
            line.append(_Spot(between, 0.0))
            ranks[between].append(line[-1])
        line.append(spots[end])
        for a, b in pairwise(line):
            a.after.append(b)
            b.before.append(a)
        lines.append(line)
    return ranks, lines


def _order(ranks: list[list[_Spot]], down: bool) -> None:
    """Sort each rank by the mean place of neighbours in the rank before it."""
    for rank in ranks if down else reversed(ranks):
        for i, spot in enumerate(rank):
            spot.at = float(i)
        known = {id(spot): _mean(spot.before if down else spot.after, spot.at) for spot in rank}
        rank.sort(key=lambda spot: known[id(spot)])
        for i, spot in enumerate(rank):
            spot.at = float(i)


def _place(ranks: list[list[_Spot]], sweep: int) -> None:
    """Move each rank's spots as near as they can come to the middle of their neighbours, in order and apart: those
    before and those behind in turn, at last both."""
    for rank in reversed(ranks) if sweep % 2 else ranks:
        offsets = [0.0]
        for left, right in pairwise(rank):
            offsets.append(offsets[-1] + (left.breadth + right.breadth) / 2 + GAP)
        wished = [_mean(_neighbours(spot, sweep), spot.at) - offset for spot, offset in zip(rank, offsets, strict=True)]
        for spot, offset, at in zip(rank, offsets, _rising(wished), strict=True):
            spot.at = at + offset


def _neighbours(spot: _Spot, sweep: int) -> list[_Spot]:
    if sweep > SWEEPS // 2:
        return spot.before + spot.after
    return spot.after if sweep % 2 else spot.before


def _mean(spots: Sequence[_Spot], otherwise: float) -> float:
    return sum(spot.at for spot in spots) / len(spots) if spots else otherwise


def _rising(wished: Sequence[float]) -> list[float]:
    """The numbers that never fall and are nearest to those wished (least squares)."""
    runs: list[tuple[float, int]] = []
    for number in wished:
        runs.append((number, 1))
        while len(runs) > 1 and runs[-2][0] > runs[-1][0]:
            (a, n), (b, m) = runs[-2:]
            runs[-2:] = [((a * n + b * m) / (n + m), n + m)]
    return [mean for mean, count in runs for _ in range(count)]


def _drawn(
    picture: Picture,
    sizes: Sequence[tuple[float, float]],
    ranks: list[list[_Spot]],
    lines: list[list[_Spot]],
) -> str:
    """The SVG of placed spots."""
    side = 0 if picture.across else 1
    depths = [max((sizes[s.box][side] for s in rank if s.box is not None), default=0.0) for rank in ranks]
    between = BETWEEN + (60 if picture.across else 0)  # a shape is written along the flow
    tops = [BETWEEN + sum(depths[:i]) + i * between for i in range(len(ranks))]
    least = min((s.at - s.breadth / 2 for rank in ranks for s in rank), default=0.0) - GAP
    most = max((s.at + s.breadth / 2 for rank in ranks for s in rank), default=0.0) + GAP + 60

    def point(along: float, deep: float) -> str:
        x, y = (deep, along - least) if picture.across else (along - least, deep)
        return f"{x:.1f} {y:.1f}"

    parts, words = [], []
    told: set[tuple[int | None, str]] = set()
    for line, (_, _, text) in zip(lines, picture.edges, strict=True):
        path = ""
        for a, b in pairwise(line):
            depth = depths[a.rank] if a.box is None else sizes[a.box][side]
            start, end = tops[a.rank] + depth, tops[b.rank]
            middle = (start + end) / 2
            path += f"{'L' if path else 'M'}{point(a.at, start)} C{point(a.at, middle)} {point(b.at, middle)} "
            path += point(b.at, end)
            if a is line[0] and (a.box, text) not in told:
                told.add((a.box, text))
                x, y = point(a.at, start).split()
                words.append(
                    f'<text class="shape" x="{float(x) + 4:.1f}" y="{float(y) + 10:.1f}">{escape(text)}</text>'
                )
        parts.append(f'<path d="{path}"/>')
    for rank in ranks:
        for spot in rank:
            if spot.box is not None:
                parts.append(_box(picture.boxes[spot.box], sizes[spot.box], point(spot.at, tops[spot.rank]), side))
    deep = (tops[-1] + depths[-1] if ranks else 0.0) + BETWEEN
    width, height = (deep + 60, most - least) if picture.across else (most - least, deep)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
            f' viewBox="0 0 {width:.0f} {height:.0f}" font-family="Helvetica, Arial, sans-serif" font-size="{FONT}">',
            '<defs><marker id="tip" viewBox="0 0 6 6" refX="6" refY="3" markerWidth="6" markerHeight="6" orient="auto">'
            '<polygon points="0 0.5, 6 3, 0 5.5" fill="#777"/></marker></defs>',
            "<style>path { fill: none; stroke: #777; marker-end: url(#tip) } rect { stroke: #777 }"
            " text { text-anchor: middle }"
            " .shape { text-anchor: start; font-size: 9px; fill: #555; paint-order: stroke; stroke: #fff;"
            " stroke-width: 3px }</style>",
            '<rect width="100%" height="100%" fill="#fff" stroke="none" style="stroke: none"/>',
            *parts,
            *words,
            "</svg>",
            "",
        ]
    )


def _box(box: tuple[str, str, str], size: tuple[float, float], at: str, side: int) -> str:
    """A box whose middle of the side that the flow enters is `at`."""
    name, text, colour = box
    x, y = map(float, at.split())
    left, top = (x - size[0] / 2, y) if side else (x, y - size[1] / 2)
    middle = left + size[0] / 2
    return (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{size[0]:.1f}" height="{size[1]:.1f}" rx="5" fill="{colour}"/>'
        f'<text x="{middle:.1f}" y="{top + LINE + 1:.1f}" font-weight="bold">{escape(name)}</text>'
        f'<text x="{middle:.1f}" y="{top + 2 * LINE + 1:.1f}">{escape(text)}</text>'
    )
