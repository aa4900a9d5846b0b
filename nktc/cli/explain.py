"""nktc explain"""

from __future__ import annotations

import click

from nktc import codes


@click.command()
@click.argument("code", required=False)
def command(code: str | None) -> None:
    """Explain CODE, the word in brackets behind an error or warning; without one, list them all."""
    click.echo(codes.explain(code) if code else codes.table())
