"""Engines run a deploy graph: torch and ONNX Runtime, and whatever registers under `nktc.engines`.

`engine(name).build(graph, options)` gives a `Session`; `open_model` one of whatever a model is given as; `compare`
tells whether models agree, blob by blob; `race` times them in turns. A `Sidecar` tells of the file beside it.
"""

from nktc.engines.agree import (
    TOLERANCE,
    Comparison,
    Difference,
    Subject,
    agree,
    compare,
    random_feeds,
    random_inputs,
    subject_of_graph,
)
from nktc.engines.agreement import agree_models
from nktc.engines.engine import Engine, Facts, Options, Session, engine, loaded, names, usable
from nktc.engines.feeds import feeds_from
from nktc.engines.noise import noise
from nktc.engines.onnxruntime import OnnxRuntime
from nktc.engines.opened import Opened, open_model, readers
from nktc.engines.own_data import own_records
from nktc.engines.sidecar import Sidecar
from nktc.engines.sidecar import read as read_sidecar
from nktc.engines.sidecar import write as write_sidecar
from nktc.engines.timing import Times, race

__all__ = [
    "TOLERANCE",
    "Comparison",
    "Difference",
    "Engine",
    "Facts",
    "OnnxRuntime",
    "Opened",
    "Options",
    "Session",
    "Sidecar",
    "Subject",
    "Times",
    "agree",
    "agree_models",
    "compare",
    "engine",
    "feeds_from",
    "loaded",
    "names",
    "noise",
    "open_model",
    "own_records",
    "race",
    "random_feeds",
    "random_inputs",
    "read_sidecar",
    "readers",
    "subject_of_graph",
    "usable",
    "write_sidecar",
]
