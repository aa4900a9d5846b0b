"""Curves as a figure: a panel for each metric, a colour for each run."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from nktc import files
from nktc.errors import NktcError, near
from nktc.plotting.curves import Curve, Curves, read_curves

Colour = str | tuple[float, float, float, float]
FORMATS = ("png", "svg", "pdf")
TITLES = {"lr": "learning rate"}
UNITS = ((7200, "hours", 3600), (120, "minutes", 60), (0, "seconds", 1))
POINTS = 2000  # of one line: more show nothing new and make large files
TESTS = (("o", "-"), ("s", "--"), ("^", ":"), ("D", "-."))  # how each test net is drawn


def plot(
    paths: Sequence[Path],
    output: Path | None = None,
    metrics: Sequence[str] = (),
    axis: str = "iterations",
    smooth: int | None = None,
) -> Path:
    """Draw runs, folders or Caffe logs, and return the file: `output`, or curves.png, in the folder where it is but
    one. Raises NktcError."""
    paths = list({path.resolve(): path for path in paths}.values())
    if output is None:
        output = (paths[0] if len(paths) == 1 and paths[0].is_dir() else Path()) / "curves.png"
    _ending(output)
    return save(draw([read_curves(path) for path in paths], metrics, axis, smooth), output)


def _ending(output: Path) -> str:
    """The format of a file. Raises NktcError for one that is not drawn."""
    ending = output.suffix.lower().removeprefix(".")
    if ending not in FORMATS:
        raise NktcError(f"{output} is no .png, .svg or .pdf", help=f"-o {output.with_suffix('.png').name} draws a PNG")
    return ending


def save(figure: Figure, output: Path) -> Path:
    """Write a figure as its file's ending says. Raises NktcError."""
    ending = _ending(output)
    # Without date and salt the same run gives the same file.
    dateless = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[ending]
    with files.atomic(output) as temporary, warnings.catch_warnings(), rc_context({"svg.hashsalt": "nktc"}):
        warnings.filterwarnings("ignore", "Glyph")  # a run may be named in any script, a font has some
        figure.savefig(temporary, format=ending, metadata=dateless)
    return output


def draw(
    runs: Sequence[Curves], metrics: Sequence[str] = (), axis: str = "iterations", smooth: int | None = None
) -> Figure:
    """A figure with a panel for each of `metrics`, by default the objective, what the nets put out beside its terms,
    and the rate.

    `smooth` is how many training losses the line through them averages, by default a fortieth of them; the losses are
    faint behind it. Raises NktcError for a metric that no run has and an axis that one does not have.
    """
    panels = _panels(runs, metrics)
    columns = 1 if len(panels) <= 4 else 2
    rows = math.ceil(len(panels) / columns)
    heights = [2 if columns == 1 < rows and metric == "lr" else 3 for metric in panels[:rows]]
    figure = Figure(figsize=(8 if columns == 1 else 13, sum(heights) + 0.8), dpi=130, layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False, height_ratios=heights).T.reshape(-1)
    label, place = _places(runs, panels, axis)
    colours, nets = _colours(len(runs)), _colours(8)
    many = any(curve.net for run in runs for curve in run.curves)
    for metric, axes in zip(panels, grid, strict=False):
        for run, colour in zip(runs, colours, strict=True):
            for curve in sorted(run.of(metric), key=lambda curve: (curve.net is not None, curve.net)):
                own = nets[0 if curve.net is None else curve.net % 7 + 1] if len(runs) == 1 else colour
                _line(axes, place(run, curve), curve, own, f"test #{curve.net}" if many else "test", smooth)
        _dress(axes, metric, several=len(runs) > 1)
    for axes in grid[len(panels) :]:
        axes.remove()
    for axes in (grid[rows - 1], grid[len(panels) - 1]):
        axes.set_xlabel(label)
        axes.tick_params(labelbottom=True)
        axes.xaxis.get_major_locator().set_params(integer=axis == "iterations", min_n_ticks=1)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.10g}"))
    _name(figure, names([run.path for run in runs]), colours)
    return figure


def names(paths: Sequence[Path]) -> list[str]:
    """The last name of each path, with as many folders before it as tell it from the others."""
    parts = [path.resolve().parts for path in paths]
    found = []
    for mine in parts:
        lengths = range(1, len(mine) + 1)
        length = next(n for n in lengths if sum(mine[-n:] == other[-n:] for other in parts) == 1 or n == len(mine))
        found.append("/".join(mine[-length:]))
    return found


