"""nktc data"""

from __future__ import annotations

import sys
from pathlib import Path

import click
import numpy as np

from nktc import data
from nktc.cli import options
from nktc.ir import Phase, times


class Size(click.ParamType[tuple[int, int]]):
    """HxW"""

    name = "HxW"

    def convert(
        self, value: str | tuple[int, int], param: click.Parameter | None, context: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        height, _, width = value.lower().partition("x")
        if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
            self.fail(f"{value} is not HEIGHTxWIDTH, as 32x32", param, context)
        return int(height), int(width)


@click.group()
def command() -> None:
    """Convert and describe data sets."""


@command.command()
@click.argument("source")
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--list", "listing", type=options.existing(dir_okay=False), help='Lines "path label", inside SOURCE.')
@click.option("--split", default="", metavar="NAME", help="The part: train or test, or a folder of SOURCE.")
@click.option("--resize", type=Size(), help="Bring every picture to this size.")
@click.option("--gray", is_flag=True, help="One plane in place of three.")
@click.option("--encoded", is_flag=True, help="Store image files, not pixels.")
@click.option("--shuffle", is_flag=True, help="Mix the records.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="For --shuffle.")
@click.option("--labels", type=click.Path(path_type=Path, dir_okay=False), help="Write the class names here too.")
@click.option("--force", is_flag=True, help="Replace OUTPUT.")
@options.data
def convert(
    source: str,
    output: Path,
    listing: Path | None,
    split: str,
    resize: tuple[int, int] | None,
    gray: bool,
    encoded: bool,
    shuffle: bool,
    seed: int,
    labels: Path | None,
    force: bool,
    roots: tuple[str, ...],
) -> None:
    """Make an LMDB for Caffe's Data layer from images.

    SOURCE is a folder or an archive with a folder of images for each class, or the name of a data set. The
    records are as Caffe's convert_imageset writes them: planes blue, green, red. Exits with 1 when a picture
    had to be left out; the others are written.
    """
    made = data.convert(
        source,
        output,
        data.Options(resize, gray, encoded, seed if shuffle else None),
        places=data.Places.from_environment(roots),
        split=split,
        listing=listing,
        labels=labels,
        force=force,
    )
    for name, why in made.refused:
        click.echo(f"{name} {why}", err=True)
    classes = f", {len(made.labels)} classes" if made.labels else ""
    click.echo(f"{made.records} records{classes}, {data.describe_sizes(made.sizes)}: {made.output}")
    if made.refused:
        click.echo(f"{len(made.refused)} of {made.records + len(made.refused)} left out", err=True)
        sys.exit(1)


@command.command()
@click.argument("database", type=options.existing())
@click.argument("output", type=click.Path(path_type=Path, dir_okay=False))
def mean(database: Path, output: Path) -> None:
    """Write the mean image of an LMDB or LevelDB as a .binaryproto and print the mean of each channel."""
    image = data.database_mean(database)
    data.write_mean(output, image)
    channels = " ".join(f"{value:.4f}" for value in image.mean(axis=(1, 2), dtype=np.float64))
    click.echo(f"{times(image.shape)}, channels {channels}: {output}")


@command.command(name="list")
@options.data
def list_sets(roots: tuple[str, ...]) -> None:
    """List the data sets that nktc knows by name, and where each lies."""
    places = data.Places.from_environment(roots)
    for known in data.KNOWN.values():
        found = data.find_copy(known, places)
        where = found.where if found else f"to be downloaded ({sum(d.size for d in known.downloads) / 1e6:.0f} MB)"
        sizes = f"{known.sizes[Phase.TRAIN]} + {known.sizes[Phase.TEST]}"
        click.echo(f"{known.name:<9} {times(known.image):<8} {sizes:<14} {len(known.labels)} classes  {where}")
