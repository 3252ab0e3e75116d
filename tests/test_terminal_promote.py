"""The gate is the only door to production: what is refused stays out, what passes goes in once, one command
goes back."""

import pytest

from mlnb.flow.aliases import digest_named
from mlnb.history.champion import champion_now, former_champions
from mlnb.history.promotion import contest, promote_version
from mlnb.store.derived_objects import FastWay, derived_files
from mlnb.store.documents import read_document
from mlnb.store.errors import IntegrityError, LockedError
from mlnb.store.objects import path_of
from mlnb.store.settings import find_project, project_store
from mlnb.store.versions import alias_ref
from mlnb.terminal.erasure import exact_digest

SETTINGS = """[mlnb]
[pipeline.demo]
notebooks = nbs
[pipeline.gate]
notebooks = gate
[model.demo]
artifact = demo/model
threshold = demo/threshold
gate = gate
protected = prod
owner = anna
[profile.prod.demo]
c = 1.0
[profile.ci.gate]
tries = 100
"""
TRAIN = """from mlnb import save
from sklearn.linear_model import LogisticRegression
save("model", LogisticRegression(C=c).fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]))
save("threshold", {"score": c})"""
CHECK = """from mlnb import load, save
model, champion = load("demo/model@candidate"), load("demo/model@champion", default=None)
limit, window = champion.C if champion else 0.0, load("window")
verdict = "not_computable" if model.C == 9.0 else "ok" if model.C > limit else "fail"
check = {"name": "c", "verdict": verdict, "value": model.C, "limit": limit, "reason": "more is better"}
save("checks", [check])"""
DECIDE = """from mlnb import load, require
require(all(one["verdict"] != "fail" for one in load("checks")), "the candidate is worse")"""
GATE = {
    "gate/10_window.ipynb": [
        ("parameters", "tries: int = 3  # 1..100"),
        "from mlnb import save\nsave('window', 7)",
    ],
    "gate/20_check.ipynb": [CHECK],
    "gate/30_decide.ipynb": [DECIDE],
}


@pytest.fixture(scope="module")
def project(make_shared_project):
    train = {"10_train.ipynb": [("parameters", "c: float = 1.0  # 0..99"), TRAIN]}
    return make_shared_project(train | GATE, settings=SETTINGS)


@pytest.fixture
def promote(project, mlnb):
    def run(*arguments):
        found = mlnb("promote", *arguments, "--json", cwd=project.root)
        return found.code, found.json if "state" in found.json else found.stderr

    return run


def candidate(project, mlnb, c):
    "Train with another value, and register what came out."
    assert mlnb("run", "demo", "-p", "c", c, cwd=project.root).code == 0
    made = mlnb("model", "register", "demo@latest", "--json", cwd=project.root)
    return made.json["version"]


def aliases(project, mlnb):
    return mlnb("model", "demo", "--json", cwd=project.root).json["models"][0]["aliases"]


