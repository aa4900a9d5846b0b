"""nktc upgrade_solver_proto_text"""

from __future__ import annotations

from pathlib import Path

import click

from nktc import files, reader
from nktc.cli import gflags, options


@click.command(cls=gflags.Tool)
@click.argument("old", metavar="IN", type=options.existing(dir_okay=False))
@click.argument("today", metavar="OUT", type=click.Path(path_type=Path, dir_okay=False))
def command(old: Path, today: Path) -> None:
    """Write the solver in the text file IN to OUT in today's syntax, comments kept. Today this is nktc upgrade IN -o
    OUT."""
    before, after = reader.upgrade_file(old, wanted="solver")
    files.write_text(today, after)
    if before == after:
        click.echo(f"File already in latest proto format: {old}", err=True)
    click.echo(f"Wrote upgraded SolverParameter text proto to {today}", err=True)
