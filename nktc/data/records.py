"""Batches of pictures with a label each, from anything that gives records by their places."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

from nktc.data.datum import Record
from nktc.data.order import Order
from nktc.data.resident import room, send
from nktc.data.stream import Batch, Stream, with_tops
from nktc.data.transform import Pipeline, cropped, mean_of
from nktc.errors import LayerError, NktcError
from nktc.ir import Feed, Phase, Preprocessing, Shape, Transform, times


class Records(ABC):
    """Pictures or other arrays with a label each, by their places from 0."""

    @abstractmethod
    def read(self, places: np.ndarray) -> list[Record]:
        """The records at i64[n] `places`. Raises NktcError, which names the record, for one that cannot be read."""

    @abstractmethod
    def refusal(self, place: int, what: str) -> NktcError:
        """What to raise for the record at a place."""


class RecordStream(Stream):
    """Reads and transforms as it goes; bytes travel to the device, and become floats there.

    If it may, it keeps on the device what it has read, and becomes resident when that is everything.
    """

    def __init__(
        self,
        records: Records,
        order: Order,
        feed: Feed,
        transform: Transform,
        phase: Phase,
        *,
        part: np.ndarray | None = None,
        mean: np.ndarray | None = None,
        seed: int = 0,
        device: torch.device,
        tops: int,
        resident: bool,
    ) -> None:
        """The order goes through the places in `part`, all of them where None. `feed` has all tops. Raises LayerErrors
        where transform or mean do not fit the first record, and what reading it raises."""
        self.feed, self.device = with_tops(feed, tops), device
        self._records, self._order, self._part = records, order, part
        self._transform, self._phase, self._mean, self._seed, self._tops = transform, phase, mean, seed, tops
        self._pipelines: dict[Shape, Pipeline] = {}
        first = records.read(np.zeros(1, np.int64))[0].values
        shape = self._shape = first.shape
        self._pipeline(shape)
        self._kept = room(order.records, shape, device) if resident and first.dtype == np.uint8 else None
        self.preprocessing = _preprocessing(shape, transform, mean_of(transform, shape, mean))

    def batch(self, k: int) -> Batch:
        chosen, position = self._order.batch_records(k), k * self._order.batch
        if (kept := self._kept) and kept.has(chosen):
            pixels, labels = kept.take(chosen)
        else:
            places = np.arange(chosen.start, chosen.stop) if isinstance(chosen, slice) else chosen
            places = places if self._part is None else self._part[places]
            records = self._records.read(places)
            labels = send(torch.tensor([record.label for record in records], dtype=torch.float32), self.device)
            if any(record.values.shape != self._shape for record in records):
                self._check_shapes(records, places)
                self._kept = None
                each = [self._pipeline(r.values.shape)(self._sent([r]), position + i) for i, r in enumerate(records)]
                return (torch.cat(each), labels)[: self._tops]
            pixels = self._sent(records)
            self._keep(chosen, pixels, labels)
        return (self._pipeline(self._shape)(pixels, position), labels)[: self._tops]

    def _keep(self, chosen: np.ndarray | slice, pixels: Tensor, labels: Tensor) -> None:
        """Keep records where there is room for all and all are bytes of one shape."""
        if (kept := self._kept) and pixels.dtype == torch.uint8:
            kept.put(chosen, pixels, labels)
            self.resident = kept.whole
        else:
            self._kept = None

    def _sent(self, records: list[Record]) -> Tensor:
        return send(torch.from_numpy(np.stack([record.values for record in records])), self.device)

    def _pipeline(self, shape: Shape) -> Pipeline:
        """Images of several sizes may come, where a crop makes them equal."""
        if shape not in self._pipelines:
            mean = mean_of(self._transform, shape, self._mean)
            self._pipelines[shape] = Pipeline(self._transform, self._phase, shape, mean, self._seed, self.device)
        return self._pipelines[shape]

    def _check_shapes(self, records: list[Record], places: np.ndarray) -> None:
        """Refuse a record that does not come out as the first one did."""
        expected = self.feed.shapes[0][1:]
        for record, place in zip(records, places.tolist(), strict=True):
            try:
                shape = cropped(record.values.shape, self._transform)
                mean_of(self._transform, record.values.shape, self._mean)
                what = "" if shape == expected else f"it is {times(shape)}, the first one is {times(expected)}"
            except LayerError as error:
                what = error.message
            if what:
                raise self._records.refusal(place, what)


def _preprocessing(shape: Shape, transform: Transform, mean: np.ndarray | None) -> Preprocessing | None:
    """What a picture goes through to be a record's equal; None for records that are no pictures."""
    if shape[0] not in (1, 3):
        return None
    order = transform.order if shape[0] == 3 else "GRAY"
    return Preprocessing((shape[1], shape[2]), order, mean, transform.scale, transform.crop)
