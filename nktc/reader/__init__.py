"""Messages to Graph.

`read_net` gives a `NetFile` (the net in today's syntax, with its places in the text), `build` the graph of one phase.
"""

from nktc.reader.build import Feeds, build, declared
from nktc.reader.kind import is_net, is_solver
from nktc.reader.net_file import NetFile, from_message, from_tree, must_exist, parse_net, read_net
from nktc.reader.state import State
from nktc.reader.upgrade import upgrade, upgrade_solver

__all__ = [
    "Feeds",
    "NetFile",
    "State",
    "build",
    "declared",
    "from_message",
    "from_tree",
    "is_net",
    "is_solver",
    "must_exist",
    "parse_net",
    "read_net",
    "upgrade",
    "upgrade_solver",
]
