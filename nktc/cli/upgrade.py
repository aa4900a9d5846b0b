"""nktc upgrade"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from nktc import files, reader
from nktc.cli import options


@click.command()
@click.argument("file", type=options.existing(dir_okay=False))
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file.")
@click.option("--in-place", is_flag=True, help="Write to FILE itself.")
@click.option("--dialect", metavar="NAME", default="", help="Whose fork of Caffe wrote a binary FILE; found by itself.")
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 when FILE is in an old syntax.")
def command(file: Path, output: Path | None, in_place: bool, dialect: str, check: bool) -> None:
    """Rewrite a net or a solver of Caffe's older ages in today's syntax, comments kept.

    Read are the nets of 2013 (layers { layer { ... } }) and 2014 (layers { type: CONVOLUTION }), input and input_dim,
    and solver_type, what forks of Caffe spell otherwise, and the net inside a binary file such as a .caffemodel, which
    comes out without its weights. The new text goes to the screen unless -o or --in-place is given.
    """
    if sum((output is not None, in_place, check)) > 1:
        raise click.UsageError("of --output, --in-place and --check only one can be given")
    if in_place and reader.is_binary(file):
        raise click.UsageError(f"--in-place would put text where the weights of {file} are: give -o")
    if output and reader.is_binary(file):
        files.spare(output, file)
    old, today = reader.upgrade_file(file, dialect)
    if output:
        files.write_text(output, today)
    elif in_place and today != old:
        files.write_text(file, today)
    elif not in_place and not check:
        click.echo(today, nl=False)
    done = "is in an old syntax" if check else "is brought to today's syntax"
    said = done if today != old else "is in today's syntax already"
    click.echo(f"{file} {said}", err=True)
    sys.exit(check and today != old)
