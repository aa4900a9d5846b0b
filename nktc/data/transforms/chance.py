"""What is drawn at random for a record: a function of the seed, the purpose and the record's counter alone."""

from __future__ import annotations

import math

import numpy as np

from nktc.data.order import draw_at


def even(seed: int, purpose: str, counters: np.ndarray, least: float = 0.0, largest: float = 1.0) -> np.ndarray:
    """f64[n] evenly from [least, largest), one a counter."""
    return least + (largest - least) * ((draw_at(seed, purpose, counters) >> np.uint64(11)) * 2.0**-53)


def whole(seed: int, purpose: str, counters: np.ndarray, choices: np.ndarray | int) -> np.ndarray:
    """i64[n] of the numbers from 0 to below `choices`, one a counter."""
    return (draw_at(seed, purpose, counters) % np.asarray(choices, np.uint64)).astype(np.int64)


def beta(seed: int, purpose: str, counter: int, alpha: float) -> float:
    """From the Beta distribution of (alpha, alpha), alpha above 0; 0 to 1, both included where alpha is small."""
    first, second = (_log_gamma(seed, f"{purpose} {side}", counter, alpha) for side in ("first", "second"))
    # In logarithms, for with a small alpha both gammas are less than the least number.
    apart = second - first
    return 1 / (1 + math.exp(apart)) if apart < 700 else 0.0


def _log_gamma(seed: int, purpose: str, counter: int, shape: float) -> float:
    """The logarithm of a Gamma(shape) number, by Marsaglia and Tsang 2000. NumPy's own is not kept between its
    versions."""

    def drawn(what: str) -> float:
        """Above 0, up to 1."""
        return 1 - float(even(seed, f"{purpose} {what}", np.array([counter], np.uint64))[0])

    d = shape - 1 / 3 if shape >= 1 else shape + 2 / 3
    c = 1 / math.sqrt(9 * d)
    lift = 0.0 if shape >= 1 else math.log(drawn("lift")) / shape
    attempt = 0
    while True:
        normal = math.sqrt(-2 * math.log(drawn(f"radius {attempt}"))) * math.cos(math.tau * drawn(f"angle {attempt}"))
        cube = (1 + c * normal) ** 3
        if cube > 0 and math.log(drawn(f"keep {attempt}")) < normal**2 / 2 + d * (1 - cube + math.log(cube)):
            return math.log(d * cube) + lift
        attempt += 1
