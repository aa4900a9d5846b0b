"""What an expert writes by hand for the nets of the training benchmark, weights in the order of nets.py."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nets import INCEPTIONS


class Cifar10Quick(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 32, 5, padding=2), nn.Conv2d(32, 32, 5, padding=2)
        self.conv3 = nn.Conv2d(32, 64, 5, padding=2)
        self.ip1, self.ip2 = nn.Linear(1024, 64), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(F.max_pool2d(self.conv1(x), 3, 2, ceil_mode=True), inplace=True)
        x = F.avg_pool2d(F.relu(self.conv2(x), inplace=True), 3, 2, ceil_mode=True)
        x = F.avg_pool2d(F.relu(self.conv3(x), inplace=True), 3, 2, ceil_mode=True)
        return self.ip2(self.ip1(x.flatten(1)))


class LeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 20, 5), nn.Conv2d(20, 50, 5)
        self.ip1, self.ip2 = nn.Linear(800, 500), nn.Linear(500, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.conv1(x), 2)
        x = F.max_pool2d(self.conv2(x), 2)
        return self.ip2(F.relu(self.ip1(x.flatten(1)), inplace=True))


class AlexNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, 11, 4)
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2, groups=2)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1, groups=2)
        self.fc6, self.fc7, self.fc8 = nn.Linear(9216, 4096), nn.Linear(4096, 4096), nn.Linear(4096, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(_lrn(F.relu(self.conv1(x), inplace=True)), 3, 2)
        x = F.max_pool2d(_lrn(F.relu(self.conv2(x), inplace=True)), 3, 2)
        x = F.relu(self.conv3(x), inplace=True)
        x = F.relu(self.conv4(x), inplace=True)
        x = F.max_pool2d(F.relu(self.conv5(x), inplace=True), 3, 2)
        x = F.dropout(F.relu(self.fc6(x.flatten(1)), inplace=True))
        return self.fc8(F.dropout(F.relu(self.fc7(x), inplace=True)))


class Block(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.short = None
        if stride > 1:
            self.short = nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        y += x if self.short is None else self.short(x)
        return F.relu(y, inplace=True)


class ResNet18(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64)
        widths = (64, 64, 64, 128, 128, 256, 256, 512, 512)
        pairs = itertools.pairwise(widths)
        self.blocks = nn.Sequential(*(Block(a, b, 1 if a == b else 2) for a, b in pairs))
        self.fc = nn.Linear(512, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu(self.bn1(self.conv1(x)), inplace=True))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Convolved(nn.Conv2d):
    """A convolution that keeps the size but for its stride, and its ReLU."""

    def __init__(self, inputs: int, width: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inputs, width, kernel, stride, kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x), inplace=True)


class Inception(nn.Module):
    def __init__(self, inputs: int, one: int, before3: int, three: int, before5: int, five: int, pooled: int) -> None:
        super().__init__()
        self.one = Convolved(inputs, one, 1)
        self.three = nn.Sequential(Convolved(inputs, before3, 1), Convolved(before3, three, 3))
        self.five = nn.Sequential(Convolved(inputs, before5, 1), Convolved(before5, five, 5))
        self.pooled = Convolved(inputs, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pooled(F.max_pool2d(x, 3, 1, 1))], 1)


class Aside(nn.Module):
    """A classifier on the way."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.conv = Convolved(inputs, 128, 1)
        self.fc, self.classifier = nn.Linear(2048, 1024), nn.Linear(1024, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(F.avg_pool2d(x, 5, 3, ceil_mode=True)).flatten(1)
        return self.classifier(F.dropout(F.relu(self.fc(x), inplace=True), 0.7))


class GoogLeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.reduce, self.conv2 = Convolved(3, 64, 7, 2), Convolved(64, 64, 1), Convolved(64, 192, 3)
        inputs = 192
        for name, widths in INCEPTIONS.items():
            self.add_module(name, Inception(inputs, *widths))
            inputs = widths[0] + widths[2] + widths[4] + widths[5]
            if name in ("4a", "4d"):
                self.add_module(f"loss_{name}", Aside(inputs))
        self.classifier = nn.Linear(1024, 1000)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = _lrn(F.max_pool2d(self.conv1(x), 3, 2, ceil_mode=True))
        x = F.max_pool2d(_lrn(self.conv2(self.reduce(x))), 3, 2, ceil_mode=True)
        aside = []
        for name in INCEPTIONS:
            if name in ("4a", "5a"):
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)
            x = self.get_submodule(name)(x)
            if name in ("4a", "4d"):
                aside.append(self.get_submodule(f"loss_{name}")(x))
        return self.classifier(F.dropout(F.avg_pool2d(x, 7, 1).flatten(1), 0.4)), *aside


def _lrn(x: Tensor) -> Tensor:
    return F.local_response_norm(x, 5, 0.0001, 0.75)


def loss(scores: Tensor | tuple[Tensor, ...], labels: Tensor) -> Tensor:
    """The cross-entropy; scores made on the way count 0.3 times."""
    if isinstance(scores, Tensor):
        return F.cross_entropy(scores, labels)
    last, *aside = (F.cross_entropy(one, labels) for one in scores)
    return last + 0.3 * sum(aside[1:], start=aside[0])


MODELS: dict[str, Callable[[], nn.Module]] = {
    "cifar10_quick": Cifar10Quick,
    "lenet": LeNet,
    "alexnet": AlexNet,
    "resnet18": ResNet18,
    "googlenet": GoogLeNet,
}
