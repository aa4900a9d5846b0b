"""Files in a folder or in an archive, by their path inside it."""

from __future__ import annotations

import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

from nktc.data.places import fingerprint, is_archive
from nktc.errors import NktcError

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")

BROKEN = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, OSError)


def is_picture(name: str) -> bool:
    """Whether it is called as an image file is; hidden files (among them macOS' "._x.jpg") are none."""
    return name.lower().endswith(PICTURES) and not name.rpartition("/")[2].startswith(".")


class Tree:
    """The files of a folder, or of an archive that is read whole into memory: a packed tar cannot be read in
    another order than its own. Names have forward slashes and are sorted."""

    def __init__(self, path: Path) -> None:
        """Raises NktcError for an archive that is damaged."""
        self.path = path
        self.packed = is_archive(path)
        entries = list(_entries(path)) if self.packed else []
        self._contents = {name: data for name, data in entries if data is not None}
        self._empty = [name for name, data in entries if data is None]

    @cached_property
    def _found(self) -> tuple[list[str], list[str]]:
        """Files and folders. Those of a folder are looked for when they are asked for, for a list can name files in
        "/". Raises NktcError for a folder that cannot be read."""
        return (sorted(self._contents), self._empty) if self.packed else _files_in(self.path)

    @property
    def names(self) -> list[str]:
        """The files."""
        return self._found[0]

    @cached_property
    def _folders(self) -> set[str]:
        around = {name[:end] for name in self.names for end, letter in enumerate(name) if letter == "/"}
        return {*self._found[1], *around}

    def read(self, name: str) -> bytes:
        """The bytes of one file."""
        return self._contents[name] if self.packed else (self.path / name).read_bytes()

    def stamp(self, names: Sequence[str]) -> str:
        """Changes when the archive, or one of these files, is resized or written anew, comes or goes; 16 hexadecimal
        digits. A file that is not there counts as such."""
        return fingerprint([self.path]) if self.packed else fingerprint([self.path / name for name in names])

    def folders_in(self, folder: str) -> list[str]:
        """The names of the folders that lie directly in "a/b/", or in "" for all, sorted; hidden ones are left out."""
        inside = (name[len(folder) :] for name in self._folders if name.startswith(folder))
        return sorted(name for name in inside if name and "/" not in name and not name.startswith("."))

    def pictures(self) -> list[str]:
        """The names of the image files, sorted."""
        return [name for name in self.names if is_picture(name) and not f"/{name}".rpartition("/")[0].count("/.")]


def walk(folder: str | Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """As os.walk, of folders and files sorted, hidden folders passed over. Raises OSError for a folder that cannot be
    read, which os.walk passes over."""

    def stop(error: OSError) -> None:
        raise error

    for around, inside, files in os.walk(folder, onerror=stop):
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        yield around, inside, sorted(files)


def _files_in(path: Path) -> tuple[list[str], list[str]]:
    """The files and the folders below a folder by their names inside it, the files sorted; a link to a folder is
    followed where it lies directly in `path`, as one for a class. Raises NktcError."""
    files, folders, tops = [], [], [path]
    try:
        for top in tops:
            for around, inside, found in walk(top):
                before = Path(around).relative_to(path).as_posix()
                before = "" if before == "." else f"{before}/"
                if not before:
                    tops += [path / name for name in inside if os.path.islink(path / name)]
                folders += [f"{before}{name}" for name in inside]
                files += [f"{before}{name}" for name in found if os.path.isfile(os.path.join(around, name))]
    except OSError as error:
        raise NktcError(f"{error.filename or path} cannot be read: {error.strerror or error}") from None
    return sorted(files), folders


def members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Name and contents of every file of an archive, in its order. Raises NktcError for one that is
    damaged."""
    for name, data in _entries(archive):
        if data is not None:
            yield name, data


def _entries(archive: Path) -> Iterator[tuple[str, bytes | None]]:
    """The same, and the folders, which have no contents."""
    try:
        if archive.suffix.lower() == ".zip":
            with zipfile.ZipFile(archive) as packed:
                for info in packed.infolist():
                    yield info.filename.rstrip("/"), None if info.is_dir() else packed.read(info)
        else:
            with tarfile.open(archive, "r|*") as tar:
                for member in tar:
                    name = member.name.removeprefix("./")
                    if member.isfile() and (file := tar.extractfile(member)):
                        yield name, file.read()
                    elif member.isdir():
                        yield name, None
    except BROKEN as error:
        raise NktcError(f"{archive} is damaged ({str(error) or type(error).__name__})") from None


def first_names(archive: Path, count: int = 20) -> list[str]:
    """The names of the first files of an archive, read without unpacking the rest; empty for one that is
    damaged."""
    names: list[str] = []
    try:
        if archive.suffix.lower() == ".zip":
            with zipfile.ZipFile(archive) as packed:
                return [name for name in packed.namelist() if not name.endswith("/")][:count]
        with tarfile.open(archive, "r|*") as tar:
            for member in tar:
                if member.isfile():
                    names.append(member.name.removeprefix("./"))
                if len(names) == count:
                    break
    except BROKEN:
        pass
    return names


def common_folder(names: Iterable[str]) -> str:
    """The folder that all names lie in ("a/b/"), "" when there is none."""
    folders: list[str] | None = None
    for name in names:
        parts = name.split("/")[:-1]
        if folders is None:
            folders = parts
        while folders and parts[: len(folders)] != folders:
            folders.pop()
    return "".join(f"{part}/" for part in folders or ())
