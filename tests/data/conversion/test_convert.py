"""Images into an LMDB, read back by our reader and by the library alone."""

from __future__ import annotations

from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
import small_cifar10 as small

from nktc.data import Conversion, Options, Pictures, Places, SourceOptions, convert
from nktc.data.databases.datum import parse
from nktc.data.databases.lmdb_reader import Database, open_database
from nktc.data.images import resize
from nktc.errors import NktcError
from nktc.schema import Datum

PLACES = Places((), Path("nowhere"), download=False)
AS_THEY_ARE = Options()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    random = np.random.RandomState(0)
    for name in ("dog/1.png", "dog/2.png", "cat/b/x.png", "cat/a.png"):
        file = tmp_path / "tree" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), random.randint(0, 256, (6, 5, 3), np.uint8))
    return tmp_path / "tree"


def converted(tree: Path, options: Options = AS_THEY_ARE, listing: Path | None = None, **more: object) -> Conversion:
    reading = SourceOptions(listing=listing)
    return convert(str(tree), tree.parent / "out.lmdb", options, reading, places=PLACES, **more)  # type: ignore[arg-type]


def pictures(tree: Path, *, force: bool = False, **more: object) -> Conversion:
    return converted(tree, Options(Pictures(**more)), force=force)  # type: ignore[arg-type]


def keys(made: Conversion) -> list[bytes]:
    return [key for key, _ in Database(made.output).read(0, made.records)]


def test_a_tree_becomes_records_as_convert_imageset_writes_them(tree: Path) -> None:
    made = converted(tree)
    assert (made.records, made.labels, made.sizes, made.refused) == (4, ("cat", "dog"), {(3, 6, 5): 4}, ())
    assert (made.output / "labels.txt").read_text() == "cat\ndog\n"
    with lmdb.open(str(made.output), readonly=True, lock=False) as environment, environment.begin() as reading:
        stored = {key.decode(): Datum.FromString(value) for key, value in reading.cursor()}
    assert list(stored) == ["00000000_cat/a.png", "00000001_cat/b/x.png", "00000002_dog/1.png", "00000003_dog/2.png"]
    for key, datum in stored.items():
        picture = cv2.imread(str(tree / key[9:]))
        assert (datum.channels, datum.height, datum.width) == (3, 6, 5)
        assert datum.data == picture.transpose(2, 0, 1).tobytes()
        assert datum.label == (0 if "cat" in key else 1)
        assert not datum.encoded


def test_an_archive_gives_the_same_records(tree: Path) -> None:
    folder = converted(tree)
    archive = small.pack(tree, tree.parent / "tree.tar.gz", "wrapped/deep")
    packed = convert(str(archive), tree.parent / "packed.lmdb", places=PLACES)
    assert Database(packed.output).read(0, 4) == Database(folder.output).read(0, 4)


def test_real_caffes_database_is_made_again(shared: Path, tmp_path: Path) -> None:
    golden = shared / "goldens" / "data_lmdb"
    made = convert(str(golden), tmp_path / "db", reading=SourceOptions(listing=golden / "list.txt"), places=PLACES)
    theirs = open_database(golden / "db")
    assert theirs.records == made.records
    assert Database(made.output).read(0, made.records) == theirs.read(0, made.records)


