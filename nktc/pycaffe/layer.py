"""What scripts know as caffe.Layer."""

from __future__ import annotations

from nktc import layers
from nktc.ir import catalogue


class Layer(layers.CaffeLayer):
    """The class that a layer written in Python is derived from. It has setup, reshape, forward and backward, and finds
    its param_str, its phase and its weights, which setup adds with self.blobs.add_blob(...), on itself."""

    type = "Python"

    @property
    def param_str_(self) -> str:
        """The old name of param_str."""
        return self.param_str


def layer_type_list() -> list[str]:
    """Every layer type by its prototxt name, in order."""
    return sorted(catalogue())
