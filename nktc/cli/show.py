"""nktc show"""

from __future__ import annotations

from pathlib import Path

import click

from nktc import checking, data, files, ir, models, module, passes, reader
from nktc.cli import options
from nktc.ir import Phase, Shape, drawing


@click.command()
@click.argument("file", type=options.existing(dir_okay=False))
@click.option(
    "--phase",
    type=click.Choice(["TRAIN", "TEST"], case_sensitive=False),
    help="One phase; both when they differ, and TEST in a drawing.",
)
@options.input_shapes
@options.level
@options.stages
@options.allow_python
@click.option("--prototxt", is_flag=True, help="The net in today's syntax; with --phase that phase's layers alone.")
@click.option("--expand", is_flag=True, help="As --prototxt, with its blocks put in place.")
@click.option("--dot", is_flag=True, help="A drawing, as the source for Graphviz.")
@click.option("--torch", is_flag=True, help="The net to infer with as a PyTorch file, which runs without nktc.")
@options.weights
@options.data
@click.option(
    "--rankdir",
    type=click.Choice(["TB", "LR"], case_sensitive=False),
    default="TB",
    show_default=True,
    help="Draw downwards or to the right.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this file: a drawing to a .svg, .png, .pdf or .dot; beside a PyTorch file go the weights.",
)
def command(
    file: Path,
    phase: str | None,
    shapes: dict[str, Shape],
    level: int | None,
    stages: tuple[str, ...],
    prototxt: bool,
    expand: bool,
    dot: bool,
    torch: bool,
    weights: str | None,
    roots: tuple[str, ...],
    rankdir: str,
    output: Path | None,
) -> None:
    """List a net: one aligned line a layer, with the shapes of what it makes. Or show it as prototxt, as a drawing or
    as PyTorch source."""
    if prototxt + expand + dot + torch > 1:
        raise click.UsageError("of --prototxt, --expand, --dot and --torch only one can be given")
    if weights is not None and not (torch and output):
        raise click.UsageError("--weights goes with --torch and -o: they are written beside the PyTorch file")
    if torch and output and output.suffix == ".safetensors":
        raise click.UsageError("-o names the PyTorch file, and the .safetensors goes beside it: give a .py")
    for warning in checking.in_vain(file):
        click.echo(str(warning), err=True)
    wanted = [Phase[phase.upper()]] if phase else list(Phase)
    if prototxt or expand:
        if output and reader.is_binary(file):
            files.spare(output, file)
        _tell(reader.normalized(file, wanted[0] if phase else None, expand), output)
    elif torch:
        names = options.split(weights)
        if names:
            graph = models.open_model(file, names, data.Places.from_environment(roots))
        else:
            graph = passes.deploy(checking.graphs(file, [Phase.TEST], shapes, level, stages)[0])
        source = module.source(graph, " and ".join([file.name, *(Path(name).name for name in names)]))
        if output:
            for written in (output, output.with_suffix(".safetensors")):
                files.spare(written, file, *names)
            click.echo(f"{graph.name}: {' and '.join(map(str, source.write(output)))}")
        else:
            click.echo(source.text, nl=False)
    elif dot or output:
        graph = next(graph for graph in reversed(checking.graphs(file, wanted, shapes, level, stages)) if len(graph))
        if output:
            drawing.draw(graph, output, rankdir.upper())
        else:
            click.echo(drawing.dot(graph, rankdir.upper()), nl=False)
    else:
        listings = dict.fromkeys(ir.listing(graph) for graph in checking.graphs(file, wanted, shapes, level, stages))
        click.echo("\n\n".join(listings))


def _tell(text: str, output: Path | None) -> None:
    """To the file, or to the screen where none is given."""
    if output:
        files.write_text(output, text)
    else:
        click.echo(text, nl=False)
