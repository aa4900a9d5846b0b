"""What transform_param may say: read as it stands, or refused at its field."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nktc.errors import Source
from nktc.ir import ColorJitter, RandomErasing, RandomResizedCrop, Transform
from nktc.layers import settings
from nktc.schema import TransformationParameter
from nktc.text import bind, parse


def read(text: str, resizes: bool = True) -> Transform:
    return settings.transform(bind(parse(Source("t", text)), TransformationParameter), resizes)


def test_every_setting_is_read() -> None:
    found = read("""
        scale: 0.5 mirror: true crop_size: 8 mean_value: 1 mean_value: 2 channel_order: RGB resize_height: 9
        resize_width: 10 resize_mode: HALF_CROP fill_value: 7 std_value: 3 rotation: 15 cutout: 4 mixup: 0.5 cutmix: 1
        num_classes: 12 random_resized_crop { min_area: 0.5 max_area: 0.75 min_aspect: 0.5 max_aspect: 2 }
        color_jitter { brightness: 0.5 contrast: 0.25 saturation: 1 hue: 30 }
        random_erasing { probability: 0.25 min_area: 0.125 max_area: 0.5 min_aspect: 0.25 max_aspect: 4 }
    """)
    assert found == Transform(
        scale=0.5,
        mirror=True,
        crop=8,
        mean_values=(1, 2),
        order="RGB",
        resize=(9, 10),
        resize_mode="HALF_CROP",
        fill=7,
        std_values=(3,),
        random_resized_crop=RandomResizedCrop((0.5, 0.75), (0.5, 2)),
        rotation=15,
        color_jitter=ColorJitter(0.5, 0.25, 1, 30),
        cutout=4,
        random_erasing=RandomErasing(0.25, (0.125, 0.5), (0.25, 4)),
        mixup=0.5,
        cutmix=1,
        classes=12,
    )
    assert found.mixes
    assert read("") == Transform()
    assert not Transform().mixes


@pytest.mark.parametrize(
    ("text", "said", "field"),
    [
        ("std_value: 1 std_value: 0", "std_value is 0", "std_value: 0"),
        ("fill_value: 256", "fill_value 256 is outside 0 to 255", "fill_value: 256"),
        ("rotation: -1", "rotation -1 is outside 0 to 180", "rotation: -1"),
        ("mixup: 1001", "mixup 1001 is outside 0 to 1000", "mixup: 1001"),
        ("num_classes: 3", "num_classes is of mixed labels alone", "num_classes: 3"),
        ("random_resized_crop { }", "random_resized_crop has no size to stretch to", "random_resized_crop { }"),
        ("color_jitter { hue: 181 }", "hue 181 is outside 0 to 180", "hue: 181"),
        ("color_jitter { contrast: 1.5 }", "contrast 1.5 is outside 0 to 1", "contrast: 1.5"),
        ("random_erasing { probability: 2 }", "probability 2 is outside 0 to 1", "probability: 2"),
        (
            "random_erasing { min_area: 0.5 max_area: 0.25 }",
            "min_area 0.5 to max_area 0.25 is no range above 0",
            "max_area: 0.25",
        ),
        ("random_erasing { max_area: 1.5 }", "min_area 0.02 to max_area 1.5 is no range above 0", "max_area: 1.5"),
        ("resize_height: 4", "resize_height and resize_width go together", "resize_height: 4"),
    ],
)
def test_settings_that_say_nothing_are_refused_where_they_stand(
    refusal: Callable[..., tuple[str, str]], text: str, said: str, field: str
) -> None:
    given = f"transform_param {{ {text} }} input_param {{ shape {{ dim: 1 dim: 3 dim: 8 dim: 8 }} }}"
    assert refusal("Input", given) == (said, field)
