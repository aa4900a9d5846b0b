"""Graph to Graph. A pass returns the graph it was given when there is nothing to do.

`run` takes a graph through passes until none finds anything, and reports what they did: those of INFERENCE leave
inputs and outputs as they are, HORIZONTAL pays for small convolutions on a GPU, INPUT changes what is fed.
"""

from nktc.passes.assign_precision import assign_precision
from nktc.passes.deploy import deploy
from nktc.passes.drop_dead_nodes import drop_dead_nodes
from nktc.passes.drop_identities import drop_identities
from nktc.passes.eliminate_concat import eliminate_concat
from nktc.passes.fold_batch_norm import fold_batch_norm
from nktc.passes.fold_constants import fold_constants
from nktc.passes.fold_input_scale import fold_input_scale
from nktc.passes.fold_power import fold_power
from nktc.passes.hoist_relu import hoist_relu
from nktc.passes.merge_equal_nodes import merge_equal_nodes
from nktc.passes.merge_sibling_convolutions import merge_sibling_convolutions
from nktc.passes.nms_outside import nms_outside
from nktc.passes.pipeline import (
    HORIZONTAL,
    INFERENCE,
    INPUT,
    Optimised,
    Pass,
    Place,
    Report,
    Rewrite,
    Totals,
    find,
    run,
    totals,
)
from nktc.passes.quantize import quantizable, quantize
from nktc.passes.recognise_depthwise import recognise_depthwise

__all__ = [
    "HORIZONTAL",
    "INFERENCE",
    "INPUT",
    "Optimised",
    "Pass",
    "Place",
    "Report",
    "Rewrite",
    "Totals",
    "assign_precision",
    "deploy",
    "drop_dead_nodes",
    "drop_identities",
    "eliminate_concat",
    "find",
    "fold_batch_norm",
    "fold_constants",
    "fold_input_scale",
    "fold_power",
    "hoist_relu",
    "merge_equal_nodes",
    "merge_sibling_convolutions",
    "nms_outside",
    "quantizable",
    "quantize",
    "recognise_depthwise",
    "run",
    "totals",
]
