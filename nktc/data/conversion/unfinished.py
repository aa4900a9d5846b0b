"""A conversion under way: a folder beside its output that an interruption leaves and the same command goes on with."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import lmdb
from filelock import FileLock, Timeout

from nktc.errors import NktcError
from nktc.files import make_folder
from nktc.ir import Shape

Tell = Callable[[str], None]

NEARLY_FULL = 256 << 20  # bytes that are free
STATE, LOCK, NEW, OLD = "state.json", "lock", "new", "old"


@dataclass
class State:
    """How far a conversion is: by part, the records that were looked at and those of them that were written; the sizes
    that they have, the first of them, and those that were left out, each with the reason."""

    done: dict[str, int] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)
    sizes: Counter[Shape] = field(default_factory=Counter)
    refused: list[tuple[str, str]] = field(default_factory=list)
    first: tuple[str, Shape] | None = None


@dataclass(frozen=True)
class Unfinished:
    """The folder, and the state of what is in it. `new` becomes the output."""

    folder: Path
    digest: str
    state: State

    @property
    def new(self) -> Path:
        return self.folder / NEW

    def save(self) -> None:
        """Keep the state, which is that of what is on the disk now."""
        state = self.state
        text = json.dumps(
            {
                "digest": self.digest,
                "done": state.done,
                "written": state.written,
                "sizes": [[list(shape), count] for shape, count in state.sizes.items()],
                "refused": state.refused,
                "first": state.first,
            }
        )
        fresh = self.folder / f"{STATE}.new"
        fresh.write_text(text)
        os.replace(fresh, self.folder / STATE)

    def publish(self, fresh: Path, output: Path) -> None:
        """Put `fresh`, which lies in the folder, at its place; what was there goes, and stays where this fails."""
        old = self.folder / OLD / output.name
        if os.path.lexists(output):
            old.parent.mkdir(exist_ok=True)
            os.replace(output, old)
        try:
            os.replace(fresh, output)
        except BaseException:
            if os.path.lexists(old):
                os.replace(old, output)
            raise


@contextmanager
def unfinished(output: Path, digest: str, tell: Tell) -> Iterator[Unfinished]:
    """The conversion of `digest` to `output`, as far as it was. When the body is through the folder goes; when it is
    interrupted, or the disk is full, the folder stays; when it refuses what it converts, the folder goes too. Raises
    NktcError, also while another process writes the same output."""
    folder = output.parent / f".{output.name}.part"
    make_folder(folder)
    lock, kept = FileLock(folder / LOCK), True
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise NktcError(f"{output} is being written by another nktc data convert") from None
    except OSError as error:
        raise NktcError(f"cannot write {output}: {error.strerror or error}") from None
    try:
        yield Unfinished(folder, digest, _begin(folder, output, digest, tell))
        kept = False
    except KeyboardInterrupt:
        kept = (folder / STATE).exists()
        if kept:
            tell(f"interrupted: {_goes_on(folder)}")
        raise
    except (OSError, lmdb.Error) as error:
        kept = (folder / STATE).exists()
        help = _goes_on(folder) if kept else ""
        raise NktcError(f"cannot write {output}: {_reason(error, folder)}", help=help) from None
    except NktcError:
        kept = False
        raise
    finally:
        # Before the lock is let go: another conversion might begin in the folder that is being removed.
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def _begin(folder: Path, output: Path, digest: str, tell: Tell) -> State:
    """The state that was left, or a new one in an empty folder."""
    state = _load(folder / STATE, digest)
    if state and (folder / NEW).is_dir():
        tell(f"{output}: going on after {sum(state.done.values())} records")
        return state
    if (folder / STATE).exists():
        tell(f"{output}: begins anew, for what was interrupted had another source or other options")
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOCK:
            path.unlink()
    (folder / NEW).mkdir()
    return State()


def _load(file: Path, digest: str) -> State | None:
    try:
        kept = json.loads(file.read_text())
        if kept["digest"] != digest:
            return None
        first = kept["first"]
        return State(
            kept["done"],
            kept["written"],
            Counter({tuple(shape): count for shape, count in kept["sizes"]}),
            [(name, why) for name, why in kept["refused"]],
            (first[0], tuple(first[1])) if first else None,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _goes_on(folder: Path) -> str:
    return f"the same command goes on with what is done, which is kept in {folder}"


def _reason(error: Exception, folder: Path) -> str:
    """What the system says, without what a library says around it."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    said = str(error).partition("\n")[0].rpartition(": ")[2]
    # LMDB calls a write that the disk had no room for all of an error of input and output.
    full = said == os.strerror(errno.EIO) and shutil.disk_usage(folder).free < NEARLY_FULL
    return os.strerror(errno.ENOSPC) if full else said
