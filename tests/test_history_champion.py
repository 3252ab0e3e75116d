"""Whoever is killed, or comes at the same moment, leaves one champion, a verified version, and no gap in its
history."""

import os
import shutil
import signal
import traceback

import pytest
from msgspec.structs import replace

from mlnb.care.signing import make_key
from mlnb.care.verify import verify_store
from mlnb.care.vouched import judging, sign_file, signer
from mlnb.flow.aliases import digest_named
from mlnb.flow.registering import register_model
from mlnb.history.champion import champion_now, former_champions, go_back, last_champion_move, version_before
from mlnb.history.decisions import (
    deciding,
    judgements_of,
    on_fresh_data,
    tries_on,
    why_worn_out,
    write_decision,
)
from mlnb.history.gate_evidence import GateEvidence
from mlnb.history.promotion import contest, promote_version
from mlnb.store import crash_points
from mlnb.store.artifacts import put_value
from mlnb.store.crash_points import STEPS
from mlnb.store.documents import read_json, sealed
from mlnb.store.errors import IntegrityError, LockedError, UsageError
from mlnb.store.gate_checks import GateCheck
from mlnb.store.model_settings import model_declared
from mlnb.store.objects import get, open_store
from mlnb.store.refs import lost_moves, move_ref, ref_history
from mlnb.store.settings import Project
from mlnb.store.versions import ModelVersion, lost_versions, read_versions, register_version, version_place

DECLARED = model_declared({"artifact": "demo/model", "gate": "gate"})
OK = [GateCheck(name="roc_auc", verdict="ok", value=0.9)]


def shop_in(root):
    store = open_store(root / "store")
    return Project(root, store.root, root, pipelines={"demo": root}, models={"demo": DECLARED}), store


@pytest.fixture
def shop(tmp_path):
    return shop_in(tmp_path)


def register(store, n):
    about = {
        "model": "demo",
        "number": 1,
        "stage": "train",
        "key": "0" * 64,
        "run": "r1",
        "declared": DECLARED,
    }
    return register_model(store, ModelVersion(**about, output=put_value(store, f"model {n}"))).version


def judge_and_promote(project, store, n, window="e" * 64):
    "What the verb does behind the gate's run."
    judged = contest(store, project, f"demo@{n}")
    evidence = GateEvidence(f"{n:064x}", OK, window, ())
    with deciding(store, "demo"):
        write_decision(store, judged.version, judged.against_digest, evidence, "r9")
        promote_version(store, judged, f"demo@{n} passed")


