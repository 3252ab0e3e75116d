"""Versions and runs in the form of others: the same bytes each time, names as text whatever they hold,
nothing of a secret; damage, erasure, revocation and a taken place end with their codes and leave nothing."""

import base64
import json
import re
import shlex

import pandas as pd
import pytest
import yaml
from every_verb import spoken
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, LogisticRegression

from mlnb.care.burial import bury, new_tombstone
from mlnb.care.signing import make_key
from mlnb.care.vouched import sign_file, signer
from mlnb.history.provenance import BuiltBy, dependencies_used, provenance_of
from mlnb.models.mlflow_folders import code_files, example_value, mlflow_files, mlflow_type
from mlnb.models.onnx_models import compared_rows, split_values
from mlnb.store.artifacts import put_value
from mlnb.store.descriptions import Artifact
from mlnb.store.input_columns import InputColumn
from mlnb.store.model_settings import model_declared
from mlnb.store.objects import open_store, put
from mlnb.store.record import MadeWith, Record
from mlnb.store.records import commit
from mlnb.store.run_entries import GitStanding
from mlnb.store.version_statements import VersionStatement, learnt_statement, say_of_version
from mlnb.store.versions import ModelVersion, read_version, register_version

RUN = "20260101T120000000-0a1b"
DECLARED = model_declared({"artifact": "shop/model", "gate": "gate"})
SETTINGS = """[mlnb]
store = store
[pipeline.shop]
notebooks = shop
[pipeline.gate]
notebooks = gate
[model.shop]
artifact = shop/model
gate = gate
"""
ROWS = pd.DataFrame({"amount": [1.0, 2.0, 8.0, 9.0]})
INPUTS = (InputColumn("amount", "float64", 1.0, 9.0),)
LINE = LogisticRegression().fit(ROWS, [0, 0, 1, 1])
MLFLOW = ["get", "shop@1", "--as", "mlflow", "--out", "out/"]


def version_of(store, model=LINE, **about):
    "A version that is not registered yet."
    said = {"model": "shop", "number": 1, "stage": "train", "key": "a" * 64, "run": RUN, "declared": DECLARED}
    return ModelVersion(**{"output": put_value(store, model), **said, **about})


@pytest.fixture
def shop(tmp_path, monkeypatch):
    "A project with a version, its store, and the version."
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)
    (tmp_path / "settings.ini").write_text(SETTINGS)
    store = open_store(tmp_path / "store")
    version = register_version(store, version_of(store)).version
    say_of_version(store, learnt_statement(version, INPUTS))
    commit(store, made_record(outputs={"model": version.output}, notebook=put(store, b"{}")))
    return tmp_path, store, version


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return open_store(tmp_path_factory.mktemp("formats") / "store")


def asked(root, *words):
    "Exit code of a command, what it printed, and what it said."
    code, out, err = spoken([*words], root)
    return code, out.decode(), err.decode()


NAMES = st.text(max_size=9) | st.just("\ud800")


@settings(max_examples=5, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=4, unique=True))
def test_names_of_inputs_are_text_in_every_file(shared, names):
    version = version_of(shared)
    files = mlflow_files(shared, version, [InputColumn(name, "float64", 0.0, 1.0) for name in names])
    said = yaml.safe_load(files["MLmodel"])
    assert [one["name"] for one in json.loads(said["signature"]["inputs"])] == names
    assert (
        json.loads(files["scores.json"])["names"]
        == json.loads(files["input_example.json"])["columns"]
        == names
    )
    assert not re.search(rb"^[^'\"]*!!", files["MLmodel"], re.M)  # no tag of YAML outside of a text


KINDS = [
    "float64",
    "float32",
    "int8",
    "uint64",
    "Int32",
    "bool",
    "boolean",
    "str",
    "object",
    "datetime64[us]",
]


@pytest.mark.parametrize("kind", [*KINDS, "category", "not known"])
@pytest.mark.parametrize("levels", [None, ("a", "b"), ("1", "2.5")])
def test_example_has_the_type_that_is_said_of_its_column(kind, levels):
    column = InputColumn("x", kind, 1.0, 4.0, levels)
    kinds = {"double": float, "long": int, "boolean": bool, "string": str, "datetime": str}
    said = mlflow_type(column)
    assert said == "any" or type(example_value(column)) in (kinds[said], str if levels else kinds[said])
    assert mlflow_type(InputColumn("x", kind, 1.0, 4.0, levels, 0.1)) != "long"


def test_mlflow_folder_is_written_once_and_again_the_same(shop):
    root, _, version = shop
    (code, out, _), again = asked(root, *MLFLOW, "--json"), asked(root, *MLFLOW)
    assert (code, again[0]) == (0, 0) and "which was there already" in again[2]
    said = json.loads(out)
    assert (said["form"], said["version"], said["digest"], said["out"]) == (
        "mlflow",
        "shop@1",
        version.digest,
        "out",
    )
    assert asked(root, "get", "shop@1", "--as", "mlflow", "--out", "other")[0] == 0
    first, second = (
        {
            path.relative_to(root / place): path.read_bytes()
            for path in (root / place).rglob("*")
            if path.is_file()
        }
        for place in ("out", "other")
    )
    assert first == second
    assert not [path for path in first if path.suffix in (".pkl", ".pickle", ".joblib")]


