"""What nktc wants of the packages it uses, as its own metadata says it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from nktc.doctor.machine import Machine

OWN = "nktc"


def required(machine: Machine) -> list[Requirement]:
    """What nktc needs here, extras left out."""
    return [one for one, extra in _read(machine) if not extra and _holds(machine, one, "")]


def wanted(machine: Machine, *names: str) -> str:
    """The range of versions that nktc takes of a package, the first of these names that it mentions, extras included;
    "" where it takes any."""
    for name in names:
        for one, _ in _read(machine):
            if canonicalize_name(one.name) == name and str(one.specifier):
                return ",".join(sorted(map(str, one.specifier), reverse=True))
    return ""


def fits(version: str, range_: str) -> bool:
    """Whether a version is within a range; a pre-release counts as what it comes before."""
    try:
        return SpecifierSet(range_).contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


def canonical(name: str) -> str:
    """A package's name as pip normalises it."""
    return str(canonicalize_name(name))


def install(machine: Machine, *names: str) -> str:
    """The command that installs packages in the versions nktc takes."""
    return "pip install " + " ".join(f"'{name}{wanted(machine, name)}'" for name in names)


def reinstall(machine: Machine) -> str:
    """The command that installs nktc itself again, from where it came."""
    if machine.editable or "nktc" not in machine.packages:
        return f"pip install -e {shlex.quote(str(machine.package.parent))}"
    return "pip install --force-reinstall nktc"


def installed(machine: Machine, names: Iterable[str]) -> dict[str, str]:
    """Those of the packages that are installed, with their versions."""
    return {name: machine.packages[name] for name in names if name in machine.packages}


def _read(machine: Machine) -> list[tuple[Requirement, bool]]:
    """Every requirement, and whether it is an extra's."""
    found = []
    for text in machine.requirements:
        try:
            one = Requirement(text)
        except InvalidRequirement:
            continue
        if canonicalize_name(one.name) != OWN:
            found.append((one, "extra ==" in str(one.marker or "")))
    return found


def _holds(machine: Machine, one: Requirement, extra: str) -> bool:
    """Whether a requirement is one on this machine."""
    system = {"Linux": "linux", "Darwin": "darwin", "Windows": "win32"}.get(machine.system, machine.system.lower())
    here = {**default_environment(), "extra": extra, "sys_platform": system, "platform_machine": machine.arch}
    return one.marker is None or one.marker.evaluate({key: str(value) for key, value in here.items()})
