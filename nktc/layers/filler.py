"""How weights start: Caffe's seven fillers, with its conventions of fan-in and fan-out."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nktc.errors import LayerError
from nktc.ir import Filler, Shape, times


@torch.no_grad()
def fill(tensor: Tensor, filler: Filler, generator: torch.Generator | None = None) -> Tensor:
    """Fill in place and return it.

    Caffe's fans: fan_in is count / shape[0], fan_out count / shape[1], whatever the layer calls its axes. Sources:
    xavier, Glorot and Bengio 2010 (uniform, variance 1/n); msra, He et al. 2015 (gaussian, variance 2/n).
    """
    match filler.type:
        case "constant":
            return tensor.fill_(filler.value)
        case "uniform":
            return tensor.uniform_(filler.min, filler.max, generator=generator)
        case "gaussian":
            tensor.normal_(filler.mean, filler.std, generator=generator)
            if filler.sparse >= 0:
                chance = min(1.0, filler.sparse / tensor.shape[0])
                tensor.mul_(torch.empty_like(tensor).bernoulli_(chance, generator=generator))
            return tensor
        case "xavier":
            limit = math.sqrt(3 / fan(tensor.shape, filler))
            return tensor.uniform_(-limit, limit, generator=generator)
        case "msra":
            return tensor.normal_(0, math.sqrt(2 / fan(tensor.shape, filler)), generator=generator)
        case "positive_unitball":
            rows = tensor.uniform_(0, 1, generator=generator).view(tensor.shape[0], -1)
            rows.div_(rows.sum(1, keepdim=True))
            return tensor
        case "bilinear":
            return tensor.copy_(bilinear(tuple(tensor.shape)))
    raise LayerError(f'unknown filler "{filler.type}"')


def fan(shape: Shape, filler: Filler) -> float:
    """What xavier and msra divide by, chosen by variance_norm."""
    count = math.prod(shape)
    fan_in = count / shape[0]
    fan_out = count / shape[1] if len(shape) > 1 else count
    return {"FAN_IN": fan_in, "FAN_OUT": fan_out, "AVERAGE": (fan_in + fan_out) / 2}[filler.variance_norm]


def bilinear(shape: Shape) -> Tensor:
    """Weights that make a Deconvolution interpolate: [out in k k]. Raises LayerError for other shapes."""
    if len(shape) != 4 or shape[2] != shape[3]:
        raise LayerError(
            f"the bilinear filler takes a square window, not weights of {times(shape)}", field="weight_filler"
        )
    factor = math.ceil(shape[3] / 2)
    centre = (2 * factor - 1 - factor % 2) / (2 * factor)
    along = 1 - (torch.arange(shape[3]) / factor - centre).abs()
    return (along[:, None] * along[None, :]).expand(shape)
