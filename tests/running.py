"""The nktc command run in this process: starting one of its own costs the seconds in which it imports torch."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from pathlib import Path
from unittest import mock

from nktc import cli


def nktc(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """What `python -m nktc` prints in `folder`, and how it ends."""
    words = ["nktc", *map(str, arguments)]
    output, log = io.StringIO(), io.StringIO()
    code: object = 0
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(log),
        mock.patch.object(sys, "argv", words),
    ):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
    assert isinstance(code, int), code
    return subprocess.CompletedProcess(words, code, output.getvalue(), log.getvalue())
