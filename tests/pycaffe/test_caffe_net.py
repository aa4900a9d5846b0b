"""Nets that run layer by layer, against what Caffe itself computed and against closed forms."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import nktc.pycaffe as caffe

CASES = [
    "batchreindex",
    "bn_scale_inplace_train",
    "bn_train",
    "conv_multi_bottom",
    "dropout_test_inplace",
    "eltwise_same_blob",
    "lstm_allcont",
    "lstm_expose",
    "net_aux_losses",
    "net_fcn_tiny",
    "net_inception_tiny",
    "net_inplace_chain",
    "net_propagate_down_false",
    "net_rules_AB",
    "net_shared_permissive",
    "pool_max_k3s2_ceil",
    "prelu_inplace",
    "softmax_inplace",
    "softmaxloss_ignore_255",
    "split_explicit",
    "split_mid",
    "split_reuse",
]

MakeNet = Callable[..., caffe.Net]


@pytest.fixture
def make(tmp_path: Path) -> MakeNet:
    """A net of a text."""

    def net(text: str, phase: int = caffe.TEST, **more: object) -> caffe.Net:
        path = tmp_path / "net.prototxt"
        path.write_text(text)
        return caffe.Net(str(path), phase, **more)  # type: ignore[arg-type]

    return net


def close(found: np.ndarray, expected: np.ndarray, tolerance: float, what: str) -> None:
    largest = float(np.abs(expected).max(initial=1e-3))
    assert found.shape == expected.shape, what
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * largest, err_msg=what)


@pytest.mark.parametrize("name", CASES)
def test_blobs_gradients_and_names_are_caffes(name: str, shared: Path) -> None:
    """Forward and backward of a case, with the blobs and layers that Caffe's own splits add."""
    folder = shared / "goldens" / name
    with np.load(folder / "golden.npz") as stored:
        arrays = {key: stored[key] for key in stored.files}
    meta = json.loads(str(arrays.pop("meta")))

    def under(start: str) -> dict[str, np.ndarray]:
        return {key.removeprefix(start): array for key, array in arrays.items() if key.startswith(start)}

    net = caffe.Net(
        str(folder / "net.prototxt"), getattr(caffe, meta["phase"]), level=meta["level"], stages=meta["stages"]
    )
    assert [[name, layer.type] for name, layer in net.layer_dict.items()] == meta["layers"]
    assert dict(net.top_names) == meta["tops"]
    assert dict(net.bottom_names) == meta["bottoms"]
    assert net.outputs == sorted(meta["outputs"])

    def param(key: str) -> caffe.Blob:
        layer, index = key.rsplit("/", 1)
        return net.params[layer][int(index)]

    for key, array in under("param/").items():
        param(key).data[...] = array.reshape(param(key).shape)
    for step in range(meta["steps"]):
        for blob, array in {**under("in/"), **(under(f"stepin{step}/") if step else {})}.items():
            net.blobs[blob].data[...] = array
        net.forward()
        for blob, array in under(f"step{step}/").items():
            close(net.blobs[blob].data, array, 1e-5, f"{blob} of step {step}")
    for blob, array in under("blob/").items():
        close(net.blobs[blob].data, array, 1e-5, blob)
    for key, array in under("param_after/").items():
        close(param(key).data, array, 1e-5, f"{key} after")
    for blob, array in under("topdiff/").items():
        net.blobs[blob].diff[...] = array
    net.backward()
    for blob, array in under("diff/").items():
        # Without force_backward Caffe's Scale leaves working values where the gradient of an input would be.
        if blob not in net.inputs or net._graph.force_backward:
            close(net.blobs[blob].diff, array, 1e-4, f"gradient of {blob}")
    for key, array in under("pdiff/").items():
        close(param(key).diff.reshape(array.shape), array, 1e-4, f"gradient of {key}")


LINEAR = """
name: "linear" force_backward: true
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "a" type: "InnerProduct" bottom: "x" top: "a"
        inner_product_param { num_output: 4 weight_filler { type: "gaussian" std: 1 } } }
layer { name: "b" type: "InnerProduct" bottom: "a" top: "b"
        inner_product_param { num_output: 1 bias_term: false weight_filler { type: "gaussian" std: 1 } } }
"""


