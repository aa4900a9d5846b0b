"""Safetensors files against the library's own writer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from nktc import weights
from nktc.errors import NktcError
from nktc.weights.contents import opened

TYPES = {
    "f64": torch.float64,
    "f32": torch.float32,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
    "i64": torch.int64,
    "i32": torch.int32,
    "i16": torch.int16,
    "i8": torch.int8,
    "u8": torch.uint8,
    "bool": torch.bool,
}


def test_every_type_of_number_comes_as_f32(tmp_path: Path) -> None:
    values = torch.tensor([[0, 1, 3.5], [0.1, 100, 7]])
    tensors = {name: values.to(dtype) for name, dtype in TYPES.items()} | {"one": torch.tensor(2.5)}
    safetensors.torch.save_file(tensors, tmp_path / "w", metadata={"made": "by a test"})
    with opened(tmp_path / "w") as contents:
        assert sorted(contents.named) == sorted(tensors)
        for name, tensor in tensors.items():
            entry = contents.named[name]
            found = entry.read()
            assert (entry.dtype, found.dtype) == (name if name in TYPES else "f32", np.float32)
            np.testing.assert_array_equal(found, tensor.float().numpy())


def file(header: object, numbers: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + numbers


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (file(b'{"a": nothing}'), "its header is no JSON"),
        (file(b'{"a":' * 100_000), "its header is no JSON"),
        (file({"a": 3}), 'its header does not tell where "a" is'),
        (file({"a": {"dtype": "F32", "shape": [1]}}), 'its header does not tell where "a" is'),
        (file({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"1234"), "does not tell where"),
        (file({"a": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}, b"1234"), "does not tell where"),
        (
            file({"a": {"dtype": "F4", "shape": [1], "data_offsets": [0, 4]}}, b"1234"),
            "is of the type F4, which cannot",
        ),
        (file({"a": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}}, b"1234"), "which cannot be read"),
        (
            file({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"1234"),
            r'"a" of shape \[2\] and type F32 has the bytes 0 to 8 of 4',
        ),
        (
            file({"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}, b"1234"),
            "has the bytes 0 to 4 of 4",
        ),
        (file({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, b"1234"), "has the bytes 4 to 0 of 4"),
        (file({"__metadata__": {}}), "holds no weights"),
    ],
)
def test_a_damaged_header_is_refused(data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(data)
    with pytest.raises(NktcError, match=said) as caught:
        weights.describe(tmp_path / "w")
    assert str(tmp_path / "w") in caught.value.message
