"""Losses of probabilities: values, floors, divisors, gradients, and where the matrix of infogain comes from."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nktc import ir, module, reader, weights
from nktc.errors import NktcError
from nktc.ir import Graph, Phase
from nktc.layers import InfogainLoss, MultinomialLogisticLoss, SigmoidCrossEntropyLoss, SoftmaxWithLoss
from nktc.schema import BlobProto

FLOOR = float(np.finfo(np.float32).tiny)


def expected(scores: np.ndarray, label: np.ndarray, layer: SoftmaxWithLoss) -> tuple[float, np.ndarray]:
    """scores[n c p], label[n p]: Caffe's loss and gradient, one item at a time."""
    shifted = np.exp(scores - scores.max(1, keepdims=True))
    probabilities = shifted / shifted.sum(1, keepdims=True)
    loss, gradient, valid = 0.0, probabilities.copy(), 0
    for n, p in np.ndindex(*label.shape):
        wanted = int(label[n, p])
        if wanted == layer.ignore:
            gradient[n, :, p] = 0
            continue
        valid += 1
        loss -= math.log(max(probabilities[n, wanted, p], FLOOR))
        gradient[n, wanted, p] -= 1
    divisor = {"FULL": label.size, "VALID": valid, "BATCH_SIZE": len(label), "NONE": 1}[layer.normalization]
    return loss / max(1, divisor), gradient / max(1, divisor)


@pytest.mark.parametrize("ignore", [None, 1, 255, "all"])
@pytest.mark.parametrize("normalization", ["FULL", "VALID", "BATCH_SIZE", "NONE"])
def test_it_is_the_mean_log_of_the_labels_probability(normalization: str, ignore: int | str | None) -> None:
    random = np.random.default_rng(1)
    scores, label = random.normal(size=(4, 3, 5)) * 3, random.integers(0, 3, (4, 5))
    label[0, :2] = 255 if ignore == 255 else 0
    if ignore == "all":
        label[:], ignore = 1, 1
    assert not isinstance(ignore, str)
    layer = SoftmaxWithLoss(1, ignore, normalization)
    given = torch.from_numpy(scores).requires_grad_()
    loss = layer.forward(given, torch.from_numpy(label).float())
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    value, gradient = expected(scores, label, layer)
    assert loss.item() == pytest.approx(value)
    np.testing.assert_allclose(given.grad, gradient, atol=1e-12)  # type: ignore[arg-type]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5), (4, 3, 2, 2)])
def test_one_share_a_class_is_torchs_cross_entropy_with_probabilities(
    layer: Callable[..., Any], shape: tuple[int, ...], smoothing: float
) -> None:
    random = torch.Generator().manual_seed(1)
    scores = torch.randn(shape, generator=random, dtype=torch.float64, requires_grad=True)
    label = torch.rand(shape, generator=random, dtype=torch.float64).softmax(1)
    sums = torch.nn.functional.cross_entropy(scores, label, label_smoothing=smoothing, reduction="sum")
    (gradient,) = torch.autograd.grad(sums, scores)
    items = math.prod(shape) // 3
    for normalization, divisor in {"FULL": items, "VALID": items, "BATCH_SIZE": 4, "NONE": 1}.items():
        given = f"loss_param {{ label_smoothing: {smoothing} normalization: {normalization} }}"
        loss = layer("SoftmaxWithLoss", given, shape, shape, phase=Phase.TRAIN).forward(scores, label)
        (found,) = torch.autograd.grad(loss, scores)
        assert loss.item() == pytest.approx(sums.item() / divisor, rel=1e-6)
        torch.testing.assert_close(found, gradient / divisor, rtol=1e-6, atol=1e-7)


