"""Weight files that are damaged at random: read, or refused in words that name them."""

from __future__ import annotations

from pathlib import Path

import pytest
from weight_damage import KINDS, attempt

TIMES = 40  # of each kind; tools/fuzz --weights does more


@pytest.mark.parametrize("name", list(KINDS))
def test_whole_weight_files_are_read(name: str, tmp_path: Path) -> None:
    assert attempt(name, None, tmp_path / "w") is None


@pytest.mark.parametrize("name", list(KINDS))
def test_a_damaged_weight_file_is_read_or_refused_by_its_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / "w"
    refused = [error for seed in range(TIMES) if (error := attempt(name, seed, path))]
    assert len(refused) >= TIMES // 10
    for error in refused:
        assert error.at or str(path) in error.message, str(error)
        assert "\n" not in error.message
        assert "Traceback" not in str(error)
