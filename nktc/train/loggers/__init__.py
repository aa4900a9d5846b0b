"""Loggers show a run elsewhere: TensorBoard, MLflow and W&B, and whatever registers under `nktc.loggers`.

`find_logger("tensorboard=histograms")(about)` gives a hook of the solver's events. A logger that fails on the way is
dropped with a warning; training goes on.
"""

from nktc.train.loggers.logger import About, Logger, find_logger, names

__all__ = ["About", "Logger", "find_logger", "names"]
