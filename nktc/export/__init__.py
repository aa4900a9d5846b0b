"""A deploy graph to a file that other runtimes run: ONNX."""

from nktc.export.onnx import follows_batch, metadata, save, to_onnx, unpack
from nktc.export.targets import PORTABLE, TARGETS, Target, target

__all__ = ["PORTABLE", "TARGETS", "Target", "follows_batch", "metadata", "save", "target", "to_onnx", "unpack"]
