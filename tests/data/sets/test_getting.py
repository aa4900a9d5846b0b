"""`get`: sets brought to this machine, from a server of our own or from a place that the user names."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import small_cifar10 as small

from nktc.data import KNOWN, Download, Missing, Places, find_copy, get, known_file, lies
from nktc.errors import NktcError
from nktc.ir import Phase

TEXT = b"x,y\n1,2\n3,4\n"


class Handler(BaseHTTPRequestHandler):
    """Serves TEXT, and goes on in it."""

    def do_GET(self) -> None:
        start = int(self.headers["Range"][6:-1]) if self.headers["Range"] else 0
        self.server.asked.append(start)  # type: ignore[attr-defined]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(TEXT) - start))
        self.end_headers()
        self.wfile.write(TEXT[start:])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """What the server was asked for, as first bytes; california-housing is the small table that it serves."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        sum = f"sha256:{hashlib.sha256(TEXT).hexdigest()}"
        wanted = Download(f"http://127.0.0.1:{server.server_port}/housing.csv", sum, len(TEXT))
        table = replace(KNOWN["california-housing"], downloads=(wanted,), rows=2, columns=("x", "y"))
        monkeypatch.setitem(KNOWN, table.name, table)  # type: ignore[misc]
        yield server.asked  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places((), tmp_path / "cache")


def test_a_table_is_downloaded_once_and_checked(asked: list[int], places: Places) -> None:
    got = get("california-housing", places)
    file = places.cache / "downloads" / "california-housing" / "housing.csv"
    assert (got.where, file.read_bytes()) == (str(file), TEXT)
    assert got.checks == (f"housing.csv: sha256 {hashlib.sha256(TEXT).hexdigest()}, the official one",)
    assert known_file("california-housing", places) == file
    assert asked == [0]


def test_a_download_that_was_interrupted_goes_on(asked: list[int], places: Places) -> None:
    folder = places.cache / "downloads" / "california-housing"
    folder.mkdir(parents=True)
    (folder / "housing.csv.part").write_bytes(TEXT[:5])
    assert known_file("california-housing", places).read_bytes() == TEXT
    assert asked == [5]


def test_a_download_of_something_else_is_refused(
    asked: list[int], places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = KNOWN["california-housing"]
    other = replace(known.downloads[0], sum=f"sha256:{64 * '0'}")
    monkeypatch.setitem(KNOWN, known.name, replace(known, downloads=(other,)))  # type: ignore[misc]
    with pytest.raises(Missing, match="is not the file it was: its sha256 is"):
        get(known.name, places)
    assert lies(KNOWN[known.name], places) == ""


@pytest.mark.parametrize("form", ["file", "renamed", "folder", "archive", "archive in a folder"])
def test_a_table_is_found_in_every_form_and_kept(asked: list[int], places: Places, tmp_path: Path, form: str) -> None:
    source = tmp_path / "given"
    source.mkdir()
    if "archive" in form:
        with zipfile.ZipFile(source / "all.zip", "w") as archive:
            archive.writestr("deep/housing.csv", TEXT)
    else:
        (source / ("mine.csv" if form == "renamed" else "housing.csv")).write_bytes(TEXT)
    place = {"file": source / "housing.csv", "renamed": source / "mine.csv", "archive": source / "all.zip"}
    named = replace(places, roots=(f"california-housing={place.get(form, source)}",), download=False)
    assert known_file("california-housing", named).read_bytes() == TEXT
    assert find_somewhere(places) == ""
    got = get("california-housing", places, place.get(form, source))
    for file in source.iterdir():
        file.unlink()
    assert known_file("california-housing", places) == Path(got.where)
    assert Path(got.where).read_bytes() == TEXT
    assert asked == []


def find_somewhere(places: Places) -> str:
    return lies(KNOWN["california-housing"], places)


def test_a_file_with_another_checksum_is_passed_by(asked: list[int], places: Places, tmp_path: Path) -> None:
    (tmp_path / "housing.csv").write_bytes(TEXT[::-1])
    assert lies(KNOWN["california-housing"], replace(places, roots=(str(tmp_path),))) == ""
    with pytest.raises(NktcError) as refused:
        get("california-housing", places, tmp_path)
    assert str(refused.value).splitlines() == [
        f"error: {tmp_path} does not hold california-housing",
        "help: california-housing is known as:",
        "  the file housing.csv, alone, in a folder or in an archive",
        "nktc data get california-housing downloads it",
    ]


def test_a_set_of_images_is_kept_in_the_form_it_is_read_in(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.shrink(monkeypatch)
    tree = small.write_tree(tmp_path / "tree")
    known = KNOWN["cifar10"]
    assert find_copy(known, places) is None
    got = get("cifar10", places, tree)
    assert got.checks == (f"all records of {tree} were read",)
    read = find_copy(known, replace(places, roots=(str(tree),)))
    kept = find_copy(known, places)
    assert read is not None
    assert kept is not None
    assert kept.where == got.where == str(places.cache / "downloads" / "cifar10")
    for split in Phase:
        a, b = (copy.load(known, split, places.cache) for copy in (read, kept))
        np.testing.assert_array_equal(a.pixels, b.pixels)
        np.testing.assert_array_equal(a.labels, b.labels)
    file = places.cache / "downloads" / "cifar10" / "test.npz"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(NktcError) as refused:
        kept.load(known, Phase.TEST, places.cache)
    assert refused.value.message == f"{file} is damaged"


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("cifra10", None, 'unknown data set "cifra10"'),
        ("mnist", "nowhere", "nowhere is not there"),
        ("shapes10", ".", "shapes10 is always there (drawn by nktc): nothing is taken from ."),
    ],
)
def test_what_cannot_be_got_is_refused(places: Places, name: str, source: str | None, said: str) -> None:
    with pytest.raises(NktcError) as refused:
        get(name, places, Path(source) if source else None)
    assert refused.value.message == said


def test_a_set_of_images_is_no_file(places: Places) -> None:
    with pytest.raises(NktcError) as refused:
        known_file("mnist", places)
    assert str(refused.value) == (
        "error: mnist is a set of images, not a table or a text\nhelp: a Dataset layer reads it"
    )


def test_the_real_table_and_text_have_their_checksums(shared: Path, places: Places) -> None:
    for name, folder in (("california-housing", "housing"), ("tiny-shakespeare", "tinyshakespeare")):
        root = f"{name}={shared / 'data' / folder}"
        file = known_file(name, replace(places, roots=(root,), download=False))
        assert file.stat().st_size == KNOWN[name].downloads[0].size
    table = known_file("california-housing", replace(places, roots=(str(shared / "data" / "housing"),)))
    lines = table.read_text().splitlines()
    assert tuple(lines[0].split(",")) == KNOWN["california-housing"].columns
    assert len(lines) - 1 == KNOWN["california-housing"].rows
