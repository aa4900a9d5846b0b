"""Python layers: Caffe's protocol and torch modules, both of files that the tests write."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from layers.examples import Example
from torch.nn import functional as F

from nktc import export, ir, layers, module, passes, reader, weights
from nktc.errors import NktcError
from nktc.ir import Graph, Phase

EUCLIDEAN = """
    import caffe
    import numpy as np

    class Distance(caffe.Layer):
        def setup(self, bottom, top):
            if len(bottom) != 2:
                raise Exception("two bottoms are needed")

        def reshape(self, bottom, top):
            self.difference = np.zeros(bottom[0].shape, dtype=np.float32)
            top[0].reshape(1)

        def forward(self, bottom, top):
            self.difference[...] = bottom[0].data - bottom[1].data
            top[0].data[...] = np.sum(self.difference**2) / bottom[0].num / 2

        def backward(self, top, propagate_down, bottom):
            for i, sign in enumerate((1, -1)):
                if propagate_down[i]:
                    bottom[i].diff[...] = sign * top[0].diff[0] * self.difference / bottom[i].num
    """

PLAIN = """
    import caffe

    class {name}(caffe.Layer):
        def setup(self, bottom, top):
            {setup}

        def reshape(self, bottom, top):
            {reshape}

        def forward(self, bottom, top):
            {forward}

        def backward(self, top, propagate_down, bottom):
            {backward}
    """

Net = Callable[..., Graph]


def plain(name: str = "Mine", **bodies: str) -> str:
    """A layer that copies its bottom but for `bodies`, each a statement."""
    whole = {"setup": "pass", "reshape": "top[0].reshape(*bottom[0].shape)"}
    whole |= {"forward": "top[0].data[...] = bottom[0].data", "backward": "bottom[0].diff[...] = top[0].diff"}
    return PLAIN.format(name=name, **whole | bodies)


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nktc.layers.python._allowed", True)


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: None) -> Net:
    """The graph of one Python layer of a file mine.py with the text `code`, over inputs of the given shapes."""
    monkeypatch.chdir(tmp_path)

    def build(code: str, *shapes: tuple[int, ...], param: str = "", phase: Phase = Phase.TRAIN, **more) -> Graph:
        (tmp_path / "mine.py").write_text(textwrap.dedent(code))
        named = f'module: "{more.pop("module", "mine")}" layer: "Mine" {param}'
        settings = f"{more.pop('settings', '')}\n  python_param {{ {named} }}"
        (tmp_path / "net.prototxt").write_text(Example("Python", settings, shapes, **more).text())
        return reader.build(reader.read_net("net.prototxt"), phase)

    return build


def said(build: Callable[[], object]) -> str:
    with pytest.raises(NktcError) as caught:
        build()
    return str(caught.value)


def test_without_permission_nothing_of_the_user_is_run(tmp_path, golden) -> None:
    (tmp_path / "m.py").write_text("raise Exception('ran')")
    text = Example("Python", 'python_param { module: "m" layer: "Mine" }', ((2, 3),)).text()
    (tmp_path / "n.prototxt").write_text(text)
    net = reader.read_net(tmp_path / "n.prototxt")
    found = said(lambda: reader.build(net, Phase.TEST)).replace(f"{tmp_path}/", "")
    golden(
        found,
        """
        n.prototxt:2:73: error: Python "it": runs code of yours (module "m"), which needs your permission  [python-code]
            2 | layer { name: "it" type: "Python" bottom: "x0" top: "y0" python_param { module: "m" layer: "Mine" } }
              |                                                                         ^~~~~~~~~~~
        help: add --allow-python
        """,
    )
    assert "m" not in sys.modules


# Caffe's protocol


def test_a_loss_in_caffes_protocol_is_our_loss_in_value_and_gradient(net) -> None:
    graph = net(EUCLIDEAN.replace("Distance", "Mine"), (5, 3, 2), (5, 3, 2), settings="loss_weight: 3")
    ours = Example("EuclideanLoss", "loss_weight: 3", ((5, 3, 2), (5, 3, 2))).graph()
    given = torch.randn(2, 5, 3, 2, generator=torch.Generator().manual_seed(1))
    found = []
    for one in (graph, ours):
        inputs = [x.clone().requires_grad_() for x in given]
        compiled = module.compile(one)
        loss = compiled.loss(compiled(*inputs))
        found.append((loss.detach(), *torch.autograd.grad(loss, inputs)))
    torch.testing.assert_close(*found)


def test_a_blob_of_its_own_is_a_weight_that_starts_as_setup_leaves_it(net) -> None:
    code = plain(
        setup="self.blobs.add_blob(1, 3); self.blobs[0].data[...] = float(self.param_str)",
        forward="top[0].data[...] = bottom[0].data * self.blobs[0].data",
        backward="self.blobs[0].diff[...] += (top[0].diff * bottom[0].data).sum(0); "
        "bottom[0].diff[...] = top[0].diff * self.blobs[0].data",
    )
    graph = net(code, (4, 3), param="param_str: '2.5'", settings="param { lr_mult: 3 }")
    assert [(p.name, p.weight.shape, p.lr_mult) for p in graph.parameters.values()] == [("it.blob0", (1, 3), 3)]
    compiled = module.compile(graph)
    weight, x = compiled.tensor("it.blob0"), torch.randn(4, 3, requires_grad=True)
    assert weight.tolist() == [[2.5, 2.5, 2.5]]
    for _ in range(2):  # gradients add up outside
        compiled(x)["y0"].sum().backward()
    torch.testing.assert_close(weight.grad, 2 * x.detach().sum(0, keepdim=True))
    torch.testing.assert_close(x.grad, torch.full((4, 3), 5.0))
    with torch.no_grad():
        weight.fill_(7)
    torch.testing.assert_close(compiled(x)["y0"], 7 * x)


def test_weights_of_a_python_layer_are_written_and_read(net, tmp_path) -> None:
    graph = net(plain(setup="self.blobs.add_blob(3); self.blobs.add_blob(2, 2)"), (1, 3))
    arrays = {"it.blob0": np.arange(3, dtype="f4"), "it.blob1": np.ones((2, 2), "f4")}
    weights.save(tmp_path / "it.caffemodel", graph, arrays)
    attached, _ = weights.attach(graph, tmp_path / "it.caffemodel")
    np.testing.assert_equal(attached.arrays, arrays)


def test_what_forward_writes_into_a_weight_stays_there(net) -> None:
    code = plain(setup="self.blobs.add_blob(1)", forward="self.blobs[0].data[...] += 1")
    for kind in (torch.float32, torch.float64):  # the tensor's own memory, and a copy
        compiled = module.compile(net(code, (1, 3))).to(kind)
        for _ in range(3):
            compiled(torch.zeros(1, 3, dtype=kind))
        assert compiled.tensor("it.blob0").tolist() == [3]


def test_reshape_runs_before_every_forward_and_attributes_stay(net) -> None:
    code = plain(
        setup="self.seen = [('setup', self.phase, caffe.TRAIN, caffe.TEST)]",
        reshape="top[0].reshape(2 * bottom[0].num, bottom[0].count // bottom[0].num); self.seen.append('reshape')",
        forward="self.seen.append('forward'); top[0].data[...] = len(self.seen)",
    )
    graph = net(code, (2, 3, 1, 5), phase=Phase.TEST)
    assert graph.outputs[0].shape == (4, 15)
    compiled = module.compile(graph)
    assert compiled(torch.zeros(2, 3, 1, 5))["y0"].unique() == 4  # setup, reshape; reshape, forward
    assert compiled(torch.zeros(3, 3, 1, 5))["y0"].shape == (6, 15)
    seen = graph.node("it").layer.form.layer.seen
    assert seen == [("setup", 1, 0, 1), "reshape", "reshape", "forward", "reshape", "forward"]


def test_propagate_down_tells_which_bottoms_want_a_gradient(net) -> None:
    code = plain(backward="self.flags = propagate_down")
    graph = net(
        code, (2, 3), (2, 3), (2, 3), settings="propagate_down: true propagate_down: false propagate_down: true"
    )
    x, y, z = torch.zeros(3, 2, 3).unbind()
    module.compile(graph)(x.requires_grad_(), y.requires_grad_(), z)["y0"].sum().backward()
    assert graph.node("it").layer.form.layer.flags == [True, False, False]
    assert x.grad is not None
    assert not x.grad.any(), "what backward does not write is 0"
    assert y.grad is None


def test_a_backward_after_another_forward_is_that_of_its_own_forward(net) -> None:
    code = plain(
        forward="self.kept = bottom[0].data.copy(); top[0].data[...] = self.kept**2",
        backward="bottom[0].diff[...] = 2 * self.kept * top[0].diff",
    )
    compiled = module.compile(net(code, (1, 2)))
    a, b = torch.tensor([[1.0, 2.0]], requires_grad=True), torch.tensor([[3.0, 4.0]], requires_grad=True)
    (compiled(a)["y0"].sum() + compiled(b)["y0"].sum()).backward()
    assert (a.grad.tolist(), b.grad.tolist()) == ([[2, 4]], [[6, 8]])


def test_a_layer_can_work_in_place(tmp_path, monkeypatch, allowed) -> None:
    monkeypatch.chdir(tmp_path)
    code = plain(forward="bottom[0].data[...] *= 3", backward="top[0].diff[...] *= 3")
    (tmp_path / "mine.py").write_text(textwrap.dedent(code))
    net = reader.parse_net("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 } } }
        layer { name: "h" type: "Power" bottom: "x" top: "h" }
        layer { name: "it" type: "Python" bottom: "h" top: "h" python_param { module: "mine" layer: "Mine" } }
    """)
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = module.compile(reader.build(net, Phase.TEST))(x)["h"]
    y.sum().backward()
    assert (y.tolist(), x.grad.tolist()) == ([3, 6], [3, 3])


