"""ROIPooling and PSROIPooling against plain loops, their gradients, and runtimes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx_ir
import onnxruntime
import pytest
import torch
from layers.examples import Example

from nktc import export, module
from nktc.errors import NktcError
from nktc.layers import PSROIPooling, ROIPooling

REGIONS = np.array(
    [
        [0, 0, 0, 7, 5],
        [1, 2.5, 1.5, 9.49, 8.5],  # halves go up
        [0, 6, 6, 3, 2],  # swapped sides
        [1, -9, -9, 40, 30],  # beyond the picture
        [0, 60, 60, 70, 70],  # outside of it
        [1, 3, 3, 3, 3],
    ],
    np.float32,
)


def rounded(x: float) -> int:
    return math.floor(abs(x) + 0.5) * (1 if x >= 0 else -1)


def largest(x: np.ndarray, rows: int, columns: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """The largest values, and how often each pixel of a region is one."""
    height, width = x.shape[2:]
    y, chosen = np.zeros((len(REGIONS), x.shape[1], rows, columns)), np.zeros(x.shape)
    for r, (image, *sides) in enumerate(REGIONS.tolist()):
        left, top, right, bottom = (rounded(side * scale) for side in sides)
        high, wide = max(bottom - top + 1, 1) / rows, max(right - left + 1, 1) / columns
        for c, i, j in np.ndindex(x.shape[1], rows, columns):
            best = None
            for h in range(max(math.floor(i * high) + top, 0), min(math.ceil((i + 1) * high) + top, height)):
                for w in range(max(math.floor(j * wide) + left, 0), min(math.ceil((j + 1) * wide) + left, width)):
                    if best is None or x[int(image), c, h, w] > x[int(image), c, *best]:
                        best = (h, w)
            if best:
                y[r, c, i, j] = x[int(image), c, *best]
                chosen[int(image), c, *best] += top <= best[0] <= bottom and left <= best[1] <= right
    return y, chosen


def means(x: np.ndarray, outputs: int, group: int, scale: float) -> np.ndarray:
    height, width = x.shape[2:]
    y = np.zeros((len(REGIONS), outputs, group, group))
    for r, (image, *sides) in enumerate(REGIONS.tolist()):
        left, top = (rounded(side) * scale for side in sides[:2])
        right, bottom = ((rounded(side) + 1) * scale for side in sides[2:])
        high, wide = max(bottom - top, 0.1) / group, max(right - left, 0.1) / group
        for d, i, j in np.ndindex(outputs, group, group):
            h0, h1 = (min(max(n, 0), height) for n in (math.floor(i * high + top), math.ceil((i + 1) * high + top)))
            w0, w1 = (min(max(n, 0), width) for n in (math.floor(j * wide + left), math.ceil((j + 1) * wide + left)))
            if h1 > h0 and w1 > w0:
                y[r, d, i, j] = x[int(image), (d * group + i) * group + j, h0:h1, w0:w1].mean()
    return y


@pytest.mark.parametrize(("rows", "columns", "scale"), [(3, 2, 1.0), (2, 2, 0.5), (7, 7, 0.25)])
def test_cells_have_the_largest_value_and_its_pixel_has_the_gradient(rows: int, columns: int, scale: float) -> None:
    x = torch.randint(4, (2, 3, 9, 10), generator=torch.Generator().manual_seed(0)).float().requires_grad_()  # ties
    y = ROIPooling(rows, columns, scale).forward(x, torch.from_numpy(REGIONS))
    y.sum().backward()
    expected, chosen = largest(x.detach().numpy(), rows, columns, scale)
    np.testing.assert_array_equal(y.detach(), expected)
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad, chosen)


def test_a_cell_that_reaches_beyond_its_region_sends_no_gradient_there() -> None:
    # 11 cells of 29 / 11 pixels come to a little more than 29 in f32: the last cell ends behind pixel 29.
    x = torch.arange(31.0).reshape(1, 1, 1, 31).requires_grad_()
    y = ROIPooling(1, 11).forward(x, torch.tensor([[0.0, 0, 0, 28, 0]]))
    y[..., -1].sum().backward()
    assert y[0, 0, 0, -1].item() == 29
    assert x.grad is not None
    assert not x.grad.any()


def test_corners_are_rounded_as_c_rounds() -> None:
    x = torch.arange(4.0).reshape(1, 1, 1, 4)
    below = float(np.nextafter(np.float32(0.5), np.float32(0)))  # 0.5 more is 1 in f32
    for corner, first in ((below, 0), (0.5, 1), (1.5, 2), (2.4999998, 2)):
        y = ROIPooling(1, 1).forward(x, torch.tensor([[0.0, corner, 0, corner, 0]]))
        assert y.item() == first


@pytest.mark.parametrize(("outputs", "group", "scale"), [(2, 3, 1.0), (3, 2, 0.5), (1, 1, 0.25)])
def test_cells_have_the_mean_of_channels_of_their_own(outputs: int, group: int, scale: float) -> None:
    x = torch.randn(2, outputs * group**2, 9, 10, dtype=torch.float64, requires_grad=True)
    layer, regions = PSROIPooling(outputs, group, scale), torch.from_numpy(REGIONS).double()
    np.testing.assert_allclose(
        layer.forward(x, regions).detach(), means(x.detach().numpy(), outputs, group, scale), atol=1e-12
    )
    torch.autograd.gradcheck(lambda x: layer.forward(x, regions), (x,), fast_mode=True)


@pytest.mark.parametrize(
    ("kind", "settings", "channels"),
    [
        ("ROIPooling", "roi_pooling_param { pooled_h: 3 pooled_w: 2 spatial_scale: 0.5 }", 4),
        ("PSROIPooling", "psroi_pooling_param { output_dim: 2 group_size: 3 spatial_scale: 0.5 }", 18),
    ],
)
def test_runtimes_pool_the_same(kind: str, settings: str, channels: int) -> None:
    graph = Example(kind, settings, ((2, channels, 9, 10), REGIONS.shape)).graph()
    x = np.random.default_rng(0).normal(size=(2, channels, 9, 10)).astype(np.float32)
    expected = module.compile(graph)(torch.from_numpy(x), torch.from_numpy(REGIONS))["y0"]
    model = onnx_ir.to_proto(export.to_onnx(graph)).SerializeToString()
    fed = {"x0": x, "x1": REGIONS}
    found = onnxruntime.InferenceSession(model).run(None, fed)[0]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    openvino = pytest.importorskip("openvino")
    found = openvino.compile_model(openvino.Core().read_model(model, b""), "CPU")(fed)[0]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "settings", "shapes", "message"),
    [
        ("ROIPooling", "", [(1, 2, 3, 4), (2, 5)], "pools to 0x0 cells"),
        ("ROIPooling", "roi_pooling_param { pooled_size: 2 }", [(1, 2, 3), (2, 5)], "takes 4 axes"),
        ("ROIPooling", "roi_pooling_param { pooled_size: 2 }", [(1, 2, 3, 4), (2, 4)], "its second input 2x4 is not 5"),
        ("PSROIPooling", "psroi_pooling_param { output_dim: 2 }", [(1, 2, 3, 4), (2, 5)], "has no group_size above 0"),
        (
            "PSROIPooling",
            "psroi_pooling_param { output_dim: 2 group_size: 3 spatial_scale: 1 }",
            [(1, 17, 3, 4), (2, 5)],
            "output_dim 2 and group_size 3 take 18 channels, not 17",
        ),
    ],
)
def test_what_does_not_match_is_refused(
    refusal: Callable[..., tuple[str, str]], kind: str, settings: str, shapes: list[tuple[int, ...]], message: str
) -> None:
    assert refusal(kind, settings, *shapes)[0].startswith(message)


def test_a_region_of_no_image_is_refused_with_its_place() -> None:
    net = module.compile(Example("ROIPooling", "roi_pooling_param { pooled_size: 2 }", ((1, 2, 4, 4), (1, 5))).graph())
    with pytest.raises(NktcError, match='ROIPooling "it": its data holds'):
        net(torch.zeros(1, 2, 4, 4), torch.tensor([[1.0, 0, 0, 3, 3]]))


def test_opencv_which_pools_no_regions_is_refused() -> None:
    graph = Example("ROIPooling", "roi_pooling_param { pooled_size: 2 }", ((1, 2, 4, 4), (1, 5))).graph()
    with pytest.raises(NktcError, match="no operator that pools regions"):
        export.to_onnx(graph, target=export.target("opencv"))
