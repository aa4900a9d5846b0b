"""Folders of the user's that may not be looked into."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nktc.data import KNOWN, Places, get, lies
from nktc.errors import NktcError


@pytest.fixture(params=["the folder", "what is in it"])
def closed(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that cannot be listed; in the second case it can be, and nothing in it can be looked at."""
    folder = tmp_path / "closed"
    for name in (*KNOWN, "x.tar.gz"):
        (folder / name).mkdir(parents=True)
    originals = {name: getattr(os, name) for name in ("stat", "scandir", "listdir")}

    def refusing(name: str) -> Any:
        def call(path: Any = ".", **more: Any) -> Any:
            inside = str(path).startswith(f"{folder}{os.sep}")
            if inside or (Path(str(path)) == folder and request.param == "the folder" and name != "stat"):
                raise PermissionError(13, "Permission denied", str(path))
            return originals[name](path, **more)

        return call

    for name in originals:
        monkeypatch.setattr(os, name, refusing(name))
    yield folder
    monkeypatch.undo()


def test_sets_are_looked_for_past_it(closed: Path, tmp_path: Path) -> None:
    places = Places((str(closed),), tmp_path / "cache", download=False)
    for name in KNOWN:
        assert bool(lies(KNOWN[name], places)) == (name in ("digits", "shapes10"))
    with pytest.raises(NktcError) as refused:
        get("mnist", places)
    assert refused.value.message == 'the data of "mnist" is missing: it is not on this machine, and downloading is off'


def test_where_it_is_named_it_is_told(closed: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if "the folder" not in request.node.name:
        closed = closed / "mnist"
        said = f"{closed} is not there"
    else:
        said = f"{closed} cannot be read: Permission denied"
    with pytest.raises(NktcError) as refused:
        get("mnist", Places((), tmp_path / "cache", download=False), closed)
    assert refused.value.message == said
    with pytest.raises(NktcError) as refused:
        Places.from_environment([str(closed)])
    assert refused.value.message == said
