"""A deploy graph to a file that other runtimes run, ONNX, as each of `TARGETS` takes it; and `lint`, what a runtime is
known to refuse in such a file."""

from nktc.export.lint import Finding, lint, load, read, verdict
from nktc.export.onnx import follows_batch, left_to_choose, metadata, pack, precision, to_onnx, unpack
from nktc.export.targets import PORTABLE, TARGETS, Target, target
from nktc.export.whole import save

__all__ = [
    "PORTABLE",
    "TARGETS",
    "Finding",
    "Target",
    "follows_batch",
    "left_to_choose",
    "lint",
    "load",
    "metadata",
    "pack",
    "precision",
    "read",
    "save",
    "target",
    "to_onnx",
    "unpack",
    "verdict",
]
