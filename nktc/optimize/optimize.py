"""The road from a trained net to an engine file, from its first step to its last."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast

import torch

from nktc import data, engines, export, files, models, passes
from nktc.errors import NktcError
from nktc.ir import Graph, Phase, rewrite
from nktc.optimize import samples
from nktc.optimize.outcome import Measured, Outcome, Scores
from nktc.optimize.precision import Hear, lower, score, scores, scoring
from nktc.optimize.race import Way, as_it_is, by_batch, by_streams, race, ways
from nktc.optimize.samples import Samples
from nktc.optimize.wanted import HALVES, Wanted

TOLERANCES = {"fp32": 1e-4, "fp16": 0.03, "bf16": 0.15, "int8": 0.15}
"""How far the file may be from the net, over the size of a blob's largest value; int8 from the net in 8 bits in torch,
where a rounding that falls to the other side moves a value by a step."""

ONNX = ".onnx"
READ_ONLY = {".ort", ".xml"}  # which runtimes read, and their own tools write
MEASURED = ("precision", "kept", "scores", "measured", "curve", "streams", "proof")
"""What of an outcome goes into the sidecar."""

CALIBRATING = 512  # records that are looked at for ranges
PROVING = 2  # batches that are compared blob by blob


def optimize(
    model: Path,
    weights: Sequence[str],
    output: Path,
    wanted: Wanted,
    places: data.Places,
    hear: Hear = lambda what: None,
) -> Outcome:
    """The fastest engine file for a run's folder, or a prototxt with weights, on this machine.

    `hear` is told what is being done. The file, its sidecar and its report are written only where the file is proved to
    agree with the net. Raises NktcError.
    """
    backends = _backends(output, wanted)
    graph, origin = _open(model, weights, places)
    if not graph.inputs:
        raise NktcError(f"{graph.name} takes nothing: there is nothing to run it on")
    _try_writing(output)  # which may be refused, so before the work
    if wanted.batch:
        graph = rewrite.with_batch(graph, wanted.batch)
    hear("running the passes")
    optimised = passes.run(graph, _passes(wanted))
    variants = _variants(optimised.graph, wanted)
    own = _samples(model, graph, wanted, places)
    follows = export.follows_batch(graph)
    if not follows:
        own = own[0].in_batches(graph.inputs[0].shape[0]), own[1].in_batches(graph.inputs[0].shape[0])
    # The net may take its pictures otherwise now.
    change = samples.change(graph.preprocessing, optimised.graph.preprocessing)
    seen, tests = (one.changed(change) for one in own)
    lowered = lower(variants, backends, wanted, seen, tests, hear)
    hear(f"measuring {', '.join(backends)}")
    fixed = wanted.batch or (0 if follows else graph.inputs[0].shape[0])
    batch = fixed or 1
    tried, plain = ways(lowered, backends, wanted), as_it_is(graph, wanted)
    measured, way, failed = race(tried, plain, seen, batch, 2 * wanted.seconds)
    hear("measuring other batches")
    curve = [] if fixed else by_batch(way, seen, wanted)
    best = next(one for one in (*curve, *measured) if one.chosen).times
    several = wanted.goal == "throughput" and not _on_gpu(wanted) and not fixed
    streams = by_streams(way, seen, best.batch, wanted.seconds) if several else []
    used = next(one for one in (*streams, *measured) if one.chosen)
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        draft = Path(folder) / output.name
        _write(draft, way, origin, wanted)
        hear("comparing the file with the net")
        proof, top1 = _prove(draft, graph, way, wanted, own, change)
        if not proof.agrees:
            raise NktcError(
                f"{way.name} does not give the net's answers, and {output} was not written\n{proof.text()}",
                help="nktc agree compares any two models blob by blob; another --backend or --keep LAYER may do",
            )
        outcome = Outcome(
            output,
            way.backend,
            wanted.precision,
            fixed,
            used.threads,
            optimised.report,
            [*lowered.notes, *failed, *_late(best, wanted)],
            lowered.kept,
            lowered.sensitivity,
            top1,
            measured,
            curve,
            streams,
            proof,
        )
        _publish(draft, outcome, way, best.batch * used.streams)
    return outcome


def _try_writing(output: Path) -> None:
    """Make the output's folder. Raises NktcError where nothing can be written there."""
    files.make_folder(output.parent)
    try:
        tempfile.TemporaryDirectory(dir=output.parent).cleanup()
    except OSError as error:
        raise NktcError(f"cannot write {output}: {error.strerror}", help="choose another folder") from None


