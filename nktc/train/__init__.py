"""Training: a solver file to a run. `launch` does it all; `Solver` is the loop, its events what listeners hear."""

from nktc.train.evaluate import evaluate
from nktc.train.events import Ended, Event, Hook, Said, Saved, Started, Stepped, Tested, Testing
from nktc.train.feeding import Feeding, open_feeding, skips
from nktc.train.freezing import check, freeze
from nktc.train.hooks import caffe_log
from nktc.train.interrupts import EFFECTS, Effects
from nktc.train.launch import Options, Outcome, launch
from nktc.train.learning_curve import Size, learning_curve
from nktc.train.score import score
from nktc.train.settings import Settings, read
from nktc.train.solver import Solver
from nktc.train.spawn import own_device
from nktc.train.timing import LayerTime, Timing, time_net
from nktc.train.timing_table import timing_data, timing_table

__all__ = [
    "EFFECTS",
    "Effects",
    "Ended",
    "Event",
    "Feeding",
    "Hook",
    "LayerTime",
    "Options",
    "Outcome",
    "Said",
    "Saved",
    "Settings",
    "Size",
    "Solver",
    "Started",
    "Stepped",
    "Tested",
    "Testing",
    "Timing",
    "caffe_log",
    "check",
    "evaluate",
    "freeze",
    "launch",
    "learning_curve",
    "open_feeding",
    "own_device",
    "read",
    "score",
    "skips",
    "time_net",
    "timing_data",
    "timing_table",
]
