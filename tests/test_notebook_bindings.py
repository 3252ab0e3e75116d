"""What a name means where it is called: every way to bind one, and small modules read and then executed."""

import ast
import builtins
import importlib
import random
import re
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import mlnb
from mlnb.notebook import read_cache, stage
from mlnb.notebook.bindings import _WITH_LOAD, STAGE_NAMES, read_bindings
from mlnb.notebook.cells import parse_cell
from mlnb.notebook.edges import read_edges
from mlnb.notebook.stage import read_content


def edges_of(*cells):
    return read_edges([(n, parse_cell(c)) for n, c in enumerate(cells, 1)])


def rules(*cells):
    return [(p.rule, p.cell, p.level) for p in edges_of(*cells).problems]


# names that are not ours

BINDINGS = {
    "assignment": "{} = print",
    "one of several targets": "x = [y, *{}] = 1, 2",
    "annotated assignment": "{}: object = print",
    "augmented assignment": "{} += 1",
    "walrus": "({} := print)",
    "walrus in a comprehension": "[({} := y) for y in z]",
    "walrus in a condition": "if ({} := print): pass",
    "loop target": "for {} in z: pass",
    "loop target in a tuple": "for a, {} in z: pass",
    "with": "with z as {}: pass",
    "except": "try: z\nexcept Exception as {}: pass",
    "pattern": "match z:\n    case {}: pass",
    "pattern in a list": "match z:\n    case [{}]: pass",
    "rest of a list": "match z:\n    case [*{}]: pass",
    "rest of a mapping": "match z:\n    case {{**{}}}: pass",
    "as in a pattern": "match z:\n    case 1 as {}: pass",
    "import": "import numpy as {}",
    "import from": "from numpy import {}",
    "import from under this name": "from numpy import array as {}",
    "relative import": "from .own import {}",
    "def": "def {}(): pass",
    "async def": "async def {}(): pass",
    "class": "class {}: pass",
    "deletion": "del {}",
    "global in a function": "def f():\n    global {0}\n    {0} = print",
    "global in a class": "class A:\n    global {0}\n    {0} = print",
    "global import in a function": "def f():\n    global {0}\n    from numpy import {0}",
    "in a branch": "if z:\n    {} = print",
    "in a loop": "while z:\n    {} = print",
    "in a try": "try:\n    {} = print\nfinally:\n    pass",
    "import that may fail": "try:\n    from mlnb import {0}\nexcept ImportError:\n    {0} = None",
    "%time": "%time {} = print",
    "%%time": "%%time\n{} = print",
    "another verb of ours": "from mlnb import run_id as {}",
}
CALLS = {
    "bare": "{}('a', 1)",
    "in a function": "def g():\n    return {}('a', 1)",
    "in a comprehension": "[{}('a', 1) for _ in z]",
    "in a class": "class B:\n    x = {}('a', 1)",
    "in a lambda": "g = lambda: {}('a', 1)",
    "in %%time": "%%time\n{}('a', 1)",
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("binding", BINDINGS.values(), ids=BINDINGS)
def test_name_of_ours_bound_anew_and_called_is_an_error_that_names_both_cells(binding, call):
    for name in ("load", "keep"):
        imported = f"from mlnb import load as {name}"
        found = edges_of(imported, binding.format(name), call.format(name))
        assert [(p.rule, p.cell, p.level) for p in found.problems] == [("not-ours", 3, "error")]
        assert f"cell 2 {'deletes' if binding.startswith('del') else ''}" in found.problems[0].message
        assert edges_of(imported, binding.format("other"), call.format(name)).problems == []
        assert edges_of(binding.format(name), imported.replace("load as load", "load")).problems == []


@pytest.mark.parametrize("binding", [b for b in BINDINGS.values() if "import" not in b])
def test_name_bound_by_the_notebook_alone_and_called_is_an_error(binding):
    for name in STAGE_NAMES:
        assert rules(binding.format(name), f"{name}('a', 1)") == [("not-ours", 2, "error")]


@pytest.mark.parametrize("name", STAGE_NAMES)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_name_never_imported_and_called_is_an_error_whose_mend_works(call, name):
    source = call.format(name)
    [problem] = edges_of(source, source).problems
    assert (problem.rule, problem.cell) == ("not-imported", 1)
    [line] = re.findall("`(from .*)`", problem.mend)
    assert edges_of(f"{line}", source).problems == []


def test_alias_called_before_its_import_is_an_error_whose_mend_works():
    [problem] = edges_of("keep('a', 1)", "from mlnb import save as keep").problems
    assert problem.mend == "write `from mlnb import save as keep` above the call"
    assert edges_of("from mlnb import save as keep", "keep('a', 1)").saves == {"a": 2}


def test_mends_of_names_that_changed_hands_work_to_the_letter():
    [problem] = edges_of("from mlnb import load", "from joblib import load", "load('old.joblib')").problems
    assert problem.mend == "import it `as joblib_load` in cell 2, and call that where it is meant"
    mended = ["from mlnb import load", "from joblib import load as joblib_load", "joblib_load('old.joblib')"]
    assert edges_of(*mended, "load('a')").problems == []
    [problem] = edges_of("from mlnb import load", "for load in x: pass", "load('a')").problems
    assert problem.mend == "use another name than `load` in cell 2"
    assert edges_of("from mlnb import load", "for one in x: pass", "load('a')").loads == {"a": 3}


@pytest.mark.parametrize(
    "cells",
    [
        ["from joblib import load", "load('old.joblib')"],
        ["from joblib import load\ndef f(): return load('old.joblib')", "f()"],
        ["def f():\n    from joblib import load\n    return load('old.joblib')"],
        ["if x:\n    from joblib import load\nelse:\n    from dill import load", "load('old.joblib')"],
        ["from .own import save", "save('a.npy', 1)"],
        ["from mlnb import load as get\nfrom joblib import load", "get('a'), load('old.joblib')"],
        ["import pickle", "pickle.load(f)", "import json\njson.load(f)"],
        ["class A:\n    def load(self, x): ...\n    def f(self): return self.load('a')"],
        ["from mlnb import load, save", "class A:\n    def load(self): return load('a')", "save('x', 1)"],
        ["load = 3", "print(load)"],
        ["from mlnb import load", "x = load('a')", "load = None"],
    ],
)
def test_calls_of_others_that_nobody_can_mistake_are_no_error(cells):
    assert edges_of(*cells).problems == []


# Python's scopes


@pytest.mark.parametrize(
    ("source", "loads"),
    [
        ("def f(x=load('a')):\n    load = 1", ["a"]),
        ("def load(x=load('a')): pass", ["a"]),
        ("@load('a')\ndef load(): pass", ["a"]),
        ("def load(x: load('a')) -> load('b'): pass", ["a", "b"]),
        ("class load(load('a')): pass", ["a"]),
        ("f = lambda load=load('a'): load", ["a"]),
        ("load = lambda x=load('a'): x", ["a"]),
        ("[load for load in load('a')]", ["a"]),
        ("{load: 1 for load in load('a')}", ["a"]),
        ("list(load for load in load('a'))", ["a"]),
        ("[y for x in z for y in load('a') if load('b')]", ["a", "b"]),
        ("[[load for load in x] for x in load('a')]; load('b')", ["a", "b"]),
        ("def f(load): pass\nload('a')", ["a"]),
        ("def f():\n    load = 1\nload('a')", ["a"]),
        ("class A:\n    load = 1\n    def f(self): return load('a')", ["a"]),
        ("class A:\n    load = 1\n    x = [load('a') for _ in y]", ["a"]),
        ("class A:\n    class load: pass\n    class B:\n        x = load('a')", ["a"]),
        ("load: object = load('a')", ["a"]),
        ("load, x = load('a'), load('b')", ["a", "b"]),
        ("x = load('a')\ndel load", ["a"]),
        ("%time load = load('a')", ["a"]),
        ("%%time\nx = load('a')\nload = 1", ["a"]),
        ("def f():\n    def g():\n        return load('a')\n    return g", ["a"]),
        ("def f():\n    global load\n    return load('a')", ["a"]),
        (
            "def f():\n    from mlnb import load\n    def g():\n        nonlocal load\n        load('a')",
            ["a"],
        ),
        ("def f(load):\n    def g():\n        global load\n        return load('a')", ["a"]),
        ("global load\nload('a')", ["a"]),
        ("for _ in x:\n    from mlnb import load\n    load('a')", ["a"]),
        ("with x:\n    from mlnb import load\nload('a')", ["a"]),
        ("try:\n    from mlnb import load\nexcept ImportError:\n    raise\nload('a')", ["a"]),
    ],
)
def test_calls_that_python_gives_to_ours_are_edges(source, loads):
    found = edges_of("from mlnb import load", source)
    assert (list(found.loads), found.problems) == (loads, [])


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n    load('a')\n    load = 1",
        "def f():\n    if x:\n        load = 1\n    load('a')",
        "def f():\n    load = 1\n    def g(): return load('a')",
        "def f():\n    load = load_\n    def g():\n        nonlocal load\n        load = 1\n    load('a')",
        "def f():\n    return load('a')\nload = 1",
        "for _ in x:\n    load('a')\n    load = 1",
        "[load('a') for load in x]",
        "[load('a') for x in y if (load := x)]",
        "{load('a'): (load := 1)}",
        "class A:\n    load = 1\n    x = load('a')",
        "f(load := 1, load('a'))",
        "load, x[load('a')] = 1, 2",
        "def load(): return load('a')",
    ],
)
def test_calls_that_python_may_give_to_another_are_errors(source):
    found = edges_of("from mlnb import load", source)
    assert ([p.rule for p in found.problems], found.loads) == (["not-ours"], {})


