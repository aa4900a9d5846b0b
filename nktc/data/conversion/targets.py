"""Where a conversion writes to: an LMDB, or rows of an HDF5 file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from nktc.data.conversion.hdf5_writer import Rows
from nktc.data.conversion.made import Made
from nktc.data.conversion.plan import Plan
from nktc.data.databases.datum import pack, pack_encoded
from nktc.data.databases.lmdb import Writer


class Target(Protocol):
    """Where a part is written to."""

    def pack(self, number: int, record: int, made: Made) -> Any:
        """What is written of a record, the `number`-th of the part. Called by several threads."""

    def write(self, packed: Sequence[Any]) -> None:
        """Have these on the disk."""

    def close(self) -> None: ...


@dataclass
class ToLmdb:
    """Records as convert_imageset writes them."""

    plan: Plan
    writer: Writer

    def pack(self, number: int, record: int, made: Made) -> tuple[bytes, bytes]:
        key = f"{number:08d}_{self.plan.names[record]}".encode(errors="surrogateescape")
        label = int(self.plan.labels[record])
        values = made.values if made.values.ndim == 3 else made.values[:, None, None]
        return key, pack_encoded(made.file, label) if made.file else pack(values, label)

    def write(self, packed: Sequence[tuple[bytes, bytes]]) -> None:
        self.writer.write(packed)
        self.writer.sync()

    def close(self) -> None:
        self.writer.close()


@dataclass
class ToHdf5:
    """Rows of one size."""

    plan: Plan
    rows: Rows

    def pack(self, number: int, record: int, made: Made) -> tuple[np.ndarray, np.ndarray]:
        return made.values, self.plan.labels[record].astype(np.float32)

    def write(self, packed: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        if packed:
            self.rows.append([values for values, _ in packed], [label for _, label in packed])

    def close(self) -> None:
        pass
