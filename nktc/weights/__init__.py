"""Weight files and solver states, Caffe's formats, binary and HDF5.

`attach` puts a file's weights on a graph by layer name; `save`, `save_state` write atomically.
"""

from nktc.weights.blob import blob
from nktc.weights.caffemodel import Match, attach, read, save
from nktc.weights.solverstate import State, learned_net, read_state, save_state

__all__ = [
    "Match",
    "State",
    "attach",
    "blob",
    "learned_net",
    "read",
    "read_state",
    "save",
    "save_state",
]
