"""What came out of an optimisation, as text and as data for tools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nktc import engines, passes, quantization

PLAIN = "the net as it is"
"""The variant that others are compared with."""


@dataclass(frozen=True)
class Measured:
    """A way to run the net, and what it took; `chosen` is the one that the file is for."""

    name: str
    backend: str
    variant: str
    threads: int
    times: engines.Times
    streams: int = 1
    chosen: bool = False

    def plain(self) -> dict[str, Any]:
        told = {"name": self.name, "backend": self.backend, "variant": self.variant, "threads": self.threads}
        return {**told, "streams": self.streams, "chosen": self.chosen, **self.times.plain()}


@dataclass(frozen=True)
class Scores:
    """Top-1 in per cent before and after, of so many records: against their labels, or, where they have none, against
    what the net says in fp32."""

    before: float
    after: float
    records: int
    labelled: bool

    @property
    def drop(self) -> float:
        """Points lost."""
        return self.before - self.after

    def __str__(self) -> str:
        if not self.labelled:
            return f"top-1 as in fp32 for {self.after:.2f} % of {self.records} records"
        return f"top-1 {self.before:.2f} % -> {self.after:.2f} % of {self.records} records"


@dataclass(frozen=True)
class Outcome:
    """An engine file and all that was found on the way.

    `batch` 0 is any, `threads` 0 the engine's choice. `kept` are the layers that stay in fp32, `notes` what a person
    should know; `measured` the race at the batch that was asked for, `curve` the chosen engine at other batches,
    `streams` several at once; `proof` compares the file with the net it came from.
    """

    file: Path
    backend: str
    precision: str
    batch: int
    threads: int
    report: passes.Report
    notes: Sequence[str]
    kept: Sequence[str]
    sensitivity: Sequence[quantization.Sensitivity]
    scores: Scores | None
    measured: Sequence[Measured]
    curve: Sequence[Measured]
    streams: Sequence[Measured]
    proof: engines.Comparison

    @property
    def side_by_side(self) -> int:
        """How many streams the file is to run in, of so many threads each."""
        return next((one.streams for one in self.streams if one.chosen), 1)

    @property
    def chosen(self) -> Measured:
        return next(one for one in self.measured if one.chosen)

    def text(self, report: bool = False) -> str:
        """What a terminal shows; with `report` every rewrite and every blob too."""
        parts = [self.report.text() if report else _totals(self.report)]
        if self.notes:
            parts.append("\n".join(f"  note: {note}" for note in self.notes))
        if self.sensitivity:
            parts.append(_sensitivity(self.sensitivity if report else self.sensitivity[:5], self.kept))
        parts.append(f"measured, batch {self.chosen.times.batch}\n{table(self.measured)}{self._speedup()}")
        if len(self.curve) > 1:
            parts.append(f"{self.backend} by batch\n{table(self.curve)}")
        if len(self.streams) > 1:
            parts.append(f"{self.backend} with several streams\n{table(self.streams)}")
        if self.scores:
            parts.append(str(self.scores))
        parts.append(self.proof.text(report))
        batch = f"batch {self.batch}" if self.batch else "any batch"
        threads = f", {self.threads} thread{'s' if self.threads != 1 else ''}" if self.threads else ""
        streams = f", {self.side_by_side} streams" if self.side_by_side > 1 else ""
        parts.append(f"{self.file}: {self.backend}, {self.precision}, {batch}{threads}{streams}")
        return "\n\n".join(parts)

    def _speedup(self) -> str:
        """The chosen way against the net as it is, where that ran."""
        plain = next((one for one in self.measured if one.variant == PLAIN), None)
        if plain is None:
            return ""
        faster = plain.times.median / self.chosen.times.median
        return f"\n  {faster:.2f} times as fast as {plain.variant} in {plain.backend}"

    def plain(self) -> dict[str, Any]:
        """All of it as data."""
        scores = self.scores
        return {
            "file": str(self.file),
            "backend": self.backend,
            "precision": self.precision,
            "batch": self.batch,
            "threads": self.threads,
            "side_by_side": self.side_by_side,
            "passes": self.report.plain(),
            "notes": list(self.notes),
            "kept": list(self.kept),
            "sensitivity": [{"layer": one.layer, "type": one.type, "error": one.error} for one in self.sensitivity],
            "scores": {**vars(scores), "drop": scores.drop} if scores else None,
            "measured": [one.plain() for one in self.measured],
            "curve": [one.plain() for one in self.curve],
            "streams": [one.plain() for one in self.streams],
            "proof": self.proof.plain(),
        }


COLUMNS = ("throughput", "mean", "median", "p99", "min", "max")


def table(measured: Sequence[Measured]) -> str:
    """A line each: records a second, then the milliseconds of a forward, as trtexec has them."""
    head = ["", "batch", "records/s", "mean ms", "median", "p99", "min", "max"]
    rows = [head]
    for one in measured:
        plain = one.times.plain()
        mark = "* " if one.chosen else "  "
        figures = [f"{plain[name]:,.1f}" if name == "throughput" else f"{plain[name]:.3f}" for name in COLUMNS]
        rows.append([mark + one.name, str(one.times.batch), *figures])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        f"  {row[0]:<{widths[0]}}  " + "  ".join(f"{cell:>{w}}" for cell, w in zip(row[1:], widths[1:], strict=True))
        for row in rows
    )


def _totals(report: passes.Report) -> str:
    """One line on what the passes did."""
    before, after = report.before, report.after
    flops, size = (
        100 * (b - a) / (a or 1) for a, b in ((before.flops, after.flops), (before.weight_bytes, after.weight_bytes))
    )
    rewrites = f"{len(report.rewrites)} rewrite{'s' if len(report.rewrites) != 1 else ''}"
    return (
        f"  {rewrites}: {before.layers} -> {after.layers} layers, operations {flops:+.1f} %,"
        f" weights {size:+.1f} %  (--report lists them)"
    )


def _sensitivity(found: Sequence[quantization.Sensitivity], kept: Sequence[str]) -> str:
    lines = ["what int8 in a single layer does to the outputs, the worst first"]
    width = max(len(one.layer) for one in found)
    for one in found:
        place = f"  {one.at}" if one.at else ""
        stays = "  stays in fp32" if one.layer in kept else ""
        lines.append(f"  {one.layer:<{width}}  {one.error:9.3g}{stays}{place}")
    return "\n".join(lines)
