"""What a name means: `load` by hand and `mlnb get` agree with each other, and with a small model of the rule,
over random histories of runs and of notebooks."""

import json
import random
import re
import subprocess
import sys
from dataclasses import dataclass, field

import pytest
from plain_records import commit, write_run

from mlnb.flow.heads import Runs, head_name, run_with
from mlnb.flow.meaning import find_artifact, savers_of
from mlnb.flow.plan import plan_pipeline
from mlnb.flow.run_document import new_document
from mlnb.flow.selection import select
from mlnb.flow.session import find_by_hand, session_by_hand
from mlnb.history.lineage import lineage_of
from mlnb.history.results import versions_of
from mlnb.store.artifacts import put_value
from mlnb.store.descriptions import Artifact
from mlnb.store.digests import digest_of
from mlnb.store.errors import IntegrityError, UsageError
from mlnb.store.records import find_record
from mlnb.store.refs import move_ref
from mlnb.store.runs import experiment_of
from mlnb.store.settings import find_project, project_store
from mlnb.terminal.erasure import exact_digest
from mlnb.terminal.frame import give
from mlnb.terminal.keep import answer_artifacts, answer_get

SETTINGS = """[mlnb]
[pipeline.first]
notebooks = first
[pipeline.second]
notebooks = second
[profile.ci.first]
[profile.ci.second]
"""
KERNEL = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
PROFILES, PIPELINES = ("default", "ci"), ("first", "second")
NAMES = ("model", "forecast", "table")
TRIED = {
    "plain": {},
    "option": {"parameters": {"depth": {"value": 3, "origin": "option", "type": "int"}}},
    "file": {"parameters": {"depth": {"value": 4, "origin": "file", "type": "int"}}},
    "grid": {"grid": {"id": "g", "number": 1, "of": 1, "values": {"depth": 5}}},
}
SAID = {
    "plain": None,
    "option": "experiment: depth=3",
    "file": "experiment: depth=4",
    "grid": "experiment: depth=5",
}


@dataclass
class Stage:
    "A stage as its notebook is now."

    saves: tuple
    each: bool = False
    version: int = 0


@dataclass
class Ran:
    "What the model remembers of a run."

    run: str
    pipeline: str
    profile: str
    kind: str
    is_committed: bool
    made: dict  # (stage, name) -> digest or list of digests, complete ones only
    left: dict = field(default_factory=dict)  # (stage, name) -> what a stage saved before it failed


