"""The user's own Python code: found beside a net, imported, run, and told of where it fails."""

from __future__ import annotations

import functools
import importlib
import linecache
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

from nktc.errors import LayerError, Source, Span, near
from nktc.layers.python_blob import CaffeLayer

OTHERS = (Path(__file__).parents[1], *(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")))
"""Folders of code that is not the user's, wherever they lie."""


class Home:
    """The folder of a net, with the modules that its layers are in.

    They are the net's own: while its code runs, import finds them before all others, and afterwards they are out of
    sight again. So nets in two folders can each have a module of the same name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._modules: dict[str, ModuleType] = {}

    def find(self, module: str, layer: str) -> type:
        """A class of a module: beside the net, under the working directory or on the Python path. Raises LayerError."""
        held = self._load(module)
        found = getattr(held, layer, None)
        if isinstance(found, type):
            return found
        classes = [name for name, value in vars(held).items() if isinstance(value, type)]
        help = near(layer, classes) or f"its classes are {', '.join(classes) or 'none'}"
        said = f'its module "{module}" has no class "{layer}"'
        raise LayerError(said, field="layer", help=help, code="python-code")

    @contextmanager
    def running(self, what: str, first: str = "") -> Iterator[None]:
        """Run code of the user's, `what` being the word for it. What it raises becomes a LayerError at its line."""
        try:
            with self._at_hand(first):
                yield
        except (Exception, SystemExit) as error:
            text = error.msg if isinstance(error, SyntaxError) else str(error)
            said = next(iter(text.strip().splitlines()), "")
            reason = f"{type(error).__name__}{': ' if said else ''}{said.removesuffix('.')}"
            at = _place(error, self._places())
            raise LayerError(f"its {what} raises {reason}", field="layer", code="python-code").located(at) from None

    def _load(self, name: str) -> ModuleType:
        importlib.invalidate_caches()
        first = name.partition(".")[0]
        spec = PathFinder.find_spec(first, self._places())
        ours = first if spec and spec.origin else ""
        with self.running(f'module "{name}"', ours):
            try:
                return importlib.import_module(name)
            except ModuleNotFoundError as error:
                if not f"{name}.".startswith(f"{error.name}."):
                    raise
        beside = [path.stem for path in self.folder.glob("*.py")]
        help = near(name, beside) or f"it is looked for in {' and in '.join(self._places())}, then on the Python path"
        raise LayerError(f'there is no module "{name}"', field="module", help=help, code="python-code")

    def _places(self) -> list[str]:
        return [*dict.fromkeys((str(self.folder), os.getcwd()))]

    @contextmanager
    def _at_hand(self, first: str) -> Iterator[None]:
        """`import` finds this folder's modules, and a module caffe; `first` is a name that is to be found here even
        where a module of that name is loaded already."""
        places = self._places()
        own = self._modules | {"caffe": _caffe()}
        taken = own.keys() & sys.modules.keys()
        if first:
            taken |= {name for name in sys.modules if name.partition(".")[0] == first}
        hidden = {name: sys.modules.pop(name) for name in taken}
        sys.modules.update(own)
        sys.path[:0] = places
        before = set(sys.modules)
        try:
            yield
        finally:
            for name in sorted(set(sys.modules) - before):
                top = name.partition(".")[0]
                if top in self._modules or (top not in before and _lies_in(sys.modules[top], places)):
                    self._modules[name] = sys.modules[name]
            for name in {*own, *self._modules}:
                sys.modules.pop(name, None)
            sys.modules.update(hidden)
            for place in places:
                with suppress(ValueError):
                    sys.path.remove(place)


class Process(Home):
    """The modules of this very process, as Caffe has them: import finds them and leaves them, and what their code
    raises comes through as it is."""

    def find(self, module: str, layer: str) -> type:
        found: type = getattr(importlib.import_module(module), layer)
        return found

    @contextmanager
    def running(self, what: str, first: str = "") -> Iterator[None]:
        yield


@functools.cache
def home(folder: Path) -> Home:
    """The one of a folder, given as an absolute path."""
    return Home(folder)


@functools.cache
def _caffe() -> ModuleType:
    """What the user's code gets for `import caffe`: enough to define layers, and what else an installed Caffe has. Its
    Layer is never that Caffe's, which C++ alone can make instances of."""
    try:
        real = vars(importlib.import_module("caffe"))
    except Exception:
        real = {}
    modes = dict.fromkeys(("set_mode_cpu", "set_mode_gpu", "set_device"), lambda *_: None)
    module = ModuleType("caffe")
    vars(module).update({"TRAIN": 0, "TEST": 1, **modes, **real, "Layer": CaffeLayer})
    return module


def _lies_in(module: ModuleType, places: list[str]) -> bool:
    """Whether a module, or a package, lies directly in one of these folders."""
    files = [*getattr(module, "__path__", ())] or [getattr(module, "__file__", None) or ""]
    return os.path.dirname(files[0]) in places


def _place(error: BaseException, places: list[str]) -> Span | None:
    """The line of the user's that an error comes from; None where no line is."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno and _theirs(error.filename, places):
        return _span(error.filename, error.lineno, (error.offset or 1) - 1, error.end_offset or 0)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _theirs(f.filename, places)]
    if not frames or frames[-1].lineno is None:
        return None
    last = frames[-1]
    line = linecache.getline(last.filename, frames[-1].lineno).encode()
    # Python counts bytes.
    start, end = (len(line[: n or 0].decode(errors="ignore")) for n in (last.colno, last.end_colno))
    return _span(last.filename, frames[-1].lineno, start, end if last.end_lineno == last.lineno else 0)


def _theirs(filename: str, places: list[str]) -> bool:
    path = Path(filename)
    found = path.is_absolute() and path.is_file()  # what exec runs lies nowhere
    return found and any(map(path.is_relative_to, (*places, *sys.path))) and not any(map(path.is_relative_to, OTHERS))


def _span(filename: str, line: int, start: int, end: int) -> Span:
    """The stretch from `start` to `end`, or to the end of the line where that is before it."""
    path, here = Path(filename), Path.cwd()
    source = Source(
        str(path.relative_to(here) if path.is_relative_to(here) else path), path.read_text(errors="replace")
    )
    return Span(source, line, start + 1, (end if end > start else len(source.line(line))) - start)
