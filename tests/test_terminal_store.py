"""The verbs that look after the store, as commands: what they say, what they change, and how they end."""

import contextlib
import io
import shutil
import signal

import pytest

from mlnb.care.audit import events
from mlnb.cli import run_command
from mlnb.store.objects import open_store
from mlnb.store.refs import move_ref

OURS = "from mlnb import load, metric, save"
STAGES = {
    "10_ingest.ipynb": [
        OURS,
        "rows = load('raw', as_='path')[0].read_text().split()\nsave('rows', rows)\n"
        "metric('n_rows', len(rows))",
    ],
    "20_train.ipynb": [
        ("parameters", "depth: int = 5  # 1..50"),
        OURS,
        "save('model', {'depth': depth, 'n': len(load('rows'))})",
    ],
    "30_judge.ipynb": [OURS, "save('verdict', load('model')['n'])"],
    "apart/10_guess.ipynb": [OURS, "import random\nsave('guess', random.SystemRandom().random())"],
}
SETTINGS = (
    "[mlnb]\n{more}[pipeline.demo]\nnotebooks = nbs\n[pipeline.apart]\nnotebooks = apart\n[source.raw]\n"
    "path = raw.csv\n"
)


def object_path(root, digest):
    return root / ".mlnb" / "objects" / digest[:2] / digest


def damage(root, digest):
    "Flip a bit of an object."
    path = object_path(root, digest)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(bytes(data))


@pytest.fixture(scope="module")
def begun(make_shared_project, mlnb):
    "A project with a key, run once; never changed."
    project = make_shared_project(STAGES, SETTINGS.format(more=""))
    (project.root / "raw.csv").write_text("007\n008\n")
    assert mlnb("audit", "init", cwd=project.root).code == 0
    result = mlnb("run", "demo", "--json", cwd=project.root)
    assert result.code == 0, result.stderr
    return project.root, result


@pytest.fixture
def root(begun, tmp_path):
    "A copy of it, to be changed."
    shutil.copytree(begun[0], tmp_path / "shop", symlinks=True)
    return tmp_path / "shop"


@pytest.fixture
def ask(root, mlnb):
    "A verb with --json in the copy."

    def of(*arguments, code=0, cwd=None, **environment):
        result = mlnb(*arguments, "--json", cwd=cwd or root, **environment)
        assert result.code == code, result.stderr + result.stdout
        return result.json

    return of


@pytest.fixture(scope="module")
def look(begun, command_result):
    """A verb that changes nothing, in the project itself and in this process: a fifth of the time of a
    process of its own."""

    def of(*arguments, code=0):
        handler, out, err = signal.getsignal(signal.SIGTERM), io.StringIO(), io.StringIO()
        try:
            with contextlib.chdir(begun[0]), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                ended = run_command(list(arguments))
        finally:
            signal.signal(signal.SIGTERM, handler)
        assert ended == code, err.getvalue() + out.getvalue()
        return command_result(ended, out.getvalue(), err.getvalue())

    return of


def digest_of(begun, stage, name):
    return begun[1].stage(stage)["outputs"][name]


# verify


def test_verify_clean_store(look):
    found = look("verify", "--json").json
    assert (
        found["clean"]
        and found["damaged"] == []
        and (found["exit_code"], found["repair"], found["tombstones"]) == (0, None, [])
    )
    assert "clean" in look("verify").stdout


def test_damaged_object_is_named_by_get_and_verify_and_made_again(begun, root, ask, mlnb):
    digest = digest_of(begun, "train", "model")
    damage(root, digest)
    taken = mlnb("get", "model", "--json", cwd=root)
    assert (
        taken.code == 5
        and "demo/model" in taken.json["problems"][0]["message"]
        and begun[1].json["run"] in taken.json["problems"][0]["message"]
    )
    assert "mlnb run demo train" in taken.json["problems"][0]["mend"]
    found = ask("verify", code=5)
    (damaged,) = found["damaged"]
    assert (damaged["digest"], damaged["names"], damaged["runs"], found["exit_code"]) == (
        digest,
        ["demo/model"],
        [begun[1].json["run"]],
        5,
    )
    said = mlnb("verify", cwd=root)
    assert said.code == 5 and "demo/model" in said.stdout and "mlnb verify --repair" in said.stderr
    repaired = ask("verify", "--repair")
    assert repaired["clean"] and [(r["stages"], r["exit_code"]) for r in repaired["repair"]["runs"]] == [
        (["train"], 0)
    ]
    assert ask("get", "model")["digest"] == digest
    assert {e["event"] for e in ask("audit")["events"]} >= {"init", "run", "verification_failure", "repair"}


