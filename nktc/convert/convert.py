"""A model to another format: opened, written, and where that is asked for proved."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nktc import data
from nktc.convert.proof import TOLERANCE, Proof, prove, report
from nktc.convert.source import open_source
from nktc.convert.target import KINDS, Settings, beside, kind, unverified, write
from nktc.files import spare
from nktc.ir import Shape


@dataclass(frozen=True)
class Outcome:
    """What a conversion came to: the net's name, the numbers of its layers and weights, what was written, the proof
    where one was asked for, and what is to be known of the files."""

    name: str
    layers: int
    weights: int
    files: tuple[Path, ...]
    about: str
    proof: Proof | None = None
    note: str = ""

    @property
    def stands(self) -> bool:
        """Whether it was not shown to be wrong."""
        return self.proof is None or self.proof.holds

    def text(self) -> str:
        """The proof, the files, and whether they were verified."""
        lines = [self.proof.text()] if self.proof else []
        lines.append(f"{self.name}: {self.layers} layers, {self.weights} weights: {', '.join(map(str, self.files))}")
        if self.proof is None:
            lines.append("not verified: --verify runs source and result on the same inputs")
        elif not self.proof.holds:
            lines.append("the conversion does not verify: the files are kept under names that say so")
        if self.note:
            lines.append(f"note: {self.note}")
        return "\n".join(lines)

    def plain(self) -> dict[str, Any]:
        """The same as data for tools."""
        return {
            "name": self.name,
            "layers": self.layers,
            "weights": self.weights,
            "files": [str(path) for path in self.files],
            "format": self.about,
            "proof": self.proof.plain() if self.proof else None,
            "note": self.note or None,
        }


def convert(
    model: Path,
    weights: Sequence[str],
    output: Path,
    settings: Settings,
    places: data.Places,
    verify: bool = False,
    shapes: Mapping[str, Shape] | None = None,
    dialect: str = "",
    records: int = 4,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    hear: Callable[[str], None] = lambda what: None,
) -> Outcome:
    """Convert a model to what the suffix of `output` says.

    With `verify` the files are written under names that say unverified, take theirs where the proof holds, and keep
    them where it does not; the report is beside `output` in any case. Raises NktcError.
    """
    suffix = kind(output)
    hear(f"reading {model}")
    source = open_source(model, weights, places, shapes, settings.batch or 1, dialect)
    hear(f"writing {output}")
    path, wanted = unverified(output) if verify else output, beside(output)
    for file in (*beside(path), *wanted):
        spare(file, *source.files.values())
    written = write(source, path, settings)
    files: tuple[Path, ...] = written.files
    proof = None
    if verify:
        proof = prove(source, written, wanted, settings, places, records, seed, tolerance, hear)
        if proof.holds:
            for made, name in zip(written.files, wanted, strict=True):
                os.replace(made, name)
            files = tuple(wanted)
        files += tuple(report(proof, output))
    graph = written.graph
    return Outcome(graph.name, len(graph), len(graph.arrays), files, KINDS[suffix][0], proof, written.note)
