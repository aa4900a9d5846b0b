"""Loggers show a run elsewhere: TensorBoard, MLflow and W&B, and whatever registers under `nktc.loggers`.

`open_logger("tensorboard=histograms", about)` gives a hook of the solver's events. A logger that fails on the way is
dropped with a warning; training goes on.
"""

from nktc.train.loggers.logger import About, Logger, names, open_logger

__all__ = ["About", "Logger", "names", "open_logger"]
