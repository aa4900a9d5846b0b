"""nktc infer"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from nktc import data, engines
from nktc.cli import options


@click.command()
@click.option("--model", required=True, type=options.existing(), help="An .onnx file, a prototxt, or a run's folder.")
@options.weights
@click.option("--backend", default="", metavar="B", help="onnxruntime (the default) or torch.")
@click.option("--top", default=5, type=click.IntRange(min=1), show_default=True, help="How many classes to name.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@options.device
@options.data
@options.allow_python
@click.argument("paths", nargs=-1, required=True, type=options.existing(), metavar="PATH...")
def command(
    model: Path,
    weights: str | None,
    backend: str,
    top: int,
    as_json: bool,
    device: str,
    roots: tuple[str, ...],
    paths: tuple[Path, ...],
) -> None:
    """Classify images, or all images of a folder, with a trained model."""
    places = data.Places.from_environment(roots)
    classifier = engines.open_classifier(model, options.split(weights), backend, engines.Options(device), places)
    if classifier.assumed:
        click.echo(f"note: {classifier.assumed}", err=True)
    results = list(classifier.classify(data.find_images(paths), top))
    if as_json:
        click.echo(json.dumps([asdict(r) | {"path": str(r.path)} for r in results], indent=2))
    else:
        for result in results:
            click.echo(str(result.path) + (f"\n  error: {result.error}" if result.error else ""))
            for found in result.predictions:
                click.echo(f"  {found.probability:8.2%}  {found.label}")
    sys.exit(any(result.error for result in results))
