"""Pooling and PoolingND against Caffe's own loops, value and gradient, and against ONNX Runtime."""

from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx_ir
import onnxruntime
import pytest
import torch
from layers.examples import Example
from torch.nn import functional as F

from nktc import export
from nktc.errors import NktcError
from nktc.ir import Phase
from nktc.layers import Pooling, PoolingND, pooling

LOWEST = float(np.finfo(np.float32).min)

Seen = tuple[tuple[int, ...], list[tuple[int, ...]], int]


MANY_CHANNELS = [
    Pooling("MAX", (3, 3), (2, 2)),
    Pooling("MAX", (3, 3), (1, 1), (1, 1)),
    Pooling("MAX", (2, 3), (2, 1), (1, 0)),
    Pooling("MAX", (7, 6)),
    Pooling("AVE", (3, 3), (2, 2)),
    Pooling("AVE", (3, 2), (2, 2), (1, 1)),
]


def sizes(n: int, k: int, s: int, p: int, padded: bool, floor: bool) -> int:
    """Caffe's formula."""
    found = (n + 2 * p - k) / s
    positions = (math.floor(found) if floor else math.ceil(found)) + 1
    return positions - 1 if padded and (positions - 1) * s >= n + p else positions


def windows(size: tuple[int, ...], layer: Pooling | PoolingND) -> tuple[tuple[int, ...], list[Seen]]:
    """The size of the result for a picture of that size, and for each of its places what its window sees there and
    the area that counts."""
    spans = list(zip(size, layer.kernel, layer.stride, layer.pad, strict=True))
    counts = tuple(sizes(*span, any(layer.pad), layer.floor) for span in spans)
    found = []
    for place in itertools.product(*map(range, counts)):
        starts = [i * s - p for i, (_, _, s, p) in zip(place, spans, strict=True)]
        ends = [min(start + k, n + p) for start, (n, k, _, p) in zip(starts, spans, strict=True)]
        area = math.prod(end - start for start, end in zip(starts, ends, strict=True))
        inside = (range(max(0, a), min(b, n)) for a, b, n in zip(starts, ends, size, strict=True))
        found.append((place, list(itertools.product(*inside)), area))
    return counts, found


