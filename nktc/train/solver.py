"""The solver: Caffe's loop over the training step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from nktc import weights
from nktc.module import Net
from nktc.train import checkpoint, schedules
from nktc.train.evaluate import evaluate
from nktc.train.events import Ended, Event, Hook, Saved, Started, Stepped, Tested, Testing
from nktc.train.feeding import Feeding
from nktc.train.optimizers import SGD, Learned
from nktc.train.settings import Settings
from nktc.train.step import plain_step


class Solver:
    """One training run in this process.

    `net` and the `tests` (test nets with their feeding) are on `device` already; the test nets hold the training
    net's tensors. Snapshots go to `prefix`_iter_N, snapshot_prefix to begin with. Whoever listens gets every event, in
    order.
    """

    def __init__(
        self,
        settings: Settings,
        net: Net,
        feeding: Feeding,
        tests: Sequence[tuple[Net, Feeding]] = (),
        *,
        hooks: Sequence[Hook] = (),
        device: torch.device | None = None,
    ) -> None:
        self.settings, self.net, self.feeding, self.tests = settings, net, feeding, tests
        self.prefix = Path(settings.snapshot_prefix or settings.name)
        self.hooks = hooks
        self.iteration = 0
        self.stopping = False
        self.snapshot_asked = False
        for test, _ in tests:
            test.share(net)
        self.optimizer = SGD(
            [
                Learned(p.name, tensor, p.lr_mult, p.decay_mult, torch.zeros_like(tensor))
                for p in net.graph.parameters.values()
                if (tensor := net.tensor(p.name)).requires_grad
            ],
            settings,
        )
        self.step = plain_step(net, self.optimizer, settings.iter_size, device or torch.device("cpu"))

    def run(self) -> None:
        """Train from `iteration` to max_iter, or until told to stop; then save and test as the settings say."""
        settings, loss = self.settings, None
        batches = self.feeding.ahead(self.iteration * settings.iter_size)
        self.tell(Started(self.iteration))
        while self.iteration < settings.max_iter and not self.stopping:
            if self.due(settings.test_interval) and (self.iteration or settings.test_initialization):
                self.test()
                if self.stopping:
                    break
            rate = schedules.rate(settings, self.iteration)
            loss, outputs = self.step(batches, rate)
            self.tell(Stepped(self.iteration, loss, outputs, rate))
            self.iteration += 1
            if self.due(settings.snapshot) or self.snapshot_asked:
                self.save()
        if settings.snapshot_after_train and not self.due(settings.snapshot):
            self.save()
        if not self.stopping and self.due(settings.test_interval):
            self.test()
        self.tell(Ended(self.iteration, self.stopping, loss))

    def test(self) -> None:
        """Evaluate every test net."""
        for index, ((net, feeding), test) in enumerate(zip(self.tests, self.settings.test_nets, strict=True)):
            self.tell(Testing(self.iteration, index))
            found = evaluate(net, feeding.ahead(0), test.iterations, lambda: self.stopping)
            if found:
                self.tell(Tested(self.iteration, index, *found))

    def save(self) -> None:
        """Write a snapshot."""
        self.snapshot_asked = False
        to = checkpoint.files(self.prefix, self.iteration, self.settings.hdf5)
        checkpoint.save(to, self.net, self.optimizer, self.settings, self.iteration)
        self.tell(Saved(self.iteration, to.weights, to.state))

    def restore(self, path: Path) -> None:
        """Go on from a snapshot. Raises NktcError."""
        self.iteration = checkpoint.restore(path, self.net, self.optimizer)

    def take_weights(self, path: Path) -> weights.Match:
        """Start from the weights of a file, layers matched by name. Raises NktcError."""
        graph, match = weights.attach(self.net.graph, path)
        self.net.load(graph.arrays)
        return match

    def due(self, interval: int) -> bool:
        """Whether something done every `interval` iterations is due now; never when 0."""
        return interval > 0 and self.iteration % interval == 0

    def tell(self, event: Event) -> None:
        for hook in self.hooks:
            hook(event)
