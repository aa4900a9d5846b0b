"""The ways back of a pooling against loops over the windows, and against the pooling itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir
import onnxruntime
import pytest
import torch

from nktc import export, module
from nktc.errors import NktcError
from nktc.ir import Graph, Layer
from nktc.layers import UnPooling, Unpooling, Upsample


def pooled_and_back(read: Callable[..., Graph], back: str, size: str = "dim: 2 dim: 3 dim: 6 dim: 7") -> Graph:
    return read(f"""
        layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ {size} }} }} }}
        layer {{ name: "pool" type: "Pooling" bottom: "x" top: "pool" top: "mask"
          pooling_param {{ kernel_size: 2 stride: 2 }} }}
        layer {{ name: "up" bottom: "pool" bottom: "mask" top: "up" {back} }}
    """)


@pytest.mark.parametrize(
    "back",
    [
        'type: "Upsample" upsample_param { scale: 2 upsample_h: 6 upsample_w: 7 }',
        'type: "Unpooling" unpooling_param { kernel_size: 2 stride: 2 unpool_h: 6 unpool_w: 7 }',
    ],
)
def test_the_largest_values_go_back_to_where_they_were(read: Callable[..., Graph], back: str) -> None:
    net = module.compile(pooled_and_back(read, back))
    x = torch.randperm(2 * 3 * 6 * 7).float().reshape(2, 3, 6, 7).requires_grad_()
    values = net.values(x)
    # A value is the largest of its window where the pooling has it; the last column is cut off by no window.
    windows = values["pool"].detach().repeat_interleave(2, 2).repeat_interleave(2, 3)[..., :7]
    expected = torch.where(windows == x, x, 0)
    torch.testing.assert_close(values["up"], expected)
    (gradient,) = torch.autograd.grad((values["up"] * torch.arange(7.0)).sum(), x)
    torch.testing.assert_close(gradient, torch.arange(7.0) * (windows == x))


def test_onnx_runtime_puts_them_back_in_any_batch(read: Callable[..., Graph]) -> None:
    back = 'type: "Upsample" upsample_param { scale: 2 pad_out_w: true }'
    graph = pooled_and_back(read, back, "dim: 2 dim: 3 dim: 6 dim: 5")
    net = module.compile(graph)
    model = onnx_ir.to_proto(export.to_onnx(graph)).SerializeToString()
    session = onnxruntime.InferenceSession(model)
    for batch in (2, 5):
        x = torch.randn(batch, 3, 6, 5)
        (found,) = session.run(["up"], {"x": x.numpy()})
        np.testing.assert_array_equal(found, net(x)["up"].detach())


def test_a_value_of_no_place_goes_nowhere() -> None:
    x, mask = torch.ones(1, 1, 1, 3), torch.tensor([[[[-1.0, 0.0, 5.0]]]])
    y = Upsample((2, 3)).forward(x, mask)
    assert y.tolist() == [[[[1, 0, 0], [0, 0, 1]]]]


def test_a_place_outside_of_the_picture_is_told_with_the_layer(read: Callable[..., Graph]) -> None:
    back = 'type: "Upsample" upsample_param { upsample_h: 2 upsample_w: 2 }'
    net = module.compile(pooled_and_back(read, back))
    with pytest.raises(NktcError, match='Upsample "up": its data holds a label or an index that is out of range'):
        net(torch.randn(2, 3, 6, 7))


def test_without_a_mask_values_are_repeated(layer: Callable[..., Layer]) -> None:
    x = torch.randn(2, 3, 4, 5)
    it = layer("Upsample", "upsample_param { scale: 3 }", (2, 3, 4, 5))
    expected = x[:, :, torch.arange(12) // 3][..., torch.arange(15) // 3]
    torch.testing.assert_close(it.forward(x), expected)
    assert layer("Upsample", "", (2, 3, 4, 5)).shape((2, 3, 4, 5)) == (2, 3, 4, 5)  # MobileNet-YOLO's scale is 1
    assert layer("Upsample", "", (2, 3, 4, 5), (2, 3, 4, 5)).shape((2, 3, 4, 5), (2, 3, 4, 5)) == (2, 3, 8, 10)


def spread(x: np.ndarray, size: tuple[int, int], kernel: int, stride: int, pad: int, method: str) -> np.ndarray:
    """Each value over its window, as the forks' loops have it."""
    y = np.zeros((*x.shape[:2], *size))
    count = np.zeros(size)
    for i in range(x.shape[2]):
        for j in range(x.shape[3]):
            top, left = i * stride - pad, j * stride - pad
            low, right = top + kernel, left + kernel
            if method in ("MAX", "FIXED"):
                a, b = (int((top + low - 1) / 2), int((left + right - 1) / 2)) if method == "FIXED" else (top, left)
                a, b = min(max(a, 0), size[0] - 1), min(max(b, 0), size[1] - 1)
                y[:, :, a, b] = x[:, :, i, j]
                continue
            cells = (min(low, size[0] + pad) - top) * (min(right, size[1] + pad) - left)
            inside = np.s_[max(top, 0) : max(low, 0), max(left, 0) : max(right, 0)]
            y[(..., *inside)] += x[:, :, i, j, None, None] / (cells if method in ("AVE", "DIV") else 1)
            count[inside] += 1
    return y / np.maximum(count, 1) if method in ("DIV", "REP") else y


