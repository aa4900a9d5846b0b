"""The ImageData layer: batches as real Caffe makes them, orders, refusals that name the line and the file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from nktc import data, reader
from nktc.data import Opening, Places, describe, open_stream
from nktc.errors import LayerError, NktcError
from nktc.ir import Phase, Transform
from nktc.layers import ImageData

NOWHERE = Places((), Path("nowhere"), download=False)


def opened(layer: ImageData, folder: Path, seed: int = 0, **more: object) -> data.Stream:
    return open_stream(layer, Opening(places=NOWHERE, folder=folder, seed=seed, **more))  # type: ignore[arg-type]


@pytest.mark.parametrize("case", ["data_imagedata", "data_imagedata_gray", "data_imagedata_jpg"])
def test_batches_are_real_caffes(case: str, shared: Path) -> None:
    folder = shared / "goldens" / case
    golden = np.load(folder / "golden.npz")
    graph = reader.build(
        reader.read_net(folder / "net.prototxt"), Phase.TEST, feeds=lambda layer: describe(layer, folder)
    )
    (node,) = graph.nodes
    assert [value.shape for value in node.outputs] == [golden[f"step0/{top}"].shape for top in ("data", "label")]
    for resident in (False, True):
        stream = opened(node.layer, folder, resident=resident)
        for step in reversed(range(sum(name.endswith("/label") for name in golden) - 1)):  # one is the net's blob
            for top, found in zip(("data", "label"), stream.batch(step), strict=True):
                np.testing.assert_array_equal(found, golden[f"step{step}/{top}"])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Seven pictures, all of whose values are their number, which is their label too."""
    names = [f"p {i}.png" for i in range(7)]
    for i, name in enumerate(names):
        cv2.imwrite(str(tmp_path / name), np.full((8, 6, 3), i, np.uint8))
    (tmp_path / "i.txt").write_text("".join(f"{name} {i}\n\n" for i, name in enumerate(names)))
    return tmp_path


def orders(stream: data.Stream, batches: int) -> list[int]:
    """The numbers of the pictures in some batches."""
    found = []
    for k in range(batches):
        pixels, labels = stream.batch(k)
        assert (pixels == labels[:, None, None, None]).all()
        found += [int(n) for n in labels]
    return found


def test_the_sizes_are_those_of_the_settings_or_of_the_first_image(files: Path) -> None:
    def image(**settings: object) -> tuple[int, ...]:
        layer = ImageData("i.txt", 4, **settings)  # type: ignore[arg-type]
        found = describe(layer, files)
        assert (found.shapes[1], found.records) == ((4,), 7)
        assert tuple(opened(layer, files).batch(1)[0].shape) == found.shapes[0]
        return found.shapes[0]

    assert image() == (4, 3, 8, 6)
    assert image(color=False) == (4, 1, 8, 6)
    assert image(resize=(20, 30)) == (4, 3, 20, 30)
    assert image(resize=(20, 30), transform=Transform(crop=16)) == (4, 3, 16, 16)
    assert image(transform=Transform(crop=5)) == (4, 3, 5, 5)


def test_images_come_in_the_order_of_the_list_around_and_around(files: Path) -> None:
    assert orders(opened(ImageData("i.txt", 5), files), 3) == [*range(7), *range(7), 0]


