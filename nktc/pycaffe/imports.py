"""Answers `import caffe` with nktc.pycaffe, its modules too.

A module that nktc has not, as the SSD fork's `caffe.model_libs`, is taken from a checkout of Caffe on the Python path.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

NAME, OURS = "caffe", "nktc.pycaffe"


class _Finder(MetaPathFinder, Loader):
    """Finds caffe.x as the very module nktc.pycaffe.x."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != NAME and not fullname.startswith(f"{NAME}."):
            return None
        known = _ours(OURS + fullname.removeprefix(NAME))
        if known:
            return ModuleSpec(fullname, self, is_package=known.submodule_search_locations is not None)
        return PathFinder.find_spec(fullname, [str(Path(place, *fullname.split(".")[:-1])) for place in sys.path])

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(OURS + spec.name.removeprefix(NAME))
        self._own = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._own  # which the import has put its own in place of


FINDER = _Finder()


def _ours(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except ModuleNotFoundError:  # a package that it would lie in
        return None


def answer() -> None:
    """From here on, in this process, `import caffe` gives nktc.pycaffe, whether a Caffe is installed or not."""
    _forget()
    if FINDER not in sys.meta_path:
        sys.meta_path.insert(0, FINDER)


@contextmanager
def answered() -> Iterator[None]:
    """Inside, `import caffe` is answered; afterwards it is what it was."""
    if FINDER in sys.meta_path:
        yield
        return
    before = {name: module for name, module in sys.modules.items() if _caffes(name)}
    if before.get(NAME) is sys.modules[OURS]:
        yield
        return
    answer()
    try:
        yield
    finally:
        sys.meta_path.remove(FINDER)
        _forget()
        sys.modules.update(before)


def _forget() -> None:
    for name in [name for name in sys.modules if _caffes(name)]:
        del sys.modules[name]


def _caffes(name: str) -> bool:
    return name == NAME or name.startswith(f"{NAME}.")
