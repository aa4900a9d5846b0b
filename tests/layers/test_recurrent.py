"""RNN, LSTM, LSTMUnit: every stream by itself in numpy, the state between forwards, and who holds it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir
import onnxruntime
import pytest
import torch
from torch import Tensor

from nktc import data, export, ir, models, module, passes, reader, train, weights
from nktc.errors import LayerError, NktcError
from nktc.ir import Graph, Phase, Shape, rewrite
from nktc.layers import LSTMUnit
from nktc.module import Net

Refusal = Callable[..., tuple[str, str]]
KINDS = pytest.mark.parametrize("kind", ["RNN", "LSTM"])
STATES = {"RNN": ("h",), "LSTM": ("h", "c")}


def text(kind: str, *shapes: Shape, settings: str = "", tops: int = 1) -> str:
    """A net of one layer "l" of 3 outputs whose bottoms have these shapes."""
    lines = [
        f'layer {{ name: "x{i}" type: "Input" top: "x{i}" input_param {{ shape {{ '
        + " ".join(f"dim: {n}" for n in shape)
        + " } } }"
        for i, shape in enumerate(shapes)
    ]
    ends = " ".join([*(f'bottom: "x{i}"' for i in range(len(shapes))), *(f'top: "y{i}"' for i in range(tops))])
    fillers = 'weight_filler { type: "uniform" min: -1 max: 1 } bias_filler { type: "uniform" min: -1 max: 1 }'
    lines.append(
        f'layer {{ name: "l" type: "{kind}" {ends} recurrent_param {{ num_output: 3 {fillers} {settings} }} }}'
    )
    return "\n".join(lines)


def compiled(source: str, phase: Phase = Phase.TEST) -> Net:
    return module.compile(reader.build(reader.parse_net(source), phase), seed=1)


def conts(steps: int, streams: int) -> Tensor:
    """Streams that begin anew here and there; the first goes on from before."""
    found = (torch.rand(steps, streams, generator=torch.Generator().manual_seed(4)) < 0.6).float()
    found[0] = (torch.arange(streams) % 2 == 0).float()
    return found


def by_hand(net: Net, x: Tensor, cont: Tensor, static: Tensor | None, first: list[np.ndarray]) -> list[np.ndarray]:
    """The output of every step and the last states, stream by stream; states are [n d]."""
    w = {name.removeprefix("l."): array.astype(np.float64) for name, array in net.arrays().items()}
    steps, streams = cont.shape
    size = w["hidden_weight"].shape[1]
    y, last = np.zeros((steps, streams, size)), [np.array(one, np.float64) for one in first]
    for n in range(streams):
        state = [one[n] for one in last]
        for t in range(steps):
            if cont[t, n] == 0:
                state = [np.zeros(size) for _ in state]
            sums = w["input_weight"] @ x[t, n].numpy().ravel() + w["bias"] + w["hidden_weight"] @ state[0]
            if static is not None:
                sums += w["static_weight"] @ static[n].numpy().ravel()
            if len(state) == 1:
                state = [np.tanh(sums)]
                y[t, n] = np.tanh(w["output_weight"] @ state[0] + w["output_bias"])
                continue
            i, f, o = (1 / (1 + np.exp(-gate)) for gate in sums.reshape(4, size)[:3])
            c = f * state[1] + i * np.tanh(sums[3 * size :])
            state = [o * np.tanh(c), c]
            y[t, n] = state[0]
        for one, now in zip(last, state, strict=True):
            one[n] = now
    return [y, *last]


def close(found: Tensor, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=2e-6)


@KINDS
@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("inner", [(5,), (2, 3), (2, 1, 2)], ids=str)
@pytest.mark.parametrize("static", [(), (4,), (2, 3)], ids=str)
def test_each_stream_goes_its_way_and_on_in_the_next_forward(
    kind: str, phase: Phase, inner: Shape, static: Shape
) -> None:
    more = [(4, *static)] if static else []
    net = compiled(text(kind, (6, 4, *inner), (6, 4), *more), phase)
    state = [np.zeros((4, 3)) for _ in STATES[kind]]
    for _ in range(3):
        x, cont = torch.randn(6, 4, *inner), conts(6, 4)
        still = torch.randn(4, *static) if static else None
        found = net(x, cont, *([] if still is None else [still]))["y0"]
        y, *state = by_hand(net, x, cont, still, state)
        close(found, y)
        for name, one in zip(STATES[kind], state, strict=True):
            close(net.tensor(f"l.{name}")[0], one)


@KINDS
def test_two_forwards_are_one_of_all_their_steps(kind: str) -> None:
    net = compiled(text(kind, (3, 2, 5), (3, 2)))
    x, cont = torch.randn(6, 2, 5), torch.ones(6, 2)
    halves = torch.cat([net(x[:3], cont[:3])["y0"], net(x[3:], cont[3:])["y0"]])
    cont[0] = 0
    torch.testing.assert_close(halves, net(x, cont)["y0"])


@KINDS
@pytest.mark.parametrize("static", [False, True])
def test_exposed_states_come_in_and_go_out(kind: str, static: bool) -> None:
    states = STATES[kind]
    more = [(2, 4)] if static else []
    ends = [(1, 2, 3)] * len(states)
    net = compiled(
        text(kind, (4, 2, 5), (4, 2), *more, *ends, settings="expose_hidden: true", tops=1 + len(states)), Phase.TRAIN
    )
    x, cont, first = torch.randn(4, 2, 5), conts(4, 2), [torch.randn(1, 2, 3) for _ in states]
    still = torch.randn(2, 4) if static else None
    given = [x, cont, *([] if still is None else [still]), *first]
    expected = by_hand(net, x, cont, still, [one[0].numpy() for one in first])
    for _ in range(2):  # nothing is held
        y, *last = net(*given).values()
        close(y, expected[0])
        for one, end in zip(last, expected[1:], strict=True):
            assert one.shape == (1, 2, 3)
            close(one[0], end)
    assert not any(p.weight.volatile for p in net.graph.parameters.values())


@KINDS
def test_the_gradient_reaches_all_but_cont_and_the_state_of_before(kind: str) -> None:
    ends = [(1, 2, 3)] * len(STATES[kind])
    net = compiled(text(kind, (3, 2, 4), (3, 2), (2, 2), *ends, settings="expose_hidden: true", tops=1 + len(ends)))
    net.double()
    cont = torch.tensor([[1.0, 1], [1, 0], [0, 1]], dtype=torch.float64)
    shapes = [(3, 2, 4), (2, 2), *ends]
    given = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]

    def run(x: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
        return tuple(net(x, cont, *more).values())

    assert torch.autograd.gradcheck(run, tuple(given))
    cont.requires_grad_()
    sum(y.sum() for y in run(*given)).backward()  # type: ignore[union-attr]
    assert cont.grad is None

    held = compiled(text(kind, (3, 2, 4), (3, 2)), Phase.TRAIN)
    for _ in range(2):  # the second time the graph of the first is freed
        held(torch.randn(3, 2, 4), torch.ones(3, 2))["y0"].sum().backward()
    assert not any(held.tensor(f"l.{name}").requires_grad for name in STATES[kind])


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own, of Function
@KINDS
@pytest.mark.parametrize("backend", ["", "aot_eager"])
def test_another_number_of_streams_begins_from_zero_and_so_does_what_follows(kind: str, backend: str) -> None:
    net = compiled(text(kind, (2, 2, 4), (2, 2)), Phase.TRAIN)
    torch.compiler.reset()
    run = torch.compile(net, backend=backend, fullgraph=True) if backend else net
    zeros = [np.zeros((3, 3)) for _ in STATES[kind]]
    state = [one[:2] for one in zeros]
    for streams in (2, 2, 3, 3, 2, 2):
        x, cont = torch.randn(2, streams, 4), torch.ones(2, streams)
        found = run(x, cont)["y0"]
        y, *last = by_hand(net, x, cont, None, state if streams == 2 else zeros)
        state = last if streams == 2 else [one[:2] for one in zeros]
        close(found, y)


@KINDS
def test_only_the_module_knows_the_state(kind: str, tmp_path: Path) -> None:
    source = text(kind, (2, 2, 4), (2, 2))
    graph = reader.build(reader.parse_net(source), Phase.TRAIN)
    ir.verify(graph)
    net = module.compile(graph, seed=1)
    net(torch.randn(2, 2, 4), torch.ones(2, 2))
    learned = [name for name, p in graph.parameters.items() if p.weight.learns]
    held = [f"l.{name}" for name in STATES[kind]]
    assert [*graph.parameters] == [*learned, *held]
    assert all(net.tensor(name).any() for name in held)
    assert [*net.arrays()] == [*net.state_dict()] == learned
    assert ir.cost(graph).parameters == sum(net.tensor(name).numel() for name in learned)

    for name in ("w.caffemodel", "w.caffemodel.h5"):
        weights.save(tmp_path / name, graph, net.arrays())
        assert len(weights.read(tmp_path / name)["l"]) == len(learned)
        (tmp_path / "net.prototxt").write_text(source)
        opened = models.open_model(tmp_path / "net.prototxt", [tmp_path / name], data.Places((), tmp_path))
        assert {*opened.arrays} == {*learned}

    other = compiled(source)
    other.share(net)
    assert other.tensor("l.bias") is net.tensor("l.bias")
    assert all(other.tensor(name) is not net.tensor(name) and not other.tensor(name).any() for name in held)


class Same(data.Stream):
    """One batch, again and again."""

    resident = True

    def __init__(self, *blobs: Tensor) -> None:
        self.blobs = blobs

    def batch(self, k: int) -> tuple[Tensor, ...]:
        return self.blobs


def test_a_snapshot_is_resumed_without_the_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text("""
        layer { name: "x" type: "Input" top: "x" top: "cont"
                input_param { shape { dim: 3 dim: 2 dim: 4 } shape { dim: 3 dim: 2 } } }
        layer { name: "l" type: "LSTM" bottom: "x" bottom: "cont" top: "y"
                recurrent_param { num_output: 3 weight_filler { type: "xavier" } } }
        layer { name: "loss" type: "Reduction" bottom: "y" top: "loss" loss_weight: 1 }
    """)
    Path("solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.5 momentum: 0.9 lr_policy: "fixed" max_iter: 4 snapshot: 2'
        ' snapshot_prefix: "s" test_iter: 2 test_interval: 1'
    )
    settings = train.read("solver.prototxt")
    feeding = train.Feeding([Same(torch.randn(3, 2, 4), torch.tensor([[0.0, 0], [1, 1], [1, 1]]))])

    def trained(resumed: str) -> Net:
        nets = [module.compile(reader.build(settings.train_net, phase), seed=1) for phase in Phase]
        solver = train.Solver(settings, nets[0], feeding, [(nets[1], feeding)])
        if resumed:
            solver.restore(Path(resumed))
        solver.run()
        return nets[0]

    whole = trained("")
    assert len(weights.read_state(Path("s_iter_2.solverstate")).history) == 3
    np.testing.assert_array_equal(
        whole.tensor("l.bias").detach(), trained("s_iter_2.solverstate").tensor("l.bias").detach()
    )


def test_a_param_entry_is_for_a_weight_that_a_file_holds(read: Callable[..., Graph]) -> None:
    layer = text("LSTM", (2, 2, 4), (2, 2)).removesuffix("}")
    graph = read(layer + " param { lr_mult: 2 } param { lr_mult: 3 } param { lr_mult: 4 } }")
    assert [p.lr_mult for p in graph.parameters.values() if p.weight.learns] == [2, 3, 4]
    with pytest.raises(NktcError) as error:
        read(layer + " param { } param { } param { } param { } }")
    assert error.value.message == 'LSTM "l": has 4 param entries for 3 weights'


@KINDS
def test_a_runtime_begins_from_zero_at_every_run(kind: str) -> None:
    net = compiled(text(kind, (3, 2, 4), (3, 2)))
    x, cont = torch.randn(3, 2, 4), torch.ones(3, 2)
    expected = net(x, cont)["y0"]
    assert not torch.equal(net(x, cont)["y0"], expected)
    model = export.to_onnx(dataclasses.replace(net.graph, arrays=net.arrays()))
    session = onnxruntime.InferenceSession(onnx_ir.to_proto(model).SerializeToString())
    for _ in range(2):
        (found,) = session.run(None, {"x0": x.numpy(), "x1": cont.numpy()})
        close(expected, found)
    source = module.source(dataclasses.replace(net.graph, arrays=net.arrays()))
    assert len(source.arrays) == len(net.arrays())


@KINDS
def test_time_is_no_batch(kind: str, read: Callable[..., Graph]) -> None:
    graph = read(text(kind, (3, 2, 4), (3, 2)))
    assert not export.follows_batch(graph)
    with pytest.raises(LayerError) as error:
        rewrite.with_batch(graph, 1)
    assert error.value.message == f'{kind} "l": axis 0 of its input is time, 3 steps, not a batch of 1'
    assert error.value.at is not None
    assert error.value.at.source.line(3)[error.value.at.column - 1 :].startswith('bottom: "x0"')
    loss = (
        'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "y0" bottom: "x1" top: "loss" softmax_param { axis: 2 } }'
    )
    deployed = passes.deploy(read(text(kind, (3, 2, 4), (3, 2)) + loss))
    assert deployed.values["y0"].shape == (3, 2, 3)


def test_the_state_has_as_many_streams_as_the_net(read: Callable[..., Graph]) -> None:
    graph = read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 6 dim: 4 } } }
        layer { name: "cont" type: "Input" top: "cont" input_param { shape { dim: 6 dim: 1 } } }
        layer { name: "s" type: "Reshape" bottom: "x" top: "s" reshape_param { shape { dim: 2 dim: -1 dim: 4 } } }
        layer { name: "t" type: "Reshape" bottom: "cont" top: "t" reshape_param { shape { dim: 2 dim: -1 } } }
        layer { name: "l" type: "LSTM" bottom: "s" bottom: "t" top: "y" recurrent_param { num_output: 5 } }
    """)
    larger = rewrite.with_batch(graph, 8)
    assert [graph.parameters[n].weight.shape for n in ("l.h", "l.c")] == [(1, 3, 5)] * 2
    assert [larger.parameters[n].weight.shape for n in ("l.h", "l.c")] == [(1, 4, 5)] * 2
    ir.verify(larger)
    with pytest.raises(AssertionError, match=r"l: l.h is \(1, 3, 5\), the rule says \(1, 4, 5\)"):
        ir.verify(dataclasses.replace(larger, parameters=graph.parameters))
    assert module.compile(larger, seed=1).values(torch.randn(8, 4), torch.ones(8, 1))["y"].shape == (2, 4, 5)


