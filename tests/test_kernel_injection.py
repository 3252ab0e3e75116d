"""What papermill writes into a notebook is what was given, type-exact, or it is refused before a kernel
starts."""

import ast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_notebook
from papermill.parameterize import parameterize_notebook

from mlnb.kernel.given_parameters import check_injected, is_same
from mlnb.store.errors import UsageError

plain = st.one_of(
    st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(), st.none()
)
values = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def parameterised(value):
    cells = [new_code_cell("x = None", metadata={"tags": ["parameters"]})]
    metadata = {"kernelspec": {"name": "python3", "language": "python", "display_name": "p"}, "papermill": {}}
    return parameterize_notebook(new_notebook(cells=cells, metadata=metadata), {"x": value})


@given(values)
@example("it's \"q\" \\ {n} \n \u2028 \0 \x1f 日本 🎉 '''")
@example(-0.0)
@example(1e308)
@example(10**400)
@example("\ud800")
def test_value_reaches_the_cell_exactly_or_is_refused(value):
    notebook = parameterised(value)
    cell = next(c for c in notebook.cells if "injected-parameters" in c.metadata.get("tags", []))
    try:
        check_injected(notebook)
    except UsageError:
        return
    assert is_same(ast.literal_eval(ast.parse(cell.source).body[0].value), value)


def test_ordinary_values_are_not_refused():
    for value in (1, -1, 0.1, 1e-300, True, None, "a b", "ü\n\t'\"", [1, 2.0, "x"], {"a": [True, None]}):
        check_injected(parameterised(value))


@pytest.mark.parametrize(
    ("a", "b"), [(1, 1.0), (1, True), (0.0, -0.0), ([1], [1.0]), ({"a": 1}, {"a": True})]
)
def test_same_means_same_type_at_every_depth(a, b):
    assert is_same(a, a) and not is_same(a, b)
