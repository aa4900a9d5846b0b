"""nktc data show"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import click

from nktc import data, plotting
from nktc.cli import data_sources, options
from nktc.errors import NktcError
from nktc.ir import Phase, infer
from nktc.reader import NetFile, Source


@dataclass(frozen=True)
class Chosen:
    """What is shown, and what is compared: `subjects` by their names, what is shown being the first. `layer` is the
    net's, None for data itself."""

    subjects: dict[str, data.Subject]
    net: NetFile | None = None
    layer: Source | None = None


@click.command(name="show")
@click.argument("source")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default="sheet.png",
    show_default=True,
    help="The PNG to write.",
)
@click.option("--layer", metavar="NAME", help="The data layer, where the net has several in the phase.")
@click.option(
    "--phase", type=click.Choice(["TRAIN", "TEST"], case_sensitive=False), help="Of a net; TRAIN where it reads data."
)
@click.option("--split", default="", metavar="NAME", help="One part of a data set or a folder: train or test.")
@click.option("--batch", type=click.IntRange(0), default=0, show_default=True, metavar="K", help="Which batch.")
@click.option("--count", type=click.IntRange(1), metavar="N", help="How many pictures at most.")
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="For what comes by chance."
)
@click.option(
    "--against", multiple=True, metavar="SOURCE", help="A net or data to look for duplicates in; may be repeated."
)
@click.option("--duplicates/--no-duplicates", default=True, help="Whether every record is read and compared.")
@click.option("--strict", is_flag=True, help="Exit with 1 where two sources or parts have records in common.")
@options.level
@options.stage()
@options.data
def command(
    source: str,
    output: Path,
    layer: str | None,
    phase: str | None,
    split: str,
    batch: int,
    count: int | None,
    seed: int,
    against: tuple[str, ...],
    duplicates: bool,
    strict: bool,
    level: int | None,
    stages: tuple[str, ...],
    roots: tuple[str, ...],
) -> None:
    """Draw a batch of SOURCE as a sheet of pictures with their labels, and tell what SOURCE holds.

    SOURCE is a net, whose pictures are drawn as the net gets them and brought back to colours, or data: an LMDB or
    LevelDB, a folder with a folder of images for each class, a list, an HDF5 file, an archive, a table, or the name of
    a data set; of data a sample is drawn as it is stored. Records of each label are counted, and records that are
    stored twice are named: inside a source, between those that a net trains and tests with, and between SOURCE and
    those given with --against.
    """
    places = data.Places.from_environment(roots)
    data_sources.check_options(source, layer, phase, split, level, stages)
    if not duplicates and (against or strict):
        raise click.UsageError("--against and --strict compare records, --no-duplicates does not")
    if data_sources.is_net(source):
        chosen = _of_net(source, layer, phase, level, stages, places)
    else:
        chosen = Chosen({one.name: one for one in data.subjects_of(source, split, places)})
    shown = _look(chosen, places, batch, count, seed)
    if shown.cells:
        plotting.draw_sheet(shown.cells, _title(chosen, source, batch), output)
        pictures = f"{len(shown.cells)} {'picture' if len(shown.cells) == 1 else 'pictures'}"
        click.echo(f"sheet: {output}, {pictures}{f' ({shown.how})' if shown.how else ''}")
    else:
        click.echo(f"no sheet: {shown.how}")
    for line in shown.lines:
        click.echo(line)
    first = next(iter(chosen.subjects.values()))
    for line in data.describe_labels(first.name, first.open("BGR")):
        click.echo(line)
    if not duplicates:
        return
    others: dict[str, data.Subject] = {}
    for other in against:
        others |= data_sources.subjects_against(other, level, stages, places)
    prints = [data.take_prints(name, one.open("BGR")) for name, one in {**chosen.subjects, **others}.items()]
    lacking = [what for one in prints for what in one.lacking()]
    for what in lacking:
        click.echo(f"duplicates: {what} could not be compared")
    found = data.find_duplicates(prints)
    for one in found:
        click.echo(one)
    if not found:
        rest = "what could be read of " if lacking else ""
        click.echo(f"duplicates: none in {rest}{' and '.join(one.name for one in prints)}")
    sys.exit(int(strict and any(one.between for one in found)))


def _title(chosen: Chosen, source: str, batch: int) -> str:
    if not chosen.layer:
        return next(iter(chosen.subjects))
    return f"{source}  {chosen.layer.phase.name}  {chosen.layer.name}  batch {batch}"


def _look(chosen: Chosen, places: data.Places, batch: int, count: int | None, seed: int) -> data.Shown:
    if not (chosen.net and chosen.layer):
        return data.show_stored(next(iter(chosen.subjects.values())), batch, count)
    one = chosen.layer
    opening = data.Opening(places, chosen.net.folder, seed, tops=one.tops)
    with infer.place(type(one.layer).__name__, one.name, one.locate):
        return data.show_batch(one.layer, one.phase, opening, batch, count)


def _of_net(
    source: str, layer: str | None, phase: str | None, level: int | None, stages: tuple[str, ...], places: data.Places
) -> Chosen:
    net, found = data_sources.read_sources(source, list(Phase), level, stages)
    wanted = Phase[phase.upper()] if phase else found[0].phase
    there = [one for one in found if one.phase is wanted and layer in (None, one.name)]
    if len(there) != 1:
        names = ", ".join(f"{one.name} ({one.phase.name})" for one in found)
        if layer or not there:
            problem = f'{source} has no data layer "{layer}"' if layer else f"{source} reads no data"
            raise NktcError(f"{problem} in {wanted.name}", help=f"its data layers are {names}")
        raise NktcError(f"{source} has {len(there)} data layers in {wanted.name}", help=f"give --layer: {names}")
    first = [there[0], *(other for other in found if other is not there[0])]
    return Chosen(data_sources.part_subjects(net, first, places), net, there[0])
