"""Grids of runs, and runs side by side."""

import json
import re

import pytest
from plain_records import as_run

from mlnb.flow.grid import combinations, read_axis
from mlnb.history.runs_table import compare_of, metrics_of
from mlnb.store.errors import UsageError

OURS = "from mlnb import load, metric, save"
STAGES = {
    "10_ingest.ipynb": [("parameters", "days: int = 60"), OURS, "save('rows', days)"],
    "20_train.ipynb": [
        ("parameters", "max_depth: int | None = 20  # 1..50\nkind: str = 'tree'"),
        OURS,
        "depth = max_depth or 50",
        "assert depth != 13, 'unlucky'",
        "metric('average_precision', 1 - abs(depth - 10) / 50, low=0, high=1)",
        "metric('loss', depth * load('rows'))",
        "save('model', [kind, depth])",
    ],
    "30_judge.ipynb": [
        ("parameters", "#| each: fold in 0..1\nfold: int = 0"),
        OURS,
        "metric('share', load('model')[1] + fold)",
        "save('verdict', 1)",
    ],
}


# what is asked for


@pytest.mark.parametrize("text", ["a", "a=", "=1", "a=1,,2", "a=,", "1a=1", "a=[1", "a=[]", "a b=1"])
def test_axis_that_says_nothing_is_refused(text):
    with pytest.raises(UsageError):
        read_axis(text)


def test_product_runs_the_last_axis_fastest_and_is_limited():
    assert [tuple(c.values()) for c in combinations(["a=1,2", "b=x,y", "c=0"])] == [
        ("1", "x", "0"),
        ("1", "y", "0"),
        ("2", "x", "0"),
        ("2", "y", "0"),
    ]
    assert read_axis("k=['a,b', None, true]".replace("true", "True"))[1] == ["a,b", "None", "true"]
    with pytest.raises(UsageError, match="10,000 runs"):
        combinations([f"{n}={','.join(map(str, range(100)))}" for n in "ab"])


@pytest.fixture(scope="module")
def project(make_shared_project):
    return make_shared_project(STAGES)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--grid", "depth=1,2"], "did you mean"),
        (["--grid", "max_depth=5,99"], "at most 50, not 99"),
        (["--grid", "max_depth=5,5"], "are the same"),
        (["--grid", "max_depth=a"], "is not"),
        (["--grid", "max_depth=5", "-p", "max_depth", "7"], "by `-p` and by `--grid`"),
        (["--grid", "max_depth=5", "--grid", "max_depth=6"], "given twice"),
        (["--grid", "fold=0,1"], "runs for each of its values"),
        (["--grid", "max_depth"], "a name and values"),
    ],
)
def test_grid_that_cannot_be_run_starts_nothing(project, mlnb, options, said):
    result = mlnb("run", "demo", *options, "--json", cwd=project.root)
    assert (result.code, result.json["exit_code"], result.json["stages"]) == (
        2,
        2,
        [],
    ) and said in json.dumps(result.json["problems"])
    assert not list((project.root / ".mlnb").glob("runs/*"))


# a grid, and what is asked about it


@pytest.fixture(scope="module")
def grid(project, mlnb):
    return mlnb("run", "demo", "--grid", "max_depth=5,None,12", "--json", cwd=project.root)


def test_grid_shares_what_does_not_depend_on_it_and_moves_no_head(project, grid, mlnb):
    assert (grid.code, grid.json["state"], grid.json["stages"], grid.json["pipeline"]) == (
        0,
        "committed",
        [],
        "demo",
    )
    runs = grid.json["grid"]
    assert [r["grid"]["values"]["max_depth"] for r in runs] == [5, None, 12] and len(
        {r["run"] for r in runs}
    ) == 3
    assert [[e["state"] for e in r["stages"] if e["name"] == "ingest"] for r in runs] == [
        ["committed"],
        ["cached"],
        ["cached"],
    ]
    assert {e["key"] for r in runs for e in r["stages"] if e["name"] == "ingest"} == {
        runs[0]["stages"][0]["key"]
    }
    assert (
        all(e["state"] == "committed" for r in runs for e in r["stages"] if e["name"] != "ingest")
        and len(runs[0]["stages"]) == 4
    )
    assert not any(r["head"] for r in runs) and not (project.root / ".mlnb" / "refs" / "heads").exists()
    assert len(mlnb("runs", "--json", cwd=project.root).json["runs"]) == 3
    dry = mlnb("run", "demo", "-n", "--grid", "max_depth=5,6", "--json", cwd=project.root)
    assert [{e["state"] for e in r["stages"]} for r in dry.json["grid"]] == [
        {"cached"},
        {"cached", "stale", "unknown"},
    ]


