"""Pictures scaled before the crop as Intel's and NVIDIA's Caffe do it: sides, parts, methods, whole batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from nktc.data import Opening, Places, describe, open_stream
from nktc.data.transforms.rescale import rescaled
from nktc.errors import LayerError, NktcError
from nktc.ir import Phase, RandomAspectCrop, Rescale, Transform
from nktc.layers import ImageData
from nktc.layers.settings import transform
from nktc.schema import TransformationParameter

PICTURE = np.random.default_rng(2).integers(0, 256, size=(3, 30, 47)).astype(np.uint8)
NOWHERE = Places((), Path("nowhere"), download=False)


def read(text: dict[str, object]) -> Transform:
    return transform(TransformationParameter(**text), rescales=True)  # type: ignore[arg-type]


def of(settings: Transform, phase: Phase = Phase.TRAIN, picture: np.ndarray = PICTURE) -> list[np.ndarray]:
    return [rescaled(picture, settings, phase, 4, np.array([i])) for i in range(40)]


def test_intels_shorter_side_has_every_length_of_its_range() -> None:
    settings = read({"crop_size": 8, "random_resize_param": {"min_size": 20, "max_size": 23}})
    assert settings.rescale == Rescale((20, 23), cuts=True)
    found = of(settings)
    assert {p.shape[1:] for p in found} == {(s, int(np.float32(47) / np.float32(30) * s)) for s in range(20, 24)}
    side = found[0].shape[1:]
    expected = cv2.resize(PICTURE.transpose(1, 2, 0).copy(), side[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(found[0], expected.transpose(2, 0, 1))
    assert {p.shape[1:] for p in of(settings, Phase.TEST)} == {(21, 32)}


def test_intels_method_is_the_one_that_is_asked_for() -> None:
    settings = read(
        {"crop_size": 8, "random_resize_param": {"min_size": 60, "max_size": 60, "resize_param": {"interp_mode": [4]}}}
    )
    (found, *_) = of(settings, Phase.TEST)
    expected = cv2.resize(PICTURE.transpose(1, 2, 0).copy(), (94, 60), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(found, expected.transpose(2, 0, 1))


def test_intels_part_of_random_form_is_brought_to_the_crop() -> None:
    ramp = np.stack([*np.meshgrid(np.arange(30.0), np.arange(47.0), indexing="ij"), np.zeros((30, 47))])
    settings = read({"crop_size": 8, "random_aspect_ratio_param": {"min_area_ratio": 0.1, "aspect_ratio_change": 0.75}})
    assert settings.rescale == RandomAspectCrop((pytest.approx(0.1), 1.0), 0.75)
    shares, forms = [], []
    for part in of(settings, picture=ramp.astype(np.float32)):
        assert part.shape == (3, 8, 8)
        # The middles of the first and the last pixel are 7/8 of the part's side from one another.
        tall, wide = ((part[axis].max() - part[axis].min()) * 8 / 7 for axis in (0, 1))
        shares.append(tall * wide / (30 * 47))
        forms.append(tall / wide)
    assert 0.07 < min(shares) < 0.3
    assert 0.5 < max(shares) <= 1.05
    assert 0.5 < min(forms) < 0.8
    assert 1.25 < max(forms) < 2
    assert {p.shape for p in of(settings, Phase.TEST)} == {(3, 8, 12)}


def test_nvidias_sides_are_stretched_for_themselves_and_never_longer_than_they_were() -> None:
    text: dict[str, object] = {"crop_size": 8, "img_rand_resize_lower": 16, "img_rand_resize_upper": 16}
    settings = read({**text, "vertical_stretch_lower": 0.5, "vertical_stretch_upper": 2.0})
    sides = [p.shape[1:] for p in of(settings)]
    assert {wide for _, wide in sides} == {25}  # 16 / 30 of 47, rounded
    assert min(tall for tall, _ in sides) < 12
    assert 24 < max(tall for tall, _ in sides) <= 30
    larger = read({**text, "img_rand_resize_lower": 40, "img_rand_resize_upper": 40})
    assert {p.shape[1:] for p in of(larger)} == {(30, 47)}
    assert {
        p.shape[1:]
        for p in of(read({**text, "img_rand_resize_lower": 40, "img_rand_resize_upper": 40, "allow_upscale": True}))
    } == {(40, 63)}


def test_a_side_is_never_shorter_than_the_crop() -> None:
    settings = read({"crop_size": 25, "random_resize_param": {"min_size": 10, "max_size": 12}})
    assert all(min(p.shape[1:]) == 25 for p in of(settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vertical_stretch_lower": 1.0, "vertical_stretch_upper": float("inf")}, "1 to inf is no range"),
        (
            {"random_aspect_ratio_param": {"aspect_ratio_change": 1e-30}},
            "its shares are above 0 and at most 1, its change of form is from 0.001 to 1",
        ),
    ],
)
def test_numbers_that_no_picture_can_be_scaled_by_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(LayerError) as caught:
        read({"crop_size": 8, **settings})
    assert caught.value.message == message


def test_a_picture_is_not_scaled_to_more_than_memory_holds() -> None:
    for tall in (1e4, 1e30):
        with pytest.raises(LayerError, match="has more than 1,073,741,824 pixels"):
            of(Transform(crop=8, rescale=Rescale((9000, 9000), tall=(tall, tall))), Phase.TEST)
    with pytest.raises(LayerError, match="a picture of 600x8x8 cannot be brought to 16x16"):
        of(Transform(crop=8, rescale=Rescale((16, 16))), Phase.TEST, np.zeros((600, 8, 8), np.uint8))


def test_a_picture_too_thin_to_be_scaled_by_its_shorter_side_is_skipped_or_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i, size in enumerate([(30, 47), (1, 65)]):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((*size, 3), 10 + i, np.uint8))
    (tmp_path / "l.txt").write_text("0.png 0\n1.png 1\n")
    layer = ImageData("l.txt", 2, transform=Transform(crop=24, rescale=Rescale((26, 40), cuts=True)))
    opening = Opening(places=NOWHERE, folder=tmp_path)
    with pytest.raises(NktcError, match="it is 3x1x65, one side more than 64 times the other"):
        open_stream(layer, opening).batch(0)
    assert open_stream(replace(layer, skips=True), opening).batch(0)[1].tolist() == [0, 0]
    assert "skipped: " in capsys.readouterr().err


def test_batches_of_pictures_of_any_size_come_in_that_of_the_crop(tmp_path: Path) -> None:
    sizes = [(30, 47), (12, 90), (64, 20)]
    for i, size in enumerate(sizes):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((*size, 3), 10 + i, np.uint8))
    (tmp_path / "l.txt").write_text("".join(f"{i}.png {i}\n" for i in range(3)))
    for phase in Phase:
        settings = Transform(scale=0.5, mirror=True, crop=24, mean_values=(10.0,), rescale=Rescale((26, 40), cuts=True))
        layer = ImageData("l.txt", 3, transform=settings, phase=phase)
        assert describe(layer, tmp_path).shapes == ((3, 3, 24, 24), (3,))
        stream = open_stream(layer, Opening(places=NOWHERE, folder=tmp_path, resident=True))
        pictures, labels = stream.batch(1)
        assert (pictures == labels[:, None, None, None] / 2).all()
        assert stream.preprocessing
        assert (stream.preprocessing.size, stream.preprocessing.resize_mode) == ((33, 33), "CROP")
