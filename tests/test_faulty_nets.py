"""Nets that Caffe aborts at, or ought to: what is said of them, and where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nktc import checking
from nktc.errors import NktcError, split

GOLDEN = Path(__file__).parent / "golden"
"""faulty_layers.prototxt has one layer a line, which takes data [2 3 6 6] and l [2]; the .txt what is said of each."""

START = """\
layer { name: "d" type: "Input" top: "data" top: "l" input_param { shape { dim: [2, 3, 6, 6] } shape { dim: 2 } } }
"""


def errors(file: Path) -> tuple[NktcError, ...]:
    report = checking.check(file)
    assert report.error
    return split(report.error)


def test_a_faulty_layer_is_blamed_at_the_field_that_is_wrong(tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    told = []
    for layer in (GOLDEN / "faulty_layers.prototxt").read_text().splitlines():
        Path("net.prototxt").write_text(f"{START}{layer}\n")
        (error,) = errors(Path("net.prototxt"))
        assert error.at
        assert error.at.line == 2
        told.append(f"{error}\n")
    kept = GOLDEN / "faulty_layers.txt"
    if request.config.getoption("--bless"):
        kept.write_text("\n".join(told))
    assert "\n".join(told) == kept.read_text()


# Of each net that Caffe aborted at: what is blamed, its line, the code.
CAFFES = {
    "accuracy_topk": (3, "top_k: 5", "shape"),
    "bad_value": (2, "-3", "wrong-value"),
    "bottom_count": (2, 'bottom: "data"', "bottom-count"),
    "concat_shape": (3, 'bottom: "b"', "shape-mismatch"),
    "duplicate_top": (3, 'top: "o"', "top-twice"),
    "eltwise_shape": (3, 'bottom: "b"', "shape-mismatch"),
    "include_exclude": (2, "exclude { phase: TEST }", "include-exclude"),
    "kernel_both": (2, "kernel_size: 3", "setting"),
    "legacy_normalize_bool": (2, "dropout_ratio: 1.5", "setting"),
    "missing_kernel": (2, 'type: "Convolution"', "setting"),
    "mixed_v1_v2": (2, 'layers { name: "a" type: RELU bottom: "data" top: "x" }', "cannot-upgrade"),
    "pool_no_kernel": (2, 'type: "Pooling"', "setting"),
    "reshape_count": (2, "shape { dim: 5 dim: -1 }", "shape"),
    "shared_shape": (3, 'name: "w"', "shared-shape"),
    "softmax_two_tops_loss": (3, 'top: "p"', "loss-weight"),
    "syntax": (2, " ", "syntax"),
    "top_count": (2, 'top: "p"', "top-count"),
    "unknown_field": (2, "num_outputs: 3", "unknown-field"),
}


@pytest.mark.parametrize("name", CAFFES)
def test_what_caffe_aborts_at_is_blamed_where_it_is_wrong(name, shared):
    file = shared / "goldens/errors" / f"{name}.prototxt"
    (error,) = errors(file)
    assert error.at
    blamed = file.read_text().splitlines()[error.at.line - 1][error.at.column - 1 :][: error.at.width]
    assert (error.at.line, blamed, error.code) == CAFFES[name]


def test_every_net_that_caffe_aborted_at_is_here(shared):
    assert set(CAFFES) == set(json.loads((shared / "goldens/errors/errors.json").read_text()))


def test_errors_of_the_text_and_of_the_shapes_are_told_in_one_run_and_nothing_that_follows_from_them(tmp_path, golden):
    file = tmp_path / "net.prototxt"
    file.write_text("""layer { name: "x" type: "Input" top: "x" input_param { shape { dim: [1, 3, 5, 5] } } }
layer { name: "c" type: "Convolution" bottom: "x" top: conv1 convolution_param { num_output: 3 kernel_size: 3 } }
layer { name: "r" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "s" type: "Softmax" bottom: "conv1" topp: "s" }
layer { name: "u" type: "TanH" bottom: "s" top: "u" include { phase: TRIAN } }
layer { name: "v" type: "TanH" bottom: "x" top: "v" include { phase: TRAIN } exclude { phase: TEST } }
layer { name: "w" type: "TanH" bottom: "v" top: "w" }
layer { name: "p" type: "Pooling" bottom: "x" top: "p" pooling_param { kernel_size: 9 } }
layer { name: "e" type: "Eltwise" bottom: "u" bottom: "w" bottom: "q" top: "e" }
""")
    golden(
        "\n".join(f"{error.at.line}: {error.message}" for error in errors(file) if error.at),
        """
        2: top takes a text in quotes, not conv1
        4: unknown field "topp" in layer
        5: phase takes TRAIN or TEST, not TRIAN
        6: TanH "v": has include rules and exclude rules
        8: Pooling "p": window 9x9 is larger than its input 5x5
        9: Eltwise "e": its bottom "q" is made by no layer before it
        """,
    )


def test_a_fault_in_the_syntax_of_one_layer_does_not_hide_that_of_another(tmp_path, golden):
    file = tmp_path / "net.prototxt"
    file.write_text("""layer { name: "a" type "ReLU" bottom: "x" top: "y" }
