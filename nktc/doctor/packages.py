"""Checks of nktc's own installation and the Python packages it needs everywhere."""

from __future__ import annotations

import os
from collections.abc import Sequence

from nktc.doctor.check import Check, State
from nktc.doctor.machine import Machine
from nktc.doctor.requirements import canonical, fits, install, installed, reinstall, required, wanted

CV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
ELSEWHERE = ("torch", "protobuf", "onnxruntime", "onnxruntime-gpu", *CV)
"""What has a check of its own."""


def nktc(machine: Machine) -> Check:
    folder = str(machine.package.parent)
    commit = machine.run("git", "-C", folder, "rev-parse", "--short=7", "HEAD") if machine.editable else None
    parts = [machine.version, "editable" if machine.editable else ""]
    parts += [f"commit {commit.output.strip()}"] if commit and commit.well else []
    found = ", ".join(filter(None, [*parts, machine.short(str(machine.package))]))
    known = machine.packages.get("nktc")
    fix = reinstall(machine)
    if not known:
        problem = "nktc runs from its folder and is not installed, so that its engines and loggers are not registered"
        return Check("nktc", State.PROBLEM, found, "", problem, fix)
    if known != machine.version:
        return Check("nktc", State.PROBLEM, found, "", f"pip has nktc {known}, and {machine.version} runs", fix)
    if not machine.engines:
        return Check("nktc", State.PROBLEM, found, "", "no engine is registered", fix)
    return Check("nktc", State.OK, found)


def dependencies(machine: Machine) -> Check:
    """Whether each package nktc needs is there in a version that it takes."""
    needed = [one for one in required(machine) if canonical(one.name) not in ELSEWHERE]
    wrong, said = [], []
    for one in needed:
        name, version = canonical(one.name), machine.packages.get(canonical(one.name))
        if version is None or not fits(version, str(one.specifier)):
            wrong.append(name)
            said.append(f"{name} is {f'{version}, not {wanted(machine, name)}' if version else 'not installed'}")
    found = f"{len(needed) - len(wrong)} of {len(needed)} packages in the versions that nktc takes"
    if wrong:
        return Check("packages", State.PROBLEM, found, "", "; ".join(said), install(machine, *wrong))
    return Check("packages", State.OK, found)


def protobuf(machine: Machine) -> Check:
    range_, probe = wanted(machine, "protobuf"), machine.probe("schema")
    fix = f"{install(machine, 'protobuf')} --force-reinstall"
    if probe.failure or not probe.found["right"]:
        version = machine.packages.get("protobuf", "not installed")
        problem = f"the schema of prototxts cannot be loaded: {machine.short(probe.failure) or 'it reads another net'}"
        return Check("protobuf", State.PROBLEM, version, range_, problem, fix)
    found = f"{probe.found['version']} ({probe.found['implementation']})"
    if not fits(probe.found["version"], range_):
        return Check("protobuf", State.PROBLEM, found, range_, "this protobuf is too old", fix)
    if probe.found["implementation"] == "python":
        fix = "unset PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION" if _forced(machine) else fix
        return Check("protobuf", State.WARNING, found, range_, "weights are read slowly, by Python code", fix)
    return Check("protobuf", State.OK, found, range_)


def opencv(machine: Machine) -> Check:
    """One of OpenCV's four packages, which all own the folder cv2."""
    have, probe = installed(machine, CV), machine.probe("opencv")
    name = "opencv-python-headless"
    range_ = wanted(machine, *CV)
    shown = ", ".join(f"{package} {version}" for package, version in have.items()) or "not installed"
    if len(by_pip(machine, have)) > 1:
        return Check("opencv", State.PROBLEM, shown, "one of them", both(have, "cv2"), anew(machine, have, name))
    if probe.failure:
        if not have and "No module named 'cv2'" in probe.failure:
            return Check("opencv", State.PROBLEM, shown, range_, "nktc reads pictures with it", install(machine, name))
        problem = f"OpenCV cannot be loaded: {machine.short(probe.failure)}"
        return Check("opencv", State.PROBLEM, shown, range_, problem, anew(machine, have or {name: ""}, name))
    version = probe.found["version"]
    video = "with FFmpeg" if probe.found["ffmpeg"] else "without FFmpeg"
    found = f"{shown if have else version}, {video}, {machine.short(os.path.dirname(probe.found['path']))}"
    if not fits(version, range_):
        return Check(
            "opencv", State.PROBLEM, found, range_, "this OpenCV is too old", f"{install(machine, name)} --upgrade"
        )
    if not probe.found["right"]:
        problem = "a picture that was written is not the one that is read"
        return Check("opencv", State.PROBLEM, found, range_, problem, anew(machine, have or {name: ""}, name))
    if not probe.found["ffmpeg"]:
        problem = "this build reads few kinds of video or none"
        return Check("opencv", State.WARNING, found, range_, problem, anew(machine, have or {name: ""}, name))
    return Check("opencv", State.OK, found, range_)


def by_pip(machine: Machine, have: Sequence[str] | dict[str, str]) -> list[str]:
    """Those packages that pip installed: conda's one package of OpenCV goes by several of pip's names."""
    return [name for name in have if name not in machine.conda]


def both(have: Sequence[str] | dict[str, str], folder: str) -> str:
    """What is wrong with several packages of one folder."""
    return f"{' and '.join(have)} own the same folder {folder}: the last one installed wins"


def anew(machine: Machine, have: Sequence[str] | dict[str, str], name: str) -> str:
    """The command that removes packages and installs the right one."""
    return f"pip uninstall -y {' '.join(have)} && {install(machine, name)}"


def versions(machine: Machine) -> str:
    """name==version, a line a package, and nothing of where it came from."""
    return "".join(f"{name}=={version}\n" for name, version in sorted(machine.packages.items()))


def _forced(machine: Machine) -> bool:
    return machine.environ.get("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION") == "python"