def test_what_is_written_to_a_blob_is_what_the_next_layer_takes(make: MakeNet) -> None:
    net = make(LINEAR)
    held = net.blobs["b"].data
    net.forward(x=np.ones((2, 3)))
    net.blobs["a"].data[...] = [[1, 2, 3, 4], [0, 0, 0, 1]]
    weight = net.params["b"][0].data
    weight[...] = [[1, 10, 100, 1000]]
    assert net.forward(start="b")["b"].tolist() == [[4321], [1000]]
    assert held.tolist() == [[4321], [1000]]
    tops = net.forward(["x"], end="a")
    assert set(tops) == {"a", "x"}
    np.testing.assert_allclose(
        tops["a"], np.ones((2, 3)) @ net.params["a"][0].data.T + net.params["a"][1].data, rtol=1e-6
    )
    assert held.tolist() == [[4321], [1000]]


def test_gradients_of_weights_add_up_until_they_are_cleared(make: MakeNet) -> None:
    net = make(LINEAR)
    x, seed = np.arange(6, dtype=np.float32).reshape(2, 3), np.float32([[1], [2]])
    net.forward(x=x)
    slopes = net.backward(["a"], b=seed)
    assert set(slopes) == {"x", "a"}
    below = seed @ net.params["b"][0].data
    np.testing.assert_allclose(slopes["a"], below, rtol=1e-6)
    np.testing.assert_allclose(slopes["x"], below @ net.params["a"][0].data, rtol=1e-5, atol=1e-6)
    once = below.T @ x
    np.testing.assert_allclose(net.params["a"][0].diff, once, rtol=1e-5, atol=1e-6)
    net.backward(b=seed)
    np.testing.assert_allclose(net.params["a"][0].diff, 2 * once, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(slopes["x"], below @ net.params["a"][0].data, rtol=1e-5, atol=1e-6)
    net.clear_param_diffs()
    assert not any(blob.diff.any() for blobs in net.params.values() for blob in blobs)


@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
def test_backward_takes_the_weights_and_bottoms_that_lie_there_by_then(make: MakeNet, phase: int) -> None:
    net = make(LINEAR, phase)
    net.forward(x=np.ones((2, 3)))
    net.params["b"][0].data[...] = [[1, 2, 3, 4]]
    net.blobs["a"].data[...] = [[1, 0, 0, 0], [0, 5, 0, 0]]
    slopes = net.backward(start="b", end="b", b=np.float32([[1], [1]]))
    assert slopes["a"].tolist() == [[1, 2, 3, 4]] * 2
    assert net.params["b"][0].diff.tolist() == [[1, 5, 0, 0]]


def test_without_a_loss_and_force_backward_nothing_goes_back(make: MakeNet) -> None:
    net = make(LINEAR.replace("force_backward: true", ""))
    net.forward(x=np.ones((2, 3)))
    net.backward(b=np.ones((2, 1)))
    assert not net.params["b"][0].diff.any()


LOSSES = """
layer { name: "in" type: "Input" top: "x" top: "t" input_param { shape { dim: 4 dim: 2 } } }
layer { name: "p" type: "InnerProduct" bottom: "x" top: "p"
        inner_product_param { num_output: 2 weight_filler { type: "gaussian" } } }
layer { name: "one" type: "EuclideanLoss" bottom: "p" bottom: "t" top: "one" loss_weight: 2 }
layer { name: "two" type: "EuclideanLoss" bottom: "p" bottom: "x" top: "two" loss_weight: 0.5 }
"""


def test_the_gradient_of_a_loss_is_its_weight_and_a_script_may_change_it(make: MakeNet) -> None:
    net = make(LOSSES, caffe.TRAIN)
    x, t = np.random.default_rng(1).normal(size=(2, 4, 2)).astype(np.float32)
    assert [net.blob_loss_weights[name] for name in ("one", "two", "p")] == [2, 0.5, 0]
    assert net._forward(0, len(net.layers) - 1) == 0
    outputs = net.forward(x=x, t=t)
    p = net.blobs["p"].data.copy()
    assert outputs["one"] == pytest.approx(((p - t) ** 2).sum() / 8, rel=1e-5)
    net.backward()
    expected = 2 * (p - t) / 4 + 0.5 * (p - x) / 4
    np.testing.assert_allclose(net.blobs["p"].diff, expected, rtol=1e-4, atol=1e-6)
    net.blobs["two"].diff[...] = 0
    net.backward()
    np.testing.assert_allclose(net.blobs["p"].diff, 2 * (p - t) / 4, rtol=1e-4, atol=1e-6)
    assert list(net.top_names) == ["in", "x_in_0_split", "p", "p_p_0_split", "one", "two"]
    copy = net.blobs["p_p_0_split_1"]
    net.blobs["p"].data[...] = 7
    assert copy.data.tolist() == [[7, 7]] * 4


CONV = """
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 dim: 8 dim: 8 } } }
layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param { num_output: 3 kernel_size: 3 } }
layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
layer { name: "p" type: "Pooling" bottom: "c" top: "p" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
"""


def test_an_input_that_is_reshaped_gives_every_blob_a_new_shape(make: MakeNet) -> None:
    net = make(CONV)
    net.blobs["x"].reshape(2, 2, 12, 10)
    net.reshape()
    assert (net.blobs["c"].shape, net.blobs["p"].shape) == ((2, 3, 10, 8), (2, 3, 5, 4))
    net.blobs["x"].reshape(1, 2, 6, 6)
    assert net.forward()["p"].shape == (1, 3, 2, 2)
    net.blobs["x"].reshape(1, 5, 6, 6)
    with pytest.raises(caffe.CaffeError, match="its weight is 3x2x3x3, and an input of 1x5x6x6 takes 3x5x3x3"):
        net.forward()
    net.blobs["x"].reshape(1, 2, 2, 2)
    with pytest.raises(RuntimeError, match='Convolution "c": window 3x3 is larger than its input 2x2'):
        net.reshape()


def test_recurrent_state_starts_anew_for_another_number_of_streams(make: MakeNet) -> None:
    net = make("""
        layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 3 dim: 2 dim: 4 } } }
        layer { name: "cont" type: "Input" top: "k" input_param { shape { dim: 3 dim: 2 } } }
        layer { name: "r" type: "RNN" bottom: "x" bottom: "k" top: "h"
                recurrent_param { num_output: 5 weight_filler { type: "gaussian" } } }
    """)
    ones = np.ones((3, 2))
    first = net.forward(x=np.ones((3, 2, 4)), k=ones)["h"].copy()
    second = net.forward(x=np.ones((3, 2, 4)), k=ones)["h"].copy()
    assert not np.array_equal(first, second)
    net.blobs["x"].reshape(3, 1, 4)
    net.blobs["k"].reshape(3, 1)
    net.blobs["x"].data[...], net.blobs["k"].data[...] = 1, 1
    np.testing.assert_allclose(net.forward()["h"], first[:, :1], rtol=1e-5, atol=1e-6)


def test_forward_all_takes_any_number_of_records(make: MakeNet) -> None:
    net = make(LINEAR)
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    made = net.forward_all(blobs=["a"], x=x)
    a = x @ net.params["a"][0].data.T + net.params["a"][1].data
    np.testing.assert_allclose(made["a"], a, rtol=1e-4, atol=1e-5)
    assert made["b"].shape == (5, 1)
    values, slopes = net.forward_backward_all(diffs=["a"], x=x, b=np.ones((5, 1), np.float32))
    np.testing.assert_allclose(values["b"], made["b"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(slopes["a"], np.ones((5, 1)) @ net.params["b"][0].data, rtol=1e-5)
    assert slopes["x"].shape == (5, 3)


def test_weights_are_saved_and_read_back_by_name_in_both_formats(make: MakeNet, tmp_path: Path) -> None:
    net = make(LINEAR)
    net.save(tmp_path / "w")
    net.save_hdf5(tmp_path / "h")
    assert (tmp_path / "h").read_bytes()[1:4] == b"HDF"
    for path in (tmp_path / "w", tmp_path / "h"):
        other = make(LINEAR, weights=str(path))
        view = make(LINEAR).params["b"][0].data
        assert other.params["b"][0].data.tolist() == net.params["b"][0].data.tolist()
        assert not np.array_equal(view, net.params["b"][0].data)
    old = caffe.Net(str(tmp_path / "net.prototxt"), str(tmp_path / "w"), caffe.TEST)
    view = old.params["a"][1].data
    view[...] = 9
    old.copy_from(tmp_path / "w")
    assert view.tolist() == net.params["a"][1].data.tolist()


def test_shared_weights_are_one_memory_and_their_gradients_are_two(make: MakeNet) -> None:
    one, other = make(LINEAR), make(LINEAR)
    other.share_with(one)
    one.params["b"][0].data[...] = 3
    assert other.params["b"][0].data.tolist() == [[3] * 4]
    other.forward(x=np.ones((2, 3)))
    a = other.blobs["a"].data
    np.testing.assert_allclose(other.blobs["b"].data, 3 * a.sum(1, keepdims=True), rtol=1e-5, atol=1e-5)
    other.backward(b=np.ones((2, 1)))
    assert other.params["b"][0].diff.any()
    assert not one.params["b"][0].diff.any()
    wide = make(LINEAR.replace("num_output: 4", "num_output: 5"))
    with pytest.raises(RuntimeError, match='the weights of layer "a" differ in their shapes'):
        wide.share_with(one)


def test_callbacks_hear_of_each_layer_by_its_number(make: MakeNet) -> None:
    net, heard = make(LINEAR), []
    for when in ("before_forward", "after_forward", "before_backward", "after_backward"):
        getattr(net, when)(lambda number, when=when: heard.append((when, number)))
    net.forward(start="a")
    net.backward(b=np.ones((2, 1)), end="b")
    order = [(f"{when}_forward", number) for number in (1, 2) for when in ("before", "after")]
    assert heard == [*order, ("before_backward", 2), ("after_backward", 2)]


def test_dropout_gives_the_gradient_of_the_mask_that_forward_drew(make: MakeNet) -> None:
    net = make(
        """force_backward: true
        layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 50 } } }
        layer { name: "d" type: "Dropout" bottom: "x" top: "y" dropout_param { dropout_ratio: 0.5 } }""",
        caffe.TRAIN,
    )
    caffe.set_random_seed(4)
    y = net.forward(x=np.ones(50))["y"].copy()
    assert set(y.tolist()) == {0, 2}
    assert net.backward(y=np.ones(50))["x"].tolist() == y.tolist()
    assert net.backward(y=np.ones(50))["x"].tolist() == y.tolist()


def test_constants_of_dummy_data_are_written_once_and_chances_each_time(make: MakeNet) -> None:
    net = make("""
        layer { name: "d" type: "DummyData" top: "c" top: "g" dummy_data_param {
            shape { dim: 3 } data_filler { type: "constant" value: 2 } data_filler { type: "gaussian" } } }""")
    assert net.blobs["c"].data.tolist() == [2, 2, 2]
    first = net.forward()["g"].copy()
    net.blobs["c"].data[1] = 5
    assert net.forward()["c"].tolist() == [2, 5, 2]
    assert not np.array_equal(net.blobs["g"].data, first)
    assert net.inputs == []


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda net: net.forward(y=np.ones((2, 3))), "y is given, and the input blobs are x"),
        (lambda net: net.forward(x=np.ones((4, 3))), "x is given 4 records, and takes 2"),
        (lambda net: net.forward(x=np.ones((2, 4))), "x is given an array of (2, 4), and takes (2, 3)"),
        (lambda net: net.backward(a=np.ones((2, 4))), "a is given, and the output blobs are b"),
        (lambda net: net.forward(end="c"), 'the net has no layer "c"'),
        (lambda net: net.forward(["c"]), 'the net has no blob "c"'),
        (lambda net: net.set_input_arrays(np.ones((1, 1, 1, 1)), np.ones(1)), "whose first layer is MemoryData"),
        (lambda net: caffe.Net("no.prototxt", caffe.TEST), "there is no file no.prototxt"),
        (lambda net: net.copy_from("no.caffemodel"), "no.caffemodel does not exist"),
    ],
)
def test_what_cannot_be_is_a_runtime_error_that_says_so(
    make: MakeNet, call: Callable[[caffe.Net], object], said: str
) -> None:
    with pytest.raises(RuntimeError) as caught:
        call(make(LINEAR))
    assert said in str(caught.value)


