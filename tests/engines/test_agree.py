"""Models compared blob by blob: what differs first, by how much, and what cannot be compared."""

from __future__ import annotations

import dataclasses
import json
import sys

import numpy as np
import pytest
from big_nets import random_weights

from nktc import engines
from nktc.engines import Comparison, Facts, Options, Subject, compare, engine, random_inputs, subject_of_graph
from nktc.errors import NktcError
from nktc.ir import DType, Graph, Preprocessing, Value

NET = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
    layer { name: "a" type: "Convolution" bottom: "x" top: "a" convolution_param { num_output: 4 kernel_size: 3 } }
    layer { name: "b" type: "Convolution" bottom: "a" top: "b" convolution_param { num_output: 4 kernel_size: 3 } }
    layer { name: "r" type: "ReLU" bottom: "b" top: "b" }
    layer { name: "i" type: "InnerProduct" bottom: "b" top: "i" inner_product_param { num_output: 5 } }
    layer { name: "p" type: "Softmax" bottom: "i" top: "p" }
"""
BLOBS = ("a", "b@b", "b", "i")


class Fixed:
    """A session that answers what it is told to, whatever it is fed."""

    device = "cpu"
    facts = Facts()

    def __init__(self, answers: dict[str, object], inputs: tuple[Value, ...] = (Value("x", (0, 3)),)) -> None:
        self.answers = {name: np.asarray(y, np.float32) for name, y in answers.items()}
        self.inputs = inputs
        self.outputs = tuple(Value(name, y.shape) for name, y in self.answers.items())
        self.fed: list[dict[str, np.ndarray]] = []

    def run(self, feeds):
        self.fed.append(dict(feeds))
        return self.answers


def fixed(name: str, answers: dict[str, object], inner: int = 0, **more) -> Subject:
    session = Fixed(answers, **more)
    return Subject(name, session, tuple(answers)[: len(answers) - inner], {})


def compared(one: dict[str, object], other: dict[str, object], **more) -> Comparison:
    (found,) = compare([fixed("one", one, **more), fixed("other", other, **more)], [{"x": np.zeros((2, 3))}])
    return found


def test_differences_are_those_of_the_arrays(read, monkeypatch):
    answers = {"a": [[1.0, -4.0]], "b": [[1.5, -4.0]], "c": [1.0], "d": [[1.0], [-4.0]]}

    class Given:
        def __init__(self, name: str) -> None:
            self.name = name

        def build(self, graph: Graph, options: Options) -> Fixed:
            return Fixed({"p": answers[self.name]})

    monkeypatch.setattr(sys.modules["nktc.engines.agree"], "engine", Given)
    found = engines.agree(read(NET), ["a", "b", "c", "a", "d"], {"x": np.zeros((1, 3))})
    assert [(d.blob, d.absolute, d.relative) for d in found] == [
        ("p", 0.5, 0.125),
        ("p", float("inf"), float("inf")),
        ("p", 0, 0),
        ("p", 0, 0),
    ]
    assert found[0].at is not None
    assert found[0].at.line == 7


def changed(graph: Graph, name: str) -> Graph:
    array = graph.arrays[name].copy()
    array.flat[7] += 0.5
    return dataclasses.replace(graph, arrays={**graph.arrays, name: array})


@pytest.mark.parametrize(
    ("weight", "first"), [("a.weight", "a"), ("b.weight", "b@b"), ("i.weight", "i"), ("i.bias", "")]
)
def test_the_layer_whose_weight_was_changed_is_the_first_to_differ(weight, first, read):
    graph = random_weights(read(NET))
    other = changed(graph, weight) if first else graph
    samples = [engines.random_feeds(graph, 2, seed) for seed in range(2)]
    subjects = [subject_of_graph(name, g, BLOBS) for name, g in (("one", graph), ("two", other))]
    (found,) = compare(subjects, samples)
    assert found.agrees is (not first)
    assert found.records == 4
    assert [one.blob for one in found.differences] == [*BLOBS, "p"]
    if not first:
        assert found.divergence is None
        assert found.worst.absolute == 0
        assert found.top1 == 1
        return
    divergence = found.divergence
    assert divergence is not None
    assert divergence.at is not None
    assert (divergence.blob, divergence.at.line) == (first, {"a": 3, "b@b": 4, "i": 6}[first])
    assert f"net.prototxt:{divergence.at.line}:" in found.text()
    assert f"first divergence: {first} [" in found.text()


def test_another_engine_agrees_on_inner_blobs(read):
    graph = random_weights(read(NET))
    subject = subject_of_graph("torch", graph, BLOBS)
    from_onnx = engine("onnxruntime").build(subject.session.net.graph, Options("cpu"))
    (found,) = compare([subject, Subject("ort", from_onnx, ("p",), {})], [engines.random_feeds(graph, 3, 0)])
    assert found.agrees
    assert 0 < found.worst.relative < 1e-5
    assert len(found.differences) == 5
    assert found.alone == 0


def test_what_is_not_a_number_in_one_alone_differs(recwarn):
    nan, inf = float("nan"), float("inf")
    assert compared({"y": [[nan, 1.0], [inf, -inf]]}, {"y": [[nan, 1.0], [inf, -inf]]}).agrees
    for other in ([[0.0, 1.0]], [[nan, nan]], [[nan, inf]]):
        found = compared({"y": [[nan, 1.0]]}, {"y": other})
        assert not found.agrees
        assert np.isnan(found.worst.relative)
        assert "nan" in found.text()
        plain = json.loads(json.dumps(found.plain(), allow_nan=False))
        assert plain["blobs"][0]["relative"] is None
        assert plain["agrees"] is False
    assert not compared({"y": [[3e38, 1.0]]}, {"y": [[-3e38, 1.0]]}).agrees
    assert not recwarn.list


def test_a_difference_counts_over_the_largest_value_of_all_samples():
    one, other = fixed("one", {"y": [[8.0, 0.0]]}), fixed("other", {"y": [[8.0, 0.002]]})
    (found,) = compare([one, other], [{"x": np.zeros((1, 3))}] * 2, 1e-3)
    assert found.worst.relative == pytest.approx(0.002 / 8)
    assert found.agrees
    assert not compare([one, other], [{"x": np.zeros((1, 3))}], 1e-4)[0].agrees
    assert compared({"y": [[0.0]]}, {"y": [[0.0]]}).worst.relative == 0
    assert not compared({"y": [[0.0]]}, {"y": [[1e-3]]}).agrees


def test_top_1_is_the_share_of_records_with_the_same_place():
    assert compared({"y": [[0, 1], [1, 0]]}, {"y": [[0, 2], [0, 1]]}).top1 == 0.5
    assert compared({"y": [[[[0]], [[1]]], [[[1]], [[0]]]]}, {"y": [[0, 1], [1, 0]]}).top1 == 1
    assert compared({"y": [[3], [4]]}, {"y": [[3], [4]]}).top1 is None
    assert compared({"y": [[0, 1], [1, 0]]}, {"y": [[0, 1, 2]]}).top1 is None


def test_outputs_of_other_names_are_matched_in_order_and_blobs_that_one_lacks_are_counted():
    found = compared({"y": [1.0], "z": [2.0]}, {"out0": [1.0], "out1": [2.5]})
    assert [(one.blob, one.absolute) for one in found.differences] == [("y", 0), ("z", 0.5)]
    found = compared({"y": [1.0], "u": [1.0], "v": [1.0]}, {"y": [1.0]})
    assert (len(found.differences), found.alone) == (1, 2)
    assert "only the first has 2 more blobs" in found.text()


def test_models_without_a_blob_in_common_are_refused():
    with pytest.raises(NktcError) as caught:
        compared({"y": [1.0]}, {"u": [1.0], "v": [1.0]})
    assert str(caught.value) == "error: one and other have no blob in common\nhelp: the second has u, v"


def test_inputs_are_matched_by_name_or_in_their_order():
    a, b = Value("a", (0, 3)), Value("b", (0, 3))
    feeds = {"a": np.zeros((1, 3)), "b": np.ones((1, 3))}
    one = fixed("one", {"y": [1.0]}, inputs=(a, b))
    for inputs, expected in (
        ((b, a), {"a": 0, "b": 1}),
        ((Value("in0", (0, 3)), Value("in1", (1, 3))), {"in0": 0, "in1": 1}),
    ):
        other = fixed("other", {"y": [1.0]}, inputs=inputs)
        compare([one, other], [feeds])
        assert {name: x[0, 0] for name, x in other.session.fed[0].items()} == expected


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ((Value("x", (0, 4)),), "one takes x f32[any 3] and other x f32[any 4]"),
        ((Value("x", (2, 3, 1)),), "one takes x f32[any 3] and other x f32[2 3 1]"),
        ((Value("x", (0, 3), DType.U8),), "one takes x f32[any 3] and other x u8[any 3]"),
        ((), "one takes 1 input and other 0 inputs"),
    ],
)
def test_models_that_cannot_be_fed_alike_are_refused(inputs, told):
    with pytest.raises(NktcError) as caught:
        compare([fixed("one", {"y": [1.0]}), fixed("other", {"y": [1.0]}, inputs=inputs)], [])
    pictures = "one takes pictures and the other what they are prepared to: export both alike"
    assert str(caught.value) == f"error: {told}\nhelp: {pictures if 'u8' in told else 'compare models of one net'}"


def test_a_size_that_is_open_in_one_fits():
    subjects = [fixed(str(n), {"y": [1.0]}, inputs=(Value("x", (0, n)),)) for n in (3, 0, 3)]
    assert len(compare(subjects, [{"x": np.zeros((2, 3))}])) == 2


def test_the_text_lists_what_differs_or_every_blob(golden):
    found = compared({"y": [[0.0, 1.0]], "longer": [4.0]}, {"y": [[0.0, 1.0]], "longer": [3.0]})
    golden(
        found.text(),
        """
        other DIFFERS from one: 2 blobs, 2 records, at most 0.25 of a blob's largest value (longer); 0.0001 is allowed
        first divergence: longer [1]
          blob      max abs   relative
          longer          1       0.25
        """,
    )
    golden(
        compared({"y": [[1.0, 2.0]] * 2}, {"y": [[1.0, 2.0]] * 2}).text(every=True),
        """
        other agrees with one: 1 blob, 2 records, at most 0 of a blob's largest value (y); 0.0001 is allowed
        top-1: 100.00% of the records have the same
          blob    max abs   relative
          y          0          0
        """,
    )


def test_random_inputs_are_noise_of_each_inputs_own_kind():
    how = Preprocessing((6, 6), "BGR", mean=np.full((3, 1, 1), 100, np.float32), scale=0.5, crop=4)
    inputs = [
        Value("p", (0, 3, 4, 4)),
        Value("u", (0, 5, 5, 3), DType.U8),
        Value("h", (0, 2), DType.F16),
        Value("rois", (7, 5)),
    ]
    found = random_inputs(inputs, {"p": how}, 2, 0)
    assert {name: (x.shape, x.dtype) for name, x in found.items()} == {
        "p": ((2, 3, 4, 4), np.float32),
        "u": ((2, 5, 5, 3), np.uint8),
        "h": ((2, 2), np.float16),
        "rois": ((7, 5), np.float32),
    }
    assert -50 <= found["p"].min() < -40
    assert 67 < found["p"].max() <= 77.5
    again = random_inputs(inputs, {"p": how}, 2, 0)
    assert all((again[name] == x).all() for name, x in found.items())
    assert (random_inputs(inputs, {}, 2, 1)["u"] != found["u"]).any()
    with pytest.raises(NktcError) as caught:
        random_inputs([Value("x", (0, 3, 0, 0))], {}, 1, 0)
    assert "the size of the input is open: x f32[any 3 any any]" in caught.value.message
