"""Loads OpenCV and writes and reads a picture."""

from __future__ import annotations

import json

import cv2
import numpy as np


def main() -> None:
    built = cv2.getBuildInformation()
    well, picture = cv2.imencode(".png", np.full((4, 4, 3), 7, np.uint8))
    read = cv2.imdecode(picture, cv2.IMREAD_COLOR) if well else None
    found = {
        "version": cv2.__version__,
        "path": cv2.__file__,
        "ffmpeg": any(line.split()[:2] == ["FFMPEG:", "YES"] for line in built.splitlines()),
        "right": read is not None and bool((read == 7).all()),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
