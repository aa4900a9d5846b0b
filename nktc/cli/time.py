"""nktc time"""

from __future__ import annotations

import json
from pathlib import Path

import click

from nktc import checking, data, reader, train
from nktc.cli import gflags, options
from nktc.ir import Phase, Shape


@click.command(cls=gflags.Tool)
@click.option("--model", type=options.existing(dir_okay=False), help="The net to time.")
@click.option("--solver", type=options.existing(dir_okay=False), help="The solver whose training net and step to time.")
@options.weights
@click.option("--iterations", type=click.IntRange(min=1), default=50, show_default=True, help="How many to average.")
@options.device
@options.gpu
@click.option(
    "--phase",
    type=click.Choice(["TRAIN", "TEST"], case_sensitive=False),
    help="TRAIN when not given; TEST has forward alone.",
)
@options.level
@options.stages
@options.input_shapes
@options.data
@options.allow_python
@click.option("--json", "as_json", is_flag=True, help="All figures as JSON, for tools.")
def command(
    model: Path | None,
    solver: Path | None,
    weights: str | None,
    iterations: int,
    device: str,
    gpu: str,
    phase: str | None,
    level: int | None,
    stages: tuple[str, ...],
    shapes: dict[str, Shape],
    roots: tuple[str, ...],
    as_json: bool,
) -> None:
    """Time a net, layer by layer and in all.

    Prints the log of `caffe time` on standard error, and a table. With --solver the whole training step is timed too:
    data, forward, backward and update.

    Unlike Caffe's, the TEST phase has no backward. A net without a loss gets a gradient of ones at its outputs. Data
    that is not there is not downloaded: random numbers are fed in its place.
    """
    file = model or solver
    if not file or (model and solver):
        raise click.UsageError("give one of --model and --solver")
    if solver and (phase or level is not None or stages):
        raise click.UsageError("--phase, --level and --stage go with --model: a solver says its own")
    settings = train.read(solver) if solver else None
    net = settings.train_net if settings else reader.read_net(file, strict=False)
    graph, *_ = checking.graphs(file, [Phase[(phase or "TRAIN").upper()]], shapes, level, stages)
    found = train.time_net(
        graph,
        net.folder,
        settings=settings,
        files=options.split(weights),
        iterations=iterations,
        device=options.chosen(device, gpu),
        places=data.Places.from_environment(roots, download=False),
        write=lambda line: click.echo(line, err=True),
    )
    click.echo(json.dumps(train.timing_data(found), indent=2) if as_json else train.timing_table(found))
