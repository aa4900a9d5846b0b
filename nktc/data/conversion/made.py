"""One record of a conversion: read, decoded, resized and encoded as the options say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from nktc.data.conversion.plan import Plan, Unusable
from nktc.data.images import decode, resize
from nktc.ir import Shape, times

JPEG = (".jpg", ".jpeg")


@dataclass(frozen=True)
class Pictures:
    """What is done to pictures, as convert_imageset's options of these names.

    `size` (height, width) to resize to, None to leave, `mode` how: SQUASH, CROP, FILL or HALF_CROP, with `fill` where a
    picture does not reach. `gray` is one plane in place of three. `encoded` keeps pictures as files, the original bytes
    where nothing is done to them; `encode_type`, png or jpg, is that of all of them, and makes them so.
    """

    size: tuple[int, int] | None = None
    mode: str = "SQUASH"
    fill: int = 0
    gray: bool = False
    encoded: bool = False
    encode_type: str = ""


@dataclass(frozen=True, eq=False)
class Made:
    """values u8[c h w], or f32[f] of a row; `file` holds the whole image file where pictures are kept as files."""

    values: np.ndarray
    file: bytes = b""


def make(plan: Plan, i: int, options: Pictures) -> Made | str:
    """Record `i`, or why there is none."""
    try:
        source = plan.read(i)
    except Unusable as error:
        return str(error)
    except (OSError, KeyError) as error:
        return f"cannot be read ({(getattr(error, 'strerror', None) or 'not in the archive').lower()})"
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8:
            return Made(source)
        picture = _gray(source) if options.gray else source
        file, suffix = b"", ".png"
    else:
        decoded = decode(source, "GRAY" if options.gray else "BGR")
        if decoded is None:
            return "is not an image that can be decoded"
        picture, file, suffix = decoded, source, Path(plan.names[i]).suffix.lower()
    try:
        sized = resize(picture, options.size, options.mode, options.fill) if options.size else picture
    except cv2.error:
        return f"cannot be brought from {times(picture.shape[1:])} to {times(options.size or ())}"
    if not (options.encoded or options.encode_type):
        return Made(sized)
    as_it_is = file and sized is picture and not options.gray and _is(suffix, options.encode_type)
    kind = options.encode_type or ("jpg" if suffix in JPEG else "png")
    kept = file if as_it_is else _encode(sized, kind)
    return Made(sized, kept) if kept else f"is {times(sized.shape)}, which is more than a {kind} file holds"


def _is(suffix: str, kind: str) -> bool:
    return not kind or suffix == f".{kind}" or (kind == "jpg" and suffix in JPEG)


def _gray(picture: np.ndarray) -> np.ndarray:
    """u8[1 h w] of u8[c h w]."""
    if len(picture) == 1:
        return picture
    grey: np.ndarray = cv2.cvtColor(np.ascontiguousarray(picture.transpose(1, 2, 0)), cv2.COLOR_BGR2GRAY)
    return grey[None]


def _encode(picture: np.ndarray, kind: str) -> bytes:
    """The image file; empty where a side is longer than the kind of file takes."""
    try:
        done, coded = cv2.imencode(f".{kind}", picture.transpose(1, 2, 0))
    except cv2.error:
        return b""
    return coded.tobytes() if done else b""


def shape_of(made: Made) -> Shape:
    """[c h w], or [f]."""
    return tuple(made.values.shape)
