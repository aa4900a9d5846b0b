"""nktc train"""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console

from nktc import data, train
from nktc.cli import options


@click.command()
@click.option("--solver", required=True, type=options.existing(dir_okay=False), help="The solver prototxt.")
@options.weights
@click.option("--snapshot", type=options.existing(dir_okay=False), help="A .solverstate to go on from.")
@click.option("--run-dir", type=click.Path(path_type=Path), help="The run's folder; runs/SOLVER when not given.")
@click.option("--max-iter", type=click.IntRange(min=1), help="Sets max_iter.")
@click.option("--seed", type=click.IntRange(min=0), help="Sets random_seed.")
@options.device
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Sets any solver field; may be repeated.")
@options.data
@options.allow_python
def command(
    solver: Path,
    weights: str | None,
    snapshot: Path | None,
    run_dir: Path | None,
    max_iter: int | None,
    seed: int | None,
    device: str,
    sets: tuple[str, ...],
    roots: tuple[str, ...],
) -> None:
    """Train a net as a solver file says.

    Prints Caffe's log on standard error and keeps everything of the run in its folder. Ctrl-C saves a snapshot and
    stops.
    """
    given = {"max_iter": max_iter, "random_seed": seed}
    overrides = [*sets, *(f"{key}={value}" for key, value in given.items() if value is not None)]
    chosen = train.Options(
        overrides, options.split(weights), snapshot, run_dir, device, data.Places.from_environment(roots)
    )
    outcome = train.launch(solver, chosen, Console(stderr=True, width=None if sys.stderr.isatty() else 200))
    click.echo(f"{'Stopped' if outcome.stopped else 'Done'} after {outcome.iteration} iterations: {outcome.run.folder}")