layer {
  name: "b"
  relu_param { negative_slope: }
}
layer { name: "c" type: "TanH" }
}
layer {
  name: "d"
  relu_param { negative_slope: 0.1
}
layer { name: "e" type: "TanH" }
""")
    golden(
        "\n".join(f"{error.at.line}: {error.message}" for error in errors(file) if error.at),
        """
        1: expected : or { after type, not "ReLU"
        4: negative_slope has no value
        12: the file ends inside layer, whose "}" is missing
        """,
    )


def test_a_layer_inside_another_message_is_not_read_as_the_next_one(tmp_path):
    file = tmp_path / "net.prototxt"
    file.write_text('block {\nlayer { name "a" }\nlayer { name: "b" }\n}\n}\n')
    assert [error.at.line for error in errors(file) if error.at] == [2]


def test_a_blob_that_nobody_makes_is_told_at_the_first_that_takes_it_and_at_the_very_bottom(tmp_path):
    file = tmp_path / "net.prototxt"
    file.write_text(
        START
        + 'layer { name: "a" type: "Eltwise" bottom: "dat" bottom: "data" top: "a" }\n'
        + 'layer { name: "b" type: "ReLU" bottom: "dat" top: "b" }\n'
        + 'layer { name: "c" type: "ReLU" bottom: "b" }\n'
        + 'layer { name: "d" type: "ReLU" bottom: "c" top: "d" }\n'
    )
    unmade, topless = errors(file)
    assert unmade.at
    assert (unmade.at.line, unmade.at.column, unmade.help) == (2, 35, 'did you mean "data"?')
    assert (topless.at and topless.at.line, topless.code) == (4, "top-count")


def test_the_param_entry_that_is_wrong_is_blamed_not_the_last(tmp_path):
    file = tmp_path / "net.prototxt"
    file.write_text(
        START
        + 'layer { name: "b" type: "BatchNorm" bottom: "data" top: "b" param { lr_mult: 1 } param { lr_mult: 0 } }\n'
    )
    (error,) = errors(file)
    assert error.at
    assert (error.at.line, error.at.column) == (2, 69)


def test_the_way_to_a_shape_is_told_and_cut_in_the_middle(tmp_path):
    file = tmp_path / "net.prototxt"
    layers = [
        f'layer {{ name: "r{i + 1}" type: "ReLU" bottom: "r{i}" top: "r{i + 1}" }}\n'  # one a line
        for i in range(20)
    ]
    file.write_text(
        'layer { name: "x" type: "Input" top: "r0" input_param { shape { dim: [1, 3] } } }\n'
        + "".join(layers)
        + 'layer { name: "p" type: "Pooling" bottom: "r20" top: "p" pooling_param { kernel_size: 9 } }\n'
    )
    (error,) = errors(file)
    way = error.notes[0].message.partition(": ")[2].split(" -> ")
    assert way == ["r0 [1 3]", "r1 ReLU [1 3]", "...", *(f"r{i} ReLU [1 3]" for i in range(15, 21))]
    assert error.notes[0].at
    assert error.notes[0].at.line == 21


def test_inputs_that_disagree_tell_both_ways_and_many_only_those_that_differ(tmp_path):
    file = tmp_path / "net.prototxt"
    file.write_text(
        START
        + 'layer { name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param { kernel_size: 2 stride: 2 } }\n'
        + 'layer { name: "two" type: "Eltwise" bottom: "data" bottom: "p" top: "two" }\n'
        + 'layer { name: "a" type: "AbsVal" bottom: "data" top: "a" }\n'
        + 'layer { name: "many" type: "Eltwise" bottom: "data" bottom: "a" bottom: "p" bottom: "a" top: "many" }\n'
    )
    told = 'its input "data" is made here: data [2 3 6 6]'
    other = 'its input "p" is made here: data [2 3 6 6] -> p Pooling [2 3 3 3]'
    assert [[note.message for note in error.notes] for error in errors(file)] == [[told, other], [told, other]]


def test_what_one_layer_of_a_block_does_wrong_is_told_once(tmp_path):
    file = tmp_path / "net.prototxt"
    file.write_text(
        START
        + 'block { name: "b" bottom: "x" top: "y" layer { name: "l" type: "Relu" bottom: "x" top: "y" } }\n'
        + 'layer { name: "three" type: "b" bottom: "data" top: "three" repeat: 3 }\n'
    )
    (error,) = errors(file)
    assert error.notes[-1].message == "the same in 2 more instances"
