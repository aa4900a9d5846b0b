"""The solver: Caffe's loop over the training step."""

from __future__ import annotations

import contextlib
import gc
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from nktc import module, weights
from nktc.errors import NktcError, Note
from nktc.module import Net
from nktc.schema import SolverParameter
from nktc.train import chance, checkpoint, optimizers, precision, schedules
from nktc.train.average import Average
from nktc.train.checkpoint import Extra
from nktc.train.debug import debug_step
from nktc.train.evaluate import evaluate
from nktc.train.events import Ended, Event, Hook, Said, Saved, Started, Stepped, Tested, Testing
from nktc.train.feeding import Feeding
from nktc.train.guard import Diverged, Fault, Guard, bad_weights
from nktc.train.optimizers import Learned
from nktc.train.precision import LossScale
from nktc.train.ranks import ALONE, Ranks
from nktc.train.settings import Settings
from nktc.train.speed import Speed
from nktc.train.step import Objective, Parts, make_step
from nktc.train.watch import stopped_gaining, watch


class Solver:
    """One training run in this process.

    `net` and the `tests` (test nets with their feeding) are on `device` already; the test nets hold the training
    net's tensors. Snapshots go to `prefix`_iter_N, snapshot_prefix to begin with. Whoever listens gets every event, in
    order; with several `ranks` each has its own solver, and they go through the same iterations.
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
        speed: Speed | None = None,
        ranks: Ranks = ALONE,
        seed: int = 0,
    ) -> None:
        self.settings, self.net, self.feeding, self.tests = settings, net, feeding, tests
        self.hooks, self.ranks, self.seed = hooks, ranks, seed
        self.device = device or torch.device("cpu")
        s = settings.message
        self.prefix = Path(s.snapshot_prefix or settings.name)
        self.iteration = 0
        self.stopping = False  # agreed on by all ranks
        self.stop_asked = self.snapshot_asked = False  # by a signal, say
        self.losses: deque[Tensor] = deque(maxlen=s.average_loss)
        self.written: list[Path] = []  # states of snapshots, the oldest first
        self.watch = watch(settings, [test.graph for test, _ in tests])
        self.plateau = schedules.Plateau()
        for test, _ in tests:
            test.share(net)
        self.run_as(speed or Speed())

    def run_as(self, speed: Speed, ranks: Ranks | None = None) -> None:
        """Lay the weights out and put the step together for `speed`; histories and averages start anew."""
        for old in ("step", "optimizer", "average"):
            vars(self).pop(old, None)
        gc.collect()  # what was before is free before new memory is asked for
        module.give_back()
        s, net, self.speed = self.settings.message, self.net, speed
        layout = torch.channels_last if speed.channels_last else torch.contiguous_format
        net.to(memory_format=layout)  # type: ignore[call-overload]
        learned = [
            Learned(p.name, tensor, p.lr_mult, p.decay_mult)
            for p in net.graph.parameters.values()
            if (tensor := net.tensor(p.name)).requires_grad
        ]
        self.optimizer = optimizers.make(learned, self.settings)
        self.average = Average(net, s.ema_decay) if s.ema_decay else None
        self.scale = LossScale(s.loss_scale, self.device) if s.precision == SolverParameter.FP16 else None
        self.guard = Guard(net, s.max_loss)
        parts = Parts(
            self.settings, net, self.optimizer, self.device, ranks or self.ranks, self.guard, self.average, self.scale
        )
        if self.debugs:
            self.step = debug_step(parts, lambda line, where: self.tell(Said(self.iteration, line, where)))
        else:
            self.step = make_step(parts, speed)

    @property
    def debugs(self) -> bool:
        """Whether the solver or its net has debug_info."""
        return self.settings.message.debug_info or self.settings.train_net.message.debug_info

    def run(self) -> None:
        """Train from `iteration` to max_iter, or until told to stop; then save and test as the settings say. Raises a
        NktcError when the loss goes bad."""
        s, loss = self.settings.message, None
        self.deadline = time.monotonic() + s.max_seconds if s.max_seconds else float("inf")
        batches = self.feeding.ahead(self.iteration * s.iter_size)
        self.tell(Started(self.iteration))
        while self.iteration < s.max_iter and not self.stopping:
            if self.due(s.test_interval) and (self.iteration or s.test_initialization):
                self.test()
                if self.stopping:
                    break
            rate = self.told_rate if self.windows else self.rate()
            try:
                loss, outputs = self.step(batches, rate, self.iteration)
            except Diverged as bad:
                raise self.diverged(bad) from None
            except RuntimeError as error:
                if module.out_of_memory(error):
                    said, help = f"no memory is left at iteration {self.iteration}", module.SMALLER
                elif type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                    reason = str(error).partition("\n")[0]
                    said, help = f"torch.compile does not take this net: {reason}", "leave compile out of speed"
                else:
                    raise
                raise self.failed(NktcError(said, help=help)) from None
            self.losses.append(loss)
            self.tell(Stepped(self.iteration, loss, outputs, self.rate()))
            self.iteration += 1
            if self.obey() or self.due(s.snapshot):
                self.save()
        if s.snapshot_after_train and not self.due(s.snapshot):
            self.save()
        if not self.stopping and self.due(s.test_interval):
            self.test()
        self.tell(Ended(self.iteration, self.stopping, loss))

    @contextlib.contextmanager
    def untouched(self) -> Iterator[None]:
        """Steps at rate 0 inside leave no trace but in histories: random state and the net's own state are put back."""
        state = {name: buffer.clone() for name, buffer in self.net.named_buffers()}
        with chance.untouched(self.device):
            yield
        for name, buffer in self.net.named_buffers():
            buffer.copy_(state[name])

    def rate(self) -> float:
        """The learning rate of this iteration, with SSD's plateau once its loss is known."""
        return schedules.rate(self.settings, self.iteration, self.drops)

    @property
    def windows(self) -> Sequence[int]:
        """After how many iterations without a lower loss SSD's plateau lowers the rate, each time; empty for others."""
        return self.settings.message.plateau_winsize if self.settings.message.lr_policy == "plateau" else ()

    @property
    def drops(self) -> int:
        """How often plateau has lowered the rate."""
        return self.plateau.drops if self.windows else self.watch.drops if self.watch else 0

    def told_rate(self, loss: Tensor) -> float:
        """The rate of this iteration by its loss and those before."""
        losses = [*self.losses, loss][-self.settings.message.average_loss :]
        self.plateau.take(self.windows, self.iteration, _mean(losses))
        return self.rate()

    def smoothed(self) -> float:
        """The mean of the last average_loss losses, NaN before the first."""
        return _mean([*self.losses]) if self.losses else float("nan")

    def obey(self) -> bool:
        """Stop where a signal or the time asks for it; whether to save. All ranks do so at the same iteration."""
        asked = self.stop_asked or time.monotonic() > self.deadline
        # Taken before they agree: what a signal asks for meanwhile is for the next time.
        wanted, self.snapshot_asked = self.snapshot_asked, False
        stop, save = self.ranks.agree(asked, wanted)
        self.stopping |= stop
        return save

    def test(self) -> None:
        """Evaluate every test net; then stop, lower the rate or save the best as the metric says. An iteration is
        tested once: a run that goes on from a snapshot made after the test has it behind it."""
        if not self.watch:
            return
        if self.watch.tested < self.iteration:
            found = self.evaluate()
            if not found:
                self.stopping = True
                return
            if self.watch.take(self.iteration, *found) and self.settings.message.snapshot_best:
                self.save("best")
        if stopped_gaining(self.settings, self.watch):
            self.tell(Said(self.iteration, f"{self.watch.metric} gained nothing in {self.watch.since} tests: stopping"))
            self.stopping = True

    def evaluate(self) -> tuple[dict[str, Tensor], Tensor] | None:
        """Evaluate every test net, on the averaged weights where an average is kept: the result of the first. None
        where it was left, with what the tests changed put back, so that they can be done again."""
        before, results = self.own(), []
        with self.average.in_place() if self.average else contextlib.nullcontext():
            for index, ((net, feeding), test) in enumerate(zip(self.tests, self.settings.test_nets, strict=True)):
                self.tell(Testing(self.iteration, index))
                found = evaluate(self.objective(net), feeding, test.iterations, self.ranks, self.interrupted)
                if not found:
                    self.take_own(before)
                    return None
                self.tell(Tested(self.iteration, index, *found))
                results.append(found)
        return results[0]

    def objective(self, net: Net) -> Objective:
        """A test net with its loss, computed as the training net is."""
        return Objective(net, self.settings, self.speed, self.device)

    def interrupted(self) -> bool:
        """Whether a test under way is to be left, by all ranks at the same batch."""
        stop, snapshot = self.ranks.agree(self.stop_asked, self.snapshot_asked)
        self.snapshot_asked |= snapshot
        return stop

    def save(self, name: str = "") -> None:
        """Write a snapshot, "best" or "diverged" by `name`, on rank 0; every rank must call it. Raises NktcError where
        the weights have gone bad."""
        s = self.settings.message
        if fault := self.spoiled():
            said = f"the weights are bad after iteration {self.iteration - 1}: {fault.said}"
            raise self.failed(NktcError(said, at=fault.at, help=fault.help, code="diverged"))
        to = checkpoint.files(self.prefix, name or self.iteration, self.settings.hdf5)
        self.written += [Path(os.path.abspath(to.state))] * (not name)
        extra = self.extra()
        self.snapshot_asked = False
        if self.ranks.rank:
            return
        step = schedules.current_step(self.settings, self.iteration, self.drops)
        checkpoint.save(to, self.net, self.optimizer, extra, self.iteration, step, s.snapshot_diff, self.average)
        if not name:
            self.written = checkpoint.prune(self.prefix, self.written, s.snapshot_keep)
        if name != "diverged":  # nobody should take those weights for the run's
            self.tell(Saved(self.iteration, to.average if self.average else to.weights, to.state, name == "best"))

    def restore(self, path: Path) -> None:
        """Go on from a snapshot. Raises NktcError, and is what it was before then."""
        self.iteration, extra = checkpoint.restore(path, self.net, self.optimizer)
        self.take(extra)

    def extra(self) -> Extra:
        """What a snapshot keeps beside weights and histories, so that a resumed run is the same to the bit; every rank
        must call it. What a Python layer keeps in attributes of its own is not in it."""
        tensors = {"losses": torch.stack([*self.losses]).cpu()} if self.losses else {}
        if self.average:
            tensors |= {f"average/{name}": mean.cpu() for name, mean in self.average.means.items()}
        if self.scale:
            tensors |= {"scale": self.scale.scale.cpu(), "steady": self.scale.steady.cpu()}
        for rank, own in enumerate(self.ranks.gather(self.own())):
            tensors |= {f"rank {rank}/{name}": value for name, value in own.items()}
        facts = {"seed": self.seed, "speed": str(self.speed), "most": self.guard.most}
        facts |= {"written": [str(state) for state in self.written]}
        facts |= {"plateau": self.plateau.facts()} if self.windows else {}
        return Extra(facts | ({"watch": self.watch.facts()} if self.watch else {}), tensors)

    def take(self, extra: Extra | None) -> None:
        """Take up what `extra` gave; None for a snapshot of Caffe's, which has none."""
        facts, tensors = (extra.facts, extra.tensors) if extra else ({}, {})
        self.losses.extend(tensors.get("losses", torch.empty(0)).to(self.device).unbind())
        self.written = [Path(state) for state in facts.get("written", [])]
        self.guard.most = self.guard.most or facts.get("most", 0.0)
        if self.windows and "plateau" in facts:
            self.plateau.resume(facts["plateau"])
        if self.watch and "watch" in facts:
            self.watch.resume(facts["watch"])
        if self.average:
            self.average.load(_below("average/", tensors))
        if self.scale and "scale" in tensors:
            self.scale.scale.copy_(tensors["scale"])
            self.scale.steady.copy_(tensors["steady"])
        self.take_own(_below(f"rank {self.ranks.rank}/", tensors))

    def own(self) -> dict[str, Tensor]:
        """What this rank has alone, copied to the host: random state, and what its nets carry from batch to batch."""
        carried = {name: tensor.to("cpu", copy=True) for name, tensor in self._carried()}
        return chance.random_state(self.device) | carried

    def take_own(self, own: Mapping[str, Tensor]) -> None:
        """Take up what `own` gave; a state for batches of another size begins anew."""
        chance.set_random_state(own, self.device)
        for name, tensor in self._carried():
            if name in own and own[name].shape == tensor.shape:
                tensor.copy_(own[name])

    def _carried(self) -> Iterator[tuple[str, Tensor]]:
        nets = {"": self.net} | {f"test {i}/": net for i, (net, _) in enumerate(self.tests)}
        for start, net in nets.items():
            for p in net.graph.parameters.values():
                if p.weight.volatile:
                    yield start + p.name, net.tensor(p.name)

    def take_weights(self, path: Path) -> weights.Match:
        """Start from the weights of a file, layers matched by name. Raises NktcError."""
        graph, match = weights.attach(self.net.graph, path)
        self.net.load(graph.arrays)
        if self.average:
            self.average.load({})
        return match

    def diverged(self, bad: Diverged) -> NktcError:
        """Save the state before the iteration whose loss is bad, and say which layer went bad first."""
        self.optimizer.zero()  # snapshot_diff would save them
        saved = None
        if not self.spoiled():
            self.save("diverged")
            saved = checkpoint.files(self.prefix, "diverged", self.settings.hdf5).state
        with precision.autocast(self.settings.message.precision, self.device):
            return self.failed(self.guard.blame(bad, self.iteration), saved)

    def spoiled(self) -> Fault | None:
        """What is said of the first weight, of any rank, that is not finite; every rank must call it."""
        return next(filter(None, self.ranks.gather(bad_weights(self.net))), None)

    def failed(self, error: NktcError, saved: Path | None = None) -> NktcError:
        """An error that ends the training, told to whoever listens, with what there is to go on from."""
        notes = [Note(f"the state before that iteration is in {saved}")] if saved else []
        notes += [Note(f"the last snapshot before is {os.path.relpath(state)}") for state in self.written[-1:]]
        for line in (error.message, *(note.message for note in notes)):
            self.tell(Said(self.iteration, line))
        return error.located(None, *notes)

    def due(self, interval: int) -> bool:
        """Whether something done every `interval` iterations is due now; never when 0."""
        return interval > 0 and self.iteration % interval == 0

    def tell(self, event: Event) -> None:
        for hook in self.hooks:
            hook(event)


def _mean(losses: Sequence[Tensor]) -> float:
    return sum(loss.item() for loss in losses) / len(losses)


def _below(start: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names start so, by the rest of their names."""
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
