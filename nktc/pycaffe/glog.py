"""Caffe's log on standard error, in the format of glog, which parse_log reads."""

from __future__ import annotations

import os
import sys
from datetime import datetime

INFO = 0

_least = [INFO]


def init_log(level: int = INFO, stderr: bool = True) -> None:
    """Write lines of `level` and above: 0 information, 1 warnings, 2 errors. They always go to standard error."""
    _least[0] = level


def log(message: str) -> None:
    """Write a line of information."""
    if shown(INFO):
        now = datetime.now()
        write(f"I{now:%m%d %H:%M:%S.%f} {os.getpid():5} _caffe.cpp:0] {message}")


def warn(message: str) -> None:
    """Write a warning."""
    if shown(1):
        now = datetime.now()
        write(f"W{now:%m%d %H:%M:%S.%f} {os.getpid():5} _caffe.cpp:0] {message}")


def shown(level: int) -> bool:
    """Whether lines of a level are written: init_log's, or GLOG_minloglevel's where that is higher."""
    asked = os.environ.get("GLOG_minloglevel", "")  # noqa: SIM112
    return level >= max(_least[0], int(asked) if asked.isdigit() else INFO)


def write(line: str) -> None:
    """Write a line that is whole already."""
    print(line, file=sys.stderr, flush=True)
