"""Blobs as scripts see them: views that are written through, shapes that change, memory that is shared."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nktc.pycaffe.blob import Blob, BlobVec, Memory
from nktc.pycaffe.failure import CaffeError

CPU = torch.device("cpu")


def test_array_and_tensor_are_one_memory_on_the_host() -> None:
    blob = Blob((2, 3))
    blob.data[1, 2] = 5
    assert blob.tensor(CPU)[1, 2] == 5
    blob.tensor(CPU, write=True)[0, 0] = 7
    assert blob.data[0, 0] == 7
    blob.diff[...] = 2
    assert blob.gradient(CPU).sum() == 12
    assert (blob.data.dtype, blob.diff.dtype) == (np.float32, np.float32)


def test_views_live_as_long_as_somebody_holds_them() -> None:
    blob = Blob((1000, 100))
    view = blob.data
    view[...] = 3
    del blob
    assert view.sum() == 300_000


def test_a_smaller_shape_keeps_the_numbers_in_their_order_and_a_larger_one_starts_at_0() -> None:
    blob = Blob((2, 3))
    blob.data[...] = np.arange(6).reshape(2, 3)
    blob.reshape(3, 2)
    assert blob.data.tolist() == [[0, 1], [2, 3], [4, 5]]
    blob.reshape(2)
    assert (blob.data.tolist(), blob.count, blob.shape) == ([0, 1], 2, (2,))
    blob.reshape(6)
    assert blob.data.tolist() == [0, 1, 2, 3, 4, 5]
    blob.reshape(7)
    assert blob.data.tolist() == [0] * 7
    blob.reshape()
    blob.data[()] = 4
    assert (blob.shape, blob.count, float(blob.data)) == ((), 1, 4.0)


def test_the_four_old_axes_are_1_where_there_are_fewer_and_refused_where_there_are_more() -> None:
    blob = Blob((5, 4, 3))
    assert (blob.num, blob.channels, blob.height, blob.width) == (5, 4, 3, 1)
    with pytest.raises(CaffeError, match="5 axes has no num"):
        _ = Blob((1, 1, 1, 1, 1)).num


@pytest.mark.parametrize("dims", [(-1, 2), (1 << 20, 1 << 20)])
def test_what_is_no_shape_is_refused(dims: tuple[int, ...]) -> None:
    with pytest.raises(RuntimeError, match="a blob cannot be"):
        Blob((1,)).reshape(*dims)


def test_shared_numbers_are_those_of_both_whatever_their_shapes_and_gradients_are_not() -> None:
    one, other = Blob((2, 3)), Blob((6,))
    other.share(one)
    one.data[...] = 9
    one.diff[...] = 1
    assert other.data.tolist() == [9] * 6
    assert other.diff.tolist() == [0] * 6


def test_add_blob_adds_a_weight_at_0() -> None:
    blobs = BlobVec()
    blobs.add_blob(2, 2)
    blobs.add_blob(1)
    assert [blob.shape for blob in blobs] == [(2, 2), (1,)]
    assert blobs[0].data.sum() == 0


class Elsewhere(Memory):
    """A memory whose GPU is other memory of the host."""

    def _sent(self, device: torch.device) -> torch.Tensor:
        return self._host().clone()


def test_what_is_newer_is_copied_to_the_other_side_when_that_is_asked_for() -> None:
    gpu = torch.device("cuda", 0)
    memory = Memory(2) if torch.cuda.is_available() else Elsewhere(2)
    memory.array()[:] = 1
    assert memory.tensor(gpu).tolist() == [1, 1]
    view = memory.array()
    view[0] = 5  # the array was asked for, so it is newer
    assert memory.tensor(gpu).tolist() == [5, 1]
    memory.tensor(gpu, write=True)[1] = 7
    assert view.tolist() == [5, 1]  # as in Caffe, an old view is not brought up to date
    assert memory.array().tolist() == [5, 7]
    assert view.tolist() == [5, 7]
    memory.tensor(gpu, write=True)[0] = 2
    assert memory.tensor(CPU).tolist() == [2, 7]
