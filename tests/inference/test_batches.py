"""Jobs go through a session in the batches that it takes, and everyone gets his own share."""

from __future__ import annotations

import numpy as np
import pytest

from nktc.engines import Facts
from nktc.errors import NktcError
from nktc.inference.batches import Item, chunks, run
from nktc.inference.intake import Job, Rows
from nktc.ir import Value


class Doubling:
    """A session that doubles x and sums y over the batch, and keeps what it was fed."""

    device = "none"
    inputs = outputs = ()
    facts = Facts()

    def __init__(self) -> None:
        self.fed: list[tuple[int, ...]] = []

    def run(self, feeds):
        self.fed.append(feeds["x"].shape)
        return {"y": 2 * feeds["x"]}


def item(number: int, *shape: int, rows: int = 1) -> Item:
    return Item(str(number), {"x": np.full((rows, *shape), number, np.float32)})


@pytest.mark.parametrize(
    ("batch", "most", "fed"),
    [(0, 32, [7]), (0, 3, [3, 3, 1]), (4, 32, [4, 4]), (1, 1, [1] * 7), (7, 7, [7])],
)
def test_models_get_the_batches_that_they_take(batch, most, fed):
    session = Doubling()
    found = list(run(session, [item(i, 2) for i in range(7)], batch, most))
    assert [shape[0] for shape in session.fed] == fed
    assert [one.name for one, _ in found] == list("0123456")
    for i, (_, outputs) in enumerate(found):
        np.testing.assert_array_equal(outputs["y"], np.full((1, 2), 2 * i))


def test_items_of_several_rows_stay_together_and_fill_any_batch():
    session = Doubling()
    items = [item(1, 2, rows=10), item(2, 2, rows=10), item(3, 2)]
    found = list(run(session, items, 4, 4))
    assert [len(outputs["y"]) for _, outputs in found] == [10, 10, 1]
    assert [shape[0] for shape in session.fed] == [4] * 6
    assert all((outputs["y"] == 2 * float(one.name)).all() for one, outputs in found)


def test_what_failed_and_what_has_another_shape_keeps_its_place():
    session = Doubling()
    items = [item(0, 2), Item("bad", error="gone"), item(2, 2), item(3, 5), item(4, 2)]
    found = list(run(session, items, 0, 32))
    assert [(one.name, one.error) for one, _ in found] == [("0", ""), ("bad", "gone"), ("2", ""), ("3", ""), ("4", "")]
    assert [outputs.get("y", np.empty(0)).size for _, outputs in found] == [2, 0, 2, 5, 2]


def test_a_whole_item_is_fed_as_it_is():
    session = Doubling()
    whole = Item("w", {"x": np.ones((5, 3))}, whole=True)
    ((_, outputs), _) = run(session, [whole, Item("v", {"x": np.ones((2, 3))}, whole=True)], 0, 1)
    assert (session.fed, outputs["y"].shape) == ([(5, 3), (2, 3)], (5, 3))


def test_jobs_are_done_in_their_order_so_many_at_a_time():
    def load(i: int) -> Rows:
        if i == 2:
            raise NktcError("two is bad", help="leave it out")
        return {"x": np.array([[i]])}

    jobs = (Job(str(i), lambda i=i: load(i)) for i in range(7))
    found = list(chunks(jobs, 3))
    assert [len(chunk) for chunk in found] == [3, 3, 1]
    items = [one for chunk in found for one in chunk]
    assert [one.name for one in items] == list("0123456")
    assert [one.error for one in items if one.error] == ["two is bad"]
    assert items[2].error
    assert items[6].rows["x"] == 6


class Detecting(Doubling):
    """A session that finds as many boxes in an image as its first number says."""

    outputs = (Value("y", (1, 1, 0, 7)),)

    def run(self, feeds):
        rows = [[image, 1, k, 0, 0, 1, 1] for image, x in enumerate(feeds["x"]) for k in range(int(x.flat[0]))]
        return {"y": np.array(rows, np.float32).reshape(1, 1, -1, 7)}


@pytest.mark.parametrize(("batch", "most"), [(0, 3), (2, 2), (1, 1)])
def test_every_image_has_the_boxes_that_were_found_in_it(batch, most):
    found = list(run(Detecting(), [item(i, 2) for i in (2, 0, 1, 3)], batch, most))
    assert [outputs["y"].shape for _, outputs in found] == [(1, n, 7) for n in (2, 0, 1, 3)]
    assert [outputs["y"][0, :, 2].tolist() for _, outputs in found] == [[0, 1], [], [0], [0, 1, 2]]


def test_crops_in_which_not_as_many_boxes_are_found_have_no_mean():
    crops = Item("picture", {"x": np.arange(1, 4, dtype=np.float32).reshape(3, 1)})
    with pytest.raises(NktcError, match="the output y is of another size for each of 3 crops"):
        list(run(Detecting(), [crops], 0, 32))
