"""From a trained net to an engine file that was chosen by measuring and is proved to give the same answers.

`optimize` runs the passes, lowers the precision, races the engines of this machine, writes the file of the fastest with
its sidecar, and compares it with the net it came from before it says done. `Wanted` is what may be asked for, `Outcome`
what came out.
"""

from nktc.optimize.optimize import fastest, optimize
from nktc.optimize.outcome import Measured, Outcome, Scores
from nktc.optimize.samples import Samples
from nktc.optimize.wanted import GOALS, PRECISIONS, Wanted

__all__ = ["GOALS", "PRECISIONS", "Measured", "Outcome", "Samples", "Scores", "Wanted", "fastest", "optimize"]
