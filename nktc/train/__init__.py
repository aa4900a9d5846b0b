"""Training: a solver file to a run. `launch` does it all; `Solver` is the loop, its events what listeners hear."""

from nktc.train.evaluate import evaluate
from nktc.train.events import Ended, Event, Hook, Saved, Started, Stepped, Tested, Testing
from nktc.train.feeding import Feeding, open_feeding
from nktc.train.launch import Options, Outcome, launch
from nktc.train.score import score
from nktc.train.settings import Settings, read
from nktc.train.solver import Solver

__all__ = [
    "Ended",
    "Event",
    "Feeding",
    "Hook",
    "Options",
    "Outcome",
    "Saved",
    "Settings",
    "Solver",
    "Started",
    "Stepped",
    "Tested",
    "Testing",
    "evaluate",
    "launch",
    "open_feeding",
    "read",
    "score",
]
