"""The layers of binary nets of every syntax and fork, made by hand or by protobuf."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from weight_damage import half, message, single, varint

from nktc import weights
from nktc.errors import NktcError
from nktc.schema import BlobProto, NetParameter, V1LayerParameter
from nktc.weights.binary import StoredLayer, stored_layers

VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)
BLOB = weights.blob(VALUES)
TEXT = BLOB.SerializeToString()


def layers(data: bytes) -> list[StoredLayer]:
    return list(stored_layers(memoryview(data)))


def test_every_syntax_of_caffe_tells_names_types_and_blobs() -> None:
    net = NetParameter()
    net.layer.add(name="v2", type="InnerProduct", bottom=["x"], top=["y"], loss_weight=[1], blobs=[BLOB])
    net.layers.add(name="v1", type=V1LayerParameter.INNER_PRODUCT, bottom=["x"], top=["y"], blobs_lr=[1], blobs=[BLOB])
    net.layers.add(name="none", type=V1LayerParameter.RELU)
    old = net.layers.add(bottom=["x"], top=["y"])
    old.layer.name, old.layer.type, old.layer.num_output = "v0", "innerproduct", 2
    old.layer.blobs.append(BLOB)
    found = {layer.name: (layer.type, layer.syntax, layer.blobs[0].shape) for layer in layers(net.SerializeToString())}
    assert found == {
        "v2": ("InnerProduct", "V2", (2, 3)),
        "v1": ("INNER_PRODUCT", "V1", (2, 3)),
        "v0": ("innerproduct", "V0", (2, 3)),
    }


def test_parameters_that_collide_with_another_forks_do_not_matter() -> None:
    # As the forks number them: 146 is recurrent_param in one, a number in another; 200 is BN's, or a data layer's.
    wrong = varint(146 << 3) + b"\x05" + message(200, b"\xff\xff\xff") + message(106, b"\x00") + b"\x5d\0\0\0\0"
    data = message(100, message(1, b"a") + message(2, b"Whatever") + wrong + message(7, TEXT))
    with pytest.raises(Exception, match="parsing"):
        NetParameter.FromString(data)
    (layer,) = layers(data)
    assert (layer.name, layer.type) == ("a", "Whatever")
    np.testing.assert_array_equal(layer.blobs[0].array(), VALUES)


def test_a_v1_type_that_only_a_fork_has_is_told_by_its_number() -> None:
    (layer,) = layers(message(2, message(4, b"a") + b"\x28\xc8\x01" + message(6, TEXT)))
    assert (layer.name, layer.type, layer.syntax) == ("a", "200", "V1")


@pytest.mark.parametrize("container", [2, 100])
def test_the_numbering_is_told_by_what_the_fields_hold(container: int) -> None:
    today = message(1, b"today") + message(2, b"T") + message(3, b"x") + message(4, b"y") + message(7, TEXT)
    renumbered = message(2, b"x") + message(3, b"y") + message(4, b"old") + b"\x28\x04" + message(6, TEXT)
    flat = message(1, b"flat") + message(2, b"conv") + b"\x18\x02" + message(50, TEXT)
    found = layers(b"".join(message(container, one) for one in (today, renumbered, flat)))
    assert [(layer.name, layer.syntax, len(layer.blobs)) for layer in found] == [
        ("today", "V2", 1),
        ("old", "V1", 1),
        ("flat", "V0", 1),
    ]


def test_blobs_may_lie_beside_the_oldest_layers() -> None:
    (layer,) = layers(message(2, message(1, message(1, b"a") + message(2, b"conv")) + message(6, TEXT)))
    assert (layer.name, layer.syntax, layer.blobs[0].shape) == ("a", "V0", (2, 3))


def test_a_name_that_is_no_utf_8_is_shown_by_its_bytes() -> None:
    (layer,) = layers(message(100, message(1, b"\xbe\xed1") + message(7, TEXT)))
    assert layer.name == r"\xbe\xed1"


def test_half_precision_and_unpacked_numbers_come_as_f32(tmp_path: Path) -> None:
    made = [
        message(100, message(1, name) + message(7, blob))
        for name, blob in ((b"h", half(VALUES)), (b"s", single(VALUES)))
    ]
    (tmp_path / "w").write_bytes(b"".join(made))
    found = weights.read(tmp_path / "w")
    for name in "hs":
        np.testing.assert_array_equal(found[name][0], VALUES)
        assert found[name][0].dtype == np.float32


def test_what_is_wrong_in_a_blob_names_its_layer(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(message(100, message(1, b"conv1") + message(7, b"\x2a\x02ab")))
    with pytest.raises(NktcError) as caught:
        weights.read(tmp_path / "w")
    problem = 'layer "conv1": the 2 bytes of field 5 are no numbers of 4 bytes'
    assert caught.value.message == f"{tmp_path}/w is not a whole .caffemodel: {problem}"


def test_files_of_nothing_but_blobs_are_refused_before_they_fill_the_memory() -> None:
    with pytest.raises(NktcError, match="it has more than 65536 blobs"):
        layers(message(100, b"\x3a\x00" * 70_000))
    with pytest.raises(NktcError, match="it has more than 65536 blobs"):
        layers(message(100, b"\x3a\x00") * 70_000)


def test_a_file_beyond_two_gib_is_read_and_only_what_is_wanted_of_it(read, tmp_path: Path) -> None:
    graph = read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 } } }
        layer { name: "a" type: "InnerProduct" bottom: "x" top: "a"
                inner_product_param { num_output: 2 bias_term: false } }
    """)
    count = 9 * 2**26  # of floats, 2.25 GiB
    shape = BlobProto()
    shape.shape.dim.append(count)
    inner = shape.SerializeToString() + varint(5 << 3 | 2) + varint(4 * count)
    blob = varint(7 << 3 | 2) + varint(len(inner) + 4 * count) + inner
    layer = message(1, b"big") + blob
    path = tmp_path / "w"
    with path.open("wb") as file:
        file.write(varint(100 << 3 | 2) + varint(len(layer) + 4 * count) + layer)
        file.seek(4 * count, 1)  # a hole, which takes no room on the disk
        file.write(message(100, message(1, b"a") + message(7, TEXT)))
    assert path.stat().st_size > 2**31
    found, match = weights.attach(graph, path)
    np.testing.assert_array_equal(found.arrays["a.weight"], VALUES)
    assert match.ignored == ("big",)
    assert f"[{count}]" in weights.describe(path)


def test_reading_takes_one_copy_that_is_the_readers_own(tmp_path: Path) -> None:
    values = np.zeros((300, 1000), np.float32)
    blob = weights.blob(values).SerializeToString()
    (tmp_path / "w").write_bytes(b"".join(message(100, message(1, name) + message(7, blob)) for name in (b"a", b"b")))
    weights.read(tmp_path / "w")
    tracemalloc.start()
    found = weights.read(tmp_path / "w")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.1 * values.nbytes
    (tmp_path / "w").write_bytes(b"")  # in place, as Caffe writes
    found["a"][0] += 1
    assert found["a"][0].sum() == values.size
    assert not found["b"][0].any()
