"""A graph as a module: what it holds, shares, frees and cuts; its names, its seed, torch.compile."""

from __future__ import annotations

import copy
import dataclasses
import weakref

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nktc import layers, module
from nktc.errors import NktcError
from nktc.ir import Graph, Phase

CHAIN = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 } } }
    layer { name: "a" type: "InnerProduct" bottom: "x" top: "a"
            inner_product_param { num_output: 3 weight_filler { type: "xavier" } bias_filler { value: 0.5 } } }
    layer { name: "r" type: "ReLU" bottom: "a" top: "r" }
    layer { name: "t" type: "TanH" bottom: "r" top: "t" }
    layer { name: "b" type: "InnerProduct" bottom: "t" top: "b"
            inner_product_param { num_output: 3 weight_filler { type: "gaussian" } } }
"""


def product(name: str, bottom: str, top: str = "", more: str = "") -> str:
    filler = 'weight_filler { type: "gaussian" }'
    return (
        f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{top or name}"'
        f" inner_product_param {{ num_output: 4 {filler} }} {more} }}\n"
    )


START = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 } } }\n'


# Values.


def test_it_computes_what_its_layers_say(read):
    net, x = module.compile(read(CHAIN), seed=1), torch.randn(2, 4)
    tensors = {name: net.tensor(name) for name in ("a.weight", "a.bias", "b.weight", "b.bias")}
    a = x @ tensors["a.weight"].T + tensors["a.bias"]
    expected = torch.tanh(a.clamp(min=0)) @ tensors["b.weight"].T + tensors["b.bias"]
    torch.testing.assert_close(net(x), {"b": expected})
    assert list(net.values(x)) == ["x", "a", "r", "t", "b"]
    torch.testing.assert_close(net.values(x)["a"], a)


@pytest.mark.parametrize("batch", [1, 5])
def test_the_batch_may_differ_from_the_graphs(batch, read):
    net, x = module.compile(read(CHAIN), seed=1), torch.randn(batch, 4)
    each = torch.cat([net(row[None])["b"] for row in x])
    torch.testing.assert_close(net(x)["b"], each)


def test_a_value_is_freed_after_its_last_use_and_an_output_is_kept(read, monkeypatch):
    net, made, alive = module.compile(read(CHAIN.replace("ReLU", "Sigmoid")), seed=1), [], []
    forward = layers.TanH.forward

    def spy(layer: layers.TanH, x: Tensor) -> Tensor:
        alive.append([one() is not None for one in made])
        return forward(layer, x)

    sigmoid = layers.Sigmoid.forward

    def remember(layer: layers.Sigmoid, x: Tensor) -> Tensor:
        made.append(weakref.ref(x))
        return sigmoid(layer, x)

    monkeypatch.setattr(layers.Sigmoid, "forward", remember)
    monkeypatch.setattr(layers.TanH, "forward", spy)
    x = torch.randn(2, 4)
    with torch.no_grad():
        net(x)
        values = net.values(x)
    assert alive == [[False], [False, True]]  # the product that the Sigmoid read: gone at once, kept by values()
    assert values["a"] is made[1]()


def test_the_loss_is_every_loss_times_its_weight(read):
    net = module.compile(
        read("""
        layer { name: "x" type: "Input" top: "x" top: "y" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "e" type: "EuclideanLoss" bottom: "x" bottom: "y" top: "e" loss_weight: 3 }
        layer { name: "s" type: "ReLU" bottom: "x" top: "s" loss_weight: 0.5 }
    """)
    )
    x, y = torch.rand(2, 3), torch.rand(2, 3)
    values = net(x, y)
    expected = 3 * ((x - y) ** 2).sum() / (2 * 2) + 0.5 * x.sum()
    torch.testing.assert_close(net.loss(values), expected)
    assert module.compile(read(CHAIN)).loss({}) == 0


def test_a_layer_that_maps_each_bottom_to_a_top_uses_its_weights_for_all(read):
    net = module.compile(
        read("""
        layer { name: "x" type: "Input" top: "x" top: "y" input_param { shape { dim: 1 dim: 2 dim: 4 dim: 4 } } }
        layer { name: "c" type: "Convolution" bottom: "x" bottom: "y" top: "p" top: "q"
                convolution_param { num_output: 3 kernel_size: 3 weight_filler { type: "gaussian" } } }
    """),
        seed=1,
    )
    x = torch.randn(1, 2, 4, 4)
    values = net(x, x.clone())
    assert torch.equal(values["p"], values["q"])
    assert len(list(net.parameters())) == 2


# Gradients.


def test_propagate_down_false_stops_the_gradient(read):
    net = START + product("a", "x") + product("b", "a", more="propagate_down: false")
    closed = module.compile(read(net, Phase.TRAIN), seed=1)
    opened = module.compile(read(net.replace("propagate_down: false", ""), Phase.TRAIN), seed=1)
    x = torch.randn(2, 4)
    for one in (closed, opened):
        one(x)["b"].sum().backward()
    assert closed.tensor("a.weight").grad is None
    assert opened.tensor("a.weight").grad is not None
    torch.testing.assert_close(closed.tensor("b.weight").grad, opened.tensor("b.weight").grad)


def test_lr_mult_0_makes_no_gradient(read):
    net = module.compile(read(START + product("a", "x", more="param { lr_mult: 0 } param { lr_mult: 1 }")), seed=1)
    net(torch.randn(2, 4))["a"].sum().backward()
    assert net.tensor("a.weight").grad is None
    assert net.tensor("a.bias").grad is not None


def test_a_frozen_layer_passes_the_gradient_on(read):
    frozen = product("b", "a", more="param { lr_mult: 0 } param { lr_mult: 0 }")
    net, x = module.compile(read(START + product("a", "x") + frozen), seed=1), torch.randn(2, 4)
    net(x)["b"].sum().backward()
    above = net.tensor("b.weight").numpy().sum(0)
    np.testing.assert_allclose(net.tensor("a.bias").grad, 2 * above, rtol=1e-5)
    np.testing.assert_allclose(net.tensor("a.weight").grad, np.outer(above, x.numpy().sum(0)), rtol=1e-4, atol=1e-5)


def test_with_force_backward_frozen_weights_and_cut_inputs_have_gradients_too(read):
    """As in Caffe, which then asks every layer for every gradient."""
    cut = product("b", "a", more="param { lr_mult: 0 } param { lr_mult: 0 } propagate_down: false")
    net = module.compile(read("force_backward: true\n" + START + product("a", "x") + cut), seed=1)
    x = torch.randn(2, 4)
    values = net.values(x)
    values["b"].sum().backward()
    for row in net.tensor("b.weight").grad:
        np.testing.assert_allclose(row, values["a"].detach().numpy().sum(0), rtol=1e-5)
    assert net.tensor("b.bias").grad.tolist() == [2, 2, 2, 2]
    np.testing.assert_allclose(net.tensor("a.bias").grad, 2 * net.tensor("b.weight").detach().numpy().sum(0), rtol=1e-5)


def test_a_loss_may_be_worked_on_and_count_again(read):
    net = module.compile(
        read("""
        force_backward: true
        layer { name: "x" type: "Input" top: "x" top: "t" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "e" type: "EuclideanLoss" bottom: "x" bottom: "t" top: "e" loss_weight: -0.5 }
        layer { name: "p" type: "Power" bottom: "e" top: "p" power_param { power: 2 } loss_weight: 3 }
        layer { name: "o" type: "Power" bottom: "e" top: "o" loss_weight: 0 }
    """)
    )
    x, t = torch.randn(2, 3, requires_grad=True), torch.randn(2, 3)
    values = net(x, t)
    net.loss(values).backward()
    difference = (x.detach() - t).numpy()
    e = (difference**2).sum() / 4
    assert net.loss(values).item() == pytest.approx(-0.5 * e + 3 * e**2, rel=1e-5)
    np.testing.assert_allclose(x.grad, (-0.5 + 6 * e) * difference / 2, rtol=1e-5)


def test_every_top_of_any_layer_may_count(read):
    """Also one that an in-place layer made of another."""
    net = module.compile(
        read("""
        force_backward: true
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 } } }
        layer { name: "s" type: "Slice" bottom: "x" top: "a" top: "b" top: "c" top: "d"
                loss_weight: 2 loss_weight: 0 loss_weight: -1 loss_weight: 0 }
        layer { name: "r" type: "ReLU" bottom: "b" top: "b" loss_weight: 5 }
    """)
    )
    x = torch.tensor([[1.0, 2, 3, 4], [5, -6, 7, 8]], requires_grad=True)
    loss = net.loss(net(x))
    loss.backward()
    assert loss.item() == 2 * (1 + 5) - (3 + 7) + 5 * 2
    assert x.grad.tolist() == [[2, 5, -1, 0], [2, 0, -1, 0]]


# Weights.


def test_shared_weights_are_one_tensor_and_their_gradients_add_up(read):
    names = 'param { name: "w" } param { name: "b" }'
    net = module.compile(read(START + product("a", "x", more=names) + product("b", "a", more=names)), seed=1)
    assert [name for name, _ in net.named_parameters()] == ["a.weight", "a.bias"]
    net(torch.randn(2, 4))["b"].sum().backward()
    assert net.tensor("a.bias").grad.abs().max() > 2  # 2 is the batch: what b alone would give


def test_one_layer_may_share_among_its_own_weights(read):
    net = module.compile(
        read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 3 dim: 1 } } }
        layer { name: "i" type: "InnerProduct" bottom: "x" top: "y"
                inner_product_param { num_output: 2 weight_filler { type: "gaussian" } }
                param { name: "w" } param { name: "w" share_mode: PERMISSIVE } }
    """),
        seed=1,
    )
    x = torch.tensor([[1.0], [2.0], [4.0]])
    y = net(x)["y"]
    y.sum().backward()
    (weight,) = net.parameters()
    np.testing.assert_allclose(y.detach(), weight.detach().numpy().T * (x.numpy() + 1), rtol=1e-6)
    assert weight.grad.tolist() == [[1 + 2 + 4 + 3]] * 2


