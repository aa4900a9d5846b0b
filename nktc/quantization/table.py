"""The calibration table: the range of each blob, as a file that a person reads and edits."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nktc.errors import NktcError
from nktc.files import read_bytes, write_text

FORMAT = "nktc calibration 1"


@dataclass(frozen=True)
class Entry:
    """The range that a blob's 8 bits cover, and the least and largest value that was seen, or 0."""

    low: float
    high: float
    least: float
    largest: float


@dataclass(frozen=True)
class Table:
    """What calibration found: `method` is entropy, minmax or percentile, `records` how many inputs were looked at."""

    net: str
    method: str
    records: int
    blobs: Mapping[str, Entry]

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Low and high by blob."""
        return {name: (entry.low, entry.high) for name, entry in self.blobs.items()}

    def save(self, path: Path) -> None:
        """Write it as JSON, one blob a line."""
        head = {"format": FORMAT, "net": self.net, "method": self.method, "records": self.records}
        lines = [f"    {json.dumps(name)}: {json.dumps(_short(entry))}" for name, entry in self.blobs.items()]
        body = "{\n" + "".join(f"  {json.dumps(key)}: {json.dumps(value)},\n" for key, value in head.items())
        body += '  "blobs": {\n' + ",\n".join(lines) + "\n  }\n}\n"
        write_text(path, body)


def read_table(path: Path) -> Table:
    """The table of a file. Raises NktcError for one that is none."""
    help = "nktc optimize --precision int8 --save-calibration FILE writes one"
    data = read_bytes(path, "the calibration table")
    try:
        found = json.loads(data)
        if not str(found["format"]).startswith(FORMAT.rstrip("0123456789")):
            raise NktcError(f"{path} is no calibration table", help=help)
        if found["format"] != FORMAT:
            raise NktcError(f'{path} is a calibration table of another kind: "{found["format"]}"', help=help)
        blobs = {name: _entry(name, entry) for name, entry in found["blobs"].items()}
        return Table(str(found["net"]), str(found["method"]), int(found["records"]), blobs)
    except KeyError as error:
        raise NktcError(f"{path} is no calibration table: it has no {error.args[0]}", help=help) from None
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise NktcError(f"{path} is no calibration table: {error}", help=help) from None


def _entry(name: str, entry: Mapping[str, Any]) -> Entry:
    found = Entry(*(float(entry[field]) for field in ("low", "high", "least", "largest")))
    if not all(map(math.isfinite, asdict(found).values())) or found.low > found.high:
        raise ValueError(f"{name} has the range {found.low:g} to {found.high:g}")
    return found


def _short(entry: Entry) -> dict[str, float]:
    return {name: float(f"{value:.7g}") for name, value in asdict(entry).items()}
