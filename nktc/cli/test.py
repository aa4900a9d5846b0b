"""nktc test"""

from __future__ import annotations

from pathlib import Path

import click

from nktc import data, train
from nktc.cli import gflags, options


@click.command(cls=gflags.Tool)
@click.option("--model", required=True, type=options.existing(dir_okay=False), help="The net to test with.")
@click.option("--weights", required=True, metavar="W", help="A .caffemodel; several with commas between.")
@click.option("--iterations", type=click.IntRange(min=1), help="Batches; the whole test set once when not given.")
@options.level
@options.stage()
@options.device
@options.gpu
@options.data
@options.allow_python
def command(
    model: Path,
    weights: str,
    iterations: int | None,
    level: int | None,
    stages: tuple[str, ...],
    device: str,
    gpu: str,
    roots: tuple[str, ...],
) -> None:
    """Score a trained net on its test data, as `caffe test` does: each batch, then the mean of each output."""
    places = data.Places.from_environment(roots)
    for line in train.score(
        model, options.split(weights), iterations, options.chosen(device, gpu), places, level, stages
    ):
        click.echo(line)
