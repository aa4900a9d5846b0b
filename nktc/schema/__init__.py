"""The messages of proto/nktc.proto: what prototxt, weight files and data records hold.

Every message and top-level enum of the schema is a name of this folder (`NetParameter`, `TRAIN`); the values
of a nested enum are names of its message (`PoolingParameter.AVE`). Text and wire are Caffe's, plus fields of
our own from 20001 on. The classes are built from the compiled schema when the folder is imported and work
with every protobuf runtime from 5 on. `comment` gives the schema's own words about a message or a field.
"""

from nktc.schema.comments import comment as comment
from nktc.schema.messages import *  # noqa: F403
from nktc.schema.pool import has_label as has_label
