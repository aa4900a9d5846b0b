"""Blobs as forks wrote them: the shapes of BN, the order of DIGITS, the five axes of C3D-1.0."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nktc import weights
from nktc.errors import NktcError
from nktc.schema import NetParameter
from nktc.wire import field

X = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } } }\n'
BN = X + 'layer { name: "n" type: "BN" bottom: "x" top: "y" bn_param { frozen: true } }'
NVIDIA = X + 'layer { name: "n" type: "BatchNorm" bottom: "x" top: "y" batch_norm_param { scale_bias: true } }'


def write(path: Path, *blobs: np.ndarray) -> Path:
    net = NetParameter()
    net.layer.add(name="n").blobs.extend(weights.blob(blob) for blob in blobs)
    path.write_bytes(net.SerializeToString())
    return path


def numbered(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    """Blobs that begin with 10, 20, ..."""
    return [np.arange(np.prod(shape), dtype=np.float32).reshape(shape) + 10 * i for i, shape in enumerate(shapes, 1)]


@pytest.mark.parametrize("shape", [(3,), (1, 3), (1, 3, 1, 1)], ids=str)
def test_bn_has_any_of_its_forks_shapes(read, tmp_path: Path, shape: tuple[int, ...]) -> None:
    graph, match = weights.attach(read(BN), write(tmp_path / "w", *numbered(shape, shape, shape, shape)))
    assert match.taken == ("n",)
    found = {name: array.tolist() for name, array in graph.arrays.items()}
    assert found["n.slope"] == [[[[10]], [[11]], [[12]]]]
    assert found["n.variance"] == [[[[40]], [[41]], [[42]]]]


def test_another_number_of_channels_is_refused(read, tmp_path: Path) -> None:
    with pytest.raises(NktcError, match=r'weight 0 of layer "n" is 1x3x1x1, in .* it is 1x4'):
        weights.attach(read(BN), write(tmp_path / "w", *numbered((1, 4), (1, 4), (1, 4), (1, 4))))


def test_batch_norm_has_the_order_of_digits_too(read, tmp_path: Path) -> None:
    """There the factor and the bias came first, and the last number, 0, was no count."""
    own = (1, 3, 1, 1)
    old = write(tmp_path / "old", *numbered(own, own, own, own), np.zeros((1, 1, 1, 1), np.float32))
    found = weights.attach(read(NVIDIA), old)[0].arrays
    assert [found[f"n.{name}"][0] for name in ("mean", "variance", "count", "weight", "bias")] == [30, 40, 1, 10, 20]
    new = write(tmp_path / "new", *numbered((3,), (3,), (1,), (3,), (3,)))
    found = weights.attach(read(NVIDIA), new)[0].arrays
    assert [found[f"n.{name}"][0] for name in ("mean", "variance", "count", "weight", "bias")] == [10, 20, 30, 40, 50]


def test_five_weights_for_three_say_whose_they_are(read, tmp_path: Path) -> None:
    plain = X + 'layer { name: "n" type: "BatchNorm" bottom: "x" top: "y" }'
    with pytest.raises(NktcError) as caught:
        weights.attach(read(plain), write(tmp_path / "w", *numbered((3,), (3,), (1,), (3,), (3,))))
    assert "scale_bias: true" in caught.value.help


def test_files_of_c3d_1_0_are_read(read, tmp_path: Path) -> None:
    """`layers` are 2; in them name is 4, type 5 and blobs 6; in these the five axes are 1 to 5, and data is 6."""

    def blob(*values: float) -> bytes:
        axes = (1, 1, len(values), 1, 1)
        dims = bytes(byte for number, dim in enumerate(axes, 1) for byte in (number << 3, dim))
        return dims + b"".join(field(6, [np.float32(values).tobytes()]))

    layer = [*field(4, [b"c"]), b"\x28\x22", *field(6, [blob(2, 3)]), *field(6, [blob(5)])]
    (tmp_path / "w").write_bytes(b"".join(field(2, layer)))
    graph = read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 1 dim: 4 dim: 2 dim: 2 } } }
        layer { name: "c" type: "Convolution3D" bottom: "x" top: "y"
          convolution3d_param { num_output: 1 kernel_size: 1 kernel_depth: 2 } }
    """)
    found = weights.attach(graph, tmp_path / "w")[0].arrays
    assert found["c.weight"].tolist() == [[[[[2]], [[3]]]]]
    assert found["c.bias"].tolist() == [5]
