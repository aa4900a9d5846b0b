"""The MemoryData layer: arrays that lie in memory, from an .npz file or handed over in Python."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch

from nktc.data.mean import file_mean
from nktc.data.order import Order
from nktc.data.resident import Kept
from nktc.data.stream import CPU, Batch, Opening, Stream, data_feed, with_tops
from nktc.data.transforms.transform import Pipeline, cropped, mean_of
from nktc.errors import LayerError
from nktc.files import find_file
from nktc.ir import Feed, Phase, Transform, times
from nktc.layers import MemoryData

NAMES = ("data", "label")
PLAIN = Transform()
BROKEN = (zipfile.BadZipFile, zlib.error)


def describe(layer: MemoryData, folder: Path) -> Feed:
    """From the settings, where no source is named; else from its arrays. Raises LayerError."""
    if not layer.source_path:
        return Feed(tuple(layer.shape()))
    data, label = read_arrays(find_file(layer.source_path, folder))
    _check(data, label)
    return _feed(layer, data)


def open_stream(layer: MemoryData, opening: Opening) -> Stream:
    """The stream of the layer. Raises LayerError, also where nothing is named to read."""
    if not layer.source_path:
        help = 'add memory_data_param { source: "FILE.npz" }, or give arrays to nktc.data.MemoryStream in Python'
        raise LayerError("its data comes from whoever runs the net, not from a source", help=help)
    data, label = read_arrays(find_file(layer.source_path, opening.folder))
    stream = MemoryStream(
        data,
        label,
        layer.batch,
        layer.transform,
        layer.phase,
        mean=file_mean(layer.transform, opening.folder),
        shuffle=layer.shuffle,
        seed=opening.seed,
        device=opening.device,
        tops=opening.tops,
    )
    _feed(layer, data)
    return stream


class MemoryStream(Stream):
    """Batches of arrays: data [n c h w], bytes or floats, and label, one number a record.

    They are transformed as the records of other layers are, and go around and around, with `shuffle` in a new order
    each epoch; `mean` is a mean image, f32[c h w]. Caffe builds its nets with a label [batch] and feeds them one of
    [batch 1 1 1], so `feed` has the first and a batch the second, but where it is mixed. Raises LayerErrors for arrays
    that do not go together.
    """

    resident = True

    def __init__(
        self,
        data: np.ndarray,
        label: np.ndarray,
        batch: int,
        transform: Transform = PLAIN,
        phase: Phase = Phase.TEST,
        mean: np.ndarray | None = None,
        shuffle: bool = False,
        seed: int = 0,
        device: torch.device = CPU,
        tops: int = 2,
    ) -> None:
        _check(data, label)
        shape = data.shape[1:]
        self._pipeline = Pipeline(transform, phase, shape, mean_of(transform, shape, mean), seed, device)
        feed = data_feed(self._pipeline.shape, batch, len(data), (), transform, phase)
        self.feed, self.device = with_tops(feed, tops), device
        self._order, self._classes = Order(len(data), batch, seed, shuffle), transform.classes
        values = np.require(data, np.uint8 if data.dtype == np.uint8 else np.float32, ("C", "W"))
        labels = label.reshape(-1).astype(np.float32)
        self._kept = Kept(torch.from_numpy(values).to(device), torch.from_numpy(labels).to(device), there=True)

    def batch(self, k: int) -> Batch:
        pipeline, counters = self._pipeline, self._order.counters(k)
        values, labels = self._kept.take(self._order.batch_records(k))
        x = pipeline.values(pipeline.cut(values, counters), counters)
        if pipeline.mixes:
            x, labels = pipeline.mix(x, labels, counters, self._classes)
        else:
            labels = labels.reshape(-1, 1, 1, 1)
        return (x, labels)[: len(self.feed.shapes)]


def read_arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The arrays data and label of an .npz. Raises LayerError."""
    found: list[np.ndarray] = []
    try:
        with path.open("rb") as file:
            arrays = np.load(file, allow_pickle=False)
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise LayerError(f"source {path} is no .npz file", field="source", help=_HOW)
            for name in NAMES:
                if name not in arrays.files:
                    has = ", ".join(arrays.files) or "none"
                    raise LayerError(f'{path} has no array "{name}", but {has}', field="source", help=_HOW)
                found.append(arrays[name])
    except FileNotFoundError:
        raise LayerError(f"source {path} does not exist", field="source") from None
    except IsADirectoryError:
        raise LayerError(f"source {path} is a folder, not a file", field="source") from None
    except MemoryError:
        problem = f"source {path} cannot be read: its arrays take more memory than there is"
        raise LayerError(problem, field="source", help=_HOW) from None
    except (ValueError, OverflowError, EOFError, OSError, KeyError, RuntimeError, *BROKEN) as error:
        reason = getattr(error, "strerror", None) or "it is damaged, or no .npz file of numbers"
        if "encrypted" in str(error):
            reason = "it is encrypted"
        raise LayerError(f"source {path} cannot be read: {reason}", field="source", help=_HOW) from None
    return found[0], found[1]


_HOW = 'numpy.savez("FILE.npz", data=..., label=...) writes one'


def _check(data: np.ndarray, label: np.ndarray) -> None:
    """Refuse arrays that are not pictures with a label each."""
    for name, array in zip(NAMES, (data, label), strict=True):
        if array.dtype.kind not in "fiub":
            raise LayerError(f"its array {name} holds {array.dtype}, not numbers", field="source")
    if data.ndim != 4 or 0 in data.shape:
        problem = f"its array data is {times(data.shape)}, not records, channels, height and width"
        raise LayerError(problem, field="source")
    if label.size != len(data) or label.shape[:1] != data.shape[:1]:
        problem = f"its array label is {times(label.shape)} for {len(data)} records"
        raise LayerError(problem, field="source", help="give one number a record")


def _feed(layer: MemoryData, data: np.ndarray) -> Feed:
    """Of the layer; its settings agree with its arrays. Raises LayerError."""
    shape = cropped(data.shape[1:], layer.transform, layer.phase)
    if layer.shapes and layer.shapes[0][1:] != shape:
        problem = f"channels, height and width are {times(layer.shapes[0][1:])}, its arrays give {times(shape)}"
        raise LayerError(problem, field="channels", help="leave them out: the source tells")
    return data_feed(shape, layer.batch, len(data), (), layer.transform, layer.phase)
