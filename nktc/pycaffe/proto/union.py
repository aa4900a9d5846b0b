"""The messages of nktc.schema with what forks of Caffe have beside it, for scripts that read and write nets of theirs.

What a field of a fork means is told where a net is read; here it is kept, so that a message that was read is written as
it was. It has the number of the fork where that is free, else one of its own from `FREE` on.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message_factory import GetMessageClass

from nktc.schema import ForkField, NetParameter, every_fork_field

PACKAGE = "caffe"
SCALARS = {name.removeprefix("TYPE_").lower(): number for name, number in FieldDescriptorProto.Type.items()}
FREE = 30001
OLD_TYPES = "V1LayerParameter.LayerType"
SAME_NAME = {"ResizeParameter": "DetectionResizeParameter"}
"""Messages of ours, each with the one that has this name in the SSD fork."""


def messages(module: str) -> dict[str, Any]:
    """Every message and top-level enum with its values by name, the file's descriptor as DESCRIPTOR; `module` is where
    the classes say that they live."""
    pool = DescriptorPool()
    pool.AddSerializedFile(_file().SerializeToString())
    file: Any = pool.FindFileByName(f"{PACKAGE}.proto")
    found: dict[str, Any] = {"DESCRIPTOR": file}
    for name, message in file.message_types_by_name.items():
        found[name] = GetMessageClass(message)
        found[name].__module__ = module
    for name, enum in file.enum_types_by_name.items():
        found[name] = EnumTypeWrapper(enum)
        found |= {value.name: value.number for value in enum.values}
    return found


def _file() -> FileDescriptorProto:
    file = FileDescriptorProto()
    NetParameter.DESCRIPTOR.file.CopyToProto(file)
    before = f".{file.package}."
    file.name, file.package = f"{PACKAGE}.proto", PACKAGE
    known = {message.name: message for message in file.message_type}
    for message in file.message_type:
        _move(message, before)
    numbers = count(FREE)
    old = next(enum for enum in known["V1LayerParameter"].enum_type if enum.name == "LayerType")
    rows = []
    for row in every_fork_field():
        if row.message == OLD_TYPES:
            free = {*row.numbers.values()} - {value.number for value in old.value}
            old.value.add(name=row.name, number=min(free, default=0) or next(numbers))
        elif row.type:
            rows.append(row)
    for row in rows:
        if _name(row.message) not in known:
            known[_name(row.message)] = file.message_type.add(name=_name(row.message))
    for row in rows:
        message = known[_name(row.message)]
        if all(field.name != row.name for field in message.field):
            _add(message, row, known, numbers)
    return file


def _name(message: str) -> str:
    return message.replace(".", "_")


def _move(message: DescriptorProto, before: str) -> None:
    """Have the types of all fields in this package."""
    for field in message.field:
        if field.type_name.startswith(before):
            field.type_name = f".{PACKAGE}.{field.type_name.removeprefix(before)}"
    for inner in message.nested_type:
        _move(inner, before)


def _add(message: DescriptorProto, row: ForkField, known: Mapping[str, DescriptorProto], numbers: count[int]) -> None:
    """Add a fork's field to a message; nothing where its type is known to nobody."""
    kind = row.type.removeprefix("repeated ")
    field = FieldDescriptorProto(name=row.name, label=FieldDescriptorProto.LABEL_OPTIONAL)
    if kind != row.type:
        field.label = FieldDescriptorProto.LABEL_REPEATED
    if row.values:
        field.type, field.type_name = FieldDescriptorProto.TYPE_ENUM, _enum(message, row)
    elif _name(kind) in known:
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{PACKAGE}.{_name(kind)}"
    elif kind in SCALARS:
        field.type = SCALARS[kind]
    else:
        return
    if row.neutral and field.label == FieldDescriptorProto.LABEL_OPTIONAL:
        field.default_value = row.neutral
    taken = {other.number for other in message.field}
    taken |= {number for span in message.reserved_range for number in range(span.start, span.end)}
    forks = sorted(row.numbers.items(), key=lambda item: item[0] != "SSD")
    field.number = next((number for _, number in forks if number and number not in taken), 0) or next(numbers)
    message.field.append(field)


def _enum(message: DescriptorProto, row: ForkField) -> str:
    """The enum of a field, a new one or one of the message that has these values. Values of two enums of a message
    cannot share a name: then it lies in a message of its own."""
    path = f".{PACKAGE}.{message.name}"
    for enum in message.enum_type:
        if {value.name: value.number for value in enum.value} == row.values:
            return f"{path}.{enum.name}"
    called = "".join(part.capitalize() for part in row.name.split("_"))
    taken = {value.name for enum in message.enum_type for value in enum.value}
    taken |= {one.name for held in (message.enum_type, message.nested_type, message.field) for one in held}
    home = message
    if taken & {called, *row.values}:
        home = message.nested_type.add(name=f"{called}Values")
        path = f"{path}.{home.name}"
    made = home.enum_type.add(name=called)
    for name, number in row.values.items():
        made.value.add(name=name, number=number)
    return f"{path}.{called}"
