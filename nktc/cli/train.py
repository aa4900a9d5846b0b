"""nktc train"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console

from nktc import data, train
from nktc.cli import gflags, options

PRECISIONS = ("FP32", "TF32", "BF16", "FP16")


@click.command(cls=gflags.Tool)
@click.option("--solver", required=True, type=options.existing(dir_okay=False), help="The solver prototxt.")
@options.weights
@click.option("--level", type=int, metavar="N", help="Sets the level of train_state.")
@options.stage(" They come beside those of train_state.")
@click.option(
    "--snapshot",
    metavar="STATE|RUN|latest",
    help="A .solverstate to go on from, or a run, for its newest whole one; latest: that of --run-dir, or none.",
)
@click.option("--run-dir", type=click.Path(path_type=Path), help="The run's folder; runs/SOLVER when not given.")
@click.option("--max-iter", type=click.IntRange(min=1), help="Sets max_iter.")
@click.option("--seed", type=click.IntRange(min=0), help="Sets random_seed.")
@options.device
@click.option("--gpu", metavar="N,…|all", help="Train on this GPU; on several with a process, a rank, for each.")
@click.option("--ranks", type=click.IntRange(min=1), help="Train in so many processes on the CPU, to try that out.")
@click.option(
    "--restarts",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="How often the ranks start again from the newest snapshot when one is lost.",
)
@click.option("--precision", type=click.Choice(PRECISIONS, case_sensitive=False), help="Sets precision.")
@click.option(
    "--speed", metavar="auto|exact|LIST", help="Sets speed; channels_last, compile, cuda_graph may be listed."
)
@click.option(
    "--log", "loggers", multiple=True, metavar="NAME[=OPTION,…]", help="tensorboard, mlflow or wandb; may be repeated."
)
@click.option(
    "--sigint-effect",
    "--sigint_effect",
    type=click.Choice(train.EFFECTS),
    default="stop",
    show_default=True,
    help="What Ctrl-C does.",
)
@click.option(
    "--sighup-effect",
    "--sighup_effect",
    type=click.Choice(train.EFFECTS),
    default="snapshot",
    show_default=True,
    help="What a hang-up does.",
)
@click.option("--workers", type=click.IntRange(min=0), metavar="N", help="Processes that read and decode; 0 for none.")
@options.cache
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Sets any solver field; may be repeated.")
@options.data
@options.allow_python
def command(
    solver: Path,
    weights: str | None,
    level: int | None,
    stages: tuple[str, ...],
    snapshot: str | None,
    run_dir: Path | None,
    max_iter: int | None,
    seed: int | None,
    device: str,
    gpu: str | None,
    ranks: int | None,
    restarts: int,
    precision: str | None,
    speed: str | None,
    loggers: tuple[str, ...],
    sigint_effect: str,
    sighup_effect: str,
    workers: int | None,
    cache: int | None,
    sets: tuple[str, ...],
    roots: tuple[str, ...],
) -> None:
    """Train a net as a solver file says.

    Prints Caffe's log on standard error and keeps everything of the run in its folder. Ctrl-C saves a snapshot and
    stops.
    """
    given = {"max_iter": max_iter, "random_seed": seed, "precision": precision, "speed": speed}
    overrides = [*sets, *(f"{key}={value}" for key, value in given.items() if value is not None)]
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 200)
    effects = train.Effects(sigint_effect, sighup_effect)
    chosen = train.Options(
        overrides,
        options.split(weights),
        snapshot,
        run_dir,
        device,
        data.Places.from_environment(roots),
        effects,
        loggers,
        cache,
        workers=workers,
        level=level,
        stages=stages,
    )
    own = train.own_device(gpu, ranks, device, restarts, effects, console)
    outcome = train.launch(solver, replace(chosen, device=own), console)
    if outcome.rank:
        return
    click.echo(f"{'Stopped' if outcome.stopped else 'Done'} after {outcome.iteration} iterations: {outcome.run.folder}")
