"""What `nktc test` says of outputs, means among them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from nktc import data, module, reader, train, weights
from nktc.ir import Phase

NET = """
layer { name: "d" type: "Dataset" top: "x" top: "t" dataset_param { name: "digits" batch_size: 50 } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y"
        inner_product_param { num_output: 10 weight_filler { type: "gaussian" std: 0.02 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "y" bottom: "t" top: "loss" }
layer { name: "class" type: "ArgMax" bottom: "y" top: "class" }
"""


@pytest.mark.parametrize("batch", [50, 1000])
def test_what_has_the_axis_of_a_batch_is_averaged_place_by_place(tmp_path: Path, batch: int) -> None:
    path, places = tmp_path / "net.prototxt", data.Places((), tmp_path)
    path.write_text(NET.replace("50", str(batch)))
    file = reader.read_net(path)
    graph = reader.build(file, Phase.TEST, feeds=lambda layer: data.describe(layer, tmp_path))
    net = module.compile(graph, seed=1)
    weights.save(tmp_path / "w.caffemodel", graph, net.arrays())
    lines = list(train.score(path, [str(tmp_path / "w.caffemodel")], None, "cpu", places))

    (feeding,) = train.open_feeding(graph, places, tmp_path, 0, torch.device("cpu")).streams
    records = feeding.feed.records
    assert records
    assert records % batch, "the last batch is smaller"
    batches = [feeding.batch(k) for k in range(-(-records // batch))]
    x = np.concatenate([pixels.flatten(1) for pixels, _ in batches])[:records]
    t = np.concatenate([labels for _, labels in batches])[:records].astype(int)
    arrays = net.arrays()
    logits = x @ arrays["ip.weight"].T + arrays["ip.bias"]
    shares = np.exp(logits - logits.max(1, keepdims=True), dtype=np.float64)
    losses = -np.log(shares[np.arange(records), t] / shares.sum(1))

    found = [float(line.removeprefix("class = ")) for line in lines if line.startswith("class = ")]
    rows = np.minimum(batch, records - np.arange(0, records, batch))  # a batch counts for the records it has
    columns = [logits.argmax(1)[place::batch] for place in range(min(batch, records))]
    expected = [np.average(column, weights=rows[: len(column)]) for column in columns]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    (loss,) = (float(match[1]) for line in lines if (match := re.match(r"loss = (\S+) ", line)))
    assert loss == pytest.approx(losses.mean(), rel=1e-4)
    assert sum(", class = " in line for line in lines) == records
