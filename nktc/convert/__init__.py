"""Models from one format to another, with proof.

`convert` takes a net and its weights, a run, ONNX or a program of torch.export to ONNX, PyTorch source or Caffe, by the
suffix of the file; `from_onnx` and `from_torch` give the graph of such a model, `to_caffe` brings a graph into the
layers that BVLC or SSD Caffe has.
"""

from nktc.convert.convert import Outcome, convert
from nktc.convert.from_onnx import from_onnx
from nktc.convert.from_torch import from_torch
from nktc.convert.proof import TOLERANCE, Proof, Trial
from nktc.convert.target import KINDS, Settings
from nktc.convert.to_caffe import DIALECTS, to_caffe

__all__ = [
    "DIALECTS",
    "KINDS",
    "TOLERANCE",
    "Outcome",
    "Proof",
    "Settings",
    "Trial",
    "convert",
    "from_onnx",
    "from_torch",
    "to_caffe",
]
