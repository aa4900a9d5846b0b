"""The Dataset layer: found, downloaded, stood in for, or refused with every way to provide it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small_cifar10 as small
import torch

from nktc.data import KNOWN, Opening, Places, Stream, describe, open_stream, prepare, preprocessing, write_mean
from nktc.data.sets.catalogue import Download
from nktc.data.transforms.colors import jittered
from nktc.errors import LayerError
from nktc.ir import ColorJitter, Phase, Transform
from nktc.layers import Dataset


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """A small cifar10 in a root of its own, and an own cache."""
    small.shrink(monkeypatch)
    small.write_tree(tmp_path / "root" / "cifar10")
    return Places((str(tmp_path / "root"),), tmp_path / "cache", download=False)


def opened(layer: Dataset, places: Places, seed: int = 0) -> Stream:
    return open_stream(layer, Opening(places=places, folder=Path(), seed=seed))


def test_describe_needs_no_data_and_tells_what_batches_are(places: Places) -> None:
    layer = Dataset("cifar10", 7, Phase.TRAIN, transform=Transform(crop=28))
    stream = opened(layer, places)
    assert describe(layer, Path()) == stream.feed
    assert stream.feed.shapes == ((7, 3, 28, 28), (7,))
    assert stream.feed.records == 20
    assert stream.feed.labels == small.LABELS
    batch = stream.batch(0)
    assert tuple(tuple(top.shape) for top in batch) == stream.feed.shapes
    assert {top.dtype for top in batch} == {torch.float32}
    assert (stream.resident, stream.stand_in, stream.missing) == (True, "", "")


def test_batches_wrap_around_and_shuffle_by_epoch(places: Places) -> None:
    plain = opened(Dataset("cifar10", 8, Phase.TRAIN), places)
    twice = torch.cat([plain.batch(k)[0] for k in range(5)])
    assert torch.equal(twice[:20], twice[20:])
    shuffled = opened(Dataset("cifar10", 8, Phase.TRAIN, shuffle=True), places, seed=1)
    mixed = torch.cat([shuffled.batch(k)[0] for k in range(5)])
    sums = [sorted(part.sum(dim=(1, 2, 3)).tolist()) for part in (twice[:20], mixed[:20], mixed[20:])]
    assert sums[0] == sums[1] == sums[2]
    assert not torch.equal(mixed[:20], mixed[20:])
    again = opened(Dataset("cifar10", 8, Phase.TRAIN, shuffle=True), places, seed=1)
    assert torch.equal(again.batch(3)[0], shuffled.batch(3)[0])


def test_a_batch_is_the_callers_to_change(places: Places) -> None:
    stream = opened(Dataset("cifar10", 5, Phase.TEST), places)
    data, labels = stream.batch(0)
    expected = data.clone(), labels.clone()
    data.zero_(), labels.zero_()
    assert all(torch.equal(a, b) for a, b in zip(stream.batch(0), expected, strict=True))


def test_the_mean_of_the_training_split_is_taken_off_in_both_phases(places: Places) -> None:
    train = opened(Dataset("cifar10", 20, Phase.TRAIN), places).batch(0)[0].numpy().astype(np.float64)
    test = opened(Dataset("cifar10", 10, Phase.TEST), places).batch(0)[0].numpy()
    for kind, axes in (("IMAGE", 0), ("CHANNEL", (0, 2, 3))):
        layer = Dataset("cifar10", 10, Phase.TEST, subtract_mean=kind, transform=Transform(scale=0.5))
        stream = opened(layer, places)
        mean = train.mean(axis=axes).reshape(3, -1, 32 if kind == "IMAGE" else 1)
        np.testing.assert_allclose(stream.batch(0)[0], (test - mean) / 2, atol=1e-4)
        found = preprocessing(layer, places, Path())
        assert found is not None
        assert stream.preprocessing is not None
        np.testing.assert_array_equal(found.mean, stream.preprocessing.mean)
        np.testing.assert_allclose(found.mean, mean, rtol=1e-6)
        assert (found.size, found.order, found.scale, found.crop) == ((32, 32), "RGB", 0.5, 0)


def test_a_file_prepared_equals_its_record(places: Places, tmp_path: Path) -> None:
    layer = Dataset("cifar10", 10, Phase.TEST, subtract_mean="IMAGE", transform=Transform(scale=0.1, crop=24))
    data, labels = opened(layer, places).batch(0)
    settings = preprocessing(layer, places, Path())
    assert settings is not None
    for record, label in zip(data, labels.int().tolist(), strict=True):
        file = tmp_path / "root" / "cifar10" / "test" / small.LABELS[label] / "0000.png"
        assert torch.equal(prepare(file, settings), record)


def test_decoded_sets_are_kept_and_used_again(places: Places, tmp_path: Path) -> None:
    first = opened(Dataset("cifar10", 20, Phase.TRAIN), places).batch(0)[0]
    (kept,) = (tmp_path / "cache" / "sets").iterdir()
    assert sorted(file.name for file in kept.iterdir()) == ["test.npz", "train.npz"]
    cat = tmp_path / "root" / "cifar10" / "train" / "cat" / "0000.png"
    times = (cat.parent.stat().st_atime_ns, cat.parent.stat().st_mtime_ns)
    cat.write_bytes(b"never read")
    assert torch.equal(opened(Dataset("cifar10", 20, Phase.TRAIN), places).batch(0)[0], first)
    assert cat.parent.stat().st_mtime_ns == times[1]


def test_a_damaged_or_unwritable_cache_does_no_harm(places: Places, tmp_path: Path) -> None:
    layer = Dataset("cifar10", 20, Phase.TRAIN, subtract_mean="IMAGE")
    first = opened(layer, places).batch(0)[0]
    for file in (tmp_path / "cache" / "sets").rglob("*.np*"):
        file.write_bytes(file.read_bytes()[:100])
    assert torch.equal(opened(layer, places).batch(0)[0], first)
    (tmp_path / "file").touch()
    assert torch.equal(opened(layer, replace(places, cache=tmp_path / "file")).batch(0)[0], first)


def test_half_a_set_is_refused(places: Places, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "root" / "cifar10" / "train" / "dog")
    with pytest.raises(LayerError) as refused:
        opened(Dataset("cifar10", 5, Phase.TEST), places)
    assert str(refused.value) == (
        f"error: {tmp_path / 'root' / 'cifar10'} is not the whole of cifar10: "
        "its train split has 18 images 3x32x32, not 20 images 3x32x32"
    )


def test_missing_data_is_refused_with_every_way_to_provide_it(tmp_path: Path) -> None:
    places = Places((str(tmp_path), f"mnist={tmp_path}/gone"), tmp_path / "cache", download=False)
    with pytest.raises(LayerError) as refused:
        opened(Dataset("mnist", 5, Phase.TRAIN), places)
    assert refused.value.field == "name"
    base = "https://ossci-datasets.s3.amazonaws.com/mnist/"
    assert str(refused.value).splitlines() == [
        'error: the data of "mnist" is missing: it is not on this machine, and downloading is off',
        "help: provide mnist in one of these ways:",
        "  --data PATH, or the environment variable NKTC_DATA=PATH: a folder, or an archive, with",
        "    the four files train-images-idx3-ubyte.gz ... t10k-labels-idx1-ubyte.gz, packed or unpacked",
        "    (in PATH itself or in PATH/mnist; mnist=PATH for this set alone)",
        "  nktc data get mnist --from PATH: the same, kept for every later command",
        f"  download {base}train-images-idx3-ubyte.gz",
        f"  download {base}train-labels-idx1-ubyte.gz",
        f"  download {base}t10k-images-idx3-ubyte.gz",
        f"  download {base}t10k-labels-idx1-ubyte.gz",
        f"    to {tmp_path}/cache/downloads/mnist",
        f"looked in {tmp_path}",
        f"looked in mnist={tmp_path}/gone, which is not there",
    ]


def unreachable(monkeypatch: pytest.MonkeyPatch) -> Download:
    """cifar10's official address is one that nobody answers."""
    nobody = Download("http://127.0.0.1:9/cifar-10-binary.tar.gz", "md5:0", 1)
    monkeypatch.setitem(KNOWN, "cifar10", replace(KNOWN["cifar10"], downloads=(nobody,)))  # type: ignore[misc]
    monkeypatch.setattr("nktc.data.sets.download.time.sleep", lambda seconds: None)
    return nobody


