"""Two runs side by side: everything that differs, and nothing that does not."""

import json
import shutil

import pytest
from msgspec import to_builtins
from msgspec.structs import replace

from mlnb.history.run_diff import CellDifference, Difference, code_cells, kept_cells
from mlnb.store.errors import IntegrityError
from mlnb.store.objects import open_store, put
from mlnb.store.records import find_record
from mlnb.store.settings import project_store, read_project

STAGES = {
    "10_train.ipynb": [
        ("md", "# Train"),
        ("parameters", "days: int = 35"),
        "from mlnb import metric, save\nfrom own import K",
        "x = days",
        "metric('auc', x * K / 100)",
        "save('model', x * K)",
    ],
    "20_note.ipynb": ["from mlnb import load, save", "save('note', 'always the same')"],
}


@pytest.fixture(scope="module")
def two(make_shared_project, mlnb):
    "Two runs; in between a parameter, a module, a cell and prose change."
    folder = make_shared_project(STAGES)
    (folder.root / "own.py").write_text("K = 1\n")
    first = mlnb("run", "demo", "--json", cwd=folder.root).json
    (folder.root / "own.py").write_text("K = 2\n")
    folder.stage(
        "nbs/10_train.ipynb",
        ("md", "# Train, reworded"),
        ("md", "more prose"),
        ("parameters", "days: int = 35"),
        "from mlnb import metric, save\nfrom own import K",
        "x = days + 1",
        "metric('auc', x * K / 100)  # a comment",
        "save('model', x * K)",
    )
    second = mlnb("run", "demo", "--json", "-p", "days", "40", cwd=folder.root).json
    return folder.root, first, second


def diff(root, a, b):
    from mlnb.history.run_diff import diff_of
    from mlnb.store.runs import read_run
    from mlnb.store.settings import find_project, project_store

    store = project_store(find_project(root))
    return diff_of(store, read_run(store, a["run"]), read_run(store, b["run"]))


def test_diff_names_parameters_metrics_digests_modules_and_cells(two):
    root, first, second = two
    found = diff(root, first, second)
    assert found.parameters == [Difference("days", 35, 40)]
    assert found.metrics == [Difference("train.auc", 0.35, 0.82)]
    assert [d.name for d in found.artifacts] == ["train.model"] and [d.name for d in found.modules] == ["own"]
    assert found.cells == [CellDifference("train: cell 5", "x = days", "x = days + 1", 4, 5)]
    assert found.packages == found.sources == found.environment == []
    plain = to_builtins(found)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["parameters"] == [{"name": "days", "a": 35, "b": 40}]
    assert plain["cells"][0].keys() == {"name", "a", "b", "cell_a", "cell_b"}


def test_diff_of_a_run_with_itself_is_empty(two):
    root, first, _ = two
    assert all(d == [] for d in to_builtins(diff(root, first, first)).values())


def test_diff_without_the_kept_notebook_still_answers(two, tmp_path):
    root, first, second = two
    shutil.copytree(root, tmp_path / "copy")
    records = [json.loads(p.read_text()) for p in (tmp_path / "copy/.mlnb/records/demo/train").glob("*.json")]
    for record in records:
        (tmp_path / "copy/.mlnb/objects" / record["source"][:2] / record["source"]).unlink(missing_ok=True)
    found = diff(tmp_path / "copy", first, second)
    assert found.cells == [] and [d.name for d in found.metrics] == ["train.auc"]


ODD_CELLS = {
    "syntax": "x = (",
    "escape": "\x1bx",
    "nul": "x = 1\0",
    "deep": "(" * 3_000 + ")" * 3_000,
    "deep sum": "x = " + "+".join(["1"] * 30_000),
    "surrogate": "x = '\ud800'",
    "digits": "x = " + "9" * 10_000,
    "deep magic": "%%time\n" * 2_000 + "x",
}


@pytest.mark.parametrize("cell", ODD_CELLS.values(), ids=ODD_CELLS.keys())
def test_kept_notebook_with_a_cell_that_is_no_python_is_damage(two, tmp_path, cell):
    root, first, _ = two
    store = open_store(tmp_path / "store")
    record = find_record(project_store(read_project(root)), "demo", "train", first["stages"][0]["key"])
    cells = [{"cell_type": "code", "metadata": {}, "source": cell, "outputs": [], "execution_count": None}]
    odd = json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    with pytest.raises(IntegrityError, match="is damaged: cell 1 is no Python") as error:
        kept_cells(store, replace(record, source=put(store, odd.encode())))
    assert error.value.message.isprintable()
    assert code_cells(store, replace(record, source=put(store, odd.encode()))) == []
