"""nktc convert_imageset"""

from __future__ import annotations

from pathlib import Path

import click

from nktc import data
from nktc.cli import gflags, options

KINDS = ("png", "jpg", "jpeg", "bmp", "webp")


@click.command(cls=gflags.Tool)
@click.argument("root", metavar="ROOTFOLDER/")
@click.argument("listing", metavar="LISTFILE", type=options.existing(dir_okay=False))
@click.argument("output", metavar="DB_NAME", type=click.Path(path_type=Path))
@click.option("--gray/--nogray", help="One plane in place of three.")
@click.option("--shuffle/--noshuffle", help="Mix the records.")
@click.option("--backend", type=click.Choice(["lmdb", "leveldb"]), default="lmdb", help="lmdb; LevelDB is not written.")
@click.option("--resize_width", type=int, default=0, help="Width that pictures are brought to.")
@click.option("--resize_height", type=int, default=0, help="Height that pictures are brought to.")
@click.option("--check_size/--nocheck_size", help="Stop where a picture has another size.")
@click.option("--encoded/--noencoded", help="Store image files, not pixels.")
@click.option("--encode_type", type=click.Choice(["", *KINDS]), default="", help="Store files of this kind: png, jpg.")
def command(
    root: str,
    listing: Path,
    output: Path,
    gray: bool,
    shuffle: bool,
    backend: str,
    resize_width: int,
    resize_height: int,
    check_size: bool,
    encoded: bool,
    encode_type: str,
) -> None:
    """Make the LMDB DB_NAME of the pictures that LISTFILE names, lines "path label" with paths inside ROOTFOLDER. Today
    this is nktc data convert ROOTFOLDER DB_NAME --list LISTFILE.

    As in Caffe a picture that cannot be read is told and left out, and pictures keep their sizes unless both sides are
    given.
    """
    size = (resize_height, resize_width) if resize_height > 0 and resize_width > 0 else None
    if not size and max(resize_height, resize_width) > 0:
        click.echo("note: pictures keep their sizes: --resize_height and --resize_width go together", err=True)
    made = data.convert(
        root,
        output,
        data.Options(
            data.Pictures(size, gray=gray, encoded=encoded, encode_type=encode_type),
            check_size=check_size,
            shuffle=shuffle,
            backend=backend,
        ),
        data.SourceOptions(listing=listing),
        places=data.Places.from_environment(),
        tell=lambda text: click.echo(text, err=True),
    )
    for line in made.left_out():
        click.echo(line, err=True)
    click.echo(f"Processed {made.records} files.", err=True)
