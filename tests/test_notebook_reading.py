"""What is read from a notebook's text: parameters, edges, options, code; matrices rather than examples."""

import ast
import builtins
import itertools
import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_notebook
from papermill.translators import PythonTranslator

from mlnb.notebook.cells import Cell, cell_code, opaque_magics, parse_cell, read_notebook
from mlnb.notebook.edges import read_edges
from mlnb.notebook.options import read_options
from mlnb.notebook.parameters import Parameter, check_value, comments_of, read_parameters, read_text
from mlnb.notebook.pipeline import read_pipeline
from mlnb.notebook.stage import read_stage
from mlnb.store.errors import UsageError
from mlnb.store.names import is_name, parse_name
from mlnb.store.settings import Project

SOME = settings(max_examples=150, deadline=None)


def one(line):
    "The only parameter of a cell of one line."
    (parameter,), problems = read_parameters(line)
    assert [p for p in problems if p.level == "error"] == []
    return parameter


def rules(source, level="error"):
    return [p.rule for p in read_parameters(source)[1] if p.level == level]


# the parameters cell


@pytest.mark.parametrize("width", [40, 60, 88, 110])
@pytest.mark.parametrize(
    "line",
    [
        "days: int = 7  # length of the window, counted from the end of the stream [days], 1..28",
        "rate: float = 0.06  # how fast the trees learn, the smaller the slower [per round], 0.01..0.3",
        "name: str = 'x'  # what is written on the page of every stage that reads it",
        "sizes: list[int] = [1, 2, 3]  # how many payments each of the windows holds [payments]",
    ],
)
def test_parameter_reads_the_same_after_a_formatter_made_its_line_shorter(line, width):
    ruff = Path(sys.executable).with_name("ruff")
    command = [ruff, "format", "--isolated", "--line-length", str(width), "-"]
    formatted = subprocess.run(command, input=line, capture_output=True, text=True, check=True).stdout
    assert read_parameters(formatted) == read_parameters(line)


@pytest.mark.parametrize(
    ("line", "type_", "default", "low", "high"),
    [
        ("days: int = 7  # length [days], 1..60", "int", 7, "1", "60"),
        ("days: int = 7  # 1..60", "int", 7, "1", "60"),
        ("days: int = 7  # length, 1..", "int", 7, "1", ""),
        ("days: int = 7  # length, ..60", "int", 7, "", "60"),
        ("days: int = 7  # length (1..60)", "int", 7, "1", "60"),
        ("days: int = -7  # -9..-1", "int", -7, "-9", "-1"),
        ("share: float = 0.5  # 0..1", "float", 0.5, "0", "1"),
        ("share: float = 1e-3  # 1e-9..1", "float", 1e-3, "1e-9", "1"),
        ("share: float = 0.5  # 0.25..0.75", "float", 0.5, "0.25", "0.75"),
        ("days: int = 60  # length [days], train_days+14..183", "int", 60, "train_days+14", "183"),
        ("days: int = 60  # a..b in the middle of a text", "int", 60, "", ""),
        ("days: int = 7", "int", 7, "", ""),
        ("days: int = 7  # see ../other", "int", 7, "", ""),
        ("depth: int | None = None  # 1..50", "int | None", None, "1", "50"),
        ("name: str = '#1..2'  # a text", "str", "#1..2", "", ""),
        ("kind: Literal['a', 'b'] = 'a'", "Literal['a', 'b']", "a", "", ""),
        ("sizes: list[int] = [1, 2]", "list[int]", [1, 2], "", ""),
        (
            "sizes: list[float] = [\n    1.5,\n    2.5,\n]  # several lines, 1..",
            "list[float]",
            [1.5, 2.5],
            "1",
            "",
        ),
        ("map: dict[str, list[int]] = {'a': [1]}", "dict[str, list[int]]", {"a": [1]}, "", ""),
        ("on: bool = True", "bool", True, "", ""),
        ("text: str | None = None", "str | None", None, "", ""),
    ],
)
def test_read_parameters_one_line_gives_type_default_and_range(line, type_, default, low, high):
    found = one(line)
    assert (found.type, found.default, found.low, found.high) == (type_, default, low, high)
    assert type(found.default) is type(default)


