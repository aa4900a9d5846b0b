"""The schema is Caffe's, with a comment on everything, and is compiled as it stands in proto/nktc.proto."""

import csv
import importlib.machinery
import importlib.util
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

import nktc
from nktc import schema
from nktc.schema import comment

ROOT = Path(__file__).resolve().parents[2]
CAFFE = ROOT.parent / "shared" / "reference" / "schema.tsv"
OURS = range(20001, 21000)
LABELS = {
    FieldDescriptorProto.LABEL_OPTIONAL: "optional",
    FieldDescriptorProto.LABEL_REQUIRED: "required",
    FieldDescriptorProto.LABEL_REPEATED: "repeated",
}


@pytest.fixture(scope="module")
def file() -> FileDescriptorProto:
    (file,) = FileDescriptorSet.FromString(Path(schema.__file__).with_name("nktc.binpb").read_bytes()).file
    return file


def rows(file: FileDescriptorProto) -> set[tuple[str, ...]]:
    """The schema in the words of schema.tsv."""
    found = {
        (enum.name, value.name, str(value.number), "enum value") for enum in file.enum_type for value in enum.value
    }
    for message in file.message_type:
        for enum in message.enum_type:
            for value in enum.value:
                found.add((f"{message.name}.{enum.name}", value.name, str(value.number), "enum value"))
        for field in message.field:
            kind = field.type_name.rsplit(".", 1)[-1] or FieldDescriptorProto.Type.Name(field.type)[5:].lower()
            kind = f"enum {kind}" if field.type == field.TYPE_ENUM else kind
            default = field.default_value
            if default and field.type == field.TYPE_FLOAT:
                default = f"{float(default):g}"
            packed = "packed" if field.options.packed else ""
            found.add((message.name, field.name, str(field.number), LABELS[field.label], kind, default, packed))
    return found


def test_every_field_of_caffe_is_there_with_its_number_and_default(file: FileDescriptorProto) -> None:
    if not CAFFE.exists():
        pytest.skip(f"no {CAFFE}")
    with CAFFE.open() as lines:
        wanted = {
            tuple(row.values())[: 4 if row["label"] == "enum value" else 7]
            for row in csv.DictReader(lines, delimiter="\t")
        }
    wanted = {tuple(word or "" for word in row) for row in wanted}
    ours = rows(file) - wanted
    assert wanted - rows(file) == set()
    mine = {row for row in ours if int(row[2]) not in OURS}
    for row in mine:  # what is neither Caffe's nor has a number of ours says whose it is
        said = [comment(row[0]), comment(row[0].split(".")[0]), comment(row[0], row[1])]
        assert any(re.match(r"Ours\.|[A-Z][\w +-]*'s\b", text, re.IGNORECASE) for text in said), row


def test_every_message_field_and_enum_value_has_a_comment(file: FileDescriptorProto) -> None:
    silent = []
    for message in file.message_type:
        names = [(message.name, ""), *((message.name, field.name) for field in message.field)]
        for enum in message.enum_type:
            nested = f"{message.name}.{enum.name}"
            names += [(nested, ""), *((nested, value.name) for value in enum.value)]
        silent += [name for name in names if not re.fullmatch(r".+\.", comment(*name))]
    for enum in file.enum_type:
        silent += [value.name for value in enum.value if not comment(enum.name, value.name)]
    assert silent == []


def test_a_comment_is_one_line_of_plain_text() -> None:
    assert comment("ClipParameter") == "Clip: limits every value to a range."
    assert comment("BlobShape", "dim") == (
        "Size of each axis, from 0; a Reshape also takes 0 (copy the input's) and -1 (infer)."
    )
    assert comment("PoolingParameter.PoolMethod", "AVE") == "The mean value."
    assert comment("Phase", "TRAIN").startswith("Learning")
    with pytest.raises(KeyError):
        comment("ClipParameter", "middle")


def test_the_folder_offers_every_message_and_the_values_of_its_enums(file: FileDescriptorProto) -> None:
    for message in file.message_type:
        assert getattr(schema, message.name).DESCRIPTOR.full_name == f"nktc.{message.name}"
    assert (schema.TRAIN, schema.TEST) == (0, 1)
    assert schema.Phase.Name(1) == "TEST"
    assert schema.PoolingParameter.AVE == 1
    assert schema.V1LayerParameter.LayerType.Value("ABSVAL") == 35


def test_messages_survive_the_wire_and_pickle() -> None:
    net = schema.NetParameter(name="x", label_file="names.txt")
    layer = net.layer.add(name="p", type="Pooling")
    layer.pooling_param.pool = schema.PoolingParameter.AVE
    assert type(layer) is schema.LayerParameter
    assert schema.NetParameter.FromString(net.SerializeToString()) == net
    assert pickle.loads(pickle.dumps(net)) == net


def test_the_schema_lives_beside_another_caffe_schema_in_the_same_process() -> None:
    other = FileDescriptorProto(name="nktc.proto", package="nktc")
    other.message_type.add(name="NetParameter")
    descriptor_pool.Default().AddSerializedFile(other.SerializeToString())
    assert "layer" in schema.NetParameter.DESCRIPTOR.fields_by_name


def test_importing_the_schema_loads_nothing_else_of_nktc() -> None:
    code = "import nktc.schema, sys; print(*sorted(m for m in sys.modules if m.startswith('nktc')))"
    path = str(Path(nktc.__file__).parents[1])
    run = subprocess.run([sys.executable, "-c", code], cwd=path, capture_output=True, text=True, check=True)
    assert {name for name in run.stdout.split() if not name.startswith("nktc.schema")} == {"nktc"}


def test_the_compiled_schema_is_what_the_proto_file_says(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    pytest.importorskip("mypy_protobuf")
    path = str(ROOT / "tools" / "protoc")
    spec = importlib.util.spec_from_loader("protoc", importlib.machinery.SourceFileLoader("protoc", path))
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    tool.compile_schema(tmp_path)
    committed = Path(schema.__file__).parent
    for name in ("nktc.binpb", "messages.py"):
        assert (tmp_path / name).read_bytes() == (committed / name).read_bytes(), f"run tools/protoc for {name}"
