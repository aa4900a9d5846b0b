"""The pages of freed tensors are counted in a process of its own, by the kernel."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from nktc.module import memory

COUNTED = """
import resource, sys, torch
from nktc.module import keep_freed
print(keep_freed() if "keep" in sys.argv else False)
def step():
    kept = torch.ones(1 << 20)
    for _ in range(4):
        torch.ones(9 << 20).sum()
    return kept
for _ in range(3): step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5): step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")


def counted(*arguments: str, **environment: str) -> tuple[str, int]:
    """What keep_freed said, and the page faults of steps that take 40 MiB and free them."""
    clean = {name: value for name, value in os.environ.items() if name not in memory.SET_BY_THE_USER}
    done = subprocess.run(
        [sys.executable, "-c", COUNTED, *arguments], env=clean | environment, capture_output=True, text=True, check=True
    )
    said, faults = done.stdout.split()
    return said, int(faults)


def test_memory_is_paid_for_once() -> None:
    (_, before), (said, after) = counted(), counted("keep")
    assert said == "True"
    # 184,320 pages and more, or none but for a block that is taken once more.
    assert after < 5000 < before


def test_what_the_environment_says_stays() -> None:
    said, faults = counted("keep", MALLOC_TRIM_THRESHOLD_="131072")
    assert said == "False"
    assert faults > 100
