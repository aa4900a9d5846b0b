"""nktc show"""

from __future__ import annotations

from pathlib import Path

import click

from nktc import checking, ir
from nktc.cli import options
from nktc.ir import Phase


@click.command()
@click.argument("file", type=options.existing(dir_okay=False))
@click.option(
    "--phase",
    type=click.Choice(["TRAIN", "TEST"], case_sensitive=False),
    help="One phase; both when they differ.",
)
def command(file: Path, phase: str | None) -> None:
    """List a net: one aligned line a layer, with the shapes of what it makes."""
    wanted = [Phase[phase.upper()]] if phase else list(Phase)
    listings = dict.fromkeys(ir.listing(graph) for graph in checking.graphs(file, wanted))
    click.echo("\n\n".join(listings))
