"""Small nets of one layer, by layer type: what the contract test runs every type of the catalogue through."""

from __future__ import annotations

from dataclasses import dataclass

from nktc import reader
from nktc.ir import Graph, Phase, Shape


@dataclass(frozen=True)
class Example:
    """`settings` stand inside the layer; `inputs` are the shapes of its bottoms; `classes`: its last bottom holds
    labels, numbers below that; `follows`: it takes any batch."""

    type: str
    settings: str
    inputs: tuple[Shape, ...]
    tops: int = 1
    phase: Phase = Phase.TEST
    classes: int = 0
    follows: bool = True

    def text(self) -> str:
        """The net in prototxt: inputs x0, x1, .. and the layer "it" with tops y0, y1, .."""
        dims = (" ".join(f"dim: {n}" for n in shape) for shape in self.inputs)
        lines = [
            f'layer {{ name: "x{i}" type: "Input" top: "x{i}" input_param {{ shape {{ {d} }} }} }}'
            for i, d in enumerate(dims)
        ]
        bottoms = " ".join(f'bottom: "x{i}"' for i in range(len(self.inputs)))
        tops = " ".join(f'top: "y{i}"' for i in range(self.tops))
        lines.append(f'layer {{ name: "it" type: "{self.type}" {bottoms} {tops} {self.settings} }}')
        return "\n".join(lines)

    def graph(self) -> Graph:
        return reader.build(reader.parse_net(self.text()), self.phase)

    def __str__(self) -> str:
        return f"{self.type}-{self.settings.replace(' ', '')}-{self.phase.name}"


IMAGE = (2, 4, 6, 5)

