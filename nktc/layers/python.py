"""Python: a layer of the user's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import field, replace
from pathlib import Path
from typing import Self

from torch import Tensor, nn

from nktc.errors import LayerError
from nktc.ir import MANY, Emitter, Layer, Operand, Phase, Shape, Weight, infer, nowhere
from nktc.layers.python_caffe import CaffeForm
from nktc.layers.python_code import Process, home
from nktc.layers.python_torch import TorchForm
from nktc.schema import PythonParameter

_allowed = False
_in_process = ContextVar("in_process", default=False)


def allow_python() -> None:
    """Let nets run the Python code that they name, in this process and from now on."""
    global _allowed
    _allowed = True


@contextmanager
def in_process() -> Iterator[None]:
    """Nets that are built inside may run the Python code that they name, as a part of the program that builds them: its
    modules are the program's own, and what it raises comes through as it is."""
    token = _in_process.set(True)
    try:
        yield
    finally:
        _in_process.reset(token)


class Python(Layer, param=("python_param", "name", "bottom", "top"), tops=(0, MANY), in_place=True):
    """Runs a layer that is written in Python, where that is allowed.

    `layer` is a class of `module`, which is looked for beside the net, under the working directory, then on the Python
    path. It is one for Caffe, with setup, reshape, forward and backward over blobs, or a torch.nn.Module, which takes
    the arguments in `param_str`, a dictionary as JSON or Python writes it. See allow_python and --allow-python.
    """

    module: str
    layer: str
    param_str: str = ""
    outputs: int = field(default=1, repr=False)
    overwrites: tuple[int, ...] = ()
    phase: Phase = Phase.TEST
    name: str = field(default="", repr=False)
    form: CaffeForm | TorchForm | None = field(default=None, repr=False)

    @classmethod
    def read(cls, p: PythonParameter, name: str, bottom: Sequence[str], top: Sequence[str], phase: Phase) -> Self:
        for wanted in ("module", "layer"):
            if not getattr(p, wanted):
                help = 'add python_param { module: "FILE" layer: "CLASS" }, for a class of FILE.py'
                raise LayerError(f"has no {wanted}", field="python_param", help=help)
        if not all(part.isidentifier() for part in p.module.split(".")):
            help = 'module: "layers.mine" stands for the file layers/mine.py'
            raise LayerError(f'module "{p.module}" is no name of a Python module', field="module", help=help)
        overwrites = tuple(i for i, one in enumerate(top) if one in bottom)
        return cls(p.module, p.layer, p.param_str, len(top), overwrites, phase, name)

    def beside(self, folder: Path) -> Self:
        inside = _in_process.get()
        if not _allowed and not inside:
            said = f'runs code of yours (module "{self.module}"), which needs your permission'
            raise LayerError(said, field="module", help="add --allow-python", code="python-code")
        own = Process(folder) if inside else home(folder.resolve())
        kind = own.find(self.module, self.layer)
        if issubclass(kind, nn.Module):
            return replace(self, form=TorchForm(own, kind, self.param_str, self.phase, self.outputs))
        form = CaffeForm(own, kind, self.name, self.param_str, self.phase, self.outputs, self.overwrites)
        return replace(self, form=form)

    @classmethod
    def bottoms(cls) -> tuple[int, int | None]:
        return 0, None

    def shape(self, *inputs: Shape) -> list[Shape]:
        assert self.form is not None
        return self.form.shapes(inputs)

    def weights(self, *inputs: Shape) -> dict[str, Weight]:
        assert self.form is not None
        return self.form.weights()

    def forward(self, *inputs: Tensor, **weights: Tensor) -> tuple[Tensor, ...]:
        """x[..] .. weight[..] .. -> y[..] .., as the code has it"""
        assert self.form is not None
        with infer.place("Python", self.name, nowhere):
            return self.form.forward(inputs, weights)

    def onnx(self, emit: Emitter, *inputs: Operand, **weights: Operand) -> Operand:
        raise LayerError("runs code of yours, which has no ONNX form", help="nktc infer --backend torch runs it")
