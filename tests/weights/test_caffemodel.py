"""Weight files: real Caffe's, ours, old ones and broken ones."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from nktc import data, module, passes, reader, weights
from nktc.errors import NktcError
from nktc.ir import Graph, Phase
from nktc.schema import BlobProto, NetParameter

ROOT = Path(__file__).parents[2]
MODELS = {
    "lenet_mnist": "lenet_iter_10000",
    "mtcnn_det1": "det1",
    "mtcnn_det2": "det2",
    "ultraface_slim320": "slim-320",
    "wechat_qrcode_detect": "detect",
}
NET = """
name: "two"
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 } } }
layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" inner_product_param { num_output: 3 } }
layer { name: "b" type: "InnerProduct" bottom: "a" top: "b" inner_product_param { num_output: 2 bias_term: false } }
"""


def facts(folder: Path) -> dict:
    with np.load(folder / "golden.npz") as golden:
        return json.loads(str(golden["meta"]))


def random_arrays(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {n: generator.standard_normal(p.weight.shape, np.float32) for n, p in graph.parameters.items()}


def write(path: Path, **layers: list) -> Path:
    """A .caffemodel of named blobs: an array, or a BlobProto as it is."""
    net = NetParameter()
    for name, blobs in layers.items():
        layer = net.layer.add(name=name)
        layer.blobs.extend(b if isinstance(b, BlobProto) else weights.blob(np.asarray(b, np.float32)) for b in blobs)
    path.write_bytes(net.SerializeToString())
    return path


# What Caffe wrote.


@pytest.mark.parametrize(("model", "name"), MODELS.items())
def test_caffes_trained_models_hold_what_caffe_says_they_hold(model: str, name: str, shared: Path) -> None:
    folder = shared / "models" / model
    found = {k: [list(b.shape) for b in blobs] for k, blobs in weights.read(folder / f"{name}.caffemodel").items()}
    expected = facts(folder)["params"]
    assert {layer: shapes for layer, shapes in found.items() if layer in expected} == expected
    assert set(found) - set(expected) == ({"conv5-3"} if model == "mtcnn_det2" else set())  # trained, not deployed


@pytest.mark.parametrize(("form", "ending"), [("binaryproto", ""), ("hdf5", ".h5")])
def test_caffes_snapshot_is_read_to_the_bit(form: str, ending: str, shared: Path) -> None:
    folder = shared / "goldens" / f"snapshot_sgd_{form}"
    found = weights.read(folder / f"snap_iter_8.caffemodel{ending}")
    assert list(found) == ["ip1", "ip2"]
    with np.load(folder / "golden.npz") as golden:
        for layer, blobs in found.items():
            for index, blob in enumerate(blobs):
                np.testing.assert_array_equal(blob, golden[f"params/{layer}/{index}"][8])


@pytest.mark.parametrize("run", ["real", "rand"])
def test_lenet_with_caffes_weights_answers_as_caffe_does(run: str, shared: Path) -> None:
    net = reader.read_net(ROOT / "nets/lenet/train.prototxt")
    graph = reader.build(net, Phase.TEST, feeds=lambda layer: data.describe(layer, net.folder))
    folder = shared / "models/lenet_mnist"
    graph, match = weights.attach(passes.deploy(graph), folder / "lenet_iter_10000.caffemodel")
    assert match == weights.Match(("conv1", "conv2", "ip1", "ip2"), (), ())
    with np.load(folder / "golden.npz") as golden, torch.no_grad():
        values = module.compile(graph).values(torch.from_numpy(golden[f"{run}/in/data"]))
        np.testing.assert_allclose(values["prob"], golden[f"{run}/out/loss"], atol=1e-4)
    for blob, known in facts(folder)["runs"][run]["blobs"].items():
        value = values["prob" if blob == "loss" else blob].double()
        assert list(value.shape) == known["shape"]
        assert value.norm().item() == pytest.approx(known["l2"], rel=1e-4)
        assert value.max().item() == pytest.approx(known["max"], rel=1e-4)


# What we write.


@pytest.mark.parametrize("ending", ["", ".h5"])
def test_what_is_saved_is_read_again(ending: str, read: Callable[..., Graph], tmp_path: Path) -> None:
    graph = read(NET)
    arrays = random_arrays(graph)
    path = tmp_path / f"w.caffemodel{ending}"
    weights.save(path, graph, arrays)
    found, match = weights.attach(graph, path)
    assert match == weights.Match(("a", "b"), (), ())
    assert found.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", ["", ".h5"])
def test_a_weight_that_is_a_single_number_comes_back_into_the_module(ending: str, read, tmp_path: Path) -> None:
    graph = read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "p" type: "PReLU" bottom: "x" top: "p" prelu_param { channel_shared: true } }
    """)
    path = tmp_path / f"w.caffemodel{ending}"
    weights.save(path, graph, {"p.slope": np.array(0.75, np.float32)})
    slope = module.compile(weights.attach(graph, path)[0]).arrays()["p.slope"]
    assert (slope.shape, slope.item()) == ((), 0.75)


