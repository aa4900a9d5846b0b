"""Random state: seeds, determinism, and what a snapshot keeps of the generators."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor


def start(seed: int, rank: int, deterministic: bool) -> None:
    """Seed every generator that a layer may draw from with `seed` + `rank`, as Caffe does; the generators of Python
    and NumPy are there for Python layers. `deterministic` refuses operations that give other numbers each time."""
    torch.manual_seed(seed + rank)
    random.seed(seed + rank)
    np.random.seed((seed + rank) % 2**32)
    if torch.are_deterministic_algorithms_enabled() != deterministic:  # the call imports torch's compiler: a second
        torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@contextlib.contextmanager
def untouched(device: torch.device) -> Iterator[None]:
    """What is drawn inside is drawn again after it."""
    kept = random_state(device)
    try:
        yield
    finally:
        set_random_state(kept, device)


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The state of every generator, as tensors on the host."""
    _, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    _, words, spare = random.getstate()
    found = {
        "rng/torch": torch.get_rng_state(),
        "rng/numpy": torch.from_numpy(np.asarray(keys, np.int64)),
        "rng/numpy rest": torch.tensor([float(position), float(has_gauss), gauss], dtype=torch.float64),
        "rng/python": torch.tensor(words, dtype=torch.int64),
        "rng/python rest": torch.tensor([] if spare is None else [spare], dtype=torch.float64),
    }
    return found | ({"rng/cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def set_random_state(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Take up what `random_state` gave; what is not there keeps going."""
    if "rng/torch" not in state:
        return
    torch.set_rng_state(state["rng/torch"])
    position, has_gauss, gauss = state["rng/numpy rest"].tolist()
    keys = state["rng/numpy"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, int(position), int(has_gauss), gauss))
    spare = state["rng/python rest"].tolist()
    random.setstate((3, tuple(state["rng/python"].tolist()), spare[0] if spare else None))
    if device.type == "cuda" and "rng/cuda" in state:
        torch.cuda.set_rng_state(state["rng/cuda"], device)
