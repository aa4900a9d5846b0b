"""The tables of the forks agree with the schema, with themselves and with what is known of Caffe's."""

from __future__ import annotations

import csv
from itertools import groupby
from pathlib import Path

import pytest

from nktc import schema
from nktc.ir import catalogue
from nktc.schema import (
    ForkField,
    LayerParameter,
    NetParameter,
    SolverParameter,
    dialects,
    fork_fields,
    fork_types,
    old_type_numbers,
    old_types,
    wire_fields,
)

FOLDER = Path(schema.__file__).parent
SCALARS = {"bool", "bytes", "double", "float", "int32", "int64", "string", "uint32", "uint64"}


def table(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines, delimiter="\t", restval="", quoting=csv.QUOTE_NONE))


@pytest.fixture(scope="module")
def rows() -> list[ForkField]:
    names = dict.fromkeys((row["message"], row["field"]) for row in table("dialects.tsv"))
    return [row for message, name in names for row in fork_fields(message, name)]


def test_every_number_is_of_a_dialect_and_every_dialect_has_a_home(rows: list[ForkField]) -> None:
    assert {name for row in rows for name in row.numbers} <= dialects().keys()
    assert {name for row in fork_types().values() for name in row.forks} - dialects().keys() == {
        "CRF-RNN",
        "siameseMTri",
    }
    assert all(dialect.home for dialect in dialects().values())


def test_no_dialect_has_two_fields_of_one_number() -> None:
    for message in dict.fromkeys(row["message"] for row in table("dialects.tsv")):
        for dialect in dialects():
            fields = wire_fields(dialect, message).values()
            names = [field.name for field in fields]
            assert len(names) == len({*names}), f"{message} in {dialect}"


def test_what_works_is_in_the_schema_or_rewritten(rows: list[ForkField]) -> None:
    known = {
        (message, field.name)
        for message in dir(schema)
        if hasattr(found := getattr(schema, message), "FromString")
        for field in found.DESCRIPTOR.fields
    }
    rewritten = {
        ("ConvolutionParameter", "hole"),
        ("ConvolutionParameter", "hole_h"),
        ("ConvolutionParameter", "hole_w"),
        ("ConvolutionParameter", "relu"),
        ("ConvolutionParameter", "negative_slope"),
        ("InnerProductParameter", "relu"),
        ("InnerProductParameter", "negative_slope"),
        ("DropoutParameter", "scale_train"),
        ("DropoutParameter", "sample_weights_test"),
        ("ELUParameter", "lambda"),
        ("NetParameter", "bn_stats_batch_size"),
        ("SolverParameter", "warmup_start_lr"),
    }
    today = {field.name for field in LayerParameter.DESCRIPTOR.fields}
    works = {(row.message, row.name) for row in rows if row.effect == "works"}
    left = {one for one in works - known if one[0] != "V1LayerParameter" or one[1] not in today}
    assert left == rewritten


def test_a_field_without_a_type_has_that_of_the_schema(rows: list[ForkField]) -> None:
    for row in rows:
        if not row.type:
            assert row.name in getattr(schema, row.message).DESCRIPTOR.fields_by_name, row
        elif row.message != "V1LayerParameter.LayerType":
            kind = row.type.removeprefix("repeated ").split()[0]
            assert kind in SCALARS | {"enum"} or kind[0].isupper(), row


def test_every_effect_is_one_and_a_refusal_has_a_reason(rows: list[ForkField]) -> None:
    assert {row.effect for row in rows} == {"", "works", "none", "refused"}
    for row in rows:
        assert bool(row.why) == (row.effect == "refused"), row
        assert not row.why.endswith("."), row
        assert not row.neutral or row.effect == "refused", row


def test_fields_of_nets_layers_and_solvers_all_have_an_effect(rows: list[ForkField]) -> None:
    told = {message.DESCRIPTOR.name for message in (NetParameter, SolverParameter)}
    assert [row for row in rows if row.message in told and not row.effect] == []


def test_the_numbers_that_collide_are_told_apart() -> None:
    """The list of caffe.md: what 145 to 148 are in BVLC's Caffe and in NVIDIA's, and where recurrent_param went."""
    bvlc, nvidia = (wire_fields(name, "LayerParameter") for name in ("BVLC", "NVIDIA"))
    numbers = range(145, 149)
    assert [bvlc[n].name for n in numbers] == ["parameter_param", "recurrent_param", "swish_param", "clip_param"]
    assert [nvidia[n].name for n in numbers] == ["forward_type", "backward_type", "forward_math", "backward_math"]
    assert nvidia[151].name == "recurrent_param"
    solvers = {name: wire_fields(name, "SolverParameter") for name in ("BVLC", "SSD", "NVIDIA")}
    assert [one[41].name for one in solvers.values()] == ["layer_wise_reduce", "eval_type", "rampup_interval"]
    assert [one[42].name for one in solvers.values()] == ["weights", "ap_version", "rampup_lr"]
    pictures = {name: wire_fields(name, "TransformationParameter") for name in ("SSD", "NVIDIA")}
    assert (pictures["SSD"][8].name, pictures["NVIDIA"][8].name) == ("resize_param", "use_gpu_transform")
    assert pictures["NVIDIA"][208].name == "resize_param"


def test_bvlcs_dialect_is_bvlcs_schema(shared: Path) -> None:
    with (shared / "reference" / "schema.tsv").open() as lines:
        fields = [row for row in csv.DictReader(lines, delimiter="\t") if row["label"] != "enum value"]
    messages = groupby(
        sorted(fields, key=lambda row: next(iter(row.values()))), key=lambda row: next(iter(row.values()))
    )
    for message, wanted in messages:
        if not hasattr(schema, message):
            continue
        expected = {int([*row.values()][2]): [*row.values()][1] for row in wanted}
        assert {n: field.name for n, field in wire_fields("BVLC", message).items()} == expected, message


def test_nktcs_dialect_is_the_schema() -> None:
    for field in LayerParameter.DESCRIPTOR.fields:
        assert wire_fields("nktc", "LayerParameter")[field.number].name == field.name


def test_old_types_are_types_of_today_or_of_a_fork() -> None:
    assert old_types()["INTERP"] == "Interp"
    assert {*old_types().values()} - catalogue().keys() <= fork_types().keys()
    assert (old_type_numbers("DeepLab-Context")[41], old_type_numbers("caffe-windows")[41]) == ("INTERP", "LOCAL")
    assert old_type_numbers("BVLC") == {}
