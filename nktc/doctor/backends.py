"""The engines that nktc has, and whether each can run here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nktc.doctor.check import Check, State
from nktc.doctor.machine import Machine
from nktc.doctor.requirements import reinstall

EXPECTED = {"torch", "onnxruntime", "openvino", "tensorrt"}


@dataclass(frozen=True)
class Backend:
    """An engine: `missing` says why it cannot run here, "" where it can, on `devices`; `broken` where it ended in a way
    that it did not foresee."""

    name: str
    version: str = ""
    devices: tuple[str, ...] = ()
    missing: str = ""
    broken: bool = False

    @property
    def usable(self) -> bool:
        return not self.missing

    def __str__(self) -> str:
        on = f" ({', '.join(self.devices)})" if self.devices else ""
        return f"{self.name} {self.version}{on}"

    def plain(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "usable": self.usable,
            "version": self.version,
            "devices": list(self.devices),
            "missing": self.missing,
        }


def backends(machine: Machine) -> list[Backend]:
    """Every registered engine."""
    return [backend(machine, name) for name in machine.engines]


def backend(machine: Machine, name: str) -> Backend:
    """What an engine says of itself."""
    # One process asks them all; where that fails, one each finds the culprit.
    probe = machine.probe("backends", *machine.engines)
    if probe.failure:
        probe = machine.probe("backends", name)
    if probe.failure:
        return Backend(name, missing=f"cannot be loaded: {machine.short(probe.failure)}", broken=True)
    told = probe.found["backends"].get(name, {"missing": "is not registered", "version": ""})
    missing = machine.short(told["missing"])
    return Backend(name, told["version"], () if missing else _devices(machine, name), missing)


def registered(machine: Machine) -> Check:
    """Whether the engines are there and can be asked."""
    found = ", ".join(machine.engines) or "none"
    if gone := sorted(EXPECTED - {*machine.engines}):
        verb = "is" if len(gone) == 1 else "are"
        problem = f"{', '.join(gone)} {verb} not registered: nktc was installed before it had them"
        return Check("backends", State.PROBLEM, found, "", problem, reinstall(machine))
    broken = [one for one in backends(machine) if one.broken]
    if broken:
        problem = f"{broken[0].name} {broken[0].missing}"
        problem += f"; {len(broken) - 1} more likewise" if len(broken) > 1 else ""
        return Check(
            "backends",
            State.PROBLEM,
            found,
            "",
            problem,
            "mend what stands above; else report it: nktc doctor --bundle doctor.zip",
        )
    return Check("backends", State.OK, found)


def _devices(machine: Machine, name: str) -> tuple[str, ...]:
    """Where it really ran something, for the engines whose devices are tried."""
    if name == "torch":
        devices = machine.probe("pytorch").found.get("devices", ())
        return ("cpu", "cuda") if any(not one["error"] for one in devices) else ("cpu",)
    if name == "onnxruntime":
        kinds = ("CPU", "CUDA")
        started = {
            kind: machine.probe("onnx_runtime", f"{kind}ExecutionProvider").found.get("started") for kind in kinds
        }
        return tuple(kind.lower() for kind in kinds if started[kind] == f"{kind}ExecutionProvider")
    return {"openvino": ("cpu",), "tensorrt": ("cuda",)}.get(name, ())