def test_a_net_that_is_wrong_is_refused_at_its_line(make: MakeNet, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as caught:
        make('layer { name: "c" type: "Convolutionn" bottom: "x" top: "c" }')
    assert f"{tmp_path}/net.prototxt:1:" in str(caught.value)
    assert "Convolutionn" in str(caught.value)
    assert isinstance(caught.value, caffe.CaffeError)


def test_blobs_and_weights_outlive_their_net(make: MakeNet) -> None:
    net = make(LINEAR)
    net.forward(x=np.ones((2, 3)))
    weight, b = net.params["a"][0], net.blobs["b"].data
    copy = b.copy()
    del net
    assert np.array_equal(b, copy)
    weight.data[...] = 1
    assert weight.diff.sum() == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_computes_what_the_cpu_does(make: MakeNet) -> None:
    net = make(LINEAR)
    x = np.random.default_rng(3).normal(size=(2, 3)).astype(np.float32)
    here = net.forward(x=x)["b"].copy()
    net.backward(b=np.ones((2, 1)))
    slopes = net.params["a"][0].diff.copy()
    net.clear_param_diffs()
    caffe.set_mode_gpu()
    try:
        np.testing.assert_allclose(net.forward(x=x)["b"], here, rtol=1e-4, atol=1e-5)
        net.backward(b=np.ones((2, 1)))
        np.testing.assert_allclose(net.params["a"][0].diff, slopes, rtol=1e-4, atol=1e-5)
        net.params["b"][0].data[...] = 0
        assert not net.forward(x=x)["b"].any()
    finally:
        caffe.set_mode_cpu()
