"""Logs as tables: the rows that Caffe's parse_log writes of them, worked out from the log by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from nktc.errors import NktcError
from nktc.plotting import read_log, write_tables

LOG = """\
Log file created at: 2015/12/31 23:59:50
I1231 23:59:49.000123 25210 solver.cpp:48] Iteration 7 of another kind
I1231 23:59:50.500000 25210 solver.cpp:291] Solving LeNet
I1231 23:59:51.000000 25210 solver.cpp:348] Iteration 0, Testing net (#0)
I1231 23:59:52.123456 25210 solver.cpp:415]     Test net output #0: accuracy = 0.0938
I1231 23:59:52.123499 25210 solver.cpp:415]     Test net output #1: loss = 2.38 (* 1 = 2.38 loss)
I1231 23:59:53.000001 25210 solver.cpp:239] Iteration 0 (-1.8e+15 iter/s, 0s/100 iters), loss = 2.38
I1231 23:59:53.000002 25210 solver.cpp:258]     Train net output #0: loss = 2.38 (* 1 = 2.38 loss)
I1231 23:59:53.000003 25210 sgd_solver.cpp:112] Iteration 0, lr = 0.01
a line without a time
I0101 00:00:03.500002 25210 solver.cpp:258] Iteration 100, loss = 0.38
I0101 00:00:03.500002 25210 solver.cpp:258]     Train net output #0: loss = 0.38 (* 1 = 0.38 loss)
I0101 00:00:03.500003 25210 sgd_solver.cpp:112] Iteration 100, lr = 0.00992565
I0101 00:00:13.000001 25210 solver.cpp:239] Iteration 200, loss = 0.3
I0101 00:00:13.000002 25210 solver.cpp:258]     Train net output #0: loss = 3e-05 (* 1 = 3e-05 loss)
I0101 00:00:13.500000 25210 solver.cpp:348] Iteration 200, Testing net (#0)
I0101 00:00:14.500000 25210 solver.cpp:415]     Test net output #0: accuracy = 0.93
I0101 00:00:14.500001 25210 solver.cpp:415]     Test net output #1: loss = 0.2 (* 1 = 0.2 loss)
I0101 00:00:15.000000 25210 solver.cpp:348] Iteration 300, Testing net (#0)
I0101 00:00:16.000000 25210 solver.cpp:415]     Test net output #0: accuracy = 0.95
"""


def test_tables_have_caffes_columns_and_rows(tmp_path: Path):
    (tmp_path / "caffe.log").write_text(LOG)
    assert write_tables(tmp_path / "caffe.log", tmp_path) == [
        tmp_path / "caffe.log.train",
        tmp_path / "caffe.log.test",
    ]
    # The rate is that of the line before, the first row's that of the second; a row that is cut short is none.
    assert (tmp_path / "caffe.log.train").read_bytes().decode() == (
        "NumIters,Seconds,LearningRate,loss\r\n"
        "0.0,2.500002,0.01,2.38\r\n"
        "100.0,13.000002,0.01,0.38\r\n"
        "200.0,22.500002,0.00992565,3e-05\r\n"
    )
    assert (tmp_path / "caffe.log.test").read_bytes().decode() == (
        "NumIters,Seconds,LearningRate,accuracy,loss\r\n"
        "0.0,1.623456,0.00992565,0.0938,2.38\r\n"
        "200.0,24.0,0.00992565,0.93,0.2\r\n"
    )


def test_a_single_test_is_a_row_and_the_delimiter_can_be_chosen(tmp_path: Path):
    (tmp_path / "log").write_text("\n".join(LOG.splitlines()[:6]))
    assert write_tables(tmp_path / "log", tmp_path, "\t") == [tmp_path / "log.test"]
    columns, row = (tmp_path / "log.test").read_text().splitlines()
    assert columns.split("\t") == ["NumIters", "Seconds", "LearningRate", "accuracy", "loss"]
    assert row.split("\t") == ["0.0", "1.623456", "nan", "0.0938", "2.38"]
    with pytest.raises(NktcError, match='the delimiter ", " is not one character'):
        write_tables(tmp_path / "log", tmp_path, ", ")


def test_a_runs_folder_and_years_in_the_stamps_and_no_numbers(tmp_path: Path):
    (tmp_path / "train.log").write_text(
        "I20260228 23:59:59.000000 1 solver.cpp:239] Iteration 5, loss = nan\n"
        "I20260301 00:00:00.250000 1 solver.cpp:258]     Train net output #0: loss = -nan(ind)\n"
    )
    train, test = read_log(tmp_path)
    assert (str(train), test) == ("[{'NumIters': 5.0, 'Seconds': 1.25, 'LearningRate': nan, 'loss': nan}]", [])


@pytest.mark.parametrize("text", ["", "nothing\n", "I0230 25:61:61.1 1 x] Iteration 1\n"])
def test_what_is_no_log_is_refused(tmp_path: Path, text: str):
    (tmp_path / "log").write_text(text)
    with pytest.raises(NktcError, match="log has no line with a net's output"):
        read_log(tmp_path / "log")
