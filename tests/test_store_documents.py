"""Documents are laid out and read by msgspec as Python's own `json` would, and where it cannot, by that."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlnb.care.concerned import is_readable
from mlnb.store.digests import sha256
from mlnb.store.documents import (
    LENGTH,
    PREFIX,
    SUFFIX,
    document_in,
    from_json,
    is_sound,
    json_in,
    place_in_store,
    read_document,
    read_json,
    sealed,
)
from mlnb.store.errors import IntegrityError
from mlnb.store.record import Record
from mlnb.store.refs import RefMove
from mlnb.store.run_entries import RunDocument

TEXTS = st.text() | st.sampled_from(["\ud800", "a\ud83d", "\x00\x7f", "\u2028", "\U0001f600"])
NUMBERS = st.integers() | st.integers(-(10**40), 10**40) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_sealed_document_has_the_bytes_that_json_writes_in_lines(document):
    path = Path("runs/r1/run.json")
    text = sealed(path, document)
    assert b"{\n" + text[LENGTH:] == json.dumps(document, indent=1).encode()
    assert is_sound(path, text)


@given(VALUES, st.sampled_from([None, 1]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_json_is_read_as_python_reads_it(value, indent, is_ascii):
    text = json.dumps(value, indent=indent, ensure_ascii=is_ascii).encode("utf-8", "replace")
    assert repr(from_json(text)) == repr(json.loads(text))


@pytest.mark.parametrize(
    "text", ["1e400", "NaN", "[Infinity]", '"\\ud800"', '{"a": 1, "a": 2}', "-0", "5e-324"]
)
def test_what_only_python_takes_is_read_by_python(text):
    assert repr(from_json(text.encode())) == repr(json.loads(text))


@pytest.mark.parametrize("data", [b"", b"[1,]", b"01", b"\xff", b'"a\tb"', b"[" * 100, b"1" + b"0" * 9_000])
def test_what_is_no_json_is_a_value_error(data):
    with pytest.raises(ValueError, match=r"char|codec|digits"):
        from_json(data)


def test_not_a_number_is_not_written():
    with pytest.raises(ValueError, match="not JSON compliant"):
        sealed(Path("runs/r1/run.json"), {"loss": float("nan")})


NO_TEXTS = [b'"\xff\xfe"', b'{"key": "\xff"}', b'["\xed\xa0\x80"]']  # bytes that are no UTF-8
KINDS = {
    "records/demo/a/{key}.json": (Record, {"key": "1" * 64, "pipeline": "demo", "stage": "a", "run": "r1"}),
    "runs/r1/run.json": (RunDocument, {"run": "r1", "pipeline": "demo", "state": "committed"}),
    "refs/heads/demo/default/00000001.json": (RefMove, {"target": "r1"}),
}


@pytest.mark.parametrize("member", ["signed", "unknown"])
@pytest.mark.parametrize("value", NO_TEXTS)
@pytest.mark.parametrize("place", KINDS)
def test_what_is_no_text_is_damage_also_in_members_that_nobody_reads(tmp_path, place, value, member):
    kind, plain = KINDS[place]
    path = tmp_path / place.format(key="1" * 64)
    path.parent.mkdir(parents=True)
    rest = json.dumps(plain)[1:-1].encode() + f', "{member}": '.encode() + value + b"}"
    head = sha256(place_in_store(path).encode() + b"\n" + rest).encode()
    path.write_bytes(PREFIX + head + SUFFIX + rest)
    for read in (read_json, lambda one: read_document(one, kind)):
        with pytest.raises(IntegrityError, match="is damaged"):
            read(path)
    assert not is_readable(tmp_path, path)


def outcome(read):
    "What a way of reading gives; None for damage."
    try:
        return read()
    except IntegrityError:
        return None


@given(VALUES, st.sampled_from([*KINDS.values()]), st.data())
@settings(max_examples=300, deadline=None)
def test_document_read_in_one_go_is_what_it_is_in_two(value, known, data):
    kind, plain = known
    field = data.draw(st.sampled_from([*kind.__struct_encode_fields__, "unknown", "signed"]))
    text = json.dumps(plain | {field: value}).encode()
    path = Path("file.json")
    at_once = outcome(lambda: document_in(path, text, kind))
    assert at_once == outcome(lambda: kind.from_dict(json_in(path, text)))
    assert (at_once is None) or at_once.as_dict() == kind.from_dict(at_once.as_dict()).as_dict()
