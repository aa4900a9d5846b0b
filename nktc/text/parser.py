"""Prototxt to tree: the whole of protobuf's text format but extensions and Any."""

import gc
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NoReturn

from nktc.errors import NktcError, Note, Source, Span, coded, raise_all
from nktc.text.lexer import END, MARK, NAME, NUMBER, PARAMETER, STRING, Token, Words, words
from nktc.text.tree import Field, Scalar, Tree

MAX_DEPTH = 100  # messages in messages
CLOSES = {"{": "}", "<": ">"}
LAYERS = ("layer", "layers")
KINDS: dict[int, Literal["number", "identifier", "parameter"]] = {
    NAME: "identifier",
    NUMBER: "number",
    PARAMETER: "parameter",
}
ESCAPE = re.compile(
    r"""\\(?: (?P<octal>[0-7]{1,3})
          | [xX](?P<hex>[0-9a-fA-F]{1,2})
          | u(?P<high>[dD][89abAB][0-9a-fA-F]{2})\\u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2})
          | u(?P<short>[0-9a-fA-F]{4})
          | U(?P<long>[0-9a-fA-F]{8})
          | (?P<simple>.))""",
    re.VERBOSE,
)
SIMPLE = {"n": 10, "r": 13, "t": 9, "a": 7, "b": 8, "f": 12, "v": 11, "\\": 92, "'": 39, '"': 34, "?": 63}


