"""The file beside an engine's file: what goes in comes out, and what does not belong to it is told."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import onnx
import pytest
import torch

from nktc import __version__
from nktc.engines import Facts, sidecar
from nktc.engines.sidecar import Sidecar
from nktc.errors import NktcError
from nktc.ir import Preprocessing


@pytest.fixture
def file(tmp_path):
    made = tmp_path / "net.engine"
    made.write_bytes(b"an engine")
    return made


def test_what_is_written_is_read_again(file):
    picture = Preprocessing((8, 9), "RGB", np.float32([1, 2, 3]), 0.5, std=np.float32([4]))
    facts = Facts({"x": picture}, ("cat", "Hündin"), {"net": "net.prototxt sha256:12"})
    given = Sidecar(
        "tensorrt",
        "11.4",
        device="H100",
        capability="9.0",
        driver="580",
        asked=("f16",),
        found={"f16": 0.75, "f32": 0.25},
        batch=4,
        threads=2,
        settings={"tf32": False},
        facts=facts,
        measured={"milliseconds": 1.5},
    )
    written = sidecar.write(file, given)
    assert sidecar.place(file) == file.with_name("net.engine.json")
    found = sidecar.read(file)
    for name in ("engine", "runtime", "sha256", "device", "capability", "driver", "asked", "found", "batch", "threads"):
        assert getattr(found, name) == getattr(written, name)
    assert found.sha256 == hashlib.sha256(b"an engine").hexdigest()
    assert (found.settings, found.measured) == ({"tf32": False}, {"milliseconds": 1.5})
    assert found.versions == {"nktc": __version__, "torch": torch.__version__, "onnx": onnx.__version__}
    assert found.created == given.created
    assert found.created.endswith("+00:00")
    assert (found.facts.labels, found.facts.origin) == (facts.labels, facts.origin)
    back = found.facts.preprocessing["x"]
    assert (back.size, back.order, back.scale) == ((8, 9), "RGB", 0.5)
    np.testing.assert_array_equal(back.mean, picture.mean)
    np.testing.assert_array_equal(back.std, picture.std)


def test_a_file_without_a_sidecar_has_none(file):
    assert sidecar.read(file) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        "{}",
        '"text"',
        '{"format": 1}',
        '{"format": 1, "preprocessing": {}, "labels": [], "origin": {}, "asked": []}',
        '{"format": 1, "preprocessing": {"x": 3}, "labels": [], "origin": {}, "asked": []}',
        "\x00\xff",
    ],
)
def test_a_damaged_sidecar_is_told(text, file):
    sidecar.place(file).write_text(text)
    with pytest.raises(NktcError) as caught:
        sidecar.read(file)
    assert caught.value.message.startswith(f"the sidecar {file}.json is damaged: ")
    assert "\n" not in caught.value.message
    assert caught.value.help == "make the file and its sidecar again with nktc optimize"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("engine", 3),
        ("sha256", None),
        ("batch", "1"),
        ("settings", []),
        ("found", 1),
        ("asked", 5),
        ("more", 1),
        ("batch", -3),
        ("threads", -1),
        ("streams", 0),
    ],
)
def test_a_field_of_another_kind_is_damage(field, value, file):
    sidecar.write(file, Sidecar("tensorrt", "11.4"))
    said = json.loads(sidecar.place(file).read_text())
    sidecar.place(file).write_text(json.dumps(said | {field: value}))
    with pytest.raises(NktcError, match="is damaged"):
        sidecar.read(file)


@pytest.mark.parametrize(
    ("text", "said"), [("[]", "it is no JSON object"), ("null", "it is no JSON object"), ("{}", 'it has no "format"')]
)
def test_damage_is_told_in_words_of_the_file(text, said, file):
    sidecar.place(file).write_text(text)
    with pytest.raises(NktcError, match=f"is damaged: {said}\n"):
        sidecar.read(file)


def test_every_cut_of_a_sidecar_is_told(file):
    sidecar.write(file, Sidecar("tensorrt", "11.4", facts=Facts(labels=("a",))))
    whole = sidecar.place(file).read_bytes()
    for length in range(0, len(whole) - 2, 7):
        sidecar.place(file).write_bytes(whole[:length])
        with pytest.raises(NktcError, match="is damaged"):
            sidecar.read(file)


def test_a_later_format_is_not_guessed_at(file):
    sidecar.place(file).write_text('{"format": 2}')
    with pytest.raises(NktcError) as caught:
        sidecar.read(file)
    assert str(caught.value) == f"error: {file}.json is of format 2, this nktc reads 1\nhelp: update nktc"


def test_a_file_that_is_not_the_one_told_of_is_refused(file):
    known = sidecar.write(file, Sidecar("tensorrt", "11.4"))
    sidecar.check_file(file, known)
    file.write_bytes(b"an engin")
    with pytest.raises(NktcError) as caught:
        sidecar.check_file(file, known)
    was, now = (hashlib.sha256(data).hexdigest()[:12] for data in (b"an engine", b"an engin"))
    assert caught.value.message == (
        f"{file} is not the file that its sidecar tells of, it is truncated or changed: sha256 {now}…, not {was}…"
    )
    file.unlink()
    with pytest.raises(NktcError, match=f"cannot read {file}: No such file"):
        sidecar.check_file(file, known)


def test_sources_that_changed_make_a_file_stale(file):
    source = file.with_name("my net.prototxt")
    source.write_text("net")
    origin = {
        "net": f"my net.prototxt sha256:{hashlib.sha256(b'net').hexdigest()}",
        "weights": "gone.caffemodel sha256:" + "0" * 64,
        "note": "anything else",
    }
    known = Sidecar("tensorrt", "11.4", facts=Facts(origin=origin))
    sidecar.check_sources(file, known)
    source.write_text("another")
    with pytest.raises(NktcError) as caught:
        sidecar.check_sources(file, known)
    assert caught.value.message.startswith(f"{file} is stale, {source} has changed since it was made: sha256 ")