def test_name_made_local_without_a_value_must_be_imported_there():
    assert rules("from mlnb import load", "def f():\n    load: object\n    load('a')") == [
        ("not-imported", 2, "error")
    ]


def test_helper_before_the_import_is_ours_and_before_another_binding_is_an_error():
    helper = "def f(): return load('a')"
    assert edges_of(helper, "from mlnb import load", "f()").loads == {"a": 1}
    assert rules(helper, "from mlnb import load", "f()", "load = 1") == [("not-ours", 1, "error")]
    assert rules("x = load('a')", "from mlnb import load") == [("not-imported", 1, "error")]


@pytest.mark.parametrize(
    ("cells", "saves"),
    [
        (["from mlnb import save as keep", "keep('a', 1)"], {"a": 2}),
        (["import mlnb as m", "m.save('a', 1)"], {"a": 2}),
        (["import mlnb.flow.session", "mlnb.flow.session.save('a', 1); mlnb.save('b', 1)"], {"a": 2, "b": 2}),
        (["import mlnb.flow.session as s", "s.save('a', 1)"], {"a": 2}),
        (["from mlnb.flow import session", "session.save('a', 1)"], {"a": 2}),
        (["from mlnb import flow as f", "f.session.save('a', 1)"], {"a": 2}),
        (["from mlnb.flow.session import *", "save('a', 1)"], {"a": 2}),
        (["import mlnb.store.objects as m", "m.save('a', 1)"], {}),
    ],
)
def test_aliases_are_followed(cells, saves):
    found = edges_of(*cells)
    assert (found.saves, found.problems) == (saves, [])


