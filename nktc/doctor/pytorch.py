"""Checks of torch: that it loads, runs kernels on the GPU, and finds a compiler."""

from __future__ import annotations

import os
import sysconfig

from nktc.doctor import nvidia
from nktc.doctor.check import Check, State
from nktc.doctor.machine import Machine
from nktc.doctor.requirements import fits, install, wanted
from nktc.doctor.system import library_path, numbers

OLD_GPUS = "pip install --force-reinstall {torch} --index-url https://download.pytorch.org/whl/cu126"
"""Builds of CUDA 12.6 are the last with kernels for GPUs before Turing."""
TURING = (7, 5)


def torch(machine: Machine) -> Check:
    range_, probe = wanted(machine, "torch"), machine.probe("pytorch")
    fix = install(machine, "torch")
    if probe.failure:
        version = machine.packages.get("torch")
        if not version:
            return Check("torch", State.PROBLEM, "not installed", range_, "nktc needs torch", fix)
        problem = f"torch cannot be loaded: {machine.short(probe.failure)}"
        fix = f"{library_path(machine)}{fix} --force-reinstall"
        return Check("torch", State.PROBLEM, version, range_, problem, fix)
    version, cuda = probe.found["version"], probe.found["cuda"]
    built = f"built for CUDA {cuda}" if cuda else "built for the CPU"
    found = f"{version}, {built}, {_folder(machine, probe.found['path'])}"
    if not fits(version, range_):
        return Check("torch", State.PROBLEM, found, range_, "this torch is too old or too new", f"{fix} --upgrade")
    if not cuda and nvidia.gpus(machine) and not nvidia.hides_all(machine):
        problem = "there is a GPU with a driver, and this torch cannot use it"
        fix = f"{fix} --force-reinstall --index-url https://download.pytorch.org/whl/cu130"
        return Check("torch", State.PROBLEM, found, range_, problem, fix)
    return Check("torch", State.OK, found, range_)


def on_gpu(machine: Machine) -> Check:
    """Whether every GPU that torch sees runs a product of matrices and a convolution, with the right results."""
    name = "torch on the gpu"
    probe = machine.probe("pytorch")
    cuda = probe.found.get("cuda", "")
    if not nvidia.present(machine):
        return Check(name, State.ABSENT, "no NVIDIA GPU")
    if nvidia.hides_all(machine):
        return Check(name, State.ABSENT, f"{nvidia.HIDES} hides the GPU")
    if probe.failure or not cuda:
        return Check(name, State.ABSENT, "torch cannot be loaded" if probe.failure else "torch is built for the CPU")
    arches = probe.found.get("arches", ())
    range_ = ", ".join(arches)
    devices = probe.found["devices"]
    if not devices:
        problem = f"torch finds no GPU: {probe.found['error'] or 'the driver gives it none'}"
        fix = "mend the driver first, above" if not nvidia.gpus(machine) else f"{library_path(machine)}sudo reboot"
        if "too old" in problem:
            fix = nvidia.update(machine)
        return Check(name, State.PROBLEM, f"CUDA {cuda}", range_, problem, fix)
    found = ", ".join(f"{one['name']} (sm_{one['capability'].replace('.', '')})" for one in devices)
    for index, one in enumerate(devices):
        if not one["error"]:
            continue
        if not covered(one["capability"], arches):
            problem = f"this torch has no kernels for GPU {index}, sm_{one['capability'].replace('.', '')}"
            old = numbers(one["capability"]) < TURING
            fix = f"{install(machine, 'torch')} --upgrade"
            if old:
                fix = OLD_GPUS.format(torch=f"'torch{wanted(machine, 'torch')}'")
            return Check(name, State.PROBLEM, found, range_, problem, fix)
        fix = "see what the kernel says: sudo dmesg | grep -iE 'nvrm|xid'; "
        fix += f"else {install(machine, 'torch')} --force-reinstall"
        if "out of memory" in one["error"]:
            fix = "end what uses the GPU: nvidia-smi lists it"
        problem = f"GPU {index} refuses a first computation: {one['error']}"
        return Check(name, State.PROBLEM, found, range_, problem, fix)
    return Check(name, State.OK, f"{found}; first kernels ran, cuDNN {probe.found.get('cudnn', 'absent')}", range_)


def compiler(machine: Machine) -> Check:
    """What torch.compile needs; nktc trains and infers without it."""
    wanted_ = "a C++ compiler and Python's headers"
    given = machine.environ.get("CXX", "")
    places = {name: machine.which(name) for name in ([given] if given else []) + ["g++", "clang++", "c++", "cl"]}
    path = next(filter(None, places.values()), "")
    package = {"apt": "sudo apt install g++ python3-dev", "dnf": "sudo dnf install gcc-c++ python3-devel"}
    fix = next((command for tool, command in package.items() if machine.which(tool)), "install a C++ compiler")
    if given and not places[given]:
        problem = f'CXX is "{given}", which is not there'
        return Check("compiler", State.WARNING, path or "none", wanted_, problem, "unset CXX")
    if not path:
        return Check("compiler", State.ABSENT, "no C++ compiler: torch.compile is not tried", wanted_, "", fix)
    said = machine.run(path, "--version").output.splitlines()
    found = f"{said[0] if said else 'of unknown version'}, {path}"
    if not machine.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")):
        problem = "the headers of this Python are not installed, and torch.compile needs them"
        return Check("compiler", State.WARNING, found, wanted_, problem, fix)
    return Check("compiler", State.OK, found)


def covered(capability: str, arches: list[str]) -> bool:
    """Whether a build for these ("sm_80", "compute_90") runs on a GPU of that capability: kernels run on the same major
    with a minor that is not smaller, and compute_ is compiled for whatever is newer."""
    here = numbers(capability)
    for arch in arches:
        kind, _, digits = arch.partition("_")
        digits = digits.rstrip("af")
        there = (int(digits[:-1] or 0), int(digits[-1])) if digits.isdecimal() else (0, 0)
        if kind == "sm" and there[0] == here[0] and there <= here:
            return True
        if kind == "compute" and there <= here:
            return True
    return False


def _folder(machine: Machine, path: str) -> str:
    return machine.short(os.path.dirname(path or ""))
