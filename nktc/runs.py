"""A run's folder: what each file in it is called, and its journal of events.

run/
  solver.prototxt         the solver as it ran, --set and --seed included
  train.prototxt          the training net, as it was read
  test.prototxt           the test net, where there is one (test1.prototxt, … for more)
  deploy.prototxt         the net to infer with, beside its mean.binaryproto and labels.txt where there are any
  environment.json        versions, device, seed, command, stand-in data
  journal.jsonl           one event a line
  train.log               Caffe's log
  snapshots/              NAME_iter_N.caffemodel, .solverstate and .extra.safetensors; NAME_best, NAME_iter_N_average
  tensorboard/            what --log tensorboard writes
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nktc.errors import NktcError
from nktc.files import make_folder, write_text


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
        """Append an event to the journal. A line is written whole; a torn last line is passed over by `events`. Raises
        NktcError when it cannot be written."""
        line = json.dumps({"event": event, "time": round(time.time(), 3), **facts})
        try:
            with self.journal.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise NktcError(f"cannot write {self.journal}: {error.strerror or error}") from None

    def events(self) -> Iterator[dict[str, Any]]:
        """The journal's events in order; what is no event is passed over."""
        if not os.path.isfile(self.journal):
            return
        for line in self.journal.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                found = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(found, dict) and "event" in found:
                yield found

    def weights(self) -> Path:
        """The weights to use, by the run's journal: the best where it kept them, else the newest. Raises NktcError."""
        saved = [event for event in self.events() if event["event"] == "saved"]
        best = [event for event in saved if event.get("best")]
        for path in (Path(event["weights"]) for event in reversed([*saved, *best])):
            # Its own folder first: the run may have been moved, and another may lie where it was.
            for place in (self.snapshots / path.name, path, self.folder / path):
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
    already is taken only to resume it; one of a run that failed before its first event is free. Raises NktcError."""
    if folder is None:
        names = (name if number == 1 else f"{name}-{number}" for number in itertools.count(1))
        folder = next(path for path in map(Path("runs").joinpath, names) if not path.exists())
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        # A .solverstate names its weights, in UTF-8.
        raise NktcError(f"the name of the folder {folder} is not UTF-8", help="give another --run-dir") from None
    run = Run(folder)
    if any(run.events()) and not resuming:
        help = "give another --run-dir, or --snapshot to go on from one of its snapshots"
        raise NktcError(f"{folder} holds a run already", help=help)
    make_folder(folder)
    try:
        # Caffe too finds out before training, not at the first snapshot, that it cannot write.
        run.journal.open("a").close()
    except OSError as error:
        raise NktcError(f"cannot write to {folder}: {error.strerror or error}") from None
    return run


def open_run(folder: str | Path) -> Run:
    """An existing run. Raises NktcError when the folder is none."""
    run = Run(Path(folder))
    if not os.path.isfile(run.deploy):
        raise NktcError(f"{folder} is not the folder of a run: it has no deploy.prototxt", help="nktc train makes one")
    return run
