"""Messages to Graph.

`read_net` gives a `NetFile` (the net in today's syntax, with its places in the text), `build` the graph of one phase.
Nets of Caffe's forks are read too, and those inside binary files such as a .caffemodel: docs/dialects.md.
"""

from nktc.reader.binary import is_binary
from nktc.reader.blocks import Expansion, expand
from nktc.reader.build import Feeds, build, declared
from nktc.reader.forks import in_vain, refusals
from nktc.reader.kind import is_net, is_solver
from nktc.reader.net_file import NetFile, from_message, from_tree, must_exist, parse_net, read_net, read_tree
from nktc.reader.normalized import normalized
from nktc.reader.sources import Source, sources
from nktc.reader.state import State, included
from nktc.reader.strangers import refuse_stranger, stranger
from nktc.reader.upgrade import upgrade_net, upgrade_solver
from nktc.reader.upgrade_file import upgrade_file

__all__ = [
    "Expansion",
    "Feeds",
    "NetFile",
    "Source",
    "State",
    "build",
    "declared",
    "expand",
    "from_message",
    "from_tree",
    "in_vain",
    "included",
    "is_binary",
    "is_net",
    "is_solver",
    "must_exist",
    "normalized",
    "parse_net",
    "read_net",
    "read_tree",
    "refusals",
    "refuse_stranger",
    "sources",
    "stranger",
    "upgrade_file",
    "upgrade_net",
    "upgrade_solver",
]
