"""nktc export"""

from __future__ import annotations

from pathlib import Path

import click

from nktc import data, export, models
from nktc.cli import options


@click.command()
@click.option("--onnx", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The file to write.")
@click.option("--run", type=options.existing(file_okay=False), help="The folder of a run.")
@click.option("--model", type=options.existing(dir_okay=False), help="A net, to train or to deploy; with --weights.")
@options.weights
@options.data
@options.allow_python
def command(onnx: Path, run: Path | None, model: Path | None, weights: str | None, roots: tuple[str, ...]) -> None:
    """Write a trained net for other runtimes: its deploy form, ending in Softmax, with its preprocessing, class names
    and origin in the metadata."""
    graph, origin = models.open_either(run, model, options.split(weights), data.Places.from_environment(roots))
    export.save(export.to_onnx(graph, origin), onnx)
    click.echo(f"{graph.name}: {len(graph)} layers, {len(graph.arrays)} weights: {onnx}")
