"""The names of weights in files of torch, .safetensors and state_dicts, and what they are in a net.

A weight `weight` of a layer "conv2/3x3" may be called, the first that is there:

- `conv2/3x3.weight`: as in a module of `nktc.module.compile`, whose submodules have an underscore for a dot;
- `conv2_3x3.weight`: as in a PyTorch file of `nktc show --torch`, which makes Python names of the layers' names;
- `conv2_3x3_weight`: as that file calls what is no module's.

A BatchNorm's sums may be `running_mean` and `running_var`, the count of batches in them then being 1, and the weight
and bias of a torch.nn.BatchNorm are those of the Scale behind it. Slopes and scales may be called `weight`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from nktc.errors import NktcError, near
from nktc.ir import Graph, Node, times
from nktc.weights.entry import Entry, Holder

LONGEST = 36  # letters of a Python name in a file of `nktc show --torch`
ALIASES = {
    "mean": ("running_mean",),
    "variance": ("running_var",),
    "slope": ("weight",),
    "scale": ("weight",),
}
PASSED_OVER = ("num_batches_tracked",)


def by_layer(graph: Graph, named: Mapping[str, Entry]) -> dict[str, Holder]:
    """The blobs of the graph's layers, from a file that has weights by name; what belongs to no layer of the graph is
    told under the name it has. Raises NktcError where a layer of the graph has only some of its weights, or others."""
    left = dict.fromkeys(named)
    found: dict[str, Holder] = {}
    for node in graph:
        own = [(local, name) for local, name in node.weights.items() if graph.parameters[name].weight.kept]
        mine = [(local, name) for local, name in own if graph.parameters[name].layer == node.name]
        keys = {name: _key(graph, node, local, named) for local, name in mine}
        counted = next((name for local, name in mine if local == "count" and not keys[name]), None)
        missing = [local for local, name in mine if not keys[name] and name != counted]
        if len(missing) == len(mine) - (counted is not None):
            continue
        if missing:
            has = ", ".join(key for key in keys.values() if key)
            raise NktcError(f'of layer "{node.name}" there is {has}, but no {", ".join(missing)}', at=node.at)
        blobs: list[Entry | None] = []
        for local, name in own:
            if name == counted:
                blobs.append(Entry((1,), "f32", lambda: np.ones(1, np.float32)))
            elif key := keys.get(name):
                blobs.append(_turned(graph, node, local, name, key, named[key]))
                left.pop(key, None)
            else:
                blobs.append(None)
        found[node.name] = Holder("", blobs)
    _refuse_more(graph, found, left, named)
    return found | {name: Holder("", [named[name]]) for name in left if name.rpartition(".")[2] not in PASSED_OVER}


def _key(graph: Graph, node: Node, local: str, named: Mapping[str, Entry]) -> str:
    """What the file calls a weight of a node, "" where it has none."""
    return next((key for key in _keys(graph, node, local) if key in named), "")


def _keys(graph: Graph, node: Node, local: str) -> Iterator[str]:
    names = _names(node.name)
    for name in names:
        yield from (f"{name}.{word}" for word in (local, *ALIASES.get(local, ())))
    yield from (f"{name}_{local}" for name in names)
    if node.type in ("Scale", "Bias") and node.inputs:
        before = graph.producers[node.inputs[0].name]
        if before.type == "BatchNorm" and local not in before.weights:
            yield from (f"{name}.{local}" for name in _names(before.name))


def _names(layer: str) -> Sequence[str]:
    """What a layer's part of a module may be called."""
    dotless = layer.replace(".", "_")
    python = re.sub(r"\W|^(?=\d)", "_", unicodedata.normalize("NFKC", layer))[:LONGEST]
    return tuple(dict.fromkeys((layer, dotless, f"{dotless}_", python)))


def _turned(graph: Graph, node: Node, local: str, name: str, key: str, entry: Entry) -> Entry:
    """The entry in the net's order: turned where an InnerProduct has its matrix as Caffe's `transpose` does (torch has
    outputs first), and with the net's axes of 1, which torch has more or fewer of."""
    shape = graph.parameters[name].weight.shape
    if local == "weight" and getattr(node.layer, "transpose", False) and len(shape) == 2:
        if shape[0] == shape[1]:
            raise NktcError(
                f'"{key}" is {times(shape)}, and layer "{node.name}" has transpose: which axis is which cannot be told',
                at=node.at,
                help="give a .caffemodel",
            )
        if entry.shape == shape[::-1]:
            return replace(entry, shape=shape, read=lambda: np.ascontiguousarray(entry.read().T))
    if [dim for dim in entry.shape if dim != 1] == [dim for dim in shape if dim != 1]:
        return replace(entry, shape=shape, read=lambda: entry.read().reshape(shape))
    return entry


def _refuse_more(graph: Graph, found: dict[str, Holder], left: dict[str, None], named: Mapping[str, Entry]) -> None:
    """Refuse weights that a layer of the net would need to be what was trained, such as a bias that it has not, but for
    those that change nothing: a weight of 1 and a bias of 0, as norms of torch have them."""
    for node in (node for node in graph if node.name in found):
        for name in _names(node.name):
            for key in [key for key in left if key.startswith(f"{name}.") and "." not in key[len(name) + 1 :]]:
                local = key[len(name) + 1 :]
                idle = {"weight": 1.0, "bias": 0.0}.get(local)
                plain = idle is not None and bool((named[key].read() == idle).all())
                if local not in PASSED_OVER and not plain:
                    help = near(local, node.weights) or f"its weights are {', '.join(node.weights)}"
                    raise NktcError(f'layer "{node.name}" has no weight for "{key}"', at=node.at, help=help)
                del left[key]
