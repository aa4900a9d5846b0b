"""What is said of a file, and the exit code that goes with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nktc import checking, reader, text
from nktc.errors import NktcError
from nktc.ir import Phase

ROOT = Path(__file__).parents[1]
NET = """name: "n"
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "i" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 4 } }
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(content: str | bytes, name: str = "net.prototxt") -> Path:
        Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
        return Path(name)

    return write


def test_a_net_that_is_well(file):
    report = checking.check(file(NET))
    assert (report.well, report.exit_code) == (True, 0)
    assert str(report) == "net.prototxt: ok: TRAIN 2 layers, TEST 2 layers, 16 weights"


# Counted by hand: Caffe's own numbers of weights.
@pytest.mark.parametrize(
    ("solver", "said"),
    [
        ("cifar10_quick", "TRAIN 13 layers, TEST 14 layers, 145,578 weights"),
        ("digits_quick", "TRAIN 11 layers, TEST 12 layers, 23,638 weights"),
        ("lenet", "TRAIN 9 layers, TEST 10 layers, 431,080 weights"),
        ("mlp", "TRAIN 5 layers, TEST 6 layers, 2,410 weights"),
    ],
)
def test_what_ships_is_well(solver, said):
    for path in (ROOT / f"solvers/{solver}.prototxt", ROOT / f"nets/{solver}/train.prototxt"):
        report = checking.check(path)
        assert str(report) == f"{path}: ok: {said}"
        assert report.warnings == ()


def test_mistakes_of_both_phases_are_told_once_each(file, golden):
    report = checking.check(
        file("""layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "a" type: "ReLu" bottom: "x" top: "a" }
layer { name: "b" type: "ReLU" bottom: "z" top: "b" include { phase: TRAIN } }
layer { name: "c" type: "InnerProduct" bottom: "x" top: "c" include { phase: TEST } }
""")
    )
    assert report.exit_code == 1
    golden(
        report,
        """
        net.prototxt:2:19: error: ReLu "a": unknown layer type "ReLu"  [unknown-type]
            2 | layer { name: "a" type: "ReLu" bottom: "x" top: "a" }
              |                   ^~~~~~~~~~~~
        help: did you mean "ReLU"?
        net.prototxt:3:32: error: ReLU "b": its bottom "z" is made by no layer before it  [unknown-bottom]
            3 | layer { name: "b" type: "ReLU" bottom: "z" top: "b" include { phase: TRAIN } }
              |                                ^~~~~~~~~~~
        help: a layer before this one has to make it
        net.prototxt:4:19: error: InnerProduct "c": has no num_output  [setting]
            4 | layer { name: "c" type: "InnerProduct" bottom: "x" top: "c" include { phase: TEST } }
              |                   ^~~~~~~~~~~~~~~~~~~~
        help: add num_output: 10 (any number from 1)
        """,
    )


def test_mistakes_of_the_text_and_of_the_net_are_told_together_also_through_a_solver(file):
    file(NET.replace("num_output", "num_outputs") + 'layer { name: "r" type: "Relu" bottom: "x" top: "r" }\n')
    solver = file('net: "net.prototxt"\nbase_lr: 0.1\nlr_policy: "fixed"\nmax_iter: 10\n', "solver.prototxt")
    for path in (Path("net.prototxt"), solver):
        assert [one.code for one in checking.check(path).diagnostics] == ["unknown-field", "unknown-type"]


def test_a_report_as_json_has_every_error_and_warning_with_its_place(file):
    twice = 'layer { name: "i" type: "ReLU" bottom: "y" top: "r" }\n'
    report = checking.check(file(NET + twice)).plain()
    assert (report["file"], report["ok"]) == ("net.prototxt", True)
    assert report["phases"] == [
        {"phase": phase, "stages": [], "layers": 3, "weights": 16} for phase in ("TRAIN", "TEST")
    ]
    (warning,) = report["diagnostics"]
    assert warning == {
        "severity": "warning",
        "code": "same-name",
        "message": 'two layers are called "i"',
        "file": "net.prototxt",
        "line": 4,
        "column": 9,
        "width": 9,
        "notes": [{"message": "the first is here", "file": "net.prototxt", "line": 3, "column": 9, "width": 9}],
        "help": "weight files know layers by name: give each its own",
    }
    missing = checking.check(Path("none")).plain()
    assert (missing["ok"], missing["phases"]) == (False, [])
    assert missing["diagnostics"][0]["line"] is None


