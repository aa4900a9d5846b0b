"""What `nktc layers` prints: the catalogue as a table, and one type with its settings, from the code and the schema."""

from __future__ import annotations

import inspect
from typing import Any

from nktc import schema
from nktc.errors import LayerError, near
from nktc.ir import Layer, catalogue, infer


def find(type_name: str) -> type[Layer]:
    """The class of a prototxt `type`. Raises LayerError with a near name."""
    known = catalogue()
    if type_name not in known:
        raise LayerError(
            f'unknown layer type "{type_name}"',
            field="type",
            help=near(type_name, known) or "nktc layers lists the types there are",
            code="unknown-type",
        )
    return known[type_name]


def table() -> str:
    """Every layer type with the first line of its docstring."""
    types = sorted(catalogue().items())
    width = max(len(name) for name, _ in types)
    return "\n".join(f"{name:<{width}}  {_summary(kind)}" for name, kind in types)


def explain(name: str) -> str:
    """One type: what it does, its bottoms and tops, the fields of its parameter messages. Raises LayerError."""
    kind = find(name)
    least, most = kind.bottoms()
    lines = [f"{name}: {inspect.cleandoc(kind.__doc__ or '')}", ""]
    lines.append(
        f"bottoms: {infer.how_many(least, most)}, tops: {'one a bottom' if kind.each else infer.how_many(*kind.tops)}"
    )
    extras = [("loss", "its first top is a loss"), ("in_place", "its top may be its bottom")]
    lines += [text for flag, text in extras if getattr(kind, flag)]
    for param in kind.param:
        message: Any = schema.LayerParameter.DESCRIPTOR.fields_by_name[param].message_type
        if message is None:  # a field of every layer, such as top
            continue
        lines += ["", f"{param} {{"]
        rows = [(_signature(field), schema.comment(message.name, field.name)) for field in message.fields]
        width = max((len(signature) for signature, _ in rows), default=0)
        lines += [f"  {signature:<{width}}  # {' '.join(comment.split())}" for signature, comment in rows]
        lines.append("}")
    return "\n".join(lines)


def _summary(kind: type[Layer]) -> str:
    return inspect.cleandoc(kind.__doc__ or "").partition("\n")[0]


def _signature(field) -> str:  # type: ignore[no-untyped-def]
    """`kernel_size: uint32, repeated` or `stride: uint32 = 1`."""
    kinds = {
        getattr(field, f"TYPE_{k.upper()}"): k
        for k in ("int32", "int64", "uint32", "float", "double", "bool", "string")
    }
    if field.enum_type:
        kind = "|".join(value.name for value in field.enum_type.values)
    elif field.message_type:
        kind = "{ … }"
    else:
        kind = kinds.get(field.type, "?")
    if schema.has_label(field, "repeated"):
        return f"{field.name}: {kind}, repeated"
    if field.has_default_value:
        default = field.enum_type.values_by_number[field.default_value].name if field.enum_type else field.default_value
        shown = (
            f"{default:g}"
            if isinstance(default, float)
            else str(default).lower()
            if isinstance(default, bool)
            else default
        )
        return f"{field.name}: {kind} = {shown}"
    return f"{field.name}: {kind}"
