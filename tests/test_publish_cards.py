"""Model cards: what must be known first, parts that are missing, damaged, hostile or odd, the same bytes
twice, and a bill of materials that its own tool accepts."""

import json
import os
import re
import subprocess
import sys
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from plain_records import commit, write_run
from test_models_formats import SECRETS
from test_publish_models import GATE_KEY, GATE_RUN, HOSTILE, MODEL, RUN, Shop, check
from test_publish_site import Links

from mlnb.care.erase import erase
from mlnb.care.signing import make_key
from mlnb.care.vouched import keys_known, signer
from mlnb.history.graph import GraphEdge
from mlnb.history.lineage import Lineage, LineageNode
from mlnb.history.model_card import ALARMS, CardAsked, drawn_lineage, model_card
from mlnb.history.model_events import model_histories
from mlnb.history.provenance import WITHHELD
from mlnb.publish.card_page import card_page
from mlnb.publish.card_rows import ALARM_MARKS, STATUS_MARKS
from mlnb.publish.ml_bom import bom_text, card_text, ml_bom
from mlnb.store.artifacts import put_value
from mlnb.store.descriptions import Artifact
from mlnb.store.digests import sha256
from mlnb.store.documents import sealed
from mlnb.store.errors import UsageError
from mlnb.store.gate_findings import read_explanation, read_slices
from mlnb.store.input_columns import InputColumn
from mlnb.store.objects import open_store, path_of, put
from mlnb.store.record import MadeWith
from mlnb.store.refs import move_ref
from mlnb.store.version_statements import VersionStatement, learnt_statement, say_of_version
from mlnb.store.versions import ModelVersion, read_versions, version_place
from mlnb.terminal.card import CARD_FORMS, card_files

ROOT = Path(__file__).resolve().parents[1]
BESIDE_PYTHON = Path(os.environ.get("BESIDE_PYTHON", ROOT / "build/beside/bin/python"))
SLICE = {"slice": "night", "n_rows": 900, "n_positive": 40, "metric": "roc_auc"}
FIGURES = {"value": 0.8, "low": 0.7, "high": 0.9}
CURVE = {"name": "amount", "at": [1.0, 10.0, 100.0], "score": [0.01, 0.2, 0.4], "share": [0.5, 0.4, 0.0]}
IMPORTANCE = {"name": "amount", "inputs": ["amount", "amount_7"], "value": 0.2, "low": 0.1, "high": None}
EXPLANATION = {"metric": "average_precision", "n_rows": 900, "n_cards": 90, "importance": [IMPORTANCE]}
EXPLANATION |= {"partial_dependence": [CURVE]}


@pytest.fixture(autouse=True)
def no_key_from_outside(monkeypatch):
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path / "shop")


def history_of(shop):
    return model_histories(shop.store, shop.project)[0]


def card_of(shop, number=1, today=date(2026, 1, 1)):
    "The card of a version, in all its forms: each must be made whatever is wrong."
    version = next(one for one in read_versions(shop.store, "fraud") if one.number == number)
    asked = CardAsked(keys_known(shop.store), None, today)
    card = model_card(shop.store, shop.project, history_of(shop), version, asked)
    shop.html, shop.bom = card_page(card), ml_bom(card)
    json.dumps(shop.bom, allow_nan=False), json.loads(card_text(card))
    return card


def kinds(card):
    return [one.kind for one in card.alarms if one.kind != "damaged"]  # models here are digests of nothing


def findings(shop, **values):
    "What a gate's run leaves beside its checks."
    shop.gate(1, [check("drift", "ok")], "passed", state="committed")
    outputs = {name: put_value(shop.store, value).as_dict() for name, value in values.items()}
    about = {"key": "d" * 64, "pipeline": "fraud_gate", "stage": "look", "run": GATE_RUN, "outputs": outputs}
    commit(shop.store, about)
    keys = {"check": GATE_KEY, "look": "d" * 64}
    write_run(shop.store, {"run": GATE_RUN, "pipeline": "fraud_gate", "state": "committed", "keys": keys})


def attributes_of(html):
    "Names of all attributes, as a browser reads them."
    found, parser = [], HTMLParser()
    parser.handle_starttag = lambda tag, given: found.extend(name for name, _ in given)
    parser.feed(html)
    return found


