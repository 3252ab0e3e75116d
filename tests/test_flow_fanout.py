"""One stage for every value: planned, run, cached, read, named and published a value at a time."""

import json
import random
import re
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from mlnb.flow.fanout_parts import export_parts, get_parts
from mlnb.flow.parameter_values import resolve
from mlnb.flow.plan import make_plan
from mlnb.flow.steps import needs_of
from mlnb.history.graph import dag_of, mermaid_of
from mlnb.kernel.process import seed_of
from mlnb.notebook.each import MOST_VALUES, Each, check_values, file_stem, read_each, unit_name
from mlnb.notebook.parameters import Parameter
from mlnb.notebook.pipeline import read_pipeline, require_sound
from mlnb.store.artifacts import get_value, put_value
from mlnb.store.descriptions import Parts
from mlnb.store.errors import DefinitionError, UsageError
from mlnb.store.objects import open_store, path_of
from mlnb.store.records import records_of
from mlnb.store.runs import noted_document, run_ids
from mlnb.store.settings import project_store, read_project

OURS = "from mlnb import load, metric, require, save"


def fold_stage(folds="0..2", *code, parameter="fold: int = 0  # 0..9"):
    return [("parameters", f"#| each: {parameter.split(':')[0]} in {folds}\n{parameter}"), OURS, *code]


FOLDS = {
    "10_ingest.ipynb": [OURS, "save('rows', [10, 20, 30])"],
    "20_train.ipynb": fold_stage(
        "0..2",
        "import random\nimport pandas as pd",
        "metric('score', load('rows')[fold] / 100)",
        "save('model', {'fold': fold, 'draw': random.random()})",
        "save('scored', pd.DataFrame({'row': [1, 2], 'score': [fold, fold + .5]}))",
    ),
    "30_judge.ipynb": fold_stage(
        "[0, 1, 2]",
        "model = load('model')",
        "require(model['fold'] == fold, 'the part of the own value is read')",
        "save('verdict', model['fold'] * 2)",
    ),
    "40_best.ipynb": [
        OURS,
        "verdicts, scored = load('verdict'), load('scored')",
        "save('best', [[k, v] for k, v in verdicts.items()])",
        "save('table', scored)",
        "save('only', load('scored', columns=['fold'])['fold'].tolist())",
    ],
}
LISTED = {
    "10_find.ipynb": [
        ("parameters", "n: int = 2  # 0..2000"),
        OURS,
        "save('segments', [f's{i}' for i in range(n)])",
    ],
    "20_fit.ipynb": fold_stage(
        "segments",
        "save('size', len(segment))",
        "import pandas as pd\nsave('frame', pd.DataFrame({'a': [1]}))",
        parameter="segment: str = ''",
    ),
    "30_check.ipynb": fold_stage(
        "segments", "save('ok', [segment, load('size')])", parameter="segment: str = ''"
    ),
    "40_all.ipynb": [
        OURS,
        "save('sizes', {str(k): v for k, v in load('size').items()})",
        "save('n_rows', len(load('frame', as_='pandas')))",
        "save('oks', list(load('ok').values()))",
    ],
}


def units(result):
    return {unit_name(e["name"], e["each"]): e["state"] for e in result.json["stages"]}


def entry(result, name, **each):
    return next(e for e in result.json["stages"] if e["name"] == name and e["each"] == (each or None))


def plan_of(folder, **options):
    project = read_project(folder.root)
    pipeline = require_sound(read_pipeline(project, "demo"))
    return make_plan(
        project,
        project_store(project),
        pipeline,
        "default",
        resolve(project, pipeline, "default", {}, options),
    )


# what the option says


@pytest.mark.parametrize("text", ["fold in 0..3", "fold in [0,1,2,3]", "fold in [0, 1, 2, 3]"])
def test_ranges_and_lists_of_the_same_values_are_the_same(text):
    assert read_each(text) == Each("fold", (0, 1, 2, 3))


