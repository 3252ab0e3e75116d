"""The gate of the fraud model, run: a first champion, a worse and an equal challenger, labels that depend on
the champion, a challenger trained on such labels."""

import json
import re
import shutil
from pathlib import Path

import pytest

from mlnb.flow.registering import results_of_run
from mlnb.store.gate_findings import read_slices
from mlnb.store.refs import move_ref, read_ref
from mlnb.store.runs import read_run
from mlnb.store.settings import find_project, project_store
from mlnb.store.versions import alias_ref, read_versions

REPOSITORY = Path(__file__).resolve().parents[1]
ABSOLUTE = {"labels", "support", "drift", "fairness", "inputs_candidate", "least_average_precision"}
ABSOLUTE |= {"least_roc_auc", "least_card_precision", "least_value_detection", "least_saved_share"}
ABSOLUTE |= {"calibration_in_the_large", "calibration_slope", "calibration_error"}
COMPARED = {"average_precision", "roc_auc", "card_precision", "value_detection", "saved_share", "right_cases"}


class Gate:
    "A project whose models come from profile `ci`."

    def __init__(self, root, mlnb):
        self.root, self.mlnb = root, mlnb
        text = (REPOSITORY / "settings.ini").read_text()
        (root / "settings.ini").write_text(
            text.replace("gate = fraud_gate", "gate = fraud_gate\nprofile = ci")
        )
        for name in ("fraud", "fraud_gate"):
            shutil.copytree(REPOSITORY / "nbs/pipelines" / name, root / "nbs/pipelines" / name)

    def run(self, pipeline, *options):
        return self.mlnb("run", pipeline, "--profile", "ci", *options, "--json", cwd=self.root)

    def point(self, alias, number):
        "Let an alias mean the model of a version, and its threshold."
        store = project_store(find_project(self.root))
        version = read_versions(store, "fraud")[number - 1]
        results = results_of_run(store, read_run(store, version.run))
        for name in ("model", "threshold"):
            digest = next(one.outputs[name].digest for one in results.values() if name in one.outputs)
            ref = alias_ref(f"fraud/{name}", alias)
            now = read_ref(store, ref)
            if now is None or now.target != digest:
                move_ref(store, ref, digest, "for a test", now.number if now else 0)

    def challenge(self, *options):
        "Make another model, and let it be the candidate."
        made = self.run("fraud", *options)
        assert made.code == 0, made.stderr
        said = self.mlnb("model", "register", f"fraud@{made.json['run']}", cwd=self.root).stdout
        self.point("candidate", int(re.search(r"fraud@(\d+)", said)[1]))

    def checks(self, result):
        "The checks of a run, by name."
        out, name = self.root / "checks.json", f"fraud_gate/checks@{result.json['run']}"
        got = self.mlnb("get", name, "--out", out, cwd=self.root)
        assert got.code == 0, got.stderr
        return {check["name"]: check for check in json.loads(out.read_text())}


@pytest.fixture(scope="module")
def gate(tmp_path_factory, mlnb):
    gate = Gate(tmp_path_factory.mktemp("gate"), mlnb)
    assert gate.run("fraud").code == 0
    gate.point("candidate", 1)
    first = gate.run("fraud_gate")
    assert first.code == 0, first.stderr
    assert gate.checks(first).keys() == ABSOLUTE
    gate.point("champion", 1)
    return gate


@pytest.mark.slow
def test_worse_candidate_is_refused_and_every_check_is_kept(gate):
    gate.challenge("-p", "max_depth", "1")
    result = gate.run("fraud_gate")
    assert (result.code, result.states["checks"], result.states["decide"]) == (3, "committed", "failed")
    checks = gate.checks(result)
    assert checks.keys() == ABSOLUTE | COMPARED | {"inputs_champion"}
    assert {"average_precision", "calibration_slope"} <= {
        name for name, check in checks.items() if check["verdict"] == "fail"
    }


@pytest.mark.slow
def test_nearly_the_same_candidate_passes_and_says_what_was_not_judged(gate):
    gate.challenge("-p", "n_estimators", "90")
    result = gate.run("fraud_gate")
    assert result.code == 0, result.stderr
    checks = gate.checks(result)
    assert {check["verdict"] for check in checks.values()} == {"ok", "warn"}
    assert checks["fairness"]["verdict"] == "warn"
    again = gate.run("fraud_gate", "--force")
    assert again.code == 0 and gate.checks(again) == checks


@pytest.mark.slow
@pytest.mark.parametrize("labels", ["not_stopped", "control"])
def test_labels_that_cannot_judge_refuse_whoever_the_candidate_is(gate, labels):
    result = gate.run("fraud_gate", "-p", "labels", labels)
    assert (result.code, result.states["checks"], result.states["decide"]) == (3, "committed", "failed")
    checks = gate.checks(result)
    told = {name for name, check in checks.items() if check["verdict"] == "not_computable"}
    assert told == ({"labels", "support"} if labels == "not_stopped" else {"support"})


@pytest.mark.slow
def test_slices_state_their_support_and_the_card_has_the_words_of_the_owner(gate):
    result, out = gate.run("fraud_gate"), gate.root / "slices.json"
    got = gate.mlnb("get", f"fraud_gate/slices@{result.json['run']}", "--out", out, cwd=gate.root)
    assert got.code == 0, got.stderr
    slices = read_slices(json.loads(out.read_text()))
    assert {one.metric for one in slices} == {"roc_auc", "true_positive_rate"}
    assert all(one.low <= one.value <= one.high for one in slices if one.value is not None)
    kinds = {one.slice.partition(":")[0] for one in slices}
    assert kinds == {"amount", "card known by", "time of day", "day of the week"}
    rows = {kind: sum(one.n_rows for one in slices if one.slice.startswith(kind)) for kind in kinds}
    assert len(set(rows.values())) == 1  # each kind has every row once for each metric
    card = gate.mlnb("model", "card", "fraud@1", "--json", cwd=gate.root)
    assert card.code == 0 and "Not for real payments" in card.json["words"][1]
    assert card.json["training"]["days"]["last_day"] > 0 and len(card.json["inputs"]) == 15