@pytest.mark.parametrize("cont", [0.0, 1.0])
def test_a_unit_is_a_step_and_forgets_where_a_sequence_begins(cont: float) -> None:
    c, gates = torch.randn(1, 1, 2, requires_grad=True), torch.randn(1, 1, 8, requires_grad=True)
    cell, h = LSTMUnit().forward(c, gates, torch.full((1, 1), cont))
    i, f, o, g = (gates[0, 0, start : start + 2] for start in (0, 2, 4, 6))
    by_hand = cont * c[0, 0] / (1 + (-f).exp()) + g.tanh() / (1 + (-i).exp())
    torch.testing.assert_close(cell[0, 0], by_hand)
    torch.testing.assert_close(h[0, 0], by_hand.tanh() / (1 + (-o).exp()))
    (cell.sum() + h.sum()).backward()
    assert c.grad is not None
    assert gates.grad is not None
    assert bool(c.grad.any()) == bool(gates.grad[..., 2:4].any()) == bool(cont)
    assert gates.grad[..., [0, 1, 4, 5, 6, 7]].all()


def test_the_products_of_all_steps_are_counted(read: Callable[..., Graph]) -> None:
    # Of each of 5 steps of 2 streams 4 gates: 7 inputs, 3 of the hidden state; of each stream 4 static inputs.
    cost = ir.cost(read(text("LSTM", (5, 2, 7), (5, 2), (2, 4))))
    assert cost.macs == 5 * 2 * 12 * (7 + 3) + 2 * 12 * 4
    cost = ir.cost(read(text("RNN", (5, 2, 7), (5, 2), (1, 2, 3), settings="expose_hidden: true", tops=2)))
    assert cost.macs == 5 * 2 * 3 * (7 + 3 + 3)


