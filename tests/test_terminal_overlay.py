"""What was saved by hand is listed, named by `status`, dropped by name; a failed notebook can be opened."""

import getpass
import json
import re
import subprocess
import threading

import pytest

from mlnb.store.artifacts import put_value
from mlnb.store.descriptions import Artifact
from mlnb.store.objects import open_store, path_of
from mlnb.store.opened import OPENED_FOLDER, is_opened
from mlnb.store.pins import forget_pins
from mlnb.store.settings import project_store, read_project

TWO = "[mlnb]\n[pipeline.demo]\nnotebooks = nbs\n[pipeline.other]\nnotebooks = more\n"
STAGES = {
    "10_a.ipynb": ["from mlnb import save", "save('a', 1)"],
    "more/10_b.ipynb": ["from mlnb import save", "save('a', 2)"],
}


@pytest.fixture
def two(make_project):
    "A project of two pipelines, both with `a` in the overlay."
    project = make_project(STAGES, TWO)
    for pipeline in ("demo", "other"):
        path = project.root / ".mlnb" / "overlay" / getpass.getuser() / "values" / pipeline / "a.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(Artifact("json", "0" * 64, 7, "int").as_dict()))
    return project


def names_left(asked, project):
    found = asked("overlay", "--json", cwd=project.root).json["overlay"]
    return [f"{one['pipeline']}/{one['name']}" for one in found]


def test_overlay_is_listed_with_and_without_its_word_and_dropped_by_its_long_name(two, asked):
    assert asked("overlay", cwd=two.root).stdout == asked("overlay", "list", cwd=two.root).stdout
    assert "demo/a   int   7" in asked("overlay", cwd=two.root).stdout
    done = asked("overlay", "drop", "other/a", cwd=two.root)
    assert (done.code, done.stdout) == (0, "dropped other/a; 1 name left\n")
    assert names_left(asked, two) == ["demo/a"]
    assert "mlnb overlay drop first/sales" in asked("overlay", "--help", cwd=two.root).stdout


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["drop", "a"], "write `demo/a` or `other/a`"),
        (["drop", "demo/aa"], "did you mean `demo/a`?"),
        (["drop", "dmeo/a"], "did you mean `demo/a`?"),
        (["drop", "demo/a", "zzz"], "nothing is saved by hand under `zzz`"),
        (["drop"], "takes names or `--all`"),
        (["drop", "a", "--all"], "leave one of them out"),
        (["list", "a"], "`mlnb overlay drop` does"),
        (["--all"], "`mlnb overlay drop` does"),
        (["dorp"], "did you mean `drop`?"),
    ],
)
def test_overlay_asked_for_what_is_not_there_ends_with_2_and_drops_nothing(two, asked, arguments, said):
    done = asked("overlay", *arguments, cwd=two.root)
    assert (done.code, said in done.stderr, len(names_left(asked, two))) == (2, True, 2)
    done = asked("overlay", *arguments, "--json", cwd=two.root)
    assert (done.code, done.json["problems"] != []) == (2, True)


def test_overlay_drop_as_the_mend_of_an_unclear_name_writes_it_drops_it(two, asked):
    (problem,) = asked("overlay", "drop", "a", "--json", cwd=two.root).json["problems"]
    first, second = re.findall("`(.+?)`", problem["mend"])
    assert asked("overlay", "drop", first, cwd=two.root).code == 0
    assert names_left(asked, two) == [second]


def test_overlay_drop_in_the_folder_of_a_pipeline_means_its_name_and_all_means_all(two, asked):
    assert asked("overlay", "drop", "a", cwd=two.root / "more").stdout.startswith("dropped other/a")
    assert asked("overlay", "drop", "--all", "--json", cwd=two.root).json["overlay"] == []
    assert asked("overlay", cwd=two.root).stdout == "nothing is saved by hand\n"
    assert asked("overlay", "drop", "a", cwd=two.root).code == 2


def test_gc_frees_what_was_dropped_and_nothing_that_is_left(two, asked):
    root = two.root / ".mlnb" / "overlay" / getpass.getuser()
    overlay = open_store(root, below=project_store(read_project(two.root)))
    kept = {name: put_value(overlay, f"{name} by hand") for name in ("a", "b", "same")}
    for name, artifact in (kept | {"twin": kept["same"]}).items():
        (root / "values" / "demo" / f"{name}.json").write_text(json.dumps(artifact.as_dict()))
    forget_pins()
    done = asked("overlay", "drop", "demo/a", "demo/twin", cwd=two.root)
    assert "the next one frees the space" in done.stderr
    there = {name: path_of(overlay, one.digest) for name, one in kept.items()}
    assert all(path.exists() for path in there.values())
    would = asked("gc", "-n", "--json", cwd=two.root).json
    first, second = (asked("gc", "--json", cwd=two.root).json for _ in range(2))
    went = (would["moved"]["objects"], first["moved"]["objects"], second["deleted"]["objects"])
    assert went == (1, 1, 1) and second["deleted"]["bytes"] == kept["a"].bytes
    assert {name: path.exists() for name, path in there.items()} == {"a": False, "b": True, "same": True}
    assert not list(root.rglob(f"*{kept['a'].digest}*"))


