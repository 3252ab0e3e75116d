"""Signatures of models and new folders: every file counts, the same files give the same bytes, a key that
cannot sign is refused with a mend that works, and nothing of a private key is ever shown or written."""

import base64
import json
import os
import re
import shlex
import shutil
import signal
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from mlnb.care.envelopes import message_signed
from mlnb.care.model_signatures import model_statement, public_pem, read_curve_key, signed_folder
from mlnb.store import crash_points
from mlnb.store.errors import IntegrityError, UsageError
from mlnb.store.new_folders import is_same_folder, write_folder

P256 = ec.generate_private_key(ec.SECP256R1())
PLAIN = NoEncryption()
NAMES = st.text("ab.é -", min_size=1, max_size=4).filter(lambda name: name.strip(" .") == name)
FILES = st.dictionaries(NAMES.map(lambda name: f"{name}.txt"), st.binary(max_size=9), min_size=1, max_size=4)


def kept(path, key, locked=PLAIN, form=PrivateFormat.PKCS8):
    "A key in a file as its owner keeps it."
    path.touch(0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, form, locked))
    return path


def statement_in(bundle):
    "What a bundle says, if its signature is that of the key."
    envelope = json.loads(bundle)["dsseEnvelope"]
    payload, signature = (
        base64.b64decode(one) for one in (envelope["payload"], envelope["signatures"][0]["sig"])
    )
    from cryptography.hazmat.primitives.hashes import SHA256

    P256.public_key().verify(signature, message_signed(payload), ec.ECDSA(SHA256()))
    return json.loads(payload)


@settings(max_examples=30, deadline=None)
@given(FILES, st.data())
def test_signature_of_a_folder_covers_every_file(files, data):
    bundle = signed_folder("m", files, P256)["model.sig"]
    listed = {one["name"]: one["digest"] for one in statement_in(bundle)["predicate"]["resources"]}
    assert listed.keys() == files.keys()
    name = data.draw(st.sampled_from(sorted(files)))
    for other in (
        {**files, name: files[name] + b"x"},
        {**files, "new": b""},
        {n: files[n] for n in files if n != name},
    ):
        assert signed_folder("m", other, P256)["model.sig"] != bundle
    backwards = dict(reversed(files.items()))
    assert signed_folder("m", backwards, P256)["model.sig"] == bundle  # where OpenSSL can do that


def test_files_are_listed_part_by_part_of_their_paths():
    said = model_statement("m", dict.fromkeys(["a-b", "a.txt", "a/b", "b"], "00" * 32))
    assert [one.name for one in said.predicate.resources] == ["a/b", "a-b", "a.txt", "b"]


REFUSED = {
    "ed25519": (ed25519.Ed25519PrivateKey.generate(), "holds no private key of the curves"),
    "other curve": (ec.generate_private_key(ec.SECP256K1()), "holds no private key of the curves"),
    "rsa": (rsa.generate_private_key(65537, 1024), "holds no private key of the curves"),
}


@pytest.mark.parametrize("kind", [*REFUSED, "locked", "text", "absent", "open", "folder"])
def test_key_that_cannot_sign_is_refused_with_a_mend_that_works(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "key.pem"
    if kind in REFUSED:
        kept(path, REFUSED[kind][0])
    if kind == "locked":
        kept(path, P256, BestAvailableEncryption(b"x"))
    if kind == "text":
        path.touch(0o600)
    if kind == "open":
        kept(path, P256).chmod(0o644)
    if kind == "folder":
        path.mkdir()
    with pytest.raises(UsageError) as refused:
        read_curve_key(path)
    assert b"PRIVATE" not in str(refused.value).encode()
    if kind == "folder":
        return
    command = shlex.split(re.search("`(.*?)`", refused.value.mend)[1])
    if command[0] == "openssl" and not shutil.which("openssl"):
        pytest.skip("openssl is not here")
    given = [*command, "-passin", "pass:x"] if kind == "locked" else command
    subprocess.run(given, check=True, capture_output=True)
    made = tmp_path / {"locked": "bare.pem", "absent": "key.pem", "open": "key.pem"}.get(kind, "curve.pem")
    assert read_curve_key(made).curve.name == "secp256r1"


def test_signature_holds_nothing_of_the_private_key(tmp_path):
    key = read_curve_key(kept(tmp_path / "key.pem", P256, form=PrivateFormat.TraditionalOpenSSL))
    bundle = signed_folder("m", {"a": b"b"}, key)["model.sig"]
    secret = key.private_numbers().private_value.to_bytes(32, "big")
    texts = [secret, secret.hex().encode(), base64.b64encode(secret)]
    assert not any(text in place for text in texts for place in (bundle, public_pem(key)))


@pytest.mark.parametrize(
    "there", ["nothing", "empty", "same", "other", "more", "file", "link", "linked file"]
)
def test_folder_is_written_whole_or_not_at_all(tmp_path, there):
    out, files = tmp_path / "out", {"a": b"1", "b/c": b"2"}
    if there in ("empty", "same", "other", "more", "linked file"):
        out.mkdir()
    if there in ("same", "more", "linked file"):
        write_folder(out, files)
    if there in ("other", "more"):
        (out / "d").write_bytes(b"3")
    if there == "file":
        out.write_bytes(b"3")
    if there == "link":
        out.symlink_to(tmp_path)
    if there == "linked file":
        (out / "a").unlink()
        (tmp_path / "elsewhere").write_bytes(b"1")
        (out / "a").symlink_to(tmp_path / "elsewhere")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    if there in ("nothing", "empty", "same"):
        assert write_folder(out, files) is (there != "same")
        assert is_same_folder(out, files)
        return
    with pytest.raises(UsageError, match="nothing was written"):
        write_folder(out, files)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    os.rename(out, tmp_path / "away")  # the mend
    assert write_folder(out, files)


def test_folder_that_fails_half_way_leaves_nothing(tmp_path):
    with pytest.raises(IntegrityError):
        write_folder(tmp_path / "out", {"a": b"1", "../b": b"2"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("point", ["begun:1", "half:2", "flushed:2", "kept:3"])
def test_folder_of_a_process_that_is_killed_is_not_there_and_is_made_by_the_next(tmp_path, point):
    out, files = tmp_path / "out", {"a": b"1", "b/c": b"2", "d": b"3"}
    child = os.fork()
    if child == 0:
        crash_points.visits.clear()
        os.environ["MLNB_CRASH"] = f"file.{point}"
        write_folder(out, files)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert not out.exists()
    assert write_folder(out, files)
