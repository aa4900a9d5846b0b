"""Checks of the runtimes that models are run in: ONNX Runtime and each of its providers, TensorRT, OpenVINO."""

from __future__ import annotations

import os
import re

from nktc.doctor import nvidia
from nktc.doctor.backends import backend
from nktc.doctor.check import Check, State
from nktc.doctor.machine import Machine
from nktc.doctor.packages import anew, both, by_pip
from nktc.doctor.requirements import fits, install, installed, wanted
from nktc.doctor.system import library_path

ORT = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino", "onnxruntime-rocm")
GPU_EXTRA, OPENVINO_EXTRA = "pip install 'nktc[gpu]'", "pip install 'nktc[openvino]'"
TENSORRT_EXTRA = "pip install --extra-index-url https://pypi.nvidia.com 'nktc[tensorrt]'"
"""TensorRT's libraries lie on NVIDIA's own index."""


def onnxruntime(machine: Machine) -> Check:
    """One of ONNX Runtime's packages, which all own the folder onnxruntime."""
    have, probe = installed(machine, ORT), machine.probe("onnx_runtime")
    name = "onnxruntime" if machine.system == "Darwin" else "onnxruntime-gpu"
    range_ = wanted(machine, name)
    shown = ", ".join(f"{package} {version}" for package, version in have.items()) or "not installed"
    if len(by_pip(machine, have)) > 1:
        return Check("onnxruntime", State.PROBLEM, shown, name, both(have, "onnxruntime"), anew(machine, have, name))
    if not have and probe.failure:
        return Check("onnxruntime", State.PROBLEM, shown, range_, "nktc needs ONNX Runtime", install(machine, name))
    if probe.failure:
        problem = f"ONNX Runtime cannot be loaded: {machine.short(probe.failure)}"
        return Check("onnxruntime", State.PROBLEM, shown, range_, problem, anew(machine, have, name))
    version = probe.found["version"]
    found = f"{shown if have else version}, {machine.short(os.path.dirname(probe.found['path']))}"
    if not fits(version, range_):
        fix = f"{install(machine, name)} --upgrade" if name in have or not have else anew(machine, have, name)
        return Check("onnxruntime", State.PROBLEM, found, range_, "nktc is not made for this ONNX Runtime", fix)
    if name not in have and nvidia.gpus(machine):
        problem = f"there is a GPU, and this package cannot use it; {name} can"
        return Check("onnxruntime", State.PROBLEM, found, name, problem, anew(machine, have, name))
    return Check("onnxruntime", State.OK, found, range_)


def providers(machine: Machine) -> list[Check]:
    """Each provider that ONNX Runtime says it has, started: it falls back to the CPU in silence."""
    names = machine.probe("onnx_runtime").found.get("providers", ())
    return [_provider(machine, name) for name in reversed(names)]


def tensorrt(machine: Machine) -> Check:
    range_ = wanted(machine, "tensorrt-cu13")
    have = {name: version for name, version in machine.packages.items() if re.fullmatch(r"tensorrt(-cu\d+.*)?", name)}
    families = {match.group() for name in have if (match := re.search(r"cu\d+", name))}
    shown = ", ".join(f"{name} {version}" for name, version in sorted(have.items()))
    state = backend(machine, "tensorrt")
    if state.usable:
        return Check("tensorrt", State.OK, shown or state.version, range_)
    if not nvidia.gpus(machine):
        # Without a GPU nothing that is wrong with it matters.
        return Check(
            "tensorrt", State.ABSENT, shown or "not installed", range_, "it needs an NVIDIA GPU and its driver"
        )
    if not have:
        return Check("tensorrt", State.ABSENT, state.missing or "not installed", range_, "", TENSORRT_EXTRA)
    remove = f"pip uninstall -y {' '.join(sorted(have))} && {TENSORRT_EXTRA}"
    if len(families) > 1:
        problem = f"packages for CUDA {' and '.join(sorted(one[2:] for one in families))} are mixed"
        return Check("tensorrt", State.PROBLEM, shown, range_, problem, remove)
    if not all(fits(version, range_) for version in have.values()):
        problem = "nktc is not made for this TensorRT"
        return Check("tensorrt", State.PROBLEM, shown, range_, problem, remove)
    missing = state.missing.partition("; pip install")[0]
    no_gpu = missing.startswith("it needs an NVIDIA GPU")
    if nvidia.hides_all(machine):
        return Check("tensorrt", State.ABSENT, shown, range_, missing)
    return Check("tensorrt", State.PROBLEM, shown, range_, missing, "see torch on the gpu, above" if no_gpu else remove)


