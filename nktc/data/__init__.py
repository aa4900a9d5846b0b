"""Batches for data layers, and the sets and files they come from.

`describe` tells a layer's shapes without its data; `open_stream` gives its batches, each a pure function of
its number and the seed; `read_ahead` makes them before they are asked for. `Places` says where sets are
looked for, and `preprocessing` and `prepare` bring a picture to a trained net exactly as the batches were
made. `convert` and the mean functions write the files that Caffe's own data layers read.
"""

from nktc.data.catalogue import KNOWN, Download, KnownSet
from nktc.data.convert import Conversion, Options, convert, describe_sizes
from nktc.data.dataset import Missing, find_copy
from nktc.data.images import find_images, load_images, prepare
from nktc.data.mean import database_mean, read_mean, write_mean
from nktc.data.places import Places
from nktc.data.sources import describe, open_stream, preprocessing
from nktc.data.stream import Batch, Stream, read_ahead
from nktc.data.supposed import supposed

__all__ = [
    "KNOWN",
    "Batch",
    "Conversion",
    "Download",
    "KnownSet",
    "Missing",
    "Options",
    "Places",
    "Stream",
    "convert",
    "database_mean",
    "describe",
    "describe_sizes",
    "find_copy",
    "find_images",
    "load_images",
    "open_stream",
    "prepare",
    "preprocessing",
    "read_ahead",
    "read_mean",
    "supposed",
    "write_mean",
]
