"""Scores against the number of records that were learnt from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from nktc.errors import NktcError, near
from nktc.plotting.figure import save


def plot_sizes(sizes: Sequence[tuple[int, Mapping[str, float]]], output: Path, metrics: Sequence[str] = ()) -> Path:
    """Draw the scores of each size, a panel for each of `metrics`, by default all that are no loss, or the losses where
    there is nothing else; and return the file. Raises NktcError for a metric that is not there."""
    every = list(dict.fromkeys(name for _, scores in sizes for name in scores))
    for metric in metrics:
        if metric not in every:
            raise NktcError(
                f'no score is called "{metric}"', help=near(metric, every) or f"there are {', '.join(every)}"
            )
    shown = list(metrics) or [name for name in every if "loss" not in name.lower()] or every
    figure = Figure(figsize=(7, 3.6 * len(shown) + 0.4), dpi=130, layout="constrained")
    grid = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for metric, axes in zip(shown, grid, strict=True):
        points = [(records, scores[metric]) for records, scores in sizes if metric in scores]
        axes.plot(*zip(*points, strict=True), "o-")
        for x, y in points:
            axes.annotate(f"{y:.4g}", (x, y), textcoords="offset points", xytext=(0, 7), ha="center", fontsize=8)
        axes.set_xscale("log")
        axes.set_xticks([records for records, _ in sizes])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
        axes.set_ylabel(metric)
        axes.margins(y=0.15)
        axes.grid(alpha=0.3)
    grid[-1].set_xlabel("training records")
    return save(figure, output)
