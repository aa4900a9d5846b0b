"""Reads the weights that torch.save wrote, .pt and .pth: tensors alone, never code that the file brings."""

from __future__ import annotations

import importlib
import re
import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nktc.errors import NktcError
from nktc.weights.entry import Budget, Entry

ZIP = b"PK\x03\x04"
LEGACY = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # a pickle of torch's own number
INSIDE = ("state_dict", "model_state_dict", "model", "net", "weights")  # what checkpoints call the weights
BEFORE = ("module.", "_orig_mod.")  # what wrappers put before every name
MOST_DEPTH = 8
ONLY = "save the weights alone: torch.save(model.state_dict(), FILE), or a .safetensors file"


def is_torch(data: memoryview) -> bool:
    """Whether a file's first bytes are those of torch.save, or of another zip archive."""
    return bytes(data[:4]) == ZIP or bytes(data[: len(LEGACY)]) == LEGACY


def entries(path: Path, size: int) -> dict[str, Entry]:
    """The weights of a file by their names. Raises NktcError for one that takes code of its own to read."""
    whole = _load(path)
    held = _inside(whole)
    if held is None:
        raise NktcError(f"it holds a {type(whole).__name__}, no weights by their names", help=ONLY)
    found = dict(_tensors(held, "", set()))
    while start := next((s for s in BEFORE if found and all(name.startswith(s) for name in found)), ""):
        found = {name.removeprefix(start): tensor for name, tensor in found.items()}
    budget = Budget(size)
    return {name: _entry(name, tensor, budget) for name, tensor in found.items()}


def _load(path: Path) -> Any:
    with path.open("rb") as file:
        archive = file.read(len(ZIP)) == ZIP
    if archive:
        _check_archive(path)
    torch = importlib.import_module("torch")
    try:
        # Not mapped: the pages that were looked at would stay beside the copy.
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged pickle or archive makes torch raise
        if code := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise NktcError(f"it takes the code of {code[1]} to read, which is not run", help=ONLY) from None
        said = str(error).partition("\n")[0].removesuffix(".") or type(error).__name__
        if "weights_only" in said:
            # torch tells how to run whatever code the file brings.
            said = "its pickle is damaged, or holds more than weights"
        raise NktcError(f"torch cannot read it: {said}", help=ONLY) from None


def _check_archive(path: Path) -> None:
    """Refuse a zip archive that is no state_dict's, and one whose tensors are packed: unpacked they may be of any
    size."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise NktcError(f"its archive is damaged: {error}") from None
    names = [one.filename.rpartition("/")[2] for one in members]
    if "data.pkl" not in names:
        raise NktcError("it is an archive without weights of torch", help=ONLY)
    if any(one.compress_type != zipfile.ZIP_STORED for one in members):
        raise NktcError("its archive is compressed, which torch.save does not do", help=ONLY)
    if "constants.pkl" in names:
        raise NktcError("it is a program of torch.jit, not weights alone", help=ONLY)


def _inside(held: Any) -> Mapping[Any, Any] | None:
    """The part of a checkpoint that holds the weights, None where there is none."""
    if not isinstance(held, Mapping):
        return None
    for name in INSIDE:
        if isinstance(held.get(name), Mapping):
            return _inside(held[name])
    return held


def _tensors(held: Mapping[Any, Any], before: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """The tensors of a dict, and of those in it; whatever else there is, such as an epoch, is passed over."""
    seen.add(id(held))
    for key, value in held.items():
        if isinstance(value, Mapping):
            if id(value) not in seen and before.count(".") < MOST_DEPTH:
                yield from _tensors(value, f"{before}{key}.", seen)
        elif hasattr(value, "element_size"):
            yield f"{before}{key}", value


def _entry(name: str, tensor: Any, budget: Budget) -> Entry:
    dtype = str(tensor.dtype).removeprefix("torch.")
    if str(tensor.layout) != "torch.strided" or tensor.is_quantized or tensor.is_complex() or tensor.is_meta:
        raise NktcError(f'"{name}" is no plain tensor of numbers, but {dtype} {tensor.layout}')
    # A tensor of one number may claim any shape.
    budget.take(tuple(tensor.shape), f'"{name}"')
    short = re.sub(r"^(bf|f|u?i)?(loat|nt)?", r"\1", dtype)
    return Entry(tuple(tensor.shape), short, partial(_read, tensor))


def _read(tensor: Any) -> np.ndarray:
    """The numbers where torch read them to, where they are f32 already."""
    return np.ascontiguousarray(tensor.detach().float().numpy())
