"""The messages of proto/nktc.proto: what prototxt, weight files and data records hold.

Every message and top-level enum of the schema is a name of this folder (`NetParameter`, `TRAIN`); the values
of a nested enum are names of its message (`PoolingParameter.AVE`). Text and wire are Caffe's, plus fields of
our own from 20001 on. The classes are built from the compiled schema when the folder is imported and work
with every protobuf runtime from 5 on. `comment` gives the schema's own words about a message or a field.
`dialects`, `fork_fields`, `every_fork_field`, `fork_types` and `wire_fields` tell of the forks of Caffe, from the
tables forks.tsv, dialects.tsv and layer_types.tsv.
"""

from nktc.schema.comments import comment as comment
from nktc.schema.dialects import Dialect as Dialect
from nktc.schema.dialects import ForkField as ForkField
from nktc.schema.dialects import ForkType as ForkType
from nktc.schema.dialects import WireField as WireField
from nktc.schema.dialects import dialects as dialects
from nktc.schema.dialects import every_fork_field as every_fork_field
from nktc.schema.dialects import fork_fields as fork_fields
from nktc.schema.dialects import fork_types as fork_types
from nktc.schema.dialects import old_type_numbers as old_type_numbers
from nktc.schema.dialects import old_types as old_types
from nktc.schema.dialects import wire_fields as wire_fields
from nktc.schema.messages import *  # noqa: F403
from nktc.schema.pool import has_label as has_label