def test_a_layer_without_bottoms_feeds_the_net(net) -> None:
    code = plain(
        setup="self.turn = 0",
        reshape="top[0].reshape(4, 3)",
        forward="self.turn += 1; top[0].data[...] = self.turn",
    )
    graph = net(code)
    assert graph.outputs[0].shape == (4, 3)
    compiled = module.compile(graph)
    assert [compiled()["y0"].unique().item() for _ in range(3)] == [1, 2, 3]


def test_a_layer_without_tops_only_looks(net) -> None:
    graph = net(plain(reshape="pass", forward="self.seen = bottom[0].data.sum()"), (2, 3), tops=0)
    module.compile(graph)(torch.ones(2, 3))
    assert graph.node("it").layer.form.layer.seen == 6


def test_the_gradient_goes_through_a_net_of_doubles(net) -> None:
    compiled = module.compile(net(plain(), (2, 3))).double()
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    y = compiled(x)["y0"]
    assert y.dtype is torch.float64
    torch.testing.assert_close(y, x, rtol=1e-6, atol=1e-6)


# Torch modules

LINEAR = """
    import torch
    from torch import nn

    class Mine(nn.Module):
        def __init__(self, width=2, rate=0.5):
            super().__init__()
            self.line = nn.Linear(3, width)
            self.norm = nn.BatchNorm1d(width)
            self.drop = nn.Dropout(rate)
            self.register_buffer("turns", torch.full((), 7, dtype=torch.int64))
            self.register_buffer("twice", torch.tensor(2.0), persistent=False)

        def forward(self, x):
            self.turns += 1
            return self.drop(self.norm(self.line(x))) * self.twice
    """


