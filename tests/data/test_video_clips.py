"""VideoData: the frames of clips come where TSN's and C3D's Caffe have them, and are cut and mirrored as one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from nktc import data
from nktc.data import Opening, Places, describe, open_stream, supposed
from nktc.errors import LayerError, NktcError
from nktc.ir import Phase, Transform
from nktc.layers import VideoData
from nktc.schema import BlobProto

NOWHERE = Places((), Path("nowhere"), download=False)
HEIGHT, WIDTH, FRAMES = 8, 12, 20


def opened(layer: VideoData, folder: Path, seed: int = 0) -> data.Stream:
    return open_stream(layer, Opening(places=NOWHERE, folder=folder, seed=seed))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of 20 frames as pictures, whose values are random but for the first, the number of the frame."""
    folder, random = tmp_path_factory.mktemp("clips"), np.random.default_rng(4)
    for name in ("a", "b"):
        (folder / name).mkdir()
        for number in range(1, FRAMES + 1):
            for file in (f"img_{number:05d}.png", f"flow_x_{number:05d}.png", f"flow_y_{number:05d}.png"):
                channels = 1 if file.startswith("flow") else 3
                frame = random.integers(0, 256, (HEIGHT, WIDTH, channels), np.uint8)
                frame[:, :, 0] = frame[:, :, 0] // 32 * 32 + number
                cv2.imwrite(str(folder / name / file), frame)
            kept = cv2.imread(str(folder / name / f"img_{number:05d}.png"))
            assert kept is not None
            cv2.imwrite(str(folder / name / f"{number:06d}.jpg"), kept)
    (folder / "tsn.txt").write_text("a 20 3\nb 20 1\n")
    (folder / "c3d.txt").write_text("a 1 3\nb 7 1\n")
    return folder


TSN = VideoData("tsn.txt", 2, 2, False, 3, "img_%05d.png")
FLOW = replace(TSN, pattern="flow_%c_%05d.png", channels=2)
C3D = VideoData("c3d.txt", 2, 4)


