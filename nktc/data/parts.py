"""Training, validation and test part of a source's records."""

from __future__ import annotations

import numpy as np

from nktc.data.order import draw
from nktc.errors import LayerError
from nktc.layers import Part


def part_size(part: Part | None, records: int) -> int:
    """How many of a source's records are in a part, None being all. VALIDATION and TEST have their share rounded to the
    nearest whole number, TRAIN has the rest; of those, at most the part's `records`. Raises LayerError for a part
    without records."""
    if part is None:
        return records
    start, end = _place(part, records)
    if end <= start and records:
        problem = (
            f"its {part.name} part is empty: {records} records, validation {part.validation:g}, test {part.test:g}"
        )
        raise LayerError(problem, field="split_param")
    return min(end - start, part.records or records)


def part_records(part: Part | None, records: int) -> np.ndarray | None:
    """The indices of the records in a part, rising; None for all. They follow from the part and the number of records
    alone, and which are in TEST does not depend on the share of VALIDATION. A part of fewer `records` lies within one
    of more. Raises LayerError for a part without records."""
    if part is None:
        return None
    count, (start, _) = part_size(part, records), _place(part, records)
    return np.sort(np.argsort(draw(part.seed, "split", 0, records), kind="stable")[start : start + count])


def _place(part: Part, records: int) -> tuple[int, int]:
    """Start and end of a part among the records in the order drawn: first TEST, then VALIDATION, then TRAIN."""
    test, validation = round(part.test * records), round(part.validation * records)
    places = {"TEST": (0, test), "VALIDATION": (test, test + validation), "TRAIN": (test + validation, records)}
    return places[part.name]
