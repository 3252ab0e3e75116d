"""Pages of models, and what gates decided: of no, one and many versions, with hostile texts, with damage, and
without any change to the pages of a project that declares no model."""

import random
import re
import shutil
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_records import commit, write_run
from test_publish_site import Links, files_of, write_notebook

from mlnb.care.audit import audit
from mlnb.care.signing import make_key, sign, trust
from mlnb.care.vouched import signer
from mlnb.history.model_events import MODEL_EVENTS, model_histories
from mlnb.notebook.packages import installed_packages
from mlnb.publish.decisions import MOST_CHECKS, decision_text, decisions_of_runs, shown_checks
from mlnb.publish.model_pages import EVENT_MARKS, NEWEST_SHOWN
from mlnb.publish.site import publish
from mlnb.store.artifacts import put_value
from mlnb.store.descriptions import Artifact
from mlnb.store.digests import sha256
from mlnb.store.documents import sealed
from mlnb.store.gate_checks import read_checks, refusing_checks
from mlnb.store.objects import open_store, path_of
from mlnb.store.project_id import project_id
from mlnb.store.refs import move_ref
from mlnb.store.runs import all_runs
from mlnb.store.settings import project_store, read_project
from mlnb.store.verdict import WORDS
from mlnb.store.version_statements import SaidWord, VersionStatement, say_of_version
from mlnb.store.versions import ModelVersion, version_place

PIPELINES = (
    "[mlnb]\n[pipeline.fraud]\nnotebooks = nbs/fraud\n[pipeline.fraud_gate]\nnotebooks = nbs/fraud_gate\n"
)
MODEL = "[model.fraud]\nartifact = fraud/model\ngate = fraud_gate\n"
CHAMPION = "names/fraud/model/champion"
RUN, GATE_RUN, GATE_KEY = "20261123T100000000-aaaa", "20261124T100000000-bbbb", "a" * 64
START = datetime(2026, 1, 1, tzinfo=UTC)
PAGE, LIST, CARD = "models/fraud/index.html", "models/index.html", "models/fraud/card-1.html"
HOSTILE = [
    "<script>alert(1)</script>",
    "</td></table><img src=x onerror=attack()>",
    "a | b | c\n| --- |",
    "\u202egnp.exe\u2066",
    "{{ 7 * 7 }}{% for x in y %}",
    "long " * 40_000,
    "`code` and `<b>`",
    "\ud83d\ude00 שלום \x1b[31m",
]


@pytest.fixture(autouse=True)
def no_key_from_outside(monkeypatch):
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)


@pytest.fixture(scope="session")
def packages(tmp_path_factory):
    "The list of installed packages that a store caches, made once for all tests."
    store = open_store(tmp_path_factory.mktemp("packages") / "store")
    installed_packages(store)
    return store.root / "cache"


