"""Writes a .caffemodel of a net's message, whatever its phases and layer types, and blobs by the names of layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nktc.schema import BlobProto, LayerParameter, NetParameter
from nktc.weights.blob import PRODUCER, packed, write
from nktc.weights.contents import Blobs
from nktc.wire import Part, field

OLD = ("num", "channels", "height", "width")


def save_net(path: str | Path, net: NetParameter, blobs: Blobs) -> None:
    """Write `net`, whose layers have no blobs, with those of `blobs` in its first layers of these names. Blobs of four
    axes get the old four fields, so that Caffe goes on to take 1x1x500x800 for 500x800."""
    layers: list[Part] = []
    left = dict(blobs)
    for layer in net.layer:
        parts: list[Part] = [layer.SerializeToString()]
        for values in left.pop(layer.name, []):
            parts += field(LayerParameter.BLOBS_FIELD_NUMBER, _blob(np.zeros(0) if values is None else values))
        layers += field(NetParameter.LAYER_FIELD_NUMBER, parts)
    rest = NetParameter()
    rest.CopyFrom(net)
    rest.ClearField("layer")
    rest.producer = PRODUCER
    write(Path(path), [rest.SerializeToString(), *layers])


def _blob(values: np.ndarray) -> Sequence[Part]:
    if values.ndim != len(OLD):
        return packed(values)
    head = BlobProto(**dict(zip(OLD, values.shape, strict=True))).SerializeToString()
    numbers = np.ascontiguousarray(values, "<f4").data
    return [head, *(field(BlobProto.DATA_FIELD_NUMBER, [numbers]) if values.size else [])]
