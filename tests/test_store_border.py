"""The border: whatever a file says, it is a record of the right form or it is damage."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlnb.store.descriptions import Artifact, Parts
from mlnb.store.errors import IntegrityError
from mlnb.store.record import MadeWith, Observations, Record
from mlnb.store.records import record_at

DIGEST = "a" * 64
ONE = {"codec": "text", "digest": DIGEST, "bytes": 3}
GOOD = {"key": "1" * 64, "pipeline": "shop", "stage": "sales", "run": "20261123T100000000-aaaa"}
ASTRAY = ["/etc/x", "../x", "a/../x", "..", "a\0b", "a//b", "x" * 300, ""]  # of a path that was only seen
ODD_NAMES = [*ASTRAY, "a\nb", "\x1b[2J", "con", "\u202ex", "a/b", "a\\b", "C:x"]
WRONG_TYPES = [7, 1e300, True, None, [], {}, [[]]]


def nested(depth):
    found = {}
    for _ in range(depth):
        found = {"a": found}
    return found


# a field with something bad in it, by the kind of value that stands there
NAMES = {
    "pipeline": lambda bad: {"pipeline": bad},
    "stage": lambda bad: {"stage": bad},
    "run": lambda bad: {"run": bad},
    "key": lambda bad: {"key": bad},
    "output": lambda bad: {"outputs": {"x": ONE | {"digest": bad}}},
    "part": lambda bad: {"outputs": {"x": ONE | {"parts": [bad]}}},
    "input": lambda bad: {"inputs": {"x": ONE | {"digest": bad}}},
    "kept": lambda bad: {"observed": {"kept": [bad]}},
    "text": lambda bad: {"texts": {"a.txt": bad}},
    "module": lambda bad: {"modules": {"own": bad}},
    "written content": lambda bad: {"observed": {"written": {"a": bad}}},
}
KEYS = {
    "name of an output": lambda bad: {"outputs": {bad: ONE}},
    "name of an input": lambda bad: {"inputs": {bad: ONE}},
    "name of a list": lambda bad: {"list": {bad: ONE}},
    "name of a source": lambda bad: {"sources": {bad: []}},
    "file of a text": lambda bad: {"texts": {bad: DIGEST}},
}
PATHS = {
    "written": lambda bad: {"observed": {"written": {bad: DIGEST}}},
    "made": lambda bad: {"observed": {"made": [bad]}},
    "programs": lambda bad: {"observed": {"programs": [bad]}},
    "links": lambda bad: {"observed": {"links": {bad: "x"}}},
    "names": lambda bad: {"observed": {"names": {"a": [bad]}}},
    "folder of names": lambda bad: {"observed": {"names": {bad: []}}},
    "unsure": lambda bad: {"observed": {"unsure": [bad]}},
    "places": lambda bad: {"observed": {"places": {"own": bad}}},
    "modules": lambda bad: {"observed": {"modules": {"own": bad}}},
    "files": lambda bad: {"parts": {"observed": {"files": {bad: None}}}},
    "folders": lambda bad: {"parts": {"observed": {"folders": {bad: None}}}},
    "counted links": lambda bad: {"parts": {"observed": {"links": {bad: None}}}},
}
FIELDS = {**NAMES, **KEYS, **PATHS}
IDENTIFIERS = {"pipeline", "stage", "run", *KEYS} - {"file of a text"}
WRITTEN = {"name of an input", "name of a list", "name of a source"}
OPTIONAL = {"notebook": "digest", "source": "digest", "lock": "digest"}  # that may be null


def refused(path, plain):
    path.write_text(plain if isinstance(plain, str) else json.dumps(plain))
    with pytest.raises(IntegrityError, match="is damaged"):
        record_at(path)


@pytest.mark.parametrize("name", FIELDS)
def test_bad_text_in_any_field_is_damage_when_it_is_read(tmp_path, name):
    for bad in ASTRAY if name in PATHS else ODD_NAMES:
        if (bad == "con" and name in IDENTIFIERS) or (bad == "a/b" and name in WRITTEN):
            continue  # a name as any other; one of another pipeline
        refused(tmp_path / "record.json", GOOD | FIELDS[name](bad))


@pytest.mark.parametrize("name", {**NAMES, **PATHS})
def test_another_type_in_any_field_is_damage_when_it_is_read(tmp_path, name):
    if name in ("written", "links", "folder of names", "files", "folders", "counted links"):
        pytest.skip("a key of JSON is always a text")
    for bad in WRONG_TYPES:
        refused(tmp_path / "record.json", GOOD | FIELDS[name](bad))


@pytest.mark.parametrize("name", Record.__struct_fields__)
def test_member_of_a_wholly_other_type_is_damage(tmp_path, name):
    member = {"list_behind": "list"}.get(name, name)
    refused(tmp_path / "record.json", GOOD | {member: [[7]]})


@pytest.mark.parametrize("name", OPTIONAL)
def test_digest_that_may_be_absent_is_held_to_its_form_when_it_is_there(tmp_path, name):
    assert getattr(Record.from_dict(GOOD | {name: None}), name) is None
    for bad in [*ODD_NAMES, 7, [], {}]:
        refused(tmp_path / "record.json", GOOD | {name: bad})


@pytest.mark.parametrize("size", [-1, 1.5, "3", None, 1e400])
def test_size_is_a_whole_number(tmp_path, size):
    refused(tmp_path / "record.json", GOOD | {"outputs": {"x": ONE | {"bytes": size}}})


def test_what_is_nested_deeply_is_damage_and_no_fault(tmp_path):
    deep = '{"a":' * 2000 + "1" + "}" * 2000
    refused(tmp_path / "record.json", json.dumps(GOOD)[:-1] + f', "parts": {deep}' + "}")
    for member in ("outputs", "observed", "each", "environment"):
        refused(tmp_path / "record.json", json.dumps(GOOD)[:-1] + f', "{member}": {deep}' + "}")
    with pytest.raises(IntegrityError):
        Record.from_dict(GOOD | {"outputs": nested(2000)})


def test_half_of_a_pair_of_surrogates_is_damage_where_a_document_should_be():
    for bad in ("\udce9", {"\udce9": "\udce9"}):
        with pytest.raises(IntegrityError, match="is damaged"):
            Record.from_dict(GOOD | {"outputs": bad})


def test_name_that_somebody_gave_a_file_is_no_damage():
    for name in ("new\nline", "caf\udce9.txt", "con", "a b.", "naïve"):
        files = {"files": {name: DIGEST}}
        record = Record.from_dict(GOOD | {"parts": {"observed": files}, "observed": {"kept": [DIGEST]}})
        assert Record.from_dict(json.loads(json.dumps(record.as_dict()))) == record


digests = st.text("0123456789abcdef", min_size=64, max_size=64)
names = st.from_regex(r"\A[a-z][a-z0-9_]{0,9}\Z")
paths = st.lists(st.sampled_from(["a", "data", ".keep", "x y", "naïve", "..a"]), min_size=1, max_size=3).map(
    "/".join
)
artifacts = st.builds(
    Artifact,
    st.sampled_from(["text", "json", "file", "folder"]),
    digests,
    st.integers(0, 2**62),
    st.text(max_size=9),
    st.sampled_from(["", "a.csv", "表.txt"]),
    st.lists(digests, max_size=2).map(tuple),
)
scalars = st.one_of(st.integers(-9, 9), st.text(max_size=5), st.booleans(), st.floats(0, 1))


@st.composite
def several(draw):
    values = draw(st.lists(scalars, max_size=3))
    return Parts(draw(names), tuple(values), tuple(draw(artifacts) for _ in values))


described = st.one_of(artifacts, several())
observations = st.builds(
    Observations,
    made=st.lists(paths, max_size=2).map(tuple),
    written=st.dictionaries(paths, digests, max_size=2),
    names=st.dictionaries(paths, st.lists(st.sampled_from(["a", "b c"]), max_size=2).map(tuple), max_size=2),
    asked=st.none() | st.lists(names, max_size=2).map(tuple),
    places=st.dictionaries(names, paths, max_size=2),
)
records = st.builds(
    Record,
    key=digests,
    parts=st.dictionaries(names, scalars, max_size=3),
    observed=observations,
    pipeline=names,
    stage=names,
    each=st.none() | st.dictionaries(names, scalars, min_size=1, max_size=1),
    run=st.from_regex(r"\A[A-Za-z0-9-]{1,20}\Z"),
    inputs=st.dictionaries(names, described, max_size=2),
    sources=st.dictionaries(
        names, st.lists(st.tuples(paths, st.integers(0, 9), digests)).map(tuple), max_size=1
    ),
    outputs=st.dictionaries(names, artifacts, max_size=2),
    metrics=st.dictionaries(names, st.floats(allow_nan=False, allow_infinity=False), max_size=2),
    notebook=st.none() | digests,
    texts=st.dictionaries(st.sampled_from(["a.txt", "b.cell-1.stdout.txt"]), digests, max_size=2),
    modules=st.dictionaries(names, digests, max_size=2),
    environment=st.builds(MadeWith, st.text(max_size=5)),
    seconds=st.floats(0, 1e6),
)


def comes_back(record):
    plain = json.loads(json.dumps(record.as_dict()))
    again = Record.from_dict(plain)
    assert again == record
    assert json.loads(json.dumps(again.as_dict())) == plain


@settings(max_examples=8, deadline=None)
@given(records)
def test_record_comes_back_from_its_file(record):
    comes_back(record)


@pytest.mark.slow
@settings(max_examples=1000, deadline=None)
@given(records)
def test_every_record_comes_back_from_its_file(record):
    comes_back(record)
