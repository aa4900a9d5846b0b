"""The metric that steers a run: plateau's rate, early stopping, the best snapshot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from nktc.errors import near
from nktc.ir import Graph, size
from nktc.schema import SolverParameter
from nktc.train.settings import Settings

LOSS = "loss"


@dataclass
class Watch:
    """What a metric has done so far, test by test.

    A gain is a change for the better by more than metric_gain. `best` is the best value, `since` the tests without a
    gain, `waited` those since the last gain or drop, `drops` how often plateau has lowered the rate: it does so at the
    `patience`-th test without a gain, torch's ReduceLROnPlateau at the one after its patience.
    """

    metric: str
    higher_is_better: bool
    gain: float
    patience: int  # tests without gain before a drop; 0: never
    best: float | None = None
    since: int = 0
    waited: int = 0
    drops: int = 0
    tested: int = -1  # the last iteration that was taken in

    def take(self, iteration: int, scores: Mapping[str, Tensor], loss: Tensor) -> bool:
        """Take in a test; whether it is the best so far. A test at an iteration known already, as after a resume,
        changes nothing. NaN and infinity are no gain."""
        if iteration <= self.tested:
            return False
        self.tested = iteration
        value = float(loss if self.metric == LOSS else scores[self.metric])
        if self._gains(value):
            self.best, self.since, self.waited = value, 0, 0
            return True
        self.since += 1
        self.waited += 1
        if self.patience and self.waited >= self.patience:
            self.waited, self.drops = 0, self.drops + 1
        return False

    def _gains(self, value: float) -> bool:
        if not math.isfinite(value) or self.best is None:
            return math.isfinite(value)
        return (value - self.best if self.higher_is_better else self.best - value) > self.gain

    def facts(self) -> dict[str, Any]:
        """What a snapshot keeps of it, for JSON."""
        return asdict(self)

    def resume(self, facts: Mapping[str, Any]) -> None:
        """Take up what a snapshot kept; what is known of another metric, or of this one the other way, says nothing."""
        kept = ["drops", "tested"]
        if (facts["metric"], facts["higher_is_better"]) == (self.metric, self.higher_is_better):
            kept += ["best", "since", "waited"]
        for name in kept:
            setattr(self, name, facts[name])


def watch(settings: Settings, tests: Sequence[Graph]) -> Watch | None:
    """The watch over the first test net; None where there is none. Raises a located NktcError for a metric that the
    net does not have as one number."""
    if not tests:
        return None
    s, graph = settings.message, tests[0]
    numbers = [value.name for value in graph.outputs if size(value.shape) == 1]
    types = {name: graph.producers[name] for name in numbers}
    metric = s.metric or next((name for name, node in types.items() if node.type == "Accuracy"), LOSS)
    if metric != LOSS and metric not in numbers:
        known = ", ".join([*numbers, LOSS])
        help = near(metric, [*numbers, LOSS]) or f"the numbers that the test net gives are {known}"
        raise settings.refusal(f'the test net gives no number "{metric}"', "metric", help)
    lower = metric == LOSS or types[metric].layer.loss
    higher = s.metric_goal == SolverParameter.MAX if s.HasField("metric_goal") else not lower
    return Watch(metric, higher, s.metric_gain, s.plateau_tests if s.lr_policy == "plateau" else 0)


def stopped_gaining(settings: Settings, watch: Watch | None) -> bool:
    """Whether training stops early."""
    patience = settings.message.early_stop_tests
    return watch is not None and 0 < patience <= watch.since