STARS = [
    "from numpy import *",
    "%pylab inline",
    "if z:\n    from .own import *",
    "try:\n    from helpers import *\nfinally: pass",
]


@pytest.mark.parametrize("star", STARS)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_star_import_after_ours_is_an_error_whose_mend_works(call, star):
    for name, verb in (("save", "save"), ("require", "require"), ("keep", "save")):
        imported = f"from mlnb import {verb}" + (f" as {name}" if name != verb else "")
        [problem] = edges_of(imported, star, call.format(name)).problems
        assert (problem.rule, problem.cell) == ("not-ours", 3)
        assert re.fullmatch(rf"`{name}` may be that of `[^`]+` in cell 2", problem.message)
        [line] = re.findall("`(from mlnb .*?)`", problem.mend)
        assert edges_of(imported, star, line, call.format(name)).problems == []
        assert edges_of(star, imported, call.format(name)).problems == []


@pytest.mark.parametrize("star", STARS)
def test_star_import_below_a_helper_is_moved_above_it(star):
    ours, helper = "from mlnb import save", "def f(): save('a', 1)"
    for cells in ((ours, helper, star), (helper, star, ours)):
        [problem] = edges_of(*cells).problems
        assert problem.mend == "move it above the function, with `from mlnb import save` below it"
    assert edges_of(star, ours, helper, "f()").saves == {"a": 3}


