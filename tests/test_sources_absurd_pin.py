"""A last pin with a good seal and a value that no pin can have is no pin: nobody fails, and the source
is asked again."""

import json
import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlnb.sources.last_pin import (
    ask_source,
    keep_pin,
    last_pin,
    look_at,
    pin_path,
    source_document,
    source_line,
)
from mlnb.store.digests import sha256
from mlnb.store.documents import LENGTH, PREFIX, SUFFIX, place_in_store, read_json
from mlnb.store.errors import UsageError
from mlnb.store.names import parse_name
from mlnb.store.objects import open_store
from mlnb.store.pins import forget_pins
from mlnb.store.settings import read_project

GOOD = ["file:///data/a.csv", 3, "0" * 64]
ABSURD = [
    None,
    True,
    "",
    "a",
    "0" * 64,
    -1,
    -0.5,
    -1e18,
    1e300,
    1e12,
    10**400,
    math.nan,
    math.inf,
    [],
    {},
    [[]],
    [None],
    [[1, 2, 3]],
    ["a", "b", "c"],
    {"0": GOOD},
    [GOOD, GOOD[:2]],
    [GOOD, [*GOOD, 1]],
    [["a.csv", 3, "0" * 64]],
    [["file:///a\0b", 3, "0" * 64]],
    [["file:///a\ud800", 3, "0" * 64]],
    [["file:///a", True, "0" * 64]],
    [["file:///a", -1, "0" * 64]],
    [["file:///a", 2**70, "0" * 64]],
    [["file:///a", 3, "0" * 63]],
    [["file:///a", 3, "../" * 20]],
]


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    "A project with one source that was asked, and what its pin says."
    root = tmp_path_factory.mktemp("demo")
    (root / "a.csv").write_text("n\n1\n")
    text = (
        f"[mlnb]\n[source.raw]\nurl = file://{root}/a.csv\nrefresh = 1h\n[pipeline.demo]\nnotebooks = nbs\n"
    )
    (root / "settings.ini").write_text(text)
    project = read_project(root)
    store = open_store(project.store)
    ask_source(store, project, "default", "raw")
    yield store, project, read_json(pin_path(store, "default", "raw"))
    forget_pins()


def forge(path, body):
    "Write a pin with a good seal, whatever it says."
    rest = body.removeprefix("{").lstrip("\n").encode("utf-8", "surrogatepass")
    seal = sha256(place_in_store(path).encode() + b"\n" + rest).encode()
    path.write_bytes(PREFIX + seal + SUFFIX + rest)
    assert len(PREFIX + seal + SUFFIX) == LENGTH


def assert_no_pin(asked, body):
    "Nobody fails over a forged pin, and nobody takes it for one."
    store, project, _ = asked
    forge(pin_path(store, "default", "raw"), body)
    assert last_pin(store, project, "default", "raw") is None
    about = source_document(store, project, "default", "raw", time.time())
    assert (about.state, about.pinned_utc) == ("never pinned", None)
    assert "never pinned" in source_line(about)
    with pytest.raises(UsageError, match="never pinned"):
        look_at(store, project, "default", parse_name("raw"))


def assert_asked_again(asked):
    "A run asks, and then there is a pin."
    store, project, _ = asked
    before = time.time()
    assert ask_source(store, project, "default", "raw").at >= before
    assert last_pin(store, project, "default", "raw") is not None


@pytest.mark.parametrize("field", ["source", "profile", "at", "place", "partitions"])
def test_field_with_an_absurd_value_or_none_makes_the_source_be_asked_again(asked, field):
    good = asked[2]
    before_1970 = (-1, -0.5)  # a moment like any other: some clocks are that wrong
    for value in (one for one in ABSURD if field != "at" or one not in before_1970):
        assert_no_pin(asked, json.dumps(good | {field: value}))
    assert_asked_again(asked)
    assert_no_pin(asked, json.dumps({name: said for name, said in good.items() if name != field}))


@pytest.mark.parametrize("n", [2_000, 200_000])
def test_pin_that_is_nested_without_end_is_asked_again(asked, n):
    assert_no_pin(asked, json.dumps(asked[2])[:-1] + ', "deep": ' + "[" * n + "]" * n + ', "at": 1e300}')


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def assert_any_pin_is_read(asked, field, value):
    store, project, good = asked
    forge(pin_path(store, "default", "raw"), json.dumps(good | {field: value}))
    source_line(source_document(store, project, "default", "raw", 5e9))
    ask_source(store, project, "default", "raw")


@settings(max_examples=15, deadline=None)
@given(field=st.sampled_from(["source", "profile", "at", "place", "partitions"]), value=JSON)
def test_any_value_of_any_field_is_read_without_a_fault(asked, field, value):
    assert_any_pin_is_read(asked, field, value)


@settings(max_examples=15, deadline=None)
@given(value=st.tuples(JSON, JSON, JSON).map(lambda one: [[*one]]) | st.lists(JSON, max_size=3))
def test_any_partition_is_read_without_a_fault(asked, value):
    assert_any_pin_is_read(asked, "partitions", value)


def test_good_pins_are_kept_and_read(asked):
    store, project, _ = asked
    before = ask_source(store, project, "default", "raw")
    for at in (0.0, 1.5, 253_402_300_799.0):
        keep_pin(store, "default", "raw", before._replace(at=at))
        assert last_pin(store, project, "default", "raw") == before._replace(at=at)
        assert source_document(store, project, "default", "raw", at).age_s == 0
