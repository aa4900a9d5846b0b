"""What scripts say once for the whole process; the log and the stopwatch."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch

import nktc.pycaffe as caffe
from nktc.pycaffe import glog, mode, nccl


@pytest.fixture(autouse=True)
def _as_before():
    before = dict(vars(mode.STATE))
    yield
    vars(mode.STATE).update(before)
    caffe.init_log()


def test_solvers_are_counted_and_numbered() -> None:
    assert (caffe.solver_count(), caffe.solver_rank(), caffe.multiprocess()) == (1, 0, False)
    caffe.set_solver_count(3)
    caffe.set_solver_rank(2)
    caffe.set_multiprocess(True)
    assert (caffe.solver_count(), caffe.solver_rank(), caffe.multiprocess()) == (3, 2, True)
    for wrong in (lambda: caffe.set_solver_count(0), lambda: caffe.set_solver_rank(-1), lambda: caffe.set_device(-1)):
        with pytest.raises(caffe.CaffeError):
            wrong()


def test_a_gpu_that_is_not_there_is_refused_and_the_cpu_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    caffe.set_device(3)
    with pytest.raises(RuntimeError, match=r"set_mode_gpu: .*\n.*set_mode_cpu\(\) computes without a GPU"):
        caffe.set_mode_gpu()
    assert mode.STATE.device.type == "cpu"


def test_log_lines_are_globs_unless_a_higher_level_is_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    caffe.log("said")
    assert re.fullmatch(r"I\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ _caffe.cpp:0\] said\n", capsys.readouterr().err)
    caffe.init_log(1)
    caffe.log("hidden")
    glog.warn("heard")
    assert capsys.readouterr().err.endswith("] heard\n")
    monkeypatch.setenv("GLOG_minloglevel", "2")
    glog.warn("hidden")
    caffe.init_log(0, True)
    caffe.log("hidden")
    assert capsys.readouterr().err == ""


def test_a_timer_measures_from_start_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1.0, 1.25, 7.0])
    monkeypatch.setattr("nktc.pycaffe.timer.time", SimpleNamespace(perf_counter=lambda: next(times)))
    timer = caffe.Timer()
    assert timer.ms == 0
    timer.start()
    timer.start()
    timer.stop()
    timer.stop()
    assert timer.ms == 250


def test_nccl_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert caffe.has_nccl() is False
    assert isinstance(caffe.NCCL.new_uid(), bytes)
    with pytest.raises(RuntimeError, match="it needs NVIDIA GPUs"):
        nccl.NCCL(SimpleNamespace(), caffe.NCCL.new_uid())  # type: ignore[arg-type]
