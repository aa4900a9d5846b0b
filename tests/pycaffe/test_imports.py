"""Scripts that say `import caffe`, run as they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import nktc.pycaffe
from nktc.pycaffe import imports
from nktc.pycaffe.__main__ import USAGE, main

SCRIPT = """
import sys
import caffe, caffe.io, caffe.proto.caffe_pb2 as pb
from caffe import layers as L, params as P
from caffe.proto import caffe_pb2
from caffe.net_spec import Top
from google.protobuf import text_format

class Twice(caffe.Layer):
    def setup(self, bottom, top): pass
    def reshape(self, bottom, top): top[0].reshape(*bottom[0].data.shape)
    def forward(self, bottom, top): top[0].data[...] = 2 * bottom[0].data
    def backward(self, top, propagate_down, bottom): bottom[0].diff[...] = 2 * top[0].diff

def main():
    net = pb.NetParameter()
    text_format.Merge('name: "n"', net)
    assert net.name == "n" and pb.NetParameter is caffe_pb2.NetParameter
    spec = caffe.NetSpec()
    spec.x = L.Input(shape=dict(dim=[1, 2]))
    spec.y = L.Python(spec.x, module="__main__", layer="Twice")
    assert isinstance(spec.x, Top)
    with open(sys.argv[1], "w") as file:
        file.write("force_backward: true\\n" + str(spec.to_proto()))
    net = caffe.Net(sys.argv[1], caffe.TEST)
    net.blobs["x"].data[...] = 4
    print(net.forward()["y"].tolist(), net.backward(y=net.blobs["y"].data)["x"].tolist(), sys.argv[2:], __name__)

if __name__ == "__main__":
    main()
"""


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nktc.pycaffe", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_script_runs_as_it_is_with_its_arguments_and_layers_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = run("script.py", "net.prototxt", "--gpu", "0", folder=tmp_path)
    assert (done.stdout, done.returncode) == ("[[8.0, 8.0]] [[16.0, 16.0]] ['--gpu', '0'] __main__\n", 0), done.stderr


@pytest.mark.usefixtures("_as_before")
@pytest.mark.parametrize(
    ("given", "output", "error"),
    [
        ([], f"{USAGE}\n", ""),
        (["-m"], f"{USAGE}\n", ""),
        (["absent.py"], "", "python -m nktc.pycaffe: there is no script absent.py\n"),
    ],
)
def test_without_a_script_it_says_how_to_use_it(
    given: list[str], output: str, error: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["__main__.py", *given])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, *capsys.readouterr()) == (2, output, error)
    assert USAGE.startswith("usage: python -m nktc.pycaffe SCRIPT.py ")


@pytest.mark.usefixtures("_as_before")
def test_modules_run_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "part.py").write_text("import caffe, sys\nprint(caffe.TRAIN, sys.argv[1:], __name__)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    monkeypatch.setattr(sys, "argv", ["__main__.py", "-m", "part", "a"])
    main()
    assert capsys.readouterr().out == "0 ['a'] __main__\n"


def test_code_runs_too(tmp_path: Path) -> None:
    assert run("-c", "import caffe, sys; print(caffe.TEST, sys.argv)", "b", folder=tmp_path).stdout == "1 ['-c', 'b']\n"


@pytest.mark.usefixtures("_as_before")
def test_caffes_modules_are_ours_and_nothing_is_loaded_twice() -> None:
    imports.answer()
    import caffe
    from caffe.proto import caffe_pb2

    assert caffe is nktc.pycaffe
    import caffe.io

    assert caffe_pb2 is sys.modules["nktc.pycaffe.proto.caffe_pb2"]
    assert sys.modules["caffe.io"] is sys.modules["nktc.pycaffe.io"]
    assert caffe_pb2.Datum is nktc.pycaffe.caffe_pb2.Datum
    assert sys.modules["nktc.pycaffe"].__spec__.name == "nktc.pycaffe"
    with pytest.raises(ModuleNotFoundError):
        import caffe.no_such_part


@pytest.mark.usefixtures("_as_before")
def test_an_answer_for_a_while_leaves_what_was_there() -> None:
    stranger = type(sys)("caffe")
    sys.modules["caffe"] = stranger
    with imports.answered():
        import caffe

        assert caffe is nktc.pycaffe
    import caffe as after

    assert after is stranger


@pytest.fixture
def _as_before(monkeypatch):
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "caffe"}
    monkeypatch.setattr("nktc.pycaffe.old_numpy.answer", lambda: None)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "caffe"]:
        del sys.modules[name]
    sys.modules.update(before)
    if imports.FINDER in sys.meta_path:
        sys.meta_path.remove(imports.FINDER)


def test_a_module_that_only_a_fork_has_comes_from_its_checkout_on_the_path(tmp_path: Path) -> None:
    (tmp_path / "python" / "caffe").mkdir(parents=True)
    (tmp_path / "python" / "caffe" / "__init__.py").write_text("raise SystemExit('the checkout itself is not asked')")
    (tmp_path / "python" / "caffe" / "net_spec.py").write_text("raise SystemExit('nktc has this module')")
    (tmp_path / "python" / "caffe" / "model_libs.py").write_text("from caffe import layers as L\nSIDE = 300\n")
    code = (
        "import sys; sys.path.insert(0, 'python'); import caffe.net_spec; from caffe.model_libs import *; print(SIDE)"
    )
    done = run("-c", code, folder=tmp_path)
    assert (done.stdout, done.returncode) == ("300\n", 0), done.stderr
    done = run("-c", "import caffe.model_libs", folder=tmp_path)
    assert "ModuleNotFoundError: No module named 'caffe.model_libs'" in done.stderr


def test_the_modules_behind_caffes_own_are_there() -> None:
    with imports.answered():
        import caffe._caffe
        import caffe.pycaffe
    assert caffe._caffe.BlobVec is nktc.pycaffe.blob.BlobVec
    assert caffe.pycaffe.Net is caffe._caffe.Net is nktc.pycaffe.Net
    assert nktc.pycaffe._caffe.__version__ == nktc.pycaffe.__version__