def test_verify_repair_takes_code_back_from_the_project_s_files(begun, root, ask):
    from mlnb.store.digests import sha256_file

    digest = sha256_file(root / "nbs" / "20_train.ipynb")
    damage(root, digest)
    found = ask("verify", "--repair")
    assert found["clean"] and found["repair"]["repaired"] == [digest] and found["repair"]["runs"] == []


def test_verify_repair_fetches_from_a_remote(begun, root, ask, tmp_path):
    ask("push", f"{tmp_path}/remote")
    damage(root, digest_of(begun, "judge", "verdict"))
    found = ask("verify", "--repair", "--remote", f"{tmp_path}/remote")
    assert (
        found["clean"]
        and found["repair"]["repaired"] == [digest_of(begun, "judge", "verdict")]
        and found["repair"]["runs"] == []
    )


def spoil(path):
    "Flip a bit in the middle of a document."
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(bytes(data))


def test_verify_repair_tells_again_the_head_and_the_run_it_points_to(begun, root, ask, mlnb):
    run = begun[1].json["run"]
    spoil(root / ".mlnb" / "refs" / "heads" / "demo" / "default" / "00000001.json")
    spoil(root / ".mlnb" / "runs" / run / "run.json")
    assert mlnb("status", cwd=root).code in (0, 5) and mlnb("verify", cwd=root).code == 5
    found = ask("verify", "--repair")
    assert found["clean"] and sorted(one["file"] for one in found["repair"]["documents"]["rebuilt"]) == [
        "refs/heads/demo/default/00000001.json",
        f"runs/{run}/run.json",
    ]
    again = ask("show", run)
    assert (again["state"], again["rebuilt"], {s["name"]: s["outputs"] for s in again["stages"]}) == (
        "committed",
        True,
        {s["name"]: s["outputs"] for s in begun[1].json["stages"]},
    )
    assert mlnb("get", "verdict", cwd=root).code == 0
    assert set(ask("run", "demo", "-n")["stages"][0]) and all(
        s["state"] == "cached" for s in ask("run", "demo", "-n")["stages"]
    )
    assert ask("reproduce", run)["state"] == "reproduced"


def test_verify_repair_says_what_nobody_knows_and_leaves_it(begun, root, ask, mlnb):
    store = open_store(root / ".mlnb")
    move_ref(store, "names/demo/model/champion", begun[1].json["run"], "best")
    path = root / ".mlnb" / "refs" / "names" / "demo" / "model" / "champion" / "00000001.json"
    spoil(path)
    shutil.rmtree(root / ".mlnb" / "audit")
    run = root / ".mlnb" / "runs" / begun[1].json["run"] / "run.json"
    spoil(run)
    before = path.read_bytes(), run.read_bytes()
    said = mlnb("verify", "--repair", cwd=root)
    assert (
        said.code == 5
        and "nobody else knows where `names/demo/model/champion` pointed" in said.stderr
        and "the audit log and the records do not tell" in said.stderr
    )
    assert (path.read_bytes(), run.read_bytes()) == before


def test_verify_repair_whose_stage_fails_says_so(begun, root, ask, mlnb):
    damage(root, digest_of(begun, "train", "model"))
    (root / "nbs" / "20_train.ipynb").write_text(
        (root / "nbs" / "20_train.ipynb").read_text().replace("save('model'", "1 / 0; save('model'")
    )
    result = mlnb("verify", "--repair", "--json", cwd=root)
    assert (
        result.code == 1
        and result.json["repair"]["runs"][0]["exit_code"] == 1
        and "was not made again" in result.stderr
    )


