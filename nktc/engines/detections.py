"""Sessions of models that leave the choice among boxes to us."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nktc.engines.engine import Session
from nktc.ir import Value
from nktc.layers import Choice


class Detections:
    """A session whose outputs NAME:boxes and NAME:scores become rows NAME [1 1 m 7], chosen on the host as Caffe does;
    `choices` has what is chosen by name."""

    def __init__(self, session: Session, choices: Mapping[str, Choice]) -> None:
        self.session, self.choices = session, choices
        self.device, self.facts, self.inputs = session.device, session.facts, session.inputs
        gone = {f"{name}:{what}" for name in choices for what in ("boxes", "scores")}
        rows = tuple(Value(name, (1, 1, 0, 7)) for name in choices)
        self.outputs = rows + tuple(value for value in session.outputs if value.name not in gone)

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = self.session.run(feeds)
        chosen = {}
        for name, choice in self.choices.items():
            boxes, scores = (np.asarray(found.pop(f"{name}:{what}"), np.float32) for what in ("boxes", "scores"))
            chosen[name] = choice.rows(boxes, scores)[None, None]
        return chosen | found


def chosen(session: Session, choices: Mapping[str, Choice]) -> Session:
    """The session, with the choices made where the model leaves any."""
    outputs = {value.name for value in session.outputs}
    left = {name: choice for name, choice in choices.items() if {f"{name}:boxes", f"{name}:scores"} <= outputs}
    return Detections(session, left) if left else session
