"""Which layers belong to a net of a phase, level and stages: Caffe's NetState and its rules."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from nktc.errors import LayerError
from nktc.ir import Phase
from nktc.schema import LayerParameter, NetStateRule


@dataclass(frozen=True)
class State:
    """What a net is built for."""

    phase: Phase
    level: int = 0
    stages: tuple[str, ...] = ()


def included(layer: LayerParameter, state: State) -> bool:
    """Whether the layer is part of the net: with include rules when one of them holds, with exclude rules when none
    does. Raises LayerError when it has both kinds."""
    if layer.include and layer.exclude:
        message = "has include rules and exclude rules"
        raise LayerError(message, field="exclude", help="keep one kind", code="include-exclude")
    if layer.include:
        return any(holds(rule, state) for rule in layer.include)
    return not any(holds(rule, state) for rule in layer.exclude)


def holds(rule: NetStateRule, state: State) -> bool:
    """Whether every condition of a rule is true of the state."""
    stages: Collection[str] = state.stages
    return (
        (not rule.HasField("phase") or Phase(rule.phase) is state.phase)
        and (not rule.HasField("min_level") or state.level >= rule.min_level)
        and (not rule.HasField("max_level") or state.level <= rule.max_level)
        and all(stage in stages for stage in rule.stage)
        and not any(stage in stages for stage in rule.not_stage)
    )
