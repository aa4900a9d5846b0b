"""Graph to ONNX: each layer's own rule writes its operators, this file names and connects them.

Names are the prototxt's: a value keeps its blob's name, a node its layer's, a weight is LAYER.WEIGHT. What a picture
goes through before it is an input, the class names and where the model came from go into the metadata.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from nktc import __version__
from nktc.errors import LayerError, NktcError
from nktc.export.rules import RULES
from nktc.export.targets import PORTABLE, TARGETS, Target
from nktc.ir import DType, Graph, Grid, Node, Operand, Preprocessing, Shape, Value, infer, rewrite
from nktc.layers import Choice, DetectionBoxes, Quantize

_TYPES = {
    DType.F32: ir.DataType.FLOAT,
    DType.F16: ir.DataType.FLOAT16,
    DType.BF16: ir.DataType.BFLOAT16,
    DType.S8: ir.DataType.INT8,
    DType.U8: ir.DataType.UINT8,
    DType.I64: ir.DataType.INT64,
}


def to_onnx(
    graph: Graph,
    origin: Mapping[str, str] | None = None,
    target: Target = PORTABLE,
    batch: int | None = None,
    inside: bool = False,
) -> ir.Model:
    """The model of a deploy graph whose weights are known, as `target` takes it.

    The batch is left open where every layer follows it, or is fixed to `batch`, where 0 is an open one or none. State
    that lives from one forward to the next starts anew at each run. `origin` goes into the metadata. `inside`, the
    model takes pictures that only have their size: u8 [n h w c], RGB or gray. The same graph gives the same bytes.
    Raises located NktcErrors where a layer has no ONNX form, is beyond the target, or does not take the batch.
    """
    if batch:
        graph = rewrite.with_batch(graph, batch)
    if not graph.outputs:
        raise NktcError(f"{graph.name} computes nothing: it has no layers")
    unknown = [name for name, p in graph.parameters.items() if name not in graph.arrays and not p.weight.volatile]
    if unknown:
        raise NktcError(f"{graph.name} has no weights for {unknown[0]}", help="give its trained weights")
    follows = not batch and follows_batch(graph)
    if batch == 0 and not follows:
        help = "give a number, or leave --batch out for its own"
        raise NktcError(f"{graph.name} does not take any batch: an item of a batch is not one of each value", help=help)
    _within(graph, target)
    writer = _Writer(follows, target, {*graph.values, *(node.name for node in graph)})
    fixed = constants(graph)
    pictures = _pictures(graph) if inside else {}
    for value in graph.inputs:
        if value.name in pictures:
            _prepare(writer, value, pictures[value.name])
        else:
            writer.enter(value.name, value.shape, value.dtype)
    for node in graph:
        if node.outputs and not node.layer.source:
            # What is made of an open number of rows has as many, and is written as an open batch is.
            rows = any(value.name in writer.open_rows for value in node.inputs)
            writer.open_batch = rows or (follows and not all(value.name in fixed for value in node.outputs))
            _write(writer, node, graph)
    model = ir.Model(
        ir.Graph(
            inputs=writer.inputs,
            outputs=[writer.values[value.name].value for value in graph.outputs],
            nodes=writer.nodes,
            initializers=[*writer.initializers.values()],
            opset_imports={"": _opset(graph, target)},
            name=graph.name,
        ),
        ir_version=target.ir_version,
        producer_name="nktc",
        producer_version=__version__,
    )
    told = {"nktc.target": target.name, "nktc.precision": precision(graph)}
    model.metadata_props.update(metadata(graph, origin or {}, inside) | told)
    return model


def follows_batch(graph: Graph) -> bool:
    """Whether any batch can be fed: with twice the batch every value but constants has twice the size in axis 0, and no
    other."""
    if not graph.inputs or any(len(value.shape) < 2 for value in graph.inputs):
        return False
    if any(node.layer.open_axis is not None for node in graph):
        return False
    batch = graph.inputs[0].shape[0]
    try:
        doubled = rewrite.with_batch(graph, 2 * batch)
    except LayerError:
        return False
    same = constants(graph)
    pairs = [(a, doubled.values[name]) for name, a in graph.values.items() if name not in same]
    return all(a.shape and b.shape == (2 * a.shape[0], *a.shape[1:]) and a.shape[0] == batch for a, b in pairs)


def constants(graph: Graph) -> set[str]:
    """The values that hang on nothing that is fed but, at most, on its shape."""
    found: set[str] = set()
    for node in graph:
        by_itself = node.layer.by_shape or all(value.name in found for value in node.inputs)
        if by_itself and not node.layer.source:
            found |= {value.name for value in node.outputs}
    return found


def precision(graph: Graph) -> str:
    """What the layers of a graph compute in, as --precision has it; several with a + between."""
    dtypes = {value.dtype for value in graph.values.values()}
    said = {"int8": bool(graph.grids), "fp16": DType.F16 in dtypes, "bf16": DType.BF16 in dtypes}
    return "+".join(name for name, there in said.items() if there) or "fp32"


def metadata(graph: Graph, origin: Mapping[str, str], inside: bool = False) -> dict[str, str]:
    """What `nktc infer` reads back: nktc.preprocessing, nktc.labels and, for outputs NAME:boxes and NAME:scores, the
    choice that is left to do by NAME, nktc.detections, as JSON; nktc.version and nktc.origin.* as text. Of
    preprocessing that is `inside` what is left to do."""
    found = {"nktc.version": __version__} | {f"nktc.origin.{key}": value for key, value in origin.items()}
    packed = {name: pack(_left(p)) | {"inside": True} if inside else pack(p) for name, p in graph.preprocessing.items()}
    found["nktc.preprocessing"] = json.dumps(packed)
    found["nktc.labels"] = json.dumps(graph.labels)
    if choices := left_to_choose(graph):
        found["nktc.detections"] = json.dumps({name: dataclasses.asdict(choice) for name, choice in choices.items()})
    return found


def left_to_choose(graph: Graph) -> dict[str, Choice]:
    """By NAME what is to be chosen from the outputs NAME:boxes and NAME:scores, as DetectionOutput does."""
    found = {}
    for node in graph:
        if isinstance(node.layer, DetectionBoxes):
            name, _, what = node.outputs[0].name.rpartition(":")
            if what == "boxes" and node.outputs[1].name == f"{name}:scores":
                found[name] = node.layer.of.choice
    return found


def pack(p: Preprocessing) -> dict[str, Any]:
    """A Preprocessing as JSON; mean and std as base64 of little-endian f32, with their shapes."""
    packed: dict[str, Any] = {"size": p.size, "order": p.order, "scale": p.scale, "crop": p.crop}
    packed |= {"resize_mode": p.resize_mode, "fill": p.fill}
    for name, array in (("mean", p.mean), ("std", p.std)):
        if array is not None:
            packed[f"{name}_shape"] = array.shape
            packed[name] = base64.b64encode(array.astype("<f4").tobytes()).decode()
    return packed


def unpack(packed: Mapping[str, Any]) -> Preprocessing:
    """The reverse of `pack`; what files of an older nktc do not say is as it was then."""

    def array(name: str) -> np.ndarray | None:
        if name not in packed:
            return None
        values = np.frombuffer(base64.b64decode(packed[name]), "<f4").astype(np.float32)
        return values.reshape(packed[f"{name}_shape"])

    height, width = packed["size"]
    return Preprocessing(
        (height, width),
        packed["order"],
        array("mean"),
        packed["scale"],
        packed["crop"],
        packed.get("resize_mode", "SQUASH"),
        packed.get("fill", 0),
        array("std"),
    )


def _left(p: Preprocessing) -> Preprocessing:
    """What is to be done for a model that does the rest inside."""
    order = "GRAY" if p.order == "GRAY" else "RGB"
    return Preprocessing(p.size, order, resize_mode=p.resize_mode, fill=p.fill)


def _pictures(graph: Graph) -> Mapping[str, Preprocessing]:
    """The inputs that become pictures. Raises NktcError where there are none."""
    if not graph.preprocessing:
        fed = ", ".join(value.name for value in graph.inputs)
        help = "give the net with its data layer, or leave the preprocessing outside"
        raise NktcError(f"what a picture goes through to become {fed} is not known", help=help)
    return graph.preprocessing


def _prepare(writer: _Writer, value: Value, p: Preprocessing) -> None:
    """The input of a model as u8 [n h w c], and all but the resize of what `data.prepare` does with it."""
    batch, channels, *_ = value.shape
    height, width = p.size
    writer.layer = f"{value.name}:prepared"
    writer.enter(value.name, (batch, height, width, channels), DType.U8)
    y = writer("Cast", writer.values[value.name], to=ir.DataType.FLOAT)
    y = writer("Transpose", y, perm=[0, 3, 1, 2])
    if p.order == "BGR":
        y = writer("Gather", y, writer.constant([2, 1, 0], "int64"), axis=1)
    if p.mean is not None:
        y = writer("Sub", y, writer.constant(p.mean))
    if p.crop:
        top, left = (height - p.crop) // 2, (width - p.crop) // 2
        corners = (writer.constant(n, "int64") for n in ([top, left], [top + p.crop, left + p.crop], [2, 3]))
        y = writer("Slice", y, *corners)
    if p.scale != 1:
        y = writer("Mul", y, writer.constant(p.scale))
    if p.std is not None:
        y = writer("Div", y, writer.constant(p.std))
    writer.name(y, f"{value.name}:prepared", value.shape, value.dtype)
    writer.values[value.name] = y


def _within(graph: Graph, target: Target) -> None:
    """Raises a located LayerError for the first layer in a precision that the target does not take."""
    for node in graph:
        halves = {value.dtype.value for value in node.outputs} & {"f16", "bf16"}
        eight = isinstance(node.layer, Quantize) or any(name in graph.grids for name in node.weights.values())
        with infer.place(node.type, node.name, node.locate):
            for said in halves - set(target.halves):
                raise LayerError(f"runs in {said}, which the target {target.name} does not take", help=_takers(said))
            if eight and not target.eight_bits:
                raise LayerError(
                    f"runs in 8 bits, which the target {target.name} does not take", help=_takers("8 bits")
                )


def _takers(said: str) -> str:
    """The targets that take a precision."""
    takers = [t.name for t in TARGETS.values() if (t.eight_bits if said == "8 bits" else said in t.halves)]
    return f"{' and '.join(takers)} take it"


def _write(writer: _Writer, node: Node, graph: Graph) -> None:
    """One layer's operators; its outputs take the graph's names."""
    writer.layer, writer.dtype = node.name, node.inputs[0].dtype if node.inputs else DType.F32
    inputs = [writer.values[value.name] for value in node.inputs]
    weights = {}
    own = infer.weights(node.layer, [value.shape for value in node.inputs])
    for local, name in node.weights.items():
        if graph.parameters[name].weight.volatile:
            continue
        held = writer.weight(name, graph)
        weights[local] = held if held.shape == own[local].shape else writer.reshaped(held, own[local].shape)
    if writer.target == "onnxruntime" and (steps := _steps_of_products(node, graph)) is not None and "bias" in weights:
        weights["bias"] = writer.in_steps(node.weights["bias"], graph, steps)
    before = len(writer.nodes)
    with infer.place(node.type, node.name, node.locate):
        if node.layer.each:
            made: Any = tuple(node.layer.onnx(writer, x, **weights) for x in inputs)
        else:
            made = node.layer.onnx(writer, *inputs, **weights)
        for written in writer.nodes[before:]:
            for rule in RULES.get(writer.target, ()):
                if rule.refuses and rule.hits(written):
                    help = "export for another --target"
                    raise LayerError(f"{rule.message(written)} ({rule.source})", help=help)
    outputs = made if isinstance(made, tuple) else (made,)
    for value, operand in zip(node.outputs, outputs, strict=True):
        # A rule may hand its input or a weight straight back; those have names already.
        if operand.value.producer() is None or operand.named:
            operand = writer("Identity", operand)
        writer.name(operand, value.name, value.shape, value.dtype, open_axis=node.layer.open_axis)


def _steps_of_products(node: Node, graph: Graph) -> np.ndarray | None:
    """What one step of a layer's sums of products is worth, for each output, where it runs in 8 bits: ONNX Runtime
    wants its bias in them."""
    weight = node.weights.get("weight")
    if weight is None or weight not in graph.grids:
        return None
    maker = graph.producers[node.inputs[0].name].layer
    if not isinstance(maker, Quantize):
        return None
    steps: np.ndarray = (graph.grids[weight].steps * maker.scale).astype(np.float32)
    bias = graph.arrays[node.weights["bias"]] if "bias" in node.weights else np.zeros(())
    # Beside weights of next to nothing a bias is more steps than 32 bits count.
    return steps if (np.abs(bias) < steps * np.float64(2**31 - 1)).all() else None


def _opset(graph: Graph, target: Target) -> int:
    """The opset of the target; the operators take bfloat16 from 22 on."""
    wide = any(value.dtype is DType.BF16 for value in graph.values.values())
    return max(target.opset, 22) if wide else target.opset


@dataclasses.dataclass
class _Operand:
    """An ONNX value with the graph's shape of it (empty while a rule is still at work on it)."""

    value: ir.Value
    shape: Shape = ()
    named: bool = False


