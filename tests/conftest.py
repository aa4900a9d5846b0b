"""Fixtures that many tests share: nets from text, expected texts, the shared material."""

from __future__ import annotations

import gc
import inspect
import os
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from nktc import ir, reader
from nktc.ir import Graph, Phase

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"

# The tests run side by side, and what they start as well: threads that wait for a core spin.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"

_blessed: dict[Path, list[tuple[str, str]]] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bless", action="store_true", help="write what was found where a test expects another text")


@pytest.fixture(autouse=True, scope="module")
def _settled() -> None:
    """What there is before a file's tests stays: a Solver collects garbage when it is made, and would look through all
    tests and all that earlier ones left in caches."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the user's data sets, and none leaves any behind; the cache is shared by the tests of a run, also
    by those of other workers."""
    run = tmp_path_factory.getbasetemp()
    monkeypatch.delenv("NKTC_DATA", raising=False)
    monkeypatch.setenv("NKTC_CACHE", str((run.parent if "PYTEST_XDIST_WORKER" in os.environ else run) / "cache"))


@pytest.fixture
def shared() -> Path:
    """The folder of goldens, models and data beside the project."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared, which is not here")
    return SHARED


@pytest.fixture
def read() -> Callable[..., Graph]:
    """The graph of a text; TEST unless told otherwise."""

    def build(text: str, phase: Phase = Phase.TEST, **state: object) -> Graph:
        return reader.build(reader.parse_net(textwrap.dedent(text)), phase, **state)  # type: ignore[arg-type]

    return build


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Iterator[Callable[[object, str], None]]:
    """Compare a graph's listing, or a text, with the text in the test; --bless rewrites that."""

    def compare(found: object, expected: str) -> None:
        shown = ir.listing(found) if isinstance(found, Graph) else str(found)
        if shown.strip() == textwrap.dedent(expected).strip():
            return
        if not request.config.getoption("--bless"):
            assert shown.strip() == textwrap.dedent(expected).strip()
        caller = inspect.stack()[1].filename
        _blessed.setdefault(Path(caller), []).append((expected, shown.strip()))

    return compare


def pytest_sessionfinish(session: pytest.Session) -> None:
    for path, pairs in _blessed.items():
        source = path.read_text()
        for expected, found in pairs:
            match = re.search(r"\n( *)\S", expected)
            indent = match.group(1) if match else ""
            body = textwrap.indent(found, indent)
            tail = expected[len(expected.rstrip(" ")) :]
            # Tests run in the order of the file, so of several equal texts the first is this one.
            source = source.replace(f'"""{expected}"""', f'"""\n{body}\n{tail}"""', 1)
        path.write_text(source)
