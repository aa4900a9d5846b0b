"""A cost as a table for people, and as data for tools."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from nktc.ir.cost import Cost
from nktc.ir.value import list_shape

_HEAD = ("layer", "type", "output", "size", "parameters", "MACs", "makes", "saves")


def cost_data(cost: Cost) -> dict[str, Any]:
    """What a table has, for tools: counts of numbers, bytes by precision."""
    told = asdict(cost) | {"phase": cost.phase.name, "flops": cost.flops, "macs": cost.macs}
    told["inference_bytes"] = {"fp32": cost.inference_bytes(), "fp16": cost.inference_bytes(half=True)}
    if cost.training:
        told["training_bytes"] = {"fp32": cost.training_bytes(), "fp16": cost.training_bytes(half=True)}
    return told


def cost_table(cost: Cost) -> str:
    """One aligned line a layer, with what it makes, and saves for its backward, in fp32; then the sums, the memory at
    fp32 and fp16, the batch that fits."""
    rows: list[tuple[str, ...]] = [_HEAD]
    for layer in cost.layers:
        shapes = ", ".join(map(list_shape, layer.outputs))
        counts = tuple(f"{count:,}" if count else "" for count in (layer.parameters, layer.macs))
        sizes = tuple(_amount(4 * count) if count else "" for count in (layer.values, layer.saved))
        rows.append((layer.name, layer.type, shapes, layer.formula, *counts, *sizes))
    made, saved = (_amount(4 * sum(getattr(layer, what) for layer in cost.layers)) for what in ("values", "saved"))
    rows.append(("all", "", "", "", f"{cost.parameters:,}", f"{cost.macs:,}", made, saved))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"net {cost.name} {cost.phase.name}, batch {cost.batch}"]
    for row in rows:
        texts = [f"{cell:<{width}}" for cell, width in zip(row[:4], widths[:4], strict=True)]
        counts = tuple(f"{cell:>{width}}" for cell, width in zip(row[4:], widths[4:], strict=True))
        lines.append(f"  {'  '.join((*texts, *counts))}".rstrip())
    lines += ["", f"  MACs an item  {cost.macs // max(1, cost.batch):,}"]
    lines.append(f"  inference     {_both(cost.inference_bytes)}: weights, and the values alive at once")
    if cost.training:
        lines.append(f"  training      {_both(cost.training_bytes)}: SGD with momentum; in fp16 the weights stay fp32")
    if cost.fit:
        what = "training" if cost.training else "inference"
        fits = (
            f"{what} fits a batch of {cost.fit.fp32:,} in fp32, {cost.fit.fp16:,} in fp16"
            if cost.fit.fp32 is not None
            else ""
        )
        lines.append(f"  {_amount(cost.fit.memory):<12}  {fits or 'the net takes no other batch than its own'}")
    return "\n".join(lines)


def _both(measure: Callable[..., int]) -> str:
    return f"{_amount(measure())} in fp32, {_amount(measure(half=True))} in fp16"


def _amount(count: float) -> str:
    """Bytes in the unit that suits: 431 kB, 1.72 MB."""
    units = iter(("B", "kB", "MB", "GB", "TB"))
    unit = next(units)
    while count >= 999.5 and unit != "TB":
        count, unit = count / 1000, next(units)
    return f"{count:,.0f} {unit}" if count >= 99.95 or unit == "B" else f"{count:.3g} {unit}"