def owner_writes(shop, *texts, **more):
    "The record of the training stage, with words of the owner in its notebook."
    cells = [{"cell_type": "markdown", "source": one, "metadata": {"tags": ["card"]}} for one in texts]
    data = json.dumps({"nbformat": 4, "metadata": {}, "cells": cells}).encode()
    source = put(shop.store, data)
    commit(
        shop.store,
        {"key": "b" * 64, "pipeline": "fraud", "stage": "train", "run": RUN, "source": source} | more,
    )
    return source


# what must be known first


def test_every_alarm_and_status_has_a_mark():
    assert ALARM_MARKS.keys() == set(ALARMS)
    assert STATUS_MARKS.keys() >= {"champion", "candidate", "revoked", "former champion", "registered"}


def test_version_that_nothing_happened_to_says_what_was_not_made(shop):
    shop.register(1)
    card = card_of(shop)
    assert (card.status, kinds(card)) == ("registered", ["unjudged", "nobody"])
    assert card.missing.keys() == {"checks", "slices", "explanation", "words", "inputs", "lineage"}
    assert not card.fairness.is_judged and "nobody has said" in card.fairness.reason
    assert shop.html.count("not made: no gate has judged this version") >= 3
    limits = shop.bom["metadata"]["component"]["modelCard"]["considerations"]["technicalLimitations"]
    assert "no gate has judged fraud@1: `mlnb promote fraud@1` lets it" in limits
    assert "✓" not in re.sub(r"<style>.*?</style>", "", shop.html, flags=re.DOTALL)


def test_secrets_are_in_no_form_of_a_card(shop):
    shop.register(1, parameters=SECRETS | {"days": "30"})
    card = card_of(shop)
    told = card_text(card) + json.dumps(shop.bom) + shop.html
    assert not any(secret in told for secret in ("hunter-2-hunter", "t0k-9fj2k3", "s3cr-et"))
    assert card.training.parameters["days"] == "30" and WITHHELD in shop.html


def test_revoked_version_says_so_before_anything_else(shop):
    shop.declare(MODEL + "review_by = 2025-12-31\n")
    shop.register(1)
    shop.gate(1, [check("drift", "ok")], "passed")
    shop.promote(1)
    assert kinds(card_of(shop)) == ["overdue"] and card_of(shop).status == "champion"
    shop.say(1, "revoked", reason="leaked labels", actor="otto", at_utc="2026-02-01T00:00:00+00:00")
    card = card_of(shop)
    assert (card.status, kinds(card)) == ("revoked", ["revoked", "overdue"])
    assert "still in production: leaked labels" in card.alarms[0].text
    body = shop.html[shop.html.index("<main") :]
    assert body.index("leaked labels") < body.index("reviewed by 2025-12-31") < body.index("<h1>")
    assert shop.bom["metadata"]["component"]["properties"][0] == {"name": "mlnb:status", "value": "revoked"}


def test_review_day_itself_is_not_overdue(shop):
    shop.declare(MODEL + "review_by = 2026-01-01\n")
    shop.register(1)
    assert "overdue" not in kinds(card_of(shop, today=date(2026, 1, 1)))
    assert "overdue" in kinds(card_of(shop, today=date(2026, 1, 2)))


def test_refused_version_in_production_by_exception_says_both(shop):
    shop.register(1)
    shop.gate(1, [check("drift", "fail", reason="another world")], "refused", reason="drift fails")
    shop.promote(1, "exception: the shop must open")
    card = card_of(shop)
    assert kinds(card) == ["exception", "refused"]
    assert "✕ Refuses" in shop.html and "another world" in shop.html


def test_decision_that_nobody_signed_does_not_hide_one_that_somebody_did(shop):
    make_key(shop.store)
    shop.register(1)
    shop.gate(1, [check("drift", "fail")], "refused", reason="drift fails")
    forged = {"model": "fraud", "number": 1, "digest": read_versions(shop.store, "fraud")[0].digest}
    forged |= {"says": "passed", "gate": "c" * 64, "at_utc": "2027-01-01T00:00:00+00:00"}
    say_of_version(shop.store, VersionStatement(**forged))
    card = card_of(shop)
    assert card.decision.says == "refused" and "refused" in kinds(card) and card.checks[0].name == "drift"


