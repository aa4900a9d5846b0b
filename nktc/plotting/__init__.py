"""Training as curves: `read_curves` takes a run's journal or a Caffe log apart, `draw` makes a figure of several.

`plot` goes from runs to a picture file; `draw_sheet` writes pictures of a data set with their labels. `read_log` has a
log as tables, which `write_tables` writes as Caffe's parse_log does.
"""

from nktc.plotting.contact_sheet import draw_sheet
from nktc.plotting.curves import AXES, Curve, Curves, read_curves
from nktc.plotting.figure import draw, plot
from nktc.plotting.log_table import read_log, write_tables
from nktc.plotting.sizes import plot_sizes

__all__ = [
    "AXES",
    "Curve",
    "Curves",
    "draw",
    "draw_sheet",
    "plot",
    "plot_sizes",
    "read_curves",
    "read_log",
    "write_tables",
]
