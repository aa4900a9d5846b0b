"""Pictures and messages as arrays: what scripts for Caffe call `caffe.io`."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

import cv2
import numpy as np

from nktc import data
from nktc.errors import NktcError, near
from nktc.files import read_bytes
from nktc.ir import times
from nktc.pycaffe.proto import caffe_pb2  # noqa: F401  scripts find it here too
from nktc.pycaffe.proto.caffe_pb2 import BlobProto, BlobProtoVector, Datum

LUMINANCE = np.array([0.2125, 0.7154, 0.0721])  # of red, green and blue, as scikit-image has them
TOPS = {"uint8": 255, "uint16": 65535}  # what is 1 in a picture of this type
CROPS = 10


class InputError(NktcError, ValueError):
    """What is given does not fit an input, or is no picture, blob or datum."""


class ImageError(NktcError, OSError):
    """An image file that cannot be read."""


# Messages and arrays


def blobproto_to_array(blob: BlobProto, return_diff: bool = False) -> np.ndarray:
    """The data of a BlobProto in its shape, or with `return_diff` its diff; f64. Raises InputError for numbers that do
    not fill the shape."""
    wide = blob.double_diff if return_diff else blob.double_data
    values = np.array(wide or (blob.diff if return_diff else blob.data), np.float64)
    old = any(blob.HasField(name) for name in ("num", "channels", "height", "width"))
    shape = (blob.num, blob.channels, blob.height, blob.width) if old else blob.shape.dim
    return _shaped(values, tuple(shape), "the blob")


def array_to_blobproto(arr: np.ndarray, diff: np.ndarray | None = None) -> BlobProto:
    """A BlobProto of an array of any shape, and of a diff of the same one."""
    blob = BlobProto()
    blob.shape.dim.extend(np.shape(arr))
    blob.data.extend(np.asarray(arr, np.float64).ravel().tolist())
    if diff is not None:
        if np.shape(diff) != np.shape(arr):
            raise InputError(f"the diff is {times(np.shape(diff))}, the data {times(np.shape(arr))}")
        blob.diff.extend(np.asarray(diff, np.float64).ravel().tolist())
    return blob


def arraylist_to_blobprotovector_str(arraylist: Iterable[np.ndarray]) -> bytes:
    """The bytes of a BlobProtoVector of arrays."""
    return BlobProtoVector(blobs=[array_to_blobproto(arr) for arr in arraylist]).SerializeToString()


def blobprotovector_str_to_arraylist(str: bytes) -> list[np.ndarray]:
    """The arrays in the bytes of a BlobProtoVector; f64 each."""
    return [blobproto_to_array(blob) for blob in BlobProtoVector.FromString(str).blobs]


def array_to_datum(arr: np.ndarray, label: int | None = None) -> Datum:
    """A Datum of [c h w]: bytes of uint8, floats of any other numbers. Raises InputError."""
    if arr.ndim != 3:
        raise InputError(f"a datum is channels x height x width, not {times(arr.shape)}")
    datum = Datum(channels=arr.shape[0], height=arr.shape[1], width=arr.shape[2])
    if arr.dtype == np.uint8:
        datum.data = arr.tobytes()
    else:
        datum.float_data.extend(arr.astype(np.float64).ravel().tolist())
    if label is not None:
        datum.label = label
    return datum


def datum_to_array(datum: Datum) -> np.ndarray:
    """[c h w] of a Datum, u8 or, of floats, f64; an encoded picture is decoded, its planes blue, green, red. Its label
    is `datum.label`. Raises InputError."""
    if datum.encoded:
        try:
            return np.ascontiguousarray(data.parse_datum(datum.SerializeToString()).values)
        except data.BadDatum as error:
            raise InputError(f"the datum cannot be read: {error}") from None
    values = np.frombuffer(datum.data, np.uint8).copy() if datum.data else np.array(datum.float_data, np.float64)
    return _shaped(values, (datum.channels, datum.height, datum.width), "the datum")


def _shaped(values: np.ndarray, shape: tuple[int, ...], what: str) -> np.ndarray:
    try:
        return values.reshape(shape)
    except ValueError:
        raise InputError(f"{what} holds {values.size} numbers, its shape is {times(shape)}") from None


# What a picture goes through on its way into a net


class Transformer:
    """Brings pictures [h w c] into the form that the inputs of a net take, and back.

    `inputs` has the shape of each input, (n, c, h, w), by its name: {"data": net.blobs["data"].data.shape}. What the
    setters were told lies in dictionaries of the setters' names, by input.
    """

    def __init__(self, inputs: Mapping[str, Sequence[int]]) -> None:
        self.inputs = inputs
        self.transpose: dict[str, Sequence[int]] = {}
        self.channel_swap: dict[str, Sequence[int]] = {}
        self.raw_scale: dict[str, float] = {}
        self.mean: dict[str, np.ndarray] = {}
        self.input_scale: dict[str, float] = {}

    def preprocess(self, in_: str, data: np.ndarray) -> np.ndarray:
        """f32[c h w] of a picture [h w c] for an input: resized to it, axes transposed, channels swapped, times
        raw_scale, less the mean, times input_scale, as far as each is set. `data` stays as it is."""
        self._check(in_)
        made = np.array(data, np.float32)
        size = tuple(self.inputs[in_][2:])
        if made.shape[:2] != size:
            made = resize_image(made, size)
        if in_ in self.transpose:
            made = made.transpose(self.transpose[in_])
        if in_ in self.channel_swap:
            order = list(self.channel_swap[in_])
            if not all(-len(made) <= channel < len(made) for channel in order):
                raise InputError(f"a picture has {len(made)} channels, channel_swap has {len(order)}")
            made = made[order]
        if self.raw_scale.get(in_) is not None:
            made *= self.raw_scale[in_]
        if self.mean.get(in_) is not None:
            mean = self.mean[in_]
            if mean.ndim == 3 and len(mean) not in (1, len(made)):
                raise InputError(f"the mean is {times(mean.shape)}, the picture {times(made.shape)}")
            made -= mean
        if self.input_scale.get(in_) is not None:
            made *= self.input_scale[in_]
        return made

    def deprocess(self, in_: str, data: np.ndarray) -> np.ndarray:
        """What `preprocess` was given, but for the resize; axes of size 1 are dropped first, as that of a batch."""
        self._check(in_)
        made = data.copy().squeeze()
        if self.input_scale.get(in_) is not None:
            made /= self.input_scale[in_]
        if self.mean.get(in_) is not None:
            made += self.mean[in_]
        if self.raw_scale.get(in_) is not None:
            made /= self.raw_scale[in_]
        if in_ in self.channel_swap:
            made = made[np.argsort(self.channel_swap[in_])]
        if in_ in self.transpose:
            made = made.transpose(np.argsort(self.transpose[in_]))
        return made

    def set_transpose(self, in_: str, order: Sequence[int]) -> None:
        """Which axis of a picture comes where: (2, 0, 1) makes [c h w] of [h w c]. Raises InputError."""
        self._check(in_)
        axes = len(self.inputs[in_]) - 1
        if len(order) != axes:
            raise InputError(f"transpose has {len(order)} axes, {in_} has {axes} behind the batch")
        self.transpose[in_] = order

    def set_channel_swap(self, in_: str, order: Sequence[int]) -> None:
        """Which channel comes where once the axes are transposed: (2, 1, 0) makes BGR of RGB. Raises InputError."""
        self._check(in_)
        channels = self.inputs[in_][1]
        if len(order) != channels:
            raise InputError(f"channel_swap has {len(order)} channels, {in_} has {channels}")
        if unknown := [channel for channel in order if not -channels <= channel < channels]:
            raise InputError(f"channel_swap names channel {unknown[0]}, {in_} has {channels}")
        self.channel_swap[in_] = order

    def set_raw_scale(self, in_: str, scale: float) -> None:
        """What pictures are multiplied by before the mean is taken off: 255 for nets that were trained on bytes."""
        self._check(in_)
        self.raw_scale[in_] = scale

    def set_mean(self, in_: str, mean: np.ndarray) -> None:
        """What is taken off: a number for each channel [c], or a picture [c h w] or [h w], which is resized to the
        input. Raises InputError."""
        self._check(in_)
        shape = tuple(self.inputs[in_][1:])
        if mean.ndim == 1:
            if len(mean) != shape[0]:
                raise InputError(f"the mean has {len(mean)} channels, {in_} has {shape[0]}")
            mean = mean[:, np.newaxis, np.newaxis]
        elif mean.ndim not in (2, 3):
            raise InputError(f"a mean is [c], [h w] or [c h w], not {times(mean.shape)}")
        elif (1,) * (3 - mean.ndim) + mean.shape != shape:
            picture = mean.reshape(-1, *mean.shape[-2:])
            if picture.shape[0] not in (1, shape[0]):
                raise InputError(f"the mean has {picture.shape[0]} channels, {in_} has {shape[0]}")
            mean = resize_image(picture.transpose(1, 2, 0), shape[1:]).transpose(2, 0, 1)
        self.mean[in_] = mean

    def set_input_scale(self, in_: str, scale: float) -> None:
        """What pictures are multiplied by at the end, when the mean is off."""
        self._check(in_)
        self.input_scale[in_] = scale

    def _check(self, in_: str) -> None:
        if in_ not in self.inputs:
            help = near(in_, self.inputs) or f"the inputs are {', '.join(self.inputs)}"
            raise InputError(f"{in_} is not one of the net's inputs", help=help)


# Pictures


def load_image(filename: str | os.PathLike[str] | IO[bytes], color: bool = True) -> np.ndarray:
    """f32[h w 3] of an image file, red, green, blue from 0 to 1; without `color` f32[h w 1], its luminance. A gray
    picture gets three equal planes, transparency is dropped. Raises ImageError."""
    if hasattr(filename, "read"):
        name, raw = "the image", filename.read()
    else:
        name = os.fspath(filename)
        try:
            raw = read_bytes(name, "image")
        except NktcError as error:
            raise ImageError(error.message) from None
    try:
        picture = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_UNCHANGED) if raw else None
    except cv2.error:
        picture = None
    if picture is None:
        raise ImageError(f"{name} is not an image that can be decoded")
    top = TOPS.get(picture.dtype.name, 1)
    planes = (picture.reshape(*picture.shape[:2], -1) / np.float32(top))[..., :3][..., ::-1]
    if planes.shape[2] != 3:
        planes = planes[..., -1:]  # what is gray may have transparency too
    if color:
        planes = np.broadcast_to(planes, (*planes.shape[:2], 3))
    elif planes.shape[2] == 3:
        planes = (planes @ LUMINANCE)[..., np.newaxis]
    return np.array(planes, np.float32, order="C")


def resize_image(im: np.ndarray, new_dims: Sequence[int], interp_order: int = 1) -> np.ndarray:
    """f32[*new_dims k] of a picture [h w k], without smoothing; `interp_order` 0 takes the nearest pixel, 1 is
    bilinear, 2 to 5 are splines.

    As in Caffe, what scikit-image takes (k of 1 or 3) has its pixels' middles laid over one another and fades to its
    smallest value outside, so edges of a larger picture are darker; anything else has its outermost pixels laid over
    one another. Raises InputError.
    """
    if im.ndim != 3 or not im.size:
        raise InputError(f"a picture is height x width x channels, not {times(im.shape)}")
    size = int(new_dims[0]), int(new_dims[1])
    if min(size) < 1:
        raise InputError(f"a picture cannot be resized to {times(size)}")
    if interp_order not in range(6):
        raise InputError(f"interp_order {interp_order} is none of 0 to 5")
    values = im.astype(np.float64)
    low = values.min()
    if low == values.max():
        return np.full((*size, im.shape[2]), low, np.float32)
    pixels = im.shape[2] in (1, 3)
    if interp_order > 1:
        return _splines(values - low, size, interp_order, pixels) + np.float32(low)
    made = values - low
    for axis in (0, 1):
        made = _stretched(made, axis, size[axis], interp_order, pixels)
    return (made + low).astype(np.float32)


def _stretched(x: np.ndarray, axis: int, length: int, order: int, pixels: bool) -> np.ndarray:
    """One axis brought to a length; with `pixels` middles lie over middles and there are zeros outside."""
    there = x.shape[axis]
    if pixels:
        places = (np.arange(length) + 0.5) * (there / length) - 0.5
    else:
        places = np.arange(length) * ((there - 1) / max(1, length - 1))
    if order == 0:
        return x.take(np.clip(np.floor(places + 0.5).astype(int), 0, there - 1), axis)
    before = np.floor(places).astype(int)
    part = places - before
    sides = [1] * x.ndim
    sides[axis] = length

    def weighed(index: np.ndarray, weight: np.ndarray) -> np.ndarray:
        inside = (index >= 0) & (index < there)
        taken = x.take(np.clip(index, 0, there - 1), axis)
        return taken * np.where(inside, weight, 0).reshape(sides)

    return weighed(before, 1 - part) + weighed(before + 1, part)


def _splines(x: np.ndarray, size: tuple[int, int], order: int, pixels: bool) -> np.ndarray:
    """[h w k] by splines, which SciPy has; it comes with scikit-learn."""
    ndimage: Any = importlib.import_module("scipy.ndimage")
    factors = (size[0] / x.shape[0], size[1] / x.shape[1], 1)
    how = {"mode": "grid-constant", "grid_mode": True} if pixels else {}
    made = ndimage.zoom(x, factors, order=order, **how)
    if pixels:  # splines swing beyond what there was, scikit-image cuts that off
        made = made.clip(x.min(), x.max())
    return np.asarray(made, np.float32)


def oversample(images: Sequence[np.ndarray] | np.ndarray, crop_dims: Sequence[int] | np.ndarray) -> np.ndarray:
    """f32[10n *crop_dims k] of n pictures [h w k] of one size: of each the corners (top left, top right, bottom left,
    bottom right) and the centre, then the same mirrored. Raises InputError."""
    height, width = images[0].shape[:2]
    tall, wide = int(crop_dims[0]), int(crop_dims[1])
    if not (0 < tall <= height and 0 < wide <= width):
        raise InputError(f"crops of {tall}x{wide} cannot be cut from {height}x{width}")
    down, right = height - tall, width - wide
    places = [(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)]
    crops = np.empty((CROPS * len(images), tall, wide, images[0].shape[-1]), np.float32)
    for first, image in enumerate(images):
        if image.shape != images[0].shape:
            raise InputError(f"pictures are {times(images[0].shape)} and {times(image.shape)}, crops need one size")
        for i, (top, left) in enumerate(places):
            crop = image[top : top + tall, left : left + wide]
            crops[CROPS * first + i] = crop
            crops[CROPS * first + len(places) + i] = crop[:, ::-1]
    return crops
