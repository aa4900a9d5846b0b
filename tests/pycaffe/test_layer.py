"""Layers written in Python, in nets that run layer by layer: they get the net's own blobs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nktc.pycaffe as caffe

MODULE = __name__


class Times(caffe.Layer):
    """Multiplies by its param_str, and counts its calls."""

    def setup(self, bottom: list, top: list) -> None:
        self.factor, self.calls = float(self.param_str_), 0
        self.blobs.add_blob(2)
        self.blobs[0].data[...] = [5, 6]
        self.kept = self.blobs[0]

    def reshape(self, bottom: list, top: list) -> None:
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom: list, top: list) -> None:
        self.calls += 1
        top[0].data[...] = bottom[0].data * self.factor + self.kept.data[0]

    def backward(self, top: list, propagate_down: list, bottom: list) -> None:
        self.asked = propagate_down
        bottom[0].diff[...] = top[0].diff * self.factor
        self.kept.diff[0] += top[0].diff.sum()


class Failing(caffe.Layer):
    def setup(self, bottom: list, top: list) -> None:
        pass

    def reshape(self, bottom: list, top: list) -> None:
        top[0].reshape(1)

    def forward(self, bottom: list, top: list) -> None:
        raise KeyError("mine")


class Loss(caffe.Layer):
    """Half the sum of squares."""

    def setup(self, bottom: list, top: list) -> None:
        pass

    def reshape(self, bottom: list, top: list) -> None:
        top[0].reshape(1)

    def forward(self, bottom: list, top: list) -> None:
        top[0].data[...] = (bottom[0].data ** 2).sum() / 2

    def backward(self, top: list, propagate_down: list, bottom: list) -> None:
        bottom[0].diff[...] = bottom[0].data * top[0].diff[0]


def net_of(folder: Path, layer: str, phase: int = caffe.TRAIN, head: str = "force_backward: true") -> caffe.Net:
    (folder / "n.prototxt").write_text(
        f"""{head} layer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{ dim: 2 dim: 3 }} }} }}
        layer {{ name: "l" type: "Python" bottom: "x" top: "y" {layer} }}"""
    )
    return caffe.Net(str(folder / "n.prototxt"), phase)


def python(name: str, more: str = "") -> str:
    return f'python_param {{ module: "{MODULE}" layer: "{name}" {more} }}'


def test_a_layer_works_on_the_nets_blobs_and_is_the_object_that_the_net_shows(tmp_path: Path) -> None:
    net = net_of(tmp_path, python("Times", 'param_str: "3"'))
    layer = net.layers[1]
    assert isinstance(layer, Times)
    assert layer is net.layer_dict["l"]
    assert layer.type == "Python"
    assert net.params["l"][0].data.tolist() == [5, 6]
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_allclose(net.forward(x=x)["y"], 3 * x + 5)
    net.params["l"][0].data[0] = 1
    np.testing.assert_allclose(net.forward(x=x)["y"], 3 * x + 1)
    assert net.backward(y=np.ones((2, 3)))["x"].tolist() == [[3] * 3] * 2
    assert (layer.calls, layer.asked) == (2, [True])
    assert net.params["l"][0].diff.tolist() == [6, 0]
    net.backward(y=np.ones((2, 3)))
    assert net.params["l"][0].diff.tolist() == [12, 0]
    net.blobs["x"].reshape(4, 4)
    assert net.forward()["y"].shape == (4, 4)


def test_weights_of_a_layer_are_saved_and_shared(tmp_path: Path) -> None:
    net, other = (net_of(tmp_path, python("Times", 'param_str: "3"')) for _ in range(2))
    net.layers[1].blobs[0].data[...] = [8, 9]
    net.save(tmp_path / "w.caffemodel")
    other.copy_from(tmp_path / "w.caffemodel")
    assert other.layers[1].kept.data.tolist() == [8, 9]
    third = net_of(tmp_path, python("Times", 'param_str: "3"'))
    third.share_with(net)
    net.params["l"][0].data[...] = 2
    third.forward()
    assert third.blobs["y"].data.tolist() == [[2] * 3] * 2


def test_a_loss_of_ones_own_is_one_by_its_loss_weight(tmp_path: Path) -> None:
    (tmp_path / "n.prototxt").write_text(f"""
        layer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{ dim: 2 dim: 3 }} }} }}
        layer {{ name: "s" type: "Scale" bottom: "x" top: "s" scale_param {{ axis: 0 num_axes: 0 }} }}
        layer {{ name: "l" type: "Python" bottom: "s" top: "l" loss_weight: 2 {python("Loss")} }}""")
    net = caffe.Net(str(tmp_path / "n.prototxt"), caffe.TRAIN)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    net.params["s"][0].data[...] = 3
    net.blobs["x"].data[...] = x
    assert net._forward(0, 2) == pytest.approx(9 * (x**2).sum())
    net.backward()
    assert net.params["s"][0].diff == pytest.approx(2 * 3 * (x**2).sum())


def test_what_the_users_code_raises_comes_through_as_it_is(tmp_path: Path) -> None:
    net = net_of(tmp_path, python("Failing"))
    with pytest.raises(KeyError, match="mine") as caught:
        net.forward()
    assert [note.rpartition("/")[2] for note in caught.value.__notes__] == [
        'n.prototxt:2:27: in forward of Python layer "l"'
    ]
    with pytest.raises(ValueError, match="could not convert"):
        net_of(tmp_path, python("Times", 'param_str: "three"'))
    with pytest.raises(AttributeError, match="Absent"):
        net_of(tmp_path, python("Absent"))
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        net_of(tmp_path, 'python_param { module: "no_such_module" layer: "X" }')


def test_a_module_that_says_import_caffe_gets_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_of_test_layer.py").write_text(
        "import caffe\nfrom caffe.proto import caffe_pb2\n"
        "class Phase(caffe.Layer):\n"
        "    def setup(self, bottom, top): assert caffe_pb2.TRAIN == caffe.TRAIN\n"
        "    def reshape(self, bottom, top): top[0].reshape()\n"
        "    def forward(self, bottom, top): top[0].data[()] = self.phase\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    layer = 'python_param { module: "mine_of_test_layer" layer: "Phase" }'
    for phase in (caffe.TRAIN, caffe.TEST):
        net = net_of(tmp_path, layer, phase, head="")
        assert net.forward(x=np.ones((2, 3)))["y"] == phase
        assert str(net.layers[1].phase) == ("TRAIN", "TEST")[phase]  # as the Caffe of Faster R-CNN says it
    assert isinstance(net.layers[1], caffe.Layer)


def test_every_type_that_a_net_can_name_is_listed() -> None:
    assert {"Data", "Convolution", "InnerProduct", "Python", "Split"} <= set(caffe.layer_type_list())
    assert caffe.layer_type_list() == sorted(caffe.layer_type_list())