@pytest.mark.parametrize(
    "text",
    [
        "fold",
        "fold in",
        "fold in 3..0",
        "fold in [",
        "fold in []",
        "fold in {1}",
        "fold in range(3)",
        "fold in Segments",
        "fold in ../x",
        "1fold in 0..3",
        "fold in 0..9999999999",
        "fold in fraud/segments",
        "a, b in 0..3",
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match=r"write|values"):
        read_each(text)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1, 1], "stands twice"),
        ([True], "True is not"),
        (["1"], "'1' is not"),
        ([None], "is None"),
        ([[1]], r"is \[1\]"),
        (list(range(MOST_VALUES + 1)), "100,001 values"),
        ("abc", "are a str"),
        ([11], "at most 9"),
    ],
)
def test_values_that_nobody_meant_are_refused(values, said):
    with pytest.raises(UsageError, match=said):
        check_values(Parameter("fold", "int", 0, low="0", high="9"), values, {})


def test_every_value_has_a_file_name_of_its_own():
    values = [
        0,
        -1,
        0.5,
        "",
        " ",
        "a",
        "A",
        "a b",
        "../../x",
        "a\nb",
        "é",
        "x" * 100,
        "x" * 101,
        "0" * 12,
        "con.",
        True,
        "\u202e",
        ".",
    ]
    stems = [file_stem("train", {"p": v}) for v in values]
    assert len(set(stems)) == len(values)
    assert all(
        re.fullmatch(r"train\.p-[A-Za-z0-9_.-]{1,64}", s) and ".." not in s.removeprefix("train.p-")[:2]
        for s in stems
    )


# definition errors, all before a kernel


@pytest.mark.parametrize(
    ("cells", "rule", "said"),
    [
        (
            [("parameters", "#| each: folds in 0..2\nfold: int = 0"), "x = 1"],
            "bad-each",
            "`folds`, which is no parameter",
        ),
        (["#| each: fold in 0..2\nx = 1"], "bad-each", "no parameter of this notebook"),
        ([("parameters", "#| each: fold in 0..12\nfold: int = 0  # 0..9")], "bad-each", "at most 9, not 10"),
        ([("parameters", "#| each: fold in ['a']\nfold: int = 0")], "bad-each", "'a' is not"),
        ([("parameters", "#| each: fold in [1, 1]\nfold: int = 0")], "bad-each", "`1` stands twice"),
        ([("parameters", "#| each: ks in 0..2\nks: list[int] = [1]")], "bad-each", "one plain value"),
        (
            [("parameters", "#| each: fold in nowhere\nfold: int = 0")],
            "no-saver",
            "`nowhere`, which no stage saves",
        ),
        (
            [("parameters", "#| each: fold in model\nfold: int = 0")],
            "bad-each",
            "of which train saves several",
        ),
    ],
)
def test_fan_out_that_cannot_be_run_is_a_definition_error_with_its_place(make_project, cells, rule, said):
    folder = make_project(FOLDS | {"50_bad.ipynb": [*cells, OURS]})
    with pytest.raises(DefinitionError) as error:
        require_sound(read_pipeline(read_project(folder.root), "demo"))
    assert [(p.rule, p.file) for p in error.value.problems] == [
        (rule, "nbs/50_bad.ipynb")
    ] and said in error.value.problems[0].message


def test_value_for_a_parameter_that_is_run_for_each_is_refused(make_project, mlnb):
    folder = make_project(FOLDS)
    result = mlnb("run", "demo", "-p", "fold", "1", "--json", cwd=folder.root)
    assert (result.code, len(result.json["problems"])) == (2, 2)
    assert "runs for each of its values" in result.json["problems"][0]["message"]


# a run


@pytest.fixture(scope="module")
def folds(make_shared_project, mlnb):
    folder = make_shared_project(FOLDS)
    return folder, mlnb("run", "demo", "--json", "-j", "2", cwd=folder.root)


