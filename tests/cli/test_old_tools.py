"""Caffe's old tools by their names: the command lines of Caffe's own scripts, and what they write."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from nktc import data, train, weights
from nktc.cli import OLD_TOOLS, nktc
from nktc.errors import NktcError
from nktc.schema import BlobProto, Datum, NetParameter, V1LayerParameter

SMALL = """
    layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }
    layer { name: "scale" type: "Scale" bottom: "data" top: "scaled" }
    layer { name: "mean" type: "Pooling" bottom: "scaled" top: "mean" pooling_param { pool: AVE global_pooling: true } }
"""


def run(*line: object) -> Result:
    """In this process; an NktcError comes up as it would in main()."""
    return CliRunner().invoke(nktc, [str(word) for word in line], prog_name="nktc")


def records(path: Path) -> dict[str, Datum]:
    database = data.open_database(path)
    return {key.decode(): Datum.FromString(bytes(value)) for key, value in database.read(0, database.records)}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of two pictures, and a list that names a third too."""
    folder = tmp_path / "images"
    (folder / "a").mkdir(parents=True)
    for name, side in (("a/1.png", 6), ("b 2.png", 8)):
        cv2.imwrite(str(folder / name), np.random.default_rng(side).integers(0, 255, (side, 7, 3), dtype=np.uint8))
    (tmp_path / "list.txt").write_text("a/1.png 3\na/gone.png 1\nb 2.png 5\n")
    return folder


def test_the_help_has_every_tool_with_what_does_its_work_today():
    shown = run("--help").stdout
    assert all(f"  {name} " in shown for name in OLD_TOOLS)


@pytest.mark.parametrize(
    "line", ["train -solver=nowhere -gpu 0", "test -weights=x -model nowhere", "time -model=nowhere"]
)
def test_caffes_own_commands_take_single_dashes_too(line: str):
    done = run(*line.split())
    assert done.exit_code == 2
    assert "'nowhere' does not exist" in done.stderr


def test_caffes_own_commands_take_its_gpu_and_stages(tmp_path: Path, monkeypatch):
    (tmp_path / "net").write_text('layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }')
    (tmp_path / "weights").touch()
    seen = {}
    monkeypatch.setattr(
        train, "score", lambda *given: seen.update(device=given[3], level=given[5], stages=given[6]) or []
    )
    line = ["test", "-model", tmp_path / "net", "-weights", tmp_path / "weights"]
    for given, device in {"1": "cuda:1", "2,0": "cuda:2", "all": "cuda:0", "": "auto"}.items():
        assert run(*line, f"-gpu={given}", "-stage", "a,b", "-level=3").exit_code == 0
        assert seen == {"device": device, "level": 3, "stages": ("a", "b")}
    assert "--gpu and --device exclude each other" in run(*line, "-gpu", "0", "--device=cpu").stderr
    assert '"one" names no GPU: write 0' in run(*line, "-gpu", "one").stderr


def test_caffes_train_takes_stages_and_its_own_settings_go_where_they_belong(tmp_path: Path, monkeypatch):
    (tmp_path / "solver").touch()
    seen = []
    monkeypatch.setattr(train, "launch", lambda solver, chosen, console: seen.append(chosen))
    run("train", "-solver", tmp_path / "solver", "-stage=a,b", "-level", 2, "--workers", 5, "--cache", "2GB")
    (chosen,) = seen
    assert (chosen.level, chosen.stages, chosen.workers, chosen.records) == (2, ("a", "b"), 5, None)


def test_convert_imageset_writes_caffes_records(pictures: Path, tmp_path: Path):
    done = run(
        "convert_imageset",
        "-resize_height=5",
        "--resize_width",
        "4",
        f"{pictures}/",
        tmp_path / "list.txt",
        tmp_path / "db",
    )
    assert done.exit_code == 0
    assert "list.txt:2: a/gone.png cannot be read" in done.stderr
    assert "Processed 2 files." in done.stderr
    found = records(tmp_path / "db")
    assert [*found] == ["00000000_a/1.png", "00000002_b 2.png"]
    wanted = cv2.resize(cv2.imread(str(pictures / "b 2.png")), (4, 5)).transpose(2, 0, 1)
    datum = Datum(channels=3, height=5, width=4, data=wanted.tobytes(), label=5, encoded=False)
    assert found["00000002_b 2.png"] == datum