class Shop:
    "A project with a model, and shortcuts for what people do to it."

    def __init__(self, root, packages=None, model=MODEL):
        self.root = root
        write_notebook(
            root / "nbs/fraud/10_train.ipynb", "md:# Train", "from mlnb import save\nsave('model', 1)"
        )
        write_notebook(
            root / "nbs/fraud_gate/10_check.ipynb", "md:# Check", "from mlnb import save\nsave('checks', [])"
        )
        write_notebook(
            root / "nbs/fraud_gate/20_decide.ipynb", "md:# Decide", "from mlnb import load\nload('checks')"
        )
        self.declare(model)
        self.store = project_store(self.project)
        if packages:
            shutil.copytree(packages, self.store.root / "cache", dirs_exist_ok=True)

    def declare(self, model):
        (self.root / "settings.ini").write_text(PIPELINES + model)
        self.project = read_project(self.root)

    def register(self, *numbers, **more):
        "Lay versions down by their numbers, a day apart; registering itself is tested elsewhere."
        for n in numbers:
            output = Artifact("estimator", sha256(f"model {n}".encode()), 9)
            at = (START + timedelta(days=n)).isoformat(timespec="seconds")
            about = {
                "model": "fraud",
                "number": n,
                "stage": "train",
                "key": "b" * 64,
                "run": RUN,
                "at_utc": at,
            }
            version = ModelVersion(
                **{**about, "output": output, "declared": self.project.models["fraud"], **more}
            )
            path = self.store.root / version_place("fraud", n)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(sealed(path, signer(self.store, "version")(version.as_dict())))

    def say(self, n, word, **more):
        at = (START + timedelta(days=n, hours=1)).isoformat(timespec="seconds")
        digest = sha256(f"model {n}".encode())
        about = {"model": "fraud", "number": n, "digest": digest, "says": word, "at_utc": at}
        said = VersionStatement(**{**about, **more})
        return say_of_version(self.store, said, signer(self.store, "version"))

    def promote(self, n, reason="passed its gate"):
        return move_ref(self.store, CHAMPION, sha256(f"model {n}".encode()), reason)

    def gate(self, n, checks, word, run=GATE_RUN, state="failed", **more):
        "What a gate leaves: a record with checks, the document of its run, a statement."
        about = {"key": GATE_KEY, "pipeline": "fraud_gate", "stage": "check", "run": run}
        commit(self.store, about | {"outputs": {"checks": put_value(self.store, checks).as_dict()}})
        check = {
            "name": "check",
            "key": GATE_KEY,
            "state": "committed",
            "file": "nbs/fraud_gate/10_check.ipynb",
        }
        decide = {
            "name": "decide",
            "state": "failed",
            "error": {"ename": "RequireError", "evalue": "refused"},
        }
        document = {"run": run, "pipeline": "fraud_gate", "state": state, "stages": [check, decide]}
        write_run(self.store, document)
        return self.say(n, word, gate=GATE_KEY, run=run, window="e" * 64, **more)

    def publish(self):
        self.published = publish(self.project)
        return {path: data.decode() for path, data in files_of(self.project.reports).items()}


@pytest.fixture
def shop(tmp_path, packages):
    return Shop(tmp_path / "shop", packages)


def rows_of(html, begin):
    "Rows of the first table behind a heading."
    table = html[html.index(begin) :]
    return re.findall(r"<tr.*?</tr>", table[: table.index("</table>")], re.DOTALL)[1:]


def text_of(html):
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def check(name, verdict, **more):
    known = {"value": 0.1, "low": 0.05, "high": 0.15, "limit": 0.2, "smallest_seen": 40, "reason": "as asked"}
    return {"name": name, "verdict": verdict, **known, **more}


# how many versions there are


@pytest.mark.parametrize("n", [0, 1, 60])
def test_model_has_a_page_however_many_versions_it_has(shop, n):
    shop.register(*range(1, n + 1))
    files = shop.publish()
    page = files[PAGE]
    assert ("mlnb run fraud" in page) == (n == 0)
    if n:
        shown = rows_of(page, "<h2>Versions</h2>")
        assert [text_of(row).split()[0] for row in shown] == [f"fraud@{k}" for k in range(n, 0, -1)][
            :NEWEST_SHOWN
        ]
        assert ("10 earlier versions" in page) == (n == 60)
        assert page.count('id="v') == n
    assert f"{n} version" in files[LIST] and "Nothing in production" in files[LIST]
    assert 'href="models/index.html"' in files["index.html"]
    assert "<code>mlnb promote fraud</code>" in files["index.html"]


def test_every_link_of_model_pages_leads_somewhere(shop):
    shop.register(1, 2)
    shop.gate(1, [check("drift", "ok")], "passed")
    shop.promote(1)
    files = shop.publish()
    for path in (PAGE, LIST, CARD, f"fraud_gate/{GATE_RUN}/index.html"):
        found = Links(files[path])
        for href in found.found:
            target, _, anchor = href.partition("#")
            there = (shop.project.reports / path).parent / target if target else shop.project.reports / path
            assert there.is_file(), (path, href)
            assert not anchor or anchor in Links(there.read_text()).ids, (path, href)


