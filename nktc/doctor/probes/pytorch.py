"""Loads torch and runs a first kernel on every GPU that it sees."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch.nn import functional as F


def device(index: int) -> dict[str, Any]:
    """A GPU's name and capability, and why it refuses a product of matrices or a convolution."""
    name = torch.cuda.get_device_name(index)
    capability = "{}.{}".format(*torch.cuda.get_device_capability(index))
    error = ""
    try:
        x = torch.ones(8, 8, device=f"cuda:{index}")
        if (x @ x).sum().item() != 512:
            error = "a product of two matrices has a wrong result"
        if F.conv2d(x.view(1, 1, 8, 8), x.new_ones(1, 1, 3, 3)).sum().item() != 324:
            error = "a convolution has a wrong result"
    except RuntimeError as refusal:
        error = str(refusal).splitlines()[0]
    return {"name": name, "capability": capability, "error": error}


def main() -> None:
    found: dict[str, Any] = {
        "version": torch.__version__,
        "path": torch.__file__,
        "cuda": torch.version.cuda or "",
        "threads": torch.get_num_threads(),
        "arches": [],
        "devices": [],
        "error": "",
    }
    if torch.version.cuda:
        try:
            torch.cuda.init()
            found["arches"] = torch.cuda.get_arch_list()
            found["cudnn"] = torch.backends.cudnn.version()
            found["devices"] = [device(index) for index in range(torch.cuda.device_count())]
        except (RuntimeError, AssertionError) as refusal:
            found["error"] = str(refusal).splitlines()[0]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