def test_each_value_has_its_own_line_record_and_notebook(folds):
    folder, result = folds
    assert result.code == 0, result.stderr
    assert list(units(result)) == [
        "ingest",
        "train[fold=0]",
        "train[fold=1]",
        "train[fold=2]",
        "judge[fold=0]",
        "judge[fold=1]",
        "judge[fold=2]",
        "best",
    ]
    assert set(units(result).values()) == {"committed"} and result.json["head"]
    store = project_store(read_project(folder.root))
    records = records_of(store, "demo", "train")
    assert sorted(r.each["fold"] for r in records) == [0, 1, 2] and len({r.key for r in records}) == 3
    assert {r.key for r in records} == {entry(result, "train", fold=f)["key"] for f in range(3)}
    assert [entry(result, "train", fold=f)["metrics"]["score"] for f in range(3)] == [0.1, 0.2, 0.3]
    assert all(entry(result, "train", fold=f)["attempts"] == 1 for f in range(3))
    events = [
        json.loads(line)
        for line in (store.root / "runs" / result.json["run"] / "events.jsonl").read_text().splitlines()
    ]
    assert {e["stage"] for e in events if e["event"] == "cell"} >= {"train[fold=0]", "judge[fold=2]"}


def test_each_value_draws_its_own_random_numbers_and_always_the_same(folds):
    folder, _ = folds
    plan = plan_of(folder)
    draws = [
        get_value(plan.store, plan.steps[f"train[fold={f}]"].record.outputs["model"], folder.root)["draw"]
        for f in range(3)
    ]
    assert draws == [random.Random(seed_of("demo", "train", f"fold={f}")).random() for f in range(3)]


def test_others_read_all_parts_a_table_or_a_dict(folds):
    folder, _ = folds
    plan = plan_of(folder)

    def value(name):
        return get_value(plan.store, plan.steps["best"].record.outputs[name], folder.root)

    assert value("best") == [[0, 0], [1, 2], [2, 4]] and value("only") == [0, 0, 1, 1, 2, 2]
    assert value("table").to_dict("list") == {
        "row": [1, 2] * 3,
        "score": [0, 0.5, 1, 1.5, 2, 2.5],
        "fold": [0, 0, 1, 1, 2, 2],
    }


def test_same_each_needs_its_own_part_and_others_need_all(folds):
    plan = plan_of(folds[0])
    assert needs_of(plan, "judge[fold=1]") == ["train[fold=1]"]
    assert needs_of(plan, "best") == [f"{s}[fold={f}]" for s in ("judge", "train") for f in range(3)]


def test_asking_names_each_value(folds, mlnb, tmp_path):
    root = folds[0].root
    assert [(s["name"], s["each"], s["state"]) for s in mlnb("status", "--json", cwd=root).json["stages"]][
        1:3
    ] == [("train", {"fold": 0}, "fresh"), ("train", {"fold": 1}, "fresh")]
    assert "train[fold=2]" in mlnb("status", cwd=root).stdout
    assert mlnb("why", "judge", cwd=root).stdout.strip() == "demo/judge is fresh"
    assert len(mlnb("why", "judge", "--json", cwd=root).json["values"]) == 3
    artifacts = mlnb("artifacts", "--json", cwd=root).json["artifacts"]
    assert [a["each"] for a in artifacts if a["name"] == "model"] == [{"fold": 0}, {"fold": 1}, {"fold": 2}]
    found = mlnb("get", "scored", "--json", cwd=root).json
    assert (found["parameter"], found["values"], len(found["artifacts"])) == ("fold", [0, 1, 2], 3)
    assert mlnb("get", f"demo/model@{artifacts[1]['digest']}", "--json", cwd=root).json["codec"] == "json"
    assert mlnb("get", "model", "--out", f"{tmp_path}/models/", cwd=root).code == 0
    assert sorted(p.name for p in (tmp_path / "models").iterdir()) == [
        f"model.fold-{f}.json" for f in range(3)
    ]
    assert mlnb("get", "scored", "--out", tmp_path / "all.parquet", cwd=root).code == 0
    assert mlnb("get", "model", "--out", tmp_path / "one.json", "--json", cwd=root).code == 2
    assert "train (each fold in 0..2)  <-  rows of ingest" in mlnb("dag", "demo", cwd=root).stdout
    assert "train[fold=1]" in mlnb("show", "latest", cwd=root).stdout