def test_verify_remote_names_what_is_damaged_there(begun, ask, mlnb, root, tmp_path):
    ask("push", f"{tmp_path}/remote")
    assert ask("verify", "--remote", f"{tmp_path}/remote")["refused"] == []
    victim = next((tmp_path / "remote" / "objects").glob("*/*"))
    victim.chmod(0o600)
    victim.write_bytes(b"altered")
    found = ask("verify", "--remote", f"{tmp_path}/remote", code=5)
    assert [(r["path"].rpartition("/")[2], r["reason"]) for r in found["refused"]] == [
        (victim.name, "damaged")
    ]
    said = mlnb("verify", "--remote", f"{tmp_path}/remote", cwd=root).stderr
    assert said.count(victim.name) == 2 and f"remove objects/{victim.parent.name}/{victim.name} there" in said
    victim.unlink()
    assert f"mend: `mlnb push {tmp_path}/remote` of whoever has it sends it again" in (
        mlnb("verify", "--remote", f"{tmp_path}/remote", cwd=root).stderr
    )
    ask("push", f"{tmp_path}/remote")
    assert ask("verify", "--remote", f"{tmp_path}/remote")["refused"] == []
    said = mlnb("verify", "--repair", "--remote", f"{tmp_path}/remote", cwd=root).stderr
    assert f"`mlnb verify --remote {tmp_path}/remote` verifies it" in said


# get, by hand


def test_load_by_hand_names_what_is_damaged(begun, root, outside_environment):
    import subprocess
    import sys

    damage(root, digest_of(begun, "train", "model"))
    done = subprocess.run(
        [sys.executable, "-c", "from mlnb import load; load('model')"],
        cwd=root / "nbs",
        env=outside_environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "`demo/model`" in done.stderr and "mlnb run demo train" in done.stderr
    event = events(open_store(root / ".mlnb"), "verification_failure")[-1]
    assert (event.outcome, event.object) == (
        "failed",
        digest_of(begun, "train", "model"),
    ) and "`demo/model`" in event.about["message"]


# gc


def test_gc_dry_run_prints_bytes_and_changes_nothing(root, ask, mlnb):
    ask("run", "demo", "-p", "depth", "9")
    before = sorted(p.relative_to(root) for p in root.rglob("*"))
    found = ask("gc", "--dry-run", "--keep-records", "0", "--keep-runs", "0")
    assert found["dry_run"] and found["moved"]["records"] == 2 and found["moved"]["bytes"] > 0
    said = mlnb("gc", "-n", "--keep-records", "0", "--keep-runs", "0", cwd=root).stdout
    assert f"{found['moved']['bytes']:,} bytes" in said and "would be moved" in said
    assert sorted(p.relative_to(root) for p in root.rglob("*")) == before


def test_gc_frees_space_with_the_second_call_and_is_logged(root, ask, mlnb):
    ask("run", "demo", "-p", "depth", "9")
    said = mlnb("gc", "--keep-records", "0", "--keep-runs", "0", cwd=root).stdout
    assert "free after the next `mlnb gc`" in said
    second = ask("gc", "--keep-records", "0", "--keep-runs", "0")
    assert second["deleted"]["records"] == 2 and second["deleted"]["bytes"] > 0
    assert [e["about"]["deleted"]["records"] for e in ask("audit", "events", "--event", "gc")["events"]] == [
        0,
        2,
    ]
    n_events = len(ask("audit")["events"])
    ask("gc", "--keep-records", "0", "--keep-runs", "0")
    assert len(ask("audit")["events"]) == n_events
    assert ask("verify")["clean"] and set(mlnb("run", "demo", "--json", cwd=root).states.values()) == {
        "cached"
    }


def test_gc_of_a_remote_only_when_asked(root, ask, tmp_path):
    ask("push", f"{tmp_path}/remote")
    stray = tmp_path / "remote" / "objects" / "ab" / ("ab" * 32)
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"nobody needs this")
    ask("gc")
    assert stray.exists()
    assert ask("gc", "--remote", f"{tmp_path}/remote", "--dry-run")["bytes"] == 17
    assert [ask("gc", "--remote", f"{tmp_path}/remote")["removed"] for _ in range(2)] == [0, 1]
    assert not stray.exists() and ask("verify", "--remote", f"{tmp_path}/remote")["refused"] == []
    (tmp_path / "remote" / "pushing").mkdir(exist_ok=True)
    (tmp_path / "remote" / "pushing" / "x.json").write_text("{}")
    assert "--force" in ask("gc", "--remote", f"{tmp_path}/remote", code=75)["problems"][0]["mend"]
    ask("gc", "--remote", f"{tmp_path}/remote", "--force")


