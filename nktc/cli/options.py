"""Options that several commands take."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from nktc import layers
from nktc.errors import NktcError
from nktc.ir import Shape, memory_size

device = click.option(
    "--device", default="auto", metavar="DEVICE", show_default=True, help="auto, cpu, cuda or cuda:N."
)


def _gpu(context: click.Context, option: click.Parameter, text: str) -> str:
    """The device that Caffe's test and time compute on, the first that is listed; "" for none. Raises
    click.BadParameter."""
    first = "0" if text == "all" else text.partition(",")[0]
    if text and not first.isdecimal():
        raise click.BadParameter(f'"{text}" names no GPU: write 0')
    return f"cuda:{int(first)}" if text else ""


gpu = click.option("--gpu", default="", metavar="N", callback=_gpu, help="This GPU, as --device cuda:N names it.")


def chosen(device: str, gpu: str) -> str:
    """The device of --device or --gpu. Raises click.UsageError where both are given."""
    if gpu and device != "auto":
        raise click.UsageError("--gpu and --device exclude each other")
    return gpu or device


data = click.option(
    "--data",
    "roots",
    multiple=True,
    metavar="[NAME=]PATH",
    help="A folder or archive to look for data sets in, or for one of them; may be repeated. NKTC_DATA holds more.",
)


def _shapes(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> dict[str, Shape]:
    """The shapes of --input-shape by the blob they name, "" where they name none. Raises click.BadParameter."""
    shapes = {}
    for text in texts:
        blob, _, dims = text.rpartition("=")
        if not re.fullmatch(r"[1-9]\d{0,9}(x[1-9]\d{0,9})*", dims):
            raise click.BadParameter(f'"{text}" is no shape: write data=3x224x224, or 3x224x224')
        shapes[blob] = tuple(map(int, dims.split("x")))
    return shapes


input_shapes = click.option(
    "--input-shape",
    "shapes",
    multiple=True,
    metavar="[BLOB=]CxHxW",
    callback=_shapes,
    help="The shape of an item of what the net is fed, where its data is not there, or in place of its own; with a "
    "fourth number in front the batch too; may be repeated.",
)
level = click.option("--level", type=int, metavar="N", help="The level that picks layers, as min_level has it.")


def stage(untold: str = "") -> Callable[[Any], Any]:
    """--stage; `untold` says what is done without it."""

    def names(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for text in texts for name in text.split(",") if name)

    help = f"A stage that picks layers; may be repeated, or several with commas between.{untold}"
    return click.option("--stage", "stages", multiple=True, metavar="NAME", callback=names, help=help)


stages = stage(" Without it those that the net names are tried, if it needs one.")


def _bytes(context: click.Context, option: click.Parameter, text: str | None) -> int | None:
    """The bytes of an amount of memory. Raises NktcError."""
    return None if text is None else 0 if text == "0" else memory_size(text)


cache = click.option(
    "--cache",
    metavar="AMOUNT",
    callback=_bytes,
    help="How much data may stay in memory, as 2GB; 0 for none. Without it, a quarter of what is free.",
)
weights = click.option(
    "--weights", metavar="W", help="A .caffemodel, .h5, .safetensors or .pt; several with commas between."
)


def _allow_python(context: click.Context, option: click.Parameter, given: bool) -> None:
    if given:
        layers.allow_python()


allow_python = click.option(
    "--allow-python",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_allow_python,
    help="Let Python layers run the code that the net names. Only for nets that you trust.",
)


def numbers(context: click.Context, option: click.Parameter, text: str) -> list[int]:
    """The whole numbers of "256,256". Raises click.BadParameter."""
    try:
        return [int(word) for word in text.split(",")] if text else []
    except ValueError:
        raise click.BadParameter(f'"{text}" is no list of whole numbers with commas between') from None


def two_numbers(context: click.Context, option: click.Parameter, text: str) -> list[int]:
    """The two numbers from 1 on of "256,256", none of "". Raises click.BadParameter."""
    found = numbers(context, option, text)
    if found and (len(found) != 2 or min(found) < 1):
        raise click.BadParameter(f'"{text}" is no height and width with a comma between')
    return found


def existing(**more: Any) -> click.Path:
    """A path that is there."""
    return click.Path(path_type=Path, exists=True, **more)


def split(names: str | None) -> list[str]:
    """The names of --weights, none where it is not given. Raises NktcError where it is given and names none."""
    found = [name for name in (names or "").split(",") if name]
    if names is not None and not found:
        raise NktcError("--weights names no file")
    return found


@contextmanager
def telling(doing: str) -> Iterator[Callable[[str], None]]:
    """Gives a function that shows on a terminal what is being done; `doing` is shown until it is called."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda what: None
        return
    with console.status(doing) as status:
        yield lambda what: status.update(what)
