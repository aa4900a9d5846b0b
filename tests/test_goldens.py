"""What real Caffe computed, against what we compute: every layer and net case of ../shared/goldens."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import nktc.layers  # noqa: F401
from nktc import ir, module, reader
from nktc.errors import NktcError
from nktc.ir import Graph, Phase
from nktc.module import Net

GOLDENS = Path(__file__).parents[2] / "shared" / "goldens"
OTHERS = ("annotated_", "data_", "map_", "plateau_", "snapshot_", "solver_", "ssdnet_", "trajectory")
AMONG_OTHERS = ("ssdnet_deploy",)
ERRORS = sorted((GOLDENS / "errors").glob("*.prototxt"))

pytestmark = pytest.mark.skipif(not GOLDENS.is_dir(), reason="needs ../shared/goldens, which is not here")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a net writes goes under the working directory."""
    monkeypatch.chdir(tmp_path)


@cache
def known(path: Path) -> bool:
    """Whether the schema has every field and the catalogue every layer type of a net."""
    try:
        layers = reader.read_net(path).message.layer
    except NktcError:
        return False
    return all(layer.type in ir.catalogue() for layer in layers)


def cases() -> list[str]:
    folders = (path.parent for path in sorted(GOLDENS.glob("*/net.prototxt")))
    return [
        folder.name
        for folder in folders
        if (folder / "golden.npz").exists()
        and (folder.name in AMONG_OTHERS or not folder.name.startswith(OTHERS))
        and known(folder / "net.prototxt")
    ]


class Case:
    """One folder: the net as we compile it, and what Caffe saw and made."""

    def __init__(self, name: str) -> None:
        folder = GOLDENS / name
        with np.load(folder / "golden.npz") as arrays:
            self.arrays = {key: arrays[key] for key in arrays.files}
        self.meta = json.loads(str(self.arrays.pop("meta")))
        net = reader.read_net(folder / "net.prototxt")
        self.graph: Graph = reader.build(
            net, Phase[self.meta["phase"]], level=self.meta["level"], stages=self.meta["stages"]
        )
        self.net: Net = module.compile(self.graph, seed=1)
        with torch.no_grad():
            for key, array in self.under("param/").items():
                held = self.held(key)
                held.copy_(torch.from_numpy(array).reshape(held.shape))

    def under(self, prefix: str) -> dict[str, np.ndarray]:
        return {key.removeprefix(prefix): a for key, a in self.arrays.items() if key.startswith(prefix)}

    def held(self, key: str) -> Tensor:
        """The tensor of Caffe's LAYER/INDEX."""
        layer, index = key.rsplit("/", 1)
        return self.net.tensor(list(self.graph.node(layer).weights.values())[int(index)])

    def blob(self, name: str) -> str:
        """The blob behind one of the copies that Caffe's own splits make."""
        for layer, kind in self.meta["layers"]:
            if kind == "Split" and name in self.meta["tops"][layer] and name not in self.graph.values:
                return self.meta["bottoms"][layer][0]
        return name

    def first(self, blob: str) -> str:
        """The value that a blob is before any layer works on it in place."""
        return next(name for name in self.graph.values if name.partition("@")[0] == blob)

    def last(self, blob: str) -> str:
        """The value that a blob is when the net is done."""
        return next(name for name in reversed(self.graph.values) if name.partition("@")[0] == self.blob(blob))

    def run(self, fed: dict[str, np.ndarray]) -> dict[str, Tensor]:
        # Without force_backward Caffe's Scale leaves working values where the gradient of an input would be.
        inputs = [
            torch.from_numpy(fed[v.name.partition("@")[0]]).requires_grad_(self.graph.force_backward)
            for v in self.graph.inputs
        ]
        values = self.net.values(*inputs)
        for value in values.values():
            if value.requires_grad:
                value.retain_grad()
        return values


