"""A Caffe net being written down layer by layer, weights beside them, and the graph that it comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nktc import reader, weights
from nktc.errors import NktcError
from nktc.ir import Graph, Phase, Shape
from nktc.schema import BlobShape, LayerParameter, NetParameter


class Draft:
    """Layers in order with their weights, f32. Names of layers are unique, and so are blobs."""

    def __init__(self, name: str) -> None:
        self.net = NetParameter(name=name)
        self.arrays: dict[str, list[np.ndarray | None]] = {}
        self._names: set[str] = set()

    def input(self, blob: str, shape: Shape) -> None:
        layer = self.add("Input", blob, (), (blob,))
        layer.input_param.shape.append(BlobShape(dim=shape))

    def add(
        self,
        type: str,
        name: str,
        bottoms: Sequence[str],
        tops: Sequence[str],
        arrays: Sequence[np.ndarray] = (),
        **params: Any,
    ) -> LayerParameter:
        """A layer of that name, or one like it that no layer has; `params` are fields of LayerParameter."""
        layer = self.net.layer.add()
        layer.CopyFrom(LayerParameter(name=self.fresh(name), type=type, bottom=bottoms, top=tops, **params))
        if arrays:
            # In order and writable, as torch takes arrays; most are already.
            self.arrays[layer.name] = [np.require(array, np.float32, ["C", "W"]) for array in arrays]
        return layer

    def keep(self, layer: LayerParameter, arrays: Sequence[np.ndarray]) -> None:
        """A layer that is written already."""
        self.net.layer.add().CopyFrom(layer)
        self._names.add(layer.name)
        if arrays:
            self.arrays[layer.name] = [*arrays]

    def fresh(self, name: str) -> str:
        """That name, or with a number behind it."""
        found, number = name, 2
        while found in self._names:
            found, number = f"{name}_{number}", number + 1
        self._names.add(found)
        return found

    def graph(self, path: str, preprocessing: Mapping[str, Any] | None = None) -> Graph:
        """The TEST graph with its weights; `path` stands for the net in messages. Raises NktcError."""
        graph = reader.build(reader.from_message(self.net, path), Phase.TEST)
        if not self.arrays:
            return graph
        filled, _match = weights.match(graph, self.arrays, path)
        missing = [name for name, p in filled.parameters.items() if name not in filled.arrays and not p.weight.volatile]
        if missing:
            raise NktcError(f"{path} has no weights for {missing[0]}")
        return filled