def _passes(wanted: Wanted) -> tuple[passes.Pass, ...]:
    """Those that are asked for by name, or all that pay; with `fold_input` what changes the input too. Raises
    NktcError."""
    chosen = passes.find(wanted.passes) if wanted.passes else passes.INFERENCE
    return (*chosen, *(one for one in passes.INPUT if wanted.fold_input and one not in chosen))


def _late(best: engines.Times, wanted: Wanted) -> list[str]:
    """A note where even the best batch takes longer than is allowed."""
    took = 1000 * best.median
    if not wanted.latency_ms or took <= wanted.latency_ms:
        return []
    return [f"LATE: a forward of batch {best.batch} takes {took:.3g} ms, and {wanted.latency_ms:g} ms are allowed"]


def fastest(
    graph: Graph, wanted: Wanted, seen: Samples | None = None, output: Path = Path("any.onnx")
) -> tuple[list[Measured], Way]:
    """What was measured of a deployed graph in the precision, batch and threads that are wanted, and the way that
    `optimize` would choose. It is calibrated with and fed what was `seen`, else noise. Raises NktcError."""
    optimised = passes.run(graph, _passes(wanted))
    seen = seen or samples.noise(graph)
    backends = _backends(output, wanted)
    lowered = lower(_variants(optimised.graph, wanted), backends, wanted, seen, seen, lambda what: None)
    tried = ways(lowered, backends, wanted)
    measured, way, _ = race(tried, as_it_is(graph, wanted), seen, wanted.batch or 1, 2 * wanted.seconds)
    return measured, way


def _backends(output: Path, wanted: Wanted) -> list[str]:
    """The engines to try: those that read the output's kind of file, in the precision that is wanted, and can run here.
    Raises NktcError."""
    reading = engines.readers(output)
    if not reading or output.suffix.lower() in READ_ONLY:
        suffixes = {suffix for name in engines.names() for suffix in engines.loaded(name).reads} - READ_ONLY
        help = f"the kinds are {', '.join(sorted(suffixes))}"
        raise NktcError(f"nktc writes no file of the kind of {output}", help=help)
    if wanted.backend:
        engines.engine(wanted.backend)  # which refuses what cannot run here
        if wanted.backend not in reading:
            kinds = engines.loaded(wanted.backend).reads
            help = f"call the output *{kinds[0]}" if kinds else f"these do: {', '.join(reading)}"
            raise NktcError(f"the backend {wanted.backend} has no {output.suffix} files", help=help)
        reading = [wanted.backend]
    fitting = [name for name in reading if _takes(name, wanted.precision)]
    if not fitting:
        takers = [name for name in engines.readers(output) if _takes(name, wanted.precision)]
        help = f"these do: {', '.join(takers)}" if takers else ""
        raise NktcError(f"{' and '.join(reading)} cannot run in {wanted.precision}", help=help)
    able = [name for name in fitting if not engines.loaded(name).missing()]
    if _on_gpu(wanted) and "onnxruntime" in able:
        able = [name for name in able if name != "openvino"]  # which has no GPU
    if not able:
        problem = engines.loaded(fitting[0]).missing()
        said = "" if fitting == reading else f" in {wanted.precision}"
        raise NktcError(f"no engine that has {output.suffix} files{said} can run here", help=problem)
    return able


def _takes(backend: str, precision: str) -> bool:
    """Whether an engine runs files in a precision."""
    name = engines.loaded(backend).target
    if not name or precision == "fp32":
        return True
    target = export.target(name)
    return target.eight_bits if precision == "int8" else HALVES[precision].value in target.halves


def _open(model: Path, weights: Sequence[str], places: data.Places) -> tuple[Graph, dict[str, str]]:
    """The deployed net and where it came from. Raises NktcError."""
    if not model.exists():
        raise NktcError(f"there is no model {model}", help="give a run's folder, or a prototxt and --weights")
    if engines.readers(model):
        help = "give the net and its weights: that is what the passes work on"
        raise NktcError(f"{model} is an engine's file already, and is not optimised again", help=help)
    if model.is_dir() and weights:
        raise NktcError(f"the run {model} has its own weights", help="leave --weights out")
    if not model.is_dir() and not weights:
        raise NktcError(f"{model} is a net without weights", help="give --weights W, a .caffemodel, or a run's folder")
    run = model if model.is_dir() else None
    return models.open_either(run, None if run else model, weights, places)


def _variants(graph: Graph, wanted: Wanted) -> dict[str, Graph]:
    """The graph, and on a GPU as another choice the graph with sibling convolutions merged, where it has any. On CPUs
    that was slower on every engine: the Slice behind it moves more than the fewer calls save."""
    if wanted.passes or not _on_gpu(wanted):
        return {"": graph}
    merged = passes.run(graph, (*passes.HORIZONTAL, *passes.INFERENCE)).graph
    return {"": graph} if merged is graph else {"": graph, "siblings merged": merged}


