"""Pictures to class names: exactly the training batches' numbers, whatever the form of the model."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from rich.console import Console

from nktc import data, engines, export, models, module, passes, reader, train, weights
from nktc.engines import Classifier, Options, open_classifier
from nktc.errors import NktcError
from nktc.ir import Graph, Layer, Phase, Preprocessing

ROOT = Path(__file__).parents[2]
PLACES = data.Places.from_environment()
CPU = Options("cpu")
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


def fed(classifier: Classifier, paths: list[Path]) -> np.ndarray:
    """What the model is given of these pictures."""
    return torch.stack([data.prepare(path, classifier.preprocessing) for path in paths]).numpy()


def stream_of(layer: Layer, folder: Path) -> data.Stream:
    return data.open_stream(layer, data.Opening(places=PLACES, folder=folder, seed=0))


def classifiers(net: Path, caffemodel: Path) -> dict[str, Classifier]:
    """The same model in every form that can be opened."""
    onnx_file = net.with_suffix(".onnx")
    export.save(export.to_onnx(models.open_model(net, [caffemodel], PLACES)), onnx_file)
    by_backend = {b: open_classifier(net, [str(caffemodel)], b, CPU, PLACES) for b in ("torch", "onnxruntime", "")}
    return {**by_backend, "onnx file": open_classifier(onnx_file, [], "", CPU, PLACES)}


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
    for form, classifier in classifiers(net, caffemodel).items():
        np.testing.assert_array_equal(fed(classifier, paths), batch.numpy(), form)
        assert (classifier.labels, classifier.assumed) == (tuple("0123456789"), "")
        results = list(classifier.classify(paths, top=10))
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
    for form, classifier in classifiers(net, caffemodel).items():
        np.testing.assert_array_equal(fed(classifier, paths), batch.numpy(), form)
        found = classifier.scores(fed(classifier, paths))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6, err_msg=form)


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
    classifier = open_classifier(tmp_path / "run", [], "", CPU, PLACES)
    graph = reader.build(reader.read_net(net), Phase.TEST, feeds=models.feeds(reader.read_net(net)))
    batch, _ = stream_of(graph.sources[0].layer, tmp_path).batch(0)
    np.testing.assert_array_equal(fed(classifier, data.find_images([tmp_path / "tree"])), batch.numpy())


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
    for form, classifier in classifiers(net, caffemodel).items():
        np.testing.assert_array_equal(fed(classifier, [path])[0], expected, form)


# What is reported.


def answering(scores: np.ndarray, labels: tuple[str, ...] = (), batch: int = 0) -> tuple[Classifier, list[int]]:
    """A classifier whose model gives row i of `scores` for a picture of gray i, and the batches it was fed."""
    sizes: list[int] = []

    class Session:
        device = "none"

        def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            sizes.append(len(feeds["x"]))
            return {"y": scores[feeds["x"][:, 0, 0, 0].astype(int)]}

    return Classifier(Session(), "x", "y", batch, Preprocessing((2, 2), "GRAY"), labels), sizes


def test_the_most_probable_come_first_and_of_equals_the_lower_number(tmp_path):
    classifier, _ = answering(np.array([[0.1, 0.4, 0.4, 0.1]], np.float32), ("a", "b", "c", "d"))
    path = write_pictures(tmp_path, np.zeros((1, 1, 2, 2), np.uint8))[0]
    (result,) = classifier.classify([path], top=3)
    assert [(p.index, p.label) for p in result.predictions] == [(1, "b"), (2, "c"), (0, "a")]
    assert result.predictions[0].probability == pytest.approx(0.4)
    assert len(next(iter(classifier.classify([path], top=9))).predictions) == 4
    classifier, _ = answering(np.full((1, 1000), 0.001, np.float32))
    (result,) = classifier.classify([path])
    assert [p.index for p in result.predictions] == [0, 1, 2, 3, 4]


def test_classes_have_numbers_where_the_labels_do_not_count_up(tmp_path):
    classifier, _ = answering(np.eye(3, dtype=np.float32), ("one", "two"))
    path = write_pictures(tmp_path, np.zeros((1, 1, 2, 2), np.uint8))[0]
    assert [p.label for p in next(iter(classifier.classify([path]))).predictions] == ["0", "1", "2"]


def test_a_picture_that_cannot_be_read_stops_nobody(tmp_path):
    classifier, _ = answering(np.eye(3, dtype=np.float32))
    paths = write_pictures(
        tmp_path, np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 2, 2), np.uint8)
    )
    (tmp_path / "001a.png").write_text("words")
    (tmp_path / "001b.png").touch()
    results = list(classifier.classify(data.find_images([tmp_path, paths[0]]), top=1))
    assert [(r.path.name, r.error.removeprefix(f"{r.path} ")) for r in results if r.error] == [
        ("001a.png", "is not an image that can be decoded"),
        ("001b.png", "is not an image that can be decoded"),
    ]
    assert [(r.path.name, r.predictions[0].index) for r in results if not r.error] == [
        ("000.png", 0),
        ("001.png", 1),
        ("002.png", 2),
        ("000.png", 0),
    ]
    alone = list(classifier.classify([tmp_path / "001a.png"]))
    assert alone[0].error


@pytest.mark.parametrize(("batch", "expected"), [(0, [32, 8]), (16, [16, 16, 16]), (1, [1] * 40)])
def test_models_get_the_batches_that_they_take(batch, expected, tmp_path):
    classifier, sizes = answering(np.eye(256, dtype=np.float32), batch=batch)
    paths = write_pictures(tmp_path, np.arange(40, dtype=np.uint8)[:, None, None, None].repeat(2, 2).repeat(2, 3))
    found = [result.predictions[0].index for result in classifier.classify(paths, top=1)]
    assert found == list(range(40))
    assert sizes == expected


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
        classifier = open_classifier(model, [], "", CPU, PLACES)
        assert classifier.batch == 4
        np.testing.assert_allclose(classifier.scores(fed(classifier, paths)), expected, atol=1e-6)


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
    classifier = open_classifier(plain(tmp_path, ["n", channels, 4, 5]), [], "", CPU, PLACES)
    assert classifier.assumed == (
        f"the model does not say how its pictures are prepared: resized to 4x5, {order} pixels 0 to 255, no mean,"
        " no scale, as Caffe's defaults have it"
    )
    pixels = random_pictures(2, 3, 4, 5)
    paths = write_pictures(tmp_path / "p", pixels)
    expected = pixels if channels == 3 else np.stack([cv2.imread(str(p), 0)[None] for p in paths])
    np.testing.assert_array_equal(classifier.scores(fed(classifier, paths)), expected.reshape(2, -1))


@pytest.mark.parametrize(
    ("dims", "more", "said"),
    [
        (["n", 4], {}, "takes no single picture [n c h w] of 1 or 3 channels but x 0x4"),
        ([1, 5, 4, 4], {}, "takes no single picture [n c h w] of 1 or 3 channels but x 1x5x4x4"),
        ([1, 3, 4, 4], {"rank": 4}, "gives no row of scores but y 1x3x4x4"),
        ([1, 3, 4, 4], {"elements": onnx.TensorProto.UINT8}, "takes u8, not f32"),
        ([1, 3, "h", "w"], {}, "the model leaves the size of its pictures open: x 3x0x0"),
    ],
)
def test_a_model_that_takes_no_picture_is_refused(dims, more, said, tmp_path):
    with pytest.raises(NktcError) as caught:
        open_classifier(plain(tmp_path, dims, **more), [], "", CPU, PLACES)
    assert caught.value.message.endswith(said)


def test_weights_and_backends_that_do_not_go_with_the_model_are_refused(tmp_path):
    file = plain(tmp_path, [1, 3, 4, 4])
    (tmp_path / "run").mkdir()
    for model, files, backend, said in (
        (file, ["w"], "", "has its own weights"),
        (tmp_path / "run", ["w"], "", "has its own weights"),
        (file, [], "torch", "the backend torch does not read ONNX files"),
        (ROOT / "nets/mlp/train.prototxt", [], "", "is a net without weights"),
        (tmp_path / "run", [], "", "is not the folder of a run"),
    ):
        with pytest.raises(NktcError, match=said):
            open_classifier(model, files, backend, CPU, PLACES)


@pytest.mark.parametrize("name", ["mlp", "digits_quick", "cifar10_quick", "lenet"])
def test_backends_agree_on_pictures(name, tmp_path):
    net_file = reader.read_net(ROOT / "nets" / name / "train.prototxt")
    graph = passes.deploy(reader.build(net_file, Phase.TEST, feeds=models.feeds(net_file)))
    graph = dataclasses.replace(graph, arrays=module.compile(graph, seed=1).arrays())
    _, channels, height, width = graph.inputs[0].shape
    feeds = {graph.inputs[0].name: random_pictures(5, channels, height, width).astype(np.float32)}
    assert max(d.relative for d in engines.agree(graph, ["torch", "onnxruntime"], feeds)) <= 1e-5
