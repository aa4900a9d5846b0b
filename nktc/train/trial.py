"""`speed: auto`: what is fastest is tried out before the training."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from nktc import layers
from nktc.schema import SolverParameter
from nktc.train import ranks, speed
from nktc.train.guard import Diverged
from nktc.train.solver import Solver
from nktc.train.speed import Speed, Trial
from nktc.train.step import WARM


def try_out(solver: Solver, say: Callable[[str], None]) -> Speed:
    """What a short trial found fastest on this machine; all ranks get what the first one found.

    It steps at rate 0, which changes no weight, and alone, without the other ranks.
    """
    if solver.debugs:
        return Speed()
    if solver.ranks.rank:
        return speed.parse(solver.ranks.gather("")[0])
    batches = itertools.repeat(solver.feeding.batch(0))

    def prepare(tried: Speed) -> Callable[[], object]:
        solver.run_as(tried, ranks.ALONE)
        for _ in range(WARM if tried.cuda_graph else 0):
            solver.step(batches, 0.0, 0)
        return lambda: solver.step(batches, 0.0, 0)

    s = solver.settings.message
    captures = solver.device.type == "cuda" and solver.ranks.size == 1 and s.precision != SolverParameter.FP16
    pictures = any(parameter.dim() == 4 for parameter in solver.net.parameters())
    with solver.untouched(), layers.alone():
        try:
            trials = speed.pick(prepare, solver.device, s.max_iter, pictures, captures)
        except Diverged:
            trials = [Trial(Speed(), 0.0)]  # the run will say it better
    best = trials[0].speed
    if len(trials) > 1:
        others = ", ".join(f"{t.speed} {t.seconds * 1000:.3g} ms" for t in trials)
        say(f"Speed: {best} (a step takes: {others})")
    return speed.parse(solver.ranks.gather(str(best))[0])
