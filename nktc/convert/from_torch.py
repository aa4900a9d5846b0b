"""A module of torch to a graph, by way of ONNX."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from nktc.convert import torch_program
from nktc.convert.from_onnx import from_onnx
from nktc.ir import Graph


def from_torch(module: torch.nn.Module, *inputs: torch.Tensor, names: Sequence[str] | None = None) -> Graph:
    """The TEST graph of a module with its weights, for inputs of these shapes; `names` are what they are called.

    The module is put into eval mode. Needs onnxscript: pip install nktc[torch-import]. Raises NktcError where torch
    cannot export it, and for each operator that no layer does the work of.
    """
    return from_onnx(torch_program.of_module(module, inputs, names))
