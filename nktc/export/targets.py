"""The runtimes that files are written for, and what each takes."""

from __future__ import annotations

from dataclasses import dataclass

from nktc.errors import NktcError, near


@dataclass(frozen=True)
class Target:
    """A runtime. `signed` says which 8 bits its activations have: s8 around 0, or u8; `eight_bits` and `halves`
    whether it takes such files at all."""

    name: str
    about: str
    opset: int = 17
    ir_version: int = 8
    signed: bool = False
    eight_bits: bool = True
    halves: tuple[str, ...] = ("f16",)


PORTABLE = Target("portable", "any of the runtimes below")
TARGETS = {
    target.name: target
    for target in (
        PORTABLE,
        Target("onnxruntime", "ONNX Runtime 1.20 and newer"),
        Target("openvino", "OpenVINO 2024 and newer", halves=("f16", "bf16")),
        Target("opencv", "OpenCV 5 (cv2.dnn)", eight_bits=False),
        Target("tensorrt", "TensorRT 10 and 11", signed=True, halves=("f16", "bf16")),
    )
}
"""Every target by name."""


def target(name: str) -> Target:
    """The target of that name. Raises NktcError."""
    if name not in TARGETS:
        help = near(name, TARGETS) or f"the targets are {', '.join(TARGETS)}"
        raise NktcError(f'unknown target "{name}"', help=help)
    return TARGETS[name]
