"""Weight files of every kind, what reads them, and ways to damage them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import torch
from damage import damaged
from safetensors.numpy import save_file

from nktc import reader, weights
from nktc.data import read_mean, write_mean
from nktc.errors import NktcError
from nktc.ir import Graph, Phase
from nktc.schema import BlobProto, NetParameter

NET = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "conv" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "bn" }
layer { name: "a/b" type: "Scale" bottom: "bn" top: "a/b" scale_param { bias_term: true } }
layer { name: "ip" type: "InnerProduct" bottom: "a/b" top: "ip" inner_product_param { num_output: 5 } }
"""


@dataclass(frozen=True)
class Kind:
    """`make` writes a whole file; `use` reads it, and may raise NktcErrors."""

    make: Callable[[Path], None]
    use: Callable[[Path], object]


@cache
def graph() -> Graph:
    return reader.build(reader.parse_net(NET), Phase.TEST)


def arrays() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {name: generator.standard_normal(p.weight.shape, np.float32) for name, p in graph().parameters.items()}


def held() -> Mapping[str, list[np.ndarray]]:
    """The arrays by layer."""
    found = arrays()
    return {node.name: [found[name] for name in node.weights.values()] for node in graph() if node.weights}


def use(path: Path) -> None:
    weights.describe(path)
    weights.attach(graph(), path)


def use_state(path: Path) -> None:
    weights.read_state(path)


def double(values: np.ndarray) -> bytes:
    """A BlobProto of the oldest kind, in double precision."""
    count, channels, height, width = (1,) * (4 - values.ndim) + values.shape
    numbers = values.ravel().tolist()
    blob = BlobProto(num=count, channels=channels, height=height, width=width, double_data=numbers)
    return blob.SerializeToString()


def half(values: np.ndarray) -> bytes:
    """A BlobProto as NVIDIA Caffe writes it: raw_data_type FLOAT16, raw_data."""
    blob = BlobProto()
    blob.shape.dim.extend(values.shape)
    return blob.SerializeToString() + b"\x50\x02" + message(12, values.astype("<f2").tobytes())


def single(values: np.ndarray) -> bytes:
    """A BlobProto whose numbers stand one by one."""
    blob = BlobProto()
    blob.shape.dim.extend(values.shape)
    return b"".join(b"\x2d" + value.tobytes() for value in values.ravel().astype("<f4")) + blob.SerializeToString()


def message(number: int, inner: bytes) -> bytes:
    """A field of a message that holds another one."""
    return varint(number << 3 | 2) + varint(len(inner)) + inner


def varint(value: int) -> bytes:
    return bytes([value & 0x7F | 0x80]) + varint(value >> 7) if value > 0x7F else bytes([value])


def net_v2(blob: Callable[[np.ndarray], bytes]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        layers = [
            message(1, name.encode()) + message(2, b"T") + b"".join(message(7, blob(b)) for b in blobs)
            for name, blobs in held().items()
        ]
        path.write_bytes(message(1, b"net") + b"".join(message(100, layer) for layer in layers))

    return make


def net_old(inside: bool) -> Callable[[Path], None]:
    """V1, or V0 with each layer inside a connection."""

    def make(path: Path) -> None:
        net = NetParameter()
        for name, blobs in held().items():
            layer = net.layers.add(bottom=["x"], top=["y"])
            layer = layer.layer if inside else layer
            layer.name = name
            layer.blobs.extend(weights.blob(blob) for blob in blobs)
        path.write_bytes(net.SerializeToString())

    return make


def hdf5(**settings: object) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with h5py.File(path, "w") as file:
            for name, blobs in held().items():
                for index, blob in enumerate(blobs):
                    file.create_dataset(f"data/{name}/{index}", data=blob, **settings)

    return make


def state(path: Path) -> None:
    weights.save_state(path, weights.State(7, "it_iter_7.caffemodel", tuple(arrays().values()), 2))


def checkpoint(archive: bool) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        tensors = {name: torch.from_numpy(values) for name, values in arrays().items()}
        torch.save({"epoch": 3, "state_dict": tensors}, path, _use_new_zipfile_serialization=archive)

    return make


KINDS: dict[str, Kind] = {
    "caffemodel": Kind(lambda path: weights.save(path, graph(), arrays()), use),
    "caffemodel, V1": Kind(net_old(inside=False), use),
    "caffemodel, V0": Kind(net_old(inside=True), use),
    "caffemodel, f64": Kind(net_v2(double), use),
    "caffemodel, f16": Kind(net_v2(half), use),
    "caffemodel, one by one": Kind(net_v2(single), use),
    "caffemodel.h5": Kind(lambda path: weights.save(path.with_suffix(".h5"), graph(), arrays()), use),
    "h5, packed": Kind(hdf5(chunks=True, compression="gzip", shuffle=True), use),
    "h5, doubles": Kind(hdf5(dtype="f8"), use),
    "binaryproto": Kind(lambda path: write_mean(path, np.ones((3, 4, 5), np.float32)), read_mean),
    "solverstate": Kind(state, use_state),
    "solverstate.h5": Kind(lambda path: state(path.with_suffix(".h5")), use_state),
    "safetensors": Kind(lambda path: save_file(arrays(), path), use),
    "pt": Kind(checkpoint(archive=True), use),
    "pt, legacy": Kind(checkpoint(archive=False), use),
}

SPIKES = (0, 1, 96, 800, 2**31 - 1, 2**31, 2**33 + 8, 2**40, 2**63 - 1, 2**64 - 1)


def spiked(data: bytes, chance: random.Random) -> bytes:
    """The bytes with a few words that may be sizes or places replaced by others."""
    made = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 5])):
        width = chance.choice([2, 4, 8])
        at = chance.randrange(max(1, len(made) // width)) * width
        made[at : at + width] = (chance.choice((*SPIKES, len(made))) % 2 ** (8 * width)).to_bytes(width, "little")
    return bytes(made)


@cache
def whole(name: str) -> bytes:
    with TemporaryDirectory() as folder:
        KINDS[name].make(Path(folder) / "w")
        (path,) = Path(folder).iterdir()
        return path.read_bytes()


def attempt(name: str, seed: int | None, path: Path) -> NktcError | None:
    """Read a file of a kind, damaged as the seed says, whole where it is None, at `path`; what was refused, if any.
    Anything but an NktcError comes through."""
    data = whole(name)
    if seed is not None:
        chance = random.Random(seed)
        data = chance.choice([damaged, spiked])(data, chance)
    path.write_bytes(data)
    try:
        KINDS[name].use(path)
    except NktcError as error:
        return error
    finally:
        path.unlink()
    return None
