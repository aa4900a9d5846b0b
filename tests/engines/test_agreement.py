"""Models as a user names them, compared: runs, nets with weights, ONNX files, on engines of choice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from big_nets import random_weights

from nktc import data, export, models, weights
from nktc.engines import agree_models
from nktc.errors import NktcError

PLACES = data.Places.from_environment()
NET = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "a" type: "Convolution" bottom: "x" top: "a" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "b" type: "Convolution" bottom: "a" top: "b" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "r" type: "ReLU" bottom: "b" top: "b" }
layer { name: "i" type: "InnerProduct" bottom: "b" top: "i" inner_product_param { num_output: 5 } }
layer { name: "p" type: "Softmax" bottom: "i" top: "p" }
"""


def trained(folder: Path, text: str = NET, seed: int = 0) -> tuple[Path, str]:
    """A net in a folder with weights of its own."""
    folder.mkdir(exist_ok=True)
    net = folder / "net.prototxt"
    net.write_text(text)
    graph = random_weights(models.open_model(net, [], PLACES), seed)
    weights.save(folder / "w.caffemodel", graph, graph.arrays)
    return net, str(folder / "w.caffemodel")


@pytest.fixture
def net(tmp_path) -> tuple[Path, str]:
    return trained(tmp_path / "one")


def as_onnx(net: tuple[Path, str], name: str = "net.onnx") -> Path:
    file = net[0].with_name(name)
    export.save(export.to_onnx(models.open_model(net[0], [net[1]], PLACES)), file)
    return file


def agree(*models: object, files=(), **more):
    return agree_models([str(one) for one in models], files, PLACES, device="cpu", **more)


def refused(*models: object, **more) -> str:
    with pytest.raises(NktcError) as caught:
        agree(*models, **more)
    return str(caught.value)


def test_a_net_its_onnx_file_and_another_engine_agree_on_every_blob(net):
    found = agree(f"torch:{net[0]}", as_onnx(net), f"onnxruntime:{net[0]}", files=[net[1]])
    assert [one.agrees for one in found] == [True, True]
    assert [[d.blob for d in one.differences] for one in found] == [["a", "b@b", "b", "i", "p"]] * 2
    assert [(one.first, one.other) for one in found] == [
        (f"{net[0]} in torch", f"{net[0].with_suffix('.onnx')} in onnxruntime"),
        (f"{net[0]} in torch", f"{net[0]} in onnxruntime"),
    ]
    assert all(one.records == 8 and one.top1 == 1 and not one.alone for one in found)


def test_one_weight_that_was_changed_in_a_file_is_found_with_its_line(net):
    file = as_onnx(net)
    model = onnx.load(file)
    stored = next(one for one in model.graph.initializer if one.name == "b.weight")
    array = onnx.numpy_helper.to_array(stored).copy()
    array[2, 1, 0, 0] += 0.25
    stored.CopyFrom(onnx.numpy_helper.from_array(array, "b.weight"))
    onnx.save(model, file)
    (found,) = agree(net[0], file, files=[net[1]])
    assert found.divergence is not None
    assert (found.divergence.blob, found.divergence.at.line) == ("b@b", 4)
    assert f"{net[0]}:4:" in found.text()
    # From the file's side too, where there are no lines.
    (found,) = agree(file, net[0], files=[net[1]])
    assert (found.divergence.blob, found.divergence.at) == ("b@b", None)
    (found,) = agree(net[0], file, files=[net[1]], inner=False)
    assert [one.blob for one in found.differences] == ["p"]


def test_weights_of_a_run_are_its_own_and_any_two_models_may_be_given(net, tmp_path):
    other = trained(tmp_path / "two", seed=3)
    (found,) = agree(as_onnx(net), as_onnx(other))
    assert found.divergence.blob == "a"
    assert not agree(as_onnx(net), as_onnx(other), tolerance=100.0)[0].divergence


