"""nktc upgrade_net_proto_binary"""

from __future__ import annotations

from pathlib import Path

import click

from nktc import reader, weights
from nktc.cli import gflags, options


@click.command(cls=gflags.Tool)
@click.argument("old", metavar="IN", type=options.existing(dir_okay=False))
@click.argument("today", metavar="OUT", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--dialect", default="", metavar="NAME", help="Whose schema IN has, where that cannot be told.")
def command(old: Path, today: Path, dialect: str) -> None:
    """Write the .caffemodel IN, of any age and fork, to OUT in today's format, weights and all."""
    net = reader.read_net(old, dialect=dialect).message
    weights.save_net(today, net, weights.read(old))
    click.echo(f"Wrote upgraded NetParameter binary proto to {today}", err=True)
