"""Signatures: who wrote a document, for which purpose, and whether it was altered."""

import base64
import json
import os
import stat
from contextlib import suppress

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlnb.care.signing import (
    SignatureError,
    UntrustedError,
    check_signature,
    distrust,
    has_key,
    key_path,
    key_text,
    make_key,
    message_of,
    own_key,
    parse_keys,
    read_key,
    sign,
    trust,
    trusted_keys,
)
from mlnb.care.vouched import other_names
from mlnb.store.errors import IntegrityError, UsageError
from mlnb.store.objects import open_store

FEW = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(autouse=True)
def no_key_from_outside(monkeypatch):
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)


@pytest.fixture(scope="module")
def signer(tmp_path_factory):
    store = open_store(tmp_path_factory.mktemp("signer") / "store")
    make_key(store)
    return store


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "store")


@FEW
@given(st.dictionaries(st.text().filter(lambda name: name != "signed"), JSON, max_size=4))
def test_any_document_signed_and_sent_as_json_comes_back(signer, document):
    sent = json.loads(json.dumps(sign(signer, "record", document)))
    assert check_signature("record", sent, trusted_keys(signer)) == (
        document,
        trusted_keys(signer)[own_key(signer)],
    )


@FEW
@given(st.data())
def test_any_changed_byte_of_a_signed_document_is_refused(signer, data):
    text = json.dumps(
        sign(signer, "record", {"key": "a" * 64, "outputs": {"model": {"digest": "b" * 64, "bytes": 12}}})
    )
    place = data.draw(st.integers(0, len(text) - 1))
    changed = text[:place] + data.draw(st.characters(min_codepoint=32, max_codepoint=126)) + text[place + 1 :]
    try:
        document = json.loads(changed)
    except ValueError:
        return
    if document == json.loads(text):
        return
    with pytest.raises(SignatureError):
        check_signature("record", document, trusted_keys(signer))


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "text",
        7,
        {},
        {"signed": None},
        {"signed": {}},
        {"signed": {"key": 1, "signature": 2}},
        {"signed": {"key": "ed25519:" + "A" * 43 + "=", "signature": "A"}},
        {"signed": {"key": "ed25519:" + "A" * 43 + "=", "signature": "A" * 88}},
        {"a": float("nan"), "signed": {"key": "ed25519:" + "A" * 43 + "=", "signature": "A" * 88}},
    ],
)
def test_what_is_no_signed_document_is_refused(document):
    with pytest.raises(SignatureError):
        check_signature("record", document, {})


def test_signature_for_another_purpose_is_refused(signer):
    with pytest.raises(SignatureError):
        check_signature("record", sign(signer, "checkpoint", {"n": 1}), trusted_keys(signer))


def test_signature_of_a_stranger_is_told_from_a_forgery(signer):
    with pytest.raises(UntrustedError) as error:
        check_signature("record", sign(signer, "record", {"n": 1}), {})
    assert own_key(signer) in error.value.message
    assert isinstance(error.value, IntegrityError)


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_private_key_is_private_whatever_the_umask(store, umask):
    before = os.umask(umask)
    try:
        make_key(store)
    finally:
        os.umask(before)
    assert stat.S_IMODE(key_path(store).stat().st_mode) == 0o600
    assert stat.S_IMODE(key_path(store).parent.stat().st_mode) == 0o700
    assert read_key(store).public_key().public_bytes_raw()


def test_key_of_an_overlay_is_that_of_the_store_below(store, tmp_path):
    make_key(store)
    overlay = open_store(tmp_path / "overlay", below=store)
    assert own_key(overlay) == own_key(store)


def test_user_name_with_a_path_in_it_stays_inside_the_store(store, monkeypatch):
    monkeypatch.setenv("LOGNAME", "../../outside")
    make_key(store)
    assert key_path(store).resolve().is_relative_to(store.root / "private")
    assert not (store.root.parent / "outside").exists()


def test_key_named_by_the_environment_is_used(store, signer, monkeypatch):
    monkeypatch.setenv("MLNB_SIGNING_KEY", str(key_path(signer)))
    assert own_key(store) == own_key(signer)


