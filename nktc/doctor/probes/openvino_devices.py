"""Loads OpenVINO and tells its devices."""

from __future__ import annotations

import importlib
import json


def main() -> None:
    openvino = importlib.import_module("openvino")
    found = {
        "version": openvino.__version__.partition("-")[0],
        "path": openvino.__file__,
        "devices": list(openvino.Core().available_devices),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
