"""nktc export"""

from __future__ import annotations

from pathlib import Path

import click

from nktc import data, export, files, models, passes
from nktc.cli import options, targets
from nktc.ir import DType

PRECISIONS = {"fp32": DType.F32, "fp16": DType.F16, "bf16": DType.BF16}


@click.command()
@click.option("--onnx", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The file to write.")
@click.option("--run", type=options.existing(file_okay=False), help="The folder of a run.")
@click.option("--model", type=options.existing(dir_okay=False), help="A net, to train or to deploy; with --weights.")
@options.weights
@targets.target
@click.option(
    "--batch",
    metavar="N|any",
    callback=targets.batch,
    help="A fixed batch, or any. Without it any where the net goes with it, else its own.",
)
@click.option(
    "--precision",
    type=click.Choice([*PRECISIONS]),
    default="fp32",
    show_default=True,
    help="What is computed in; layers that 16 bits would hurt stay fp32. int8 is for nktc optimize, which calibrates.",
)
@click.option(
    "--preprocessing-inside",
    is_flag=True,
    help="The file takes pictures that only have their size, u8 [n h w c] in RGB or gray, and does the rest itself.",
)
@click.option("--optimize/--no-optimize", default=True, show_default=True, help="Simplify the net first; names stay.")
@click.option(
    "--nms",
    type=click.Choice(["inside", "outside"]),
    default="inside",
    show_default=True,
    help="Where DetectionOutput chooses boxes: in the file, as runtimes do, or, where nktc runs it, as Caffe does.",
)
@options.data
@options.allow_python
def command(
    onnx: Path,
    run: Path | None,
    model: Path | None,
    weights: str | None,
    target: export.Target,
    batch: int | None,
    precision: str,
    preprocessing_inside: bool,
    optimize: bool,
    nms: str,
    roots: tuple[str, ...],
) -> None:
    """Write a trained net for other runtimes: its deploy form, ending in Softmax, with its preprocessing, class names
    and origin in the metadata.

    What a target is known to refuse is an error at the layer's line; what is only worth knowing is a warning. That is
    told from tables, as nktc lint does: no runtime loads the file.
    """
    given = options.split(weights)
    files.spare(onnx, *([model] if model else []), *given)
    graph, origin = models.open_either(run, model, given, data.Places.from_environment(roots))
    if nms == "outside":
        graph = passes.nms_outside(graph)
    if optimize:
        graph = passes.run(graph).graph
    if precision != "fp32":
        graph = passes.assign_precision(graph, PRECISIONS[precision])
    export.save(export.to_onnx(graph, origin, target, batch, preprocessing_inside), onnx)
    found = export.lint(export.read(onnx), target)
    for finding in found:
        click.echo(str(finding.told(graph)), err=True)
    click.echo(export.verdict(found, target), err=True)
    click.echo(f"{graph.name}: {len(graph)} layers, {len(graph.arrays)} weights: {onnx}")