def test_convert_imageset_keeps_files_and_sizes(pictures: Path, tmp_path: Path):
    listing = tmp_path / "list.txt"
    done = run(
        "convert_imageset",
        "--encoded=true",
        "-resize_width",
        "9",
        "-backend=lmdb",
        "-gray=0",
        pictures,
        listing,
        tmp_path / "db",
    )
    assert "note: pictures keep their sizes" in done.stderr
    assert records(tmp_path / "db")["00000000_a/1.png"].data == (pictures / "a/1.png").read_bytes()
    run("convert_imageset", "--encode_type=jpg", "-gray", pictures, listing, tmp_path / "gray")
    kept = np.frombuffer(records(tmp_path / "gray")["00000000_a/1.png"].data, np.uint8)
    assert cv2.imdecode(kept, cv2.IMREAD_UNCHANGED).shape == (6, 7)
    assert "sizes differ" in str(run("convert_imageset", "-check_size", pictures, listing, tmp_path / "x").exception)
    refused = run("convert_imageset", "-backend", "leveldb", pictures, listing, tmp_path / "x").exception
    assert "nktc reads LevelDB and does not write it" in str(refused)
    assert not (tmp_path / "x").exists()


def test_convert_imageset_takes_the_root_of_all_files_without_looking_through_it(
    pictures: Path, tmp_path: Path, monkeypatch
):
    (tmp_path / "all.txt").write_text(f"{pictures}/a/1.png 4\n")
    monkeypatch.setattr("os.walk", lambda *_, **__: pytest.fail("it looks through folders"))
    assert run("convert_imageset", "/", tmp_path / "all.txt", tmp_path / "db").exit_code == 0
    assert [*records(tmp_path / "db")] == [f"00000000_{pictures}/a/1.png"]


def test_compute_image_mean_writes_the_mean_and_says_that_of_each_channel(pictures: Path, tmp_path: Path):
    (tmp_path / "list.txt").write_text("a/1.png 3\na/1.png 4\n")
    run("convert_imageset", pictures, tmp_path / "list.txt", tmp_path / "db")
    done = run("compute_image_mean", "-backend=lmdb", tmp_path / "db", tmp_path / "mean.binaryproto")
    picture = cv2.imread(str(pictures / "a/1.png"))
    for channel, mean in enumerate(picture.mean((0, 1))):
        assert f"mean_value channel [{channel}]: {mean:g}\n" in done.stderr
    blob = BlobProto.FromString((tmp_path / "mean.binaryproto").read_bytes())
    assert (blob.num, blob.channels, blob.height, blob.width) == (1, 3, 6, 7)
    np.testing.assert_array_equal(blob.data, picture.transpose(2, 0, 1).ravel())
    assert run("compute_image_mean", tmp_path / "db").exit_code == 0


def test_old_texts_are_upgraded(tmp_path: Path):
    (tmp_path / "net").write_text('layers { name: "r" type: RELU bottom: "x" top: "x" }  # in place\n')
    done = run("upgrade_net_proto_text", tmp_path / "net", tmp_path / "new")
    assert (tmp_path / "new").read_text() == 'layer { name: "r" type: "ReLU" bottom: "x" top: "x" }  # in place\n'
    assert done.stderr == f"Wrote upgraded NetParameter text proto to {tmp_path / 'new'}\n"
    again = run("upgrade_net_proto_text", tmp_path / "new", tmp_path / "newer")
    assert again.stderr.startswith("File already in latest proto format: ")
    assert (tmp_path / "newer").read_text() == (tmp_path / "new").read_text()
    (tmp_path / "solver").write_text('net: "x"\nsolver_type: ADAM\n')
    assert run("upgrade_solver_proto_text", tmp_path / "solver", tmp_path / "new").exit_code == 0
    assert (tmp_path / "new").read_text() == 'net: "x"\ntype: "Adam"\n'
    for tool, file, said in (("solver", "net", "is a net, not a solver"), ("net", "solver", "is a solver, not a net")):
        refused = run(f"upgrade_{tool}_proto_text", tmp_path / file, tmp_path / "none").exception
        assert said in str(refused)
        assert not (tmp_path / "none").exists()


