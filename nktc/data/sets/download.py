"""Downloads: progress, resume after an interruption, checksum, and a file that is whole or not there."""

from __future__ import annotations

import hashlib
import http.client
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from filelock import FileLock

from nktc.data.progress import progress
from nktc.data.sets.catalogue import Download
from nktc.errors import NktcError

ATTEMPTS = 5
PATIENCE = 30.0  # seconds without a byte
CHUNK = 1 << 18

INTERRUPTIONS = (
    urllib.error.URLError,
    http.client.HTTPException,
    ssl.SSLError,
    TimeoutError,
    ConnectionError,
)


class DownloadError(NktcError):
    """A file that could not be had; the caller knows other ways to provide it."""


def download(wanted: Download, folder: Path, pause: float = 1.0) -> Path:
    """The file in `folder`, fetched unless it is there. What an interrupted download left (`.part`) is gone
    on with; failed attempts are repeated after `pause` seconds, twice as long each time. Raises
    DownloadError."""
    target, part = folder / wanted.file, folder / f"{wanted.file}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            if not target.exists():
                _fetch(wanted, part, pause)
                check(part, wanted)
                part.replace(target)
    except OSError as error:
        raise DownloadError(f"{wanted.file} cannot be stored in {folder} ({reason(error)})") from None
    return target


def _fetch(wanted: Download, part: Path, pause: float) -> None:
    """All of the file into `part`, in as many attempts as it takes."""
    fruitless = 0  # attempts in a row that brought nothing
    for attempt in range(1, ATTEMPTS + 1):
        had = _length(part)
        try:
            _append(wanted, part)
            return
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:  # Nothing is left to send: the part is whole, or it is of another file.
                if had == wanted.size:
                    return
                part.unlink(missing_ok=True)
            elif error.code < 500 or attempt == ATTEMPTS:
                raise DownloadError(f"{wanted.url} answers {error.code} {error.reason}") from None
        except INTERRUPTIONS as error:
            fruitless = 0 if _length(part) > had else fruitless + 1
            if fruitless == 2 or attempt == ATTEMPTS:
                raise DownloadError(f"{wanted.url} cannot be read ({reason(error)})") from None
        time.sleep(pause * 2 ** (attempt - 1))
    raise DownloadError(f"{wanted.url} does not go on where the download broke off")


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _append(wanted: Download, part: Path) -> None:
    """What `part` lacks, asked for by its range; a server without ranges sends the whole anew."""
    had = _length(part)
    request = urllib.request.Request(wanted.url, headers={"User-Agent": "nktc"})
    if had:
        request.add_header("Range", f"bytes={had}-")
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        if answer.status != http.client.PARTIAL_CONTENT:
            had = 0
        length = answer.headers.get("Content-Length")
        total = had + int(length) if length else wanted.size
        if not sys.stderr.isatty():
            print(f"downloading {wanted.url} ({total / 1e6:.1f} MB)", file=sys.stderr)
        with (
            part.open("ab" if had else "wb") as file,
            progress(wanted.file, total, done=had, bytes=True) as advance,
        ):
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                advance(len(chunk))
            if file.tell() < total:
                raise ConnectionError(f"broke off after {file.tell()} of {total} bytes")


def check(path: Path, wanted: Download) -> None:
    """Compare the checksum; a file that differs is removed. Raises DownloadError."""
    kind, _, expected = wanted.sum.partition(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, kind).hexdigest()
    if found != expected:
        size = path.stat().st_size
        path.unlink()
        raise DownloadError(
            f"{wanted.url} is not the file it was: its {kind} is {found} ({size} bytes), not {expected}"
        )


def reason(error: BaseException) -> str:
    """What the system says, in lower case and without its number."""
    inner = getattr(error, "reason", None)
    if isinstance(inner, BaseException):
        return reason(inner)
    said = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return said[:1].lower() + said[1:]