def test_graph_stays_one_of_stages(folds):
    dag = dag_of([plan_of(folds[0]).pipeline])
    assert dag.nodes == ["ingest", "train", "judge", "best"] and dag.each == {
        "train": "fold in 0..2",
        "judge": "fold in [0, 1, 2]",
    }
    assert 's1["train, each fold"]' in mermaid_of(dag)


def test_site_has_a_page_for_each_value(folds, mlnb):
    root, run = folds[0].root, folds[1].json["run"]
    assert mlnb("publish", cwd=root).code == 0
    pages = {p.name for p in (root / "reports" / "demo" / run).iterdir()}
    assert {"train.fold-0.html", "train.fold-1.html", "judge.fold-2.html", "best.html"} <= pages
    index = (root / "reports" / "demo" / run / "index.html").read_text()
    assert 'href="train.fold-1.html">train[fold=1]</a>' in index and "no longer current" not in index


@pytest.mark.slow
def test_second_run_runs_nothing_and_one_more_value_runs_what_is_new(folds, mlnb):
    folder, _ = folds
    assert set(units(mlnb("run", "demo", "--json", cwd=folder.root)).values()) == {"cached"}
    for name, text in (("20_train", "0..2"), ("30_judge", "[0, 1, 2]")):
        path = folder.root / f"nbs/{name}.ipynb"
        path.write_text(
            path.read_text().replace(f"in {text}", "in [0, 2, 1]" if name == "20_train" else "in 0..1")
        )
    dry = mlnb("run", "demo", "-n", "--json", cwd=folder.root)
    assert {n for n, s in units(dry).items() if s != "cached"} == {
        "judge[fold=0]",
        "judge[fold=1]",
        "best",
    }  # not the same `each` any more: they read all models
    for name in ("20_train", "30_judge"):
        path = folder.root / f"nbs/{name}.ipynb"
        path.write_text(re.sub(r"#\| each: fold in [^\\]*", "#| each: fold in 1..2", path.read_text()))
    fewer = mlnb("run", "demo", "--force", "best", "--json", cwd=folder.root)
    assert units(fewer) == {
        "ingest": "cached",
        "train[fold=1]": "cached",
        "train[fold=2]": "cached",
        "judge[fold=1]": "cached",
        "judge[fold=2]": "cached",
        "best": "committed",
    }
    assert mlnb("get", "scored", "--json", cwd=folder.root).json["values"] == [1, 2]


@pytest.mark.slow
def test_selection_works_on_stages_and_takes_all_values(make_project, mlnb):
    folder = make_project(FOLDS)
    assert mlnb("run", "demo", "--only", "judge", "--json", cwd=folder.root).code == 2
    assert list(units(mlnb("run", "demo", "--to", "train", "--json", cwd=folder.root))) == [
        "ingest",
        "train[fold=0]",
        "train[fold=1]",
        "train[fold=2]",
    ]
    only = mlnb("run", "demo", "--only", "judge", "--json", cwd=folder.root)
    assert (units(only), only.json["head"]) == ({f"judge[fold={f}]": "committed" for f in range(3)}, False)
    forced = mlnb("run", "demo", "train", "--force", "--json", cwd=folder.root)
    assert list(units(forced).values()) == ["cached", *["committed"] * 3] and all(
        e["why"][0]["kind"] == "forced" for e in forced.json["stages"][1:]
    )
    assert "train[fold=0]  fresh" in mlnb("run", "demo", "-n", cwd=folder.root).stdout


# values known only after a stage ran