def test_an_old_caffemodel_is_upgraded_with_its_weights(tmp_path: Path):
    old = V1LayerParameter(name="ip", type="INNER_PRODUCT", bottom=["x"], top=["y"], blobs_lr=[1, 2])
    old.inner_product_param.num_output = 2
    old.blobs.add(num=1, channels=1, height=2, width=3, data=range(6))
    old.blobs.add(num=1, channels=1, height=1, width=2, data=[7, 8])
    net = NetParameter(name="old", input=["x"], input_dim=[1, 3, 1, 1], layers=[old])
    (tmp_path / "old.caffemodel").write_bytes(net.SerializeToString())
    assert run("upgrade_net_proto_binary", tmp_path / "old.caffemodel", tmp_path / "new.caffemodel").exit_code == 0
    new = NetParameter.FromString((tmp_path / "new.caffemodel").read_bytes())
    assert [layer.type for layer in new.layer] == ["Input", "InnerProduct"]
    assert (new.name, [param.lr_mult for param in new.layer[1].param]) == ("old", [1, 2])
    assert [*new.layer[1].blobs] == [*old.blobs]
    found = weights.read(tmp_path / "new.caffemodel")
    assert [blob.shape for blob in found["ip"] if blob is not None] == [(1, 1, 2, 3), (1, 1, 1, 2)]


def test_extract_features_takes_lists_of_blobs_and_data_sets(pictures: Path, tmp_path: Path, small: tuple[Path, Path]):
    run("convert_imageset", "-resize_height=4", "-resize_width=4", pictures, tmp_path / "list.txt", tmp_path / "db")
    source = f'layer {{ name: "data" type: "Data" top: "data" data_param {{ source: "{tmp_path}/db" batch_size: 2 }} }}'
    (tmp_path / "net.prototxt").write_text(
        source.replace("batch_size", "backend: LMDB batch_size") + SMALL.partition("\n    layer")[2].partition("\n")[2]
    )
    line = ["extract_features", small[1], tmp_path / "net.prototxt"]
    done = run(*line, "scaled,mean", f"{tmp_path}/s,{tmp_path}/m", 1, "lmdb", "CPU")
    assert "Extracted features of 2 query images for feature blob mean" in done.stderr
    picture = cv2.resize(cv2.imread(str(pictures / "a/1.png")), (4, 4))
    np.testing.assert_allclose(
        records(tmp_path / "m")["0000000000"].float_data, picture.mean((0, 1)) * (1, 2, 3), rtol=1e-5
    )
    wrong = run(*line, "scaled,mean", tmp_path / "x", 1, "lmdb")
    assert "there are 2 blobs and 1 data sets to put them into" in wrong.stderr


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, Path]:
    """A net that gives the means of the channels times 1, 2 and 3, and its weights."""
    (tmp_path / "small.prototxt").write_text(SMALL)
    message = NetParameter()
    layer = message.layer.add(name="scale", type="Scale")
    layer.blobs.add(data=[1, 2, 3]).shape.dim.append(3)
    (tmp_path / "small.caffemodel").write_bytes(message.SerializeToString())
    return tmp_path / "small.prototxt", tmp_path / "small.caffemodel"


