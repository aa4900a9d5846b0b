from __future__ import annotations

import json

import pytest

from nktc.doctor import Machine, Probe, State, examine, report


def test_a_usual_machine_without_a_gpu_has_no_problems(machine, golden):
    found = examine(machine())
    assert found.well
    golden(
        found.text(),
        """
        ok         python                3.12.4, ~/env/bin/python
        ok         system                Linux 6.8.0-50-generic x86_64 glibc 2.39
        ok         cpu                   Epic 1, 8 of 8 cores usable; AVX-512; int8 has instructions; bf16 is emulated, slower than fp32
        ok         memory                16.0 GiB free of 32.0 GiB
        ok         shared memory         50.0 GiB free of 100.0 GiB in /dev/shm
        ok         disk                  cache ~/.cache/nktc: 50.0 GiB free; temp /tmp: 50.0 GiB free
        ok         threads               torch uses 8, 8 cores
        ok         text                  utf-8
        ok         nktc                  0.1.0, ~/env/nktc
        ok         packages              2 of 2 packages in the versions that nktc takes
        ok         protobuf              7.36.2 (upb)
        ok         opencv                opencv-python-headless 5.0.0.93, with FFmpeg, /opt/env/site-packages/cv2
        not there  gpu                   no NVIDIA GPU; everything runs on the CPU
        not there  driver                none, and no NVIDIA GPU
        ok         CUDA_VISIBLE_DEVICES  not set: every GPU is seen
        ok         torch                 2.13.0, built for the CPU, /opt/env/site-packages/torch
        not there  torch on the gpu      no NVIDIA GPU
        ok         compiler              g++ 13.2.0, /usr/bin/g++
        ok         onnxruntime           onnxruntime-gpu 1.31.1, /opt/env/site-packages/onnxruntime
        ok         onnxruntime cpu       started, and computes a convolution
        not there  onnxruntime cuda      falls back to the CPU: no NVIDIA GPU
        not there  onnxruntime tensorrt  does not start (nktc runs TensorRT itself; this one is for TensorRT 10)
        not there  tensorrt              not installed
                                         it needs an NVIDIA GPU and its driver
        not there  openvino              not installed
                                         to have it: pip install 'nktc[openvino]'
        ok         backends              onnxruntime, openvino, tensorrt, torch

        no problems
        usable here: onnxruntime 1.31.1 (cpu), torch 2.13.0 (cpu); not usable: openvino (pip install nktc[openvino]); tensorrt (pip install 'nktc[tensorrt]')
        """,  # noqa: E501
    )


def test_a_machine_with_a_gpu_has_no_problems_and_uses_it(gpu_machine):
    found = examine(gpu_machine())
    assert [check for check in found.checks if check.state is State.PROBLEM] == []
    assert (
        found.summary
        == "usable here: onnxruntime 1 (cpu, cuda), openvino 1 (cpu), tensorrt 1 (cuda), torch 1 (cpu, cuda)"
    )


def test_json_keeps_its_fields(machine):
    plain = json.loads(json.dumps(examine(machine()).plain()))
    assert list(plain) == ["nktc", "ok", "summary", "checks", "backends"]
    assert [check["name"] for check in plain["checks"]] == [
        *("python", "system", "cpu", "memory", "shared memory", "disk", "threads", "text", "nktc", "packages"),
        *("protobuf", "opencv", "gpu", "driver", "CUDA_VISIBLE_DEVICES", "torch", "torch on the gpu", "compiler"),
        *("onnxruntime", "onnxruntime cpu", "onnxruntime cuda", "onnxruntime tensorrt"),
        *("tensorrt", "openvino", "backends"),
    ]
    for check in plain["checks"]:
        assert list(check) == ["name", "state", "found", "wanted", "problem", "fix"]
        assert check["state"] in ("ok", "warning", "problem", "absent")
    assert plain["backends"][0] == {
        "name": "onnxruntime",
        "usable": True,
        "version": "1.31.1",
        "devices": ["cpu"],
        "missing": "",
    }


def test_a_check_that_fails_itself_is_a_problem_of_its_own(machine, monkeypatch):
    def broken(machine):
        raise KeyError("unforeseen")

    monkeypatch.setattr(report, "CHECKS", (("first", broken), *report.CHECKS))
    found = examine(machine())
    assert not found.well
    assert found.checks[0].text(5) == (
        "PROBLEM    first  could not be checked\n"
        "                  the check itself failed: KeyError: 'unforeseen'\n"
        "                  fix: report it, with what this writes: nktc doctor --bundle doctor.zip"
    )
    assert len(found.checks) > 20


def test_where_nothing_can_be_probed_every_check_still_answers(machine):
    silent = {name: Probe(failure="gave no answer in 240 s") for name in machine().probes}
    found = examine(machine(probes=silent))
    assert not any("check itself failed" in check.problem for check in found.checks)
    assert {check.name for check in found.checks if check.state is State.PROBLEM} == {
        *("protobuf", "opencv", "torch", "onnxruntime", "backends"),
    }
    assert found.summary == (
        "usable here: nothing; not usable: onnxruntime, openvino, tensorrt, torch"
        " (cannot be loaded: gave no answer in 240 s)"
    )


def test_of_a_machine_of_which_nothing_is_known_every_check_still_answers():
    class Bare(Machine):
        def run(self, *command):
            return report.Machine._run(self, ["/nowhere/to/be/found"], 1, None)

        def probe(self, name, *arguments):
            return Probe(failure="gave no answer")

    found = examine(Bare(system="Windows", release="11", arch="AMD64", encoding="cp1252"))
    assert not any("check itself failed" in check.problem for check in found.checks)


def test_an_engine_that_breaks_is_found_among_those_that_do_not(machine):
    well = {"missing": "", "version": "1"}
    names = ("onnxruntime", "openvino", "tensorrt", "torch")
    probes = {f"backends {name}": Probe({"backends": {name: well}}) for name in names if name != "openvino"}
    together = {f"backends {' '.join(names)}": Probe(failure="crashed (SIGILL)")}
    here = machine(probes={**probes, **together, "backends openvino": Probe(failure="crashed (SIGILL)")})
    found = examine(here)
    assert "not usable: openvino (cannot be loaded: crashed (SIGILL))" in found.summary
    assert found.checks[-1].problem == "openvino cannot be loaded: crashed (SIGILL)"


def test_engines_that_an_older_installation_lacks_are_registered_by_the_next(machine):
    found = examine(machine(engines=("onnxruntime", "torch"))).checks[-1]
    assert found.problem == "openvino, tensorrt are not registered: nktc was installed before it had them"
    assert found.fix == "pip install --force-reinstall nktc"


@pytest.mark.slow
def test_on_this_machine_every_problem_has_a_fix():
    found = examine(Machine.here())
    for check in found.checks:
        assert check.found
        assert "check itself failed" not in check.problem
        if check.state is State.PROBLEM:
            assert check.problem
            assert check.fix
    usable = {one.name: one.devices for one in found.backends if one.usable}
    assert usable["torch"][0] == "cpu"
    assert usable["onnxruntime"][0] == "cpu"
