"""What a graph costs, against known figures, closed forms, and what torch holds when the graph really runs."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nktc import ir, module
from nktc.errors import NktcError
from nktc.ir import Cost, Graph, Phase
from nktc.layers.pooling import ChannelsInnermost

Read = Callable[..., Graph]


def net(*layers: str, images: tuple[int, ...] = (2, 3, 227, 227)) -> str:
    """A net over images and labels. A layer is a type with its settings, over the layer before; a "!" in front has it
    work in place."""
    dims = " ".join(f"dim: {n}" for n in images)
    shapes = f"shape {{ {dims} }} shape {{ dim: {images[0]} }}"
    lines = [f'layer {{ name: "x" type: "Input" top: "x" top: "label" input_param {{ {shapes} }} }}']
    below = "x"
    for position, layer in enumerate(layers):
        kind, _, settings = layer.lstrip("!").partition(" ")
        top = below if layer.startswith("!") else f"y{position}"
        label = 'bottom: "label"' if kind == "SoftmaxWithLoss" else ""
        lines.append(
            f'layer {{ name: "l{position}" type: "{kind}" bottom: "{below}" {label} top: "{top}" {settings} }}'
        )
        below = top
    return "\n".join(lines)


def convolution(outputs: int, kernel: int, more: str = "") -> str:
    return f"Convolution convolution_param {{ num_output: {outputs} kernel_size: {kernel} {more} }}"


def connected(outputs: int) -> str:
    return f"InnerProduct inner_product_param {{ num_output: {outputs} }}"


POOL = "Pooling pooling_param { kernel_size: 3 stride: 2 }"
LRN = "LRN lrn_param { local_size: 5 alpha: 0.0001 }"


def alexnet(hidden: int, **more: Any) -> str:
    return net(
        *(convolution(96, 11, "stride: 4"), "!ReLU", LRN, POOL),
        *(convolution(256, 5, "pad: 2 group: 2"), "!ReLU", LRN, POOL),
        *(convolution(384, 3, "pad: 1"), "!ReLU", convolution(384, 3, "pad: 1 group: 2"), "!ReLU"),
        *(convolution(256, 3, "pad: 1 group: 2"), "!ReLU", POOL),
        *(connected(hidden), "!ReLU", "!Dropout", connected(hidden), "!ReLU", "!Dropout"),
        *(connected(1000), "SoftmaxWithLoss"),
        **more,
    )


LENET = net(
    *(convolution(20, 5), "Pooling pooling_param { kernel_size: 2 stride: 2 }"),
    *(convolution(50, 5), "Pooling pooling_param { kernel_size: 2 stride: 2 }"),
    *(connected(500), "!ReLU", connected(10), "SoftmaxWithLoss"),
    images=(64, 1, 28, 28),
)
CIFAR10_QUICK = net(
    *(convolution(32, 5, "pad: 2"), POOL, "!ReLU"),
    *(convolution(32, 5, "pad: 2"), "!ReLU", "Pooling pooling_param { pool: AVE kernel_size: 3 stride: 2 }"),
    *(convolution(64, 5, "pad: 2"), "!ReLU", "Pooling pooling_param { pool: AVE kernel_size: 3 stride: 2 }"),
    *(connected(64), connected(10), "SoftmaxWithLoss"),
    images=(100, 3, 32, 32),
)
SMALL_ALEXNET = alexnet(64, images=(2, 3, 67, 67))
RESIDUAL = """
layer { name: "x" type: "Input" top: "x" top: "label"
  input_param { shape { dim: 4 dim: 8 dim: 16 dim: 16 } shape { dim: 4 } } }