def test_comparison_has_a_row_for_each_run_and_names_the_best(project, grid, mlnb, tmp_path):
    found = mlnb(
        "runs",
        "--compare",
        "--metric",
        "average_precision",
        "--metric",
        "share",
        "--best",
        "average_precision",
        "--figure",
        tmp_path / "a.svg",
        "--json",
        cwd=project.root,
    ).json
    assert (found["parameters"], found["metrics"]) == (["max_depth"], ["average_precision", "share"])
    assert [
        (r["parameters"]["max_depth"], round(r["metrics"]["average_precision"], 3), r["metrics"]["share"])
        for r in found["runs"]
    ] == [(5, 0.9, 5.5), (None, 0.2, 50.5), (12, 0.96, 12.5)]
    assert (found["best"]["run"], found["best"]["parameters"]["max_depth"], found["best"]["goal"]) == (
        grid.json["grid"][2]["run"],
        12,
        "max",
    )
    text = (tmp_path / "a.svg").read_text()
    assert (
        text.count("<svg") == 1
        and "max_depth" in re.sub(r"\s", "", text)
        and found["figure"] == str(tmp_path / "a.svg")
    )
    table = mlnb(
        "runs", "--compare", "--grid", grid.json["grid_id"][:12], "--best", "loss:min", cwd=project.root
    ).stdout
    assert "(best)" in table.splitlines()[1] and "best by loss (min)" in table
    two = mlnb(
        "runs", "--compare", *(r["run"] for r in grid.json["grid"][:2]), "--json", cwd=project.root
    ).json
    assert [r["run"] for r in two["runs"]] == [r["run"] for r in grid.json["grid"][:2]]
    assert len(mlnb("runs", "--compare", "demo", "--json", cwd=project.root).json["runs"]) == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--compare", "--metric", "averageprecision"], "did you mean `average_precision`"),
        (["--compare", "--best", "loss:most"], "NAME:max"),
        (["--compare", "--grid", "2020"], "there is no grid"),
        (["--compare", "nowhere"], "there is no run"),
        (["--best", "loss"], "for `--compare`"),
        (["--compare", "--figure", "a.png"], "no SVG"),
        (["demo", "other"], "one pipeline"),
        (["--compare", "--figure", "/proc/x/a.svg"], "cannot be written"),
    ],
)
def test_comparison_that_means_nothing_is_an_error_of_usage(project, grid, mlnb, options, said):
    result = mlnb("runs", *options, "--json", cwd=project.root)
    assert result.code == 2 and said in json.dumps(result.json["problems"])


@pytest.mark.slow
def test_failed_run_of_a_grid_stops_no_other_and_is_never_the_best(project, grid, mlnb):
    result = mlnb(
        "run", "demo", "--grid", "max_depth=13,12", "--grid", "days=60,61", "--to", "train", cwd=project.root
    )
    assert result.code == 1 and "run 4 of 4: max_depth=12, days=61" in result.stdout
    found = mlnb("runs", "--compare", "--best", "loss", "--json", cwd=project.root).json
    assert [(r["state"], r["parameters"], r["metrics"]["loss"]) for r in found["runs"]] == [
        ("failed", {"max_depth": 13, "days": 60}, None),
        ("failed", {"max_depth": 13, "days": 61}, None),
        ("committed", {"max_depth": 12, "days": 60}, 720),
        ("committed", {"max_depth": 12, "days": 61}, 732),
    ]
    assert found["best"]["value"] == 732


# numbers


def run_of(run, *stages, **parameters):
    given = {n: {"value": v} for n, v in parameters.items()}
    plain = {"run": run, "pipeline": "demo", "state": "committed", "parameters": given}
    return as_run(plain | {"stages": list(stages)})


def test_means_of_parts_and_names_of_two_stages_are_told_apart():
    parts = [
        {"name": "fit", "each": {"fold": f}, "state": "cached", "metrics": {"auc": a, "auc_low": 0, "n": 1}}
        for f, a in enumerate((0.5, 0.7, 0.9))
    ]
    other = {
        "name": "judge",
        "each": None,
        "state": "committed",
        "metrics": {"n": 7, "f1": 0.5, "f1_low": 0.4},
    }
    assert metrics_of(run_of("r", *parts, other)) == {
        "auc": pytest.approx(0.7),
        "fit.n": 1,
        "judge.n": 7,
        "f1": 0.5,
        "f1_low": 0.4,
    }


def test_runs_of_different_pipelines_show_what_either_has():
    found = compare_of(
        [
            run_of("a", {"name": "s", "state": "committed", "metrics": {"x": 1}}, p=1),
            run_of("b", {"name": "s", "state": "committed", "metrics": {"y": 2}}, q=[1]),
        ]
    )
    assert (found.parameters, [r.metrics for r in found.runs]) == (
        ["p", "q"],
        [{"x": 1, "y": None}, {"x": None, "y": 2}],
    )
