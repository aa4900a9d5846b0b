"""Which record comes when."""

from __future__ import annotations

import numpy as np

from nktc.data.order import Order, draw


def records(order: Order, k: int) -> list[int]:
    chosen = order.batch_records(k)
    return list(range(order.records))[chosen] if isinstance(chosen, slice) else chosen.tolist()


def stream(order: Order, batches: int) -> list[int]:
    return [record for k in range(batches) for record in records(order, k)]


def test_records_follow_one_another_and_wrap_inside_a_batch() -> None:
    order = Order(records=5, batch=3)
    assert [records(order, k) for k in range(4)] == [[0, 1, 2], [3, 4, 0], [1, 2, 3], [4, 0, 1]]


def test_a_batch_may_be_larger_than_the_source() -> None:
    assert records(Order(records=2, batch=5), 1) == [1, 0, 1, 0, 1]
    shuffled = Order(records=2, batch=5, seed=1, shuffle=True)
    found = stream(shuffled, 4)
    assert [sorted(found[i : i + 2]) for i in range(0, 20, 2)] == [[0, 1]] * 10


def test_a_shuffled_stream_gives_every_record_once_an_epoch_in_a_new_order() -> None:
    order = Order(records=50, batch=7, seed=3, shuffle=True)
    found = stream(order, 50)
    epochs = [found[i : i + 50] for i in range(0, 350, 50)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 7
    assert found != stream(Order(50, 7, 4, True), 50)


def test_draws_depend_on_seed_purpose_and_position_alone() -> None:
    whole = draw(7, "crop", 0, 100)
    np.testing.assert_array_equal(whole[40:60], draw(7, "crop", 40, 20))
    assert len({*whole.tolist(), *draw(8, "crop", 0, 100).tolist(), *draw(7, "flip", 0, 100).tolist()}) == 300


def test_draws_are_the_same_in_every_version() -> None:
    # A change here changes every shuffled or augmented training that is resumed.
    assert draw(1701, "mirror", 5, 2).tolist() == DRAWN
    assert Order(8, 8, 1701, True).epoch(0).tolist() == SHUFFLED


def test_draws_are_even() -> None:
    counts = np.bincount((draw(0, "row", 0, 90_000) % np.uint64(9)).astype(int))
    assert abs(counts - 10_000).max() < 400  # four standard deviations


DRAWN = [4367562788010488783, 15531222274406857622]
SHUFFLED = [6, 0, 1, 5, 3, 4, 7, 2]
