from __future__ import annotations

import pytest

from nktc.doctor import Probe, Ran, State, nvidia, pytorch

QUERY = "nvidia-smi " + " ".join(nvidia.QUERY)
L4 = {"name": "NVIDIA L4", "capability": "8.9", "error": ""}


def probe(**other: object) -> dict[str, Probe]:
    usual = {"version": "2.13.0+cu130", "cuda": "13.0", "path": "/x/torch/__init__.py", "threads": 8, "error": ""}
    return {"pytorch": Probe({**usual, "devices": [L4], "arches": ["sm_75", "sm_80"], **other})}


def test_a_torch_that_does_not_load_is_told_with_its_reason_and_what_may_disturb_it(machine):
    broken = {"pytorch": Probe(failure="ImportError: libcudart.so.13: cannot open shared object file")}
    found = pytorch.torch(machine(probes=broken, environ={"LD_LIBRARY_PATH": "/opt/old"}))
    assert found.state is State.PROBLEM
    assert found.problem == "torch cannot be loaded: ImportError: libcudart.so.13: cannot open shared object file"
    assert found.fix == (
        "try it without LD_LIBRARY_PATH (env -u LD_LIBRARY_PATH nktc doctor); else"
        " pip install 'torch>=2.11' --force-reinstall"
    )
    crashed = pytorch.torch(machine(probes={"pytorch": Probe(failure="crashed (SIGSEGV)")}))
    assert crashed.problem == "torch cannot be loaded: crashed (SIGSEGV)"


def test_no_torch_and_an_old_one_are_installed_anew(machine):
    absent = machine(probes={"pytorch": Probe(failure="ModuleNotFoundError: No module named 'torch'")}, packages={})
    assert pytorch.torch(absent).fix == "pip install 'torch>=2.11'"
    found = pytorch.torch(machine(probes=probe(version="2.6.0", cuda="")))
    assert (found.wanted, found.fix) == (">=2.11", "pip install 'torch>=2.11' --upgrade")


def test_a_build_for_the_cpu_is_a_problem_only_where_there_is_a_gpu(machine, gpu_machine):
    cpu = probe(version="2.13.0+cpu", cuda="", devices=[])
    assert pytorch.torch(machine(probes=cpu)).state is State.OK
    found = pytorch.torch(gpu_machine(probes=cpu))
    assert found.problem == "there is a GPU with a driver, and this torch cannot use it"
    assert "--index-url https://download.pytorch.org/whl/cu130" in found.fix
    hidden = gpu_machine(probes=cpu, environ={"CUDA_VISIBLE_DEVICES": ""})
    assert pytorch.torch(hidden).state is State.OK


def test_first_kernels_decide_whether_the_gpu_can_be_used(gpu_machine):
    assert pytorch.on_gpu(gpu_machine()).state is State.OK
    none = gpu_machine(probes=probe(devices=[], error="CUDA unknown error"))
    assert pytorch.on_gpu(none).problem == "torch finds no GPU: CUDA unknown error"
    full = gpu_machine(probes=probe(devices=[{**L4, "error": "CUDA out of memory. Tried"}]))
    assert pytorch.on_gpu(full).fix == "end what uses the GPU: nvidia-smi lists it"
    hidden = gpu_machine(environ={"CUDA_VISIBLE_DEVICES": "-1"})
    assert pytorch.on_gpu(hidden).found == "CUDA_VISIBLE_DEVICES hides the GPU"


def test_a_gpu_without_kernels_gets_an_older_or_a_newer_torch(gpu_machine):
    old = {"name": "GTX 1080", "capability": "6.1", "error": "CUDA error: no kernel image is available"}
    found = pytorch.on_gpu(gpu_machine(probes=probe(devices=[old])))
    assert found.problem == "this torch has no kernels for GPU 0, sm_61"
    assert found.fix.endswith("--index-url https://download.pytorch.org/whl/cu126")
    new = {**old, "capability": "13.0"}
    assert pytorch.on_gpu(gpu_machine(probes=probe(devices=[new]))).fix == "pip install 'torch>=2.11' --upgrade"


@pytest.mark.parametrize(
    ("capability", "arches", "expected"),
    [
        ("8.9", ["sm_80"], True),
        ("8.0", ["sm_86"], False),
        ("9.0", ["sm_80"], False),
        ("12.0", ["sm_75", "compute_90"], True),
        ("12.1", ["sm_120"], True),
        ("10.0", ["sm_100a"], True),
        ("7.0", ["sm_75", "compute_75"], False),
    ],
)
def test_kernels_run_on_the_same_major_and_compute_on_all_that_is_newer(capability, arches, expected):
    assert pytorch.covered(capability, arches) is expected


def test_a_compiler_is_absent_and_no_problem(machine):
    bare = machine(files={"/usr/bin/g++": "", "/usr/bin/apt": ""})
    assert pytorch.compiler(bare).state is State.OK
    bare.files = {"/usr/bin/apt": ""}
    found = pytorch.compiler(bare)
    assert (found.state, found.fix) == (State.ABSENT, "sudo apt install g++ python3-dev")
    wrong = machine(environ={"CXX": "icpc"}, commands={"/usr/bin/g++ --version": Ran(output="g++ 13\n")})
    assert pytorch.compiler(wrong).problem == 'CXX is "icpc", which is not there'
