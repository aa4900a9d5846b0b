"""The WindowData layer: windows as Caffe cuts them, computed here a second time; drawn by seed and place; refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from nktc import data
from nktc.data import Opening, Places, describe, open_stream, write_mean
from nktc.data.order import draw_at
from nktc.errors import LayerError, NktcError
from nktc.ir import Feed, Phase, Transform
from nktc.layers import WindowData

NOWHERE = Places((), Path("nowhere"), download=False)
SIDE = 16
SIZES = ((40, 50), (30, 24))
# label, overlap, x1, y1, x2, y2
WINDOWS = (
    (
        (3, 0.9, 5, 6, 30, 20),
        (1, 0.5, 0, 0, 49, 39),
        (2, 0.1, 20, 10, 28, 33),
        (7, 0.49, 1, 1, 2, 30),
        (0, 0.0, 40, 30, 49, 39),
    ),
    ((5, 0.7, 0, 3, 20, 12), (0, 0.05, 10, 10, 23, 29)),
)
LAYER = WindowData("w.txt", 8, transform=Transform(crop=SIDE), fg_fraction=0.3, bg_threshold=0.3)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    random = np.random.default_rng(5)
    lines = []
    for i, ((height, width), windows) in enumerate(zip(SIZES, WINDOWS, strict=True)):
        coarse = random.integers(0, 256, (height // 4, width // 4, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"{i}.png"), cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))
        lines += [f"# {i}", f"images/{i}.png", "3", str(height), str(width), str(len(windows))]
        lines += [" ".join(map(str, window)) for window in windows]
    (tmp_path / "images").symlink_to(tmp_path)
    (tmp_path / "w.txt").write_text("\n".join(lines))
    return tmp_path


def opened(layer: WindowData, folder: Path, seed: int = 0, tops: int = 2) -> data.Stream:
    return open_stream(layer, Opening(places=NOWHERE, folder=folder, seed=seed, tops=tops))


def several(stream: data.Stream) -> None:
    for k in range(9):
        stream.batch(k)


def half_away(x: np.float32) -> int:
    """C's round."""
    return int(np.trunc(np.float64(x) + np.copysign(0.5, x)))


