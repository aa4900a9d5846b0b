"""Snapshots: weights and solver state, written whole or not at all, verified before anything is taken from them.

A snapshot is Caffe's two files, and beside them what Caffe does not keep: random state, averages, what has been
watched, and the SHA-256 of everything, so that files that are damaged, or of two different snapshots, are found out.
Caffe reads ours, and its own are taken up here without that third file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nktc import weights
from nktc.errors import NktcError
from nktc.files import atomic, make_folder
from nktc.ir import times
from nktc.module import Net
from nktc.train.average import Average
from nktc.train.optimizers import Optimizer

ELSE = "go on from another snapshot, or start from its weights with --weights"
OTHER_NET = "resume with the net and the solver type that wrote it, or start from its weights with --weights"


@dataclass(frozen=True)
class Files:
    """The files of a snapshot; `average` is there only where an average of the weights is kept."""

    weights: Path
    state: Path
    extra: Path
    average: Path


@dataclass(frozen=True)
class Extra:
    """What a snapshot holds beside Caffe's own: facts that JSON can hold, and tensors on the host."""

    facts: dict[str, Any]
    tensors: dict[str, Tensor]


def files(prefix: Path, what: int | str, hdf5: bool) -> Files:
    """Caffe's names: PREFIX_iter_N.caffemodel and .solverstate, with .h5 behind for HDF5; PREFIX_best for the best."""
    return _files(f"{prefix}_{what}" if isinstance(what, str) else f"{prefix}_iter_{what}", ".h5" if hdf5 else "")


def _files(stem: str, ending: str) -> Files:
    return Files(
        Path(f"{stem}.caffemodel{ending}"),
        Path(f"{stem}.solverstate{ending}"),
        Path(f"{stem}.extra.safetensors"),
        Path(f"{stem}_average.caffemodel{ending}"),
    )


def _files_of(state: Path) -> Files:
    """The files of the snapshot with this state."""
    match = re.fullmatch(r"(.*)\.solverstate(\.h5)?", str(state), re.DOTALL)
    return _files(match[1], match[2] or "") if match else _files(str(state), "")


def save(
    to: Files,
    net: Net,
    optimizer: Optimizer,
    extra: Extra,
    iteration: int,
    current_step: int,
    diff: bool = False,
    average: Average | None = None,
) -> None:
    """Write a snapshot: whole, or nothing that is taken for one, wherever the process ends. Raises NktcError.

    With `diff`, the weights have beside them what Caffe puts there: the update that the last iteration took off them,
    which the optimizer left in their gradients; zeros for weights that do not learn.
    """
    order = [p for p in net.graph.parameters.values() if p.weight.kept]
    record: dict[str, Any] = {"iteration": iteration, "type": type(optimizer).__name__, "facts": extra.facts}
    # The state comes last: without it, there is no snapshot.
    with _staged(to.weights, *[to.average] * bool(average), to.extra, to.state) as staged:
        arrays = {p.name: _host(net.tensor(p.name)) for p in order}
        updates = {
            one.name: _host(one.tensor.grad) for one in optimizer.learned if diff and one.tensor.grad is not None
        }
        weights.save(staged[to.weights], net.graph, arrays, updates if diff else None)
        record["weights"] = _digest_of_weights(weights.stored(net.graph, arrays, to.weights.suffix == ".h5"))
        if average:
            means = {name: _host(mean) for name, mean in average.means.items()}
            weights.save(staged[to.average], net.graph, arrays | means)
        del arrays, updates  # on a GPU these are copies
        # Caffe keeps a history for every parameter that it could update, those with lr_mult 0 included.
        histories: list[np.ndarray] = []
        for slot in optimizer.histories:
            known = {one.name: _host(kept) for one, kept in zip(optimizer.learned, slot, strict=True)}
            histories += [known[p.name] if p.name in known else np.zeros(p.weight.shape, np.float32) for p in order]
        record["history"] = _digest(enumerate(histories))
        state = weights.State(iteration, str(to.weights), tuple(histories), current_step)
        weights.save_state(staged[to.state], state)
        _write_extra(staged[to.extra], record, extra.tensors)


