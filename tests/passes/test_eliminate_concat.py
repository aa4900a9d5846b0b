"""What is joined and cut for nothing."""

from __future__ import annotations

import pytest

from nktc.ir import Phase, rewrite
from nktc.passes import eliminate_concat

X = """
    layer { name: "data" type: "Input" top: "a" top: "b" top: "c"
      input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } shape { dim: 2 dim: 2 dim: 4 dim: 4 }
        shape { dim: 2 dim: 1 dim: 4 dim: 4 } } }
"""


def join(top: str, *bottoms: str, axis: int = 1) -> str:
    said = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
    return f'layer {{ name: "{top}" type: "Concat" {said} top: "{top}" concat_param {{ axis: {axis} }} }}\n'


def cut(bottom: str, points: str, *tops: str, axis: int = 1) -> str:
    said = " ".join(f'top: "{top}"' for top in tops)
    name = f"cut_{bottom}"
    return (
        f'layer {{ name: "{name}" type: "Slice" bottom: "{bottom}" {said} slice_param {{ axis: {axis} {points} }} }}\n'
    )


def bent(name: str, bottom: str, kind: str = "TanH") -> str:
    return f'layer {{ name: "{name}" type: "{kind}" bottom: "{bottom}" top: "{name}" }}\n'


def check(text: str, weighted, preserved):
    graph = weighted(X + text)
    simpler = eliminate_concat(graph)
    preserved(graph, simpler)
    assert eliminate_concat(simpler) is simpler
    return simpler


def test_a_concat_of_a_concat_is_one(weighted, golden, preserved):
    simpler = check(join("ab", "a", "b") + join("abc", "ab", "c", axis=-3) + join("y", "c", "abc"), weighted, preserved)
    golden(
        simpler,
        """
        net net TEST
          a, b, c f32[2 3 4 4], f32[2 2 4 4], f32[2 1 4 4] = Input  # data
          y       f32[2 7 4 4]                             = Concat <- c, a, b, c
        """,
    )
    assert simpler.node("y").works_for == ("ab", "abc", "y")


def test_a_slice_of_a_concat_at_its_seams_is_what_was_joined(weighted, golden, preserved):
    text = join("abc", "a", "b", "c") + cut("abc", "slice_point: 3", "p", "q") + bent("x", "p") + bent("y", "q")
    golden(
        check(text, weighted, preserved),
        """
        net net TEST
          a, b, c f32[2 3 4 4], f32[2 2 4 4], f32[2 1 4 4] = Input  # data
          q       f32[2 3 4 4]                             = Concat <- b, c  # cut_abc/q
          x       f32[2 3 4 4]                             = TanH <- a
          y       f32[2 3 4 4]                             = TanH <- q
        """,
    )


def test_a_concat_that_others_read_too_stays_for_them(weighted, golden, preserved):
    text = (
        join("ab", "a", "b") + cut("ab", "slice_point: 3", "p", "q") + bent("x", "p") + bent("y", "ab") + bent("z", "q")
    )
    golden(
        check(text, weighted, preserved),
        """
        net net TEST
          a, b, c f32[2 3 4 4], f32[2 2 4 4], f32[2 1 4 4] = Input  # data
          ab      f32[2 5 4 4]                             = Concat <- a, b
          x       f32[2 3 4 4]                             = TanH <- a
          y       f32[2 5 4 4]                             = TanH <- ab
          z       f32[2 2 4 4]                             = TanH <- b
        """,
    )


def test_parts_that_are_outputs_keep_their_names(weighted, preserved):
    text = bent("s", "a") + join("sb", "s", "b") + cut("sb", "slice_point: 3", "p", "q")
    simpler = check(text, weighted, preserved)
    assert [value.name for value in simpler.outputs] == ["c", "p", "q"]
    # What is fed keeps its name as well, so one layer has to copy it.
    assert [(node.type, node.outputs[-1].name) for node in simpler][1:] == [("TanH", "p"), ("Concat", "q")]


def test_all_parts_of_a_slice_in_order_are_what_was_cut(weighted, golden, preserved):
    text = bent("t", "a") + cut("t", "", "p", "q", "r") + join("y", "b", "p", "q", "r") + bent("z", "y")
    golden(
        check(text, weighted, preserved),
        """
        net net TEST
          a, b, c f32[2 3 4 4], f32[2 2 4 4], f32[2 1 4 4] = Input  # data
          t       f32[2 3 4 4]                             = TanH <- a
          y       f32[2 5 4 4]                             = Concat <- b, t
          z       f32[2 5 4 4]                             = TanH <- y
        """,
    )


