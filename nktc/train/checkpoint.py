"""Snapshots: weights and solver state, written whole or not at all, and taken up again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from nktc import weights
from nktc.errors import NktcError
from nktc.ir import times
from nktc.module import Net
from nktc.train import schedules
from nktc.train.optimizers import SGD
from nktc.train.settings import Settings


@dataclass(frozen=True)
class Files:
    """The two files of a snapshot."""

    weights: Path
    state: Path


def files(prefix: Path, iteration: int, hdf5: bool) -> Files:
    """Caffe's names: PREFIX_iter_N.caffemodel and .solverstate, with .h5 behind for HDF5."""
    ending = ".h5" if hdf5 else ""
    stem = f"{prefix}_iter_{iteration}"
    return Files(Path(f"{stem}.caffemodel{ending}"), Path(f"{stem}.solverstate{ending}"))


def save(to: Files, net: Net, optimizer: SGD, settings: Settings, iteration: int) -> None:
    """Write the weights, then the state that names them, so that a state never speaks of weights that are not there."""
    weights.save(to.weights, net.graph, net.arrays())
    history = {one.name: one.history.detach().cpu().numpy() for one in optimizer.learned}
    # Caffe keeps a history for every parameter that it could update, those with lr_mult 0 included.
    order = [p for p in net.graph.parameters.values() if p.weight.kept]
    zero = {p.name: torch.zeros(p.weight.shape).numpy() for p in order if p.name not in history}
    state = weights.State(
        iteration,
        str(to.weights),
        tuple((history | zero)[p.name] for p in order),
        schedules.current_step(settings, iteration),
    )
    weights.save_state(to.state, state)


@torch.no_grad()
def restore(path: Path, net: Net, optimizer: SGD) -> int:
    """Take up a snapshot, ours or Caffe's; returns the iteration it was made after. Raises NktcError."""
    state = weights.read_state(path)
    learned = weights.learned_net(state, path)
    if not learned.exists():
        raise NktcError(f"{path} belongs to the weights {state.learned_net}, which do not exist")
    graph, _ = weights.attach(net.graph, learned)
    order = [p for p in net.graph.parameters.values() if p.weight.kept]
    if len(state.history) != len(order):
        raise NktcError(
            f"{path} has {len(state.history)} histories, this net has {len(order)} parameters",
            help="resume with the net and the solver type that wrote it",
        )
    histories = {one.name: one.history for one in optimizer.learned}
    for parameter, values in zip(order, state.history, strict=True):
        if values.size != torch.Size(parameter.weight.shape).numel():
            found, own = times(values.shape), times(parameter.weight.shape)
            raise NktcError(f"{path} has a history of {found} for {parameter.name}, which is {own}")
        if parameter.name in histories:
            histories[parameter.name].copy_(torch.from_numpy(values).view(parameter.weight.shape))
    net.load(graph.arrays)
    return state.iteration
