"""Weight files and solver states, Caffe's formats, binary and HDF5.

`attach` puts a file's weights on a graph by layer name; `save`, `save_state` write atomically.
"""

from nktc.weights.blob import blob, fit
from nktc.weights.caffemodel import Blobs, Match, attach, match, read, save, stored
from nktc.weights.solverstate import State, learned_net, read_state, save_state

__all__ = [
    "Blobs",
    "Match",
    "State",
    "attach",
    "blob",
    "fit",
    "learned_net",
    "match",
    "read",
    "read_state",
    "save",
    "save_state",
    "stored",
]