@pytest.fixture
def listed(make_project):
    return make_project(LISTED)


def test_saved_list_is_planned_as_one_line_until_it_is_known(listed, mlnb):
    assert units(mlnb("run", "demo", "-n", "--json", cwd=listed.root)) == {
        "find": "stale",
        "fit": "unknown",
        "check": "unknown",
        "all": "unknown",
    }
    first = mlnb("run", "demo", "--json", "-j", "2", cwd=listed.root)
    assert first.code == 0, first.stdout
    assert units(first) == dict.fromkeys(
        ["find", "fit[segment=s0]", "fit[segment=s1]", "check[segment=s0]", "check[segment=s1]", "all"],
        "committed",
    )
    records = [json.loads(path.read_bytes()) for path in listed.root.glob(".mlnb/records/demo/*/*.json")]
    assert {(r["stage"], *r["list"]) for r in records if r["each"]} == {
        ("fit", "segments"),
        ("check", "segments"),
    }
    assert set(units(mlnb("run", "demo", "--json", cwd=listed.root)).values()) == {"cached"}
    more = mlnb("run", "demo", "-p", "n", "3", "--json", cwd=listed.root)
    assert [n for n, s in units(more).items() if s == "committed"] == [
        "find",
        "fit[segment=s2]",
        "check[segment=s2]",
        "all",
    ]
    fewer = mlnb("run", "demo", "-p", "n", "1", "--json", cwd=listed.root)
    assert [n for n, s in units(fewer).items() if s == "committed"] == [
        "find",
        "all",
    ] and "fit[segment=s1]" not in units(fewer)
    assert set(units(mlnb("run", "demo", "--json", cwd=listed.root)).values()) == {"cached"}


@pytest.mark.slow
def test_empty_list_commits_the_stage_without_parts(listed, mlnb):
    first = mlnb("run", "demo", "-p", "n", "0", "--json", cwd=listed.root)
    assert (first.code, units(first)) == (0, dict.fromkeys(["find", "fit", "check", "all"], "committed"))
    assert (entry(first, "fit")["attempts"], entry(first, "fit")["outputs"]) == (0, {})
    again = mlnb("run", "demo", "-p", "n", "0", "--json", cwd=listed.root)
    assert set(units(again).values()) == {"cached"}
    assert mlnb("get", "sizes", "--out", "sizes.json", cwd=listed.root).code == 0
    assert json.loads((listed.root / "sizes.json").read_text()) == {}
    assert mlnb("get", "size", "--json", cwd=listed.root).json["values"] == []
    assert mlnb("publish", cwd=listed.root).code == 0
    assert [s["state"] for s in mlnb("status", "-p", "n", "0", "--json", cwd=listed.root).json["stages"]] == [
        "fresh"
    ] * 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("saved", "said"),
    [
        ("['a', 'a']", "stands twice"),
        ("'abc'", "kept as text"),
        ("[str(i) for i in range(100_001)]", "100,001 values"),
    ],
)
def test_list_that_cannot_be_run_fails_the_stage_and_says_why(listed, mlnb, saved, said):
    listed.stage("nbs/10_find.ipynb", OURS, f"save('segments', {saved})")
    result = mlnb("run", "demo", "--json", cwd=listed.root)
    assert (result.code, units(result)) == (
        1,
        {"find": "committed", "fit": "failed", "check": "skipped", "all": "skipped"},
    )
    assert (entry(result, "fit")["kind"], said in entry(result, "fit")["error"]["evalue"]) == (
        "user_error",
        True,
    )
    again = mlnb("run", "demo", cwd=listed.root)
    assert again.code == 1 and said in again.stdout and "run it again: mlnb run demo fit" in again.stdout


