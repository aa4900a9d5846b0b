"""The Data layer: batches as real Caffe makes them, refusals that name the record."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import small_leveldb
import torch

from nktc import data, reader
from nktc.data import Opening, Places, describe, open_stream, record_stream
from nktc.data.databases.datum import pack, pack_encoded
from nktc.data.databases.lmdb import write_database
from nktc.errors import LayerError, NktcError
from nktc.ir import Phase, Transform
from nktc.layers import Data

NOWHERE = Places((), Path("nowhere"), download=False)


def opened(layer: Data, folder: Path, seed: int = 0, tops: int = 2) -> data.Stream:
    return open_stream(layer, Opening(places=NOWHERE, folder=folder, seed=seed, tops=tops))


def written(folder: Path, values: list[np.ndarray]) -> Path:
    write_database(folder / "db", ((f"{i:08d}".encode(), pack(v, i)) for i, v in enumerate(values)))
    return folder


@pytest.mark.parametrize("case", ["data_lmdb", "data_lmdb_transform", "data_lmdb_meanfile"])
def test_batches_are_real_caffes(case: str, shared: Path) -> None:
    folder = shared / "goldens" / case
    golden = np.load(folder / "golden.npz")
    net = reader.read_net(folder / "net.prototxt")
    graph = reader.build(net, Phase.TEST, feeds=lambda layer: describe(layer, folder))
    (node,) = graph.nodes
    assert [value.shape for value in node.outputs] == [golden[f"step0/{top}"].shape for top in ("data", "label")]
    stream = open_stream(node.layer, Opening(places=NOWHERE, folder=folder, seed=0))
    for step in (3, 0, 1, 2):
        batch = stream.batch(step)
        for top, found in zip(("data", "label"), batch, strict=True):
            np.testing.assert_array_equal(found, golden[f"step{step}/{top}"])


def test_describe_says_what_batches_are(tmp_path: Path) -> None:
    folder = written(tmp_path, [np.full((3, 8, 9), i, np.uint8) for i in range(5)])
    (tmp_path / "db" / "labels.txt").write_text("cat\ndog\n")
    layer = Data("db", 2, "LMDB", Transform(crop=6))
    feed, stream = describe(layer, folder), opened(layer, folder)
    assert feed == stream.feed
    assert [batch.shape for batch in stream.batch(0)] == list(feed.shapes) == [(2, 3, 6, 6), (2,)]
    assert (feed.records, feed.labels) == (5, ("cat", "dog"))
    assert stream.batch(0)[1].dtype is torch.float32


def test_batches_wrap_around_in_the_middle(tmp_path: Path) -> None:
    stream = opened(Data("db", 3, "LMDB"), written(tmp_path, [np.full((1, 2, 2), i, np.uint8) for i in range(5)]))
    assert [stream.batch(k)[1].tolist() for k in (1, 0, 3, 2)] == [[3, 4, 0], [0, 1, 2], [4, 0, 1], [1, 2, 3]]


def test_one_top_leaves_the_label(tmp_path: Path) -> None:
    stream = opened(Data("db", 2, "LMDB"), written(tmp_path, [np.zeros((1, 2, 2), np.uint8)]), tops=1)
    assert len(stream.batch(0)) == len(stream.feed.shapes) == 1


def test_training_crops_depend_on_the_seed_and_come_again(tmp_path: Path) -> None:
    pictures = [np.random.RandomState(i).randint(0, 256, (3, 9, 9), np.uint8) for i in range(7)]
    layer = Data("db", 4, "LMDB", Transform(crop=5, mirror=True), Phase.TRAIN)
    folder = written(tmp_path, pictures)
    one, same, other = opened(layer, folder, 1), opened(layer, folder, 1), opened(layer, folder, 2)
    later = one.batch(6)[0]
    assert torch.equal(later, same.batch(6)[0])
    assert not torch.equal(later, other.batch(6)[0])


def test_floats_are_taken_as_they_are(tmp_path: Path) -> None:
    values = np.random.RandomState(0).randn(4, 1, 1).astype(np.float32)
    stream = opened(Data("db", 1, "LMDB", Transform(scale=2)), written(tmp_path, [values]))
    np.testing.assert_array_equal(stream.batch(0)[0][0], values * 2)
    assert stream.preprocessing is None  # four channels are no picture


def test_encoded_pictures_may_differ_in_size_where_a_crop_makes_them_equal(tmp_path: Path) -> None:
    pictures = [np.random.RandomState(i).randint(0, 256, (6 + i, 8, 3), np.uint8) for i in range(3)]
    encoded = [pack_encoded(cv2.imencode(".png", p)[1].tobytes(), i) for i, p in enumerate(pictures)]
    write_database(tmp_path / "db", ((f"{i}".encode(), d) for i, d in enumerate(encoded)))
    batch = opened(Data("db", 3, "LMDB", Transform(crop=4)), tmp_path).batch(0)[0]
    for i, (picture, found) in enumerate(zip(pictures, batch.numpy(), strict=True)):
        top = (6 + i - 4) // 2
        np.testing.assert_array_equal(found, picture.transpose(2, 0, 1)[:, top : top + 4, 2:6])
    with pytest.raises(NktcError) as refused:
        opened(Data("db", 3, "LMDB"), tmp_path).batch(1)
    assert str(refused.value) == (f'error: {tmp_path / "db"}: record 1, key "1": it is 3x7x8, the first one is 3x6x8')


@pytest.mark.parametrize(
    ("transform", "order"), [({}, "BGR"), ({"order": "RGB"}, "RGB"), ({"force_gray": True}, "GRAY")]
)
def test_preprocessing_brings_a_file_to_what_the_batch_has(tmp_path: Path, transform: dict, order: str) -> None:
    picture = np.random.RandomState(0).randint(0, 256, (6, 8, 3), np.uint8)
    png = cv2.imencode(".png", picture)[1].tobytes()
    write_database(tmp_path / "db", [(b"0", pack_encoded(png, 0))])
    layer = Data("db", 1, "LMDB", Transform(scale=0.5, crop=4, mean_values=(100,), **transform))
    stream = opened(layer, tmp_path)
    preprocessing = data.preprocessing(layer, NOWHERE, tmp_path)
    assert preprocessing is not None
    assert (preprocessing.order, preprocessing.size, preprocessing.crop) == (order, (6, 8), 4)
    assert torch.equal(data.prepare(png, preprocessing), stream.batch(0)[0][0])


def test_a_damaged_record_is_named_at_its_batch(tmp_path: Path) -> None:
    good = pack(np.zeros((1, 2, 2), np.uint8), 0)
    write_database(tmp_path / "db", [(b"a", good), (b"b", good), (b"c\xff", good[:-3])])
    stream = opened(Data("db", 2, "LMDB"), tmp_path)
    stream.batch(0)
    with pytest.raises(NktcError) as refused:
        stream.batch(1)
    assert refused.value.message.startswith(f'{tmp_path / "db"}: record 2, key "c\\xff": ')


def test_a_missing_database_is_refused_with_a_way_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(LayerError) as refused:
        describe(Data("train_lmdb", 2, "LMDB"), tmp_path)
    assert refused.value.field == "source"
    assert str(refused.value) == (
        f"error: there is no LMDB at {tmp_path / 'train_lmdb'}\n"
        "help: nktc data convert TREE OUT.lmdb makes one from folders of images, one folder a class"
    )


def test_a_database_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    written(tmp_path, [np.zeros((1, 2, 2), np.uint8)])
    small_leveldb.write_records(tmp_path / "level", [(b"0", pack(np.zeros((1, 2, 2), np.uint8), 0))])
    for source, mine, kind, its in (("db", "LEVELDB", "an LMDB", "LMDB"), ("level", "LMDB", "a LevelDB", "LEVELDB")):
        with pytest.raises(LayerError) as refused:
            describe(Data(source, 2, mine), tmp_path)
        assert refused.value.field == "backend"
        assert str(refused.value) == (
            f"error: {tmp_path / source} is {kind}, backend is {mine}\nhelp: set backend: {its}"
        )
        assert describe(Data(source, 2, its), tmp_path).records == 1


def test_a_missing_leveldb_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(LayerError) as refused:
        describe(Data("db", 2), tmp_path)
    assert refused.value.field == "source"
    assert str(refused.value) == (
        f"error: there is no LevelDB at {tmp_path / 'db'}\n"
        "help: make an LMDB and set backend: LMDB; "
        "nktc data convert TREE OUT.lmdb makes one from folders of images, one folder a class"
    )


def test_leveldb_feeds_what_lmdb_feeds(tmp_path: Path) -> None:
    pictures = [np.random.RandomState(i).randint(0, 256, (3, 6, 6), np.uint8) for i in range(7)]
    written(tmp_path, pictures)
    small_leveldb.write_records(tmp_path / "level", ((f"{i:08d}".encode(), pack(p, i)) for i, p in enumerate(pictures)))
    transform = Transform(crop=4, mirror=True)
    one, other = (
        opened(Data(*of, transform, Phase.TRAIN), tmp_path) for of in (("db", 3, "LMDB"), ("level", 3, "LEVELDB"))
    )
    assert one.feed == other.feed
    for k in (4, 0, 1):
        for mine, theirs in zip(one.batch(k), other.batch(k), strict=True):
            assert torch.equal(mine, theirs)


def test_a_damaged_leveldb_is_the_sources_fault(tmp_path: Path) -> None:
    folder = small_leveldb.write_records(tmp_path / "db", [(b"0", pack(np.zeros((1, 2, 2), np.uint8), 0))])
    (folder / "000011.ldb").write_bytes(b"short")
    with pytest.raises(LayerError) as refused:
        describe(Data("db", 2), tmp_path)
    assert refused.value.field == "source"
    assert refused.value.message.startswith(f"{folder / '000011.ldb'} is cut off: it has 5 bytes, ")


def test_a_mean_file_that_is_missing_or_does_not_fit_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path, [np.zeros((1, 2, 2), np.uint8)])
    layer = Data("db", 1, "LMDB", Transform(mean_file="mean.binaryproto"))
    with pytest.raises(LayerError) as refused:
        opened(layer, folder)
    assert (refused.value.field, refused.value.message) == (
        "mean_file",
        f"mean file {tmp_path / 'mean.binaryproto'} does not exist",
    )
    data.write_mean(tmp_path / "mean.binaryproto", np.zeros((1, 3, 3), np.float32))
    with pytest.raises(LayerError, match="mean image is 1x3x3, its images are 1x2x2"):
        opened(layer, folder)


def test_a_source_is_looked_for_beside_the_net_and_under_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nets").mkdir()
    monkeypatch.chdir(written(tmp_path, [np.full((1, 1, 1), 1, np.uint8)]))
    assert opened(Data("db", 1, "LMDB"), tmp_path / "nets").batch(0)[0].item() == 1
    written(tmp_path / "nets", [np.full((1, 1, 1), 2, np.uint8)])
    assert opened(Data("db", 1, "LMDB"), tmp_path / "nets").batch(0)[0].item() == 2


def bad_ones(folder: Path) -> Path:
    """Ten records: 3 is no Datum, 4 no picture, 7 has another size, the last a label without a name."""
    made = [pack(np.full((3, 4, 5), i, np.uint8), i % 2) for i in range(10)]
    made[3], made[4] = b"\xff\xff", pack_encoded(b"no picture", 0)
    made[7], made[9] = pack(np.zeros((3, 4, 6), np.uint8), 0), pack(np.full((3, 4, 5), 9, np.uint8), 2)
    write_database(folder / "db", ((f"{i:08d}".encode(), one) for i, one in enumerate(made)))
    (folder / "db" / "labels.txt").write_text("cat\ndog\n")
    return folder


def test_bad_records_are_named_with_key_and_position(tmp_path: Path) -> None:
    stream = opened(Data("db", 1, "LMDB"), bad_ones(tmp_path))
    said = {
        3: "its 2 bytes are no Datum",
        4: "its picture cannot be decoded",
        7: "it is 3x4x6, the first one is 3x4x5",
        9: "its label is 2, the classes are 0 to 1",
    }
    for k in range(10):
        if k not in said:
            stream.batch(k)
            continue
        with pytest.raises(NktcError) as refused:
            stream.batch(k)
        assert refused.value.message == f'{tmp_path}/db: record {k}, key "{k:08d}": {said[k]}'


@pytest.mark.parametrize("resident", [False, True])
def test_skipped_records_are_replaced_by_the_next_good_one_and_counted(
    tmp_path: Path, resident: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    layer = Data("db", 5, "LMDB", skips=True)
    stream = open_stream(layer, Opening(NOWHERE, bad_ones(tmp_path), resident=resident))
    for _ in range(2):
        found = [int(x[0, 0, 0]) for k in (0, 1) for x in stream.batch(k)[0]]
        assert found == [0, 1, 2, 5, 5, 5, 6, 8, 8, 0]
    assert sorted(stream.skipped) == [3, 4, 7, 9]
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 4
    assert said[0] == f'warning: skipped: {tmp_path}/db: record 3, key "00000003": its 2 bytes are no Datum'


def test_a_source_without_good_records_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [pack(np.zeros((1, 2, 2), np.uint8), 0), *[b"\xff"] * 9]
    write_database(tmp_path / "db", ((f"{i}".encode(), one) for i, one in enumerate(made)))
    stream = opened(Data("db", 1, "LMDB", skips=True), tmp_path)
    assert stream.batch(9)[1].tolist() == [0]
    monkeypatch.setattr(record_stream, "IN_A_ROW", 5)
    with pytest.raises(NktcError, match=r'5 records in a row cannot be used; the last: .*record 7, key "7"'):
        stream.batch(3)


@pytest.mark.parametrize("source", ["raw", "coded"])
def test_a_shuffled_database_has_every_record_once_in_an_epoch_in_a_new_order(tmp_path: Path, source: str) -> None:
    pixels = [np.full((3, 4, 5), i, np.uint8) for i in range(23)]
    made = [pack(p, i) for i, p in enumerate(pixels)]
    if source == "coded":
        made = [pack_encoded(cv2.imencode(".png", p.transpose(1, 2, 0))[1].tobytes(), i) for i, p in enumerate(pixels)]
    write_database(tmp_path / "db", ((f"{i:08d}".encode(), one) for i, one in enumerate(made)))
    stream = opened(Data("db", 4, "LMDB", shuffle=True), tmp_path, seed=3)
    batches = [stream.batch(k) for k in range(23)]
    labels = np.concatenate([label for _, label in batches]).astype(int)
    epochs = labels.reshape(4, 23)
    assert all(sorted(epoch) == list(range(23)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 4
    for data_, label in batches:
        np.testing.assert_array_equal(data_[:, 0, 0, 0], label)
    again = opened(Data("db", 4, "LMDB", shuffle=True), tmp_path, seed=3)
    assert torch.equal(again.batch(17)[1], batches[17][1])
    assert not torch.equal(opened(Data("db", 4, "LMDB", shuffle=True), tmp_path, seed=4).batch(17)[1], batches[17][1])


def test_chance_belongs_to_the_record_and_the_epoch_not_to_the_batch(tmp_path: Path) -> None:
    chance = np.random.RandomState(0)
    folder = written(tmp_path, [chance.randint(0, 256, (3, 9, 9)).astype(np.uint8) for _ in range(12)])
    transform = Transform(crop=5, mirror=True)

    def epochs(batch: int, shuffle: bool) -> dict[tuple[int, int], torch.Tensor]:
        """Each record of two epochs as it came out."""
        stream = opened(Data("db", batch, "LMDB", transform, Phase.TRAIN, shuffle=shuffle), folder, seed=7)
        found = [pair for k in range(24 // batch) for pair in zip(*stream.batch(k), strict=True)]
        return {(i // 12, int(label)): x for i, (x, label) in enumerate(found)}

    one, other = epochs(3, False), epochs(4, True)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert not all(torch.equal(one[0, i], one[1, i]) for i in range(12))


def test_a_bad_first_record_can_be_skipped_too(tmp_path: Path) -> None:
    made = [b"\xff", pack_encoded(b"no picture", 0), *[pack(np.full((3, 4, 5), i, np.uint8), i) for i in range(2, 6)]]
    write_database(tmp_path / "db", ((f"{i}".encode(), one) for i, one in enumerate(made)))
    with pytest.raises(LayerError, match='record 0, key "0": its 1 bytes are no Datum'):
        opened(Data("db", 3, "LMDB"), tmp_path)
    stream = opened(Data("db", 3, "LMDB", skips=True), tmp_path)
    assert stream.batch(0)[1].tolist() == [2, 2, 2]
    assert sorted(stream.skipped) == [0, 1]


def test_a_damaged_place_in_the_database_is_skipped_as_a_bad_record_is(tmp_path: Path) -> None:
    made = [pack(np.full((3, 40, 50), i, np.uint8), i) for i in range(8)]
    write_database(tmp_path / "db", ((f"{i:08d}".encode(), one) for i, one in enumerate(made)))
    file = tmp_path / "db" / "data.mdb"
    content = bytearray(file.read_bytes())
    at = content.index(b"00000003") + 8  # where the entry says in which page its value begins
    content[at : at + 8] = (2**40).to_bytes(8, "little")
    file.write_bytes(content)
    with pytest.raises(NktcError, match=r"is damaged at record 3"):
        opened(Data("db", 4, "LMDB"), tmp_path).batch(0)
    stream = opened(Data("db", 4, "LMDB", skips=True), tmp_path)
    assert stream.batch(0)[1].tolist() == [0, 1, 2, 4]
    assert list(stream.skipped) == [3]


def test_a_label_outside_the_classes_that_are_asked_for_is_a_bad_record(tmp_path: Path) -> None:
    made = [pack(np.full((3, 4, 5), i, np.uint8), label) for i, label in enumerate((0, 1, 77, 255, 2))]
    write_database(tmp_path / "db", ((f"{i}".encode(), one) for i, one in enumerate(made)))
    layer = Data("db", 5, "LMDB")
    with pytest.raises(NktcError, match='record 2, key "2": its label is 77, the classes are 0 to 2'):
        open_stream(layer, Opening(NOWHERE, tmp_path, classes=3, ignored=255)).batch(0)
    skips = Data("db", 5, "LMDB", skips=True)
    stream = open_stream(skips, Opening(NOWHERE, tmp_path, classes=3, ignored=255))
    assert stream.batch(0)[1].tolist() == [0, 1, 255, 255, 2]
    mixed = Data("db", 5, "LMDB", Transform(mixup=0.5, classes=4), Phase.TRAIN)
    with pytest.raises(NktcError, match='record 2, key "2": its label is 77, the classes are 0 to 3'):
        opened(mixed, tmp_path).batch(0)
