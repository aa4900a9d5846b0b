"""Caffe's solvers, step by step: nktc.train's rules, rates and snapshots over nets that scripts can look into."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from nktc import text, train
from nktc.ir import Phase
from nktc.pycaffe import glog, mode
from nktc.pycaffe.failure import told
from nktc.pycaffe.feed import FeedStep
from nktc.pycaffe.mode import STATE
from nktc.pycaffe.nccl import NCCL
from nktc.pycaffe.net import Net
from nktc.schema import SolverParameter

Callback = Callable[[], object]
FOREVER = 2**31 - 1


class Loop(train.Solver):
    """The run behind a solver: its optimizer, its rate, its snapshots. It tests through nets of this folder."""

    def __init__(self, settings: train.Settings, net: Net, tests: Sequence[Net], hooks: Sequence[train.Hook]) -> None:
        self.nets = tests
        empty = train.Feeding([])
        with_tests = [(test._holder, empty) for test in tests]
        super().__init__(settings, net._holder, empty, with_tests, hooks=hooks, device=STATE.device)
        self.optimizer.keeps, self.optimizer.fusible = True, False  # the update stays in the diffs, as in Caffe
        self.deadline = float("inf")

    def evaluate(self) -> tuple[dict[str, Tensor], Tensor] | None:
        """The outputs of the first test net, averaged over its batches; the others are told of."""
        results = []
        for index, (net, test) in enumerate(zip(self.nets, self.settings.test_nets, strict=True)):
            self.tell(train.Testing(self.iteration, index))
            sums: dict[str, Tensor] = {}
            total = 0.0
            for _ in range(test.iterations):
                total += net._forward(0, len(net.layers) - 1)
                for name, value in outputs(net).items():
                    sums[name] = sums[name] + value if name in sums else value.clone()
            means = {name: value / test.iterations for name, value in sums.items()}
            results.append((means, torch.tensor(total / test.iterations)))
            self.tell(train.Tested(self.iteration, index, *results[-1]))
        return results[0]


class Solver:
    """Trains `net` as a solver prototxt says, tests `test_nets`. The log goes to standard error, in Caffe's words.

    `param` are the settings; a change of base_lr and of other numbers of the rate counts from the next step on. Raises
    CaffeError.
    """

    TYPE: ClassVar[str] = ""

    def __init__(self, solver_file: str | Path) -> None:
        with told():
            settings = _read(Path(solver_file), self.TYPE)
            self.param: SolverParameter = settings.message
            if settings.seed is not None:
                mode.set_random_seed(settings.seed + STATE.rank)
            self.net = Net.of(
                settings.train_net,
                Phase.TRAIN,
                settings.level,
                settings.stages,
                lambda graph: train.freeze(settings, graph),
            )
            self.test_nets = [Net.of(t.net, Phase.TEST, t.level, t.stages) for t in settings.test_nets]
            self._callbacks: list[tuple[Callback, Callback]] = []
            hook = self._listener(settings)
            self._loop = Loop(settings, self.net, self.test_nets, [hook])
            for test in self.test_nets:
                test.share_with(self.net)
            for path in settings.weights:
                self.net.copy_from(path)

    @property
    def iter(self) -> int:
        """How many updates were made."""
        return self._loop.iteration

    @property
    def lr(self) -> float:
        """The rate of the next update."""
        return self._loop.rate()

    def step(self, iterations: int) -> None:
        """Make so many updates, with the tests and snapshots that fall due."""
        loop, s = self._loop, self.param
        loop.losses = deque(maxlen=s.average_loss)
        end = self.iter + iterations
        with told():
            while self.iter < end and not loop.stopping:
                self.net.clear_param_diffs()
                if STATE.rank == 0 and loop.due(s.test_interval) and (self.iter or s.test_initialization):
                    loop.test()
                for on_start, _ in self._callbacks:
                    on_start()
                loss = sum(self._forward_backward() for _ in range(s.iter_size)) / s.iter_size
                loop.losses.append(torch.tensor(loss))
                if loop.windows:
                    loop.plateau.take(loop.windows, self.iter, loop.smoothed())
                shown = bool(s.display) and self.iter % s.display == 0
                stepped = train.Stepped(self.iter, loop.losses[-1], outputs(self.net) if shown else {}, self.lr)
                loop.tell(stepped)
                for _, on_gradients_ready in self._callbacks:
                    on_gradients_ready()
                self.apply_update()
                if STATE.rank == 0 and loop.due(s.snapshot):
                    self.snapshot()

    def solve(self, resume_file: str | Path | None = None) -> None:
        """Train to max_iter, from a .solverstate where one is given, and end with the last snapshot and test."""
        loop, s = self._loop, self.param
        loop.tell(train.Started(self.iter))
        loop.stopping = False
        if resume_file:
            self.restore(resume_file)
        self.step(s.max_iter - self.iter)
        if STATE.rank == 0 and s.snapshot_after_train and not loop.due(s.snapshot):
            self.snapshot()
        with told():
            if not loop.stopping:
                if s.display and self.iter % s.display == 0:
                    loop.losses.append(torch.tensor(self.net._forward(0, len(self.net.layers) - 1)))
                if loop.due(s.test_interval):
                    loop.test()
            loop.tell(train.Ended(self.iter, loop.stopping, None))

    def apply_update(self) -> None:
        """Change the weights by the gradients that they have now, which is one more of `iter`; the gradients become the
        change."""
        loop, device = self._loop, STATE.device
        with told():
            self.net._settle()
            for name, (memory, slope) in self.net._memories.items():
                tensor = self.net._holder.tensor(name)
                memory.tensor(device, write=True)
                if tensor.requires_grad:
                    tensor.grad = slope.tensor(device, write=True).view(tensor.shape)
            for held in (slot for history in loop.optimizer.histories for slot in history):
                if held.device != device:
                    held.data = held.to(device)
            loop.optimizer.step(*loop.optimizer.numbers(self.lr, self.iter))
            if loop.average:
                loop.average.update(1 - loop.average.kept(self.iter))
            loop.iteration += 1

    def snapshot(self) -> None:
        """Write the weights and the state of the solver, as snapshot_prefix says."""
        with told():
            for memory, _ in self.net._memories.values():
                memory.tensor(STATE.device)
            self._loop.save()

    def restore(self, path: str | Path) -> None:
        """Go on from a .solverstate, Caffe's or ours; training data goes on behind what was used by then."""
        with told():
            self.net._settle()
            self._loop.restore(Path(path))
            for memory, _ in self.net._memories.values():
                memory.tensor(STATE.device, write=True)
            for step in self.net._steps:
                if isinstance(step, FeedStep):
                    step.go_to(self.iter * self.param.iter_size)

    def add_callback(self, on_start: Callback | NCCL, on_gradients_ready: Callback | None = None) -> None:
        """Call one before each iteration, the other when its gradients are there; or have an NCCL add them up."""
        if isinstance(on_start, NCCL):
            self._callbacks.append((lambda: None, on_start.on_gradients_ready))
        else:
            self._callbacks.append((on_start, on_gradients_ready or (lambda: None)))

    def share_weights(self, net: Net) -> None:
        """Let another net have this one's very weights."""
        net.share_with(self.net)

    def _forward_backward(self) -> float:
        last = len(self.net.layers) - 1
        loss = self.net._forward(0, last)
        self.net._backward(last, 0)
        return loss

    def _listener(self, settings: train.Settings) -> train.Hook:
        hear = train.caffe_log(
            glog.write,
            settings,
            self.net._graph,
            [test._graph for test in self.test_nets],
            lambda: self._loop.smoothed(),
        )

        def listen(event: train.Event) -> None:
            if glog.shown(glog.INFO) and STATE.rank == 0:
                hear(event)

        return listen