def caffes(layer: WindowData, folder: Path, seed: int, k: int, mean: np.ndarray | None) -> tuple[np.ndarray, list[int]]:
    """Batch k by Caffe's definition, pixel by pixel; what is drawn is the project's own."""
    f = np.float32
    flat = [(i, *window) for i, windows in enumerate(WINDOWS) for window in windows]
    foreground = [w for w in flat if w[2] >= layer.fg_threshold]
    background = [(w[0], 0, *w[2:]) for w in flat if w[2] < layer.fg_threshold and w[2] < layer.bg_threshold]
    objects = int(f(layer.batch) * f(layer.fg_fraction))
    out, labels = np.zeros((layer.batch, 3, SIDE, SIDE), f), []
    for item in range(layer.batch):
        pool = foreground if item >= layer.batch - objects else background
        counter = np.array([k * layer.batch + item])
        image, label, _, x1, y1, x2, y2 = pool[int(draw_at(seed, "window", counter)[0]) % len(pool)]
        mirror = layer.transform.mirror and int(draw_at(seed, "mirror", counter)[0]) % 2 == 1
        picture = cv2.imread(str(folder / f"{image}.png"), cv2.IMREAD_COLOR)
        rows, columns = picture.shape[:2]
        pad_w = pad_h = 0
        width = height = SIDE
        if layer.context_pad or layer.crop_mode == "square":
            scale = f(SIDE) / f(SIDE - 2 * layer.context_pad)
            half_h, half_w = f(y2 - y1 + 1) / f(2), f(x2 - x1 + 1) / f(2)
            center_x, center_y = f(x1) + half_w, f(y1) + half_h
            if layer.crop_mode == "square":
                half_h = half_w = max(half_h, half_w)
            x1, x2 = half_away(center_x - half_w * scale), half_away(center_x + half_w * scale)
            y1, y2 = half_away(center_y - half_h * scale), half_away(center_y + half_h * scale)
            whole_h, whole_w = y2 - y1 + 1, x2 - x1 + 1
            left, top = max(0, -x1), max(0, -y1)
            right, below = max(0, x2 - columns + 1), max(0, y2 - rows + 1)
            x1, y1, x2, y2 = x1 + left, y1 + top, x2 - right, y2 - below
            scale_x, scale_y = f(SIDE) / f(whole_w), f(SIDE) / f(whole_h)
            width, height = half_away(f(x2 - x1 + 1) * scale_x), half_away(f(y2 - y1 + 1) * scale_y)
            pad_h = half_away(f(top) * scale_y)
            pad_w = half_away(f(right if mirror else left) * scale_x)
            height, width = min(height, SIDE - pad_h), min(width, SIDE - pad_w)
        part = cv2.resize(picture[y1 : y2 + 1, x1 : x2 + 1], (width, height), interpolation=cv2.INTER_LINEAR)
        if mirror:
            part = cv2.flip(part, 1)
        for h in range(height):
            for w in range(width):
                for c in range(3):
                    taken = f(0)
                    if mean is not None:
                        start = (mean.shape[2] - SIDE) // 2 if mean.shape[2] > 1 else 0
                        at = (h + start + pad_h, w + start + pad_w) if mean.shape[2] > 1 else (0, 0)
                        taken = mean[(c, *at)]
                    out[item, c, h + pad_h, w + pad_w] = (f(part[h, w, c]) - taken) * f(layer.transform.scale)
        labels.append(label)
    return out, labels


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("mode", ["warp", "square"])
@pytest.mark.parametrize("pad", [0, 3])
@pytest.mark.parametrize("mean", ["", "values", "file"])
def test_windows_are_cut_as_caffe_cuts_them(files: Path, mode: str, pad: int, mean: str, cached: bool) -> None:
    transform = Transform(crop=SIDE, mirror=True, scale=0.25)
    image = None
    if mean == "values":
        transform, image = replace(transform, mean_values=(10, 20, 30)), np.float32([10, 20, 30]).reshape(3, 1, 1)
    if mean == "file":
        image = np.random.default_rng(2).uniform(0, 255, (3, 21, 21)).astype(np.float32)
        write_mean(files / "mean", image)
        transform = replace(transform, mean_file="mean")
    layer = replace(LAYER, crop_mode=mode, context_pad=pad, transform=transform, cache_images=cached)
    assert describe(layer, files) == Feed(((8, 3, SIDE, SIDE), (8,)))
    stream = opened(layer, files, seed=4)
    seen = set()
    for k in (3, 0, 7):
        expected, labels = caffes(layer, files, 4, k, image)
        x, label = stream.batch(k)
        np.testing.assert_allclose(x, expected, atol=1e-5)
        assert label.tolist() == labels
        assert labels[:6] == [0] * 6
        assert 0 not in labels[6:]
        seen |= {*labels[6:]}
    assert seen <= {1, 3, 5}, "what overlaps by less than both thresholds is nothing"


def test_what_is_drawn_follows_from_the_seed_and_the_place_alone(files: Path) -> None:
    layer = replace(LAYER, transform=Transform(crop=SIDE, mirror=True), phase=Phase.TRAIN)
    one, again, other = (opened(layer, files, seed) for seed in (1, 1, 2))
    assert torch.equal(one.batch(5)[0], again.batch(5)[0])
    assert not torch.equal(one.batch(5)[0], one.batch(6)[0])
    assert not torch.equal(one.batch(5)[0], other.batch(5)[0])
    assert torch.equal(one.batch(5)[0], opened(layer, files, 1, tops=1).batch(5)[0])


def test_a_channel_order_and_a_deviation_are_read(files: Path) -> None:
    plain = opened(LAYER, files).batch(0)[0]
    turned = opened(replace(LAYER, transform=Transform(crop=SIDE, order="RGB", std_values=(1, 2, 4))), files).batch(0)[
        0
    ]
    torch.testing.assert_close(turned * torch.tensor([1, 2, 4.0]).reshape(3, 1, 1), plain.flip(1))


def test_an_image_that_cannot_be_used_stops_or_is_passed_over(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "1.png").write_bytes(b"no picture")
    with pytest.raises(NktcError) as stopped:
        several(opened(LAYER, files))
    where = f"image {files}/images/1.png: it is no 8-bit picture that can be decoded"
    assert stopped.value.message in [f"{files}/w.txt:{line}: {where}" for line in (18, 19)]
    skipping = replace(LAYER, skips=True)
    one, again = opened(skipping, files), opened(skipping, files)
    several(one)
    assert {*one.skipped.values()} <= {f"{files}/w.txt:{line}: {where}" for line in (18, 19)}
    assert one.skipped
    told = capsys.readouterr().err
    assert all(told.count(what) == 1 for what in one.skipped.values())
    assert torch.equal(one.batch(7)[0], again.batch(7)[0])
    (files / "0.png").unlink()
    with pytest.raises(NktcError, match="1000 windows in a row cannot be used; the last: "):
        again.batch(0)
    with pytest.raises(NktcError, match=r"0\.png does not exist"):
        several(opened(LAYER, files))


