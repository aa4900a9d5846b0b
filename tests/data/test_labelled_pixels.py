"""Pictures with a class for each pixel: both are cut, mirrored and resized as one, and classes are never mixed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from nktc import data
from nktc.data import Opening, Places, describe, open_stream
from nktc.errors import LayerError, NktcError
from nktc.ir import Phase, Transform
from nktc.layers import DenseImageData, ImageSegData, LabelledPixels

NOWHERE = Places((), Path("nowhere"), download=False)


def opened(layer: DenseImageData | ImageSegData, folder: Path, seed: int = 0, tops: int = 2) -> data.Stream:
    return open_stream(layer, Opening(places=NOWHERE, folder=folder, seed=seed, tops=tops))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Four pictures of 6x10 whose values are 40 i + the class of the pixel, classes being 0 to 3 at random."""
    random = np.random.default_rng(8)
    lines = []
    for i in range(4):
        classes = random.integers(0, 4, size=(6, 10)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"p{i}.png"), np.repeat((classes + 40 * i)[..., None], 3, 2))
        cv2.imwrite(str(tmp_path / f"c{i}.png"), classes)
        lines.append(f"p{i}.png c{i}.png\n")
    (tmp_path / "list.txt").write_text("".join(lines))
    return tmp_path


PLAIN = LabelledPixels("list.txt", 2)


def test_a_picture_and_its_classes_come_as_they_are(files: Path) -> None:
    layer = DenseImageData(PLAIN)
    assert describe(layer, files).shapes[:2] == ((2, 3, 6, 10), (2, 1, 6, 10))
    for k in range(3):
        pictures, classes = opened(layer, files).batch(k)
        for at, i in enumerate([(2 * k) % 4, (2 * k + 1) % 4]):
            np.testing.assert_array_equal(classes[at, 0], cv2.imread(str(files / f"c{i}.png"), 0))
            np.testing.assert_array_equal(pictures[at], (classes[at] + 40 * i).expand(3, 6, 10))


@pytest.mark.parametrize("kind", [DenseImageData, ImageSegData])
def test_crop_mirror_and_arithmetic_keep_each_class_on_its_pixel(
    files: Path, kind: type[DenseImageData] | type[ImageSegData]
) -> None:
    transform = Transform(scale=0.5, mean_values=(2.0,))
    settings = replace(PLAIN, crop=(4, 5), mirror=True, transform=transform, phase=Phase.TRAIN, shuffle=True)
    stream, seen = opened(kind(settings), files, seed=3), set()
    for k in range(20):
        pictures, classes = stream.batch(k)
        assert pictures.shape == (2, 3, 4, 5)
        values = pictures * 2 + 2 - classes  # 40 times the number of the picture
        assert (values == values[:, :1, :1, :1]).all()
        for number, plane in zip((values[:, 0, 0, 0] / 40).int().tolist(), classes[:, 0].numpy(), strict=True):
            whole = cv2.imread(str(files / f"c{number}.png"), 0)
            cuts = {
                (top, left, way): whole[top : top + 4, left : left + 5][:, ::way]
                for top in range(3)
                for left in range(6)
                for way in (1, -1)
            }
            seen.update((number, at[0], at[1], at[2]) for at, cut in cuts.items() if (cut == plane).all())
    assert len(seen) > 15  # places and directions differ
    again = opened(kind(settings), files, seed=3).batch(7)
    torch.testing.assert_close(again, stream.batch(7), rtol=0, atol=0)


def test_a_test_sees_the_middle_of_a_picture(files: Path) -> None:
    settings = replace(PLAIN, crop=(4, 5), mirror=True)
    _, classes = opened(DenseImageData(settings), files).batch(0)
    np.testing.assert_array_equal(classes[0, 0], cv2.imread(str(files / "c0.png"), 0)[1:5, 2:7])


def test_classes_are_resized_by_the_nearest_pixel(files: Path) -> None:
    layer = DenseImageData(replace(PLAIN, resize=(12, 20)))
    assert describe(layer, files).shapes[:2] == ((2, 3, 12, 20), (2, 1, 12, 20))
    _, classes = opened(layer, files).batch(0)
    np.testing.assert_array_equal(classes[0, 0], cv2.imread(str(files / "c0.png"), 0).repeat(2, 0).repeat(2, 1))


def test_the_classes_of_an_encoder_are_a_fraction_of_the_picture(files: Path) -> None:
    layer = DenseImageData(replace(PLAIN, resize=(12, 20), divisor=4))
    assert describe(layer, files).shapes[:2] == ((2, 3, 12, 20), (2, 1, 3, 5))
    _, classes = opened(layer, files).batch(0)
    np.testing.assert_array_equal(classes[0, 0], cv2.imread(str(files / "c0.png"), 0)[::2, ::2])
    with pytest.raises(NktcError, match=r"list.txt:1: classes 7 times smaller than 6x10 are less than a pixel"):
        opened(DenseImageData(replace(PLAIN, divisor=7)), files)


