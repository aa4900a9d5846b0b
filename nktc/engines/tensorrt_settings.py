"""What a user can say of a TensorRT engine."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nktc.errors import NktcError, near
from nktc.ir import Shape, times

CONSENTS = ("allow_foreign", "allow_host_code")
COMPATIBILITIES = ("none", "ampere+", "same-capability")
BOUNDS = (1, 8, 32)
"""The batches an engine takes at least, is tuned for and takes at most, where the net leaves the batch open."""

Bounds = tuple[Shape, Shape, Shape]
"""The least shape of an input, the one that the engine is tuned for, and the largest; (n,) says axis 0 alone."""


@dataclass(frozen=True)
class TensorRtSettings:
    """The settings of `Options` by name, each also as a text.

    `workspace` is the most memory, in bytes, that one layer may use beside its inputs and outputs, 0 for all there is;
    `builder_level` from 0, built at once, to 5, searched longest; `timing_cache` a file in which the builder's timings
    are kept, made where it is not there; `hardware_compatibility` none, ampere+ or same-capability; `profiles` the
    bounds of each input's shape, "" for those of all others. `version_compatible` engines run in later TensorRTs, and
    carry code of their own. Who opens a file consents with `allow_host_code` to run that, and with `allow_foreign` to
    what no sidecar vouches for; no sidecar consents for them.
    """

    workspace: int = 0
    builder_level: int = 3
    timing_cache: str = ""
    hardware_compatibility: str = "none"
    version_compatible: bool = False
    profiles: Mapping[str, Bounds] = field(default_factory=dict)
    cuda_graph: bool = False
    tf32: bool = True
    allow_foreign: bool = False
    allow_host_code: bool = False

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> TensorRtSettings:
        """Raises NktcError for an unknown name and for a value that is none."""
        known = {one.name for one in dataclasses.fields(cls)}
        for name in given:
            if name not in known:
                help = near(name, known) or f"its settings are {', '.join(sorted(known))}"
                raise NktcError(f'the backend tensorrt has no setting "{name}"', help=help)
        return cls(**{name: _READERS[name](name, value) for name, value in given.items()})

    def plain(self) -> dict[str, Any]:
        """As a sidecar has them."""
        shapes = {name: [list(shape) for shape in bounds] for name, bounds in self.profiles.items()}
        kept = [one.name for one in dataclasses.fields(self) if one.name not in CONSENTS]
        return {name: getattr(self, name) for name in kept} | {"profiles": shapes}

    def bounds(self, name: str, shape: Sequence[int]) -> Bounds:
        """The bounds of an input of this shape, -1 where it is open. Raises NktcError where none fit it."""
        given = self.profiles.get(name, self.profiles.get("", ((BOUNDS[0],), (BOUNDS[1],), (BOUNDS[2],))))
        if any(n < 0 for n in shape[1:]) and any(len(one) == 1 for one in given):
            raise NktcError(
                f"the input {name} leaves more than its batch open",
                help=f'give its least, usual and largest shape, as in profiles = "{_example(name, shape)}"',
            )
        low, usual, high = ((*one, *shape[1:]) if len(one) == 1 else one for one in given)
        for one in (low, usual, high):
            if len(one) != len(shape) or any(n not in (-1, m) for n, m in zip(shape, one, strict=True)):
                said = "x".join("?" if n < 0 else str(n) for n in shape)
                raise NktcError(f"the setting profiles says {times(one)} of the input {name}, which is {said}")
        return low, usual, high


def _example(name: str, shape: Sequence[int]) -> str:
    sizes = (times(tuple(n if known < 0 else known for known in shape)) for n in (1, 8, 32))
    return f"{name}:{','.join(sizes)}"


def _wrong(name: str, value: Any, wanted: str) -> NktcError:
    return NktcError(f'the setting {name} is "{value}"', help=f"it is {wanted}")


def _bytes(name: str, value: Any) -> int:
    match = re.fullmatch(r"(\d+)([KMG]?)", str(value))
    if not match or isinstance(value, bool):
        raise _wrong(name, value, "a number of bytes, such as 512M or 4G")
    return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2]]


def _level(name: str, value: Any) -> int:
    if not re.fullmatch(r"[0-5]", str(value)):
        raise _wrong(name, value, "a number from 0 to 5")
    return int(value)


def _flag(name: str, value: Any) -> bool:
    if str(value).lower() not in ("true", "false"):
        raise _wrong(name, value, "true or false")
    return str(value).lower() == "true"


def _text(name: str, value: Any) -> str:
    return str(value)


def _compatibility(name: str, value: Any) -> str:
    if value not in COMPATIBILITIES:
        raise _wrong(name, value, f"one of {', '.join(COMPATIBILITIES)}")
    return str(value)


def _profiles(name: str, value: Any) -> dict[str, Bounds]:
    """`{input: (least, usual, largest)}`, each a batch or a shape; as a text "1,8,32" or
    "x:1x3x224x224,8x3x224x224,32x3x224x224;y:1,8,32"."""
    wanted = (
        'the least, usual and largest batch, as in "1,8,32", or shapes of an input, as in "x:1x3x8x8,2x3x8x8,4x3x8x8"'
    )
    try:
        if isinstance(value, str):
            parts = [part.rpartition(":") for part in value.split(";")]
            given: dict[str, Any] = {input: bounds.split(",") for input, _, bounds in parts}
        else:
            given = dict(value)
        return {str(input): _bounds(bounds) for input, bounds in given.items()}
    except (ValueError, TypeError):
        raise _wrong(name, value, wanted) from None


def _bounds(given: Any) -> Bounds:
    """Raises ValueError or TypeError where it is none."""
    low, usual, high = (_shape(one) for one in given)
    fits = len(low) == len(usual) == len(high)
    if not fits or any(not 0 < a <= b <= c for a, b, c in zip(low, usual, high, strict=True)):
        raise ValueError
    return low, usual, high


def _shape(given: Any) -> Shape:
    if isinstance(given, str):
        return tuple(int(n) for n in given.strip().split("x"))
    return (given,) if isinstance(given, int) else tuple(int(n) for n in given)


_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    "workspace": _bytes,
    "builder_level": _level,
    "timing_cache": _text,
    "hardware_compatibility": _compatibility,
    "version_compatible": _flag,
    "profiles": _profiles,
    "cuda_graph": _flag,
    "tf32": _flag,
    **dict.fromkeys(CONSENTS, _flag),
}
