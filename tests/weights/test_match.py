"""What becomes of each weight of a file, as a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nktc import weights
from nktc.errors import NktcError
from nktc.schema import NetParameter

NET = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 } } }
layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" inner_product_param { num_output: 3 } }
layer { name: "r" type: "ReLU" bottom: "a" top: "r" }
layer { name: "b" type: "InnerProduct" bottom: "r" top: "b" inner_product_param { num_output: 2 bias_term: false } }
layer { name: "c" type: "InnerProduct" bottom: "b" top: "c" inner_product_param { num_output: 2 } }
"""


def write(path: Path, **layers: list[tuple[int, ...]]) -> Path:
    net = NetParameter()
    for name, shapes in layers.items():
        net.layer.add(name=name).blobs.extend(weights.blob(np.ones(shape, np.float32)) for shape in shapes)
    path.write_bytes(net.SerializeToString())
    return path


def test_the_table_has_every_weight_of_net_and_file(read, golden, tmp_path: Path) -> None:
    path = write(tmp_path / "w", a=[(3, 4), (1, 1, 1, 3)], r=[(1,)], c=[(2, 2), (2,)], old=[(5,), (6, 7)])
    _, match = weights.attach(read(NET), path)
    assert (match.taken, match.missing, match.ignored) == (("a", "c"), ("b",), ("old",))
    golden(
        match.table(),
        """
        layer  weight  in the net  in the file  outcome
          a      weight  [3 4]       [3 4]        taken
          a      bias    [3]         [1 1 1 3]    taken
          r      0                   [1]          ignored
          b      weight  [2 3]                    missing
          c      weight  [2 2]       [2 2]        taken
          c      bias    [2]         [2]          taken
          old    0                   [5]          ignored
          old    1                   [6 7]        ignored

        layers: 2 taken, 1 missing, 1 ignored
        """,
    )


def test_comparing_tells_all_that_does_not_agree_and_attaching_refuses_the_first(read, golden, tmp_path: Path) -> None:
    path = write(tmp_path / "w", a=[(3, 5), (4,)], b=[(2, 3), (2,)], c=[(2, 2)])
    match = weights.compare(read(NET), path)
    golden(
        match.table(),
        """
        layer  weight  in the net  in the file  outcome
          a      weight  [3 4]       [3 5]        another shape
          a      bias    [3]         [4]          another shape
          b      weight  [2 3]       [2 3]        taken
          b      1                   [2]          one too many
          c      weight  [2 2]       [2 2]        taken
          c      bias    [2]                      not in the file

        layers: 3 taken, 0 missing, 0 ignored, 3 wrong
        """,
    )
    assert [error.message for error in match.errors] == [
        f'weight 0 of layer "a" is 3x4, in {path} it is 3x5',
        f'layer "b" has 1 weights, {path} has 2 of that name',
        f'layer "c" has 2 weights, {path} has 1 of that name',
    ]
    with pytest.raises(NktcError) as caught:
        weights.attach(read(NET), path)
    assert str(caught.value) == str(match.errors[0])


def test_shared_weights_are_told_once_and_their_copies_as_shared(read, tmp_path: Path) -> None:
    layer = """
        layer {{ name: "{0}" type: "InnerProduct" bottom: "{1}" top: "{0}"
                 inner_product_param {{ num_output: 4 bias_term: false }} param {{ name: "w" }} }}
    """
    first = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 } } }'
    graph = read(first + layer.format("a", "x") + layer.format("c", "a"))
    _, match = weights.attach(graph, write(tmp_path / "w", a=[(4, 4)], c=[(4, 4)]))
    assert [(row.layer, row.outcome) for row in match.rows] == [("a", "taken"), ("c", "shared")]
    _, match = weights.attach(graph, write(tmp_path / "w", a=[(4, 4)]))
    assert [(row.layer, row.outcome) for row in match.rows] == [("a", "taken")]


def test_nothing_is_read_of_a_file_that_does_not_agree(read, tmp_path: Path, monkeypatch) -> None:
    graph = read(NET)
    path = write(tmp_path / "w", a=[(3, 4), (3,)], b=[(2, 2)])
    monkeypatch.setattr("nktc.ir.StoredBlob.array", lambda *_: pytest.fail("a weight was read"))
    assert len(weights.compare(graph, path).errors) == 1
    with pytest.raises(NktcError, match='weight 0 of layer "b" is 2x3'):
        weights.attach(graph, path)
