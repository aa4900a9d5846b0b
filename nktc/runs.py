"""A run's folder: what each file in it is called, and its journal of events.

run/
  solver.prototxt         the solver as it ran, --set and --seed included
  train.prototxt          the training net, as it was read
  test.prototxt           the test net, where there is one (test1.prototxt, … for more)
  deploy.prototxt         the net to infer with, beside its mean.binaryproto and labels.txt where there are any
  environment.json        versions, device, seed, command, stand-in data
  journal.jsonl           one event a line
  train.log               Caffe's log
  snapshots/              NAME_iter_N.caffemodel and .solverstate
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nktc.errors import NktcError
from nktc.files import write_text


@dataclass(frozen=True)
class Run:
    """The folder of one training run."""

    folder: Path

    @property
    def solver(self) -> Path:
        return self.folder / "solver.prototxt"

    @property
    def deploy(self) -> Path:
        return self.folder / "deploy.prototxt"

    @property
    def mean(self) -> Path:
        return self.folder / "mean.binaryproto"

    @property
    def labels(self) -> Path:
        return self.folder / "labels.txt"

    @property
    def environment(self) -> Path:
        return self.folder / "environment.json"

    @property
    def journal(self) -> Path:
        return self.folder / "journal.jsonl"

    @property
    def log(self) -> Path:
        return self.folder / "train.log"

    @property
    def snapshots(self) -> Path:
        return self.folder / "snapshots"

    def net(self, index: int | None) -> Path:
        """The training net (None) or a test net, counted from 0."""
        name = "train" if index is None else f"test{index or ''}"
        return self.folder / f"{name}.prototxt"

    def record(self, event: str, **facts: Any) -> None:
        """Append an event to the journal. A line is written whole; a torn last line is passed over by `events`."""
        line = json.dumps({"event": event, "time": round(time.time(), 3), **facts})
        with self.journal.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def events(self) -> Iterator[dict[str, Any]]:
        """The journal's events in order."""
        if not self.journal.exists():
            return
        for line in self.journal.read_text(encoding="utf-8").splitlines():
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue

    def weights(self) -> Path:
        """The newest weights that the run wrote, by its journal. Raises NktcError."""
        saved = [Path(event["weights"]) for event in self.events() if event["event"] == "saved"]
        for path in reversed(saved):
            for place in (path, self.folder / path, self.snapshots / path.name):
                if place.exists():
                    return place
        raise NktcError(
            f"{self.folder} has no weights: no snapshot was written",
            help="train it further, or give --weights",
        )

    def write_environment(self, facts: dict[str, Any]) -> None:
        write_text(self.environment, json.dumps(facts, indent=2) + "\n")


def create(folder: Path | None, name: str, resuming: bool = False) -> Run:
    """A folder for a new run: `folder`, or the first free of runs/NAME, runs/NAME-2, … A folder that holds a run
    already is taken only to resume it. Raises NktcError."""
    if folder is None:
        names = (name if number == 1 else f"{name}-{number}" for number in itertools.count(1))
        folder = next(path for path in map(Path("runs").joinpath, names) if not path.exists())
    run = Run(folder)
    if run.journal.exists() and not resuming:
        help = "give another --run-dir, or --snapshot to go on from one of its snapshots"
        raise NktcError(f"{folder} holds a run already", help=help)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Caffe too finds out before training, not at the first snapshot, that it cannot write.
        run.journal.open("a").close()
    except OSError as error:
        raise NktcError(f"cannot write to {folder}: {error.strerror or error}") from None
    return run


def open_run(folder: str | Path) -> Run:
    """An existing run. Raises NktcError when the folder is none."""
    run = Run(Path(folder))
    if not run.deploy.exists():
        raise NktcError(f"{folder} is not the folder of a run: it has no deploy.prototxt", help="nktc train makes one")
    return run