def in_child(work, crash=None):
    "Do something in a process of its own; how it ended: an exit code, or minus a signal."
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if crash:
                crash_points.visits.clear()
                os.environ["MLNB_CRASH"] = crash
            work()
            code = 0
        except LockedError:
            code = 75
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def ended(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def assert_sound(store, champions):
    "One champion, which is a version whose content is there; histories without a gap; nothing damaged."
    now = champion_now(store, DECLARED)
    versions = {one.digest: one.number for one in read_versions(store, "demo")}
    assert (versions[now.target] if now else None) in champions
    assert now is None or get(store, now.target)
    numbers = [move.number for move in ref_history(store, "names/demo/model/champion")]
    assert numbers == list(range(1, len(numbers) + 1))
    assert lost_moves(store) == [] and lost_versions(store.root) == []
    assert verify_store(store).clean


WORK = {
    "register": lambda project, store: register(store, 3),
    "promote": lambda project, store: judge_and_promote(project, store, 2),
    "rollback": lambda project, store: go_back(
        store, version_before(store, "demo", DECLARED), "alarms", champion_now(store, DECLARED)
    ),
}
CHAMPIONS = {
    "register": ({2}, 2),
    "promote": ({1, 2}, 2),
    "rollback": ({1, 2}, 1),
}  # meanwhile, and at the end
WRITTEN = ("object", "version", "ref")  # kinds of files that these commands write
POINTS = [f"{kind}.{step}:{n}" for kind in WRITTEN for step in STEPS for n in (1, 2)]


def prepared(root, kind):
    "A project with two versions, of which as many were promoted as a command needs."
    project, store = shop_in(root)
    for n in (1, 2):
        register(store, n)
    for n in (1, 2) if kind != "promote" else (1,):
        judge_and_promote(project, store, n)


def killed_and_tried_again(root, kind, point):
    "Kill a command at a point, look, and do it again; whether it passed the point."
    project, store = shop_in(root)
    code = ended(in_child(lambda: WORK[kind](project, store), point))
    meanwhile, last = CHAMPIONS[kind]
    if code != 0:
        assert code == -signal.SIGKILL, point
        assert_sound(store, meanwhile)
        has_moved = champion_now(store, DECLARED).target == read_versions(store, "demo")[last - 1].digest
        if kind == "register" or not has_moved:
            WORK[kind](project, store)
    assert_sound(store, {last})
    assert len(judgements_of(store, read_versions(store, "demo")[1])) == 1
    return code != 0


@pytest.mark.parametrize("kind", WORK)
def test_killed_anywhere_one_version_is_champion_and_the_next_try_ends_well(tmp_path, kind):
    prepared(tmp_path / "before", kind)
    reached = []
    for point in POINTS:
        root = tmp_path / point.replace(":", "_")
        shutil.copytree(tmp_path / "before", root)
        if killed_and_tried_again(root, kind, point):
            reached.append(point)
    assert {point.partition(".")[0] for point in reached} >= {"ref"} and len(reached) >= 6, reached


def race(project, store, n_processes):
    "Let several promote versions of their own at one moment; the exit codes."
    number = max(one.number for one in read_versions(store, "demo"))
    ready, go = os.pipe()

    def take_part(n):
        judged = contest(store, project, f"demo@{n}")
        os.read(ready, 1)
        promote_version(store, judged, f"demo@{n} passed")

    chosen = [number - one for one in range(n_processes)]
    children = [in_child(lambda n=n: take_part(n)) for n in chosen]
    os.write(go, b"." * n_processes)
    codes = [ended(child) for child in children]
    os.close(ready)
    os.close(go)
    return dict(zip(chosen, codes, strict=True))


def assert_races_are_won_once(project, store, n_races, n_processes):
    for n in range(n_races):
        for one in range(n_processes):
            register(store, n * n_processes + one)
        before = len(ref_history(store, "names/demo/model/champion"))
        codes = race(project, store, n_processes)
        moves = len(ref_history(store, "names/demo/model/champion")) - before
        winners = [number for number, code in codes.items() if code == 0]
        assert {code for code in codes.values()} <= {0, 75} and len(winners) == moves >= 1
        assert_sound(store, set(winners))


@pytest.mark.parametrize("n_processes", [2, 8])
def test_a_race_is_won_by_one_and_lost_by_those_who_saw_the_same_champion(shop, n_processes):
    assert_races_are_won_once(*shop, n_races=2, n_processes=n_processes)


@pytest.mark.slow
@pytest.mark.parametrize("n_processes", [2, 8])
def test_two_hundred_races_leave_one_champion_each(tmp_path, n_processes):
    for n in range(20):
        assert_races_are_won_once(*shop_in(tmp_path / str(n)), n_races=10, n_processes=n_processes)


def test_eight_who_judge_at_once_use_no_more_tries_than_the_gate_allows(shop):
    project, store = shop
    for n in range(8):
        register(store, n)

    def use_a_try(n):
        judged = contest(store, project, f"demo@{n}")
        with deciding(store, "demo"):
            if why_worn_out(store, judged.version, None, "e" * 64, 5):
                raise LockedError("worn out", "take a fresh one")
            write_decision(store, judged.version, None, GateEvidence(f"{n:064x}", OK, "e" * 64, ()), None)

    children = [in_child(lambda n=n: use_a_try(n)) for n in range(1, 9)]
    assert sorted(map(ended, children)) == [0] * 5 + [75] * 3
    assert len(tries_on(store, "demo/model", "e" * 64)) == 5


def test_data_that_have_served_too_often_stay_refused_however_often_and_by_what_name_one_asks(shop):
    _, store = shop
    lucky = GateEvidence("f" * 64, OK, "e" * 64, ())
    for n in range(2):
        version = register(store, n)
        write_decision(store, version, None, lucky, None)
    renamed = replace(register(store, 2), model="other")
    for version in (register(store, 3), register_version(store, renamed).version):
        for _ in range(3):
            evidence = on_fresh_data(store, version, None, lucky, 2)
            decision = write_decision(store, version, None, evidence, None)
            assert (decision.says, decision.window) == ("refused", None)
    assert on_fresh_data(store, version, None, lucky, 3) == lucky  # it was counted in no window


@pytest.mark.parametrize("how", ["file lost", "model renamed", "artifact renamed"])
def test_nobody_is_judged_without_the_champion_because_its_version_is_not_found(shop, how):
    project, store = shop
    first, second = register(store, 0), register(store, 1)
    judge_and_promote(project, store, 1)
    if how == "file lost":
        (store.root / version_place("demo", 1)).unlink()
    if how == "model renamed":
        second = register_version(store, replace(second, model="other")).version
        project = replace(project, models={"other": DECLARED})
    if how == "artifact renamed":
        renamed = replace(DECLARED, artifact="demo/other")
        with pytest.raises(UsageError, match="demo@2 is of `demo/model`"):
            contest(store, replace(project, models={"demo": renamed}), "demo@2")
        return
    with pytest.raises(IntegrityError, match="is no version of") as caught:
        contest(store, project, second.written)
    assert "`mlnb model register" in caught.value.mend
    again = register_version(store, replace(first, model=second.model)).version
    assert contest(store, project, second.written).against == again


@pytest.fixture
def signing(shop, monkeypatch):
    "The same shop, whose user has a key, and in which only what is signed counts."
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)
    project, store = shop
    make_key(store)
    for n in range(3):
        register(store, n)
    for n in (1, 2):
        promote_version(store, contest(store, project, f"demo@{n}"), "passed", signer(store, "ref"))
    return project, judging(store)


