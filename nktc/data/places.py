"""Where data sets are looked for on this machine, and where derived files are kept."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from nktc.data.sets.catalogue import KNOWN, known_names
from nktc.errors import NktcError, near

DATA, CACHE = "NKTC_DATA", "NKTC_CACHE"

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".zip")


@dataclass(frozen=True)
class Places:
    """`roots` are folders or archives, each `PATH` (may hold any set) or `NAME=PATH` (holds that set only);
    they are looked through in order. `cache` takes downloads and what is derived from sets; `download` allows
    the network."""

    roots: tuple[str, ...]
    cache: Path
    download: bool = True

    @classmethod
    def from_environment(cls, extra: Sequence[str] = (), download: bool = True) -> Self:
        """`extra` roots first (what an option of the command line named: each must exist), then those of
        NKTC_DATA; the cache is NKTC_CACHE or the user's cache folder. Raises NktcError."""
        for root in extra:
            name, path = split_root(root)
            if name and name not in KNOWN:
                raise NktcError(f'"{root}" names an unknown data set', help=near(name, KNOWN) or known_names())
            if not os.path.exists(path):
                raise NktcError(f"{path} is not there", help="--data takes a folder or an archive, or NAME=PATH")
            if why := unreadable(path):
                raise NktcError(f"{path} cannot be read: {why}")
        roots = [root for root in os.environ.get(DATA, "").split(os.pathsep) if root]
        return cls((*extra, *roots), cache_folder(), download)

    def candidates(self, name: str) -> Iterator[Path]:
        """Folders and archives where the set `name` may lie, most likely first."""
        for root in self.roots:
            only, path = split_root(root)
            if only and only != name:
                continue
            if os.path.isfile(path):
                yield path
            for folder in (path, path / name):
                if os.path.isdir(folder):
                    yield folder
                    yield from sorted(archives(folder), key=lambda archive: (name not in archive.name, archive.name))


def split_root(root: str) -> tuple[str, Path]:
    """NAME and PATH of `NAME=PATH`; "" and the path where there is no NAME, or where a file of that name
    exists."""
    given = re.fullmatch(r"([\w-]+)=(.+)", root)
    if given and not os.path.exists(root):
        return given[1], Path(given[2]).expanduser()
    return "", Path(root).expanduser()


def archives(folder: Path) -> list[Path]:
    """The archives that lie directly in a folder; none where it cannot be read."""
    try:
        return [path for path in folder.iterdir() if is_archive(path)]
    except OSError:
        return []


def unreadable(path: Path) -> str:
    """Why a folder cannot be looked into; empty where it can, and for what is none."""
    try:
        if os.path.isdir(path):
            os.scandir(path).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def is_archive(path: Path) -> bool:
    """Whether it is a file with the name of an archive that nktc reads."""
    return path.name.lower().endswith(ARCHIVES) and os.path.isfile(path)


def cache_folder() -> Path:
    """NKTC_CACHE, or nktc's folder in the user's cache."""
    if given := os.environ.get(CACHE):
        return Path(given).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "nktc"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "nktc" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nktc"


def fingerprint(paths: Sequence[Path]) -> str:
    """Changes when one of the files is moved, resized or written anew, comes or goes; 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            status = path.stat()
            seen = f"{status.st_size}\0{status.st_mtime_ns}"
        except OSError:
            seen = "not there"
        digest.update(f"{os.path.realpath(path)}\0{seen}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]