@pytest.mark.parametrize(
    "line",
    [
        "days: int = 3 + 4",
        "days: int = f()",
        "days: int = [x for x in y]",
        "print(1)",
        "import os",
        "from os import path",
        "days: int",
        "a, b = 1, 2",
        "a = b = 1",
        "a.b = 1",
        "a[0] = 1",
        "del a",
        "if True:\n    a = 1",
        "days: int += 1",
        "a: int = 1; import os",
        "def f(): pass",
        "x: int = __import__('os')",
        "x: str = f'{1}'",
        "a: int = (b := 1)",
        "1",
        "x: datetime = 1",
        "x: set[int] = {1}",
        "x: list = [1]",
        "x: tuple[int] = (1,)",
        "x: int | str = 1",
        "x: int = 'a'",
        "x: int = True",
        "x: float = '1'",
        "x: bool = 1",
        "x: str = None",
        "x: int = 0  # 1..60",
        "x: int = 61  # 1..60",
        "x: Literal['a'] = 'b'",
        "x: list[int] = [1, 'a']",
        "x: dict[str, int] = {1: 1}",
        "x: int = 1\nx: int = 2",
        "x: int = = 1",
        "x: float = float('nan')",
        "x: float = 1e999",
        "x: float = -1e999",
        "x: list[float] = [1e999]",
    ],
)
def test_read_parameters_anything_but_annotated_literals_is_a_definition_error(line):
    assert rules(line)


def test_read_parameters_never_runs_the_cell(monkeypatch):
    called = []
    monkeypatch.setattr(builtins, "print", lambda *a: called.append(a))
    read_parameters("print('ran')\nx: int = print('ran')\n")
    assert called == []


@pytest.mark.parametrize(
    ("line", "type_"), [("x = 1", "int"), ("x = 1.5", "float"), ("x = True", "bool"), ("x = 'a'", "str")]
)
def test_read_parameters_without_annotation_takes_the_default_s_type_and_warns(line, type_):
    (found,), problems = read_parameters(line)
    assert (found.type, [(p.rule, p.level) for p in problems]) == (type_, [("no-annotation", "warning")])


def test_read_parameters_literal_import_and_blank_lines_are_allowed():
    parameters, problems = read_parameters(
        "from typing import Literal\n\n# a comment\nkind: Literal[1, 2] = 1\n"
    )
    assert ([p.name for p in parameters], problems) == (["kind"], [])


@pytest.mark.parametrize(
    "source",
    [
        "",
        "   \n",
        "# only a comment",
        "x = '# not a comment'",
        "x = (",
        "x = '''",
        "\tx",
        "x = 1 # a\ny = 2 # b",
    ],
)
def test_comments_of_any_text_never_raises(source):
    assert all(isinstance(line, int) for line in comments_of(source))


# text -> value -> what is injected

VALUES = {
    "int": st.integers(),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "bool": st.booleans(),
    "str": st.text(st.characters(exclude_categories=["Cs"])),
    "int | None": st.none() | st.integers(),
    "list[int]": st.lists(st.integers(), max_size=4),
    "list[float]": st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=4),
    "list[str]": st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=4),
    "dict[str, int]": st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8), st.integers(), max_size=3
    ),
    "dict[str, list[bool]]": st.dictionaries(
        st.text("ab'\"\\\n", max_size=4), st.lists(st.booleans(), max_size=3), max_size=3
    ),
    "Literal['a', 'b c', 3]": st.sampled_from(["a", "b c", 3]),
}
DEFAULTS = {
    "int": 0,
    "float": 0.0,
    "bool": False,
    "str": "",
    "int | None": None,
    "list[int]": [],
    "list[float]": [],
    "list[str]": [],
    "dict[str, int]": {},
    "dict[str, list[bool]]": {},
    "Literal['a', 'b c', 3]": "a",
}


def same(a, b):
    return type(a) is type(b) and a == b and repr(a) == repr(b)


@SOME
@given(st.sampled_from(sorted(VALUES)).flatmap(lambda t: st.tuples(st.just(t), VALUES[t])), st.booleans())
def test_text_becomes_the_value_and_the_value_a_literal_that_gives_it_back(typed, as_json):
    kind, value = typed
    parameter = Parameter("x", kind, DEFAULTS[kind])
    if isinstance(value, str):
        text = value
    elif as_json and not isinstance(value, float) and value is not None:
        text = json.dumps(value)
    else:
        text = repr(value)
    read = check_value(parameter, read_text(parameter, text))
    assert same(read, value)
    injected = PythonTranslator.codify({"x": read})
    scope = {}
    exec(injected, {"__builtins__": {}}, scope)
    assert list(scope) == ["x"] and same(scope["x"], read)
    assert same(json.loads(json.dumps(read, allow_nan=False)), read)