def test_a_binary_file_is_a_net_that_any_protobuf_reader_takes_apart(read: Callable[..., Graph], tmp_path: Path):
    graph = read(NET)
    weights.save(tmp_path / "w", graph, random_arrays(graph))
    net = NetParameter.FromString((tmp_path / "w").read_bytes())
    assert [(layer.name, layer.type, len(layer.blobs)) for layer in net.layer] == [
        ("x", "Input", 0),
        ("a", "InnerProduct", 2),
        ("b", "InnerProduct", 1),
    ]
    assert list(net.layer[1].blobs[0].shape.dim) == [3, 4]
    assert list(net.layer[2].bottom) == ["a"]


def test_an_hdf5_file_is_laid_out_as_caffes(read: Callable[..., Graph], tmp_path: Path, shared: Path) -> None:
    graph = read(NET.replace('"a"', '"block/a"'))
    weights.save(tmp_path / "w.h5", graph, random_arrays(graph))
    with h5py.File(tmp_path / "w.h5") as ours:
        assert ours["data/block/a/0"].shape == (3, 4)
        assert list(ours["data/x"]) == []
        ours_type = ours["data/b/0"].dtype
    with h5py.File(shared / "goldens/snapshot_sgd_hdf5/snap_iter_8.caffemodel.h5") as theirs:
        assert list(theirs["data/data_in"]) == []
        assert theirs["data/ip1/0"].dtype == ours_type
    assert list(weights.read(tmp_path / "w.h5")) == ["b", "block/a"]


# By name.


def test_layers_match_by_name_and_the_rest_is_reported(read: Callable[..., Graph], tmp_path: Path) -> None:
    graph = dataclasses.replace(read(NET), arrays={"b.weight": np.full((2, 3), 7, np.float32)})
    path = write(tmp_path / "w", a=[np.ones((3, 4)), np.zeros(3)], head=[np.ones(5)])
    found, match = weights.attach(graph, path)
    assert match == weights.Match(taken=("a",), missing=("b",), ignored=("head",))
    assert found.arrays["b.weight"][0, 0] == 7
    assert found.arrays["a.weight"].sum() == 12
    assert "a.weight" not in graph.arrays


def test_a_file_with_no_layer_of_the_net_is_refused_with_a_near_name(read, tmp_path: Path) -> None:
    path = write(tmp_path / "w", A=[np.ones((3, 4)), np.zeros(3)])
    with pytest.raises(NktcError) as caught:
        weights.attach(read(NET), path)
    assert str(caught.value) == f'error: {path} has weights for no layer of the net; it has A\nhelp: did you mean "A"?'


def test_another_shape_is_refused_with_both_shapes_and_the_layers_place(read, golden, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path("w"), a=[np.ones((3, 5)), np.zeros(3)])
    with pytest.raises(NktcError) as caught:
        weights.attach(read(NET), "w")
    golden(
        caught.value,
        """
        net.prototxt:4:19: error: weight 0 of layer "a" is 3x4, in w it is 3x5
            4 | layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" inner_product_param { num_output: 3 } }
              |                   ^~~~~~~~~~~~~~~~~~~~
        help: rename the layer to train it afresh
        """,
    )