def test_a_whole_share_for_one_class_is_its_number(layer: Callable[..., Any]) -> None:
    scores = torch.randn(6, 4, 3, generator=torch.Generator().manual_seed(1)) * 90
    label = torch.randint(0, 4, (6, 3), generator=torch.Generator().manual_seed(2))
    shares = torch.nn.functional.one_hot(label, 4).movedim(-1, 1).float()
    found = layer("SoftmaxWithLoss", "softmax_param { axis: -2 }", (6, 4, 3), (6, 4, 3)).forward(scores, shares)
    expected = layer("SoftmaxWithLoss", "", (6, 4, 3), (6, 3)).forward(scores, label.float())
    torch.testing.assert_close(found, expected)


def test_with_one_class_a_label_of_the_shape_of_the_scores_is_a_number(layer: Callable[..., Any]) -> None:
    scores = torch.randn(3, 1, generator=torch.Generator().manual_seed(1))
    assert layer("SoftmaxWithLoss", "", (3, 1), (3, 1)).forward(scores, torch.zeros(3, 1)).item() == 0


def test_shares_of_classes_have_no_label_to_ignore(refusal: Callable[..., tuple[str, str]]) -> None:
    assert refusal("SoftmaxWithLoss", "loss_param { ignore_label: 1 }", (2, 3), (2, 3)) == (
        "its label 2x3 has one share a class, and no label to ignore",
        "ignore_label: 1",
    )


@pytest.mark.parametrize("smoothing", [0.1, 1.0])
@pytest.mark.parametrize("ignore", [None, 1, "all"])
def test_smoothing_is_torchs(layer: Callable[..., Any], smoothing: float, ignore: int | str | None) -> None:
    random = torch.Generator().manual_seed(1)
    scores = torch.randn(4, 3, 5, generator=random, dtype=torch.float64, requires_grad=True)
    label = torch.randint(0, 3, (4, 5), generator=random)
    if ignore == "all":
        label[:], ignore = 1, 1
    assert not isinstance(ignore, str)
    said = f"label_smoothing: {smoothing}" + (f" ignore_label: {ignore}" if ignore is not None else "")
    sums = torch.nn.functional.cross_entropy(
        scores, label, ignore_index=-100 if ignore is None else ignore, label_smoothing=smoothing, reduction="sum"
    )
    (gradient,) = torch.autograd.grad(sums, scores)
    valid = label.numel() if ignore is None else int((label != ignore).sum())
    for normalization, divisor in {"FULL": 20, "VALID": max(1, valid), "BATCH_SIZE": 4, "NONE": 1}.items():
        given = f"loss_param {{ {said} normalization: {normalization} }}"
        it = layer("SoftmaxWithLoss", given, (4, 3, 5), (4, 5), phase=Phase.TRAIN)
        loss = it.forward(scores, label.float())
        (found,) = torch.autograd.grad(loss, scores)
        assert loss.item() == pytest.approx(sums.item() / divisor, rel=1e-6)  # the share has 32 bits
        torch.testing.assert_close(found, gradient / divisor, rtol=1e-6, atol=1e-7)


def test_a_test_loss_is_not_smoothed(layer: Callable[..., Any]) -> None:
    smoothed = layer("SoftmaxWithLoss", "loss_param { label_smoothing: 0.5 }", (2, 3), (2,), phase=Phase.TEST)
    assert smoothed == SoftmaxWithLoss()


@pytest.mark.parametrize(
    ("kind", "share", "said"),
    [
        ("SoftmaxWithLoss", "1.5", "label_smoothing is 1.5"),
        ("SoftmaxWithLoss", "-0.1", "label_smoothing is -0.1"),
        ("SoftmaxWithLoss", "nan", "label_smoothing is nan"),
        ("InfogainLoss", "0.1", "takes no label_smoothing"),
        ("SigmoidCrossEntropyLoss", "0.1", "takes no label_smoothing"),
        ("EuclideanLoss", "0.1", "takes no label_smoothing"),
        ("HingeLoss", "0.1", "takes no label_smoothing"),
    ],
)
def test_smoothing_out_of_range_or_place_is_refused(
    refusal: Callable[..., tuple[str, str]], kind: str, share: str, said: str
) -> None:
    shapes = ((2, 3), (2, 3) if kind.startswith(("Sig", "Euclid")) else (2,))
    found = refusal(kind, f"loss_param {{ label_smoothing: {share} }}", *shapes)
    assert found == (said, f"label_smoothing: {share}")