@torch.no_grad()
def restore(path: Path, net: Net, optimizer: Optimizer) -> tuple[int, Extra | None]:
    """Take up a snapshot, ours or Caffe's; the iteration it was made after, and what is beside it. Raises NktcError,
    with net and optimizer as they were."""
    found = _read(path)
    own = type(optimizer).__name__
    if found.type not in (own, ""):
        help = f'set type: "{found.type}", or start from its weights with --weights'
        raise NktcError(f"{path} was written by the solver type {found.type}, this one is {own}", help=help)
    graph, match = weights.match(net.graph, found.blobs, found.learned)
    if match.missing:
        raise NktcError(f"{found.learned} has no weights for {', '.join(match.missing)}", help=OTHER_NET)
    taken = list(_matched(found.state, path, net, optimizer))
    for history, values in taken:
        history.copy_(torch.from_numpy(values))
    net.load(graph.arrays)
    return found.state.iteration, found.extra


def read_extra(path: Path) -> Extra | None:
    """What lies beside a snapshot; None where there is nothing, as with Caffe's. Raises NktcError."""
    return _read_extra(path)[0]


def newest(prefix: Path) -> tuple[Path | None, list[str]]:
    """The newest snapshot of a prefix, or of a folder, that is whole, by its state; and what is wrong with newer ones,
    which are passed over."""
    folder, name = (prefix, ".*") if prefix.is_dir() else (prefix.parent, re.escape(prefix.name))
    wanted = re.compile(rf"(?s:{name})_(iter_\d+|best)\.solverstate(\.h5)?")
    states = [path for path in folder.iterdir() if wanted.fullmatch(path.name)] if folder.is_dir() else []
    passed_over: list[str] = []
    for path in sorted(states, key=_iteration, reverse=True):
        try:
            _read(path)
        except NktcError as error:
            passed_over.append(error.message)
        else:
            return path, passed_over
    return None, passed_over


def prune(prefix: Path, written: Sequence[Path], keep: int) -> list[Path]:
    """Remove the snapshots whose states are `written`, the oldest first, but for the newest `keep` (0: all stay); the
    states that are left. Those of another prefix are another run's, and are left alone."""
    names = re.compile(rf"{re.escape(os.path.abspath(prefix))}_iter_\d+\.solverstate(\.h5)?")
    own = [path for path in dict.fromkeys(written) if names.fullmatch(str(path))]
    old = own[:-keep] if keep else []
    for path in old:
        to = _files_of(path)
        for one in (to.state, to.extra, to.average, to.weights):
            with contextlib.suppress(OSError):
                one.unlink()
    return own[len(old) :]


@dataclass(frozen=True)
class _Found:
    """A snapshot that is whole: its state, where its weights are and what they are, and what is beside them with the
    solver type that wrote it, "" where that is not known."""

    state: weights.State
    learned: Path
    blobs: weights.Blobs
    extra: Extra | None
    type: str


def _read(path: Path) -> _Found:
    """Read and verify a snapshot. Raises NktcError."""
    extra, record = _read_extra(path)
    state = weights.read_state(path)
    learned = weights.learned_net(state, path)
    if not learned.exists():
        raise NktcError(f"{path} belongs to the weights {state.learned_net}, which do not exist", help=ELSE)
    blobs = weights.read(learned)
    if extra:
        beside = _files_of(path).extra
        if record["iteration"] != state.iteration:
            problem = f"{path} was made after {state.iteration} iterations, {beside} after {record['iteration']}"
            raise NktcError(problem, help=ELSE)
        if record["weights"] != _digest_of_weights(blobs):
            raise NktcError(f"{learned} holds other weights than those written with {path}", help=ELSE)
        if record["history"] != _digest(enumerate(state.history)):
            raise NktcError(f"{path} is damaged: it holds other histories than those written", help=ELSE)
    return _Found(state, learned, blobs, extra, record.get("type", ""))


