"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nktc.errors import NktcError

device = click.option(
    "--device", default="auto", metavar="DEVICE", show_default=True, help="auto, cpu, cuda or cuda:N."
)
data = click.option(
    "--data",
    "roots",
    multiple=True,
    metavar="[NAME=]PATH",
    help="A folder or archive to look for data sets in, or for one of them; may be repeated. NKTC_DATA holds more.",
)
weights = click.option("--weights", metavar="W", help="A .caffemodel or .caffemodel.h5; several with commas between.")


def existing(**more: Any) -> click.Path:
    """A path that is there."""
    return click.Path(path_type=Path, exists=True, **more)


def split(names: str | None) -> list[str]:
    """The names of --weights, none where it is not given. Raises NktcError where it is given and names none."""
    found = [name for name in (names or "").split(",") if name]
    if names is not None and not found:
        raise NktcError("--weights names no file")
    return found
