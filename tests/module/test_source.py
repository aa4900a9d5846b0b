"""The PyTorch source of a net: it runs without nktc, computes the same, and looks like a person's."""

from __future__ import annotations

import ast
import dataclasses
import runpy
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from big_nets import googlenet
from layers.examples import EXAMPLES, Example
from test_contract import compiled, inputs
from test_goldens import Case, cases
from torch import Tensor, nn

from nktc import ir, module, reader
from nktc.errors import NktcError
from nktc.ir import Graph, Layer, Phase, Shape
from nktc.module import Net, Source

ROOT = Path(__file__).parents[2]
BY_ITSELF = (  # computed by operators of nktc's own
    *("DetectionOutput", "Proposal", "ROIPooling", "YoloDetectionOutput", "Yolov3DetectionOutput"),
)
TESTED = [example for example in EXAMPLES if example.phase is Phase.TEST and example.type not in BY_ITSELF]


class NoNktc:
    """A finder that refuses to import nktc."""

    def find_spec(self, name: str, *_: object) -> None:
        if name.partition(".")[0] == "nktc":
            raise ImportError("a file of its own imports nktc")


def loaded(source: Source) -> nn.Module:
    """The file's module with its weights."""
    pytest.importorskip("safetensors", reason="the file imports safetensors, which is not here")
    namespace: dict[str, Any] = {"__name__": "written"}
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in sys.modules if name.partition(".")[0] == "nktc"]:
            patch.delitem(sys.modules, name)
        patch.setattr(sys, "meta_path", [NoNktc(), *sys.meta_path])
        exec(compile(source.text, "net.py", "exec"), namespace)
    (kind,) = (v for v in namespace.values() if isinstance(v, type) and v.__module__ == "written")
    net: nn.Module = kind().eval()
    net.load_state_dict({name: torch.from_numpy(array) for name, array in source.arrays.items()})
    return net


def known(net: Net) -> Graph:
    return dataclasses.replace(net.graph, arrays=net.arrays())


@torch.no_grad()
def agree(written: nn.Module, net: Net, given: list[Tensor]) -> None:
    """The outputs are those of the compiled net, within 1e-6 of the largest."""
    values, found = net(*given), written(*given)
    for value, y in zip(net.graph.outputs, found if isinstance(found, tuple) else (found,), strict=True):
        expected = values[value.name]
        assert y.shape == expected.shape, value.name
        finite = expected[expected.isfinite()].abs()
        largest = max(1.0, finite.max().item()) if finite.numel() else 1.0
        torch.testing.assert_close(y, expected, rtol=1e-6, atol=1e-6 * largest, equal_nan=True)


def drawn(text: str) -> Net:
    """The net of a text, its weights drawn from their fillers, no bias left at 0 and no state at its start."""
    net = module.compile(reader.build(reader.parse_net(textwrap.dedent(text)), Phase.TEST), seed=1)
    generator = torch.Generator().manual_seed(2)
    for name, parameter in net.graph.parameters.items():
        tensor = net.tensor(name)
        with torch.no_grad():
            if not parameter.weight.learns:
                tensor.uniform_(0.5, 1.5, generator=generator)
            elif len({*tensor.flatten().tolist()}) == 1:
                tensor.uniform_(-0.5, 0.5, generator=generator)
    return net


def fed(net: Net, batch: int | None = None) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    shapes = [(batch, *v.shape[1:]) if batch else v.shape for v in net.graph.inputs]
    return [torch.randn(shape, generator=generator) for shape in shapes]


def forward_of(source: Source) -> str:
    """The body of forward, without its margin."""
    body = source.text.partition("    def forward(")[2].partition(":\n")[2].partition("\n\n\nif __name__")[0]
    return textwrap.dedent(body).strip()


def module_lines(source: Source) -> str:
    lines = source.text.partition("super().__init__()\n")[2].partition("\n\n    def forward")[0]
    return textwrap.dedent(lines).strip()