@pytest.mark.parametrize(
    ("star", "called", "is_refused"),
    [
        ("from math import *", "save", False),
        ("from os.path import *", "load", False),
        ("from pickle import *", "load", True),
        ("from pickle import *", "save", False),
        ("from mlnb.data.windows import *", "save", False),
        ("from mlnb.flow.session import *", "save", False),
        ("%pylab --no-import-all", "save", False),
        ("%matplotlib inline", "save", False),
        ("from mathematics import *", "save", True),
    ],
)
def test_star_import_of_what_is_known_hides_nothing(star, called, is_refused):
    found = rules(f"from mlnb import {called}", star, f"{called}('a', 1)")
    assert found == [("not-ours", 3, "error")] * is_refused


def test_standard_modules_that_have_a_load_are_those_that_are_known():
    for module in sorted(_WITH_LOAD):
        assert "load" in vars(importlib.import_module(module))


def test_name_that_only_a_star_import_may_give_is_not_imported_from_mlnb():
    [problem] = edges_of("from numpy import *", "save('f.npy', 1)").problems
    assert (problem.rule, problem.cell, problem.level) == ("not-imported", 2, "error")
    assert (
        problem.message
        == "`save` is not imported from mlnb; it may be that of `from numpy import *` in cell 1"
    )
    assert edges_of("from numpy import *\nfrom mlnb import save", "save('f', 1)").problems == []
    assert edges_of("import numpy", "numpy.save('f.npy', 1)").problems == []


@pytest.mark.parametrize("name", STAGE_NAMES)
def test_call_of_another_s_function_that_is_written_like_ours_is_a_warning_whose_mends_work(name):
    cells = f"from other import {name}", f"{name}('num', [1])\n{name}('num', [1])"
    [problem] = edges_of(*cells).problems
    assert (problem.rule, problem.cell, problem.level) == ("foreign-call", 2, "warning")
    assert problem.message == f'`{name}("num", …)` calls other\'s `{name}`: the pipeline gets nothing'
    [line] = re.findall("`(from .*?)`", problem.mend)
    assert edges_of(line, cells[1]).problems == []
    assert edges_of(f"from other import {name} as theirs", "theirs('num', [1])").problems == []
    for given in ("'num.npy', [1]", "path", "", "1", "'My Name'"):
        assert edges_of(cells[0], f"{name}({given})").problems == []