def test_story_is_told_newest_first_with_who_vouches_for_it(shop):
    make_key(shop.store)
    shop.register(1, 2)
    shop.say(2, "refused", against=sha256(b"model 1"), window="e" * 64, reason="worse", actor="anna")
    shop.say(2, "approved", gate="c" * 64, profile="prod", at_utc="2026-01-03T03:00:00+00:00", actor="otto")
    shop.say(1, "revoked", at_utc="2026-01-04T00:00:00+00:00", reason="leaked", actor="otto")
    shop.promote(1)
    shop.promote(2)
    shop.promote(1, "rolled back: alarms")
    told = [text_of(row) for row in rows_of(shop.publish()[PAGE], "<h2>What happened</h2>")]
    begins = [
        "↩ Rolled back",
        "★ Went into",
        "★ Went into",
        "✕ Revoked fraud@1",
        "– Approval, not counted fraud@2",
    ]
    begins += ["✕ Gate refused fraud@2", "· Registered fraud@2", "· Registered fraud@1"]
    assert [line[: len(begin)] for line, begin in zip(told, begins, strict=True)] == begins
    assert "rolled back: alarms" in told[0] and "unsigned" in told[0]
    assert "signed by" in told[3] and "signed the version, too" in told[4]
    assert "against fraud@1, judgement 1 on its data" in told[5]


def test_revoked_champion_is_said_wherever_it_is_named(shop):
    shop.register(1)
    shop.promote(1)
    assert "fail" not in re.findall(r'class="state (\w*)"', shop.publish()["index.html"])
    shop.say(1, "revoked", reason="leaked labels", actor="otto")
    files = shop.publish()
    assert all("evoked, in production: fraud@1" in files[path] for path in ("index.html", LIST, PAGE))
    assert "was revoked by otto: leaked labels" in text_of(files[PAGE])
    assert "✕ Revoked" in rows_of(files[PAGE], "<h2>Versions</h2>")[0]


def test_revocation_outlives_its_file(shop):
    shop.register(1)
    path = shop.say(1, "revoked", reason="leaked labels")
    audit(shop.store, "version", "revoked", sha256(b"model 1"), reason="leaked labels")
    path.unlink()
    page = text_of(shop.publish()[PAGE])
    assert "✕ Revoked leaked labels" in page and "its statement is gone" in page


def test_approval_counts_by_its_key_and_another_does_not(shop, tmp_path):
    make_key(shop.store)
    ben = open_store(tmp_path / "ben")
    trust(shop.store, "ben", make_key(ben))
    shop.register(1)
    project = project_id(shop.store)
    about = {
        "model": "fraud",
        "number": 1,
        "digest": sha256(b"model 1"),
        "says": "approved",
        "gate": "c" * 64,
    }
    first = VersionStatement(**about, actor="ben", reason="read it", at_utc="2026-01-03T00:00:00+00:00")
    say_of_version(shop.store, first, lambda document: sign(ben, "version", document, project))
    shop.say(1, "approved", gate="c" * 64, actor="carla", at_utc="2026-01-04T00:00:00+00:00")
    page = shop.publish()[PAGE]
    told = [text_of(row) for row in rows_of(page, "<h2>What happened</h2>")]
    assert told[0].startswith("– Approval, not counted") and "signed the version, too" in told[0]
    assert told[1].startswith("✓ Approved fraud@1") and "signed by ben" in told[1]
    assert "approved by ben" in text_of(rows_of(page, "<h2>Versions</h2>")[0])
    assert "carla" not in rows_of(page, "<h2>Versions</h2>")[0]


def test_every_word_of_a_statement_is_told_or_left_out_on_purpose():
    assert set(get_args(SaidWord)) - set(MODEL_EVENTS) == {"learnt"}
    assert set(MODEL_EVENTS) == set(EVENT_MARKS)


def test_what_a_version_learnt_from_is_no_event(shop):
    shop.register(1)
    shop.say(1, "learnt", at_utc="")
    assert len(rows_of(shop.publish()[PAGE], "<h2>What happened</h2>")) == 1


