"""How the scores of a net grow with the records it learns from: the same solver on parts of the training data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from nktc import files, runs
from nktc.errors import NktcError
from nktc.train.launch import Options, launch
from nktc.train.settings import read


@dataclass(frozen=True)
class Size:
    """A run on so many records, its folder, and its last scores on the first test net by the name of the output."""

    records: int
    folder: Path
    scores: Mapping[str, float]


def learning_curve(
    solver: Path, sizes: Sequence[int | None], folder: Path | None, options: Options, console: Console
) -> tuple[Size, ...]:
    """Train on each of `sizes` records, None for all, drawn so that a larger part holds the smaller ones; every run has
    the solver's number of iterations. The runs lie in `folder`, runs/SOLVER_curve when not given, learning_curve.json
    beside them; a run that is there and has ended is not made again. Raises NktcErrors."""
    settings = read(solver, options.overrides)
    if not settings.test_nets:
        raise NktcError(f"{solver} tests nothing, so there is nothing to draw", help="give it test_iter and a test net")
    folder = folder or Path("runs") / f"{settings.name}_curve"
    found = []
    for records in sizes:
        run = runs.Run(folder / (str(records) if records else "all"))
        if not _ended(run, settings.message.max_iter):
            console.print(f"[bold]training on {records or 'all'} records[/]", highlight=False)
            outcome = launch(solver, replace(options, run_dir=run.folder, records=records), console)
            if outcome.stopped:
                raise NktcError(
                    f"stopped at {outcome.iteration} iterations", help="the same command goes on with the next"
                )
        found.append(_size(run))
    found.sort(key=lambda size: size.records)
    facts = [{"records": size.records, "run": size.folder.name, **size.scores} for size in found]
    files.write_text(folder / "learning_curve.json", json.dumps(facts, indent=1) + "\n")
    return tuple(found)


def _ended(run: runs.Run, iterations: int) -> bool:
    """Whether a run is there and came to its end."""
    if not run.journal.exists():
        return False
    events = list(run.events())
    ended = [event for event in events if event["event"] == "ended"]
    return bool(ended) and not ended[-1]["stopped"] and ended[-1]["iteration"] >= iterations


def _size(run: runs.Run) -> Size:
    events = list(run.events())
    records = next(event["records"] for event in events if event["event"] == "started")
    tested = [event for event in events if event["event"] == "tested" and not event["net"]]
    if not tested:
        raise NktcError(f"{run.folder} was never tested", help="test_interval is larger than max_iter")
    scores = {name: value for name, value in tested[-1]["scores"].items() if isinstance(value, float)}
    return Size(records, run.folder, scores)