@pytest.mark.slow
def test_head_of_another_pipeline_gives_all_parts(make_project, mlnb):
    folder = make_project(
        LISTED | {"other/10_use.ipynb": [OURS, "save('used', sorted(load('demo/size')))"]},
        "[mlnb]\n[pipeline.demo]\nnotebooks = nbs\n[pipeline.other]\nnotebooks = other\n",
    )
    assert mlnb("run", "demo", cwd=folder.root).code == 0
    assert mlnb("run", "other", "--json", cwd=folder.root).code == 0
    assert mlnb("get", "used", "--out", "used.json", cwd=folder.root).code == 0
    assert json.loads((folder.root / "used.json").read_text()) == ["s0", "s1"]


# failures and damage


def test_failed_value_stops_what_needs_it_and_not_its_siblings(make_project, mlnb):
    stages = dict(FOLDS)
    stages["20_train.ipynb"] = fold_stage(
        "0..2",
        "require(fold != 1, 'fold 1 is bad')",
        "save('model', {'fold': fold})\nsave('scored', 1)",
        "load('rows')",
    )
    folder = make_project(stages | {"50_last.ipynb": [OURS, "save('last', len(load('rows')))"]})
    result = mlnb("run", "demo", "--json", "-j", "1", cwd=folder.root)
    states = units(result)
    assert (result.code, [states[f"train[fold={f}]"] for f in range(3)]) == (
        3,
        ["committed", "failed", "committed"],
    )
    assert {s for n, s in states.items() if n.startswith(("judge", "best", "last"))} == {"skipped"}
    kept = entry(result, "train", fold=1)["notebook"]
    assert kept.endswith("train.fold-1.ipynb") and json.loads(Path(kept).read_text())["metadata"]["mlnb"][
        "each"
    ] == {"fold": 1}
    going = mlnb("run", "demo", "--json", "-k", cwd=folder.root)
    assert {n: s for n, s in units(going).items() if s != "cached"} == {
        "train[fold=1]": "failed",
        "judge[fold=0]": "committed",
        "judge[fold=1]": "skipped",
        "judge[fold=2]": "committed",
        "best": "skipped",
        "last": "committed",
    }
    assert "train[fold=1] failed" in mlnb("run", "demo", cwd=folder.root).stdout
    assert mlnb("publish", cwd=folder.root).code == 0
    store = project_store(read_project(folder.root))
    assert all(noted_document(store, r).stages for r in run_ids(store))


@pytest.mark.slow
def test_damaged_part_is_made_again_alone(listed, mlnb):
    first = mlnb("run", "demo", "--json", cwd=listed.root)
    store = project_store(read_project(listed.root))
    path = path_of(store, entry(first, "check", segment="s1")["outputs"]["ok"])
    path.chmod(0o600)
    path.write_bytes(path.read_bytes().replace(b"s1", b"sX"))
    result = mlnb("run", "demo", "all", "--force", "--json", cwd=listed.root)
    assert result.code == 0, result.stdout
    assert [n for n, s in units(result).items() if s == "committed"] == ["check[segment=s1]"]


@pytest.mark.slow
def test_damaged_list_is_made_again_first(listed, mlnb):
    first = mlnb("run", "demo", "--json", cwd=listed.root)
    store = project_store(read_project(listed.root))
    path = path_of(store, entry(first, "find")["outputs"]["segments"])
    path.chmod(0o600)
    path.write_bytes(path.read_bytes().replace(b"s1", b"sX"))
    result = mlnb("run", "demo", "--json", cwd=listed.root)
    assert result.code == 0, result.stdout
    assert [n for n, s in units(result).items() if s == "committed"] == ["find"]


def test_thousand_values_are_planned_and_one_by_one_is_not_squared(make_project):
    folder = make_project(
        {
            "10_ingest.ipynb": [OURS, "save('rows', 1)"],
            "20_a.ipynb": fold_stage("0..999", "save('a', load('rows'))", parameter="fold: int = 0"),
            "30_b.ipynb": fold_stage("0..999", "save('b', load('a'))", parameter="fold: int = 0"),
        }
    )
    plan = plan_of(folder)
    assert len(plan.steps) == 2001 and sum(len(needs_of(plan, u)) for u in plan.steps) == 2000