class _Writer:
    """The Emitter that layers' rules write with."""

    def __init__(self, open_batch: bool, target: Target, names: Collection[str]) -> None:
        self.open_all = self.open_batch = open_batch
        self.open_rows: set[str] = set()  # values with as many rows as a layer has found
        self.target = target.name
        self.names = names  # those of the net's values and layers
        self.layer = ""
        self.dtype = DType.F32
        self.inputs: list[ir.Value] = []
        self.nodes: list[ir.Node] = []
        self.values: dict[str, _Operand] = {}
        self.initializers: dict[str, ir.Value] = {}
        self._taken: dict[str, int] = {}

    def __call__(self, op: str, *inputs: Operand | None, outputs: int = 1, **attributes: Any) -> Any:
        given = [operand.value if isinstance(operand, _Operand) else None for operand in inputs]
        while given and given[-1] is None:
            given.pop()  # ONNX Runtime crashes at an absent input behind the last one.
        node = ir.node(
            op,
            inputs=given,
            attributes={name: value for name, value in attributes.items() if value is not None},
            num_outputs=outputs,
            name=self._fresh(self.layer),
        )
        for value in node.outputs:
            value.name = self._free(f"{node.name}:{op}" if outputs == 1 else f"{node.name}:{op}{value.index()}")
        self.nodes.append(node)
        made = tuple(_Operand(value) for value in node.outputs)
        return made if outputs > 1 else made[0]

    def constant(self, value: Any, dtype: str = "float32") -> _Operand:
        array = np.asarray(value, dtype=self.dtype.numpy if dtype == "float32" else dtype)
        return self.initializer(self._fresh(f"{self.layer}:constant"), array)

    def weight(self, name: str, graph: Graph) -> _Operand:
        """A weight of the graph, stored once for each type it is computed in; one that has a grid in 8 bits."""
        held = self._free(name if self.dtype is DType.F32 else f"{name}:{self.dtype.value}")
        if held not in self.values:
            array = np.asarray(graph.arrays[name], order="C")
            if name in graph.grids and self.dtype is DType.F32:
                self._in_steps(held, array, graph.grids[name])
            else:
                self.initializer(held, array.astype(self.dtype.numpy, copy=False))
        return self.values[held]

    def in_steps(self, name: str, graph: Graph, steps: np.ndarray) -> _Operand:
        """A bias in whole steps of 32 bits, for one layer."""
        bias = np.rint(graph.arrays[name].astype(np.float64) / steps)
        whole = self.constant(np.clip(bias, -(2**31), 2**31 - 1), "int32")
        scale = self.constant(steps)
        made: _Operand = self("DequantizeLinear", whole, scale, axis=0)
        made.shape = bias.shape
        return made

    def _in_steps(self, name: str, array: np.ndarray, grid: Grid) -> None:
        """Whole steps and their size, multiplied where they are used."""
        steps = self.initializer(self._free(f"{name}:steps"), grid.whole(array))
        scale = self.initializer(self._free(f"{name}:scale"), grid.steps.astype(np.float32))
        zero = self.initializer(self._free(f"{name}:zero"), np.zeros(grid.steps.shape, np.int8))
        made = self("DequantizeLinear", steps, scale, zero, axis=grid.axis)
        self.name(made, name, array.shape, DType.F32, follows=False)

    def batched(self, shape: Shape) -> list[int]:
        return [0, *shape[1:]] if self.open_batch else list(shape)

    def initializer(self, name: str, array: np.ndarray) -> _Operand:
        """A tensor stored in the model."""
        value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
        value.shape, value.dtype = ir.Shape(array.shape), ir.DataType.from_numpy(array.dtype)
        self.initializers[name] = value
        self.values[name] = _Operand(value, array.shape, named=True)
        return self.values[name]

    def reshaped(self, operand: _Operand, shape: Shape) -> _Operand:
        """A shared weight in another shape."""
        made: _Operand = self("Reshape", operand, self.constant(shape, "int64"))
        made.shape = shape
        return made

    def enter(self, name: str, shape: Shape, dtype: DType) -> None:
        """An input of the model."""
        self.name(_Operand(ir.Value()), name, shape, dtype)
        self.inputs.append(self.values[name].value)

    def name(
        self,
        operand: _Operand,
        name: str,
        shape: Shape,
        dtype: DType,
        follows: bool = True,
        open_axis: int | None = None,
    ) -> None:
        """Give an operand the graph's name, shape and type; where it follows the batch axis 0 is left open, as is the
        axis of which only a run tells the extent."""
        operand.value.name = name
        dims: list[int | str] = list(shape)
        if open_axis is not None:
            dims[open_axis] = f"{name}:rows"
            self.open_rows |= {name} if open_axis == 0 else set()
        elif self.open_batch and follows and shape:
            rows = not self.open_all
            dims[0] = f"{name}:rows" if rows else "N"
            self.open_rows |= {name} if rows else set()
        operand.value.shape, operand.value.dtype = ir.Shape(dims), _TYPES[dtype]
        operand.shape, operand.named = shape, True
        self.values[name] = operand

    def _free(self, name: str) -> str:
        """That name, or one like it that no value and no layer of the net has."""
        while name in self.names:
            name += "'"
        return name

    def _fresh(self, name: str) -> str:
        """A node's name: the layer's for its first, then LAYER:1, LAYER:2, …"""
        self._taken[name] = self._taken.get(name, -1) + 1
        if self._taken[name]:
            return self._free(f"{name}:{self._taken[name]}")
        return name if name == self.layer else self._free(name)
