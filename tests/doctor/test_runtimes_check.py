from __future__ import annotations

from nktc.doctor import Probe, State, runtimes

CUDA = "onnx_runtime CUDAExecutionProvider"
FELL = Probe(
    {"started": "CPUExecutionProvider", "right": True},
    errors="\x1b[1;31m2026-11-21 [E:onnxruntime:Default, provider_bridge_ort.cc:2458 operator()] /src/x.cc:2043 Get()"
    " [ONNXRuntimeError] : 1 : FAIL : Failed to load library /env/libonnxruntime_providers_cuda.so with error:"
    " libcublasLt.so.13: cannot open shared object file: No such file or directory\n\x1b[m\n",
)


def providers(machine) -> dict[str, tuple[State, str]]:
    return {check.name: (check.state, check.problem) for check in runtimes.providers(machine)}


def test_two_packages_of_onnx_runtime_are_told_with_what_leaves_one(gpu_machine):
    both = {"onnxruntime": "1.30.0", "onnxruntime-gpu": "1.31.1"}
    found = runtimes.onnxruntime(gpu_machine(packages=both))
    assert found.found == "onnxruntime 1.30.0, onnxruntime-gpu 1.31.1"
    assert found.problem.endswith("own the same folder onnxruntime: the last one installed wins")
    assert found.fix == ("pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'onnxruntime-gpu>=1.31,<1.32'")


def test_an_onnx_runtime_of_another_version_is_replaced(machine):
    old = {"onnx_runtime": Probe({"version": "1.24.2", "path": "/x/onnxruntime/__init__.py", "providers": []})}
    found = runtimes.onnxruntime(machine(probes=old, packages={"onnxruntime-gpu": "1.24.2"}))
    assert (found.state, found.wanted) == (State.PROBLEM, ">=1.31,<1.32")
    assert found.fix == "pip install 'onnxruntime-gpu>=1.31,<1.32' --upgrade"
    absent = {"onnx_runtime": Probe(failure="ModuleNotFoundError: No module named 'onnxruntime'")}
    assert runtimes.onnxruntime(machine(probes=absent, packages={})).fix == "pip install 'onnxruntime-gpu>=1.31,<1.32'"


def test_a_provider_that_falls_back_in_silence_is_a_problem_where_there_is_a_gpu(machine, gpu_machine):
    found = runtimes.providers(gpu_machine(probes={CUDA: FELL}))[1]
    assert found.name == "onnxruntime cuda"
    assert found.found == "falls back to the CPU"
    assert found.problem == "libcublasLt.so.13: cannot open shared object file: No such file or directory"
    assert found.fix == "pip install 'nktc[gpu]'"
    assert providers(machine(probes={CUDA: FELL})) == {
        "onnxruntime cpu": (State.OK, ""),
        "onnxruntime cuda": (State.ABSENT, ""),
        "onnxruntime tensorrt": (State.ABSENT, ""),
    }


def test_a_provider_that_crashes_or_computes_nonsense_is_told(gpu_machine):
    crashed = gpu_machine(probes={CUDA: Probe(failure="crashed (SIGSEGV)")})
    assert providers(crashed)["onnxruntime cuda"] == (State.PROBLEM, "crashed (SIGSEGV)")
    wrong = gpu_machine(probes={CUDA: Probe({"started": "CUDAExecutionProvider", "right": False})})
    assert providers(wrong)["onnxruntime cuda"] == (State.PROBLEM, "a convolution has a wrong result")


def test_tensorrt_matters_only_where_there_is_a_gpu(machine, gpu_machine):
    bindings = {"tensorrt-cu13-bindings": "11.4.0.106"}
    found = runtimes.tensorrt(machine(packages=bindings))
    assert (found.state, found.problem) == (State.ABSENT, "it needs an NVIDIA GPU and its driver")
    assert runtimes.tensorrt(gpu_machine()).state is State.OK


def without(gpu_machine, missing: str, packages: dict[str, str]):
    engines = {"tensorrt": {"missing": missing, "version": ""}}
    return runtimes.tensorrt(gpu_machine(packages=packages, probes={"backends": Probe({"backends": engines})}))


def test_each_way_in_which_tensorrt_is_half_there_has_its_own_words(gpu_machine):
    extra = "pip install --extra-index-url https://pypi.nvidia.com 'nktc[tensorrt]'"
    found = without(gpu_machine, "pip install 'nktc[tensorrt]'", {})
    assert (found.state, found.fix) == (State.ABSENT, extra)
    found = without(gpu_machine, "10 is installed", {"tensorrt": "10.13.0"})
    assert (found.problem, found.wanted) == ("nktc is not made for this TensorRT", ">=11.1,<12")
    found = without(gpu_machine, "x", {"tensorrt-cu12": "11.4.0", "tensorrt-cu13-libs": "11.4.0"})
    assert found.problem == "packages for CUDA 12 and 13 are mixed"
    assert found.fix == f"pip uninstall -y tensorrt-cu12 tensorrt-cu13-libs && {extra}"
    absent = "TensorRT's Python bindings are installed, but its libraries are absent: x.so"
    found = without(gpu_machine, f"{absent}; pip install 'nktc[tensorrt]'", {"tensorrt-cu13-bindings": "11.4.0"})
    assert (found.state, found.problem) == (State.PROBLEM, absent)
    assert found.fix == f"pip uninstall -y tensorrt-cu13-bindings && {extra}"
    no_gpu = "it needs an NVIDIA GPU: the installed PyTorch is a build without CUDA"
    found = without(gpu_machine, no_gpu, {"tensorrt": "11.4.0"})
    assert (found.problem, found.fix) == (no_gpu, "see torch on the gpu, above")


def test_openvino_is_an_extra_that_may_be_absent_old_or_broken(machine, gpu_machine):
    assert runtimes.openvino(machine()).fix == "pip install 'nktc[openvino]'"
    assert runtimes.openvino(gpu_machine()).state is State.OK
    old = gpu_machine(packages={"openvino": "2024.1.0"})
    assert runtimes.openvino(old).fix == "pip install 'nktc[openvino]' --upgrade"
    broken = {"openvino_devices": Probe(failure="ImportError: libtbb.so.12: cannot open shared object file")}
    assert "libtbb.so.12" in runtimes.openvino(gpu_machine(probes=broken)).problem
    without_cpu = Probe({"path": "", "devices": ["GPU"]})
    assert "CPU plugin" in runtimes.openvino(gpu_machine(probes={"openvino_devices": without_cpu})).problem
