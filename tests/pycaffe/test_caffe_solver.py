"""Caffe's solvers in Python against Caffe's own runs, and what scripts do between their steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nktc.pycaffe as caffe

CASES = [
    "solver_adadelta_inv",
    "solver_adagrad_shared",
    "solver_adam_clip",
    "solver_nesterov_hdf5_itersize3_clip_l1",
    "solver_rmsprop_convbn",
    "solver_sgd_itersize2",
    "solver_sgd_mult_shared_all",
    "solver_sgd_step",
]


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOG_minloglevel", "2")


@pytest.mark.parametrize("name", CASES)
def test_every_step_leaves_caffes_weights_and_updates(name: str, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shared / "goldens" / name)
    golden = dict(np.load("golden.npz"))
    solver = caffe.get_solver("solver.prototxt")
    params = {key.removeprefix("params/"): array for key, array in golden.items() if key.startswith("params/")}

    def blob(key: str) -> caffe.Blob:
        layer, index = key.split("/")
        return solver.net.params[layer][int(index)]

    views = {key: blob(key).data for key in params}
    for key, array in params.items():
        views[key][...] = array[0].reshape(views[key].shape)
    for i in range(len(golden["lr"])):
        for key, array in golden.items():
            if key.startswith("data/") and key[5:] in solver.net.inputs:
                solver.net.blobs[key[5:]].data[...] = array[i]
        assert solver.lr == pytest.approx(golden["lr"][i], rel=1e-5, abs=1e-9)
        solver.step(1)
        for key, array in params.items():
            # A bias before BatchNorm has no gradient but what rounding leaves.
            tolerance = 1e-3 if name.endswith("convbn") else 1e-5
            largest = max(np.abs(array[i + 1]).max(), 1e-6)
            found = views[key].reshape(array[i + 1].shape)
            np.testing.assert_allclose(found, array[i + 1], rtol=0, atol=tolerance * largest, err_msg=f"{key} {i}")
            if f"pdiff/{key}" in golden:
                update = golden[f"pdiff/{key}"][i]
                np.testing.assert_allclose(
                    blob(key).diff.reshape(update.shape), update, rtol=0, atol=tolerance * largest
                )
    assert solver.iter == len(golden["lr"])


def test_caffes_own_snapshot_is_taken_up(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shared / "goldens" / "snapshot_sgd_binaryproto")
    golden = dict(np.load("golden.npz"))
    solver = caffe.SGDSolver("solver.prototxt")
    view = {key: solver.net.params[key.split("/")[1]][int(key.split("/")[2])].data for key in _params(golden)}
    solver.restore("snap_iter_8.solverstate")
    assert solver.iter == 8
    for i in range(8, len(golden["lr"])):
        for key, array in golden.items():
            if key.startswith("data/") and key[5:] in solver.net.inputs:
                solver.net.blobs[key[5:]].data[...] = array[i]
        solver.step(1)
        for key, found in view.items():
            expected = golden[key][i + 1]
            np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=0, atol=1e-5, err_msg=key)


def _params(golden: dict[str, np.ndarray]) -> list[str]:
    return [key for key in golden if key.startswith("params/")]


NET = """
name: "line"
layer { name: "data" type: "DummyData" top: "x" top: "t" include { phase: TRAIN } dummy_data_param {
    shape { dim: 8 dim: 2 } data_filler { type: "constant" value: 1 } data_filler { type: "constant" value: 3 } } }
layer { name: "data" type: "DummyData" top: "x" top: "t" include { phase: TEST } dummy_data_param {
    shape { dim: 4 dim: 2 } data_filler { type: "constant" value: 1 } data_filler { type: "constant" value: 2 } } }
