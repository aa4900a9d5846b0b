"""Checks of NVIDIA's hardware and driver, and what hides it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nktc.doctor.check import Check, State
from nktc.doctor.machine import Machine, Ran
from nktc.doctor.system import distribution, in_container, in_wsl, numbers, size

DRIVER = 580  # what CUDA 13 takes: that of ONNX Runtime 1.31, TensorRT 11 and today's torch
MINIMUM = {13: DRIVER, 12: 525, 11: 450}  # the driver by the CUDA it runs
MIB = 1 << 20
QUERY = ("--query-gpu=index,name,driver_version,memory.total,memory.free", "--format=csv,noheader,nounits")
SITE = "https://www.nvidia.com/drivers"
HIDES = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Gpu:
    """A GPU as nvidia-smi tells of it, memory in bytes."""

    index: int
    name: str
    driver: str
    total: int
    free: int


def gpu(machine: Machine) -> Check:
    """What hardware there is, whether or not a driver speaks to it."""
    names = [
        line.partition(":")[2].strip()
        for folder in machine.names("/proc/driver/nvidia/gpus")
        for line in machine.read(f"/proc/driver/nvidia/gpus/{folder}/information").splitlines()
        if line.startswith("Model:")
    ] or [one.name for one in gpus(machine)]
    if names:
        return Check("gpu", State.OK, _counted(names))
    if count := _on_bus(machine):
        return Check("gpu", State.OK, f"{count} on the PCI bus, which no driver has named")
    if nodes := _nodes(machine):
        return Check("gpu", State.OK, ", ".join(nodes))
    if machine.system == "Linux" and in_container(machine):
        fix = "docker run --gpus all …, with NVIDIA's container toolkit on the host"
        return Check("gpu", State.ABSENT, "no NVIDIA GPU in this container", fix=fix)
    return Check("gpu", State.ABSENT, "no NVIDIA GPU; everything runs on the CPU")


def driver(machine: Machine) -> Check:
    """Whether nvidia-smi and the kernel's driver get on, and the driver is new enough."""
    ran = smi(machine)
    kernel = _kernel_version(machine)
    wanted = f">= {DRIVER} for CUDA 13"
    if ran.well and gpus(machine):
        return _working(machine, wanted)
    if not present(machine) and (ran.failure or "couldn't communicate" in ran.said):
        return Check("driver", State.ABSENT, "none, and no NVIDIA GPU", wanted)
    found = f"kernel module {kernel}" if kernel else "no kernel module is loaded"
    if ran.failure == "is not installed":
        if kernel and in_container(machine):
            fix = "docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility …"
            return Check("driver", State.PROBLEM, found, wanted, "the container has no nvidia-smi", fix)
        if kernel:
            problem = "the kernel has the driver, and its libraries and nvidia-smi are not installed"
            return Check("driver", State.PROBLEM, found, wanted, problem, update(machine))
        other = ": nouveau drives it" if machine.exists("/sys/module/nouveau") else ""
        problem = f"there is an NVIDIA GPU, and no driver of NVIDIA's{other}"
        return Check("driver", State.PROBLEM, found, wanted, problem, update(machine))
    if ran.failure:
        problem = f"nvidia-smi {ran.failure}: a GPU or the driver hangs"
        fix = "see what the kernel says: sudo dmesg | grep -iE 'nvrm|xid'; then: sudo reboot"
        return Check("driver", State.PROBLEM, found, wanted, problem, fix)
    return _refused(machine, ran, found, kernel, wanted)


def hidden(machine: Machine) -> Check:
    """What CUDA_VISIBLE_DEVICES leaves of the GPUs."""
    if HIDES not in machine.environ:
        return Check(HIDES, State.OK, "not set: every GPU is seen")
    given = machine.environ[HIDES]
    count = len(gpus(machine))
    found, fix = f'"{given}"', f"unset {HIDES}"
    if not count:
        return Check(HIDES, State.OK, f"{found}; there is no GPU for it")
    first = given.split(",")[0].strip()
    if not first or first.startswith("-"):
        return Check(
            HIDES, State.WARNING, found, "", f"it hides all {count} GPUs" if count > 1 else "it hides the GPU", fix
        )
    for entry in map(str.strip, given.split(",")):
        if not re.fullmatch(r"\d+|(GPU|MIG)-[\w/-]+", entry):
            problem = f'"{entry}" is no GPU: it and what stands behind it is hidden'
            return Check(HIDES, State.WARNING, found, "", problem, fix)
        if entry.isdecimal() and int(entry) >= count:
            problem = f"there is no GPU {entry}, only {count}: it and what stands behind it is hidden"
            return Check(HIDES, State.WARNING, found, "", problem, fix)
    return Check(HIDES, State.OK, found)


