"""Nets of the training benchmark that nets/ has no recipe for: Caffe's own in layers and shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nktc.pycaffe import NetSpec, Top
from nktc.pycaffe import layers as L
from nktc.schema import NetParameter

GAUSSIAN = {"type": "gaussian", "std": 0.01}
XAVIER = {"type": "xavier"}
MSRA = {"type": "msra"}


def alexnet(batch: int) -> NetParameter:
    """bvlc_alexnet: LRN, convolutions in two groups, dropout."""
    n = NetSpec()
    n.data, n.label = _inputs(batch, 227)
    x = _rectified(n, "conv1", _convolution(n.data, 96, 11, stride=4))
    n.norm1 = _lrn(x)
    n.pool1 = _pool(n.norm1)
    x = _rectified(n, "conv2", _convolution(n.pool1, 256, 5, pad=2, group=2, bias=0.1))
    n.norm2 = _lrn(x)
    n.pool2 = _pool(n.norm2)
    x = _rectified(n, "conv3", _convolution(n.pool2, 384, 3, pad=1))
    x = _rectified(n, "conv4", _convolution(x, 384, 3, pad=1, group=2, bias=0.1))
    x = _rectified(n, "conv5", _convolution(x, 256, 3, pad=1, group=2, bias=0.1))
    x = n.pool5 = _pool(x)
    for name in ("6", "7"):
        x = _rectified(n, f"fc{name}", _product(x, 4096, std=0.005))
        x = n[f"drop{name}"] = L.Dropout(x, dropout_ratio=0.5, in_place=True)
    n.fc8 = _product(x, 1000, std=0.01)
    n.loss = L.SoftmaxWithLoss(n.fc8, n.label)
    return n.to_proto()


def resnet18(batch: int) -> NetParameter:
    """ResNet-18 for pictures of 32 by 32: no pooling before the last, every convolution with BatchNorm and Scale."""
    n = NetSpec()
    n.data, n.label = _inputs(batch, 32)

    def normalised(name: str, x: Top, width: int, kernel: int, stride: int = 1) -> Top:
        n[name] = L.Convolution(
            x,
            num_output=width,
            kernel_size=kernel,
            stride=stride,
            pad=kernel // 2,
            bias_term=False,
            weight_filler=MSRA,
        )
        n[f"{name}_bn"] = L.BatchNorm(n[name], in_place=True)
        n[f"{name}_scale"] = L.Scale(n[f"{name}_bn"], in_place=True, bias_term=True)
        return n[f"{name}_scale"]

    def rectified(name: str, x: Top) -> Top:
        n[f"{name}_relu"] = L.ReLU(x, in_place=True)
        return n[f"{name}_relu"]

    x = rectified("conv1", normalised("conv1", n.data, 64, 3))
    for stage, width in enumerate((64, 128, 256, 512), 2):
        for block in "ab":
            name = f"res{stage}{block}"
            stride = 2 if stage > 2 and block == "a" else 1
            y = rectified(f"{name}_1", normalised(f"{name}_1", x, width, 3, stride))
            y = normalised(f"{name}_2", y, width, 3)
            if stride == 2:
                x = normalised(f"{name}_short", x, width, 1, stride)
            n[name] = L.Eltwise(y, x)
            x = rectified(name, n[name])
    n.pool = L.Pooling(x, pool="AVE", global_pooling=True)
    n.fc = _product(n.pool, 10)
    n.loss = L.SoftmaxWithLoss(n.fc, n.label)
    return n.to_proto()


INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
"""Widths of GoogLeNet's modules: 1x1; before 3x3, 3x3; before 5x5, 5x5; behind the pooling."""


