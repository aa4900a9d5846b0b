"""Writing files so that a half-written one never stands where a good one stood."""

from __future__ import annotations

import mmap
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nktc.errors import NktcError


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary file beside `path` to write to; on leaving it is flushed to disk and takes the name.

    When the body fails the temporary file goes and `path` keeps what it had. Folders are made; a link stays one, and a
    file keeps its permissions. Raises NktcError where the system refuses (no space, no permission), and for what is
    there and is no plain file.
    """
    target = Path(os.path.realpath(path))
    temporary: Path | None = None
    try:
        make_folder(target.parent)
        mode = 0o666 & ~_umask()
        if os.path.exists(path):
            # A folder, a pipe that /dev/stdout names, and also /dev/null: taking its name would remove a device.
            if not target.is_file():
                raise NktcError(f"cannot write {path}: it is {'a folder' if target.is_dir() else 'no plain file'}")
            mode = stat.S_IMODE(target.stat().st_mode)
        handle, name = tempfile.mkstemp(prefix=f".{target.name[:40]}.", suffix=".part", dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(mode)
        os.replace(temporary, target)
    except OSError as error:
        # HDF5 puts pages of its own into the message.
        reason = os.strerror(error.errno) if error.errno else str(error).splitlines()[0]
        raise NktcError(f"cannot write {path}: {reason}") from error
    finally:
        if temporary:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make a folder and those above it where they are not there. Raises NktcError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        # Not all systems say which of the names is in the way.
        blocking = next(p for p in (path, *path.parents) if os.path.lexists(p))
        raise NktcError(f"cannot make the folder {path}: {blocking} is not a folder") from None
    except OSError as error:
        raise NktcError(f"cannot make the folder {path}: {error.strerror or error}") from None


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a whole file atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write a whole text file atomically, UTF-8."""
    write_bytes(path, text.encode())


def read_bytes(path: str | Path, what: str) -> bytes:
    """A whole file; `what` names it in the error when it cannot be read."""
    with _readable(path, what):
        return Path(path).read_bytes()


class Mapped:
    """A file's bytes, read from the disk where `view` is looked at. What is kept of them is to be copied: another
    program may cut the file short."""

    def __init__(self, path: str | Path, what: str) -> None:
        """`what` names the file in the error when it cannot be read. Raises NktcError."""
        self._map: mmap.mmap | None = None
        with _readable(path, what), Path(path).open("rb") as file:
            found = os.fstat(file.fileno())
            # A pipe has no size to map, and a device such as /dev/zero no end.
            if not stat.S_ISREG(found.st_mode) and not stat.S_ISFIFO(found.st_mode):
                raise NktcError(f"{what} {path} is no plain file")
            if stat.S_ISREG(found.st_mode) and found.st_size:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self.view = memoryview(file.read() if self._map is None else self._map)

    def release(self) -> None:
        """Let go of the memory that bytes looked at take; they come from the disk again when they are needed."""
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


@contextmanager
def _readable(path: str | Path, what: str) -> Iterator[None]:
    """Says in the user's words why a file cannot be read."""
    try:
        yield
    except IsADirectoryError:
        raise NktcError(f"{what} {path} is a folder, not a file") from None
    except FileNotFoundError:
        raise NktcError(f"{what} {path} does not exist") from None
    except (OSError, ValueError) as error:  # a name with a zero in it is a ValueError
        raise NktcError(f"cannot read {what} {path}: {getattr(error, 'strerror', None) or error}") from None


def spare(path: str | Path, *read: str | Path) -> None:
    """Raises NktcError where writing to `path` would replace one of the files that are read."""
    if os.path.exists(path) and any(os.path.exists(one) and os.path.samefile(path, one) for one in read):
        raise NktcError(f"{path} is what is read", help="give what is written another name")


def find_file(name: str, folder: Path) -> Path:
    """The file or folder that a text in `folder` calls `name`: beside that text or, as Caffe has it, under the working
    directory; where it is in neither, the path beside the text."""
    beside = folder / Path(name).expanduser()
    here = Path(name).expanduser()
    return here if os.path.exists(here) and not os.path.exists(beside) else beside


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


ELSEWHERE = "export it to ONNX with the tools it comes from, and nktc convert takes that"
"""What to do with a model of another framework."""

MODELS = (
    (  # ir_version, and behind it the producer, the graph or the operators' version
        rb"\x08[\x01-\x20](?:\x12[\x01-\x7f](?![ -~]*\.caffemodel)|\x3a|\x42[\x02-\x20])",
        "it is an ONNX model, which has its own weights: nktc convert MODEL.onnx -o OUT takes it alone",
    ),
    (
        rb"\x08[\x80-\xff]{0,4}[\x00-\x7f]\x12[\x01-\x7f][ -~]*\.caffemodel",
        "it is the state of a solver: nktc train --snapshot goes on from it",
    ),
    (rb"\x08\x01\x10[\x01-\x7f]\x18", "it is a mean image: transform_param { mean_file: FILE } names it"),
    (rb"\n(?:[\x80-\xff][\x01-\x7f]|[\x04-\x7f])\n[\x01-\x7f][ -~]", f"it is a model of TensorFlow: {ELSEWHERE}"),
    (rb"\x08\x01\x12[\x80-\xff]{1,4}[\x01-\x7f][\n\x12]", f"it is a model of TensorFlow: {ELSEWHERE}"),
    (rb"....TFL3", f"it is a model of TensorFlow Lite: {ELSEWHERE}"),
    (rb"\x89PNG|\xff\xd8\xff", "it is a picture"),
    (rb"\x93NUMPY", "it is an array of NumPy's"),
    (rb"\x80[\x02-\x05]", "it is a pickle of Python, which could hold any program: save the weights as .safetensors"),
    (rb"[pf]trt", "it is an engine of TensorRT: give what it was made from"),
)
"""How binary models of other kinds begin, and what they are."""


def in_its_place(head: bytes) -> str:
    """What a file is in place of a binary one, told by its first bytes, and what to do about it; "" where it may be
    one."""
    if head.startswith(b"version https://git-lfs"):
        return "it is the pointer that Git LFS keeps in place of the file: git lfs pull fetches the file itself"
    if head.startswith(b"\x1f\x8b"):
        return "it is packed with gzip: unpack it with gunzip first"
    for beginning, told in MODELS:
        if re.match(beginning, head, re.DOTALL):
            return told
    start = head.lstrip()[:200].lower()
    if start.startswith(b"<") and b"<net" in start:
        return f"it is a model of OpenVINO: {ELSEWHERE}"
    if start.startswith((b"<!doctype html", b"<html", b"<?xml")):
        return "it is a web page in place of the file, as a failed download leaves: download it again"
    if start.startswith(b"{") and b'"nodes"' in start:
        return f"it is a graph of MXNet or TVM: {ELSEWHERE}"
    if start.startswith(b"404: not found"):
        return "it is what a failed download leaves: download it again"
    if start.startswith(b'{"') and start.isascii():
        return "it is JSON, as a failed download leaves: download it again"
    return ""
