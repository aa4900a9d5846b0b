"""Listings, whole."""

from __future__ import annotations

from pathlib import Path

from nktc import checking, ir
from nktc.ir import Phase

ROOT = Path(__file__).parents[2]


def test_lenet_in_training(golden):
    golden(
        checking.graphs(ROOT / "nets/lenet/train.prototxt", [Phase.TRAIN])[0],
        """
        net LeNet TRAIN
          data, label f32[64 1 28 28], f32[64] = Dataset(name=mnist batch=64 split=TRAIN transform=(scale=0.00390625))  # mnist
          conv1       f32[64 20 24 24]         = Convolution(outputs=20 kernel=5) <- data
          pool1       f32[64 20 12 12]         = Pooling(method=MAX kernel=2 stride=2) <- conv1
          conv2       f32[64 50 8 8]           = Convolution(outputs=50 kernel=5) <- pool1
          pool2       f32[64 50 4 4]           = Pooling(method=MAX kernel=2 stride=2) <- conv2
          ip1@ip1     f32[64 500]              = InnerProduct(outputs=500) <- pool2  # ip1
          ip1         f32[64 500]              = ReLU <- ip1@ip1  # relu1
          ip2         f32[64 10]               = InnerProduct(outputs=10) <- ip1
          loss        f32[]                    = SoftmaxWithLoss <- ip2, label
        """,  # noqa: E501
    )


def test_the_mlp_in_testing(golden):
    golden(
        checking.graphs(ROOT / "nets/mlp/train.prototxt", [Phase.TEST])[0],
        """
        net mlp TEST
          data, label   f32[60 1 8 8], f32[60] = Dataset(name=digits batch=60 split=TEST shuffle=True transform=(scale=0.00392157))  # digits
          hidden@hidden f32[60 32]             = InnerProduct(outputs=32) <- data  # hidden
          hidden        f32[60 32]             = ReLU <- hidden@hidden  # relu
          score         f32[60 10]             = InnerProduct(outputs=10) <- hidden
          loss          f32[]                  = SoftmaxWithLoss <- score, label
          accuracy      f32[]                  = Accuracy <- score, label
        """,  # noqa: E501
    )


def test_settings_that_differ_from_their_defaults_are_told(read, golden):
    golden(
        read("""
            name: "all sorts"
            layer { name: "in" type: "Input" top: "x" top: "y" input_param { shape { dim: 2 dim: 4 dim: 9 dim: 9 } } }
            layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param {
                      num_output: 6 kernel_h: 3 kernel_w: 2 stride: 2 pad: 1 group: 2 bias_term: false } }
            layer { name: "p" type: "Pooling" bottom: "c" top: "p" pooling_param { pool: AVE kernel_size: 2 } }
            layer { name: "n" type: "LRN" bottom: "p" top: "n" lrn_param { local_size: 3 alpha: 0.0001 } }
            layer { name: "r" type: "ReLU" bottom: "n" top: "r" relu_param { negative_slope: 0.1 } }
            layer { name: "e" type: "Eltwise" bottom: "x" bottom: "y" top: "e"
                    eltwise_param { coeff: 1 coeff: -1 } }
            layer { name: "s" type: "Reshape" bottom: "e" top: "s" reshape_param { shape { dim: 0 dim: -1 } } }
        """),
        """
        net all sorts TEST
          x, y f32[2 4 9 9], f32[2 4 9 9] = Input  # in
          c    f32[2 6 5 5]               = Convolution(outputs=6 kernel=3x2 stride=2 pad=1 group=2 bias=False) <- x
          p    f32[2 6 4 4]               = Pooling(method=AVE kernel=2) <- c
          n    f32[2 6 4 4]               = LRN(size=3 alpha=0.0001) <- p
          r    f32[2 6 4 4]               = ReLU(negative_slope=0.1) <- n
          e    f32[2 4 9 9]               = Eltwise(coefficients=1x-1) <- x, y
          s    f32[2 324]                 = Reshape(dims=0x-1) <- e
        """,
    )


def test_a_net_without_layers_is_one_line(read):
    assert ir.listing(read('name: "nothing"')) == "net nothing TEST"
