"""Text of any length is read in a time that grows with it: a pattern that looks back never ends."""

import json

import pytest

from mlnb.kernel.values_by_hand import is_set_in
from mlnb.notebook.options import misplaced_options
from mlnb.notebook.stage import read_content
from mlnb.publish.page_cells import hides_code

LONG = {
    "empty lines": "\n" * 300_000,
    "blanks": " " * 300_000,
    "blank lines": " \n" * 150_000,
    "marks": "`" * 300_000,
    "half a tag": "<span" * 60_000,
    "half an option": "#|" + "a" * 300_000,
    "half a parameter": "days" + " " * 300_000,
}  # what makes a pattern look again and again takes minutes in each of these


@pytest.mark.parametrize("kind", LONG)
def test_no_cell_is_so_long_that_it_is_never_read(kind):
    text = LONG[kind] + "\nx = 1"
    assert misplaced_options(text) == []
    assert not is_set_in("days", text)
    assert not hides_code({"source": text})
    cell = {"cell_type": "code", "metadata": {}, "outputs": [], "source": text}
    notebook = json.dumps({"cells": [cell, cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    found = read_content(notebook.encode(), "nbs/10_a.ipynb")
    assert all("conflict" not in problem.rule for problem in found.problems)
