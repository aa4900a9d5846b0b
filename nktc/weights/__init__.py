"""Weight files and solver states: Caffe's formats, binary and HDF5, of any fork and age; and files of torch.

`attach` puts a file's weights on a graph by layer name, `compare` tells what it would do, `describe` what a file holds;
`names` has what weights are called in files of torch. `save`, `save_net` and `save_state` write Caffe's formats
atomically.
"""

from nktc.weights.blob import blob, fit
from nktc.weights.caffemodel import save, stored
from nktc.weights.contents import Blobs, describe, read
from nktc.weights.match import Match, Row, attach, compare, match
from nktc.weights.net_and_blobs import save_net
from nktc.weights.solverstate import State, learned_net, read_state, save_state

__all__ = [
    "Blobs",
    "Match",
    "Row",
    "State",
    "attach",
    "blob",
    "compare",
    "describe",
    "fit",
    "learned_net",
    "match",
    "read",
    "read_state",
    "save",
    "save_net",
    "save_state",
    "stored",
]
