"""The names of weights in files of torch, against what torch itself computes with them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from nktc import module, weights
from nktc.errors import NktcError
from nktc.ir import Graph

NET = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 6 dim: 6 } } }
layer { name: "conv1/3x3.a" type: "Convolution" bottom: "x" top: "c"
        convolution_param { num_output: 4 kernel_size: 3 bias_term: false } }
layer { name: "bn1" type: "BatchNorm" bottom: "c" top: "c" }
layer { name: "scale1" type: "Scale" bottom: "c" top: "c" scale_param { bias_term: true } }
layer { name: "slope" type: "PReLU" bottom: "c" top: "c" }
layer { name: "fc" type: "InnerProduct" bottom: "c" top: "fc" inner_product_param { num_output: 5 transpose: true } }
"""


class Theirs(nn.Module):
    """The net as a person would write it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1_3x3_a = nn.Conv2d(3, 4, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.slope = nn.PReLU(4)
        self.fc = nn.Linear(64, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.fc(self.slope(self.bn1(self.conv1_3x3_a(x))).flatten(1))
        return y


def trained() -> Theirs:
    torch.manual_seed(0)
    theirs = Theirs().train()
    for _ in range(3):
        theirs(torch.randn(8, 3, 6, 6) * 2 + 1)
    with torch.no_grad():
        theirs.bn1.weight.uniform_(0.5, 2)
        theirs.bn1.bias.uniform_(-1, 1)
        theirs.slope.weight.uniform_(0, 1)
    return theirs.eval()


def random_arrays(graph: Graph) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {n: generator.uniform(0.5, 2, p.weight.shape).astype(np.float32) for n, p in graph.parameters.items()}


@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
def test_a_module_that_a_person_wrote_gives_its_weights(ending: str, read, tmp_path: Path) -> None:
    theirs, path = trained(), tmp_path / f"w{ending}"
    save_file(theirs.state_dict(), path) if ending == ".safetensors" else torch.save(theirs.state_dict(), path)
    graph, match = weights.attach(read(NET), path)
    assert match.taken == ("conv1/3x3.a", "bn1", "scale1", "slope", "fc")
    assert (match.missing, match.ignored) == ((), ())
    x = torch.randn(2, 3, 6, 6)
    with torch.inference_mode():
        ours = module.compile(graph)(x)["fc"]
        torch.testing.assert_close(ours, theirs(x), rtol=1e-5, atol=1e-5)


def test_the_state_dict_of_our_module_comes_back(read, tmp_path: Path) -> None:
    graph = read(NET)
    known = dataclasses.replace(graph, arrays=random_arrays(graph))
    torch.save(module.compile(known).state_dict(), tmp_path / "w.pt")
    found, _ = weights.attach(graph, tmp_path / "w.pt")
    assert found.arrays.keys() == known.arrays.keys()
    for name, values in known.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], values)


def test_what_is_written_beside_a_torch_file_comes_back(read, tmp_path: Path) -> None:
    more = """
        layer { name: "1.bias" type: "Bias" bottom: "fc" top: "b" }
        layer { name: "lone" type: "BatchNorm" bottom: "b" top: "l" }
        layer { name: "p" type: "PReLU" bottom: "l" top: "p" prelu_param { channel_shared: true } }
        layer { name: "add" type: "Bias" bottom: "p" top: "a" }
    """
    graph = read(NET.replace("transpose: true", "").replace("bias_term: true", "") + more)
    known = dataclasses.replace(graph, arrays=random_arrays(graph))
    module.source(known).write(tmp_path / "net.py")
    found, match = weights.attach(graph, tmp_path / "net.safetensors")
    assert (match.missing, match.ignored) == ((), ())
    x = torch.randn(2, 3, 6, 6)
    with torch.inference_mode():
        expected, made = (module.compile(one)(x) for one in (known, found))
    torch.testing.assert_close(made, expected)


def refused(read, tmp_path: Path, net: str = NET, **changes: torch.Tensor | None) -> str:
    """What is said of the trained module's weights with some of them changed, or taken away."""
    tensors = {**trained().state_dict(), **{name.replace("__", "."): tensor for name, tensor in changes.items()}}
    torch.save({name: tensor for name, tensor in tensors.items() if tensor is not None}, tmp_path / "w")
    with pytest.raises(NktcError) as caught:
        weights.attach(read(net), tmp_path / "w")
    assert caught.value.at
    return caught.value.message


def test_a_layer_that_is_not_all_there_or_has_more_is_refused(read, tmp_path: Path) -> None:
    lacking = refused(read, tmp_path, fc__bias=None)
    assert lacking == 'of layer "fc" there is fc.weight, but no bias'
    more = refused(read, tmp_path, conv1_3x3_a__bias=torch.ones(4))
    assert more == 'layer "conv1/3x3.a" has no weight for "conv1_3x3_a.bias"'
    without = NET.replace(
        'layer { name: "scale1" type: "Scale" bottom: "c" top: "c" scale_param { bias_term: true } }', ""
    )
    assert refused(read, tmp_path, without) == 'layer "bn1" has no weight for "bn1.weight"'
    shape = refused(read, tmp_path, fc__weight=torch.ones(5, 63))
    assert shape == f'weight 0 of layer "fc" is 64x5, in {tmp_path}/w it is 5x63'


def test_a_norms_weight_and_bias_that_change_nothing_need_no_layer(read, tmp_path: Path) -> None:
    tensors = {"bn.running_mean": torch.ones(3), "bn.running_var": torch.full((3,), 4.0)}
    torch.save({**tensors, "bn.weight": torch.ones(3), "bn.bias": torch.zeros(3)}, tmp_path / "w")
    graph, match = weights.attach(
        read("""
            layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
            layer { name: "bn" type: "BatchNorm" bottom: "x" top: "y" }
        """),
        tmp_path / "w",
    )
    assert (match.taken, match.ignored) == (("bn",), ())
    y = module.compile(graph)(torch.full((2, 3), 5.0))["y"]
    torch.testing.assert_close(y, torch.full((2, 3), 2.0))


def test_a_square_matrix_of_a_layer_with_transpose_is_not_guessed(read, tmp_path: Path) -> None:
    torch.save({"a.weight": torch.ones(4, 4), "a.bias": torch.ones(4)}, tmp_path / "w")
    graph = read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 } } }
        layer { name: "a" type: "InnerProduct" bottom: "x" top: "a"
                inner_product_param { num_output: 4 transpose: true } }
    """)
    with pytest.raises(NktcError, match=r'"a\.weight" is 4x4, and layer "a" has transpose: which axis is which'):
        weights.attach(graph, tmp_path / "w")


def test_weights_of_no_layer_are_passed_over_and_told(read, tmp_path: Path) -> None:
    theirs = trained().state_dict() | {"head.weight": torch.ones(7), "head.num_batches_tracked": torch.tensor(3)}
    torch.save(theirs, tmp_path / "w")
    _, match = weights.attach(read(NET), tmp_path / "w")
    assert match.ignored == ("head.weight",)
    torch.save({"other.weight": torch.ones(7)}, tmp_path / "w")
    with pytest.raises(NktcError, match=r"has weights for no layer of the net; it has other\.weight"):
        weights.attach(read(NET), tmp_path / "w")
