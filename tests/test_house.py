"""The house: imports go down, doors are doors, nothing is hidden, `nktc --help` stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "nktc"

FLOORS = {
    -1: {"errors"},
    0: {"codes", "files", "schema", "wire"},
    1: {"text", "ir"},
    2: {"layers"},
    3: {"reader", "passes", "module", "weights", "data", "runs"},
    4: {"lint", "models", "train", "export", "plotting", "quantization"},
    5: {"engines", "checking"},
    6: {"convert", "inference", "optimize", "doctor", "pycaffe", "studio", "serve", "sweep"},
    7: {"cli"},
    8: {"__main__"},
}
FLOOR = {room: floor for floor, rooms in FLOORS.items() for room in rooms}
FILES = sorted(p for p in PACKAGE.rglob("*.py") if p.name != "messages.py")


def room(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every nktc module a file imports, with the line; `from nktc import x` gives nktc.x."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names if alias.name.split(".")[0] == "nktc")
        elif isinstance(node, ast.ImportFrom) and node.module == "nktc":
            yield from ((f"nktc.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nktc."):
            yield str(node.module), node.lineno


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        assert not list(imports(path))
        return
    for name, line in imports(path):
        there = name.split(".")[1]
        if there in ("__version__", here):
            continue
        assert FLOOR[there] < FLOOR[here], f"{path.relative_to(ROOT)}:{line} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_other_rooms_are_entered_by_their_door(path: Path) -> None:
    for name, line in imports(path):
        parts = name.split(".")[1:]
        if parts[0] != room(path):
            assert len(parts) == 1, f"{path.relative_to(ROOT)}:{line} imports {name}, not its door"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_import_hides(path: Path) -> None:
    tree = ast.parse(path.read_text())
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            assert id(node) in top, f"{path.relative_to(ROOT)}:{node.lineno} hides an import"


@pytest.mark.parametrize("door", sorted(PACKAGE.glob("*/__init__.py")), ids=lambda p: p.parent.name)
def test_a_door_states_its_contract_and_holds_no_logic(door: Path) -> None:
    tree = ast.parse(door.read_text())
    assert ast.get_docstring(tree)
    if door.parent.name != "cli":
        assert not any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in tree.body)


@pytest.mark.parametrize("door", sorted(PACKAGE.glob("*/__init__.py")), ids=lambda p: p.parent.name)
def test_every_room_is_on_a_floor(door: Path) -> None:
    assert door.parent.name in FLOOR


def test_help_loads_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; sys.argv = ['nktc', '--help']\n"
        "from nktc.cli import nktc\n"
        "nktc(standalone_mode=False)\n"
        "assert not {'torch', 'numpy', 'google.protobuf', 'rich'} & set(sys.modules), 'heavy'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_everything_below_layers_is_torch_free() -> None:
    code = "import nktc.ir, nktc.text, nktc.schema, sys; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
