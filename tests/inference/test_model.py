"""A model is asked: exactly the training batches' numbers, whatever its form, and every engine answers alike."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from rich.console import Console

from nktc import data, export, inference, models, module, passes, reader, train, weights
from nktc.errors import NktcError
from nktc.inference import Detection, Model, Result
from nktc.ir import Graph, Layer, Phase, definition

ROOT = Path(__file__).parents[2]
PLACES = data.Places.from_environment()
TAIL = """
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
        inner_product_param { num_output: 4 weight_filler { type: "gaussian" std: 0.01 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


def write_pictures(folder: Path, pixels: np.ndarray) -> list[Path]:
    """PNG files of u8[n c h w], colour planes in OpenCV's order, blue first."""
    paths = [folder / f"{i:03}.png" for i in range(len(pixels))]
    for path, picture in zip(paths, pixels, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), picture.transpose(1, 2, 0))
    return paths


def random_pictures(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, *shape), np.uint8)


def trained(net: Path) -> tuple[Graph, module.Net, Path]:
    """The TEST graph of a net, its module, and a file of the module's weights."""
    file = reader.read_net(net)
    graph = reader.build(file, Phase.TEST, feeds=models.feeds(file))
    built = module.compile(graph, seed=1)
    weights.save(net.with_suffix(".caffemodel"), graph, built.arrays())
    return graph, built, net.with_suffix(".caffemodel")


def fed(model: Model, paths: list[Path]) -> np.ndarray:
    """What the model is given of these pictures."""
    rows = [model.intake.file(path.read_bytes(), str(path)) for path in paths]
    return np.concatenate([row[model.inputs[0].name] for row in rows])


def scores(model: Model, paths: list[Path]) -> np.ndarray:
    """What the model says of these pictures, [n classes]."""
    found = [result.outputs[model.scores].reshape(-1) for result in model.results(paths, 0, [model.scores])]
    return np.stack(found)


def stream_of(layer: Layer, folder: Path) -> data.Stream:
    return data.open_stream(layer, data.Opening(places=PLACES, folder=folder, seed=0))


def forms(net: Path, caffemodel: Path) -> dict[str, Model]:
    """The same model in every form that can be opened."""
    onnx_file = net.with_suffix(".onnx")
    export.save(export.to_onnx(models.open_model(net, [caffemodel], PLACES)), onnx_file)
    by_backend = {b: inference.load(net, caffemodel, backend=b, device="cpu") for b in ("torch", "onnxruntime", "")}
    return {**by_backend, "onnx file": inference.load(onnx_file, device="cpu")}


# The same numbers as in training.


def test_gray_digits_are_the_test_stream_to_the_bit(tmp_path):
    net = tmp_path / "net.prototxt"
    net.write_text((ROOT / "nets/mlp/train.prototxt").read_text().replace("shuffle: true", ""))
    graph, built, caffemodel = trained(net)
    stream = stream_of(graph.sources[0].layer, tmp_path)
    batch, labels = stream.batch(0)
    pixels = (batch * 255).round().byte().numpy()
    paths = write_pictures(tmp_path / "pictures", pixels)
    expected = built.values(batch, labels)["score"].softmax(1).detach().numpy()
    for form, model in forms(net, caffemodel).items():
        np.testing.assert_array_equal(fed(model, paths), batch.numpy(), form)
        assert (model.labels, model.assumed) == (tuple("0123456789"), "")
        results = list(model.results(paths, top=10))
        found = np.array([[p.probability for p in sorted(r.predictions, key=lambda p: p.index)] for r in results])
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6, err_msg=form)