def test_a_window_outside_its_image_is_refused(files: Path) -> None:
    text = (files / "w.txt").read_text()
    (files / "w.txt").write_text(text.replace("0 3 20 12", "0 3 24 12").replace("5 6 30 20", "5 6 50 20"))
    with pytest.raises(
        NktcError, match=r"the window 0 3 24 12 does not lie in its 30x24 pixels|5 6 50 20 does not lie"
    ):
        several(opened(replace(LAYER, fg_fraction=1), files))
    far = "# 0 0.png 3 40 50 2 1 1 200 200 220 220 0 0 0 0 9 9"
    (files / "w.txt").write_text(far)
    with pytest.raises(NktcError, match="the window 200 200 220 220 does not lie in its 40x50 pixels"):
        opened(replace(LAYER, fg_fraction=1, context_pad=3), files).batch(0)
    most = 2**31 - 1
    for box in ("10 5 8 9", "9 7 8 5", f"{most} {most} {most} {most}", f"{most} 0 {-most} 9"):
        (files / "w.txt").write_text(f"# 0 0.png 3 40 50 2 1 1 {box} 0 0 0 0 9 9")
        with pytest.raises(NktcError, match=f"the window {box} does not lie in its 40x50 pixels"):
            opened(replace(LAYER, fg_fraction=1, context_pad=3), files).batch(0)


@pytest.mark.parametrize(
    ("text", "said", "field"),
    [
        ("", "source {} lists nothing", "source"),
        ("0 a.png", '{}:1: "0" stands where the # of an image is due', "source"),
        ("# 0\na.png\n3 4 5\n1\n1 0.9 0 0 1", "{}:5: the file ends where a y2 is due", "source"),
        ("# 0\na.png\n3 4 5\n1\n1 much 0 0 1 1", '{}:5: "much" is no overlap', "source"),
        ("# 0\na.png\n3 4 x 1", '{}:3: "x" is no width', "source"),
        (f"# 0\na.png\n3 4 5 1\n1 1 0 0 {'9' * 60} 1", f'{{}}:4: "{"9" * 40}..." is no x2 of 32 bits', "source"),
        (f"# 0\na.png\n3 4 5 1\n1{'0' * 400} 1 0 0 1 1", f'{{}}:4: "1{"0" * 39}..." is no label of 32 bits', "source"),
        (f"# 0\na.png\n3 4 5 1\n{'7' * 5000} 1 0 0 1 1", f'{{}}:4: "{"7" * 40}..." is no label', "source"),
        ("# 0\na.png\n3 4 5 1\n-2147483649 1 0 0 1 1", '{}:4: "-2147483649" is no label of 32 bits', "source"),
        ("# 0\na.png 3 4 5 1\n0 0.9 0 0 1 1", "{}:3: overlap 0.9 shows an object, and its label is 0", "source"),
        (
            "# 0 a.png 3 4 5 1 1 0.1 0 0 1 1",
            "no window of {} shows an object: none has an overlap >= 0.5",
            "fg_threshold",
        ),
        (
            "# 0 a.png 3 4 5 1 1 0.9 0 0 1 1",
            "no window of {} shows background: none has an overlap < 0.3",
            "bg_threshold",
        ),
    ],
)
def test_a_malformed_file_is_refused_with_its_line(tmp_path: Path, text: str, said: str, field: str) -> None:
    (tmp_path / "w.txt").write_text(text)
    with pytest.raises(LayerError) as refusal:
        opened(LAYER, tmp_path)
    assert (refusal.value.message, refusal.value.field) == (said.format(tmp_path / "w.txt"), field)


def test_a_mean_image_that_is_too_small_is_refused(files: Path) -> None:
    write_mean(files / "mean", np.zeros((3, 9, 9), np.float32))
    with pytest.raises(LayerError, match="mean image is 3x9x9, a window is 3x16x16"):
        opened(replace(LAYER, transform=Transform(crop=SIDE, mean_file="mean")), files)