@SOME
@given(st.sampled_from([k for k in VALUES if not k.startswith(("str", "Literal"))]), st.text(max_size=30))
def test_any_text_is_a_value_of_the_declared_type_or_a_usage_error(kind, text):
    parameter = Parameter("x", kind, DEFAULTS[kind])
    try:
        value = check_value(parameter, read_text(parameter, text))
    except UsageError as error:
        assert "`x`" in error.message and error.mend
        return
    assert check_value(parameter, value) == value
    json.dumps(value, allow_nan=False)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("int", "7.0"),
        ("int", "7.5"),
        ("int", "seven"),
        ("int", ""),
        ("int", "None"),
        ("int", "true"),
        ("int", "True"),
        ("int", "'7'"),
        ("int", "[7]"),
        ("int", "1e3"),
        ("int", "nan"),
        ("int", "07"),
        ("int", "7;8"),
        ("float", "nan"),
        ("float", "NaN"),
        ("float", "inf"),
        ("float", "-Infinity"),
        ("float", "Infinity"),
        ("float", "1e999"),
        ("float", "-1e999"),
        ("float", "'1.5'"),
        ("float", "True"),
        ("float", "1,5"),
        ("float", ""),
        ("bool", "1"),
        ("bool", "yes"),
        ("bool", "TRUE"),
        ("bool", ""),
        ("bool", "None"),
        ("int | None", "none"),
        ("int | None", "1.5"),
        ("list[int]", "1"),
        ("list[int]", "[1, '2']"),
        ("list[int]", "[1, 2.0]"),
        ("list[int]", "(1, 2)"),
        ("list[float]", "[NaN]"),
        ("list[float]", "[1e999]"),
        ("dict[str, int]", "{1: 2}"),
        ("dict[str, int]", "[]"),
        ("dict[str, int]", "{'a': None}"),
        ("Literal['a', 'b']", "c"),
        ("Literal['a', 'b']", "'a'"),
        ("Literal[1, 2]", "3"),
        ("int", "__import__('os').getcwd()"),
        ("list[int]", "[__import__('os')]"),
        ("int", "9" * 5000),
    ],
)
def test_text_of_another_type_is_refused(kind, text):
    parameter = Parameter(
        "x",
        kind,
        {
            "int": 0,
            "float": 0.0,
            "bool": False,
            "int | None": None,
            "list[int]": [],
            "list[float]": [],
            "dict[str, int]": {},
            "Literal['a', 'b']": "a",
            "Literal[1, 2]": 1,
        }[kind],
    )
    with pytest.raises(UsageError):
        check_value(parameter, read_text(parameter, text))


@pytest.mark.parametrize(
    ("kind", "value", "result"),
    [
        ("float", 3, 3.0),
        ("float | None", 3, 3.0),
        ("list[float]", [1, 2.5], [1.0, 2.5]),
        ("dict[str, float]", {"a": 1}, {"a": 1.0}),
        ("int", 3, 3),
        ("str | None", None, None),
        ("bool", False, False),
    ],
)
def test_check_value_whole_numbers_pass_where_float_is_declared_and_nothing_else_changes(kind, value, result):
    assert same(check_value(Parameter("x", kind, result), value), result)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("int", 3.0),
        ("int", "3"),
        ("int", True),
        ("float", True),
        ("float", "3"),
        ("str", 3),
        ("bool", 0),
        ("bool", "true"),
        ("list[int]", (1,)),
        ("list[int]", [True]),
        ("int", None),
        ("str", b"x"),
        ("float", float("inf")),
        ("dict[str, float]", {"a": float("nan")}),
    ],
)
def test_check_value_nothing_is_converted(kind, value):
    with pytest.raises(UsageError):
        check_value(Parameter("x", kind, 0), value)


@SOME
@given(st.integers(-50, 50), st.integers(-20, 0), st.integers(0, 20))
def test_check_value_ranges_include_both_ends(value, low, high):
    parameter = Parameter("x", "int", 0, str(low), str(high))
    if low <= value <= high:
        assert check_value(parameter, value) == value
    else:
        with pytest.raises(UsageError, match="must be at"):
            check_value(parameter, value)


def test_check_value_none_is_not_compared_with_the_range():
    assert check_value(Parameter("x", "int | None", None, "1", "50"), None) is None


# edges


