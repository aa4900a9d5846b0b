"""The doctor finds out what there is on a machine and what is wrong with it, with the command that mends it.

`examine(Machine.here())` gives a `Report` of `Check`s; `write_bundle` packs it for a bug report, without secrets.
It loads neither torch nor any runtime itself, so that it can tell of those that do not load.
"""

from nktc.doctor.backends import Backend
from nktc.doctor.bundle import Bundle, write_bundle
from nktc.doctor.check import Check, State
from nktc.doctor.machine import Machine, Probe, Ran, Room
from nktc.doctor.report import Report, examine
from nktc.doctor.scrub import Scrubber

__all__ = [
    "Backend",
    "Bundle",
    "Check",
    "Machine",
    "Probe",
    "Ran",
    "Report",
    "Room",
    "Scrubber",
    "State",
    "examine",
    "write_bundle",
]