def test_what_a_crop_has_beyond_its_picture_is_the_mean_and_the_class_to_ignore(files: Path) -> None:
    transform = Transform(mean_values=(116.28, 100.5, 90.25))
    layer = ImageSegData(replace(PLAIN, crop=(8, 9), pads=True, transform=transform, outside=200))
    assert describe(layer, files).shapes == ((2, 3, 8, 9), (2, 1, 8, 9), (2, 1, 1, 2))
    pictures, classes, sizes = opened(layer, files, tops=3).batch(0)
    whole = cv2.imread(str(files / "c0.png"), 0)
    np.testing.assert_array_equal(classes[0, 0, :6], whole[:, 0:9])  # the middle: half of one column, cut off
    assert (classes[0, 0, 6:] == 200).all()
    assert (pictures[0, :, 6:] == 0).all()
    assert sizes.flatten().tolist() == [6, 9, 6, 9]


def test_a_picture_is_scaled_by_one_of_the_factors(files: Path) -> None:
    settings = replace(PLAIN, crop=(12, 20), pads=True, factors=(0.5, 1.0, 2.0), phase=Phase.TRAIN, batch=1)
    stream, heights = opened(ImageSegData(settings), files), set()
    for k in range(12):
        _, classes = stream.batch(k)
        inside = classes[0, 0].numpy() != 255
        heights.add(int(inside.any(1).sum()))
        assert set(np.unique(classes[0, 0].numpy())) <= {0, 1, 2, 3, 255}
    assert heights == {3, 6, 12}
    tested = opened(ImageSegData(replace(settings, factors=(), phase=Phase.TEST)), files).batch(0)[1]
    assert (tested[0, 0, :6, :10] != 255).all()


def test_a_line_may_have_one_class_for_the_whole_picture_or_none(files: Path) -> None:
    (files / "list.txt").write_text("p0.png 7\np1.png 9\n")
    _, classes = opened(ImageSegData(replace(PLAIN, label="IMAGE")), files).batch(0)
    assert (classes[0] == 7).all()
    assert (classes[1] == 9).all()
    (files / "list.txt").write_text("p0.png\np1.png\n")
    _, classes = opened(ImageSegData(replace(PLAIN, label="NONE")), files).batch(0)
    assert (classes == 255).all()
    (files / "list.txt").write_text(f"p0.png {10**400}\n")
    with pytest.raises(NktcError, match='0" is no class') as caught:
        opened(ImageSegData(replace(PLAIN, label="IMAGE")), files).batch(0)
    assert "label_type: PIXEL" in caught.value.help


def test_a_list_without_labels_and_classes_of_another_size_are_refused(files: Path) -> None:
    (files / "list.txt").write_text("p0.png\n")
    with pytest.raises(LayerError, match=r'list\.txt:1: "p0\.png" is no path and label'):
        opened(DenseImageData(PLAIN), files)
    cv2.imwrite(str(files / "small.png"), np.zeros((3, 3), np.uint8))
    (files / "list.txt").write_text("p0.png small.png\n")
    with pytest.raises(NktcError, match=r"list\.txt:1: its classes are 3x3, the picture is 6x10"):
        opened(DenseImageData(replace(PLAIN, crop=(4, 4))), files).batch(0)
    (files / "list.txt").write_text("p0.png lost.png\n")
    with pytest.raises(NktcError, match=r"list\.txt:1: image .*lost\.png does not exist"):
        opened(DenseImageData(replace(PLAIN, crop=(4, 4))), files).batch(0)


def test_pictures_of_several_sizes_need_a_size_or_a_crop(files: Path) -> None:
    for name in ("p1.png", "c1.png"):
        cv2.imwrite(str(files / name), np.zeros((9, 7), np.uint8))
    with pytest.raises(NktcError) as caught:
        opened(DenseImageData(PLAIN), files).batch(0)
    assert caught.value.message.endswith("list.txt:2: it is 9x7, the first one is 6x10")
    assert caught.value.help == "bring them to one size with new_height and new_width, or a crop"
    with pytest.raises(NktcError, match=r"list\.txt:2: it is 9x7, the crop is 5x8"):
        opened(DenseImageData(replace(PLAIN, crop=(5, 8))), files).batch(0)
    pictures, _ = opened(DenseImageData(replace(PLAIN, resize=(8, 8))), files).batch(0)
    assert pictures.shape == (2, 3, 8, 8)


def test_a_picture_that_cannot_be_used_is_skipped_where_that_is_asked_for(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (files / "list.txt").write_text("p0.png lost.png\np1.png c1.png\n")
    stream = opened(ImageSegData(replace(PLAIN, crop=(4, 4), batch=1, skips=True)), files)
    _, classes = stream.batch(0)
    np.testing.assert_array_equal(classes[0, 0], cv2.imread(str(files / "c1.png"), 0)[1:5, 3:7])
    assert list(stream.skipped) == [0]
    assert "skipped: " in capsys.readouterr().err
