"""What a weight file holds, told without reading its numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from weight_damage import KINDS, NET, double, message

from nktc import weights
from nktc.errors import NktcError


@pytest.mark.parametrize(
    ("name", "kind", "numbers"),
    [
        ("caffemodel", "protobuf, Caffe's syntax", "f32"),
        ("caffemodel, V1", "protobuf, Caffe's old syntax", "f32"),
        ("caffemodel, V0", "protobuf, Caffe's oldest syntax", "f32"),
        ("caffemodel, f16", "protobuf, Caffe's syntax", "f16"),
        ("caffemodel.h5", "HDF5, as Caffe writes it", "f32"),
        ("h5, doubles", "HDF5, as Caffe writes it", "f64"),
        ("safetensors", "safetensors", "f32"),
        ("pt", "torch.save", "f32"),
        ("pt, legacy", "torch.save", "f32"),
    ],
)
def test_the_kind_of_a_file_is_told_by_its_bytes_whatever_its_name(
    name: str, kind: str, numbers: str, tmp_path: Path
) -> None:
    KINDS[name].make(tmp_path / "w")
    (path,) = tmp_path.iterdir()
    path = path.rename(tmp_path / "anything.bin")
    first, counts, _, head, *rest = weights.describe(path).splitlines()
    assert first == f"{path}: {kind}"
    assert f"{4 * 27 + 4 + 9 + 8 + 5 * 144 + 5:,} numbers, {path.stat().st_size:,} bytes" in counts
    assert head.split()[-1] == "numbers"
    assert {line.split()[-1] for line in rest} == {numbers}


def test_a_layer_is_one_line_with_the_shapes_of_its_blobs(golden, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    layer = message(1, b"a/b") + message(2, b"Scale") + message(7, double(np.ones((2, 3))))
    Path("w").write_bytes(message(100, layer + message(7, double(np.ones(3)))))
    golden(
        weights.describe("w"),
        """
        w: protobuf, Caffe's syntax
        1 layer, 9 numbers, 111 bytes

          layer  type   blobs                numbers
          a/b    Scale  [1 1 2 3] [1 1 1 3]  f64
        """,
    )


@pytest.mark.parametrize("name", ["safetensors", "pt"])
def test_blobs_are_not_made_of_a_file_whose_weights_only_a_net_can_tell(name: str, tmp_path: Path) -> None:
    KINDS[name].make(tmp_path / "w")
    with pytest.raises(
        NktcError, match="has weights by name, and which layers of a net they are only the net can tell"
    ):
        weights.read(tmp_path / "w")


def test_every_kind_of_file_gives_a_net_the_same_weights(read, tmp_path: Path) -> None:
    graph = read(NET)
    found = {}
    for number, (name, kind) in enumerate(KINDS.items()):
        if not name.startswith(("solverstate", "binaryproto")):
            folder = tmp_path / str(number)
            folder.mkdir()
            kind.make(folder / "w")
            (path,) = folder.iterdir()
            found[name], match = weights.attach(graph, path)
            assert match.taken == ("conv", "bn", "a/b", "ip"), name
    expected = found["caffemodel"].arrays
    assert len(expected) == 9
    for name, other in found.items():
        for weight, values in expected.items():
            tolerance = 1e-3 if name.endswith("f16") else 0
            np.testing.assert_allclose(other.arrays[weight], values, rtol=tolerance, err_msg=f"{name} {weight}")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "git lfs pull"),
        (b"\n<!DOCTYPE html>\n<html><head><title>404</title>", "web page"),
        (b'{"message": "Not Found"}', "JSON"),
        (b"\x1f\x8b\x08\0\0\0", "gunzip"),
        (b"\x08\x08\x12\x07pytorch\x3a\x02\x08\x00", "it is an ONNX model"),
        (b"\x08\x01\x10\x03\x18\x02\x20\x02", "it is a mean image"),
        (b"\x80\x02}q\x00.", "it is a pickle of Python"),
        (b'name: "net"\n', "it is text"),
        (b"", "the file is empty"),
    ],
)
def test_what_a_download_leaves_in_place_of_weights_is_told(content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "w.caffemodel").write_bytes(content)
    with pytest.raises(NktcError) as caught:
        weights.read(tmp_path / "w.caffemodel")
    assert told in caught.value.help
