"""Files that are no nets: one sentence says what they are."""

from __future__ import annotations

import struct
from pathlib import Path

import onnx
import pytest
from google.protobuf import text_format

from nktc import checking, reader, train
from nktc.errors import NktcError, split
from nktc.schema import BlobProto, LabelMap, NetParameter, SolverParameter, SolverState

NODE = onnx.helper.make_node("Relu", ["x"], ["y"], "r")
VALUES = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3]) for name in "xy"]
MODEL = onnx.helper.make_model(onnx.helper.make_graph([NODE], "g", VALUES[:1], VALUES[1:]), producer_name="test")
LABELS = text_format.MessageToString(LabelMap(item=[{"name": "a", "label": 1, "display_name": "b"}] * 150))
MEAN = BlobProto(num=1, channels=3, height=2, width=2, data=[1.0] * 12).SerializeToString()
STATE = SolverState(iter=500, learned_net="lenet_iter_500.caffemodel").SerializeToString()
SOLVER = SolverParameter(net="n.prototxt", base_lr=0.1, lr_policy="fixed", max_iter=9).SerializeToString()
LAYER = 'name: "c" type: "Convolution" bottom: "x" top: "y" convolution_param { num_output: 3 }'


def saved(kind: bytes) -> bytes:
    """A message with a message in it, as models of TensorFlow begin: GraphDef, and the SavedModel around it."""
    node = b"\n\x05input\x12\x0bPlaceholder" * 10
    graph = b"\n" + bytes([len(node) & 127 | 128, len(node) >> 7]) + node
    inside = b"\x12" + bytes([len(graph) & 127 | 128, len(graph) >> 7]) + graph
    return graph if kind == b"graph" else b"\x08\x01\x12" + bytes([len(inside) & 127 | 128, len(inside) >> 7]) + inside


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def write(content: str | bytes) -> Path:
        Path("file").write_bytes(content.encode() if isinstance(content, str) else content)
        return Path("file")

    return write


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (LABELS, "it is a label map: "),
        ("item { id: 1 name: 'x' } item { id: 2 name: 'y' }", "it is a label map of TensorFlow's"),
        ("batch_sampler { max_sample: 1 } batch_sampler { sampler { min_scale: 0.3 } }", "samplers of SSD's training"),
        ('node { name: "a" op: "Add" } versions { producer: 2 }', "it is a model of TensorFlow"),
        (text_format.MessageToString(MODEL), "it is an ONNX model as text"),
        ("model { ssd { num_classes: 3 } } train_config { batch_size: 24 }", "it configures TensorFlow's training"),
        ('name: "n" op { input: "x" output: "y" type: "Relu" } external_input: "x"', "it is a net of Caffe2"),
        ('name: "n" platform: "x" max_batch_size: 8 input [{ name: "i" }]', "it configures a Triton server"),
        (LAYER, "it is the inside of a layer: write layer { ... } around it"),
        ("num_output: 3 kernel_size: 2", "it is the inside of a convolution_param"),
        ("crop_size: 224 mirror: true", "it is the inside of a transform_param"),
        ("a: 1 b { c: 2 } d: 3 e: 4 a: 2", "neither a net nor a solver has a, b, d and 1 more"),
        ('{"nodes": [], "arg_nodes": []}', "it is a graph of MXNet or TVM"),
        ('<?xml version="1.0"?>\n<net name="x" version="11"/>', "it is a model of OpenVINO"),
        ("<!DOCTYPE html>\n<html>", "it is a web page"),
        ("404: Not Found", "it is what a failed download leaves"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "it is the pointer that Git LFS keeps"),
        ("../alexnet/train.prototxt", "it is a link that git wrote as text"),
        ("import caffe\nfrom caffe import layers as L\n", "it is a program in Python"),
        ("#!/bin/sh\ncaffe train $@\n", "it is a script"),
        ("[net]\nbatch=64\n", "it is a net of Darknet"),
        ("Log file created at: 2016/01/01 00:00:00\n", "it is a log of Caffe"),
        (MODEL.SerializeToString(), "it is an ONNX model, which has its own weights"),
        (saved(b"graph"), "it is a model of TensorFlow"),
        (saved(b"model"), "it is a model of TensorFlow"),
        (b"\x1c\0\0\0TFL3" + bytes(9), "it is a model of TensorFlow Lite"),
        (MEAN, "it is a mean image"),
        (STATE, "it is the state of a solver"),
        (SOLVER, "it is a solver in binary"),
        (b"\x89HDF\r\n\x1a\n" + bytes(9), "it holds weights or the state of a solver, not the net"),
        (b"PK\x03\x04" + bytes(9), "it holds weights, not the net"),
        (b"\x80\x02}q\x00.", "it is a pickle of Python"),
        (b"\x89PNG\r\n\x1a\n" + bytes(9), "it is a picture"),
    ],
)
def test_a_file_of_another_kind_is_told_what_it_is_in_one_sentence(write, content: str | bytes, told: str) -> None:
    file = write(content)
    error = checking.check(file).error
    assert error
    assert error.message == "file is no net"
    assert told in error.help
    assert error.code == "wrong-file"
    with pytest.raises(NktcError) as refused:
        train.read(file)
    assert refused.value.message == "file is no solver"
    assert refused.value.help == error.help


