"""The files of a conversion as they run in a process of their own."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import numpy as np
import pytest

from nktc import module
from nktc.convert import runtimes
from nktc.errors import NktcError
from nktc.ir import Graph

NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 4 } } }
layer { name: "i" type: "InnerProduct" bottom: "data" top: "i"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
"""


@pytest.fixture
def written(read, tmp_path) -> tuple[list[Path], Graph]:
    """The weights and the program of a net, and the net."""
    graph = read(NET)
    graph = dataclasses.replace(graph, arrays=module.compile(graph, seed=1).arrays())
    program, beside = module.source(graph, "net").write(tmp_path / "net.py")
    return [beside, program], graph


def test_one_process_runs_all_records_and_ends_with_its_session(written, monkeypatch):
    files, graph = written
    started: list[subprocess.Popen[str]] = []

    class Counted(subprocess.Popen[str]):
        def __init__(self, *line, **more):
            super().__init__(*line, **more)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Counted)
    subject = runtimes.of_source(files, graph)["python"]()
    weight, bias = (graph.arrays[name] for name in graph.parameters)
    for seed in range(3):
        x = np.random.default_rng(seed).standard_normal((2, 4), np.float32)
        np.testing.assert_allclose(subject.run({"data": x})["i"], x @ weight.T + bias, rtol=1e-5, atol=1e-6)
    (process,) = started
    assert process.poll() is None
    del subject
    assert process.poll() == 0


def test_a_program_that_fails_says_why(written):
    (weights, program), graph = written
    program.write_text("print('what is printed is no answer')\nraise OSError('no such thing')\n")
    subject = runtimes.of_source([weights, program], graph)["python"]()
    for _ in range(2):
        with pytest.raises(NktcError, match="does not run: OSError: no such thing"):
            subject.run({"data": np.zeros((2, 4), np.float32)})
