"""The file beside a file that an engine made: what it was made of, by what, on what, and what it then did.

`model.engine` has `model.engine.json`. Engine files say nothing of all that themselves, and some run wrong or not at
all anywhere else; an ONNX file gets one for its measurements.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import onnx
import torch

from nktc import __version__, export
from nktc.engines.engine import Facts
from nktc.errors import NktcError
from nktc.files import read_bytes, write_text
from nktc.layers import Choice

FORMAT = 1
SOURCE = re.compile(r"(?P<name>.+) sha256:(?P<hash>[0-9a-f]{64})")


def _versions() -> dict[str, str]:
    return {"nktc": __version__, "torch": str(torch.__version__), "onnx": onnx.__version__}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Sidecar:
    """What is known of the file beside it.

    `engine` is the backend's name, `runtime` its version, `sha256` the file's. `device`, `capability` ("9.0") and
    `driver` are the GPU's it was made on, "" for none. `asked` are the number types of the net that went in, `found`
    the share of the engine's layers that give each type, empty where the runtime does not tell. `batch` 0 is any,
    `threads` 0 the engine's choice, for each of the `streams` that run side by side. `facts.origin` has names and
    hashes of the sources, `measured` what tests and timings said, `created` the time in UTC.
    """

    engine: str
    runtime: str
    sha256: str = ""
    device: str = ""
    capability: str = ""
    driver: str = ""
    asked: tuple[str, ...] = ()
    found: Mapping[str, float] = field(default_factory=dict)
    batch: int = 0
    threads: int = 0
    streams: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)
    facts: Facts = field(default_factory=Facts)
    measured: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=_versions)
    created: str = field(default_factory=_now)


def place(file: Path) -> Path:
    """Where the sidecar of a file is."""
    return file.with_name(f"{file.name}.json")


def write(file: Path, sidecar: Sidecar) -> Sidecar:
    """Put a sidecar beside a file that is there, with the file's hash; gives it with that. Raises NktcError."""
    known = dataclasses.replace(sidecar, sha256=_hash(file))
    plain = {f.name: getattr(known, f.name) for f in dataclasses.fields(known) if f.name != "facts"}
    facts = {
        "preprocessing": {name: export.pack(p) for name, p in known.facts.preprocessing.items()},
        "labels": known.facts.labels,
        "origin": dict(known.facts.origin),
        "detections": {name: dataclasses.asdict(choice) for name, choice in known.facts.detections.items()},
    }
    write_text(place(file), json.dumps({"format": FORMAT, **plain, **facts}, indent=1) + "\n")
    return known


def read(file: Path) -> Sidecar | None:
    """The sidecar of a file, None where there is none. Raises NktcError for one that cannot be understood."""
    beside = place(file)
    if not beside.exists():
        return None
    help = "make the file and its sidecar again with nktc optimize"
    try:
        said = json.loads(read_bytes(beside, "the sidecar"))
        if not isinstance(said, dict):
            raise ValueError("it is no JSON object")
        made_by = said.pop("format")
        if isinstance(made_by, int) and made_by > FORMAT:
            raise NktcError(f"{beside} is of format {made_by}, this nktc reads {FORMAT}", help="update nktc")
        facts = Facts(
            {name: export.unpack(p) for name, p in said.pop("preprocessing").items()},
            tuple(map(str, said.pop("labels"))),
            {str(key): str(value) for key, value in said.pop("origin").items()},
            {str(name): Choice(**settings) for name, settings in said.pop("detections", {}).items()},
        )
        return _checked(Sidecar(**said | {"asked": tuple(said["asked"])}, facts=facts))
    except KeyError as error:
        raise NktcError(f'the sidecar {beside} is damaged: it has no "{error.args[0]}"', help=help) from None
    except (ValueError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise NktcError(f"the sidecar {beside} is damaged: {reason}", help=help) from None


def is_of(file: Path, sidecar: Sidecar) -> bool:
    """Whether a file is the one that its sidecar tells of. Raises NktcError where it cannot be read."""
    return _hash(file) == sidecar.sha256


def check_file(file: Path, sidecar: Sidecar) -> None:
    """Raises NktcError where a file is not the one that its sidecar tells of."""
    if (found := _hash(file)) != sidecar.sha256:
        raise NktcError(
            f"{file} is not the file that its sidecar tells of, it is truncated or changed:"
            f" sha256 {found[:12]}…, not {sidecar.sha256[:12]}…",
            help="copy both again, or make them again with nktc optimize",
        )


def check_sources(file: Path, sidecar: Sidecar) -> None:
    """Raises NktcError where a net or weights that a file was made from lie beside it and have changed since."""
    for told in sidecar.facts.origin.values():
        if (match := SOURCE.fullmatch(told)) and (source := file.with_name(match["name"])).is_file():
            found = _hash(source)
            if found != match["hash"]:
                raise NktcError(
                    f"{file} is stale, {source} has changed since it was made:"
                    f" sha256 {found[:12]}…, not {match['hash'][:12]}…",
                    help="make it again with nktc optimize",
                )


def _checked(sidecar: Sidecar) -> Sidecar:
    """The same. Raises TypeError where a field holds something else than it should, ValueError below its least."""
    for one in dataclasses.fields(sidecar):
        wanted = {str: str, int: int, tuple: tuple}.get(type(_default(one)), Mapping)
        held = getattr(sidecar, one.name)
        if one.name != "facts" and not isinstance(held, wanted):
            raise TypeError(f"{one.name} is {held!r}")
        if wanted is int and held < (one.name == "streams"):
            raise ValueError(f"{one.name} is {held}")
    return sidecar


def _default(one: dataclasses.Field[Any]) -> Any:
    if one.default is not dataclasses.MISSING:
        return one.default
    return one.default_factory() if one.default_factory is not dataclasses.MISSING else ""


def _hash(file: Path) -> str:
    """The SHA-256 of a file. Raises NktcError where it cannot be read."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise NktcError(f"cannot read {file}: {error.strerror or error}") from None