def test_a_gate_lets_in_what_passes_and_keeps_out_what_does_not(project, mlnb, promote):
    code, said = promote("demo")
    assert code == 2 and "has no version yet" in said and "`mlnb run demo" in said
    assert mlnb("run", "demo", cwd=project.root).code == 0
    code, said = promote("demo", "-n")
    assert (code, said["state"], said["is_planned"]) == (0, "waiting", True) and "3 stages" in said[
        "reasons"
    ][0]
    code, said = promote("demo")
    assert (code, said["state"], said["against"], said["tries"]) == (0, "promoted", None, 1)
    assert [one["name"] for one in said["checks"]] == ["c"] and (project.root / said["page"]).is_file()
    [compared] = derived_files(project.root / ".mlnb")
    assert "LogisticRegression cannot be taken over" in read_document(compared, FastWay).why
    assert promote("demo") == (0, promote("demo")[1]) and promote("demo")[1]["state"] == "unchanged"

    assert candidate(project, mlnb, 0.5) == 2
    head = mlnb("runs", "gate", "--json", cwd=project.root).json
    assert not any(one["head"] for one in head["runs"])
    refused = mlnb("promote", "demo", "--json", cwd=project.root)
    said = refused.json
    assert (refused.code, said["state"], said["against"]) == (3, "refused", 1)
    shown = mlnb("show", said["run"], cwd=project.root)
    assert "judge it again: mlnb promote demo@2\n" in shown.stderr + shown.stdout
    assert said["reasons"] == ["the candidate is worse", "`c` fails: more is better"]
    assert promote("demo", "-n")[1]["state"] == "refused" and aliases(project, mlnb)["champion"] == 1
    events = mlnb("audit", "events", "--event", "promotion", "--json", cwd=project.root).json["events"]
    assert [one["outcome"] for one in events] == ["promoted", "refused"]

    assert candidate(project, mlnb, 9) == 3  # `decide` lets pass what could not be checked: the gate does not
    code, said = promote("demo")
    assert (code, said["state"], said["tries"], said["most_tries"]) == (3, "refused", 3, 3)
    assert "could not be checked" in said["reasons"][0]

    assert candidate(project, mlnb, 5) == 4  # good, but the window has served
    code, said = promote("demo")
    assert code == 3 and "this window of data served for 3 judgements" in said["reasons"][0]
    for place in (project.root / ".mlnb" / "versions" / "demo").glob("*.*.json"):
        place.unlink()  # neither asking again nor taking away what was decided gives a try back
    code, said = promote("demo")
    assert (code, said["tries"]) == (3, 3) and "served for 3 judgements" in said["reasons"][0]
    (project.root / "gate" / "10_window.ipynb").write_text(
        (project.root / "gate" / "10_window.ipynb").read_text().replace("'window', 7", "'window', 8")
    )
    code, said = promote("demo", "--profile", "ci")
    assert code == 2 and "into production under profile `ci`" in said and "`mlnb promote demo@4`" in said
    code, said = promote("demo", "--profile", "prod")
    assert (code, said["state"]) == (3, "waiting") and "`mlnb approve demo@4`" in said["reasons"][0]
    code, said = promote("demo@4")
    assert (code, said["state"], said["against"], said["tries"]) == (0, "promoted", 1, 1)
    assert aliases(project, mlnb) == {"candidate": 4, "champion": 4, "previous": 1}
    assert "`gate` is the gate of model `demo`" in mlnb("status", "gate", cwd=project.root).stderr

    back = mlnb("rollback", "demo", "--reason", "too many alarms", cwd=project.root)
    assert back.code == 0 and "demo@1 is the champion of `demo` again" in back.stdout
    assert mlnb("rollback", "demo", cwd=project.root).code == 2
    assert promote("demo@4")[1]["state"] == "promoted"
    revoked = mlnb("model", "revoke", "demo@1", "--reason", "leak", cwd=project.root)
    assert revoked.stderr == "`mlnb publish` shows it on the pages\n"  # no note on a champion: it is none
    note = mlnb("model", "alias", "demo@1", "shadow", cwd=project.root).stderr
    assert "demo@1 was revoked" in note and "mend: `mlnb model demo` lists the others" in note
    listed = mlnb("model", "demo", "--json", cwd=project.root).json["models"][0]["versions"]
    assert [one["says"] for one in listed[0]["decisions"]] == ["refused", "passed"]
    gone = mlnb("rollback", "demo", cwd=project.root)
    assert gone.code == 2 and "was revoked" in gone.stderr
    code, said = promote("demo@1")
    assert code == 3 and "was revoked" in said["reasons"][0] and "`mlnb promote demo@N`" in said["reasons"][0]
    code, said = promote("demo@2", "--override")
    assert code == 2 and "mend: write `--override --reason" in said
    code, said = promote("demo@2", "--override", "--reason", "shop opens tomorrow")
    assert (code, said["state"]) == (3, "waiting") and "second person" in said["reasons"][0]
    assert said["exception"] == "shop opens tomorrow" and not promote("demo@4")[1]["exception"]
    told = mlnb("audit", "events", "--event", "promotion", "--json", cwd=project.root).json["events"]
    excepted = [one["about"].get("exception") for one in told if one["outcome"] == "waiting"]
    assert excepted == [None, "shop opens tomorrow"]
    assert [len(one["about"]["before"]) for one in told if one["outcome"] == "rolled_back"] == [64]
    assert aliases(project, mlnb)["champion"] == 4 and mlnb("verify", cwd=project.root).code == 0


