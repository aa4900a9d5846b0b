"""Writing files so that a half-written one never stands where a good one stood."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nktc.errors import NktcError


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary file beside `path` to write to; on leaving it is flushed to disk and takes the name.

    When the body fails the temporary file goes and `path` keeps what it had. Folders are made. Raises NktcError where
    the system refuses (no space, no permission).
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        raise NktcError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a whole file atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write a whole text file atomically, UTF-8."""
    write_bytes(path, text.encode())


def read_bytes(path: str | Path, what: str) -> bytes:
    """A whole file; `what` names it in the error when it cannot be read."""
    try:
        return Path(path).read_bytes()
    except IsADirectoryError:
        raise NktcError(f"{what} {path} is a folder, not a file") from None
    except FileNotFoundError:
        raise NktcError(f"{what} {path} does not exist") from None
    except OSError as error:
        raise NktcError(f"cannot read {what} {path}: {error.strerror or error}") from None


def find_file(name: str, folder: Path) -> Path:
    """The file or folder that a text in `folder` calls `name`: beside that text or, as Caffe has it, under the working
    directory; where it is in neither, the path beside the text."""
    beside = folder / Path(name).expanduser()
    here = Path(name).expanduser()
    return here if here.exists() and not beside.exists() else beside


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
