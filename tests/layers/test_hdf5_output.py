"""HDF5Output: what lies in the file after some forwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from nktc import data, ir, models, module, reader, train, weights
from nktc.errors import NktcError
from nktc.ir import Graph, Phase
from nktc.layers import HDF5Output

NET = """layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "t" type: "Input" top: "t" input_param { shape { dim: 2 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param { num_output: 4 } }
layer { name: "keep" type: "HDF5Output" bottom: "ip" bottom: "t" hdf5_output_param { file_name: "FILE" } }
layer { name: "l" type: "SoftmaxWithLoss" bottom: "ip" bottom: "t" top: "l" }
"""


def graph(file: Path) -> Graph:
    return reader.build(reader.parse_net(NET.replace("FILE", str(file))), Phase.TRAIN)


def held(file: Path) -> tuple[np.ndarray, np.ndarray]:
    with h5py.File(file) as found:
        assert set(found) == {"data", "label"}
        return found["data"][:], found["label"][:]


def test_it_writes_what_caffe_wrote(shared: Path, tmp_path: Path) -> None:
    case = shared / "goldens/hdf5output"
    with np.load(case / "golden.npz") as golden:
        given = [torch.from_numpy(golden[name]) for name in ("in/data", "in/label")]
    HDF5Output(str(tmp_path / "o.h5")).forward(*given, torch.zeros(1))
    for found, expected in zip(held(tmp_path / "o.h5"), held(case / "out.h5"), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own, of Function
@pytest.mark.parametrize("backend", ["", "eager", "aot_eager"])
def test_every_forward_adds_its_rows_below_also_compiled_and_of_another_batch(tmp_path: Path, backend: str) -> None:
    file = tmp_path / "o.h5"
    file.write_text("what was there before is no HDF5 file")
    net = module.compile(graph(file), seed=1)
    torch.compiler.reset()
    run = torch.compile(net, backend=backend, fullgraph=True) if backend else net
    rows, labels = [], []
    for batch in (2, 2, 3):
        x, t = torch.randn(batch, 3), torch.randint(0, 4, (batch,)).float()
        with torch.set_grad_enabled(batch == 2):
            loss = run(x, t)["l"]
        if batch == 2:
            loss.backward()
        rows.append(net.values(x, t)["ip"].detach())  # writes them a second time
        labels.append(t)
    features, label = held(file)
    assert features.shape == (14, 4, 1, 1)
    assert label.shape == (14, 1, 1, 1)
    twice = [again for found in rows for again in (found, found)]
    np.testing.assert_allclose(features[..., 0, 0], torch.cat(twice), rtol=1e-6)
    np.testing.assert_array_equal(label.ravel(), torch.cat([again for t in labels for again in (t, t)]))
    assert net.tensor("ip.weight").grad is not None


def test_a_new_module_makes_the_file_anew(tmp_path: Path) -> None:
    file = tmp_path / "o.h5"
    for _ in range(2):
        module.compile(graph(file), seed=1)(torch.randn(2, 3), torch.zeros(2))
    assert len(held(file)[0]) == 2


def test_a_weight_file_knows_nothing_of_it(tmp_path: Path) -> None:
    built = graph(tmp_path / "o.h5")
    ir.verify(built)
    weights.save(tmp_path / "w.caffemodel", built, module.compile(built, seed=1).arrays())
    assert set(weights.read(tmp_path / "w.caffemodel")) == {"ip"}
    _, match = weights.attach(built, tmp_path / "w.caffemodel")
    assert (match.taken, match.missing) == (("ip",), ())


def test_a_file_that_cannot_be_written_is_an_error_of_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "nowhere"
    with pytest.raises(NktcError) as error:
        module.compile(graph(folder / "o.h5"), seed=1)(torch.randn(2, 3), torch.zeros(2))
    assert error.value.message == f"HDF5Output cannot write {folder}/o.h5: No such file or directory"
    with pytest.raises(NktcError, match=r"^error: HDF5Output cannot write [^\n]*: Is a directory$"):
        module.compile(graph(tmp_path), seed=1)(torch.randn(2, 3), torch.zeros(2))


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        (((2, 3), (3,)), "its inputs 2x3 and 3 differ in axis 0, the rows"),
        (((2, 1, 1, 1, 3), (2,)), "its input 2x1x1x1x3 has 5 axes, the file takes up to 4"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    refusal: Callable[..., tuple[str, str]], shapes: tuple[tuple[int, ...], ...], said: str
) -> None:
    found = refusal("HDF5Output", 'hdf5_output_param { file_name: "o.h5" }', *shapes, tops=0)
    assert found == (said, 'bottom: "x1"')


def test_it_needs_a_file_name(refusal: Callable[..., tuple[str, str]]) -> None:
    assert refusal("HDF5Output", "", (2, 3), (2,), tops=0)[0] == "has no file_name"


def test_a_net_that_ends_in_it_writes_what_it_makes_of_its_data(tmp_path: Path) -> None:
    net = tmp_path / "net.prototxt"
    out = f'hdf5_output_param {{ file_name: "{tmp_path}/o.h5" }}'
    net.write_text(f"""
        layer {{ name: "d" type: "Dataset" top: "x" top: "t" dataset_param {{ name: "digits" batch_size: 8 }} }}
        layer {{ name: "ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param {{ num_output: 4 }} }}
        layer {{ name: "o" type: "HDF5Output" bottom: "y" bottom: "t" {out} }}
    """)
    file = reader.read_net(net)
    built = reader.build(file, Phase.TEST, feeds=models.feeds(file))
    weights.save(tmp_path / "w.caffemodel", built, module.compile(built, seed=1).arrays())
    places = data.Places((), tmp_path)
    assert list(train.score(net, [str(tmp_path / "w.caffemodel")], 3, "cpu", places)) == ["Loss: 0"]
    assert held(tmp_path / "o.h5")[0].shape == (24, 4, 1, 1)
