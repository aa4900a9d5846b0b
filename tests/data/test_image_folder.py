"""A folder of images for each class."""

from __future__ import annotations

from pathlib import Path

import pytest

from nktc.data.image_folder import read_folder
from nktc.errors import LayerError


def test_hidden_folders_and_files_are_passed_over_at_any_depth(tmp_path: Path) -> None:
    for name in (
        "dog/1.jpg",
        "cat/b/2.jpg",
        "cat/a/1.jpg",
        "cat/.thumbnails/1.jpg",
        "cat/a/.old/deep/1.jpg",
        "cat/._1.jpg",
        ".git/1.jpg",
        "1.jpg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    entries, classes = read_folder(tmp_path)
    found = [(Path(entry.path).relative_to(tmp_path).as_posix(), entry.label) for entry in entries]
    assert found == [("cat/a/1.jpg", 0), ("cat/b/2.jpg", 0), ("dog/1.jpg", 1)]
    assert classes == ("cat", "dog")


def test_a_folder_of_nothing_but_hidden_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cat" / ".old").mkdir(parents=True)
    (tmp_path / "cat" / ".old" / "1.jpg").touch()
    with pytest.raises(LayerError, match="is a folder without folders of images"):
        read_folder(tmp_path)
