"""nktc layers"""

from __future__ import annotations

import click

from nktc import layers


@click.command()
@click.argument("type_name", required=False, metavar="[TYPE]")
def command(type_name: str | None) -> None:
    """List the layer types there are; with TYPE, explain one and its settings."""
    click.echo(layers.explain(type_name) if type_name else layers.table())