def test_version_that_a_stranger_signed_is_not_vouched_for(shop, tmp_path):
    stranger = open_store(tmp_path / "stranger")
    make_key(stranger)
    signed = signer(stranger, "version")
    make_key(shop.store)
    output = Artifact("estimator", "a" * 64, 9)
    about = {"model": "fraud", "number": 1, "stage": "train", "key": "b" * 64, "run": RUN}
    version = ModelVersion(output=output, declared=shop.project.models["fraud"], **about)
    path = shop.store.root / version_place("fraud", 1)
    path.parent.mkdir(parents=True)
    path.write_bytes(sealed(path, signed(version.as_dict())))
    card = card_of(shop)
    assert "signature" in kinds(card) and "Nobody vouches for it" in shop.html


def test_facts_stay_when_the_model_is_damaged_or_gone(shop):
    described = put_value(shop.store, {"a": 1})
    shop.register(1, output=described)
    assert not [one for one in card_of(shop).alarms if one.kind == "damaged"]
    path = path_of(shop.store, described.digest)
    path.chmod(0o600)
    path.write_bytes(b"another")
    card = card_of(shop)
    assert card.alarms[0].kind == "damaged"
    assert card.digest == described.digest and described.digest in shop.html


def test_what_became_of_training_data_is_said(shop):
    make_key(shop.store)
    described = {name: put_value(shop.store, {"rows": name}) for name in ("kept", "lost", "buried")}
    digests = {name: one.digest for name, one in described.items()}
    shop.register(1, profile="ci", inputs=digests, sources={"census": "f" * 64})
    owner_writes(shop, "For tests.", inputs={name: one.as_dict() for name, one in described.items()})
    path_of(shop.store, digests["lost"]).unlink()
    erase(shop.store, digests["buried"], "asked for")
    card = card_of(shop)
    found = {one.name: (one.kind, one.state, one.digest) for one in card.training.data}
    states = {"kept": "", "lost": "not here", "buried": "erased"}
    assert {name: state for name, (_, state, _) in found.items() if name in states} == states
    assert found["census"] == ("source", "", "f" * 64) and card.training.profile == "ci"
    assert all(digest in shop.html for digest in digests.values())
    data = [one for one in shop.bom["components"] if one["type"] == "data"]
    assert {one["hashes"][0]["content"] for one in data} == {*digests.values(), "f" * 64}


def test_picture_leaves_many_partitions_out_and_keeps_their_source():
    stage = LineageNode("stage:a", "stage", "a", None)
    source = LineageNode("source:s", "source", "s", "d" * 64)
    parts = [LineageNode(f"partition:{n}", "partition", f"{n}.csv", "e" * 64) for n in range(13)]
    module = LineageNode("module:m", "module", "m", None)
    edges = [GraphEdge(one.id, source.id) for one in parts] + [GraphEdge(source.id, stage.id)]
    whole = Lineage(name="s", direction="up", keys=0, nodes=[stage, source, module, *parts], edges=edges)
    assert [one.kind for one in drawn_lineage(whole).nodes] == ["stage", "source"]
    assert drawn_lineage(whole).edges == edges[-1:]
    assert len(drawn_lineage(replace(whole, nodes=whole.nodes[:-1])).nodes) == 14


# what the gate found, and the owner wrote


def test_card_tells_what_the_gate_found(shop):
    shop.register(1, 2, metrics={"roc_auc": 0.9, "roc_auc_low": 0.8, "roc_auc_high": 0.95, "n": 5.0})
    weak = SLICE | {"slice": "day", "value": 0.6, "low": 0.5, "high": 0.7}
    few = SLICE | {"slice": "noon"}
    findings(shop, slices=[few, SLICE | FIGURES, weak], explanation=EXPLANATION)
    card = card_of(shop)
    assert not {"checks", "slices", "explanation"} & card.missing.keys()
    places = [shop.html.index(f"<bdi>{name}</bdi>") for name in ("day", "night", "noon")]
    assert places == sorted(places) and "too few to say" in shop.html
    assert shop.html.count("<svg") == 4 and "amount, amount_7" in shop.html
    model = shop.bom["metadata"]["component"]["modelCard"]
    figures = model["quantitativeAnalysis"]["performanceMetrics"]
    assert {
        "type": "roc_auc",
        "value": "0.9",
        "confidenceInterval": {"lowerBound": "0.8", "upperBound": "0.95"},
    } in figures
    assert [one.get("slice") for one in figures] == [None, None, "day", "night", "amount"]
    assert any("noon: too few" in one for one in model["considerations"]["technicalLimitations"])


