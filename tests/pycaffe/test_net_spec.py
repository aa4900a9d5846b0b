"""Nets written in Python are those written in prototxt."""

# ruff: noqa: C408 (scripts for Caffe write dict(...))

from __future__ import annotations

import copy
import re
from collections.abc import Callable

import numpy as np
import pytest

import nktc.pycaffe as caffe
from nktc import reader
from nktc.errors import NktcError, Source
from nktc.ir import Phase
from nktc.pycaffe import NetSpec, SpecError, to_proto
from nktc.pycaffe import layers as L
from nktc.pycaffe import params as P
from nktc.pycaffe.proto.caffe_pb2 import LayerParameter, NetParameter
from nktc.text import bind, parse, print_message


def written(prototxt: str) -> NetParameter:
    return bind(parse(Source("net.prototxt", prototxt)), NetParameter)


def same(made: NetParameter, prototxt: str) -> None:
    """The net is the one written, and both of its printed forms read back as it."""
    assert made == written(prototxt)
    assert written(str(made)) == made
    assert written(print_message(made)) == made


def spec_of(data: object) -> NetSpec:
    n = NetSpec()
    n.data = data
    return n


def lenet(batch_size: int) -> NetParameter:
    n = NetSpec()
    n.data, n.label = L.DummyData(
        shape=[dict(dim=[batch_size, 1, 28, 28]), dict(dim=[batch_size])], data_filler=dict(type="constant"), ntop=2
    )
    n.conv1 = L.Convolution(n.data, kernel_size=5, num_output=20, weight_filler=dict(type="xavier"))
    n.pool1 = L.Pooling(n.conv1, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    n.conv2 = L.Convolution(n.pool1, kernel_size=5, num_output=50, weight_filler=dict(type="xavier"))
    n.pool2 = L.Pooling(n.conv2, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    n.fc1 = L.InnerProduct(n.pool2, num_output=500, weight_filler=dict(type="xavier"))
    n.relu1 = L.ReLU(n.fc1, in_place=True)
    n.score = L.InnerProduct(n.relu1, num_output=10, weight_filler=dict(type="xavier"))
    n.loss = L.SoftmaxWithLoss(n.score, n.label)
    return n.to_proto()


LENET = """
    layer {
      name: "data" type: "DummyData" top: "data" top: "label"
      dummy_data_param {
        data_filler { type: "constant" }
        shape { dim: 64 dim: 1 dim: 28 dim: 28 }
        shape { dim: 64 }
      }
    }
    layer {
      name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
      convolution_param { num_output: 20 kernel_size: 5 weight_filler { type: "xavier" } }
    }
    layer {
      name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
      pooling_param { pool: MAX kernel_size: 2 stride: 2 }
    }
    layer {
      name: "conv2" type: "Convolution" bottom: "pool1" top: "conv2"
      convolution_param { num_output: 50 kernel_size: 5 weight_filler { type: "xavier" } }
    }
    layer {
      name: "pool2" type: "Pooling" bottom: "conv2" top: "pool2"
      pooling_param { pool: MAX kernel_size: 2 stride: 2 }
    }
    layer {
      name: "fc1" type: "InnerProduct" bottom: "pool2" top: "fc1"
      inner_product_param { num_output: 500 weight_filler { type: "xavier" } }
    }
    layer { name: "relu1" type: "ReLU" bottom: "fc1" top: "fc1" }
    layer {
      name: "score" type: "InnerProduct" bottom: "fc1" top: "score"
      inner_product_param { num_output: 10 weight_filler { type: "xavier" } }
    }
    layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss" }
"""


def test_lenet_is_the_one_written_by_hand(read: Callable, golden: Callable) -> None:
    made = lenet(64)
    same(made, LENET)
    golden(
        read(str(made), Phase.TRAIN),
        """
        net net TRAIN
          data, label f32[64 1 28 28], f32[64] = DummyData
          conv1       f32[64 20 24 24]         = Convolution(outputs=20 kernel=5) <- data
          pool1       f32[64 20 12 12]         = Pooling(method=MAX kernel=2 stride=2) <- conv1
          conv2       f32[64 50 8 8]           = Convolution(outputs=50 kernel=5) <- pool1
          pool2       f32[64 50 4 4]           = Pooling(method=MAX kernel=2 stride=2) <- conv2
          fc1@fc1     f32[64 500]              = InnerProduct(outputs=500) <- pool2  # fc1
          fc1         f32[64 500]              = ReLU <- fc1@fc1  # relu1
          score       f32[64 10]               = InnerProduct(outputs=10) <- fc1
          loss        f32[]                    = SoftmaxWithLoss <- score, label
        """,
    )


def conv_relu(bottom, size, outputs, stride=1, pad=0, group=1):
    conv = L.Convolution(bottom, kernel_size=size, stride=stride, num_output=outputs, pad=pad, group=group)
    return conv, L.ReLU(conv, in_place=True)


def fc_relu(bottom, outputs):
    fc = L.InnerProduct(bottom, num_output=outputs)
    return fc, L.ReLU(fc, in_place=True)


def max_pool(bottom, size, stride=1):
    return L.Pooling(bottom, pool=P.Pooling.MAX, kernel_size=size, stride=stride)


def caffenet(source: str, batch_size: int) -> NetParameter:
    """Of names that nobody gave, up to its loss."""
    picture = dict(crop_size=227, mean_value=[104, 117, 123], mirror=True)
    data, label = L.Data(
        source=source, backend=P.Data.LMDB, batch_size=batch_size, ntop=2, transform_param=picture, name="imagenet"
    )
    _, relu1 = conv_relu(data, 11, 96, stride=4)
    norm1 = L.LRN(max_pool(relu1, 3, stride=2), local_size=5, alpha=1e-4, beta=0.75)
    _, relu2 = conv_relu(norm1, 5, 256, pad=2, group=2)
    norm2 = L.LRN(max_pool(relu2, 3, stride=2), local_size=5, alpha=1e-4, beta=0.75)
    _, relu3 = conv_relu(norm2, 3, 384, pad=1)
    _, relu4 = conv_relu(relu3, 3, 384, pad=1, group=2)
    _, relu5 = conv_relu(relu4, 3, 256, pad=1, group=2)
    _, relu6 = fc_relu(max_pool(relu5, 3, stride=2), 4096)
    _, relu7 = fc_relu(L.Dropout(relu6, in_place=True), 4096)
    fc8 = L.InnerProduct(L.Dropout(relu7, in_place=True), num_output=1000)
    loss = L.SoftmaxWithLoss(fc8, label)
    accuracy = L.Accuracy(fc8, label, include=dict(phase=caffe.TEST))
    return to_proto(loss, accuracy)


CAFFENET = """
    layer {
      name: "imagenet" type: "Data" top: "Data1" top: "Data2"
      transform_param { mirror: true crop_size: 227 mean_value: [104, 117, 123] }
      data_param { source: "train_lmdb" batch_size: 256 backend: LMDB }
    }
    layer {
      name: "Convolution1" type: "Convolution" bottom: "Data1" top: "Convolution1"
      convolution_param { num_output: 96 kernel_size: 11 stride: 4 pad: 0 group: 1 }
    }
    layer { name: "ReLU1" type: "ReLU" bottom: "Convolution1" top: "Convolution1" }
    layer {
      name: "Pooling1" type: "Pooling" bottom: "Convolution1" top: "Pooling1"
      pooling_param { pool: MAX kernel_size: 3 stride: 2 }
    }
    layer {
      name: "LRN1" type: "LRN" bottom: "Pooling1" top: "LRN1"
      lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }
    }
    layer {
      name: "Convolution2" type: "Convolution" bottom: "LRN1" top: "Convolution2"
      convolution_param { num_output: 256 pad: 2 kernel_size: 5 stride: 1 group: 2 }
    }
    layer { name: "ReLU2" type: "ReLU" bottom: "Convolution2" top: "Convolution2" }
    layer {
      name: "Pooling2" type: "Pooling" bottom: "Convolution2" top: "Pooling2"
      pooling_param { pool: MAX kernel_size: 3 stride: 2 }
    }
    layer {
      name: "LRN2" type: "LRN" bottom: "Pooling2" top: "LRN2"
      lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }
    }
    layer {
      name: "Convolution3" type: "Convolution" bottom: "LRN2" top: "Convolution3"
      convolution_param { num_output: 384 pad: 1 kernel_size: 3 stride: 1 group: 1 }
    }
    layer { name: "ReLU3" type: "ReLU" bottom: "Convolution3" top: "Convolution3" }
    layer {
      name: "Convolution4" type: "Convolution" bottom: "Convolution3" top: "Convolution4"
      convolution_param { num_output: 384 pad: 1 kernel_size: 3 stride: 1 group: 2 }
    }
    layer { name: "ReLU4" type: "ReLU" bottom: "Convolution4" top: "Convolution4" }
    layer {
      name: "Convolution5" type: "Convolution" bottom: "Convolution4" top: "Convolution5"
      convolution_param { num_output: 256 pad: 1 kernel_size: 3 stride: 1 group: 2 }
    }
    layer { name: "ReLU5" type: "ReLU" bottom: "Convolution5" top: "Convolution5" }
    layer {
      name: "Pooling3" type: "Pooling" bottom: "Convolution5" top: "Pooling3"
      pooling_param { pool: MAX kernel_size: 3 stride: 2 }
    }
    layer {
      name: "InnerProduct1" type: "InnerProduct" bottom: "Pooling3" top: "InnerProduct1"
      inner_product_param { num_output: 4096 }
    }
    layer { name: "ReLU6" type: "ReLU" bottom: "InnerProduct1" top: "InnerProduct1" }
    layer { name: "Dropout1" type: "Dropout" bottom: "InnerProduct1" top: "InnerProduct1" }
    layer {
      name: "InnerProduct2" type: "InnerProduct" bottom: "InnerProduct1" top: "InnerProduct2"
      inner_product_param { num_output: 4096 }
    }
    layer { name: "ReLU7" type: "ReLU" bottom: "InnerProduct2" top: "InnerProduct2" }
    layer { name: "Dropout2" type: "Dropout" bottom: "InnerProduct2" top: "InnerProduct2" }
    layer {
      name: "InnerProduct3" type: "InnerProduct" bottom: "InnerProduct2" top: "InnerProduct3"
      inner_product_param { num_output: 1000 }
    }
    layer {
      name: "SoftmaxWithLoss1" type: "SoftmaxWithLoss" bottom: "InnerProduct3" bottom: "Data2" top: "SoftmaxWithLoss1"
    }
    layer {
      name: "Accuracy1" type: "Accuracy" bottom: "InnerProduct3" bottom: "Data2" top: "Accuracy1"
      include { phase: TEST }
    }
"""


def test_caffenet_is_the_one_written_by_hand(read: Callable) -> None:
    made = caffenet("train_lmdb", 256)
    same(made, CAFFENET)
    # The data set is not there, but what it gives is known.
    made.layer[0].CopyFrom(LayerParameter(name="data", type="Input", top=["Data1", "Data2"]))
    for dims in ([2, 3, 227, 227], [2]):
        made.layer[0].input_param.shape.add(dim=dims)
    graph = read(str(made), Phase.TEST)
    assert [value.shape for node in graph for value in node.outputs if node.name in ("Pooling3", "InnerProduct3")] == [
        (2, 256, 6, 6),
        (2, 1000),
    ]


def layer(made: object) -> LayerParameter:
    return to_proto(made).layer[-1]  # type: ignore[arg-type]


def one(prototxt: str) -> LayerParameter:
    return written(f"layer {{ {prototxt} }}").layer[0]


@pytest.mark.parametrize(
    ("made", "prototxt"),
    [
        (lambda x: L.Deconvolution(x, num_output=2), 'type: "Deconvolution" convolution_param { num_output: 2 }'),
        (lambda x: L.Im2col(x, kernel_size=[3, 2]), 'type: "Im2col" convolution_param { kernel_size: [3, 2] }'),
        (
            lambda x: L.SoftmaxWithLoss(x, axis=2, ignore_label=255, normalization=P.Loss.BATCH_SIZE, loss_weight=0.5),
            'type: "SoftmaxWithLoss" loss_weight: 0.5 softmax_param { axis: 2 }'
            "loss_param { ignore_label: 255 normalization: BATCH_SIZE }",
        ),
        (
            lambda x: L.ImageData(source="list", mean_value=(1, 2.5), new_height=4, shuffle=True),
            'type: "ImageData" transform_param { mean_value: [1, 2.5] }'
            'image_data_param { source: "list" new_height: 4 shuffle: true }',
        ),
        (lambda x: L.TanH(x, engine=P.TanH.CAFFE), 'type: "TanH" tanh_param { engine: CAFFE }'),
        (lambda x: L.Eltwise(x, x, operation=P.Eltwise.SUM), 'type: "Eltwise" eltwise_param { operation: SUM }'),
        (lambda x: L.Eltwise(x, x, operation="MAX"), 'type: "Eltwise" eltwise_param { operation: MAX }'),
        (
            lambda x: L.Convolution(x, convolution_param=dict(num_output=2, pad=[1]), kernel_size=3),
            'type: "Convolution" convolution_param { num_output: 2 pad: 1 kernel_size: 3 }',
        ),
        (
            lambda x: L.InnerProduct(x, num_output=2, param=dict(name="w")),
            'type: "InnerProduct" param { name: "w" } inner_product_param { num_output: 2 }',
        ),
        (
            lambda x: L.ReLU(x, include=[dict(phase=caffe.TRAIN), dict(stage=["a", "b"])], propagate_down=False),
            'type: "ReLU" include { phase: TRAIN } include { stage: "a" stage: "b" } propagate_down: false',
        ),
        (
            lambda x: L.Input(shape=dict(dim=np.array([1, 3, 4]))),
            'type: "Input" input_param { shape { dim: [1, 3, 4] } }',
        ),
        (
            lambda x: L.Power(x, power=np.float32(0.5), scale=np.int64(2), shift=float("-inf")),
            'type: "Power" power_param { power: 0.5 scale: 2 shift: -inf }',
        ),
        (
            lambda x: L.Power(x, power=1e-30, scale=float("inf")),
            'type: "Power" power_param { power: 1e-30 scale: inf }',
        ),
        (
            lambda x: L.Convolution(x, num_output=1, bias_term=np.False_),
            'type: "Convolution" convolution_param { num_output: 1 bias_term: false }',
        ),
        (lambda x: L.Slice(x, slice_point=[], axis=1), 'type: "Slice" slice_param { axis: 1 }'),
        (lambda x: L.Dataset(name="mnist"), 'type: "Dataset" dataset_param { name: "mnist" }'),
    ],
)
def test_settings_go_where_the_type_has_them(made: Callable, prototxt: str) -> None:
    found = layer(made(L.Input(shape=dict(dim=[1]))))
    for field in ("name", "bottom", "top"):
        found.ClearField(field)  # type: ignore[arg-type]
    assert found == one(prototxt)


def test_a_layer_is_called_what_its_first_top_is() -> None:
    n = NetSpec()
    n.data, n["the label"] = L.Data(ntop=2)
    n.silence = L.HDF5Output(n.data, n["the label"], ntop=0)
    n.norm = L.BatchNorm(L.Scale(n.data), name="own")
    assert [*n.tops] == ["data", "the label", "silence", "norm"]
    assert [(x.name, [*x.bottom], [*x.top]) for x in n.to_proto().layer] == [
        ("data", [], ["data", "the label"]),
        ("silence", ["data", "the label"], []),
        ("Scale1", ["data"], ["Scale1"]),
        ("own", ["Scale1"], ["norm"]),
    ]


def test_tops_can_be_taken_out_and_replaced() -> None:
    n = NetSpec()
    n.a = L.Input(shape=dict(dim=[2]))
    n.score = L.ReLU(n.a)
    n.c = L.TanH(n.score)
    del n["c"]
    n.score = L.Sigmoid(n.a)
    assert [(x.name, x.type) for x in n.to_proto().layer] == [("a", "Input"), ("score", "Sigmoid")]
    assert n.score is n["score"]
    assert [*copy.deepcopy(n).tops] == ["a", "score"]
    with pytest.raises(AttributeError, match=re.escape('the net has no top "scores": did you mean "score"?')):
        n.scores  # noqa: B018
    with pytest.raises(KeyError):
        n["c"]


def test_in_place_layers_take_the_name_of_what_they_overwrite() -> None:
    x = L.Input(shape=dict(dim=[2]))
    net = L.TanH(L.Sigmoid(L.ReLU(x, in_place=True), in_place=True)).to_proto()
    assert [(x.name, [*x.bottom], [*x.top]) for x in net.layer] == [
        ("Input1", [], ["Input1"]),
        ("ReLU1", ["Input1"], ["Input1"]),
        ("Sigmoid1", ["Input1"], ["Input1"]),
        ("TanH1", ["Input1"], ["TanH1"]),
    ]


def test_a_net_prints_as_prototxt_that_is_read_as_it() -> None:
    n = NetSpec()
    n.x = L.Input(shape=dict(dim=[1, 2]))
    assert (
        str(n)
        == """\
layer {
  name: "x"
  type: "Input"
  top: "x"
  input_param { shape { dim: 1 dim: 2 } }
}
"""
    )
    assert written(str(n)) == n.to_proto() == written(str(n.to_proto()))


def test_a_chain_longer_than_pythons_stack_is_written() -> None:
    top = L.Input(shape=dict(dim=[1]))
    for _ in range(3000):
        top = L.ReLU(top)
    assert top.to_proto().layer[-1].name == "ReLU3000"


def test_the_room_stands_in_for_caffe() -> None:
    assert (caffe.TRAIN, caffe.TEST) == (0, 1)
    assert caffe.layers is L
    assert caffe.params is P
    net = caffe.NetSpec()
    net.x = caffe.layers.Input(shape=dict(dim=[1]))
    assert caffe.to_proto(net.x).layer[0].name == "Input1"


X = L.Input(shape=dict(dim=[1]))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: L.Convolution(X, kernel_sze=3, name="conv1"),
            'error: Convolution "conv1" has no setting "kernel_sze"  [unknown-field]\n'
            'help: did you mean "kernel_size"?',
        ),
        (
            lambda: L.Convolution(X, kernel_size="five"),
            'error: Convolution: kernel_size takes a whole number from 0, not "five"  [wrong-value]',
        ),
        (
            lambda: L.Convolution(X, kernel_size=-1),
            "error: Convolution: kernel_size takes a whole number from 0, not -1  [wrong-value]",
        ),
        (
            lambda: L.Convolution(X, weight_filler=dict(typ="xavier")),
            'error: Convolution: unknown field "typ" in weight_filler  [unknown-field]\nhelp: did you mean "type"?',
        ),
        (
            lambda: L.Pooling(X, pool="MAXIMUM"),
            'error: Pooling: pool takes MAX, AVE or STOCHASTIC, not MAXIMUM  [wrong-value]\nhelp: did you mean "MAX"?',
        ),
        (
            lambda: L.Pooling(X, kernel_size=[2, 2]),
            "error: Pooling: kernel_size is given twice in pooling_param  [given-twice]",
        ),
        (
            lambda: L.Pooling(X, kernel_size=None),
            "error: Pooling: kernel_size is given a NoneType, which prototxt does not have",
        ),
        (
            lambda: L.Pooling(X, pooling_param=3),
            "error: Pooling: pooling_param takes { ... }, not 3  [wrong-value]",
        ),
        (lambda: L.ReLU("data"), "ReLU input 0 is not a Top (type is <class 'str'>)"),
        (lambda: L.ReLU(X, ntop=-1), "error: ReLU: ntop takes a whole number from 0, not -1"),
        (lambda: L.ReLU(in_place=True), "error: ReLU: in_place has 1 tops and 0 bottoms to put them in"),
        (
            lambda: spec_of(L.Data(ntop=2)).to_proto(),
            'error: "data" is given a tuple, not a top\nhelp: name each of them: n.data, n.other = ...',
        ),
        (lambda: spec_of("x"), 'error: "data" is given a str, not a top'),
    ],
)
def test_what_a_layer_does_not_take_is_refused_where_it_is_called(call: Callable, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        call()
    assert str(caught.value) == said
    assert isinstance(caught.value, TypeError)


def test_a_tuple_for_a_bottom_is_refused_in_caffes_words_with_what_to_do_noted() -> None:
    with pytest.raises(SpecError) as caught:
        L.Silence(L.Data(ntop=2), ntop=0)
    assert str(caught.value) == "Silence input 0 is not a Top (type is <class 'tuple'>)"
    assert caught.value.__notes__ == ["help: a layer with several tops returns a tuple: write *tops"]


def test_unknown_types_and_constants_are_refused_with_a_near_name() -> None:
    with pytest.raises(NktcError, match='unknown layer type "Convolutionn"') as caught:
        L.Convolutionn(X)
    assert caught.value.help == 'did you mean "Convolution"?'
    with pytest.raises(AttributeError, match=re.escape('called "Poling": did you mean "Pooling"?')):
        P.Poling  # noqa: B018
    with pytest.raises(AttributeError):
        P.Pooling.MAXIMUM  # noqa: B018


def test_a_net_in_python_is_built_as_it_is() -> None:
    n = NetSpec()
    n.x = L.Input(shape=dict(dim=[1, 4]))
    n.y = L.InnerProduct(n.x, num_output=3)
    graph = reader.build(reader.from_message(n.to_proto()), Phase.TEST)
    assert [node.name for node in graph] == ["x", "y"]


def test_num_output_of_an_lstm_is_recurrent_not_that_of_ctpns_lstm() -> None:
    n = NetSpec()
    n.x = L.Input(shape=dict(dim=[2, 1, 3]))
    n.c = L.Input(shape=dict(dim=[2, 1]))
    n.h = L.LSTM(n.x, n.c, num_output=4)
    assert n.to_proto().layer[2].recurrent_param.num_output == 4


def test_what_only_forks_have_is_written_for_them() -> None:
    n = NetSpec()
    resize = dict(resize_mode=P.Resize.WARP, height=300, interp_mode=[P.Resize.NEAREST, P.Resize.CUBIC])
    sampler = [dict(sampler={}, max_trials=1), dict(sampler=dict(min_scale=0.5))]
    n.data, n.label = L.AnnotatedData(
        ntop=2, transform_param=dict(resize_param=resize), annotated_data_param=dict(batch_sampler=sampler)
    )
    n.loss = L.MultiBoxLoss(n.data, n.label, multibox_loss_param=dict(num_classes=21))
    made = str(n.to_proto())
    for said in ("resize_mode: WARP", "interp_mode: NEAREST", "interp_mode: CUBIC", "max_trials: 1", "num_classes: 21"):
        assert said in made
    assert made.count("sampler {") == 3  # two batch_samplers; an empty dict says nothing
    own = L.Resize(n.data, size=[4], mode=P.Resize.CUBIC)
    assert own.to_proto().layer[1].resize_param.mode == 2
    with pytest.raises(AttributeError, match='there is no constant "CUBICC": did you mean'):
        _ = P.Resize.CUBICC


def test_a_setting_that_a_fork_has_elsewhere_stays_where_everybody_has_it() -> None:
    n = NetSpec()
    n.data, n.label = L.ImageData(source="list.txt", mean_value=[1, 2, 3], ntop=2)
    assert list(n.to_proto().layer[0].transform_param.mean_value) == [1, 2, 3]


def test_names_and_settings_are_listed_and_changed_as_in_the_ssd_fork() -> None:
    n = NetSpec()
    n.x = L.Input(shape=dict(dim=[1, 2, 8, 8]))
    n.c = L.Convolution(n.x, num_output=2, kernel_size=3)
    assert (n.keys()[-1], n.vals()) == ("c", [n.x, n.c])
    n.update("c", dict(pad=1, num_output=5))
    assert n.c.fn.params == {"num_output": 5, "kernel_size": 3, "pad": 1}
    assert (n.c.fn.ntop, list(n.to_proto().layer[1].convolution_param.pad)) == (1, [1])
    with pytest.raises(SpecError, match='has no setting "padd"'):
        n.update("c", dict(padd=2))
    n.update("c", dict(pad=3))  # what was refused is forgotten
    assert list(n.to_proto().layer[1].convolution_param.pad) == [3]


def test_of_a_setting_that_is_given_twice_the_last_counts_and_messages_are_put_together() -> None:
    x = L.Input(shape=dict(dim=[1, 2, 8, 8]))
    filler = dict(type="gaussian", std=0.1)
    y = L.Convolution(
        x, num_output=2, weight_filler=filler, convolution_param=dict(num_output=3, weight_filler=dict(std=1))
    )
    p = y.to_proto().layer[1].convolution_param
    assert (p.num_output, p.weight_filler.type, p.weight_filler.std) == (3, "gaussian", 1)