def _on_gpu(wanted: Wanted) -> bool:
    return wanted.device.startswith("cuda") or (wanted.device == "auto" and torch.cuda.is_available())


def _samples(model: Path, graph: Graph, wanted: Wanted, places: data.Places) -> tuple[Samples, Samples]:
    """What is calibrated and measured with, and what the scores are of: given pictures or arrays, the net's own data,
    or noise. Raises NktcError."""
    given = [path for path in wanted.calibrate if path.suffix != ".json"]
    eight = wanted.precision == "int8"
    seen = samples.of_files(graph, given, CALIBRATING) if given else None
    own = None
    if wanted.precision != "fp32" or not given:
        own = _own(model, graph, Phase.TEST, wanted.records, places, eight and not wanted.calibrate)
    if seen:
        return seen, own or seen
    learned = _own(model, graph, Phase.TRAIN, CALIBRATING, places, False) if eight else None
    return learned or own or samples.noise(graph), own or samples.noise(graph)


def _own(model: Path, graph: Graph, phase: Phase, most: int, places: data.Places, needed: bool) -> Samples | None:
    """The records of the net's own data layers, None where they cannot be had and are not needed. Raises NktcError."""
    local = places if needed else dataclasses.replace(places, download=False)
    try:
        return samples.of_net(model, graph, phase, most, local)
    except NktcError:
        if needed:
            raise
        return None


class Saving(Protocol):
    """A session that writes itself and its sidecar to a file, as those do whose engines have a kind of their own."""

    def save(self, path: Path, origin: Mapping[str, str] | None = None) -> engines.Sidecar: ...


def _write(draft: Path, way: Way, origin: Mapping[str, str], wanted: Wanted) -> None:
    """The engine's file: ONNX, or what the engine itself saves."""
    if draft.suffix == ONNX:
        target = export.target(engines.engine(way.backend).target)
        export.save(export.to_onnx(way.graph, origin, target, batch=wanted.batch or None), draft)
    else:
        cast(Saving, way.build()).save(draft, origin)


def _prove(
    draft: Path, graph: Graph, way: Way, wanted: Wanted, own: tuple[Samples, ...], change: samples.Change
) -> tuple[engines.Comparison, Scores | None]:
    """The file, opened anew, against the net in torch: blob by blob, and by top-1 of the test records. `change` makes
    the file's inputs of the net's own."""
    outputs = tuple(value.name for value in graph.outputs)
    reference = way.graph if wanted.precision == "int8" else graph
    shared = [name for name, value in graph.values.items() if name in way.graph.values and name not in outputs]
    fed = {value.name for value in graph.inputs}
    blobs = [name for name in shared if name not in fed] if draft.suffix == ONNX else []
    first = engines.subject_of_graph(f"{graph.name} in torch", reference, blobs)
    if reference is not graph:
        first = dataclasses.replace(first, prepare=change)
    # As it will run, and with its blobs as outputs, for which the runtime joins fewer layers.
    plain = engines.engine(way.backend).open(draft, way.options)
    shown = [engines.engine(way.backend).open(draft, way.options, blobs)] if blobs else []
    others = [engines.Subject(f"{draft.name} in {way.backend}", one, outputs, {}, change) for one in (*shown, plain)]
    seen, tests = (one.in_batches(wanted.batch) for one in own) if wanted.batch else own
    proofs = engines.compare([first, *others], seen.feeds[:PROVING], TOLERANCES[wanted.precision])
    proof = next((one for one in proofs if not one.agrees), proofs[0])
    output = scoring(graph)
    if not output or not tests.real:
        return proof, None
    before = score(engines.engine("torch").build(graph, engines.Options("cpu")).run, tests, output)
    return proof, scores(before, score(plain.run, tests.changed(change), output), tests)


def _publish(draft: Path, outcome: Outcome, way: Way, best: int) -> None:
    """Move the file to its place, and write its sidecar and its report beside it."""
    told = engines.read_sidecar(draft) or engines.Sidecar(
        way.backend,
        engines.loaded(way.backend).version(),
        asked=tuple(sorted({value.dtype.value for value in way.graph.values.values()})),
        threads=outcome.threads,
        streams=outcome.side_by_side,
        settings=way.options.settings,
        facts=engines.engine(way.backend).open(draft, way.options).facts,
    )
    file = outcome.file
    os.replace(draft, file)
    measured = {key: value for key, value in outcome.plain().items() if key in MEASURED}
    engines.write_sidecar(file, dataclasses.replace(told, batch=best, measured=measured))
    files.write_text(file.with_name(f"{file.name}.report.txt"), outcome.text(report=True) + "\n")
