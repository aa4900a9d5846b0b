"""Solver states: .solverstate (binary SolverState) and .solverstate.h5, as Caffe writes and reads them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from nktc import wire
from nktc.errors import NktcError
from nktc.files import Mapped, atomic
from nktc.ir import stored_blob
from nktc.schema import SolverState
from nktc.weights import hdf5
from nktc.weights.blob import packed, write
from nktc.weights.entry import Budget
from nktc.wire import Part, field

KIND = ".solverstate.h5"
ITERATION, LEARNED_NET, HISTORY, CURRENT_STEP = range(1, 5)  # fields of SolverState
MOST_HISTORIES = 1 << 16
LONGEST_PATH = 1 << 16


@dataclass(frozen=True, eq=False)
class State:
    """Where a solver stood: `iteration` done, `learned_net` the path of its weights as written, `history` one array a
    learnable parameter and history slot, `current_step` how many steps of the rate were taken."""

    iteration: int
    learned_net: str
    history: tuple[np.ndarray, ...]
    current_step: int = 0


def read_state(path: str | Path) -> State:
    """Read either kind; told by its first bytes. Raises NktcError."""
    file = Mapped(path, "snapshot")
    if bytes(file.view[: len(hdf5.MAGIC)]) == hdf5.MAGIC:
        return _read_hdf5(Path(path))
    try:
        return _read_binary(file)
    except NktcError as error:
        raise NktcError(f"{path} is not a whole .solverstate: {error.message}") from None


def save_state(path: str | Path, state: State) -> None:
    """Write atomically: HDF5 where `path` ends in .h5, else binary."""
    if str(path).endswith(".h5"):
        _write_hdf5(Path(path), state)
        return
    message = SolverState(iter=state.iteration, learned_net=state.learned_net, current_step=state.current_step)
    parts: list[Part] = [message.SerializeToString()]
    for values in state.history:
        parts += field(SolverState.HISTORY_FIELD_NUMBER, packed(values))
    write(Path(path), parts)


def learned_net(state: State, path: str | Path) -> Path:
    """The weights file a state names: of that name beside the state, or as written."""
    named = Path(state.learned_net)
    # Beside it first: the folder may have been moved, and another may lie where it was.
    beside = Path(path).parent / named.name
    return beside if beside.exists() else named


def _read_binary(file: Mapped) -> State:
    told: dict[int, int] = {}
    learned = ""
    history: list[np.ndarray] = []
    for held in wire.fields(file.view):
        if held.number in (ITERATION, CURRENT_STEP) and held.kind == wire.VARINT:
            told[held.number] = wire.signed(*wire.varints(held))
        elif held.number == LEARNED_NET:
            learned = wire.text(held)
        elif held.number == HISTORY and held.view is not None:
            if len(history) == MOST_HISTORIES:
                raise NktcError(f"it has more than {MOST_HISTORIES} histories")
            history.append(stored_blob(held.view).array(file.release))
    if ITERATION not in told:
        raise NktcError("it has no iteration")
    return State(told[ITERATION], learned, tuple(history), told.get(CURRENT_STEP, 0))


def _read_hdf5(path: Path) -> State:
    with hdf5.opened(path, KIND) as file, hdf5.harm(path, KIND):
        reading = hdf5.Reading(path, KIND, Budget(path.stat().st_size), set())

        group = hdf5.member(file, "history")
        if not isinstance(group, h5py.Group) or len(group) > MOST_HISTORIES:
            raise ValueError("history is no group of arrays")
        history = tuple(hdf5.entry(_dataset(group, str(i)), reading).read() for i in range(len(group)))
        learned = _single(file, "learned_net") if "learned_net" in file else ""
        step = int(_single(file, "current_step")) if "current_step" in file else 0
        iteration = int(_single(file, "iter"))
        return State(iteration, learned.decode() if isinstance(learned, bytes) else str(learned), history, step)


def _single(file: h5py.File, key: str) -> Any:
    """The only number or text of a dataset."""
    found = _dataset(file, key)
    if found.size != 1 or found.dtype.itemsize > LONGEST_PATH:
        raise ValueError(f"{key} is not one number, or a path")
    return np.asarray(found[()]).item()


def _dataset(group: h5py.Group, key: str) -> h5py.Dataset:
    found = hdf5.member(group, key)
    if not isinstance(found, h5py.Dataset):
        raise ValueError(f"{key} is a group")
    return found


def _write_hdf5(path: Path, state: State) -> None:
    memory = io.BytesIO()  # not closed here: the error of a write holds it
    with h5py.File(memory, "w") as file:
        # Caffe reads arrays of one number, and strings of fixed length up to the zero behind them.
        learned = state.learned_net.encode()
        file["iter"] = np.array([state.iteration], np.int32)
        file["learned_net"] = np.array(learned, f"S{len(learned) + 1}")
        file["current_step"] = np.array([state.current_step], np.int32)
        group = file.require_group("history")
        for index, values in enumerate(state.history):
            group.create_dataset(str(index), data=values)
    with atomic(path) as temporary:
        temporary.write_bytes(memory.getbuffer())