@pytest.mark.parametrize("distance", [50.0, 87.0, 100.0, 1e4, 1e8])
def test_the_floor_of_a_probability_is_one_of_the_value_not_of_the_gradient(distance: float) -> None:
    scores = torch.tensor([[0.0, distance]], requires_grad=True)
    loss = SoftmaxWithLoss().forward(scores, torch.zeros(1))
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    assert loss.item() == pytest.approx(min(distance, -math.log(FLOOR)), rel=1e-6)
    assert scores.grad is not None
    assert scores.grad.tolist() == [[pytest.approx(-1), pytest.approx(1)]]


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 1, 1, 1)])
def test_a_label_has_any_shape_of_one_number_an_item(shape: tuple[int, ...]) -> None:
    scores, label = torch.randn(4, 3), torch.tensor([0.0, 2.0, 1.0, 2.0])
    found = SoftmaxWithLoss().forward(scores, label.reshape(shape))
    torch.testing.assert_close(found, torch.nn.functional.cross_entropy(scores, label.long()))
    assert SoftmaxWithLoss().shape((4, 3), shape) == ()


def test_a_label_that_is_no_class_is_an_error_even_if_torch_would_ignore_it() -> None:
    with pytest.raises(IndexError):
        SoftmaxWithLoss().forward(torch.randn(1, 3), torch.tensor([-100.0]))


@pytest.mark.parametrize("kind", ["SoftmaxWithLoss", "SigmoidCrossEntropyLoss"])
@pytest.mark.parametrize(
    ("settings", "normalization"),
    [
        ("", "default"),
        ("normalization: FULL", "FULL"),
        ("normalize: false", "BATCH_SIZE"),
        ("normalize: true", "VALID"),
        ("normalize: false normalization: NONE", "NONE"),
    ],
)
def test_the_old_spelling_of_normalization_counts_alone(
    layer: Callable[..., Any], settings: str, normalization: str, kind: str
) -> None:
    it = layer(kind, f"loss_param {{ {settings} }}", (2, 3), (2, 3) if kind.startswith("Sig") else (2,))
    default = {"SoftmaxWithLoss": "VALID", "SigmoidCrossEntropyLoss": "BATCH_SIZE"}[kind]
    assert it.normalization == (default if normalization == "default" else normalization)


def infogain(scores: np.ndarray, label: np.ndarray, matrix: np.ndarray, ignore: int | None) -> tuple[float, np.ndarray]:
    """scores[n c p], label[n p]: the sum of the losses and its gradient, one item at a time."""
    loss, gradient = 0.0, np.zeros_like(scores)
    for n, p in np.ndindex(*label.shape):
        if label[n, p] == ignore:
            continue
        e = np.exp(scores[n, :, p] - scores[n, :, p].max())
        row = matrix[label[n, p]]
        loss -= (row * np.log(np.maximum(e / e.sum(), 1e-20))).sum()
        gradient[n, :, p] = e / e.sum() * row.sum() - row
    return loss, gradient


@pytest.mark.parametrize("ignore", [None, 1, 7])
@pytest.mark.parametrize("normalization", ["FULL", "VALID", "BATCH_SIZE", "NONE"])
def test_infogain_weighs_every_class_by_the_row_of_the_label(normalization: str, ignore: int | None) -> None:
    random = np.random.default_rng(1)
    scores, label = random.normal(size=(3, 4, 5)) * 3, random.integers(0, 4, (3, 5))
    matrix = random.random((4, 4))
    if ignore == 7:
        label[0] = 7
    scores[1, 0, 0] -= 100  # below the floor of the value, not of the gradient
    given = torch.from_numpy(scores).requires_grad_()
    loss = InfogainLoss("", 1, ignore, normalization).forward(
        given, torch.from_numpy(label).float(), torch.from_numpy(matrix)
    )
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    total, gradient = infogain(scores, label, matrix, ignore)
    divisor = {"FULL": 15, "VALID": (label != ignore).sum(), "BATCH_SIZE": 3, "NONE": 1}[normalization]
    assert loss.item() == pytest.approx(total / divisor)
    np.testing.assert_allclose(given.grad, gradient / divisor, atol=1e-12)  # type: ignore[arg-type]


