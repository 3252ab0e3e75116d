"""Means over the parts of a fan-out: of all parts or of none, and no best run among unequal ones."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mlnb.flow.measures import MeasuredRuns, measures_of
from mlnb.history.run_diff import aspects_of
from mlnb.history.runs_figure import figure_of
from mlnb.history.runs_table import best_of, compare_of, compare_rows, missing_lines
from mlnb.publish.history import RunPage, StagePage
from mlnb.publish.pages import Facts
from mlnb.store.errors import UsageError
from mlnb.store.objects import open_store
from mlnb.store.run_entries import EmptyStage, Entry, GivenValue, RunDocument

KINDS = ("tree", "linear", "forest")


def part(kind, state="committed", stage="train", **metrics):
    return Entry(name=stage, each=kind and {"kind": kind}, state=state, metrics=metrics)


def run(name, *stages, state="committed", **about):
    return RunDocument(run=name, pipeline="fraud", state=state, stages=stages, **about)


WHOLE = run("r1", *(part(kind, ap=ap) for kind, ap in zip(KINDS, (0.9, 0.8, 0.1), strict=True)))
HOLED = run("r2", part("tree", ap=0.9), part("linear", ap=0.8), part("forest"))
SILENT = run("r3", *(part(kind) for kind in KINDS))
FEWER = run("r4", part("tree", ap=0.95), part("linear", ap=0.95))
FAILED = run("r5", part("tree", ap=1), part("linear", ap=1), part("forest", "failed", ap=1), state="failed")
ONCE = run("r6", part(None, ap=0.7))
EMPTY = run("r7", part(None), empty={"train": EmptyStage("kind")})
OTHER = run("r8", part(None, stage="judge", n=1))


def refused(*documents, best="ap"):
    with pytest.raises(UsageError) as error:
        compare_of(list(documents), best=best)
    assert error.value.exit_code == 2
    return error.value


def test_run_that_hid_a_part_has_no_mean_and_says_which():
    found = compare_of([WHOLE, HOLED, SILENT, FAILED])
    assert [row.metrics["ap"] for row in found.runs] == [pytest.approx(0.6), None, None, None]
    assert [(row.counts["ap"], row.of["ap"]) for row in found.runs] == [(3, 3), (2, 3), (0, 3), (2, 3)]
    assert found.runs[1].reasons == {"ap": "2 of 3 parts reported `ap`: train[kind=forest] did not"}
    assert [row[-1] for row in compare_rows(found)[1]] == [
        "0.6 (3)",
        "– (2 of 3)",
        "– (0 of 3)",
        "– (2 of 3)",
    ]
    assert len(missing_lines(found)) == 3 and found.means == ["ap"]


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (HOLED, "in run r2 2 of 3 parts reported `ap`: train[kind=forest] did not"),
        (SILENT, "in run r3 0 of 3 parts reported `ap`"),
        (FEWER, "in run r4 it lacks train[kind=forest] (beside run r1)"),
        (ONCE, "it lacks train[kind=forest], train[kind=linear], train[kind=tree] and only it has train"),
        (EMPTY, "in run r7 `ap` is reported for each of several values, and there was none"),
    ],
)
def test_best_of_unequal_runs_is_refused_and_each_mend_works(odd, said):
    error = refused(WHOLE, odd)
    assert said in error.message
    commands = [text for text in error.mend.split("`") if "--best" in text]
    assert commands
    for command in commands:
        best = command.partition("--best ")[2].strip("'")
        named = [one for one in (WHOLE, odd) if one.run in command] or [WHOLE, odd]
        assert compare_of(named, best=best).best.run


def test_one_part_can_be_compared_where_the_mean_cannot():
    found = compare_of([WHOLE, HOLED, FEWER], ["train[kind=tree].ap"], "train[kind=tree].ap:min")
    assert [row.metrics["train[kind=tree].ap"] for row in found.runs] == [0.9, 0.9, 0.95]
    assert (found.best.run, found.best.value, found.best.count) == ("r1", 0.9, 1)
    assert found.means == []


@pytest.mark.parametrize("other", [FAILED, OTHER])
def test_run_that_could_not_win_by_hiding_does_not_stop_the_choice(other):
    assert compare_of([WHOLE, other], best="ap").best.run == "r1"


def test_name_of_several_stages_means_none_of_them_in_any_run():
    two = run("r1", part(None, ap=0.5), part(None, stage="judge", ap=0.6))
    one = run("r2", part(None, ap=0.9))
    found = compare_of([two, one])
    assert [row.metrics for row in found.runs] == [
        {"train.ap": 0.5, "judge.ap": 0.6},
        {"train.ap": 0.9, "judge.ap": None},
    ]
    assert "write `train.ap` or `judge.ap`" in refused(two, one).mend
    assert compare_of([two, one], best="train.ap").best.run == "r2"


def test_values_that_hold_signs_of_the_grammar_can_be_named():
    odd = run("r1", part("a:max].b=c d'", ap=1), part("x", ap=0))
    name = "train[kind=a:max].b=c d'].ap"
    assert compare_of([odd], [name], f"{name}:min").best.value == 1
    assert best_of(MeasuredRuns([odd]), name).goal == "max"


def test_experiment_is_marked_beside_a_run_that_is_equal_but_for_it():
    tried = replace(WHOLE, run="r9", parameters={"depth": GivenValue(3, "option")})
    found = compare_of([WHOLE, tried], best="ap")
    assert [row.experiment for row in found.runs] == [None, "experiment: depth=3"]
    assert [row[0] for row in compare_rows(found)[1]] == ["r1 (best)", "r9 (experiment)"]


def test_figure_says_over_how_many_parts_and_leaves_out_what_is_no_mean():
    documents = [WHOLE, HOLED, FEWER]
    panel = figure_of(compare_of(documents), documents).axes[0]
    assert panel.get_ylabel() == "ap (mean of 2 or 3, different parts)"
    assert len(panel.lines[0].get_xdata()) == 2


def test_metric_of_a_stage_that_failed_is_no_difference_between_results(tmp_path):
    store = open_store(tmp_path / "store")
    aspects = aspects_of(store, FAILED)
    assert aspects.metrics == {"train[kind=tree].ap": 1, "train[kind=linear].ap": 1}


documents_of_parts = st.lists(
    st.tuples(
        st.sampled_from(["committed", "cached", "failed", "skipped"]),
        st.one_of(st.none(), st.floats(-10, 10)),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=50, deadline=None)
@given(documents_of_parts)
def test_page_and_table_say_the_same_mean_and_only_of_all_parts(parts):
    entries = [
        part(str(number), state, **({} if value is None else {"ap": value}))
        for number, (state, value) in enumerate(parts)
    ]
    good = [value for state, value in parts if state in ("committed", "cached") and value is not None]
    facts = Facts("fraud", "train", "committed")
    shown = [(entry, replace(facts, metrics=entry.metrics)) for entry in entries]
    stages = [StagePage("train", entry.state, about, each=entry.each) for entry, about in shown]
    page = RunPage("r", "fraud", "default", "committed", None, None, {}, tuple(stages), True).metrics()
    found = compare_of([run("r", *entries)]).runs[0]
    assert (("train", "ap") in measures_of(entries)) == bool(good)
    if not good:
        assert (page, found.metrics) == ({}, {})
        return
    shown = page["mean_ap"]
    assert (shown.value, shown.count, shown.of) == tuple(
        getattr(found, k)["ap"] for k in ("metrics", "counts", "of")
    )
    assert (shown.count, shown.of) == (len(good), len(parts))
    if len(good) < len(parts):
        assert shown.value is None
    else:
        assert math.isclose(shown.value, math.fsum(good) / len(good), abs_tol=1e-9)
