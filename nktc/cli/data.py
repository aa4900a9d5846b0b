"""nktc data"""

from __future__ import annotations

import sys
from pathlib import Path

import click
import numpy as np

from nktc import data, files
from nktc.cli import data_show, data_verify, options
from nktc.ir import times


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


class Share(click.ParamType[float]):
    """A fraction"""

    name = "SHARE"

    def convert(self, value: str | float, param: click.Parameter | None, context: click.Context | None) -> float:
        try:
            share = float(value)
        except ValueError:
            share = -1.0
        if not 0 <= share < 1:
            self.fail(f"{value} is no share from 0 to below 1, as 0.1", param, context)
        return share


@click.group()
def command() -> None:
    """Convert, describe, show and check data sets."""


@command.command()
@click.argument("source")
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--list", "listing", type=options.existing(dir_okay=False), help='Lines "path label", inside SOURCE.')
@click.option("--split", default="", metavar="NAME", help="The part: train or test, or a folder of SOURCE.")
@click.option("--idx-labels", type=options.existing(dir_okay=False), help="Labels of an idx file of pictures.")
@click.option("--target", multiple=True, metavar="COLUMN", help="Column of a table to predict; may be repeated.")
@click.option("--exclude", multiple=True, metavar="COLUMN", help="Column of a table to leave out; may be repeated.")
@click.option("--image-column", default="", metavar="COLUMN", help="Column of a table that has paths of images.")
@click.option("--label-column", default="", metavar="COLUMN", help="Column of a table that has their labels.")
@click.option(
    "--backend",
    type=click.Choice(["lmdb", "hdf5", "leveldb"]),
    help="Kind of OUTPUT; without it HDF5 where it ends in .h5 or .hdf5, else LMDB. (LevelDB is read, not written.)",
)
@click.option("--resize", type=Size(), help="Bring every picture to this size.")
@click.option(
    "--resize-height", "--resize_height", type=click.IntRange(1), help="The same, as convert_imageset has it."
)
@click.option("--resize-width", "--resize_width", type=click.IntRange(1), help="The same, as convert_imageset has it.")
@click.option(
    "--resize-mode",
    type=click.Choice(["squash", "crop", "fill", "half-crop"]),
    default="squash",
    show_default=True,
    help="How pictures of another shape are brought to it.",
)
@click.option("--gray", is_flag=True, help="One plane in place of three.")
@click.option("--check-size", "--check_size", is_flag=True, help="Stop where a picture has another size.")
@click.option("--encoded", is_flag=True, help="Store image files, not pixels.")
@click.option("--encode-type", "--encode_type", type=click.Choice(["png", "jpg"]), help="Store files of this kind.")
@click.option("--shuffle", is_flag=True, help="Mix the records.")
@click.option(
    "--val",
    type=Share(),
    default=0.0,
    metavar="SHARE",
    help="Share of the records for OUTPUT/val, as 0.1: of each class, if labels are names or there are ten records for "
    "each number, on average.",
)
@click.option("--test", type=Share(), default=0.0, metavar="SHARE", help="Share of the records for OUTPUT/test.")
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="For --shuffle, --val and --test."
)
@click.option("--labels", type=click.Path(path_type=Path, dir_okay=False), help="Write the class names here too.")
@click.option("--strict", is_flag=True, help="Stop at the first record that cannot be converted.")
@click.option("--threads", type=click.IntRange(1), help="Records made side by side; as many as processors without it.")
@click.option("--force", is_flag=True, help="Replace OUTPUT, where a conversion has made it.")
@options.data
def convert(
    source: str,
    output: Path,
    listing: Path | None,
    split: str,
    idx_labels: Path | None,
    target: tuple[str, ...],
    exclude: tuple[str, ...],
    image_column: str,
    label_column: str,
    backend: str | None,
    resize: tuple[int, int] | None,
    resize_height: int | None,
    resize_width: int | None,
    resize_mode: str,
    gray: bool,
    check_size: bool,
    encoded: bool,
    encode_type: str | None,
    shuffle: bool,
    val: float,
    test: float,
    seed: int,
    labels: Path | None,
    strict: bool,
    threads: int | None,
    force: bool,
    roots: tuple[str, ...],
) -> None:
    """Make an LMDB for Caffe's Data layer, or HDF5 for HDF5Data.

    SOURCE is a folder or an archive with a folder of images for each class, an idx file, CIFAR's binary files, a CSV or
    Parquet table, or the name of a data set. The records of an LMDB are as Caffe's convert_imageset writes them: planes
    blue, green, red. Exits with 1 when a record had to be left out; the others are written. The same command goes on
    where it was interrupted.
    """
    size = _size(resize, resize_height, resize_width)
    pictures = data.Pictures(size, resize_mode.upper().replace("-", "_"), 0, gray, encoded, encode_type or "")
    made = data.convert(
        source,
        output,
        data.Options(pictures, check_size, shuffle, seed, val, test, backend or "", strict, threads),
        data.SourceOptions(split, listing, idx_labels, data.Columns(target, exclude, image_column, label_column)),
        places=data.Places.from_environment(roots),
        labels=labels,
        force=force,
        tell=lambda text: click.echo(text, err=True),
    )
    for line in made.left_out():
        click.echo(line, err=True)
    classes = f", {len(made.labels)} classes" if made.labels else ""
    click.echo(f"{made.records} records{classes}, {data.describe_sizes(made.sizes)}: {made.output}")
    if len(made.parts) > 1:
        for part in made.parts:
            click.echo(f"{part.name:<5} {part.records} records: {part.path}")
    if made.refused:
        click.echo(f"{len(made.refused)} of {made.records + len(made.refused)} left out", err=True)
        sys.exit(1)


