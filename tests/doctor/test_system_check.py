from __future__ import annotations

import pytest

from nktc.doctor import Probe, Room, State, system


def test_all_is_well_on_a_usual_machine(machine):
    here = machine()
    checks = [system.python, system.operating_system, system.cpu, system.memory, system.shared_memory]
    checks += [system.disk, system.threads, system.encoding]
    assert [check(here).state for check in checks] == [State.OK] * len(checks)


def test_an_old_python_and_an_old_c_library_are_problems(machine):
    assert system.python(machine(python="3.9.18")).problem == "this Python is too old"
    found = system.operating_system(machine(libc="glibc 2.17"))
    assert (found.state, found.wanted) == (State.PROBLEM, "glibc >= 2.28")
    assert system.operating_system(machine(libc="")).state is State.PROBLEM


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("avx2", "AVX2; int8 without VNNI: weights get 7 bits; bf16 is emulated, slower than fp32"),
        ("avx2 avx_vnni", "AVX2; int8 has instructions; bf16 is emulated, slower than fp32"),
        ("avx2 avx512f avx512_vnni amx_bf16", "AVX-512; int8 has instructions; bf16 has instructions"),
    ],
)
def test_what_8_and_16_bits_mean_is_told_by_the_flags(machine, flags, said):
    found = system.cpu(machine(files={"/proc/cpuinfo": f"model name : E\nflags : sse {flags}\n"}))
    assert (found.state, found.found) == (State.OK, f"E, 8 of 8 cores usable; {said}")


def test_a_processor_without_avx2_is_noted(machine):
    found = system.cpu(machine(files={"/proc/cpuinfo": "model name : Old\nflags : sse sse2\n"}))
    assert (found.state, found.wanted) == (State.WARNING, "AVX2")
    assert "-cpu host" in found.fix


def test_an_arm_processor_names_its_features(machine):
    found = system.cpu(machine(arch="aarch64", files={"/proc/cpuinfo": "Features : fp asimd asimddp bf16\n"}))
    assert found.found == "8 of 8 cores usable; NEON; int8 has instructions; bf16 has instructions"


def test_little_memory_counts_with_the_limit_of_the_container(machine):
    assert "16.0 GiB free of 32.0 GiB" in system.memory(machine()).found
    found = system.memory(machine(files={"/sys/fs/cgroup/memory.max": str(1 << 30)}))
    assert found.state is State.WARNING
    assert "limited to 1.0 GiB" in found.found


def test_little_shared_memory_is_mended_by_the_right_command(machine):
    small = {"/dev/shm": Room(64 << 20, 64 << 20)}
    assert system.shared_memory(machine(rooms=small)).fix == "sudo mount -o remount,size=50% /dev/shm"
    inside = machine(rooms=small, files={"/.dockerenv": ""})
    assert system.shared_memory(inside).fix == "docker run --shm-size=8g …"


def test_full_and_closed_disks_are_told_by_their_folder(machine):
    cache = "/home/joe/.cache/nktc"
    full = system.disk(machine(rooms={cache: Room(100 << 30, 100 << 20)}))
    assert (full.state, full.problem) == (State.PROBLEM, "the disk of the cache folder is full")
    assert full.fix == "free some, or use another folder: export NKTC_CACHE=/a/larger/disk"
    closed = system.disk(machine(rooms={"/tmp": Room(100 << 30, 50 << 30, writable=False)}))
    assert (closed.problem, closed.fix) == (
        "/tmp cannot be written to",
        "use a folder of your own: export TMPDIR=/a/folder",
    )
    scarce = system.disk(machine(rooms={"/tmp": Room(100 << 30, 2 << 30)}))
    assert scarce.state is State.WARNING
    assert "cache" not in system.disk(machine(probes={"backends": Probe(failure="ImportError: x")})).found


def test_threads_are_limited_by_settings_and_by_a_container(machine):
    found = system.threads(machine(environ={"OMP_NUM_THREADS": "1"}))
    assert found.problem == "OMP_NUM_THREADS keeps what computes on the CPU to 1 of 8 cores"
    assert found.fix == "unset OMP_NUM_THREADS"
    assert "no number" in system.threads(machine(environ={"MKL_NUM_THREADS": "many"})).problem
    found = system.threads(machine(files={"/sys/fs/cgroup/cpu.max": "250000 100000"}))
    assert found.fix == "export OMP_NUM_THREADS=3"
    assert system.threads(machine(files={"/sys/fs/cgroup/cpu.max": "max 100000"})).state is State.OK


def test_a_terminal_that_is_not_utf_8_is_noted(machine):
    found = system.encoding(machine(encoding="ANSI_X3.4-1968"))
    assert (found.state, found.fix) == (State.WARNING, "export PYTHONUTF8=1")
    assert system.encoding(machine(encoding="UTF8")).state is State.OK
