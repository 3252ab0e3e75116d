"""Files of the project that stages write and read by themselves join records, as values do: random histories
against what truly happened in them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlnb.store.derivation import RecordGraph, derived_from, made_through, perhaps_through
from mlnb.store.descriptions import Artifact
from mlnb.store.errors import IntegrityError
from mlnb.store.record import Observations, Record

PATHS, LETTERS = (
    ("a.csv", "b/c.csv", "d"),
    ("a" * 64, "b" * 64),
)  # few of both: equal content at one path is the rule


class Files:
    "Stages that ran one after another, with the writer of everything that they read."

    def __init__(self, steps):
        self.records, self.writers, self.there = [], [], {}
        for number, (read, written, value) in enumerate(steps):
            before = {path: self.there[path] for path in sorted(read) if path in self.there}
            seen = {path: letter for path, (letter, _) in before.items()} | {"absent.csv": None}
            self.writers.append({writer for _, writer in before.values()})
            self.there |= {path: (letter, number) for path, letter in written.items()}
            self.records.append(
                Record(
                    pipeline="ab"[number % 2],
                    stage=f"s{number}",
                    key=f"k{number}",
                    run=f"r{number // 2}",
                    inputs={"root": Artifact("text", value, 1)} if value else {},
                    outputs={"n": Artifact("text", f"out {number}", 1)},
                    parts={"observed": {"files": seen}},
                    observed=Observations(written=written),
                )
            )

    def truly_from(self, number, value):
        "Whether a record read a value, or a file of one that was made from it."
        own = any(one.digest == value for one in self.records[number].inputs.values())
        return own or any(self.truly_from(writer, value) for writer in self.writers[number])


def runs(most=7):
    written = st.dictionaries(st.sampled_from(PATHS), st.sampled_from(LETTERS), max_size=2)
    one = st.tuples(st.sets(st.sampled_from(PATHS)), written, st.sampled_from([None, None, "p", "q"]))
    return st.lists(one, min_size=1, max_size=most)


@settings(max_examples=100, deadline=None)
@given(runs(), st.sampled_from("pq"))
def test_file_between_two_stages_is_followed_and_nothing_else_is_certain(steps, value):
    happened = Files(steps)
    graph = RecordGraph(happened.records)
    certain, possible = map(set, derived_from(graph, [value]))
    truth = {number for number in range(len(steps)) if happened.truly_from(number, value)}
    assert not certain & possible
    assert certain <= truth <= certain | possible


@settings(max_examples=30, deadline=None)
@given(runs())
def test_with_one_writer_of_each_content_nothing_is_in_doubt(steps):
    alone = [
        (read, {path: f"{letter[:-2]}{n:02}" for path, letter in written.items()}, value)
        for n, (read, written, value) in enumerate(steps)
    ]
    happened = Files(alone)
    certain, possible = derived_from(RecordGraph(happened.records), ["p"])
    assert set(certain) == {n for n in range(len(steps)) if happened.truly_from(n, "p")}
    assert possible == []


def stage(name, **about):
    return Record(pipeline="a", stage=name, key=name, run=name, **about)


def test_same_bytes_at_another_path_join_nothing():
    writes = stage("writes", observed=Observations(written={"a.csv": LETTERS[0]}))
    reads = stage("reads", parts={"observed": {"files": {"b.csv": LETTERS[0]}}})
    graph = RecordGraph([writes, reads])
    assert graph.reads == [[], []]
    assert made_through(graph, 1, {0}) == perhaps_through(graph, 1, {0}) == []


def test_file_is_no_artifact_of_its_name():
    "A value that somebody saved under the name of a file is another thing, whatever the pipeline is called."
    saves = stage("saves", outputs={"d": Artifact("text", LETTERS[0], 1)})
    reads = stage("reads", parts={"observed": {"files": {"d": LETTERS[0]}}})
    assert derived_from(RecordGraph([saves, reads]), begin=[0]) == ([0], [])


def test_what_a_record_from_elsewhere_says_it_wrote_is_held_to_its_form():
    digest, plain = "0" * 64, {"pipeline": "a", "stage": "writes", "run": "r1"}
    for good in ({}, {"a/b.csv": digest}):
        record = Record.from_dict(plain | {"observed": {"written": good}})
        assert record.observed.written == good
    for bad in ({"../a": digest}, {"/a": digest}, {"a": None}, {"a": "x"}, {"a": 1}, {"": digest}, None):
        with pytest.raises(IntegrityError, match="is damaged"):
            Record.from_dict(plain | {"observed": {"written": bad}})