def smoothed(values: np.ndarray, places: np.ndarray, count: int) -> np.ndarray:
    """The mean of `count` values around each of `places`, of fewer at the ends; NaN stays, and counts for nothing."""
    found = np.full(len(places), math.nan)
    for k, place in enumerate(places.tolist()):
        around = values[max(0, place - (count - 1) // 2) : place + count // 2 + 1]
        if not math.isnan(values[place]):
            found[k] = around[~np.isnan(around)].mean()
    return found


def extremes(values: np.ndarray, most: int) -> np.ndarray:
    """At most `most` places, in order, that draw as all do: the smallest and largest value of each stretch."""
    if len(values) <= most:
        return np.arange(len(values))
    edges = np.linspace(0, len(values), most // 2 + 1).astype(int)
    stretches = [(low, values[low:high]) for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)]
    return np.unique([low + pick(part) for low, part in stretches for pick in (np.argmin, np.argmax)])


def _panels(runs: Sequence[Curves], metrics: Sequence[str]) -> list[str]:
    there = list(dict.fromkeys(curve.metric for run in runs for curve in run.curves))
    for metric in metrics:
        if metric not in there:
            help = near(metric, there) or f"there are {', '.join(there[:20])}"
            raise NktcError(f'{" and ".join(str(run.path) for run in runs)} logged no "{metric}"', help=help)
    if metrics:
        return list(dict.fromkeys(metrics))
    # A journal does not say which outputs are losses; their names do. Of several numbers each would be a panel.
    terms = {"lr"}.union(*(run.losses for run in runs))
    scores = [m for m in there if m not in terms and "loss" not in m.lower().split("/")[-1] and not m.endswith("]")]
    return [m for m in ("loss", *scores, "lr") if m in there] or there[:1]


def _places(runs: Sequence[Curves], panels: Sequence[str], axis: str) -> tuple[str, Callable[..., np.ndarray]]:
    """The label of an axis, and what gives a run's curve its places there."""
    if axis != "time":
        return axis.removesuffix("s"), lambda run, curve: run.along(curve, axis)
    ends = [run.along(curve, axis)[-1] for run in runs for curve in run.curves if curve.metric in panels]
    _, unit, seconds = next(unit for unit in UNITS if max(ends) >= unit[0])
    return f"{unit} of training", lambda run, curve: run.along(curve, axis) / seconds


def _colours(count: int) -> Sequence[Colour]:
    """As many colours, as different as may be."""
    few = ["tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown", "tab:pink", "tab:olive"]
    return few[:count] if count <= len(few) else [colormaps["turbo"](x) for x in np.linspace(0.03, 0.97, count)]


def _line(axes: Axes, x: np.ndarray, curve: Curve, colour: Colour, test: str, smooth: int | None) -> None:
    """Draw a curve; `test` is what a curve of its test net is called."""
    values = curve.values
    shown = extremes(values, POINTS)
    if curve.net is not None:
        marker, style = TESTS[curve.net % len(TESTS)]
        every = max(1, len(shown) // 25)
        axes.plot(x[shown], values[shown], style, marker=marker, ms=4, markevery=every, color=colour, label=test)
    elif curve.metric == "lr":
        axes.plot(x[shown], values[shown], color=colour, drawstyle="steps-post", marker=_dot(values), label="train")
    else:
        count = smooth or max(1, len(values) // 40)
        if count > 1:
            axes.plot(x[shown], values[shown], color=colour, alpha=0.2, lw=0.7)
            shown = np.unique(np.linspace(0, len(values) - 1, min(len(values), POINTS)).astype(int))
        label = f"train, mean of {count}" if count > 1 else "train"
        axes.plot(x[shown], smoothed(values, shown, count), color=colour, lw=1.4, marker=_dot(values), label=label)
    bad = np.isnan(values)
    first = bad & ~np.concatenate([[False], bad[:-1]])
    if first.any():
        at = axes.get_xaxis_transform()
        axes.plot(
            x[first], np.full(first.sum(), 0.95), "x", ms=7, mew=2, color=colour, transform=at, label="NaN or inf"
        )


def _dot(values: np.ndarray) -> str:
    """A marker where a line alone could not be seen."""
    return "." if np.isfinite(values).sum() < 2 else ""


def _dress(axes: Axes, metric: str, several: bool) -> None:
    """Title, scale and legend of a panel whose lines are drawn."""
    axes.set_title(TITLES.get(metric, metric), loc="left", fontsize=10, parse_math=False)
    axes.grid(alpha=0.25, lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.02)
    drawn = [np.asarray(line.get_ydata(), float) for line in axes.lines if line.get_transform() == axes.transData]
    if _spans_decades([values[np.isfinite(values)] for values in drawn if np.isfinite(values).any()], metric):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    elif metric == "lr":
        axes.set_ylim(bottom=0)
    kinds = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    if len(kinds) > 1 or any("mean" in kind for kind in kinds):
        order = sorted(kinds, key=lambda kind: kind[:2], reverse=True)  # train, test, NaN
        legend = axes.legend([kinds[kind] for kind in order], order, frameon=False, fontsize=8)
        if several:
            for line in legend.get_lines():
                line.set_color("0.3")


def _spans_decades(lines: Sequence[np.ndarray], metric: str) -> bool:
    """Whether a log scale shows more: for a loss that falls or grows a hundredfold; for a rate that goes in steps below
    a tenth of the highest, or is there half of the time. Never for a score, nor for what is ever negative."""
    if metric not in ("loss", "lr") or not lines or min(map(np.min, lines)) < 0:
        return False
    if metric == "loss":
        values = np.concatenate(lines)
        low = np.percentile(values, 2)
        return bool(0 < low * 100 <= values.max())
    low = min(np.min(line) if len(np.unique(line)) <= 10 else np.median(line) for line in lines)
    return bool(0 < low * 10 <= max(map(np.max, lines)))


def _name(figure: Figure, said: Sequence[str], colours: Sequence[Colour]) -> None:
    """Say which run is which."""
    # A file's name may have bytes that are no text.
    said = [name.encode(errors="replace").decode() for name in said]
    if len(said) == 1:
        figure.suptitle(said[0], fontsize=11, parse_math=False)
        return
    handles = [Line2D([], [], color=colour, lw=3) for colour in colours]
    width = 12 * figure.get_figwidth() // (max(map(len, said)) + 6)
    columns = int(max(1, min(len(said), width)))
    legend = figure.legend(handles, said, loc="outside upper center", ncols=columns, frameon=False, fontsize=9)
    for text in legend.get_texts():
        text.set_parse_math(False)
