"""The options of commands that write or judge files for other runtimes; apart from others, which need no ONNX."""

from __future__ import annotations

import re

import click

from nktc import export


def _target(context: click.Context, option: click.Parameter, name: str) -> export.Target:
    """The target of a name. Raises NktcError."""
    return export.target(name)


target = click.option(
    "--target",
    default="portable",
    show_default=True,
    metavar="RUNTIME",
    callback=_target,
    help="The runtime that the file is for: onnxruntime, openvino, opencv or tensorrt; portable is for any of them.",
)


def batch(context: click.Context, option: click.Parameter, text: str | None) -> int | None:
    """A batch from 1 on, 0 for any. Raises click.BadParameter."""
    if text is None or text == "any":
        return None if text is None else 0
    if not re.fullmatch(r"[1-9]\d{0,8}", text):
        raise click.BadParameter(f'"{text}" is neither any nor a number from 1 on')
    return int(text)