@KINDS
def test_what_is_kept_for_the_backward_is_counted(kind: str) -> None:
    net = compiled(text(kind, (5, 2, 7), (5, 2)), Phase.TRAIN)
    x, cont = torch.randn(5, 2, 7), torch.ones(5, 2)
    known = {t.untyped_storage().data_ptr() for t in (x, cont, *net.parameters())}
    saved: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = net(x, cont)["y0"]
    bytes = sum(t.untyped_storage().nbytes() for place, t in saved.items() if place not in known)
    assert bytes == 4 * net.graph.nodes[-1].layer.aside((5, 2, 7), (5, 2), tuple(y.shape))


@pytest.mark.parametrize(
    ("kind", "settings", "shapes", "tops", "message", "blamed"),
    [
        ("LSTM", "", ((2, 3, 4), (2, 3)), 1, "has no num_output", 'type: "LSTM"'),
        ("RNN", "num_output: 0", ((2, 3, 4), (2, 3)), 1, "has no num_output", "num_output: 0"),
        (
            "LSTM",
            "num_output: 4",
            ((2, 3), (2, 3)),
            1,
            "takes 3 axes or more (steps, streams, what a step holds), not 2",
            'bottom: "x0"',
        ),
        ("LSTM", "num_output: 4", ((2, 3, 4), (2, 1)), 1, "its cont is 2x1, not 2x3", 'bottom: "x1"'),
        ("RNN", "num_output: 4", ((2, 3, 4), (2, 3, 1)), 1, "its cont is 2x3x1, not 2x3", 'bottom: "x1"'),
        ("RNN", "num_output: 4", ((2, 3, 4), (2, 3), (3,)), 1, "its x_static is 3, for 3 streams", 'bottom: "x2"'),
        ("RNN", "num_output: 4", ((2, 3, 4), (2, 3), (2, 3)), 1, "its x_static is 2x3, for 3 streams", 'bottom: "x2"'),
        (
            "RNN",
            "num_output: 4",
            ((2, 3, 4), (2, 3), (3, 3), (3, 3)),
            1,
            "takes 2 bottoms (x, cont), or 3 with x_static after cont, not 4",
            'bottom: "x3"',
        ),
        (
            "LSTM",
            "num_output: 4 expose_hidden: true",
            ((2, 3, 4), (2, 3), (1, 3, 4)),
            3,
            "takes 4 bottoms (x, cont, h0, c0), or 5 with x_static after cont, not 3",
            'bottom: "x2"',
        ),
        (
            "LSTM",
            "num_output: 4 expose_hidden: true",
            ((2, 3, 4), (2, 3), (1, 3, 4), (3, 4)),
            3,
            "its c0 is 3x4, not 1x3x4",
            'bottom: "x3"',
        ),
        (
            "RNN",
            "num_output: 4 expose_hidden: true",
            ((2, 3, 4), (2, 3), (3, 9), (1, 3, 5)),
            2,
            "its h0 is 1x3x5, not 1x3x4",
            'bottom: "x3"',
        ),
        ("RNN", "num_output: 4", ((2, 3, 4), (2, 3)), 2, "makes 1 top, not 2", 'top: "y1"'),
        (
            "LSTM",
            "num_output: 4 expose_hidden: true",
            ((2, 3, 4), (2, 3), (1, 3, 4), (1, 3, 4)),
            1,
            "makes 3 tops (y, hT, cT) with expose_hidden, not 1",
            'top: "y0"',
        ),
        (
            "LSTM",
            "num_output: 4294967295",
            ((2, 3, 4), (2, 3)),
            1,
            "its output would be 2x3x4294967295, more than 2147483647 numbers",
            'type: "LSTM"',
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    refusal: Refusal, kind: str, settings: str, shapes: tuple[Shape, ...], tops: int, message: str, blamed: str
) -> None:
    assert refusal(kind, f"recurrent_param {{ {settings} }}", *shapes, tops=tops) == (message, blamed)


@pytest.mark.parametrize(
    ("shapes", "message", "blamed"),
    [
        (((2, 3, 4), (1, 3, 16), (1, 3)), "its cell is 2x3x4, not 1 step of streams of numbers", 'bottom: "x0"'),
        (((1, 3), (1, 3, 16), (1, 3)), "its cell is 1x3, not 1 step of streams of numbers", 'bottom: "x0"'),
        (((1, 3, 4), (1, 3, 4), (1, 3)), "its gates are 1x3x4, not 1x3x16", 'bottom: "x1"'),
        (((1, 3, 4), (1, 3, 16), (3,)), "its cont is 3, not 1x3", 'bottom: "x2"'),
    ],
)
def test_a_unit_takes_one_step(refusal: Refusal, shapes: tuple[Shape, ...], message: str, blamed: str) -> None:
    assert refusal("LSTMUnit", "", *shapes, tops=2) == (message, blamed)