def test_mends_of_a_deletion_and_of_an_import_that_may_fail():
    call = "save('a', 1)"
    [problem] = edges_of("from mlnb import save", "del save", call).problems
    assert problem.mend == "do not delete `save` in cell 2"
    for other in ("save = None", "def save(*a): pass", "class save: pass"):
        [problem] = edges_of(
            f"try:\n    from mlnb import save\nexcept ImportError:\n    {other}", call
        ).problems
        assert problem.mend == "import it without `try`, `from mlnb import save`, in cell 1"
    [problem] = edges_of(
        "from mlnb import save\ntry: import x\nexcept ImportError: save = None", call
    ).problems
    assert problem.mend == "use another name than `save` in cell 1"


# of a notebook


def content_of(*cells):
    made = [
        {"cell_type": "code", "source": text, "id": f"c{n}", "metadata": {"tags": tags}}
        for n, (text, *tags) in enumerate(cells)
    ]
    import json

    spec = {"name": "python3", "language": "python"}
    return json.dumps({"nbformat": 4, "metadata": {"kernelspec": spec}, "cells": made}).encode()


def problems_of(*cells):
    return [(p.rule, p.cell, p.file) for p in read_content(content_of(*cells), "10_a.ipynb").problems]


def test_parameter_that_hides_a_verb_is_an_error_where_the_verb_is_called():
    cells = ["from mlnb import load"], ["load: int = 3", "parameters"], ["load('a')"]
    assert problems_of(*cells) == [("not-ours", 3, "10_a.ipynb")]
    assert problems_of(cells[1], cells[0], cells[2]) == []


def test_cell_that_is_no_python_may_hold_the_import():
    assert problems_of(["from mlnb import load; x = = 1"], ["load('a')"]) == [("syntax", 1, "10_a.ipynb")]
    assert problems_of(["from mlnb import load", "skip-execution"], ["load('a')"]) == [
        ("not-imported", 2, "10_a.ipynb")
    ]


