"""What every layer type owes: a schema, words for the user, rules that agree with each other, and a test."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import onnxruntime
import pytest
import torch
from layers.examples import EXAMPLES, Example
from torch import Tensor

from nktc import export, ir, layers, module, schema
from nktc.ir import Layer, rewrite
from nktc.module import Net

TYPES = sorted(ir.catalogue().items())
TESTS = Path(__file__).parent / "layers"
WITH_ONNX = [e for e in EXAMPLES if layers.find(e.type).onnx is not Layer.onnx and e.phase is ir.Phase.TEST]
WITHOUT_EXAMPLE = ("Python",)  # what it computes is the user's
WITH_INPUTS = [e for e in EXAMPLES if e.inputs]
# Compiling is slow: one example of each form that a type has, by its inputs, their axes, its outputs and its phase.
FORMS = {(e.type, *map(len, e.inputs), e.tops, e.phase): e for e in reversed(WITH_INPUTS)}
NOTHING_LEARNS = (  # through these
    *("BoxAnnotatorOHEM", "DetectionOutput", "PriorBox", "Proposal", "YoloDetectionOutput", "Yolov3DetectionOutput"),
    *("Accuracy", "ArgMax", "ContinuationIndicator", "HDF5Output", "LabelsequenceAccuracy", "Quantize", "R2Score"),
    *("MatWrite", "SegAccuracy", "Silence", "Threshold"),
)


def compiled(example: Example) -> Net:
    """The example's module, every weight drawn at random; state is positive, as sums of variances are, but where it is
    volatile: that starts as for ONNX Runtime."""
    net = module.compile(example.graph(), seed=1)
    generator = torch.Generator().manual_seed(2)
    for name, parameter in net.graph.parameters.items():
        low = -1.0 if parameter.weight.learns else 0.5
        if not parameter.weight.volatile:
            with torch.no_grad():
                net.tensor(name).uniform_(low, 1.5, generator=generator)
    return net


def inputs(example: Example, batch: int = 1) -> list[Tensor]:
    """Random values for `batch` times the batch of the example; no two are equal, none is near 0."""
    generator = torch.Generator().manual_seed(3)
    shapes = [(batch * shape[0], *shape[1:]) if shape else shape for shape in example.inputs]
    found = []
    for i, shape in enumerate(shapes):
        spaced = torch.randperm(max(1, int(np.prod(shape))), generator=generator) + 0.5 + i / 7
        found.append((spaced / len(spaced) * 4 + example.least).reshape(shape))
    if example.classes:
        found[example.label] = torch.randint(0, example.classes, shapes[example.label], generator=generator).float()
    return found


@pytest.mark.parametrize(("name", "kind"), TYPES)
def test_a_type_has_its_settings_in_the_schema(name: str, kind: type[Layer]) -> None:
    for param in kind.param:
        assert param in schema.LayerParameter.DESCRIPTOR.fields_by_name


@pytest.mark.parametrize(("name", "kind"), TYPES)
def test_a_type_is_explained_in_one_sentence_first(name: str, kind: type[Layer]) -> None:
    summary = inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0]
    assert kind.__doc__ != f"{name}{inspect.signature(kind)}", "this is what dataclass writes"
    assert summary.endswith((".", ")."))
    assert summary[0].isupper()


@pytest.mark.parametrize(("name", "kind"), TYPES)
def test_a_forward_names_its_axes(name: str, kind: type[Layer]) -> None:
    if kind.forward is not Layer.forward:
        assert "->" in (kind.forward.__doc__ or "")


@pytest.mark.parametrize(("name", "kind"), TYPES)
def test_a_type_has_a_test_and_an_example(name: str, kind: type[Layer]) -> None:
    texts = [path.read_text() for path in TESTS.glob("test_*.py")]
    assert any(re.search(rf"\b{name}\b", text) for text in texts)
    assert kind.source or name in WITHOUT_EXAMPLE or any(example.type == name for example in EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_the_shape_is_that_of_what_forward_makes(example: Example) -> None:
    net = compiled(example)
    values = net.values(*inputs(example))
    assert {v.name: tuple(values[v.name].shape) for v in net.graph.values.values()} == {
        v.name: v.shape for v in net.graph.values.values()
    }


@pytest.mark.parametrize("example", WITH_INPUTS, ids=str)
def test_any_batch_goes_through(example: Example) -> None:
    if not example.follows:
        return
    net = compiled(example)
    larger = rewrite.with_batch(net.graph, 3 * net.graph.inputs[0].shape[0])
    values = net.values(*inputs(example, batch=3))
    assert {name: tuple(t.shape) for name, t in values.items()} == {v.name: v.shape for v in larger.values.values()}


@pytest.mark.parametrize("example", WITH_INPUTS, ids=str)
def test_the_gradient_is_the_slope(example: Example) -> None:
    net = compiled(example).double()
    if not example.slope or any(value.dtype is not ir.DType.F32 for value in net.graph.outputs):
        return  # rounded to halves, a slope is a staircase
    given = [x.double().requires_grad_() for x in inputs(example)]
    for x in given[example.label :] if example.classes else ():
        x.requires_grad_(False)
    weights = [net.tensor(name) for name, p in net.graph.parameters.items() if p.weight.learns]
    state = [net.tensor(name) for name, p in net.graph.parameters.items() if p.weight.volatile]

    def run(*tensors: Tensor) -> tuple[Tensor, ...]:
        for one in state:
            one.zero_()
        outputs = net(*tensors[: len(given)])
        return tuple(y for y in outputs.values() if y.requires_grad)

    if not run(*given):
        assert example.type in NOTHING_LEARNS, "nothing can learn through it"
        return
    torch.autograd.gradcheck(run, (*given, *weights))


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own, of Function
@pytest.mark.parametrize("example", FORMS.values(), ids=str)
def test_forward_compiles_in_one_piece(example: Example) -> None:
    net = compiled(example)
    node = net.graph.nodes[-1]
    weights = {local: net.tensor(name).detach() for local, name in node.weights.items()}
    given = inputs(example)[:1] if node.layer.each else inputs(example)

    def run(weights: dict[str, Tensor], *given: Tensor) -> Any:
        return node.layer.forward(*given, **weights)

    torch.compiler.reset()
    one_piece = torch.compile(run, backend="eager", fullgraph=True)
    # How many items a Filter keeps depends on their values; by itself torch ends a piece there.
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=node.layer.open_axis is not None):
        found = one_piece({n: t.clone() for n, t in weights.items()}, *given)
        torch.testing.assert_close(found, run(weights, *given))
        if example.follows:
            for x in given:
                torch._dynamo.maybe_mark_dynamic(x, 0)
            one_piece(weights, *given)


@pytest.mark.parametrize("example", WITH_ONNX, ids=str)
def test_onnx_runtime_computes_the_same(example: Example) -> None:
    net = compiled(example)
    graph = dataclasses.replace(net.graph, arrays=net.arrays())
    model = export.to_onnx(graph)
    session = onnxruntime.InferenceSession(onnx_ir.to_proto(model).SerializeToString())
    follows = export.follows_batch(graph)
    for batch in (1, 3) if follows else (1,):
        given = inputs(example, batch)
        expected = net(*given)
        fed = {value.name: x.numpy() for value, x in zip(graph.inputs, given, strict=True)}
        found = session.run(list(expected), fed)
        for (name, value), array in zip(expected.items(), found, strict=True):
            np.testing.assert_allclose(array, value.detach(), rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_the_cost_is_a_count(example: Example) -> None:
    node = example.graph().nodes[-1]
    pairs = zip(node.inputs, node.outputs, strict=True) if node.layer.each else [(*node.inputs, *node.outputs)]
    for values in pairs:
        cost = node.layer.flops(*(value.shape for value in values))
        assert isinstance(cost, int)
        assert cost >= 0
