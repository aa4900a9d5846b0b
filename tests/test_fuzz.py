"""Nets that are wrong at random: built, or refused in words; never anything else."""

from __future__ import annotations

from pathlib import Path

import pytest
from mutations import mutated, valid

from nktc import checking

TEXTS = valid()


def test_what_is_mutated_is_valid_to_begin_with(tmp_path: Path) -> None:
    for number, text in enumerate(TEXTS):
        file = tmp_path / f"{number}.prototxt"
        file.write_text(text)
        assert checking.check(file).well, checking.check(file)


@pytest.mark.parametrize("batch", range(4))
def test_a_mutated_net_is_built_or_refused(batch: int, tmp_path: Path) -> None:
    file = tmp_path / "net.prototxt"
    for seed in range(100 * batch, 100 * (batch + 1)):
        file.write_bytes(mutated(TEXTS, seed).encode("utf-8", "surrogatepass"))
        report = checking.check(file)
        assert report.well or str(report.error).count("error: ") >= 1, seed
