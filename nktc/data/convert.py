"""Images into an LMDB of Datum, as Caffe's convert_imageset lays it out, so that the plain Caffe way
trains."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from nktc.data.catalogue import KNOWN
from nktc.data.database import LABELS
from nktc.data.dataset import obtain
from nktc.data.datum import pack, pack_encoded
from nktc.data.images import decode, resize
from nktc.data.lmdb import write_database
from nktc.data.places import Places, is_archive
from nktc.data.progress import progress
from nktc.data.trees import Tree, common_folder
from nktc.errors import NktcError, Source, Span, near
from nktc.files import read_bytes, write_text
from nktc.ir import Phase, Shape, times

SPLITS = ("train", "test", "val", "valid", "validation")
TOGETHER = 1000  # pictures decoded side by side


@dataclass(frozen=True)
class Conversion:
    """What became of a conversion: records written, names of the classes (none where a list gave numbers),
    the sizes [c h w] and how many have each, and for every picture that was left out its name and why."""

    output: Path
    records: int
    labels: tuple[str, ...]
    sizes: dict[Shape, int]
    refused: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Options:
    """`size` (height, width) to resize to, None to leave; `gray` one plane in place of three; `encoded` keeps
    pictures as files, the original bytes where nothing is done to them; `seed` shuffles, None keeps the
    order."""

    size: tuple[int, int] | None = None
    gray: bool = False
    encoded: bool = False
    seed: int | None = None


@dataclass(frozen=True)
class _Plan:
    """Pictures to convert in order: name and label, how one is read, the names of the classes."""

    pictures: Sequence[tuple[str, int]]
    read: Callable[[str], bytes]
    labels: tuple[str, ...]


@dataclass
class _Tally:
    sizes: Counter[Shape] = field(default_factory=Counter)
    refused: list[tuple[str, str]] = field(default_factory=list)


def convert(
    source: str,
    output: Path,
    options: Options = Options(),
    *,
    places: Places,
    split: str = "",
    listing: Path | None = None,
    labels: Path | None = None,
    force: bool = False,
) -> Conversion:
    """An LMDB at `output` from `source`: a folder or archive with a folder of images a class, or the name of
    a known set.

    `split` chooses a part: that of a known set, or the folder of that name in the tree. `listing` is a file
    of lines "path label", paths inside `source`; then folders mean nothing. The names of the classes go into
    the LMDB's folder and, if given, to the file `labels`. What was at `output` is replaced with `force` only,
    and when all went well. Raises NktcError.
    """
    if output.exists() and not force:
        raise NktcError(f"{output} is there already", help="--force replaces it")
    plan = _plan(source, split, listing, places)
    tally = _Tally()
    beside = {LABELS: "".join(f"{label}\n" for label in plan.labels)} if plan.labels else {}
    if labels and not plan.labels:
        raise NktcError("a list gives numbers, so there are no names of classes to write", help="leave out --labels")
    records = write_database(output, _records(plan, options, tally, Path(source).name), beside)
    if labels:
        write_text(labels, beside[LABELS])
    return Conversion(output, records, plan.labels, dict(tally.sizes), tuple(tally.refused))


def _plan(source: str, split: str, listing: Path | None, places: Places) -> _Plan:
    path = Path(source)
    if not path.exists():
        if source in KNOWN and listing is None:
            return _plan_of_set(source, split, places)
        help = near(source, KNOWN) or f"give a folder, an archive, or one of the data sets {', '.join(KNOWN)}"
        raise NktcError(f"{source} is not there", help=help)
    if not path.is_dir() and not is_archive(path):
        raise NktcError(f"{source} is neither a folder nor an archive that can be read")
    tree = Tree(path)
    if listing:
        return _Plan(_read_list(listing), tree.read, ())
    return _plan_of_tree(tree, split)


def _plan_of_set(name: str, split: str, places: Places) -> _Plan:
    """The pictures of a known set as files without loss, so that one way of converting serves all."""
    known = KNOWN[name]
    parts = {phase.name.lower(): phase for phase in Phase}
    if split not in parts:
        raise NktcError(f"{name} has the splits train and test", help="give --split train or --split test")
    images = obtain(known, places).load(known, parts[split], places.cache)

    def read(picture: str) -> bytes:
        planes = images.pixels[int(picture.removesuffix(".png").rpartition("/")[2])]
        return bytes(cv2.imencode(".png", planes[::-1].transpose(1, 2, 0))[1])

    pictures = [(f"{known.labels[label]}/{i:05d}.png", int(label)) for i, label in enumerate(images.labels)]
    return _Plan(pictures, read, known.labels)


def _plan_of_tree(tree: Tree, split: str) -> _Plan:
    """A class a folder, in the order of their names."""
    pictures = tree.pictures()
    if not pictures:
        raise NktcError(f"{tree.path} holds no image files")
    root = common_folder(pictures)
    # A tree of one class alone: its only folder is the class, not a wrapping.
    if root and all("/" not in name[len(root) :] for name in pictures):
        root = root[: root[:-1].rfind("/") + 1]
    tops = sorted({name[len(root) :].split("/")[0] for name in pictures})
    if split:
        if split not in tops:
            raise NktcError(f'{tree.path} has no split "{split}"', help=f"its folders are {', '.join(tops)}")
        root = f"{root}{split}/"
        pictures = [name for name in pictures if name.startswith(root)]
    elif all(top in SPLITS for top in tops):
        raise NktcError(f"{tree.path} holds the splits {', '.join(tops)}", help=f"give --split {tops[0]}")
    loose = [name for name in pictures if "/" not in name[len(root) :]]
    if loose:
        raise NktcError(
            f"{tree.path}: {loose[0]} lies in no class folder",
            help="put each class into a folder of its own, or give --list FILE of lines: path label",
        )
    labels = sorted({name[len(root) :].split("/")[0] for name in pictures})
    numbers = {label: number for number, label in enumerate(labels)}
    chosen = [(name[len(root) :], numbers[name[len(root) :].split("/")[0]]) for name in pictures]
    return _Plan(chosen, lambda name: tree.read(root + name), tuple(labels))


def _read_list(file: Path) -> list[tuple[str, int]]:
    """Lines of a path and a number. Raises NktcError with the place of the first line that is none."""
    source = Source(str(file), read_bytes(file, "list").decode("utf-8", "replace"))
    pictures = []
    for number, line in enumerate(source.lines, 1):
        name, _, label = line.strip().rpartition(" ")
        if name and label.lstrip("-").isdigit():
            pictures.append((name.strip(), int(label)))
        elif line.strip():
            raise NktcError("a line has a path and a number", at=Span(source, number, 1, len(line)))
    if not pictures:
        raise NktcError(f"list {file} names no pictures")
    return pictures


def _records(plan: _Plan, options: Options, tally: _Tally, name: str) -> Iterator[tuple[bytes, bytes]]:
    """Key and Datum of every picture that can be decoded, in order."""
    pictures = list(plan.pictures)
    if options.seed is not None:
        np.random.RandomState(options.seed).shuffle(pictures)
    with progress(f"converting {name}", len(pictures)) as advance, ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(pictures), TOGETHER):
            some = pictures[start : start + TOGETHER]
            made = pool.map(lambda picture: _record(plan.read, picture[0], picture[1], options), some)
            for i, ((path, _), result) in enumerate(zip(some, made, strict=True), start):
                if isinstance(result, str):
                    tally.refused.append((path, result))
                    continue
                value, shape = result
                tally.sizes[shape] += 1
                yield f"{i:08d}_{path}".encode(), value
            advance(len(some))
    if not tally.sizes:
        path, why = tally.refused[0]
        raise NktcError(f"none of {len(pictures)} pictures can be converted; the first: {path} {why}")


def _record(read: Callable[[str], bytes], path: str, label: int, options: Options) -> tuple[bytes, Shape] | str:
    """A Datum and the size of its picture, or why there is none."""
    try:
        data = read(path)
    except (OSError, KeyError) as error:
        return f"cannot be read ({(getattr(error, 'strerror', None) or 'not in the archive').lower()})"
    picture = decode(data, "GRAY" if options.gray else "BGR")
    if picture is None:
        return "is not an image that can be decoded"
    sized = resize(picture, options.size) if options.size else picture
    if not options.encoded:
        return pack(sized, label), sized.shape
    if options.gray or sized is not picture:
        suffix = Path(path).suffix.lower()
        done, coded = cv2.imencode(suffix if suffix in (".jpg", ".jpeg") else ".png", sized.transpose(1, 2, 0))
        assert done, "8-bit pictures of 1 or 3 planes can be encoded"
        data = coded.tobytes()
    return pack_encoded(data, label), sized.shape


def describe_sizes(sizes: dict[Shape, int]) -> str:
    """3x32x32, or how many there are of each, most first."""
    if len(sizes) == 1:
        return times(next(iter(sizes)))
    most = sorted(sizes.items(), key=lambda item: -item[1])
    listed = [f"{count} of {times(shape)}" for shape, count in most[:3]]
    return ", ".join(listed) + (f" and {len(most) - 3} sizes more" if len(most) > 3 else "")
