"""The messages of nktc.schema, and those of forks of Caffe, under the names that they have there."""

from nktc.pycaffe.proto import union
from nktc.schema import *  # noqa: F403

globals().update(union.messages(__name__))
