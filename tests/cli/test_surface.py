"""The surface that scripts rely on: every command's help as kept text, and the options that were promised."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from nktc.cli import COMMANDS, nktc

KEPT = Path(__file__).parents[1] / "golden" / "cli"


def commands(group: click.Group = nktc, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command line that has a help: nktc itself, its commands, and theirs."""
    yield path
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


ALL = list(commands())


@pytest.mark.parametrize("path", ALL, ids=lambda path: " ".join(path) or "nktc")
def test_the_help_is_the_kept_one(path: tuple[str, ...], request: pytest.FixtureRequest) -> None:
    done = CliRunner().invoke(nktc, [*path, "--help"], prog_name="nktc", terminal_width=100)
    assert done.exit_code == 0
    kept = KEPT / f"{'-'.join(('nktc', *path))}.txt"
    if request.config.getoption("--bless"):
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(done.output)
    assert kept.exists(), "pytest --bless writes it"
    assert done.output == kept.read_text()


def test_nothing_is_kept_of_commands_that_are_gone() -> None:
    assert {path.stem for path in KEPT.glob("*.txt")} == {"-".join(("nktc", *path)) for path in ALL}


# What issues 2 and 4 say: (options, how they are to be given), (arguments).
PROMISED = {
    "train": (
        {
            "--solver": "one, required",
            "--weights": "one",
            "--snapshot": "one",
            "--run-dir": "one",
            "--max-iter": "one",
            "--seed": "one",
            "--device": "one",
            "--gpu": "one",
            "--speed": "one",
            "--sigint-effect": "one",
            "--sighup-effect": "one",
            "--set": "many",
        },
        [],
    ),
    "test": ({"--model": "one, required", "--weights": "one, required", "--iterations": "one"}, []),
    "convert": ({"-o": "one, required", "--verify": "flag"}, ["model", "[weights...]"]),
    "export": ({"--onnx": "one, required", "--run": "one", "--model": "one", "--weights": "one"}, []),
    "infer": (
        {"--model": "one, required", "--weights": "one", "--backend": "one", "--top": "one", "--json": "flag"},
        ["[paths...]"],
    ),
    "optimize": (
        {
            "-o": "one, required",
            "--weights": "one",
            "--backend": "one",
            "--precision": "one",
            "--calibrate": "many",
            "--max-drop": "one",
            "--report": "flag",
        },
        ["model"],
    ),
    "agree": ({"--weights": "one", "--tolerance": "one"}, ["models..."]),
    "check": ({}, ["files..."]),
    "doctor": ({"--json": "flag"}, []),
    "explain": ({}, ["[code]"]),
    "show": ({}, ["file"]),
    "weights": ({"--model": "one"}, ["file"]),
    "upgrade": ({"-o": "one", "--in-place": "flag", "--dialect": "one", "--check": "flag"}, ["file"]),
    "layers": ({}, ["[type_name]"]),
    "plot": ({}, ["runs..."]),
    "time": (
        {
            "--model": "one",
            "--solver": "one",
            "--weights": "one",
            "--iterations": "one",
            "--device": "one",
            "--phase": "one",
        },
        [],
    ),
}
BUILT = {"--input-shape", "--level", "--stage", "--allow-python"}  # how a net is built that is only looked at
BEYOND = {
    "convert": {
        *("--tolerance", "--records", "--seed", "--target", "--batch", "--optimize", "--caffe", "--dialect"),
        *("--input-shape", "--json", "--data", "--allow-python"),
    },
    "check": {*BUILT, "--json", "--strict"},
    "agree": {
        *("--data-from", "--test-data", "--records", "--seed", "--all", "--outputs-only", "--json"),
        *("--device", "--data", "--allow-python"),
    },
    "optimize": {
        *(
            "--keep",
            "--calibration",
            "--save-calibration",
            "--records",
            "--batch",
            "--latency-ms",
            "--goal",
            "--threads",
        ),
        *(
            "--threads",
            "--pass",
            "--fold-input",
            "--set",
            "--seconds",
            "--json",
            "--device",
            "--data",
            "--allow-python",
        ),
    },
    "doctor": {"--bundle", "--run"},
    "export": {
        *("--data", "--allow-python", "--target", "--batch", "--precision", "--preprocessing-inside", "--optimize"),
        "--nms",
    },
    "infer": {
        *("--device", "--data", "--allow-python", "--threads", "--batch", "--list", "--every", "--oversample"),
        *("--raw", "--blob", "--jsonl", "--csv", "--output"),
    },
    "weights": {*BUILT, "--phase"},
    "show": {*BUILT, "--phase", "--prototxt", "--expand", "--dot", "--torch", "--weights", "--data", "--rankdir", "-o"},
    "plot": {"-o", "--metric", "--x", "--smooth"},
    "test": {"--level", "--stage", "--device", "--gpu", "--data", "--allow-python"},
    "time": {*BUILT, "--gpu", "--data", "--json"},
    "train": {
        *("--data", "--allow-python", "--precision", "--log", "--ranks", "--restarts"),
        *("--cache", "--workers", "--level", "--stage"),
    },
}
"""Options that nobody promised."""


@pytest.mark.parametrize("name", PROMISED)
def test_the_promised_options_are_there_and_no_others(name: str) -> None:
    command = nktc.get_command(click.Context(nktc), name)
    assert command is not None
    options, arguments = {}, []
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            shown = f"{parameter.name}{'...' if parameter.nargs == -1 else ''}"
            arguments.append(shown if parameter.required else f"[{shown}]")
            continue
        assert isinstance(parameter, click.Option)
        given = "flag" if parameter.is_flag else "many" if parameter.multiple else "one"
        options[parameter.opts[0]] = f"{given}, required" if parameter.required else given
    beyond = BEYOND.get(name, set())
    assert beyond <= set(options)
    assert ({key: given for key, given in options.items() if key not in beyond}, arguments) == PROMISED[name]


def test_the_table_of_commands_says_what_their_help_says_in_short() -> None:
    for name in COMMANDS:
        command = nktc.get_command(click.Context(nktc), name)
        assert command is not None
        assert command.help
        assert COMMANDS[name].endswith(".")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["chek"], 'no command "chek": did you mean "check"?'),
        (["train"], "Missing option '--solver'"),
        (["infer", "--model", "."], "Missing argument 'PATH...'"),
        (["show", "--phase", "DEPLOY", __file__], "'DEPLOY' is not one of"),
        (["infer", "--model", ".", "--top", "0", "."], "0 is not in the range x>=1"),
        (["train", "--solver", "nowhere.prototxt"], "'nowhere.prototxt' does not exist"),
    ],
)
def test_a_wrong_command_line_is_2_and_names_what_is_wrong(line: list[str], said: str) -> None:
    done = CliRunner().invoke(nktc, line, prog_name="nktc")
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stdout == ""
