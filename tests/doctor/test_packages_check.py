from __future__ import annotations

from nktc.doctor import Probe, State, packages, requirements

USUAL = {"numpy": "2.4.6", "onnx": "1.23.2", "nktc": "0.1.0"}


def test_ranges_are_those_of_the_metadata_and_markers_are_heeded(machine):
    assert requirements.wanted(machine(), "tensorrt-cu13") == ">=11.1,<12"
    assert "onnxruntime" in [one.name for one in requirements.required(machine(system="Darwin"))]
    assert "onnxruntime" not in [one.name for one in requirements.required(machine())]
    assert requirements.fits("2.13.0+cpu", ">=2.11")
    assert requirements.fits("2.12.0a0", ">=2.11")
    assert not requirements.fits("2.10.1", ">=2.11")
    assert not requirements.fits("unknown", ">=2.11")


def test_packages_that_are_absent_or_of_another_version_are_named_with_one_command(machine):
    assert packages.dependencies(machine()).state is State.OK
    found = packages.dependencies(machine(packages={"onnx": "1.16.0"}))
    assert found.found == "0 of 2 packages in the versions that nktc takes"
    assert found.problem == "numpy is not installed; onnx is 1.16.0, not >=1.20,<2"
    assert found.fix == "pip install 'numpy>=1.26' 'onnx>=1.20,<2'"


def test_an_nktc_that_is_not_installed_has_no_engines(machine):
    assert packages.nktc(machine()).found == "0.1.0, ~/env/nktc"
    found = packages.nktc(machine(packages={}))
    assert found.fix == "pip install -e /home/joe/env"
    assert "is not installed" in found.problem
    stale = packages.nktc(machine(packages={"nktc": "0.0.9"}, editable=True))
    assert stale.problem == "pip has nktc 0.0.9, and 0.1.0 runs"


def test_protobuf_by_python_code_is_noted_and_a_broken_one_a_problem(machine):
    slow = {"schema": Probe({"version": "5.29.0", "implementation": "python", "right": True})}
    forced = {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}
    found = packages.protobuf(machine(probes=slow, environ=forced))
    assert (found.state, found.fix) == (State.WARNING, "unset PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION")
    broken = {"schema": Probe(failure="ImportError: cannot import name 'descriptor_pool'")}
    found = packages.protobuf(machine(probes=broken))
    assert found.problem.startswith("the schema of prototxts cannot be loaded: ImportError")
    assert found.fix == "pip install 'protobuf>=5' --force-reinstall"


def test_two_packages_of_opencv_are_told_with_what_leaves_one(machine):
    both = {"opencv-python": "4.12.0", "opencv-python-headless": "5.0.0.93"}
    found = packages.opencv(machine(packages=both))
    assert found.problem == (
        "opencv-python and opencv-python-headless own the same folder cv2: the last one installed wins"
    )
    assert found.fix == (
        "pip uninstall -y opencv-python opencv-python-headless && pip install 'opencv-python-headless>=4.9'"
    )
    assert packages.opencv(machine(packages=both, conda=frozenset(both))).state is State.OK


def test_an_opencv_that_does_not_load_or_reads_no_video_is_replaced(machine):
    broken = {"opencv": Probe(failure="ImportError: libGL.so.1: cannot open shared object file")}
    found = packages.opencv(machine(probes=broken, packages={"opencv-python": "4.12.0"}))
    assert found.problem == "OpenCV cannot be loaded: ImportError: libGL.so.1: cannot open shared object file"
    assert found.fix == "pip uninstall -y opencv-python && pip install 'opencv-python-headless>=4.9'"
    mute = {"opencv": Probe({"version": "5.0.0", "path": "/x/cv2/a.py", "ffmpeg": False, "right": True})}
    assert packages.opencv(machine(probes=mute)).state is State.WARNING


def test_a_list_of_packages_holds_names_and_versions_alone(machine):
    assert packages.versions(machine(packages=USUAL)) == "nktc==0.1.0\nnumpy==2.4.6\nonnx==1.23.2\n"