@pytest.mark.parametrize("method", ["MAX", "AVE", "TILE"])
@pytest.mark.parametrize(
    ("kernel", "stride", "size"), [(2, 2, (8, 10)), (3, 2, (9, 10)), (2, 3, (11, 14)), (3, 1, (4, 7))]
)
def test_unpooling_spreads_as_deconvnet_does(method: str, kernel: int, stride: int, size: tuple[int, int]) -> None:
    x = np.random.default_rng(1).normal(size=(2, 3, 4, 5)).astype(np.float32)
    found = Unpooling(method, (kernel,), (stride,), (0,), size).forward(torch.from_numpy(x))
    np.testing.assert_allclose(found, spread(x, size, kernel, stride, 0, method), atol=1e-5)


@pytest.mark.parametrize("method", ["FIXED", "DIV", "REP"])
@pytest.mark.parametrize(("kernel", "stride", "pad"), [(2, 2, 0), (3, 2, 1), (4, 2, 1), (1, 2, 0), (3, 1, 2)])
def test_unpooling_of_its_other_name_covers_what_its_windows_cover(
    method: str, kernel: int, stride: int, pad: int
) -> None:
    x = np.random.default_rng(1).normal(size=(2, 3, 4, 5)).astype(np.float32)
    it = UnPooling(method, (kernel,), (stride,), (pad,))
    size = it.shape(x.shape)[2:]
    assert size == tuple((n - 1) * stride + kernel - 2 * pad for n in (4, 5))
    np.testing.assert_allclose(it.forward(torch.from_numpy(x)), spread(x, size, kernel, stride, pad, method), atol=1e-5)


def test_unpooling_of_its_other_name_takes_the_middle_unless_told(layer: Callable[..., Layer]) -> None:
    it = layer("UnPooling", "unpooling_param { out_kernel_size: 3 out_stride: 3 }", (1, 1, 1, 2))
    found = it.forward(torch.tensor([[[[7.0, 8.0]]]]))
    assert found.tolist() == [[[[0] * 6, [0, 7, 0, 0, 8, 0], [0] * 6]]]


def test_windows_are_found_from_the_size_of_a_second_bottom() -> None:
    it = UnPooling("REP")
    assert it.shape((1, 2, 4, 5), (1, 1, 12, 9)) == (1, 2, 12, 10)  # two windows of 5 do not cover 9 evenly
    assert it.shape((1, 2, 1, 1), (1, 1, 7, 7)) == (1, 2, 7, 7)
    x = torch.randn(1, 2, 4, 3)
    torch.testing.assert_close(
        it.forward(x, torch.zeros(1, 1, 12, 6)), x.repeat_interleave(3, 2).repeat_interleave(2, 3)
    )


IMAGE = (1, 2, 4, 4)


@pytest.mark.parametrize(
    ("kind", "settings", "shapes", "message"),
    [
        ("Upsample", "upsample_h: 8", (IMAGE, IMAGE), "upsample_h is given without upsample_w"),
        ("Upsample", "upsample_h: 8 upsample_w: 1", (IMAGE, IMAGE), "upsample_w is 1"),
        ("Upsample", "scale: 2 scale_h: 2 scale_w: 2", (IMAGE,), "scale and scale_h, scale_w are both given"),
        ("Upsample", "scale: 3 pad_out_h: true", (IMAGE, IMAGE), "pad_out_h is for a scale of 2, not 3"),
        ("Upsample", "scale: 1", (IMAGE, IMAGE), "scale 1 leaves a mask nothing to do"),
        (
            "Upsample",
            "upsample_h: 8 upsample_w: 8",
            (IMAGE,),
            "takes upsample_h, upsample_w and pad_out_h, pad_out_w with a mask only",
        ),
        ("Upsample", "", (IMAGE, (1, 2, 8, 8)), "its mask 1x2x8x8 is not one place for each of 1x2x4x4"),
        ("Unpooling", "kernel_size: 2 stride: 2", (IMAGE,), "has no unpool_size"),
        ("Unpooling", "unpool_size: 8", (IMAGE,), "has no kernel_size"),
        ("Unpooling", "kernel_size: 2 unpool_size: 8 unpool: DIV", (IMAGE,), "unpool DIV is UnPooling's"),
        ("Unpooling", "kernel_size: 2 unpool_size: 8 unpool: AVE", (IMAGE, IMAGE), "AVE takes no mask"),
        ("UnPooling", "out_kernel_size: 2 unpool: MAX", (IMAGE,), "unpool MAX is Unpooling's"),
        ("UnPooling", "unpool: REP", (IMAGE,), "has no out_kernel_size"),
        (
            "UnPooling",
            "unpool: REP out_kernel_size: 2 out_pad: 2",
            (IMAGE,),
            "out_pad 2 is not smaller than its window 2",
        ),
    ],
)
def test_contradictions_are_refused(
    refusal: Callable[..., tuple[str, str]],
    kind: str,
    settings: str,
    shapes: tuple[tuple[int, ...], ...],
    message: str,
) -> None:
    name = "upsample_param" if kind == "Upsample" else "unpooling_param"
    found, _ = refusal(kind, f"{name} {{ {settings} }}", *shapes)
    assert found == message
