"""The HDF5Data layer: batches as real Caffe makes them, mixed rows that come once an epoch, refusals."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest

from nktc import data, reader
from nktc.data import Opening, Places, describe, open_stream
from nktc.errors import LayerError, NktcError
from nktc.ir import Feed, Phase
from nktc.layers import HDF5Data

NOWHERE = Places((), Path("nowhere"), download=False)


def opened(layer: HDF5Data, folder: Path, seed: int = 0, tops: int = 2) -> data.Stream:
    return open_stream(layer, Opening(places=NOWHERE, folder=folder, seed=seed, tops=tops))


def test_batches_are_real_caffes(shared: Path) -> None:
    folder = shared / "goldens" / "data_hdf5"
    golden = np.load(folder / "golden.npz")
    graph = reader.build(
        reader.read_net(folder / "net.prototxt"), Phase.TEST, feeds=lambda layer: describe(layer, folder)
    )
    (node,) = graph.nodes
    names = ("data", "label", "aux")
    assert [value.shape for value in node.outputs] == [golden[f"step0/{top}"].shape for top in names]
    stream = opened(node.layer, folder, tops=3)
    for step in (3, 0, 1, 2):
        for top, found in zip(names, stream.batch(step), strict=True):
            np.testing.assert_array_equal(found, golden[f"step{step}/{top}"])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Three files of 3, 0 and 4 rows, "n" counting them from 0 and "x" being three times that."""
    (tmp_path / "h.txt").write_text("\none.h5\nnone.h5\n two.h5 \n")
    for name, first, rows in (("one.h5", 0, 3), ("none.h5", 3, 0), ("two.h5", 3, 4)):
        with h5py.File(tmp_path / name, "w") as file:
            file["n"] = np.arange(first, first + rows, dtype=np.int64)
            file["x"] = 3.0 * np.arange(first, first + rows)[:, None, None] + np.zeros((1, 2, 3))
            file["short"], file["number"], file["text"] = np.zeros((rows + 1, 2)), 1.0, np.array([b"a"] * rows, "S1")
            file.create_group("group")
    return tmp_path


def test_rows_come_in_the_order_of_the_files_around_and_around(files: Path) -> None:
    layer = HDF5Data("h.txt", 5, ("n", "x"))
    assert describe(layer, files) == Feed(((5,), (5, 2, 3)), 7, ())
    stream = opened(layer, files)
    assert [stream.batch(k)[0].tolist() for k in (1, 0, 2)] == [[5, 6, 0, 1, 2], [0, 1, 2, 3, 4], [3, 4, 5, 6, 0]]
    numbers, more = stream.batch(4)
    assert (more == 3 * numbers[:, None, None]).all()
    assert str(more.dtype) == "torch.float32"


def test_one_batch_may_have_several_epochs(files: Path) -> None:
    (numbers,) = opened(HDF5Data("h.txt", 16, ("n", "x")), files, tops=1).batch(0)
    assert numbers.tolist() == [*range(7), *range(7), 0, 1]


def test_mixed_rows_come_once_an_epoch_in_an_order_of_seed_and_epoch(files: Path) -> None:
    layer = HDF5Data("h.txt", 5, ("n", "x"), shuffle=True)
    stream, again, other = opened(layer, files, 1), opened(layer, files, 1), opened(layer, files, 2)

    def order(stream: data.Stream, start: int = 0) -> list[int]:
        found = {k: stream.batch(k) for k in reversed(range(start, start + 7))}  # five epochs
        assert all((x == 3 * n[:, None, None]).all() for n, x in found.values())
        return [int(n) for k in sorted(found) for n in found[k][0]]

    found = order(stream)
    epochs = [found[i : i + 7] for i in range(0, 35, 7)]
    assert all(Counter(epoch) == Counter(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 5
    # Files stay together, as in Caffe, in an order of their own.
    assert {tuple(n < 3 for n in epoch) for epoch in epochs} <= {(True,) * 3 + (False,) * 4, (False,) * 4 + (True,) * 3}
    assert order(again) == found
    assert order(other) != found


@pytest.mark.parametrize(
    ("source", "blobs", "said", "help"),
    [
        ("no.txt", ("n",), "source {}/no.txt does not exist", ""),
        ("empty.txt", ("n",), "source {}/empty.txt lists nothing", ""),
        ("h.txt", ("m",), '{}/one.h5 has no dataset "m"', "it has n, number, short, text, x"),
        ("h.txt", ("group",), '{}/one.h5 has no dataset "group"', "it has n, number, short, text, x"),
        ("h.txt", ("numbr",), '{}/one.h5 has no dataset "numbr"', 'did you mean "number"?'),
        ("h.txt", ("number",), 'dataset "number" of {}/one.h5 is a single number, not rows', ""),
        ("h.txt", ("text",), 'dataset "text" of {}/one.h5 holds |S1, not numbers', ""),
        ("h.txt", ("n", "short"), 'dataset "short" of {}/one.h5 has 4 rows, "n" has 3', ""),
        ("gone.txt", ("n",), "cannot read {}/gone.h5, which source lists: it does not exist", ""),
        ("text.txt", ("n",), "cannot read {}/text.txt, which source lists: it is no HDF5 file", ""),
        ("none.txt", ("n",), "the files that source lists have no rows: {}/none.h5", ""),
        ("wide.txt", ("x",), 'a row of dataset "x" is 5 in {0}/wide.h5, 2x3 in {0}/one.h5', ""),
    ],
)
def test_what_cannot_be_read_is_refused(files: Path, source: str, blobs: tuple[str, ...], said: str, help: str) -> None:
    lists = {
        "empty": "\n",
        "gone": "one.h5\ngone.h5\n",
        "text": "text.txt\n",
        "none": "none.h5",
        "wide": "one.h5\nwide.h5",
    }
    for name, text in lists.items():
        (files / f"{name}.txt").write_text(text)
    with h5py.File(files / "wide.h5", "w") as file:
        file["x"] = np.zeros((2, 5))
    with pytest.raises(LayerError) as refusal:
        describe(HDF5Data(source, 1, blobs), files)
    assert (refusal.value.message, refusal.value.help) == (said.format(files), help)
    assert refusal.value.field in ("source", "top")


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_file_that_is_lost_or_damaged_on_the_way_is_named(files: Path, shuffle: bool) -> None:
    stream = opened(HDF5Data("h.txt", 7, ("n", "x"), shuffle), files)
    whole = (files / "two.h5").read_bytes()
    (files / "two.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(NktcError, match=r"two.h5: .* cannot be read \(.*truncated"):
        stream.batch(0)
    (files / "two.h5").unlink()
    with pytest.raises(NktcError, match=r"two.h5: it is not there any more"):
        stream.batch(0)