class World:
    "A project whose runs are written down without any kernel, and the model of what happened."

    def __init__(self, root, seed):
        self.root, self.random = root, random.Random(seed)
        root.mkdir(parents=True)
        (root / "settings.ini").write_text(SETTINGS)
        self.stages = {"first": {}, "second": {}}
        self.runs, self.heads, self.number = [], {}, 0
        for pipeline in PIPELINES:
            (root / pipeline).mkdir()
        self.write("first", "fit", Stage(("model",)))
        self.write("first", "guess", Stage(("forecast",)))
        self.write("second", "learn", Stage(("forecast",)))
        self.project = find_project(root)
        self.store = project_store(self.project, create=True)

    def write(self, pipeline, name, stage):
        text = "\n".join(["from mlnb import save", *(f"save('{n}', {stage.version})" for n in stage.saves)])
        cell = {"cell_type": "code", "id": "a", "metadata": {}, "execution_count": None, "outputs": []}
        notebook = {
            "cells": [cell | {"source": text}],
            "metadata": KERNEL,
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        (self.root / pipeline / f"{name}.ipynb").write_text(json.dumps(notebook))
        self.stages[pipeline][name] = stage

    def forget(self, pipeline, name):
        (self.root / pipeline / f"{name}.ipynb").unlink()
        return self.stages[pipeline].pop(name)

    # runs

    def units(self, pipeline, profile, kind):
        "What each stage has to run: key and value of the fan-out, by unit."
        found = {}
        for name in sorted(self.stages[pipeline]):
            stage = self.stages[pipeline][name]
            about = [pipeline, name, list(stage.saves), stage.each, stage.version, profile, SAID[kind]]
            for value in ("a", "b") if stage.each else (None,):
                unit = f"{name}[fold={value}]" if value else name
                found[unit] = (name, {"fold": value} if value else None, digest_of([*about, value]))
        return found

    def output(self, key, name):
        return put_value(self.store, f"{name} {key}")

    def commit(self, pipeline, name, each, key, run):
        record = {"key": key, "pipeline": pipeline, "stage": name, "run": run, "each": each, "parts": {}}
        record |= {"inputs": {}, "environment": {"packages": {}}, "metrics": {}, "file": f"{name}.ipynb"}
        outputs = {n: self.output(key, n).as_dict() for n in self.stages[pipeline][name].saves}
        commit(self.store, record | {"outputs": outputs})

    def run(self, pipeline, profile, kind="plain", asked=None, fails=None):
        "Run a pipeline, or the stages that were asked for, up to a unit that fails."
        self.number += 1
        run = f"20261123T{self.number:09d}-aaaa"
        units, entries, is_failed = self.units(pipeline, profile, kind), [], False
        for unit, (name, each, key) in units.items():
            if asked is not None and name not in asked:
                continue
            record = find_record(self.store, pipeline, name, key, usable=False)
            entry = {"name": name, "each": each, "key": key, "state": "cached", "file": f"{name}.ipynb"}
            if is_failed and not record:
                entry["state"] = "skipped"
            elif not record and unit == fails:
                saved = {n: self.output(key, n).as_dict() for n in self.stages[pipeline][name].saves}
                entry |= {"state": "failed", "saved": saved}
                is_failed = True
            elif not record:
                self.commit(pipeline, name, each, key, run)
                entry["state"] = "committed"
            entries.append(entry)
        self.end(run, pipeline, profile, kind, units, entries)
        return run

    def end(self, run, pipeline, profile, kind, units, entries):
        "Write the run's document, move the head as a run would, and remember all of it."
        keys = {
            unit: key
            for unit, (name, _, key) in units.items()
            if find_record(self.store, pipeline, name, key, usable=False)
        }
        is_committed = all(e["state"] in ("cached", "committed") for e in entries)
        is_head = kind == "plain" and keys.keys() == units.keys()
        document = {"run": run, "pipeline": pipeline, "profile": profile, "keys": keys, "stages": entries}
        document |= {"state": "committed" if is_committed else "failed", "head": is_head} | TRIED[kind]
        write_run(self.store, document)
        if is_head:
            move_ref(self.store, head_name(pipeline, profile), run, "test")
            self.heads[pipeline, profile] = run
        self.remember(document, kind, is_committed, is_head)

    def remember(self, document, kind, is_committed, is_head):
        pipeline, entries, made, left = document["pipeline"], document["stages"], {}, {}
        for name, stage in self.stages[pipeline].items():
            mine = [e for e in entries if e["name"] == name]
            own = [key for unit, key in document["keys"].items() if unit.split("[")[0] == name]
            is_whole = all(e["state"] in ("cached", "committed") for e in mine)
            counts = is_whole and own and (mine or is_head or not stage.each)
            for output in stage.saves if counts else ():
                made[name, output] = [self.output(key, output).digest for key in own]
            for entry in mine:
                for output, artifact in entry.get("saved", {}).items():
                    left[name, output] = artifact["digest"]
        ran = Ran(document["run"], pipeline, document["profile"], kind, is_committed, made, left)
        self.runs.append(ran)

    # the rule

    def owner(self, name, pipeline, here):
        if pipeline or here:
            return pipeline or here
        owners = [p for p in PIPELINES if any(name in s.saves for s in self.stages[p].values())]
        return owners[0] if len(owners) == 1 else None

    def meaning(self, name, profile, pipeline=None, here=None):
        "The run that serves and the digests it has; None for an error."
        owner = self.owner(name, pipeline, here)
        saver = next((n for n, s in self.stages.get(owner, {}).items() if name in s.saves), None)
        newest = [r for r in reversed(self.runs) if (r.pipeline, r.profile) == (owner, profile)]
        ranks = [
            [r for r in newest if r.run == self.heads.get((owner, profile))],
            [r for r in newest if r.kind == "plain" and r.is_committed],
            [r for r in newest if r.kind == "plain" and not r.is_committed],
            [r for r in newest if r.kind != "plain"],
        ]
        served = (r for rank in ranks for r in rank if (saver, name) in r.made)
        ran = next(served, None)
        return ran and (ran, ran.made[saver, name])

    # what happens

    def happen(self):
        "Something, at random."
        pick, pipeline = self.random.choice, self.random.choice(PIPELINES)
        own, act = self.stages[pipeline], self.random.random()
        if act < 0.6 or not own:
            if own:
                self.run_at_random(pipeline)
        elif act < 0.68:
            self.write(pipeline, f"new{self.number}", self.forget(pipeline, pick(sorted(own))))
        elif act < 0.74:
            self.forget(pipeline, pick(sorted(own)))
        elif act < 0.88:
            name = pick(sorted(own))
            own[name].version += 1
            self.write(pipeline, name, own[name])
        else:
            free = sorted({*NAMES} - {n for s in own.values() for n in s.saves})
            if free:
                each = self.random.random() < 0.4
                self.write(pipeline, f"{pick('abxyz')}{self.number}", Stage((pick(free),), each))

    def run_at_random(self, pipeline):
        profile, kind = self.random.choice(PROFILES), self.random.choice(["plain", "plain", *TRIED])
        own = sorted(self.stages[pipeline])
        asked = (
            None if self.random.random() < 0.6 else self.random.sample(own, self.random.randint(1, len(own)))
        )
        units = list(self.units(pipeline, profile, kind))
        fails = self.random.choice(units) if self.random.random() < 0.5 else None
        self.run(pipeline, profile, kind, asked, fails)


def digests(value):
    "Digests of an artifact, or of its parts."
    return [value["digest"]] if "artifacts" not in value else [a["digest"] for a in value["artifacts"]]


def by_hand(written):
    "Digests that `load` would read; None for an error."
    try:
        found = find_by_hand(session_by_hand(), written)
    except UsageError:
        return None
    return [found.digest] if isinstance(found, Artifact) else [a.digest for a in found.artifacts]


def by_command(written, profile):
    "The answer of `mlnb get --json`, or its error."
    try:
        return answer_get(written, profile=profile, as_json=True)
    except UsageError as error:
        return error


def check_mend(error, written, profile):
    "A mend never offers what was typed, and what it offers can be had."
    offered = re.findall(r"`((?:\w+/)?\w+(?:@[\w-]+)?)`", error.mend)
    assert written not in offered, error
    is_list = error.mend.startswith(("did you mean", "known are"))
    for other in () if is_list else offered:
        again = by_command(other, profile)
        assert "both" not in str(again) if isinstance(again, UsageError) else again.document, (error, again)
        assert "@" not in other or not isinstance(again, UsageError), (error, again)
    for other in re.findall(r"`mlnb get ([^`]+)`", error.mend):
        assert not isinstance(by_command(other, profile), UsageError), error
    for other in re.findall(r"`--profile (\w+)`", error.mend):
        assert other != profile and not isinstance(by_command(written, other), UsageError), error
    for command in re.findall(r"`mlnb run ([\w ]+)", error.mend):
        assert command.split()[0] in PIPELINES and ("--profile" in error.mend) >= (profile != "default")


def check(world, monkeypatch, here, profile, pipeline, name):
    "One question, asked in every way."
    monkeypatch.chdir(world.root / (here or ""))
    monkeypatch.setenv("MLNB_PROFILE", profile)
    written = f"{pipeline}/{name}" if pipeline else name
    meant, answer = world.meaning(name, profile, pipeline, here), by_command(written, profile)
    assert by_hand(written) == (meant and meant[1]), (written, profile, here)
    if meant is None:
        assert isinstance(answer, UsageError), (written, profile, here, answer)
        check_mend(answer, written, profile)
        return
    ran, expected = meant
    about = answer.document
    assert (digests(about), about["run"], about["profile"]) == (expected, ran.run, profile)
    assert about["experiment"] == SAID[ran.kind]
    is_head = world.heads.get((ran.pipeline, profile)) == ran.run
    assert (about["line"] is None) == is_head == (not answer.notes)
    assert SAID[ran.kind] is None or SAID[ran.kind] in answer.notes[0]


def check_listing(world, monkeypatch, profile):
    "`artifacts` and `lineage` say the same of every name."
    monkeypatch.chdir(world.root)
    listed = {}
    for row in answer_artifacts(None, profile).document["artifacts"]:
        listed.setdefault((row["pipeline"], row["name"]), []).append((row["digest"], row["run"]))
    meant = {(p, n): world.meaning(n, profile, p) for p in PIPELINES for n in NAMES}
    assert listed == {at: [(d, m[0].run) for d in m[1]] for at, m in meant.items() if m}
    for (pipeline, name), rows in listed.items():
        graph = lineage_of(world.store, world.project, f"{pipeline}/{name}", profile, "down")
        assert {digest for digest, _ in rows} <= {node.digest for node in graph.nodes}


def check_references(world):
    "Everything that a run made or left can be reached by the run's id."
    for ran in world.runs:
        for kind, at in (("made", ran.made), ("left", ran.left)):
            for (stage, name), value in at.items():
                written = f"{ran.pipeline}/{name}@{ran.run}"
                found = find_artifact(world.store, world.project, written, "default")
                assert (found.record.stage, found.experiment) == (stage, SAID[ran.kind])
                had = digests(found.value.as_dict())
                assert had == value if kind == "made" else value in had, written
                assert bool(found.line) == (kind == "left"), written


def check_all(world, monkeypatch, share=1.0):
    questions = [
        (here, profile, pipeline, name)
        for here in (None, *PIPELINES)
        for profile in PROFILES
        for pipeline in (None, *PIPELINES)
        for name in NAMES
    ]
    for question in questions:
        if world.random.random() < share:
            check(world, monkeypatch, *question)
    for profile in PROFILES:
        check_listing(world, monkeypatch, profile)
    check_references(world)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "project", 0)