def test_a_torch_module_is_trained_as_torch_trains_it(net) -> None:
    graph = net(LINEAR, (6, 3), param='param_str: \'{"width": 4, "rate": 0}\'')
    assert graph.outputs[0].shape == (6, 4)
    user = graph.node("it").layer.form.module
    names = [name for name, _ in user.named_parameters()]
    learned = [p.name for p in graph.parameters.values() if p.learns]
    assert learned == [f"it.{name.replace('.', '_')}" for name in names]
    compiled, x = module.compile(graph), torch.randn(6, 3)
    theirs = torch.optim.SGD(user.parameters(), 0.1)
    mine = torch.optim.SGD(compiled.parameters(), 0.1)
    for _ in range(2):
        for optimizer, forward in ((theirs, user), (mine, lambda x: compiled(x)["y0"])):
            optimizer.zero_grad()
            forward(x).square().sum().backward()
            optimizer.step()
    for name, tensor in user.state_dict().items():
        torch.testing.assert_close(compiled.tensor(f"it.{name.replace('.', '_')}"), tensor.float(), msg=name)


def test_the_state_of_a_torch_module_is_as_it_was_before_its_shape_was_found(net) -> None:
    random = torch.random.get_rng_state()
    graph = net(LINEAR.replace("nn.Linear(3, width)", "nn.Identity()"), (6, 3), param="param_str: \"{'width': 3}\"")
    assert torch.equal(torch.random.get_rng_state(), random)
    compiled = module.compile(graph)
    assert compiled.tensor("it.turns") == 7
    assert compiled.tensor("it.norm_running_mean").tolist() == [0, 0, 0]
    assert compiled.tensor("it.norm_num_batches_tracked") == 0
    compiled(torch.randn(6, 3))
    assert compiled.tensor("it.turns") == 8
    assert compiled.tensor("it.norm_running_mean").all()
    assert [p.name for p in graph.parameters.values() if not p.weight.kept] == ["it.twice"]


