"""Where data sets are looked for."""

from __future__ import annotations

import os
import sys
import tarfile
from pathlib import Path

import pytest

from nktc.data import Places
from nktc.data.places import cache_folder, fingerprint
from nktc.errors import NktcError


def archive(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tarfile.open(path, "w").close()
    return path


def test_a_root_is_itself_its_folder_of_the_set_and_the_archives_in_both(tmp_path: Path) -> None:
    (tmp_path / "mnist").mkdir()
    inside = [archive(tmp_path / name) for name in ("a.tar", "mnist.tar", "mnist/b.tgz")]
    (tmp_path / "notes.txt").touch()
    found = list(Places((str(tmp_path),), tmp_path).candidates("mnist"))
    assert found == [tmp_path, inside[1], inside[0], tmp_path / "mnist", inside[2]]


def test_a_named_root_holds_that_set_only(tmp_path: Path) -> None:
    file = archive(tmp_path / "x.tar")
    places = Places((f"mnist={file}",), tmp_path)
    assert list(places.candidates("mnist")) == [file]
    assert list(places.candidates("cifar10")) == []
    assert list(Places((f"fashion-mnist={file}",), tmp_path).candidates("fashion-mnist")) == [file]


def test_options_come_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NKTC_DATA", os.pathsep.join(["/one", "mnist=/two", ""]))
    places = Places.from_environment([str(tmp_path)])
    assert places.roots == (str(tmp_path), "/one", "mnist=/two")
    assert places.download


def test_an_option_that_names_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NktcError) as refused:
        Places.from_environment([str(tmp_path / "data")])
    assert str(refused.value) == (
        f"error: {tmp_path / 'data'} is not there\nhelp: --data takes a folder or an archive, or NAME=PATH"
    )
    with pytest.raises(NktcError) as refused:
        Places.from_environment([f"cifra10={tmp_path}"])
    assert str(refused.value) == (
        f'error: "cifra10={tmp_path}" names an unknown data set\nhelp: did you mean "cifar10"?'
    )


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other cache folders")
def test_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NKTC_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("NKTC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == Path("/xdg/nktc")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert cache_folder() == Path("/home/me/.cache/nktc")


def test_a_fingerprint_changes_with_place_size_and_time(tmp_path: Path) -> None:
    file = tmp_path / "a"
    seen = set()
    for content, time in (("x", 1), ("xy", 1), ("xy", 2)):
        file.write_text(content)
        os.utime(file, (time, time))
        seen.add(fingerprint([file]))
    (tmp_path / "gone").touch()
    there = fingerprint([tmp_path / "gone"])
    (tmp_path / "gone").unlink()
    assert fingerprint([tmp_path / "gone"]) != there
    assert len(seen | {fingerprint([file, file]), fingerprint([file.rename(tmp_path / "b")])}) == 5