def read(path: str | Path) -> Tree:
    """The tree of a file: UTF-8, or Latin-1 where it is not, as the comments of old files are."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise NktcError(f"there is no file {path}", code="file-missing") from None
    except IsADirectoryError:
        raise NktcError(f"{path} is a folder, not a prototxt file", code="file-unreadable") from None
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise NktcError(f"cannot read {path}: {why}", code="file-unreadable") from None
    if b"\0" in data:
        raise NktcError(f"{path} is a binary file, not a prototxt", code="file-unreadable")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return parse(Source(str(path), text))


@coded("syntax")
def parse(source: Source) -> Tree:
    """The tree of a text. Raises NktcErrors: the first thing that is no prototxt, and the first in each layer after."""
    # Nothing made here is in a cycle, and looking for some among ever more words would make long texts slow.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _Parser(words(source)).file()
    finally:
        if collecting:
            gc.enable()


class _Parser:
    def __init__(self, words: Words) -> None:
        self.words = words
        self.tokens = words.tokens
        self.at = 0  # index of the next token
        self.seen = 0  # index of the last token whose comments were taken
        # 1 where a comment or an empty line stands between a token and the next.
        self.commented = bytearray(len(words.tokens) + 1)
        for index in [*words.behind, *(index - 1 for index in words.above if index)]:
            self.commented[index] = 1
        self.open: list[tuple[str, Span]] = []  # name and opening of the messages around
        self.doubt: Note | None = None  # the first field that stands too far left for where it is

    def file(self) -> Tree:
        try:
            fields = self.fields("")
        except NktcError as error:
            raise_all([error, *self.others()])
            raise
        source, end = self.words.source, self.tokens[-1]
        closing = tuple(self.words.above.get(self.at, ()))
        return Tree(fields, Span(source, 1, 1), self.words.span(end), closing=closing)

    def others(self) -> Iterator[NktcError]:
        """What is wrong in the layers behind a mistake. Those that begin left of all that is open are surely not inside
        of it."""
        while self.to_next_layer():
            try:
                self.field([])
            except NktcError as error:
                yield error

    def to_next_layer(self) -> bool:
        """Go to the layer from which to read on; False where there is none."""
        name, opening = self.open[0] if self.open else ("", Span(self.words.source, 0, 1))
        self.open.clear()
        if name not in ("", *LAYERS):
            return False
        for index in range(self.at, len(self.tokens) - 1):
            token, after = self.tokens[index], self.tokens[index + 1]
            first = index == 0 or self.tokens[index - 1].line < token.line
            if token.text in LAYERS and after.text == "{" and first and token.column <= opening.column:
                self.at = index
                return True
        return False

    def fields(self, close: str) -> tuple[Field, ...]:
        """Fields up to, and without, the mark `close`; "" is the end of the file."""
        found: list[Field] = []
        around, opening = self.open[-1] if self.open else ("", Span(self.words.source, 0, 0))
        while True:
            token = self.tokens[self.at]
            if token.kind == NAME:
                if token.column <= opening.column and token.line > opening.line and not self.doubt:
                    message = f'is the "{close}" of {around} missing before this?'
                    self.doubt = Note(message, self.words.span(token))
                self.field(found)
            elif token.text == close:
                return tuple(found)
            else:
                self.no_field(token, close)

    def field(self, found: list[Field]) -> None:
        """Read one field and append it; a list appends one for each element."""
        tokens, first, before = self.tokens, self.at, len(found)
        name = tokens[first]
        self.at += 1
        colon = tokens[self.at].text == ":"
        self.at += colon
        above = tuple(self.words.above.get(first, ()))
        self.seen = first
        if tokens[self.at].text == "[":
            self.elements(name, colon, above, found)
        else:
            found.append(self.value(name, colon, above))
        if tokens[self.at].text in (",", ";"):
            self.at += 1
        if not self.words.behind and not self.words.above:
            return
        inside, aside = self.comments(self.at - 1), self.words.behind.get(self.at - 1, "")
        if len(found) > before:
            if inside or aside:
                last = found[-1]
                found[-1] = Field(last.name, last.value, last.span, last.comments + inside, aside)
        else:  # An empty list leaves no field; the next one takes its comments.
            left = [*above, *inside, *filter(None, [aside])]
            self.words.above[self.at] = left + self.words.above.get(self.at, [])

    def elements(self, name: Token, colon: bool, above: tuple[str, ...], found: list[Field]) -> None:
        opening = self.words.span(self.tokens[self.at])
        self.at += 1
        if self.tokens[self.at].text == "]":
            self.at += 1
            return
        if not colon and self.tokens[self.at].text not in CLOSES:
            self.refuse(f"expected : between {name.text} and its list", self.tokens[self.at - 1])
        while True:
            found.append(self.value(name, colon, above))
            above = ()
            token = self.tokens[self.at]
            self.at += 1
            if token.text == "]":
                return
            if token.text != ",":
                note = Note("the list is opened here", opening)
                message = f"expected a comma or ] in the list of {name.text}, not {_shown(token)}"
                self.refuse(message, token, note)

    def value(self, name: Token, colon: bool, above: tuple[str, ...]) -> Field:
        token, span = self.tokens[self.at], self.words.span(name)
        above += self.comments(self.at)
        value: Scalar | Tree
        if token.kind == MARK and token.text in CLOSES:
            value = self.message(name, token)
        elif token.kind not in KINDS and token.kind != STRING:
            if token.kind == END or token.text in ("}", ">", "]", ",", ";"):
                self.refuse(f"{name.text} has no value", name if token.line != name.line else token)
            self.refuse(f"expected a value for {name.text}, not {_shown(token)}", token)
        elif not colon:
            help = f"write {name.text}: {token.text}"
            self.refuse(f"expected : or {{ after {name.text}, not {_shown(token)}", token, help=help)
        elif token.kind == STRING:
            value = self.string()
            above += self.comments(self.at - 1)
        else:
            value = Scalar(KINDS[token.kind], token.text, self.words.span(token))
            self.at += 1
        self.seen = self.at - 1
        return Field(name.text, value, span, above)

    def comments(self, last: int) -> tuple[str, ...]:
        """The comments behind token `seen` and up to token `last`, which are then seen."""
        first, self.seen = self.seen, max(self.seen, last)
        if self.commented.find(1, first, last) < 0:
            return ()
        above, behind = self.words.above, self.words.behind
        kept: list[str] = []
        for index in range(first, last):
            kept += filter(None, [behind.get(index, ""), *above.get(index + 1, ())])
        return tuple(kept)

    def message(self, name: Token, opening: Token) -> Tree:
        same_line = opening.line == name.line
        width = opening.column + 1 - name.column if same_line else len(name.text)
        span = Span(self.words.source, name.line, name.column, width)
        self.open.append((name.text, span))
        if len(self.open) > MAX_DEPTH:
            self.refuse(f"messages are nested more than {MAX_DEPTH} deep", opening)
        brace = self.at
        self.at += 1
        fields = self.fields(CLOSES[opening.text])
        close = self.tokens[self.at]
        closing = tuple(self.words.above.get(self.at, ()))
        self.at += 1
        self.open.pop()
        opening_comment = self.words.behind.get(brace, "")
        inline = close.line == opening.line
        return Tree(fields, span, self.words.span(close), opening_comment, closing, inline)

    def string(self) -> Scalar:
        """Adjacent strings, as one; marked on the line of the first."""
        first = last = self.tokens[self.at]
        if self.tokens[self.at + 1].kind != STRING and "\\" not in first.text:
            self.at += 1
            return Scalar("string", first.text[1:-1], self.words.span(first))
        data = b""
        while (token := self.tokens[self.at]).kind == STRING:
            data += self.unescape(token)
            last = token if token.line == first.line else last
            self.at += 1
        width = last.column + len(last.text) - first.column
        span = Span(self.words.source, first.line, first.column, width)
        return Scalar("string", data.decode("utf-8", "surrogateescape"), span)

    def unescape(self, token: Token) -> bytes:
        body = token.text[1:-1]
        data, done = bytearray(), 0
        for escape in ESCAPE.finditer(body):
            data += body[done : escape.start()].encode("utf-8", "surrogatepass")
            meant = _meaning(escape)
            if meant is None:
                self.refuse_escape(token, escape)
            data += meant
            done = escape.end()
        data += body[done:].encode("utf-8", "surrogatepass")
        return bytes(data)

    def refuse_escape(self, token: Token, escape: re.Match[str]) -> NoReturn:
        at = Span(self.words.source, token.line, token.column + 1 + escape.start(), len(escape[0]))
        help = r"a backslash is written \\" if escape["simple"] else ""
        raise NktcError(f"{escape[0]} means nothing in a text", at=at, help=help)

    def no_field(self, token: Token, close: str) -> NoReturn:
        name, opening = self.open[-1] if self.open else ("", None)
        note = Note(f"{name} is opened here", opening)
        if token.kind == END:
            notes = [note, self.doubt] if self.doubt else [note]
            self.refuse(f'the file ends inside {name}, whose "{close}" is missing', token, *notes)
        if token.text in ("}", ">"):
            if close:
                self.refuse(f'{name} is closed by "{token.text}" rather than "{close}"', token, note)
            self.refuse(f'this "{token.text}" closes nothing', token)
        if token.text == "[":
            self.refuse("extensions and Any, [in brackets], are not part of prototxt", token)
        help = "a comment starts with #" if token.text == "/" else ""
        self.refuse(f"expected the name of a field, not {_shown(token)}", token, help=help)

    def refuse(self, message: str, token: Token, *notes: Note, help: str = "") -> NoReturn:
        raise NktcError(message, at=self.words.span(token), notes=notes, help=help)


def _meaning(escape: re.Match[str]) -> bytes | None:
    """The bytes an escape stands for; None when it stands for nothing."""
    parts = escape.groupdict()
    if parts["simple"]:
        code = SIMPLE.get(parts["simple"], 256)
    elif parts["octal"] or parts["hex"]:
        code = int(parts["octal"], 8) if parts["octal"] else int(parts["hex"], 16)
    else:
        if parts["high"]:
            code = 0x10000 + ((int(parts["high"], 16) - 0xD800) << 10) + int(parts["low"], 16) - 0xDC00
        else:
            code = int(parts["short"] or parts["long"], 16)
        return None if 0xD800 <= code < 0xE000 or code > 0x10FFFF else chr(code).encode()
    return bytes([code]) if code < 256 else None


def _shown(token: Token) -> str:
    """A token as it is named in an error."""
    if token.kind == END:
        return "the end of the file"
    return token.text if token.kind in (STRING, NUMBER) else f'"{token.text}"'
