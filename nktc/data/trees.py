"""Files in a folder or in an archive, by their path inside it."""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
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
        self._contents: dict[str, bytes] = {}
        if is_archive(path):
            self._contents = dict(members(path))
            self.names = sorted(self._contents)
        else:
            files = (file for file in path.rglob("*") if file.is_file())
            self.names = sorted(file.relative_to(path).as_posix() for file in files)

    def read(self, name: str) -> bytes:
        """The bytes of one file."""
        return self._contents[name] if self._contents else (self.path / name).read_bytes()

    def stamp(self, names: Sequence[str]) -> str:
        """Changes when the archive, or one of these files, is resized or written anew, comes or goes; 16 hexadecimal
        digits. A file that is not there counts as such."""
        return fingerprint([self.path]) if self._contents else fingerprint([self.path / name for name in names])

    def pictures(self) -> list[str]:
        """The names of the image files, sorted."""
        return [name for name in self.names if is_picture(name)]


def members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Name and contents of every file of an archive, in its order. Raises NktcError for one that is
    damaged."""
    try:
        if archive.suffix.lower() == ".zip":
            with zipfile.ZipFile(archive) as packed:
                for info in packed.infolist():
                    if not info.is_dir():
                        yield info.filename, packed.read(info)
        else:
            with tarfile.open(archive, "r|*") as tar:
                for member in tar:
                    if member.isfile() and (file := tar.extractfile(member)):
                        yield member.name.removeprefix("./"), file.read()
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
