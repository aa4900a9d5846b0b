"""A model to ask: pictures, arrays and files in; class names, outputs and inner blobs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from nktc import data, engines
from nktc.engines import Opened
from nktc.errors import NktcError, near
from nktc.inference import sources
from nktc.inference.ahead import ahead
from nktc.inference.batches import chunks, run
from nktc.inference.crops import CROPS
from nktc.inference.intake import Intake, fits, open_times
from nktc.inference.results import Prediction, Result, best, boxes, detecting, scoring
from nktc.inference.sources import Source, Thing
from nktc.ir import Value, times

BATCH = 32
DEPTH = 2  # batches that are made before they are asked for


@dataclass(frozen=True, eq=False)
class Model:
    """A model that is ready to be asked.

    `batch` is how many rows it gets at a time; with `oversample` a picture is ten crops, and what comes out is their
    mean. `inner` are the inner values that it gives beside its outputs; `reopen` opens it with others.
    """

    opened: Opened
    reopen: Callable[[tuple[str, ...]], Opened]
    batch: int
    oversample: bool = False
    inner: tuple[str, ...] = ()

    def __call__(self, thing: Thing, top: int = 5) -> list[Prediction]:
        """The most probable classes of one picture or array, or the surest boxes of a detector, most probable first.
        Raises NktcError."""
        found = list(self.results([thing], top))
        if len(found) != 1:
            raise NktcError(
                f"{_called(thing)} holds {len(found)} things", help="model.results gives one answer for each"
            )
        return list(_well(found[0]).predictions)

    def results(self, things: Sequence[Thing | Source], top: int = 5, outputs: Sequence[str] = ()) -> Iterator[Result]:
        """One result for each thing, in order: its `top` classes or boxes, 0 for none, and the `outputs` of these
        names. What cannot be read is a result with an error, and stops nothing. Raises NktcError for what is not there
        at all, and where the model scores no classes and finds no boxes."""
        self._check(outputs)
        if top and self.detects and self.oversample:
            raise NktcError(f"the boxes of {self.detects} have no mean over crops", help="leave --oversample out")
        if top and not (self.detects or self.scores):
            gives = ", ".join(f"{v.name} {open_times(v.shape)}" for v in self.outputs)
            names = ", ".join(f'"{v.name}"' for v in self.outputs)
            help = f"--raw, or outputs=[{names}] in Python, gives them as they are"
            raise NktcError(f"the model gives no row of scores but {gives}", help=help)
        found = [part for thing in things for part in ([thing] if isinstance(thing, Source) else sources.of([thing]))]
        return self._results(found, top, tuple(outputs))

    def run(self, feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The outputs by name for arrays by input, [n ...] each, as they come out of one run. Raises NktcError for
        arrays that are not what the model takes."""
        known = {value.name: value for value in self.inputs}
        for name in feeds:
            if name not in known:
                help = near(name, known) or f"the inputs are {', '.join(known)}"
                raise NktcError(f"the model has no input {name}", help=help)
        ready = {}
        for name, value in known.items():
            if name not in feeds:
                raise NktcError(f"the input {name} is not given", help=f"the inputs are {', '.join(known)}")
            array = np.asarray(feeds[name])
            if not fits(array.shape, value.shape):
                takes = f"{value.dtype.value} {open_times(value.shape)}"
                raise NktcError(f"{name} is {array.dtype} {times(array.shape)}, the model takes {takes}")
            ready[name] = array.astype(value.dtype.numpy)
        return self.opened.session.run(ready)

    def blobs(self, names: str | Sequence[str], things: Sequence[Thing] | Thing) -> dict[str, np.ndarray]:
        """The blobs of these names, inner ones and outputs, [n ...] over all things. Raises NktcError where one of the
        things cannot be read, and for a name that the model has not."""
        names = (names,) if isinstance(names, str) else tuple(names)
        asked = self.giving(names)
        several: Sequence[Any] = things if isinstance(things, list | tuple) else [things]
        rows: list[Result] = [_well(result) for result in asked.results(several, 0, names)]
        if not rows:
            raise NktcError("there is nothing to be inferred")
        return {name: np.stack([row.outputs[name] for row in rows]) for name in names}

    def giving(self, blobs: Sequence[str]) -> Model:
        """The same model, which gives these inner values too. Raises NktcError for a name that it has not."""
        if set(blobs) <= {value.name for value in self.outputs}:
            return self
        inner = tuple(dict.fromkeys(blobs))
        return replace(self, opened=self.reopen(inner), inner=inner)

    def chosen(self, raw: bool, blobs: Sequence[str]) -> tuple[str, ...]:
        """The outputs that are meant: with `raw` all of the model's own, and the `blobs`."""
        own = [value.name for value in self.outputs if value.name not in self.inner] if raw else []
        return tuple(dict.fromkeys([*own, *blobs]))

    @property
    def inputs(self) -> tuple[Value, ...]:
        """What it takes; 0 in a shape stands for any size."""
        return self.opened.session.inputs

    @property
    def outputs(self) -> tuple[Value, ...]:
        """What it gives."""
        return self.opened.session.outputs

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.opened.labels

    @property
    def assumed(self) -> str:
        """What had to be supposed of how pictures are prepared, "" for nothing."""
        return self.opened.assumed

    @cached_property
    def scores(self) -> str:
        """The output that scores classes, "" where there is none."""
        return scoring(self.outputs, self.inner, len(self.labels))

    @cached_property
    def detects(self) -> str:
        """The output that has boxes, "" where there is none."""
        return detecting(self.outputs)

    @cached_property
    def intake(self) -> Intake:
        """What it is fed with."""
        return Intake(self.inputs, self.opened.preprocessing, self.oversample)

    def _check(self, outputs: Sequence[str]) -> None:
        known = [value.name for value in self.outputs]
        for name in outputs:
            if name not in known:
                raise NktcError(
                    f'the model gives no "{name}"', help=near(name, known) or f"it gives {', '.join(known)}"
                )

    def _results(self, found: Sequence[Source], top: int, outputs: tuple[str, ...]) -> Iterator[Result]:
        jobs = sources.all_jobs(found, self.intake)
        size = max(1, self.batch // CROPS) if self.oversample else self.batch
        with closing(ahead(chunks(jobs, size), DEPTH)) as made:
            for items in made:
                for item, given in run(self.opened.session, items, self.opened.batch, self.batch):
                    if item.error:
                        yield Result(item.name, error=item.error)
                        continue
                    one = given if item.whole else {name: _one(array) for name, array in given.items()}
                    asked = {name: one[name] for name in outputs}
                    yield Result(item.name, self._found(one, top), "", asked, bool(top and self.detects))

    def _found(self, one: Mapping[str, np.ndarray], top: int) -> tuple[Prediction, ...]:
        if top and self.detects:
            return boxes(one[self.detects].reshape(-1, 7), self.labels, top)
        return best(one[self.scores].reshape(-1), self.labels, top) if top else ()


def load(
    model: str | Path,
    weights: str | Path | Sequence[str | Path] = (),
    *,
    backend: str = "",
    device: str = "auto",
    threads: int = 0,
    batch: int = 0,
    oversample: bool = False,
    blobs: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    places: data.Places | None = None,
) -> Model:
    """A model from a run's folder, a prototxt and its weights, or an engine's file such as an .onnx:

        from nktc import inference
        print(inference.load("model.onnx")("cat.jpg"))

    `backend` "" is what the model was optimised for, else ONNX Runtime; `threads` 0 is the engine's choice, `settings`
    are the engine's own; `batch` 0 is the model's own, or 32. `places` say where data sets lie whose mean is to be
    known. Raises NktcError.
    """
    files = [weights] if isinstance(weights, str | Path) else list(weights)
    options = engines.Options(device, threads, 0, settings or {})
    where = places or data.Places.from_environment()

    @lru_cache(maxsize=2)
    def reopen(blobs: tuple[str, ...]) -> Opened:
        return engines.open_model(Path(model), [str(file) for file in files], backend, options, where, blobs)

    opened = reopen(tuple(blobs))
    if batch and opened.batch not in (0, batch):
        raise NktcError(f"{model} takes batches of {opened.batch}, not of {batch}", help="leave the batch out")
    if oversample and not Intake(opened.session.inputs, opened.preprocessing).pictures:
        raise NktcError(f"{model} takes no pictures that crops could be taken from", help="leave oversample out")
    return Model(opened, reopen, batch or opened.batch or opened.best or BATCH, oversample, tuple(blobs))


def _one(array: np.ndarray) -> np.ndarray:
    """What came out for one thing: its one row, or the mean of its crops."""
    return array[0] if len(array) == 1 else array.mean(0)


def _well(result: Result) -> Result:
    """The same. Raises NktcError for one with an error."""
    if result.error:
        raise NktcError(result.error)
    return result


def _called(thing: Thing) -> str:
    return str(thing) if isinstance(thing, str | Path) else "the array"
