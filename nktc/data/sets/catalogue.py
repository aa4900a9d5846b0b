"""The data sets that nktc knows by name: what is in them and where they officially lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from nktc.errors import LayerError, NktcError, near
from nktc.ir import Phase, Shape

Kind = Literal["images", "table", "text"]


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
    """What nktc knows of a set without its data. `forms` tells, a line each, what is taken for it in a local folder; a
    set without downloads is always there. `licence` is empty where it is not known for sure.

    Of images: `image` is [c h w], uint8, colour planes red, green, blue; `sizes` and `labels` those of its splits and
    classes. A table or a text is one file, that of its only download; a table has `rows` below the line of its
    `columns`, in UTF-8 with commas between; `words` are the values of the columns that hold no numbers, sorted.
    """

    name: str
    about: str
    image: Shape = ()
    sizes: Mapping[Phase, int] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    downloads: tuple[Download, ...] = ()
    forms: tuple[str, ...] = ()
    kind: Kind = "images"
    rows: int = 0
    columns: tuple[str, ...] = ()
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    licence: str = ""

    @property
    def order(self) -> str:
        return "RGB" if self.image[0] == 3 else "GRAY"


DIGITS = tuple("0123456789")
MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
FOUR_FILES = "the four files train-images-idx3-ubyte.gz ... t10k-labels-idx1-ubyte.gz, packed or unpacked"
# In the order of the fine labels, which is that of the alphabet.
CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""

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
        "cifar100",
        "photographs of a hundred kinds of things",
        (3, 32, 32),
        {Phase.TRAIN: 50_000, Phase.TEST: 10_000},
        tuple(CIFAR100.split()),
        (
            Download(
                "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
                "md5:03b5dce01913d631647c71ecec9e9cb8",
                168_513_733,
            ),
        ),
        ("cifar-100-binary.tar.gz, or the files train.bin and test.bin unpacked from it",),
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
        (FOUR_FILES,),
    ),
    KnownSet(
        "fashion-mnist",
        "photographs of ten kinds of clothing, 28x28, grey",
        (1, 28, 28),
        {Phase.TRAIN: 60_000, Phase.TEST: 10_000},
        (
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        (
            Download(FASHION + "train-images-idx3-ubyte.gz", "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d", 26_421_880),
            Download(FASHION + "train-labels-idx1-ubyte.gz", "md5:25c81989df183df01b3e8a0aad5dffbe", 29_515),
            Download(FASHION + "t10k-images-idx3-ubyte.gz", "md5:bef4ecab320f06d8554ea6380940ec79", 4_422_102),
            Download(FASHION + "t10k-labels-idx1-ubyte.gz", "md5:bb300cfdad3c16e7a12a480ee83cd310", 5_148),
        ),
        (
            FOUR_FILES.removesuffix(", packed or unpacked") + ", as they were packed officially",
            'the same unpacked or packed otherwise, in a folder or an archive with "fashion" in its name',
        ),
        licence="MIT",
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
    KnownSet(
        "california-housing",
        "house prices in the districts of California in 1990, as numbers and the distance to the ocean in words",
        downloads=(
            Download(
                "https://raw.githubusercontent.com/ageron/handson-ml2/1e2115277b50f6c584cd668fa30e3af309a5b136/"
                "datasets/housing/housing.csv",
                "sha256:8a3727f4cf54ac1a327f69b1d5b4db54c5834ea81c6e4efc0d163300022a685e",
                1_423_529,
            ),
        ),
        forms=("the file housing.csv, alone, in a folder or in an archive",),
        kind="table",
        rows=20_640,
        columns=(
            "longitude",
            "latitude",
            "housing_median_age",
            "total_rooms",
            "total_bedrooms",
            "population",
            "households",
            "median_income",
            "median_house_value",
            "ocean_proximity",
        ),
        words={"ocean_proximity": ("<1H OCEAN", "INLAND", "ISLAND", "NEAR BAY", "NEAR OCEAN")},
        licence="Apache-2.0, as the repository that it is taken from",
    ),
    KnownSet(
        "tiny-shakespeare",
        "lines from the plays of Shakespeare, a text for language models",
        downloads=(
            Download(
                "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/"
                "data/tinyshakespeare/input.txt",
                "sha256:86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
                1_115_394,
            ),
        ),
        forms=("the file input.txt, alone, in a folder or in an archive",),
        kind="text",
        licence="public domain",
    ),
)

KNOWN: Mapping[str, KnownSet] = {known.name: known for known in _sets}


OTHER_KINDS: Mapping[str, str] = {
    "table": "a TableData layer reads it",
    "text": "nktc data get tells where its file lies",
}


def find_set(name: str, field: str = "name") -> KnownSet:
    """The set of images of that name, which stands in `field` of a layer. Raises LayerError with a near name."""
    if name not in KNOWN:
        images = [known.name for known in KNOWN.values() if known.kind == "images"]
        help = near(name, KNOWN) or f"the data sets are {', '.join(images)}"
        raise LayerError(f'unknown data set "{name}"', field=field, help=help)
    known = KNOWN[name]
    if known.kind != "images":
        raise LayerError(f"{name} is a {known.kind}, not a set of images", field=field, help=OTHER_KINDS[known.kind])
    return known


def find_any(name: str) -> KnownSet:
    """The set of that name, of whatever kind. Raises NktcError with a near name."""
    if name not in KNOWN:
        raise NktcError(f'unknown data set "{name}"', help=near(name, KNOWN) or known_names())
    return KNOWN[name]


def known_names() -> str:
    """A help line with the names of the data sets."""
    return f"the data sets are {', '.join(KNOWN)}"
