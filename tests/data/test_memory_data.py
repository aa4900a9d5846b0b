"""The MemoryData layer: batches as real Caffe makes them of arrays, and refusals."""

from __future__ import annotations

import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nktc import data, models, reader
from nktc.data import MemoryStream, Opening, Places, describe, open_stream
from nktc.errors import LayerError
from nktc.ir import Feed, Phase, Transform
from nktc.layers import MemoryData

NOWHERE = Places((), Path("nowhere"), download=False)
TOLD = MemoryData((), 4, source_path="m.npz")


def opened(layer: MemoryData, folder: Path, seed: int = 0, tops: int = 2) -> data.Stream:
    return open_stream(layer, Opening(places=NOWHERE, folder=folder, seed=seed, tops=tops))


def pictures(count: int = 6, dtype: str = "uint8") -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, 3, 5, 6)).astype(dtype)


def test_batches_are_real_caffes(shared: Path, tmp_path: Path) -> None:
    golden = np.load(shared / "goldens" / "data_memory" / "golden.npz")
    np.savez(tmp_path / "m.npz", data=golden["arrays/data"], label=golden["arrays/label"])
    net = reader.read_net(shared / "goldens" / "data_memory" / "net.prototxt")
    (node,) = reader.build(net, Phase.TEST, feeds=models.feeds(net)).nodes
    layer = replace(node.layer, source_path="m.npz")  # type: ignore[type-var]
    assert [value.shape for value in node.outputs] == [(2, 3, 4, 5), (2,)] == list(describe(layer, tmp_path).shapes)
    for stream in (
        opened(layer, tmp_path),
        MemoryStream(golden["arrays/data"], golden["arrays/label"], 2),
    ):
        for step in (3, 0, 1, 2):
            for top, found in zip(("data", "label"), stream.batch(step), strict=True):
                # Caffe builds the net with a label of one axis, and feeds it one of four.
                np.testing.assert_array_equal(found, golden[f"step{step}/{top}"])


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "float64"])
def test_arrays_are_transformed_as_pictures_are(tmp_path: Path, dtype: str) -> None:
    values = pictures(dtype=dtype)
    np.savez_compressed(tmp_path / "m.npz", data=values, label=np.arange(6))
    layer = replace(TOLD, transform=Transform(scale=0.5, mean_values=(1, 2, 3), crop=3))
    assert describe(layer, tmp_path) == Feed(((4, 3, 3, 3), (4,)), 6)
    x, label = opened(layer, tmp_path).batch(1)
    expected = (values[:, :, 1:4, 1:4] - np.array([1, 2, 3]).reshape(3, 1, 1)) * 0.5
    np.testing.assert_allclose(x, expected[[4, 5, 0, 1]], rtol=1e-6)
    assert label.tolist() == [[[[i]]] for i in (4, 5, 0, 1)]
    x.zero_()
    np.testing.assert_allclose(opened(layer, tmp_path, tops=1).batch(1)[0], expected[[4, 5, 0, 1]], rtol=1e-6)


def test_chance_follows_from_the_seed_and_the_place_alone() -> None:
    values, label = pictures(20), np.arange(20)

    def make(seed: int) -> MemoryStream:
        transform = Transform(crop=4, mirror=True)
        return MemoryStream(values, label, 5, transform, Phase.TRAIN, shuffle=True, seed=seed)

    one, again, other = make(1), make(1), make(2)
    for epoch in range(3):
        found = [int(n) for k in range(4) for n in one.batch(4 * epoch + k)[1]]
        assert Counter(found) == Counter(range(20))
    assert all(torch.equal(a, b) for a, b in zip(one.batch(9), again.batch(9), strict=True))
    assert not torch.equal(one.batch(9)[0], other.batch(9)[0])
    windows = {values[n, :, i : i + 4, j : j + 4].tobytes() for n in range(20) for i in range(2) for j in range(3)}
    for x in one.batch(2)[0].numpy().astype(np.uint8):
        assert {x.tobytes(), x[:, :, ::-1].tobytes()} & windows


def test_mixed_labels_have_a_share_a_class() -> None:
    transform = Transform(mixup=0.5, classes=20)
    stream = MemoryStream(pictures(20), np.arange(20), 5, transform, Phase.TRAIN)
    assert stream.feed.shapes == ((5, 3, 5, 6), (5, 20))
    torch.testing.assert_close(stream.batch(0)[1].sum(1), torch.ones(5))
    assert MemoryStream(pictures(20), np.arange(20), 5, transform).feed.shapes[1] == (5,)