def close(found: Any, expected: np.ndarray, tolerance: float, what: str) -> None:
    """Within `tolerance` of the largest value, or of 0.001 where all are smaller: a sum that is 0 but for rounding,
    such as the gradient of a bias before a BatchNorm, has no digits. Caffe's NaN and lowest float exactly."""
    found = np.asarray(found.detach() if isinstance(found, Tensor) else found, np.float32)
    assert found.shape == expected.shape, f"{what}: {found.shape}, not {expected.shape}"
    normal = np.isfinite(expected) & (np.abs(expected) < 1e30)
    largest = float(np.abs(expected[normal]).max(initial=1e-3))
    np.testing.assert_array_equal(found[~normal], expected[~normal], what)
    np.testing.assert_allclose(found[normal], expected[normal], rtol=0, atol=tolerance * largest, err_msg=what)


@pytest.mark.parametrize("name", cases())
def test_values_and_gradients_are_caffes(name: str) -> None:
    case = Case(name)
    for step in range(case.meta["steps"]):
        fed = {**case.under("in/"), **(case.under(f"stepin{step}/") if step else {})}
        case.net.zero_grad()
        values = case.run(fed)
        for blob, array in case.under(f"step{step}/").items():
            close(values[case.last(blob)], array, 1e-5, f"step {step}, {blob}")
    if name.startswith("dropout_train"):
        blobs, ratio = case.under("blob/"), case.graph.nodes[-1].layer.ratio  # type: ignore[attr-defined]
        given, made = blobs[case.graph.inputs[0].name], values[case.graph.outputs[0].name].detach().numpy()
        assert np.all((made == 0) | np.isclose(made, given / (1 - ratio)))
        return
    for blob, array in case.under("blob/").items():
        close(values[case.last(blob)], array, 1e-5, blob)
    for key, array in case.under("param_after/").items():
        close(case.held(key), array, 1e-5, f"{key} after")
    if not case.meta["backward"]:
        return
    objective = case.net.loss(values)
    for blob, array in case.under("topdiff/").items():
        objective = objective + (values[case.last(blob)] * torch.from_numpy(array)).sum()
    if objective.requires_grad:
        objective.backward()
    for blob, array in case.under("diff/").items():
        if case.blob(blob) == blob:
            value = values[case.first(blob)]
            if value.requires_grad:
                gradient = torch.zeros_like(value) if value.grad is None else value.grad
                close(gradient, array, 1e-4, f"gradient of {blob}")
    for key, array in case.under("pdiff/").items():
        held = case.held(key)
        gradient = torch.zeros_like(held) if held.grad is None else held.grad
        close(gradient.reshape(array.shape), array, 1e-4, f"gradient of {key}")


@pytest.mark.parametrize("path", sorted(GOLDENS.glob("detout_*/out")), ids=lambda path: path.parent.name)
def test_the_files_with_boxes_are_caffes(path: Path) -> None:
    case = Case(path.parent.name)
    case.run(case.under("in/"))
    made = {one.name: one.read_text() for one in Path("out").iterdir()}
    assert made == {one.name: one.read_text() for one in path.iterdir()}


@pytest.mark.parametrize("path", ERRORS, ids=lambda path: path.stem)
def test_what_caffe_aborts_at_is_refused_with_its_place(path: Path) -> None:
    with pytest.raises(NktcError) as refusal:
        reader.build(reader.read_net(path), Phase.TEST)
    errors = getattr(refusal.value, "errors", (refusal.value,))
    assert all(error.at is not None and error.at.source.name == str(path) for error in errors), refusal.value
    assert all(line.isascii() for line in str(refusal.value).splitlines())


@pytest.mark.parametrize(
    ("layer", "field"),
    [
        ('type: "Convolution" top: "x" convolution_param { num_output: 3 kernel_size: 1 }', 'top: "x"'),
        ('type: "Dropout" top: "y" dropout_param { dropout_ratio: 1 }', "dropout_ratio: 1"),
    ],
)
def test_what_caffe_wrongly_accepts_is_refused(layer: str, field: str) -> None:
    text = f"""layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 2 dim: 3 dim: 4 dim: 4 }} }} }}
layer {{ name: "l" bottom: "x" {layer} }}"""
    with pytest.raises(NktcError) as refusal:
        reader.build(reader.parse_net(text), Phase.TRAIN)
    assert refusal.value.at is not None
    assert refusal.value.at.line == 2
    assert refusal.value.at.column == text.splitlines()[1].index(field) + 1
