"""A graph in fewer bits, whatever that takes: samples looked at, layers kept, the drop held."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nktc import engines, export, passes, quantization
from nktc.errors import NktcError, near
from nktc.ir import Graph, cost
from nktc.layers import Convolution
from nktc.optimize.outcome import Scores
from nktc.optimize.samples import Samples
from nktc.optimize.wanted import HALVES, Wanted

Hear = Callable[[str], None]
FEW = 8  # records that the sensitivity of layers is judged by, at most
WORK = 4e9  # floating-point operations that they may take for a layer
SUFFIX = ".json"  # of a calibration table
FULL, SAFE = 127, 63
"""The most steps of a weight. A CPU without VNNI adds pairs of products in 16 bits, which only 7-bit weights fit."""


@dataclass(frozen=True)
class Lowered:
    """The graphs to choose from, by the name of the variant; for a target with signed 8 bits another set."""

    variants: Mapping[str, Graph]
    signed: Mapping[str, Graph] = field(default_factory=dict)
    kept: Sequence[str] = ()
    sensitivity: Sequence[quantization.Sensitivity] = ()
    notes: Sequence[str] = ()

    def of(self, signed: bool) -> Mapping[str, Graph]:
        return self.signed if signed and self.signed else self.variants


def lower(
    variants: Mapping[str, Graph], backends: Sequence[str], wanted: Wanted, seen: Samples, tests: Samples, hear: Hear
) -> Lowered:
    """The variants in the precision that is wanted. `seen` is calibrated with, `tests` tell what it costs. Raises
    NktcError."""
    for name in wanted.keep:
        if all(name not in {node.name, *node.works_for} for graph in variants.values() for node in graph):
            names = dict.fromkeys(one for graph in variants.values() for node in graph for one in node.works_for)
            help = near(name, names) or "nktc show lists the net's layers"
            raise NktcError(f'--keep names no layer that is left: "{name}"', help=help)
    if wanted.save_calibration and wanted.precision != "int8":
        raise NktcError("--save-calibration is for --precision int8: only that is calibrated", help="leave it out")
    if wanted.precision == "fp32":
        return Lowered(variants)
    if wanted.precision in HALVES:
        return _halves(variants, wanted, seen)
    return _eight_bits(next(iter(variants.values())), backends, wanted, seen, tests, hear)


def score(
    run: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]], samples: Samples, output: str
) -> np.ndarray:
    """The place of the largest score of each record: [records]."""
    found = [run(feeds)[output] for feeds in samples.feeds]
    return np.concatenate([y.reshape(len(y), -1).argmax(1) for y in found]) if found else np.zeros(0, np.int64)


def scores(expected: np.ndarray, found: np.ndarray, samples: Samples) -> Scores:
    """Top-1 of two sets of answers, in per cent: against the labels, or of the second against the first."""
    if samples.labels:
        labels = np.concatenate(samples.labels)
        before, after = (100 * float((answers == labels).mean()) for answers in (expected, found))
        return Scores(before, after, samples.records, True)
    return Scores(100.0, 100 * float((expected == found).mean()), samples.records, False)


def scoring(graph: Graph) -> str:
    """The last output that is a row of two scores or more, "" for none."""
    rows = [v.name for v in graph.outputs if len(v.shape) >= 2 and v.shape[1] > 1 and all(n == 1 for n in v.shape[2:])]
    return rows[-1] if rows else ""


def weight_steps() -> int:
    """How many steps a weight in 8 bits may have on this machine's CPU."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return SAFE
    if "avx2" not in flags:
        return FULL  # not an x86 CPU, or one whose products are added in 32 bits
    return FULL if {"avx512_vnni", "avx_vnni"} & {*flags} else SAFE


def _halves(variants: Mapping[str, Graph], wanted: Wanted, seen: Samples) -> Lowered:
    graph = next(iter(variants.values()))
    found = quantization.overflows(graph, seen.feeds) if wanted.precision == "fp16" else []
    keep = {*wanted.keep, *(one.layer for one in found)}
    dtype = HALVES[wanted.precision]
    lowered = {name: passes.assign_precision(variant, dtype, keep) for name, variant in variants.items()}
    notes = [f"OVERFLOW {one}" for one in found]
    if wanted.precision == "fp16" and not seen.real:
        notes.append(
            "fp16 was tried on random inputs alone: give --calibrate PICTURES to look for overflow in real ones"
        )
    return Lowered(lowered, kept=sorted(keep), notes=notes)


