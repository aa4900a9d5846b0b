"""What the user names to be looked at: a net's data layers, or data itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import click

from nktc import data, reader
from nktc.errors import NktcError
from nktc.ir import Phase
from nktc.reader import NetFile, Source

NETS = (".prototxt", ".pbtxt")


def is_net(source: str) -> bool:
    """Whether a source is called as a net is."""
    return source.lower().endswith(NETS)


def read_sources(
    path: str, phases: Sequence[Phase], level: int | None, stages: Sequence[str]
) -> tuple[NetFile, list[Source]]:
    """A net, and its layers that read data, in each of the phases. Raises NktcError where there are none."""
    net = reader.read_net(path)
    found = [
        one for phase in phases for one in reader.sources(net, phase, level, stages) if data.source_name(one.layer)
    ]
    if not found:
        said = " and ".join(phase.name for phase in phases)
        raise NktcError(f"{path} has no layer that reads data in {said}", help="give the net that is trained, or data")
    return net, found


def check_options(
    source: str, layer: str | None, phase: str | None, split: str, level: int | None, stages: Sequence[str]
) -> None:
    """Raises a UsageError for an option that means nothing for a source."""
    given = {"--layer": layer, "--phase": phase, "--level": level is not None, "--stage": stages}
    if is_net(source):
        if split:
            raise click.UsageError(f"--split is of data: the layers of {source} say what they read")
    elif wrong := [option for option, value in given.items() if value]:
        raise click.UsageError(f"{' and '.join(wrong)} {'is' if len(wrong) == 1 else 'are'} of a net, {source} is data")


def whole_sources(path: str, level: int | None, stages: Sequence[str], places: data.Places) -> list[data.Subject]:
    """What a net reads in both phases, whatever part of it; once for the layers that look at it alike. Raises
    NktcError."""
    net, found = read_sources(path, list(Phase), level, stages)
    subjects: dict[object, tuple[Source, data.Subject]] = {}
    for one in found:
        subject = data.subject_of(one.layer, places, net.folder, part=False)
        subjects.setdefault((subject.name, subject.kind, subject.look), (one, subject))
    times = Counter(subject.name for _, subject in subjects.values())
    return [
        replace(subject, name=f"{subject.name} for {one.name} in {one.phase.name}")
        if times[subject.name] > 1
        else subject
        for one, subject in subjects.values()
    ]


def part_subjects(net: NetFile, sources: Sequence[Source], places: data.Places) -> dict[str, data.Subject]:
    """What layers read, by names that tell its part too; the first of those that read the same."""
    subjects: dict[str, data.Subject] = {}
    for one in sources:
        subject = data.subject_of(one.layer, places, net.folder)
        part = data.part_of(one.layer)
        subjects.setdefault(f"{subject.name}{f' ({part.name} part)' if part else ''}", subject)
    return subjects


def subjects_against(
    source: str, level: int | None, stages: Sequence[str], places: data.Places
) -> dict[str, data.Subject]:
    """What a net reads in both phases, by names that begin with the net's; or data. Raises NktcError."""
    if not is_net(source):
        return {one.name: one for one in data.subjects_of(source, "", places)}
    net, found = read_sources(source, list(Phase), level, stages)
    return {f"{source}: {name}": one for name, one in part_subjects(net, found, places).items()}