@pytest.mark.parametrize("example", TESTED, ids=str)
def test_the_source_of_a_layer_computes_what_the_layer_does(example: Example) -> None:
    net = compiled(example)
    if not net.graph.outputs:
        with pytest.raises(NktcError, match="computes nothing"):
            module.source(net.graph)
        return
    written = loaded(module.source(known(net)))
    agree(written, net, inputs(example))
    if example.follows and example.inputs:
        agree(written, net, inputs(example, batch=3))


@pytest.mark.parametrize("name", [name for name in cases() if name.startswith("net_")])
def test_the_source_of_a_whole_net_computes_what_the_net_does(name: str) -> None:
    case = Case(name)
    if case.graph.phase is not Phase.TEST:
        pytest.skip("the source is for inference")
    given = [torch.from_numpy(case.under("in/")[v.name.partition("@")[0]]) for v in case.graph.inputs]
    agree(loaded(module.source(known(case.net))), case.net, given)


def test_every_source_is_formatted_and_imports_torch_alone(tmp_path: Path) -> None:
    for i, example in enumerate(TESTED):
        graph = example.graph()
        if graph.outputs:
            (tmp_path / f"{example.type}{i}.py").write_text(module.source(graph).text)
    (tmp_path / "odd.py").write_text(module.source(drawn(ODD).graph, 'a "file"\n\\').text)
    (tmp_path / "googlenet.py").write_text(module.source(drawn(googlenet()).graph).text)
    for arguments in (["format", "--check", "--line-length", "100"], ["check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments, "--isolated", "--no-cache", str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    for path in tmp_path.glob("*.py"):
        imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import)]
        sources = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        rooms = {alias.name for node in imports for alias in node.names} | {node.module for node in sources}
        assert {name.partition(".")[0] for name in rooms} <= {"torch", "safetensors", "sys", "pathlib"}, path


LENET = (ROOT / "nets/lenet/train.prototxt").read_text()
DEPLOY = """
    name: "small"
    layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 12 dim: 12 } } }
    layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
            convolution_param { num_output: 8 kernel_size: 3 bias_term: false weight_filler { type: "xavier" } } }
    layer { name: "bn1" type: "BatchNorm" bottom: "conv1" top: "conv1" }
    layer { name: "scale1" type: "Scale" bottom: "conv1" top: "conv1" scale_param { bias_term: true } }
    layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
    layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param { kernel_size: 3 stride: 2 } }
    layer { name: "norm1" type: "LRN" bottom: "pool1" top: "norm1" lrn_param { local_size: 3 alpha: 0.001 } }
    layer { name: "drop" type: "Dropout" bottom: "norm1" top: "norm1" }
    layer { name: "ip" type: "InnerProduct" bottom: "norm1" top: "ip"
            inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
    layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }
"""


def test_a_usual_net_reads_as_a_person_would_write_it() -> None:
    net = drawn(DEPLOY)
    source = module.source(known(net))
    assert (
        module_lines(source)
        == textwrap.dedent("""
        self.conv1 = nn.Conv2d(3, 8, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.ip = nn.Linear(200, 5)
    """).strip()
    )
    assert (
        forward_of(source)
        == textwrap.dedent("""
        conv1 = F.relu(self.bn1(self.conv1(data)))
        pool1 = F.max_pool2d(conv1, 3, stride=2, ceil_mode=True)
        norm1 = F.local_response_norm(pool1, 3, alpha=0.001)
        ip = self.ip(norm1.flatten(1))
        prob = F.softmax(ip, dim=1)
        return prob
    """).strip()
    )
    agree(loaded(source), net, fed(net))
    agree(loaded(source), net, fed(net, batch=5))


def test_without_weights_only_the_text_is_there() -> None:
    source = module.source(drawn(DEPLOY).graph)
    assert source.arrays == {}
    assert "nn.Conv2d(3, 8, 3, bias=False)" in source.text


