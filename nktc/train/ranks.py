"""The processes that train one net together, one a GPU: what they share, and what they agree on."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from nktc.errors import NktcError
from nktc.ir import Graph
from nktc.layers import ArgMax
from nktc.module import Net
from nktc.train.events import Event, Testing

PATIENCE = timedelta(minutes=15)  # how long ranks wait for each other: one may be reading data, or writing a snapshot
SAME = timedelta(seconds=2)  # within which ranks find the same mistake
LOST = 75  # EX_TEMPFAIL, the exit code of a rank that only the loss of another one stopped
PARENT = "NKTC_PARENT"
"""In the environment of a rank that `spawn` started: the process that did. It hosts the store, in which each rank
leaves the error it ends with (`mistake`) and the run's folder (FOLDER), and says why a rank was lost."""
FOLDER = "folder"


class Ranks:
    """One process alone; `rank` of `size`."""

    rank: int = 0
    size: int = 1

    def place(self, device: torch.device) -> None:
        """Train on `device`; every rank must call it. Raises NktcErrors, the same on every rank, where two ranks would
        share a GPU, or some have one and others none."""
        if device.type == "cuda":
            torch.cuda.set_device(device)

    def wrap(self, objective: nn.Module) -> nn.Module:
        """The objective, whose gradients become the mean over all ranks in the backward."""
        return objective

    def gradients_stay(self, objective: nn.Module, wanted: bool) -> AbstractContextManager[None]:
        """Where `wanted`, gradients of a backward inside stay with their rank, to be summed up with those of later
        backwards first."""
        return contextlib.nullcontext()

    def mean(self, loss: Tensor, outputs: Mapping[str, Tensor]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Losses and single-number outputs as the mean over all ranks; every rank must call it."""
        return loss, outputs

    def total(self, tensors: Sequence[Tensor]) -> None:
        """Sum each tensor over all ranks, in place; every rank must call it with the same shapes."""

    def agree(self, stop: bool, snapshot: bool) -> tuple[bool, bool]:
        """What any rank asks for, told to all at the same iteration; every rank must call it, equally often."""
        return stop, snapshot

    def gather(self, thing: Any) -> list[Any]:
        """What each rank gave, in the order of the ranks; every rank must call it."""
        return [thing]

    def tell_folder(self, folder: str) -> None:
        """Let whoever started the ranks know the run's folder."""

    def hear(self, event: Event) -> None:
        """A hook for the solver of every rank: before a test all take rank 0's state that does not learn, BatchNorm's
        sums above all, so that tested is what is saved, as in Caffe, where the first GPU tests."""


ALONE = Ranks()


class Several(Ranks):
    """One process of several, over torch.distributed's default group; losses and gradients as Caffe has them with
    several GPUs, the mean over all, which is clipped then."""

    def __init__(self, rank: int, size: int, store: Store) -> None:
        self.rank, self.size, self._store = rank, size, store
        self._asked: tuple[distributed.Work, Tensor] | None = None
        self._state: list[Tensor] = []
        self._parent = os.environ.get(PARENT)

    def place(self, device: torch.device) -> None:
        places = self.gather((str(device), identity(device)))
        help = "--device cuda gives every rank the GPU of its LOCAL_RANK; start as many ranks as there are GPUs"
        first = places[0][0]
        for rank, (name, gpu) in enumerate(places):
            for other, (_, another) in enumerate(places[:rank]):
                if gpu and gpu == another:
                    raise NktcError(f"ranks {other} and {rank} are both to train on {name}", help=help)
            if (name == "cpu") != (first == "cpu"):
                raise NktcError(f"rank 0 is to train on {first}, rank {rank} on {name}", help=help)
        super().place(device)

    def wrap(self, objective: nn.Module) -> nn.Module:
        net = objective.net
        assert isinstance(net, Net)
        parameters = net.graph.parameters.values()
        self._state = [net.tensor(p.name) for p in parameters if not p.weight.learns and p.weight.kept]
        learning = {p.name for p in parameters if net.tensor(p.name).requires_grad}
        if not learning:
            return objective
        return DistributedDataParallel(
            _LossAlone(objective),
            find_unused_parameters=not learning <= reached(net.graph),
            gradient_as_bucket_view=True,
        )

    def gradients_stay(self, objective: nn.Module, wanted: bool) -> AbstractContextManager[None]:
        # A compiled module has the attributes of what it was made from.
        stay = getattr(objective, "no_sync", None)
        return stay() if wanted and stay else contextlib.nullcontext()

    @torch.no_grad()
    def mean(self, loss: Tensor, outputs: Mapping[str, Tensor]) -> tuple[Tensor, Mapping[str, Tensor]]:
        numbers = {name: y for name, y in outputs.items() if y.numel() == 1 and y.is_floating_point()}
        together = torch.stack([loss.float(), *(y.detach().float().reshape(()) for y in numbers.values())])
        distributed.all_reduce(together)
        mean, *rest = (together / self.size).unbind()
        means = {name: x.reshape(y.shape) for (name, y), x in zip(numbers.items(), rest, strict=True)}
        return mean, {**outputs, **means}

    @torch.no_grad()
    def total(self, tensors: Sequence[Tensor]) -> None:
        if not tensors:
            return
        together = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(together)
        for tensor, part in zip(tensors, together.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view(tensor.shape))

    def agree(self, stop: bool, snapshot: bool) -> tuple[bool, bool]:
        """As for one process, but a call late: the answer to what was asked in the call before, so that nobody
        waits for it."""
        orphaned = self._parent is not None and os.getppid() != int(self._parent)
        before, asked = self._asked, torch.tensor([stop or orphaned, snapshot], dtype=torch.uint8)
        # On the CPU, where it does not queue behind the device's work.
        work = distributed.all_reduce(asked, distributed.ReduceOp.MAX, async_op=True)
        self._asked = work, asked
        if not before:
            return False, False
        before[0].wait()
        stop, snapshot = map(bool, before[1].tolist())
        return stop, snapshot

    def gather(self, thing: Any) -> list[Any]:
        found: list[Any] = [None] * self.size
        distributed.all_gather_object(found, thing)
        return found

    def tell_folder(self, folder: str) -> None:
        self._store.set(FOLDER, folder)

    @torch.no_grad()
    def hear(self, event: Event) -> None:
        if isinstance(event, Testing) and self._state:
            together = torch.cat([tensor.reshape(-1) for tensor in self._state])
            distributed.broadcast(together, 0)
            if self.rank:
                for tensor, part in zip(self._state, together.split([t.numel() for t in self._state]), strict=True):
                    tensor.copy_(part.view(tensor.shape))

    def end(self) -> None:
        """Wait until all ranks are here: rank 0 may be writing still, and it may host what the others talk through."""
        if self._asked:
            self._asked[0].wait()
            self._asked = None
        self.gather(None)

    def told(self, error: NktcError) -> bool:
        """Whether rank 0 says the same; every rank that goes down must ask."""
        text, same = str(error), False
        with contextlib.suppress(distributed.DistError):  # the store may be gone with its host
            if self.rank == 0:
                self._store.set(mistake(0), text)
                if self._parent is None:  # the store may be in this process, and the others read it
                    self._store.wait([mistake(rank) for rank in range(1, self.size)], SAME)
            else:
                with contextlib.suppress(distributed.DistStoreError):
                    self._store.wait([mistake(0)], SAME)
                    same = self._store.get(mistake(0)).decode() == text
                self._store.set(mistake(self.rank), text)
        return same

    def explained(self) -> bool:
        """Whether another rank said why it stopped, or whoever started the ranks will."""
        if self._parent is not None:
            return True
        try:
            return any(self._store.check([mistake(rank)]) for rank in range(self.size) if rank != self.rank)
        except distributed.DistError:
            return False


class _LossAlone(nn.Module):
    """An objective as DistributedDataParallel is to see it. Its outputs have no gradient: that of an output which the
    loss does not count would be waited for. And it has no state, which would be made rank 0's in every forward: a
    recurrent one belongs to the rank's own sequences, and BatchNorm's sums are not read before a test."""

    def __init__(self, objective: nn.Module) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, *inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss, outputs = self.objective(*inputs)
        return loss, {name: y.detach() for name, y in outputs.items()}

    def named_buffers(self, *_: Any, **__: Any) -> Iterator[tuple[str, Tensor]]:
        return iter(())


def reached(graph: Graph) -> set[str]:
    """The parameters that the objective has a gradient for."""
    found: set[str] = set()
    wanted = {name for name, _ in graph.losses}
    for node in reversed(graph.nodes):
        if isinstance(node.layer, ArgMax):  # has no gradient
            continue
        if any(value.name in wanted for value in node.outputs):
            found.update(node.weights.values())
            goes_on = node.propagate or (True,) * len(node.inputs)
            wanted.update(value.name for value, goes in zip(node.inputs, goes_on, strict=True) if goes)
    return found


def identity(device: torch.device) -> str:
    """What tells a GPU from all others, those of other machines too; empty for the CPU."""
    return str(torch.cuda.get_device_properties(device).uuid) if device.type == "cuda" else ""


def mistake(rank: int) -> str:
    """The key of the error that a rank ended with."""
    return f"error/{rank}"


def started() -> bool:
    """Whether this process is a rank that something started, be it the only one."""
    return {"RANK", "WORLD_SIZE"} <= os.environ.keys()


def local_rank() -> int:
    """Which of the ranks on this machine this process is; 0 alone. Raises NktcError."""
    return _number("LOCAL_RANK", 0) if started() else 0


def restarted() -> bool:
    """Whether the ranks were started again after one was lost. Raises NktcError."""
    return started() and _number("TORCHELASTIC_RESTART_COUNT", 0) > 0


def may_restart() -> bool:
    """Whether torchrun starts the ranks again where one is lost; `spawn` tells them the run's folder itself. Raises
    NktcError."""
    return started() and PARENT not in os.environ and _number("TORCHELASTIC_MAX_RESTARTS", 0) > 0


@contextlib.contextmanager
def join() -> Iterator[Ranks]:
    """The ranks that this process is one of, as `spawn` or torchrun started it; ALONE where it was started by itself.

    A NktcError that leaves it is said by one rank only: where rank 0 says it too, another one just exits. Raises
    NktcErrors where the others cannot be reached or are lost.
    """
    if not started() or _number("WORLD_SIZE") == 1:
        yield ALONE
        return
    group, well = _meet(_number("RANK"), _number("WORLD_SIZE")), False
    try:
        yield group
        group.end()
        well = True
    except NktcError as error:
        if group.told(error):
            raise SystemExit(1) from None
        raise
    except RuntimeError as error:
        if not _of_peers(error):
            raise
        if group.explained():
            raise SystemExit(LOST) from None
        help = "see what the others said; go on from the newest snapshot with --snapshot latest and the --run-dir"
        raise NktcError(f"rank {group.rank} lost the other ranks: {_short(error)}", help=help) from None
    finally:
        if not well and distributed.group.WORLD:
            distributed.group.WORLD.abort()  # NCCL would wait for a lost rank
        distributed.destroy_process_group()
        # gloo's threads give back the tensors of the last exchange under the interpreter's lock; one that asks for it
        # when the interpreter is ending aborts the process.
        time.sleep(0.05)


def _meet(rank: int, size: int) -> Several:
    place = f"{os.environ.get('MASTER_ADDR', 'MASTER_ADDR')}:{os.environ.get('MASTER_PORT', 'MASTER_PORT')}"
    try:
        store: Store
        if PARENT in os.environ:
            host, _, port = place.rpartition(":")
            store = TCPStore(host, int(port), is_master=False, timeout=PATIENCE)
        else:
            store, rank, size = next(rendezvous("env://", timeout=PATIENCE))
        # Flags and objects of the host go over gloo, tensors of a GPU over NCCL.
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and distributed.is_nccl_available() else "gloo"
        distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        help = "start every machine with the same torchrun command, as many as --nnodes says"
        raise NktcError(
            f"rank {rank} of {size} cannot reach the others at {place}: {_short(error)}", help=help
        ) from None
    return Several(rank, size, store)


def _of_peers(error: RuntimeError) -> bool:
    """Whether an error is of the talk between ranks; gloo's have no type of their own."""
    return isinstance(error, distributed.DistError) or "/gloo/" in str(error)


def _short(error: Exception) -> str:
    """The first sentence of an error, without the place in PyTorch's source that it may begin with."""
    line = str(error).strip().partition("\n")[0]
    return line.partition("] ")[2].partition(". ")[0] if line.startswith("[/") else line.partition(". ")[0]


def _number(name: str, default: int | None = None) -> int:
    """A number of the environment. Raises NktcError."""
    text = os.environ.get(name, "" if default is None else str(default))
    if not text.isdigit():
        raise NktcError(f'{name} is "{text}" in the environment', help="torchrun sets it to a number")
    return int(text)