# texts of people


def test_hostile_texts_stay_texts(shop):
    shop.declare(
        MODEL + f"use = {' '.join(' '.join(HOSTILE[:3] + HOSTILE[4:6]).split())}\nowner = {HOSTILE[0]}\n"
    )
    checks = [check(f"check_{n}", "fail", reason=text) for n, text in enumerate(HOSTILE[:-1])]
    for n, text in enumerate(HOSTILE, 1):
        shop.register(n, actor=text, reason=text)
        shop.say(n, "revoked", reason=text, actor=text, first=text)
        shop.promote(n, text)
    shop.gate(1, checks, "refused", reason=HOSTILE[0], actor=HOSTILE[1])
    files = shop.publish()
    for path in ("index.html", LIST, PAGE, f"fraud_gate/{GATE_RUN}/index.html"):
        page = files[path]
        assert not re.search(r"<script|<img|<b>|[\u202e\u2066\x1b]", page), path
        assert len(page) < 100_000, path
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in files[PAGE] and "{{ 7 * 7 }}" in files[PAGE]


# damage


def flip(path):
    whole = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(whole[:-3])
    return whole


def history_of(shop):
    return model_histories(shop.store, shop.project)[0]


def decided(shop):
    documents = all_runs(shop.store)[0]
    return decisions_of_runs(shop.store, [history_of(shop)], documents)[GATE_RUN][0]


def documents_of(shop):
    version = shop.store.root / version_place("fraud", 2)
    (statement,) = version.parent.glob("000002.*.json")
    return {
        "version": version,
        "statement": statement,
        "move": shop.store.root / f"refs/{CHAMPION}/00000001.json",
    }


@pytest.mark.parametrize("what", ["version", "statement", "move"])
@pytest.mark.parametrize("is_gone", [False, True])
def test_damaged_document_is_named_and_the_rest_is_told(shop, what, is_gone):
    shop.register(1, 2, 3)
    shop.say(2, "revoked", reason="leaked")
    shop.promote(1)
    shop.promote(3)
    whole, path = history_of(shop), documents_of(shop)[what]
    flip(path)
    if is_gone:
        path.unlink()
    found = history_of(shop)
    is_silent = is_gone and what == "statement"  # it has no number that another one follows
    place = path.relative_to(shop.store.root).as_posix()
    assert [place in line for line in found.damaged] == ([] if is_silent else [True])
    assert len(found.events) == len(whole.events) - 1
    assert [one.kind for one in found.events if one.number == 2] == {
        "version": ["revoked"],
        "statement": ["registered"],
        "move": ["revoked", "registered"],
    }[what]  # of a version that cannot be read it is still known that it was revoked


def test_damage_is_said_on_the_page_until_it_is_mended(shop):
    shop.register(1, 2, 3)
    shop.say(2, "revoked", reason="leaked")
    shop.promote(1)
    shop.promote(3)
    before, paths = shop.publish(), documents_of(shop).values()
    whole = [flip(path) for path in paths]
    after = shop.publish()
    places = [path.relative_to(shop.store.root).as_posix() for path in paths]
    assert all(place in after[PAGE] and place in after[LIST] for place in places)
    assert all(any(place in line for line in shop.published.damaged) for place in places)
    assert str(shop.root) not in after[PAGE] and "take it from a backup" in after[PAGE]
    for path, content in zip(paths, whole, strict=True):
        path.write_bytes(content)  # the mend: from a backup
    assert shop.publish() == before