# push, pull


@pytest.fixture
def two(begun, root, mlnb, tmp_path):
    "Two checkouts of one project with a folder between them; each trusts the other's key by settings.ini."
    other = tmp_path / "other"
    shutil.copytree(begun[0], other, ignore=shutil.ignore_patterns(".mlnb"))
    mine = mlnb("audit", "trust", "--json", cwd=root).json["trusted"][0]["key"]
    its = mlnb("audit", "init", "--json", cwd=other).json["key"]
    for folder in (root, other):
        (folder / "settings.ini").write_text(
            SETTINGS.format(more=f"remote = ../between\ntrusted_keys = laptop {mine}, ci {its}\n")
        )
    return root, other


def test_two_checkouts_share_work_through_a_folder(begun, two, mlnb):
    one, other = two
    sent = mlnb("push", "--json", cwd=one)
    assert (
        sent.code == 0
        and sent.json["records"] == 3
        and sent.json["left_out"] == []
        and [r["state"] for r in sent.json["refs"]] == ["moved"]
    )
    taken = mlnb("pull", "--json", cwd=other)
    assert (taken.code, taken.json["records"], taken.json["refused"], taken.json["exit_code"]) == (
        0,
        3,
        [],
        0,
    )
    assert set(mlnb("run", "demo", "--json", cwd=other).states.values()) == {"cached"}
    assert mlnb("push", "--json", cwd=one).json["objects"] == 0
    changed = mlnb("run", "demo", "-p", "depth", "7", "--json", cwd=other)
    assert changed.states == {"ingest": "cached", "train": "committed", "judge": "committed"}
    assert mlnb("push", "origin", "demo", cwd=other).code == 0
    assert mlnb("pull", cwd=one).code == 0
    assert set(mlnb("run", "demo", "-p", "depth", "7", "--json", cwd=one).states.values()) == {"cached"}
    assert [e["event"] for e in mlnb("audit", "--json", cwd=other).json["events"]] == [
        "init",
        "pull",
        "run",  # found everything fresh, and moved the head
        "run",
        "push",
    ]


def test_pull_refuses_strangers_and_takes_them_when_they_are_trusted(begun, root, mlnb, tmp_path):
    key = mlnb("audit", "trust", "--json", cwd=root).json["trusted"][0]["key"]
    assert mlnb("push", f"{tmp_path}/between", cwd=root).code == 0
    other = tmp_path / "other"
    shutil.copytree(begun[0], other, ignore=shutil.ignore_patterns(".mlnb"))
    refused = mlnb("pull", f"{tmp_path}/between", "--json", cwd=other)
    assert (
        refused.code == 3
        and refused.json["records"] == 0
        and {r["reason"] for r in refused.json["refused"]} == {"untrusted"}
        and "mlnb audit trust" in refused.stderr
    )
    assert mlnb("audit", "trust", "ann", key, cwd=other).code == 0
    assert mlnb("pull", f"{tmp_path}/between", "--json", cwd=other).json["records"] == 3
    assert mlnb("audit", "distrust", "ann", cwd=other).code == 0
    assert [
        e["outcome"] for e in mlnb("audit", "events", "--event", "trust", "--json", cwd=other).json["events"]
    ] == ["trusted", "distrusted"]


