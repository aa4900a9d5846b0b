"""A zip file for a bug report, with what was found and nothing that is nobody else's business."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

from nktc import runs
from nktc.doctor import packages
from nktc.doctor.machine import Machine
from nktc.doctor.report import Report
from nktc.doctor.scrub import GONE, SECRET_NAME, Scrubber
from nktc.doctor.system import flags
from nktc.errors import NktcError
from nktc.files import atomic

MOST = 1 << 20  # characters that are taken of either end of a file
TOLD = (
    *(
        "CUDA_VISIBLE_DEVICES",
        "CUDA_DEVICE_ORDER",
        "CUDA_LAUNCH_BLOCKING",
        "CUDA_MODULE_LOADING",
        "CUDA_HOME",
        "CUDA_PATH",
    ),
    *("NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_TF32_OVERRIDE"),
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_PROC_BIND", "KMP_AFFINITY"),
    *("LD_LIBRARY_PATH", "LD_PRELOAD", "CC", "CXX", "LANG", "LC_ALL", "PYTHONUTF8", "PYTHONIOENCODING"),
    *("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"),
)
"""The environment variables whose values are told, beside NKTC_…; of others not even the names are."""


@dataclass(frozen=True)
class Bundle:
    """What was written, and what is in it."""

    path: Path
    names: tuple[str, ...]

    def text(self) -> str:
        return (
            f"{self.path} holds {', '.join(self.names)}\n"
            "without your home folder's place, names of users and machines, and whatever looks like a secret;"
            " read it before you send it"
        )


def write_bundle(path: Path, machine: Machine, report: Report, run: Path | None = None) -> Bundle:
    """Write a report, packages, settings and what nvidia-smi says to a zip file, and the nets, solver, journal and log
    of a run. Raises NktcError where the file cannot be written or the folder is no run's."""
    scrub = Scrubber(machine)
    texts = {
        "doctor.json": json.dumps(scrub.data(report.plain()), indent=1) + "\n",
        "doctor.txt": scrub(report.text()) + "\n",
        "packages.txt": scrub(packages.versions(machine)),
        "environment.txt": scrub(_environment(machine)),
        "cpu.txt": scrub(" ".join(sorted(flags(machine))) or "not told by this system") + "\n",
        "nvidia-smi.txt": scrub(_smi(machine)) + "\n",
    }
    texts |= {f"run/{name}": scrub(text) for name, text in (_run(run) if run else {}).items()}
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in texts.items():
            file.writestr(name, text)
    return Bundle(path, tuple(texts))


def _environment(machine: Machine) -> str:
    told = {name: value for name, value in machine.environ.items() if name in TOLD or name.startswith("NKTC_")}
    lines = [f"{name}={GONE if SECRET_NAME.search(name) else value}\n" for name, value in sorted(told.items())]
    return "".join(lines) or "none of the variables that matter is set\n"


def _smi(machine: Machine) -> str:
    ran = machine.run("nvidia-smi")
    return f"nvidia-smi {ran.failure}" if ran.failure else ran.said


def _run(folder: Path) -> dict[str, str]:
    """The texts of a run's folder; no weights, no means, no pictures. Raises NktcError where there are none."""
    if not folder.is_dir():
        raise NktcError(f"{folder} is not a folder", help="--run takes the folder of a run")
    run = runs.Run(folder)
    records = [path for path in (run.environment, run.journal, run.log) if path.is_file()]
    # Any folder may hold nets, and those of others are not for a bug report.
    if not records and not (folder / "solver.prototxt").is_file():
        raise NktcError(
            f"{folder} is not the folder of a run: it has no solver.prototxt and no journal",
            help="nktc train makes one",
        )
    paths = [*sorted(path for path in folder.glob("*.prototxt") if path.is_file()), *records]
    return {path.name: _ends(path) for path in paths}


def _ends(path: Path) -> str:
    """A text, without the middle of a very long one."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return f"cannot be read: {error.strerror}\n"
    if len(text) <= 2 * MOST:
        return text
    first, last = text[:MOST].rpartition("\n")[0], text[-MOST:].partition("\n")[2]
    return f"{first}\n… {len(text) - len(first) - len(last)} characters are left out …\n{last}"
