"""Command lines as Caffe's tools take them: those of gflags, and of Python's argparse."""

from __future__ import annotations

from collections.abc import Iterator

import click

YES, NO = ("1", "t", "true", "y", "yes"), ("0", "f", "false", "n", "no")
SWITCHES = (
    *("logtostderr", "logtostdout", "alsologtostderr", "colorlogtostderr", "colorlogtostdout", "log_prefix"),
    *("log_utc_time", "log_year_in_prefix", "timestamp_in_logfile_name", "stop_logging_if_full_disk"),
    *("drop_log_memory", "symbolize_stacktrace"),
)
GLOG = {
    **dict.fromkeys((*SWITCHES, *(f"no{name}" for name in SWITCHES)), False),
    **dict.fromkeys(("v", "minloglevel", "stderrthreshold", "log_dir", "log_link", "vmodule"), True),
    **dict.fromkeys(("logbufsecs", "logbuflevel", "logfile_mode", "max_log_size", "log_backtrace_at"), True),
}
"""What glog adds to every tool, and whether it takes a value: it is taken, and there is no log for it to change."""


class Tool(click.Command):
    """A command whose options are also written -name=value, -name value, --name=value, and a flag -name, --noname or
    -name=false."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(context, [*self._usual(args)])

    def _usual(self, args: list[str]) -> Iterator[str]:
        """The same command line as click reads it."""
        known = self._known()
        rest = iter(args)
        for word in rest:
            if word == "--":
                yield word
                yield from rest
                return
            name, given, value = word.removeprefix("-").removeprefix("-").partition("=")
            key = name.replace("-", "_")
            if not word.startswith("-") or not name:
                yield word
            elif key in GLOG and key not in known:
                if GLOG[key] and not given:
                    next(rest, "")
            elif key not in known:
                yield word if len(name) == 1 else f"--{word.lstrip('-')}"
            else:
                yield self._given(*known[key], value if given else None, rest)

    def _known(self) -> dict[str, tuple[str, click.Option]]:
        """The options by their names and, of flags, by the names that turn them off; each as it is spelt."""
        options = [parameter for parameter in self.params if isinstance(parameter, click.Option)]
        spelt = ((word, option) for option in options for word in (*option.opts, *option.secondary_opts))
        return {word[2:].replace("-", "_"): (word, option) for word, option in spelt if word.startswith("--")}

    def _given(self, word: str, option: click.Option, value: str | None, rest: Iterator[str]) -> str:
        """One option, whose value may be the next of the `rest`."""
        if not option.is_flag:
            value = next(rest, None) if value is None else value
            return word if value is None else f"{word}={value}"
        if value is None:
            return word
        if value.lower() not in (*YES, *NO) or not option.secondary_opts:
            raise click.BadParameter(f"{value!r} is neither true nor false", param_hint=word)
        same = value.lower() in YES
        return word if same else (option.secondary_opts if word in option.opts else option.opts)[0]
