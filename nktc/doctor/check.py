"""What a check tells of one thing on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """`ABSENT` is what is not there and need not be; `WARNING` works, though hardly as it was meant."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    ABSENT = "absent"


LABELS = {State.OK: "ok", State.WARNING: "note", State.PROBLEM: "PROBLEM", State.ABSENT: "not there"}


@dataclass(frozen=True)
class Check:
    """`found` is what there is, with its version and place; `wanted` what nktc works with; `problem` one sentence on
    what is wrong or missing, and `fix` the command, or else the act, that mends it: "" where there is nothing to do."""

    name: str
    state: State
    found: str = ""
    wanted: str = ""
    problem: str = ""
    fix: str = ""

    def text(self, width: int) -> str:
        """One line with the name in so many columns, and what is to be said of it indented below."""
        lines = [f"{LABELS[self.state]:<9}  {self.name:<{width}}  {self.found or 'nothing found'}"]
        indent = " " * (9 + 2 + width + 2)
        if self.problem:
            wanted = f"; wanted: {self.wanted}" if self.wanted and self.state is not State.ABSENT else ""
            lines.append(f"{indent}{self.problem}{wanted}")
        if self.fix:
            lines.append(f"{indent}{'to have it' if self.state is State.ABSENT else 'fix'}: {self.fix}")
        return "\n".join(lines)

    def plain(self) -> dict[str, str]:
        """The same as data for tools."""
        return {
            "name": self.name,
            "state": self.state.value,
            "found": self.found,
            "wanted": self.wanted,
            "problem": self.problem,
            "fix": self.fix,
        }