def test_batch_norms_sums_are_divided_out_and_a_count_of_0_is_no_division() -> None:
    net = drawn(DEPLOY)
    with torch.no_grad():
        net.tensor("bn1.count").fill_(4.0)
    arrays = module.source(known(net)).arrays
    np.testing.assert_array_equal(arrays["bn1.running_mean"], net.arrays()["bn1.mean"] / 4)
    np.testing.assert_array_equal(arrays["bn1.running_var"], net.arrays()["bn1.variance"] / 4)
    np.testing.assert_array_equal(arrays["bn1.weight"], net.arrays()["scale1.weight"])
    with torch.no_grad():
        net.tensor("bn1.count").zero_()
    assert not module.source(known(net)).arrays["bn1.running_var"].any()
    agree(loaded(module.source(known(net))), net, fed(net))


def test_a_scale_is_folded_only_where_nothing_else_reads_between() -> None:
    net = drawn("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "bn" type: "BatchNorm" bottom: "x" top: "bn" }
        layer { name: "scale" type: "Scale" bottom: "bn" top: "scale" }
        layer { name: "sum" type: "Eltwise" bottom: "bn" bottom: "scale" top: "sum" }
    """)
    source = module.source(known(net))
    assert "nn.BatchNorm1d(3, affine=False)" in source.text
    agree(loaded(source), net, fed(net))


SHARED = """
    layer {{ name: "a" type: "Input" top: "a" input_param {{ shape {{ dim: 2 dim: 4 }} }} }}
    layer {{ name: "b" type: "Input" top: "b" input_param {{ shape {{ dim: 2 dim: 4 }} }} }}
    layer {{ name: "left" type: "InnerProduct" bottom: "a" top: "left" param {{ name: "w" }} {bias}
            inner_product_param {{ num_output: 4 weight_filler {{ type: "xavier" }} }} }}
    layer {{ name: "right" type: "InnerProduct" bottom: "b" top: "right" param {{ name: "w" }} {bias}
            inner_product_param {{ num_output: 4 weight_filler {{ type: "xavier" }} {more} }} }}
"""


def test_layers_that_share_all_their_weights_are_one_module() -> None:
    net = drawn(SHARED.format(bias='param { name: "b" }', more=""))
    source = module.source(known(net))
    assert module_lines(source) == "self.left = nn.Linear(4, 4)"
    assert forward_of(source) == "left = self.left(a)\nright = self.left(b)\nreturn left, right"
    agree(loaded(source), net, fed(net))


@pytest.mark.parametrize("more", ["", "transpose: true"])
def test_a_weight_that_is_shared_alone_is_one_parameter(more: str) -> None:
    net = drawn(SHARED.format(bias="", more=more))
    source = module.source(known(net))
    assert source.text.count("nn.Parameter(torch.randn(4, 4))") == 1
    assert sorted(source.arrays) == ["left_bias", "left_weight", "right_bias"]
    agree(loaded(source), net, fed(net))


def test_a_weight_that_is_shared_in_another_shape_is_one_parameter() -> None:
    net = drawn("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 6 } } }
        layer { name: "y" type: "Input" top: "y" input_param { shape { dim: 2 dim: 4 } } }
        layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" param { name: "w" }
                inner_product_param { num_output: 4 bias_term: false weight_filler { type: "xavier" } } }
        layer { name: "b" type: "InnerProduct" bottom: "y" top: "b" param { name: "w" share_mode: PERMISSIVE }
                inner_product_param { num_output: 6 bias_term: false } }
    """)
    source = module.source(known(net))
    assert sorted(source.arrays) == ["a_weight"]
    agree(loaded(source), net, fed(net))