def test_a_torch_module_is_in_the_mode_of_its_phase(net) -> None:
    x = torch.ones(50, 3)
    train, test = (module.compile(net(LINEAR, (50, 3), phase=phase)) for phase in Phase)
    assert not torch.equal(train(x)["y0"], train(x)["y0"])
    assert torch.equal(test(x)["y0"], test(x)["y0"])


def test_a_torch_module_compiles_in_one_piece(net) -> None:
    compiled, x = module.compile(net(LINEAR, (6, 3), phase=Phase.TEST)), torch.randn(6, 3)
    torch.compiler.reset()
    layer = compiled.graph.node("it").layer
    held = {local: compiled.tensor(name).detach() for local, name in compiled.graph.node("it").weights.items()}
    run = torch.compile(lambda x, held: layer.forward(x, **held), backend="eager", fullgraph=True)
    torch.testing.assert_close(run(x, held)[0], compiled(x)["y0"])


def test_a_module_of_torch_itself_can_be_a_layer(allowed) -> None:
    settings = (
        """python_param { module: "torch.nn" layer: "Linear" param_str: '{"in_features": 3, "out_features": 2}' }"""
    )
    compiled = module.compile(Example("Python", settings, ((4, 3),)).graph())
    x = torch.randn(4, 3)
    expected = F.linear(x, compiled.tensor("it.weight"), compiled.tensor("it.bias"))
    torch.testing.assert_close(compiled(x)["y0"], expected)


def test_labels_and_several_tops_come_out_as_floats(net) -> None:
    code = """
        from torch import nn

        class Mine(nn.Module):
            def forward(self, a, b):
                return a + b, a.argmax(1)
        """
    values = module.compile(net(code, (4, 3), (1, 3), tops=2))(torch.eye(4, 3), torch.ones(1, 3))
    assert {name: (tuple(y.shape), y.dtype) for name, y in values.items()} == {
        "y0": ((4, 3), torch.float32),
        "y1": ((4,), torch.float32),
    }


def test_parameters_that_do_not_learn_are_state(net) -> None:
    code = """
        from torch import nn

        class Mine(nn.Linear):
            def __init__(self):
                super().__init__(3, 2)
                self.bias.requires_grad_(False)
        """
    graph = net(code, (4, 3))
    assert {p.name: p.learns for p in graph.parameters.values()} == {"it.weight": True, "it.bias": False}
    bias = graph.node("it").layer.form.module.bias
    assert torch.equal(module.compile(graph).tensor("it.bias"), bias)


# Where code is found


def test_modules_of_one_name_beside_two_nets_are_two(tmp_path, allowed) -> None:
    found = {}
    for factor in (2, 5):
        folder = tmp_path / str(factor)
        folder.mkdir()
        code = plain(forward="from factors import factor; top[0].data[...] = factor * bottom[0].data")
        (folder / "layers.py").write_text("import factors\n" + textwrap.dedent(code))  # the tests have a folder layers
        (folder / "factors.py").write_text(f"factor = {factor}\n")
        text = Example("Python", 'python_param { module: "layers" layer: "Mine" }', ((1, 2),)).text()
        (folder / "net.prototxt").write_text(text)
        found[factor] = module.compile(reader.build(reader.read_net(folder / "net.prototxt"), Phase.TEST))
    for factor, compiled in found.items():
        assert compiled(torch.ones(1, 2))["y0"].tolist() == [[factor, factor]]


def test_a_module_is_found_under_the_working_directory_and_on_the_python_path(tmp_path, monkeypatch, allowed) -> None:
    places = {name: tmp_path / name for name in ("nets", "here", "path")}
    for folder in places.values():
        (folder / "found").mkdir(parents=True)
    monkeypatch.chdir(places["here"])
    monkeypatch.syspath_prepend(places["path"])
    net = places["nets"] / "net.prototxt"
    net.write_text(Example("Python", 'python_param { module: "found.mine" layer: "Mine" }', ((1, 2),)).text())
    for number, name in enumerate(("path", "here", "nets"), 1):
        (places[name] / "found" / "__init__.py").write_text("")
        (places[name] / "found" / "mine.py").write_text(
            textwrap.dedent(plain(reshape=f"top[0].reshape({number})", forward="pass"))
        )
        layers.python_code.home.cache_clear()
        assert reader.build(reader.read_net(net), Phase.TEST).outputs[0].shape == (number,)