def test_permissive_sharing_takes_the_same_numbers_in_another_shape(read):
    net = module.compile(
        read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 6 } } }
        layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" param { name: "w" }
                inner_product_param { num_output: 2 bias_term: false weight_filler { type: "gaussian" } } }
        layer { name: "f" type: "InnerProduct" bottom: "a" top: "f" param { name: "w" share_mode: PERMISSIVE }
                inner_product_param { num_output: 6 bias_term: false } }
    """),
        seed=1,
    )
    x, w = torch.randn(2, 6), net.tensor("a.weight")
    torch.testing.assert_close(net(x)["f"], x @ w.T @ w.reshape(6, 2).T)


def test_state_is_a_buffer_that_the_forward_updates(read):
    net = module.compile(
        read(
            """
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 4 dim: 3 } } }
        layer { name: "bn" type: "BatchNorm" bottom: "x" top: "y" }
    """,
            Phase.TRAIN,
        )
    )
    assert list(net.parameters()) == []
    x = torch.randn(4, 3)
    for _ in range(2):
        net(x)
    state = net.state_dict()
    assert list(state) == [f"bn.{name}" for name in ("mean", "variance", "count")]
    assert state["bn.count"].item() == pytest.approx(1 + 0.999)
    torch.testing.assert_close(state["bn.mean"], x.mean(0) * (1 + 0.999))
    np.testing.assert_array_equal(net.arrays()["bn.mean"], state["bn.mean"].numpy())


def test_a_test_net_shares_the_training_nets_tensors(read):
    train, test = module.compile(read(CHAIN, Phase.TRAIN), seed=1), module.compile(read(CHAIN), seed=2)
    test.share(train)
    x = torch.randn(2, 4)
    with torch.no_grad():
        train.tensor("b.bias").add_(10)
    assert torch.equal(test(x)["b"], train(x)["b"])


def test_sharing_tensors_of_different_shapes_is_refused_with_the_layers_place(read):
    other = CHAIN.replace("num_output: 3", "num_output: 5")
    with pytest.raises(NktcError) as caught:
        module.compile(read(other)).share(module.compile(read(CHAIN, Phase.TRAIN)))
    assert caught.value.message == 'layer "a" has weights 5x4 in net TEST and 3x4 in TRAIN'
    assert caught.value.at.line == 3


def test_arrays_are_copies_and_load_takes_them_back(read):
    net = module.compile(read(CHAIN), seed=1)
    before = net.arrays()
    with torch.no_grad():
        net.tensor("a.weight").zero_()
    assert before["a.weight"].any()
    net.load({"a.weight": before["a.weight"]})
    np.testing.assert_array_equal(net.arrays()["a.weight"], before["a.weight"])


def test_known_arrays_are_taken_and_the_rest_is_drawn(read):
    known = {"a.weight": np.full((3, 4), 2, np.float32)}
    net = module.compile(dataclasses.replace(read(CHAIN), arrays=known), seed=1)
    assert (net.tensor("a.weight") == 2).all()
    assert (net.tensor("a.bias") == 0.5).all()
    assert net.tensor("b.weight").std() > 0.1


def test_a_seed_makes_the_same_weights_again_and_another_others(read):
    first, again, other, none = (module.compile(read(CHAIN), seed=s).arrays() for s in (1, 1, 2, None))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert not np.array_equal(first["a.weight"], other["a.weight"])
    assert not np.array_equal(first["a.weight"], none["a.weight"])


def test_the_global_generator_is_left_alone(read):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    module.compile(read(CHAIN), seed=1)
    assert torch.rand(1) == expected


def test_weights_beyond_the_memory_are_refused_with_their_size(read, monkeypatch):
    graph = read(CHAIN)

    def zeros(*_: object) -> Tensor:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 48 bytes")

    monkeypatch.setattr(torch, "zeros", zeros)
    with pytest.raises(NktcError) as caught:
        module.compile(graph)
    assert caught.value.message == 'no memory is left for the weight 3x4 of layer "a"'
    assert caught.value.at.line == 3


def test_a_layer_for_whose_output_no_memory_is_left_is_named(read, monkeypatch):
    net = module.compile(read(CHAIN))

    def linear(*_: object) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(torch.nn.functional, "linear", linear)
    with pytest.raises(NktcError) as caught:
        net(torch.zeros(net.graph.inputs[0].shape))
    assert caught.value.message == 'no memory is left for InnerProduct "a"'
    assert caught.value.at.line == 3
    assert "batch_size" in caught.value.help


# Names.

ODD = ["train", "graph", "loss", "_slots", "forward", "training", "T_destination", "conv1/3x3", "a.b", "a_b", "", "1"]


def test_any_layer_name_will_do(read):
    rows = [START] + [product(name, "x", f"y{i}") for i, name in enumerate(ODD)]
    graph: Graph = read("".join(rows))
    net = module.compile(graph, seed=1)
    assert len(list(net.parameters())) == 2 * len(ODD)
    assert len(net.state_dict()) == 2 * len(ODD)
    x = torch.randn(2, 4)
    values = net(x)
    assert len({tuple(value.flatten().tolist()) for value in values.values()}) == len(ODD)
    for node in list(graph)[1:]:
        expected = nn.functional.linear(x, net.tensor(node.weights["weight"]), net.tensor(node.weights["bias"]))
        torch.testing.assert_close(values[node.outputs[0].name], expected)


def test_plain_names_are_the_state_dicts(read):
    assert list(module.compile(read(CHAIN)).state_dict()) == ["a.weight", "a.bias", "b.weight", "b.bias"]


# torch's own machinery.


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own, of Function
def test_torch_compiles_it_without_a_graph_break(read):
    graph = read(
        """
        layer { name: "x" type: "Input" top: "x" top: "l" input_param {
                shape { dim: 4 dim: 2 dim: 8 dim: 8 } shape { dim: 4 } } }
        layer { name: "c" type: "Convolution" bottom: "x" top: "c"
                convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
        layer { name: "bn" type: "BatchNorm" bottom: "c" top: "c" }
        layer { name: "s" type: "Scale" bottom: "c" top: "c" scale_param { bias_term: true } }
        layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
        layer { name: "p" type: "Pooling" bottom: "c" top: "p" pooling_param { kernel_size: 3 stride: 2 } }
        layer { name: "n" type: "LRN" bottom: "p" top: "n" }
        layer { name: "i" type: "InnerProduct" bottom: "n" top: "i"
                inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "i" bottom: "l" top: "loss" }
    """,
        Phase.TRAIN,
    )
    net = module.compile(graph, seed=1)
    compiled = torch.compile(copy.deepcopy(net), fullgraph=True, backend="eager")
    x, labels = torch.randn(4, 2, 8, 8), torch.tensor([0.0, 1, 2, 1])
    expected, found = net(x, labels), compiled(x, labels)
    torch.testing.assert_close(found, expected)
    torch._dynamo.reset()


def test_a_copy_has_tensors_of_its_own(read):
    net = module.compile(read(CHAIN), seed=1)
    other = copy.deepcopy(net)
    with torch.no_grad():
        other.tensor("a.weight").zero_()
    assert net.tensor("a.weight").any()
    assert not other(torch.randn(2, 4))["b"].isnan().any()
    assert torch.equal(other.tensor("a.weight"), dict(other.named_parameters())["a.weight"])


def test_what_is_made_from_nothing_is_made_where_the_module_is(read):
    graph = read("""
        layer { name: "d" type: "DummyData" top: "a" top: "b" dummy_data_param { shape { dim: 2 dim: 3 } } }
        layer { name: "e" type: "Eltwise" bottom: "a" bottom: "b" top: "y" }
    """)
    net = module.compile(graph)
    assert net()["y"].device == torch.device("cpu")
    assert net.to("meta")()["y"].device == torch.device("meta")
    assert list(net.state_dict()) == []
