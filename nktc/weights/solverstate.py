"""Solver states: .solverstate (binary SolverState) and .solverstate.h5, as Caffe writes and reads them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from google.protobuf.message import DecodeError

from nktc.errors import NktcError
from nktc.files import atomic, read_bytes
from nktc.ir import array
from nktc.schema import SolverState
from nktc.weights.blob import Part, field, packed, write
from nktc.weights.caffemodel import HDF5_MAGIC


@dataclass(frozen=True, eq=False)
class State:
    """Where a solver stood: `iteration` done, `learned_net` the path of its weights as written, `history` one array a
    learnable parameter and history slot, `current_step` how many steps of the rate were taken."""

    iteration: int
    learned_net: str
    history: tuple[np.ndarray, ...]
    current_step: int = 0


def read_state(path: str | Path) -> State:
    """Read either kind; told by its first bytes."""
    data = read_bytes(path, "snapshot")
    if data.startswith(HDF5_MAGIC):
        return _read_hdf5(Path(path))
    message = SolverState()
    try:
        message.ParseFromString(data)
        del data  # of a large net there is one copy too many
        if not message.HasField("iter"):
            raise NktcError("it has no iteration")
        history = tuple(array(b) for b in message.history)
    except (DecodeError, NktcError) as error:
        reason = error.message if isinstance(error, NktcError) else "its bytes are no SolverState"
        raise NktcError(f"{path} is not a whole .solverstate: {reason}") from None
    return State(message.iter, message.learned_net, history, message.current_step)


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


def _read_hdf5(path: Path) -> State:
    try:
        with h5py.File(path) as file:
            history: Sequence[h5py.Dataset] = [file[f"history/{i}"] for i in range(len(file["history"]))]
            learned = file["learned_net"][()] if "learned_net" in file else b""
            return State(
                int(np.asarray(file["iter"]).item()),
                learned.decode() if isinstance(learned, bytes) else str(learned),
                tuple(np.asarray(values, np.float32) for values in history),
                int(np.asarray(file["current_step"]).item()) if "current_step" in file else 0,
            )
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise NktcError(f"{path} is not a whole .solverstate.h5: {error}") from None


def _write_hdf5(path: Path, state: State) -> None:
    with io.BytesIO() as memory:
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