def test_pull_of_a_forged_record_is_5(begun, two, mlnb, tmp_path):
    one, other = two
    assert mlnb("push", cwd=one).code == 0
    record = next((tmp_path / "between" / "records").rglob("*.json"))
    record.chmod(0o600)
    record.write_text(record.read_text().replace('"attempt":1', '"attempt":2'))
    result = mlnb("pull", "--json", cwd=other)
    assert (result.code, result.json["exit_code"], [r["reason"] for r in result.json["refused"]]) == (
        5,
        5,
        ["forged"],
    ) and "forged" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("push",), 2, "remote = URL"),
        (("pull",), 2, "remote = URL"),
        (("push", "dmeo"), 2, "did you mean `demo`?"),
        (("pull", "./nothing"), 2, "mlnb push"),
        (("push", "nonsense://x/y"), 2, "fsspec"),
        (("gc", "--remote", "origin"), 2, "remote = URL"),
        (("gc", "--keep-records", "-1"), 2, "--help"),
        (("verify", "--remote", "./nothing"), 2, "mlnb push"),
        (("lineage", "modle"), 2, "did you mean `model`?"),
        (("lineage", "model", "--format", "svgg"), 2, "did you mean `svg`?"),
        (("lineage",), 2, "--help"),
        (("reproduce", "2020"), 2, ""),
        (("reproduce", "latest", "trian"), 2, "did you mean `train`?"),
        (("artifacts", "modle"), 2, "did you mean `model`?"),
        (("erase", "model", "--reason", "r"), 2, "model@"),
        (("erase", "model@latest"), 2, "--help"),
        (("erase", "model@latest", "--reason", " "), 2, "--reason"),
        (("erase", "f" * 64, "--reason", "r"), 2, "mlnb artifacts"),
        (("audit", "evnts"), 2, "--help"),
        (("audit", "events", "--event", "rnu"), 2, "did you mean `run`?"),
        (("audit", "init"), 2, "move it away"),
        (("audit", "trust", "ann"), 2, "KEY"),
        (("audit", "trust", "ann", "x"), 2, "mlnb audit init"),
        (("audit", "distrust", "bob"), 2, "settings.ini"),
        (("audit", "report", "v-1"), 2, ""),
        (("audit", "report", "--what", "x"), 2, "--owner"),
        (("audit", "report", "--what", "x", "--owner", "a", "--evidence", "zz"), 2, "64"),
        (("audit", "report", "--status", "opn"), 2, "did you mean `open`?"),
        (("audit", "verify", "--checkpoint", "none.json"), 2, "--out"),
        (("audit", "checkpoint", "--out", "settings.ini/x"), 2, "is no folder"),
        (("run", "demo", "--check-determinism"), 2, "one stage"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, tuple) else None,
)
def test_errors_end_with_the_mend_and_one_document(look, arguments, code, word):
    result = look(*arguments, "--json", code=code)
    assert result.json["exit_code"] == code and all(
        p["message"] and p["mend"] for p in result.json["problems"]
    )
    assert (
        word in result.json["problems"][0]["mend"] + result.json["problems"][0]["message"]
        and "Traceback" not in result.stderr
    )


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ("remte = x\n", "did you mean `remote`?"),
        ("remote = https://me:hunter2@host/x\n", "env:NAME"),
        ("remote =\n", "remote = …"),
        ("trusted_keys = ann x\n", "mlnb audit init"),
    ],
)
def test_settings_of_sharing_are_checked(make_project, mlnb, more, word):
    project = make_project({}, SETTINGS.format(more=more))
    result = mlnb("pull", "./x", "--json", cwd=project.root)
    assert (
        result.code == 2
        and word in result.json["problems"][0]["mend"]
        and "hunter2" not in result.stdout + result.stderr
    )


def test_remote_by_environment_variable(root, ask, tmp_path):
    (root / "settings.ini").write_text(SETTINGS.format(more="remote = env:SHARED\n"))
    assert "SHARED" in ask("push", code=2)["problems"][0]["mend"]
    assert ask("push", SHARED=str(tmp_path / "there"))["records"] == 3


def test_push_without_a_key_says_how_to_make_one(make_project, mlnb):
    project = make_project({"10_a.ipynb": ["x = 1"]})
    result = mlnb("push", "./there", "--json", cwd=project.root)
    assert (
        result.code == 2
        and "mlnb audit init" in result.json["problems"][0]["mend"]
        and not (project.root / "there").exists()
    )


# erase


