"""How the scores of a net grow with the records it learns from: the same solver on parts of the training data."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from nktc import files, runs, text
from nktc.errors import NktcError, near
from nktc.train import checkpoint
from nktc.train.launch import Options, launch
from nktc.train.settings import Settings, read

FACTS = "learning_curve.json"
EARLY = "tests: stopping"  # what a run says that ends by its own early_stop_tests


@dataclass(frozen=True)
class Size:
    """A run on so many records, its folder, and its last scores on the first test net by the name of the output."""

    records: int
    folder: Path
    scores: Mapping[str, float]


def learning_curve(
    solver: Path,
    sizes: Sequence[int | None],
    folder: Path | None,
    options: Options,
    console: Console,
    metrics: Sequence[str] = (),
) -> tuple[Size, ...]:
    """Train on each of `sizes` records, None for all, drawn so that a larger part holds the smaller ones; every run has
    the solver's number of iterations, or stops early where the solver says so.

    The runs lie in `folder`, runs/SOLVER_curve when not given, learning_curve.json beside them. A run that is there and
    has ended is not made again, one that was stopped goes on from its newest snapshot, or begins anew where it has
    none. Raises NktcErrors, among them for runs that other settings have made, and for one of `metrics`, scores that
    are wanted afterwards, that no layer of the first test net makes.
    """
    settings = read(solver, options.overrides)
    if not settings.test_nets:
        raise NktcError(f"{solver} tests nothing, so there is nothing to draw", help="give it test_iter and a test net")
    if settings.message.test_interval > settings.message.max_iter > 0:
        problem = f"test_interval {settings.message.test_interval} is more than max_iter {settings.message.max_iter}"
        raise settings.refusal(f"{problem}: the trained nets would not be tested", "test_interval")
    tops = dict.fromkeys(top for layer in settings.test_nets[0].net.message.layer for top in layer.top)
    for metric in metrics:
        if metric not in tops:
            raise NktcError(f'the test net has no "{metric}"', help=near(metric, tops) or f"it has {', '.join(tops)}")
    folder = folder or Path("runs") / f"{settings.name}_curve"
    made_by = _digest(settings)
    made = _facts(folder)
    found = []
    for records in sizes:
        run = runs.Run(folder / (str(records) if records else "all"))
        name = run.folder.name
        if run.folder.exists() and made.get(name, made_by) != made_by:
            raise NktcError(f"{run.folder} was made by other settings", help="give another --run-dir, or remove it")
        files.write_text(folder / FACTS, json.dumps({"runs": made | {name: made_by}}) + "\n")
        made[name] = made_by
        if not _ended(run):
            _train(solver, replace(options, records=records), run, console)
        found.append(_size(run))
    found.sort(key=lambda size: size.records)
    facts = [{"records": size.records, "run": size.folder.name, **size.scores} for size in found]
    files.write_text(folder / FACTS, json.dumps({"sizes": facts, "runs": made}, indent=1) + "\n")
    return tuple(found)


def _train(solver: Path, options: Options, run: runs.Run, console: Console) -> None:
    """Make a run, or go on with it. Raises NktcError where it is stopped from outside."""
    console.print(f"[bold]training on {options.records or 'all'} records[/]", highlight=False)
    snapshot = checkpoint.newest(run.snapshots)[0] if run.folder.exists() else None
    if run.folder.exists() and not snapshot:
        shutil.rmtree(run.folder)  # it was stopped before it had saved anything
    outcome = launch(
        solver, replace(options, run_dir=run.folder, snapshot=str(run.folder) if snapshot else None), console
    )
    if outcome.stopped and not _ended(run):
        raise NktcError(f"stopped at {outcome.iteration} iterations", help="the same command goes on from there")


def _digest(settings: Settings) -> str:
    """Changes with the solver, its overrides and its nets."""
    messages = [settings.message, settings.train_net.message, *(test.net.message for test in settings.test_nets)]
    printed = "".join(text.print_message(message) for message in messages)
    return hashlib.sha256(printed.encode()).hexdigest()[:16]


def _facts(folder: Path) -> dict[str, str]:
    """By which settings each run in a folder was made."""
    try:
        made: dict[str, str] = json.loads((folder / FACTS).read_text(encoding="utf-8"))["runs"]
        return dict(made)
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _ended(run: runs.Run) -> bool:
    """Whether a run is there and came to its end, by its own rules."""
    if not run.journal.exists():
        return False
    events = list(run.events())
    last = next((event for event in reversed(events) if event["event"] in ("ended", "started")), None)
    if not last or last["event"] != "ended":
        return False
    return not last["stopped"] or any(EARLY in event.get("line", "") for event in events if event["event"] == "said")


def _size(run: runs.Run) -> Size:
    events = list(run.events())
    records = next(event["records"] for event in events if event["event"] == "started")
    tested = [event for event in events if event["event"] == "tested" and not event["net"]]
    scores = {name: value for name, value in tested[-1]["scores"].items() if isinstance(value, float)}
    return Size(records, run.folder, scores)