def frame(files: Path, name: str, flag: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """f32[c h w] of a picture."""
    picture = cv2.imread(str(files / name), flag)
    assert picture is not None
    return np.atleast_3d(picture).transpose(2, 0, 1).astype(np.float32)


def test_tsns_test_takes_the_middle_of_each_segment(files: Path) -> None:
    assert describe(TSN, files).shapes == ((2, 18, HEIGHT, WIDTH), (2, 1, 1, 1))
    clips, labels = opened(TSN, files).batch(0)
    # 20 // 3 is 6 frames a segment, so 5 places for 2 frames: (6 - 2 + 1) // 2 is 2, and names count from 1.
    wanted = [3, 4, 9, 10, 15, 16]
    for at, name in enumerate("ab"):
        expected = np.concatenate([frame(files, f"{name}/img_{n:05d}.png") for n in wanted])
        np.testing.assert_array_equal(clips[at], expected)
    assert labels.flatten().tolist() == [3, 1]


def test_tsns_flow_has_both_directions_in_turn(files: Path) -> None:
    clips, _ = opened(replace(FLOW, segments=1), files).batch(0)
    names = [f"a/flow_{way}_{n:05d}.png" for n in (10, 11) for way in "xy"]  # (20 - 2 + 1) // 2 is 9
    np.testing.assert_array_equal(clips[0], np.concatenate([frame(files, n, cv2.IMREAD_GRAYSCALE) for n in names]))


def test_tsns_training_draws_a_place_in_each_segment(files: Path) -> None:
    stream, starts = opened(replace(TSN, phase=Phase.TRAIN), files, seed=5), set()
    for k in range(60):
        numbers = stream.batch(k)[0][0, ::3, 0, 0].numpy().astype(int) % 32  # of the frames, by their first plane
        for i, (first, second) in enumerate(numbers.reshape(3, 2)):
            assert second == first + 1
            assert i * 6 < first <= i * 6 + 5
            starts.add((i, int(first) - i * 6))
    assert len(starts) == 15  # all five places of all three


def test_a_video_shorter_than_its_segments_gives_its_first_frames(files: Path, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text(f"{files}/a 5 0\n")
    for phase in Phase.TRAIN, Phase.TEST:
        layer = replace(TSN, source_path="short.txt", batch=1, phase=phase)
        clips, _ = opened(layer, tmp_path).batch(0)
        assert (clips[0, ::3, 0, 0].int() % 32).tolist() == [1, 2, 1, 2, 1, 2]


def test_what_is_mirrored_of_flow_has_x_turned_about(files: Path) -> None:
    plain = opened(FLOW, files).batch(0)[0]
    layer = replace(FLOW, mirror=True, inverts=True, phase=Phase.TRAIN, segments=1, length=FRAMES)
    whole = opened(replace(layer, mirror=False), files).batch(0)[0]
    turned = whole.flip(-1).clone()
    turned[:, ::2] = 255 - turned[:, ::2]
    seen = set()
    stream = opened(layer, files)
    for k in range(12):
        for got, straight, about in zip(stream.batch(k)[0], whole, turned, strict=True):
            assert torch.equal(got, straight) or torch.equal(got, about)
            seen.add(torch.equal(got, about))
    assert seen == {True, False}
    assert plain.shape == (2, 12, HEIGHT, WIDTH)


def test_fixed_crops_are_at_five_or_thirteen_places(files: Path) -> None:
    whole = opened(replace(TSN, segments=1, length=FRAMES), files).batch(0)[0]
    for places in 5, 13:
        layer = replace(TSN, segments=1, length=FRAMES, crop=3, places=places, phase=Phase.TRAIN)
        stream, seen = opened(layer, files), set()
        for k in range(60):
            (cut, _) = stream.batch(k)[0]
            at = [
                (top, left)
                for top in range(HEIGHT - 2)
                for left in range(WIDTH - 2)
                if torch.equal(whole[0, :, top : top + 3, left : left + 3], cut)
            ]
            seen.update(at)
        # a quarter of what is left is 5 // 4 rows and 9 // 4 columns
        corners = {(0, 0), (0, 8), (4, 0), (4, 8), (2, 4)}
        more = {(0, 4), (4, 4), (2, 0), (2, 8), (1, 2), (1, 6), (3, 2), (3, 6)}
        assert seen == (corners if places == 5 else corners | more)


def test_a_crop_of_another_size_is_brought_to_the_nets(files: Path) -> None:
    layer = replace(TSN, segments=1, length=FRAMES, crop=4, sizes=(1.0, 0.5), distort=0, phase=Phase.TRAIN, places=5)
    whole = opened(replace(TSN, segments=1, length=FRAMES), files).batch(0)[0].numpy().astype(np.uint8)
    stream, seen = opened(layer, files), set()
    for k in range(20):
        cut = stream.batch(k)[0][0].numpy()
        for side in 4, 8:  # half the shorter side, and all of it
            rows, columns = (HEIGHT - side) // 4, (WIDTH - side) // 4
            for i, j in ((0, 0), (0, 4), (4, 0), (4, 4), (2, 2)):
                part = whole[0, :, i * rows : i * rows + side, j * columns : j * columns + side]
                if np.array_equal(np.stack([cv2.resize(plane, (4, 4)) for plane in part]), cut):
                    seen.add(side)
    assert seen == {4, 8}


def test_means_repeat_over_the_frames(files: Path) -> None:
    transform = Transform(scale=0.5, mean_values=(10.0, 20.0, 30.0))
    got = opened(replace(TSN, transform=transform), files).batch(0)[0]
    plain = opened(TSN, files).batch(0)[0].reshape(2, 6, 3, HEIGHT, WIDTH)
    expected = (plain - torch.tensor([10.0, 20.0, 30.0]).reshape(3, 1, 1)) * 0.5
    torch.testing.assert_close(got, expected.reshape(got.shape), rtol=0, atol=0)


def test_c3ds_clips_have_frames_as_an_axis(files: Path) -> None:
    for rate in 1, 2:
        layer = replace(C3D, rate=rate)
        assert describe(layer, files).shapes == ((2, 3, 4, HEIGHT, WIDTH), (2,))
        clips, labels = opened(layer, files).batch(0)
        for at, (name, start) in enumerate((("a", 1), ("b", 7))):
            frames = [frame(files, f"{name}/{start + i * rate:06d}.jpg") for i in range(4)]
            np.testing.assert_array_equal(clips[at], np.stack(frames, 1))
        assert labels.tolist() == [3, 1]


def test_c3ds_mean_clip_is_cut_with_the_clip(files: Path) -> None:
    mean = np.random.default_rng(0).random((1, 3, 4, HEIGHT, WIDTH)).astype(np.float32)
    blob = BlobProto(data=mean.ravel().tolist())
    blob.shape.dim.extend(mean.shape)
    (files / "mean.binaryproto").write_bytes(blob.SerializeToString())
    layer = replace(C3D, crop=5, transform=Transform(mean_file="mean.binaryproto"))
    got = opened(layer, files).batch(0)[0]
    whole = opened(C3D, files).batch(0)[0].numpy() - mean
    np.testing.assert_array_equal(got, whole[..., 1:6, 3:8])
    with pytest.raises(NktcError, match="mean file is 3x4x8x12, its clips are 3x3x8x12"):
        opened(replace(layer, length=3), files).batch(0)


def test_c3ds_jitter_draws_the_first_frame_in_training(files: Path, tmp_path: Path) -> None:
    (tmp_path / "count.txt").write_text(f"{files}/a {FRAMES} 0\n")
    layer = replace(C3D, source_path="count.txt", batch=1, jitter=True, most_rate=2, phase=Phase.TRAIN)
    stream = opened(layer, tmp_path)
    whole = [frame(files, f"a/{n:06d}.jpg") for n in range(1, FRAMES + 1)]
    seen = set()
    for k in range(30):
        clip = stream.batch(k)[0][0].numpy()
        numbers = [next(n for n, one in enumerate(whole) if np.array_equal(one, clip[:, i])) for i in range(4)]
        steps = set(np.diff(numbers).tolist())
        assert steps in ({1}, {2})
        seen.add((numbers[0], *steps))
    assert len(seen) > 10


def test_a_label_of_several_classes_is_one_number_for_each(files: Path) -> None:
    (files / "several.txt").write_text("a 1 0,3\nb 1 2\n")
    layer = replace(C3D, source_path="several.txt", labels=4)
    assert describe(layer, files).shapes[1] == (2, 4)
    assert opened(layer, files).batch(0)[1].tolist() == [[1, 0, 0, 1], [0, 0, 1, 0]]
    with pytest.raises(LayerError, match=r"several.txt:1: 0,3 is outside 0 to 2"):
        opened(replace(layer, labels=3), files)


def test_frames_of_a_video_file_are_those_of_the_file(files: Path) -> None:
    path = files / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for i in range(12):
        writer.write(np.full((48, 64, 3), 20 * i, np.uint8))
    writer.release()
    (files / "film.txt").write_text("film.avi 3 1\n")
    (files / "any.txt").write_text("film.avi 1\n")
    layer = replace(C3D, source_path="film.txt", batch=1, files=True, rate=2)
    clip = opened(layer, files).batch(0)[0][0]
    assert clip.shape == (3, 4, 48, 64)
    grey = clip.mean((0, 2, 3))
    torch.testing.assert_close(grey, torch.tensor([60.0, 100.0, 140.0, 180.0]), rtol=0, atol=3)
    middle = opened(replace(layer, source_path="any.txt", jitter=True), files).batch(0)[0][0].mean((0, 2, 3))
    torch.testing.assert_close(middle, torch.tensor([40.0, 80.0, 120.0, 160.0]), rtol=0, atol=3)  # (12 - 8 + 1) // 2
    with pytest.raises(NktcError, match="has 12 frames, the clip ends at 13"):
        opened(replace(layer, length=5), files)
    path.write_bytes(b"no video")
    with pytest.raises(NktcError, match="is no video that can be decoded"):
        opened(layer, files)


def test_a_clip_that_is_not_there_is_told_or_skipped(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "gap.txt").write_text("none 1 0\nb 1 2\n")
    layer = replace(C3D, source_path="gap.txt", batch=1, resize=(HEIGHT, WIDTH))
    with pytest.raises(NktcError, match=r"gap.txt:1: frame .*000001.jpg"):
        opened(layer, files).batch(0)
    stream = opened(replace(layer, skips=True), files)
    assert stream.batch(0)[1].tolist() == [2]
    assert [*stream.skipped] == [0]
    assert "skipped:" in capsys.readouterr().err


def test_lines_that_are_no_clips_are_refused(files: Path) -> None:
    (files / "bad.txt").write_text("a 1\n")
    with pytest.raises(LayerError, match="is no path, first frame and label"):
        opened(replace(C3D, source_path="bad.txt"), files)
    (files / "bad.txt").write_text("a -1 0\n")
    with pytest.raises(LayerError, match="-1 is below 0"):
        opened(replace(C3D, source_path="bad.txt"), files)
    for huge in (f"a {10**30} 0\n", f"a 1 {10**400}\n"):
        (files / "bad.txt").write_text(huge)
        with pytest.raises(LayerError, match='0" is no path, first frame and label'):
            opened(replace(C3D, source_path="bad.txt"), files)
    with pytest.raises(LayerError, match="has 4 of mean_value for 3 channels"):
        opened(replace(C3D, transform=Transform(mean_values=(1.0, 2.0, 3.0, 4.0))), files)


def test_shapes_are_known_where_the_clips_are_not_there(tmp_path: Path) -> None:
    layer = replace(C3D, crop=112)
    feed = supposed(layer, tmp_path, ("data", "label"), {})
    assert feed is not None
    assert feed.shapes == ((2, 3, 4, 112, 112), (2,))
    with pytest.raises(LayerError, match="is not there"):
        supposed(C3D, tmp_path, ("data", "label"), {})
