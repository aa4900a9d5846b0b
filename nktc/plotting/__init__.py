"""Training as curves: `read_curves` takes a run's journal or a Caffe log apart, `draw` makes a figure of several.

`plot` goes from runs to a picture file.
"""

from nktc.plotting.curves import AXES, Curve, Curves, read_curves
from nktc.plotting.figure import draw, plot

__all__ = ["AXES", "Curve", "Curves", "draw", "plot", "read_curves"]