def test_erase_then_get_is_6_and_verify_stays_clean(begun, root, ask, mlnb, tmp_path):
    digest = digest_of(begun, "train", "model")
    ask("push", f"{tmp_path}/remote")
    planned = ask("erase", f"model@{digest[:12]}", "--reason", "request 118", "-n")
    assert (
        planned["dry_run"]
        and {m["name"] for m in planned["made_from"]} >= {"verdict", "train"}
        and object_path(root, digest).exists()
    )
    asked = ("erase", f"demo/model@{digest[:12]}", "--reason", "request 118")
    tiny = mlnb(*asked, cwd=root)
    assert tiny.code == 2 and "17 bytes" in tiny.stderr and object_path(root, digest).exists()
    said = mlnb(*asked, "--yes", cwd=root)
    assert (
        said.code == 0
        and digest[:12] in said.stdout
        and "kept" in said.stdout
        and not object_path(root, digest).exists()
    )
    taken = mlnb("get", "model", "--json", cwd=root)
    assert (taken.code, taken.json["exit_code"]) == (6, 6) and "request 118" in taken.stderr
    assert ask("verify")["clean"]
    assert (
        ask("push", f"{tmp_path}/remote")["erased"] == 1
        and not (tmp_path / "remote" / "objects" / digest[:2] / digest).exists()
    )
    assert [e["object"] for e in ask("audit", "events", "--event", "erasure")["events"]] == [digest]
    again = ask("run", "demo", code=6)
    assert again["exit_code"] == 6 and "request 118" in again["stages"][1]["error"]["evalue"]


def test_erasure_names_the_kept_answer_of_a_source_and_does_not_count_what_was_erased_before(
    make_project, asked, mlnb
):
    import sqlite3

    cells = ["from mlnb import load, save", 'save("table", load("orders"))']
    root = make_project({"10_count.ipynb": cells}).root
    with sqlite3.connect(root / "shop.sqlite") as shop:
        shop.execute("create table orders as select 17 as id, 'ada' as customer")
    with (root / "settings.ini").open("a") as file:
        file.write("\n[source.orders]\nsql = select * from orders\nconnection = sqlite:///shop.sqlite\n")
    assert mlnb("run", "demo", cwd=root).code == 0 and asked("audit", "init", cwd=root).code == 0
    refused = asked("erase", "orders", "--reason", "r", cwd=root)
    digest = refused.stderr.rpartition("mlnb erase ")[2].split()[0]
    assert refused.code == 2 and "is a source" in refused.stderr
    said = asked("erase", "table@latest", "--reason", "r", "--yes", "--json", cwd=root)
    assert (said.json["answers"], said.json["before"]) == ({"orders": [digest]}, [])
    assert f"the answer of source orders that it was made from is kept: `mlnb erase {digest}" in said.stderr
    again = asked("erase", said.json["erased"][0], "--reason", "r", "--yes", cwd=root)
    assert "erased 0 objects" in again.stdout and "erased before: " in again.stdout
    assert asked("erase", digest, "--reason", "r", "--yes", cwd=root).code == 0
    gone = asked("erase", "table@latest", "--reason", "r", "--yes", "--json", cwd=root)
    assert gone.json["answers"] == {} and gone.json["before"] == gone.json["erased"]


def test_erase_down_takes_all_that_was_made_from_it(begun, root, ask):
    found = ask("erase", f"rows@{digest_of(begun, 'ingest', 'rows')}", "--reason", "r", "--down", "--yes")
    assert {
        digest_of(begun, s, n) for s, n in (("ingest", "rows"), ("train", "model"), ("judge", "verdict"))
    } <= set(found["erased"])
    assert all(m["is_erased"] for m in found["made_from"])
    ask("get", "verdict", code=6)


# audit


def test_audit_lists_events_and_an_idle_run_adds_none(root, ask, mlnb):
    before = ask("audit", "events")["events"]
    assert [(e["event"], e["outcome"]) for e in before] == [("init", "ok"), ("run", "committed")] and before[
        1
    ]["about"]["stages"] == {"committed": 3}
    from mlnb.store.digests import sha256_file

    assert before[1]["object"] == sha256_file(
        root / ".mlnb" / "runs" / before[1]["about"]["run"] / "run.json"
    )
    assert mlnb("run", "demo", cwd=root).code == 0
    assert (
        ask("audit") == {"format": 1, "events": before, "altered": []}
        and ask("audit", "events", "--last", "1")["events"] == before[1:]
    )
    assert "committed" in mlnb("audit", cwd=root).stdout


def test_audit_log_tells_of_a_failed_run_and_a_publication(root, ask, mlnb):
    (root / "nbs" / "40_bad.ipynb").write_text(
        (root / "nbs" / "30_judge.ipynb").read_text().replace("save('verdict'", "1 / 0; save('other'")
    )
    ask("run", "demo", code=1)
    ask("publish")
    run, publication = ask("audit")["events"][-2:]
    assert (run["event"], run["outcome"], run["about"]["exit_code"], run["about"]["stages"]) == (
        "run",
        "failed",
        1,
        {"cached": 3, "failed": 1},
    )
    assert (publication["event"], publication["outcome"]) == ("publication", "ok") and publication["about"][
        "pages"
    ] > 0


