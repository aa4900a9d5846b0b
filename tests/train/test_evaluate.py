"""Evaluation of every record once, and how long an epoch is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from nktc import data, module, reader, train
from nktc.data import Places
from nktc.data.databases.datum import pack
from nktc.data.databases.lmdb import write_database
from nktc.errors import NktcError
from nktc.ir import Feed, Graph, Phase
from nktc.train.evaluate import check_whole, evaluate
from nktc.train.ranks import Ranks
from nktc.train.speed import Speed
from nktc.train.step import Objective

CPU = torch.device("cpu")
RECORDS = 23


class Rows(data.Stream):
    """Records in memory, a row of each blob a record, around and around; or without an end."""

    resident = True

    def __init__(self, batch: int, *blobs: Tensor, endless: bool = False) -> None:
        self.blobs, self.size = blobs, batch
        shapes = tuple((batch, *blob.shape[1:]) for blob in blobs)
        self.feed = Feed(shapes, None if endless else len(blobs[0]))

    def batch(self, k: int) -> tuple[Tensor, ...]:
        chosen = torch.arange(k * self.size, (k + 1) * self.size) % len(self.blobs[0])
        return tuple(blob[chosen] for blob in self.blobs)


def inputs(batch: int, *tops: tuple[str, str]) -> str:
    """An Input layer for each group of tops, "x 4" being one of four numbers a record."""
    layers = []
    for name, shape in tops:
        dims = "".join(f" dim: {dim}" for dim in (batch, *shape.split()))
        layers.append(f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{{dims} }} }} }}')
    return "\n".join(layers)


def rows(batch: int, blobs: Sequence[Tensor]) -> list[Rows]:
    """A source for each blob."""
    return [Rows(batch, blob) for blob in blobs]


NET = """
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip"
        inner_product_param { num_output: 3 weight_filler { type: "gaussian" std: 1 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" loss_weight: 2 }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy" }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }
