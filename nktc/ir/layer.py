"""A layer type is one class: its settings are fields, its rules are pure methods.

Subclassing `Layer` makes the class a frozen dataclass and enters it in the catalogue under its class name, which is
the prototxt `type`. Everything else (listing, module, ONNX, `nktc layers`) is derived from it.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, dataclass_transform

from nktc.errors import LayerError
from nktc.ir.value import DType, Shape, Weight

_catalogue: dict[str, type[Layer]] = {}

MANY = 1 << 30
"""As the most outputs of a type: no limit."""


class Operand(Protocol):
    """A tensor of the ONNX graph being written; `shape` is the graph's, known and fixed."""

    @property
    def shape(self) -> Shape: ...


class Emitter(Protocol):
    """What an `onnx` rule writes with."""

    def __call__(self, op: str, *inputs: Operand | None, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node of the default domain. Returns an Operand, or a tuple of `outputs` of them."""

    def constant(self, value: Any, dtype: str = "float32") -> Operand:
        """A tensor stored in the model; numbers, lists and arrays are taken."""

    def batched(self, shape: Shape) -> list[int]:
        """`shape` as a Reshape target whose axis 0 follows the batch: 0 there where the batch is left open."""

    @property
    def target(self) -> str:
        """The runtime that the file is for: onnxruntime, openvino, opencv or tensorrt; portable for any of them."""

    @property
    def dtype(self) -> DType:
        """What the layer that is being written computes in. Constants of numbers have it too."""


@dataclass_transform(frozen_default=True)
class Layer:
    """Base of every layer type.

    Class keywords: `param`, the field (or fields) of LayerParameter with its settings; `tops`, the least and the most
    outputs; `loss`, its first output weighs 1 in the objective unless the net says otherwise; `source`, its outputs
    are fed from outside; `each`, as many outputs as inputs, every input on its own; `in_place`, an output may
    take the name of the input; `multiplies`, its flops are multiply-adds; `saves`, which of its values a backward
    needs: "inputs", "outputs" or "nothing"; `sequence`, axis 0 of its first input is time, which no batch changes;
    `by_shape`, its outputs hang on the shapes of its inputs alone; `open_axis`, the axis of its outputs of which only
    a forward tells the extent: `shape` says there what Caffe's set-up does.
    """

    param: ClassVar[tuple[str, ...]] = ()
    tops: ClassVar[tuple[int, int]] = (1, 1)
    loss: ClassVar[bool] = False
    source: ClassVar[bool] = False
    each: ClassVar[bool] = False
    in_place: ClassVar[bool] = False
    multiplies: ClassVar[bool] = False
    saves: ClassVar[str] = "inputs"
    sequence: ClassVar[bool] = False
    by_shape: ClassVar[bool] = False
    open_axis: ClassVar[int | None] = None

    def __init_subclass__(
        cls,
        param: str | tuple[str, ...] = (),
        tops: int | tuple[int, int] = 1,
        loss: bool = False,
        source: bool = False,
        each: bool = False,
        in_place: bool = False,
        multiplies: bool = False,
        saves: str = "inputs",
        sequence: bool = False,
        by_shape: bool = False,
        open_axis: int | None = None,
    ) -> None:
        cls.param = (param,) if isinstance(param, str) else param
        cls.tops = (tops, tops) if isinstance(tops, int) else tops
        cls.loss, cls.source, cls.each, cls.in_place = loss, source, each, in_place
        cls.multiplies, cls.saves, cls.sequence = multiplies, saves, sequence
        cls.by_shape, cls.open_axis = by_shape, open_axis
        dataclass(frozen=True)(cls)
        _catalogue[cls.__name__] = cls

    @classmethod
    def read(cls, *params: Any) -> Self:
        """Settings from the messages named by `param`, in that order, and the phase. Raises LayerError."""
        return cls()

    def with_tops(self, tops: int) -> Self:
        """This layer once it is known how many outputs it has, for types that must know. Raises LayerError."""
        return self

    def beside(self, folder: Path) -> Self:
        """This layer once it is known in which folder its net is, for types that run what lies there. Raises
        LayerError."""
        return self

    def overwriting(self) -> Self:
        """This layer once it is known that its output takes its input's place, for types whose gradient in Caffe is
        another then."""
        return self

    def joins(self, behind: Layer, y: Shape) -> bool:
        """Whether the forward can do the work of the layer behind as well, which takes its output y and nothing else;
        it gets the weights of both then, under the names that each has for its own."""
        return False

    def shape(self, *inputs: Any, **_: Any) -> Shape | list[Shape]:
        """The shape of the output, or a list of the shapes of several. Raises LayerError. How many inputs the layer
        takes is read off this signature: defaults are optional inputs, a star takes any number from one."""
        raise LayerError("its shape is known only from what feeds it")

    def precision(self, *inputs: DType) -> DType:
        """The element type of its outputs; all its inputs have one, that of its weights too."""
        return inputs[0] if inputs else DType.F32

    def weights(self, *inputs: Any, **_: Any) -> dict[str, Weight]:
        """Its weights by name, in the order of Caffe's blobs."""
        return {}

    def forward(self, *inputs: Any, **weights: Any) -> Any:
        """torch tensors in, a tensor or a tuple of tensors out; weights come by name. State is updated in place;
        `volatile` state may be left out, and starts anew then. Never rebinds an argument."""
        raise LayerError("its values come from outside")

    def onnx(self, emit: Emitter, *inputs: Any, **weights: Any) -> Any:
        """The same function written with ONNX operators; an Operand, or a tuple of them. It gets no `volatile`
        weights."""
        raise LayerError("it has no ONNX form")

    def flops(self, *shapes: Any, **_: Any) -> int:
        """Floating-point operations of one forward, a multiply-add counting as 2; takes its inputs' shapes, then its
        outputs'. By default one an element of the outputs is not counted: 0."""
        return 0

    def aside(self, *shapes: Any) -> int:
        """How many numbers forward makes beside its outputs and keeps for its backward, in units of 4 bytes; takes what
        `flops` takes."""
        return 0

    def formula(self, *inputs: Any) -> str:
        """How the size of the output comes from that of the inputs, "24x24 = (28-5)/1+1"; empty where that is plain."""
        return ""

    @classmethod
    def bottoms(cls) -> tuple[int, int | None]:
        """The least and the most inputs; None: no limit."""
        if cls.source:
            return 0, 0
        least, most = 0, 0
        for parameter in list(inspect.signature(cls.shape).parameters.values())[1:]:
            if parameter.kind is parameter.VAR_POSITIONAL:
                return max(1, least), None
            least += parameter.default is parameter.empty
            most += 1
        return least, None if cls.each else most


def catalogue() -> Mapping[str, type[Layer]]:
    """Every layer type there is, by its prototxt name."""
    return _catalogue
