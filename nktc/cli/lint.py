"""nktc lint"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import click

from nktc import export
from nktc.cli import options, targets


@click.command()
@click.argument("file", type=options.existing(dir_okay=False), metavar="FILE.onnx")
@targets.target
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for tools.")
def command(file: Path, target: export.Target, as_json: bool) -> None:
    """Say what a runtime is known to refuse in FILE.onnx, without the runtime.

    This compares each node with tables: of TensorRT what NVIDIA publishes, of the others what they were seen to do.
    Nothing found means that nothing in these tables is against the file, not that it runs. Exits with 1 where something
    is refused; what is only worth knowing exits with 0.

    \b
    --json prints a list of {op, node, message, source, refused, target}
    """
    found = export.lint(export.read(file), target)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in found], indent=1))
    for finding in () if as_json else found:
        click.echo(str(finding.told()), err=True)
    if not as_json:
        click.echo(export.verdict(found, target))
    sys.exit(int(any(finding.refused for finding in found)))
