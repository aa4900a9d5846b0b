"""Checks of the system: Python, processor, memory, disks, threads, texts."""

from __future__ import annotations

import os
import re

from nktc.doctor.check import Check, State
from nktc.doctor.machine import Machine, Room

MIB, GIB = 1 << 20, 1 << 30
PYTHON = (3, 11)
GLIBC = (2, 28)  # the wheels of torch and ONNX Runtime are built for manylinux_2_28
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def python(machine: Machine) -> Check:
    found = f"{machine.python}, {machine.short(machine.executable)}"
    wanted = f">= {PYTHON[0]}.{PYTHON[1]}"
    if numbers(machine.python)[:2] < PYTHON:
        fix = f"make an environment of a newer Python: python{PYTHON[0]}.{PYTHON[1]} -m venv .venv"
        return Check("python", State.PROBLEM, found, wanted, "this Python is too old", fix)
    return Check("python", State.OK, found, wanted)


def operating_system(machine: Machine) -> Check:
    kind = ", in WSL" if in_wsl(machine) else ", in a container" if in_container(machine) else ""
    found = " ".join(filter(None, [machine.system, machine.release, machine.arch, machine.libc])) + kind
    if machine.system != "Linux":
        return Check("system", State.OK, found)
    name, _, version = machine.libc.partition(" ")
    wanted = f"glibc >= {GLIBC[0]}.{GLIBC[1]}"
    if name == "glibc" and numbers(version)[:2] >= GLIBC:
        return Check("system", State.OK, found, wanted)
    problem = "there are no wheels of torch and ONNX Runtime for this C library"
    return Check("system", State.PROBLEM, found, wanted, problem, "use a newer system, or its container: debian:12")


def cpu(machine: Machine) -> Check:
    """Says what 8 and 16 bits mean on this processor."""
    info = machine.read("/proc/cpuinfo")
    model = re.search(r"^model name\s*:\s*(.*)$", info, re.MULTILINE)
    named = model.group(1) if model else machine.run("sysctl", "-n", "machdep.cpu.brand_string").output.strip()
    cores = f"{machine.usable} of {machine.cores} cores usable"
    have = flags(machine)
    if not have:
        return Check("cpu", State.OK, ", ".join(filter(None, [named or machine.arch, cores])))
    x86 = machine.arch.lower() in ("x86_64", "amd64")
    if x86:
        vectors = "AVX-512" if "avx512f" in have else "AVX2" if "avx2" in have else "no AVX2"
        eight = bool({"avx512_vnni", "avx_vnni"} & have)
        sixteen = bool({"avx512_bf16", "amx_bf16"} & have)
    else:
        vectors = "SVE" if "sve" in have else "NEON"
        eight, sixteen = bool({"asimddp", "i8mm"} & have), "bf16" in have
    means = [
        vectors,
        "int8 has instructions" if eight else "int8 without VNNI: weights get 7 bits" if x86 else "int8 gains little",
        "bf16 has instructions" if sixteen else "bf16 is emulated, slower than fp32",
    ]
    found = "; ".join([", ".join(filter(None, [named, cores])), *means])
    if x86 and "avx2" not in have:
        problem = "without AVX2 everything is several times slower, and some wheels end with an illegal instruction"
        fix = "in a virtual machine, pass the host's processor on (QEMU: -cpu host); else use a newer processor"
        return Check("cpu", State.WARNING, found, "AVX2", problem, fix)
    return Check("cpu", State.OK, found)


def memory(machine: Machine) -> Check:
    info = machine.read("/proc/meminfo")
    sizes = {name: 1024 * int(size) for name, size in re.findall(r"^(\w+):\s+(\d+) kB", info, re.MULTILINE)}
    if "MemTotal" not in sizes:
        return Check("memory", State.OK, "not told by this system")
    total, free = sizes["MemTotal"], sizes.get("MemAvailable", sizes.get("MemFree", 0))
    found = f"{size(free)} free of {size(total)}"
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        limit = machine.read(path)
        if limit.isdecimal() and int(limit) < total:
            found += f", limited to {size(int(limit))} by its control group"
            free = min(free, int(limit))
            break
    if free < 2 * GIB:
        fix = "end other programs, or train with less: nktc cost NET --memory 2GB tells the batch that fits"
        return Check("memory", State.WARNING, found, ">= 2 GiB", "there is little free memory", fix)
    return Check("memory", State.OK, found)


def shared_memory(machine: Machine) -> Check:
    """Processes that read data hand batches over in it."""
    room = machine.room("/dev/shm") if machine.system == "Linux" and machine.exists("/dev/shm") else None
    if room is None:
        return Check("shared memory", State.OK, "not of a size of its own here")
    found = f"{size(room.free)} free of {size(room.total)} in /dev/shm"
    if room.free < 256 * MIB:
        problem = "there is room for few processes that read data"
        fix = "docker run --shm-size=8g …" if in_container(machine) else "sudo mount -o remount,size=50% /dev/shm"
        return Check("shared memory", State.WARNING, found, ">= 256 MiB", problem, fix)
    return Check("shared memory", State.OK, found)