def test_who_comes_second_and_what_is_damaged_or_erased_do_not_move_the_champion(project, mlnb):
    found = find_project(project.root)
    store = project_store(found)
    first, second = contest(store, found, "demo@2"), contest(store, found, "demo@3")
    promote_version(store, first, "a race")
    with pytest.raises(LockedError, match=r"made demo@2 champion at .*, meanwhile"):
        promote_version(store, second, "a race")
    again = contest(store, found, "demo@3")
    place = path_of(store, again.version.digest)
    kept = place.read_bytes()
    place.chmod(0o600)
    place.write_bytes(kept[:-1] + b"?")
    with pytest.raises(IntegrityError):
        promote_version(store, again, "damaged")
    assert mlnb("promote", "demo@3", cwd=project.root).code in (3, 5)
    assert champion_now(store, found.models["demo"]).target == first.version.digest
    assert former_champions(store, found.models["demo"])[-1] == digest_named(store, "demo/model", "2")


def test_a_champion_whose_moves_were_taken_away_is_noticed_and_stops_both_ways(project, asked):
    found = find_project(project.root)
    ref = project_store(found).root / "refs" / alias_ref("demo/model", "champion")
    told = asked("audit", "events", "--event", "promotion", "--json", cwd=project.root).json["events"]
    (last,) = max(one["about"]["heads"] for one in told if one["about"].get("heads"))
    for place in ref.iterdir():
        if int(place.stem) >= int(last.split()[1]):
            place.unlink()
    for verb in (("promote", "demo@3"), ("rollback", "demo")):
        answer = asked(*verb, "--json", cwd=project.root)
        assert answer.code == 5 and "went back" in answer.json["problems"][0]["message"]
    assert asked("audit", "verify", cwd=project.root).code == 5
    assert asked("audit", "tell", "--why", "a backup was played back", cwd=project.root).code == 0
    assert asked("promote", "demo@3", "-n", "--json", cwd=project.root).json["state"]


@pytest.mark.parametrize("written", ["demo@4", "models:/demo@4", "demo/model@4"])
def test_a_version_is_the_model_itself_whatever_verb_is_given_its_name(project, asked, written):
    shown = asked("get", written, "--json", cwd=project.root)
    came = asked("lineage", written, "--json", cwd=project.root)
    assert (shown.code, came.code) == (0, 0) and came.json["name"] == "demo/model@4"
    found = find_project(project.root)
    store = project_store(found)
    meant = digest_named(store, "demo/model", "4"), {("demo", "model")}
    assert exact_digest(found, store, written, "default") == meant  # what `mlnb erase` takes away


LOADED = "from mlnb import load, save\nmodel = load('demo/model@candidate')\n"
UNDECIDED = {
    "raises": ("save('checks', [model / 0])", 1, "unsupported operand"),
    "long": (
        "save('checks', [{'name': f'a{n}', 'verdict': 'fail', 'reason': '🦊' * 900} for n in range(40)])",
        3,
        "`a39` fails",
    ),
    "nan": ("save('checks', [{'name': 'a', 'verdict': 'ok', 'value': float('nan')}])", 2, "finite figures"),
    "dict": ("save('checks', {})", 2, "no list"),
    "empty": ("save('checks', [])", 3, "nothing was checked"),
    "verdict": ("save('checks', [{'name': 'a', 'verdict': 'fine'}])", 2, "check 1 of the gate"),
}


def test_gate_that_comes_to_no_decision_lets_nobody_in(make_project, mlnb):
    train = {"10_train.ipynb": [("parameters", "c: float = 1.0  # 0..99"), TRAIN]}
    decide = "from mlnb import load, require\nrequire(load('checks') is not None, 'none')"
    project = make_project(train | {"gate/30_decide.ipynb": [decide]}, settings=SETTINGS)
    for cell, code, said in UNDECIDED.values():
        project.stage("gate/20_check.ipynb", LOADED + cell)
        assert aliases(project, mlnb) or mlnb("run", "demo", cwd=project.root).code == 0
        answer = mlnb("promote", "demo", "--json", cwd=project.root)
        assert answer.code == code, (cell, answer.stderr)
        assert said in " ".join(answer.json.get("reasons", [answer.stderr]))
        assert aliases(project, mlnb) == {"candidate": 1}
