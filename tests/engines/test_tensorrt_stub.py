"""The calls of our TensorRT code against a stub, the stub against NVIDIA's wheel, and the fake against the stub.

The wheel's libraries are not needed: a few lines of C stand in for them, nothing of them is called.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import fake_tensorrt
import pytest

ROOT = Path(__file__).parents[2]
STUB = ROOT / "typings/tensorrt/__init__.pyi"
OURS = sorted((ROOT / "nktc/engines").glob("tensorrt_*.py"))
SYMBOLS = """
    createInferBuilder_INTERNAL createInferRefitter_INTERNAL createInferRuntime_INTERNAL getBuilderPluginRegistry
    createNvOnnxParser_INTERNAL createNvOnnxParserRefitter_INTERNAL getInferLibVersion getNvOnnxParserVersion
    getPluginRegistry initLibNvInferPlugins
"""
LOOK = """
import json, re, sys
import tensorrt_bindings as trt

missing = []
for path, members in json.load(sys.stdin).items():
    found = trt
    for part in path.split("."):
        found = getattr(found, part, None)
    if found is None:
        missing.append(path)
        continue
    for member, (kind, parameters) in members.items():
        if not hasattr(found, member) or (kind == "value" and member not in getattr(found, "__members__", ())):
            missing.append(f"{path}.{member}")
        elif kind == "method":
            said = getattr(found, member).__doc__
            lines = re.findall(rf"{member}\\((?:self|\\w+): [^,)]+,? ?(.*)\\) ->", said)
            if not any(re.findall(r"(\\w+): ", line)[: len(parameters)] == parameters for line in lines):
                missing.append(f"{path}.{member}({', '.join(parameters)})")
print(trt.__version__, *missing, sep="\\n")
"""


def surface() -> dict[str, dict[str, tuple[str, list[str]]]]:
    """The stub's classes, dotted, with their members: values of enums, attributes, and methods with parameters."""
    found: dict[str, dict[str, tuple[str, list[str]]]] = {}

    def visit(node: ast.ClassDef, prefix: str) -> None:
        members = found.setdefault(prefix + node.name, {})
        for part in node.body:
            if isinstance(part, ast.AnnAssign):
                constant = "ClassVar" in ast.unparse(part.annotation)
                members[ast.unparse(part.target)] = ("value" if constant else "attribute", [])
            elif isinstance(part, ast.FunctionDef):
                given = [argument.arg for argument in part.args.args[1:]]
                members[part.name] = ("attribute", []) if part.decorator_list else ("method", given)
            elif isinstance(part, ast.ClassDef):
                visit(part, f"{prefix}{node.name}.")

    for node in ast.parse(STUB.read_text()).body:
        if isinstance(node, ast.ClassDef):
            visit(node, "")
    return found


@pytest.fixture
def shim(tmp_path) -> Path:
    """A folder with libraries of the names that the bindings want."""
    if importlib.util.find_spec("tensorrt_bindings") is None:
        pytest.skip("needs NVIDIA's wheel tensorrt_cu13_bindings, which is not installed")
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    source = tmp_path / "shim.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in SYMBOLS.split()))
    for name in ("nvinfer", "nvinfer_plugin", "nvonnxparser"):
        made = tmp_path / f"lib{name}.so.11"
        command = [compiler, "-shared", "-fPIC", f"-Wl,-soname,{made.name}", "-o", made, source]
        subprocess.run(command, check=True, capture_output=True)
    return tmp_path


def look(shim: Path, wanted: dict) -> list[str]:
    environment = {**os.environ, "LD_LIBRARY_PATH": str(shim)}
    command = [sys.executable, "-c", LOOK]
    done = subprocess.run(command, input=json.dumps(wanted), capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def test_all_that_the_stub_has_is_in_the_bindings_of_tensorrt_11(shim):
    version, *missing = look(shim, surface())
    assert version.startswith("11.")
    assert missing == []


def test_what_the_bindings_have_not_is_found_missing(shim):
    wanted = {
        "BuilderFlag": {"FP16": ("value", []), "TF32": ("value", [])},
        "IEngineInspector": {},
        "ICudaEngine": {"num_bindings": ("attribute", [])},
        "IBuilderConfig": {"set_flag": ("method", ["flags"]), "clear_flag": ("method", ["flag"])},
    }
    _, *missing = look(shim, wanted)
    assert missing == [
        "BuilderFlag.FP16",
        "IEngineInspector",
        "ICudaEngine.num_bindings",
        "IBuilderConfig.set_flag(flags)",
    ]


def test_all_that_we_name_of_tensorrt_is_in_the_stub():
    known, used = surface(), set()
    for path in OURS:
        for node in ast.walk(ast.parse(path.read_text())):
            name = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
            if name.startswith("trt."):
                used.add(name.removeprefix("trt."))
    assert len(used) > 30
    for name in used:
        owner, _, member = name.rpartition(".")
        assert name in known or member in known.get(owner, ()), f"trt.{name}"


def test_the_fake_has_the_stubs_surface_and_no_more():
    known = surface()
    for path, members in known.items():
        found = fake_tensorrt
        for part in path.split("."):
            found = getattr(found, part)
        public = {name for name in vars(found) if not name.startswith("_")}
        nested = {name.rpartition(".")[2] for name in known if name.rpartition(".")[0] == path}
        assert public - nested == members.keys() - {"__init__"}, path
    made_here = {n for n, v in vars(fake_tensorrt).items() if isinstance(v, type) and not n.startswith("_")}
    assert made_here == {path for path in known if "." not in path}
