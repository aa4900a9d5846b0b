"""Prototxt, with the place of every word: text to tree to message, and back.

`read` and `parse` make a tree that keeps spans and comments. `bind` fills a message of nktc.schema from it
and reports every mistake with its line and column. `print_tree` writes a tree again without losing a comment;
`print_message` writes a message. Whatever the user's text is, the only exception is NktcError.
"""

from nktc.text.bind import bind
from nktc.text.parser import parse, read
from nktc.text.printer import print_message, print_tree
from nktc.text.tree import Field, Scalar, Tree

__all__ = ["Field", "Scalar", "Tree", "bind", "parse", "print_message", "print_tree", "read"]
