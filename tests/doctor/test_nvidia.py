from __future__ import annotations

from nktc.doctor import Probe, Ran, State, nvidia

QUERY = "nvidia-smi " + " ".join(nvidia.QUERY)


def test_without_a_gpu_nothing_of_nvidia_is_a_problem(machine):
    checks = [nvidia.gpu(machine()), nvidia.driver(machine()), nvidia.hidden(machine())]
    assert [check.state for check in checks] == [State.ABSENT, State.ABSENT, State.OK]
    assert not any(check.fix for check in checks)


def test_in_a_container_without_a_gpu_the_way_to_have_it_is_told(machine):
    found = nvidia.gpu(machine(files={"/.dockerenv": ""}))
    assert found.state is State.ABSENT
    assert "docker run --gpus all" in found.fix


def test_a_working_driver_names_the_gpus_and_their_memory(gpu_machine):
    twice = "0, NVIDIA L4, 580.95.05, 23034, 22000\n1, NVIDIA L4, 580.95.05, 23034, 22000\n"
    found = nvidia.driver(gpu_machine(commands={QUERY: Ran(output=twice)}))
    assert found.state is State.OK
    assert found.found.startswith("580.95.05 with 2 NVIDIA L4: 21.5 GiB free of 22.5 GiB")


MISMATCH = Ran(18, "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.95\n")


def test_after_an_update_of_the_driver_both_versions_and_the_way_out_are_told(gpu_machine):
    version = {"/proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.124.06  Wed\n"}
    found = nvidia.driver(gpu_machine(commands={QUERY: MISMATCH}, files=version))
    assert found.text(6) == (
        "PROBLEM    driver  kernel module 570.124.06\n"
        "                   nvidia-smi cannot talk to the driver after an update: its libraries are new (580.95), and"
        " the kernel still runs 570.124.06; wanted: >= 580 for CUDA 13\n"
        "                   fix: sudo reboot; or, with nothing using the GPU: sudo rmmod nvidia_uvm nvidia_drm"
        " nvidia_modeset nvidia; sudo modprobe -a nvidia nvidia_uvm"
    )


def test_the_open_kernel_module_tells_its_version_too(gpu_machine):
    said = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build  (dvs-builder@U16)"
    found = nvidia.driver(gpu_machine(commands={QUERY: MISMATCH}, files={"/proc/driver/nvidia/version": said}))
    assert found.found == "kernel module 570.86.15"


def test_in_a_container_a_mismatch_is_mended_by_starting_it_anew(gpu_machine):
    found = nvidia.driver(gpu_machine(commands={QUERY: MISMATCH}, files={"/.dockerenv": ""}))
    assert found.fix.startswith("restart the container")
    assert "rmmod" not in found.fix


