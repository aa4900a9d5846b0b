"""The figure: its panels, lines and legends, and the files that it makes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import same_color, to_hex
from matplotlib.figure import Figure

from nktc.errors import NktcError
from nktc.plotting import Curve, Curves, draw, plot
from nktc.plotting.figure import extremes, names, smoothed


def curve(metric: str, values: list[float], net: int | None = None, every: int = 10) -> Curve:
    iterations = np.arange(len(values)) * every
    return Curve(metric, net, iterations, iterations * 30.0, np.array(values, float))


def a_run(name: str = "run", *more: Curve, train: list[float] | None = None, rate: list[float] | None = None) -> Curves:
    usual = curve("loss", train or [3, 2, 1.5]), curve("lr", rate or [0.1, 0.1, 0.05])
    return Curves(Path(name), (*usual, *more))


def panels(figure: Figure) -> dict[str, Axes]:
    return {axes.get_title("left"): axes for axes in figure.axes}


def legend(axes: Axes) -> list[str]:
    found = axes.get_legend()
    return [text.get_text() for text in found.get_texts()] if found else []


def heading(figure: Figure) -> list[str]:
    return [text.get_text() for found in figure.legends for text in found.get_texts()]


def test_a_run_has_a_panel_for_its_loss_each_score_and_its_rate() -> None:
    figure = draw([a_run("run", curve("loss", [3, 1], 0, 15), curve("accuracy", [0.1, 0.9], 0, 15))])
    assert list(panels(figure)) == ["loss", "accuracy", "learning rate"]
    train, test = panels(figure)["loss"].lines
    assert train.get_xydata().tolist() == [[0, 3], [10, 2], [20, 1.5]]
    assert test.get_xydata().tolist() == [[0, 3], [15, 1]]
    assert (train.get_marker(), test.get_marker()) == ("", "o")
    assert legend(panels(figure)["loss"]) == ["train", "test"]
    assert legend(panels(figure)["accuracy"]) == []
    assert figure.get_suptitle() == "run"
    assert panels(figure)["learning rate"].get_xlabel() == "iteration"


def test_terms_of_the_objective_and_outputs_of_many_numbers_have_no_panel_unless_they_are_asked_for() -> None:
    outputs = [curve(name, [1, 2], 0) for name in ("aux", "loss1/loss1", "loss1/top-5", "each[0]", "each[1]", "error")]
    run = Curves(Path("run"), tuple(outputs), losses=frozenset({"aux"}))
    assert list(panels(draw([run]))) == ["loss1/top-5", "error"]
    assert list(panels(draw([run], ["each[1]", "aux", "each[1]"]))) == ["each[1]", "aux"]


def test_two_test_nets_are_told_apart() -> None:
    axes = panels(draw([a_run("run", curve("acc", [0.1], 0), curve("acc", [0.2], 1))]))["acc"]
    first, second = axes.lines
    assert legend(axes) == ["test #0", "test #1"]
    assert first.get_marker() != second.get_marker()
    assert not same_color(first.get_color(), second.get_color())


@pytest.mark.parametrize("count", [2, 5, 12])
def test_each_of_several_runs_has_its_colour_and_its_name(count: int) -> None:
    runs = [a_run(f"some/run{k}", curve("loss", [3, 2], 0)) for k in range(count)]
    figure = draw(runs)
    assert heading(figure) == [f"run{k}" for k in range(count)]
    lines = panels(figure)["loss"].lines
    assert len(lines) == 2 * count
    colours = [line.get_color() for line in lines]
    assert all(same_color(a, b) for a, b in zip(colours[::2], colours[1::2], strict=True))
    assert len({to_hex(colour) for colour in colours}) == count
    assert legend(panels(figure)["loss"]) == ["train", "test"]


def test_a_long_run_has_the_mean_of_its_losses_before_the_faint_losses() -> None:
    values = [2 + math.sin(k) for k in range(400)]
    axes = panels(draw([a_run(train=values)]))["loss"]
    raw, mean = axes.lines
    assert raw.get_ydata().tolist() == values
    assert raw.get_alpha() < 0.5
    assert mean.get_ydata()[5:395] == pytest.approx(np.convolve(values, np.ones(10) / 10, "valid")[1:391])
    assert legend(axes) == ["train, mean of 10"]
    assert len(panels(draw([a_run(train=values)], smooth=1))["loss"].lines) == 1


def test_a_legend_of_runs_long_and_short_has_training_before_testing() -> None:
    short, long = a_run("short", curve("loss", [3, 2], 0)), a_run("long", train=[2.0] * 80)
    assert legend(panels(draw([short, long]))["loss"]) == ["train", "train, mean of 2", "test"]


def test_a_nan_is_a_gap_with_a_mark_where_it_begins() -> None:
    axes = panels(draw([a_run(train=[3, 2, math.nan, math.nan, 1, 1])]))["loss"]
    line, mark = axes.lines
    assert np.isnan(line.get_ydata()).tolist() == [False, False, True, True, False, False]
    assert mark.get_xdata().tolist() == [20]
    assert legend(axes) == ["train", "NaN or inf"]


def test_a_run_of_nothing_but_nan_and_one_of_one_loss_can_be_drawn() -> None:
    axes = panels(draw([a_run(train=[math.nan] * 3), a_run("other", train=[2.5])]))["loss"]
    assert [line.get_marker() for line in axes.lines] == [".", "x", "."]


@pytest.mark.parametrize(
    ("metric", "values", "scale"),
    [
        ("loss", [2.3, 1.2, 0.4], "linear"),
        ("loss", [2.3, 0.1, 0.01], "log"),
        ("loss", [2.3, 5.0, 1e30], "log"),
        ("loss", [2.3, 0.1, -0.01], "linear"),
        ("loss", [0.0, 0.0, 0.0], "linear"),
        ("lr", [0.1, 0.01, 0.01], "log"),
        ("lr", [0.1, 0.05, 0.02], "linear"),
        ("lr", [0.05 * (1 + math.cos(math.pi * k / 100)) for k in range(101)], "linear"),
        ("lr", [0.1 * 0.95**k for k in range(100)], "log"),
        ("accuracy", [0.001, 0.9], "linear"),
    ],
)
def test_a_scale_is_logarithmic_where_losses_and_rates_span_decades(metric: str, values: list, scale: str) -> None:
    (axes,) = draw([Curves(Path("run"), (curve(metric, values),))]).axes
    assert axes.get_yscale() == scale


def test_rates_of_runs_that_are_decades_apart_are_on_a_log_scale() -> None:
    figure = draw([a_run("a", rate=[0.1, 0.1]), a_run("b", rate=[0.001, 0.001])])
    assert panels(figure)["learning rate"].get_yscale() == "log"


def test_the_axis_is_iterations_time_or_epochs() -> None:
    run = Curves(Path("run"), (curve("loss", [3, 2, 1], every=100),), epoch=50)
    places = {}
    for axis in ("iterations", "time", "epochs"):
        (axes,) = draw([run], axis=axis).axes
        places[axes.get_xlabel()] = axes.lines[0].get_xdata().tolist()
    assert places == {
        "iteration": [0, 100, 200],
        "minutes of training": [0, 50, 100],
        "epoch": [0, 2, 4],
    }


def test_a_metric_that_was_not_logged_is_refused_with_those_there_are() -> None:
    for metric, said in (("accuracy", 'help: did you mean "acuracy"?'), ("f1", "help: there are loss, lr, acuracy")):
        with pytest.raises(NktcError) as refusal:
            draw([a_run("run", curve("acuracy", [1], 0))], [metric])
        assert str(refusal.value) == f'error: run logged no "{metric}"\n{said}'


def test_names_take_as_many_folders_as_tell_them_apart() -> None:
    assert names([Path("/a/one"), Path("/a/two")]) == ["one", "two"]
    assert names([Path("/a/run"), Path("/b/run"), Path("/c")]) == ["a/run", "b/run", "c"]
    assert names([Path("/x/a/run"), Path("/y/a/run"), Path("/y/b/run")]) == ["x/a/run", "y/a/run", "b/run"]


def test_a_mean_leaves_nan_out_and_is_of_fewer_at_the_ends() -> None:
    values = np.array([1, 2, math.nan, 4, 6])
    assert smoothed(values, np.arange(5), 3) == pytest.approx([1.5, 1.5, math.nan, 5, 5], nan_ok=True)
    assert smoothed(values, np.array([4]), 1).tolist() == [6]


def test_a_thinned_curve_keeps_each_peak() -> None:
    values = np.sin(np.arange(100_000.0))
    values[[777, 50_001]] = 9, -9
    kept = extremes(values, 200)
    assert len(kept) <= 200
    assert {777, 50_001} <= set(kept.tolist())
    assert (np.diff(kept) > 0).all()
    assert extremes(values[:50], 200).tolist() == list(range(50))


NAMES = ["_hidden", "$price", "run\udcff", "名前", "a_{b}^c"]


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Runs with names that are hard to draw."""
    for name in NAMES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "journal.jsonl").write_text(
            '{"event": "started", "time": 1, "iteration": 0}\n'
            '{"event": "stepped", "time": 2, "iteration": 0, "loss": 2.5, "lr": 0.1}\n'
            '{"event": "tested", "time": 2, "iteration": 0, "net": 0, "loss": 2.5, "scores": {"_$acc$_": 0.5}}\n'
        )
    return [tmp_path / name for name in NAMES]


@pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("SVG", b"<?xml"), ("pdf", b"%PDF")])
def test_a_picture_is_made_by_its_ending_and_the_same_each_time(
    folders: list[Path], tmp_path: Path, ending: str, start: bytes
) -> None:
    first, second = (plot(folders, tmp_path / f"{k}.{ending}").read_bytes() for k in range(2))
    assert first.startswith(start)
    assert first == second


def test_the_picture_goes_into_the_runs_folder_or_where_one_is(
    folders: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert plot([folders[1], tmp_path / "$price"]) == folders[1] / "curves.png"
    assert plot(folders[:2]) == Path("curves.png")
    assert Path("curves.png").is_file()


def test_a_run_whose_name_begins_with_a_line_is_in_the_legend(folders: list[Path]) -> None:
    figure = draw([a_run("_hidden"), a_run("$price")])
    assert heading(figure) == ["_hidden", "$price"]


def test_another_ending_is_refused_before_anything_is_read() -> None:
    with pytest.raises(NktcError) as refusal:
        plot([Path("gone")], Path("out.jpg"))
    assert str(refusal.value) == "error: out.jpg is no .png, .svg or .pdf\nhelp: -o out.png draws a PNG"
