"""What is asked of an optimisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nktc.ir import DType

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
GOALS = ("latency", "throughput")
HALVES = {"fp16": DType.F16, "bf16": DType.BF16}


@dataclass(frozen=True)
class Wanted:
    """What an engine is to be.

    `backend` "" is any that reads the output's kind of file; `precision` is one of PRECISIONS, `goal` of GOALS. `batch`
    0 leaves the batch open where the net does, and finds the best; `latency_ms` 0 is no limit on a forward. `threads` 0
    tries them. `passes` are the names of those to run, none for all that pay; with `fold_input` the first layer does
    to pixels what was done before the net. `keep` are the layers that stay in fp32. `calibrate` are pictures, or a
    calibration table; without, the net's own data layers are asked. `max_drop` is how many points of top-1 int8 may
    cost, `records` how many are looked at to find that out. `seconds` is spent on each measurement. `settings` are the
    engine's own.
    """

    backend: str = ""
    device: str = "auto"
    precision: str = "fp32"
    goal: str = "latency"
    batch: int = 0
    most_batch: int = 32
    latency_ms: float = 0.0
    threads: int = 0
    passes: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    calibrate: tuple[Path, ...] = ()
    calibration: str = "entropy"
    save_calibration: Path | None = None
    max_drop: float = 1.0
    records: int = 2000
    seconds: float = 3.0
    fold_input: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
