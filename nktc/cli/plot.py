"""nktc plot"""

from __future__ import annotations

from pathlib import Path

import click

from nktc import plotting
from nktc.cli import options


@click.command()
@click.argument("runs", nargs=-1, required=True, type=options.existing())
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A .png, .svg or .pdf; curves.png when not given, in the run's folder if it is one.",
)
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="loss, lr or an output; may be repeated.")
@click.option(
    "--x", "axis", type=click.Choice(plotting.AXES), default="iterations", show_default=True, help="The x axis."
)
@click.option("--smooth", type=click.IntRange(1), metavar="N", help="Average N of the logged training losses; 1 none.")
def command(
    runs: tuple[Path, ...], output: Path | None, metrics: tuple[str, ...], axis: str, smooth: int | None
) -> None:
    """Draw the loss, scores and learning rate of RUNS over their iterations.

    A run is its folder or a Caffe log, of any Caffe's. Time is that spent in training, pauses left out.
    """
    click.echo(plotting.plot(runs, output, metrics, axis, smooth))
