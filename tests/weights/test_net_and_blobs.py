"""A net's message written with blobs, read back as Caffe's message and by nktc."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nktc import weights
from nktc.schema import LayerParameter, NetParameter


def test_the_message_and_its_blobs_are_there_with_old_shapes_as_they_were(tmp_path: Path):
    net = NetParameter(name="old", layer=[LayerParameter(name=name, type="InnerProduct") for name in "aba"])
    net.layer[1].inner_product_param.num_output = 3
    blobs = {"a": [np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3), np.ones(2, np.float32)], "gone": [np.ones(1)]}
    weights.save_net(tmp_path / "new.caffemodel", net, blobs)
    read = NetParameter.FromString((tmp_path / "new.caffemodel").read_bytes())
    assert read.layer[0].blobs[0].HasField("num")
    assert [read.layer[0].blobs[0].height, *read.layer[0].blobs[1].shape.dim] == [2, 2]
    assert [*read.layer[0].blobs[0].data] == [0, 1, 2, 3, 4, 5]
    assert [len(layer.blobs) for layer in read.layer] == [2, 0, 0]
    found = weights.read(tmp_path / "new.caffemodel")
    assert [*found] == ["a"]
    np.testing.assert_array_equal(found["a"][0], blobs["a"][0])
    for layer in read.layer:
        layer.ClearField("blobs")
    assert read.producer == "nktc"
    read.ClearField("producer")
    assert read == net
