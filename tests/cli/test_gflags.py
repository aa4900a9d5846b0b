"""Command lines in the spelling of gflags."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from nktc.cli.gflags import Tool


@click.command(cls=Tool)
@click.argument("words", nargs=-1)
@click.option("--gray/--nogray")
@click.option("--encoded", is_flag=True)
@click.option("-s", "--resize-width", "--resize_width", type=int, default=0)
@click.option("--backend", default="lmdb")
def tool(words: tuple[str, ...], gray: bool, encoded: bool, resize_width: int, backend: str) -> None:
    click.echo(f"{' '.join(words)} | {gray} {encoded} {resize_width} {backend}")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a b", "a b | False False 0 lmdb"),
        ("-gray a -encoded b", "a b | True True 0 lmdb"),
        ("--gray=true a --encoded b", "a b | True True 0 lmdb"),
        ("-gray -nogray", " | False False 0 lmdb"),
        ("-gray=0 --nogray=false", " | True False 0 lmdb"),
        ("-nogray=T", " | False False 0 lmdb"),
        ("-resize_width=256 -backend leveldb a", "a | False False 256 leveldb"),
        ("-resize-width -3 --backend=", " | False False -3 "),
        ("-s 5 a", "a | False False 5 lmdb"),
        ("-nologtostderr -nolog_prefix=1 --stderrthreshold 0 a", "a | False False 0 lmdb"),
        ("-logtostderr --minloglevel 2 -v=1 --alsologtostderr=1 a", "a | False False 0 lmdb"),
        ("a -- -gray -5", "a -gray -5 | False False 0 lmdb"),
    ],
)
def test_options_are_taken_in_every_spelling(line: str, said: str):
    done = CliRunner().invoke(tool, line.split(" "))
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{said}\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("-grey", "No such option '--grey'"),
        ("-gray=maybe", "'maybe' is neither true nor false"),
        ("-encoded=false", "'false' is neither true nor false"),
        ("-resize_width", "'--resize_width' requires an argument"),
        ("-resize_width=wide", "'wide' is not a valid integer"),
        ("-x", "No such option '-x'"),
    ],
)
def test_what_is_no_option_is_named(line: str, said: str):
    done = CliRunner().invoke(tool, line.split(" "))
    assert done.exit_code == 2
    assert said in done.stderr


@pytest.mark.parametrize("word", ["-help", "--help"])
def test_help_is_given(word: str):
    done = CliRunner().invoke(tool, [word])
    assert done.stdout.startswith("Usage: tool [OPTIONS] [WORDS]...")
