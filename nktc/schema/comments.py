"""The comments of proto/nktc.proto, at run time."""

from collections.abc import Iterator
from functools import cache

from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto

from nktc.schema.pool import stored

# Field numbers of descriptor.proto; a path through them says which declaration a comment is about.
FILE_MESSAGE, FILE_ENUM, MESSAGE_FIELD, MESSAGE_ENUM, ENUM_VALUE = 4, 5, 2, 4, 2

Path = tuple[int, ...]


def comment(message: str, field: str = "") -> str:
    """What the schema says of a field, or of the message itself: plain text, one line.

    `message` may be an enum, nested ones dotted ("PoolingParameter.PoolMethod"), and `field` one of its
    values. A name that the schema lacks raises KeyError.
    """
    return _comments()[f"{message}.{field}" if field else message]


@cache
def _comments() -> dict[str, str]:
    (file,) = stored().file
    said = {
        tuple(location.path): " ".join((location.leading_comments + location.trailing_comments).split())
        for location in file.source_code_info.location
    }
    return {name: said[path] for name, path in _declarations(file)}


def _declarations(file: FileDescriptorProto) -> Iterator[tuple[str, Path]]:
    for i, enum in enumerate(file.enum_type):
        yield from _enum(enum, enum.name, (FILE_ENUM, i))
    for i, message in enumerate(file.message_type):
        yield from _message(message, (FILE_MESSAGE, i))


def _message(message: DescriptorProto, path: Path) -> Iterator[tuple[str, Path]]:
    yield message.name, path
    for i, field in enumerate(message.field):
        yield f"{message.name}.{field.name}", (*path, MESSAGE_FIELD, i)
    for i, enum in enumerate(message.enum_type):
        yield from _enum(enum, f"{message.name}.{enum.name}", (*path, MESSAGE_ENUM, i))


def _enum(enum: EnumDescriptorProto, name: str, path: Path) -> Iterator[tuple[str, Path]]:
    yield name, path
    for i, value in enumerate(enum.value):
        yield f"{name}.{value.name}", (*path, ENUM_VALUE, i)
