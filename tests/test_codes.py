"""Every code is explained, every explanation is of a code, and its example shows it."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from nktc import checking, codes
from nktc.codes import CODES
from nktc.errors import NktcError

PACKAGE = Path(codes.__file__).parent
START = """layer { name: "start" type: "Input" top: "data" top: "label" input_param {
  shape { dim: 8 dim: 3 dim: 32 dim: 32 } shape { dim: 8 } } }
"""


def given() -> Iterator[str]:
    """Every code that the source gives to an error."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            values: list[ast.expr | None] = []
            match node:
                case ast.Call(func=ast.Name(id="coded")):
                    values += node.args
                case ast.keyword(arg="code", value=value):
                    values.append(value)
                case ast.Assign(targets=[ast.Attribute(attr="code") | ast.Name(id="code")], value=value):
                    values.append(value)
                case ast.arguments(kwonlyargs=arguments, kw_defaults=defaults):
                    pairs = zip(arguments, defaults, strict=True)
                    values += [default for argument, default in pairs if argument.arg == "code"]
            for value in filter(None, values):
                yield from _values(value)


def _values(value: ast.expr) -> Iterator[str]:
    """The texts that an expression can come to."""
    match value:
        case ast.Constant(value=str() as text) if text:
            yield text
        case ast.IfExp():
            yield from (*_values(value.body), *_values(value.orelse))
        case ast.BoolOp():
            yield from (text for part in value.values for text in _values(part))


def test_every_code_of_the_source_is_explained_and_no_other() -> None:
    assert {*given()} == {*CODES}


def said(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The codes that `nktc check` has for an example, with their severities."""
    monkeypatch.chdir(folder)
    text = inspect.cleandoc(text) + "\n"
    (folder / "net.prototxt").write_text(
        START
        + 'layer { name: "i" type: "InnerProduct" bottom: "data" top: "i" inner_product_param { num_output: 4 } }\n'
        + 'layer { name: "l" type: "SoftmaxWithLoss" bottom: "i" bottom: "label" top: "l" }\n'
    )
    whole = text.startswith(("net:", "input:", 'name: "empty"')) or '"Input"' in text
    (folder / "example.prototxt").write_text(text if whole else START + text)
    report = checking.check(Path("example.prototxt"))
    return {one.code: one.severity for one in report.diagnostics}


@pytest.mark.parametrize("name", [name for name, code in CODES.items() if not code.wrong.strip().startswith("nktc ")])
def test_the_wrong_example_has_the_mistake_alone_and_the_right_one_none(name, tmp_path, monkeypatch) -> None:
    code = CODES[name]
    assert said(code.wrong, tmp_path, monkeypatch) == {name: "warning" if code.warning else "error"}
    assert said(code.right, tmp_path, monkeypatch) == {}


def test_an_explanation_has_all_there_is_to_say(golden) -> None:
    golden(
        codes.explain("[unknown-field]"),
        """
        unknown-field (error): A message has no field of that name.

        Often a typing error, or a field in the wrong message: kernel_size belongs in convolution_param, not in
        the layer itself. nktc layers TYPE lists the fields of a type.

        wrong:
          layer { name: "c" type: "Convolution" bottom: "data" top: "c"
                  convolution_param { num_output: 8 kernal_size: 3 } }

        right:
          layer { name: "c" type: "Convolution" bottom: "data" top: "c"
                  convolution_param { num_output: 8 kernel_size: 3 } }
        """,
    )


def test_an_unknown_code_is_refused_with_a_near_one() -> None:
    with pytest.raises(NktcError) as caught:
        codes.explain("unknown-fiel")
    assert str(caught.value) == 'error: no code "unknown-fiel"\nhelp: did you mean "unknown-field"?'


def test_the_table_has_every_code_once() -> None:
    listed = [line.split()[0] for line in codes.table().splitlines() if line.startswith("  ")]
    assert sorted(listed) == sorted(CODES)
