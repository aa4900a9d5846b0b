"""nktc detect"""

from __future__ import annotations

from pathlib import Path

import click

from nktc import files
from nktc.cli import gflags, options
from nktc.pycaffe import detector, mode, scripts


@click.command(cls=gflags.Tool)
@click.argument("source", metavar="INPUT", type=options.existing(dir_okay=False))
@click.argument("output", metavar="OUTPUT", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--model_def", required=True, type=options.existing(dir_okay=False), help="The deploy net.")
@click.option("--pretrained_model", required=True, type=options.existing(dir_okay=False), help="Its weights.")
@click.option("--mean_file", required=True, help='An .npy [c h w] or [c] of the net\'s channels; "" for no mean.')
@click.option(
    "--crop_mode",
    type=click.Choice(["list", "selective_search"]),
    default="selective_search",
    show_default=True,
    help="list takes the windows of INPUT; selective_search is refused, being MATLAB code outside of Caffe.",
)
@click.option("--gpu", is_flag=True, help="Compute on the GPU.")
@click.option("--input_scale", type=float, help="A factor once the mean is off.")
@click.option("--raw_scale", type=float, default=255.0, show_default=True, help="A factor before.")
@click.option(
    "--channel_swap",
    default="2,1,0",
    callback=options.numbers,
    show_default=True,
    help="The order of channels: red, green, blue is 0,1,2.",
)
@click.option(
    "--context_pad", type=click.IntRange(0), default=16, show_default=True, help="Pixels around a window that are seen."
)
def command(
    source: Path,
    output: Path,
    model_def: Path,
    pretrained_model: Path,
    mean_file: str,
    crop_mode: str,
    gpu: bool,
    input_scale: float | None,
    raw_scale: float,
    channel_swap: list[int],
    context_pad: int,
) -> None:
    """Write the net's output for every window of INPUT, a .csv with the columns filename, ymin, xmin, ymax, xmax, into
    OUTPUT, a .csv or HDF5."""
    files.spare(output, source, model_def, pretrained_model)
    windows = scripts.load_windows(source, crop_mode)
    if gpu:
        mode.set_mode_gpu()
    net = detector.Detector(
        model_def,
        pretrained_model,
        mean=scripts.load_mean(mean_file, channels=True),
        input_scale=input_scale,
        raw_scale=raw_scale,
        channel_swap=channel_swap or None,
        context_pad=context_pad,
    )
    detections = net.detect_windows(windows)
    scripts.save_detections(output, detections)
    click.echo(f"Processed {len(detections)} windows: {output}")