def test_classify_writes_what_the_net_says_of_pictures(pictures: Path, tmp_path: Path, small: tuple[Path, Path]):
    line = ["--model_def", small[0], "--pretrained_model", small[1], "--images_dim", "4,4", "--center_only"]
    done = run("classify", pictures, tmp_path / "out", *line, "--mean_file=", "--ext", "png")
    assert done.stdout == f"Classifying 1 inputs.\nSaving results into {tmp_path / 'out.npy'}\n"
    run(
        "classify",
        pictures / "b 2.png",
        tmp_path / "b.npy",
        *line,
        "--mean_file",
        "",
        "--channel_swap",
        "0,1,2",
        "--raw_scale=1",
    )
    picture = cv2.imread(str(pictures / "b 2.png"))[:, :, ::-1] / 255
    # Bilinear at half the height takes the mean of two rows.
    assert np.load(tmp_path / "b.npy").shape == (1, 3, 1, 1)
    np.testing.assert_allclose(np.load(tmp_path / "b.npy").ravel()[0], picture[..., 0].mean(), atol=0.1)
    assert "Missing option '--mean_file'" in run("classify", pictures, tmp_path / "x", *line).stderr
    sizes = [*line[:4], "--images_dim", "4", "--mean_file="]
    assert '"4" is no height and width' in run("classify", pictures, tmp_path / "x", *sizes).stderr
    assert (
        "is no list of whole numbers" in run("classify", pictures, tmp_path / "x", *line, "--channel_swap", "a").stderr
    )


def test_detect_writes_what_the_net_says_of_windows(pictures: Path, tmp_path: Path, small: tuple[Path, Path]):
    (tmp_path / "w.csv").write_text(f"filename,ymin,xmin,ymax,xmax\n{pictures}/b 2.png,1,2,5,6\n")
    line = [tmp_path / "w.csv", tmp_path / "out.csv", "--model_def", small[0], "--pretrained_model", small[1]]
    done = run("detect", *line, "--mean_file=", "--crop_mode", "list", "--context_pad", 0)
    assert done.stdout == f"Processed 1 windows: {tmp_path / 'out.csv'}\n"
    row = (tmp_path / "out.csv").read_text().splitlines()[1].split(",")
    means = cv2.imread(str(pictures / "b 2.png"))[1:5, 2:6].mean((0, 1))
    np.testing.assert_allclose([float(word) for word in row[5:]], means * (1, 2, 3), rtol=1e-5)
    assert isinstance(run("detect", *line, "--mean_file=").exception, NktcError)


def test_draw_net_draws(tmp_path: Path, small: tuple[Path, Path]):
    done = run("draw_net", small[0], tmp_path / "net.dot", "--rankdir", "TB", "--phase=TEST", "--display_lrm")
    assert done.stdout == f"Drawing net to {tmp_path / 'net.dot'}\n"
    assert '"mean (Pooling AVE) kernel size: all stride: 1 pad: 0"' in (tmp_path / "net.dot").read_text()
    if shutil.which("dot"):
        assert run("draw_net", small[0], tmp_path / "net.png").exit_code == 0
        assert (tmp_path / "net.png").read_bytes().startswith(b"\x89PNG")


def test_parse_log_writes_tables(tmp_path: Path):
    (tmp_path / "caffe.INFO").write_text(
        "I0101 00:00:00.000001 1 solver.cpp:291] Solving x\n"
        "I0101 00:00:01.000001 1 solver.cpp:239] Iteration 0, loss = 2\n"
        "I0101 00:00:01.000001 1 solver.cpp:258]     Train net output #0: loss = 2.5 (* 1 = 2.5 loss)\n"
    )
    done = run("parse_log", tmp_path / "caffe.INFO", tmp_path, "--verbose", "--delimiter", ";")
    assert done.stdout == f"Wrote {tmp_path / 'caffe.INFO.train'}\n"
    assert (tmp_path / "caffe.INFO.train").read_text().split() == [
        "NumIters;Seconds;LearningRate;loss",
        "0.0;1.0;nan;2.5",
    ]
