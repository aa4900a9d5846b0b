"""What Caffe's scripts classify.py and detect.py read and write."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from nktc.errors import NktcError
from nktc.files import atomic, read_bytes, write_bytes, write_text
from nktc.pycaffe.detector import Window, selective_search
from nktc.pycaffe.io import load_image

SIDES = ("ymin", "xmin", "ymax", "xmax")


def load_mean(path: str, channels: bool = False) -> np.ndarray | None:
    """The mean in an .npy file, with `channels` a number for each channel of [c h w]; None for no file. Raises
    NktcError."""
    if not path:
        return None
    mean = _array(Path(path))
    return mean.mean((1, 2)) if channels and mean.ndim == 3 else mean


def load_pictures(path: Path, ending: str = "jpg") -> Sequence[np.ndarray] | np.ndarray:
    """Pictures [h w c]: those in an .npy file [n h w c], those of a folder with this ending, by name, or the one of an
    image file. Raises NktcError."""
    if path.suffix == ".npy":
        pictures = _array(path)
        if pictures.ndim != 4:
            raise NktcError(f"{path} has {pictures.ndim} axes, pictures have n, height, width, channels")
        return pictures
    if not path.is_dir():
        return [load_image(path)]
    files = sorted(path.glob(f"*.{ending}"))
    if not files:
        raise NktcError(f"{path} holds no *.{ending}", help="--ext names another ending")
    return [load_image(file) for file in files]


def array_name(path: Path) -> Path:
    """The name of an .npy file, which gets that ending where it has another."""
    return path if path.suffix == ".npy" else path.with_name(f"{path.name}.npy")


def save_array(path: Path, array: np.ndarray) -> Path:
    """Write an .npy file, called as `array_name` has it; returns the name."""
    path = array_name(path)
    with io.BytesIO() as memory:
        np.save(memory, array)
        write_bytes(path, memory.getvalue())
    return path


def load_windows(path: Path, crop_mode: str) -> list[tuple[str, Sequence[Window]]]:
    """Image files and their windows, ymin, xmin, ymax, xmax: with the crop_mode "list" those of a .csv with a line of
    the columns' names. Raises NktcError, for the other crop_mode always."""
    if crop_mode == "selective_search":
        return selective_search([])
    text = read_bytes(path, "list of windows").decode(errors="surrogateescape")
    reader = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    lacking = [name for name in ("filename", *SIDES) if name not in (reader.fieldnames or ())]
    if lacking:
        help = "its first line is filename,ymin,xmin,ymax,xmax"
        raise NktcError(f"{path} has no column {', '.join(lacking)}", help=help)
    found: dict[str, list[Window]] = {}
    for row in reader:
        try:
            sides = [int(float(row[side])) for side in SIDES]
        except (TypeError, ValueError, OverflowError):
            raise NktcError(f"{path}:{reader.line_num}: the sides of a window are numbers") from None
        found.setdefault(row["filename"], []).append(sides)
    if not found:
        raise NktcError(f"{path} names no windows")
    return list(found.items())


def save_detections(path: Path, detections: Sequence[Mapping[str, Any]]) -> None:
    """Write a .csv with a column for each class, or else HDF5 with filename [n], window [n 4] and prediction [n c].
    Raises NktcError."""
    windows = np.array([one["window"] for one in detections])
    scores = np.array([np.ravel(one["prediction"]) for one in detections])
    names = [str(one["filename"]) for one in detections]
    if path.suffix.lower() != ".csv":
        with atomic(path) as temporary, h5py.File(temporary, "w") as file:
            file["filename"] = [name.encode(errors="surrogateescape") for name in names]
            file["window"], file["prediction"] = windows, scores
        return
    with io.StringIO() as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["filename", *SIDES, *(f"class{i}" for i in range(scores.shape[1]))])
        for name, window, row in zip(names, windows.tolist(), scores.tolist(), strict=True):
            writer.writerow([name, *window, *row])
        write_text(path, text.getvalue())


def _array(path: Path) -> np.ndarray:
    """The numbers in an .npy file, which may hold no objects. Raises NktcError."""
    data = read_bytes(path, "array")
    if not data.startswith(b"\x93NUMPY"):
        raise NktcError(f"{path} is not an .npy file of numbers", help="numpy.save writes one")
    try:
        found = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise NktcError(f"{path} is not an .npy file of numbers: {str(error).partition(chr(10))[0]}") from None
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "biuf":
        raise NktcError(f"{path} is not an .npy file of numbers")
    return found