def moved_on(world):
    "Another text of the stage that makes the model."
    world.stages["first"]["fit"].version += 1
    world.write("first", "fit", world.stages["first"]["fit"])


def all_moved_on(world):
    world.stages["first"]["guess"].version += 1
    world.write("first", "guess", world.stages["first"]["guess"])
    moved_on(world)


def renamed(world):
    world.write("first", "tune", world.forget("first", "fit"))


def in_parts(world):
    world.write("first", "fit", Stage(("model",), each=True))


def ran(*args, **options):
    return lambda world: world.run("first", "default", *args, **options)


HEADLESS = "`first` has no head under profile `default` yet"
LACKING = "the head of `first` under profile `default` does not have `model`"
UNFINISHED = "serves, which did not end with every stage committed"
HISTORIES = {
    "nothing": ([], None, "`first/model` was never committed under profile `default`: run `mlnb run first`"),
    "an experiment after the head": ([ran(), ran("option")], 0, ""),
    "a run of one stage after the head": ([ran(), moved_on, ran(asked=["fit"], fails="fit")], 0, ""),
    "a partial run after the head": ([ran(), moved_on, moved_on, ran(asked=["fit"])], 1, ""),
    "a partial run that leaves something stale": ([ran(), all_moved_on, ran(asked=["fit"])], 0, ""),
    "code that changed after the head": ([ran(), moved_on], 0, ""),
    "another head": ([ran(), moved_on, ran()], 1, ""),
    "a partial run": ([ran(asked=["fit"])], 0, f"{HEADLESS}: its newest committed run"),
    "a run that failed later": ([ran(fails="guess")], 0, UNFINISHED),
    "a partial run, then one that failed": (
        [ran(asked=["fit"]), moved_on, ran(fails="guess")],
        0,
        f"{HEADLESS}: its newest committed run",
    ),
    "experiments only": ([ran("file"), ran("grid")], 1, f"{HEADLESS}: run"),
    "an experiment that failed": ([ran("option", fails="guess")], 0, f"{UNFINISHED}, experiment: depth=3"),
    "a failed run, then an experiment": ([ran(fails="guess"), ran("option")], 0, UNFINISHED),
    "an experiment, then a partial run": ([ran("option"), ran(asked=["fit"]), ran("grid")], 1, HEADLESS),
    "only a failed stage": ([ran(fails="fit")], None, "was never committed"),
    "only a failed part": ([in_parts, ran(fails="fit[fold=b]")], None, "was never committed"),
    "some parts, then a run of another stage": (
        [in_parts, ran(fails="fit[fold=b]"), ran(asked=["guess"])],
        None,
        "was never committed",
    ),
    "all parts": ([in_parts, ran(asked=["fit"])], 0, f"{HEADLESS}: its newest committed run"),
    "a head of a run for another stage": ([in_parts, ran(asked=["fit"]), ran(asked=["guess"])], 1, ""),
    "a stage of another name": ([ran(), renamed], None, "stage `tune` does, and was never committed"),
    "a stage of another name that ran": ([ran(), renamed, ran(asked=["tune"])], 1, ""),
    "a stage newer than the head": (
        [
            lambda w: w.forget("first", "fit"),
            ran(),
            lambda w: w.write("first", "fit", Stage(("model",))),
            ran("grid"),
        ],
        1,
        f"{LACKING}: run",
    ),
    "a stage that is gone": ([ran(), lambda w: w.forget("first", "fit")], None, "no stage of `first` does"),
}


