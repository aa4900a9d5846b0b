"""nktc cost"""

from __future__ import annotations

import json
from pathlib import Path

import click

from nktc import checking, ir
from nktc.cli import options
from nktc.ir import Phase, Shape


@click.command()
@click.argument("file", type=options.existing(dir_okay=False))
@click.option(
    "--batch", type=click.IntRange(1), metavar="N", help="For that many items, instead of the net's own batch."
)
@click.option("--phase", type=click.Choice(["TRAIN", "TEST"], case_sensitive=False), help="One phase instead of both.")
@click.option("--memory", metavar="AMOUNT", help="Also the largest batch that fits, such as into 8GB or 512MiB.")
@options.input_shapes
@options.level
@options.stages
@options.allow_python
@click.option("--json", "as_json", is_flag=True, help="All figures as JSON, for tools.")
def command(
    file: Path,
    batch: int | None,
    phase: str | None,
    memory: str | None,
    shapes: dict[str, Shape],
    level: int | None,
    stages: tuple[str, ...],
    as_json: bool,
) -> None:
    """Count what a net costs: parameters, multiply-accumulates and memory, layer by layer and in all.

    Memory is that of weights and values, at fp32 and fp16: in a forward, and where the net learns, in a step of SGD
    with momentum. Workspaces of libraries come on top. A window's output size is shown with the sum it comes from.
    """
    wanted = [Phase[phase.upper()]] if phase else list(Phase)
    limit = ir.memory_size(memory) if memory is not None else None
    found = [ir.cost(graph, batch, limit) for graph in checking.graphs(file, wanted, shapes, level, stages)]
    shown = json.dumps([*map(ir.cost_data, found)], indent=2) if as_json else "\n\n".join(map(ir.cost_table, found))
    click.echo(shown)