LONG = "a_name_that_is_longer_than_any_line_of_a_program_has_room_for_"
ODD = f"""
    name: "odd 'names' \\\\ of things"
    layer {{ name: "class" type: "Input" top: "class" top: "2nd" top: "torch" top: "a b" top: "a-b"
            input_param {{ shape {{ dim: 2 dim: 4 dim: 6 dim: 6 }} }} }}
    layer {{ name: "train" type: "Convolution" bottom: "class" top: "F"
            convolution_param {{ num_output: 4 kernel_size: 3 pad: 1 weight_filler {{ type: "xavier" }} }} }}
    layer {{ name: "self" type: "Sigmoid" bottom: "F" top: "F" }}
    layer {{ name: "l" type: "Eltwise" bottom: "2nd" bottom: "F" top: "lambda" }}
    layer {{ name: "O" type: "Eltwise" bottom: "torch" bottom: "a b" bottom: "a-b" top: "O" }}
    layer {{ name: "fork" type: "TanH" bottom: "O" top: "O" }}
    layer {{ name: "{LONG}" type: "Convolution" bottom: "O" top: "{LONG}"
            convolution_param {{ num_output: 4 kernel_size: 3 pad: 1 weight_filler {{ type: "xavier" }} }} }}
    layer {{ name: "{LONG}/bn" type: "BatchNorm" bottom: "{LONG}" top: "{LONG}" }}
    layer {{ name: "{LONG}/relu" type: "ReLU" bottom: "{LONG}" top: "{LONG}" }}
    layer {{ name: "{LONG}/sum" type: "Eltwise" bottom: "{LONG}" bottom: "O" top: "{LONG}/sum"
            eltwise_param {{ coeff: 1 coeff: -1 }} }}
    layer {{ name: "norm" type: "LRN" bottom: "{LONG}/sum" top: "lrn"
            lrn_param {{ norm_region: WITHIN_CHANNEL local_size: 3 }} }}
    layer {{ name: "cat" type: "Concat" {" ".join(f'bottom: "{name}"' for name in ["lambda", "lrn"] * 15)} top: "cat" }}
    layer {{ name: "net" type: "Softmax" bottom: "cat" top: "日本" }}
"""


def test_names_become_identifiers_of_their_own() -> None:
    net = drawn(ODD)
    source = module.source(known(net))
    assert "def forward(self, class_2, _2nd, torch_2, a_b, a_b_2):" in source.text
    assert "return 日本" in source.text
    agree(loaded(source), net, fed(net))


def test_versions_of_a_blob_are_told_apart() -> None:
    net = drawn("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 } } }
        layer { name: "y" type: "Input" top: "y" input_param { shape { dim: 2 dim: 4 } } }
        layer { name: "first" type: "Sigmoid" bottom: "x" top: "x" }
        layer { name: "second" type: "TanH" bottom: "y" top: "y" }
        layer { name: "sum" type: "Eltwise" bottom: "x" bottom: "y" top: "z" }
        layer { name: "third" type: "Power" bottom: "z" top: "z" power_param { power: 2 } }
        layer { name: "fourth" type: "ReLU" bottom: "z" top: "z" }
        layer { name: "again" type: "ELU" bottom: "y" top: "again" }
    """)
    source = module.source(net.graph)
    assert (
        forward_of(source)
        == textwrap.dedent("""
        second = y.tanh()
        z = F.relu((x.sigmoid() + second) ** 2.0)
        again = F.elu(second)
        return z, again
    """).strip()
    )
    agree(loaded(source), net, fed(net))


def test_a_net_written_for_its_batch_keeps_it() -> None:
    net = drawn("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 4 dim: 6 } } }
        layer { name: "y" type: "Reshape" bottom: "x" top: "y" reshape_param { shape { dim: 8 dim: 3 } } }
    """)
    assert forward_of(module.source(net.graph)) == "y = x.reshape(8, 3)\nreturn y"


def test_what_nobody_reads_is_not_computed() -> None:
    net = drawn("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 } } }
        layer { name: "unread" type: "TanH" bottom: "x" top: "unread" }
        layer { name: "y" type: "ReLU" bottom: "x" top: "y" }
        layer { name: "hush" type: "Silence" bottom: "unread" }
    """)
    assert forward_of(module.source(net.graph)) == "y = F.relu(x)\nreturn y"


def test_a_part_that_nobody_reads_has_no_name() -> None:
    net = drawn("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 } } }
        layer { name: "cut" type: "Slice" bottom: "x" top: "a" top: "b" }
        layer { name: "hush" type: "Silence" bottom: "a" }
        layer { name: "c" type: "ReLU" bottom: "b" top: "c" }
    """)
    assert forward_of(module.source(net.graph)).startswith("_, b = x.tensor_split(2, 1)\n")
    agree(loaded(module.source(net.graph)), net, fed(net))


