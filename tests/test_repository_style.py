"""Code does little at a time and says what it means: the limits of CONTRIBUTING.md, measured."""

import importlib
import inspect
import json
import re
import tomllib
from pathlib import Path

import measure_style as style
import pytest
from fastcore.docments import docments

ROOT = Path(__file__).resolve().parent.parent
PACKAGE, NOTEBOOKS = ROOT / "mlnb", ROOT / "nbs"
LINTED = ("nbs", "tests", "scripts", "benchmarks")


@pytest.fixture(scope="module")
def figures():
    return style.measure(PACKAGE, style.library_notebooks(NOTEBOOKS))


@pytest.mark.parametrize("limit", style.LIMITS, ids=lambda limit: limit.key)
def test_style_is_inside_its_limit(limit, figures):
    assert style.is_kept(limit, figures[limit.key]), f"{limit.label}: {figures[limit.key]}"


def test_limits_of_contributing_are_those_that_are_measured():
    table = re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|", (ROOT / "CONTRIBUTING.md").read_text(), re.M)
    told = dict(table)
    assert {limit.label: told.get(limit.label) for limit in style.LIMITS} == {
        limit.label: style.limit_text(limit) for limit in style.LIMITS
    }


# docments


def comments_below(folder):
    paths = style.python_files(folder)
    return {path.relative_to(folder): list(style.comments_of(path.read_text())) for path in paths}


def test_formatting_tears_no_comment_from_its_parameter(tmp_path):
    before = comments_below(PACKAGE)
    after = comments_below(style.format_copy(PACKAGE, tmp_path))
    assert sum(map(len, before.values())) > 3000
    for path, comments in before.items():
        assert [c for c in comments if c.is_docment] == [c for c in after[path] if c.is_docment], path


def defined_functions(module):
    own = [value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__]
    return [value for value in own if inspect.isfunction(inspect.unwrap(value))]


@pytest.mark.parametrize("room", sorted(path.name for path in PACKAGE.iterdir() if path.is_dir()))
def test_comments_are_the_docments_that_fastcore_reads(room):
    for path in style.python_files(PACKAGE / room):
        module = importlib.import_module(f"mlnb.{room}.{path.stem}")
        comments = list(style.comments_of(path.read_text()))
        for function in defined_functions(module):
            mine = [c.text.strip() for c in comments if c.owner == function.__name__]
            theirs = [text for text in docments(function, args_kwargs=True).values() if text]
            assert set(theirs) <= set(mine) | {"\n".join(mine)}, function
            assert len(theirs) <= len(mine), function


LONG = "a digest of 64 hexadecimal characters, and how many bytes were written, which may be less"
TORN = f"def put(\n    data: bytes,  # of any length\n) -> tuple[str, int]:  # {LONG}\n    return '', 0\n"


def test_comment_beyond_the_line_is_torn_by_formatting_and_found(tmp_path):
    package = tmp_path / "own"
    package.mkdir()
    (package / "put.py").write_text(TORN)
    kept = [[c.is_docment for c in style.comments_of(TORN)]]
    copy = style.format_copy(package, tmp_path / "formatted")
    kept.append([c.is_docment for c in style.comments_of((copy / "put.py").read_text())])
    assert kept == [[True, True], [True, False]]


# what is measured


def test_figures_of_a_small_package_are_those_worked_out_by_hand(tmp_path):
    package = tmp_path / "own"
    package.mkdir()
    (package / "one.py").write_text(
        "def a():\n    'Say.'\n    return 1\n\n\ndef b(x):\n    if x and a():\n"
        "        return [y for y in x]\n    return x\n"
    )
    found = style.measure(package)
    assert (found["median"], found["longest"], found["lines"], found["module"]) == (1, 3, 9, 9)
    functions = {function.name: function for function in style.functions_of(package)}
    assert (functions["a"].complexity, functions["b"].complexity) == (1, 4)  # if, and, comprehension


def cell(kind, source):
    return {"cell_type": kind, "source": source}


def test_definition_is_shown_when_a_check_stands_before_the_next_one(tmp_path):
    exported, check = (
        cell("code", "#| export\ndef a(): ...\n\n\ndef b(): ..."),
        cell("code", "test_eq(a(), None)"),
    )
    later = cell("code", "#| export\nclass C: ...")
    cells = [exported, cell("markdown", "three words here"), check, later, cell("code", "C()")]
    (tmp_path / "10_x.ipynb").write_text(json.dumps({"cells": cells}))
    notebook = style.read_notebook(tmp_path / "10_x.ipynb", tmp_path)
    assert (notebook.shown, notebook.unshown) == (["a", "b"], ["C"])
    assert (notebook.words, notebook.lines) == (3, 3)


def test_check_that_is_not_run_or_only_told_of_is_no_example():
    assert style.is_check("test_eq(a(), 1)")
    assert not style.is_check("a()  # see test_a")
    assert not style.is_check("#| eval: false\nassert a()")


# rules


def linted_files():
    paths = [path for folder in LINTED for path in sorted((ROOT / folder).rglob("*"))]
    return [p for p in paths if p.suffix in (".py", ".ipynb") and ".ipynb_checkpoints" not in p.parts]


def test_rules_of_ruff_have_no_exemption():
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]
    assert {"B", "C901", "E", "F", "PLR0913", "RET", "SIM", "UP"} <= set(ruff["lint"].pop("select"))
    assert ruff["lint"].pop("per-file-ignores").keys() == {"mlnb/**"}
    assert ruff["lint"].pop("ignore") == ["RUF001", "RUF002", "RUF003"]
    assert ruff["lint"] == {
        "isort": {"split-on-trailing-comma": False},
        "mccabe": {"max-complexity": 10},
        "pylint": {"max-args": 7},
    }
    assert (ruff["line-length"], ruff["extend-exclude"]) == (110, [".mlnb", "reports"])
    assert ruff["format"] == {"exclude": ["mlnb/**"], "skip-magic-trailing-comma": True}
    assert ruff.keys() == {"line-length", "target-version", "extend-exclude", "format", "lint"}


def test_no_folder_has_rules_of_its_own():
    names = ("ruff.toml", ".ruff.toml", "pyproject.toml")
    nested = [path for folder in LINTED for name in names for path in (ROOT / folder).rglob(name)]
    assert nested + [ROOT / name for name in names[:2] if (ROOT / name).exists()] == []


@pytest.mark.parametrize(
    "asked", ["no" + "qa", "NO" + "QA", "fmt: " + "off", "fmt: " + "skip", "ruff: no" + "qa"]
)
def test_no_line_asks_to_be_exempt(asked):
    exempt = re.compile(rf"#\s*({re.escape(asked)})", re.IGNORECASE)
    found = [path for path in linted_files() if exempt.search(path.read_text(encoding="utf-8"))]
    assert found == []