def test_words_of_the_owner_stand_on_the_card_as_they_ran(shop):
    shop.register(1)
    source = owner_writes(shop, "## Who uses it\nAnalysts.\n### What it is not for\nLoans.")
    assert card_of(shop).words == ("## Who uses it\nAnalysts.\n### What it is not for\nLoans.",)
    assert "<h3>Who uses it</h3>" in shop.html and "<h4>What it is not for</h4>" in shop.html
    told = shop.bom["metadata"]["component"]["modelCard"]["considerations"]
    assert told["users"] == ["Analysts."] and told["technicalLimitations"][0] == "Loans."
    path = path_of(shop.store, source)
    path.chmod(0o600)
    path.write_bytes(b"{")
    assert "cannot be read" in card_of(shop).missing["words"]


def test_hostile_texts_are_dead_on_cards(shop):
    use = " ".join(" ".join(HOSTILE[:3] + HOSTILE[4:6]).split())
    shop.declare(MODEL + f"use = {use}\nowner = {HOSTILE[0]}\n")
    shop.register(1, actor=HOSTILE[1], reason=HOSTILE[0], metrics={})
    names = [text[:150].encode("utf-8", "replace").decode() for text in HOSTILE]
    slices = [SLICE | FIGURES | {"slice": name} for name in names]
    told = EXPLANATION | {"importance": [IMPORTANCE | {"name": name} for name in names]}
    told |= {"partial_dependence": [CURVE | {"name": name, "at": [name, "b", "c"]} for name in names]}
    findings(shop, slices=slices, explanation=told)
    owner_writes(shop, *HOSTILE[:5], "[x](javascript:alert(1)) <svg onload=attack()> <style>*{}</style>")
    for text in HOSTILE:
        shop.say(1, "revoked", reason=text, actor=text, first=text)
    columns = tuple(InputColumn(name, "object") for name in names)
    version = read_versions(shop.store, "fraud")[0]
    say_of_version(shop.store, learnt_statement(version, columns))
    card = card_of(shop)
    assert card.slices and card.explanation and card.words and card.inputs
    body = re.sub(r"<style>.*?</style>", "", shop.html, count=1, flags=re.DOTALL)
    assert not re.search(r"<script|<img [^>]*src=(?!.data:)|<style|[\u202e\u2066\x1b]|javascript:", body)
    assert not [name for name in attributes_of(body) if name.startswith("on") or name == "style"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in body and "{{ 7 * 7 }}" in body


_ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*SLICE, *FIGURES, *EXPLANATION, "name", "at", "score"]), inner, max_size=9
        )
    ),
    max_leaves=12,
)


@settings(max_examples=30, deadline=None)
@given(_ANY)
def test_findings_are_read_whole_or_refused_with_a_mend(value):
    for read in (read_slices, read_explanation):
        try:
            read(value)
        except UsageError as error:
            assert error.mend


IMPOSSIBLE = [[SLICE | {"n_positive": 901}], [SLICE | FIGURES | {"low": 0.95}], (SLICE,) * 5_001]


@pytest.mark.parametrize("odd", [None, [], {}, "text", [1], [SLICE | {"n_rows": -1}], 3.5, *IMPOSSIBLE])
def test_odd_findings_are_named_and_the_rest_is_told(shop, odd):
    shop.register(1)
    findings(shop, slices=odd, explanation=odd)
    card = card_of(shop)
    refused = r"another form|kept as `text`|holds 5,001 entries"
    assert card.checks and (card.slices == () if odd == [] else re.search(refused, card.missing["slices"]))
    assert card.explanation is None and re.search(refused, card.missing["explanation"])


# size, bytes, forms


def test_three_hundred_inputs_fit(shop):
    shop.register(1)
    columns = tuple(InputColumn(f"input_{n}", "float64", 0.0, float(n + 1)) for n in range(300))
    say_of_version(shop.store, learnt_statement(read_versions(shop.store, "fraud")[0], columns))
    card = card_of(shop)
    assert len(card.inputs) == 300 and "260 more inputs" in shop.html
    assert len(shop.bom["metadata"]["component"]["modelCard"]["modelParameters"]["inputs"]) == 300


