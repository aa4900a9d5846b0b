"""What the user names to be looked at: a net's data layers, or data itself."""

from __future__ import annotations

from collections.abc import Sequence

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
