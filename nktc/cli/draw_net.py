"""nktc draw_net"""

from __future__ import annotations

from pathlib import Path

import click

from nktc import files, reader, schema
from nktc.cli import gflags, options
from nktc.pycaffe import draw


@click.command(cls=gflags.Tool)
@click.argument("net", metavar="NET", type=options.existing(dir_okay=False))
@click.argument("output", metavar="IMAGE", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--rankdir", type=click.Choice(["LR", "RL", "TB", "BT"]), default="LR", show_default=True, help="Where it grows to."
)
@click.option(
    "--phase",
    type=click.Choice(["TRAIN", "TEST", "ALL"]),
    default="ALL",
    show_default=True,
    help="The layers that are drawn.",
)
@click.option("--display_lrm", is_flag=True, help="Write the learning rate multipliers too.")
def command(net: Path, output: Path, rankdir: str, phase: str, display_lrm: bool) -> None:
    """Draw the layers and blobs of NET to IMAGE, a .png, .svg, .pdf or whatever Graphviz writes, or .dot. With shapes,
    and layers in place beside one another, nktc show NET -o IMAGE draws it."""
    files.spare(output, net)
    message = reader.read_net(net).message
    click.echo(f"Drawing net to {output}")
    draw.draw_net_to_file(
        message, str(output), rankdir, None if phase == "ALL" else schema.Phase.Value(phase), display_lrm
    )