class SGDSolver(Solver):
    """type: "SGD"."""

    TYPE = "SGD"


class NesterovSolver(SGDSolver):
    """type: "Nesterov"."""

    TYPE = "Nesterov"


class AdaGradSolver(SGDSolver):
    """type: "AdaGrad"."""

    TYPE = "AdaGrad"


class RMSPropSolver(SGDSolver):
    """type: "RMSProp"."""

    TYPE = "RMSProp"


class AdaDeltaSolver(SGDSolver):
    """type: "AdaDelta"."""

    TYPE = "AdaDelta"


class AdamSolver(SGDSolver):
    """type: "Adam"."""

    TYPE = "Adam"


class AdamWSolver(SGDSolver):
    """type: "AdamW", nktc's own."""

    TYPE = "AdamW"


class LAMBSolver(SGDSolver):
    """type: "LAMB", nktc's own."""

    TYPE = "LAMB"


class MuonSolver(SGDSolver):
    """type: "Muon", nktc's own."""

    TYPE = "Muon"


SOLVERS: dict[str, type[Solver]] = {
    kind.TYPE: kind
    for kind in (
        SGDSolver,
        NesterovSolver,
        AdaGradSolver,
        RMSPropSolver,
        AdaDeltaSolver,
        AdamSolver,
        AdamWSolver,
        LAMBSolver,
        MuonSolver,
    )
}


def get_solver(solver_file: str | Path) -> Solver:
    """The solver of the type that its file names."""
    with told():
        kind = _read(Path(solver_file), "").message.type
    return SOLVERS[kind](solver_file)


def outputs(net: Net) -> dict[str, Tensor]:
    """The numbers of a net's outputs by their values' names in its graph."""
    device = STATE.device
    return {value.name: net.blobs[value.name.partition("@")[0]].tensor(device) for value in net._graph.outputs}


def _read(path: Path, kind: str) -> train.Settings:
    """The settings, of another type where `kind` names one. Caffe's need no max_iter, as steps are counted. Raises
    NktcError."""
    said = {field.name for field in text.read(path).fields}
    counted = said & {"max_iter", "max_epoch"}
    overrides = [*[f"type={kind}"] * bool(kind), *[f"max_iter={FOREVER}"] * (not counted)]
    settings = train.read(path, overrides)
    s = settings.message
    if s.precision not in (SolverParameter.FP32, SolverParameter.TF32):
        raise settings.refusal("pycaffe computes in FP32", "precision", "nktc train has other precisions")
    if settings.counts_epochs:
        raise settings.refusal("pycaffe counts iterations, not epochs", "max_epoch", "give max_iter")
    if any(test.iterations < 1 for test in settings.test_nets):
        raise settings.refusal("pycaffe tests so many batches, not every record once", "test_all", "give test_iter")
    if not counted:
        s.ClearField("max_iter")
    return settings
