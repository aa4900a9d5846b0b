"""Outcomes as text and as data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nktc import engines, passes, quantization
from nktc.optimize import Measured, Outcome, Scores


@pytest.fixture
def outcome() -> Outcome:
    totals = passes.Totals(3, 10, 1000, 40, 80)
    report = passes.Report((), totals, passes.Totals(2, 8, 900, 20, 80), {"fold": 0.5})
    fast, plain = engines.Times(1, (0.001, 0.003)), engines.Times(1, (0.004,))
    proof = engines.Comparison("net", "net.onnx", 1e-4, 2, (engines.Difference("p", (2, 3), 1e-6, 2e-6),), 1.0, 0)
    return Outcome(
        Path("net.onnx"),
        "openvino",
        "int8",
        0,
        2,
        report,
        ["mind the gap"],
        ["i"],
        [quantization.Sensitivity("i", "InnerProduct", 0.25, None), quantization.Sensitivity("c", "C", 0.01, None)],
        Scores(98.5, 98.0, 200, True),
        [
            Measured("openvino, 2 threads", "openvino", "", 2, fast, chosen=True),
            Measured("onnxruntime, the net as it is", "onnxruntime", "the net as it is", 0, plain),
        ],
        [Measured("batch 1", "openvino", "", 2, fast, chosen=True), Measured("batch 2", "openvino", "", 2, fast)],
        [],
        proof,
    )


def test_the_text_tells_all_that_matters(outcome, golden):
    golden(
        outcome.text(),
        """
          0 rewrites: 3 -> 2 layers, operations -10.0 %, weights -50.0 %  (--report lists them)

            note: mind the gap

          what int8 in a single layer does to the outputs, the worst first
            i       0.25  stays in fp32
            c       0.01

          measured, batch 1
                                             batch  records/s  mean ms  median    p99    min    max
            * openvino, 2 threads                1      500.0    2.000   2.000  2.980  1.000  3.000
              onnxruntime, the net as it is      1      250.0    4.000   4.000  4.000  4.000  4.000
            2.00 times as fast as the net as it is in onnxruntime

          openvino by batch
                       batch  records/s  mean ms  median    p99    min    max
            * batch 1      1      500.0    2.000   2.000  2.980  1.000  3.000
              batch 2      1      500.0    2.000   2.000  2.980  1.000  3.000

          top-1 98.50 % -> 98.00 % of 200 records

          net.onnx agrees with net: 1 blob, 2 records, at most 2e-06 of a blob's largest value (p); 0.0001 is allowed
          top-1: 100.00% of the records have the same

          net.onnx: openvino, int8, any batch, 2 threads
        """,
    )


def test_without_the_net_as_it_is_nothing_is_said_of_how_much_faster(outcome):
    assert "times as fast" in outcome.text()
    alone = Outcome(**{**vars(outcome), "measured": outcome.measured[:1] * 2})
    assert "times as fast" not in alone.text()


def test_a_fixed_batch_and_no_choice_of_threads_are_told(outcome):
    text = Outcome(**{**vars(outcome), "batch": 8, "threads": 0}).text()
    assert text.endswith("net.onnx: openvino, int8, batch 8")


def test_the_data_is_json_with_every_figure(outcome):
    plain = json.loads(json.dumps(outcome.plain(), allow_nan=False))
    assert plain["scores"] == {"before": 98.5, "after": 98.0, "records": 200, "labelled": True, "drop": 0.5}
    assert [one["chosen"] for one in plain["measured"]] == [True, False]
    assert plain["measured"][0]["median"] == 2
    assert plain["sensitivity"][0] == {"layer": "i", "type": "InnerProduct", "error": 0.25}
    assert plain["proof"]["agrees"] is True
    assert (plain["file"], plain["batch"], plain["kept"]) == ("net.onnx", 0, ["i"])
    assert Outcome(**{**vars(outcome), "scores": None}).plain()["scores"] is None


def test_scores_say_what_they_are_against():
    assert str(Scores(98.5, 98.0, 200, True)) == "top-1 98.50 % -> 98.00 % of 200 records"
    assert str(Scores(100, 99.5, 200, False)) == "top-1 as in fp32 for 99.50 % of 200 records"
    assert np.isclose(Scores(98.5, 98.0, 200, True).drop, 0.5)
