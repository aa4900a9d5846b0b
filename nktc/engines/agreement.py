"""Models as a user names them, opened with the blobs that they share, and compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nktc import data
from nktc.engines.agree import TOLERANCE, Comparison, Subject, compare, random_inputs
from nktc.engines.engine import Options, loaded, names
from nktc.engines.feeds import Feeds, feeds_from
from nktc.engines.noise import noise
from nktc.engines.onnx_file import float_values
from nktc.engines.opened import Opened, open_model, readers
from nktc.engines.own_data import own_records
from nktc.errors import NktcError, Span
from nktc.ir import Phase

BATCH = 16  # where any goes


@dataclass(frozen=True)
class _Named:
    """A model of the command line; `files` are its weights where it is a net."""

    text: str
    path: Path
    backend: str
    files: Sequence[str]

    def open(self, options: Options, places: data.Places, blobs: Sequence[str] = ()) -> Opened:
        return open_model(self.path, self.files, self.backend, options, places, blobs)

    def blobs(self, opened: Opened) -> list[str]:
        """The values that it can hand out, in their order: floats of a graph or an ONNX file."""
        if opened.graph:
            return list(opened.graph.values)
        return float_values(self.path) if self.path.suffix.lower() == ".onnx" else []

    def places(self, opened: Opened, blobs: Sequence[str]) -> Mapping[str, Span | None]:
        if opened.graph:
            return {name: node.at for name, node in opened.graph.producers.items()}
        return dict.fromkeys(blobs)


def agree_models(
    models: Sequence[str],
    files: Sequence[str],
    places: data.Places,
    device: str = "auto",
    inputs: Sequence[Path] = (),
    records: int = 8,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    inner: bool = True,
    own_data: bool = False,
) -> list[Comparison]:
    """Each of the models against the first, all given as [BACKEND:]PATH; nets have their weights in `files`.

    They are fed `records` of the pictures or arrays in `inputs`, with `own_data` of the test data of the first model's
    own data layers, or random ones; with `inner` every blob that they
    share is compared, else their outputs. Raises NktcError.
    """
    if len(models) < 2:
        raise NktcError("there is nothing to compare with", help="give two models or more")
    named = [_named(text, files) for text in models]
    if files and not any(one.files for one in named):
        raise NktcError("none of the models takes --weights", help="weights are for a prototxt; leave them out")
    options = Options(device)
    plain = [one.open(options, places) for one in named]
    known = [one.blobs(opened) if inner else [] for one, opened in zip(named, plain, strict=True)]
    shared = [name for name in known[0] if any(name in others for others in known[1:])]
    subjects = []
    for one, opened, own in zip(named, plain, known, strict=True):
        outputs = tuple(value.name for value in opened.session.outputs)
        fed = {value.name for value in opened.session.inputs}
        blobs = [name for name in shared if name in own and name not in (*outputs, *fed)]
        session = one.open(options, places, blobs).session if blobs else opened.session
        title = f"{one.path} in {opened.backend}"
        subjects.append(Subject(title, session, outputs, one.places(opened, own)))
    batch = _batch(named[0], plain)
    if own_data:
        feeds: Sequence[Feeds] = _own(named[0], plain[0], batch, records, places)
    else:
        feeds = _feeds(named[0], plain[0], batch, inputs, records, seed)
    return compare(subjects, feeds, tolerance)


def _named(text: str, files: Sequence[str]) -> _Named:
    """The model that a text names. Raises NktcError."""
    backend, colon, path = text.partition(":")
    if not colon or backend not in names():
        if colon and not Path(text).exists() and Path(path).exists():
            loaded(backend)  # which refuses a name that no engine has
        backend, path = "", text
    found = Path(path)
    if not found.exists():
        raise NktcError(f"there is no model {path}", help="a model is [BACKEND:]PATH, such as torch:runs/digits")
    net = not found.is_dir() and not readers(found)
    return _Named(text, found, backend, files if net else ())


def _batch(first: _Named, opened: Sequence[Opened]) -> int:
    """The only batch that all of them take, 0 for any. Raises NktcError."""
    if not opened[0].session.inputs:
        raise NktcError(f"{first.path} takes nothing: there is nothing to run it on")
    fixed = {one.batch for one in opened if one.batch}
    if len(fixed) > 1:
        raise NktcError(f"they take different batches: {', '.join(map(str, sorted(fixed)))}")
    return next(iter(fixed), 0)


def _feeds(
    first: _Named, opened: Opened, batch: int, inputs: Sequence[Path], records: int, seed: int
) -> Sequence[Feeds]:
    """What all of them are fed: in batches that all of them take."""
    if not inputs and opened.graph is not None:
        return [noise(opened.graph, batch or records, seed, opened.session.inputs)]
    if not inputs:
        return [random_inputs(opened.session.inputs, opened.preprocessing, batch or records, seed)]
    size = batch or min(records, BATCH)
    return _whole(
        feeds_from(inputs, opened.session.inputs, opened.preprocessing, records, size, str(first.path)), batch
    )


def _own(first: _Named, opened: Opened, batch: int, records: int, places: data.Places) -> Sequence[Feeds]:
    """The test data of the first model's own. Raises NktcError."""
    taken = [value.name for value in opened.session.inputs]
    found = own_records(first.path, taken, Phase.TEST, records, places) if opened.graph else None
    if found is None:
        help = "give a run or a training net first, or inputs with --data-from"
        raise NktcError(f"{first.path} has no data layers to test with", help=help)
    size = batch or BATCH
    cut = [
        {name: array[start : start + size] for name, array in feeds.items()}
        for feeds in found.feeds
        for start in range(0, len(next(iter(feeds.values()))), size)
    ]
    return _whole(cut, batch)


def _whole(feeds: Sequence[Feeds], batch: int) -> Sequence[Feeds]:
    """Those of that batch, all for 0. Raises NktcError where none is left."""
    whole = [one for one in feeds if not batch or len(next(iter(one.values()))) == batch]
    if not whole:
        raise NktcError(f"there are fewer records than the batch of {batch} that is taken", help="give more inputs")
    return whole
