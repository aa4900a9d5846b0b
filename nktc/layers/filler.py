"""How weights start: Caffe's seven fillers and one of a fork, with its conventions of fan-in and fan-out."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nktc.errors import LayerError
from nktc.ir import Filler, Shape, times


@torch.no_grad()
def fill(tensor: Tensor, filler: Filler, generator: torch.Generator | None = None) -> Tensor:
    """Fill in place and return it. Raises LayerError as `check_filler` does.

    Caffe's fans: fan_in is count / shape[0], fan_out count / shape[1], whatever the layer calls its axes. Sources:
    xavier, Glorot and Bengio 2010 (uniform, variance 1/n); msra, He et al. 2015 (gaussian, variance 2/n).
    """
    check_filler(filler, tuple(tensor.shape))
    match filler.type:
        case "constant":
            return tensor.fill_(filler.value)
        case "uniform":
            return tensor.uniform_(filler.min, filler.max, generator=generator)
        case "gaussian":
            tensor.normal_(filler.mean, filler.std, generator=generator)
            if filler.sparse >= 0:
                chance = filler.sparse / tensor.shape[0]
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
        case "gaussian_unitball":  # of caffe-windows
            rows = tensor.normal_(0, 1, generator=generator).view(tensor.shape[0], -1)
            rows.div_(rows.square().sum(1, keepdim=True).add_(1e-12).sqrt_())
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


def check_filler(filler: Filler, shape: Shape) -> None:
    """Raise LayerError, blaming the filler's setting, where an array of that shape cannot start so."""
    field = filler.setting
    if not shape and filler.type in ("xavier", "msra", "positive_unitball", "gaussian_unitball"):
        raise LayerError(f"the {filler.type} filler takes an array, not a single number", field=field)
    if filler.type == "bilinear" and (len(shape) != 4 or shape[2] != shape[3]):
        raise LayerError(f"the bilinear filler takes a square window, not weights of {times(shape)}", field=field)
    if filler.type == "uniform" and not filler.min <= filler.max:
        raise LayerError(f"min {filler.min:g} is above max {filler.max:g}", field=f"{field}.min")
    if filler.type == "uniform" and not filler.max - filler.min <= torch.finfo(torch.float32).max:
        raise LayerError(f"min {filler.min:g} to max {filler.max:g} is wider than a float", field=f"{field}.min")
    if filler.type == "gaussian" and not filler.std > 0:
        help = 'type: "constant" starts all weights alike'
        raise LayerError(f"std {filler.std:g} is not above 0", field=f"{field}.std", help=help)
    if filler.sparse != -1 and (filler.type != "gaussian" or filler.sparse < 0 or not shape):
        raise LayerError(
            f"sparse is {filler.sparse}",
            field=f"{field}.sparse",
            help="it is the number of non-zero inputs an output of a gaussian filler has, from 0",
        )
    if shape and filler.sparse > shape[0]:
        raise LayerError(f"sparse {filler.sparse} is more than {shape[0]}, the first axis", field=f"{field}.sparse")


def bilinear(shape: Shape) -> Tensor:
    """Weights that make a Deconvolution interpolate: [out in k k], each window the same."""
    factor = math.ceil(shape[3] / 2)
    centre = (shape[3] - 1) / (2 * factor)
    along = 1 - (torch.arange(shape[3]) / factor - centre).abs()
    return (along[:, None] * along[None, :]).expand(shape)
