"""nktc doctor"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from rich.console import Console

from nktc import doctor


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for tools.")
@click.option(
    "--bundle",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.zip",
    help="Write a zip file for a bug report, without secrets.",
)
@click.option(
    "--run",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Put that run's solver, nets, journal and log into the bundle too.",
)
def command(as_json: bool, bundle: Path | None, run: Path | None) -> None:
    """Check this machine's driver, GPU, runtimes and packages, and say how to mend what is wrong.

    Exits with 0 when nothing is wrong, 1 otherwise; what is not there and need not be is not wrong. Everything that may
    crash or hang is tried in a process of its own.

    \b
    --json prints
      {nktc, ok, summary, checks: [{name, state, found, wanted, problem, fix}],
       backends: [{name, usable, version, devices, missing}]}

    state is "ok", "warning", "problem" or "absent".
    """
    if run and not bundle:
        raise click.UsageError("--run goes with --bundle")
    machine = doctor.Machine.here()
    console = Console(stderr=True)
    with console.status("checking") as status:
        report = doctor.examine(machine, lambda name: status.update(f"checking {name}"))
    click.echo(json.dumps(report.plain(), indent=1) if as_json else report.text())
    if bundle:
        click.echo(doctor.write_bundle(bundle, machine, report, run).text(), err=as_json)
    sys.exit(0 if report.well else 1)
