"""nktc data verify"""

from __future__ import annotations

import json
import sys

import click

from nktc import data
from nktc.cli import data_sources, options


@click.command(name="verify")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--split", default="", metavar="NAME", help="One part of a data set or a folder: train or test.")
@click.option("--classes", type=click.IntRange(1), help="Labels are 0 to N-1; without it, those that have names.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for tools.")
@options.level
@options.stage()
@options.data
def command(
    sources: tuple[str, ...],
    split: str,
    classes: int | None,
    as_json: bool,
    level: int | None,
    stages: tuple[str, ...],
    roots: tuple[str, ...],
) -> None:
    """Read and decode every record of each SOURCE, and tell what is wrong with which.

    SOURCE is a net, whose data layers are looked at in both phases, or data: an LMDB or LevelDB, a folder with a folder
    of images for each class, a list of images or of HDF5 files, an HDF5 file, an archive, a table, or the name of a
    data set. Sizes are compared where a net says what becomes of them. Exits with 1 when something is wrong.

    \b
    --json prints a list with one report a source:
      {source, kind, ok, records, good, bad, labels, sizes: [{size, records}],
       faults: [{kind, count, shown: [{record, called, what}]}], notes}

    record counts from 0, and is null where what is wrong is no record; of each kind 20 are shown.
    """
    places = data.Places.from_environment(roots)
    subjects = [one for source in sources for one in _subjects(source, split, level, stages, places)]
    reports = []
    for subject in subjects:
        reports.append(data.verify(subject, classes))
        if not as_json:
            click.echo(reports[-1])
    if as_json:
        click.echo(json.dumps([report.plain() for report in reports], indent=1))
    sys.exit(int(not all(report.ok for report in reports)))


def _subjects(
    source: str, split: str, level: int | None, stages: tuple[str, ...], places: data.Places
) -> list[data.Subject]:
    data_sources.check_options(source, None, None, split, level, stages)
    if data_sources.is_net(source):
        return data_sources.whole_sources(source, level, stages, places)
    return data.subjects_of(source, split, places)
