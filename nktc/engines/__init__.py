"""Engines run a deploy graph: torch and ONNX Runtime, and whatever registers under `nktc.engines`.

`engine(name).build(graph, options)` gives a `Session`; `open_classifier` goes from model files to class names;
`agree` compares engines.
"""

from nktc.engines.agree import Difference, agree, random_feeds
from nktc.engines.classify import Classifier, Prediction, Result, open_classifier
from nktc.engines.engine import Engine, Facts, Options, Session, engine, loaded, names, usable

__all__ = [
    "Classifier",
    "Difference",
    "Engine",
    "Facts",
    "Options",
    "Prediction",
    "Result",
    "Session",
    "agree",
    "engine",
    "loaded",
    "names",
    "open_classifier",
    "random_feeds",
    "usable",
]
