"""A Python layer in Caffe's protocol: setup, reshape, forward and backward over blobs."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nktc.errors import LayerError
from nktc.ir import Phase, Shape, Weight, infer, nowhere
from nktc.layers.python_blob import Blob, Blobs
from nktc.layers.python_code import Home


class LayerPhase(enum.IntEnum):
    """The phase that a layer finds on itself: a number, as BVLC's Caffe has it, which prints as the name that the Caffe
    of Faster R-CNN has there (`cfg[str(self.phase)]`)."""

    TRAIN = Phase.TRAIN.value
    TEST = Phase.TEST.value

    def __str__(self) -> str:
        return self.name


class CaffeForm:
    """One layer's instance of the user's class, with the blobs that Caffe would keep for it.

    `overwrites` tells which tops are their bottoms. What it computes in backward is for the latest forward, whose
    numbers it may have kept; where that is another, forward runs again first.
    """

    def __init__(
        self, home: Home, kind: type, name: str, param_str: str, phase: Phase, tops: int, overwrites: Sequence[int]
    ) -> None:
        self.home, self.name, self.overwrites = home, name, overwrites
        with home.running("constructor"):
            self.layer: Any = kind()
            self.layer.param_str, self.layer.phase, self.layer.blobs = param_str, LayerPhase(phase.value), Blobs()
        self.bottoms: list[Blob] = []
        self.tops = [Blob() for _ in range(tops)]
        self.turn = 0
        self._shapes: dict[tuple[Shape, ...], list[Shape]] = {}
        self._weights: dict[str, Weight] = {}

    def shapes(self, inputs: tuple[Shape, ...]) -> list[Shape]:
        """The shapes of the tops, as the user's reshape has them; setup runs before the first."""
        if inputs in self._shapes:
            return self._shapes[inputs]
        first = not self._shapes
        if first:
            self.bottoms = [Blob(shape) for shape in inputs]
            for position in self.overwrites:
                self.tops[position] = self.bottoms[position]
            self._call("setup", self.bottoms, self.tops)
        for blob, shape in zip(self.bottoms, inputs, strict=True):
            blob.reshape(*shape)
        self._call("reshape", self.bottoms, self.tops)
        for position, top in enumerate(self.tops):
            if top.shape == (0,):
                help = f"call top[{position}].reshape in it, with the sizes of the axes"
                raise LayerError(f"its reshape gives top {position} no shape", field="layer", help=help)
        if first:
            self._weights = {f"blob{i}": Weight(b.shape, start=b.data.copy()) for i, b in enumerate(self.layer.blobs)}
        self._shapes[inputs] = [top.shape for top in self.tops]
        return self._shapes[inputs]

    def weights(self) -> dict[str, Weight]:
        """What setup added to self.blobs, which starts with the numbers that setup left there."""
        return self._weights

    def forward(self, inputs: Sequence[Tensor], weights: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        return _Forward.apply(self, *inputs, *weights.values())

    def run(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The tops for bottoms and weights."""
        self.turn += 1
        for blob, tensor in zip(self.bottoms, tensors, strict=False):
            blob.reshape(*tensor.shape)
            blob.data[...] = _array(tensor)
        held = list(zip(self.layer.blobs, tensors[len(self.bottoms) :], strict=False))
        for blob, tensor in held:
            blob.hold(_array(tensor))
        self._call("reshape", self.bottoms, self.tops)
        self._call("forward", self.bottoms, self.tops)
        for blob, tensor in held:
            # On a GPU the blob is a copy.
            if not np.array_equal(blob.data, _array(tensor), equal_nan=True):
                tensor.detach().copy_(torch.from_numpy(blob.data))
        like = tensors[0] if tensors else torch.empty(0)
        return tuple(_tensor(top.data, like) for top in self.tops)

    def run_back(
        self, tensors: Sequence[Tensor], wanted: Sequence[bool], grads: Sequence[Tensor]
    ) -> list[Tensor | None]:
        """The gradients of bottoms and weights, None where it is not `wanted`; what the user's backward does not write
        is 0."""
        blobs = [*self.bottoms, *self.layer.blobs][: len(tensors)]
        for blob in blobs:
            blob.diff[...] = 0
        for top, grad in zip(self.tops, grads, strict=True):
            top.diff[...] = _array(grad)
        self._call("backward", self.tops, list(wanted[: len(self.bottoms)]), self.bottoms)
        return [
            _tensor(blob.diff, tensor) if asked else None
            for blob, tensor, asked in zip(blobs, tensors, wanted, strict=True)
        ]

    def _call(self, method: str, *given: Any) -> None:
        called = getattr(self.layer, method, None)
        if called is None:
            said = f'its class "{type(self.layer).__name__}" has no {method}'
            help = "it has setup, reshape, forward and backward, or is a torch.nn.Module"
            raise LayerError(said, field="layer", help=help, code="python-code")
        with self.home.running(method):
            called(*given)


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, form: CaffeForm, *tensors: Tensor) -> tuple[Tensor, ...]:
        made = form.run(tensors)
        ctx.form, ctx.turn = form, form.turn
        ctx.save_for_backward(*tensors)
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        form: CaffeForm = ctx.form
        with infer.place("Python", form.name, nowhere):
            if form.turn != ctx.turn:
                form.run(ctx.saved_tensors)
            return (None, *form.run_back(ctx.saved_tensors, ctx.needs_input_grad[1:], grads))


def _array(tensor: Tensor) -> np.ndarray:
    """f32 on the host: the tensor's own memory where it is that already."""
    return tensor.detach().to("cpu", torch.float32).contiguous().numpy()


def _tensor(array: np.ndarray, like: Tensor) -> Tensor:
    """A copy, on the device and in the type of another tensor."""
    return torch.from_numpy(np.array(array)).to(like)
