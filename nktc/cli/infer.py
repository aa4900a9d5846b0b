"""nktc infer"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from nktc import data, files, inference
from nktc.cli import options


@click.command()
@click.option(
    "--model",
    required=True,
    type=options.existing(),
    help="A run's folder, a prototxt, or an engine's file: .onnx, .engine, .plan, .xml.",
)
@options.weights
@click.option("--backend", default="", metavar="B", help="torch, onnxruntime (the default), openvino, tensorrt.")
@options.device
@click.option("--threads", default=0, type=click.IntRange(min=0), help="CPU threads; without it, the engine's choice.")
@click.option("--batch", default=0, type=click.IntRange(min=0), help="Rows at a time; without it, the model's, or 32.")
@click.option("--list", "listing", metavar="FILE", help="Paths from a text file, one a line; - is standard input.")
@click.option("--every", default=1, type=click.IntRange(min=1), help="Of a video, every so many frames.")
@click.option(
    "--oversample", is_flag=True, help="Ten crops of each picture, corners and centre, mirrored too; the mean."
)
@click.option(
    "--top", default=5, type=click.IntRange(min=1), show_default=True, help="How many classes or boxes to name."
)
@click.option("--raw", is_flag=True, help="All outputs as they are, in place of classes or boxes.")
@click.option(
    "--blob", "blobs", multiple=True, metavar="NAME", help="An inner blob, in place of classes; may be repeated."
)
@click.option("--json", "form", flag_value="json", help="Print JSON instead of a table.")
@click.option("--jsonl", "form", flag_value="jsonl", help="Print JSON, a line for each result.")
@click.option("--csv", "form", flag_value="csv", help="Print CSV.")
@click.option(
    "--output",
    "-o",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write .json, .jsonl, .csv or .txt; or outputs and blobs as .npz, .h5 or .lmdb.",
)
@options.data
@options.allow_python
@click.argument("paths", nargs=-1, metavar="PATH...")
def command(
    model: Path,
    weights: str | None,
    backend: str,
    device: str,
    threads: int,
    batch: int,
    listing: str | None,
    every: int,
    oversample: bool,
    top: int,
    raw: bool,
    blobs: tuple[str, ...],
    form: str | None,
    output: Path | None,
    roots: tuple[str, ...],
    paths: tuple[str, ...],
) -> None:
    """Classify images or find things in them with a trained model, or get its outputs and inner blobs.

    PATH is an image, a folder of them, a quoted pattern such as 'photos/**/*.jpg', an .npy or .npz file, an LMDB or
    LevelDB, a video, or - for one image on standard input. What cannot be read is told and passed over; then the exit
    code is 1.
    """
    if not paths and not listing:
        raise click.UsageError("Missing argument 'PATH...'.")
    kind = inference.form_of(output, form or "")
    given = options.split(weights)
    asked = inference.load(
        model,
        given,
        backend=backend,
        device=device,
        threads=threads,
        batch=batch,
        oversample=oversample,
        blobs=blobs,
        places=data.Places.from_environment(roots),
    )
    if asked.assumed:
        click.echo(f"note: {asked.assumed}", err=True)
    outputs = asked.chosen(raw or (kind in inference.ARRAYS and not blobs), blobs)
    sources = [*inference.find(paths, every), *([inference.listed(listing, every)] if listing else [])]
    if output:
        files.spare(output, model, *given, *(source.name for source in sources))
    tally = inference.write(
        asked.results(sources, 0 if outputs else top, outputs),
        kind,
        output,
        outputs=outputs,
        total=inference.count(sources),
        tell=lambda line: click.echo(line, err=True),
    )
    if tally.failed:
        click.echo(f"{tally.failed} of {tally.results} could not be inferred", err=True)
    if output:
        click.echo(f"{tally.results - tally.failed} of {tally.results} results: {output}", err=True)
    sys.exit(tally.failed > 0)
