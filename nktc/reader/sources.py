"""The layers that feed a net, without building it: their data need not be there, nor be whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nktc.errors import NktcError, coded, raise_all
from nktc.ir import Layer, Locate, Phase, catalogue, infer
from nktc.layers import find
from nktc.reader.build import locating
from nktc.reader.net_file import NetFile
from nktc.reader.state import State, included


@dataclass(frozen=True, eq=False)
class Source:
    """A layer that feeds a net in a phase, and how many tops it has."""

    name: str
    layer: Layer
    tops: int
    phase: Phase
    locate: Locate


def sources(net: NetFile, phase: Phase, level: int | None = None, stages: Sequence[str] = ()) -> list[Source]:
    """The layers that feed a net in a phase, in its order. Raises what is wrong with their settings, located."""
    said = net.message.state
    state = State(phase, said.level if level is None else level, (*said.stage, *stages))
    known, found, errors = catalogue(), [], list[NktcError]()
    for message, tree in zip(net.message.layer, net.trees, strict=True):
        locate = locating(tree, net)
        try:
            with infer.place(message.type, message.name, locate), coded("setting"):
                if message.type not in known or not known[message.type].source or not included(message, state):
                    continue
                kind, own = find(message.type), Phase(message.phase) if message.HasField("phase") else phase
                layer = kind.read(*(getattr(message, param) for param in kind.param), own)
                layer = layer.with_tops(len(message.top)).beside(net.folder)
                found.append(Source(message.name, layer, len(message.top), phase, locate))
        except NktcError as error:
            errors.append(error)
    raise_all(errors)
    return found