def smi(machine: Machine) -> Ran:
    """nvidia-smi's table of GPUs; in WSL also where Windows puts it."""
    ran = machine.run("nvidia-smi", *QUERY)
    if ran.failure == "is not installed" and in_wsl(machine):
        return machine.run("/usr/lib/wsl/lib/nvidia-smi", *QUERY)
    return ran


def gpus(machine: Machine) -> list[Gpu]:
    """The GPUs with which the driver can work."""
    found = []
    ran = smi(machine)
    for line in ran.output.splitlines() if ran.well else []:
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == 5 and fields[0].isdecimal():
            total, free = (int(field) * MIB if field.isdecimal() else 0 for field in fields[3:])
            found.append(Gpu(int(fields[0]), fields[1], fields[2], total, free))
    return found


def present(machine: Machine) -> bool:
    """Whether there is an NVIDIA GPU, with a driver or without."""
    return bool(_on_bus(machine) or _nodes(machine) or machine.names("/proc/driver/nvidia/gpus") or gpus(machine))


def hides_all(machine: Machine) -> bool:
    first = machine.environ.get(HIDES, "0").split(",")[0].strip()
    return not first or first.startswith("-")


def driver_for(cuda: str) -> int:
    """The oldest driver that runs a CUDA of that version."""
    return MINIMUM.get((numbers(cuda) or (13,))[0], DRIVER)


def update(machine: Machine) -> str:
    """How to get a driver that is new enough on this system."""
    site = f"the driver {DRIVER} or newer from {SITE}"
    like = distribution(machine)
    if in_wsl(machine):
        return f"install {site} in Windows, none in Linux; then, in Windows: wsl --shutdown"
    if machine.system != "Linux":
        return f"install {site}"
    if in_container(machine):
        return f"update the driver on the host, which is the container's too: {site}"
    if "ubuntu" in like:
        return f"sudo apt update && sudo apt install nvidia-driver-{DRIVER} && sudo reboot"
    if "fedora" in like and "rhel" not in like:
        return "sudo dnf install akmod-nvidia xorg-x11-drv-nvidia-cuda && sudo reboot  (from RPM Fusion)"
    if "arch" in like:
        return "sudo pacman -Syu nvidia-open nvidia-utils && sudo reboot"
    return f"install {site}, then: sudo reboot"