def test_another_number_of_weights_is_refused(read, tmp_path: Path) -> None:
    path = write(tmp_path / "w", a=[np.ones((3, 4))])
    with pytest.raises(NktcError, match=r'layer "a" has 2 weights, .* has 1 of that name'):
        weights.attach(read(NET), path)


def test_shared_weights_are_stored_with_every_sharer_and_read_once(read, tmp_path: Path) -> None:
    graph = read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 } } }
        layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" inner_product_param { num_output: 4 }
                param { name: "w" } param { name: "b" } }
        layer { name: "c" type: "InnerProduct" bottom: "a" top: "c" inner_product_param { num_output: 4 }
                param { name: "w" } param { name: "b" } }
    """)
    arrays = random_arrays(graph)
    weights.save(tmp_path / "w", graph, arrays)
    stored = weights.read(tmp_path / "w")
    np.testing.assert_array_equal(stored["c"][0], arrays["a.weight"])
    found, match = weights.attach(graph, tmp_path / "w")
    assert match.taken == ("a", "c")
    assert list(found.arrays) == ["a.weight", "a.bias"]


@pytest.mark.parametrize("bias", ["", 'param { name: "b" }'], ids=["weight", "all"])
def test_hdf5_has_shared_weights_with_their_owner_alone(bias: str, read, tmp_path: Path) -> None:
    layer = """
        layer {{ name: "{0}" type: "InnerProduct" bottom: "{1}" top: "{0}" inner_product_param {{ num_output: 4 }}
                 param {{ name: "w" }} {2} }}
    """
    first = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 } } }'
    graph = read(first + layer.format("a", "x", bias) + layer.format("c", "a", bias))
    arrays, path = random_arrays(graph), tmp_path / "w.h5"
    diffs = {"a.weight": np.ones((4, 4), np.float32)}
    weights.save(path, graph, arrays, diffs)
    with h5py.File(path) as file:
        assert list(file["data/c"]) == ([] if bias else ["1"])
        assert list(file["diff/c"]) == ["0", "1"]  # Caffe has these for all
        assert (file["diff/c/0"][()] == 1).all()
        assert not file["diff/a/1"][()].any()
    found, match = weights.attach(graph, path)
    assert match.missing == ()
    assert {name: array.tobytes() for name, array in found.arrays.items()} == {
        name: array.tobytes() for name, array in arrays.items()
    }
    with h5py.File(path, "a") as file:
        del file["data/a/0"]
    with pytest.raises(NktcError, match=r"w\.h5 lacks weight 0"):
        weights.attach(graph, path)


def test_a_binary_file_that_protobuf_could_not_read_is_not_written(read, tmp_path: Path) -> None:
    graph = read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 16384 } } }
        layer { name: "a" type: "InnerProduct" bottom: "x" top: "a"
                inner_product_param { num_output: 32768 bias_term: false } }
    """)
    with pytest.raises(NktcError) as caught:
        weights.save(tmp_path / "w", graph, {"a.weight": np.zeros((32768, 16384), np.float32)})  # 2 GiB, untouched
    assert caught.value.message == f"{tmp_path}/w would have more than 2 GB, which protobuf cannot read"
    assert caught.value.help == "snapshot_format: HDF5"
    assert not list(tmp_path.iterdir())


# Old files.


def test_old_blobs_of_four_axes_fit_weights_of_fewer(read, tmp_path: Path) -> None:
    def old(array: np.ndarray) -> BlobProto:
        count, channels, height, width = (1,) * (4 - array.ndim) + array.shape
        return BlobProto(num=count, channels=channels, height=height, width=width, data=array.ravel())

    matrix, bias = np.arange(12, dtype=np.float32).reshape(3, 4), np.arange(3, dtype=np.float32)
    path = write(tmp_path / "w", a=[old(matrix), old(bias)])
    assert [b.shape for b in weights.read(path)["a"]] == [(1, 1, 3, 4), (1, 1, 1, 3)]
    found, _ = weights.attach(read(NET), path)
    np.testing.assert_array_equal(found.arrays["a.weight"], matrix)
    np.testing.assert_array_equal(found.arrays["a.bias"], bias)