def test_infogain_with_the_identity_is_the_softmax_loss() -> None:
    scores, label = torch.randn(2, 3, 4), torch.tensor([[0.0, 2, 1], [3, 3, 0]])
    found = InfogainLoss("", -1).forward(scores, label, torch.eye(4).reshape(1, 1, 4, 4))
    torch.testing.assert_close(found, SoftmaxWithLoss(-1).forward(scores, label))


INFOGAIN = """layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "t" type: "Input" top: "t" input_param { shape { dim: 2 } } }
layer { name: "l" type: "InfogainLoss" bottom: "x" bottom: "t" top: "l"
        infogain_loss_param { source: "H.binaryproto" } }
"""


@pytest.fixture
def infogain_net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Graph]:
    """The graph of a net whose matrix is in a file beside it; the working directory is another."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "net.prototxt").write_text(INFOGAIN)

    def build(matrix: bytes | None) -> Graph:
        if matrix is not None:
            (tmp_path / "H.binaryproto").write_bytes(matrix)
        return reader.build(reader.read_net(tmp_path / "net.prototxt"), Phase.TEST)

    return build


def test_infogain_reads_its_matrix_from_beside_the_net(infogain_net: Callable[..., Graph], tmp_path: Path) -> None:
    matrix = np.arange(9, dtype=np.float32)
    blob = BlobProto(num=1, channels=1, height=3, width=3, data=matrix)
    graph = infogain_net(blob.SerializeToString())
    ir.verify(graph)
    scores, label = torch.randn(2, 3), torch.tensor([2.0, 0.0])
    net = module.compile(graph)
    expected = -(torch.from_numpy(matrix).reshape(3, 3)[[2, 0]] * scores.log_softmax(1)).sum() / 2
    torch.testing.assert_close(net(scores, label)["l"], expected)
    assert not list(net.parameters()), "a matrix does not learn"


def test_a_weight_file_holds_no_matrix_of_infogain(infogain_net: Callable[..., Graph], tmp_path: Path) -> None:
    graph = infogain_net(BlobProto(data=range(9)).SerializeToString())
    for name in ("w.caffemodel", "w.caffemodel.h5"):
        weights.save(tmp_path / name, graph, module.compile(graph).arrays())
    with pytest.raises(NktcError, match="holds no weights"):
        weights.read(tmp_path / "w.caffemodel")
    assert weights.read(tmp_path / "w.caffemodel.h5") == {}


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        (None, 'source "H.binaryproto" does not exist'),
        (b"no blob", "holds no BlobProto"),
        (BlobProto(data=range(8)).SerializeToString(), "holds 8 numbers, not 3x3"),
        (BlobProto(num=3, data=range(8)).SerializeToString(), "a blob of shape [3, 0, 0, 0] holds 8 numbers"),
    ],
)
def test_a_matrix_that_cannot_be_read_is_refused_at_its_source(
    infogain_net: Callable[..., Graph], matrix: bytes | None, said: str
) -> None:
    with pytest.raises(NktcError) as refusal:
        infogain_net(matrix)
    assert said in refusal.value.message
    assert refusal.value.at is not None
    assert (refusal.value.at.line, refusal.value.at.column) == (4, INFOGAIN.splitlines()[3].index("source") + 1)


def test_infogain_is_refused_without_a_matrix_and_with_the_old_normalize(
    refusal: Callable[..., tuple[str, str]],
) -> None:
    assert refusal("InfogainLoss", "", (2, 3), (2,)) == ("has no matrix H", 'type: "InfogainLoss"')
    said = refusal("InfogainLoss", "loss_param { normalize: true }", (2, 3), (2,), (3, 3))
    assert said == ("takes normalization, not the old normalize", "normalize: true")
    assert refusal("InfogainLoss", "", (2, 3), (2,), (3, 4))[0] == "its matrix 3x4 is not 3x3, its classes"
    assert refusal("InfogainLoss", "infogain_loss_param { axis: 2 }", (2, 3), (2,), (3, 3)) == (
        "axis 2 is outside its 2-axis input",
        "axis: 2",
    )


@pytest.mark.parametrize("kind", ["SoftmaxWithLoss", "InfogainLoss"])
def test_a_second_top_has_the_probabilities_and_takes_no_gradient(layer: Callable[..., Any], kind: str) -> None:
    more = ((3, 3),) if kind == "InfogainLoss" else ()
    it = layer(kind, "loss_weight: 1 loss_weight: 0", (2, 3), (2,), *more, tops=2)
    scores = torch.randn(2, 3, requires_grad=True)
    loss, probabilities = it.forward(scores, torch.zeros(2), *(torch.eye(*shape) for shape in more))
    torch.testing.assert_close(probabilities, scores.detach().softmax(1))
    assert loss.requires_grad
    assert not probabilities.requires_grad


def test_the_logistic_loss_is_that_of_the_labels_probability() -> None:
    given = torch.tensor([[0.25, 0.75], [1e-25, 1.0], [0.5, 0.5]], requires_grad=True)
    loss = MultinomialLogisticLoss().forward(given, torch.tensor([[1.0], [0.0], [0.0]]))
    loss.backward()
    assert loss.item() == pytest.approx(-(math.log(0.75) + math.log(1e-20) + math.log(0.5)) / 3)
    # The floor is one of the gradient too.
    expected = np.array([[0, -1 / 0.75], [-1e20, 0], [-2, 0]]) / 3
    np.testing.assert_allclose(given.grad, expected, rtol=1e-6)  # type: ignore[arg-type]


@pytest.mark.parametrize("ignore", [None, 0, -1])
@pytest.mark.parametrize("normalization", ["FULL", "VALID", "BATCH_SIZE", "NONE"])
def test_the_sigmoid_loss_is_the_cross_entropy_with_each_target(normalization: str, ignore: int | None) -> None:
    random = np.random.default_rng(2)
    scores, target = random.normal(size=(3, 2, 4)) * 4, random.random((3, 2, 4)).round(1) * 2 - 0.5
    target[0] = random.integers(-1, 2, (2, 4))
    given = torch.from_numpy(scores).requires_grad_()
    wanted = torch.from_numpy(target).reshape(3, 8).requires_grad_()
    loss = SigmoidCrossEntropyLoss(ignore, normalization).forward(given, wanted)
    loss.backward()
    probability = 1 / (1 + np.exp(-scores))
    # A target is ignored as the whole number that it is cut to.
    counts = np.full(target.shape, True) if ignore is None else np.trunc(target) != ignore
    divisor = {"FULL": 24, "VALID": counts.sum(), "BATCH_SIZE": 3, "NONE": 1}[normalization]
    total = -(target * np.log(probability) + (1 - target) * np.log(1 - probability))[counts].sum()
    assert loss.item() == pytest.approx(total / divisor)
    np.testing.assert_allclose(given.grad, (probability - target) * counts / divisor, atol=1e-12)  # type: ignore[arg-type]
    assert wanted.grad is None


@pytest.mark.parametrize("score", [1e4, -1e4, 88.0, -104.0, 0.0])
def test_the_sigmoid_loss_of_large_scores_is_finite_and_exact(score: float) -> None:
    given = torch.full((1, 2), score, requires_grad=True)
    loss = SigmoidCrossEntropyLoss().forward(given, torch.tensor([[0.0, 1.0]]))
    loss.backward()
    assert loss.item() == pytest.approx(abs(score) + 2 * math.log1p(math.exp(-abs(score))))
    p = 1 / (1 + math.exp(-score)) if score > -700 else 0.0
    assert given.grad is not None
    assert given.grad.tolist() == [pytest.approx([p, p - 1])]


def test_a_loss_of_ignored_items_alone_is_0() -> None:
    scores, label = torch.randn(2, 3, requires_grad=True), torch.ones(2)
    losses = [
        SoftmaxWithLoss(ignore=1).forward(scores, label),
        InfogainLoss(ignore=1).forward(scores, label, torch.eye(3)),
        SigmoidCrossEntropyLoss(1, "VALID").forward(scores, torch.ones(2, 3)),
    ]
    for loss in losses:
        assert isinstance(loss, torch.Tensor)
        loss.backward()
        assert loss.item() == 0
    assert scores.grad is not None
    assert not scores.grad.any()


@pytest.mark.parametrize(
    ("kind", "shapes", "message"),
    [
        ("SoftmaxWithLoss", [(2, 3), (3,)], "its inputs 2x3 and 3 differ in axis 0, the batch"),
        ("SoftmaxWithLoss", [(2, 3, 4), (2, 3)], "its scores 2x3x4 are 8 items, its label 2x3 has 6"),
        ("InfogainLoss", [(2, 3), (3,), (3, 3)], "its inputs 2x3 and 3 differ in axis 0, the batch"),
        ("InfogainLoss", [(2, 3, 4), (2, 3), (3, 3)], "its scores 2x3x4 are 8 items, its label 2x3 has 6"),
        ("MultinomialLogisticLoss", [(2, 3, 2), (2, 2)], "its scores 2x6 are 2 items, its label 2x2 has 4"),
        ("SigmoidCrossEntropyLoss", [(2, 3), (2, 4)], "its inputs 2x3 and 2x4 differ"),
        ("SigmoidCrossEntropyLoss", [(2, 3), (3, 2)], "its inputs 2x3 and 3x2 differ in axis 0, the batch"),
    ],
)
def test_inputs_that_do_not_match_are_refused(
    refusal: Callable[..., tuple[str, str]], kind: str, shapes: list[tuple[int, ...]], message: str
) -> None:
    assert refusal(kind, "", *shapes) == (message, f'bottom: "x{len(shapes) - 1}"')


def test_segnets_class_weights_multiply_what_items_cost(layer: Callable[..., ir.Layer]) -> None:
    settings = """loss_param { ignore_label: 2 weight_by_label_freqs: true
    class_weighting: 0.5 class_weighting: 3 class_weighting: 1 }"""
    loss = layer("SoftmaxWithLoss", settings, (2, 3, 2), (2, 2))
    scores = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
    label = torch.tensor([[0.0, 1], [2, 1]])
    found = loss.forward(scores, label)
    found.backward()
    values = scores.detach().softmax(1)
    expected, gradient = 0.0, values.clone()
    for n, i in ((0, 0), (0, 1), (1, 0), (1, 1)):
        k = int(label[n, i])
        weight = [0.5, 3, 0][k]
        expected -= weight * float(values[n, k, i].log())
        gradient[n, k, i] -= 1
        gradient[n, :, i] *= weight
    assert found.item() == pytest.approx(expected / 3, rel=1e-5)
    torch.testing.assert_close(scores.grad, gradient / 3, rtol=1e-5, atol=1e-8)


def test_class_weights_that_do_not_fit_are_refused(refusal: Callable[..., tuple[str, str]]) -> None:
    shapes = (2, 3), (2,)
    said = refusal("SoftmaxWithLoss", "loss_param { weight_by_label_freqs: true class_weighting: 1 }", *shapes)
    assert said[0] == "has 1 class weights for 3 classes"
    said = refusal("SoftmaxWithLoss", "loss_param { weight_by_label_freqs: true }", *shapes)
    assert said[0] == "has no class_weighting"
    said = refusal("InfogainLoss", "loss_param { weight_by_label_freqs: true }", *shapes)
    assert said[0] == "takes no class weights"