def openvino(machine: Machine) -> Check:
    range_, version = wanted(machine, "openvino"), machine.packages.get("openvino")
    if not version:
        return Check("openvino", State.ABSENT, "not installed", range_, "", OPENVINO_EXTRA)
    probe = machine.probe("openvino_devices")
    if probe.failure:
        problem = f"OpenVINO cannot be loaded: {machine.short(probe.failure)}"
        fix = f"{library_path(machine)}pip uninstall -y openvino && {OPENVINO_EXTRA}"
        return Check("openvino", State.PROBLEM, version, range_, problem, fix)
    devices = probe.found["devices"]
    found = f"{version} on {', '.join(devices) or 'nothing'}, {machine.short(os.path.dirname(probe.found['path']))}"
    if not fits(version, range_):
        problem = "nktc is not made for this OpenVINO"
        return Check("openvino", State.PROBLEM, found, range_, problem, f"{OPENVINO_EXTRA} --upgrade")
    if "CPU" not in devices:
        problem = "its CPU plugin does not start, and nktc runs OpenVINO on the CPU"
        return Check(
            "openvino", State.PROBLEM, found, range_, problem, f"pip uninstall -y openvino && {OPENVINO_EXTRA}"
        )
    return Check("openvino", State.OK, found, range_)


def _provider(machine: Machine, name: str) -> Check:
    kind = name.removesuffix("ExecutionProvider")
    title = f"onnxruntime {kind.lower()}"
    probe = machine.probe("onnx_runtime", name)
    if probe.found.get("started") == name and probe.found["right"]:
        return Check(title, State.OK, "started, and computes a convolution")
    reason = machine.short(probe.failure) or why(probe.errors, kind)
    if probe.found.get("started") == name:
        reason = "a convolution has a wrong result"
    if name == "CPUExecutionProvider":
        fix = f"{install(machine, 'onnxruntime-gpu')} --force-reinstall"
        return Check(title, State.PROBLEM, "does not start", "", reason, fix)
    if name != "CUDAExecutionProvider":
        own = " (nktc runs TensorRT itself; this one is for TensorRT 10)" if kind == "Tensorrt" else ", and is not used"
        return Check(title, State.ABSENT, f"does not start{own}")
    if not nvidia.present(machine) or nvidia.hides_all(machine):
        hidden = f"{nvidia.HIDES} hides the GPU" if nvidia.present(machine) else "no NVIDIA GPU"
        return Check(title, State.ABSENT, f"falls back to the CPU: {hidden}")
    if not nvidia.gpus(machine):
        return Check(title, State.PROBLEM, "falls back to the CPU", "", reason, "mend the driver first, above")
    if not installed(machine, ("nvidia-cudnn-cu13",)) or "cannot open shared object" in reason:
        fix = f"{library_path(machine)}{GPU_EXTRA}"
    else:
        fix = f"{library_path(machine)}{GPU_EXTRA} --upgrade; it takes CUDA 13, cuDNN 9 and the driver {nvidia.DRIVER}"
    return Check(title, State.PROBLEM, "falls back to the CPU", "CUDA 13 and cuDNN 9", reason, fix)


def why(errors: str, kind: str) -> str:
    """Why a provider did not start, out of what ONNX Runtime wrote: the library that it could not load, or its last
    word of it."""
    text = re.sub(r"\x1b\[[\d;]*m", "", errors)
    if library := re.search(r"with error: (.+)", text):
        return library.group(1).strip()
    said = [line for line in text.splitlines() if kind.lower() in line.lower() or "CUDA" in line]
    return said[-1].rpartition("] ")[2].strip() if said else "it gives no reason"
