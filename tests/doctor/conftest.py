"""Machines that are not this one: their files, commands, packages and probes are told, and nothing else is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nktc.doctor import Machine, Probe, Ran, Room

REQUIREMENTS = (
    "torch>=2.11",
    "numpy>=1.26",
    "protobuf>=5",
    "onnx<2,>=1.20",
    'onnxruntime-gpu<1.32,>=1.31; sys_platform != "darwin"',
    'onnxruntime<1.32,>=1.31; sys_platform == "darwin"',
    "opencv-python-headless>=4.9",
    'onnxruntime-gpu[cuda,cudnn]<1.32,>=1.31; sys_platform != "darwin" and extra == "gpu"',
    'tensorrt-cu13<12,>=11.1; extra == "tensorrt"',
    'openvino>=2026.4; extra == "openvino"',
)
PACKAGES = {
    "nktc": "0.1.0",
    "torch": "2.13.0",
    "numpy": "2.4.6",
    "protobuf": "7.36.2",
    "onnx": "1.23.2",
    "onnxruntime-gpu": "1.31.1",
    "opencv-python-headless": "5.0.0.93",
}
QUERY = "nvidia-smi --query-gpu=index,name,driver_version,memory.total,memory.free --format=csv,noheader,nounits"
PROVIDERS = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
SITE = "/opt/env/site-packages"
TENSORRT = "TensorRT's Python bindings are installed, but its libraries are absent: x.so; pip install 'nktc[tensorrt]'"


@dataclass
class Simulated(Machine):
    """What there is by path, command line and probe; `rooms` by folder."""

    files: Mapping[str, str] = field(default_factory=dict)
    commands: Mapping[str, Ran] = field(default_factory=dict)
    probes: Mapping[str, Probe] = field(default_factory=dict)
    rooms: Mapping[str, Room | None] = field(default_factory=dict)
    closed: frozenset[str] = frozenset()

    def run(self, *command: str) -> Ran:
        return self.commands.get(" ".join(command), Ran(failure="is not installed"))

    def probe(self, name: str, *arguments: str) -> Probe:
        return self.probes.get(" ".join((name, *arguments)), self.probes.get(name, Probe(failure="was not told")))

    def read(self, path: str) -> str:
        return self.files.get(path, "")

    def names(self, folder: str) -> list[str]:
        inside = [path[len(folder) + 1 :] for path in self.files if path.startswith(f"{folder}/")]
        return sorted({path.split("/")[0] for path in inside})

    def exists(self, path: str) -> bool:
        return path in self.files or path.endswith("Python.h")

    def readable(self, path: str) -> bool:
        return path not in self.closed

    def which(self, program: str) -> str:
        return f"/usr/bin/{program}" if f"/usr/bin/{program}" in self.files else ""

    def room(self, folder: str) -> Room | None:
        return self.rooms.get(folder, Room(100 << 30, 50 << 30))


def torch_probe(version: str = "2.13.0", cuda: str = "", devices: Any = (), arches: Any = (), error: str = "") -> Probe:
    told = {"version": version, "cuda": cuda, "path": f"{SITE}/torch/__init__.py", "threads": 8, "cudnn": 92000}
    return Probe({**told, "devices": list(devices), "arches": list(arches), "error": error})


def started(name: str, errors: str = "", by: str = "CPUExecutionProvider") -> Probe:
    return Probe({"started": by or name, "right": True}, errors=errors)


def cpu_probes() -> dict[str, Probe]:
    engines = {
        "torch": {"missing": "", "version": "2.13.0"},
        "onnxruntime": {"missing": "", "version": "1.31.1"},
        "openvino": {"missing": "pip install nktc[openvino]", "version": ""},
        "tensorrt": {"missing": "pip install 'nktc[tensorrt]'", "version": ""},
    }
    cpu, cuda, trt = reversed(PROVIDERS)
    return {
        "pytorch": torch_probe(),
        "schema": Probe({"version": "7.36.2", "implementation": "upb", "right": True}),
        "opencv": Probe({"version": "5.0.0", "path": f"{SITE}/cv2/__init__.py", "ffmpeg": True, "right": True}),
        "onnx_runtime": Probe({"version": "1.31.1", "path": f"{SITE}/onnxruntime/__init__.py", "providers": PROVIDERS}),
        f"onnx_runtime {cpu}": started(cpu, by=cpu),
        f"onnx_runtime {cuda}": started(cuda),
        f"onnx_runtime {trt}": started(trt),
        "backends": Probe({"backends": engines, "cache": "/home/joe/.cache/nktc"}),
    }


@pytest.fixture
def machine() -> Callable[..., Simulated]:
    """A Linux PC without a GPU on which all is well; what is given is otherwise, probes and files beside those."""

    def make(**other: Any) -> Simulated:
        files = {
            "/proc/cpuinfo": "model name\t: Epic 1\nflags\t\t: sse avx2 avx512f avx512_vnni\n",
            "/proc/meminfo": "MemTotal:       33554432 kB\nMemFree:  1 kB\nMemAvailable:   16777216 kB\n",
            "/etc/os-release": 'NAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\n',
            "/dev/shm": "",
            "/usr/bin/g++": "",
        }
        usual: dict[str, Any] = {
            "packages": PACKAGES,
            "requirements": REQUIREMENTS,
            "engines": ("onnxruntime", "openvino", "tensorrt", "torch"),
            "version": "0.1.0",
            "package": Path("/home/joe/env/nktc"),
            "python": "3.12.4",
            "executable": "/home/joe/env/bin/python",
            "system": "Linux",
            "release": "6.8.0-50-generic",
            "arch": "x86_64",
            "libc": "glibc 2.39",
            "cores": 8,
            "usable": 8,
            "home": "/home/joe",
            "users": frozenset({"joe"}),
            "hosts": frozenset({"falcon"}),
            "temporary": "/tmp",
        }
        commands = {"/usr/bin/g++ --version": Ran(output="g++ 13.2.0\n")}
        beside = {
            "files": {**files, **other.pop("files", {})},
            "commands": {**commands, **other.pop("commands", {})},
            "probes": {**cpu_probes(), **other.pop("probes", {})},
        }
        return Simulated(**{**usual, **other, **beside})

    return make


@pytest.fixture
def gpu_machine(machine: Callable[..., Simulated]) -> Callable[..., Simulated]:
    """The same with a GPU on which all is well, TensorRT included."""

    def make(**other: Any) -> Simulated:
        device = {"name": "NVIDIA L4", "capability": "8.9", "error": ""}
        cuda = PROVIDERS[1]
        engines = {name: {"missing": "", "version": "1"} for name in ("torch", "onnxruntime", "openvino", "tensorrt")}
        probes = {
            "pytorch": torch_probe("2.13.0+cu130", "13.0", [device], ["sm_75", "sm_80", "sm_90", "compute_90"]),
            f"onnx_runtime {cuda}": started(cuda, by=cuda),
            "backends": Probe({"backends": engines, "cache": "/home/joe/.cache/nktc"}),
            "openvino_devices": Probe({"version": "2026.4.1", "path": f"{SITE}/openvino/x.py", "devices": ["CPU"]}),
        }
        files = {
            "/sys/bus/pci/devices/0000:01:00.0/vendor": "0x10de",
            "/sys/bus/pci/devices/0000:01:00.0/class": "0x030200",
            "/proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue Sep 23 2025",
            "/dev/nvidia0": "",
        }
        packages = {**PACKAGES, "tensorrt": "11.4.0.106", "tensorrt-cu13": "11.4.0.106", "openvino": "2026.4.1"}
        commands = {QUERY: Ran(output="0, NVIDIA L4, 580.95.05, 23034, 22000\n")}
        beside = {
            "files": {**files, **other.pop("files", {})},
            "commands": {**commands, **other.pop("commands", {})},
            "probes": {**probes, **other.pop("probes", {})},
        }
        return machine(**{"packages": packages, **other, **beside})

    return make