layer { name: "p" type: "InnerProduct" bottom: "x" top: "p" inner_product_param { num_output: 2 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "p" bottom: "t" top: "loss" }
"""


def write(settings: str = "", net: str = NET) -> str:
    """A solver in the working directory, its path."""
    Path("net.prototxt").write_text(net)
    Path("solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" momentum: 0.5 snapshot_prefix: "line"' + settings
    )
    return "solver.prototxt"


@pytest.fixture
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_here")
def test_steps_and_updates_by_hand_are_the_same_numbers() -> None:
    solver, by_hand = caffe.SGDSolver(write()), caffe.SGDSolver(write())
    solver.step(5)
    for _ in range(5):
        by_hand.net.clear_param_diffs()
        by_hand.net.forward()
        by_hand.net.backward()
        by_hand.apply_update()
    # x = 1, t = 3 and w = 0 at first: the error is a sum of two weights and a bias, each with its own velocity
    w = v = 0.0
    for _ in range(5):
        v = 0.5 * v + 0.1 * (3 * w - 3)
        w -= v
    np.testing.assert_allclose(solver.net.params["p"][0].data, np.full((2, 2), w), rtol=1e-5)
    np.testing.assert_array_equal(by_hand.net.params["p"][0].data, solver.net.params["p"][0].data)
    assert (solver.iter, by_hand.iter) == (5, 5)


@pytest.mark.usefixtures("_here")
def test_the_rate_that_a_script_sets_counts_from_the_next_step() -> None:
    solver = caffe.SGDSolver(write())
    solver.param.base_lr = 0
    assert solver.lr == 0
    solver.step(1)
    assert not solver.net.params["p"][0].data.any()
    assert solver.param.max_iter == 0


@pytest.mark.usefixtures("_here")
def test_solve_tests_with_the_weights_that_are_trained_and_writes_what_falls_due(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOG_minloglevel", "0")
    solver = caffe.get_solver(write(" max_iter: 4 test_iter: 2 test_interval: 2 display: 2 snapshot: 3"))
    (test,) = solver.test_nets
    solver.solve()
    assert solver.iter == 4
    said = capsys.readouterr().err
    assert "Iteration 4, Testing net (#0)" in said
    assert "Optimization Done." in said
    w = float(solver.net.params["p"][0].data[0, 0])
    assert f"Test net output #0: loss = {(3 * w - 2) ** 2:g} (* 1 = {(3 * w - 2) ** 2:g} loss)" in said
    assert "Iteration 2 (" in said
    assert "sgd_solver.cpp:112] Iteration 2, lr = 0.1" in said
    assert np.shares_memory(test.params["p"][0].data, solver.net.params["p"][0].data)
    assert sorted(path.name for path in Path().glob("line_iter_*.solverstate")) == [
        "line_iter_3.solverstate",
        "line_iter_4.solverstate",
    ]
    again = caffe.get_solver("solver.prototxt")
    again.solve("line_iter_3.solverstate")
    np.testing.assert_array_equal(again.net.params["p"][0].data, solver.net.params["p"][0].data)


@pytest.mark.usefixtures("_here")
def test_callbacks_come_before_an_iteration_and_when_its_gradients_are_there() -> None:
    solver, heard = caffe.SGDSolver(write(" iter_size: 2")), []
    diff = solver.net.params["p"][1].diff
    solver.net.before_forward(lambda layer: heard.append(layer))
    solver.add_callback(lambda: heard.append("start"), lambda: heard.append(diff.copy()))
    solver.step(1)
    assert heard[0] == "start"
    assert heard[1:-1] == [0, 1, 2] * 2
    np.testing.assert_allclose(heard[-1], [-6, -6], rtol=1e-6)  # twice the mean of w x - t over the batch


@pytest.mark.usefixtures("_here")
def test_the_class_says_the_type_and_get_solver_takes_it_from_the_file() -> None:
    assert type(caffe.get_solver(write(' type: "Adam" momentum2: 0.9'))) is caffe.AdamSolver
    assert caffe.NesterovSolver("solver.prototxt").param.type == "Nesterov"
    assert isinstance(caffe.AdaDeltaSolver("solver.prototxt"), caffe.SGDSolver)
    with pytest.raises(RuntimeError, match="AdaGrad has no momentum"):
        caffe.AdaGradSolver("solver.prototxt")


@pytest.mark.usefixtures("_here")
def test_a_seed_gives_the_same_weights_each_time() -> None:
    gaussian = NET.replace("num_output: 2", 'num_output: 2 weight_filler { type: "gaussian" }')
    first, second = (caffe.SGDSolver(write(" random_seed: 5", gaussian)) for _ in range(2))
    other = caffe.SGDSolver(write(" random_seed: 6", gaussian))
    weights = [solver.net.params["p"][0].data for solver in (first, second, other)]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (" precision: BF16", "pycaffe computes in FP32"),
        (" max_epoch: 2", "pycaffe counts iterations, not epochs"),
        (" test_all: true test_interval: 5", "pycaffe tests so many batches"),
        (' type: "SGDD"', 'unknown solver type "SGDD"'),
    ],
)
def test_what_is_not_for_scripts_is_refused(settings: str, said: str) -> None:
    with pytest.raises(RuntimeError, match=said):
        caffe.get_solver(write(settings))


@pytest.mark.usefixtures("_here")
def test_weights_that_the_solver_freezes_or_names_are_so() -> None:
    caffe.SGDSolver(write()).net.save("start.caffemodel")
    start = caffe.SGDSolver(write())
    start.net.params["p"][0].data[...] = 4
    start.net.save("start.caffemodel")
    solver = caffe.SGDSolver(write(' weights: "start.caffemodel" freeze: "p.weight"'))
    solver.step(3)
    assert solver.net.params["p"][0].data.tolist() == [[4, 4]] * 2
    assert (solver.net.params["p"][1].data != 0).all()
    other = caffe.Net("net.prototxt", caffe.TEST)
    solver.share_weights(other)
    assert other.params["p"][0].data.tolist() == [[4, 4]] * 2
