"""Proof of a conversion: source and result on the same inputs, in every runtime at hand, and a report of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from nktc import __version__, data, engines
from nktc.convert.runtimes import Open, of_caffe, of_onnx, of_source
from nktc.convert.source import Source, digest
from nktc.convert.target import Settings, Written, kind
from nktc.errors import NktcError
from nktc.files import write_text

TOLERANCE = 1e-4
"""How far an output may be from the source's, over the largest value that the source has in it."""

FORMAT = 1


@dataclass(frozen=True)
class Trial:
    """The result in one runtime: compared with the source, or why it does not run there. `needed` says whether the
    conversion stands and falls with it."""

    runtime: str
    version: str
    comparison: engines.Comparison | None
    refusal: str = ""
    needed: bool = True

    @property
    def holds(self) -> bool:
        return self.comparison.agrees if self.comparison else not self.needed


@dataclass(frozen=True)
class Proof:
    """What running both came to; `made_of` and `made` have the hashes of the files by their paths.

    It holds where the result agrees in every runtime that takes it, one at least, and in the one that it is for.
    """

    source: str
    reference: str
    made_of: Mapping[str, str]
    made: Mapping[str, str]
    tolerance: float
    records: int
    seed: int
    trials: tuple[Trial, ...]
    created: str

    @property
    def holds(self) -> bool:
        return any(one.comparison for one in self.trials) and all(one.holds for one in self.trials)

    def text(self) -> str:
        """The verdict, each runtime, each output."""
        inputs = f"{self.records} random input{'s' if self.records > 1 else ''}"
        lines = [
            f"{'verified' if self.holds else 'NOT VERIFIED'}: {self.source} against the result on {inputs}"
            f" (seed {self.seed}); {self.tolerance:g} of an output's largest value is allowed",
            f"reference: {self.reference}",
        ]
        for trial in self.trials:
            name = f"{trial.runtime} {trial.version}".strip()
            if trial.comparison is None:
                lines.append(f"{name}: does not run it: {trial.refusal}")
                continue
            lines.append(f"{name}: {'agrees' if trial.comparison.agrees else 'DIFFERS'}")
            width = max(len(one.blob) for one in trial.comparison.differences)
            lines += [
                f"  {one.blob:<{width}}  max abs {one.absolute:9.3g}  relative {one.relative:9.3g}"
                for one in trial.comparison.differences
            ]
        lines += [f"source {name} sha256:{found}" for name, found in self.made_of.items()]
        lines += [f"result {name} sha256:{found}" for name, found in self.made.items()]
        return "\n".join(lines)

    def plain(self) -> dict[str, Any]:
        """The same as data for tools."""
        trials = [
            {
                "runtime": one.runtime,
                "version": one.version,
                "agrees": one.comparison.agrees if one.comparison else None,
                "refusal": one.refusal or None,
                "needed": one.needed,
                "outputs": one.comparison.plain()["blobs"] if one.comparison else [],
            }
            for one in self.trials
        ]
        return {
            "format": FORMAT,
            "verified": self.holds,
            "source": self.source,
            "reference": self.reference,
            "tolerance": self.tolerance,
            "records": self.records,
            "seed": self.seed,
            "nktc": __version__,
            "sha256": {"source": dict(self.made_of), "result": dict(self.made)},
            "runtimes": trials,
            "created": self.created,
        }


def prove(
    source: Source,
    written: Written,
    names: Sequence[Path],
    settings: Settings,
    places: data.Places,
    records: int = 4,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    hear: Callable[[str], None] = lambda what: None,
) -> Proof:
    """Run both and compare their outputs. `names` are what the files are called in the report. Raises NktcError where
    the source itself does not run."""
    reference = source.subject()
    samples = [engines.noise(written.graph, 1, seed + i) for i in range(records)]
    reference.run(samples[0])
    trials = []
    for runtime, opened in _runtimes(written, places).items():
        hear(f"running it in {runtime}")
        needed = runtime in (settings.target.name, "torch", "python")
        trials.append(_tried(runtime, opened, reference, samples, tolerance, needed))
    made_of = {str(file): digest(file) for file in source.files.values()}
    made = {str(name): digest(file) for name, file in zip(names, written.files, strict=True)}
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return Proof(source.name, reference.name, made_of, made, tolerance, records, seed, tuple(trials), created)


def report(proof: Proof, path: Path) -> list[Path]:
    """Write a proof beside the file at a path: as JSON and as text."""
    beside = [path.with_name(f"{path.name}.proof{suffix}") for suffix in (".json", ".txt")]
    write_text(beside[0], json.dumps(proof.plain(), indent=1) + "\n")
    write_text(beside[1], proof.text() + "\n")
    return beside


def _runtimes(written: Written, places: data.Places) -> dict[str, Open]:
    match kind(written.files[0]):
        case ".onnx":
            return of_onnx(written.files[0], written.graph)
        case ".safetensors":
            return of_source(written.files, written.graph)
    return of_caffe(written.files, written.graph, places)


def _tried(
    runtime: str,
    opened: Open,
    reference: engines.Subject,
    samples: Sequence[Mapping[str, np.ndarray]],
    tolerance: float,
    needed: bool,
) -> Trial:
    try:
        found = engines.compare([reference, opened()], samples, tolerance)[0]
    except NktcError as error:
        return Trial(runtime, _version(runtime), None, error.message, needed)
    return Trial(runtime, _version(runtime), found, needed=needed)


def _version(runtime: str) -> str:
    if runtime == "opencv":
        return str(cv2.__version__)
    return engines.loaded("torch" if runtime == "python" else runtime).version()
