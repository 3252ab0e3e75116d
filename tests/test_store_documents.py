"""Documents are laid out and read by msgspec as Python's own `json` would, and where it cannot, by that."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlnb.store.documents import LENGTH, from_json, is_sound, sealed

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
