"""Data files of every kind that nktc reads, what reads them, and ways to damage them."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import h5py
import numpy as np
import pyarrow
import pyarrow.parquet
from small_leveldb import write_records

from nktc.data import Opening, Places, open_stream, read_mean, write_mean
from nktc.data.databases.datum import BadDatum, pack, pack_encoded, parse
from nktc.data.databases.lmdb import write_database
from nktc.errors import NktcError
from nktc.ir import Layer, Transform
from nktc.layers import AnnotatedData, Data, HDF5Data, ImageData, MemoryData, TableData, WindowData
from nktc.schema import AnnotatedDatum

COUNT = 12
CACHE = TemporaryDirectory(prefix="nktc-tests-")
NOWHERE = Places((), Path(CACHE.name), download=False)


@dataclass(frozen=True)
class Kind:
    """`make` writes whole files into a folder and returns those that are damaged; `use` reads all of them, and may
    raise NktcErrors."""

    make: Callable[[Path], Sequence[Path]]
    use: Callable[[Path], object]


def picture(i: int) -> np.ndarray:
    return np.random.RandomState(i).randint(0, 256, (9, 8, 3)).astype(np.uint8)


def coded(i: int, ending: str) -> bytes:
    return cv2.imencode(ending, picture(i))[1].tobytes()


def batches(*layers: Layer) -> Callable[[Path], object]:
    """Reads every record of the layers."""

    def use(folder: Path) -> None:
        for layer in layers:
            stream = open_stream(layer, Opening(NOWHERE, folder))
            for k in range(COUNT // 4 + 1):
                stream.batch(k)

    return use


def database(made: Callable[[int], bytes]) -> Callable[[Path], Sequence[Path]]:
    def make(folder: Path) -> Sequence[Path]:
        write_database(folder / "db", ((f"{i:08d}_x".encode(), made(i)) for i in range(COUNT)))
        return [folder / "db" / "data.mdb"]

    return make


def leveldb(folder: Path) -> Sequence[Path]:
    write_records(folder / "db", [(f"{i:08d}".encode(), pack(picture(i).transpose(2, 0, 1), i)) for i in range(COUNT)])
    return sorted(folder.joinpath("db").iterdir())


def images(ending: str) -> Callable[[Path], Sequence[Path]]:
    def make(folder: Path) -> Sequence[Path]:
        for i in range(COUNT):
            (folder / f"{i}{ending}").write_bytes(coded(i, ending))
        return sorted(folder.iterdir())

    return make


def image_list(folder: Path) -> Sequence[Path]:
    images(".png")(folder)
    (folder / "list.txt").write_text("".join(f"{i}.png {i}\n" for i in range(COUNT)))
    return [folder / "list.txt"]


def listed_images(ending: str) -> Callable[[Path], Sequence[Path]]:
    def make(folder: Path) -> Sequence[Path]:
        files = images(ending)(folder)
        (folder / "list.txt").write_text("".join(f"{i}{ending} {i}\n" for i in range(COUNT)))
        return files

    return make


def hdf5(folder: Path) -> Sequence[Path]:
    with h5py.File(folder / "rows.h5", "w") as file:
        file["data"] = np.random.RandomState(0).rand(COUNT, 5).astype(np.float32)
        file.create_dataset("label", data=np.arange(COUNT, dtype=np.float32), chunks=(4,), compression="gzip")
    (folder / "list.txt").write_text("rows.h5\n")
    return [folder / "rows.h5"]


def csv(folder: Path) -> Sequence[Path]:
    rows = [f"{i},{i * 0.5},{'xyz'[i % 3]},{i % 2}\n" for i in range(COUNT)]
    (folder / "t.csv").write_text("a,b,word,c\n" + "".join(rows))
    return [folder / "t.csv"]


def parquet(folder: Path) -> Sequence[Path]:
    columns = {"a": np.arange(COUNT), "b": np.arange(COUNT) * 0.5, "c": np.arange(COUNT) % 2}
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "t.parquet")
    return [folder / "t.parquet"]


def npz(folder: Path) -> Sequence[Path]:
    pixels = np.random.RandomState(0).rand(COUNT, 3, 4, 5).astype(np.float32)
    np.savez(folder / "a.npz", data=pixels, label=np.arange(COUNT))
    return [folder / "a.npz"]


def windows(folder: Path) -> Sequence[Path]:
    images(".png")(folder)
    lines = [f"# {i}\n{i}.png\n3\n9\n8\n2\n1 0.9 0 0 5 6\n2 0.1 1 1 6 7\n" for i in range(COUNT)]
    (folder / "w.txt").write_text("".join(lines))
    return [folder / "w.txt"]


def annotated(i: int) -> bytes:
    made = AnnotatedDatum(type=AnnotatedDatum.BBOX)
    made.datum.ParseFromString(pack(picture(i).transpose(2, 0, 1), i))
    box = made.annotation_group.add(group_label=1).annotation.add().bbox
    box.xmin, box.ymin, box.xmax, box.ymax = 0.1, 0.2, 0.7, 0.8
    return bytes(made.SerializeToString())


def mean(folder: Path) -> Sequence[Path]:
    write_mean(folder / "mean", np.random.RandomState(0).rand(3, 4, 5).astype(np.float32))
    return [folder / "mean"]


def datum(folder: Path) -> Sequence[Path]:
    (folder / "raw").write_bytes(pack(picture(0).transpose(2, 0, 1), 3))
    (folder / "floats").write_bytes(pack(picture(1).transpose(2, 0, 1).astype(np.float32), 300))
    (folder / "coded").write_bytes(pack_encoded(coded(2, ".jpg"), -1))
    return sorted(folder.iterdir())


def parse_all(folder: Path) -> None:
    for file in folder.iterdir():
        try:
            parse(file.read_bytes())
        except BadDatum as error:
            raise NktcError(f"{file}: {error}") from None


KINDS: dict[str, Kind] = {
    "Datum": Kind(datum, parse_all),
    "LMDB, raw": Kind(
        database(lambda i: pack(picture(i).transpose(2, 0, 1), i)),
        batches(Data("db", 4, "LMDB"), Data("db", 4, "LMDB", shuffle=True)),
    ),
    "LMDB, coded": Kind(
        database(lambda i: pack_encoded(coded(i, ".jpg"), i)),
        batches(Data("db", 4, "LMDB", Transform(crop=5)), Data("db", 4, "LMDB", skips=True)),
    ),
    "LevelDB": Kind(leveldb, batches(Data("db", 4), Data("db", 4, skips=True))),
    "JPEG": Kind(listed_images(".jpg"), batches(ImageData("list.txt", 4), ImageData("list.txt", 4, skips=True))),
    "PNG": Kind(listed_images(".png"), batches(ImageData("list.txt", 4, resize=(5, 6)))),
    "list": Kind(image_list, batches(ImageData("list.txt", 4))),
    "HDF5": Kind(hdf5, batches(HDF5Data("list.txt", 4, ("data", "label")))),
    "CSV": Kind(csv, batches(TableData("t.csv", 4, ("c",), classes=True), TableData("t.csv", 4, ("b",)))),
    "Parquet": Kind(parquet, batches(TableData("t.parquet", 4, ("b",), standardize=True))),
    "npz": Kind(npz, batches(MemoryData(((4, 3, 4, 5), (4, 1, 1, 1)), 4, source_path="a.npz"))),
    "windows": Kind(windows, batches(WindowData("w.txt", 4, transform=Transform(crop=6)))),
    "LMDB, annotated": Kind(database(annotated), batches(AnnotatedData(Data("db", 4, "LMDB")))),
    "mean": Kind(mean, lambda folder: read_mean(folder / "mean")),
}


def damaged(data: bytes, chance: random.Random) -> bytes:
    """The bytes of a file after one to three mishaps."""
    made = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 3])):
        at = chance.randrange(len(made) + 1)
        match chance.randrange(6):
            case 0:
                del made[at:]
            case 1:
                made[at : at + chance.choice([1, 8, 300])] = b""
            case 2:
                made[at:at] = chance.randbytes(chance.choice([1, 8, 300]))
            case 3:
                made[at : at + 64] = bytes(len(made[at : at + 64]))
            case _:
                for _ in range(chance.choice([1, 4, 20])):
                    if made:
                        made[chance.randrange(len(made))] = chance.randrange(256)
    return bytes(made)


@cache
def whole(name: str) -> tuple[TemporaryDirectory[str], Mapping[Path, bytes]]:
    """A folder with whole files of a kind, and the contents of those to damage, by their paths in it."""
    folder = TemporaryDirectory()
    paths = KINDS[name].make(Path(folder.name))
    return folder, {path.relative_to(folder.name): path.read_bytes() for path in paths}


def attempt(name: str, seed: int | None, folder: Path) -> NktcError | None:
    """Read files of a kind, damaged as the seed says, whole where it is None, in a new `folder`; what was refused, if
    anything. Anything but an NktcError comes through."""
    source, contents = whole(name)
    shutil.copytree(source.name, folder)
    if seed is not None:
        chance = random.Random(seed)
        path, content = chance.choice(sorted(contents.items()))
        (folder / path).write_bytes(damaged(content, chance))
    try:
        KINDS[name].use(folder)
    except NktcError as error:
        return error
    finally:
        shutil.rmtree(folder)
    return None