def loops(
    x: np.ndarray, layer: Pooling | PoolingND, top: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What Caffe computes with a loop over windows: the values of x[p..], where each largest one is, and the gradient
    where the result's is `top`."""
    counts, found = windows(x.shape, layer)
    y, places, gradient = np.zeros(counts), np.full(counts, -1.0), np.zeros(x.shape)
    for at, seen, area in found:
        if layer.method == "MAX":
            best = max(seen, key=lambda place: x[place], default=None)  # the first of equals, as in Caffe
            y[at] = LOWEST if best is None else x[best]
            if best is not None:
                places[at] = np.ravel_multi_index(best, x.shape)
                gradient[best] += 0 if top is None else top[at]
        else:
            y[at] = sum(x[place] for place in seen) / area if area else math.nan
            for place in seen if top is not None else ():
                gradient[place] += top[at] / area  # type: ignore[index]
    return y, places, gradient


CONFIGURATIONS = [
    Pooling(method, (kh, kw), (sh, sw), (ph, pw), floor)
    for method in ("MAX", "AVE")
    for (kh, kw), (sh, sw), (ph, pw) in [
        *(((k, k), (s, s), (p, p)) for k in (1, 2, 3, 4) for s in (1, 2, 3, 4) for p in range(k)),
        ((3, 2), (2, 3), (2, 0)),
        ((1, 4), (3, 1), (0, 3)),
        ((5, 2), (2, 2), (0, 1)),
    ]
    for floor in (False, True)
]


ALONG = [
    PoolingND(method, (k,), (s,), (p,), floor)
    for method, floor in itertools.product(("MAX", "AVE"), (False, True))
    for k, s, p in [(1, 2, 0), (2, 1, 1), (2, 3, 0), (3, 2, 1), (3, 2, 2), (4, 3, 3), (4, 5, 0)]
]
VOLUMES = [
    PoolingND(method, k, s, p, floor)
    for method, floor in itertools.product(("MAX", "AVE"), (False, True))
    for k, s, p in [
        ((2, 2, 2), (2, 2, 2), (0, 0, 0)),
        ((3, 2, 1), (2, 1, 2), (1, 0, 0)),
        ((3, 3, 3), (2, 3, 2), (2, 1, 2)),
        ((1, 2, 1), (2, 3, 2), (0, 0, 0)),
    ]
]


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize(
    ("size", "layers"),
    [
        ((4, 5), CONFIGURATIONS),
        ((6, 7), CONFIGURATIONS),
        ((8, 5), CONFIGURATIONS),
        ((6,), ALONG),
        ((9,), ALONG),
        ((4, 3, 6), VOLUMES),
        ((5, 4, 5), VOLUMES),
    ],
    ids=str,
)
def test_values_and_gradients_are_those_of_caffes_loops(
    size: tuple[int, ...], layers: list[Pooling | PoolingND], grad: bool
) -> None:
    random = np.random.default_rng(1)
    for layer in layers:
        if layer.floor and any(n + 2 * p < k for n, k, p in zip(size, layer.kernel, layer.pad, strict=True)):
            continue
        x = random.integers(-3, 4, size).astype(float)  # many ties
        top = random.normal(size=loops(x, layer)[0].shape)
        expected, _, gradient = loops(x, layer, top)
        given = torch.from_numpy(x)[None, None].requires_grad_(grad)
        y = layer.forward(given)
        assert tuple(y.shape) == layer.shape((1, 1, *size)), layer
        np.testing.assert_allclose(y.detach()[0, 0], expected, err_msg=str(layer))
        if not grad:
            continue
        y.backward(torch.from_numpy(top)[None, None])
        np.testing.assert_allclose(given.grad[0, 0], gradient, atol=1e-12, err_msg=str(layer))  # type: ignore[index]


@pytest.mark.parametrize("layer", CONFIGURATIONS[::3], ids=str)
def test_onnx_runtime_agrees_and_never_rounds_up(layer: Pooling) -> None:
    (kh, kw), (sh, sw), (ph, pw) = layer.kernel, layer.stride, layer.pad
    settings = (
        f"pooling_param {{ pool: {layer.method} kernel_h: {kh} kernel_w: {kw} stride_h: {sh} stride_w: {sw}"
        f" pad_h: {ph} pad_w: {pw} round_mode: {'FLOOR' if layer.floor else 'CEIL'} }}"
    )
    graph = Example("Pooling", settings, ((2, 3, 6, 8),)).graph()
    assert graph.nodes[-1].layer == layer
    message = onnx_ir.to_proto(export.to_onnx(graph))
    assert not any(attribute.name == "ceil_mode" for node in message.graph.node for attribute in node.attribute)
    x = torch.randn(2, 3, 6, 8)
    (y,) = onnxruntime.InferenceSession(message.SerializeToString()).run(None, {"x0": x.numpy()})
    np.testing.assert_allclose(y, layer.forward(x), rtol=1e-5, atol=1e-6)


def test_global_pooling_sees_the_whole_picture(layer: Callable[..., Pooling]) -> None:
    x = torch.randn(2, 3, 4, 5)
    largest = layer("Pooling", "pooling_param { global_pooling: true }", (2, 3, 4, 5))
    mean = layer("Pooling", "pooling_param { pool: AVE global_pooling: true }", (2, 3, 4, 5))
    torch.testing.assert_close(largest.forward(x), x.amax((2, 3), keepdim=True))
    torch.testing.assert_close(mean.forward(x), x.mean((2, 3), keepdim=True))


def test_the_first_of_equal_values_gets_the_whole_gradient() -> None:
    x = torch.zeros(1, 1, 2, 2, requires_grad=True)
    Pooling("MAX").forward(x).sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("settings", "message", "blamed"),
    [
        ("pool: MAX", "has no kernel_size", "type"),
        ("kernel_size: 9", "window 9x9 is larger than its input 5x5", "kernel_size: 9"),
        ("kernel_size: 2 kernel_h: 2", "kernel_size and kernel_h, kernel_w are both given", "kernel_size: 2"),
        ("kernel_h: 2", "kernel_h is given without kernel_w", "kernel_h: 2"),
        ("kernel_size: 0", "kernel_size is 0", "kernel_size: 0"),
        ("kernel_size: 2 stride: 0", "stride is 0", "stride: 0"),
        ("kernel_size: 2 pad_h: 1", "pad_h is given without pad_w", "pad_h: 1"),
        ("kernel_size: 2 stride: 4294967295", "stride 4294967295 is larger than 2147483647", "stride: 4294967295"),
        ("pool: STOCHASTIC kernel_size: 2 pad: 1", "STOCHASTIC takes no pad", "pad: 1"),
        ("kernel_size: 2 pad: 2", "pad 2 is not smaller than its window 2", "pad: 2"),
        ("kernel_size: 2 stride_w: 2", "stride_w is given without stride_h", "stride_w: 2"),
        ("global_pooling: true kernel_size: 2", "global_pooling and a kernel are both given", "global_pooling: true"),
        ("global_pooling: true pad: 1", "global_pooling takes neither pad nor stride", "global_pooling: true"),
    ],
)
def test_contradictions_are_refused(
    refusal: Callable[..., tuple[str, str]], settings: str, message: str, blamed: str
) -> None:
    found, at = refusal("Pooling", f"pooling_param {{ {settings} }}", (1, 2, 5, 5))
    assert found == message
    assert at.startswith(blamed)


