"""nktc agree"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from nktc import data, engines
from nktc.cli import options


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="A B...")
@options.weights
@click.option(
    "--data-from",
    "inputs",
    multiple=True,
    type=options.existing(),
    metavar="DATA",
    help="Pictures or a folder of them, or an .npz of inputs; else random inputs, prepared as pictures are.",
)
@click.option("--test-data", "own_data", is_flag=True, help="Records of the first model's own test data as inputs.")
@click.option("--records", type=click.IntRange(min=1), default=8, show_default=True, help="How many to compare with.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of random inputs.")
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=engines.TOLERANCE,
    show_default=True,
    help="How far blobs may be apart, over the first's largest value.",
)
@click.option("--all", "every", is_flag=True, help="List every blob, not only those that differ.")
@click.option("--outputs-only", is_flag=True, help="Compare outputs, and leave inner blobs to be optimised away.")
@click.option("--json", "as_json", is_flag=True, help="All of it as JSON, for tools.")
@options.device
@options.data
@options.allow_python
def command(
    models: tuple[str, ...],
    weights: str | None,
    inputs: tuple[Path, ...],
    own_data: bool,
    records: int,
    seed: int,
    tolerance: float,
    every: bool,
    outputs_only: bool,
    as_json: bool,
    device: str,
    roots: tuple[str, ...],
) -> None:
    """Compare models blob by blob, and name the first that differs.

    Each of A, B, ... is a run's folder, a prototxt (with --weights), an .onnx or an engine's file, with the engine to
    run it on in front where it matters: torch:runs/digits openvino:digits.onnx. All are compared with the first. Exits
    with 1 where one differs.
    """
    if own_data and inputs:
        raise click.UsageError("--test-data and --data-from exclude each other")
    found = engines.agree_models(
        models,
        options.split(weights),
        data.Places.from_environment(roots),
        device=device,
        inputs=inputs,
        records=records,
        seed=seed,
        tolerance=tolerance,
        inner=not outputs_only,
        own_data=own_data,
    )
    if as_json:
        click.echo(json.dumps([one.plain() for one in found], indent=2))
    else:
        click.echo("\n\n".join(one.text(every) for one in found))
    sys.exit(not all(one.agrees for one in found))
