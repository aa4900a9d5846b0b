"""nktc weights"""

from __future__ import annotations

from pathlib import Path

import click

from nktc import checking, weights
from nktc.cli import options
from nktc.errors import raise_all
from nktc.ir import Phase, Shape


@click.command()
@click.argument("file", type=options.existing(dir_okay=False))
@click.option(
    "--model",
    type=options.existing(dir_okay=False),
    metavar="NET",
    help="Say what each layer of this net takes from the file, by name.",
)
@click.option(
    "--phase",
    type=click.Choice(["TRAIN", "TEST"], case_sensitive=False),
    default="TEST",
    show_default=True,
    help="The phase of the net.",
)
@options.input_shapes
@options.level
@options.stages
@options.allow_python
def command(
    file: Path,
    model: Path | None,
    phase: str,
    shapes: dict[str, Shape],
    level: int | None,
    stages: tuple[str, ...],
) -> None:
    """List the weights of a file, layer by layer: a .caffemodel of any age and fork, a .caffemodel.h5, a .safetensors
    or a state_dict that torch saved. With --model, what of them the net takes, lacks and passes over; exits with 1
    where shapes differ."""
    if model is None:
        click.echo(weights.describe(file))
        return
    match = weights.compare(checking.graphs(model, [Phase[phase.upper()]], shapes, level, stages)[0], file)
    click.echo(match.table())
    raise_all(match.errors)
