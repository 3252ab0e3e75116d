"""A name with an alias may have a default, which stands for it until somebody moves the alias."""

import pytest

from mlnb.notebook.pipeline import read_pipeline
from mlnb.store.refs import move_ref
from mlnb.store.settings import find_project, project_store
from mlnb.store.versions import alias_ref

TRAIN = "from mlnb import save\nsave('model', 'one')"
JUDGE = """from mlnb import load, save
before = load('model@champion', default=None)
save('seen', str(before))"""


def test_default_stands_until_the_alias_is_moved(make_project, mlnb):
    project = make_project({"10_train.ipynb": [TRAIN], "20_judge.ipynb": [JUDGE]})

    def run():
        found = mlnb("run", "demo", "--json", cwd=project.root)
        seen = mlnb("get", "demo/seen", "--out", "seen.txt", cwd=project.root)
        assert (found.code, seen.code) == (0, 0), found.stderr
        return found.states, (project.root / "seen.txt").read_text()

    assert run() == ({"train": "committed", "judge": "committed"}, "None")
    assert run() == ({"train": "cached", "judge": "cached"}, "None")
    store = project_store(find_project(project.root))
    (digest,) = {one.digest for one in outputs(store) if one.type == "str" and one.bytes == 3}
    move_ref(store, alias_ref("demo/model", "champion"), digest, "the first")
    assert run() == ({"train": "cached", "judge": "committed"}, "one")
    assert run() == ({"train": "cached", "judge": "cached"}, "one")


def outputs(store):
    from mlnb.care.concerned import sound_records

    return [one for record in sound_records(store) for one in record.outputs.values()]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("load('model', default=None)", "only an alias may be absent"),
        ("load('model@42', default=None)", "only an alias may be absent"),
        ("load('model@latest', default=None)", "only an alias may be absent"),
        ("load('model@champion', default=max(1, 2))", "not written out"),
        ("x = 1\nload('model@champion', default=x)", "not written out"),
        ("load('model@champion', default=1)\nload('model@champion')", "with a `default` in one place"),
    ],
)
def test_default_that_nobody_can_plan_is_a_definition_error(make_project, line, said):
    project = make_project({"10_train.ipynb": [TRAIN], "20_judge.ipynb": [f"from mlnb import load\n{line}"]})
    errors = read_pipeline(find_project(project.root), "demo").errors()
    assert [(one.rule, said in one.message) for one in errors] == [("bad-default", True)]


@pytest.mark.parametrize(
    "line", ["load('model@champion', default=-1)", "load('model@origin/champion', default={})"]
)
def test_default_is_any_literal_also_for_an_alias_of_a_remote(make_project, line):
    project = make_project({"10_train.ipynb": [TRAIN], "20_judge.ipynb": [f"from mlnb import load\n{line}"]})
    assert read_pipeline(find_project(project.root), "demo").errors() == []