def test_without_a_source_both_ways_to_feed_it_are_told() -> None:
    layer = MemoryData(((2, 3, 4, 5), (2,)), 2)
    assert describe(layer, Path()) == Feed(((2, 3, 4, 5), (2,)))
    with pytest.raises(LayerError, match="its data comes from whoever runs the net, not from a source") as refusal:
        opened(layer, Path())
    assert "source: " in refusal.value.help
    assert "nktc.data.MemoryStream" in refusal.value.help


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"data": pictures()}, '{} has no array "label", but data'),
        ({"label": np.arange(6), "x": pictures()}, '{} has no array "data", but label, x'),
        ({"data": pictures(), "label": np.arange(5)}, "its array label is 5 for 6 records"),
        ({"data": pictures(), "label": np.zeros((2, 3))}, "its array label is 2x3 for 6 records"),
        ({"data": np.zeros((6, 4)), "label": np.arange(6)}, "its array data is 6x4, not records, channels, height and"),
        ({"data": np.zeros((0, 1, 1, 1)), "label": np.arange(0)}, "its array data is 0x1x1x1, not records, channels"),
        ({"data": np.full((6, 1, 1, 1), "a"), "label": np.arange(6)}, "its array data holds <U1, not numbers"),
        ({"data": pictures(), "label": np.array([None] * 6)}, "source {} cannot be read: it is damaged, or no .npz"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], said: str) -> None:
    np.savez(tmp_path / "m.npz", **arrays)  # type: ignore[arg-type]
    for refused in (lambda: describe(TOLD, tmp_path), lambda: opened(TOLD, tmp_path)):
        with pytest.raises(LayerError) as refusal:
            refused()
        assert refusal.value.message.startswith(said.format(tmp_path / "m.npz"))
        assert refusal.value.field == "source"


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "m.npz", data=pictures(), label=np.arange(6))
    whole = (tmp_path / "m.npz").read_bytes()
    damaged = [whole[:n] for n in range(0, len(whole), 40)]
    damaged += [whole[:n] + bytes(b ^ 255 for b in whole[n : n + 9]) + whole[n + 9 :] for n in range(0, 600, 30)]
    refused = 0
    for content in damaged:
        (tmp_path / "d.npz").write_bytes(content)
        try:
            describe(replace(TOLD, source_path="d.npz"), tmp_path)
        except LayerError:
            refused += 1
    assert refused > len(damaged) - 8, "a changed date harms nothing"
    np.save(tmp_path / "one.npy", np.arange(6))
    (tmp_path / "folder").mkdir()
    for name, said in (
        ("one.npy", "is no .npz file"),
        ("folder", "is a folder"),
        ("gone.npz", "does not exist"),
        ("a\0b", "cannot be read"),
        ("n" * 300, "cannot be read"),
    ):
        with pytest.raises(LayerError, match=said):
            describe(replace(TOLD, source_path=name), tmp_path)


def packed(path: Path, shape: str, flags: int = 0) -> Path:
    """An .npz whose array data claims a shape and has nothing of it."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
        archive.writestr("label.npy", b"")
    if flags:  # of the entry and of the listing at the end
        content = bytearray(path.read_bytes())
        for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            content[content.index(mark) + at] |= flags
        path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("shape", "flags", "said"),
    [
        (f"({1 << 62}, 1, 1, 1)", 0, "its arrays take more memory than there is"),
        (f"({1 << 46}, 1, 1, 1)", 0, "its arrays take more memory than there is"),
        (f"({10**30}, 1, 1, 1)", 0, "it is damaged, or no .npz file of numbers"),
        ("(2, 1, 1, 1)", 0, "it is damaged, or no .npz file of numbers"),
        ("(2, 1, 1, 1)", 1, "it is encrypted"),
    ],
)
def test_a_file_that_cannot_be_unpacked_is_refused_with_the_reason(
    tmp_path: Path, shape: str, flags: int, said: str
) -> None:
    packed(tmp_path / "m.npz", shape, flags)
    with pytest.raises(LayerError) as refusal:
        describe(TOLD, tmp_path)
    assert refusal.value.message == f"source {tmp_path}/m.npz cannot be read: {said}"


def test_settings_agree_with_the_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", data=pictures(), label=np.arange(6))
    said = MemoryData(((4, 3, 5, 6), (4, 1, 1, 1)), 4, source_path="m.npz")
    assert describe(said, tmp_path) == describe(TOLD, tmp_path)
    other = replace(said, shapes=((4, 3, 4, 4), (4, 1, 1, 1)))
    for refused in (lambda: describe(other, tmp_path), lambda: opened(other, tmp_path)):
        with pytest.raises(LayerError, match="channels, height and width are 3x4x4, its arrays give 3x5x6"):
            refused()
    assert describe(replace(other, transform=Transform(crop=4)), tmp_path).shapes[0] == (4, 3, 4, 4)
