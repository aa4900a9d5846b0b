"""nktc check"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from nktc import checking


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
def command(files: tuple[Path, ...]) -> None:
    """Parse and build nets and solvers, infer every shape, and say what is wrong.

    Exits with 0 when all is well, 1 when something is wrong with a file, 2 when a file is not there or the command
    line is.
    """
    reports = [checking.check(file) for file in files]
    for report in reports:
        click.echo(str(report), err=not report.well)
    sys.exit(max(report.exit_code for report in reports))
