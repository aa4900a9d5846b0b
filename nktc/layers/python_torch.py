"""A Python layer that is a torch.nn.Module."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nktc.errors import LayerError
from nktc.ir import Phase, Shape, Weight
from nktc.layers.python_code import Home


class TorchForm:
    """One layer's instance of the user's module. Its weights and state are the net's; those that the module itself
    has are what the net's start from."""

    def __init__(self, home: Home, kind: type[nn.Module], param_str: str, phase: Phase, tops: int) -> None:
        settings = keywords(param_str)
        self.home, self.tops = home, tops
        with home.running("constructor"):
            self.module = kind(**settings)
            self.module.train(phase is Phase.TRAIN)
        kept = self.module.state_dict(keep_vars=True)
        self._names: dict[str, str] = {}
        held = dict((*self.module.named_parameters(), *self.module.named_buffers()))
        for name in sorted(held, key=lambda name: name not in kept):
            if nn.parameter.is_lazy(held[name]):
                said, help = f"the shape of its {name} is open until it has run", "leave the Lazy modules out"
                raise LayerError(said, field="layer", help=help)
            local = name.replace(".", "_")
            while local in self._names:
                local += "_"
            self._names[local] = name
        self._held = {name: tensor.detach() for name, tensor in held.items()}
        self._weights = {
            local: Weight(
                tuple(held[name].shape),
                learns=held[name].requires_grad,
                kept=name in kept,
                start=held[name].detach().to("cpu", torch.float32).numpy(),
            )
            for local, name in self._names.items()
        }
        self._shapes: dict[tuple[Shape, ...], list[Shape]] = {}

    @torch.no_grad()
    def shapes(self, inputs: tuple[Shape, ...]) -> list[Shape]:
        """The shapes of what it makes of zeros. What that does to buffers and to random numbers is undone."""
        if inputs not in self._shapes:
            with torch.random.fork_rng(devices=[]):
                made = self._run(
                    {name: tensor.clone() for name, tensor in self._held.items()}, [*map(torch.zeros, inputs)]
                )
            self._shapes[inputs] = [tuple(tensor.shape) for tensor in made]
        return self._shapes[inputs]

    def weights(self) -> dict[str, Weight]:
        """Its parameters, in order, then its buffers."""
        return self._weights

    def forward(self, inputs: Sequence[Tensor], weights: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        state = {self._names[local]: tensor for local, tensor in weights.items()}
        # The net's state is of floats.
        whole = {n: t.to(self._held[n].dtype) for n, t in state.items() if not self._held[n].is_floating_point()}
        made = self._run(state | whole, inputs)
        for name, tensor in whole.items():
            state[name].copy_(tensor)
        return made

    def _run(self, state: Mapping[str, Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        if torch.compiler.is_compiling():
            return self._made(functional_call(self.module, dict(state), tuple(inputs)))
        with self.home.running("forward"):
            made = functional_call(self.module, dict(state), tuple(inputs))
        return self._made(made)

    def _made(self, made: Any) -> tuple[Tensor, ...]:
        found = tuple(made) if isinstance(made, tuple | list) else (made,)
        for one in found:
            if not isinstance(one, Tensor):
                said = f"its forward returns {type(one).__name__}, not tensors"
                raise LayerError(said, field="layer", code="python-code")
        if len(found) != self.tops:
            raise LayerError(f"its forward makes {len(found)} tensors for {self.tops} tops", field="top")
        return tuple(one if one.is_floating_point() else one.float() for one in found)


def keywords(param_str: str) -> dict[str, Any]:
    """The arguments of a module's constructor. Raises LayerError."""
    if not param_str.strip():
        return {}
    found: Any = None
    try:
        found = json.loads(param_str)
    except (ValueError, RecursionError):
        with suppress(ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            found = ast.literal_eval(param_str.strip())
    if isinstance(found, dict) and all(isinstance(key, str) for key in found):
        return found
    said, help = "its param_str holds no keyword arguments", """write them as JSON: param_str: '{"width": 8}'"""
    raise LayerError(said, field="param_str", help=help)
