"""How fast data comes, beside the bare loops of the libraries it comes through and PyTorch's own loader.

`.venv/bin/python tools/bench/data.py [--part NAME ...] [--records N] [--rounds N] [--keep FOLDER]`

Parts: `decode` (N JPEG files of 32x32 and of 256x256: what one process fetches, against reading and decoding the same
files in a bare loop of OpenCV), `loader` (whole batches, cropped and mirrored, with 0, 1 and 2 processes, against
PyTorch's DataLoader with a Dataset that does the same), `lmdb` (raw records, against a bare loop over the cursor of the
lmdb library that keeps nothing, and one that puts batches together), `augment` (each transform of resident CIFAR-sized
pictures, against cifar10_quick's training step), `memory` (ten epochs of an LMDB larger than the cache it is allowed),
`start` (opening an LMDB of a million records, first batch too).

The pictures are drawn (shapes10; 256x256 ones are 64 of them side by side), the sides alternate, and a ratio is the
median of those of the rounds. `--keep` leaves the files for the next time.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import lmdb
import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from nktc import data, module, reader
from nktc.data.databases.datum import pack
from nktc.data.databases.lmdb import write_database
from nktc.data.record_stream import RecordStream
from nktc.data.sets.shapes10 import draw
from nktc.ir import ColorJitter, Layer, Phase, RandomErasing, RandomResizedCrop, Transform
from nktc.layers import Data, ImageData
from nktc.layers import Dataset as Named

BATCH = 100
ROOT = Path(__file__).parents[2]
NOWHERE = data.Places((), Path("nowhere"), download=False)
CROP = {"small": 28, "big": 227}


def pictures(count: int) -> Iterator[tuple[str, np.ndarray]]:
    """Pictures u8[h w 3] of both kinds."""
    small = draw(Phase.TRAIN, count).pixels.transpose(0, 2, 3, 1)
    chance = np.random.RandomState(0)
    for i in range(count):
        yield "small", small[i]
        tiles = small[chance.randint(0, count, 64)].reshape(8, 8, 32, 32, 3)
        yield "big", tiles.transpose(0, 2, 1, 3, 4).reshape(256, 256, 3)


def make(folder: Path, count: int) -> None:
    """JPEG files with a list of each kind, and LMDBs of their pixels."""
    done = folder / f"{count}.done"
    if done.exists():
        return
    lines: dict[str, list[str]] = {"small": [], "big": []}
    for kind in lines:
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for kind, picture in pictures(count):
        name = f"{kind}/{len(lines[kind]):06d}.jpg"
        cv2.imwrite(str(folder / name), picture, [cv2.IMWRITE_JPEG_QUALITY, 90])
        lines[kind].append(f"{name} {len(lines[kind]) % 1000}\n")
    for kind, names in lines.items():
        (folder / f"{kind}.txt").write_text("".join(names))

        def records(names: Sequence[str] = names) -> Iterator[tuple[bytes, bytes]]:
            for i, line in enumerate(names):
                picture = cv2.imread(str(folder / line.split()[0]))
                assert picture is not None
                yield f"{i:08d}_{line.split()[0]}".encode(), pack(picture.transpose(2, 0, 1), i % 1000)

        write_database(folder / f"{kind}.lmdb", records(names if kind == "small" else names[: max(BATCH, count // 10)]))
    done.touch()


def opened(layer: Layer, folder: Path, **more: Any) -> RecordStream:
    stream = data.open_stream(layer, data.Opening(NOWHERE, folder, seed=1, **more))
    assert isinstance(stream, RecordStream)
    return stream


def seconds(what: Callable[[], object]) -> float:
    gc.collect()
    start = time.perf_counter()
    what()
    return time.perf_counter() - start


def compare(title: str, count: int, rounds: int, plain: Callable[[], object], ours: Callable[[], object]) -> None:
    """A line with both speeds, in thousands of records a second, and how many of theirs ours has."""
    plain(), ours()
    pairs = []
    for i in range(rounds):
        first, second = (plain, ours) if i % 2 else (ours, plain)
        a, b = seconds(first), seconds(second)
        pairs.append((a, b) if i % 2 else (b, a))
    theirs, own = (count / statistics.median(times) / 1e3 for times in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"{title:<44} {theirs:8.2f} {own:8.2f} {ratio:6.2f}", flush=True)


def decode(folder: Path, count: int, rounds: int) -> None:
    print("thousand records a second, one thread            bare     ours  ratio")
    for kind in ("small", "big"):
        paths = [str(folder / line.split()[0]) for line in (folder / f"{kind}.txt").read_text().splitlines()]
        some = paths[: min(count, 20_000 if kind == "small" else 2000)]
        settings = {"plain": Transform(), "crop, mirror": Transform(crop=CROP[kind], mirror=True)}
        for name, transform in settings.items():
            stream = opened(ImageData(f"{kind}.txt", BATCH, transform=transform, phase=Phase.TRAIN), folder)

            def bare(some: Sequence[str] = some) -> None:
                for path in some:
                    with open(path, "rb") as file:
                        cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR)

            def imread(some: Sequence[str] = some) -> None:
                for path in some:
                    cv2.imread(path, cv2.IMREAD_COLOR)

            def ours(stream: RecordStream = stream, some: Sequence[str] = some) -> None:
                for k in range(len(some) // BATCH):
                    stream.fetch(k, whole=False)

            compare(f"{kind}, {name}, against imdecode", len(some), rounds, bare, ours)
            compare(f"{kind}, {name}, against imread", len(some), rounds, imread, ours)


class Pictures(TorchDataset[tuple[torch.Tensor, int]]):
    """What a PyTorch user writes: read, cut, mirror, to float, minus the mean."""

    def __init__(self, folder: Path, kind: str) -> None:
        lines = (folder / f"{kind}.txt").read_text().splitlines()
        self.items = [(str(folder / line.split()[0]), int(line.split()[1])) for line in lines]
        self.crop = CROP[kind]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path, label = self.items[index]
        picture = cv2.imread(path, cv2.IMREAD_COLOR)
        assert picture is not None
        top, left = (int(torch.randint(size - self.crop + 1, ())) for size in picture.shape[:2])
        picture = picture[top : top + self.crop, left : left + self.crop]
        if torch.rand(()) < 0.5:
            picture = picture[:, ::-1]
        x = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))).float()
        return (x - 120) * 0.017, label


def loader(folder: Path, count: int, rounds: int) -> None:
    print("thousand records a second, whole batches   DataLoader     ours  ratio")
    for kind in ("small", "big"):
        records = min(count, 20_000 if kind == "small" else 4000)
        transform = Transform(0.017, True, CROP[kind], mean_values=(120.0,))
        layer = ImageData(f"{kind}.txt", BATCH, transform=transform, phase=Phase.TRAIN, shuffle=True)
        for workers in (0, 1, 2):
            theirs = DataLoader(
                Pictures(folder, kind), BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
            )
            stream = opened(layer, folder, workers=workers)
            ahead = data.read_ahead(stream)

            def plain(theirs: Any = theirs, records: int = records) -> None:
                for i, _ in enumerate(theirs):
                    if i + 1 == records // BATCH:
                        break

            def ours(ahead: Any = ahead, records: int = records) -> None:
                for _ in range(records // BATCH):
                    next(ahead)

            time.sleep(5 if workers else 0)  # until the processes are up
            compare(f"{kind}, {workers} processes", records, rounds, plain, ours)
            ahead.close()  # type: ignore[attr-defined]
            stream.close()


def cursor(folder: Path, count: int, rounds: int) -> None:
    print("thousand records a second, one thread            bare     ours  ratio")
    for kind in ("small", "big"):
        path = folder / f"{kind}.lmdb"
        with lmdb.open(str(path), readonly=True, lock=False) as environment:
            records = environment.stat()["entries"] // BATCH * BATCH

            def bare(environment: lmdb.Environment = environment) -> None:
                with environment.begin() as transaction:
                    for _key, _value in transaction.cursor():
                        pass

            def kept(environment: lmdb.Environment = environment) -> None:
                values = []
                with environment.begin() as transaction:
                    for _key, value in transaction.cursor():
                        values.append(value)
                        if len(values) == BATCH:
                            np.frombuffer(b"".join(values), np.uint8)
                            values = []

            for name, shuffle in (("in order", False), ("mixed", True)):
                stream = opened(Data(f"{kind}.lmdb", BATCH, "LMDB", shuffle=shuffle), folder)

                def ours(stream: RecordStream = stream, records: int = records) -> None:
                    for k in range(records // BATCH):
                        stream.fetch(k, whole=True)

                def floats(stream: RecordStream = stream, records: int = records) -> None:
                    for k in range(records // BATCH):
                        stream.batch(k)

                compare(f"{kind}, {name}, bytes", records, rounds, bare, ours)
                compare(f"{kind}, {name}, bytes, against batches", records, rounds, kept, ours)
                compare(f"{kind}, {name}, batches of floats", records, rounds, bare, floats)


AUGMENTATIONS = {
    "none": Transform(),
    "crop, mirror": Transform(crop=28, mirror=True),
    "mirror": Transform(mirror=True),
    "std": Transform(mean_values=(120.0,), std_values=(60.0,)),
    "rotation": Transform(rotation=15),
    "random_resized_crop": Transform(crop=32, random_resized_crop=RandomResizedCrop((0.3, 1), (0.75, 1.33))),
    "color_jitter": Transform(color_jitter=ColorJitter(0.2, 0.2, 0.2, 10)),
    "cutout": Transform(cutout=8),
    "random_erasing": Transform(random_erasing=RandomErasing(0.5, (0.02, 0.33), (0.3, 3.3))),
    "mixup": Transform(mixup=0.2),
    "cutmix": Transform(cutmix=1.0),
    "crop, mirror, jitter, cutout": Transform(crop=28, mirror=True, color_jitter=ColorJitter(0.2, 0.2, 0.2), cutout=8),
}


def augment(folder: Path, count: int, rounds: int) -> None:
    """Milliseconds a batch of 100, and the share of the step of cifar10_quick, all measured in turn."""
    places = replace(NOWHERE, cache=folder / "cache")
    net = reader.read_net(ROOT / "nets/cifar10_quick/train.prototxt")
    graph = reader.build(net, Phase.TRAIN, feeds=lambda layer: data.describe(layer, net.folder))
    model = module.compile(graph, 1)
    x, y = torch.rand(BATCH, 3, 32, 32) * 100, torch.randint(0, 10, (BATCH,)).float()
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(weights, 0.001, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        model.loss(model(x, y)).backward()
        optimizer.step()

    streams = {
        name: data.open_stream(
            Named("shapes10", BATCH, Phase.TRAIN, True, transform=transform, phase=Phase.TRAIN),
            data.Opening(places, folder, seed=1),
        )
        for name, transform in AUGMENTATIONS.items()
    }
    times: dict[str, list[float]] = {name: [] for name in (*streams, "step")}
    for k in range(rounds * 10):
        for name, stream in streams.items():
            times[name].append(seconds_of(lambda stream=stream, k=k: stream.batch(k)))
        times["step"].append(seconds_of(step))
    middle = {name: statistics.median(values[5:]) * 1e3 for name, values in times.items()}
    print(f"{'a step of cifar10_quick':<44} {middle['step']:8.2f} ms  {torch.get_num_threads()} threads")
    for name in streams:
        more = middle[name] - middle["none"]
        print(f"{name:<44} {middle[name]:8.2f} ms  {more / middle['step']:7.1%} of the step more than none")


def seconds_of(what: Callable[[], object]) -> float:
    start = time.perf_counter()
    what()
    return time.perf_counter() - start


def memory(folder: Path, count: int, rounds: int) -> None:
    """Ten epochs of an LMDB with a cache a quarter of its size: MiB of the process after each."""
    stream = opened(Data("small.lmdb", BATCH, "LMDB", shuffle=True), folder, resident=True, cache=count * 3072 // 4)
    size = (folder / "small.lmdb" / "data.mdb").stat().st_size
    batches = data.read_ahead(stream)
    found = []
    for _ in range(10):
        for _ in range(count // BATCH):
            next(batches)
        found.append(resident_size())
    batches.close()  # type: ignore[attr-defined]
    print(f"LMDB of {size >> 20} MiB, cache {count * 3072 // 4 >> 20} MiB; MiB after each epoch, own and mapped:")
    print("  " + "  ".join(f"{own:.0f}+{mapped:.0f}" for own, mapped in found))


def resident_size() -> tuple[float, float]:
    """MiB of this process's own memory, and of files that it has mapped."""
    told = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(told["RssAnon"].split()[0]) / 1024, int(told["RssFile"].split()[0]) / 1024


