"""A net's text as it would be written today."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nktc import text
from nktc.ir import Phase
from nktc.reader.net_file import read_net, read_tree
from nktc.reader.state import State, included
from nktc.reader.upgrade import upgrade_net
from nktc.schema import LayerParameter
from nktc.text import Field, Tree


def normalized(path: str | Path, phase: Phase | None = None, expand: bool = False) -> str:
    """A net in today's syntax and the usual layout, comments kept; with a phase without the layers that its state
    leaves out. Blocks stay as they are, or are put in place where it is to `expand`. Raises located NktcErrors."""
    net = read_net(path)
    assert net.tree
    today = upgrade_net(net.tree if expand else read_tree(path))
    if phase is not None:
        state = State(phase, net.message.state.level, tuple(net.message.state.stage))
        kept = (f for f in today.fields if f.name != "layer" or included(_rules(f), state))
        today = replace(today, fields=tuple(kept))
    return text.print_tree(today)


def _rules(layer: Field) -> LayerParameter:
    """The include and exclude rules of a layer, which may be an instance of a block."""
    assert isinstance(layer.value, Tree)
    rules = tuple(f for f in layer.value.fields if f.name in ("include", "exclude"))
    return text.bind(replace(layer.value, fields=rules), LayerParameter)