@pytest.mark.parametrize(
    "content", [b"", b"not a key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_damaged_private_key_is_one_clear_error(store, content):
    make_key(store)
    key_path(store).write_bytes(content)
    with pytest.raises(UsageError, match="no Ed25519 key"):
        read_key(store)


@pytest.mark.parametrize(
    "text", ["", "ed25519:", "ed25519:AAAA", "rsa:" + "A" * 44, "ed25519:" + "A" * 44, "ed25519:" + "é" * 44]
)
def test_what_is_no_public_key_is_refused(store, text):
    with pytest.raises(UsageError, match="no public key"):
        trust(store, "ana", text)
    assert list(store.root.glob("trusted/*")) == []


P = 2**255 - 19
Y = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
)
FORGED = b"\1" + bytes(63)  # the origin, and nothing: made without any key


@pytest.mark.parametrize("y", [0, 1, P - 1, P, P + 1, Y, P - Y])
@pytest.mark.parametrize("sign_bit", [0, 1])
def test_key_that_all_can_sign_for_is_trusted_nowhere_and_its_signatures_count_for_nothing(
    store, y, sign_bit
):
    raw = (y + (sign_bit << 255)).to_bytes(32, "little")
    text, fits = key_text(raw), []
    for n in range(100):
        document = {"n": n}
        with suppress(InvalidSignature):
            Ed25519PublicKey.from_public_bytes(raw).verify(FORGED, message_of("record", document))
            fits.append(document)
    assert fits  # so the library says, of some documents or all
    for refuse in (lambda: trust(store, "bob", text), lambda: parse_keys(f"bob {text}")):
        with pytest.raises(UsageError, match="no public key that anybody has"):
            refuse()
    signed = {"key": text, "signature": base64.b64encode(FORGED).decode()}
    for document in fits:
        with pytest.raises(SignatureError, match="not signed, or was altered"):
            check_signature("record", document | {"signed": signed}, {text: "bob"})


def test_name_of_ones_own_key_is_nobody_elses(store, monkeypatch):
    monkeypatch.setattr("mlnb.care.signing.actor", lambda: "ana")
    trust(store, "ana", key_text(bytes([2] * 32)))  # who has no key has no name yet
    distrust(store, "ana")
    make_key(store)
    with pytest.raises(UsageError, match="the name that your own key goes by") as refused:
        trust(store, "ana", key_text(bytes([2] * 32)))
    assert "`ana_2`" in refused.value.mend and list(store.root.glob("trusted/*")) == []
    trust(store, "ana", own_key(store))
    assert trusted_keys(store) == {own_key(store): "ana"}


@pytest.mark.parametrize("name", ["", "../ana", "Ana", "a/b", "ana.key"])
def test_name_of_a_key_cannot_leave_its_folder(store, name):
    with pytest.raises(UsageError, match="no name for a key"):
        trust(store, name, key_text(bytes([2] * 32)))


def test_second_key_of_a_name_in_the_settings_is_refused_and_a_repeated_one_is_not():
    one, two = key_text(bytes([2] * 32)), key_text(b"\1" * 32)
    with pytest.raises(UsageError, match="names two keys of `ana`") as refused:
        parse_keys(f"ana {one}, ci {two}, ana {two}")
    assert "`ana_2`" in refused.value.mend
    assert parse_keys(f"ana {one}, ana {one},") == {"ana": one}


def test_key_under_two_names_counts_until_the_last_is_taken_back_and_that_is_said(store):
    key, declared = key_text(bytes([2] * 32)), parse_keys(f"ana {key_text(bytes([2] * 32))}")
    for name in ("me", "me_before"):
        trust(store, name, key)
    assert set(other_names(store, declared, distrust(store, "me_before"))) == {"ana", "me"}
    assert other_names(store, declared, distrust(store, "me"), "me") == {
        "ana": "remove `ana` from `trusted_keys` in settings.ini"
    }
    assert trusted_keys(store, declared) == {key: "ana"}


def test_trust_in_settings_and_store_add_up_and_can_be_taken_back(store):
    one, two = key_text(bytes([2] * 32)), key_text(b"\1" * 32)
    trust(store, "ana", one)
    assert trusted_keys(store, parse_keys(f"ci {two}")) == {one: "ana", two: "ci"}
    distrust(store, "ana")
    assert trusted_keys(store) == {}
    assert not has_key(store)
