"""A prototxt cut into words, with the comments and empty lines between them."""

import re
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn

from nktc.errors import NktcError, Source, Span

NEWLINE, COMMENT, NAME, NUMBER, STRING, PARAMETER, MARK, WRONG, END = range(1, 10)

TOKEN = re.compile(
    r"""[ \t\r\f\v]*(?:
      (\n)
    | (\#[^\n]*)
    | ([A-Za-z_]\w*)
    | (-?\.?[0-9][\w.]*(?:(?<=[eE])[-+]\w*)? | -[A-Za-z]\w*)
    | ("(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*')
    | (\$(?:[A-Za-z_]\w* | \{[^{}\n]*\}))
    | ([{}<>:,;\[\]./])
    | ([^ \t\r\f\v])
    )""",
    re.VERBOSE | re.ASCII,
)
NUMERAL = re.compile(
    r"-?(?:0[xX][0-9a-fA-F]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?[fF]?)|-(?i:inf|infinity|nan)[fF]?",
    re.ASCII,
)


class Token(NamedTuple):
    kind: int
    text: str
    line: int
    column: int


@dataclass
class Words:
    """The tokens of a source; the last is an END, right behind the last word.

    `above[i]` are the comment lines and empty lines ("") between the line of token i-1 and token i,
    `behind[i]` is the comment that follows token i on its line.
    """

    source: Source
    tokens: list[Token] = field(default_factory=list)
    above: dict[int, list[str]] = field(default_factory=dict)
    behind: dict[int, str] = field(default_factory=dict)

    def span(self, token: Token) -> Span:
        return Span(self.source, token.line, token.column, max(1, len(token.text)))


def words(source: Source) -> Words:
    """Cut `source` into words; refuse what is no word."""
    found = Words(source)
    tokens, above, behind = found.tokens, found.above, found.behind
    text = source.text
    line, start = 1, 0
    # Whether the current line has a token, and whether it is empty so far.
    begun, empty = False, False
    for match in TOKEN.finditer(text, 1 if text.startswith("\ufeff") else 0):
        kind = match.lastindex or WRONG
        if kind == NEWLINE:
            lines = above.setdefault(len(tokens), []) if empty and (tokens or above) else None
            if lines is not None and "" not in lines[-1:]:
                lines.append("")
            line, start = line + 1, match.end()
            begun, empty = False, True
            continue
        empty = False
        if kind == COMMENT:
            comment = match[kind].rstrip()
            if begun:
                behind[len(tokens) - 1] = comment
            else:
                above.setdefault(len(tokens), []).append(comment)
            continue
        column = match.start(kind) - start + 1
        word = match[kind]
        if kind == WRONG:
            _refuse(source, line, column)
        if kind == NUMBER and not word.isdigit() and not NUMERAL.fullmatch(word):
            raise NktcError(f'"{word}" is not a number', at=Span(source, line, column, len(word)))
        tokens.append(Token(kind, word, line, column))
        begun = True
    last = tokens[-1] if tokens else Token(END, "", 1, 1)
    tokens.append(Token(END, "", last.line, last.column + len(last.text)))
    return found


def _refuse(source: Source, line: int, column: int) -> NoReturn:
    rest = source.line(line)[column - 1 :]
    if rest[0] in "\"'":
        raise NktcError("this text has no closing quote on its line", at=Span(source, line, column, len(rest.rstrip())))
    shown = rest[0] if rest[0].isprintable() else f"U+{ord(rest[0]):04X}"
    raise NktcError(f'unexpected character "{shown}"', at=Span(source, line, column))