def test_audit_verify_names_the_changed_entry_and_a_checkpoint_finds_a_shorter_log(root, ask, mlnb, tmp_path):
    assert ask("audit", "verify")["state"] == "ok" and "ok" in mlnb("audit", "verify", cwd=root).stdout
    assert ask("audit", "checkpoint", "--out", f"{tmp_path}/kept.json")["n"] == 2
    log = root / ".mlnb" / "audit" / "log.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(lines[0] + lines[1].replace(b'"committed"', b'"forgotten"', 1))
    found = ask("audit", "verify", code=5)
    assert (found["exit_code"], found["first_bad"], found["state"]) == (5, 2, "bad")
    log.write_bytes(lines[0])
    (log.parent / "head.json").unlink()
    for path in (log.parent / "checkpoints").glob("*"):
        path.unlink()
    found = ask("audit", "verify", code=5)
    assert (found["entries"], found["first_bad"], found["untold"]["runs"]) == (1, None, 1)
    assert ask("audit", "verify", "--checkpoint", f"{tmp_path}/kept.json", code=5)["first_bad"] == 2


def test_audit_report_is_written_continued_and_its_evidence_kept(begun, root, ask, mlnb, tmp_path):
    assert ask("audit", "report")["violations"] == []
    evidence = ask("run", "demo", "-p", "depth", "9")["stages"][1]["outputs"]["model"]
    record = ask(
        "audit",
        "report",
        "--what",
        "a model nobody approved",
        "--owner",
        "ann",
        "--evidence",
        evidence[:12],
        "--known-since",
        "2026-11-20",
    )
    assert (record["status"], record["evidence"], record["known_since"]) == ("open", [evidence], "2026-11-20")
    for _ in range(2):
        ask("gc", "--keep-records", "0", "--keep-runs", "0")
    assert object_path(root, evidence).exists()
    closed = ask("audit", "report", record["id"], "--status", "closed", "--out", f"{tmp_path}/v.md")
    assert (
        closed["status"] == "closed"
        and [h[2] for h in closed["history"]] == ["open", "closed"]
        and "nobody approved" in (tmp_path / "v.md").read_text()
    )
    assert (
        "Violation" in mlnb("audit", "report", record["id"], cwd=root).stdout
        and record["id"] in mlnb("audit", "report", cwd=root).stdout
    )


# lineage, artifacts, diff


def test_lineage_up_leads_from_the_value_to_its_source(look):
    said = look("lineage", "verdict").stdout
    assert all(
        word in said
        for word in (
            "artifact demo/verdict",
            "stage demo/judge",
            "stage demo/train",
            "stage demo/ingest",
            "source raw",
            "raw.csv",
            "notebook",
        )
    )
    found = look("lineage", "verdict", "--json").json
    assert found["direction"] == "up" and {"source", "partition", "stage", "artifact", "notebook"} <= {
        n["kind"] for n in found["nodes"]
    }


def test_lineage_down_and_drawings(look):
    said = look("lineage", "raw", "--down").stdout
    assert all(word in said for word in ("source raw", "stage demo/ingest", "artifact demo/verdict"))
    assert look("lineage", "model", "--format", "mermaid").stdout.startswith("flowchart")
    from xml.etree import ElementTree

    assert ElementTree.fromstring(look("lineage", "model", "--format", "svg").stdout).tag.endswith("svg")


def test_artifacts_of_a_name_lists_its_versions(begun, root, ask, mlnb):
    ask("run", "demo", "-p", "depth", "9")
    found = ask("artifacts", "demo/model")["artifacts"]
    assert (
        len(found) == 2
        and found[1]["digest"] == digest_of(begun, "train", "model")
        and all({"name", "digest", "pipeline", "stage", "run", "type", "bytes", "refs"} < {*v} for v in found)
    )
    assert [one["experiment"] for one in found] == ["experiment: depth=9", None]
    assert {one["profile"] for one in found} == {"default"}
    assert ask("get", "model")["digest"] == found[1]["digest"]
    assert f"demo/model@{found[0]['digest'][:12]}" in mlnb("artifacts", "model", cwd=root).stdout
    assert ask("get", f"model@{found[0]['digest'][:12]}")["digest"] == found[0]["digest"]


