"""The wire format against protobuf's own writer and reader."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf.message import DecodeError

from nktc import wire
from nktc.schema import BlobProto, NetParameter
from nktc.wire import WireError


def view(data: bytes) -> memoryview:
    return memoryview(data)


def test_the_fields_of_a_message_come_as_protobuf_wrote_them() -> None:
    blob = BlobProto(num=3, channels=-1, data=[1, 2.5], double_data=[0.1])
    blob.shape.dim.extend([2, 300])
    found = {field.number: field for field in wire.fields(view(blob.SerializeToString()))}
    assert sorted(found) == [1, 2, 5, 7, 8]
    assert (found[1].kind, found[1].value) == (wire.VARINT, 3)
    assert wire.signed(int(found[2].value)) == -1
    np.testing.assert_array_equal(wire.numbers(found[5], "<f4"), [1, 2.5])
    np.testing.assert_array_equal(wire.numbers(found[8], "<f8"), [0.1])
    (dims,) = wire.fields(found[7].view)
    assert list(wire.varints(dims)) == [2, 300]


def test_packed_numbers_are_a_view_of_the_bytes() -> None:
    data = np.frombuffer(BlobProto(data=range(1000)).SerializeToString(), np.uint8)
    (field,) = wire.fields(memoryview(data))
    assert np.shares_memory(wire.numbers(field, "<f4"), data)


def test_numbers_that_a_file_repeats_one_by_one_come_as_one_field() -> None:
    values = np.random.default_rng(1).standard_normal(1000).astype("<f4")
    single = b"".join(b"\x2d" + value.tobytes() for value in values)  # tag of field 5, 32 bits
    assert BlobProto.FromString(single).data == BlobProto(data=values).data
    for before, behind in ((b"", b""), (b"\x08\x07", b"\x08\x07")):
        found = list(wire.fields(view(before + single + behind), packed=[5]))
        assert [field.number for field in found] == [1] * bool(before) + [5] + [1] * bool(behind)
        np.testing.assert_array_equal(wire.numbers(found[bool(before)], "<f4"), values)
    assert len(list(wire.fields(view(single)))) == 1000
    doubles = b"".join(b"\x41" + np.float64(value).tobytes() for value in values)
    (field,) = wire.fields(view(doubles), packed=[8])
    np.testing.assert_array_equal(wire.numbers(field, "<f8"), values)


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 63, 64, 65])
def test_a_run_ends_where_another_field_begins(count: int) -> None:
    data = b"\x2d\0\0\x80\x3f" * count + b"\x35\0\0\0\x40" * 3
    found = list(wire.fields(view(data), packed=[5, 6]))
    assert [(field.number, len(field.view)) for field in found] == [(5, 4 * count), (6, 12)]


def test_groups_are_passed_over() -> None:
    assert [tuple(field) for field in wire.fields(view(b"\x0b\x10\x01\x13\x18\x02\x14\x0c\x20\x05"))] == [(4, 0, 5)]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x00\x01", "there is no field 0, at byte 0"),
        (b"\x0a\x05abc", "field 1 at byte 0 has 5 bytes, 3 are left"),
        (b"\x08\x01\x2d\x00\x00", "field 5 at byte 2 has 4 bytes, 2 are left"),
        (b"\x08\x01\x09\x00\x00", "field 1 at byte 2 has 8 bytes, 2 are left"),
        (b"\x08" + b"\xff" * 11, "the number at byte 1 has no end"),
        (b"\x08\xff", "the number at byte 1 has no end"),
        (b"\x0e\x00", "field 1 at byte 0 is of no known kind"),
        (b"\x0c", "field 1 at byte 0 is of no known kind"),
        (b"\x0b\x14", "field 2 at byte 1 is of no known kind"),
        (b"\x0b\x08\x01", "group 1 has no end"),
        (b"\x0b" * 101, "more than 100 groups lie in one another, at byte 100"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "has 18446744073709551615 bytes, 0 are left"),
    ],
)
def test_damaged_bytes_are_refused_with_their_place(data: bytes, said: str) -> None:
    with pytest.raises(WireError, match=said):
        list(wire.fields(view(data)))


def test_what_holds_other_numbers_or_no_text_is_refused() -> None:
    (field,) = wire.fields(view(b"\x0a\x05abcd\xff"))
    with pytest.raises(WireError, match="the 5 bytes of field 1 are no numbers of 4 bytes"):
        wire.numbers(field, "<f4")
    with pytest.raises(WireError, match="field 1 is no UTF-8 text"):
        wire.text(field)
    (field,) = wire.fields(view(b"\x08\x05"))
    with pytest.raises(WireError, match="field 1 holds no numbers of 4 bytes"):
        wire.numbers(field, "<f4")
    with pytest.raises(WireError, match="field 1 holds a number where text is expected"):
        wire.text(field)


def test_whatever_protobuf_reads_is_read_and_whatever_is_damaged_is_refused() -> None:
    net = NetParameter(name="net")
    layer = net.layer.add(name="a", type="InnerProduct")
    layer.blobs.add(data=range(20)).shape.dim.extend([4, 5])
    whole, generator = net.SerializeToString(), np.random.default_rng(2)
    read = refused = 0
    for _ in range(500):
        data = bytearray(whole)
        for place in generator.integers(len(data), size=2):
            data[place] = generator.integers(256)
        try:
            list(wire.fields(memoryview(data)))
            read += 1
        except WireError:
            refused += 1
            with pytest.raises(DecodeError):
                NetParameter.FromString(bytes(data))
    assert read > 100
    assert refused > 20