@pytest.mark.slow
def test_any_byte_of_any_document_may_be_another_one(shop):
    make_key(shop.store)
    shop.register(1, 2, 3)
    shop.say(2, "approved", gate="c" * 64)
    shop.say(2, "revoked", reason="leaked")
    shop.say(1, "passed", window="e" * 64)
    audit(shop.store, "version", "revoked", sha256(b"model 2"), reason="leaked")
    shop.promote(1)
    shop.promote(3)
    whole, root, chance = history_of(shop), shop.store.root, random.Random(17)
    folders = (root / "versions", root / "refs" / CHAMPION)
    paths = [path for folder in folders for path in sorted(folder.rglob("*.json"))]
    for _ in range(300):
        path = chance.choice(paths)
        before, at = path.read_bytes(), chance.randrange(path.stat().st_size)
        path.chmod(0o600)
        path.write_bytes(before[:at] + bytes([before[at] ^ 1 << chance.randrange(8)]) + before[at + 1 :])
        found = history_of(shop)
        assert any(path.relative_to(root).as_posix() in line for line in found.damaged), (path, at)
        assert [one.number for one in found.events if one.kind == "revoked"] == [2]  # the log tells so, too
        path.write_bytes(before)
    assert history_of(shop) == whole


def test_damaged_alias_means_nothing_and_is_named(shop):
    shop.register(1)
    shop.promote(1)
    flip(shop.store.root / f"refs/{CHAMPION}/00000001.json")
    files = shop.publish()
    assert "Nothing in production" in files[PAGE] and f"refs/{CHAMPION}/00000001.json" in files[LIST]


# gates


def test_panel_says_the_verdict_first_and_refusals_before_the_rest(shop):
    shop.register(1, 2)
    checks = [check("support", "ok"), check("drift", "not_computable"), check("lost_share", "fail")]
    shop.gate(2, checks, "refused", against=sha256(b"model 1"))
    files = shop.publish()
    run = files[f"fraud_gate/{GATE_RUN}/index.html"]
    panel = run[run.index("The gate's decision") : run.index("<h2>Stages")]
    assert "✕ Refused. fraud@2 was refused by the gate: 2 of 3 checks refuse." in text_of(panel)
    assert "fraud@1, the champion then" in panel and "judgement 1 on it" in panel
    shown = [text_of(row) for row in rows_of(panel, "The gate's decision")]
    begins = ["lost share ✕ Refuses 10.0% 5.00% to 15.0% 20.0% 40", "drift ? Could", "support ✓ In order 0.1"]
    assert [line[: len(begin)] for line, begin in zip(shown, begins, strict=True)] == begins


@pytest.mark.parametrize(("word", "verdict"), [("refused", "fail"), ("passed", "ok")])
def test_gate_is_called_by_what_it_decided_and_not_failed_or_partial(shop, word, verdict):
    shop.register(1)
    shop.gate(1, [check("drift", verdict)], word, state="failed" if word == "refused" else "committed")
    files = shop.publish()
    run, index = files[f"fraud_gate/{GATE_RUN}/index.html"], files["index.html"]
    label = "✕ Refused" if word == "refused" else "✓ Committed"
    assert run.index(label) < run.index("<h1>") and label in index
    head = run[: run.index("<h1>")]
    assert "Partial" not in head and "Failed" not in head
    assert not re.search(
        "A newer run failed|has committed every stage yet|artial", index[index.index("<main") :]
    )
    assert ("fraud@1 was refused by the gate" in index) == (word == "refused")


def test_run_that_finds_the_same_evidence_shows_the_decision(shop):
    shop.register(1)
    shop.gate(1, [check("drift", "ok")], "passed")
    again = {"name": "check", "key": GATE_KEY, "state": "cached"}
    later = {
        "run": "20261125T100000000-cccc",
        "pipeline": "fraud_gate",
        "state": "committed",
        "stages": [again],
    }
    write_run(shop.store, later)
    write_run(shop.store, later | {"run": "20261125T110000000-dddd", "stages": [again | {"key": "c" * 64}]})
    files = shop.publish()
    have = {path for path, text in files.items() if "The gate's decision" in text}
    assert {f"fraud_gate/{run}/index.html" for run in (GATE_RUN, later["run"])} == have


def test_checks_that_are_gone_are_said_to_be_unreadable(shop):
    shop.register(1)
    shop.gate(1, [check("drift", "ok")], "passed")
    digest = put_value(shop.store, [check("drift", "ok")]).digest
    path_of(shop.store, digest).unlink()
    assert "its checks cannot be read any more" in shop.publish()[f"fraud_gate/{GATE_RUN}/index.html"]