@pytest.mark.parametrize(
    ("settings", "mean"),
    [
        ("", False),
        ("scale: 0.25 mean_value: 104 mean_value: 117 mean_value: 123", False),
        ("scale: 0.0078125 mean_value: 127.5 crop_size: 5", False),
        ('mean_file: "mean.binaryproto"', True),
        ('mean_file: "mean.binaryproto" crop_size: 6 mirror: true', True),
        ("scale: 0.5 mean_value: 104 std_value: 57 std_value: 58 std_value: 59.5 crop_size: 5", False),
        ("resize_height: 12 resize_width: 10 resize_mode: CROP crop_size: 8 std_value: 0.3", False),
        ("resize_height: 6 resize_width: 14 resize_mode: FILL fill_value: 40 crop_size: 6", False),
        ("resize_height: 15 resize_width: 9 resize_mode: HALF_CROP fill_value: 250", False),
    ],
)
def test_colour_from_a_database_is_the_test_stream_to_the_bit(settings, mean, tmp_path):
    pixels = random_pictures(6, 3, 9, 8)
    for i, name in enumerate("abc"):
        write_pictures(tmp_path / "tree" / name, pixels[2 * i : 2 * i + 2])
    data.convert(str(tmp_path / "tree"), tmp_path / "db", data.Options(), places=PLACES)
    if mean:
        data.write_mean(tmp_path / "mean.binaryproto", data.database_mean(tmp_path / "db"))
    net = tmp_path / "net.prototxt"
    net.write_text(
        'name: "n"\nlayer { name: "d" type: "Data" top: "data" top: "label"\n'
        f"transform_param {{ {settings} }}\n"
        'data_param { source: "db" batch_size: 6 backend: LMDB } }\n' + TAIL
    )
    graph, built, caffemodel = trained(net)
    batch, labels = stream_of(graph.sources[0].layer, tmp_path).batch(0)
    paths = data.find_images([tmp_path / "tree"])
    expected = built.values(batch, labels)["ip"].softmax(1).detach().numpy()
    for form, model in forms(net, caffemodel).items():
        np.testing.assert_array_equal(fed(model, paths), batch.numpy(), form)
        np.testing.assert_allclose(scores(model, paths), expected, rtol=1e-4, atol=1e-6, err_msg=form)