def edges_of(*cells):
    return read_edges([(n, parse_cell(c)) for n, c in enumerate(cells, 1)])


@pytest.mark.parametrize(
    ("source", "loads"),
    [
        ("from mlnb import load\nload('a')", ["a"]),
        ("import mlnb\nmlnb.load('a')", ["a"]),
        ("import mlnb as m\nm.load('a')", ["a"]),
        ("from mlnb import *\nload('a')", ["a"]),
        ("from mlnb import load as get\nget('a')", ["a"]),
        ("from mlnb import load\nif x:\n    load('a')\nelse:\n    load('b')", ["a", "b"]),
        ("from mlnb import load\ntry:\n    y = load('a')\nexcept Exception:\n    y = load('b')", ["a", "b"]),
        ("from mlnb import load\ndef f():\n    return load('a')", ["a"]),
        ("from mlnb import load\nf = lambda: load('a')", ["a"]),
        ("from mlnb import load\n[load('a') for _ in range(1)]", ["a"]),
        ("from mlnb import load\nclass A:\n    x = load('a')", ["a"]),
        ("from mlnb import load\nf(g(x=load('a')))", ["a"]),
        ("from mlnb import load\nf'{load(\"a\")}'", ["a"]),
        ("from mlnb import load\nwith open_(load('a')): pass", ["a"]),
        ("from mlnb import load\n(x := load('a'))", ["a"]),
        ("from mlnb import load\nload(name='a')", ["a"]),
        ("from mlnb import load\nload('a' 'b')", ["ab"]),
        ("from mlnb import load\nload('other/a@champion')", ["other/a@champion"]),
        ("from mlnb import load\nx, y = load('a'), load('b')", ["a", "b"]),
        ("from mlnb import load\n@decorate(load('a'))\ndef f(): pass", ["a"]),
        ("from mlnb import load\ndef f(x=load('a')): pass", ["a"]),
        ("from mlnb import load\nmatch load('a'):\n    case 1: pass", ["a"]),
        ("from mlnb import load\nasync def f():\n    await g(load('a'))", ["a"]),
        ("def f():\n    from mlnb import load\n    return load('a')", ["a"]),
        ("from mlnb.flow.session import load\nload('a')", ["a"]),
        ("%time x = __import__('mlnb').load", []),
        ("from mlnb import load\n%time x = load('a')", ["a"]),
        ("%%time\nfrom mlnb import load\nload('a')", ["a"]),
        ("%%capture out\nfrom mlnb import load\nload('a')", ["a"]),
        ("%%prun\nfrom mlnb import load\nload('a')", ["a"]),
        ("%%time\n%%capture\nfrom mlnb import load\nload('a')", ["a"]),
        ("from mlnb import load\n!echo load('b')\nload('a')", ["a"]),
        ("from mlnb import load\n# load('b')\n'load(\"c\")'\nload('a')", ["a"]),
        # not ours
        ("from joblib import load\nload('a')", []),
        ("import joblib\njoblib.load('a')", []),
        ("load('a')", []),
        ("from mlnb import load\nfrom joblib import load\nload('a')", []),
        ("from joblib import load\nfrom mlnb import load\nload('a')", ["a"]),
        ("from mlnb import load\nload = print\nload('a')", []),
        ("from mlnb import load\ndef load(x): pass\nload('a')", []),
        ("from mlnb import load\nclass load: pass\nload('a')", []),
        ("from mlnb import load\nfor load in []: load('a')", []),
        ("from mlnb import load\nwith f() as load: load('a')", []),
        ("from mlnb import load\ndel load\nload('a')", []),
        ("from mlnb import load\ndef f(load): return load('a')", []),
        ("from mlnb import load\nf = lambda load: load('a')", []),
        (
            "from mlnb import load\ndef f(*load): load('a')\ndef g(**load): load('b')\n"
            "def h(*, load): load('c')",
            [],
        ),
        ("from mlnb import load\nimport numpy as load\nload('a')", []),
        ("import mlnb\nmlnb = x\nmlnb.load('a')", []),
        ("import mlnb\nmlnb.store.load('a')", []),
        ("import mlnb.store.objects\nmlnb.load('a')", ["a"]),
        ("import mlnb.store.objects as mlnb\nmlnb.load('a')", []),
        ("from mlnb import load\nload.x('a')", []),
        ("from .mlnb import load\nload('a')", []),
        ("%%bash\nload('a')", []),
    ],
)
def test_read_edges_calls_of_what_mlnb_bound_and_no_others(source, loads):
    assert list(edges_of(source).loads) == loads