SILENT = Ran(9, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that …\n")


def test_a_kernel_that_was_updated_lacks_the_module(gpu_machine):
    files = {"/proc/driver/nvidia/version": "", "/usr/bin/dkms": ""}
    found = nvidia.driver(gpu_machine(commands={QUERY: SILENT, "modinfo -F version nvidia": Ran(1)}, files=files))
    assert found.state is State.PROBLEM
    assert "no module for 6.8.0-50-generic" in found.problem
    assert (
        found.fix == "sudo apt install linux-headers-6.8.0-50-generic && sudo dkms autoinstall && sudo modprobe nvidia"
    )


def test_a_module_that_is_not_loaded_is_loaded(gpu_machine):
    commands = {QUERY: SILENT, "modinfo -F version nvidia": Ran(output="580.95.05\n")}
    assert nvidia.driver(gpu_machine(commands=commands)).fix == "sudo modprobe nvidia && nvidia-smi"
    commands["mokutil --sb-state"] = Ran(output="SecureBoot enabled\n")
    found = nvidia.driver(gpu_machine(commands=commands))
    assert "Secure Boot" in found.problem
    assert "mokutil --import /var/lib/shim-signed/mok/MOK.der" in found.fix


def test_a_gpu_without_a_driver_gets_one_for_its_system(gpu_machine):
    missing = Ran(failure="is not installed")
    files = {"/proc/driver/nvidia/version": "", "/sys/module/nouveau": ""}
    found = nvidia.driver(gpu_machine(commands={QUERY: missing}, files=files))
    assert found.problem == "there is an NVIDIA GPU, and no driver of NVIDIA's: nouveau drives it"
    assert found.fix == "sudo apt update && sudo apt install nvidia-driver-580 && sudo reboot"
    files["/etc/os-release"] = "ID=gentoo\n"
    found = nvidia.driver(gpu_machine(commands={QUERY: missing}, files=files))
    assert found.fix == "install the driver 580 or newer from https://www.nvidia.com/drivers, then: sudo reboot"


def test_in_wsl_the_driver_is_that_of_windows(gpu_machine):
    release = "5.15.167.4-microsoft-standard-WSL2"
    found = nvidia.driver(gpu_machine(commands={QUERY: SILENT}, release=release))
    assert "Windows does not hand the GPU on" in found.problem
    assert "in Windows, none in Linux" in found.fix
    elsewhere = {
        QUERY: Ran(failure="is not installed"),
        f"/usr/lib/wsl/lib/{QUERY}": Ran(output="0, RTX, 581.1, 8, 7\n"),
    }
    assert nvidia.driver(gpu_machine(commands=elsewhere, release=release)).state is State.OK


def test_an_nvidia_smi_that_hangs_is_no_hang_of_ours(gpu_machine):
    found = nvidia.driver(gpu_machine(commands={QUERY: Ran(failure="gave no answer in 30 s")}))
    assert found.problem == "nvidia-smi gave no answer in 30 s: a GPU or the driver hangs"
    assert "dmesg" in found.fix


def test_a_driver_that_finds_no_device_and_one_that_is_closed_differ(gpu_machine):
    none = Ran(6, "No devices were found\n")
    assert "works with no GPU" in nvidia.driver(gpu_machine(commands={QUERY: none})).problem
    refused = Ran(4, "Failed to initialize NVML: Insufficient Permissions\n")
    found = nvidia.driver(gpu_machine(commands={QUERY: refused}, closed=frozenset({"/dev/nvidia0"})))
    assert found.problem == "this user may not use /dev/nvidia0"
    assert "usermod -aG" in found.fix


def test_a_driver_that_is_too_old_is_told_with_what_needs_a_newer_one(gpu_machine):
    old = {QUERY: Ran(output="0, NVIDIA L4, 570.86.15, 23034, 22000\n")}
    refused = {"cuda": "13.0", "devices": [], "error": "The NVIDIA driver on your system is too old"}
    found = nvidia.driver(gpu_machine(commands=old, probes={"pytorch": Probe(refused)}))
    assert found.problem == "the driver 570.86.15 is too old for CUDA 13.0, which torch was built with"
    assert found.fix == "sudo apt update && sudo apt install nvidia-driver-580 && sudo reboot"
    older = {"cuda": "12.6", "devices": [{"error": ""}]}
    found = nvidia.driver(gpu_machine(commands=old, probes={"pytorch": Probe(older)}))
    assert found.problem == "the driver 570.86.15 is too old for CUDA 13, which ONNX Runtime and TensorRT need"
    # NVIDIA's packages for forward compatibility make it do: torch's kernels ran.
    works = {"cuda": "13.0", "devices": [{"error": ""}]}
    assert nvidia.driver(gpu_machine(commands=old, probes={"pytorch": Probe(works)})).state is State.OK


def test_a_gpu_that_others_fill_is_noted(gpu_machine):
    full = Ran(output="0, NVIDIA L4, 580.95.05, 23034, 200\n")
    found = nvidia.driver(gpu_machine(commands={QUERY: full}))
    assert (found.state, found.problem) == (State.WARNING, "GPU 0 has little free memory: other programs use it")


def test_gpus_that_the_environment_hides_are_told(gpu_machine):
    def said(value: str) -> tuple[State, str]:
        found = nvidia.hidden(gpu_machine(environ={"CUDA_VISIBLE_DEVICES": value}))
        return found.state, found.problem

    assert said("0") == said("GPU-5c1f2a") == (State.OK, "")
    assert said("") == said("-1") == (State.WARNING, "it hides the GPU")
    assert said("0,3") == (State.WARNING, "there is no GPU 3, only 1: it and what stands behind it is hidden")
    assert said("0,x") == (State.WARNING, '"x" is no GPU: it and what stands behind it is hidden')
