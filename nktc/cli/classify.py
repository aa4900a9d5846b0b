"""nktc classify"""

from __future__ import annotations

from pathlib import Path

import click

from nktc import files
from nktc.cli import gflags, options
from nktc.pycaffe import classifier, mode, scripts


@click.command(cls=gflags.Tool)
@click.argument("source", metavar="INPUT", type=options.existing())
@click.argument("output", metavar="OUTPUT", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--model_def", required=True, type=options.existing(dir_okay=False), help="The deploy net.")
@click.option("--pretrained_model", required=True, type=options.existing(dir_okay=False), help="Its weights.")
@click.option("--mean_file", required=True, help='An .npy [c h w] or [c] of the net\'s channels; "" for no mean.')
@click.option("--gpu", is_flag=True, help="Compute on the GPU.")
@click.option("--center_only", is_flag=True, help="The centre alone, in place of the mean of ten crops.")
@click.option(
    "--images_dim",
    default="256,256",
    callback=options.two_numbers,
    show_default=True,
    help="Height and width that pictures are resized to.",
)
@click.option("--input_scale", type=float, help="A factor once the mean is off.")
@click.option("--raw_scale", type=float, default=255.0, show_default=True, help="A factor before.")
@click.option(
    "--channel_swap",
    default="2,1,0",
    callback=options.numbers,
    show_default=True,
    help="The order of channels: red, green, blue is 0,1,2.",
)
@click.option("--ext", default="jpg", show_default=True, help="The ending of images in a folder.")
def command(
    source: Path,
    output: Path,
    model_def: Path,
    pretrained_model: Path,
    mean_file: str,
    gpu: bool,
    center_only: bool,
    images_dim: list[int],
    input_scale: float | None,
    raw_scale: float,
    channel_swap: list[int],
    ext: str,
) -> None:
    """Write the net's output for the pictures of INPUT, an image file, a folder of them or an .npy, into the .npy
    OUTPUT. For names of classes there is nktc infer.

    The mean that Caffe's own script takes for granted comes with Caffe, not with nktc, so --mean_file is to be given.
    """
    files.spare(scripts.array_name(output), source, pretrained_model, mean_file)
    if gpu:
        mode.set_mode_gpu()
    net = classifier.Classifier(
        model_def,
        pretrained_model,
        image_dims=images_dim or None,
        mean=scripts.load_mean(mean_file),
        input_scale=input_scale,
        raw_scale=raw_scale,
        channel_swap=channel_swap or None,
    )
    inputs = scripts.load_pictures(source, ext)
    click.echo(f"Classifying {len(inputs)} inputs.")
    written = scripts.save_array(output, net.predict(inputs, not center_only))
    click.echo(f"Saving results into {written}")
