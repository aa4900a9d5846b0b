"""nktc optimize"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from nktc import data, optimize, quantization
from nktc.cli import options

WANTED = optimize.Wanted()


def _settings(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> dict[str, Any]:
    """NAME=VALUE as numbers, true or false, or text. Raises click.BadParameter."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise click.BadParameter(f'"{text}" is no setting: write workspace=4GB')
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


@click.command()
@click.argument("model", type=options.existing(), metavar="MODEL")
@options.weights
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The engine file.")
@click.option("--backend", default="", metavar="B", help="The engine it is for; all that read such files are tried.")
@click.option(
    "--precision",
    type=click.Choice(optimize.PRECISIONS),
    default=WANTED.precision,
    show_default=True,
    help="int8 is calibrated, with its worst layers kept in fp32.",
)
@click.option("--keep", multiple=True, metavar="LAYER", help="A layer that stays in fp32; may be repeated.")
@click.option(
    "--calibrate",
    multiple=True,
    type=options.existing(),
    metavar="DATA",
    help="Pictures or a folder of them, an .npz of inputs, or a calibration table; else the net's own data is asked.",
)
@click.option(
    "--calibration",
    type=click.Choice([*quantization.METHODS]),
    default=WANTED.calibration,
    show_default=True,
    help="Where a blob's values are cut off.",
)
@click.option("--save-calibration", type=click.Path(path_type=Path, dir_okay=False), help="Write the table, as JSON.")
@click.option(
    "--max-drop",
    type=click.FloatRange(min=0),
    default=WANTED.max_drop,
    show_default=True,
    metavar="POINTS",
    help="How much of top-1 int8 may cost, in per cent points.",
)
@click.option("--records", type=click.IntRange(min=1), default=WANTED.records, show_default=True, help="To score with.")
@click.option("--batch", type=click.IntRange(min=1), help="Fix the batch; else any goes, and the best is found.")
@click.option("--latency-ms", type=click.FloatRange(min=0), default=0.0, help="The most that a forward may take.")
@click.option(
    "--goal",
    type=click.Choice(optimize.GOALS),
    default=WANTED.goal,
    show_default=True,
    help="What to be fast at; for throughput several streams are tried.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Use so many; else one and all of them are tried.")
@click.option("--pass", "passes", multiple=True, metavar="NAME", help="Run this pass only; may be repeated.")
@click.option("--fold-input", is_flag=True, help="Put scale, mean and std into the first layer, where that is exact.")
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", callback=_settings, help="A setting of the engine's own."
)
@click.option(
    "--seconds", type=click.FloatRange(min=0.1), default=WANTED.seconds, show_default=True, help="For each measurement."
)
@click.option("--report", is_flag=True, help="List every rewrite with its prototxt lines, and every blob compared.")
@click.option("--json", "as_json", is_flag=True, help="All of it as JSON, for tools.")
@options.device
@options.data
@options.allow_python
def command(
    model: Path,
    weights: str | None,
    output: Path,
    save_calibration: Path | None,
    batch: int | None,
    threads: int | None,
    report: bool,
    as_json: bool,
    roots: tuple[str, ...],
    **more: Any,
) -> None:
    """Make the fastest engine of a trained net on this machine, proved to give the same answers.

    MODEL is a run's folder, or a prototxt with --weights. The passes are run, engines, graphs and threads are measured
    side by side, and the file of the fastest is written (.onnx for ONNX Runtime and OpenVINO, .engine for TensorRT)
    with a sidecar that `nktc infer` reads and a report. Before that it is compared with the net, blob by blob.
    """
    wanted = optimize.Wanted(save_calibration=save_calibration, batch=batch or 0, threads=threads or 0, **more)
    places = data.Places.from_environment(roots)
    with options.telling("optimizing") as hear:
        outcome = optimize.optimize(model, options.split(weights), output, wanted, places, hear)
    click.echo(json.dumps(outcome.plain(), indent=2) if as_json else outcome.text(report))