def test_googlenet_computes_the_same_and_has_a_stage_a_module() -> None:
    net = drawn(googlenet(size=64, classes=10))
    source = module.source(known(net))
    written = loaded(source)
    agree(written, net, fed(net))
    assert "\n\n        # inception_4e: 4x4\n" in source.text
    assert sum(p.numel() for p in written.parameters()) == sum(a.size for a in net.arrays().values())


def test_the_file_runs_as_a_program_with_its_weights_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    safetensors = pytest.importorskip("safetensors.torch", reason="the file imports safetensors, which is not here")
    net = drawn(DEPLOY)
    path = tmp_path / "small.py"

    def run() -> str:
        monkeypatch.setattr(sys, "argv", [str(path)])
        runpy.run_path(str(path), run_name="__main__")
        return capsys.readouterr().out

    assert module.source(net.graph).write(path) == [path]
    assert run() == f"{path.with_suffix('.safetensors')} is not there: the weights are untrained\nprob (2, 5)\n"
    assert module.source(known(net)).write(path) == [path, path.with_suffix(".safetensors")]
    assert run() == "prob (2, 5)\n"
    safetensors.save_file({"data": torch.zeros(7, 3, 12, 12)}, tmp_path / "given.safetensors")
    line = [sys.executable, "-W", "error", str(path), str(tmp_path / "given.safetensors")]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "prob (7, 5)\n"), done.stderr


@pytest.fixture
def choosy() -> Iterator[None]:
    """A layer type that looks at what it is given."""

    class Choosy(Layer):
        def shape(self, x: Shape) -> Shape:
            return x

        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    yield
    assert isinstance(ir.catalogue(), dict)
    ir.catalogue().pop("Choosy")  # type: ignore[attr-defined]


def test_steps_of_several_lines_become_a_function_with_the_authors_names() -> None:
    net = drawn("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } } }
        layer { name: "a" type: "LRN" bottom: "x" top: "a" lrn_param { norm_region: WITHIN_CHANNEL local_size: 3 } }
        layer { name: "b" type: "LRN" bottom: "a" top: "b" lrn_param { norm_region: WITHIN_CHANNEL local_size: 3 } }
    """)
    source = module.source(net.graph)
    assert (
        textwrap.dedent("""
        def lrn(x):
            squares = x.square()
            mean = F.avg_pool2d(squares, 3, stride=1, padding=1)
            return x * (mean + 1.0) ** -0.75


        class Net(nn.Module):
    """)
        in source.text
    )
    assert forward_of(source) == "a = lrn(x)\nb = lrn(a)\nreturn b"
    agree(loaded(source), net, fed(net))


@pytest.mark.parametrize("name", BY_ITSELF)
def test_a_layer_that_nktc_computes_by_itself_is_refused_in_its_place(name: str) -> None:
    graph = next(example.graph() for example in EXAMPLES if example.type == name)
    with pytest.raises(NktcError) as refusal:
        module.source(graph)
    told = f'{name} "it": what it computes is not written with operators of torch alone'
    assert refusal.value.message == told
    assert refusal.value.at is not None


@pytest.mark.usefixtures("choosy")
def test_a_layer_that_looks_at_the_values_is_refused_in_its_place() -> None:
    with pytest.raises(NktcError) as refusal:
        module.source(drawn(DEPLOY.replace('type: "Softmax"', 'type: "Choosy"')).graph)
    at = refusal.value.at
    assert refusal.value.message == 'Choosy "prob": what it computes depends on the values it is given (__bool__)'
    assert at is not None
    assert at.source.line(at.line)[at.column - 1 :].startswith('type: "Choosy"')
