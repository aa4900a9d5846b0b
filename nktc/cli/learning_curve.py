"""nktc learning-curve"""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console

from nktc import data, plotting, train
from nktc.cli import options


class Sizes(click.ParamType[tuple[int | None, ...]]):
    """N,N,all"""

    name = "N,N,all"

    def convert(
        self,
        value: str | tuple[int | None, ...],
        param: click.Parameter | None,
        context: click.Context | None,
    ) -> tuple[int | None, ...]:
        if isinstance(value, tuple):
            return value
        words = value.replace(" ", "").split(",")
        if not all(word == "all" or (word.isdigit() and int(word)) for word in words):
            self.fail(f'"{value}" is no list of sizes: write 1000,3000,all', param, context)
        return tuple(None if word == "all" else int(word) for word in words)


@click.command()
@click.option("--solver", required=True, type=options.existing(dir_okay=False), help="The solver prototxt.")
@click.option(
    "--sizes", type=Sizes(), default="1000,3000,10000,all", show_default=True, help="Numbers of training records."
)
@click.option(
    "--run-dir", type=click.Path(path_type=Path), help="Where the runs lie; runs/SOLVER_curve when not given."
)
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="A score to draw; may be repeated.")
@click.option("--seed", type=click.IntRange(min=0), help="Sets random_seed.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Sets any solver field; may be repeated.")
@options.device
@options.data
@options.allow_python
def command(
    solver: Path,
    sizes: tuple[int | None, ...],
    run_dir: Path | None,
    metrics: tuple[str, ...],
    seed: int | None,
    sets: tuple[str, ...],
    device: str,
    roots: tuple[str, ...],
) -> None:
    """Train on more and more of the training data and draw the test scores.

    A run for each size, all with the solver's number of iterations; a larger part holds the smaller ones. Called again,
    it goes on where it was stopped.
    """
    overrides = [*sets, *([f"random_seed={seed}"] if seed is not None else [])]
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 200)
    chosen = train.Options(overrides, device=device, places=data.Places.from_environment(roots))
    found = train.learning_curve(solver, sizes, run_dir, chosen, console, metrics)
    for size in found:
        click.echo(f"{size.records:>8}  " + "  ".join(f"{name} {value:.4f}" for name, value in size.scores.items()))
    points = [(size.records, size.scores) for size in found]
    click.echo(plotting.plot_sizes(points, found[0].folder.parent / "learning_curve.png", metrics))
