"""Data layers of nets in Python: each forward gives the next batch."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

import nktc.pycaffe as caffe
from nktc.pycaffe import mode

HDF5 = """
layer { name: "d" type: "HDF5Data" top: "data" top: "label" hdf5_data_param { source: "list.txt" batch_size: 2 } }
layer { name: "p" type: "Power" bottom: "data" top: "p" power_param { scale: 2 } }
"""


@pytest.fixture
def numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A net over six records, in the working directory."""
    monkeypatch.chdir(tmp_path)
    with h5py.File("six.h5", "w") as file:
        file["data"] = np.arange(12, dtype=np.float32).reshape(6, 2)
        file["label"] = np.arange(6, dtype=np.float32)
    Path("list.txt").write_text("six.h5\n")
    Path("net.prototxt").write_text(HDF5)
    return tmp_path / "net.prototxt"


def test_every_forward_takes_the_next_batch_and_one_that_starts_later_none(numbers: Path) -> None:
    net = caffe.Net(str(numbers), caffe.TRAIN)
    assert (net.inputs, net.blobs["data"].shape) == ([], (2, 2))
    seen = []
    for _ in range(4):
        net.forward()
        seen.append(net.blobs["label"].data.tolist())
    assert seen == [[0, 1], [2, 3], [4, 5], [0, 1]]
    net.blobs["data"].data[...] = 100
    assert net.forward(start="p")["p"].tolist() == [[200, 200]] * 2
    net.forward(end="d")
    assert net.blobs["data"].data.tolist() == [[4, 5], [6, 7]]


def test_of_two_solvers_each_trains_on_every_second_batch(numbers: Path) -> None:
    seen = []
    try:
        for rank in range(2):
            caffe.set_solver_count(2)
            caffe.set_solver_rank(rank)
            for phase in (caffe.TRAIN, caffe.TEST):
                net = caffe.Net(str(numbers), phase)
                seen.append([net.forward() and net.blobs["label"].data.tolist() for _ in range(2)])
    finally:
        caffe.set_solver_count(1)
        caffe.set_solver_rank(0)
    assert seen == [[[0, 1], [4, 5]], [[0, 1], [2, 3]], [[2, 3], [0, 1]], [[0, 1], [2, 3]]]


def test_a_solver_that_is_restored_goes_on_behind_the_batches_it_had(numbers: Path) -> None:
    numbers.write_text(
        HDF5
        + 'layer { name: "i" type: "InnerProduct" bottom: "p" top: "i" inner_product_param { num_output: 1 } }'
        + 'layer { name: "l" type: "EuclideanLoss" bottom: "i" bottom: "label" top: "l" }'
    )
    Path("solver.prototxt").write_text('net: "net.prototxt" base_lr: 0.001 lr_policy: "fixed" snapshot_prefix: "s"')
    solver = caffe.SGDSolver("solver.prototxt")
    solver.step(2)
    solver.snapshot()
    solver.step(1)
    other = caffe.SGDSolver("solver.prototxt")
    other.restore("s_iter_2.solverstate")
    other.step(1)
    assert other.net.blobs["label"].data.tolist() == [4, 5]
    np.testing.assert_array_equal(other.net.params["i"][0].data, solver.net.params["i"][0].data)


MEMORY = """
layer { name: "m" type: "MemoryData" top: "data" top: "label"
        memory_data_param { batch_size: 2 channels: 1 height: 1 width: 3 } }
"""


def test_arrays_are_fed_batch_by_batch_around_and_around(tmp_path: Path) -> None:
    (tmp_path / "m.prototxt").write_text(MEMORY)
    net = caffe.Net(str(tmp_path / "m.prototxt"), caffe.TEST)
    with pytest.raises(RuntimeError, match=r"call net.set_input_arrays\(data, labels\) before forward"):
        net.forward()
    values = np.arange(12, dtype=np.float32).reshape(4, 1, 1, 3)
    net.set_input_arrays(values, np.arange(4, dtype=np.float32))
    seen = [net.forward()["label"].reshape(-1).tolist() for _ in range(3)]
    assert seen == [[0, 1], [2, 3], [0, 1]]
    assert net.blobs["data"].data[1].reshape(-1).tolist() == [3, 4, 5]


def test_labels_of_arrays_have_one_axis_where_the_net_is_built_and_four_where_it_runs(tmp_path: Path) -> None:
    heads = """
        layer { name: "i" type: "InnerProduct" bottom: "data" top: "i" inner_product_param { num_output: 4 } }
        layer { name: "l" type: "SoftmaxWithLoss" bottom: "i" bottom: "label" top: "l" }
        layer { name: "a" type: "Accuracy" bottom: "i" bottom: "label" top: "a" }
    """
    (tmp_path / "m.prototxt").write_text(MEMORY + heads)
    net = caffe.Net(str(tmp_path / "m.prototxt"), caffe.TEST)
    assert list(net.blobs["label"].shape) == [2]
    net.set_input_arrays(np.ones((4, 1, 1, 3), np.float32), np.arange(4, dtype=np.float32))
    net.params["i"][0].data[...] = 0
    assert float(net.forward()["l"]) == pytest.approx(np.log(4))
    assert list(net.blobs["label"].shape) == [2, 1, 1, 1]


@pytest.mark.parametrize(
    ("values", "labels", "said"),
    [
        (np.zeros((3, 1, 1, 3), np.float32), 3, "3 records and 3 labels for batches of 2"),
        (np.zeros((4, 1, 1, 3), np.float32), 2, "4 records and 2 labels"),
        (np.zeros((4, 1, 1, 3)), 4, "data are no float32 in C's order"),
        (np.zeros((4, 1, 3, 1), np.float32), 4, "data are 4x1x3x1, and the layer takes 1x1x3 a record"),
        (np.zeros((4, 1, 3), np.float32), 4, "data are 4x1x3"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, values: np.ndarray, labels: int, said: str) -> None:
    (tmp_path / "m.prototxt").write_text(MEMORY)
    net = caffe.Net(str(tmp_path / "m.prototxt"), caffe.TEST)
    with pytest.raises(RuntimeError) as caught:
        net.set_input_arrays(values, np.zeros(labels, np.float32))
    assert said in str(caught.value)


def test_what_is_drawn_follows_from_the_seed_that_a_script_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mode.STATE, "seeded", False)
    assert mode.draw_seed() is None
    caffe.set_random_seed(11)
    first = [mode.draw_seed() for _ in range(3)]
    caffe.set_random_seed(11)
    assert [mode.draw_seed() for _ in range(3)] == first
    assert len(set(first)) == 3