@pytest.mark.parametrize("size", [(4, 5), (6, 7)], ids=str)
def test_a_second_top_tells_where_the_largest_values_are(size: tuple[int, int]) -> None:
    random = np.random.default_rng(1)
    for layer in (replace(each, where=True) for each in CONFIGURATIONS if each.method == "MAX"):
        if layer.floor and any(n + 2 * p < k for n, k, p in zip(size, layer.kernel, layer.pad, strict=True)):
            continue
        x = random.integers(-3, 4, size).astype(float)
        top = random.normal(size=loops(x, layer)[0].shape)
        expected, places, gradient = loops(x, layer, top)
        given = torch.from_numpy(x)[None, None].requires_grad_()
        y, place = layer.forward(given)
        np.testing.assert_array_equal(y.detach()[0, 0], expected, err_msg=str(layer))
        np.testing.assert_array_equal(place[0, 0], places, err_msg=str(layer))
        y.backward(torch.from_numpy(top)[None, None])
        np.testing.assert_allclose(given.grad[0, 0], gradient, atol=1e-12, err_msg=str(layer))  # type: ignore[index]


def test_every_channel_counts_its_places_from_its_own_start(layer: Callable[..., Pooling]) -> None:
    it = layer("Pooling", "pooling_param { kernel_size: 2 stride: 2 }", (2, 3, 4, 4), tops=2)
    x = torch.zeros(2, 3, 4, 4)
    x[1, 2, 3, 1] = 1
    place = it.forward(x)[1]
    assert place[1, 2].tolist() == [[0, 2], [13, 10]]
    assert place[0, 0].tolist() == [[0, 2], [8, 10]]


STOCHASTIC = [
    Pooling("STOCHASTIC", (3, 2), (2, 1), (0, 0)),
    Pooling("STOCHASTIC", (2, 2), (2, 3), (0, 0)),
    Pooling("STOCHASTIC", (1, 1), (2, 2), (0, 0)),
    Pooling("STOCHASTIC", (2, 3), (1, 2), (0, 0), floor=True),
]


@pytest.mark.parametrize("layer", STOCHASTIC, ids=str)
def test_stochastic_pooling_expects_in_test_what_it_draws_in_train(layer: Pooling) -> None:
    """Caffe has no stochastic pooling on the CPU: its definition, window by window."""
    random = np.random.default_rng(1)
    x = random.uniform(0, 1, (4, 6)) * random.integers(0, 2, (4, 6))  # with windows of zeros
    counts, found = windows(x.shape, layer)
    expected = np.zeros(counts)
    for at, seen, _ in found:
        total = sum(x[place] for place in seen)
        expected[at] = sum(x[place] ** 2 for place in seen) / total if total else 0
    y = layer.forward(torch.from_numpy(x)[None, None])
    np.testing.assert_allclose(y[0, 0], expected, atol=1e-12)

    torch.manual_seed(1)
    drawn = replace(layer, draws=True).forward(torch.from_numpy(x).expand(20000, 1, 4, 6))
    for at, seen, _ in found:
        assert np.isin(drawn[(slice(None), 0, *at)].numpy(), [x[place] for place in seen] or [0.0]).all()
    # Values below 1 have a variance below 1/4.
    np.testing.assert_allclose(drawn.mean((0, 1)), expected, atol=5 * 0.5 / math.sqrt(20000))


