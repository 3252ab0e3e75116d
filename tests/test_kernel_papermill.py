"""The other two lives of a stage: papermill with and without mlnb's engine, and a kernel as JupyterLab starts
it."""

import shutil

import pytest
from stage_lives import OVERLAY, printed, truth

OURS = "from mlnb import load, metric, require, save"
CELL = 'days: int = 7  # 1..60\ndepth: int | None = 5\nkind: Literal["a", "b"] = "a"\nshare: float = 0.5'
STAGES = {
    "10_a.ipynb": [
        ("parameters", "from typing import Literal\n" + CELL),
        OURS + "\nimport os",
        "print('got', days, depth, kind, share, os.path.basename(os.getcwd()))",
        "save('x', days)",
    ],
    "20_b.ipynb": [
        OURS,
        "x = load('x')\nprint('x is', x)",
        "metric('m', 0.5)\nrequire(x > 0, 'x must be positive')\nsave('y', x + 1)",
    ],
}


@pytest.fixture(scope="module")
def project(make_shared_project, mlnb):
    "A pipeline of two stages that was run once."
    made = make_shared_project(STAGES)
    assert mlnb("run", "demo", cwd=made.root).code == 0
    return made


# mlnb's engine


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"dayz": 1}, "did you mean `days`"),
        ({"days": "seven"}, "is int"),
        ({"days": 61}, "at most 60"),
        ({"days": True}, "is int"),
        ({"days": 7.0}, "is int"),
        ({"kind": "c"}, "kind"),
        ({"depth": "none"}, "depth"),
        ({"share": float("nan")}, "share"),
        ({"days=1;import os #": 1}, "declares no parameter"),
    ],
)
def test_engine_refuses_wrong_parameters_before_a_kernel_starts(project, tmp_path, given, word, monkeypatch):
    import papermill

    from mlnb.kernel import provisioner

    def start(*a, **k):
        raise AssertionError("a kernel was started")

    monkeypatch.setattr(provisioner, "kernel_manager", start)
    with pytest.raises(Exception, match=word):
        papermill.execute_notebook(
            project.root / "nbs/10_a.ipynb",
            tmp_path / "out.ipynb",
            parameters=given,
            engine_name="mlnb",
            progress_bar=False,
        )


def test_engine_runs_in_the_notebook_s_folder_and_never_commits(project, papermill, tmp_path):
    before = truth(project.root)
    code, said, notebook = papermill(
        "--engine",
        "mlnb",
        "-p",
        "days",
        "35",
        "-r",
        "kind",
        "b",
        project.root / "nbs/10_a.ipynb",
        cwd=tmp_path,
        out=tmp_path / "out.ipynb",
    )
    assert code == 0, said
    assert "got 35 5 b 0.5 nbs" in printed(notebook) and "overlay" in printed(notebook)
    assert truth(project.root) == before


def test_engine_outside_a_project_is_as_lax_as_papermill(make_project, papermill, tmp_path):
    made = make_project(
        {"10_a.ipynb": [("parameters", "days: int = 7  # 1..60"), "print('got', days, other)"]}
    )
    (made.root / "settings.ini").unlink()
    code, said, notebook = papermill(
        "--engine",
        "mlnb",
        "-p",
        "other",
        "1",
        "-p",
        "days",
        "99",
        made.root / "nbs/10_a.ipynb",
        cwd=tmp_path,
        out=tmp_path / "out.ipynb",
    )
    assert code == 0, said
    assert "got 99 1" in printed(notebook)


# plain papermill


def test_plain_papermill_takes_heads_in_and_puts_results_into_the_overlay(project, papermill, mlnb, tmp_path):
    shutil.rmtree(project.root / ".mlnb" / "overlay", ignore_errors=True)
    before, status = truth(project.root), mlnb("status", "--json", cwd=project.root).json
    code, said, notebook = papermill(
        project.root / "nbs/20_b.ipynb", cwd=project.root, out=tmp_path / "b.ipynb"
    )
    assert code == 0, said
    run = mlnb("runs", "--json", cwd=project.root).json["runs"][0]["run"]
    assert f"x: from run {run} of demo" in printed(notebook) and "x is 7" in printed(notebook)
    assert "m = 0.5" in printed(notebook)
    code, said, notebook = papermill(
        "-p", "days", "41", project.root / "nbs/10_a.ipynb", cwd=project.root, out=tmp_path / "a.ipynb"
    )
    assert code == 0, said
    assert "got 41" in printed(notebook) and "x: kept in your overlay" in printed(notebook)
    code, said, notebook = papermill(
        "--cwd", project.root / "nbs", project.root / "nbs/20_b.ipynb", cwd=tmp_path, out=tmp_path / "b.ipynb"
    )
    assert code == 0, said
    assert "x: what you saved by hand" in printed(notebook) and "x is 41" in printed(notebook)
    assert truth(project.root) == before
    after = mlnb("status", "--json", cwd=project.root).json
    assert [stage.pop("by_hand") for stage in after["stages"]] == [["x"], ["y"]]
    assert after["stages"] == [{k: v for k, v in s.items() if k != "by_hand"} for s in status["stages"]]
    assert (
        mlnb("get", "y", "--json", cwd=project.root).json["digest"]
        == mlnb("show", run, "--json", cwd=project.root).json["stages"][1]["outputs"]["y"]
    )
    assert sorted(p.name for p in (project.root / OVERLAY / "demo").iterdir()) == ["x.json", "y.json"]
