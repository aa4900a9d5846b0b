"""nktc check"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from nktc import checking
from nktc.cli import options
from nktc.ir import Shape


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@options.input_shapes
@options.level
@options.stages
@options.allow_python
@click.option("--strict", is_flag=True, help="Warnings exit with 1 too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for tools.")
def command(
    files: tuple[Path, ...],
    shapes: dict[str, Shape],
    level: int | None,
    stages: tuple[str, ...],
    strict: bool,
    as_json: bool,
) -> None:
    """Parse and build nets and solvers, infer every shape, and say what is wrong or suspect.

    Exits with 0 when all is well, 1 when something is wrong with a file, 2 when a file is not there or the command
    line is wrong. `nktc explain CODE` tells more of each code.

    \b
    --json prints a list with one report a file:
      {file, ok, phases: [{phase, stages, layers, weights}],
       diagnostics: [{severity, code, message, file, line, column, width,
                      notes: [{message, file, line, column, width}], help}]}

    severity is "error" or "warning", ok says that there is no error; lines and columns count from 1, and places are
    null where there is none.
    """
    reports = [checking.check(file, shapes, level, stages) for file in files]
    if as_json:
        click.echo(json.dumps([report.plain() for report in reports], indent=1))
    for report in () if as_json else reports:
        click.echo(str(report), err=not report.well)
        for warning in report.warnings:
            click.echo(str(warning), err=True)
    sys.exit(max(report.exit_code or int(strict and bool(report.warnings)) for report in reports))
