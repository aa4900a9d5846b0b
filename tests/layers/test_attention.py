"""Attention against torch's own module, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from layers.examples import Example
from torch import nn

from nktc import module
from nktc.ir import Phase

ITEMS, PLACES, WIDTH = 2, 5, 6


def theirs(net: module.Net, heads: int, bias: bool, memory_width: int | None = None) -> nn.MultiheadAttention:
    """torch's module with the weights of the layer "it"."""
    other = nn.MultiheadAttention(WIDTH, heads, bias=bias, kdim=memory_width, vdim=memory_width, batch_first=True)
    w = {name.removeprefix("it."): net.tensor(name).detach() for name in net.graph.parameters}
    with torch.no_grad():
        if memory_width is None:
            other.in_proj_weight.copy_(w["in_weight"])
        else:
            other.q_proj_weight.copy_(w["in_weight"])
            key, value = w["memory_weight"].chunk(2)
            other.k_proj_weight.copy_(key)
            other.v_proj_weight.copy_(value)
        other.out_proj.weight.copy_(w["out_weight"])
        if bias:
            other.in_proj_bias.copy_(w["in_bias"])
            other.out_proj.bias.copy_(w["out_bias"])
    return other


def compiled(settings: str, *inputs: tuple[int, ...]) -> module.Net:
    net = module.compile(Example("Attention", f"attention_param {{ {settings} }}", inputs).graph(), seed=1)
    generator = torch.Generator().manual_seed(4)
    for parameter in net.parameters():
        nn.init.normal_(parameter, generator=generator)
    return net


@pytest.mark.parametrize("heads", [1, 2, 3])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_it_is_torchs_attention(heads: int, causal: bool, bias: bool) -> None:
    net = compiled(f"num_heads: {heads} causal: {causal} bias_term: {bias}".lower(), (ITEMS, PLACES, WIDTH))
    x = torch.randn(ITEMS, PLACES, WIDTH, generator=torch.Generator().manual_seed(5))
    mask = nn.Transformer.generate_square_subsequent_mask(PLACES) if causal else None
    expected, _ = theirs(net, heads, bias)(x, x, x, attn_mask=mask, need_weights=False)
    torch.testing.assert_close(net(x)["y0"], expected, rtol=1e-5, atol=1e-5)


def test_keys_and_values_may_come_from_a_memory() -> None:
    net = compiled("num_heads: 2", (ITEMS, PLACES, WIDTH), (ITEMS, 4, 3))
    generator = torch.Generator().manual_seed(5)
    x, memory = torch.randn(ITEMS, PLACES, WIDTH, generator=generator), torch.randn(ITEMS, 4, 3, generator=generator)
    expected, _ = theirs(net, 2, True, memory_width=3)(x, memory, memory, need_weights=False)
    torch.testing.assert_close(net(x, memory)["y0"], expected, rtol=1e-5, atol=1e-5)


def test_a_causal_place_sees_nothing_behind_it() -> None:
    net = compiled("causal: true", (ITEMS, PLACES, WIDTH))
    x = torch.randn(ITEMS, PLACES, WIDTH, generator=torch.Generator().manual_seed(5))
    changed = x.clone()
    changed[:, 3:] = 7
    torch.testing.assert_close(net(x)["y0"][:, :3], net(changed)["y0"][:, :3])


def test_weights_are_dropped_in_train_only() -> None:
    example = Example("Attention", "attention_param { dropout_ratio: 0.5 }", ((1, 3, 4),), phase=Phase.TRAIN)
    assert example.graph().node("it").layer.dropout == 0.5  # type: ignore[attr-defined]
    example = Example("Attention", "attention_param { dropout_ratio: 0.5 }", ((1, 3, 4),))
    assert example.graph().node("it").layer.dropout == 0  # type: ignore[attr-defined]


def test_the_cost_counts_projections_and_products() -> None:
    node = Example("Attention", "", ((1, 10, 4),)).graph().node("it")
    assert node.layer.flops((1, 10, 4), (1, 10, 4)) == 2 * (10 * 4 * 12 + 10 * 4 * 4 + 2 * 10 * 10 * 4)


@pytest.mark.parametrize(
    ("settings", "shapes", "message", "blamed"),
    [
        ("num_heads: 4", ((1, 2, 6),), "num_heads 4 does not divide its width 6", "num_heads: 4"),
        ("num_heads: 0", ((1, 2, 6),), "num_heads is 0", "num_heads: 0"),
        ("dropout_ratio: 1", ((1, 2, 6),), "dropout_ratio is 1", "dropout_ratio: 1"),
        ("", ((1, 2),), "takes 3 axes (batch, places, width), not 2", 'bottom: "x0"'),
        ("", ((1, 2, 6), (2, 2, 6)), "its inputs 1x2x6 and 2x2x6 differ in axis 0, the batch", 'bottom: "x1"'),
        ("causal: true", ((1, 2, 6), (1, 2, 6)), "causal goes without a memory", "causal: true"),
    ],
)
def test_refusals(refusal, settings: str, shapes: tuple[tuple[int, ...], ...], message: str, blamed: str) -> None:
    assert refusal("Attention", f"attention_param {{ {settings} }}", *shapes) == (message, blamed)