def test_axes_of_one_fit_in_front_only(read, tmp_path: Path) -> None:
    path = write(tmp_path / "w", a=[np.ones((3, 4, 1, 1)), np.ones(3)])
    with pytest.raises(NktcError, match=r"is 3x4, in .* it is 3x4x1x1"):
        weights.attach(read(NET), path)


def test_double_precision_is_read(tmp_path: Path) -> None:
    blob = BlobProto(double_data=[0.1, -2.5])
    blob.shape.dim.append(2)
    found = weights.read(write(tmp_path / "w", a=[blob]))["a"][0]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array([0.1, -2.5], np.float32))


@pytest.mark.parametrize("inside", [False, True], ids=["V1", "V0"])
def test_layers_of_older_syntaxes_are_read(inside: bool, tmp_path: Path) -> None:
    net = NetParameter()
    layer = net.layers.add()
    layer = layer.layer if inside else layer
    layer.name = "a"
    layer.blobs.add(num=1, channels=1, height=1, width=2, data=[1, 2])
    (tmp_path / "w").write_bytes(net.SerializeToString())
    np.testing.assert_array_equal(weights.read(tmp_path / "w")["a"][0], [[[[1, 2]]]])


# Broken files.


def test_a_blob_that_holds_another_number_than_its_shape_says_is_refused(tmp_path: Path) -> None:
    blob = BlobProto(data=[1, 2, 3])
    blob.shape.dim.extend([2, 2])
    path = write(tmp_path / "w", a=[blob])
    with pytest.raises(NktcError) as caught:
        weights.read(path)
    assert (
        caught.value.message == f'{path} is not a whole .caffemodel: layer "a": a blob of shape [2, 2] holds 3 numbers'
    )


@pytest.mark.parametrize("dims", [[-1, -3], [0], [2**62, 2**62]])
def test_no_shape_makes_more_than_a_refusal(dims: list[int], tmp_path: Path) -> None:
    blob = BlobProto(data=[1, 2, 3])
    blob.shape.dim.extend(dims)
    with pytest.raises(NktcError):
        weights.read(write(tmp_path / "w", a=[blob]))


def test_what_is_no_weight_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("name: 'net'\n")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["words"] = "nothing"
    with h5py.File(tmp_path / "words.h5", "w") as file:
        file["data/a/0"] = "nothing"
    for name, said in {
        "": "is a folder, not a file",
        "none": "does not exist",
        "empty": "holds no weights",
        "text": "is no file of weights",
        "other.h5": "has no group /data",
        "words.h5": "is not a whole .caffemodel.h5",
    }.items():
        with pytest.raises(NktcError, match=said):
            weights.read(tmp_path / name)


def damaged(whole: bytes, generator: np.random.Generator) -> bytes:
    """The bytes cut short, some of them changed, or eight in a row."""
    data = bytearray(whole)
    match generator.integers(3):
        case 0:
            del data[generator.integers(len(data)) :]
        case 1:
            for place in generator.integers(len(data), size=10):
                data[place] = generator.integers(256)
        case _:
            place = generator.integers(min(len(data), 2000))
            data[place : place + 8] = generator.bytes(8)
    return bytes(data)


@pytest.mark.parametrize("ending", ["", ".h5"])
def test_damaged_files_are_read_or_refused_and_nothing_else(ending: str, read, tmp_path: Path) -> None:
    graph, path = read(NET), tmp_path / f"w{ending}"
    weights.save(path, graph, random_arrays(graph))
    whole, generator = path.read_bytes(), np.random.default_rng(1)
    refused = 0
    for _ in range(150):
        path.write_bytes(damaged(whole, generator))
        try:
            weights.attach(graph, path)
        except NktcError:
            refused += 1
    assert refused > 30
    for _ in range(100):
        path.write_bytes(generator.bytes(generator.integers(1, 300)))
        with pytest.raises(NktcError):
            weights.read(path)