def test_same_card_gives_the_same_bytes_and_a_number_that_grows(shop):
    shop.register(1)
    findings(shop, slices=[SLICE | FIGURES])
    first, again = card_of(shop), card_of(shop)
    assert [card_page(first), bom_text(first), card_text(first)] == [
        card_page(again),
        bom_text(again),
        card_text(again),
    ]
    shop.say(1, "approved", actor="otto", gate=GATE_KEY)
    before, after = ml_bom(first), ml_bom(card_of(shop))
    assert before["serialNumber"] == after["serialNumber"] and before["version"] < after["version"]


def test_cards_of_champion_and_candidate_are_on_the_site(shop):
    shop.register(1, 2, 3)
    shop.gate(1, [check("drift", "ok")], "passed")
    shop.promote(1)
    move_ref(shop.store, "names/fraud/model/candidate", sha256(b"model 3"), "registered")
    files = shop.publish()
    cards = {path for path in files if "/card-" in path}
    stems = {f"models/fraud/card-{n}{form.suffix}" for n in (1, 3) for form in CARD_FORMS.values()}
    assert cards == stems and 'href="card-3.html"' in files["models/fraud/index.html"]
    behind = {href for href in Links(files["models/fraud/card-1.html"]).found if href.startswith("../../f")}
    assert behind == {f"../../fraud_gate/{GATE_RUN}/index.html"}  # the run that made it has no page here
    assert "Pages that this rests on" not in files["models/fraud/card-3.html"]
    for path in (one for one in cards if one.endswith(".html")):
        place = shop.project.reports / path
        assert all(
            (place.parent / href).is_file() for href in Links(files[path]).found if not href.startswith("#")
        )


@pytest.mark.parametrize("out", ["card", "card.txt", "card.pdf", ".html/card"])
def test_ending_that_names_no_form_is_refused_and_the_mend_works(out):
    with pytest.raises(UsageError) as caught:
        card_files("fraud-1", out, None)
    assert "--as" in caught.value.mend
    for name in CARD_FORMS:
        assert card_files("fraud-1", out, name) == {Path(out): name}


# other people's tools


@pytest.mark.slow
def test_bills_of_materials_are_accepted_by_their_own_tool(shop, tmp_path):
    if not BESIDE_PYTHON.is_file():
        pytest.skip("no environment with cyclonedx-python-lib[validation]: set BESIDE_PYTHON to its python")
    shop.declare(MODEL + "label = paid\nuse = <b>orders</b>\ngroups = region\n")
    made = {"environment": {"python": "3.11.7", "packages": {"A_b": "1+x", "a-b": "1+x", "none": None}}}
    shop.register(
        1, metrics={"roc_auc": 0.9}, environment=MadeWith(**made["environment"]), inputs={"rows": "e" * 64}
    )
    boms = [card_of(shop), *_told_more(shop)]
    files = []
    for n, card in enumerate(boms):
        files.append(tmp_path / f"{n}.cdx.json")
        files[-1].write_text(bom_text(card))
    script = ROOT / "scripts/validate_bom.py"
    done = subprocess.run([BESIDE_PYTHON, script, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _told_more(shop):
    "The card as more and more is known of its version."
    findings(shop, slices=[SLICE | FIGURES, SLICE], explanation=EXPLANATION)
    owner_writes(shop, *HOSTILE[:5], "# Users\nAll.\n# Limits\nNone.")
    yield card_of(shop)
    shop.promote(1)
    shop.say(1, "revoked", reason=HOSTILE[3], actor=HOSTILE[7])
    yield card_of(shop)


@pytest.mark.slow
def test_card_is_the_same_in_any_process(shop):
    shop.register(1)
    findings(shop, slices=[SLICE | FIGURES], explanation=EXPLANATION)
    owner_writes(shop, "For tests.")
    seen = set()
    for seed in ("0", "1", "2"):
        words = [sys.executable, "-m", "mlnb", "model", "card", "fraud@1", "--out", "made/"]
        environment = os.environ | {"PYTHONHASHSEED": seed}
        subprocess.run(words, cwd=shop.root, env=environment, capture_output=True, check=False)
        seen.add(tuple(path.read_bytes() for path in sorted((shop.root / "made").iterdir())))
    assert len(seen) == 1 and len(seen.pop()) == 3
