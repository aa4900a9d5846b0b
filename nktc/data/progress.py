"""A progress bar on a terminal, silence elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

Advance = Callable[[int], None]


@contextmanager
def progress(what: str, total: int | None, *, done: int = 0, bytes: bool = False) -> Iterator[Advance]:
    """Gives a function that counts on. Written to stderr and wiped at the end; `total` None is not known."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda count: None
        return
    counts = (DownloadColumn(), TransferSpeedColumn()) if bytes else (MofNCompleteColumn(),)
    columns = (TextColumn("{task.description}"), BarColumn(), *counts, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=total, completed=done)
        yield lambda count: bar.advance(task, count)
