"""The data sets that nktc knows by name: what is in them and where they officially lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nktc.errors import LayerError, near
from nktc.ir import Phase, Shape


@dataclass(frozen=True)
class Download:
    """A file at its official address. `sum` is its checksum, "md5:..." or "sha256:..."; `size` is in
    bytes."""

    url: str
    sum: str
    size: int

    @property
    def file(self) -> str:
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class KnownSet:
    """`image` is [c h w], uint8; colour planes are red, green, blue. `forms` tells, a line each, what is
    taken for the set in a local folder; a set without downloads is always there."""

    name: str
    about: str
    image: Shape
    sizes: Mapping[Phase, int]
    labels: tuple[str, ...]
    downloads: tuple[Download, ...] = ()
    forms: tuple[str, ...] = ()

    @property
    def order(self) -> str:
        return "RGB" if self.image[0] == 3 else "GRAY"


DIGITS = tuple("0123456789")
MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"

_sets = (
    KnownSet(
        "cifar10",
        "photographs of ten kinds of things",
        (3, 32, 32),
        {Phase.TRAIN: 50_000, Phase.TEST: 10_000},
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        (
            Download(
                "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                "md5:c32a1d4ab5d03f1284b67883e8d87530",
                170_052_171,
            ),
        ),
        (
            "cifar-10-binary.tar.gz, or the .bin files unpacked from it",
            "images as train/<class>/*.jpg and test/<class>/*.jpg, in a folder or an archive of any name",
        ),
    ),
    KnownSet(
        "mnist",
        "handwritten digits, 28x28",
        (1, 28, 28),
        {Phase.TRAIN: 60_000, Phase.TEST: 10_000},
        DIGITS,
        (
            Download(MNIST + "train-images-idx3-ubyte.gz", "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873", 9_912_422),
            Download(MNIST + "train-labels-idx1-ubyte.gz", "md5:d53e105ee54ea40749a09fcbcd1e9432", 28_881),
            Download(MNIST + "t10k-images-idx3-ubyte.gz", "md5:9fb629c4189551a2d022fa330f9573f3", 1_648_877),
            Download(MNIST + "t10k-labels-idx1-ubyte.gz", "md5:ec29112dd5afa0611ce80d1b7f02629c", 4_542),
        ),
        ("the four files train-images-idx3-ubyte.gz ... t10k-labels-idx1-ubyte.gz, packed or unpacked",),
    ),
    KnownSet(
        "digits",
        "handwritten digits, 8x8, that scikit-learn ships",
        (1, 8, 8),
        {Phase.TRAIN: 1_437, Phase.TEST: 360},
        DIGITS,
    ),
    KnownSet(
        "shapes10",
        "textured shapes, drawn by nktc itself",
        (3, 32, 32),
        {Phase.TRAIN: 50_000, Phase.TEST: 10_000},
        ("bar", "crescent", "cross", "disk", "frame", "pair", "ring", "square", "star", "triangle"),
    ),
)

KNOWN: Mapping[str, KnownSet] = {known.name: known for known in _sets}


def find_set(name: str, field: str = "name") -> KnownSet:
    """The set of that name, which stands in `field` of a layer. Raises LayerError with a near name."""
    if name not in KNOWN:
        help = near(name, KNOWN) or f"the data sets are {', '.join(KNOWN)}"
        raise LayerError(f'unknown data set "{name}"', field=field, help=help)
    return KNOWN[name]