def test_a_slice_that_others_read_stays_for_them(weighted, preserved):
    text = bent("t", "a") + cut("t", "", "p", "q", "r") + join("w", "p", "q", "r") + bent("y", "w") + bent("z", "q")
    simpler = check(text, weighted, preserved)
    assert [node.type for node in simpler] == ["Input", "TanH", "Slice", "TanH", "TanH"]


def test_a_slice_of_a_slice_is_one(weighted, golden, preserved):
    text = (
        join("abc", "a", "b", "c")
        + bent("t", "abc")
        + cut("t", "slice_point: 1 slice_point: 5", "p", "q", "r")
        + cut("q", "", "q1", "q2")
        + bent("y", "p")
        + join("z", "r", "q2", "q1")
    )
    golden(
        check(text, weighted, preserved),
        """
        net net TEST
          a, b, c      f32[2 3 4 4], f32[2 2 4 4], f32[2 1 4 4]               = Input  # data
          abc          f32[2 6 4 4]                                           = Concat <- a, b, c
          t            f32[2 6 4 4]                                           = TanH <- abc
          p, q1, q2, r f32[2 1 4 4], f32[2 2 4 4], f32[2 2 4 4], f32[2 1 4 4] = Slice(points=1x3x5) <- t  # cut_t
          y            f32[2 1 4 4]                                           = TanH <- p
          z            f32[2 5 4 4]                                           = Concat <- r, q2, q1
        """,
    )


def test_one_alone_is_neither_joined_nor_cut(weighted, golden, preserved):
    golden(
        check(join("s", "a") + cut("s", "", "t", axis=0) + bent("y", "t"), weighted, preserved),
        """
        net net TEST
          a, b, c f32[2 3 4 4], f32[2 2 4 4], f32[2 1 4 4] = Input  # data
          y       f32[2 3 4 4]                             = TanH <- a
        """,
    )


def test_what_works_in_place_between_does_not_change_what_is_joined_later(weighted, preserved):
    text = (
        bent("t", "a")
        + join("tb", "t", "b")
        + bent("r", "t", "ReLU").replace('top: "r"', 'top: "t"')
        + join("y", "tb", "t")
    )
    simpler = check(text, weighted, preserved)
    assert [node.type for node in simpler] == ["Input", "TanH", "ReLU", "Concat"]


@pytest.mark.parametrize(
    "text",
    [
        join("ab", "a", "a") + join("y", "ab", "ab", axis=2),
        join("ab", "a", "b") + cut("ab", "slice_point: 2", "p", "q") + bent("y", "p") + bent("z", "q"),
        join("ab", "a", "b") + cut("ab", "", "p", "q", axis=0) + bent("y", "p") + bent("z", "q"),
        cut("a", "", "p", "q", "r") + join("y", "p", "r", "q"),
        cut("a", "", "p", "q", "r") + join("y", "p", "q"),
        cut("a", "", "p", "q", axis=2) + join("y", "p", "q"),
        cut("a", "slice_point: 2", "p", "q") + cut("p", "", "r", "s", axis=2) + bent("y", "p"),
    ],
    ids=[
        "another axis",
        "cut elsewhere",
        "cut along another axis",
        "joined in another order",
        "not all of it",
        "joined along another axis",
        "a part that is read twice",
    ],
)
def test_what_matters_stays(text, weighted):
    graph = weighted(X + text)
    assert eliminate_concat(graph) is graph


def test_a_join_that_is_wanted_stays(weighted, preserved):
    graph = rewrite.wanting(weighted(X + join("ab", "a", "b") + join("y", "ab", "c")), ["ab", "y"])
    assert eliminate_concat(graph) is graph


def test_a_training_net_is_left_alone(read):
    graph = read(X + join("ab", "a", "b") + join("y", "ab", "c"), Phase.TRAIN)
    assert eliminate_concat(graph) is graph


@pytest.mark.parametrize(
    "text",
    [
        cut("a", "", "p", "q", axis=0) + cut("p", "", "r", "s", axis=0),
        'layer { name: "k" type: "DummyData" top: "k" dummy_data_param { shape { dim: 4 dim: 3 dim: 4 dim: 4 } } }\n'
        + join("j", "a", "k", axis=0)
        + cut("j", "", "p", "q", axis=0),
    ],
)
def test_cuts_of_the_batch_stay_for_they_are_elsewhere_for_another(text, weighted, preserved):
    graph = weighted(X.replace("dim: 2 dim", "dim: 4 dim") + text)
    simpler = eliminate_concat(graph)
    preserved(graph, simpler)
    assert simpler is graph