def test_a_failed_download_is_the_reason_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = unreachable(monkeypatch)
    with pytest.raises(LayerError) as refused:
        opened(Dataset("cifar10", 5, Phase.TRAIN), Places((), tmp_path))
    assert refused.value.message == (
        f'the data of "cifar10" is missing: it is not on this machine, and {nobody.url} cannot be read '
        "(connection refused)"
    )
    assert "  images as train/<class>/*.jpg and test/<class>/*.jpg, in a folder" in refused.value.help


def test_a_declared_stand_in_takes_the_place_of_missing_data(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = Dataset("cifar10", 5, Phase.TRAIN, stand_in="shapes10", subtract_mean="IMAGE")
    stream = opened(layer, replace(places, roots=()))
    assert stream.stand_in == "shapes10"
    assert stream.missing == "it is not on this machine, and downloading is off"
    assert stream.feed.labels == KNOWN["shapes10"].labels
    assert stream.batch(0)[0].shape == (5, 3, 32, 32)
    assert describe(layer, Path()).labels == small.LABELS
    unreachable(monkeypatch)
    stream = opened(layer, Places((), tmp_path / "cache"))
    assert (stream.stand_in, "connection refused" in stream.missing) == ("shapes10", True)


def test_data_that_is_there_needs_no_stand_in_and_bad_data_gets_none(places: Places, tmp_path: Path) -> None:
    layer = Dataset("cifar10", 5, Phase.TRAIN, stand_in="shapes10")
    assert opened(layer, places).stand_in == ""
    (tmp_path / "root" / "cifar10" / "train" / "cat" / "0000.png").write_bytes(b"words")
    with pytest.raises(LayerError, match=r"cat/0000\.png is not an image"):
        opened(layer, replace(places, cache=tmp_path / "other"))


@pytest.mark.parametrize(
    ("layer", "field", "text"),
    [
        (
            Dataset("cifar10", 5, Phase.TRAIN, stand_in="digits"),
            "stand_in",
            'error: "digits" cannot stand in for "cifar10": 10 classes of 1x8x8, not 10 classes of 3x32x32',
        ),
        (
            Dataset("cifra10", 5, Phase.TRAIN),
            "name",
            'error: unknown data set "cifra10"\nhelp: did you mean "cifar10"?',
        ),
        (
            Dataset("imagenet", 5, Phase.TRAIN),
            "name",
            'error: unknown data set "imagenet"\n'
            "help: the data sets are cifar10, cifar100, mnist, fashion-mnist, digits, shapes10",
        ),
        (
            Dataset("california-housing", 5, Phase.TRAIN),
            "name",
            "error: california-housing is a table, not a set of images\nhelp: a TableData layer reads it",
        ),
        (
            Dataset("digits", 5, Phase.TRAIN, stand_in="shapes"),
            "stand_in",
            'error: unknown data set "shapes"\nhelp: did you mean "shapes10"?',
        ),
        (
            Dataset("digits", 5, Phase.TRAIN, transform=Transform(crop=9)),
            "crop_size",
            "error: crop 9x9 is larger than its image 8x8",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused_before_any_data_is_read(layer: Dataset, field: str, text: str) -> None:
    with pytest.raises(LayerError) as refused:
        describe(layer, Path())
    assert (refused.value.field, str(refused.value)) == (field, text)


def test_a_place_named_for_a_set_that_does_not_hold_it_is_refused(places: Places, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    named = replace(places, roots=(f"cifar10={tmp_path / 'empty'}",))
    layer = Dataset("cifar10", 5, Phase.TRAIN, stand_in="shapes10")
    with pytest.raises(LayerError) as refused:
        opened(layer, named)
    assert refused.value.message == f"{tmp_path / 'empty'} does not hold cifar10"


def test_two_means_are_refused(places: Places) -> None:
    layer = Dataset("digits", 5, Phase.TRAIN, subtract_mean="IMAGE", transform=Transform(mean_values=(1.0,)))
    with pytest.raises(LayerError) as refused:
        opened(layer, places)
    assert str(refused.value) == "error: subtract_mean and mean_value are both given\nhelp: keep one of them"


def test_a_mean_file_serves_a_set_too(places: Places, tmp_path: Path) -> None:
    write_mean(tmp_path / "m.binaryproto", np.full((1, 8, 8), 3, np.float32))
    plain = Dataset("digits", 5, Phase.TEST)
    layer = replace(plain, transform=Transform(mean_file=str(tmp_path / "m.binaryproto")))
    assert torch.equal(opened(layer, places).batch(0)[0], opened(plain, places).batch(0)[0] - 3)


def test_colours_are_jittered_in_the_order_of_the_sets_planes(tmp_path: Path) -> None:
    jitter = ColorJitter(saturation=1, hue=90)
    places = Places.from_environment(download=False)  # the set is drawn once for all tests
    layer = Dataset("shapes10", 20, Phase.TRAIN, transform=Transform(color_jitter=jitter), phase=Phase.TRAIN)
    plain = Dataset("shapes10", 20, Phase.TRAIN, phase=Phase.TRAIN)
    found, given = (open_stream(one, Opening(places, tmp_path, seed=3)).batch(0)[0] for one in (layer, plain))
    counters = np.arange(20)
    assert torch.equal(found, jittered(given.byte(), jitter, "RGB", 3, counters).float())
    assert not torch.equal(found, jittered(given.byte(), jitter, "BGR", 3, counters).float())
