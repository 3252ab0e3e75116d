"""Derivation: random histories of runs with few digests, against what truly happened in them."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET
from msgspec.structs import replace
from plain_records import commit, write_run

from mlnb.care.audit import init_audit
from mlnb.care.erase import erase
from mlnb.store.derivation import RecordGraph, derived_from
from mlnb.store.descriptions import Artifact
from mlnb.store.digests import digest_of
from mlnb.store.objects import has, open_store, put
from mlnb.store.record import Record
from mlnb.store.run_entries import Entry, RunDocument

N_STAGES = 4  # of each pipeline; stage `s2` saves `n2`
LETTERS = "xyz"  # what stages save: equal content is the rule


class History:
    "Runs of two pipelines as they happened, with the maker of everything that was read."

    def __init__(self, runs, described=lambda letter: Artifact("text", letter, 1, "str")):
        self.records, self.letters, self.makers, self.documents, self.last = [], [], [], [], {}
        self.by_key, self.described = {}, described
        for number, (pipeline, versions, reads, is_asked) in enumerate(runs, 1):
            self.run(f"r{number}", pipeline, versions, reads, is_asked)

    def run(self, run, pipeline, versions, reads, is_asked):
        "One run: of each stage its version, what it reads, and whether the run was asked for it."
        now, entries, other = {}, [], "b" if pipeline == "a" else "a"
        for stage in range(N_STAGES):
            names = [(pipeline, n) for n in range(stage) if reads[stage] & 1 << n and n in now]
            elsewhere = self.last.get(other, {})
            names += [(other, n) for n in elsewhere if reads[stage] >> 4 & 1 << n]
            read = {name: now[name[1]] if name[0] == pipeline else elsewhere[name[1]] for name in names}
            found = self.result(run, pipeline, stage, versions[stage], read, is_asked[stage])
            if found is not None:
                now[stage] = found
                entries += [self.entry(found)] if is_asked[stage] else []
        keys = {self.records[n].stage: self.records[n].key for n in now.values()}
        about = {"pipeline": pipeline, "run": run, "state": "committed"}
        self.documents.append(RunDocument(**about, stages=tuple(entries), keys=keys))
        self.last[pipeline] = now

    def result(self, run, pipeline, stage, version, read, is_asked):
        "The record of a stage: that of its key, or a new one, if the run was asked for it."
        digests = {
            f"{p}/n{n}" if p != pipeline else f"n{n}": self.letter(maker, n) for (p, n), maker in read.items()
        }
        key = digest_of([pipeline, stage, version, digests])
        if key not in self.by_key and is_asked:
            letter = LETTERS[int(digest_of([key, "letter"]), 16) % len(LETTERS)]
            self.by_key[key] = len(self.records)
            self.records.append(
                Record(
                    pipeline=pipeline,
                    stage=f"s{stage}",
                    key=key,
                    run=run,
                    inputs={name: self.described(digest) for name, digest in digests.items()},
                    outputs={f"n{stage}": self.described(letter)},
                )
            )
            self.letters.append(letter)
            self.makers.append({(p, f"n{n}", self.letter(maker, n)): maker for (p, n), maker in read.items()})
        return self.by_key.get(key)

    def letter(self, number, _):
        return self.letters[number]

    def entry(self, number):
        record = self.records[number]
        return Entry(name=record.stage, state="cached", key=record.key)

    def truly_from(self, number, letter, names=None):
        "Whether a record was made from some content, by following what happened, step by step."
        for (pipeline, name, digest), maker in self.makers[number].items():
            if digest == letter and (names is None or (pipeline, name) in names):
                return True
            if self.truly_from(maker, letter, names):
                return True
        return False


def flags(n, most):
    return st.lists(st.integers(0, most), min_size=n, max_size=n)


def histories(pipelines):
    asked = st.lists(st.sampled_from([True, True, True, False]), min_size=N_STAGES, max_size=N_STAGES)
    one = st.tuples(st.sampled_from(pipelines), flags(N_STAGES, 2), flags(N_STAGES, 255), asked)
    return st.lists(one, min_size=1, max_size=6)


def answers(history, documents, letter, names=None):
    graph = RecordGraph(history.records, lambda: documents)
    certain, possible = derived_from(graph, [letter], names)
    assert not set(certain) & set(possible)
    truth = {n for n in range(len(history.records)) if history.truly_from(n, letter, names)}
    return set(certain), set(possible), truth


@settings(max_examples=50, deadline=None)
@given(histories("ab"), st.sampled_from(LETTERS), st.sets(st.integers(0, 5)), st.booleans())
def test_nothing_derived_is_missed_and_nothing_else_is_certain(runs, letter, lost, by_name):
    history = History(runs)
    documents = [d for number, d in enumerate(history.documents) if number not in lost]
    names = {("a", "n0"), ("b", "n1")} if by_name else None
    certain, possible, truth = answers(history, documents, letter, names)
    assert certain <= truth <= certain | possible


@settings(max_examples=25, deadline=None)
@given(histories("a"), st.sampled_from(LETTERS))
def test_with_all_documents_a_pipeline_of_its_own_leaves_no_doubt(runs, letter):
    history = History(runs)
    certain, _, truth = answers(history, history.documents, letter)
    assert certain == truth


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(histories("a"), st.sampled_from(LETTERS))
def test_erasing_down_takes_what_was_derived_and_nothing_that_an_unrelated_record_made(
    tmp_path_factory, runs, letter
):
    store = open_store(tmp_path_factory.mktemp("erase") / "store")
    init_audit(store)
    digests = {one: put(store, one.encode()) for one in LETTERS}
    described = {one: Artifact("text", d, 1, "str") for one, d in digests.items()}
    history = History(runs, described.get)
    for record in history.records:
        commit(store, replace(record, notebook=put(store, record.key.encode())))
    for document in history.documents:
        write_run(store, document)
    found = erase(store, digests[letter], "asked for", down=True)
    truth = {n for n in range(len(history.records)) if history.truly_from(n, letter)}
    for number, record in enumerate(history.records):
        is_made_here = letter == history.letters[number]
        notebook = digest_of_text(record.key)
        assert has(store, notebook) != (number in truth or is_made_here)
    unrelated = {one for n, one in enumerate(history.letters) if n not in truth}
    derived = {history.letters[n] for n in truth}
    gone = {one for one in LETTERS if not has(store, digests[one])}
    assert gone == {letter} | (derived - unrelated)
    assert set(found.shared) == {digests[one] for one in derived & unrelated - {letter}}


def digest_of_text(text):
    return sha256(text.encode()).hexdigest()


def of_people(person, run, digest, is_old):
    "The record of a part that a run made; one of before has no `list`."
    behind = UNSET if is_old else {"people": Artifact("json", digest, 1, "list")}
    about = {"key": f"profile {person}", "each": {"person": person}, "list_behind": behind}
    who = Artifact("text", person, 1, "str")
    return Record(pipeline="a", stage="profile", run=run, outputs={"who": who}, **about)


def behind(record):
    return (record.list_behind or {}).values()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sets(st.sampled_from("abc"), min_size=1), min_size=1, max_size=5),
    st.booleans(),
    st.booleans(),
)
def test_part_is_made_from_the_list_of_its_run_and_may_be_from_every_list_that_has_it(lists, is_old, by_name):
    records, documents = {}, []
    for number, people in enumerate(lists):
        run, digest = f"r{number}", "".join(["list ", *sorted(people)])
        made = {"people": Artifact("json", digest, 1, "list")}
        saver = Record(pipeline="a", stage="people", run=run, key=digest, outputs=made)
        ended = [saver, *(of_people(person, run, digest, is_old) for person in sorted(people))]
        ended = [records.setdefault((one.stage, one.key), one) for one in ended]
        entries = tuple(Entry(name=one.stage, state="cached", key=one.key) for one in ended)
        documents.append(RunDocument(pipeline="a", run=run, state="committed", stages=entries))
    known, names = list(records.values()), {("a", "people")} if by_name else None
    graph = RecordGraph(known, lambda: documents)
    for wanted in {"".join(["list ", *sorted(people)]) for people in lists}:
        certain, possible = derived_from(graph, [wanted], names)
        first = {n for n, r in enumerate(known) if any(one.digest == wanted for one in behind(r))}
        shown = {n for n, r in enumerate(known) if r.each and r.each["person"] in wanted[5:]}
        assert set(certain) == first
        assert set(possible) == shown - first


def test_value_that_stands_in_the_notebook_links_a_part_to_no_list():
    part = replace(of_people("a", "r1", "", True), list_behind={})
    columns = {"columns": Artifact("json", "x", 1, "list")}
    saver = Record(pipeline="a", stage="columns", run="r1", key="k", outputs=columns)
    graph = RecordGraph([part, saver])
    assert derived_from(graph, ["x"]) == ([], [])