def test_overlay_in_a_new_project_is_empty_and_makes_no_store(make_project, asked):
    project = make_project(STAGES, TWO)
    assert asked("overlay", cwd=project.root).code == 0
    assert not (project.root / ".mlnb").exists()


def test_status_names_what_is_saved_by_hand_and_has_no_column_where_nothing_is(two, asked):
    stages = asked("status", "--json", cwd=two.root).json["stages"]
    assert [(one["name"], one["by_hand"]) for one in stages] == [("a", ["a"]), ("b", ["a"])]
    assert "by hand" in asked("status", cwd=two.root).stdout
    asked("overlay", "drop", "--all", cwd=two.root)
    assert "by hand" not in asked("status", cwd=two.root).stdout
    assert asked("status", "--json", cwd=two.root).json["stages"][0]["by_hand"] == []


def test_status_names_what_is_saved_by_hand_of_a_broken_stage_and_of_a_damaged_file(two, asked):
    two.stage("nbs/10_a.ipynb", "from mlnb import save", "save('a', 1)", "x = (")
    (two.root / ".mlnb" / "overlay" / getpass.getuser() / "values" / "other" / "a.json").write_text("{")
    stages = asked("status", "--json", cwd=two.root).json["stages"]
    assert [(one["name"], one["by_hand"]) for one in stages] == [("a", ["a"]), ("b", ["a"])]
    assert asked("overlay", "drop", "other/a", cwd=two.root).code == 0


FAILS = {
    "10_a.ipynb": ["from mlnb import require", "require(False, 'no')"],
    "20_b.ipynb": [("parameters", "#| each: fold in 0..1\nfold: int = 0"), "1 / fold"],
}


def test_failed_stages_are_opened_below_the_project_and_git_does_not_see_it(make_project, mlnb):
    project = make_project(FAILS)
    subprocess.run(["git", "init", "-q"], cwd=project.root, check=True)
    done = mlnb("run", "demo", "--keep-going", "--json", cwd=project.root)
    assert done.code != 0
    opened = [one["opened"] for one in done.json["stages"]]
    assert opened == [
        f"{project.root}/opened/demo/a.ipynb",
        f"{project.root}/opened/demo/b.fold-0.ipynb",
        None,
    ]
    assert "executed notebook: opened/demo/a.ipynb" in done.stderr
    assert json.loads((project.root / opened[0]).read_text())["metadata"]["mlnb"]["state"] == "failed"
    status = subprocess.run(["git", "status", "--short"], cwd=project.root, capture_output=True, text=True)
    assert "opened" not in status.stdout
    (project.root / "opened" / "demo" / "30_c.ipynb").write_text("{}")
    assert mlnb("check", "--json", cwd=project.root).json["problems"] == []
    assert mlnb("status", "--json", cwd=project.root).states.keys() == {"a", "b"}


@pytest.mark.slow
def test_copy_of_a_failed_notebook_is_no_observation_and_makes_nothing_stale(make_project, mlnb):
    reads = "import pathlib\n[p.read_bytes() for p in pathlib.Path('..').rglob('*.ipynb')]"
    stages = {"10_a.ipynb": ["from mlnb import save", reads, "save('a', 1)"]}
    project = make_project(stages | {"20_b.ipynb": ["from mlnb import load", "load('a') / 0"]})
    for _ in range(2):
        done = mlnb("run", "demo", "--json", cwd=project.root)
        assert done.stage("b")["state"] == "failed"
    assert done.stage("a")["state"] == "cached"
    (record,) = (project.root / ".mlnb" / "records").rglob("*.json")
    seen = json.loads(record.read_text())["parts"]["observed"]
    assert "nbs/20_b.ipynb" in seen["files"] and OPENED_FOLDER not in json.dumps(seen)


@pytest.mark.slow
def test_two_runs_at_once_leave_one_whole_copy_and_a_folder_of_somebody_else_is_left_alone(
    make_project, mlnb
):
    project = make_project({"10_a.ipynb": ["1 / 0"], "more/10_b.ipynb": ["1 / 0"]}, TWO)
    done = {}
    runs = [
        threading.Thread(target=lambda p=p: done.update({p: mlnb("run", p, "--json", cwd=project.root)}))
        for p in ("demo", "other")
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [
        json.loads((project.root / one.json["stages"][0]["opened"]).read_text())["nbformat"]
        for one in done.values()
    ] == [4, 4]
    (project.root / OPENED_FOLDER / ".gitignore").write_text("mine\n")
    again = mlnb("run", "demo", cwd=project.root)
    assert "executed notebook: .mlnb/runs/" in again.stderr + again.stdout
    assert not is_opened(project.root / OPENED_FOLDER)


def test_first_project_names_the_kernel_that_init_installs_and_ignores_what_editors_leave(tmp_path, asked):
    made = asked("init", "shop", "--json", cwd=tmp_path)
    assert (made.code, made.json["kernelspec"].endswith("share/jupyter/kernels/mlnb")) == (0, True)
    ignored = (tmp_path / "shop" / ".gitignore").read_text().splitlines()
    assert {".ipynb_checkpoints/", "opened/", ".mlnb/"} <= set(ignored)
    for path in (tmp_path / "shop" / "nbs" / "first").iterdir():
        assert json.loads(path.read_text())["metadata"]["kernelspec"]["name"] == "mlnb"
    assert read_project(tmp_path / "shop").pipelines.keys() == {"first"}
