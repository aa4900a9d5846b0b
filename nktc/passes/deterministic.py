"""Whether a layer makes the same of the same."""

from __future__ import annotations

from nktc.ir import Layer
from nktc.layers import Dropout, DummyData, Pooling, PoolingND, Python


def deterministic(layer: Layer) -> bool:
    """Whether equal inputs and weights give equal outputs at each forward; of foreign code that is not known."""
    match layer:
        case Python():
            return False
        case Dropout(active=active):
            return not active
        case Pooling(draws=draws) | PoolingND(draws=draws):
            return not draws
        case DummyData(fillers=fillers):
            return all(filler.type == "constant" for filler in fillers)
    return True
