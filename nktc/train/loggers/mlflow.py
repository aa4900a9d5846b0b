"""MLflow: the run's numbers, with the solver's fields as parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import mlflow

from nktc.train.events import Ended, Event, Hook
from nktc.train.loggers.logger import About
from nktc.train.loggers.scalars import fields, only, scalars


def to_mlflow(options: Sequence[str], about: About) -> Hook:
    """A run of the experiment that the option names, by default MLflow's own; MLFLOW_TRACKING_URI says where."""
    experiment = only("mlflow", options, "EXPERIMENT")
    if experiment:
        mlflow.set_experiment(experiment)
    mlflow.start_run(run_name=about.run.folder.resolve().name, nested=mlflow.active_run() is not None)
    mlflow.log_params(fields(about.settings))

    def write(values: Mapping[str, float], iteration: int) -> None:
        # MLflow refuses names with other characters, such as a blob's "prob#1".
        mlflow.log_metrics({re.sub(r"[^\w\-./ ]", "_", name): value for name, value in values.items()}, step=iteration)

    numbers = scalars(about, write)

    def hear(event: Event) -> None:
        numbers(event)
        if isinstance(event, Ended):
            mlflow.end_run("KILLED" if event.stopped else "FINISHED")

    return hear
