"""nktc convert"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from nktc import convert, data, export
from nktc.cli import options, targets
from nktc.ir import Shape


@click.command()
@click.argument("model", type=options.existing(), metavar="MODEL")
@click.argument("weights", nargs=-1, metavar="[WEIGHTS]...")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="OUT",
    help="The file to write: .onnx, .safetensors (with a .py beside it), .caffemodel or .h5 (with a .prototxt).",
)
@click.option(
    "--verify",
    is_flag=True,
    help="Run both on the same inputs in every runtime here, write a report, and exit with 1 where they differ.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=convert.TOLERANCE,
    show_default=True,
    help="How far outputs may be apart, over the largest value of the source's.",
)
@click.option("--records", type=click.IntRange(min=1), default=4, show_default=True, help="Random inputs to verify on.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random inputs.")
@targets.target
@click.option(
    "--batch",
    metavar="N|any",
    callback=targets.batch,
    help="The batch of an .onnx. Without it any where the net goes with it, else its own.",
)
@click.option("--optimize/--no-optimize", default=True, show_default=True, help="Simplify the net of an .onnx first.")
@click.option(
    "--caffe",
    type=click.Choice([*convert.DIALECTS]),
    default="bvlc",
    show_default=True,
    help="Whose layers a .caffemodel or .h5 is written with.",
)
@click.option("--dialect", default="", metavar="NAME", help="The dialect of a MODEL in binary that may be in several.")
@options.input_shapes
@click.option("--json", "as_json", is_flag=True, help="All of it as JSON, for tools.")
@options.data
@options.allow_python
def command(
    model: Path,
    weights: tuple[str, ...],
    output: Path,
    verify: bool,
    tolerance: float,
    records: int,
    seed: int,
    target: export.Target,
    batch: int | None,
    optimize: bool,
    caffe: str,
    dialect: str,
    shapes: dict[str, Shape],
    as_json: bool,
    roots: tuple[str, ...],
) -> None:
    """Convert a trained model to another format, with proof.

    MODEL is a net with its WEIGHTS behind it, a .caffemodel that holds its own net, a run's folder, an .onnx, or a .pt2
    that torch.export saved. What Caffe has no layers for is refused by name.
    """
    settings = convert.Settings(target, batch, optimize, caffe)
    places = data.Places.from_environment(roots)
    with options.telling("converting") as hear:
        outcome = convert.convert(
            model, weights, output, settings, places, verify, shapes, dialect, records, seed, tolerance, hear
        )
    click.echo(json.dumps(outcome.plain(), indent=2) if as_json else outcome.text())
    sys.exit(not outcome.stands)
