"""Ways to run a net, measured side by side on this machine; the fastest is kept."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nktc import engines, export
from nktc.errors import NktcError
from nktc.ir import Graph
from nktc.optimize.outcome import PLAIN, Measured
from nktc.optimize.precision import Lowered
from nktc.optimize.samples import Samples
from nktc.optimize.wanted import Wanted

BEHIND = 1.25  # times the fastest: a way that is slower after a first look is not looked at again
ENOUGH = 1.03  # times the best throughput: of batches that come so close, the smallest is the best


@dataclass(frozen=True)
class Way:
    """A way to run a net: a variant of its graph on an engine with options."""

    backend: str
    variant: str
    graph: Graph
    options: engines.Options

    @property
    def name(self) -> str:
        threads = self.options.threads
        parts = [self.backend, self.variant, f"{threads} thread{'s' if threads != 1 else ''}" if threads else ""]
        parts += [f"{key} {value}" for key, value in self.options.settings.items()]
        return ", ".join(filter(None, parts))

    def build(self, threads: int = 0, batch: int = 0) -> engines.Session:
        options = dataclasses.replace(
            self.options, threads=threads or self.options.threads, batch=batch or self.options.batch
        )
        if self.variant == PLAIN:
            return engines.OnnxRuntime().build_plain(self.graph, options)
        return engines.engine(self.backend).build(self.graph, options)


def cores() -> int:
    """How many of the machine's cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ways(lowered: Lowered, backends: Sequence[str], wanted: Wanted) -> list[Way]:
    """Everything that is to be tried."""
    found = []
    gpu = wanted.device.startswith("cuda")
    counts = [wanted.threads] if wanted.threads else [0] if gpu else sorted({1, cores()}, reverse=True)
    for backend in backends:
        signed = export.target(engines.loaded(backend).target).signed if engines.loaded(backend).target else False
        for name, graph in lowered.of(signed).items():
            for threads in counts:
                for settings in _settings(backend, gpu):
                    options = engines.Options(wanted.device, threads, wanted.batch, {**settings, **wanted.settings})
                    found.append(Way(backend, name, graph, options))
    return found


def as_it_is(graph: Graph, wanted: Wanted) -> Way:
    """The net without passes, in fp32, as a plain ONNX file in ONNX Runtime with its own choice of threads."""
    return Way("onnxruntime", PLAIN, graph, engines.Options(wanted.device, wanted.threads, wanted.batch))


def _settings(backend: str, gpu: bool) -> list[dict[str, object]]:
    """The layouts and modes of an engine that are worth trying; most choose for themselves."""
    if gpu and backend == "onnxruntime":
        return [{}, {"layout": "NHWC"}]
    if gpu and backend == "tensorrt":
        return [{}, {"cuda_graph": True}]
    return [{}]


def race(
    tried: Sequence[Way], plain: Way, samples: Samples, batch: int, seconds: float
) -> tuple[list[Measured], Way, list[str]]:
    """Every way measured at a batch, the fastest first and chosen; with notes on those that failed. A second, longer
    look is between those that came close and the `plain` one, which is not up for choice. Raises NktcError where none
    runs."""
    runs: dict[str, Callable[[], object]] = {}
    known: dict[str, Way] = {}
    notes: list[str] = []
    refusals: list[NktcError] = []
    feeds = samples.single(batch)
    for way in (*tried, plain):
        try:
            session = way.build()
            session.run(feeds)
        except NktcError as error:
            refusals.append(error)
            notes.append(f"{way.name} cannot run it: {error.message}")
            continue
        runs[way.name], known[way.name] = _runner(session, feeds), way
    if len({error.message for error in refusals}) == 1 and not runs:
        raise refusals[0]
    if not runs.keys() - {plain.name}:
        raise NktcError(f"no engine runs the net: {'; '.join(notes)}")
    times = engines.race(runs, dict.fromkeys(runs, batch), seconds / 2)
    limit = BEHIND * min(found.median for name, found in times.items() if name != plain.name)
    close = {name: run for name, run in runs.items() if name == plain.name or times[name].median <= limit}
    times |= engines.race(close, dict.fromkeys(close, batch), seconds / 2)
    order = sorted(times, key=lambda name: (name == plain.name, name not in close, times[name].median))
    measured = [
        Measured(n, known[n].backend, known[n].variant, known[n].options.threads, times[n], chosen=n == order[0])
        for n in order
    ]
    return measured, known[order[0]], notes


def by_batch(way: Way, samples: Samples, wanted: Wanted) -> list[Measured]:
    """A way at batches of 1, 2, 4, …; the best is chosen: that of most records a second of those within the limit on
    latency, the smallest of those that come within 3 %."""
    session = way.build()
    batches, runs = [1], {}
    while batches[-1] * 2 <= wanted.most_batch:
        batches.append(batches[-1] * 2)
    for batch in batches:
        runs[str(batch)] = _runner(session, samples.single(batch))
    times = engines.race(runs, {name: int(name) for name in runs}, wanted.seconds)
    within = [t for t in times.values() if not wanted.latency_ms or 1000 * t.median <= wanted.latency_ms]
    if not within:
        within = [times["1"]]
    top = max(found.batch / found.median for found in within)
    best = next(found.batch for found in within if found.batch / found.median * ENOUGH >= top)
    return [
        Measured(
            f"batch {found.batch}", way.backend, way.variant, way.options.threads, found, chosen=found.batch == best
        )
        for found in times.values()
    ]


def by_streams(way: Way, samples: Samples, batch: int, seconds: float) -> list[Measured]:
    """Several sessions at once that share the cores, against one that has them all."""
    whole = way.options.threads or cores()
    found = []
    for streams in sorted({1, whole}):
        threads = max(1, whole // streams)
        sessions = [way.build(threads) for _ in range(streams)]
        feeds = samples.single(batch)
        taken: list[list[float]] = [[] for _ in sessions]
        end = time.perf_counter() + seconds / 2

        def work(
            session: engines.Session, times: list[float], end: float = end, feeds: Mapping[str, np.ndarray] = feeds
        ) -> None:
            session.run(feeds)
            while time.perf_counter() < end or not times:
                start = time.perf_counter()
                session.run(feeds)
                times.append(time.perf_counter() - start)

        workers = [threading.Thread(target=work, args=pair) for pair in zip(sessions, taken, strict=True)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        # Streams run side by side: each forward counts for its share of the time.
        times = engines.Times(batch, tuple(seconds for each in taken for seconds in each), streams)
        name = f"{streams} stream{'s' if streams > 1 else ''} of {threads} thread{'s' if threads > 1 else ''}"
        found.append(Measured(name, way.backend, way.variant, threads, times, streams))
    best = max(found, key=lambda one: one.times.throughput)
    return [dataclasses.replace(one, chosen=one is best) for one in found]


def _runner(session: engines.Session, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
    return lambda: session.run(feeds)
