"""The language's middle: values, layers' rules, graphs, shape inference, listing. Torch-free and immutable.

`Layer` is what a layer type subclasses; `Graph` is what every stage above takes and gives; `rewrite` is the only
place that makes one graph from another.
"""

from nktc.ir import drawing, infer, layered, rewrite
from nktc.ir.blob import StoredBlob, array, stored_blob
from nktc.ir.cost import Cost, Fit, LayerCost, cost, memory_size
from nktc.ir.cost_table import cost_data, cost_table
from nktc.ir.definition import definition
from nktc.ir.feed import (
    ColorJitter,
    Feed,
    Preprocessing,
    RandomAspectCrop,
    RandomErasing,
    RandomResizedCrop,
    Rescale,
    Transform,
)
from nktc.ir.graph import Graph, Locate, Node, nowhere
from nktc.ir.layer import MANY, Emitter, Layer, Operand, catalogue
from nktc.ir.listing import listing, settings
from nktc.ir.value import DType, Filler, Grid, Parameter, Phase, Shape, Value, Weight, list_shape, size, times
from nktc.ir.verify import verify

__all__ = [
    "MANY",
    "ColorJitter",
    "Cost",
    "DType",
    "Emitter",
    "Feed",
    "Filler",
    "Fit",
    "Graph",
    "Grid",
    "Layer",
    "LayerCost",
    "Locate",
    "Node",
    "Operand",
    "Parameter",
    "Phase",
    "Preprocessing",
    "RandomAspectCrop",
    "RandomErasing",
    "RandomResizedCrop",
    "Rescale",
    "Shape",
    "StoredBlob",
    "Transform",
    "Value",
    "Weight",
    "array",
    "catalogue",
    "cost",
    "cost_data",
    "cost_table",
    "definition",
    "drawing",
    "infer",
    "layered",
    "list_shape",
    "listing",
    "memory_size",
    "nowhere",
    "rewrite",
    "settings",
    "size",
    "stored_blob",
    "times",
    "verify",
]