@pytest.mark.parametrize("history", HISTORIES)
def test_a_history_leads_to_one_run_and_a_line_about_it(world, monkeypatch, history):
    happened, expected, words = HISTORIES[history]
    for happen in happened:
        happen(world)
    monkeypatch.chdir(world.root)
    answer = by_command("first/model", "default")
    if expected is None:
        assert words in str(answer)
    else:
        assert answer.document["run"] == world.runs[expected].run
        assert (answer.document["line"] is None) == (not words) and words in "".join(answer.notes)
    check(world, monkeypatch, None, "default", None, "model")


@pytest.mark.parametrize("seed", range(2))
def test_load_and_get_agree_with_the_rule_over_random_histories(tmp_path, monkeypatch, seed):
    world = World(tmp_path / "project", seed)
    for _ in range(20):
        world.happen()
    check_all(world, monkeypatch, share=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 140))
def test_load_and_get_agree_with_the_rule_over_long_histories(tmp_path, monkeypatch, seed):
    world = World(tmp_path / "project", seed)
    for n in range(40):
        world.happen()
        if n % 8 == 7:
            check_all(world, monkeypatch)


# what the rule is asked for


def meant(world, written, profile="default", here=None):
    return find_artifact(world.store, world.project, written, profile, here)


def test_name_that_two_pipelines_save_is_said_with_both_longer_names(world, monkeypatch):
    ran()(world)
    for folder in ("", "first", "second"):
        monkeypatch.chdir(world.root / folder)
        told = [by_command("forecast", "default")]
        if not folder:
            assert (
                str(told[0])
                == "`forecast` is saved by `first` and `second`: write `first/forecast` or `second/forecast`"
            )
        assert (by_hand("forecast") is None) == isinstance(told[0], UsageError) == (folder != "first")
    with pytest.raises(UsageError, match="write `first/model`"):
        meant(world, "model", here="second")


