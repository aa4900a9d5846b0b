"""Graph to torch.nn.Module, and where it runs.

`compile(graph)` gives a `Net`: call it with the graph's inputs in order, get its outputs by name.
"""

from nktc.module.device import choose, why_no_gpu
from nktc.module.net import Net, compile

__all__ = ["Net", "choose", "compile", "why_no_gpu"]
