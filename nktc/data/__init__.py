"""Batches for data layers, and the sets and files they come from.

`describe` tells a layer's shapes without its data; `open_stream` gives its batches, each a pure function of
its number and the seed; `read_ahead` makes them before they are asked for. `Places` says where sets are
looked for, and `preprocessing` and `prepare` bring a picture to a trained net exactly as the batches were
made. `convert` and the mean functions write the files that Caffe's own data layers read; `open_database` and
`new_database` are an LMDB or LevelDB without a layer.
"""

from nktc.data.conversion.convert import Conversion, Options, convert, describe_sizes
from nktc.data.conversion.hdf5_writer import Numbers, write_hdf5
from nktc.data.conversion.made import Pictures
from nktc.data.conversion.plan_table import Columns
from nktc.data.conversion.reading import SourceOptions
from nktc.data.databases.backends import backend_of, open_database
from nktc.data.databases.datum import BadDatum
from nktc.data.databases.datum import parse as parse_datum
from nktc.data.databases.lmdb import new_database
from nktc.data.images import decode, find_images, load_images, prepare, prepared, resize
from nktc.data.mean import database_mean, read_mean, write_mean
from nktc.data.memory import MemoryStream
from nktc.data.places import Places
from nktc.data.progress import progress
from nktc.data.sets.catalogue import KNOWN, Download, KnownSet
from nktc.data.sets.finding import Missing, find_copy, known_file, lies
from nktc.data.sets.getting import Got, describe_set, get
from nktc.data.sources import describe, open_stream, preprocessing
from nktc.data.stored.duplicates import Duplicates, find_duplicates, take_prints
from nktc.data.stored.eye import Box, Cell
from nktc.data.stored.info import info
from nktc.data.stored.show import Shown, describe_labels, show_batch, show_stored
from nktc.data.stored.stored import Fault, Stored, Subject
from nktc.data.stored.stored_layers import part_of, source_name, subject_of
from nktc.data.stored.stored_sources import subjects_of
from nktc.data.stored.verify import Report, verify
from nktc.data.stream import Batch, Opening, Stream, read_ahead
from nktc.data.supposed import supposed
from nktc.data.workers import suggested_workers

__all__ = [
    "KNOWN",
    "BadDatum",
    "Batch",
    "Box",
    "Cell",
    "Columns",
    "Conversion",
    "Download",
    "Duplicates",
    "Fault",
    "Got",
    "KnownSet",
    "MemoryStream",
    "Missing",
    "Numbers",
    "Opening",
    "Options",
    "Pictures",
    "Places",
    "Report",
    "Shown",
    "SourceOptions",
    "Stored",
    "Stream",
    "Subject",
    "backend_of",
    "convert",
    "database_mean",
    "decode",
    "describe",
    "describe_labels",
    "describe_set",
    "describe_sizes",
    "find_copy",
    "find_duplicates",
    "find_images",
    "get",
    "info",
    "known_file",
    "lies",
    "load_images",
    "new_database",
    "open_database",
    "open_stream",
    "parse_datum",
    "part_of",
    "prepare",
    "prepared",
    "preprocessing",
    "progress",
    "read_ahead",
    "read_mean",
    "resize",
    "show_batch",
    "show_stored",
    "source_name",
    "subject_of",
    "subjects_of",
    "suggested_workers",
    "supposed",
    "take_prints",
    "verify",
    "write_hdf5",
    "write_mean",
]