def test_renamed_stage_leaves_its_result_to_whoever_names_the_run(world):
    run = world.run("first", "default")
    renamed(world)
    for written in ("model", "first/model"):
        with pytest.raises(UsageError, match="made by stage `fit`, which no longer saves it") as caught:
            meant(world, written)
        assert f"`mlnb get first/model@{run}` gives what it made" in caught.value.mend
        assert caught.value.mend.startswith("run `mlnb run first tune`")
    digest = meant(world, f"first/model@{run}").value.digest
    assert meant(world, f"model@{digest[:10]}").value.digest == digest
    world.forget("first", "tune")
    for written in ("model", "first/model"):
        with pytest.raises(UsageError, match="no stage of `first` does") as caught:
            meant(world, written)
        assert "mlnb run" not in caught.value.mend


def test_reference_that_two_pipelines_have_is_not_guessed(world):
    for pipeline in PIPELINES:
        world.run(pipeline, "default")
    with pytest.raises(UsageError, match="write `first/forecast@latest` or `second/forecast@latest`"):
        meant(world, "forecast@latest")
    assert meant(world, "forecast@latest", here="second").record.stage == "learn"
    with pytest.raises(UsageError, match="write `first/model@latest`"):
        meant(world, "model@latest", here="second")


def test_latest_is_marked_when_it_was_an_experiment(world):
    world.run("first", "default")
    run = world.run("first", "default", "option")
    found = meant(world, "model@latest")
    assert (found.run, found.experiment, found.line) == (run, "experiment: depth=3", "")
    assert found.notes == (f"run {run} was an experiment: depth=3",)


def test_what_a_failed_stage_saved_is_had_by_its_run_and_a_line_says_so(world, monkeypatch):
    run = world.run("first", "default", fails="fit")
    monkeypatch.chdir(world.root)
    answer = by_command(f"model@{run}", "default")
    assert "stage `fit`, which did not end well" in answer.notes[0]
    assert by_hand(f"model@{run}") == digests(answer.document)
    nodes = lineage_of(world.store, world.project, f"first/model@{run}", "default").nodes
    assert {"first/model", "first/fit"} <= {node.name for node in nodes}
    told = by_command("model", "default")
    assert f"`mlnb get first/model@{run}` gives what stage `fit` saved before it failed" in told.mend
    digest = answer.document["digest"]
    again = by_command(f"model@{digest[:12]}", "default")
    assert (again.document["digest"], again.document["run"]) == (digest, run)
    assert "did not end well" in again.notes[0]
    assert isinstance(by_command("model@abcdef012345", "default"), UsageError)
    moved_on(world)
    world.run("first", "default")
    assert lineage_of(world.store, world.project, f"first/model@{run}", "default").nodes == nodes
    assert len(versions_of(world.store, world.project, "first/model")) == 1


def test_export_of_an_experiment_says_so_on_stderr(world, monkeypatch, capsys):
    world.run("first", "default", "grid")
    monkeypatch.chdir(world.root)
    answer = answer_get("first/model", out="model.txt")
    give(answer, as_json=False)
    assert "experiment: depth=5" in capsys.readouterr().err and (world.root / "model.txt").is_file()
    give(answer_artifacts("first"), as_json=False)
    shown = capsys.readouterr()
    assert shown.out.count("experiment: depth=5") == 2 and HEADLESS in shown.err


def test_head_whose_run_is_gone_is_an_error_and_never_an_older_result(world, monkeypatch):
    world.run("first", "default")
    run = world.run("first", "default")
    path = world.store.root / "runs" / run / "run.json"
    whole = path.read_bytes()
    path.unlink()
    monkeypatch.chdir(world.root)
    for ask in (
        lambda: find_by_hand(session_by_hand(), "model"),
        lambda: answer_get("model"),
        answer_artifacts,
    ):
        with pytest.raises(IntegrityError, match="whose document is gone") as caught:
            ask()
        assert caught.value.mend == "`mlnb run first` sets it anew"
    path.write_bytes(whole.replace(b"committed", b"CommitteD", 1))
    with pytest.raises(IntegrityError):
        answer_get("model")