def _matched(state: weights.State, path: Path, net: Net, optimizer: Optimizer) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Every history of the optimizer, with what the state has for it: all of slot 0 first, in the order of the net.
    Raises NktcError where they do not agree."""
    order = [p for p in net.graph.parameters.values() if p.weight.kept]
    if len(state.history) != len(order) * optimizer.slots:
        own = f"{type(optimizer).__name__} keeps {len(order) * optimizer.slots} for this net"
        raise NktcError(f"{path} has {len(state.history)} histories, {own}", help=OTHER_NET)
    for slot, kept in enumerate(optimizer.histories):
        known = {one.name: tensor for one, tensor in zip(optimizer.learned, kept, strict=True)}
        for parameter, values in zip(order, state.history[slot * len(order) :], strict=False):
            shape = tuple(known[parameter.name].shape) if parameter.name in known else parameter.weight.shape
            fitted = weights.fit(values, shape)
            if fitted is None:
                sizes = f"a history of {times(values.shape)} for {parameter.name}, which takes {times(shape)}"
                raise NktcError(f"{path} has {sizes}", help=OTHER_NET)
            if parameter.name in known:
                yield known[parameter.name], fitted


def _iteration(path: Path) -> int:
    """The iteration that a state was made after, by its name or else by what it says; -1 for one that says nothing."""
    if match := re.search(r"_iter_(\d+)\.solverstate(\.h5)?$", path.name):
        return int(match[1])
    try:
        return weights.read_state(path).iteration
    except NktcError:
        return -1


@contextlib.contextmanager
def _staged(*paths: Path) -> Iterator[Mapping[Path, Path]]:
    """Where to write each of `paths` first. On leaving they take their names one after the other; what stood at the
    last goes before all else, so that it never stands beside others than its own. Raises NktcError."""
    *_, last = paths
    stem = _files_of(last).weights.name.partition(".caffemodel")[0]
    folder = last.parent / f".{stem.partition('_iter_')[0]}.part"
    make_folder(folder)  # which may be there, of a process that was killed
    try:
        yield {path: folder / path.name for path in paths}
        last.unlink(missing_ok=True)
        for path in paths:
            os.replace(folder / path.name, path)
    except OSError as error:
        raise NktcError(f"cannot write {error.filename2 or error.filename}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _host(tensor: Tensor) -> np.ndarray:
    """f32 on the host, the very memory of a tensor that is there."""
    found: np.ndarray = tensor.detach().to("cpu", torch.float32).numpy()
    return found


def _write_extra(path: Path, record: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    text = json.dumps(record)
    held = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    with atomic(path) as temporary:
        try:
            save_file(held, temporary, {"nktc": text, "sha256": _digest_of_extra(text, held)})
        except SafetensorError as error:
            raise NktcError(f"cannot write {path}: {error}") from error


def _read_extra(path: Path) -> tuple[Extra | None, dict[str, Any]]:
    """What lies beside a snapshot, with its whole record. Raises NktcError."""
    beside = _files_of(path).extra
    if not beside.exists():
        return None, {}
    help = f"{ELSE}; without {beside.name} it is taken up like Caffe's, with random state of its own"
    try:
        with safe_open(beside, "pt") as file:
            told = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise NktcError(f"{beside} is damaged: {error}", help=help) from None
    text = told.get("nktc", "")
    if told.get("sha256") != _digest_of_extra(text, tensors):
        raise NktcError(f"{beside} is damaged: it holds something else than was written", help=help)
    record = json.loads(text)
    return Extra(record["facts"], tensors), record


def _digest_of_weights(blobs: weights.Blobs) -> str:
    arrays = {f"{layer}/{i}": blob for layer, held in blobs.items() for i, blob in enumerate(held) if blob is not None}
    return _digest(sorted(arrays.items()))


def _digest_of_extra(text: str, tensors: Mapping[str, Tensor]) -> str:
    arrays = {f"{name} {tensor.dtype}": tensor.numpy() for name, tensor in tensors.items()}
    return _digest([(text, np.empty(0)), *sorted(arrays.items())])


def _digest(arrays: Iterable[tuple[object, np.ndarray]]) -> str:
    """The SHA-256 of arrays with their names and shapes, whatever file they are in."""
    found = hashlib.sha256()
    for name, array in arrays:
        found.update(f"{name} {array.shape}\n".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()
