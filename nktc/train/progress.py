"""The progress bar: loss, rate, the last scores, images a second, and the time that is left."""

from __future__ import annotations

import time
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from nktc.train.events import Ended, Event, Started, Stepped, Tested, Testing
from nktc.train.settings import Settings

OFTEN = 0.1  # seconds between two looks at the loss
UNKNOWN = "-:--:--"


def bar(console: Console) -> Bar:
    """A bar that is there on a terminal only."""
    return Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}"),
        TextColumn("{task.fields[what]}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=False,
        redirect_stderr=False,
    )


class Progress:
    """Keeps a bar up to date. Images a second are those of training alone and of late; the time that is left counts
    every test to come for as long as the last one took."""

    def __init__(self, bar: Bar, settings: Settings, batch: int) -> None:
        self.bar, self.settings, self.batch = bar, settings, batch
        self.task = bar.add_task(settings.name, total=settings.message.max_iter, what="", left=UNKNOWN)
        self.step: float | None = None  # seconds an iteration takes, of late
        self.test = 0.0  # seconds that testing all nets took
        self.scores = ""
        # When, testing left out, `done` iterations were done; when testing began, and that of the present net.
        self.mark = self.began = self.paused = 0.0
        self.done = 0

    def __call__(self, event: Event) -> None:
        now = time.perf_counter()
        match event:
            case Started(iteration):
                self.mark, self.done = now, iteration
                self.bar.update(self.task, completed=iteration)
            case Testing(_, net):
                self.paused = now
                self.began = self.began if net else now
                self.bar.update(self.task, what=f"testing net #{net}", refresh=True)
            case Tested(_, net, scores, _):
                self.mark += now - self.paused
                self.test = now - self.began
                if net == 0:
                    single = {name: value for name, value in scores.items() if value.numel() == 1 and name != "loss"}
                    self.scores = "".join(f"  {name} {value.item():.4g}" for name, value in single.items())
            case Stepped(iteration, loss, _, rate) if now - self.mark > OFTEN:
                lapse = (now - self.mark) / (iteration + 1 - self.done)
                # About the last seconds count; the first steps, which warm up, are soon forgotten.
                self.step = lapse if self.step is None else self.step + 0.05 * (lapse - self.step)
                self.mark, self.done = now, iteration + 1
                what = f"loss {loss.item():.4g}  lr {rate:.3g}  {self.batch / self.step:,.0f} images/s{self.scores}"
                self.bar.update(self.task, completed=self.done, what=what, left=self.left(self.step))
            case Ended(iteration):
                self.bar.update(self.task, completed=iteration, refresh=True)

    def left(self, step: float) -> str:
        """The time to the end where an iteration takes `step` seconds."""
        s = self.settings.message
        tests = s.max_iter // s.test_interval - self.done // s.test_interval if s.test_interval else 0
        return str(timedelta(seconds=round((s.max_iter - self.done) * step + tests * self.test)))
