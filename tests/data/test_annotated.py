"""The AnnotatedData layer: batches as SSD's Caffe makes them, boxes that stay with their picture, refusals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from nktc import data, reader
from nktc.data import Opening, Places, describe, open_stream, preprocessing
from nktc.data.annotated import parse
from nktc.data.databases.datum import BadDatum
from nktc.data.databases.lmdb import write_database
from nktc.errors import LayerError, NktcError
from nktc.ir import Feed, Phase, Transform
from nktc.layers import AnnotatedData, Data, Part
from nktc.schema import AnnotatedDatum

NOWHERE = Places((), Path("nowhere"), download=False)
SOURCE = Data("db", 4, "LMDB")
LAYER = AnnotatedData(SOURCE, 5)
Boxes = Sequence[tuple[float, ...]]  # label, instance, xmin, ymin, xmax, ymax, difficult


def opened(layer: AnnotatedData, folder: Path, **opening: object) -> data.Stream:
    return open_stream(layer, Opening(NOWHERE, folder, **opening))  # type: ignore[arg-type]


@pytest.mark.parametrize("case", ["annotated_raw", "annotated_batch1", "annotated_notype_datum_label"])
def test_batches_are_those_of_ssds_caffe(shared: Path, case: str) -> None:
    folder = shared / "goldens" / case
    golden = np.load(folder / "golden.npz")
    graph = reader.build(
        reader.read_net(folder / "net.prototxt"), Phase.TEST, feeds=lambda layer: describe(layer, folder)
    )
    (node,) = graph.nodes
    stream = opened(node.layer, folder)
    for step in (2, 0, 1):
        pictures, label = stream.batch(step)
        assert [tuple(top.shape) for top in (pictures, label)] == [value.shape for value in node.outputs]
        np.testing.assert_array_equal(pictures, golden[f"step{step}/data"])
        expected = golden[f"step{step}/label"]
        np.testing.assert_array_equal(label[:, :, : expected.shape[2]], expected)
        assert (label[:, :, expected.shape[2] :] == -1).all()


def made(i: int, boxes: Boxes | None, encoded: bool = True, size: tuple[int, int] = (6, 8)) -> tuple[bytes, bytes]:
    """Record i: a picture of the one colour i, with boxes."""
    picture = np.full((*size, 3), i, np.uint8)
    message = AnnotatedDatum()
    message.datum.label, message.datum.encoded = 100 + i, encoded
    message.datum.data = cv2.imencode(".png", picture)[1].tobytes() if encoded else picture.tobytes()
    if not encoded:
        message.datum.channels, message.datum.height, message.datum.width = 3, *size
    if boxes is not None:
        message.type = AnnotatedDatum.BBOX
    for label, instance, xmin, ymin, xmax, ymax, difficult in boxes or ():
        one = message.annotation_group.add(group_label=int(label)).annotation.add(instance_id=int(instance))
        one.bbox.xmin, one.bbox.ymin, one.bbox.xmax, one.bbox.ymax = xmin, ymin, xmax, ymax
        one.bbox.difficult = bool(difficult)
    return f"{i:04}".encode(), message.SerializeToString()


def boxes_of(i: int) -> Boxes:
    """As many as i modulo 4, telling which record they are of."""
    return [(i % 3, n, 0.125, 0.25, i / 64, 1, n % 2) for n in range(i % 4)]


def records(folder: Path, count: int = 10, **how: bool) -> Path:
    write_database(folder / "db", [made(i, boxes_of(i), **how) for i in range(count)])
    return folder


def check(pictures: torch.Tensor, label: torch.Tensor, rows: int) -> list[int]:
    """That the boxes are those of the pictures; the records that these are."""
    found = pictures[:, 0, 0, 0].int().tolist()
    expected = [(item, *box) for item, i in enumerate(found) for box in boxes_of(i)]
    assert label.shape == (1, 1, rows, 8)
    assert [tuple(row) for row in label[0, 0, : len(expected)].tolist()] == expected
    assert (label[0, 0, len(expected) :] == -1).all()
    return found


@pytest.mark.parametrize("encoded", [False, True])
@pytest.mark.parametrize("resident", [False, True])
def test_boxes_stay_with_their_pictures(tmp_path: Path, encoded: bool, resident: bool) -> None:
    records(tmp_path, encoded=encoded)
    assert describe(LAYER, tmp_path) == Feed(((4, 3, 6, 8), (1, 1, 20, 8)), 10)
    stream = opened(LAYER, tmp_path, resident=resident)
    assert [check(*stream.batch(k), 20) for k in (2, 0, 1, 6)] == [
        [8, 9, 0, 1],
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [4, 5, 6, 7],
    ]
    assert stream.resident == resident
    mixed = opened(replace(LAYER, data=replace(SOURCE, shuffle=True, batch=5)), tmp_path, resident=resident, seed=3)
    epochs = [check(*mixed.batch(2 * e), 25) + check(*mixed.batch(2 * e + 1), 25) for e in range(3)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(10))] * 3
    assert epochs[0] != epochs[1]
    part = replace(LAYER, data=replace(SOURCE, part=Part("VALIDATION", 0.4)))
    assert describe(part, tmp_path).records == len({*check(*opened(part, tmp_path).batch(0), 20)}) == 4
    assert len(opened(LAYER, tmp_path, tops=1).batch(0)) == 1


@pytest.mark.parametrize("resident", [False, True])
def test_boxes_are_found_without_asking_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resident: bool
) -> None:
    records(tmp_path)

    def ask(x: torch.Tensor) -> None:
        raise AssertionError("the device is asked, which waits for all that it has to do")

    monkeypatch.setattr(torch.Tensor, "cpu", ask)
    data_layer = replace(SOURCE, shuffle=True, part=Part("TRAIN", 0.4))
    stream = opened(replace(LAYER, data=data_layer), tmp_path, resident=resident, seed=2)
    seen = [check(*stream.batch(k), 20) for k in (1, 0, 2, 1)]
    assert seen[0] == seen[3]
    assert len({i for batch in seen for i in batch}) == 6


def test_processes_read_what_one_reads(tmp_path: Path) -> None:
    records(tmp_path)
    stream = opened(LAYER, tmp_path, workers=1)
    for k in range(6):
        stream.expect(k)
    assert [check(*stream.batch(k), 20) for k in range(3)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1]]
    stream.forget()


def test_pictures_are_resized_and_the_mean_goes_off(tmp_path: Path) -> None:
    write_database(tmp_path / "db", [made(i, boxes_of(i), size=(6 + i, 8)) for i in range(4)])
    transform = Transform(resize=(4, 5), mean_values=(1, 2, 3), scale=2, order="RGB")
    layer = replace(LAYER, data=replace(SOURCE, transform=transform))
    pictures, label = opened(layer, tmp_path).batch(0)
    assert pictures[:, :, 3, 4].tolist() == [[2 * (i - mean) for mean in (1, 2, 3)] for i in range(4)]
    assert label[0, 0, 0].tolist() == [1, *boxes_of(1)[0]]
    found = preprocessing(layer, NOWHERE, tmp_path)
    assert found is not None
    assert (found.size, found.order, found.scale) == ((4, 5), "RGB", 2)


def test_a_label_map_names_the_classes(tmp_path: Path) -> None:
    records(tmp_path)
    (tmp_path / "map").write_text(
        'item { name: "n0" label: 0 display_name: "background" } item { name: "cat" label: 2 }'
    )
    layer = replace(LAYER, label_map="map")
    assert describe(layer, tmp_path).labels == opened(layer, tmp_path).feed.labels == ("background", "1", "cat")
    (tmp_path / "map").write_text('item { name: "n0" label: 0 } item { name: "n1" label: 1 }')
    with pytest.raises(NktcError) as refusal:
        opened(layer, tmp_path).batch(0)
    problem = 'record 2, key "0002": a box has label 2, the label map names 0 to 1'
    assert refusal.value.message == f"{tmp_path}/db: {problem}"
    for text, said in (
        ("item { nam: 1 }", '/map:1: unknown field "nam" in item'),
        ("", "names no labels"),
        ('item { name: "a" label: 1 } item { name: "b" label: 1 }', 'label 1 of "b" is a too'),
        ('item { name: "a" label: -1 }', 'label -1 of "a" is below 0'),
    ):
        (tmp_path / "map").write_text(text)
        with pytest.raises(LayerError, match=said):
            describe(layer, tmp_path)
    with pytest.raises(LayerError, match="there is no file"):
        describe(replace(LAYER, label_map="gone"), tmp_path)


def test_a_bad_record_stops_or_is_passed_over(tmp_path: Path) -> None:
    good = [made(i, boxes_of(i)) for i in range(8)]
    many = made(2, [(1, 0, 0, 0, 1, 1, 0)] * 6)
    untyped = made(5, None)
    write_database(tmp_path / "db", [*good[:2], many, *good[3:5], untyped, (b"0006", b"\x0a\x7f"), good[7]])
    with pytest.raises(NktcError) as refusal:
        opened(LAYER, tmp_path).batch(0)
    assert refusal.value.message == f'{tmp_path}/db: record 2, key "0002": it has 6 boxes, max_boxes is 5'
    assert refusal.value.help == "raise it: annotated_data_param { max_boxes: 6 }"
    assert opened(replace(LAYER, max_boxes=6), tmp_path).batch(0)[1].shape[2] == 24
    stream = opened(replace(LAYER, data=replace(SOURCE, skips=True)), tmp_path)
    assert check(*stream.batch(0), 20) == [0, 1, 3, 3]
    assert check(*stream.batch(1), 20) == [4, 7, 7, 7]
    assert [stream.skipped[place].partition(": ")[2] for place in sorted(stream.skipped)] == [
        'record 2, key "0002": it has 6 boxes, max_boxes is 5',
        'record 5, key "0005": it has no type of annotation, and the first record has one',
        'record 6, key "0006": its 2 bytes are no AnnotatedDatum',
    ]


def test_one_record_is_parsed_alone() -> None:
    found = parse(made(7, boxes_of(7))[1], "RGB")
    assert found.record.label == 107
    assert found.record.values.shape == (3, 6, 8)
    assert found.boxes is not None
    assert [tuple(row) for row in found.boxes.tolist()] == boxes_of(7)
    assert parse(made(7, None)[1]).boxes is None
    for wrong in (b"", b"\x12\x34"):
        with pytest.raises(BadDatum):
            parse(wrong)


def test_a_database_of_plain_datums_is_refused(tmp_path: Path) -> None:
    write_database(tmp_path / "db", [(b"0", b"")])
    with pytest.raises(LayerError, match='record 0, key "0": it has no datum'):
        describe(LAYER, tmp_path)
    with pytest.raises(LayerError, match="db is an LMDB, backend is LEVELDB"):
        describe(replace(LAYER, data=Data("db", 1)), tmp_path)