@pytest.mark.parametrize("mark", ["%d", "{{ n }}", "{n}", "$(N)", "${N}", "$N", "@N@", "%(n)s"])
def test_a_template_is_told_to_be_filled_in_at_its_first_mark(write, mark: str) -> None:
    layer = f'layer {{ name: "c" type: "Convolution" convolution_param {{ num_output: {mark} }} }}\n'
    error = checking.check(write('name: "n"\n' + layer * 120)).error
    assert error
    assert (error.message, error.help) == ("file is no net", "it is a template: fill in what is marked in it first")
    assert error.at
    assert error.at.line == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('layer { name: "a" type: "ReLU" relu_param: {} bottom "x" }', 'expected : or { after bottom, not "x"'),
        ('name: "n"', "file has no layers"),
        ('name: "n" Layer { name: "a" }' + ' Layer { name: "b" }' * 120, 'unknown field "Layer" in the net'),
        ('nam: "n" layer { name: "a" type: "ReLU" bottom: "x" top: "x" }', 'unknown field "nam" in the net'),
        ('net: "x" base_rl: 0.1', 'unknown field "base_rl" in the solver'),
        ('net: "x" foo: 1 bar: 2', 'unknown field "foo" in the solver|unknown field "bar" in the solver'),
        ('layer { name: "a" ', 'the file ends inside layer, whose "}" is missing'),
        ("import" + " " * 65000 + "!", 'unexpected character "!"'),  # looked through once, not once a blank
    ],
)
def test_what_is_meant_for_a_net_or_a_solver_is_told_its_mistake_once(write, text: str, said: str) -> None:
    error = checking.check(write(text)).error
    assert error
    assert [one.message for one in split(error)] == said.split("|")


def test_binary_nets_are_no_strangers(write) -> None:
    for name in ("n", "a net of some length, longer than a name is " * 3):
        net = NetParameter(name=name)
        net.layer.add(name="x", type="Input", top=["x"]).input_param.shape.add(dim=[1, 2])
        net.layer.add(name="i", type="InnerProduct", bottom=["x"], top=["y"]).inner_product_param.num_output = 3
        net.layer[1].blobs.add(shape={"dim": [3, 2]}, data=struct.unpack("<6f", b"\x08\x01\x10\x03\x18\x03" * 4))
        for data in (net.SerializeToString(), NetParameter(layer=net.layer).SerializeToString()):
            assert [layer.name for layer in reader.read_net(write(data)).message.layer] == ["x", "i"]