"""


def built(text: str) -> Graph:
    return reader.build(reader.parse_net(text), Phase.TEST)


@pytest.fixture
def objective(told: Callable[[str], train.Settings]) -> Callable[[str], Objective]:
    """A test net of a text, with the same weights each time, and its loss."""

    def make(text: str) -> Objective:
        return Objective(module.compile(built(text), seed=4), told(""), Speed(), CPU)

    return make


@pytest.fixture
def records() -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(0)
    return torch.randn(RECORDS, 4, generator=draws), torch.randint(3, (RECORDS,), generator=draws).float()


def by_hand(net: module.Net, x: Tensor, label: Tensor) -> tuple[float, float]:
    """The mean loss and accuracy over records, one at a time."""
    weight, bias = (net.tensor(f"ip.{name}").detach().double().numpy() for name in ("weight", "bias"))
    losses, hits = [], []
    for row, wanted in zip(x.double().numpy(), label.int().tolist(), strict=True):
        scores = weight @ row + bias
        losses.append(np.log(np.exp(scores - scores[wanted]).sum()))
        hits.append(scores.argmax() == wanted)
    return float(np.mean(losses)), float(np.mean(hits))


@pytest.mark.parametrize("batch", [1, 5, 7, 22, RECORDS, 40])
def test_every_record_counts_once_whatever_the_batch(
    objective: Callable[[str], Objective], records: tuple[Tensor, Tensor], batch: int
) -> None:
    it = objective(inputs(batch, ("x", "4"), ("label", "")) + NET)
    x, label = records
    found = evaluate(it, train.Feeding([Rows(batch, x), Rows(batch, label)]), 0)
    assert found is not None
    means, total = found
    loss, accuracy = by_hand(it.net, x, label)
    assert means["loss"].item() == pytest.approx(loss, rel=1e-5)
    assert means["accuracy"].item() == pytest.approx(accuracy, rel=1e-6)
    assert total.item() == pytest.approx(2 * loss, rel=1e-5)


def test_what_has_a_row_for_each_record_is_averaged_place_by_place(
    objective: Callable[[str], Objective], records: tuple[Tensor, Tensor]
) -> None:
    it = objective(inputs(10, ("x", "4"), ("label", "")) + NET)
    x, label = records
    found = evaluate(it, train.Feeding([Rows(10, x), Rows(10, label)]), 0)
    assert found is not None
    scores = x @ it.net.tensor("ip.weight").T + it.net.tensor("ip.bias")
    rows = scores.softmax(1).detach()
    first, rest = (rows[0:3] + rows[10:13] + 0.3 * rows[20:23]) / 2.3, (rows[3:10] + rows[13:20]) / 2
    torch.testing.assert_close(found[0]["prob"], torch.cat([first, rest]))


def test_so_many_batches_are_averaged_as_caffe_does_it(
    objective: Callable[[str], Objective], records: tuple[Tensor, Tensor]
) -> None:
    it = objective(inputs(10, ("x", "4"), ("label", "")) + NET)
    x, label = (torch.cat([blob, blob])[:40] for blob in records)
    found = evaluate(it, train.Feeding(rows(10, records)), 4)
    assert found is not None
    assert found[0]["loss"].item() == pytest.approx(by_hand(it.net, x, label)[0], rel=1e-5)


class InTurn(Ranks):
    """One of several ranks that run one after the other: first each leaves its sums, then each gets those of all."""

    def __init__(self, rank: int, size: int, left: dict[int, list[Tensor]]) -> None:
        self.rank, self.size, self.left = rank, size, left

    def total(self, tensors: Sequence[Tensor]) -> None:
        if self.rank not in self.left:
            self.left[self.rank] = [tensor.clone() for tensor in tensors]
            return
        for rank in {*range(self.size)} - {self.rank}:
            for tensor, other in zip(tensors, self.left[rank], strict=True):
                tensor += other


@pytest.mark.parametrize("batch", [4, 5, 12, 40])
@pytest.mark.parametrize("iterations", [0, 1, 7])
def test_ranks_share_the_batches_out_and_find_what_one_finds(
    objective: Callable[[str], Objective], records: tuple[Tensor, Tensor], batch: int, iterations: int
) -> None:
    it = objective(inputs(batch, ("x", "4"), ("label", "")) + NET)
    expected = evaluate(it, train.Feeding(rows(batch, records)), iterations)
    left: dict[int, list[Tensor]] = {}
    for turn in range(2):
        for rank in range(3):
            found = evaluate(it, train.Feeding(rows(batch, records), rank, 3), iterations, InTurn(rank, 3, left))
            assert found is not None
            assert expected is not None
            if turn:
                torch.testing.assert_close(found, expected)
    assert len(left) == 3


def test_it_ends_when_told(objective: Callable[[str], Objective], records: tuple[Tensor, Tensor]) -> None:
    it = objective(inputs(4, ("x", "4"), ("label", "")) + NET)
    asked = iter([False, False, True])
    assert evaluate(it, train.Feeding(rows(4, records)), 0, stop=lambda: next(asked)) is None


def refused(text: str, *streams: Rows) -> str:
    """What is said of a test net that cannot be tested whole, and the text it points at."""
    with pytest.raises(NktcError) as caught:
        check_whole(built(text), train.Feeding(streams))
    at = caught.value.at
    pointed = at.source.line(at.line)[at.column - 1 : at.column - 1 + at.width] if at else "nowhere"
    return f"{caught.value.message} | {caught.value.help} | {pointed}"


LOSS = 'layer { name: "l" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "l" }'


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (
            'layer { name: "r" type: "Reshape" bottom: "x" top: "y" reshape_param { shape { dim: 10 dim: 4 } } }',
            'Reshape "r": does not take the last 3 of 23 records: its input 3x4 has 12 values, 10x4 has 40'
            " | choose a batch_size that divides 23, or give test_iter | shape { dim: 10 dim: 4 }",
        ),
        (
            'layer { name: "r" type: "Reshape" bottom: "x" top: "z" reshape_param { shape { dim: 2 dim: -1 } } }'
            '\nlayer { name: "ip" type: "InnerProduct" bottom: "z" top: "y" inner_product_param { num_output: 20 } }',
            'InnerProduct "ip": does not take the last 3 of 23 records: its weight would be 20x6, not 20x20'
            ' | choose a batch_size that divides 23, or give test_iter | type: "InnerProduct"',
        ),
        (
            'layer { name: "d" type: "DummyData" top: "y" dummy_data_param { shape { dim: 10 dim: 4 } } }',
            'EuclideanLoss "l": does not take the last 3 of 23 records: its inputs 10x4 and 3x4 differ in axis 0, the'
            ' batch | choose a batch_size that divides 23, or give test_iter | bottom: "t"',
        ),
        (
            'layer { name: "s" type: "Slice" bottom: "x" top: "a" top: "y" slice_param { axis: 0 slice_point: 5 } }',
            'Slice "s": does not take the last 3 of 23 records: ',
        ),
    ],
    ids=["Reshape", "weight", "DummyData", "Slice"],
)
def test_layers_that_fix_the_batch_are_named(layer: str, said: str, records: tuple[Tensor, Tensor]) -> None:
    text = f"{inputs(10, ('x', '4'), ('t', '4'))}\n{layer}\n{LOSS}"
    if "Slice" in layer or "dim: 2" in layer:  # their result is no batch of ten
        text = text.replace(LOSS, "")
    x = records[0]
    assert refused(text, Rows(10, x), Rows(10, x)).startswith(said)
    check_whole(built(text), train.Feeding([Rows(10, x[:20]), Rows(10, x[:20])]))  # nothing is left over


def test_sources_that_do_not_end_together_cannot_be_tested_whole(records: tuple[Tensor, Tensor]) -> None:
    text = inputs(5, ("x", "4"), ("label", "")) + NET
    x, label = records
    why = ": there is no test of every record once | make them equal, or give test_iter | "
    assert refused(text, Rows(5, x), Rows(5, label[:20])) == (
        f'Input "label": has 20 records, 5 in a batch, "x" 23, 5 in a batch{why}type: "Input"'
    )
    assert refused(text, Rows(5, x), Rows(4, label)) == (
        f'Input "x": has 23 records, 5 in a batch, "label" 23, 4 in a batch{why}type: "Input"'
    )
    endless = Rows(5, x, endless=True), Rows(5, label, endless=True)
    assert refused(text, *endless) == "the data has no end, so it cannot be tested whole | give test_iter | nowhere"


def test_a_source_without_an_end_goes_along(
    objective: Callable[[str], Objective], records: tuple[Tensor, Tensor]
) -> None:
    it = objective(inputs(5, ("x", "4"), ("label", "")) + NET)
    x, _ = records
    label = torch.tensor([1.0, 2.0])
    found = evaluate(it, train.Feeding([Rows(5, x), Rows(5, label, endless=True)]), 0)
    assert found is not None
    wanted = label.repeat(12)[:RECORDS]
    assert found[0]["loss"].item() == pytest.approx(by_hand(it.net, x, wanted)[0], rel=1e-5)


@pytest.mark.parametrize(
    ("sources", "records", "batch"),
    [
        ([(100, 10)], 100, 10),
        ([(100, 10), (100, 10)], 100, 10),
        ([(100, 10), (60, 2)], 60, 2),  # 30 batches, against 10
        ([(60, 2), (100, 10)], 60, 2),
        ([(100, 10), (60, 60)], 100, 10),
        ([(100, 10), (None, 50)], 100, 10),
        ([(None, 8), (None, 16)], 0, 16),
        ([], 0, 1),
    ],
)
def test_an_epoch_is_as_long_as_the_source_that_takes_most_batches(
    sources: list[tuple[int | None, int]], records: int, batch: int
) -> None:
    feeding = train.Feeding([Rows(size, torch.zeros(n or 1), endless=n is None) for n, size in sources])
    assert (feeding.records, feeding.size_of_batch) == (records, batch)


def test_data_and_label_of_two_databases_are_one_epoch(tmp_path: Path) -> None:
    for name, count in (("pictures", 12), ("answers", 12), ("more", 7)):
        write_database(
            tmp_path / name, ((f"{i:03}".encode(), pack(np.full((1, 1, 1), i, np.uint8), i)) for i in range(count))
        )
    text = """
    layer {{ name: "a" type: "Data" top: "x" data_param {{ source: "pictures" batch_size: 4 backend: LMDB }} {split} }}
    layer {{ name: "b" type: "Data" top: "t" data_param {{ source: "{other}" batch_size: 4 backend: LMDB }} {split} }}
    layer {{ name: "l" type: "EuclideanLoss" bottom: "x" bottom: "t" top: "l" }}
    """

    def opened(other: str, split: str = "") -> tuple[Graph, train.Feeding]:
        net = reader.parse_net(text.format(other=other, split=split))
        graph = reader.build(net, Phase.TEST, feeds=lambda layer: data.describe(layer, tmp_path))
        places = Places((), tmp_path, download=False)
        return graph, train.open_feeding(graph, places, tmp_path, 0, CPU, resident=True)

    graph, feeding = opened("answers")
    assert (feeding.records, feeding.size_of_batch, feeding.resident) == (12, 4, False)
    check_whole(graph, feeding)
    for k in range(3):
        one, other = feeding.batch(k)
        assert torch.equal(one, other)
    assert feeding.resident
    graph, feeding = opened("more")
    assert feeding.records == 12
    with pytest.raises(NktcError, match='Data "b": has 7 records, 4 in a batch, "a" 12, 4 in a batch'):
        check_whole(graph, feeding)
    # A split of both keeps each picture with its answer.
    graph, feeding = opened("answers", "split_param { validation: 0.5 seed: 2 }")
    assert feeding.records == 6
    check_whole(graph, feeding)
    one, other = feeding.batch(1)
    assert torch.equal(one, other)
