"""nktc: a compiler for declarative networks in Caffe's prototxt language."""

__version__ = "0.1.0"
