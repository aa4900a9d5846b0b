"""Every check on a machine, in order, and what comes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from nktc.doctor import nvidia, packages, pytorch, runtimes, system
from nktc.doctor.backends import Backend, backends, registered
from nktc.doctor.check import Check, State
from nktc.doctor.machine import Machine

CHECKS: tuple[tuple[str, Callable[[Machine], Check | list[Check]]], ...] = (
    ("python", system.python),
    ("system", system.operating_system),
    ("cpu", system.cpu),
    ("memory", system.memory),
    ("shared memory", system.shared_memory),
    ("disk", system.disk),
    ("threads", system.threads),
    ("text", system.encoding),
    ("nktc", packages.nktc),
    ("packages", packages.dependencies),
    ("protobuf", packages.protobuf),
    ("opencv", packages.opencv),
    ("gpu", nvidia.gpu),
    ("driver", nvidia.driver),
    (nvidia.HIDES, nvidia.hidden),
    ("torch", pytorch.torch),
    ("torch on the gpu", pytorch.on_gpu),
    ("compiler", pytorch.compiler),
    ("onnxruntime", runtimes.onnxruntime),
    ("onnxruntime's providers", runtimes.providers),
    ("tensorrt", runtimes.tensorrt),
    ("openvino", runtimes.openvino),
    ("backends", registered),
)
REPORT_IT = "report it, with what this writes: nktc doctor --bundle doctor.zip"


@dataclass(frozen=True)
class Report:
    """What was found on a machine by that version of nktc."""

    version: str
    checks: tuple[Check, ...]
    backends: tuple[Backend, ...]

    @property
    def well(self) -> bool:
        """No check is a problem; what is absent and need not be there is none."""
        return not any(check.state is State.PROBLEM for check in self.checks)

    @property
    def summary(self) -> str:
        """The engines that can be used here, and why the others cannot."""
        reasons: dict[str, list[str]] = {}
        for one in self.backends:
            if not one.usable:
                reasons.setdefault(one.missing, []).append(one.name)
        here = ", ".join(str(one) for one in self.backends if one.usable) or "nothing"
        absent = "; ".join(f"{', '.join(names)} ({why})" for why, names in reasons.items())
        return f"usable here: {here}" + (f"; not usable: {absent}" if absent else "")

    def text(self) -> str:
        """A line a check, what is to be done below it, and the summary."""
        width = max(len(check.name) for check in self.checks)
        problems = sum(check.state is State.PROBLEM for check in self.checks)
        verdict = f"{problems} problem{'s' if problems != 1 else ''}" if problems else "no problems"
        return "\n".join([*(check.text(width) for check in self.checks), "", verdict, self.summary])

    def plain(self) -> dict[str, Any]:
        """The same as data for tools."""
        return {
            "nktc": self.version,
            "ok": self.well,
            "summary": self.summary,
            "checks": [check.plain() for check in self.checks],
            "backends": [one.plain() for one in self.backends],
        }


def examine(machine: Machine, hear: Callable[[str], None] = lambda name: None) -> Report:
    """Run every check; `hear` is told of each before it is run. A check that fails itself is a problem of its own."""
    hear("what has to be loaded")
    with ThreadPoolExecutor(min(4, machine.usable)) as pool:
        list(pool.map(lambda probe: machine.probe(*probe), _slow(machine)))
    found: list[Check] = []
    for name, check in CHECKS:
        hear(name)
        found += _made(machine, name, check)
    try:
        engines: Sequence[Backend] = backends(machine)
    except Exception as error:  # whatever it is, the rest is worth telling
        engines = ()
        found.append(_failed("backends", error))
    return Report(machine.version, tuple(found), tuple(engines))


def _slow(machine: Machine) -> list[tuple[str, ...]]:
    """The probes that every report needs and that take seconds, the longest first."""
    probes: list[tuple[str, ...]] = [("backends", *machine.engines), ("onnx_runtime", "CUDAExecutionProvider")]
    probes += [("pytorch",), ("onnx_runtime",), ("opencv",), ("schema",)]
    return probes + ([("openvino_devices",)] if "openvino" in machine.packages else [])


def _made(machine: Machine, name: str, check: Callable[[Machine], Check | list[Check]]) -> list[Check]:
    try:
        made = check(machine)
    except Exception as error:
        return [_failed(name, error)]
    return made if isinstance(made, list) else [made]


def _failed(name: str, error: Exception) -> Check:
    said = f"{type(error).__name__}: {error}".splitlines()[0]
    return Check(name, State.PROBLEM, "could not be checked", "", f"the check itself failed: {said}", REPORT_IT)
