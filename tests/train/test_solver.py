"""What the solver updates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch
from torch._inductor.exc import InductorError

from nktc import data, module, reader, train
from nktc.errors import NktcError
from nktc.ir import Phase

NET = """
force_backward: %s
layer { name: "x" type: "Input" top: "x" top: "t" input_param { shape { dim: 3 dim: 2 } } }
layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" param { lr_mult: 0 }
        inner_product_param { num_output: 2 bias_term: false weight_filler { type: "gaussian" } } }
layer { name: "b" type: "InnerProduct" bottom: "a" top: "b"
        inner_product_param { num_output: 2 bias_term: false weight_filler { type: "gaussian" } } }
layer { name: "l" type: "EuclideanLoss" bottom: "b" bottom: "t" top: "l" }
"""


class Same(data.Stream):
    """One batch, again and again."""

    resident = True

    def __init__(self, *blobs: torch.Tensor) -> None:
        self.blobs = blobs

    def batch(self, k: int) -> tuple[torch.Tensor, ...]:
        return self.blobs


def solver(net: str) -> train.Solver:
    """A solver, its files in the current folder, on one random batch."""
    Path("net.prototxt").write_text(net)
    Path("solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.5 lr_policy: "fixed" max_iter: 2 clip_gradients: 0.1'
        " snapshot_after_train: false"
    )
    settings = train.read("solver.prototxt")
    compiled = module.compile(reader.build(settings.train_net, Phase.TRAIN), seed=3)
    return train.Solver(settings, compiled, train.Feeding([Same(*torch.randn(2, 3, 2))]))


@pytest.mark.parametrize("force", [False, True])
def test_a_frozen_weight_stays_and_counts_in_the_clip_where_its_gradient_is_worked_out(
    force: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = solver(NET % str(force).lower())
    net, (x, t) = told.net, told.feeding.batch(0)
    a, b = (net.tensor(name).detach().numpy().copy() for name in ("a.weight", "b.weight"))
    told.run()
    expected = b.copy()
    for _ in range(2):
        h = x.numpy() @ a.T
        error = (h @ expected.T - t.numpy()) / 3
        grads = [error.T @ h] + [(error @ expected).T @ x.numpy()] * force
        norm = np.sqrt(sum((g**2).sum() for g in grads))
        assert norm > 0.1
        expected -= 0.5 * grads[0] * 0.1 / norm
    np.testing.assert_array_equal(net.tensor("a.weight").detach(), a)
    np.testing.assert_allclose(net.tensor("b.weight").detach(), expected, rtol=1e-5)


def beyond_memory(*_: object) -> NoReturn:
    torch.empty(1 << 60)
    raise AssertionError


def not_compiled(*_: object) -> NoReturn:
    raise InductorError(AssertionError("no such layout"), None)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (beyond_memory, "no memory is left at iteration 0"),
        (not_compiled, "torch.compile does not take this net: AssertionError: no such layout"),
    ],
)
def test_what_torch_cannot_do_is_told(
    step: Callable[..., NoReturn], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told, heard = solver(NET % "false"), []
    told.hooks, told.step = [heard.append], step
    with pytest.raises(NktcError, match=said):
        told.run()
    assert [event.line for event in heard if isinstance(event, train.Said)] == [said]


def test_a_snapshot_that_is_asked_for_while_ranks_agree_is_made(small, monkeypatch) -> None:
    torch.manual_seed(0)
    solver = small("max_iter: 4", NET % "false", [(torch.randn(3, 2), torch.randn(3, 2))])
    agree = solver.ranks.agree

    def heard(stop: bool, snapshot: bool) -> tuple[bool, bool]:
        solver.snapshot_asked |= solver.iteration == 2  # by a signal that comes just now
        return agree(stop, snapshot)

    monkeypatch.setattr(solver.ranks, "agree", heard)
    solver.run()
    assert [path.name for path in solver.written] == ["solver_iter_3.solverstate"]