def _size(size: tuple[int, int] | None, height: int | None, width: int | None) -> tuple[int, int] | None:
    """What --resize, or --resize-height and --resize-width, say."""
    if height is None and width is None:
        return size
    if size or height is None or width is None:
        raise click.UsageError("give --resize HxW alone, or --resize-height and --resize-width together")
    return height, width


@command.command()
@click.argument("database", type=options.existing())
@click.argument("output", type=click.Path(path_type=Path, dir_okay=False))
def mean(database: Path, output: Path) -> None:
    """Write the mean image of an LMDB or LevelDB as a .binaryproto and print the mean of each channel."""
    files.spare(output, database, database / "data.mdb")
    image = data.database_mean(database)
    data.write_mean(output, image)
    channels = " ".join(f"{value:.4f}" for value in image.mean(axis=(1, 2), dtype=np.float64))
    click.echo(f"{times(image.shape)}, channels {channels}: {output}")


@command.command(name="list")
@options.data
def list_sets(roots: tuple[str, ...]) -> None:
    """List the data sets that nktc knows by name, and where each lies."""
    places = data.Places.from_environment(roots)
    rows = [(known.name, data.describe_set(known), _place(known, places)) for known in data.KNOWN.values()]
    name, what = (max(len(row[i]) for row in rows) for i in (0, 1))
    for row in rows:
        click.echo(f"{row[0]:<{name}}  {row[1]:<{what}}  {row[2]}")


def _place(known: data.KnownSet, places: data.Places) -> str:
    size = sum(download.size for download in known.downloads)
    return data.lies(known, places) or f"to be downloaded ({size / 1e6:.{0 if size > 1e7 else 1}f} MB)"


@command.command(name="get")
@click.argument("name")
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    help="A folder, archive or file that holds the set, in place of its official address.",
)
@options.data
def get_set(name: str, source: Path | None, roots: tuple[str, ...]) -> None:
    """Bring the data set NAME to this machine and check it.

    Unless it is here already it is downloaded from its official address; a download that was interrupted goes on
    where it was. With --from it is taken from there and kept, so that later commands find it without being told.
    """
    got = data.get(name, data.Places.from_environment(roots), source)
    click.echo(f"{got.known.name}: {data.describe_set(got.known)}")
    click.echo(f"lies in {got.where}" if got.known.downloads else f"always there: {got.where}")
    for line in got.checks:
        click.echo(line)


@command.command(name="info")
@click.argument("what", metavar="NAME|PATH")
@options.data
def info_of(what: str, roots: tuple[str, ...]) -> None:
    """Tell what a data set holds: one that nktc knows by NAME, or the data at PATH.

    PATH is an LMDB or LevelDB, an HDF5 file, a CSV or Parquet table, an idx file, a list of images or of HDF5 files, a
    folder or archive of images, or the folder of parts that convert makes. Of many records a sample is looked into.
    """
    lines = data.info(what, data.Places.from_environment(roots))
    width = max(len(word) for word, _ in lines)
    for word, text in lines:
        click.echo(f"{word:<{width}}  {text}")


command.add_command(data_show.command)
command.add_command(data_verify.command)