@pytest.mark.parametrize(
    ("source", "loads"),
    [
        ("from mlnb import load\ndef f():\n    load = print\nload('a')", ["a"]),
        ("from mlnb import load\ndef f():\n    from joblib import load\n    load('b')\nload('a')", ["a"]),
        ("from mlnb import load\ndef f(load): pass\nload('a')", ["a"]),
        ("from mlnb import load\n[load for load in range(3)]\nload('a')", ["a"]),
        ("from mlnb import load\ntry:\n    f()\nexcept E as load:\n    pass\nelse:\n    x.load('b')", []),
    ],
)
def test_read_edges_a_name_bound_inside_a_function_is_ours_again_outside(source, loads):
    assert list(edges_of(source).loads) == loads


def test_read_edges_rebinding_holds_in_later_cells_too():
    found = edges_of(
        "from mlnb import load, save",
        "load('a')",
        "load = print",
        "load('b')",
        "from mlnb import load as load",
        "load('c')",
        "save('x', 1)",
    )
    assert (found.loads, found.saves) == ({"a": 2, "c": 6}, {"x": 7})


@pytest.mark.parametrize(
    "call",
    [
        "load(n)",
        "load(f'a{n}')",
        "load('a' + 'b')",
        "load(*names)",
        "load(**k)",
        "load()",
        "load(name=n)",
        "load(b'a')",
        "load(1)",
        "load('a' if x else 'b')",
        "load('a'.lower())",
        "save(n, 1)",
        "save(value=1)",
    ],
)
def test_read_edges_computed_name_is_a_definition_error_with_its_cell(call):
    found = edges_of("from mlnb import load, save", call)
    assert [(p.rule, p.cell, p.level) for p in found.problems] == [("computed-name", 2, "error")]


@pytest.mark.parametrize(
    "call",
    [
        "load('A')",
        "load('a b')",
        "load('')",
        "load('../a')",
        "load('a/b/c')",
        "load('a@')",
        "load('1a')",
        "load('a' * 0)",
        "save('a/b', 1)",
        "save('a@latest', 1)",
        "save('é', 1)",
        "save('a' 'B', 1)",
        "save('" + "a" * 65 + "', 1)",
        "metric('Bad Name', 1)",
    ],
)
def test_read_edges_name_of_the_wrong_form_is_a_definition_error(call):
    assert [p.level for p in edges_of("from mlnb import load, save, metric", call).problems] == ["error"]


def test_read_edges_several_saves_in_branches_are_one_output():
    found = edges_of("from mlnb import save\nif x:\n    save('a', 1)\nelse:\n    save('a', 2)")
    assert (found.saves, found.problems) == ({"a": 1}, [])


@pytest.mark.parametrize(
    "source",
    [
        "import pandas as pd\npd.read_csv('x')",
        "open('x')",
        "with open('x') as f: pass",
        "import urllib.request\nurllib.request.urlopen('x')",
        "pd.read_parquet(p)",
    ],
)
def test_read_edges_reading_files_by_itself_is_a_warning(source):
    assert [(p.rule, p.level) for p in edges_of(source).problems] == [("reads-outside", "warning")]


@SOME
@given(st.text(max_size=70))
def test_names_are_what_the_contract_says(text):
    import re

    assert is_name(text) == bool(re.match(r"[a-z][a-z0-9_]{0,63}\Z", text))
    if is_name(text):
        assert str(parse_name(f"p/{text}@r-1")) == f"p/{text}@r-1"


# code