def disk(machine: Machine) -> Check:
    """The cache, where data sets and engines' caches are kept, and the folder of temporary files."""
    places = {"cache": machine.probe("backends", *machine.engines).found.get("cache", ""), "temp": machine.temporary}
    rooms = {name: (place, machine.room(place)) for name, place in places.items() if place}
    shown = [f"{name} {machine.short(place)}: {_free(room)}" for name, (place, room) in rooms.items()]
    found, wanted = "; ".join(shown), ">= 5 GiB"
    for name, (place, room) in rooms.items():
        setting = "NKTC_CACHE" if name == "cache" else "TMPDIR"
        fix = f"free some, or use another folder: export {setting}=/a/larger/disk"
        if room is None or not room.writable:
            fix = f"use a folder of your own: export {setting}=/a/folder"
            return Check("disk", State.PROBLEM, found, "", f"{machine.short(place)} cannot be written to", fix)
        if room.free < 512 * MIB:
            return Check("disk", State.PROBLEM, found, wanted, f"the disk of the {name} folder is full", fix)
        if room.free < 5 * GIB:
            return Check("disk", State.WARNING, found, wanted, f"the disk of the {name} folder is nearly full", fix)
    return Check("disk", State.OK, found)


def threads(machine: Machine) -> Check:
    """Settings that keep runtimes from using every core, or have them use more than there are."""
    quota = _quota(machine)
    allowed = min(machine.usable, quota or machine.usable)
    given = {name: machine.environ[name] for name in THREADS if machine.environ.get(name)}
    count = machine.probe("pytorch").found.get("threads")
    parts = [f"torch uses {count}" if count else "", f"{allowed} cores", *(f"{k}={v}" for k, v in given.items())]
    found = ", ".join(filter(None, parts))
    for name, value in given.items():
        fix = f"unset {name}"
        if not value.split(",")[0].isdecimal():
            return Check("threads", State.WARNING, found, "", f"{name} is no number of threads", fix)
        if int(value.split(",")[0]) < allowed:
            problem = f"{name} keeps what computes on the CPU to {value} of {allowed} cores"
            return Check("threads", State.WARNING, found, "", problem, fix)
    if quota and quota < machine.usable and (count or machine.usable) > quota:
        problem = f"the container may use {quota} of the {machine.usable} cores it sees, and more threads wait in turn"
        return Check("threads", State.WARNING, found, "", problem, f"export OMP_NUM_THREADS={quota}")
    return Check("threads", State.OK, found)


def encoding(machine: Machine) -> Check:
    if machine.encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
        return Check("text", State.OK, machine.encoding)
    fix = "set PYTHONUTF8=1" if machine.system == "Windows" else "export PYTHONUTF8=1"
    problem = "names of files and layers beyond this encoding are shown with backslashes"
    return Check("text", State.WARNING, machine.encoding or "unknown encoding", "utf-8", problem, fix)


def flags(machine: Machine) -> set[str]:
    """What the processor can do, as Linux names it."""
    line = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", machine.read("/proc/cpuinfo"), re.MULTILINE)
    return set(line.group(1).split()) if line else set()


def in_wsl(machine: Machine) -> bool:
    return "microsoft" in machine.release.lower()


def in_container(machine: Machine) -> bool:
    return any(machine.exists(path) for path in ("/.dockerenv", "/run/.containerenv"))


def distribution(machine: Machine) -> set[str]:
    """Linux's names for this distribution and what it is like."""
    lines = re.findall(r"^(?:ID|ID_LIKE)=(.*)$", machine.read("/etc/os-release"), re.MULTILINE)
    return {name for line in lines for name in line.strip("\"'").split()}


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: "580.95.05" -> (580, 95, 5)."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, found.group().split("."))) if found else ()


def size(count: float) -> str:
    """Bytes as people write them."""
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / MIB:.0f} MiB"


def _free(room: Room | None) -> str:
    return f"{size(room.free)} free" if room else "not there"


def _quota(machine: Machine) -> int:
    """The whole cores that a control group allows, 0 where it does not limit them."""
    limit, _, period = machine.read("/sys/fs/cgroup/cpu.max").partition(" ")
    if not limit:
        limit = machine.read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
        period = machine.read("/sys/fs/cgroup/cpu/cpu.cfs_period_us")
    if limit.isdecimal() and period.isdecimal() and int(period):
        return max(1, -(-int(limit) // int(period)))
    return 0


def library_path(machine: Machine) -> str:
    """Advice where LD_LIBRARY_PATH may put other libraries before those of packages, "" else."""
    given = machine.environ.get("LD_LIBRARY_PATH", "").strip(os.pathsep)
    return "try it without LD_LIBRARY_PATH (env -u LD_LIBRARY_PATH nktc doctor); else " if given else ""
