"""cifar10_quick, 60 iterations from Caffe's initial weights in Caffe's record order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nktc import data, module, reader, train
from nktc.ir import Phase
from nktc.train import Solver, Stepped

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_losses_are_caffes(shared, monkeypatch):
    monkeypatch.chdir(ROOT)
    golden = np.load(shared / "goldens/trajectory/traj.npz")
    overrides = ("max_iter=60", "snapshot_after_train=false", "test_initialization=false", "test_interval=1000")
    settings = train.read("solvers/cifar10_quick.prototxt", overrides)
    net_file = settings.train_net
    graph = reader.build(net_file, Phase.TRAIN, feeds=lambda layer: data.describe(layer, net_file.folder))
    places = data.Places.from_environment([str(shared / "data")])
    feeding = train.open_feeding(graph, places, net_file.folder, 0, torch.device("cpu"))
    images, labels = feeding.batch(0)
    np.testing.assert_array_equal(labels, golden["first_labels"])
    np.testing.assert_allclose(images.double().sum(dim=(1, 2, 3)), golden["first_data_sum"], rtol=1e-6)
    np.testing.assert_allclose(images[0], golden["first_image"], rtol=1e-6)

    net = module.compile(graph)
    net.load({n: golden[f"init/{p.layer}/{p.index}"] for n, p in graph.parameters.items()})
    losses: list[float] = []

    def hear(event: object) -> None:
        if isinstance(event, Stepped):
            losses.append(event.loss.item())

    Solver(settings, net, feeding, hooks=[hear]).run()
    error = np.abs(np.array(losses) / golden["loss"] - 1)
    assert error[:10].max() <= 2e-5
    assert error[:30].max() <= 2e-3
    assert error.max() <= 2e-2
