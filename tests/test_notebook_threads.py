"""Notebooks are read in several threads at a time, while Python collects garbage in between."""

import ast
import gc
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from mlnb.notebook.cells import expression_tree, parse_cell, syntax_tree

SOURCE = "\n".join(f"x{n} = f({n}, [a for a in b if a > {n}])" for n in range(60))


class Circle:
    "Something that only the collector removes, running Python meanwhile."

    def __init__(self):
        self.own = self

    def __del__(self):
        sum(range(50))


@pytest.fixture
def busy_collector():
    before, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.set_threshold(10, 2, 2)
    sys.setswitchinterval(1e-6)
    yield
    gc.set_threshold(*before)
    sys.setswitchinterval(interval)


def _list_of(lines):
    "The expressions of some lines, as one."
    calls = (line.partition(" = ")[2] for line in lines.splitlines())
    return expression_tree(f"[{', '.join(calls)}]")


@pytest.mark.parametrize("parse", [syntax_tree, parse_cell, _list_of])
def test_what_other_threads_parse_meanwhile_is_no_error(busy_collector, parse):
    def parsed(_):
        kept = [Circle() for _ in range(20)]
        return ast.dump(parse(SOURCE)), len(kept)

    with ThreadPoolExecutor(4) as threads:
        found = set(threads.map(parsed, range(40)))
    assert len(found) == 1
