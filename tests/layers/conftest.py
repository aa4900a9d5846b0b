"""Fixtures of the layers' tests: a layer from its settings, and what a refusal says and blames."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from layers.examples import Example

from nktc.errors import NktcError
from nktc.ir import Layer, Phase, Shape


@pytest.fixture
def layer() -> Callable[..., Layer]:
    """The layer of a type with settings, over inputs of the given shapes."""

    def build(kind: str, settings: str, *shapes: Shape, tops: int = 1, phase: Phase = Phase.TEST) -> Layer:
        return Example(kind, settings, shapes, tops, phase).graph().nodes[-1].layer

    return build


@pytest.fixture
def refusal() -> Callable[..., tuple[str, str]]:
    """What the refusal of a layer says, and the text it points at."""

    def find(kind: str, settings: str, *shapes: Shape, tops: int = 1) -> tuple[str, str]:
        with pytest.raises(NktcError) as caught:
            Example(kind, settings, shapes, tops).graph()
        at = caught.value.at
        assert at is not None
        line = at.source.line(at.line)
        return caught.value.message.removeprefix(f'{kind} "it": '), line[at.column - 1 : at.column - 1 + at.width]

    return find