def googlenet(batch: int) -> NetParameter:
    """bvlc_googlenet: LRN, concatenated branches, three losses."""
    n = NetSpec()
    n.data, n.label = _inputs(batch, 224)

    def convolved(name: str, x: Top, width: int, kernel: int, stride: int = 1) -> Top:
        made = _convolution(x, width, kernel, stride=stride, pad=kernel // 2, filler=XAVIER, bias=0.2)
        return _rectified(n, name, made)

    def classified(name: str, x: Top, weight: float) -> None:
        n[f"{name}/ave_pool"] = _pool(x, 5, 3, pool="AVE")
        x = convolved(f"{name}/conv", n[f"{name}/ave_pool"], 128, 1)
        x = _rectified(n, f"{name}/fc", _product(x, 1024))
        n[f"{name}/drop_fc"] = L.Dropout(x, dropout_ratio=0.7, in_place=True)
        n[f"{name}/classifier"] = _product(n[f"{name}/drop_fc"], 1000)
        n[f"{name}/loss"] = L.SoftmaxWithLoss(n[f"{name}/classifier"], n.label, loss_weight=weight)

    x = convolved("conv1", n.data, 64, 7, 2)
    n.pool1 = _pool(x)
    n.norm1 = _lrn(n.pool1)
    x = convolved("conv2", convolved("conv2_reduce", n.norm1, 64, 1), 192, 3)
    n.norm2 = _lrn(x)
    x = n.pool2 = _pool(n.norm2)
    for name, (one, before3, three, before5, five, pooled) in INCEPTIONS.items():
        if name in ("4a", "5a"):
            x = n[f"pool{int(name[0]) - 1}"] = _pool(x)
        at = f"inception_{name}"
        branches = [
            convolved(f"{at}/1x1", x, one, 1),
            convolved(f"{at}/3x3", convolved(f"{at}/3x3_reduce", x, before3, 1), three, 3),
            convolved(f"{at}/5x5", convolved(f"{at}/5x5_reduce", x, before5, 1), five, 5),
        ]
        n[f"{at}/pool"] = L.Pooling(x, kernel_size=3, stride=1, pad=1)
        branches.append(convolved(f"{at}/pool_proj", n[f"{at}/pool"], pooled, 1))
        x = n[f"{at}/output"] = L.Concat(*branches)
        if name in ("4a", "4d"):
            classified("loss1" if name == "4a" else "loss2", x, 0.3)
    n.pool5 = _pool(x, 7, 1, pool="AVE")
    n.drop5 = L.Dropout(n.pool5, dropout_ratio=0.4, in_place=True)
    n.classifier = _product(n.drop5, 1000)
    n.loss = L.SoftmaxWithLoss(n.classifier, n.label)
    return n.to_proto()


def _inputs(batch: int, size: int) -> Any:
    """Colour pictures and their labels."""
    shapes = [{"dim": [batch, 3, size, size]}, {"dim": [batch]}]
    return L.Input(shape=shapes, ntop=2)


def _convolution(
    x: Top, width: int, kernel: int, *, filler: dict[str, Any] = GAUSSIAN, bias: float = 0.0, **settings: Any
) -> Top:
    bias_filler = {"type": "constant", "value": bias}
    return L.Convolution(
        x, num_output=width, kernel_size=kernel, weight_filler=filler, bias_filler=bias_filler, **settings
    )


def _rectified(n: NetSpec, name: str, made: Top) -> Top:
    """What was made, under its name, with its ReLU in place."""
    n[name] = made
    n[f"relu_{name}"] = L.ReLU(made, in_place=True)
    return n[f"relu_{name}"]


def _product(x: Top, width: int, std: float = 0.0) -> Top:
    filler = {"type": "gaussian", "std": std} if std else XAVIER
    return L.InnerProduct(x, num_output=width, weight_filler=filler, bias_filler={"type": "constant"})


def _pool(x: Top, kernel: int = 3, stride: int = 2, **settings: Any) -> Top:
    return L.Pooling(x, kernel_size=kernel, stride=stride, **settings)


def _lrn(x: Top) -> Top:
    return L.LRN(x, local_size=5, alpha=0.0001, beta=0.75)


NETS: dict[str, tuple[Callable[[int], NetParameter], int]] = {
    "alexnet": (alexnet, 16),
    "resnet18": (resnet18, 64),
    "googlenet": (googlenet, 16),
}
"""Each net, and a batch that a few cores get through."""
