"""The frames of a video."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2

from nktc.errors import NktcError
from nktc.inference.intake import Intake, Job

SUFFIXES = (".avi", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv", ".ts", ".y4m")

# What FFmpeg would say of a damaged file is said here; it looks at this once, when the first file is opened.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


def is_video(name: str) -> bool:
    """Whether it is called as a video is."""
    return name.lower().endswith(SUFFIXES)


def frames(path: Path, every: int, intake: Intake) -> Iterator[Job]:
    """Every so many frames from the first on, called FILE#0 and so on by their place in the video. Raises NktcError."""
    known = cv2.videoio_registry.getStreamBackends()
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG if cv2.CAP_FFMPEG in known else cv2.CAP_ANY)
    try:
        if not video.isOpened():
            raise NktcError(f"{path} cannot be opened as a video")
        place = 0
        while video.grab():
            if place % every == 0:
                done, frame = video.retrieve()
                if not done:
                    break
                name = f"{path}#{place}"
                yield Job(name, partial(intake.pixels, frame, "BGR", name))
            place += 1
        if not place:
            raise NktcError(f"{path} holds no frame that can be decoded")
    finally:
        video.release()
