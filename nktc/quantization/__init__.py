"""Fewer bits: what a net's blobs hold over samples, where to cut that off for 8 bits, and which layers suffer.

`calibrate` gives a `Table` of ranges, which is a readable file; `sensitivities` and `fall_back` choose the layers that
keep f32; `overflows` finds what fp16 cannot hold. Samples are inputs by name. The passes that rewrite a graph are
`passes.quantize` and `passes.assign_precision`.
"""

from nktc.quantization.calibrate import calibrate
from nktc.quantization.overflow import Overflow, overflows
from nktc.quantization.sensitivity import Sensitivity, answers, fall_back, sensitivities
from nktc.quantization.table import Entry, Table, read_table
from nktc.quantization.thresholds import METHODS

__all__ = [
    "METHODS",
    "Entry",
    "Overflow",
    "Sensitivity",
    "Table",
    "answers",
    "calibrate",
    "fall_back",
    "overflows",
    "read_table",
    "sensitivities",
]
