"""A deploy graph to a file that other runtimes run, ONNX, as each of `TARGETS` takes it; and `lint`, what a runtime is
known to refuse in such a file."""

from nktc.export.lint import Finding, lint, load, read, verdict
from nktc.export.onnx import follows_batch, metadata, pack, precision, save, to_onnx, unpack
from nktc.export.targets import PORTABLE, TARGETS, Target, target

__all__ = [
    "PORTABLE",
    "TARGETS",
    "Finding",
    "Target",
    "follows_batch",
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