def test_stochastic_pooling_draws_each_value_with_the_chance_of_its_share() -> None:
    x = torch.tensor([[1.0, 2.0], [0.0, 5.0]]).expand(40000, 1, 2, 2)
    torch.manual_seed(2)
    drawn = Pooling("STOCHASTIC", (2, 2), draws=True).forward(x)
    for value, share in ((1, 1 / 8), (2, 2 / 8), (0, 0), (5, 5 / 8)):
        assert (drawn == value).double().mean().item() == pytest.approx(share, abs=0.01)


def test_the_gradient_of_stochastic_pooling_goes_to_the_drawn_value() -> None:
    x = torch.rand(3, 2, 5, 6).add(0.1).requires_grad_()
    y = Pooling("STOCHASTIC", (2, 3), (2, 3), draws=True).forward(x)
    y.backward(torch.full_like(y, 2.0))
    assert x.grad is not None
    assert sorted(x[x.grad == 2].tolist()) == sorted(y.flatten().tolist())
    assert x.grad.sum().item() == 2 * y.numel()


def test_stochastic_pooling_of_zeros_is_zero_and_has_a_gradient() -> None:
    x = torch.zeros(1, 1, 2, 2, requires_grad=True)
    Pooling("STOCHASTIC", (2, 2)).forward(x).sum().backward()
    drawn = torch.zeros(1, 1, 2, 2, requires_grad=True)
    Pooling("STOCHASTIC", (2, 2), draws=True).forward(drawn).sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [0, 0, 0, 0]
    assert drawn.grad is not None
    assert drawn.grad.flatten().tolist() == [1, 0, 0, 0]  # the first, as in Caffe


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("layer", MANY_CHANNELS, ids=lambda layer: f"{layer.method}-{layer.kernel}-{layer.pad}")
def test_many_channels_are_pooled_as_torch_pools_them(
    layer: Pooling, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the CPU by another way, part by part; of many equal values the same one has the gradient."""
    monkeypatch.setattr(pooling, "PART", 2 * 9 * 7 * 6)
    x = torch.randint(0, 3, (5, 9, 7, 6)).to(dtype).requires_grad_()
    assert pooling.ChannelsInnermost.pays(x)
    found = layer.forward(x)
    assert found.is_contiguous()
    plain = F.max_pool2d if layer.method == "MAX" else F.avg_pool2d
    expected = plain(x, layer.kernel, layer.stride, layer.pad, ceil_mode=True)
    direction = torch.randint(-4, 5, expected.shape).to(dtype)
    pairs = [(found, expected), [torch.autograd.grad(y, x, direction)[0] for y in (found, expected)]]
    for a, b in pairs:
        assert a.dtype == dtype
        torch.testing.assert_close(a, b, rtol=1e-2 if dtype == torch.bfloat16 else 1e-6, atol=1e-6)


def test_many_channels_compile_in_one_piece() -> None:
    layer, x = MANY_CHANNELS[0], torch.randn(2, 9, 7, 6, requires_grad=True)
    torch.compiler.reset()
    y = torch.compile(layer.forward, backend="aot_eager", fullgraph=True)(x)
    torch.testing.assert_close(y, layer.forward(x))
    torch.testing.assert_close(torch.autograd.grad(y.sum(), x), torch.autograd.grad(layer.forward(x).sum(), x))


def test_stochastic_pooling_has_no_onnx_form_in_train() -> None:
    settings = "pooling_param { pool: STOCHASTIC kernel_size: 2 }"
    train = Example("Pooling", settings, ((1, 2, 5, 5),), phase=Phase.TRAIN).graph()
    with pytest.raises(NktcError, match='Pooling "it": its TRAIN form is random and has no ONNX form'):
        export.to_onnx(train)


def test_only_max_has_a_second_top(refusal: Callable[..., tuple[str, str]]) -> None:
    message, at = refusal("Pooling", "pooling_param { pool: AVE kernel_size: 2 }", (1, 2, 5, 5), tops=2)
    assert message == "AVE makes 1 top, not 2"
    assert at == 'top: "y1"'


def test_a_step_that_leads_far_away_costs_nothing() -> None:
    x = torch.arange(4.0).view(1, 1, 2, 2)
    assert Pooling("MAX", (2, 2), (2**31 - 1,)).forward(x).flatten().tolist() == [3]
    assert Pooling("MAX", (1, 1), (2**31 - 1,)).forward(x).flatten().tolist() == [0, LOWEST, LOWEST, LOWEST]


def test_only_pictures_are_pooled(refusal: Callable[..., tuple[str, str]]) -> None:
    message, at = refusal("Pooling", "pooling_param { kernel_size: 2 }", (1, 2, 5))
    assert message == "takes 4 axes (batch, channels, height, width), not 3"
    assert at == 'bottom: "x0"'
    assert refusal("PoolingND", "pooling_nd_param { kernel_size: 2 }", (1, 2)) == (
        "takes 3 to 5 axes (batch, channels and 1 to 3 to pool), not 2",
        'bottom: "x0"',
    )


@pytest.mark.parametrize(
    ("settings", "message", "blamed"),
    [
        ("", "has no kernel_size", "type"),
        ("kernel_size: 0", "kernel_size is 0", "kernel_size: 0"),
        ("kernel_size: 2 stride: 0", "stride is 0", "stride: 0"),
        ("kernel_size: 2 kernel_size: 2", "kernel_size has 2 numbers for 3 spatial axes", "kernel_size: 2"),
        ("kernel_size: 9", "window 9x9x9 is larger than its input 5x5x5", "kernel_size: 9"),
        ("kernel_size: 2 pad: 0 pad: 2 pad: 0", "pad 2 is not smaller than its window 2", "pad: 0"),
    ],
)
def test_contradictions_of_many_axes_are_refused(
    refusal: Callable[..., tuple[str, str]], settings: str, message: str, blamed: str
) -> None:
    found, at = refusal("PoolingND", f"pooling_nd_param {{ {settings} }}", (1, 2, 5, 5, 5))
    assert found == message
    assert at.startswith(blamed)


@pytest.mark.skipif(not shutil.which("g++"), reason="PyTorch's compiler needs g++ for the CPU")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's own
@pytest.mark.parametrize(
    ("kind", "text", "shape"),
    [
        ("Pooling", "pool: MAX kernel_size: 3 stride: 2", (1, 2, 8, 7)),
        ("Pooling", "pool: AVE kernel_size: 3 stride: 2", (1, 2, 8, 7)),
        ("Pooling", "pool: AVE kernel_h: 4 kernel_w: 3 stride: 3 pad: 1", (1, 2, 9, 8)),
        ("Pooling", "pool: AVE kernel_size: 2 stride: 3", (1, 1, 6, 5)),
    ],
)
def test_pytorchs_compiler_gives_values_and_gradients(
    layer: Callable[..., Pooling], kind: str, text: str, shape: tuple[int, ...]
) -> None:
    pooling = layer(kind, f"pooling_param {{ {text} }}", shape)
    x = torch.rand(shape, requires_grad=True)
    compiled, plain = torch.compile(pooling.forward, dynamic=False)(x), pooling.forward(x)
    torch.testing.assert_close(compiled, plain, equal_nan=True)
    found, expected = (torch.autograd.grad((y.nan_to_num(0) ** 2).sum(), x)[0] for y in (compiled, plain))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("settings", "size"),
    [("", 3), ("ceil_mode: true", 3), ("ceil_mode: false", 2), ("torch_pooling: true", 2), ("torch_pooling: false", 3)],
)
def test_forks_have_words_of_their_own_for_how_sizes_are_rounded(
    layer: Callable[..., Pooling], settings: str, size: int
) -> None:
    it = layer("Pooling", f"pooling_param {{ kernel_size: 3 stride: 2 {settings} }}", (1, 1, 6, 6))
    assert it.shape((1, 1, 6, 6)) == (1, 1, size, size)


def test_two_words_that_disagree_are_refused(refusal: Callable[..., tuple[str, str]]) -> None:
    settings = "pooling_param { kernel_size: 3 ceil_mode: true round_mode: FLOOR }"
    assert refusal("Pooling", settings, (1, 1, 6, 6))[0] == "ceil_mode and round_mode disagree"