def test_head_answers_without_reading_another_run(world, monkeypatch):
    run = world.run("first", "default")
    for number in range(3):
        folder = world.store.root / "runs" / f"20271123T{number:09d}-bbbb"
        folder.mkdir()
        (folder / "run.json").write_text("damaged")
    monkeypatch.chdir(world.root)
    assert answer_get("model").document["run"] == run
    assert len(answer_artifacts("first").document["artifacts"]) == 2


def test_name_to_be_erased_is_said_with_a_reference_that_is_found(world):
    world.run("first", "default")
    in_parts(world)
    world.run("first", "ci")
    for profile in PROFILES:
        if profile == "default":
            world.write("first", "fit", Stage(("model",)))
        else:
            in_parts(world)
        with pytest.raises(UsageError) as caught:
            exact_digest(world.project, world.store, "first/model", profile)
        (offered,) = re.findall(r"`([^`]+)`", caught.value.mend)
        assert exact_digest(world.project, world.store, offered, profile)[0].startswith(offered.split("@")[1])


def test_stage_that_is_just_being_typed_keeps_its_names(world):
    run = world.run("first", "default")
    path = world.root / "first" / "fit.ipynb"
    path.write_text(path.read_text().replace("import save", "import ("))
    assert meant(world, "model").run == run


def test_names_of_one_plan_come_from_one_run_or_are_asked_for_together(world):
    def chosen():
        runs = Runs(world.store, "first", "default")
        return {
            "first": run_with(runs, savers_of(world.store, world.project, "first"), {"model", "forecast"})
        }

    def found(name):
        return find_artifact(world.store, world.project, f"first/{name}", "default", None, chosen())

    world.run("first", "default", asked=["fit"])
    moved_on(world)
    world.run("first", "default", asked=["guess"])
    for name in ("model", "forecast"):
        assert meant(world, f"first/{name}").value
        with pytest.raises(
            UsageError, match="has `forecast` and `model` together: run `mlnb run first` first"
        ):
            found(name)
    both = world.run("first", "default", "option")
    assert {found(name).run for name in ("model", "forecast")} == {both}
    head = world.run("first", "default")
    assert {(found(name).run, found(name).line) for name in ("model", "forecast")} == {(head, "")}


def broken_by(change):
    def break_it(path):
        path.write_text(change(path.read_text()))

    return break_it


BREAKS = {
    "whole": lambda path: None,
    "forgotten import": broken_by(lambda text: text.replace("import save", "import load")),
    "computed name": broken_by(lambda text: text.replace("save('model'", "save(str('model')")),
    "syntax": broken_by(lambda text: text.replace("import save", "import (")),
    "no JSON": broken_by(lambda text: text[:-9]),
}


@pytest.mark.parametrize("copy", ["a_old", "z_old", None])
@pytest.mark.parametrize("broken", BREAKS)
def test_backup_copy_or_mistake_in_a_notebook_hides_nothing_that_was_made(world, monkeypatch, copy, broken):
    run = world.run("first", "default")
    path = world.root / "first" / "fit.ipynb"
    if copy:
        (path.parent / f"{copy}.ipynb").write_text(path.read_text())
    BREAKS[broken](path)
    monkeypatch.chdir(world.root)
    answer = by_command("first/model", "default")
    assert (answer.document["run"], answer.document["stage"], answer.notes) == (run, "fit", ())
    assert by_hand("first/model") == by_hand("model") == [answer.document["digest"]]
    listed = {(row["name"], row["run"]) for row in answer_artifacts("first").document["artifacts"]}
    assert listed == {("model", run), ("forecast", run)}
    assert lineage_of(world.store, world.project, "first/model", "default").line is None
    (version,) = versions_of(world.store, world.project, "first/model")
    assert (version.is_meant, version.profile) == (True, "default")


@pytest.mark.parametrize("broken", [name for name in BREAKS if name != "whole"])
def test_name_that_a_broken_stage_would_make_is_told_with_what_is_to_be_mended(world, broken):
    world.run("first", "default", fails="fit")
    world.forget("first", "guess")
    path = world.root / "first" / "fit.ipynb"
    backup = path.with_name("fit_old.ipynb")
    backup.write_text(path.read_text())
    BREAKS[broken](path)
    with pytest.raises(UsageError, match="never committed") as caught:
        meant(world, "first/model")
    assert caught.value.mend.startswith("run `mlnb run first fit_old`")
    BREAKS[broken](backup)
    with pytest.raises(UsageError) as caught:
        meant(world, "first/model")
    assert "mend first/fit" in caught.value.mend or "mlnb check first" in caught.value.mend


