"""Blobs over a net's own data, as extract_features writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nktc import data
from nktc.data import new_database, open_database
from nktc.errors import NktcError
from nktc.inference import extract
from nktc.schema import BlobProto, Datum, LayerParameter, NetParameter

PIXELS = np.random.default_rng(0).integers(0, 255, (3, 2, 2, 2), dtype=np.uint8)
NET = """
    layer {{ name: "data" type: "Data" top: "data" top: "label" transform_param {{ scale: 0.5 }}
            data_param {{ source: "{folder}/db" batch_size: 2 backend: LMDB }} }}
    layer {{ name: "scale" type: "Scale" bottom: "data" top: "scaled" }}
    layer {{ name: "relu" type: "ReLU" bottom: "scaled" top: "scaled" relu_param {{ negative_slope: 2 }} }}
    layer {{ name: "mean" type: "Reduction" bottom: "scaled" top: "mean"
            reduction_param {{ operation: MEAN axis: 1 }} }}
    layer {{ name: "loss" type: "Reduction" bottom: "mean" top: "sum" }}
"""
FACTORS = np.array([-1.0, 3.0])


@pytest.fixture
def net(tmp_path: Path) -> Path:
    with new_database(tmp_path / "db", {}) as writer:
        for i, pixels in enumerate(PIXELS):
            datum = Datum(channels=2, height=2, width=2, data=pixels.tobytes(), label=i + 4)
            writer.write([(b"%08d" % i, datum.SerializeToString())])
    scale = LayerParameter(name="scale", type="Scale", blobs=[BlobProto(shape={"dim": [2]}, data=FACTORS)])
    (tmp_path / "net.caffemodel").write_bytes(NetParameter(layer=[scale]).SerializeToString())
    (tmp_path / "net.prototxt").write_text(NET.format(folder=tmp_path))
    return tmp_path / "net.prototxt"


def records(path: Path) -> list[tuple[bytes, Datum]]:
    database = open_database(path)
    return [(key, Datum.FromString(bytes(value))) for key, value in database.read(0, database.records)]


def test_every_row_of_every_blob_is_a_record_of_floats(net: Path):
    places = [("scaled", net.parent / "a"), ("mean", net.parent / "b"), ("label", net.parent / "c")]
    counts = extract(net, [net.with_suffix(".caffemodel")], places, 2)
    assert counts == {"scaled": 4, "mean": 4, "label": 4}
    wanted = PIXELS[[0, 1, 2, 0]] * 0.5 * FACTORS[:, None, None]
    wanted = np.where(wanted < 0, 2 * wanted, wanted)
    for (key, datum), number, values in zip(records(net.parent / "a"), range(4), wanted, strict=True):
        assert key == b"%010d" % number
        assert (datum.channels, datum.height, datum.width, datum.data) == (2, 2, 2, b"")
        np.testing.assert_allclose(np.reshape(datum.float_data, (2, 2, 2)), values)
    means = [datum.float_data[0] for _, datum in records(net.parent / "b")]
    np.testing.assert_allclose(means, wanted.mean((1, 2, 3)), rtol=1e-6)
    assert [datum.float_data[0] for _, datum in records(net.parent / "c")] == [4, 5, 6, 4]
    parsed = data.parse_datum(records(net.parent / "b")[0][1].SerializeToString())
    assert parsed.values.shape == (1, 1, 1)


def test_a_blob_of_one_number_is_a_record_a_batch(net: Path):
    assert extract(net, [net.with_suffix(".caffemodel")], [("sum", net.parent / "a")], 3) == {"sum": 3}


@pytest.mark.parametrize(
    ("blob", "settings", "said"),
    [
        ("scald", {}, 'net.prototxt has no blob "scald"'),
        ("mean", {"backend": "leveldb"}, "nktc reads LevelDB and does not write it"),
        ("mean", {"gpu": 99}, "GPU 99 cannot be had"),
        ("mean", {"files": []}, " has no weights for scale"),
    ],
)
def test_what_cannot_be_had_is_refused_and_nothing_is_written(net: Path, blob: str, settings: dict, said: str):
    files = settings.pop("files", [net.with_suffix(".caffemodel")])
    with pytest.raises(NktcError, match=said):
        extract(net, files, [(blob, net.parent / "out")], 1, **settings)
    assert not (net.parent / "out").exists()


def test_what_is_there_is_not_written_over(net: Path):
    files = [net.with_suffix(".caffemodel")]
    with pytest.raises(NktcError, match="db is there already"):
        extract(net, files, [("mean", net.parent / "db")], 1)
    with pytest.raises(NktcError, match="a is given for two blobs"):
        extract(net, files, [("mean", net.parent / "a"), ("scaled", net.parent / "a")], 1)


def test_a_net_without_data_layers_is_refused(net: Path):
    net.write_text('layer { name: "x" type: "DummyDat" top: "x" }'.replace("DummyDat", "Input"))
    with pytest.raises(NktcError):
        extract(net, [], [("x", net.parent / "a")], 1)
