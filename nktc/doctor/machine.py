"""The machine as checks see it: its files, commands, packages and settings, so that a test can be another machine.

A probe is a module of `nktc.doctor.probes` that is run in a process of its own: what it loads may crash or hang.
"""

from __future__ import annotations

import getpass
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Self

from packaging.utils import canonicalize_name

from nktc import __version__

COMMAND, PROBE = 30, 240  # seconds; importing torch from a cold disk takes long


@dataclass(frozen=True)
class Ran:
    """A command that was run; `failure` says why it has no exit status: it is not installed, or gave no answer."""

    code: int = 0
    output: str = ""
    errors: str = ""
    failure: str = ""

    @property
    def well(self) -> bool:
        return not self.code and not self.failure

    @property
    def said(self) -> str:
        return f"{self.output}\n{self.errors}".strip()


@dataclass(frozen=True)
class Probe:
    """What a probe found; `failure` says in a few words why it found nothing, `errors` is what it wrote meanwhile."""

    found: Mapping[str, Any] = field(default_factory=dict)
    failure: str = ""
    errors: str = ""


@dataclass(frozen=True)
class Room:
    """Bytes where a folder lies, and whether files can be made there."""

    total: int
    free: int
    writable: bool = True


@dataclass
class Machine:
    """`packages` are the installed ones, name (as pip normalises it) to version, `conda` those that conda
    installed; `requirements` those of nktc as its
    metadata has them, and `engines` the names that are registered; `cores` there are, of which `usable` may be used."""

    environ: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    conda: frozenset[str] = frozenset()
    requirements: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    version: str = __version__
    editable: bool = False
    package: Path = Path(__file__).parents[1]
    python: str = platform.python_version()
    executable: str = sys.executable
    system: str = platform.system()
    release: str = platform.release()
    arch: str = platform.machine()
    libc: str = ""
    cores: int = 1
    usable: int = 1
    encoding: str = "utf-8"
    home: str = ""
    users: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()
    temporary: str = ""

    def __post_init__(self) -> None:
        self._ran: dict[tuple[str, ...], Ran] = {}
        self._probed: dict[tuple[str, ...], Probe] = {}

    @classmethod
    def here(cls) -> Self:
        """The one this runs on."""
        packages: dict[str, str] = {}
        conda: set[str] = set()
        for distribution in metadata.distributions():
            with suppress(KeyError, TypeError, AttributeError):  # a folder of a package that was not wholly removed
                name = str(canonicalize_name(distribution.metadata["Name"]))
                packages.setdefault(name, distribution.version)
                if (distribution.read_text("INSTALLER") or "").strip() == "conda":
                    conda.add(name)
        try:
            own = metadata.distribution("nktc")
            requirements, origin = tuple(own.requires or ()), json.loads(own.read_text("direct_url.json") or "{}")
        except metadata.PackageNotFoundError:
            requirements, origin = (), {}
        users = {os.environ.get(name, "") for name in ("USER", "LOGNAME", "USERNAME", "SUDO_USER")}
        home = os.path.expanduser("~")
        with suppress(OSError, KeyError, ImportError):
            users.add(getpass.getuser())
        host = socket.gethostname()
        return cls(
            environ=dict(os.environ),
            packages=packages,
            conda=frozenset(conda),
            requirements=requirements,
            engines=tuple(sorted(point.name for point in metadata.entry_points(group="nktc.engines"))),
            editable=bool(origin.get("dir_info", {}).get("editable")),
            libc=" ".join(filter(None, platform.libc_ver())),
            cores=os.cpu_count() or 1,
            usable=len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1,
            encoding=getattr(sys.stdout, "encoding", None) or "",
            home="" if home == "~" else home,
            users=frozenset(filter(None, {*users, os.path.basename(home)})) - {"~"},
            hosts=frozenset(filter(None, {host, host.partition(".")[0], platform.node()})),
            temporary=tempfile.gettempdir(),
        )

    def run(self, *command: str) -> Ran:
        """A command of the system, in English; once, however often it is asked for."""
        if command not in self._ran:
            self._ran[command] = self._run(command, COMMAND, {**os.environ, "LC_ALL": "C"})
        return self._ran[command]

    def probe(self, name: str, *arguments: str) -> Probe:
        """What a probe finds; once for the same arguments."""
        key = (name, *arguments)
        if key not in self._probed:
            # It is to find the modules that this process would, and none in the working directory.
            code = (
                f"import sys; sys.path[:] = {sys.path!r}; sys.argv[1:] = {list(arguments)!r}; import runpy;"
                f" runpy.run_module('nktc.doctor.probes.{name}', run_name='__main__')"
            )
            self._probed[key] = told(self._run((sys.executable, "-c", code), PROBE, None))
        return self._probed[key]

    def read(self, path: str) -> str:
        """The text of a file, "" where there is none to read."""
        try:
            return Path(path).read_text(encoding="utf-8", errors="replace").strip("\0\n ")
        except OSError:
            return ""

    def names(self, folder: str) -> list[str]:
        """What is in a folder; nothing where there is none."""
        try:
            return sorted(os.listdir(folder))
        except OSError:
            return []

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def readable(self, path: str) -> bool:
        """Whether this user may read and write it."""
        return os.access(path, os.R_OK | os.W_OK)

    def which(self, program: str) -> str:
        """Where a program is, "" where it is not."""
        return shutil.which(program) or ""

    def room(self, folder: str) -> Room | None:
        """What a folder has, or would have if it were made; None where that cannot be told."""
        place = Path(folder)
        try:
            while not place.exists() and place != place.parent:
                place = place.parent
            usage = shutil.disk_usage(place)
            return Room(usage.total, usage.free, os.access(place, os.W_OK | os.X_OK))
        except OSError:
            return None

    def short(self, text: str) -> str:
        """A text with the home folder as ~."""
        return text.replace(self.home, "~") if len(self.home) > 1 else text

    def _run(self, command: Sequence[str], seconds: float, environ: Mapping[str, str] | None) -> Ran:
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                timeout=seconds,
                env=environ,
                stdin=subprocess.DEVNULL,
                text=True,
                errors="replace",
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Ran(failure=f"gave no answer in {seconds:g} s")
        except FileNotFoundError:
            return Ran(failure="is not installed")
        except OSError as error:
            return Ran(failure=f"cannot be started: {error.strerror}")
        return Ran(done.returncode, done.stdout, done.stderr)


def told(ran: Ran) -> Probe:
    """What a probe that was run told: the last line that it wrote is JSON."""
    errors = ran.errors.strip()
    if ran.failure:
        return Probe(failure=ran.failure, errors=errors)
    if ran.code < 0:
        with suppress(ValueError):
            return Probe(failure=f"crashed ({signal.Signals(-ran.code).name})", errors=errors)
    if ran.code:
        last = errors.splitlines()[-1] if errors else f"exit status {ran.code}"
        return Probe(failure=last, errors=errors)
    try:
        found = json.loads(ran.output.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return Probe(failure="ended before it had an answer", errors=errors)
    return Probe(found, errors=errors)
