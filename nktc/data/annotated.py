"""The AnnotatedData layer: pictures with boxes, from an LMDB or LevelDB of AnnotatedDatum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from google.protobuf.message import DecodeError

from nktc.data.database import decoding, open_source
from nktc.data.databases import datum
from nktc.data.databases.backends import Database, read_places
from nktc.data.databases.datum import BadDatum
from nktc.data.images import ANY, resized
from nktc.data.label_map import read_label_map
from nktc.data.mean import bad_record, file_mean
from nktc.data.order import Order
from nktc.data.parts import part_records, part_size
from nktc.data.record_stream import Reading, RecordStream
from nktc.data.records import IN_A_ROW, BadRecord, Records, Taken
from nktc.data.resident import send
from nktc.data.stream import Batch, Opening, Stream, with_tops
from nktc.data.transforms.transform import cropped
from nktc.errors import LayerError, NktcError
from nktc.ir import Feed
from nktc.layers import AnnotatedData
from nktc.schema import AnnotatedDatum

MOST = 1 << 24  # places that a 32-bit float tells apart
FIELDS = 8  # of a row: item, label, instance, xmin, ymin, xmax, ymax, difficult


@dataclass(frozen=True, eq=False)
class Annotated:
    """A picture and its boxes, f32[n 7]: label, instance, xmin, ymin, xmax, ymax, difficult; sides are shares of the
    picture's. None where it has no type of annotation."""

    record: datum.Record
    boxes: np.ndarray | None


def parse(data: bytes | memoryview, order: str = ANY) -> Annotated:
    """What is in the bytes of an AnnotatedDatum, its picture as `datum.parse` has it. Raises BadDatum."""
    message = _message(data)
    return Annotated(datum.parse(message.datum.SerializeToString(), order), _boxes(message))


def describe(layer: AnnotatedData, folder: Path) -> Feed:
    """What the database feeds, from its first record. Raises LayerError."""
    return _feed(layer, folder, _open(layer, folder))


def open_stream(layer: AnnotatedData, opening: Opening) -> Stream:
    """The stream of the layer. Raises LayerError."""
    return AnnotatedStream(layer, opening)


class AnnotatedStream(Stream):
    """The pictures are those of a RecordStream, whose labels are places in the database; the boxes are looked up by
    them."""

    def __init__(self, layer: AnnotatedData, opening: Opening) -> None:
        self._pictures = _pictures(layer, replace(opening, tops=2, classes=0))
        self._records = _open(layer, opening.folder)
        self.feed = with_tops(_feed(layer, opening.folder, self._records), opening.tops)
        self.device, self.preprocessing = opening.device, self._pictures.preprocessing
        self._rows = layer.max_boxes
        self._order = Order(self.feed.records or 0, layer.data.batch, opening.seed, layer.data.shuffle)
        self._part = part_records(layer.data.part, len(self._records))

    @property
    def skipped(self) -> Mapping[int, str]:  # type: ignore[override]
        return self._pictures.skipped

    def batch(self, k: int) -> Batch:
        pictures, places = self._pictures.batch(k)
        self.resident = self._pictures.resident
        if len(self.feed.shapes) == 1:
            return (pictures,)
        # Where none was replaced the order tells the places: asking the device would wait for all that it has to do.
        chosen = places.cpu().numpy().astype(np.int64) if self.skipped else self._places(k)
        return pictures, send(torch.from_numpy(self._label(chosen)), self.device)

    def expect(self, k: int) -> None:
        self._pictures.expect(k)

    def forget(self) -> None:
        self._pictures.forget()

    def _places(self, k: int) -> np.ndarray:
        """i64[batch]: those in batch `k`, were all of them good."""
        indices = self._order.batch_records(k)
        if isinstance(indices, slice):
            indices = np.arange(indices.start, indices.stop)
        return indices if self._part is None else self._part[indices]

    def _label(self, places: np.ndarray) -> np.ndarray:
        found = [self._records.boxes(place) for place in places.tolist()]
        if not self._records.typed:
            return np.array([label for label, _ in found], np.float32).reshape(-1, 1, 1, 1)
        label = np.full((1, 1, len(places) * self._rows, FIELDS), -1, np.float32)
        row = 0
        for item, (_, boxes) in enumerate(found):
            label[0, 0, row : row + len(boxes), 0] = item
            label[0, 0, row : row + len(boxes), 1:] = boxes
            row += len(boxes)
        return label


