"""Takes out of a text what is nobody else's business: the home folder, names of people and machines, secrets."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from typing import Any

from nktc.doctor.machine import Machine

GONE = "***"
SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE|_KEY$|^KEY$|_AUTH$|_PAT$|DSN", re.I
)
SAID = r"token|secret|passwd|password|pass[_ -]?phrase|api[_-]?key|access[_-]?key|authorization|credentials?"
# The lengths have bounds so that no text, however odd, takes long.
FIRST = (
    # A private key, as one block.
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S), GONE),
    # Who logs in at a URL, and what it is asked with.
    (re.compile(r"(\b[a-z][a-z0-9+.-]{0,20}://)[^\s/\"']*@", re.I), rf"\1{GONE}@"),
    (re.compile(r"(\b[a-z][a-z0-9+.-]{0,20}://[^\s\"'?]{1,2000}\?)[^\s\"']+", re.I), rf"\1{GONE}"),
)
OTHER_HOMES = (re.compile(r"((?:/home|/Users|/export/home|[\\/]+Users)[\\/]+)[^\s\\/\"':,;]+", re.I), r"\1USER")
LAST = (
    # Tokens by the marks their makers gave them.
    (
        re.compile(
            r"\b(gh[opsur]_|github_pat_|glpat-|hf_|sk-|[spr]k_live_|xox[a-z]-|pypi-|npm_|AKIA|ASIA|AIza|ya29\.)[\w.-]{16,}"
        ),
        GONE,
    ),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+(\.[\w-]*)?"), GONE),
    # What is said to be one: "passphrase": "two words"
    (re.compile(rf"(([\"'])[\w-]{{0,40}}(?:{SAID})[\w-]*\2\s*:\s*([\"']))(?:(?!\3).)+", re.I), rf"\1{GONE}"),
    # "api_key": "…", --password …, Authorization: Bearer …
    (
        re.compile(
            rf"((?:{SAID})"
            r"[\w-]*\\?[\"']?\s*[=:]\s*\\?[\"']?(?:(?:bearer|basic)\s+)?)[^\s\"'\\,;]{4,}",
            re.I,
        ),
        rf"\1{GONE}",
    ),
    (re.compile(r"(--[\w-]{0,40}(?:token|secret|password|key)\s+)[^\s\"']+", re.I), rf"\1{GONE}"),
    (re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.I), rf"\1 {GONE}"),
    # Long runs of hexadecimal digits, or of letters of both kinds and digits, as tokens without a mark are.
    (re.compile(r"(?<![\w/+-])(?=[\w+-]*\d)(?=[\w+-]*[a-z])(?=[\w+-]*[A-Z])[\w+-]{32,}={0,2}(?![\w/+-])"), GONE),
    (re.compile(r"(?<![0-9a-zA-Z])[0-9a-fA-F]{32,}(?![0-9a-zA-Z])"), GONE),
    # People, by their addresses.
    (re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]+(\.[\w-]+)+"), "EMAIL"),
)
GENERIC = {"root", "localhost"}
"""Names that say nothing of anybody."""


class Scrubber:
    """Made for one machine, whose names and secrets it knows."""

    def __init__(self, machine: Machine) -> None:
        secrets = [v for name, v in machine.environ.items() if SECRET_NAME.search(name) and len(v) >= 6]
        homes = {machine.home, os.path.realpath(machine.home)} if len(machine.home) > 1 else set()
        self._rules: list[tuple[re.Pattern[str], str]] = [
            *((re.compile(re.escape(text)), GONE) for text in _longest(secrets)),
            *FIRST,
            *((re.compile(re.escape(text) + r"(?![\w-])"), "~") for text in _longest(homes)),
            OTHER_HOMES,
            *((_word(text), "USER") for text in _longest(machine.users - GENERIC)),
            *((_word(text), "HOST") for text in _longest(machine.hosts - GENERIC)),
            *LAST,
        ]

    def __call__(self, text: str) -> str:
        for pattern, instead in self._rules:
            text = pattern.sub(instead, text)
        return text

    def data(self, value: Any) -> Any:
        """Plain data with every text in it scrubbed."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, dict):
            return {key: self.data(one) for key, one in value.items()}
        return [self.data(one) for one in value] if isinstance(value, list) else value


def _longest(texts: Iterable[str]) -> list[str]:
    """The longest first, each also as JSON writes it."""
    return sorted({form for text in texts for form in (text, json.dumps(text)[1:-1])}, key=len, reverse=True)


def _word(name: str) -> re.Pattern[str]:
    """A name wherever it stands alone, also between _ and -; one letter tells of nobody."""
    if len(name) < 2:
        return re.compile(r"(?!)")
    return re.compile(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])", re.I)
