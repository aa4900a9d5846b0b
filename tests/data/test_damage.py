"""Files that are damaged at random: read, or refused in words that name them."""

from __future__ import annotations

from pathlib import Path

import pytest
from damage import KINDS, attempt

TIMES = 60  # of each kind; tools/fuzz --data does more


@pytest.mark.parametrize("name", list(KINDS))
def test_whole_files_are_read(name: str, tmp_path: Path) -> None:
    assert attempt(name, None, tmp_path / "f") is None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", list(KINDS))
def test_whatever_is_damaged_it_is_named_or_the_rest_is_read(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "f"
    refused = [error for seed in range(TIMES) if (error := attempt(name, seed, folder))]
    assert len(refused) >= TIMES // 10
    for error in refused:
        assert str(folder) in str(error), str(error)
        assert "Traceback" not in str(error)
