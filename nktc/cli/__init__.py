"""The nktc command: one file a command, loaded when it is called, so that `nktc --help` loads none of them."""

from __future__ import annotations

import errno
import gc
import importlib
import io
import os
import sys

import click

from nktc import __version__
from nktc.errors import NktcError, near

COMMANDS = {
    "train": "Train a net as a solver file says.",
    "test": "Score a trained net on its test data.",
    "learning-curve": "Train on more and more data and draw the test scores.",
    "infer": "Classify images with a trained model.",
    "optimize": "Make the fastest engine of a trained net on this machine, with proof.",
    "agree": "Compare models blob by blob, on any engines.",
    "plot": "Draw the loss, scores and learning rate of runs over their iterations.",
    "convert": "Convert a trained model to another format, with proof.",
    "export": "Write a trained net for other runtimes.",
    "lint": "Say what a runtime is known to refuse in an ONNX file.",
    "check": "Parse and build nets and solvers, and say what is wrong.",
    "explain": "Explain the code of an error or warning.",
    "show": "List a net: one line a layer, with shapes.",
    "weights": "List the weights of a file, and what a net takes from it.",
    "upgrade": "Rewrite a net or a solver of an older Caffe in today's syntax.",
    "cost": "Count a net's parameters, operations and memory, and the batch that fits.",
    "time": "Time a net, layer by layer, and its training step.",
    "layers": "List the layer types there are, or explain one.",
    "doctor": "Check this machine's driver, runtimes and packages, and say what mends them.",
    "data": "Convert, describe, show and check data sets.",
}
"""Every command with the line that `nktc --help` has for it."""

OLD_TOOLS = {
    "upgrade_net_proto_text": "Now: nktc upgrade NET -o OUT.",
    "upgrade_net_proto_binary": "Write an old .caffemodel in today's format.",
    "upgrade_solver_proto_text": "Now: nktc upgrade SOLVER -o OUT.",
    "compute_image_mean": "Now: nktc data mean DB OUT.",
    "convert_imageset": "Now: nktc data convert FOLDER DB --list LIST.",
    "extract_features": "Write blobs of a net over its own data; of pictures: nktc infer --blob.",
    "classify": "Write a net's outputs for pictures; their classes: nktc infer.",
    "detect": "Write a net's outputs for windows of pictures.",
    "draw_net": "Now: nktc show NET -o IMAGE.",
    "parse_log": "Write a log as tables; drawn: nktc plot.",
}
"""The tools that came with Caffe, by their names and with their command lines; and what does that today."""


class Commands(click.Group):
    """The table of commands; importing one is left until it is called."""

    def list_commands(self, context: click.Context) -> list[str]:
        return [*COMMANDS, *OLD_TOOLS]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS and name not in OLD_TOOLS:
            return None
        gc.disable()  # what imports make stays: to look through it takes a tenth of their time
        try:
            command: click.Command = importlib.import_module(f"nktc.cli.{name.replace('-', '_')}").command
        finally:
            gc.enable()
            gc.freeze()
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))
        with formatter.section("Caffe's old tools, with their old command lines"):
            formatter.write_dl(list(OLD_TOOLS.items()))

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = [*COMMANDS, *OLD_TOOLS]
        if args and args[0] not in known:
            hint = near(args[0], known)
            context.fail(f'no command "{args[0]}"{": " + hint if hint else ""}')
        return super().resolve_command(context, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="nktc")
def nktc() -> None:
    """Train, check, export and run networks written in Caffe's prototxt language."""


def main() -> None:
    """Run the command. What the user can mend prints without a traceback and exits with 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name need not be text that a terminal can show
    try:
        nktc(prog_name="nktc")
    except NktcError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        # What could not be written must not be tried again on the way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        click.echo(f"error: cannot write {error.filename or 'the output'}: {error.strerror}", err=True)
        sys.exit(1)
