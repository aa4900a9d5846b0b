"""A timing as a table for people, and as data for tools."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from nktc.ir import list_shape
from nktc.train.timing import Timing

_HEAD = ("layer", "type", "output", "forward ms", "backward ms", "share")


def timing_data(timing: Timing) -> dict[str, Any]:
    """What a table has, for tools: ms, and items a second."""
    told = asdict(timing) | {"phase": timing.phase.name}
    for layer, one in zip(told["layers"], timing.layers, strict=True):
        layer["share"] = timing.share(one)
    told |= {"layers_forward": timing.layers_forward, "layers_backward": timing.layers_backward}
    told["items_per_second"] = _speed(timing.batch, timing.forward + timing.backward)
    told["step_items_per_second"] = _speed(timing.step_batch, timing.step) if timing.step else None
    return told


def timing_table(timing: Timing) -> str:
    """One aligned line a layer with its part of what all layers take; then their sums, the net as it runs, the training
    step, and what was fed in place of data."""
    rows: list[tuple[str, ...]] = [_HEAD]
    for layer in timing.layers:
        shapes = ", ".join(map(list_shape, layer.outputs))
        share = timing.share(layer)
        times = (_ms(layer.forward), _ms(layer.backward), f"{share:.1%}" if share else "")
        rows.append((layer.name, layer.type, shapes, *times))
    rows.append(("all layers", "", "", _ms(timing.layers_forward), _ms(timing.layers_backward), ""))
    rows.append(("the net as it runs", "", "", _ms(timing.forward), _ms(timing.backward), ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    what = f"batch {timing.batch}, {timing.iterations} iterations on {timing.device}"
    lines = [f"net {timing.name} {timing.phase.name}, {what}"]
    for row in rows:
        texts = [f"{cell:<{width}}" for cell, width in zip(row[:3], widths[:3], strict=True)]
        numbers = tuple(f"{cell:>{width}}" for cell, width in zip(row[3:], widths[3:], strict=True))
        lines.append(f"  {'  '.join((*texts, *numbers))}".rstrip())
    passes = "forward and backward" if timing.backward else "forward"
    lines += ["", f"  {passes}  {_whole(timing.batch, timing.forward + timing.backward)}"]
    if timing.step:
        width = len(passes)
        step = _whole(timing.step_batch, timing.step)
        lines.append(f"  {'training step':<{width}}  {step}: data, forward, backward and update")
    lines += [f"  {note}" for note in timing.notes]
    return "\n".join(lines)


def _whole(batch: int, ms: float) -> str:
    speed = _speed(batch, ms)
    return f"{_ms(ms)} ms, {speed:,.0f} images/s" if speed >= 99.5 else f"{_ms(ms)} ms, {speed:.3g} images/s"


def _speed(batch: int, ms: float) -> float:
    return 1000 * batch / ms


def _ms(ms: float) -> str:
    return f"{ms:.3f}" if ms else ""