@pytest.mark.parametrize("checks", [{"verdict": "ok"}, "ok", [5], [{"verdict": "ok"}], [check("a", "fine")]])
def test_what_is_no_list_of_checks_is_said_to_be_unreadable(shop, checks):
    shop.register(1)
    shop.gate(1, checks, "passed")
    assert decided(shop).checks is None
    assert decision_text(decided(shop)) == "fraud@1 passed the gate: its checks cannot be read any more."


FIGURES = st.none() | st.floats(allow_nan=False, allow_infinity=False)
CHECK = st.fixed_dictionaries(
    {"name": st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True), "verdict": st.sampled_from(WORDS)},
    optional={name: FIGURES for name in ("value", "low", "high", "limit", "smallest_seen")},
)


@settings(max_examples=25, deadline=None)
@given(st.lists(CHECK, max_size=4, unique_by=lambda one: one["name"]))
def test_checks_refuse_on_the_page_where_they_refuse_a_promotion(saved):
    found, checks = shown_checks(saved), read_checks(saved)
    assert sum(check.refuses for check in found) == sum(bool([*refusing_checks([check])]) for check in checks)
    assert all(check.refuses == (check.mark[0] == "fail") for check in found)
    assert [check.refuses for check in found] == sorted((check.refuses for check in found), reverse=True)


def test_gate_with_ever_so_many_checks_shows_those_that_refuse():
    many = [check(f"support_{n}", "ok") for n in range(MOST_CHECKS)]
    found = shown_checks([*many, check("drift", "fail")])
    assert (len(found), found[0].name) == (MOST_CHECKS, "drift")


def test_exception_stands_beside_the_refusal(shop):
    shop.register(1)
    shop.gate(1, [check("drift", "fail")], "refused")
    shop.promote(1, "fraud@1, exception: a wave of fraud")
    panel = shop.publish()[f"fraud_gate/{GATE_RUN}/index.html"]
    assert "It went into production all the same, by" in panel and "a wave of fraud" in panel


# what changes when


def test_models_change_no_other_page(shop):
    shop.declare("")
    assert not [path for path in shop.publish() if path.startswith("models")]
    shop.declare(MODEL)
    shop.register(1)
    document = {"run": RUN, "pipeline": "fraud", "state": "committed"}
    write_run(shop.store, document)
    with_models = shop.publish()
    shop.declare("")
    without = shop.publish()
    assert with_models.keys() - without.keys() == {PAGE, LIST}
    assert {path for path in without if without[path] != with_models[path]} == {"index.html", "site.json"}
    assert "odel" not in re.sub(r"<style>.*?</style>", "", without["index.html"], flags=re.DOTALL)


def test_pages_that_say_the_same_are_not_called_written(shop):
    shop.register(1)
    shop.gate(1, [check("drift", "ok")], "passed")
    shop.publish()
    shop.publish()
    assert shop.published.written == ()
    shop.say(1, "approved", actor="otto")
    shop.publish()
    assert shop.published.written == (PAGE, LIST)
    shop.promote(1)
    shop.publish()
    assert shop.published.written == ("index.html", CARD, PAGE, LIST)
    shop.say(1, "revoked", reason="leaked", at_utc="2026-02-01T00:00:00+00:00")
    shop.publish()
    assert shop.published.written == (f"fraud_gate/{GATE_RUN}/index.html", "index.html", CARD, PAGE, LIST)


@pytest.mark.slow
def test_thousand_versions_stay_one_readable_page(shop):
    shop.register(*range(1, 1001))
    for n in range(1, 1001):
        shop.say(n, "refused", window=f"{n:064x}")
    page = shop.publish()[PAGE]
    assert len(page) < 3_000_000 and page.count('id="v') == 1000
    for heading in ("<h2>Versions</h2>", "<h2>What happened</h2>"):
        assert len(rows_of(page, heading)) == NEWEST_SHOWN
