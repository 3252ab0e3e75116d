"""Graphs and notebooks that are wrong are named before a kernel starts, and values arrive exactly or not at
all, as often as the list of threats says."""

import json
import resource

import pytest
import test_kernel_injection as injection
from hypothesis import HealthCheck, example, given, settings

OURS = "from mlnb import load, save"


def saves(name, *inputs):
    "Cells of a stage that loads inputs and saves one value."
    return [OURS, *(f"load('{one}')" for one in inputs), f"save('{name}', 1)"]


GRAPHS = {  # fault -> notebooks, what is said
    "cycle": (
        {"10_a.ipynb": saves("a", "c"), "20_b.ipynb": saves("b", "a"), "30_c.ipynb": saves("c", "b")},
        "a → b → c → a",
    ),
    "self edge": ({"10_a.ipynb": saves("a", "a")}, "a → a"),
    "stage twice": ({"10_a.ipynb": saves("a"), "20_a.ipynb": saves("b")}, "both"),
    "two producers": ({"10_a.ipynb": saves("x"), "20_b.ipynb": saves("x")}, "`x`"),
    "missing input": ({"10_a.ipynb": saves("a", "lost")}, "`lost`, which no stage saves"),
}


@pytest.mark.parametrize("fault", GRAPHS)
def test_graph_that_cannot_be_run_is_named_without_a_kernel(make_project, asked, fault):
    cells, said = GRAPHS[fault]
    root = make_project(cells).root
    for arguments in (["check"], ["run", "demo"]):
        done = asked(*arguments, cwd=root)
        assert (done.code, said in done.stdout + done.stderr) == (2, True), done
    assert not (root / ".mlnb/runs").exists()


def broken(root, n):
    "Notebooks that are broken in five ways; gives their names."
    kinds = {
        "json": "{",
        "empty": "",
        "list": "[]",
        "older": '{"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": []}',
        "kernel": '{"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": {"name": "julia-1.9", '
        '"language": "julia", "display_name": "Julia"}}, "cells": []}',
    }
    made = []
    for number in range(n):
        kind, text = list(kinds.items())[number % len(kinds)]
        made.append(f"{number:03d}_{kind}{number}.ipynb")
        (root / "nbs" / made[-1]).write_text(text)
    return made


def test_fifty_broken_notebooks_are_all_named_with_a_mend_in_a_second(make_project, mlnb):
    root = make_project({}).root
    made = broken(root, 50)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = mlnb("check", "--json", cwd=root)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    problems = done.json["problems"]
    assert done.code == 2
    assert {name for name in made if any(name in json.dumps(p) for p in problems)} == set(made)
    assert all(p["mend"] for p in problems)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime <= 2  # 1 s on a machine of now
    assert not (root / ".mlnb/runs").exists()


@pytest.mark.slow
@settings(max_examples=5_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(injection.values)
@example("'); __import__('os').system('touch attacked') #")
@example("\n%%bash\ntouch attacked")
@example("{{ 7 * 7 }}")
@example({"a'b\"]": ["\\", "'''", '"""']})
def test_five_thousand_values_reach_the_cell_exactly_or_are_refused(value):
    injection.test_value_reaches_the_cell_exactly_or_is_refused.hypothesis.inner_test(value)