def _eight_bits(
    graph: Graph, backends: Sequence[str], wanted: Wanted, seen: Samples, tests: Samples, hear: Hear
) -> Lowered:
    notes = []
    table = _table(graph, wanted, seen, hear)
    if wanted.save_calibration:
        table.save(wanted.save_calibration)
    cpu = any(backend != "tensorrt" for backend in backends)
    most = weight_steps() if cpu else FULL
    if most == SAFE:
        notes.append("weights have 7 bits: this CPU has no VNNI, and adds products of more in too few bits")
    able = [n for n in passes.quantizable(graph) if {n, *graph.node(n).works_for}.isdisjoint(wanted.keep)]
    if not able:
        raise NktcError(
            f"{graph.name} has no layer left that runs in 8 bits",
            help="Convolution and InnerProduct do, where --keep does not name them",
        )

    def lowered(keep: Collection[str], signed: bool = False) -> Graph:
        steps = FULL if signed else most
        return passes.quantize(graph, table.ranges, signed, steps, {*wanted.keep, *keep})

    hear(f"how much each of {len(able)} layers suffers from int8")
    few = seen.single(_few(graph)) if export.follows_batch(graph) else seen.feeds[0]
    sensitivity = quantization.sensitivities(graph, lowered, able, [few])
    kept = []
    if not scoring(graph):
        notes.append("what int8 costs is not known in points: the net has no output that is a row of scores")
    elif not tests.real:
        notes.append("what int8 costs is not known: there is no data of the net's kind to find it out with")
    else:
        kept = _within(graph, lowered, [one.layer for one in sensitivity], backends, wanted, tests, hear)
    if kept:
        told = ", ".join(kept)
        notes.append(
            f"{len(kept)} of {len(able)} layers stay in fp32 to lose at most {wanted.max_drop:g} points: {told}"
        )
    first = next((node.name for node in graph if isinstance(node.layer, Convolution)), "")
    choices = {"int8": tuple(kept)}
    if first in able and first not in kept and len(kept) + 1 < len(able):
        choices[f"int8 but {first}"] = (*kept, first)  # few input channels leave 8 bits little to gain
    variants, signed = ({name: lowered(keep, flag) for name, keep in choices.items()} for flag in (False, True))
    return Lowered(variants, signed, (*wanted.keep, *kept), sensitivity, notes)


def _few(graph: Graph) -> int:
    """How many records layers are judged by: fewer for a net that takes long, for it runs once for each layer."""
    batch = graph.inputs[0].shape[0]
    return max(1, min(FEW, int(WORK * batch / max(1, cost(graph).flops))))


def _table(graph: Graph, wanted: Wanted, seen: Samples, hear: Hear) -> quantization.Table:
    """The calibration table: a file that is given, or what the samples say. Raises NktcError."""
    given = [path for path in wanted.calibrate if path.suffix == SUFFIX]
    if given:
        table = quantization.read_table(given[0])
        if table.blobs.keys().isdisjoint(graph.values):
            help = "its blobs are called otherwise; calibrate with data of this net"
            raise NktcError(f"{given[0]} is the calibration table of another net, {table.net}", help=help)
        return table
    if not seen.real:
        help = "give --calibrate PICTURES (a folder, files, an .npz), or a calibration table"
        raise NktcError("int8 needs data of the net's kind to be calibrated with, and there is none", help=help)
    hear(f"calibrating with {seen.about}")
    return quantization.calibrate(graph, seen.feeds, wanted.calibration)


def _within(
    graph: Graph,
    lowered: Callable[[Collection[str]], Graph],
    ranked: Sequence[str],
    backends: Sequence[str],
    wanted: Wanted,
    tests: Samples,
    hear: Hear,
) -> list[str]:
    """The layers that have to stay in fp32 for top-1 to drop by no more than is allowed."""
    output = scoring(graph)
    engine = engines.engine(next((name for name in backends if name != "tensorrt"), "torch"))
    options = engines.Options("cpu")
    before = score(engine.build(graph, options).run, tests, output)

    def good(keep: Collection[str]) -> bool:
        hear(f"top-1 of {tests.about} with {len(keep)} layers in fp32")
        found = scores(before, score(engine.build(lowered(keep), options).run, tests, output), tests)
        return found.drop <= wanted.max_drop

    return quantization.fall_back(ranked, good)
