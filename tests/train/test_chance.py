from __future__ import annotations

import pytest
import torch

from nktc.train import chance


def test_torch_is_told_of_determinism_only_where_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Telling it imports its compiler, which takes longer than the start of a small run."""
    asked: list[bool] = []
    monkeypatch.setattr(torch, "use_deterministic_algorithms", asked.append)
    for name in ("deterministic", "benchmark"):
        monkeypatch.setattr(torch.backends.cudnn, name, getattr(torch.backends.cudnn, name))
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    for already, wanted in ((False, False), (False, True), (True, True), (True, False)):
        monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda now=already: now)
        chance.start(1, 0, wanted)
    assert asked == [True, False]