# by hand


@pytest.mark.slow
def test_by_hand_a_notebook_works_on_the_part_of_its_own_value(
    make_project, mlnb, outside_environment, tmp_path
):
    folder = make_project(FOLDS)
    assert mlnb("run", "demo", cwd=folder.root).code == 0

    def by_hand(name, *options):
        done = subprocess.run(
            [sys.executable, "-m", "papermill", *options, f"nbs/{name}.ipynb", str(tmp_path / "out.ipynb")],
            cwd=folder.root,
            env=outside_environment(),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return (tmp_path / "out.ipynb").read_text()

    by_hand("30_judge", "-p", "fold", "2")
    folder.stage("nbs/50_look.ipynb", OURS, "print('verdicts', load('verdict'))")
    assert "verdicts {0: 0, 1: 2, 2: 4}" in by_hand("50_look")
    by_hand("20_train", "-p", "fold", "1")
    assert "what you saved by hand" in by_hand("30_judge", "-p", "fold", "1")
    folder.stage(
        "nbs/50_look.ipynb", OURS, "print('models', [(k, v['fold']) for k, v in load('model').items()])"
    )
    assert "models [(0, 0), (1, 1), (2, 2)]" in by_hand("50_look")
    assert {
        s["state"] for s in mlnb("status", "--json", cwd=folder.root).json["stages"] if s["name"] != "look"
    } == {"fresh"}


# frames of Polars

COLUMNS = {
    "n": pl.Series([1, None], dtype=pl.Int8),
    "price": pl.Series([Decimal("1.50"), Decimal("2.25")]),
    "kind": pl.Series(["a", "b"], dtype=pl.Enum(["a", "b", "c"])),
    "shop": pl.Series(["x", "y"], dtype=pl.Categorical()),
    "days": pl.Series([[1], [2, 3]]),
    "at": pl.Series([datetime(2026, 1, 1, tzinfo=UTC)] * 2),
}


def parts_of(store, *values, fold=(0, 1)):
    return Parts("fold", fold, tuple(put_value(store, value) for value in values))


def test_frames_of_polars_are_one_frame_in_every_type(tmp_path):
    store, frame = open_store(tmp_path), pl.DataFrame(COLUMNS)
    whole = get_parts(store, parts_of(store, frame, frame.head(0)), tmp_path)
    assert whole.schema == frame.schema | {"fold": pl.Int64} and whole.drop("fold").equals(frame)
    named = get_parts(
        store, parts_of(store, frame, frame, fold=("eu", "us")), tmp_path, columns=["fold", "n"]
    )
    assert named.columns == ["fold", "n"] and named["fold"].to_list() == ["eu", "eu", "us", "us"]
    arrow = get_parts(store, parts_of(store, frame, frame), tmp_path, as_="arrow")
    assert arrow["fold"].to_pylist() == [0, 0, 1, 1] and arrow.num_columns == len(COLUMNS) + 1
    export_parts(store, parts_of(store, frame, frame), "rows", tmp_path / "rows.parquet", False)
    assert pl.read_parquet(tmp_path / "rows.parquet").shape == (4, 7)


def test_series_of_polars_stay_apart_and_what_does_not_fit_is_refused(tmp_path):
    store, frame = open_store(tmp_path), pl.DataFrame({"n": [1]})
    series = get_parts(store, parts_of(store, frame["n"], frame["n"]), tmp_path)
    assert [*series] == [0, 1] and series[1].to_list() == [1]
    other = [frame["n"], pd.DataFrame({"n": [1]}), pl.DataFrame({"n": ["x"]}), frame.with_columns(fold=7)]
    said = [
        "polars, polars series",
        "frame, polars",
        "columns or types: n",
        "column `fold` with other values",
    ]
    for one, why in zip(other, said, strict=True):
        with pytest.raises(UsageError, match=why):
            get_parts(store, parts_of(store, frame, one), tmp_path)