class AnnotatedRecords(Records):
    """The records of a database, each with its place as its label. `typed` tells whether the first has boxes, or may
    have."""

    def __init__(self, layer: AnnotatedData, database: Database, labels: tuple[str, ...]) -> None:
        self._layer, self._database, self.labels = layer, database, labels
        self._order, self._known = decoding(layer.data), dict[int, tuple[int, np.ndarray]]()
        self.typed, self.encoded = True, False
        self.typed, self.encoded = self._first()

    def __len__(self) -> int:
        return self._database.records

    def read(self, places: np.ndarray) -> Taken:
        pictures = []
        for place, (key, value) in zip(places.tolist(), read_places(self._database, places), strict=True):
            try:
                found = parse(value, self._order)
                self._known[place] = found.record.label, self._checked(found.boxes)
            except BadDatum as error:
                raise self._bad(place, key, str(error)) from None
            except LayerError as error:
                raise self._bad(place, key, error.message, error.help) from None
            pictures.append(resized(found.record.values, self._layer.data.transform, self._layer.data.phase))
        return Taken(pictures, places.astype(np.float32))

    def boxes(self, place: int) -> tuple[int, np.ndarray]:
        """The label of the picture at a place, and its boxes f32[n 7]; no picture is decoded for them."""
        if place not in self._known:  # another process has read it
            message = _message(self._database.read(place, 1)[0][1])
            self._known[place] = message.datum.label, self._checked(_boxes(message))
        return self._known[place]

    def refusal(self, place: int, what: str) -> BadRecord:
        return self._bad(place, self._database.read(place, 1)[0][0], what)

    def _bad(self, place: int, key: bytes, what: str, help: str = "") -> BadRecord:
        return BadRecord(place, bad_record(self._database.path, place, key, what).message, help=help)

    def _first(self) -> tuple[bool, bool]:
        """Whether the first record, or the first good one where bad ones are skipped, has boxes; if it is encoded."""
        problem: NktcError | None = None
        for place in range(max(1, min(len(self), IN_A_ROW if self._layer.data.skips else 1))):
            try:
                ((key, value),) = self._database.read(place, 1)
                message = _message(value)
                return message.HasField("type"), bool(message.datum.encoded)
            except BadDatum as error:
                problem = problem or self._bad(place, key, str(error))
            except NktcError as error:
                problem = problem or error
        assert problem, "an empty source has no record 0"
        raise LayerError(problem.message, field="source", help=problem.help)

    def _checked(self, boxes: np.ndarray | None) -> np.ndarray:
        """Raises BadDatum or LayerError for boxes that the layer does not take."""
        if boxes is None:
            if self.typed:
                raise BadDatum("it has no type of annotation, and the first record has one")
            return np.zeros((0, FIELDS - 1), np.float32)
        if len(boxes) > self._layer.max_boxes:
            raise LayerError(
                f"it has {len(boxes)} boxes, max_boxes is {self._layer.max_boxes}",
                help=f"raise it: annotated_data_param {{ max_boxes: {len(boxes)} }}",
            )
        if not np.isfinite(boxes).all():
            raise BadDatum("a side of a box is no number")
        if self.labels and len(boxes) and not 0 <= boxes[:, 0].min() <= boxes[:, 0].max() < len(self.labels):
            wrong = boxes[(boxes[:, 0] < 0) | (boxes[:, 0] >= len(self.labels)), 0][0]
            raise BadDatum(f"a box has label {wrong:g}, the label map names 0 to {len(self.labels) - 1}")
        return boxes


def _open(layer: AnnotatedData, folder: Path) -> AnnotatedRecords:
    labels = read_label_map(layer.label_map, folder) if layer.label_map else ()
    records = AnnotatedRecords(layer, open_source(layer.data, folder)[1], labels)
    if len(records) > MOST:
        raise LayerError(f"its database has {len(records):,} records, {MOST:,} can be told apart", field="source")
    return records


def _feed(layer: AnnotatedData, folder: Path, records: AnnotatedRecords) -> Feed:
    data = layer.data
    image = cropped(records.first(data.skips).shape, data.transform, data.phase)
    label = (1, 1, data.batch * layer.max_boxes, FIELDS) if records.typed else (data.batch, 1, 1, 1)
    return Feed(((data.batch, *image), label), part_size(data.part, len(records)), records.labels)


def _pictures(layer: AnnotatedData, opening: Opening) -> RecordStream:
    """The stream of the pictures and their places."""
    data, records = layer.data, _open(layer, opening.folder)
    feed = _feed(layer, opening.folder, records)
    reading = Reading(
        Order(feed.records or 0, data.batch, opening.seed, data.shuffle),
        Feed((feed.shapes[0], (data.batch,)), feed.records),
        data.transform,
        data.phase,
        part_records(data.part, len(records)),
        file_mean(data.transform, opening.folder),
        data.skips,
        partial(_pictures, layer, opening.elsewhere()) if records.encoded else None,
    )
    return RecordStream(records, reading, opening)


def _message(data: bytes | memoryview) -> AnnotatedDatum:
    """Raises BadDatum."""
    try:
        message = AnnotatedDatum.FromString(bytes(data))
    except DecodeError:
        raise BadDatum(f"its {len(data)} bytes are no AnnotatedDatum") from None
    if not message.HasField("datum"):
        raise BadDatum("it has no datum")
    return message


def _boxes(message: AnnotatedDatum) -> np.ndarray | None:
    if not message.HasField("type"):
        return None
    rows = [
        (group.group_label, one.instance_id, box.xmin, box.ymin, box.xmax, box.ymax, box.difficult)
        for group in message.annotation_group
        for one in group.annotation
        for box in [one.bbox]
    ]
    return np.array(rows, np.float32).reshape(-1, FIELDS - 1)
