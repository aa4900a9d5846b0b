"""Files written without a copy of their weights are whole ONNX files."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir
import pytest

from nktc import export
from nktc.errors import NktcError
from nktc.export import whole

NET = """name: "wide"
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 64 } } }
layer { name: "i" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 64 } }
"""


@pytest.fixture
def model(read) -> onnx_ir.Model:
    graph = read(NET)
    draw = np.random.default_rng(0)
    graph.arrays.update({name: draw.random(p.weight.shape, np.float32) for name, p in graph.parameters.items()})
    return export.to_onnx(graph)


def test_a_file_holds_what_the_model_does_and_the_same_each_time(model, tmp_path):
    export.save(model, tmp_path / "a.onnx")
    export.save(model, tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    onnx.checker.check_model(str(tmp_path / "a.onnx"), full_check=True)
    found, expected = onnx.load(tmp_path / "a.onnx"), onnx_ir.to_proto(model)
    held, told = ({t.name: onnx.numpy_helper.to_array(t) for t in m.graph.initializer} for m in (found, expected))
    assert held.keys() == told.keys()
    for name, array in held.items():
        np.testing.assert_array_equal(array, told[name])
    for message in (found, expected):
        message.graph.ClearField("initializer")
        message.graph.ClearField("value_info")  # an initializer tells its own
    assert found == expected


def test_what_no_reader_takes_is_not_written(model, tmp_path, monkeypatch):
    monkeypatch.setattr(whole, "MOST", 10_000)
    with pytest.raises(NktcError, match="would have more than 2 GB"):
        export.save(model, tmp_path / "a.onnx")
    assert not [*tmp_path.iterdir()]