@pytest.mark.parametrize("tested", [True, False], ids=["with a test net", "without"])
def test_a_runs_folder_knows_resize_and_deviation_whatever_it_trained_with(tested, tmp_path):
    pixels = random_pictures(4, 3, 9, 8)
    for i, name in enumerate("abc"):
        write_pictures(tmp_path / "tree" / name, pixels[i : i + 1 + i // 2])
    data.convert(str(tmp_path / "tree"), tmp_path / "db", data.Options(), places=PLACES)
    shared = (
        "crop_size: 7 mean_value: 104 scale: 0.5 std_value: 57.3 std_value: 58 std_value: 59"
        " resize_height: 9 resize_width: 11 resize_mode: HALF_CROP fill_value: 3"
    )
    chances = (
        " mirror: true rotation: 20 random_resized_crop {} color_jitter { hue: 30 contrast: 0.4 } cutout: 2"
        " random_erasing {} mixup: 0.2 cutmix: 1 num_classes: 4"
    )
    net = tmp_path / "net.prototxt"
    layers = [
        f'layer {{ name: "{phase}" type: "Data" top: "data" top: "label" include {{ phase: {phase} }}\n'
        f"transform_param {{ {shared}{chances if phase == 'TRAIN' else ''} }}\n"
        'data_param { source: "db" batch_size: 4 backend: LMDB } }\n'
        for phase in ("TRAIN", "TEST")
    ]
    net.write_text("".join(layers) + TAIL)
    solver = tmp_path / "solver.prototxt"
    test = "test_iter: 1 test_interval: 1" if tested else ""
    source = f'net: "{net}"' if tested else f'train_net: "{net}"'
    solver.write_text(f'{source} {test} base_lr: 0.01 lr_policy: "fixed" max_iter: 2 speed: "exact"')
    options = train.Options(run_dir=tmp_path / "run", device="cpu", places=PLACES, workers=0)
    train.launch(solver, options, Console(file=io.StringIO()))
    model = inference.load(tmp_path / "run", device="cpu")
    graph = reader.build(reader.read_net(net), Phase.TEST, feeds=models.feeds(reader.read_net(net)))
    batch, _ = stream_of(graph.sources[0].layer, tmp_path).batch(0)
    np.testing.assert_array_equal(fed(model, data.find_images([tmp_path / "tree"])), batch.numpy())


def test_an_inputs_transform_is_what_opencv_would_do_by_hand(tmp_path):
    net = tmp_path / "deploy.prototxt"
    net.write_text("""
        layer { name: "x" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 6 dim: 6 } }
          transform_param { channel_order: RGB scale: 0.5 crop_size: 6 resize_height: 8 resize_width: 10
                            mean_value: 1 mean_value: 2 mean_value: 3 } }
        layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 4 } }
        layer { name: "p" type: "Softmax" bottom: "ip" top: "p" }
    """)
    _, _, caffemodel = trained(net)
    path = write_pictures(tmp_path / "p", random_pictures(1, 3, 40, 30))[0]
    picture = cv2.resize(cv2.imread(str(path)), (10, 8))[:, :, ::-1].astype(np.float32)
    expected = ((picture - np.float32([1, 2, 3])) * np.float32(0.5))[1:7, 2:8].transpose(2, 0, 1)
    for form, model in forms(net, caffemodel).items():
        np.testing.assert_array_equal(fed(model, [path])[0], expected, form)


# What is reported.


@pytest.fixture
def gray(tmp_path) -> Model:
    """A model that is sure of class i for a picture of gray i, for 0 to 3."""
    net = tmp_path / "gray.prototxt"
    net.write_text("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 1 dim: 2 dim: 2 } } }
        layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param { num_output: 4 } }
        layer { name: "p" type: "Softmax" bottom: "ip" top: "p" }
    """)
    graph = reader.build(reader.read_net(net), Phase.TEST)
    line = np.float32([0, 1, 2, 3])  # i x - i i / 2 is largest at the nearest i
    arrays = {"ip.weight": np.repeat(line[:, None] * 10 / 4, 4, 1), "ip.bias": -5 * line * line}
    weights.save(tmp_path / "gray.caffemodel", graph, {k: torch.from_numpy(v) for k, v in arrays.items()})
    return inference.load(net, tmp_path / "gray.caffemodel", device="cpu", batch=3)


def grays(folder: Path, *shades: int) -> list[Path]:
    return write_pictures(folder, np.uint8(shades)[:, None, None, None] * np.ones((1, 1, 2, 2), np.uint8))


def test_two_lines_classify_a_picture_in_whatever_form_it_is(gray, tmp_path):
    (path,) = grays(tmp_path / "p", 2)
    picture = np.full((2, 2), 2, np.uint8)
    for thing in (path, str(path), path.read_bytes(), picture, np.stack([picture] * 3, 2), np.full((1, 2, 2), 2.0)):
        found = gray(thing, top=2)
        assert [p.index for p in found] in ([2, 1], [2, 3])
        assert found[0].label == "2"
        assert found[0].probability > 0.98
    assert len(gray(path)) == 4
    (tmp_path / "words.png").write_text("words")
    with pytest.raises(NktcError, match=r"words.png is not an image that can be decoded"):
        gray(tmp_path / "words.png")
    with pytest.raises(NktcError) as caught:
        gray(np.zeros((3, 2, 2), np.uint8))
    assert str(caught.value) == "error: the array holds 3 things\nhelp: model.results gives one answer for each"


def test_a_picture_that_cannot_be_read_stops_nobody(gray, tmp_path):
    folder = tmp_path / "p"
    paths = grays(folder, 0, 3, 2, 1, 0)
    (folder / "001a.png").write_text("words")
    (folder / "001b.png").touch()
    results = list(gray.results([folder, paths[0], *paths[:1]], top=1))
    assert [(r.path, r.error) for r in results if r.error] == [
        (str(folder / name), f"{folder / name} is not an image that can be decoded")
        for name in ("001a.png", "001b.png")
    ]
    assert [(Path(r.path).name, r.predictions[0].index) for r in results if not r.error] == [
        ("000.png", 0),
        ("001.png", 3),
        ("002.png", 2),
        ("003.png", 1),
        ("004.png", 0),
        ("000.png", 0),
        ("000.png", 0),
    ]


def test_raw_runs_give_every_output_and_refuse_what_does_not_fit(gray):
    found = gray.run({"x": np.full((5, 1, 2, 2), 3)})
    assert list(found) == ["p"]
    assert found["p"].argmax(1).tolist() == [3] * 5
    for feeds, said in (
        ({"y": 1}, "error: the model has no input y\nhelp: the inputs are x"),
        ({}, "error: the input x is not given\nhelp: the inputs are x"),
        ({"x": np.zeros((2, 2, 2), np.float32)}, "error: x is float32 2x2x2, the model takes f32 nx1x2x2"),
    ):
        with pytest.raises(NktcError) as caught:
            gray.run(feeds)
        assert str(caught.value) == said


def test_inner_blobs_are_those_of_the_layers(gray, tmp_path):
    paths = grays(tmp_path / "p", 0, 1, 2, 3, 3)
    found = gray.blobs("ip", paths)
    line = np.arange(4)
    expected = [[10 * shade * i - 5 * i * i for i in line] for shade in (0, 1, 2, 3, 3)]
    np.testing.assert_allclose(found["ip"], expected, atol=1e-5)
    both = gray.blobs(["x", "p"], paths[1])
    np.testing.assert_array_equal(both["x"], np.ones((1, 1, 2, 2)))
    assert both["p"].shape == (1, 4)
    with pytest.raises(NktcError, match='has no blob "q"'):
        gray.blobs("q", paths)
    with pytest.raises(NktcError, match='the model gives no "ip"'):
        gray.results(paths, 0, ["ip"])


def test_a_named_blob_is_not_taken_for_the_scores(gray):
    asked = gray.giving(["ip"])
    assert [value.name for value in asked.outputs] == ["p", "ip"]
    assert asked.scores == "p"
    assert asked.chosen(raw=True, blobs=()) == ("p",)
    assert asked.chosen(raw=False, blobs=("ip",)) == ("ip",)


def test_a_net_that_mixes_its_batch_is_fed_whole_batches(tmp_path):
    net = tmp_path / "net.prototxt"
    net.write_text("""
        layer { name: "x" type: "Input" top: "data" input_param { shape { dim: 4 dim: 1 dim: 2 dim: 2 } } }
        layer { name: "f" type: "Reshape" bottom: "data" top: "f" reshape_param { shape { dim: 4 dim: 4 } } }
        layer { name: "p" type: "Softmax" bottom: "f" top: "p" }
    """)
    paths = write_pictures(tmp_path / "p", random_pictures(6, 1, 2, 2))
    expected = torch.tensor(np.stack([cv2.imread(str(p), 0) for p in paths]).reshape(6, 4)).float().softmax(1)
    export.save(export.to_onnx(models.open_model(net, [], PLACES)), tmp_path / "net.onnx")
    for model in (net, tmp_path / "net.onnx"):
        asked = inference.load(model, device="cpu")
        assert (asked.batch, asked.opened.batch) == (4, 4)
        np.testing.assert_allclose(scores(asked, paths), expected, atol=1e-6)
        with pytest.raises(NktcError, match="takes batches of 4, not of 3"):
            inference.load(model, batch=3)


# Models of others.


def plain(folder: Path, dims: list[int | str], elements: int = onnx.TensorProto.FLOAT, rank: int = 2) -> Path:
    """An ONNX file without metadata that flattens its one input."""
    node = onnx.helper.make_node("Flatten" if rank == 2 else "Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph(
        [node],
        "plain",
        [onnx.helper.make_tensor_value_info("x", elements, dims)],
        [onnx.helper.make_tensor_value_info("y", elements, [f"d{i}" for i in range(rank)])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "plain.onnx")
    return folder / "plain.onnx"


@pytest.mark.parametrize(("channels", "order"), [(1, "GRAY"), (3, "BGR")])
def test_a_model_without_metadata_works_and_says_what_was_assumed(channels, order, tmp_path):
    model = inference.load(plain(tmp_path, ["n", channels, 4, 5]), device="cpu")
    assert model.assumed == (
        f"the model does not say how its pictures are prepared: resized to 4x5, {order} pixels 0 to 255, no mean,"
        " no scale, as Caffe's defaults have it"
    )
    pixels = random_pictures(2, 3, 4, 5)
    paths = write_pictures(tmp_path / "p", pixels)
    expected = pixels if channels == 3 else np.stack([cv2.imread(str(p), 0)[None] for p in paths])
    np.testing.assert_array_equal(scores(model, paths), expected.reshape(2, -1))


@pytest.mark.parametrize(
    ("dims", "more", "said"),
    [
        (["n", 4], {}, "000.png is taken for a picture, and the model takes f32 nx4"),
        ([1, 5, 4, 4], {}, "000.png is taken for a picture, and the model takes f32 1x5x4x4"),
        ([1, 3, 4, 4], {"elements": onnx.TensorProto.UINT8}, "is taken for a picture, and the model takes u8 1x3x4x4"),
        ([1, 3, "h", "w"], {}, "the model leaves the size of its pictures open: x 3xnxn"),
    ],
)
def test_a_model_that_takes_no_picture_says_so_of_each(dims, more, said, tmp_path):
    paths = write_pictures(tmp_path / "p", random_pictures(2, 3, 4, 5))
    first, second = inference.load(plain(tmp_path, dims, **more), device="cpu").results(paths)
    assert first.error.endswith(said)
    assert second.error


def test_a_model_that_scores_no_classes_is_refused_unless_its_outputs_are_asked_for(tmp_path):
    model = inference.load(plain(tmp_path, [1, 3, 4, 4], rank=4), device="cpu")
    paths = write_pictures(tmp_path / "p", random_pictures(1, 3, 4, 4))
    with pytest.raises(NktcError) as caught:
        model.results(paths)
    assert str(caught.value) == (
        "error: the model gives no row of scores but y 1x3x4x4\n"
        'help: --raw, or outputs=["y"] in Python, gives them as they are'
    )
    (found,) = model.results(paths, 0, ["y"])
    np.testing.assert_array_equal(found.outputs["y"], cv2.imread(str(paths[0])).transpose(2, 0, 1))


def test_a_detector_gives_the_surest_boxes_of_each_picture(tmp_path):
    file = plain(tmp_path, [1, 1, 2, 7], rank=4)
    net = onnx.load(file)  # which says how many rows there are, as no detector can
    net.graph.node[0].op_type = "Compress"
    net.graph.node[0].input.append("kept")
    net.graph.node[0].attribute.append(onnx.helper.make_attribute("axis", 2))
    net.graph.initializer.append(onnx.numpy_helper.from_array(np.array([True, True]), "kept"))
    onnx.save(net, file)
    rows = np.array([[[[0, 3, 1, 2, 4, 6, 8], [0, 5, 9, 0, 1, 2, 3]]]], np.uint8)
    paths = write_pictures(tmp_path / "p", rows)
    model = inference.load(file, device="cpu")
    sure, less = (Detection(5, "5", 9.0, (0.0, 1.0, 2.0, 3.0)), Detection(3, "3", 1.0, (2.0, 4.0, 6.0, 8.0)))
    assert model(paths[0]) == [sure, less]
    (found,) = model.results(paths, 1, ["y"])
    assert found == Result(str(paths[0]), (sure,), detector=True)
    np.testing.assert_array_equal(found.outputs["y"], rows[0, 0])
    with pytest.raises(NktcError, match="the boxes of y have no mean over crops"):
        inference.load(file, device="cpu", oversample=True).results(paths)


def test_outputs_that_tell_no_row_from_another_are_had_one_at_a_time(tmp_path):
    file = plain(tmp_path, ["n", 3, 2, 2])
    net = onnx.load(file)
    net.graph.node[0].op_type = "Transpose"
    net.graph.node[0].attribute.append(onnx.helper.make_attribute("perm", [1, 0, 2, 3]))
    del net.graph.output[:]
    net.graph.output.append(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [3, "n", 2, 2]))
    onnx.save(net, file)
    paths = write_pictures(tmp_path / "p", random_pictures(2, 3, 2, 2))
    with pytest.raises(NktcError) as caught:
        list(inference.load(file, device="cpu").results(paths, 0, ["y"]))
    assert str(caught.value) == (
        "error: the output y is 3x2x2x2 for a batch of 2, which tells no row from another\nhelp: give --batch 1"
    )
    found = list(inference.load(file, device="cpu", batch=1).results(paths, 0, ["y"]))
    for one, path in zip(found, paths, strict=True):
        np.testing.assert_array_equal(one.outputs["y"][:, 0], cv2.imread(str(path)).transpose(2, 0, 1))


@pytest.mark.parametrize("name", ["mlp", "digits_quick", "cifar10_quick", "lenet"])
def test_engines_agree_on_every_blob(name, tmp_path):
    file = reader.read_net(ROOT / "nets" / name / "train.prototxt")
    graph = passes.deploy(reader.build(file, Phase.TEST, feeds=models.feeds(file)))
    net, caffemodel = tmp_path / "deploy.prototxt", tmp_path / "w.caffemodel"
    net.write_text(str(definition(graph)))
    weights.save(caffemodel, graph, module.compile(graph, seed=1).arrays())
    paths = write_pictures(tmp_path / "p", random_pictures(5, *graph.inputs[0].shape[1:]))
    blobs = [name for name in graph.values if "@" not in name]
    assert len(blobs) >= 4
    first, second = (
        inference.load(net, caffemodel, backend=backend, device="cpu").blobs(blobs, paths)
        for backend in ("torch", "onnxruntime")
    )
    for blob in blobs:
        assert np.abs(first[blob] - second[blob]).max() <= 1e-5 * max(1, np.abs(first[blob]).max()), blob


@pytest.mark.parametrize("channels", [1, 3])
def test_a_model_that_prepares_its_pictures_itself_answers_as_one_that_does_not(channels, tmp_path):
    net = tmp_path / "deploy.prototxt"
    means = " ".join(["mean_value: 100"] * channels)
    net.write_text(f"""
        layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 1 dim: {channels} dim: 6 dim: 6 }} }}
          transform_param {{ crop_size: 6 resize_height: 8 resize_width: 10 scale: 0.02 {means} }} }}
        layer {{ name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param {{ num_output: 4
          weight_filler {{ type: "xavier" }} }} }}
        layer {{ name: "p" type: "Softmax" bottom: "ip" top: "p" }}
    """)
    _, _, caffemodel = trained(net)
    graph = models.open_model(net, [caffemodel], PLACES)
    export.save(export.to_onnx(graph, inside=True), tmp_path / "inside.onnx")
    paths = write_pictures(tmp_path / "p", random_pictures(3, 3, 20, 30))
    plain, inside = inference.load(net, caffemodel, device="cpu"), inference.load(tmp_path / "inside.onnx")
    assert inside.assumed == ""
    np.testing.assert_allclose(scores(inside, paths), scores(plain, paths), atol=1e-5)
    if channels == 3:
        rgb = np.stack([cv2.imread(str(path))[:, :, ::-1] for path in paths])
        np.testing.assert_allclose(scores(inside, [rgb]), scores(plain, paths), atol=1e-5)
    with pytest.raises(NktcError, match="prepares its pictures itself"):
        list(inference.load(tmp_path / "inside.onnx", oversample=True).blobs("p", paths))


def test_oversampling_is_the_mean_of_ten_answers(tmp_path):
    net = tmp_path / "deploy.prototxt"
    net.write_text("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 6 dim: 6 } }
          transform_param { crop_size: 6 resize_height: 9 resize_width: 10 scale: 0.02 mean_value: 100 } }
        layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param { num_output: 4
          weight_filler { type: "xavier" } } }
        layer { name: "p" type: "Softmax" bottom: "ip" top: "p" }
    """)
    _, _, caffemodel = trained(net)
    paths = write_pictures(tmp_path / "p", random_pictures(3, 3, 20, 30))
    once = inference.load(net, caffemodel, device="cpu")
    expected = []
    for path in paths:
        whole = (cv2.resize(cv2.imread(str(path)), (10, 9)).astype(np.float32) - 100) * np.float32(0.02)
        corners = [(0, 0), (0, 4), (3, 0), (3, 4), (1, 2)]
        crops = [whole[top : top + 6, left : left + 6].transpose(2, 0, 1) for top, left in corners]
        fed = np.stack([*crops, *(crop[:, :, ::-1] for crop in crops)])
        expected.append(once.run({"x": fed})["p"].mean(0))
    for batch in (1, 7, 32):
        model = inference.load(net, caffemodel, device="cpu", oversample=True, batch=batch)
        np.testing.assert_allclose(scores(model, paths), expected, atol=1e-6)
    with pytest.raises(NktcError, match="takes no pictures that crops could be taken from"):
        inference.load(plain(tmp_path, ["n", 5]), oversample=True)
