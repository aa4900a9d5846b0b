"""Starting a rank for each GPU of this machine, and watching over them until all have ended.

torchrun does this over several machines. On one we do it ourselves: Ctrl-C and a hang-up have the effects that Caffe
gives them, a rank may take its time to save, and what went wrong is said in one place.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from nktc import runs
from nktc.errors import NktcError
from nktc.train.interrupts import Effects
from nktc.train.ranks import FOLDER, LOST, PARENT, local_rank, mistake, started

HERE = "127.0.0.1"
GRACE = 5.0  # seconds that the other ranks have to end after one was lost
LINES = 60  # of what a rank says are kept, to be shown where it crashes


def own_device(
    gpu: str | None, count: int | None, device: str, restarts: int, effects: Effects, console: Console
) -> str:
    """The device of this process, from --gpu, --ranks and --device.

    Where several are asked for and this process is none of their ranks yet, it starts them with its own command line,
    waits for them, and ends as they end. Raises NktcErrors.
    """
    devices = _devices(gpu, count, device)
    if started():
        if len(devices) == 1:
            return devices[0]
        if local_rank() >= len(devices):
            raise NktcError(f"rank {local_rank()} of this machine has no device: there are {', '.join(devices)}")
        return devices[local_rank()]
    if len(devices) > 1:
        raise SystemExit(_Job(devices, effects, console).run(restarts))
    if restarts:
        raise NktcError("--restarts is for several ranks", help="add --gpu all, or --ranks 2")
    return devices[0]


def _devices(gpu: str | None, count: int | None, device: str) -> list[str]:
    if sum((gpu is not None, count is not None, device != "auto")) > 1:
        raise NktcError("--gpu, --ranks and --device exclude each other", help="--gpu 0,1 names the GPUs to train on")
    if count is not None:
        return ["cpu"] * count
    if gpu is None:
        return [device]
    there = torch.cuda.device_count()
    if gpu == "all":
        if not there:
            raise NktcError("--gpu all: PyTorch finds no usable NVIDIA GPU", help="--device cpu trains without one")
        return [f"cuda:{number}" for number in range(there)]
    numbers = gpu.split(",")
    if not all(number.isdecimal() for number in numbers):
        raise NktcError(f'--gpu "{gpu}" names no GPUs', help="write --gpu 0,1 or --gpu all")
    found = [f"cuda:{int(number)}" for number in numbers]
    for name in found:
        if found.count(name) > 1:
            raise NktcError(f"--gpu {gpu} names GPU {name[5:]} twice")
        if int(name[5:]) >= there:
            problem = f"there is no GPU {name[5:]}, only {there}" if there else "PyTorch finds no usable NVIDIA GPU"
            raise NktcError(f"--gpu {gpu}: {problem}", help="--device cpu trains without one")
    return found


@dataclass
class _Rank:
    """A running rank, and the last lines it said where they go nowhere else."""

    process: subprocess.Popen[str]
    said: deque[str]
    listener: threading.Thread | None


@dataclass
class _Job:
    """The ranks of one training on this machine."""

    devices: Sequence[str]
    effects: Effects
    console: Console
    ranks: list[_Rank] = field(default_factory=list)
    fallen: list[int] = field(default_factory=list)  # ranks that failed, in the order in which they did
    stopping: bool = False  # a signal asked for it

    def run(self, restarts: int) -> int:
        """Start the ranks, again up to `restarts` times where one was lost; the exit code."""
        folder = None
        for attempt in range(restarts + 1):
            store = TCPStore(HERE, 0, is_master=True, wait_for_workers=False)
            with self._signals():
                try:
                    self._start(store, attempt, folder)
                    self._wait()
                finally:
                    self._kill()
            begun = store.check([FOLDER])
            folder = store.get(FOLDER).decode() if begun else folder
            codes = [rank.process.returncode for rank in self.ranks]
            if not any(codes) or (self.stopping and not begun):
                return int(any(codes))
            if (text := self._mistake(store)) is not None:
                self._say(text)
                return 1
            error = self._loss(codes, folder)
            if attempt == restarts or self.stopping:
                raise error
            self._say(f"{error.message}: starting again, {attempt + 1} of {restarts}")
        return 1

    def _start(self, store: TCPStore, attempt: int, folder: str | None) -> None:
        self.ranks, self.fallen, size = [], [], len(self.devices)
        environment = os.environ | {
            PARENT: str(os.getpid()),
            "MASTER_ADDR": HERE,
            "MASTER_PORT": str(store.port),
            "WORLD_SIZE": str(size),
            "LOCAL_WORLD_SIZE": str(size),
            "TORCHELASTIC_RESTART_COUNT": str(attempt),
        }
        # All are here: no name that the network gives this machine is needed.
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // size)))
        command = [sys.executable, *sys.orig_argv[1:], *(["--run-dir", folder] if folder else [])]
        for rank in range(size):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            # In a session of its own: what the terminal sends comes to us alone.
            process = subprocess.Popen(
                command,
                env=environment | own,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if rank else None,
                stderr=subprocess.STDOUT if rank else None,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            said: deque[str] = deque(maxlen=LINES)
            listener = None
            if process.stdout:
                listener = threading.Thread(target=said.extend, args=[process.stdout], daemon=True)
                listener.start()
            self.ranks.append(_Rank(process, said, listener))

    def _wait(self) -> None:
        """Until all ranks have ended, or one has failed and the others had their time to."""
        deadline = float("inf")
        while True:
            codes = [rank.process.poll() for rank in self.ranks]
            new = [rank for rank, code in enumerate(codes) if code and rank not in self.fallen]
            # Of those that failed at once, a signal is the cause of the rest.
            self.fallen += sorted(new, key=lambda rank: (codes[rank] or 0) > 0)
            if self.fallen:
                deadline = min(deadline, time.monotonic() + GRACE)
            if None not in codes or time.monotonic() > deadline:
                return
            time.sleep(0.05)

    def _kill(self) -> None:
        for rank in self.ranks:
            if rank.process.poll() is None:
                rank.process.kill()
        for rank in self.ranks:
            rank.process.wait()
            if rank.listener:
                rank.listener.join(1)

    def _mistake(self, store: TCPStore) -> str | None:
        """What another rank found wrong for the user to mend, "" where rank 0 has said it, None where nothing is."""
        keys = {rank: mistake(rank) for rank in range(len(self.ranks)) if store.check([mistake(rank)])}
        texts = {rank: store.get(key).decode() for rank, key in keys.items()}
        for rank, text in texts.items():
            if text != texts.get(0):
                return f"{text}\nnote: found by {self._name(rank)}"
        return "" if texts else None

    def _loss(self, codes: Sequence[int], folder: str | None) -> NktcError:
        """How the first rank was lost; what it said last is printed."""
        rank = next((rank for rank in self.fallen if codes[rank] != LOST), self.fallen[0])
        how = f"was killed by {_signal(-codes[rank])}" if codes[rank] < 0 else f"ended with exit code {codes[rank]}"
        self._say("".join(self.ranks[rank].said))
        saved = folder and any(event["event"] == "saved" for event in runs.Run(Path(folder)).events())
        help = f"go on with --run-dir {folder} --snapshot latest" if saved else "there is no snapshot yet to go on from"
        if codes[rank] == -signal.SIGKILL:
            help += "; the system kills so what takes the last of the memory"
        return NktcError(f"{self._name(rank)} {how}", help=help)

    def _say(self, text: str) -> None:
        if text:
            self.console.print(text.rstrip("\n"), markup=False, highlight=False, soft_wrap=True)

    def _name(self, rank: int) -> str:
        device = self.devices[rank]
        return f"rank {rank} (GPU {device[5:]})" if device.startswith("cuda") else f"rank {rank}"

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """What a signal asks of this process it asks of rank 0, which agrees with the others on the iteration to do it
        at. The second that stops does so at once."""

        def pass_on(number: int, effect: str) -> None:
            if effect == "stop":
                if self.stopping:
                    raise KeyboardInterrupt
                self.stopping = True
            if self.ranks:
                self.ranks[0].process.send_signal(number)

        effects = {signal.SIGINT: self.effects.sigint, signal.SIGTERM: "stop"}
        if hasattr(signal, "SIGHUP"):
            effects[signal.SIGHUP] = self.effects.sighup
        before = {
            number: signal.signal(number, lambda number, _: pass_on(number, effects[signal.Signals(number)]))
            for number in effects
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
