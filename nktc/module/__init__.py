"""Graph to torch.nn.Module, and where it runs; graph to a PyTorch source file.

`compile(graph)` gives a `Net`: call it with the graph's inputs in order, get its outputs by name. `source(graph)` gives
the text of a file that computes the same without nktc.
"""

from nktc.module.device import choose, why_no_gpu
from nktc.module.memory import SMALLER, give_back, keep_freed, out_of_memory
from nktc.module.net import Net, compile, outside
from nktc.module.source import Source, source

__all__ = [
    "SMALLER",
    "Net",
    "Source",
    "choose",
    "compile",
    "give_back",
    "keep_freed",
    "out_of_memory",
    "outside",
    "source",
    "why_no_gpu",
]