EXAMPLES = [
    Example("Accuracy", "", ((6, 5), (6,)), classes=5),
    Example("Accuracy", "accuracy_param { top_k: 2 ignore_label: 1 }", ((2, 5, 3), (2, 3)), tops=2, classes=5),
    Example("Accuracy", "accuracy_param { axis: -1 }", ((2, 3, 5), (2, 3)), classes=5),
    Example("BatchNorm", "", (IMAGE,)),
    Example("BatchNorm", "", (IMAGE,), phase=Phase.TRAIN),
    Example("BatchNorm", "batch_norm_param { use_global_stats: false eps: 0.1 }", ((6, 3),)),
    Example("BatchNorm", "batch_norm_param { use_global_stats: true }", ((4, 3, 2, 2, 2),), phase=Phase.TRAIN),
    Example("BatchNorm", "", ((1, 3, 1, 1),), phase=Phase.TRAIN, follows=False),
    Example("Concat", "", ((2, 3, 4), (2, 1, 4), (2, 2, 4))),
    Example("Concat", "concat_param { axis: -1 }", ((2, 3), (2, 4))),
    Example("Concat", "concat_param { concat_dim: 0 }", ((2, 3), (1, 3)), follows=False),
    Example("Concat", "", ((2, 3),)),
    Example("Convolution", "convolution_param { num_output: 3 kernel_size: 3 }", (IMAGE,)),
    Example(
        "Convolution",
        "convolution_param { num_output: 4 kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1 pad_w: 1 group: 2 }",
        (IMAGE,),
    ),
    Example(
        "Convolution",
        "convolution_param { num_output: 8 group: 4 kernel_size: 2 dilation: 2 pad: 1 bias_term: false }",
        (IMAGE,),
    ),
    Example("Convolution", "convolution_param { num_output: 3 kernel_size: 1 }", (IMAGE, IMAGE), tops=2),
    Example("Convolution", "convolution_param { num_output: 2 kernel_size: 3 stride: 2 pad: 1 }", ((2, 3, 7),)),
    Example("Convolution", "convolution_param { num_output: 2 kernel_size: 2 }", ((1, 2, 3, 4, 3),)),
    Example("Convolution", "convolution_param { num_output: 2 kernel_size: 2 axis: 2 }", ((2, 3, 2, 4, 3),)),
    Example("Convolution", "convolution_param { num_output: 2 kernel_size: 2 axis: -3 }", (IMAGE,)),
    Example(
        "Convolution",
        "convolution_param { num_output: 2 kernel_size: 2 axis: 0 }",
        ((4, 5, 3),),
        follows=False,
    ),
    Example("Convolution", "convolution_param { num_output: 4 group: 2 }", ((3, 6),)),
    Example("Dropout", "", (IMAGE,)),
    Example("DummyData", "dummy_data_param { shape { dim: 2 dim: 3 } data_filler { value: 2 } }", ()),
    Example("Eltwise", "", (IMAGE, IMAGE)),
    Example("Eltwise", "eltwise_param { coeff: 2 coeff: -1 coeff: 0.5 }", ((2, 3), (2, 3), (2, 3))),
    Example("Eltwise", "eltwise_param { operation: PROD }", ((2, 3), (2, 3), (2, 3))),
    Example("Eltwise", "eltwise_param { operation: PROD stable_prod_grad: false }", ((2, 3), (2, 3), (2, 3))),
    Example("Eltwise", "eltwise_param { operation: MAX }", ((2, 3), (2, 3), (2, 3))),
    Example("EuclideanLoss", "", ((3, 4), (3, 2, 2))),
    Example("Flatten", "", (IMAGE,)),
    Example("Flatten", "flatten_param { axis: 0 end_axis: 1 }", ((2, 3, 4),)),
    Example("Flatten", "flatten_param { axis: -2 }", (IMAGE,)),
    Example("InnerProduct", "inner_product_param { num_output: 3 }", (IMAGE,)),
    Example("InnerProduct", "inner_product_param { num_output: 3 bias_term: false }", ((4, 5),)),
    Example("InnerProduct", "inner_product_param { num_output: 3 axis: 2 transpose: true }", ((2, 3, 4, 5),)),
    Example("InnerProduct", "inner_product_param { num_output: 3 axis: -1 }", ((2, 3, 4),)),
    Example("InnerProduct", "inner_product_param { num_output: 3 axis: 0 }", ((2, 4),), follows=False),
    Example("LRN", "", (IMAGE,)),
    Example("LRN", "lrn_param { local_size: 3 alpha: 0.7 beta: 0.6 k: 2 }", (IMAGE,)),
    Example("LRN", "lrn_param { local_size: 3 alpha: 0.7 norm_region: WITHIN_CHANNEL k: 2 }", (IMAGE,)),
    Example("Pooling", "pooling_param { kernel_size: 2 stride: 2 }", (IMAGE,)),
    Example("Pooling", "pooling_param { kernel_size: 3 stride: 2 pad: 1 }", (IMAGE,)),
    Example("Pooling", "pooling_param { kernel_size: 3 stride: 2 pad: 2 }", (IMAGE,)),
    Example("Pooling", "pooling_param { kernel_h: 2 kernel_w: 3 stride: 2 round_mode: FLOOR }", (IMAGE,)),
    Example("Pooling", "pooling_param { global_pooling: true }", (IMAGE,)),
    Example("Pooling", "pooling_param { pool: AVE global_pooling: true }", (IMAGE,)),
    Example("Pooling", "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }", (IMAGE,)),
    Example("Pooling", "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 2 }", (IMAGE,)),
    Example("Pooling", "pooling_param { pool: AVE kernel_size: 3 stride: 3 }", (IMAGE,)),
    Example("ReLU", "", (IMAGE,)),
    Example("ReLU", "relu_param { negative_slope: 0.1 }", (IMAGE,)),
    Example("Reshape", "reshape_param { shape { dim: 0 dim: -1 } }", (IMAGE,)),
    Example("Reshape", "reshape_param { shape { dim: 2 dim: 2 } axis: 1 num_axes: 1 }", (IMAGE,)),
    Example("Reshape", "reshape_param { shape { dim: 1 } axis: -1 num_axes: 0 }", ((2, 3),)),
    Example("Reshape", "reshape_param { shape { dim: 6 dim: 2 } }", ((2, 6),), follows=False),
    Example("Scale", "", (IMAGE,)),
    Example("Scale", "scale_param { bias_term: true num_axes: 2 }", (IMAGE,)),
    Example("Scale", "scale_param { bias_term: true num_axes: -1 axis: -2 }", (IMAGE,)),
    Example("Scale", "scale_param { num_axes: 0 }", (IMAGE,)),
    Example("Scale", "scale_param { axis: 0 }", ((2, 3), (2,))),
    Example("Scale", "scale_param { axis: 0 }", ((2, 3, 4), (2, 3, 4))),
    Example("Scale", "scale_param { bias_term: true }", (IMAGE, (4, 6)), follows=False),
    Example("Sigmoid", "", (IMAGE,)),
    Example("Softmax", "", (IMAGE,)),
    Example("Softmax", "softmax_param { axis: -1 }", (IMAGE,)),
    Example("SoftmaxWithLoss", "", ((4, 5), (4,)), classes=5),
    Example("SoftmaxWithLoss", "", ((2, 5, 3, 2), (2, 1, 3, 2)), classes=5),
    Example("SoftmaxWithLoss", "softmax_param { axis: 2 }", ((2, 3, 4), (2, 3)), classes=4),
    Example("SoftmaxWithLoss", "loss_param { ignore_label: 1 }", ((6, 3), (6,)), classes=3),
    Example("SoftmaxWithLoss", "loss_param { normalization: NONE }", ((6, 3), (6,)), classes=3),
    Example("SoftmaxWithLoss", "loss_weight: 1 loss_weight: 0", ((6, 3), (6,)), tops=2, classes=3),
    Example("TanH", "", (IMAGE,)),
]