layer { name: "a" type: "Convolution" bottom: "x" top: "a" convolution_param { num_output: 8 kernel_size: 1 } }
layer { name: "norm" type: "BatchNorm" bottom: "a" top: "a" }
layer { name: "scale" type: "Scale" bottom: "a" top: "a" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "a" top: "a" }
layer { name: "b" type: "Convolution" bottom: "a" top: "b" convolution_param { num_output: 8 kernel_size: 3 pad: 1 } }
layer { name: "sum" type: "Eltwise" bottom: "a" bottom: "b" top: "sum" }
layer { name: "joined" type: "Concat" bottom: "sum" bottom: "x" top: "joined" }
layer { name: "ip" type: "InnerProduct" bottom: "joined" top: "ip" inner_product_param { num_output: 10 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


@pytest.mark.parametrize(
    ("text", "parameters", "macs"),
    [
        # 520 + 25,050 + 400,500 + 5,010; 24 24 20 25 + 8 8 50 500 + 800 500 + 500 10
        (LENET, 431_080, 2_293_000),
        # 2,432 + 25,632 + 51,264 + 65,600 + 650; 32 32 32 75 + 16 16 32 800 + 8 8 64 800 + 1024 64 + 640
        (CIFAR10_QUICK, 145_578, 12_354_176),
        # What is published of AlexNet with its two groups.
        (alexnet(4096), 60_965_224, 724_406_816),
    ],
    ids=["lenet", "cifar10_quick", "alexnet"],
)
def test_known_nets_have_their_known_figures(read: Read, text: str, parameters: int, macs: int) -> None:
    cost = ir.cost(read(text), batch=3)
    assert (cost.parameters, cost.macs, cost.batch) == (parameters, 3 * macs, 3)


def test_a_layer_counts_what_it_makes_and_how(read: Read) -> None:
    layers = ir.cost(read(net(convolution(6, 3, "stride: 2 pad: 1 group: 3"), "!ReLU", images=(5, 3, 8, 9)))).layers
    assert [layer.values for layer in layers] == [5 * 3 * 8 * 9 + 5, 5 * 6 * 4 * 5, 5 * 6 * 4 * 5]
    assert layers[1].formula == "4x5 = floor((8-3+2*1)/2)+1 x (9-3+2*1)/2+1"
    assert layers[1].macs == 5 * 6 * 4 * 5 * 9 * 1
    assert (layers[2].macs, layers[2].flops) == (0, 5 * 6 * 4 * 5)


@pytest.fixture
def plain_pooling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts are those of a GPU; on a CPU pooling may keep less, and take scratch for it."""
    monkeypatch.setattr(ChannelsInnermost, "pays", lambda x: False)


class Watch(TorchDispatchMode):
    """The most bytes of tensors that live at once, and those alive now; what is there before does not count."""

    def __init__(self, *before: torch.Tensor) -> None:
        super().__init__()
        self.sizes = {t.untyped_storage()._cdata: 0 for t in before}
        self.most = 0

    def see(self, *found: Any) -> None:
        for tensor in tree_leaves(found):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in self.sizes:
                storage = tensor.untyped_storage()
                self.sizes[storage._cdata] = storage.nbytes()
                weakref.finalize(storage, self.sizes.pop, storage._cdata)
        self.most = max(self.most, sum(self.sizes.values()))

    def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = call(*args, **(kwargs or {}))
        self.see(made)
        return made


NETS = pytest.mark.parametrize(
    "text",
    [LENET, CIFAR10_QUICK, SMALL_ALEXNET, RESIDUAL],
    ids=["lenet", "cifar10_quick", "small alexnet", "residual"],
)


def ready(graph: Graph) -> tuple[module.Net, list[torch.Tensor], Watch]:
    found = module.compile(graph, seed=1)
    fed = [torch.rand(value.shape) for value in graph.inputs]
    watch = Watch(*found.parameters(), *found.buffers())
    watch.see(fed)
    return found, fed, watch


@NETS
@pytest.mark.usefixtures("plain_pooling")
def test_a_forward_holds_what_is_counted_within_a_hundredth(read: Read, text: str) -> None:
    graph = read(text)
    found, fed, watch = ready(graph)
    with torch.no_grad(), watch:
        found(*fed)
    cost = ir.cost(graph)
    # Scratch is not counted; LRN has one tensor of it.
    scratch = max((ir.size(node.outputs[0].shape) for node in graph if node.type == "LRN"), default=0)
    assert (cost.inference + scratch) * 4 == pytest.approx(watch.most, rel=0.01)
    assert cost.inference_bytes() == 4 * (cost.inference + sum(a.size for a in found.arrays().values()))


@NETS
@pytest.mark.usefixtures("plain_pooling")
def test_a_training_step_holds_what_is_counted_within_a_twentieth(read: Read, text: str) -> None:
    graph = read(text, Phase.TRAIN)
    found, fed, watch = ready(graph)
    saved: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        saved[storage._cdata] = watch.sizes.get(storage._cdata, 0)
        return tensor

    with watch:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = found.loss(found(*fed))
        loss.backward()
    cost = ir.cost(graph)
    assert 4 * sum(layer.saved for layer in cost.layers) == pytest.approx(sum(saved.values()), rel=0.05)
    # torch made the gradients of the weights too, one of them at a time beside the values'.
    assert 4 * (cost.training + cost.trained) == pytest.approx(watch.most, rel=0.05)
    assert cost.training_bytes() == 4 * (cost.training + 3 * cost.trained + cost.state)
    assert cost.training_bytes(half=True) == 2 * (cost.training + 7 * cost.parameters) + 4 * cost.state


def test_only_what_a_loss_can_teach_is_saved(read: Read) -> None:
    def saved(text: str, phase: Phase = Phase.TRAIN) -> list[int]:
        cost = ir.cost(read(text, phase))
        assert bool(cost.training) == any(layer.saved for layer in cost.layers)
        return [layer.saved for layer in cost.layers]

    layers = (connected(4), "TanH", connected(3), "SoftmaxWithLoss")
    assert saved(net(*layers, images=(2, 5))) == [0, 10, 8, 0, 8]
    assert saved(net(*layers, images=(2, 5)), Phase.TEST) == [0] * 5
    assert saved(net(*layers[:-1], images=(2, 5))) == [0] * 4
    frozen = connected(4) + " param { lr_mult: 0 } param { lr_mult: 0 }"
    assert saved(net(frozen, "TanH", connected(3), "SoftmaxWithLoss", images=(2, 5))) == [0, 0, 0, 8, 8]


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("phase", list(Phase))
def test_the_batch_that_fits_is_the_largest(read: Read, phase: Phase, half: bool) -> None:
    graph = read(CIFAR10_QUICK, phase)
    memory = 100_000_000
    fit = ir.cost(graph, memory=memory).fit
    assert fit is not None
    batch = fit.fp16 if half else fit.fp32
    assert batch
    assert ir.cost(graph, batch).bytes(half) <= memory < ir.cost(graph, batch + 1).bytes(half)


def test_a_net_may_fit_with_no_batch_or_keep_its_own(read: Read) -> None:
    fit = ir.cost(read(LENET), memory=500_000).fit
    assert fit is not None
    assert (fit.fp32, fit.fp16) == (0, 0)
    fixed = read(net("Reshape reshape_param { shape { dim: 6 dim: 2 } }", images=(2, 6)))
    found = ir.cost(fixed, memory=1_000_000)
    assert found.fit is not None
    assert found.fit.fp32 is None
    assert ir.cost_table(found).endswith("1 MB          the net takes no other batch than its own")


def test_a_batch_that_a_layer_does_not_take_is_refused_with_its_place(read: Read) -> None:
    with pytest.raises(NktcError) as caught:
        ir.cost(read(net("Reshape reshape_param { shape { dim: 6 dim: 2 } }", images=(2, 6))), batch=4)
    assert caught.value.message == 'Reshape "l0": its input 4x6 has 24 values, 6x2 has 12'
    assert caught.value.at is not None
    assert caught.value.at.line == 2


def test_the_table_has_a_line_a_layer(read: Read, golden: Callable[[object, str], None]) -> None:
    golden(
        ir.cost_table(ir.cost(read(LENET, Phase.TRAIN), memory=8_000_000_000)),
        """
        net net TRAIN, batch 64
          layer  type             output              size                parameters         MACs    makes    saves
          x      Input            [64 1 28 28], [64]                                                201 kB
          l0     Convolution      [64 20 24 24]       24x24 = (28-5)/1+1         520   18,432,000  2.95 MB   201 kB
          l1     Pooling          [64 20 12 12]       12x12 = (24-2)/2+1                            737 kB  4.42 MB
          l2     Convolution      [64 50 8 8]         8x8 = (12-5)/1+1        25,050  102,400,000   819 kB   737 kB
          l3     Pooling          [64 50 4 4]         4x4 = (8-2)/2+1                               205 kB  1.23 MB
          l4     InnerProduct     [64 500]                                   400,500   25,600,000   128 kB   205 kB
          l5     ReLU             [64 500]                                                          128 kB   128 kB
          l6     InnerProduct     [64 10]                                      5,010      320,000  2.56 kB
          l7     SoftmaxWithLoss  []                                                                   4 B  2.82 kB
          all                                                                431,080  146,752,000  5.17 MB  6.93 MB

          MACs an item  2,293,000
          inference     7.09 MB in fp32, 3.54 MB in fp16: weights, and the values alive at once
          training      13.5 MB in fp32, 10.2 MB in fp16: SGD with momentum; in fp16 the weights stay fp32
          8 GB          training fits a batch of 61,564 in fp32, 123,116 in fp16
        """,
    )


def test_the_data_has_what_the_table_has(read: Read) -> None:
    cost = ir.cost(read(LENET, Phase.TRAIN), memory=8_000_000_000)
    data = json.loads(json.dumps(ir.cost_data(cost)))
    assert (data["phase"], data["batch"], data["macs"]) == ("TRAIN", 64, cost.macs)
    assert data["layers"][1]["formula"] == "24x24 = (28-5)/1+1"
    assert data["training_bytes"] == {"fp32": cost.training_bytes(), "fp16": cost.training_bytes(half=True)}
    assert data["fit"]["memory"] == 8_000_000_000


@pytest.mark.parametrize(
    ("text", "count"),
    [("8GB", 8 * 10**9), ("512 MiB", 2**29), ("1.5g", 1_500_000_000), ("4096", 4096), ("2KB", 2000), ("7B", 7)],
)
def test_an_amount_of_memory_has_a_unit(text: str, count: int) -> None:
    assert ir.memory_size(text) == count


@pytest.mark.parametrize("text", ["", "much", "-1GB", "0", "1..5G", "8 QB", "9" * 400, "inf"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(NktcError, match="is no amount of memory") as caught:
        ir.memory_size(text)
    assert caught.value.help == "say 8GB, 512MiB or a number of bytes"


def test_a_cost_is_a_value(read: Read) -> None:
    assert isinstance(ir.cost(read(LENET)), Cost)
    assert ir.cost(read(LENET)) == ir.cost(read(LENET), batch=64)


def test_a_value_that_a_layer_takes_twice_is_counted_once(read: Read) -> None:
    once, twice = (
        read(
            'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }\n'
            'layer { name: "a" type: "TanH" bottom: "x" top: "a" }\n'
            f'layer {{ name: "y" type: "Eltwise" bottom: "a" bottom: "{other}" top: "y" }}'
        )
        for other in ("x", "a")
    )
    assert ir.cost(twice).inference == 18 == ir.cost(once).inference