def test_two_stages_that_save_a_name_are_to_be_mended_before_they_are_run(world):
    path = world.root / "first" / "fit.ipynb"
    path.with_name("fit_old.ipynb").write_text(path.read_text())
    with pytest.raises(UsageError, match="never committed") as caught:
        meant(world, "first/model")
    assert caught.value.mend == "mend `fit` and `fit_old` first: `mlnb check first` lists what is wrong"
    path.with_name("fit_old.ipynb").unlink()
    world.run("first", "default")
    for name in ("fit_a", "fit_b"):
        path.with_name(f"{name}.ipynb").write_text(path.read_text())
    path.unlink()
    with pytest.raises(UsageError, match="stages `fit_a` and `fit_b` do, and were never committed") as caught:
        meant(world, "first/model")
    assert caught.value.mend.startswith("mend `fit_a` and `fit_b` first: `mlnb check first`")


def test_name_of_a_stage_that_became_a_draft_is_told_with_the_draft(world, monkeypatch):
    monkeypatch.chdir(world.root)
    for has_run in (False, True):
        if has_run:
            world.run("first", "default")
        path = world.root / "first" / "fit.ipynb"
        path.rename(path.with_name("Untitled2.ipynb"))
        for written in ("model", "first/model"):
            told = by_command(written, "default")
            assert "first/Untitled2.ipynb saves it and is a draft" in told.mend
            assert ("gives what it made" in told.mend) == has_run
            with pytest.raises(UsageError, match="saves it and is a draft"):
                find_by_hand(session_by_hand(), written)
        path.with_name("Untitled2.ipynb").rename(path)


def test_load_and_get_say_the_same_of_a_name_that_nobody_saves_any_more(world, monkeypatch):
    world.run("first", "default")
    world.forget("first", "fit")
    monkeypatch.chdir(world.root)
    with pytest.raises(UsageError) as caught:
        find_by_hand(session_by_hand(), "model")
    assert str(caught.value) == str(by_command("model", "default"))


def test_digest_leads_to_the_head_before_any_experiment_that_made_the_same(world):
    digest, runs = put_value(world.store, "same").as_dict(), []
    for number, tried in enumerate(({}, TRIED["option"], {}), 1):
        run = f"20261124T{number:09d}-aaaa"
        key, about = f"{number:064x}", {"pipeline": "first", "stage": f"fit{3 - number}", "run": run}
        record = about | {"key": key, "parts": {}, "inputs": {}, "outputs": {"model": digest}}
        commit(world.store, record)
        entry = {"name": about["stage"], "state": "committed", "key": key}
        document = {"run": run, "pipeline": "first", "profile": "default", "state": "committed"}
        write_run(world.store, document | {"stages": [entry], "keys": {about["stage"]: key}} | tried)
        runs.append(run)
    found = meant(world, f"first/model@{digest['digest'][:12]}")
    assert (found.run in (runs[0], runs[2]), found.notes) == (True, ())
    for run in (runs[0], runs[2]):
        move_ref(world.store, head_name("first", "default"), run, "test")
        assert meant(world, f"first/model@{digest['digest'][:12]}").run == run


def test_plan_that_takes_a_name_from_an_experiment_is_one(world):
    about = {"metadata": KERNEL, "nbformat": 4, "nbformat_minor": 5}
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "execution_count": None, "outputs": []}
    source = "from mlnb import load, save\nsave('last', load('first/model'))"
    notebook = world.root / "second" / "last.ipynb"
    notebook.write_text(json.dumps({"cells": [cell | {"source": source}], **about}))

    def documents():
        plan = plan_pipeline(world.project, world.store, "second", "default")
        chosen = [select(plan.pipeline, stages) for stages in ((), ["learn"])]
        return [new_document(plan, selection, None, "planned") for selection in chosen]

    world.run("first", "default", "option")
    whole, other = documents()
    assert (whole.tried_inputs, experiment_of(whole)) == (
        {"first/model": "experiment: depth=3"},
        "experiment: first/model of depth=3",
    )
    assert "tried_inputs" not in other.as_dict() and experiment_of(other) == ""
    experiment = world.runs[-1].run
    notebook.write_text(notebook.read_text().replace("first/model'", f"first/model@{experiment}'"))
    assert experiment_of(documents()[0]) == ""  # whoever writes a reference has chosen
    notebook.write_text(notebook.read_text().replace(f"@{experiment}", ""))
    world.run("first", "default")
    assert experiment_of(documents()[0]) == ""


