"""Scores over the number of records."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from nktc.errors import NktcError
from nktc.plotting import plot_sizes

SIZES = [(1000, {"accuracy": 0.4, "loss": 1.5}), (10_000, {"accuracy": 0.7, "loss": 0.9})]


def test_scores_are_drawn_and_losses_where_there_are_no_others(tmp_path: Path) -> None:
    both = plot_sizes(SIZES, tmp_path / "both.svg", ["accuracy", "loss"]).read_text()
    accuracy = plot_sizes(SIZES, tmp_path / "a.svg").read_text()
    losses = plot_sizes([(n, {"loss": s["loss"]}) for n, s in SIZES], tmp_path / "l.svg").read_text()
    counts = [text.count("axes_") for text in (both, accuracy, losses)]
    assert counts[0] == 2 * counts[1] == 2 * counts[2] > 0
    assert accuracy != losses


def test_a_png_can_be_looked_at(tmp_path: Path) -> None:
    picture = cv2.imread(str(plot_sizes(SIZES, tmp_path / "curve.png")))
    assert picture is not None
    assert picture.shape[1] == 910


def test_an_unknown_metric_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(NktcError, match='no score is called "acuracy"'):
        plot_sizes(SIZES, tmp_path / "x.png", ["acuracy"])
    with pytest.raises(NktcError, match=r"x\.gif is no \.png"):
        plot_sizes(SIZES, tmp_path / "x.gif")