def test_each_epoch_is_mixed_by_seed_and_epoch(files: Path) -> None:
    layer = ImageData("i.txt", 3, shuffle=True)
    found = orders(opened(layer, files, 1), 7)
    epochs = [found[i : i + 7] for i in (0, 7, 14)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert orders(opened(layer, files, 1, resident=True), 7) == found
    assert orders(opened(layer, files, 2), 7) != found


def test_rand_skip_leaves_out_fewer_images_than_it_says_by_the_seed(files: Path) -> None:
    firsts = {orders(opened(ImageData("i.txt", 2, rand_skip=3), files, seed), 1)[0] for seed in range(40)}
    assert firsts == {0, 1, 2}


def test_the_root_folder_is_put_before_a_path_as_it_is(files: Path) -> None:
    (files / "pre_x.png").write_bytes((files / "p 4.png").read_bytes())
    (files / "p.txt").write_text("x.png 4\n")
    assert orders(opened(ImageData("p.txt", root_folder="pre_"), files), 2) == [4, 4]


def test_colours_are_blue_green_red_and_mean_scale_and_crop_are_as_for_data(files: Path) -> None:
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 256, (9, 7, 3), np.uint8)  # OpenCV's order
    cv2.imwrite(str(files / "c.png"), picture)
    (files / "c.txt").write_text("c.png 0")
    transform = Transform(scale=0.5, mean_values=(1, 2, 3), crop=4)
    found = opened(ImageData("c.txt", transform=transform), files).batch(0)[0][0]
    expected = (picture[2:6, 1:5].transpose(2, 0, 1) - np.array([1, 2, 3.0])[:, None, None]) * 0.5
    np.testing.assert_allclose(found, expected)


def test_images_of_several_sizes_are_cropped_or_refused_with_line_and_file(files: Path) -> None:
    cv2.imwrite(str(files / "p 2.png"), np.full((10, 9, 3), 2, np.uint8))
    assert orders(opened(ImageData("i.txt", 7, transform=Transform(crop=5)), files), 1) == list(range(7))
    stream = opened(ImageData("i.txt", 2), files)
    assert orders(stream, 1) == [0, 1]
    with pytest.raises(NktcError, match=r"i\.txt:5: .*p 2\.png: it is 3x10x9, the first one is 3x8x6"):
        stream.batch(1)


def test_what_is_lost_or_damaged_on_the_way_is_named_with_its_line(files: Path) -> None:
    stream = opened(ImageData("i.txt", 2), files)
    (files / "p 2.png").write_bytes(b"no picture")
    with pytest.raises(NktcError, match=r"i\.txt:5: .*p 2\.png: it is no 8-bit picture that can be decoded"):
        stream.batch(1)
    (files / "p 3.png").unlink()
    (files / "p 2.png").unlink()
    with pytest.raises(NktcError, match=r"i\.txt:5: image .*p 2\.png does not exist"):
        stream.batch(1)


@pytest.mark.parametrize(
    ("layer", "said", "help"),
    [
        (ImageData("no.txt"), "source {}/no.txt does not exist", ""),
        (ImageData("gone.txt"), "{0}/gone.txt:1: image {0}/gone.png does not exist", ""),
        (ImageData("text.txt"), "{0}/text.txt:2: {0}/text.txt: it is no 8-bit picture that can be decoded", ""),
        (ImageData("bare.txt"), '{}/bare.txt:1: "p.png" is no path and label', "write: cat.jpg 0"),
        (ImageData("word.txt"), '{}/word.txt:1: "p.png cat" is no path and label', "write: cat.jpg 0"),
        (ImageData("huge.txt"), f'{{}}/huge.txt:1: "p.png {10**40}" is no path and label', "write: cat.jpg 0"),
        (
            ImageData("i.txt", resize=(8, 20), transform=Transform(crop=9)),
            "crop 9x9 is larger than its image 8x20",
            "",
        ),
    ],
)
def test_what_cannot_be_is_refused(files: Path, layer: ImageData, said: str, help: str) -> None:
    lists = {
        "gone": "gone.png 1\n",
        "text": "\ntext.txt 0\n",
        "bare": "p.png",
        "word": "p.png cat",
        "huge": f"p.png {10**40}",
    }
    for name, text in lists.items():
        (files / f"{name}.txt").write_text(text)
    with pytest.raises(LayerError) as refusal:
        describe(layer, files)
    assert (refusal.value.message, refusal.value.help) == (said.format(files), help)


def test_a_label_may_be_negative_and_is_a_float_in_the_batch(files: Path) -> None:
    (files / "l.txt").write_text("p 1.png -1\np 2.png 7\n")
    labels = opened(ImageData("l.txt", 2), files).batch(0)[1]
    assert labels.tolist() == [-1, 7]
    assert labels.dtype is torch.float32