def code(source, tags=()):
    return cell_code(Cell(1, None, "code", source, tags))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("f(1)", "f( 1 )"),
        ("f('x')", 'f("x")'),
        ("x = 1", "x = 1  # one"),
        ("x = 1", "\n\nx = 1\n\n"),
        ("f(1,\n  2)", "f(1, 2)"),
        ("x = 1;", "x = 1"),
        ("f() ;", "f();"),
        ("f()", "f()  # ;"),
        ("x = 0x10", "x = 16"),
        ("%time f(1)", "%time f( 1 )"),
        ("%%time\nf()", "%%time\n\nf() # x"),
        ("'a' 'b'", "'ab'"),
        ("(f())", "f()"),
        ("x = (1)", "x = 1"),
        ("%matplotlib inline", "%matplotlib inline  "),
        ("f()\n", "f()\r\n"),
    ],
)
def test_cell_code_equal_for_cells_that_do_the_same(a, b):
    assert code(a) == code(b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("f()", "f();"),
        ("f()", "f(1)"),
        ("f()", "x = f()"),
        ("f()", "f()\nf()"),
        ("x = 1", "x = 1.0"),
        ("x = 1", "x = True"),
        ("'a'", "b'a'"),
        ("%time f()", "%time f();"),
        ("%%time\nf()", "f()"),
        ("%%time\nf()", "%%capture\nf()"),
        ("%matplotlib inline", "%matplotlib widget"),
        ("!ls", "!ls -l"),
        ("%%bash\nls", "%%bash\nls -l"),
        ("%time f()", "%timeit f()"),
        ("if x:\n    f()", "if x:\n    f()\nelse:\n    g()"),
        ("x = 'a'", "x = 'a '"),
        ("%%time\nf()", "%%time -n\nf()"),
    ],
)
def test_cell_code_differs_for_cells_that_do_not(a, b):
    assert code(a) != code(b)


@pytest.mark.parametrize("source", ["", "   ", "# comment", "\n#| hide\n"])
def test_cell_code_of_a_cell_without_code_is_none(source):
    assert code(source) is None


def test_cell_code_tags_that_change_execution_count_and_others_do_not():
    assert code("f()", ("raises-exception",)) != code("f()") == code("f()", ("hide-input", "anything"))


@pytest.mark.parametrize(
    "source",
    [
        "x = = 1",
        "def f(:",
        "'open",
        "%time x = = 1 +",
        "(",
        "return",
        "\x00",
        "x = 1\n  y = 2",
        "print 'old'",
        "<" * 7 + " HEAD",
        "await = 1",
        "f(" * 120 + ")" * 120,
    ],
)
def test_broken_code_is_a_syntax_error_or_code_and_nothing_else(source):
    with suppress(SyntaxError):
        code(source)


@SOME
@given(st.text(alphabet="abc123 =()[]'\"#;%!?\n\t\\:.,@", max_size=40))
def test_any_text_is_code_or_a_syntax_error(source):
    try:
        found = code(source)
    except SyntaxError:
        return
    assert found is None or len(found) == 3


@pytest.mark.parametrize(
    ("source", "magics"),
    [
        ("%matplotlib inline", ["%matplotlib"]),
        ("%%bash\nls", ["%%bash"]),
        ("!ls -l", ["!ls"]),
        ("x = !ls", ["!ls"]),
        ("x = %who", ["%who"]),
        ("%time f()", []),
        ("%%time\nf()", []),
        ("f?", ["%pinfo"]),
        ("%%time\n!ls", ["!ls"]),
        ("%time %matplotlib inline", ["%matplotlib"]),
        ("f()", []),
        ("get_ipython().run_line_magic('who', '')", ["%who"]),
    ],
)
def test_opaque_magics_are_named(source, magics):
    assert opaque_magics(parse_cell(source)) == magics


# options


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("#| timeout: 90s", "timeout_s", 90),
        ("#| timeout: 20m", "timeout_s", 1200),
        ("#| timeout: 2h", "timeout_s", 7200),
        ("#|timeout:20m", "timeout_s", 1200),
        ("#| timeout: 1.5h", "timeout_s", 5400),
        ("#| retries: 0", "retries", 0),
        ("#| retries: 10", "retries", 10),
        ("#| threads: 2", "threads", 2),
        ("#| memory: 512MiB", "memory_mib", 512),
        ("#| memory: 4GiB", "memory_mib", 4096),
        ("#| env: A", "env", ("A",)),
        ("#| env: A, B_2", "env", ("A", "B_2")),
        ("#| report: hide-code", "report", "hide-code"),
    ],
)
def test_read_options_value(line, field, value):
    options, problems = read_options(line + "\nx = 1")
    assert getattr(options, field) == value
    assert [p.rule for p in problems if p.level == "error"] == []


@pytest.mark.parametrize(
    "line",
    [
        "#| timeout: 20",
        "#| timeout: m",
        "#| timeout: -5m",
        "#| timeout: 5 days",
        "#| timeout:",
        "#| timeout: 20M",
        "#| retries: 11",
        "#| retries: -1",
        "#| retries: 1.5",
        "#| threads: 0",
        "#| threads: two",
        "#| memory: 4GB",
        "#| memory: 4",
        "#| env: 1A",
        "#| env: A B",
        "#| env:",
        "#| each: fold",
        "#| each: fold in 1-3",
        "#| report: hide",
        "#| theads: 2",
        "#| Timeout: 20m",
        "#| memory_mib: 5",
    ],
)
def test_read_options_bad_value_or_name_is_a_definition_error_with_a_mend(line):
    problems = [p for p in read_options(line)[1] if p.level == "error"]
    assert len(problems) == 1 and problems[0].mend