def damage(store, version):
    path = store.root / "objects" / version.digest[:2] / version.digest
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def erase(store, version):
    make_key(store)
    bury(store, new_tombstone(store, version.digest, "asked for", ("shop", "model")))


def revoke(store, version):
    said = {"model": "shop", "number": 1, "digest": version.digest, "reason": "leak", "actor": "anna"}
    say_of_version(store, VersionStatement(says="revoked", **said))


@pytest.mark.parametrize("form", ["mlflow", "onnx"])
@pytest.mark.parametrize(
    ("spoil", "code", "why"), [(damage, 5, ""), (erase, 6, "asked for"), (revoke, 2, "leak")]
)
def test_version_that_must_not_leave_ends_with_its_code_and_leaves_nothing(shop, form, spoil, code, why):
    root, store, version = shop
    spoil(store, version)
    ended, _, said = asked(root, "get", "shop@1", "--as", form, "--out", "out/")
    assert (ended, why in said) == (code, True), said
    assert not (root / "out").exists()


@pytest.mark.parametrize("place", ["file/out", "file/more/out/"])
def test_folder_below_a_file_is_refused_and_the_mend_works(shop, place):
    root, _, _ = shop
    (root / "file").write_text("mine")
    code, _, said = asked(root, *MLFLOW[:-1], place)
    assert code == 2 and "file is no folder" in said and "choose another place" in said
    assert asked(root, *MLFLOW)[0] == 0 and (root / "file").read_text() == "mine"