@pytest.mark.slow
def test_experiment_is_not_laundered_into_the_head_of_another_pipeline(make_project, mlnb):
    project = make_project({}, SETTINGS)
    (project.root / "second").mkdir()
    fit = [("parameters", "depth: int = 1"), "from mlnb import save", "save('model', min(depth, 2))"]
    project.stage("first/10_fit.ipynb", *fit)
    project.stage("second/10_use.ipynb", "from mlnb import load, save", "save('z', load('first/model') * 2)")

    def call(*words):
        return mlnb(*words, cwd=project.root)

    def use(*options):
        return call("run", "second", "--json", *options)

    assert call("run", "first", "-p", "depth", "3", "--json").json["experiment"] == "experiment: depth=3"
    said = "experiment: first/model of depth=3"
    assert use("-n").json["experiment"] == said
    done = use()
    assert (done.code, done.json["head"], done.json["experiment"]) == (0, False, said)
    assert "only an experiment has `first/model`; run `mlnb run first` first" in done.stderr
    assert call("get", "second/z", "--json").json["experiment"] == said
    (row,) = call("artifacts", "second", "--json").json["artifacts"]
    assert row["experiment"] == said and said in call("runs").stdout + call("show", "latest").stdout
    assert call("run", "first", "-p", "depth", "2").code == 0
    assert call("run", "first", "--profile", "ci").code == 0
    project.stage("first/10_fit.ipynb", *[("parameters", "depth: int = 2"), *fit[1:]])
    assert call("run", "first", "--json").json["head"]
    again = use()
    assert (again.states, again.json["head"], again.json["experiment"]) == ({"use": "cached"}, True, None)
    assert call("get", "second/z", "--json").json["experiment"] is None


# real runs

FIT = (("parameters", "depth: int = 1"), "from mlnb import save", "save('model', [depth, 'VERSION'])")
GUESS = (
    ("parameters", "is_broken: bool = False"),
    "from mlnb import load, require, save",
    "require(not is_broken, 'it is whole')",
    "save('forecast', [load('model'), 'VERSION'])",
)
LEARN = (("parameters", "depth: int = 1"), "from mlnb import save", "save('forecast', depth)")
REAL = SETTINGS.replace("[profile.ci.first]", "[profile.ci.first]\ndepth = 7")
BY_HAND = """
import mlnb.flow.session as session
for name in NAMES:
    try:
        print("=", name, session.artifact_digest(name))
    except Exception as error:
        print("=", name, type(error).__name__)
"""
ASKED = ("model", "forecast", "first/model", "first/forecast", "second/forecast")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_load_in_a_process_and_get_agree_over_real_runs(make_project, mlnb, outside_environment, seed):
    rng, version = random.Random(seed), iter(range(100))
    project = make_project({}, REAL)
    (project.root / "second").mkdir()
    name = "10_fit.ipynb"

    def write(file, cells):
        last = cells[-1].replace("VERSION", str(next(version)))
        project.stage(file, *cells[:-1], last)

    def renamed_stage():
        nonlocal name
        (project.root / "first" / name).unlink()
        name = f"10_fit{next(version)}.ipynb"
        write(f"first/{name}", FIT)

    def run(*options):
        return lambda: mlnb("run", *options, cwd=project.root)

    def agree():
        for folder, profile in ((".", "default"), ("first", "default"), ("second", "ci")):
            code = BY_HAND.replace("NAMES", repr(ASKED))
            where = {"cwd": project.root / folder, "MLNB_PROFILE": profile}
            said = python(code, where)
            for asked in ASKED:
                got = mlnb("get", asked, "--json", **where)
                digest = got.json["digest"] if got.code == 0 else "UsageError"
                assert said[asked] == digest, (asked, folder, profile, got.stderr)
                assert got.code != 0 or got.json["profile"] == profile

    def python(code, where):
        environment = outside_environment(MLNB_PROFILE=where["MLNB_PROFILE"])
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=where["cwd"], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return dict(line[2:].split() for line in done.stdout.splitlines() if line.startswith("= "))

    write(f"first/{name}", FIT)
    write("first/20_guess.ipynb", GUESS)
    write("second/10_learn.ipynb", LEARN)
    happenings = [
        run("first"),
        run("second"),
        run("first", "--profile", "ci"),
        run("first", "-p", "depth", "3"),
        run("first", "-p", "is_broken", "true"),
        run("first", "--grid", "depth=4,5"),
        run("first", "guess"),
        lambda: write(f"first/{name}", FIT),
        lambda: write("first/20_guess.ipynb", GUESS),
        renamed_stage,
    ]
    for _ in range(6):
        rng.choice(happenings)()
        agree()