def test_a_file_that_is_not_there_is_2(tmp_path):
    for name in ("none", "n" * 300, "\udcff"):
        report = checking.check(tmp_path / name)
        assert (report.exit_code, report.well) == (2, False)
        assert str(report) == f"error: {tmp_path / name} does not exist  [file-missing]"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "net.prototxt has no layers"),
        (b"# nothing\n", "net.prototxt has no layers"),
        (b"\x89PNG\r\n\x1a\n\0\0", "net.prototxt is no net"),
        (b'layer { name: "x"', 'the file ends inside layer, whose "}" is missing'),
    ],
)
def test_what_is_no_net_is_1(content, said, file):
    report = checking.check(file(content))
    assert report.exit_code == 1
    assert said in str(report)


def test_a_folder_is_1(tmp_path):
    report = checking.check(tmp_path)
    said = f"error: {tmp_path} is a folder, not a prototxt file  [file-unreadable]"
    assert (report.exit_code, str(report)) == (1, said)


def test_a_solver_is_known_from_a_net_by_its_fields(file):
    file(NET)
    solver = file('net: "net.prototxt"\nbase_lr: 0.1\nlr_policy: "fixed"\nmax_iter: 10\n', "solver.prototxt")
    assert str(checking.check(solver)) == "solver.prototxt: ok: TRAIN 2 layers, 16 weights"
    assert reader.is_solver(text.read(solver))
    assert not reader.is_solver(text.read("net.prototxt"))


def test_a_mistake_in_a_solvers_net_is_told_in_the_net(file):
    file(NET.replace("InnerProduct", "InnerProdukt"))
    solver = file('net: "net.prototxt"\nbase_lr: 0.1\nlr_policy: "fixed"\nmax_iter: 10\n', "solver.prototxt")
    report = checking.check(solver)
    assert report.exit_code == 1
    said = 'net.prototxt:3:19: error: InnerProdukt "i": unknown layer type "InnerProdukt"  [unknown-type]\n'
    assert str(report).startswith(said)
    assert str(report).endswith('help: did you mean "InnerProduct"?')


def test_what_a_solver_says_of_its_nets_by_name_is_checked(file):
    file(NET)
    rule = 'net: "net.prototxt"\nbase_lr: 0.1\nlr_policy: "fixed"\nmax_iter: 10\n'
    frozen = checking.check(file(rule + 'freeze: "j*"\n', "solver.prototxt"))
    assert str(frozen).startswith('solver.prototxt:5:1: error: freeze "j*" names no layer with weights  [solver]\n')
    watched = 'test_iter: 1\ntest_interval: 5\nmetric: "lss"\n'
    report = checking.check(file(rule + watched, "solver.prototxt"))
    assert str(report).startswith('solver.prototxt:7:1: error: the test net gives no number "lss"  [solver]\n')
    assert checking.check(file(rule + watched.replace("lss", "loss") + 'freeze: "i"\n', "solver.prototxt")).well


def test_a_net_of_one_phase_alone_is_well(file):
    report = checking.check(file(NET.replace("}\n", "include { phase: TRAIN } }\n")))
    assert str(report) == "net.prototxt: ok: TRAIN 2 layers, TEST 0 layers, 16 weights"
    with pytest.raises(NktcError, match="has no layers"):
        checking.graphs(Path("net.prototxt"), [Phase.TEST])


STAGED = """
layer { name: "a" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } include { phase: TRAIN } }
layer {
  name: "b" type: "Input" top: "x" input_param { shape { dim: 4 dim: 3 } } include { phase: TEST stage: "val" }
}
layer { name: "c" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 } } include { stage: "deploy" } }
layer { name: "s" type: "Softmax" bottom: "x" top: "s" }
"""


def test_a_net_that_needs_a_stage_gets_one_that_it_names(file):
    net = file(STAGED)
    assert str(checking.check(net)) == "net.prototxt: ok: TRAIN 2 layers, TEST (stage val) 2 layers, 0 weights"
    deploy = checking.graphs(net, [Phase.TEST], stages=["deploy"])[0]
    assert deploy.inputs[0].shape == (1, 3)
    assert "made by no layer" in str(checking.check(net, stages=["x"]))


def test_a_phase_that_a_net_never_names_and_cannot_feed_is_none_of_its_phases(file):
    net = NET.replace("input_param", "include { phase: TRAIN } input_param", 1)
    assert str(checking.check(file(net))) == "net.prototxt: ok: TRAIN 2 layers, 16 weights"
    report = checking.check(file(net.replace('bottom: "x"', 'bottom: "z"')))
    assert not report.well
    with pytest.raises(NktcError, match="made by no layer"):
        checking.graphs(file(net), [Phase.TEST])


@pytest.mark.parametrize("layer", ["layer {{ foo: {0} }}\n", 'layer {{ name: "l{0}" type: "No" top: "t{0}" }}\n'])
def test_of_very_many_mistakes_the_first_are_told(file, layer):
    report = checking.check(file("".join(map(layer.format, range(300)))))
    assert [one.at.line for one in report.diagnostics if one.at] == [*range(1, 101)]
    assert str(report).endswith("note: these are the first 100; there may be more")