def test_given_records_are_compared_in_the_batch_that_all_take(net, tmp_path):
    fixed = net[0].with_name("fixed.onnx")
    export.save(export.to_onnx(models.open_model(net[0], [net[1]], PLACES), batch=3), fixed)
    np.savez(tmp_path / "in.npz", x=np.random.default_rng(0).standard_normal((8, 3, 8, 8)))
    (found,) = agree(net[0], fixed, files=[net[1]], inputs=[tmp_path / "in.npz"], records=7)
    assert (found.agrees, found.records) == (True, 6)
    assert agree(net[0], fixed, files=[net[1]])[0].records == 3
    assert refused(net[0], fixed, files=[net[1]], inputs=[tmp_path / "in.npz"], records=2) == (
        "error: there are fewer records than the batch of 3 that is taken\nhelp: give more inputs"
    )
    five = net[0].with_name("five.onnx")
    export.save(export.to_onnx(models.open_model(net[0], [net[1]], PLACES), batch=5), five)
    assert refused(five, fixed) == "error: they take different batches: 3, 5"


def test_random_inputs_are_those_of_the_seed(net, tmp_path):
    def worst(seed: int) -> float:
        return agree(as_onnx(net), as_onnx(trained(tmp_path / "two", seed=3)), seed=seed)[0].worst.absolute

    assert worst(0) == worst(0) != worst(1)


def test_a_file_from_elsewhere_is_matched_by_the_order_of_inputs_and_outputs(net):
    file = as_onnx(net)
    model = onnx.load(file)
    renamed = {"x": "input.1", "p": "out"}
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for value in (*model.graph.input, *model.graph.output):
        value.name = renamed[value.name]
    onnx.save(model, file)
    (found,) = agree(net[0], file, files=[net[1]])
    assert found.agrees
    assert [one.blob for one in found.differences][-1] == "p"


def test_several_inputs_of_their_own_sizes_are_fed(tmp_path):
    net = trained(
        tmp_path / "two",
        """
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 } } }
        layer { name: "y" type: "Input" top: "y" input_param { shape { dim: 3 dim: 4 } } }
        layer { name: "j" type: "Concat" bottom: "x" bottom: "y" top: "j" concat_param { axis: 0 } }
        layer { name: "i" type: "InnerProduct" bottom: "j" top: "i" inner_product_param { num_output: 5 } }
        """,
    )
    (found,) = agree(f"torch:{net[0]}", net[0], files=[net[1]])
    assert found.agrees
    assert found.differences[-1].shape == (5, 5)


def test_what_cannot_be_compared_is_refused(net, tmp_path):
    file = as_onnx(net)
    assert refused(file) == "error: there is nothing to compare with\nhelp: give two models or more"
    assert refused(file, "nowhere.onnx") == (
        "error: there is no model nowhere.onnx\nhelp: a model is [BACKEND:]PATH, such as torch:runs/digits"
    )
    assert refused(file, f"torhc:{file}").startswith('error: unknown backend "torhc"\n')
    assert refused(file, "torhc:nowhere.onnx").startswith("error: there is no model torhc:nowhere.onnx\n")
    assert "does not read .onnx files" in refused(file, f"torch:{file}")
    assert refused(file, file, files=["w"]) == (
        "error: none of the models takes --weights\nhelp: weights are for a prototxt; leave them out"
    )
    assert "is a net without weights" in refused(file, net[0])
    wider = trained(tmp_path / "wider", NET.replace("dim: 3", "dim: 1"))
    assert refused(file, as_onnx(wider)) == (
        f"error: {file} in onnxruntime takes x f32[any 3 8 8] and {wider[0].with_suffix('.onnx')} in onnxruntime"
        " x f32[any 1 8 8]\nhelp: compare models of one net"
    )


def test_nets_that_take_nothing_are_refused(tmp_path):
    text = 'layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { dim: 2 dim: 2 } } }'
    text += 'layer { name: "r" type: "ReLU" bottom: "p" top: "r" }'
    net = trained(tmp_path / "none", text)
    assert "takes nothing" in refused(f"torch:{net[0]}", net[0], files=[net[1]])