def test_diff_shows_the_text_of_changed_cells(begun, root, ask, mlnb):
    path = root / "nbs" / "20_train.ipynb"
    path.write_text(path.read_text().replace("len(load('rows'))", "len(load('rows')) + 1"))
    run = ask("run", "demo")["run"]
    (cell,) = ask("diff", begun[1].json["run"], run)["cells"]
    assert cell["name"] == "train: cell 3" and cell["b"] == cell["a"].replace(
        "len(load('rows'))", "len(load('rows')) + 1"
    )
    said = mlnb("diff", begun[1].json["run"], run, cwd=root).stdout
    assert "train: cell 3:" in said and f"  - {cell['a']}" in said and f"  + {cell['b']}" in said


def test_check_warns_of_a_source_that_is_not_there(root, ask, mlnb):
    (root / "raw.csv").rename(root / "else.csv")
    problems = ask("check")["problems"]
    assert [(p["rule"], p["level"], p["file"]) for p in problems if p["rule"].startswith("source")] == [
        ("source-missing", "warning", "settings.ini")
    ]


# reproduce


def test_reproduce_gives_the_same_digests_also_when_the_working_tree_has_moved_on(root, ask, mlnb):
    found = ask("reproduce", "latest")
    assert (found["state"], found["exit_code"], [s["state"] for s in found["stages"]]) == (
        "reproduced",
        0,
        ["reproduced"] * 3,
    )
    path = root / "nbs" / "20_train.ipynb"
    path.write_text(path.read_text().replace("save('model'", "1 / 0; save('model'"))
    said = mlnb("reproduce", "latest", "train", cwd=root)
    assert said.code == 0 and "train: reproduced" in said.stdout and "ingest" not in said.stdout
    logged = [
        (e.outcome, e.about["run"], e.about["stages"], e.about["first"])
        for e in events(open_store(root / ".mlnb"), "reproduction")
    ]
    assert logged == [
        ("reproduced", found["run"], {"reproduced": 3}, None),
        ("reproduced", found["run"], {"reproduced": 1}, None),
    ]


def test_reproduce_names_what_differs_and_keeps_evidence_unless_told_not_to(root, ask, mlnb):
    first = ask("run", "apart")
    said = mlnb("reproduce", first["run"], "--no-evidence", cwd=root)
    assert said.code == 5 and "guess: " in said.stdout and "differs" in said.stdout
    assert list((root / ".mlnb" / "records" / "apart").rglob("*.evidence")) == []
    found = ask("reproduce", first["run"], code=5)
    assert (found["state"], found["first"]["name"], found["exit_code"]) == ("differs", "guess", 5)
    event = events(open_store(root / ".mlnb"), "reproduction")[-1]
    assert (event.outcome, event.about["first"]["name"], event.about["exit_code"]) == ("differs", "guess", 5)
    assert len(list((root / ".mlnb" / "records" / "apart").rglob("*.evidence"))) == 1


def test_reproduce_in_another_environment_stops_with_the_list(root, ask, mlnb):
    path = root / "nbs" / "30_judge.ipynb"
    path.write_text(path.read_text().replace('"from mlnb import', '"#| env: REGION\\nfrom mlnb import'))
    run = ask("run", "demo", REGION="eu")["run"]
    said = mlnb("reproduce", run, "judge", "--json", cwd=root, REGION="us")
    assert (
        said.code == 2
        and said.json["state"] == "environment"
        and "variable REGION" in said.stderr
        and "--any-environment" in said.stderr
    )
    assert ask("reproduce", run, "judge", "--any-environment", REGION="us")["state"] == "reproduced"


def test_run_check_determinism(root, mlnb):
    sound = mlnb("run", "demo", "judge", "--check-determinism", cwd=root)
    assert sound.code == 0 and "judge: deterministic" in sound.stdout
    odd = mlnb("run", "apart", "guess", "--check-determinism", "--json", cwd=root)
    assert (odd.code, odd.json["exit_code"], odd.json["determinism"]["state"], odd.json["state"]) == (
        5,
        5,
        "differs",
        "committed",
    ) and odd.json["determinism"]["why"] is not None
