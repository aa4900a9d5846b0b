"""The frames of a video, against what was written into it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from nktc.errors import NktcError
from nktc.inference.intake import Intake
from nktc.inference.video import frames, is_video
from nktc.ir import Preprocessing, Value

INTAKE = Intake((Value("x", (0, 3, 48, 64)),), {"x": Preprocessing((48, 64), "RGB")})
COLOURS = [(20 * i % 256, 40, 255 - 10 * i) for i in range(13)]  # blue, green, red


@pytest.fixture(params=["MJPG avi", "mp4v mp4"])
def video(request, tmp_path) -> Path:
    """A frame of one colour each."""
    codec, suffix = request.param.split()
    path = tmp_path / f"v.{suffix}"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 10, (64, 48))
    assert writer.isOpened()
    for colour in COLOURS:
        writer.write(np.full((48, 64, 3), colour, np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize(("every", "places"), [(1, range(13)), (5, (0, 5, 10)), (12, (0, 12)), (99, (0,))])
def test_every_so_many_frames_come_in_their_order_and_colours(video, every, places):
    found = list(frames(video, every, INTAKE))
    assert [job.name for job in found] == [f"{video}#{place}" for place in places]
    for job, place in zip(found, places, strict=True):
        colour = job.load()["x"][0].mean((1, 2))
        np.testing.assert_allclose(colour, COLOURS[place][::-1], atol=6)  # the net wants RGB; both codecs lose some


def test_what_is_no_video_is_told_and_nothing_else_is_said(tmp_path, capfd):
    for name, content in (("words.avi", b"words"), ("empty.mp4", b""), ("cut.avi", b"RIFF\x00\x10\x00\x00AVI LIST")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(NktcError) as caught:
            list(frames(tmp_path / name, 1, INTAKE))
        assert caught.value.message == f"{tmp_path / name} cannot be opened as a video"
    assert capfd.readouterr() == ("", "")


def test_a_video_is_known_by_its_name():
    assert is_video("a.AVI")
    assert is_video("b/c.mp4")
    assert not is_video("mp4")
    assert not is_video("a.png")