@pytest.mark.parametrize(
    "line",
    [
        "#| default_exp x.y",
        "#| export",
        "#| hide",
        "#| eval: false",
        "#| echo: false",
        "# | timeout: 5",
        "# timeout: 5",
        "#| code-fold: true",
        "x = 1\n#| retries: 99",
    ],
)
def test_read_options_what_belongs_to_others_is_ignored(line):
    options, problems = read_options(line)
    assert problems == [] and options.timeout_s is None


# notebooks and pipelines


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"cells": 1, "nbformat": 4}',
        b'{"cells": [1], "nbformat": 4}',
        b'{"cells": [{}], "nbformat": 4}',
        b'{"cells": [{"cell_type": "code"}], "nbformat": 4}',
        b"\xff\xfe",
        b'{"nbformat": 3, "worksheets": []}',
        b"<<<<<<< HEAD\n{}\n=======\n",
        b'{"cells": [{"cell_type": "code", "source": 5}], "nbformat": 4}',
        b'{"cells": [{"cell_type": "code", "source": "", "metadata": []}], "nbformat": 4}',
        b'{"cells": [{"cell_type": "code", "source": "", "metadata": null}], "nbformat": 4}',
        b"[" * 100_000,
    ],
)
def test_read_notebook_that_is_none_is_a_problem_and_no_traceback(data):
    _, _, problems = read_notebook(data, "a.ipynb")
    assert [(p.rule, p.level) for p in problems] == [("bad-notebook", "error")] and problems[0].mend


def test_read_stage_that_cannot_be_read_is_a_problem(tmp_path):
    (tmp_path / "a.ipynb").mkdir()
    (tmp_path / "b.ipynb").symlink_to(tmp_path / "nowhere")
    for name in ("a.ipynb", "b.ipynb"):
        assert [p.rule for p in read_stage(tmp_path / name, "demo", tmp_path).problems] == ["bad-notebook"]


def test_read_stage_counts_all_cells_and_gives_ids(make_project):
    project = make_project(
        {
            "10_a.ipynb": [
                ("md", "# A"),
                ("parameters", "days: int = 7"),
                ("md", "text"),
                "from mlnb import load",
                "load(x)",
            ]
        }
    )
    stage = read_stage(project.root / "nbs/10_a.ipynb", "demo", project.root)
    assert [(p.rule, p.file, p.cell, p.cell_id) for p in stage.problems] == [
        ("computed-name", "nbs/10_a.ipynb", 5, "cell-5")
    ]
    assert stage.parameters_cell == 2


@pytest.mark.parametrize(
    ("cells", "rule"),
    [
        ([("parameters", "a: int = 1"), ("parameters", "b: int = 1")], "two-parameters-cells"),
        (["x = = 1"], "syntax"),
        (["#| theads: 1\nx = 1"], "unknown-option"),
        ([("parameters", "a: int = 'x'")], "bad-default"),
        (["from mlnb import load\nload('nobody')"], "no-saver"),
        (["from mlnb import load, save\nsave('own', load('own'))"], "cycle"),
        (["from mlnb import load\nload('none/x')"], "no-saver"),
        (["from mlnb import load\nload(str())"], "computed-name"),
    ],
)
def test_read_pipeline_problem_has_rule_file_cell_and_mend(make_project, cells, rule):
    project = make_project({"10_a.ipynb": cells})
    (problem,) = read_pipeline(
        Project(
            project.root,
            project.root / ".mlnb",
            project.root / "reports",
            pipelines={"demo": project.root / "nbs"},
        ),
        "demo",
    ).errors()
    assert problem.rule == rule and problem.mend and problem.message
    assert rule == "cycle" or (problem.file == "nbs/10_a.ipynb" and problem.cell)