def test_a_version_that_was_rewritten_serves_nobody_where_only_what_is_signed_counts(signing):
    project, store = signing
    place = store.root / version_place("demo", 2)
    said = read_json(place)
    del said["signed"]
    place.write_bytes(sealed(place, said | {"threshold": said["output"] | {"digest": "e" * 64}}))
    uses = {
        "number": lambda: digest_named(store, "demo/model", "2"),
        "judged": lambda: contest(store, project, "demo@2"),
        "judged beside": lambda: contest(store, project, "demo@3"),
    }
    for use in uses.values():
        with pytest.raises(IntegrityError, match="demo@2 is refused: nobody signed it") as caught:
            use()
    assert "`mlnb push --sign-unsigned` signs it" in caught.value.mend
    sign_file(store, place)  # what the mend does, after looking
    assert [bool(use()) for use in uses.values()] == [True] * 3


@pytest.mark.parametrize("forged", [["3"], ["3", "1", "3"]])
def test_going_back_leads_from_moves_that_nobody_vouches_for_to_the_last_champion_that_was_promoted(
    signing, forged
):
    project, store = signing
    for n in forged:
        move_ref(store, "names/demo/model/champion", digest_named(store, "demo/model", n), "laid there")
    with pytest.raises(IntegrityError, match="is refused: nobody signed it") as caught:
        contest(store, project, "demo@3")
    assert "`mlnb rollback MODEL`" in caught.value.mend
    back = version_before(store, "demo", DECLARED)
    assert back.number == 2
    go_back(store, back, "alarms", last_champion_move(store, DECLARED), signer(store, "ref"))
    assert contest(store, project, "demo@3").against == back
    assert version_before(store, "demo", DECLARED).number == 1


@pytest.mark.parametrize("damaged", [1, 2, 3, 4])
def test_going_back_is_stopped_by_damage_to_the_version_it_leads_to_and_to_no_other(shop, damaged):
    project, store = shop
    for n in range(4):
        register(store, n)
    for n in (1, 2, 3):
        judge_and_promote(project, store, n)
    (store.root / version_place("demo", damaged)).write_text("{}")
    if damaged == 2:
        with pytest.raises(IntegrityError, match="is damaged or gone") as caught:
            version_before(store, "demo", DECLARED)
        assert "with --to 1" in caught.value.mend
        assert version_before(store, "demo", DECLARED, 1).number == 1
    else:
        assert version_before(store, "demo", DECLARED).number == 2


def test_evidence_made_stale_between_check_and_move_moves_nothing(shop):
    project, store = shop
    for n in range(3):
        register(store, n)
    stale = contest(store, project, "demo@2")
    judge_and_promote(project, store, 3)
    with pytest.raises(LockedError, match=r"made demo@3 champion"):
        promote_version(store, stale, "judged when nobody was champion")
    assert former_champions(store, DECLARED) == [read_versions(store, "demo")[2].digest]
    assert_sound(store, {3})