def test_size_and_gray_are_changed_as_asked(tree: Path) -> None:
    made = pictures(tree, size=(4, 8), gray=True)
    values = parse(Database(made.output).read(0, 1)[0][1]).values
    gray = cv2.imread(str(tree / "cat" / "a.png"), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(values[0], cv2.resize(gray, (8, 4)))


def test_encoded_records_keep_the_files_bytes_unless_something_is_done(tree: Path) -> None:
    original = (tree / "cat" / "a.png").read_bytes()
    datum = Datum.FromString(Database(pictures(tree, encoded=True).output).read(0, 1)[0][1])
    assert (datum.encoded, datum.data, datum.label) == (True, original, 0)
    made = pictures(tree, encoded=True, size=(3, 3), force=True)
    assert parse(Database(made.output).read(0, 1)[0][1]).values.shape == (3, 3, 3)


def test_shuffling_depends_on_the_seed(tree: Path) -> None:
    orders = {tuple(keys(converted(tree, Options(shuffle=True, seed=seed), force=True))) for seed in (0, 0, 1, 2, 3)}
    assert 1 < len(orders) <= 4
    for order in orders:
        assert sorted(key[9:] for key in order) == [b"cat/a.png", b"cat/b/x.png", b"dog/1.png", b"dog/2.png"]
        assert [key[:8] for key in order] == [b"00000000", b"00000001", b"00000002", b"00000003"]


def test_a_list_gives_order_and_labels(tree: Path) -> None:
    (tree.parent / "list").write_text("dog/2.png 7\n\ncat/a.png 0\n")
    made = converted(tree, listing=tree.parent / "list")
    assert keys(made) == [b"00000000_dog/2.png", b"00000001_cat/a.png"]
    assert [parse(value).label for _, value in Database(made.output).read(0, 2)] == [7, 0]
    assert made.labels == ()


def test_a_faulty_list_is_refused_at_its_line(tree: Path) -> None:
    list = tree.parent / "list"
    list.write_text("dog/2.png 7\ncat/a.png\n")
    with pytest.raises(NktcError) as refused:
        converted(tree, listing=list)
    assert str(refused.value) == (
        f"{list}:2:1: error: a line has a path and a number\n    2 | cat/a.png\n      | ^~~~~~~~~"
    )


def test_what_cannot_be_decoded_is_left_out_and_named(tree: Path) -> None:
    (tree / "cat" / "broken.jpg").write_bytes(b"words")
    (tree / "dog" / "empty.png").touch()
    made = converted(tree)
    why = "is not an image that can be decoded"
    assert made.refused == (("cat/broken.jpg", why), ("dog/empty.png", why))
    assert made.records == 4
    (tree.parent / "list").write_text("dog/9.png 1\ndog/1.png 1\n")
    made = converted(tree, listing=tree.parent / "list", force=True)
    assert made.refused == ((f"{tree.parent / 'list'}:1: dog/9.png", "cannot be read (no such file or directory)"),)
    (tree.parent / "list").write_text("dog/8.png 1\ndog/9.png 1\n")
    with pytest.raises(NktcError) as refused:
        converted(tree, listing=tree.parent / "list", force=True)
    assert refused.value.message == (
        f"none of 2 records can be converted; the first: {tree.parent / 'list'}:1: dog/8.png "
        "cannot be read (no such file or directory)"
    )
    assert Database(made.output).records == 1  # what was there stays


def test_a_known_set_is_converted_blue_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small.shrink(monkeypatch)
    small.write_tree(tmp_path / "cifar10")
    places = Places((str(tmp_path),), tmp_path / "cache", download=False)
    made = convert("cifar10", tmp_path / "out", reading=SourceOptions("test"), places=places)
    assert (made.records, made.labels) == (10, small.LABELS)
    for _, value in Database(made.output).read(0, 10):
        record = parse(value)
        np.testing.assert_array_equal(record.values, small.picture("test", record.label, 0).transpose(2, 0, 1)[::-1])
    with pytest.raises(NktcError) as refused:
        convert("cifar10", tmp_path / "other", places=places)
    assert str(refused.value) == (
        "error: cifar10 has the splits train and test\nhelp: give --split train or --split test"
    )
    tree = convert(str(tmp_path / "cifar10"), tmp_path / "tree", reading=SourceOptions("test"), places=places)
    assert sorted(value for _, value in Database(tree.output).read(0, 10)) == sorted(
        value for _, value in Database(made.output).read(0, 10)
    )


def test_refusals_tell_what_to_do(tree: Path) -> None:
    for split in ("train", "test"):
        (tree.parent / "parts" / split).mkdir(parents=True)
        (tree / "cat").rename(tree.parent / "parts" / split / "cat") if split == "train" else None
    (tree / "dog").rename(tree.parent / "parts" / "test" / "dog")
    parts = tree.parent / "parts"
    cases = {
        (str(parts), ""): f"error: {parts} holds the splits test, train\nhelp: give --split test",
        (str(parts), "val"): f'error: {parts} has no split "val"\nhelp: its folders are test, train',
        (str(tree), ""): f"error: {tree} holds no image files",
        ("cifar", ""): 'error: cifar is not there\nhelp: did you mean "cifar10"?',
        (str(parts / "test" / "dog"), ""): "",
    }
    for (source, split), text in cases.items():
        if text:
            with pytest.raises(NktcError) as refused:
                convert(source, tree.parent / "out", reading=SourceOptions(split), places=PLACES)
            assert str(refused.value) == text
    one_class = convert(str(parts), tree.parent / "out", reading=SourceOptions("test"), places=PLACES)
    assert one_class.labels == ("dog",)
    with pytest.raises(NktcError) as refused:
        convert(str(parts), tree.parent / "out", reading=SourceOptions("test"), places=PLACES)
    assert str(refused.value) == (
        f"error: {tree.parent / 'out'} is there already\n"
        "help: give another name, or nktc data convert --force, which replaces it"
    )


def test_loose_pictures_are_refused(tree: Path) -> None:
    (tree / "dog" / "1.png").rename(tree / "loose.png")
    with pytest.raises(NktcError) as refused:
        converted(tree)
    assert str(refused.value) == (
        f"error: {tree}: loose.png lies in no class folder\n"
        "help: put each class into a folder of its own, or give --list FILE of lines: path label"
    )


def test_files_of_another_kind_are_encoded_anew(tree: Path) -> None:
    original = (tree / "cat" / "a.png").read_bytes()
    for kind, begin in (("jpg", b"\xff\xd8\xff"), ("png", b"\x89PNG")):
        made = pictures(tree, encode_type=kind, force=kind == "png")
        datum = Datum.FromString(Database(made.output).read(0, 1)[0][1])
        assert datum.encoded
        assert datum.data.startswith(begin)
        assert (datum.data == original) == (kind == "png")


@pytest.mark.parametrize("mode", ["SQUASH", "CROP", "FILL", "HALF_CROP"])
def test_pictures_of_another_shape_are_brought_to_the_size_as_asked(tree: Path, mode: str) -> None:
    made = pictures(tree, size=(3, 8), mode=mode)
    picture = cv2.imread(str(tree / "cat" / "a.png")).transpose(2, 0, 1)
    values = parse(Database(made.output).read(0, 1)[0][1]).values
    np.testing.assert_array_equal(values, resize(picture, (3, 8), mode))


def test_any_number_of_threads_writes_the_same(tree: Path) -> None:
    one, four = (converted(tree, Options(threads=n), force=True) for n in (1, 4))
    assert Database(one.output).read(0, 4) == Database(four.output).read(0, 4)


@pytest.mark.parametrize("label", ["two", "²", "--5", "99999999999999999999"])
def test_a_line_without_a_number_is_refused(tree: Path, label: str) -> None:
    (tree.parent / "list").write_text(f"dog/2.png {label}\n")
    with pytest.raises(NktcError, match="a line has a path and a number"):
        converted(tree, listing=tree.parent / "list")


def test_a_label_that_a_datum_cannot_hold_is_refused(tree: Path) -> None:
    (tree.parent / "list").write_text("dog/1.png -5\ndog/2.png 2147483648\n")
    with pytest.raises(NktcError) as refused:
        converted(tree, listing=tree.parent / "list")
    assert refused.value.message == (
        f"labels of an LMDB are whole numbers of 32 bits, {tree.parent / 'list'}:2: dog/2.png has 2147483648"
    )
    (tree.parent / "list").write_text("dog/1.png -5\n")
    made = converted(tree, listing=tree.parent / "list")
    assert parse(Database(made.output).read(0, 1)[0][1]).label == -5