def _working(machine: Machine, wanted: str) -> Check:
    all_ = gpus(machine)
    version = all_[0].driver
    room = ", ".join(f"{size(one.free)} free of {size(one.total)}" for one in all_ if one.total)
    found = f"{version} with {_counted([one.name for one in all_])}" + (f": {room}" if room else "")
    torch = machine.probe("pytorch").found
    runs = any(not one["error"] for one in torch.get("devices", ()))
    cuda = str(torch.get("cuda", ""))
    major = (numbers(version) or (0,))[0]
    if cuda and major < driver_for(cuda) and not runs:
        problem = f"the driver {version} is too old for CUDA {cuda}, which torch was built with"
        return Check("driver", State.PROBLEM, found, wanted, problem, update(machine))
    # NVIDIA's packages for forward compatibility let some GPUs run CUDA 13 on an older driver.
    if major < DRIVER and not (runs and (numbers(cuda) or (0,))[0] >= 13):
        problem = f"the driver {version} is too old for CUDA 13, which ONNX Runtime and TensorRT need"
        return Check("driver", State.PROBLEM, found, wanted, problem, update(machine))
    full = [one for one in all_ if one.total and one.free < one.total // 10]
    if full:
        problem = f"GPU {full[0].index} has little free memory: other programs use it"
        fix = f"see which with: nvidia-smi; or use another: export {HIDES}=N"
        return Check("driver", State.WARNING, found, wanted, problem, fix)
    return Check("driver", State.OK, found, wanted)


def _refused(machine: Machine, ran: Ran, found: str, kernel: str, wanted: str) -> Check:
    """nvidia-smi is there and reports no GPU."""
    said = ran.said
    release = machine.release
    if "version mismatch" in said:
        library = re.search(r"library version: ([\d.]+)", said)
        new = f" ({library.group(1)})" if library else ""
        old = f" {kernel}" if kernel else " the one before"
        problem = (
            f"nvidia-smi cannot talk to the driver after an update: its libraries are new{new}, and the kernel still"
            f" runs{old}"
        )
        fix = (
            "sudo reboot; or, with nothing using the GPU:"
            " sudo rmmod nvidia_uvm nvidia_drm nvidia_modeset nvidia; sudo modprobe -a nvidia nvidia_uvm"
        )
        if in_container(machine):
            fix = "restart the container (docker restart NAME), so that it gets the libraries of the host's driver"
        return Check("driver", State.PROBLEM, found, wanted, problem, fix)
    if "couldn't communicate" in said:
        return Check("driver", State.PROBLEM, found, wanted, *_unloaded(machine, release))
    if "No devices were found" in said:
        problem = "the driver is loaded and works with no GPU: one failed, or this driver is not for it"
        fix = f"see what the kernel says: sudo dmesg | grep -iE 'nvrm|xid'; then: sudo reboot, or {update(machine)}"
        return Check("driver", State.PROBLEM, found, wanted, problem, fix)
    closed = [node for node in _nodes(machine) if not machine.readable(node)]
    if "ermission" in said or closed:
        problem = f"this user may not use {closed[0] if closed else 'the GPU'}"
        fix = "sudo usermod -aG video,render $USER, and log in anew"
        return Check("driver", State.PROBLEM, found, wanted, problem, fix)
    line = said.splitlines()[0] if said else f"exit status {ran.code}"
    problem = f"nvidia-smi fails: {line}"
    fix = "see what the kernel says: sudo dmesg | grep -iE 'nvrm|xid'; then: sudo reboot"
    return Check("driver", State.PROBLEM, found, wanted, problem, fix)


def _unloaded(machine: Machine, release: str) -> tuple[str, str]:
    """Why the kernel's module is not loaded, and what loads it."""
    problem = "nvidia-smi cannot talk to the driver: "
    if in_wsl(machine):
        return f"{problem}Windows does not hand the GPU on", f"{update(machine)}; wsl --update"
    if in_container(machine):
        return f"{problem}the host's is not loaded", "on the host: sudo modprobe nvidia, and restart the container"
    if machine.run("modinfo", "-F", "version", "nvidia").well:
        if "enabled" in machine.run("mokutil", "--sb-state").output:
            key = "/var/lib/shim-signed/mok/MOK.der" if "ubuntu" in distribution(machine) else "/var/lib/dkms/mok.pub"
            fix = f"sudo mokutil --import {key} && sudo reboot, and enroll the key then; or switch Secure Boot off"
            return f"{problem}its module is there, and Secure Boot takes no module without a known key", fix
        return f"{problem}its module is there and not loaded", "sudo modprobe nvidia && nvidia-smi"
    problem += f"after an update of the kernel there is no module for {release}"
    like = distribution(machine)
    if like & {"debian", "ubuntu"} and machine.which("dkms"):
        return problem, f"sudo apt install linux-headers-{release} && sudo dkms autoinstall && sudo modprobe nvidia"
    if "fedora" in like:
        return problem, f"sudo dnf install kernel-devel-{release} && sudo akmods --force && sudo modprobe nvidia"
    return problem, update(machine)


def _kernel_version(machine: Machine) -> str:
    """The version of the driver in the kernel, "" where none is loaded."""
    found = re.search(r"NVRM version:.*?\s(\d+\.\d[\d.]*)", machine.read("/proc/driver/nvidia/version"))
    return found.group(1) if found else machine.read("/sys/module/nvidia/version")


def _on_bus(machine: Machine) -> int:
    """NVIDIA's GPUs on the PCI bus: class 03 is display, vendor 10de NVIDIA."""
    bus = "/sys/bus/pci/devices"
    return sum(
        machine.read(f"{bus}/{name}/vendor") == "0x10de" and machine.read(f"{bus}/{name}/class").startswith("0x03")
        for name in machine.names(bus)
    )


def _nodes(machine: Machine) -> list[str]:
    """The device files of GPUs."""
    return [f"/dev/{name}" for name in machine.names("/dev") if re.fullmatch(r"nvidia\d+", name)]


def _counted(names: list[str]) -> str:
    """Names, with how many there are of each."""
    return ", ".join(name if names.count(name) == 1 else f"{names.count(name)} {name}" for name in dict.fromkeys(names))