REFUSED = {
    "form": (["get", "shop@1", "--as", "mlfow", "--out", "o"], "did you mean `mlflow`"),
    "place": (["get", "shop@1", "--as", "mlflow"], "add `--out FILE`"),
    "whole model": (["get", "shop", "--as", "mlflow", "--out", "o"], "write `shop@N`"),
    "key alone": (["get", "shop@1", "--sign-with", "k"], "add `--as mlflow`"),
    "key of provenance": (
        ["get", "shop@1", "--as", "slsa", "--out", "o", "--sign-with", "k"],
        "leave `--sign-with` out",
    ),
    "no run": (["get", "latest", "--as", "slsa", "--out", "o"], "there is no run"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_written_is_refused_with_what_to_type(shop, kind):
    words, mend = REFUSED[kind]
    code, _, said = asked(shop[0], *words)
    assert (code, mend in said) == (2, True), said
    assert not (shop[0] / "o").exists()


def test_version_that_nobody_vouches_for_is_refused_where_somebody_must(shop):
    root, store, _ = shop
    (root / "settings.ini").write_text(
        SETTINGS.replace("store = store", "store = store\nrequire_signed = true")
    )
    make_key(store)
    plain, formed = asked(root, "get", "shop@1", "--out", "o"), asked(root, *MLFLOW)
    assert plain[0] == formed[0] != 0 and "nobody signed it" in formed[2]
    for path in (*store.root.glob("records/*/*/*.json"), *store.root.glob("versions/*/*.json")):
        sign_file(store, path)  # as the mend does
    code, _, said = asked(root, *MLFLOW)
    assert code == 0, said


def test_taken_place_is_refused_and_left_as_it_is(shop):
    root = shop[0]
    (root / "out").mkdir()
    (root / "out" / "mine.txt").write_text("mine")
    code, _, said = asked(root, *MLFLOW)
    assert code == 2 and "nothing was written" in said
    assert [path.name for path in (root / "out").iterdir()] == ["mine.txt"]


def test_key_is_read_before_anything_is_written(shop):
    root = shop[0]
    code, _, said = asked(root, *MLFLOW, "--sign-with", "key.pem")
    assert code == 2 and not (root / "out").exists()
    command = re.search("`(openssl genpkey[^`]*)`", said)[1]
    assert shlex.split(command)[-1] == "key.pem"


def test_model_without_probabilities_and_value_that_is_no_model_are_refused(shop):
    root, store, _ = shop
    number = register_version(store, version_of(store, 7, key="b" * 64)).version.number
    plain = register_version(
        store, version_of(store, LinearRegression().fit(ROWS, [0, 1, 2, 3]), key="c" * 64)
    ).version
    say_of_version(store, learnt_statement(plain, INPUTS))
    unmade = register_version(
        store, version_of(store, LogisticRegression(C=2.0).fit(ROWS, [0, 0, 1, 1]), key="d" * 64)
    )
    code, _, said = asked(root, "get", unmade.version.written, "--as", "slsa", "--out", "o")
    assert code == 2 and "has no result here" in said
    for one in (read_version(store, "shop", number), plain):
        commit(store, made_record(key=one.key, outputs={"model": one.output}, notebook=put(store, b"{}")))
    for one, why in ((number, "not a model of scikit-learn"), (plain.number, "gives no probabilities")):
        code, _, said = asked(root, "get", f"shop@{one}", "--as", "mlflow", "--out", "out/")
        assert code == 2 and why in said and not (root / "out").exists()
        assert asked(root, "get", f"shop@{one}", "--out", f"{one}.file")[0] == 0  # the mend


def test_code_of_the_project_goes_along_only_for_types_of_its_own(shared):
    digests = {name: put(shared, name.encode()) for name in ("own", "own.parts", "mlnb.models.training")}
    version = version_of(shared, modules=digests)
    assert code_files(shared, version, ["sklearn.tree._tree.Tree", "ownership.Model"]) == {}
    found = code_files(shared, version, ["own.parts.Scaler"])
    assert found == {"code/own/__init__.py": b"own", "code/own/parts.py": b"own.parts"}


def test_splits_and_drawn_rows_follow_inputs(shared):
    assert split_values(LINE, 0) == []
    column = InputColumn("n", "int64", 1, 4, null_share=0.5)
    rows = compared_rows(LINE, [column])
    seen = rows[~pd.isna(rows)]
    assert set(seen) <= {1.0, 2.0, 3.0, 4.0} and len(seen) < len(rows)


def made_record(**about):
    "A record of a stage."
    given = {
        "key": "a" * 64,
        "pipeline": "shop",
        "stage": "train",
        "run": RUN,
        "outputs": {"model": Artifact("json", "b" * 64, 3)},
        "started_utc": "2026-01-01T12:00:00+00:00",
        "seconds": 1.5,
    }
    return Record(**given | about)


SECRETS = {
    "password": "hunter-2-hunter",
    "api_token": "t0k-9fj2k3",
    "url": "https://me:s3cr-et@example.org/rows",
    "folders": ["https://me:s3cr-et@example.org/more"],
    "headers": {"api_token": "t0k-9fj2k3"},
}


@settings(max_examples=6, deadline=None)
@given(st.fixed_dictionaries({}, optional={name: st.just(value) for name, value in SECRETS.items()}))
def test_secrets_are_in_no_statement(chosen):
    parts = {
        "parameters": {
            name: {"value": value, "type": "str"} for name, value in (chosen | {"days": "30"}).items()
        }
    }
    record = made_record(parts=parts, each=chosen)
    text = json.dumps(provenance_of(record, BuiltBy("ed25519:x")).as_dict())
    assert not any(secret in text for secret in ("hunter-2-hunter", "t0k-9fj2k3", "s3cr-et"))
    said = json.loads(text)["predicate"]["buildDefinition"]["externalParameters"]
    assert said["parameters"]["days"] == "30"
    assert set(said.get("withheld", [])) == set(chosen) & {"password", "api_token"}


def test_all_that_a_result_was_made_from_is_stated_with_its_digest():
    record = made_record(
        inputs={"rows": Artifact("frame", "c" * 64, 9)},
        sources={"raw": (("https://u:pw@host/a.csv", 3, "d" * 64),)},
        source="e" * 64,
        file="shop/10_train.ipynb",
        modules={"own": "f" * 64},
        environment=MadeWith("3.11.7", "linux-x86_64", {"a-b": "1+cpu"}),
    )
    used = dependencies_used(record, GitStanding("1" * 40, "main", (), 0))
    digests = {one.digest["sha256"][0] for one in used if one.digest and "sha256" in one.digest}
    assert digests == set("cdef") and "pw" not in str(used)
    assert {"gitCommit": "1" * 40} in [one.digest for one in used]
    assert "pkg:pypi/a-b@1%2Bcpu" in [one.uri for one in used]


def test_provenance_of_a_version_is_that_of_its_records_and_needs_ones_own_signature(shop):
    root, store, _ = shop
    words = ["get", "shop@1", "--as", "slsa", "--out", "made.jsonl"]
    record = made_record(outputs={"model": put_value(store, LINE)}, notebook=put(store, b"{}"))
    code, _, said = asked(root, *words)
    assert code == 2 and "there is no key to sign with" in said and "`mlnb audit init`" in said
    make_key(store)  # the mend
    code, _, said = asked(root, *words)
    assert code == 2 and "nobody signed it" in said and "`mlnb run shop --force`" in said
    commit(store, record, sign=signer(store, "record"))  # as that run does
    assert asked(root, *words)[0] == 0
    (line,) = (root / "made.jsonl").read_text().splitlines()
    statement = json.loads(base64.b64decode(json.loads(line)["payload"]))
    assert statement["subject"][0]["digest"] == {"sha256": record.outputs["model"].digest}
    assert "which was there already" in asked(root, *words)[2]