def test_nothing_of_the_users_is_in_sight_afterwards(net, tmp_path) -> None:
    (tmp_path / "beside.py").write_text("")
    before, path = set(sys.modules), sys.path[:]
    module.compile(net("import beside, caffe\n" + textwrap.dedent(plain()), (1, 2)))(torch.zeros(1, 2))
    assert not {"beside", "mine", "caffe"} & (set(sys.modules) - before)
    assert sys.path == path


def test_an_installed_caffe_is_used_but_for_its_layer(net, tmp_path, monkeypatch) -> None:
    (tmp_path / "caffe").mkdir()
    (tmp_path / "caffe/__init__.py").write_text("from caffe import io\nTRAIN, TEST, Layer = 0, 1, None\n")
    (tmp_path / "caffe/io.py").write_text("number = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    layers.python_code._caffe.cache_clear()
    try:
        graph = net("import caffe.io\n" + textwrap.dedent(plain(reshape="top[0].reshape(caffe.io.number)")), (1, 2))
        assert graph.outputs[0].shape == (3,)
    finally:
        layers.python_code._caffe.cache_clear()
        for name in ("caffe", "caffe.io"):
            monkeypatch.delitem(sys.modules, name, raising=False)


# Refusals


def test_a_wrong_module_is_refused_with_a_near_one(net, golden) -> None:
    found = said(lambda: net(plain(), (2, 3), module="mime"))
    golden(
        found,
        """
        net.prototxt:3:18: error: Python "it": there is no module "mime"  [python-code]
            3 |   python_param { module: "mime" layer: "Mine"  } }
              |                  ^~~~~~~~~~~~~~
        help: did you mean "mine"?
        """,
    )


def test_a_module_that_is_nowhere_is_refused_with_the_places(net, tmp_path) -> None:
    found = said(lambda: net(plain(), (2, 3), module="other.thing"))
    assert found.endswith(f"help: it is looked for in {tmp_path}, then on the Python path")


def test_a_class_that_is_not_there_is_refused_with_a_near_one(net, golden) -> None:
    found = said(lambda: net(plain("Mines"), (2, 3)))
    golden(
        found,
        """
        net.prototxt:3:33: error: Python "it": its module "mine" has no class "Mine"  [python-code]
            3 |   python_param { module: "mine" layer: "Mine"  } }
              |                                 ^~~~~~~~~~~~~
        help: did you mean "Mines"?
        """,
    )


def test_code_that_does_not_parse_is_refused_at_its_line(net, golden) -> None:
    found = said(lambda: net("import caffe\nclass Mine(caffe.Layer:\n    pass\n", (2, 3)))
    golden(
        found,
        """
        mine.py:2:23: error: Python "it": its module "mine" raises SyntaxError: invalid syntax  [python-code]
            2 | class Mine(caffe.Layer:
              |                       ^
        """,
    )


def test_what_an_import_raises_is_told_with_its_line(net, golden) -> None:
    found = said(lambda: net("import caffe\nraise OSError('no disk')\n", (2, 3)))
    golden(
        found,
        """
        mine.py:2:1: error: Python "it": its module "mine" raises OSError: no disk  [python-code]
            2 | raise OSError('no disk')
              | ^~~~~~~~~~~~~~~~~~~~~~~~
        """,
    )


def test_what_setup_raises_is_told_with_its_line(net, golden) -> None:
    found = said(lambda: net(plain(setup="self.é = [1, 2][len(bottom) + 2]"), (2, 3)))
    golden(
        found,
        """
        mine.py:6:18: error: Python "it": its setup raises IndexError: list index out of range  [python-code]
            6 |         self.é = [1, 2][len(bottom) + 2]
              |                  ^~~~~~~~~~~~~~~~~~~~~~~
        """,
    )


def test_what_forward_raises_is_told_with_its_line(net, golden) -> None:
    compiled = module.compile(net(plain(forward="top[0].data[...] = bottom[1].data"), (2, 3)))
    found = said(lambda: compiled(torch.zeros(2, 3)))
    golden(
        found,
        """
        mine.py:12:28: error: Python "it": its forward raises IndexError: list index out of range  [python-code]
           12 |         top[0].data[...] = bottom[1].data
              |                            ^~~~~~~~~
        """,
    )


def test_what_backward_raises_is_told_with_its_line(net, golden) -> None:
    compiled = module.compile(net(plain(backward="bottom[0].diff[...] = [][0]"), (2, 3)))
    y = compiled(torch.zeros(2, 3, requires_grad=True))["y0"]
    found = said(lambda: y.sum().backward())
    golden(
        found,
        """
        mine.py:15:31: error: Python "it": its backward raises IndexError: list index out of range  [python-code]
           15 |         bottom[0].diff[...] = [][0]
              |                               ^~~~~
        """,
    )


def test_what_a_torch_module_raises_is_told_with_its_line(net, golden) -> None:
    found = said(lambda: net(LINEAR.replace("self.turns += 1", "raise ValueError(x.shape)"), (6, 3)))
    golden(
        found,
        """
        mine.py:15:9: error: Python "it": its forward raises ValueError: torch.Size([6, 3])  [python-code]
           15 |         raise ValueError(x.shape)
              |         ^~~~~~~~~~~~~~~~~~~~~~~~~
        """,
    )


def test_what_has_no_file_is_told_where_it_is_called(net, monkeypatch) -> None:
    monkeypatch.syspath_prepend("")
    found = said(lambda: net(plain(setup="exec('1 / 0')"), (2, 3)))
    assert found.startswith('mine.py:6:9: error: Python "it": its setup raises ZeroDivisionError: division by zero')


def test_an_argument_that_the_constructor_does_not_take_is_told(net) -> None:
    found = said(lambda: net(LINEAR, (6, 3), param="param_str: '{\"breadth\": 4}'"))
    assert 'Python "it": its constructor raises TypeError: Mine.__init__() got an unexpected keyword' in found
    assert 'layer: "Mine"' in found


@pytest.mark.parametrize("text", ["4", "width=4", "{4: 4}", "{", "[" * 9999, "__import__('os')", "{'a': f()}"])
def test_a_param_str_that_is_no_dictionary_is_refused(net, text) -> None:
    found = said(lambda: net(LINEAR, (6, 3), param=f'param_str: "{text}"'))
    assert 'Python "it": its param_str holds no keyword arguments  [setting]' in found
    assert found.endswith("""help: write them as JSON: param_str: '{"width": 8}'""")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (plain(reshape="pass"), "its reshape gives top 0 no shape"),
        (plain(reshape="top[0].reshape(-1)"), "its reshape raises ValueError: a blob of -1"),
        (plain(reshape="top[0].reshape(1 << 16, 1 << 16)"), "its reshape raises ValueError: a blob of 65536x65536"),
        (plain(reshape="top[0].reshape(1.5)"), "its reshape raises TypeError: 'float' object cannot be interpreted"),
        (plain(reshape="raise SystemExit"), "its reshape raises SystemExit"),
        ("class Mine:\n    pass\n", 'its class "Mine" has no setup'),
        (LINEAR.replace("* self.twice", ", x"), "its forward makes 2 tensors for 1 top"),
        (LINEAR.replace("return", "return str(x)  #"), "its forward returns str, not tensors"),
        (LINEAR.replace("nn.Linear(3,", "nn.LazyLinear("), "the shape of its line.weight is open until it has run"),
    ],
)
def test_what_is_no_layer_is_refused(net, code, message) -> None:
    assert f'Python "it": {message}' in said(lambda: net(code, (6, 3)))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("", ("has no module", "Python")),
        ('python_param { module: "m" }', ("has no layer", "python_param")),
        ('python_param { module: "m.py/" layer: "M" }', ('module "m.py/" is no name of a Python module', "module")),
    ],
)
def test_a_layer_names_a_class_of_a_module(refusal, settings, expected) -> None:
    message, blamed = refusal("Python", settings, (2, 3))
    assert message == expected[0]
    assert expected[1] in blamed


def test_what_runs_python_has_no_other_form(net) -> None:
    graph = net(plain(), (2, 3), phase=Phase.TEST)
    assert 'Python "it": runs code of yours, which has no ONNX form' in said(lambda: export.to_onnx(graph))
    assert 'Python "it": runs Python code of your own' in said(lambda: module.source(graph))


def test_a_net_with_a_python_layer_is_verified_listed_and_deployed(net, golden) -> None:
    graph = net(plain(), (4, 3), param="param_str: 'a b'", phase=Phase.TEST)
    ir.verify(graph)
    golden(
        graph,
        """
        net net TEST
          x0 f32[4 3] = Input
          y0 f32[4 3] = Python(module=mine layer=Mine param_str='a b') <- x0  # it
        """,
    )
    assert passes.deploy(graph) is graph
