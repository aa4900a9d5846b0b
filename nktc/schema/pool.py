"""The schema's descriptors, in a pool of their own: a caffe_pb2 in the same process does no harm."""

from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message_factory import GetMessageClass

PACKAGE = "nktc"


def stored() -> FileDescriptorSet:
    """What tools/protoc made of proto/nktc.proto, comments included."""
    return FileDescriptorSet.FromString(Path(__file__).with_name("nktc.binpb").read_bytes())


def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    for file in stored().file:
        file.ClearField("source_code_info")
        pool.AddSerializedFile(file.SerializeToString())
    return pool


POOL = _pool()


def message_class(name: str) -> Any:
    """The class of a message of the schema."""
    made = GetMessageClass(POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))
    # A class made from a descriptor says it lives in no module; pickle looks for it by name.
    made.__module__ = "nktc.schema.messages"
    return made


def enum_class(name: str) -> Any:
    """The names and numbers of an enum of the schema."""
    return EnumTypeWrapper(POOL.FindEnumTypeByName(f"{PACKAGE}.{name}"))


def has_label(field: FieldDescriptor, label: str) -> bool:
    """Whether a field is "required" or "repeated"; protobuf 5 has `label`, protobuf 7 only `is_required`."""
    if hasattr(field, f"is_{label}"):
        return bool(getattr(field, f"is_{label}"))
    return bool(getattr(field, "label") == getattr(FieldDescriptor, f"LABEL_{label.upper()}"))  # noqa: B009
