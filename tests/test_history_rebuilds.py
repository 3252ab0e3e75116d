"""A model is made again by somebody else, who states what came out; the maker cannot state it himself."""

import contextlib
import io
import json
import signal

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from mlnb.care.approvals import rebuilds_that_count
from mlnb.care.audit import events
from mlnb.care.signing import key_path, make_key, parse_keys
from mlnb.care.vouched import signer, store_keys
from mlnb.cli import ENDING, run_command
from mlnb.store.descriptions import Artifact
from mlnb.store.model_settings import model_declared
from mlnb.store.objects import open_store
from mlnb.store.run_entries import RunDocument
from mlnb.store.runs import write_run
from mlnb.store.versions import ModelVersion, read_versions, register_version

SETTINGS = """[mlnb]
trusted_keys = {keys}
remote = {remote}
[pipeline.fraud]
notebooks = fraud
[pipeline.fraud_gate]
notebooks = gate
[model.fraud]
artifact = fraud/model
gate = fraud_gate
"""
SPEC = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
ROWS = ("from mlnb import save", "save('rows', [[1.0], [2.0], [3.0]])")
TRAIN = (
    "from mlnb import load, save\nimport uuid\nfrom sklearn.dummy import DummyRegressor",
    "rows = load('rows')\nsave('model', DummyRegressor().fit(rows, [{y}, 2.0, 3.0]))",
)
REPORT = ("from mlnb import load, save\nimport uuid", "load('model')\nsave('report', str(uuid.uuid4()))")


class Person:
    "A copy of the project, with a key of its own."

    def __init__(self, folder):
        self.root, self.store = folder, open_store(folder / ".mlnb")
        self.key = make_key(self.store)

    def mlnb(self, *words):
        "The command line, inside this process: exit code and document."
        out, err = io.StringIO(), io.StringIO()
        with contextlib.chdir(self.root), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run_command([*words, "--json"])
        return code, json.loads(out.getvalue())

    def write(self, name, *cells):
        notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells], metadata=SPEC)
        nbformat.write(notebook, self.root / "fraud" / name)


@pytest.fixture(autouse=True)
def signals_as_before():
    "The command line hears signals in its own way, which is not that of the tests behind."
    before = {number: signal.getsignal(number) for number in ENDING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def people(tmp_path, monkeypatch):
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)
    for name in ("anna", "ben"):
        for folder in ("fraud", "gate"):
            (tmp_path / name / folder).mkdir(parents=True)
    found = [Person(tmp_path / name) for name in ("anna", "ben")]
    keys = ", ".join(f"{name} {one.key}" for name, one in zip(("anna", "ben"), found, strict=True))
    for one in found:
        one.declared = parse_keys(keys)
        (one.root / "settings.ini").write_text(SETTINGS.format(keys=keys, remote=tmp_path / "shared"))
    return found


def heard(person, number=1):
    version = read_versions(person.store, "fraud")[number - 1]
    found = rebuilds_that_count(person.store, version, store_keys(person.store, person.declared))
    return [one.standing.by for one in found.counted], [one.why for one in found.refused]


def test_who_cannot_state_it_is_refused_before_anything_runs(people):
    anna, _ = people
    declared = model_declared({"artifact": "fraud/model", "gate": "fraud_gate"})
    about = {"model": "fraud", "number": 1, "stage": "train", "key": "a" * 64, "run": "20260101-120000-aa"}
    new = ModelVersion(**about, output=Artifact("estimator", "b" * 64, 9), declared=declared)
    register_version(anna.store, new, signer(anna.store, "version"))
    write_run(anna.store, RunDocument(run=about["run"], pipeline="fraud", state="committed"))
    cases = {
        ("fraud@1", "--sign"): "your own key signed fraud@1",
        ("fraud@2", "--sign"): "there is no `fraud@2`",
        (about["run"], "--sign"): "is a run",
        ("fraud@1", "train", "--sign"): "the whole way to a model",
        ("fraud@1",): "does not have the model of fraud@1",
    }
    for words, why in cases.items():
        code, said = anna.mlnb("reproduce", *words)
        assert code == 2 and why in said["problems"][0]["message"] and said["problems"][0]["mend"], words
    key_path(anna.store).rename(anna.root / "lost")
    assert "no key" in anna.mlnb("reproduce", "fraud@1", "--sign")[1]["problems"][0]["message"]
    assert events(anna.store, "reproduction") == []


@pytest.mark.slow
def test_other_person_makes_the_model_again_and_says_what_came_out(people, mlnb):
    anna, ben = people

    def again(person, *words):
        done = mlnb("reproduce", *words, "--json", cwd=person.root)
        return done.code, done.json

    def train():
        done = mlnb("run", "fraud", "--cold", cwd=anna.root)
        assert done.code == 0 and "nobody signed" not in done.stdout + done.stderr
        assert anna.mlnb("push")[0] == ben.mlnb("pull")[0] == 0

    anna.write("10_rows.ipynb", *ROWS)
    anna.write("20_train.ipynb", *(cell.replace("{y}", "1.0") for cell in TRAIN))
    anna.write("30_report.ipynb", *REPORT)
    train()
    code, said = again(ben, "fraud@1", "--sign")
    assert (code, [one["name"] for one in said["stages"]]) == (0, ["rows", "train"])
    assert (said["stated"]["says"], said["version"]) == ("rebuilt", "fraud@1")
    assert heard(anna) == ([], []) and ben.mlnb("push")[0] == anna.mlnb("pull")[0] == 0
    assert heard(anna) == (["ben"], [])
    shown = anna.mlnb("model", "show", "fraud@candidate")[1]
    assert [one["by"] for one in shown["rebuilds"]] == ["ben"]
    assert again(anna, "fraud@candidate", "train")[0] == 0
    anna.write("20_train.ipynb", *(cell.replace("{y}", "float(uuid.uuid4().int % 10**9)") for cell in TRAIN))
    train()
    code, said = again(ben, "fraud@2", "--sign")
    assert (code, said["stated"]["says"], said["stated"]["first"]) == (5, "differs", "train/model")
    assert ben.mlnb("push")[0] == anna.mlnb("pull")[0] == 0
    assert heard(anna, 2) == ([], ["it came out differently: `train/model` differs"])
    assert [one.outcome for one in events(ben.store, "version")] == ["rebuilt", "differs"]


@pytest.mark.slow
def test_who_has_no_key_is_told_that_nobody_can_approve_what_was_registered(people, mlnb):
    anna, _ = people
    anna.write("20_train.ipynb", TRAIN[0], "save('model', DummyRegressor().fit([[1.0], [2.0]], [1.0, 2.0]))")
    settings = anna.root / "settings.ini"
    settings.write_text(settings.read_text().replace("gate = fraud_gate", "gate = fraud_gate\nrebuilds = 1"))
    key_path(anna.store).rename(anna.root / "lost")
    key_path(anna.store).with_suffix(".pub").unlink()
    done = mlnb("run", "fraud", "--cold", cwd=anna.root)
    assert (
        done.code == 0 and "nobody signed fraud@1, so nobody else can approve it" in done.stdout + done.stderr
    )
    assert (
        mlnb("audit", "init", cwd=anna.root).code == mlnb("push", "--sign-unsigned", cwd=anna.root).code == 0
    )
    assert anna.mlnb("model", "show", "fraud@1")[1]["signature"]["state"] == "own"
