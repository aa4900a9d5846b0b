"""nktc compute_image_mean"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from nktc import data, files
from nktc.cli import gflags, options


@click.command(cls=gflags.Tool)
@click.argument("database", metavar="INPUT_DB", type=options.existing())
@click.argument("output", metavar="[OUTPUT_FILE]", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--backend", type=click.Choice(["lmdb", "leveldb"]), help="It is told by what lies there.")
def command(database: Path, output: Path | None, backend: str | None) -> None:
    """Write the mean image of INPUT_DB to OUTPUT_FILE, a .binaryproto, and say the mean of each channel. Today this is
    nktc data mean INPUT_DB OUTPUT_FILE."""
    if output:
        files.spare(output, database, database / "data.mdb")
    image = data.database_mean(database)
    if output:
        click.echo(f"Write to {output}", err=True)
        data.write_mean(output, image)
    click.echo(f"Number of channels: {len(image)}", err=True)
    for channel, mean in enumerate(image.mean(axis=(1, 2), dtype=np.float64)):
        click.echo(f"mean_value channel [{channel}]: {mean:g}", err=True)
