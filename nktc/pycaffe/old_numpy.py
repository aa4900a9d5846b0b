"""What NumPy had when scripts for Caffe were written, and has no longer: `np.float`, `np.fromstring` of bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

TYPES: dict[str, Any] = {
    "bool": bool,
    "complex": complex,
    "float": float,
    "float_": np.float64,
    "int": int,
    "int0": np.intp,
    "long": int,
    "object": object,
    "str": str,
    "string_": np.bytes_,
    "unicode": str,
    "unicode_": np.str_,
}
NUMBERS: dict[str, Any] = {"Inf": np.inf, "Infinity": np.inf, "NAN": np.nan, "NaN": np.nan}
FUNCTIONS: dict[str, Any] = {
    "alltrue": np.all,
    "asscalar": lambda a: a.item(),
    "cumproduct": np.cumprod,
    "product": np.prod,
    "sometrue": np.any,
}

_from_text = np.fromstring


def answer() -> None:
    """From here on, in this process, NumPy has these names, as far as it has not."""
    had = dir(np)
    for name, value in (TYPES | NUMBERS | FUNCTIONS).items():
        if name not in had:
            setattr(np, name, value)
    vars(np)["fromstring"] = fromstring


def fromstring(string: Any, dtype: Any = float, count: int = -1, *, sep: str = "", **given: Any) -> np.ndarray:
    """The numbers in a text, `sep` between them; without `sep` those in bytes, as a copy."""
    if sep:
        return _from_text(string, dtype, count, sep=sep, **given)
    return np.frombuffer(string, dtype, count).copy()
