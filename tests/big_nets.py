"""Prototxt of well-known shape and size, written by program: as large as the nets people bring."""

from __future__ import annotations

from collections.abc import Sequence


def googlenet(size: int = 224, classes: int = 1000) -> str:
    """Nine inception modules between a stem and a classifier, layers named module/branch; 84 layers with weights or
    pools, in-place ReLUs."""
    net = _Net("GoogLeNet")
    net.input("data", (1, 3, size, size))
    x = net.convolution("conv1/7x7_s2", "data", 64, 7, 2)
    x = net.pool("pool1/3x3_s2", x, 3, 2)
    x = net.layer("pool1/norm1", "LRN", [x], "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }")
    x = net.convolution("conv2/3x3_reduce", x, 64, 1)
    x = net.convolution("conv2/3x3", x, 192, 3)
    x = net.layer("conv2/norm2", "LRN", [x], "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }")
    x = net.pool("pool2/3x3_s2", x, 3, 2)
    widths = {
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
    for name, (one, reduce3, three, reduce5, five, pooled) in widths.items():
        at = f"inception_{name}"
        if name in ("4a", "5a"):
            x = net.pool(f"pool{int(name[0]) - 1}/3x3_s2", x, 3, 2)
        branches = [
            net.convolution(f"{at}/1x1", x, one, 1),
            net.convolution(f"{at}/3x3", net.convolution(f"{at}/3x3_reduce", x, reduce3, 1), three, 3),
            net.convolution(f"{at}/5x5", net.convolution(f"{at}/5x5_reduce", x, reduce5, 1), five, 5),
            net.convolution(f"{at}/pool_proj", net.pool(f"{at}/pool", x, 3, 1, 1), pooled, 1),
        ]
        x = net.layer(f"{at}/output", "Concat", branches)
    x = net.layer("pool5/7x7_s1", "Pooling", [x], "pooling_param { pool: AVE global_pooling: true }")
    net.layer("pool5/drop", "Dropout", [x], "dropout_param { dropout_ratio: 0.4 }", top=x)
    x = net.layer("loss3/classifier", "InnerProduct", [x], f"inner_product_param {{ num_output: {classes} }}")
    net.layer("prob", "Softmax", [x])
    return net.text()


class _Net:
    def __init__(self, name: str) -> None:
        self.lines = [f'name: "{name}"']

    def text(self) -> str:
        return "\n".join(self.lines) + "\n"

    def layer(self, name: str, kind: str, bottoms: Sequence[str], settings: str = "", top: str = "") -> str:
        """Adds a layer and returns its top, which is called as it is unless said otherwise."""
        connected = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
        self.lines.append(f'layer {{ name: "{name}" type: "{kind}" {connected} top: "{top or name}" {settings} }}')
        return top or name

    def input(self, name: str, shape: Sequence[int]) -> str:
        dims = " ".join(f"dim: {n}" for n in shape)
        return self.layer(name, "Input", [], f"input_param {{ shape {{ {dims} }} }}")

    def convolution(self, name: str, x: str, outputs: int, kernel: int, stride: int = 1) -> str:
        """A convolution that keeps the size but for its stride, and its ReLU in place."""
        filler = 'weight_filler { type: "xavier" }'
        settings = f"num_output: {outputs} kernel_size: {kernel} stride: {stride} pad: {kernel // 2} {filler}"
        y = self.layer(name, "Convolution", [x], f"convolution_param {{ {settings} }}")
        family, _, last = name.partition("/")
        return self.layer(f"{family}/relu_{last}", "ReLU", [y], top=y)

    def pool(self, name: str, x: str, kernel: int, stride: int, pad: int = 0) -> str:
        return self.layer(
            name, "Pooling", [x], f"pooling_param {{ kernel_size: {kernel} stride: {stride} pad: {pad} }}"
        )
