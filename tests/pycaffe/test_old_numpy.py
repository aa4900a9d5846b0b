"""Scripts find what NumPy had when they were written."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from nktc.pycaffe import old_numpy


def test_a_script_has_the_names_of_its_time() -> None:
    code = (
        "import numpy as np\n"
        "bytes_ = np.fromstring(b'\\x01\\x02', dtype=np.uint8); bytes_[0] = 5\n"
        "print(np.zeros(2, np.float).dtype, np.array([1.5]).astype(np.int), np.asscalar(np.array([2])), np.Inf, bytes_)"
    )
    done = subprocess.run(
        [sys.executable, "-m", "nktc.pycaffe", "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("float64 [1] 2 inf [5 2]\n", 0), done.stderr


def test_numbers_in_text_are_read_as_ever() -> None:
    np.testing.assert_array_equal(old_numpy.fromstring("1, 2.5", sep=","), [1, 2.5])
    with pytest.raises(ValueError, match="multiple of element size"):
        old_numpy.fromstring(b"abc", dtype=np.float32)
