"""Batches of records: read here or by other processes, kept or not, bad ones skipped where that is asked for."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nktc.data.order import Order
from nktc.data.pictures import stacked
from nktc.data.records import IN_A_ROW, TOLD, BadRecord, Records, Taken
from nktc.data.resident import room, send
from nktc.data.stream import CPU, Batch, Opening, Stream, with_tops
from nktc.data.transforms.rescale import THIN, rescaled
from nktc.data.transforms.transform import Pipeline, cropped, mean_of, preprocessing_of
from nktc.data.workers import Fetched, Workers, suggested_workers
from nktc.errors import LayerError, NktcError, NktcWarning
from nktc.ir import Feed, Phase, Shape, Transform, size, times

SMALL = 1 << 30  # bytes that are kept after they were decoded once, which takes less than processes take to start


@dataclass(frozen=True)
class Reading:
    """How a stream goes through records: the places in `part`, all of them where None, in `order`, and what becomes of
    them. With `skips` a record that cannot be used is replaced by the next that can. `feed` has all tops. Where
    records take work that other processes can do, each of them calls `again` for a stream of its own."""

    order: Order
    feed: Feed
    transform: Transform
    phase: Phase
    part: np.ndarray | None = None
    mean: np.ndarray | None = None
    skips: bool = False
    again: Callable[[], RecordStream] | None = None


class RecordStream(Stream):
    """Reads and transforms as it goes; bytes travel to the device, and become floats there.

    If it may, it keeps on the device what it has read, and becomes resident when that is everything. Where decoding is
    the work, processes may do it: they read and cut, and the arithmetic is done here.
    """

    def __init__(self, records: Records, reading: Reading, opening: Opening) -> None:
        """Raises LayerErrors where transform or mean do not fit the first record, and what reading it raises."""
        self.feed, self.device = with_tops(reading.feed, opening.tops), opening.device
        self.skipped: dict[int, str] = {}
        self._tells = not multiprocessing.parent_process()  # a process that reads for us hands them over
        self._records, self._reading, self._opening = records, reading, opening
        self._order, self._transform = reading.order, reading.transform
        self._pipelines: dict[tuple[Shape, torch.device], Pipeline] = {}
        self._shape: Shape = ()
        self._classes = reading.transform.classes or len(reading.feed.labels)
        first = self._read(np.zeros(1, np.int64)).values[0]
        shape = self._shape = first.shape
        self._mixes = self._pipeline(shape, self.device).mixes
        bytes_ = first.dtype == np.uint8
        self._kept = (
            room(self._order.records, shape, opening.device, opening.cache, opening.sharers)
            if opening.resident and bytes_ and not reading.transform.rescale
            else None
        )
        self._workers: Workers | None = None
        self._hands = 0
        if reading.again:
            self._hands = suggested_workers(opening.device) if opening.workers is None else opening.workers
        self.preprocessing = preprocessing_of(reading.transform, shape, mean_of(reading.transform, shape, reading.mean))

    def batch(self, k: int) -> Batch:
        chosen = self._order.batch_records(k)
        if (kept := self._kept) and kept.has(chosen):
            pixels, labels = kept.take(chosen)
            return self._finished(k, pixels, labels, cut=False)
        workers = self._workers
        fetched = workers.take(k) if workers else None
        if workers is None or fetched is None:
            return self._from(k, self.fetch(k, whole=True))
        try:
            return self._from(k, fetched)
        finally:
            workers.done(k)
            if self.resident:  # not before: what was fetched lies in their memory
                self.close()

    def expect(self, k: int) -> None:
        small = self._kept is not None and self._order.records * size(self._shape) < SMALL
        if self._hands and not self._workers and not small:
            assert self._reading.again
            shape, itemsize = self._shape, 4 if self._kept is None else 1
            largest = max(size(shape), size(self.feed.shapes[0][1:])) * itemsize * self._order.batch
            self._workers = Workers(self._reading.again, self._hands, largest)
        if self._workers and not (self._kept and self._kept.has(self._order.batch_records(k))):
            self._workers.expect(k, whole=self._kept is not None)

    def forget(self) -> None:
        if self._workers and self.resident:
            self.close()
        elif self._workers:
            self._workers.forget()

    def close(self) -> None:
        """End the processes that read for this stream; it goes on without them."""
        if self._workers:
            self._workers.close()
        self._workers, self._hands = None, 0

    def fetch(self, k: int, whole: bool) -> Fetched:
        """The records of batch `k` on the host, `whole` as they were read where their sizes are equal, or cut. Needs
        nothing that was done before, so any process can do it."""
        chosen = self._order.batch_records(k)
        indices = np.arange(chosen.start, chosen.stop) if isinstance(chosen, slice) else chosen
        before = set(self.skipped)
        found = self._read(indices)
        values, cut = found.values, not whole
        if self._transform.rescale:
            counters = self._order.counters(k)
            phase, seed = self._reading.phase, self._opening.seed
            scaled = [
                rescaled(value, self._transform, phase, seed, counters[i : i + 1]) for i, value in enumerate(values)
            ]
            values, cut = self._cut_each(scaled, counters).numpy(), True
        elif isinstance(values, list) and whole and _alike(values, self._shape):
            values = stacked(values)
        elif isinstance(values, list):
            values, cut = self._cut_each(values, self._order.counters(k)).numpy(), True
        elif not whole:
            values = self._pipeline(self._shape, CPU).cut(_tensor(values), self._order.counters(k)).numpy()
        new = {place: what for place, what in self.skipped.items() if place not in before}
        return Fetched(values, found.labels, cut, new)

    def _cut_each(self, pictures: list[np.ndarray], counters: np.ndarray) -> Tensor:
        """Pictures of several sizes, which a cut makes equal."""
        pipeline = self._pipeline(self._shape, CPU)
        if not pipeline.samples and len({picture.dtype for picture in pictures}) == 1:
            return pipeline.cut_pictures(pictures, counters)
        ones = [_tensor(picture[None]) for picture in pictures]
        return torch.cat([self._pipeline(x.shape[1:], CPU).cut(x, counters[[i]]) for i, x in enumerate(ones)])

    def _from(self, k: int, fetched: Fetched) -> Batch:
        for place, what in fetched.skipped.items():
            self._skip(place, what)
        pixels = send(_tensor(fetched.values), self.device)
        labels = send(torch.from_numpy(fetched.labels), self.device)
        if self._kept:
            self._keep(k, pixels, labels, fetched.cut)
        return self._finished(k, pixels, labels, fetched.cut)

    def _keep(self, k: int, pixels: Tensor, labels: Tensor, cut: bool) -> None:
        """Keep records where there is room for all and all are bytes of one shape."""
        if (kept := self._kept) and not cut and pixels.dtype == torch.uint8:
            kept.put(self._order.batch_records(k), pixels, labels)
            self.resident = kept.whole
        else:
            self._kept = None

    def _finished(self, k: int, pixels: Tensor, labels: Tensor, cut: bool) -> Batch:
        pipeline, counters = self._pipeline(self._shape, self.device), self._order.counters(k)
        x = pipeline.values(pixels if cut else pipeline.cut(pixels, counters), counters)
        if self._mixes:
            x, labels = pipeline.mix(x, labels, counters, self._classes)
        return (x, labels)[: self._opening.tops]

    def _read(self, indices: np.ndarray) -> Taken:
        """The records at indices of the part, bad ones replaced where they are to be skipped."""
        part = self._reading.part
        places = indices if part is None else part[indices]
        try:
            found = self._records.take(places)
            self._check(found, places)
            return found
        except BadRecord:
            if not self._reading.skips:
                raise
        values, labels = [], []
        for index in indices.tolist():
            good = self._read_good(index)
            values.append(good.values[0])
            labels.append(float(good.labels[0]))
        return Taken(values, np.array(labels, np.float32))

    def _read_good(self, index: int) -> Taken:
        """The record at an index of the part, or the first good one after it."""
        part, last = self._reading.part, None
        for i in range(index, index + IN_A_ROW):
            within = i % self._order.records
            place = within if part is None else int(part[within])
            try:
                found = self._records.take(np.array([place]))
                self._check(found, np.array([place]))
                return found
            except BadRecord as error:
                last = error.message
                self._skip(error.place, last)
        raise NktcError(f"{IN_A_ROW} records in a row cannot be used; the last: {last}")

    def _skip(self, place: int, what: str) -> None:
        """Note a record, and say the first of them at once; whoever runs the stream tells how many there were."""
        if place not in self.skipped and self._tells and len(self.skipped) < TOLD:
            print(NktcWarning(f"skipped: {what}"), file=sys.stderr)
        self.skipped.setdefault(place, what)

    def _check(self, found: Taken, places: np.ndarray) -> None:
        """Refuse a record that does not come out as the first one did, and a label outside the names of the classes."""
        if classes := self._classes or self._opening.classes:
            wrong = (found.labels < 0) | (found.labels >= classes)
            if self._opening.ignored is not None:
                wrong &= found.labels != self._opening.ignored
            if wrong.any():
                i = int(np.flatnonzero(wrong)[0])
                what = f"its label is {found.labels[i]:g}, the classes are 0 to {classes - 1}"
                raise self._records.refusal(int(places[i]), what)
        values = found.values
        if self._transform.rescale:
            for value, place in zip(values, places.tolist(), strict=True):
                if max(value.shape[-2:]) > THIN * min(value.shape[-2:]):
                    what = f"it is {times(value.shape)}, one side more than {THIN} times the other"
                    raise self._records.refusal(place, f"{what}: too thin to be scaled by the shorter one")
        if not self._shape or (
            _alike(values, self._shape) if isinstance(values, list) else values.shape[1:] == self._shape
        ):
            return
        expected = self.feed.shapes[0][1:]
        for value, place in zip(values, places.tolist(), strict=True):
            try:
                shape = cropped(value.shape, self._transform, self._reading.phase)
                mean_of(self._transform, value.shape, self._reading.mean)
                what = "" if shape == expected else f"it is {times(shape)}, the first one is {times(expected)}"
            except LayerError as error:
                what = error.message
            if what:
                raise self._records.refusal(place, what)

    def _pipeline(self, shape: Shape, device: torch.device) -> Pipeline:
        """Images of several sizes may come, where a crop makes them equal."""
        if (shape, device) not in self._pipelines:
            reading, seed = self._reading, self._opening.seed
            mean = mean_of(reading.transform, shape, reading.mean)
            self._pipelines[shape, device] = Pipeline(reading.transform, reading.phase, shape, mean, seed, device)
        return self._pipelines[shape, device]


def _alike(pictures: list[np.ndarray], shape: Shape) -> bool:
    """Whether they have that shape and are of one kind."""
    return all(p.shape == shape and p.dtype == pictures[0].dtype for p in pictures)


def _tensor(values: np.ndarray) -> Tensor:
    """Without a copy, unless torch wants one."""
    return torch.from_numpy(np.require(values, requirements="W"))