def test_read_pipeline_lists_all_problems_of_all_stages_at_once(make_project):
    project = make_project(
        {
            "10_a.ipynb": ["from mlnb import save\nsave('x', 1)", "y = ="],
            "20_b.ipynb": ["from mlnb import save\nsave('x', 2)"],
            "30_c.ipynb": ["from mlnb import load\nload('z')"],
            "40_a.ipynb": ["x = 1"],
            "50_d.ipynb": [("parameters", "n: int = 1")],
            "60_e.ipynb": [("parameters", "n: float = 1.0")],
        }
    )
    found = read_pipeline(
        Project(project.root, project.root, project.root, pipelines={"demo": project.root / "nbs"}), "demo"
    ).errors()
    assert sorted(p.rule for p in found) == [
        "no-saver",
        "parameter-conflict",
        "syntax",
        "two-savers",
        "two-stages",
    ]


def test_read_pipeline_cycle_is_printed_round(make_project):
    def stage(load, save):
        return [f"from mlnb import load, save\nsave('{save}', load('{load}'))"]

    project = make_project(
        {"10_a.ipynb": stage("z", "x"), "20_b.ipynb": stage("x", "y"), "30_c.ipynb": stage("y", "z")}
    )
    (problem,) = read_pipeline(
        Project(project.root, project.root, project.root, pipelines={"demo": project.root / "nbs"}), "demo"
    ).errors()
    names = problem.message.rpartition(": ")[2].split(" → ")
    assert (
        problem.rule == "cycle"
        and len(names) == 4
        and names[0] == names[-1]
        and set(names) == {"a", "b", "c"}
    )
    assert names in (["a", "b", "c", "a"], ["b", "c", "a", "b"], ["c", "a", "b", "c"])


def test_read_pipeline_takes_notebooks_directly_in_the_folder_only(make_project):
    project = make_project(
        {
            name: ["x = 1"]
            for name in (
                "10_a.ipynb",
                "_b.ipynb",
                ".c.ipynb",
                "deep/d.ipynb",
                "nbs/deep/e.ipynb",
                "nbs/.ipynb_checkpoints/a-checkpoint.ipynb",
                "20-f.ipynb",
            )
        }
    )
    (project.root / "nbs" / "notes.txt").write_text("no notebook")
    found = read_pipeline(
        Project(project.root, project.root, project.root, pipelines={"demo": project.root / "nbs"}), "demo"
    )
    assert list(found.stages) == ["a", "f"]


@pytest.mark.parametrize(
    ("metadata", "is_fine"),
    [
        ({"kernelspec": {"name": "python3"}}, True),
        ({"kernelspec": {"name": "my-env", "language": "python"}}, True),
        ({"kernelspec": {"name": "x"}, "language_info": {"name": "python"}}, True),
        ({"kernelspec": {"name": "pyspark", "language": "python3"}}, True),
        ({"kernelspec": {"name": "my-env"}}, True),
        ({"language_info": {"name": "ipython"}}, True),
        ({}, True),
        ({"kernelspec": {}}, True),
        ({"kernelspec": None, "language_info": 3}, True),
        ({"kernelspec": "python3"}, True),
        ({"kernelspec": {"name": "ir"}}, False),
        ({"kernelspec": {"name": "ir", "language": "R"}}, False),
        ({"language_info": {"name": "R"}}, False),
        ({"kernelspec": {"name": "julia-1.9"}, "language_info": {"name": "julia"}}, False),
    ],
)
def test_kernelspec_any_python_or_none_is_fine_and_another_language_is_not(tmp_path, metadata, is_fine):
    notebook = nbformat.from_dict(
        {"cells": [new_code_cell("x = 1", id="a")], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    )
    (tmp_path / "a.ipynb").write_text(json.dumps(notebook))
    assert [p.rule for p in read_stage(tmp_path / "a.ipynb", "demo", tmp_path).problems] == (
        [] if is_fine else ["no-kernelspec"]
    )


def test_long_chain_is_ordered_without_recursion():
    from mlnb.notebook.pipeline import Edge, graph_order

    names = [f"s{n}" for n in range(5000)]
    order, problems = graph_order(names[::-1], [Edge(a, b, "x") for a, b in itertools.pairwise(names)])
    assert (order, problems) == (names, [])


def test_notebook_without_cells_is_a_stage_without_problems(tmp_path):
    nbformat.write(
        new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}}),
        tmp_path / "a.ipynb",
    )
    stage = read_stage(tmp_path / "a.ipynb", "demo", tmp_path)
    assert (stage.code, stage.problems) == ((), ())


def test_ast_of_a_magic_s_body_is_in_the_tree():
    assert any(
        isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == "load"
        for n in ast.walk(parse_cell("%%time\nload('a')"))
    )
