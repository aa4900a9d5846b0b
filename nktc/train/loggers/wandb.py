"""Weights & Biases: the run's numbers, with the solver's fields as its configuration."""

from __future__ import annotations

from collections.abc import Sequence

import wandb

from nktc.train.events import Ended, Event, Hook
from nktc.train.loggers.logger import About
from nktc.train.loggers.scalars import fields, only, scalars


def to_wandb(options: Sequence[str], about: About) -> Hook:
    """A run of the project that the option names, by default W&B's own; WANDB_MODE=offline keeps it in the run's
    folder."""
    run = wandb.init(
        project=only("wandb", options, "PROJECT"),
        name=about.run.folder.resolve().name,
        dir=str(about.run.folder),
        config=fields(about.settings),
    )
    numbers = scalars(about, lambda values, iteration: run.log(dict(values), step=iteration))

    def hear(event: Event) -> None:
        numbers(event)
        if isinstance(event, Ended):
            run.finish()

    return hear
