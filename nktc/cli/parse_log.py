"""nktc parse_log"""

from __future__ import annotations

from pathlib import Path

import click

from nktc import plotting
from nktc.cli import gflags, options


@click.command(cls=gflags.Tool)
@click.argument("log", metavar="LOG", type=options.existing())
@click.argument("folder", metavar="OUTPUT_DIR", type=options.existing(file_okay=False))
@click.option("--verbose", is_flag=True, help="Say which files are written.")
@click.option("--delimiter", default=",", show_default=True, help="What stands between columns.")
def command(log: Path, folder: Path, verbose: bool, delimiter: str) -> None:
    """Write the training and the test outputs of LOG, a log of any Caffe's or a run's folder, as the tables LOG.train
    and LOG.test in OUTPUT_DIR. nktc plot draws them."""
    for path in plotting.write_tables(log, folder, delimiter):
        if verbose:
            click.echo(f"Wrote {path}")