def start(folder: Path, count: int, rounds: int) -> None:
    """Seconds to open an LMDB of a million records of 32x32 pixels and make its first batch."""
    path = folder / "million.lmdb"
    if not path.exists():
        pixels = np.random.RandomState(0).randint(0, 256, (1000, 3, 32, 32), np.uint8)
        values = [pack(p, i % 10) for i, p in enumerate(pixels)]
        write_database(path, ((f"{i:08d}_picture{i}.png".encode(), values[i % 1000]) for i in range(1_000_000)))
    for name, layer in (
        ("in order", Data("million.lmdb", BATCH, "LMDB")),
        ("mixed", Data("million.lmdb", BATCH, "LMDB", shuffle=True)),
    ):
        taken = [seconds(lambda layer=layer: opened(layer, folder).batch(0)) for _ in range(rounds)]
        print(
            f"a million records, {name}: {statistics.median(taken):.3f} s to the first batch (worst {max(taken):.3f})"
        )


PARTS = {
    "decode": decode, "loader": loader, "lmdb": cursor, "augment": augment, "memory": memory, "start": start,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    with nullcontext(given.keep) if given.keep else tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        make(folder, given.records)
        for part in given.part:
            one = part in ("decode", "lmdb")
            torch.set_num_threads(1 if one else len(os.sched_getaffinity(0)))
            cv2.setNumThreads(0)
            module.keep_freed()  # as nktc train and nktc test do, for both sides
            print(f"\n{part}")
            PARTS[part](folder, given.records, given.rounds)


if __name__ == "__main__":
    main()