def test_everything_that_reads_a_notebook_counts_for_what_is_remembered():
    counted, waiting = {module.__name__ for module in read_cache.PARTS}, [stage.__name__]
    seen = set()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        tree = ast.parse(Path(importlib.import_module(name).__file__).read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level:
                package = name.split(".")[: -node.level]
                found = ".".join([*package, node.module])
                waiting += [found] if found not in seen else []
    undecisive = {f"mlnb.store.{name}" for name in ("settings", "url", "user_lines")}  # how errors look
    undecisive |= {f"mlnb.store.{name}" for name in ("crash_points", "disk", "hosts")}  # how files are opened
    assert seen <= counted | undecisive and "mlnb.notebook.bindings" in seen


@pytest.mark.parametrize("nested", ["x = {}", "def f():\n    return {}", "class A:\n    x = [{} for _ in y]"])
def test_cell_nested_too_deeply_is_a_problem_and_the_next_is_read(nested):
    deep = nested.format("x" + ".f()" * 450), nested.format("lambda: " * 400 + "0")
    for text in deep:
        assert problems_of(["from mlnb import save"], [text], ["save('a', 1)"]) == [
            ("syntax", 2, "10_a.ipynb")
        ]


# read and executed

NAMES = ("load", "save", "keep", "m")


class Enough(BaseException):
    "A module that would run for long."


class Anything:
    "A value that can be called, entered, iterated and calculated with; calls are written down."

    def __init__(self, record):
        self.record = record

    def __call__(self, *given, **named):
        self.record("another", given)
        return self

    def __getattr__(self, name):
        return self

    def __iter__(self):
        return iter([self, self])

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return False

    def __add__(self, other):
        return self

    def __setitem__(self, key, value):
        pass

    def __mro_entries__(self, bases):
        return (object,)


class Writer:
    "Writes a small module at random: binds and calls a few names in all ways that Python has."

    def __init__(self, seed):
        self.random, self.n_calls, self.called = random.Random(seed), 0, {}
        self.unused, self.calm = ["y", "z", "q", "r"], self.one_of(0, 1, 3)
        self.is_small = self.one_of(True, True, False)

    def one_of(self, *choices):
        return self.random.choice(choices)

    def name(self):
        "A name to be bound; most of them are called nowhere."
        return self.one_of(*NAMES, *self.unused * self.calm)

    def call(self):
        "A call with an argument of its own."
        self.n_calls += 1
        shown = self.one_of(
            "load", "save", "load", "save", "keep", "m.load", "mlnb.save", "m.flow.session.load"
        )
        self.called[f"a{self.n_calls}"] = shown
        return f'{shown}("a{self.n_calls}")'

    def expression(self, depth=2):
        if self.is_small:
            depth = min(depth, self.one_of(0, 0, 1))
        if depth == 0:
            return self.one_of("mine", self.call(), self.call())
        inner, name = self.expression(depth - 1), self.name()
        return self.one_of(
            inner,
            self.call(),
            f"mine({inner}, {self.call()})",
            f"({name} := {inner})",
            f"[{self.call()} for {name} in {inner}]",
            f"[{inner} for y in {self.call()} if {self.expression(0)}]",
            f"list({self.call()} for {name} in {inner})",
            f"(lambda {name}={inner}: {self.call()})",
            f"(lambda: {inner})()",
            f"{{{self.call()}: ({name} := mine), 1: {inner}}}",
            f"({inner} if {self.call()} else {self.call()})",
            f"mine[{inner}]" if depth > 5 else f"mine.x({inner})",
        )

    def simple(self):
        name, value = self.name(), self.expression(self.one_of(0, 0, 1, 2))
        return self.one_of(
            f"from mlnb import {self.one_of('load', 'save')}",
            f"from mlnb import {self.one_of('load', 'save')}",
            f"from mlnb import load as {name}",
            f"from mlnb.flow.session import save as {name}",
            f"import mlnb as {name}",
            "import mlnb",
            f"from other import load as {name}",
            f"from other import {self.one_of('load', 'save', '*')}",
            f"{name} = {value}",
            f"{name}, x = {value}, {self.call()}",
            f"{name}, mine[{self.call()}] = {value}, mine",
            f"{name}: {self.expression(0)} = {value}",
            f"{name}: {self.call()}",
            f"{name} += {value}",
            f"del {name}",
            value,
            self.call(),
            self.call(),
            *["f()", "f()", "g()"] * 2,
        )

    def block(self, depth):
        lines = [line for _ in range(self.one_of(1, 1, 2, 3)) for line in self.statement(depth)]
        return ["    " + line for line in lines]

    def declared(self, depth):
        lines, kind, name = self.block(depth), self.one_of("", "", "global", "nonlocal"), self.name()
        if kind:
            lines = [f"    {kind} {name}", *self.one_of([], [f"    {name} = mine"]), *lines]
        return ["    tick()", *lines, *self.one_of([], [f"    {self.call()}"])]

    def statement(self, depth):
        if depth == 0:
            return [self.simple()]
        name, value, inner = self.name(), self.expression(self.one_of(0, 0, 1)), lambda: self.block(depth - 1)
        return self.one_of(
            lambda: [self.simple()],
            lambda: [self.simple()],
            lambda: [f"if {value}:", *inner(), "else:", *inner()],
            lambda: [f"for {self.one_of(name, 'y')} in {value}:", *inner()],
            lambda: [f"with mine as {name}:", *inner()],
            lambda: ["try:", *inner(), f"except Exception as {name}:", *inner(), "finally:", *inner()],
            lambda: ["try:", *inner(), "    1 / 0", "except Exception:", *inner()],
            lambda: [f"match {value}:", f"    case {name}:", *("    " + line for line in inner())],
            lambda: [f"class {self.one_of('load', 'save', 'A')}:", *self.declared(depth - 1)],
            lambda: [f"class A({value}):", *self.declared(depth - 1)],
            *[lambda: self.function(depth)] * 5,
        )()

    def function(self, depth):
        head = self.one_of(
            "", "", "", "", self.name(), f"{self.name()}=mine", f"y={self.call()}", f"*{self.name()}"
        )
        name = self.one_of("f", "f", "g", self.name())
        decorator = [f"@{self.call()}"] if self.one_of(0, 0, 0, 1) else []
        return [*decorator, f"def {name}({head}):", *self.declared(depth - 1)]

    def cells(self):
        "Source of a few cells; a cell is not written when Python does not take it."
        first = "from mlnb import load, save\nimport mlnb, mlnb as m\nfrom mlnb import save as keep"
        cells = self.one_of(
            [],
            [first],
            [first],
            [self.one_of(first, "from other import load")],
            ["\n".join(self.one_of(first.split("\n"), [first]))],
        )
        for _ in range(self.one_of(1, 2, 3, 4)):
            depth = 1 if self.is_small else 2
            source = "\n".join(line for _ in range(self.one_of(1, 2, 3)) for line in self.statement(depth))
            with suppress(SyntaxError):
                compile(source, "cell", "exec")
                cells.append(source)
        return cells


def executed(cells):
    "Which verbs of ours and which other callables the cells call, as (what, first argument)."
    calls, ticks = [], iter(range(60))

    def record(what, given):
        if given and isinstance(given[0], str):
            calls.append((what, given[0]))

    mine = Anything(record)

    def verb(what):
        def called(*given):
            record(what, given)
            return mine

        return called

    def tick():
        if next(ticks, None) is None:
            raise Enough

    ours, other = {name: verb(name) for name in STAGE_NAMES}, {name: verb("another") for name in STAGE_NAMES}
    session = SimpleNamespace(**ours)
    modules = {"mlnb": ModuleType("mlnb"), "mlnb.flow.session": session, "other": SimpleNamespace(**other)}
    vars(modules["mlnb"]).update(ours, flow=SimpleNamespace(session=session))
    known = vars(builtins) | {"__import__": lambda name, *_: modules[name]}
    space = {"__builtins__": known, "__name__": "cells", "mine": mine, "tick": tick}
    with suppress(Exception, Enough):
        for source in cells:
            exec(compile(source, "cell", "exec"), space)
    return calls


def check_module(seed):
    "Read a module and execute it; says whether it was found sound, and how many calls of ours it made."
    writer = Writer(seed)
    cells = writer.cells()
    trees = [(n, ast.parse(source)) for n, source in enumerate(cells, 1)]
    edges = read_edges(trees)
    if edges.problems:
        return None
    source = "\n# next cell\n".join(cells)
    calls, named, ours = (
        executed(cells),
        {"load": edges.loads, "save": edges.saves},
        read_bindings(trees).ours,
    )
    for what, argument in calls:
        name = writer.called[argument]
        if what != "another":
            assert argument in named[what], (seed, what, argument, source)
        elif name in STAGE_NAMES or name in ours:
            is_imported = re.search(rf"from other import ({name}|\w+ as {name})$", source, re.MULTILINE)
            assert is_imported and name not in ours, (seed, argument, source)
    return Counter(what for what, _ in calls)


def check_modules(seeds):
    found = [check_module(seed) for seed in seeds]
    sound = [calls for calls in found if calls is not None]
    return len(found), len(sound), sum((calls for calls in sound), Counter())


def test_modules_read_as_sound_call_when_executed_only_what_was_read():
    n, n_sound, calls = check_modules(range(300))
    assert n_sound > n / 10 and calls["load"] > 10 and calls["save"] > 10, (n_sound, calls)


@pytest.mark.slow
def test_many_modules_read_as_sound_call_when_executed_only_what_was_read():
    n, n_sound, calls = check_modules(range(1000, 41_000))
    assert n_sound > n / 10 and min(calls["load"], calls["save"], 20 * calls["another"]) > 500


def test_names_that_are_followed_are_given_by_the_package():
    assert set(STAGE_NAMES) <= set(mlnb.__all__)
