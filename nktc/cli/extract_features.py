"""nktc extract_features"""

from __future__ import annotations

from pathlib import Path

import click

from nktc import inference
from nktc.cli import gflags, options


@click.command(cls=gflags.Tool)
@click.argument("weights", metavar="WEIGHTS", type=options.existing(dir_okay=False))
@click.argument("net", metavar="NET", type=options.existing(dir_okay=False))
@click.argument("blobs", metavar="BLOB[,BLOB...]")
@click.argument("databases", metavar="DB[,DB...]")
@click.argument("batches", metavar="BATCHES", type=click.IntRange(0))
@click.argument("backend", metavar="DB_TYPE", type=click.Choice(["lmdb", "leveldb"]))
@click.argument("mode", metavar="[CPU|GPU]", type=click.Choice(["CPU", "GPU"]), default="CPU")
@click.argument("device_id", metavar="[DEVICE_ID]", type=click.IntRange(0), default=0)
def command(
    weights: Path, net: Path, blobs: str, databases: str, batches: int, backend: str, mode: str, device_id: int
) -> None:
    """Run NET over BATCHES batches of its data layers and write each BLOB into the LMDB that stands in its place, a
    record of floats for each picture. Of the pictures of a folder nktc infer --blob does the same."""
    names, paths = blobs.split(","), databases.split(",")
    if len(names) != len(paths):
        raise click.UsageError(f"there are {len(names)} blobs and {len(paths)} data sets to put them into")
    counts = inference.extract(
        net,
        [weights],
        [(name, Path(path)) for name, path in zip(names, paths, strict=True)],
        batches,
        backend=backend,
        gpu=device_id if mode == "GPU" else None,
        tell=lambda line: click.echo(line, err=True),
    )
    for name, count in counts.items():
        click.echo(f"Extracted features of {count} query images for feature blob {name}", err=True)
