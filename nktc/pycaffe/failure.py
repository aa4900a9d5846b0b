"""What this Python interface raises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nktc.errors import NktcError


class CaffeError(NktcError, RuntimeError):
    """What Caffe's own interface raises a RuntimeError for, or ends the process with; it says what nktc says."""

    said: str = ""

    def __str__(self) -> str:
        return self.said or super().__str__()


@contextmanager
def told() -> Iterator[None]:
    """An NktcError inside becomes a CaffeError, which scripts that expect a RuntimeError catch."""
    try:
        yield
    except CaffeError:
        raise
    except NktcError as error:
        raised = CaffeError(error.message, at=error.at, notes=error.notes, help=error.help, code=error.code)
        raised.said = str(error)
        raise raised from error
