"""A deploy graph to a file that other runtimes run: ONNX."""

from nktc.export.onnx import follows_batch, metadata, save, to_onnx, unpack

__all__ = ["follows_batch", "metadata", "save", "to_onnx", "unpack"]
