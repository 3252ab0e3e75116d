"""Moves of heads that somebody took away: a gap is told by `verify`, a last move by `audit verify`.

Nothing else is told, and every finding goes away by its mend."""

import random
import shutil

import pytest
from test_care_audit_months import month_before, written

from mlnb.care.audit import audit, events, tell_late, verify_log
from mlnb.care.log_file import log_path
from mlnb.care.repair import repair_documents
from mlnb.care.retention import drop_months
from mlnb.care.verify import verify_store
from mlnb.store.errors import StoreError
from mlnb.store.objects import open_store
from mlnb.store.refs import move_ref, read_ref, ref_history, ref_numbers, ref_path
from mlnb.store.run_entries import Entry, RunDocument
from mlnb.store.runs import write_run
from mlnb.terminal.audit_entries import note_run

HEADS = ("heads/shop/default", "heads/shop/ci", "heads/fraud/default")


@pytest.fixture(autouse=True)
def no_key_from_outside(monkeypatch):
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "store")


class Life:
    "What runs do to heads and log, whole or cut short."

    def __init__(self, store):
        self.store, self.n = store, 0

    def document(self, ref, is_head=True, attempts=1):
        self.n += 1
        _, pipeline, profile = ref.split("/")
        stages = (Entry(name="train", state="committed" if attempts else "cached", attempts=attempts),)
        about = {"pipeline": pipeline, "profile": profile, "state": "committed", "stages": stages}
        return RunDocument(run=f"20261127T10000{self.n:04d}-0001", head=is_head, **about)

    def move(self, ref, document, is_told=True):
        write_run(self.store, document)
        move_ref(self.store, ref, document.run, "every stage is committed")
        if is_told:
            note_run(self.store, document)

    def run(self, ref):
        self.move(ref, self.document(ref))

    def fresh(self, ref):
        "A run that found everything fresh, and moved the head."
        self.move(ref, self.document(ref, attempts=0))

    def killed(self, ref):
        "A run that ended between its move and its entry."
        document = self.document(ref)
        self.move(ref, document, is_told=False)
        write_run(self.store, RunDocument(run=document.run, state="running", pipeline="shop"))

    def write(self, document):
        write_run(self.store, document)
        note_run(self.store, document)

    def again(self, ref):
        "A run whose results are those of the head, which stays."
        self.write(self.document(ref, is_head=bool(read_ref(self.store, ref))))

    def experiment(self, ref):
        self.write(self.document(ref, is_head=False))

    def together(self, ref):
        "Two runs that move one after the other and are told the other way round."
        first, second = self.document(ref), self.document(ref)
        self.move(ref, first, is_told=False)
        self.move(ref, second)
        note_run(self.store, first)

    def seen(self, ref):
        "What a pull saw of the same ref at a remote that was begun again."
        path = ref_path(self.store, f"remotes/origin/{ref}", 7)
        if not path.exists():
            path.parent.mkdir(parents=True)
            move_ref(self.store, f"remotes/origin/{ref}", "r-there", "seen", after=6)

    def spoilt(self, ref):
        "A move that was damaged, and repaired."
        if numbers := ref_numbers(self.store).get(ref):
            path = ref_path(self.store, ref, random.choice(numbers))
            path.write_bytes(path.read_bytes()[:-9])
            repair_documents(self.store, verify_store(self.store).damaged)


def findings(store):
    found = verify_log(store, with_runs=True)
    return [one.message for one in found.findings]


def gaps(store):
    return [one.names[0] for one in verify_store(store).damaged if one.kind == "gap"]


STEPS = ("run", "fresh", "again", "experiment", "together", "seen", "killed")


@pytest.mark.parametrize("seed", range(8))
def test_whatever_runs_do_nothing_is_told_until_a_move_is_taken_away(store, seed):
    random.seed(seed)
    life = Life(store)
    for _ in range(12):
        getattr(life, random.choice(STEPS))(random.choice(HEADS))
    life.run(HEADS[seed % 3])
    assert (findings(store), gaps(store)) == ([], [])
    for ref, numbers in ref_numbers(store).items():
        for number in random.sample(numbers, 1):
            path = ref_path(store, ref, number)
            aside = path.rename(path.with_suffix(".aside"))
            told = [one for one in events(store, "run") if f"{ref} {number}" in one.about.get("heads", ())]
            is_last = number == numbers[-1]
            assert gaps(store) == ([] if is_last else [f"move {number} of {ref}"])
            said = [one for one in findings(store) if f"move {number} of `{ref}` is gone" in one]
            assert len(findings(store)) == len(said) == (1 if is_last and told else 0)
            aside.rename(path)
    assert (findings(store), gaps(store)) == ([], [])


@pytest.mark.parametrize("seed", range(4))
def test_repaired_moves_leave_no_gap_and_nothing_to_tell(store, seed):
    random.seed(seed)
    life = Life(store)
    for _ in range(4):
        life.run(HEADS[0])
    last = read_ref(store, HEADS[0]).target
    for _ in range(3):
        life.spoilt(HEADS[0])
        assert (verify_store(store).damaged, findings(store)) == ([], [])
        assert read_ref(store, HEADS[0]).target == last


@pytest.mark.parametrize("gone", [(1,), (2,), (1, 2), (2, 3), (1, 2, 3), (1, 3)], ids=str)
def test_gap_is_filled_with_what_the_log_tells_and_says_so(store, gone):
    life = Life(store)
    for n in range(4):
        (life.run if n != 2 else life.killed)(HEADS[0])
    before = [one.target for one in ref_history(store, HEADS[0])]
    for number in gone:
        ref_path(store, HEADS[0], number).unlink()
    found = verify_store(store)
    assert (found.clean, {one.kind for one in found.damaged}) == (False, {"gap"})
    done = repair_documents(store, found.damaged)
    assert (done.unknown, len(done.told_again)) == ([], len(found.damaged))
    after = ref_history(store, HEADS[0])
    assert [one.target for one in after if one.number != 3] == [one for n, one in enumerate(before) if n != 2]
    assert all(("lost" in one.reason) == (one.number in gone) for one in after)
    assert (verify_store(store).damaged, findings(store)) == ([], [])


def test_gap_of_a_million_is_named_once_and_not_filled(store):
    life = Life(store)
    life.run(HEADS[0])
    move_ref(store, HEADS[0], "r-far", "every stage is committed", after=1_000_000)
    found = verify_store(store)
    assert [one.names for one in found.damaged] == [[f"move 2 of {HEADS[0]}"]]
    (left,) = repair_documents(store, found.damaged).unknown
    assert "999,999" in left.message and "01000001.json" in left.message
    ref_path(store, HEADS[0], 1_000_001).unlink()
    assert verify_store(store).clean


@pytest.mark.parametrize("n_gone", [1, 2, 3])
@pytest.mark.parametrize("mend", ["run", "tell", "run and tell", "tell and run"])
def test_last_moves_that_are_gone_are_told_until_the_mend_is_done(store, n_gone, mend):
    life = Life(store)
    for _ in range(3):
        life.run(HEADS[0])
    for number in range(4 - n_gone, 4):
        ref_path(store, HEADS[0], number).unlink()
    (found,) = findings(store)
    assert f"move {4 - n_gone} of `{HEADS[0]}` is gone" in found
    for step in mend.split(" and "):
        life.fresh(HEADS[0]) if step == "run" else tell_late(store, "a backup was played back")
    assert len(findings(store)) == (0 if "tell" in mend or n_gone == 1 else 1)
    if "tell" in mend:
        life.fresh(HEADS[0])
        ref_path(store, HEADS[0], read_ref(store, HEADS[0]).number).unlink()
        assert len(findings(store)) == 1


def test_log_that_began_later_or_was_written_by_an_older_mlnb_misses_nothing(store):
    life = Life(store)
    for _ in range(3):
        life.run(HEADS[0])
    shutil.rmtree(log_path(store).parent)
    tell_late(store, "the log was begun later")
    assert findings(store) == []
    ref_path(store, HEADS[0], 3).unlink()
    assert findings(store) == []  # nobody told of it
    life.fresh(HEADS[0])
    ref_path(store, HEADS[0], 3).unlink()
    assert len(findings(store)) == 1


def test_last_move_is_still_told_when_the_lines_that_told_it_went(store):
    life = Life(store)
    life.document(HEADS[0])
    move_ref(store, HEADS[0], "r1", "every stage is committed")
    years = [[month_before("2026-11", n)] for n in range(18, 0, -1)]
    written(store, years, first={"run": "r1", "heads": [f"{HEADS[0]} 1"]})
    assert (findings(store), drop_months(store, 12).entries) == ([], 6)
    assert findings(store) == []
    assert events(store, "retention")[0].about == {"heads": [f"{HEADS[0]} 1"]}
    ref_path(store, HEADS[0], 1).unlink()
    assert len(findings(store)) == 1


def test_full_disk_between_move_and_entry_leaves_nothing_to_tell_but_the_run(store, monkeypatch):
    life = Life(store)
    life.run(HEADS[0])
    document = life.document(HEADS[0])

    def full(*_, **__):
        raise StoreError("no room", "make room")

    monkeypatch.setattr("mlnb.care.audit.write_all", full)
    with pytest.raises(StoreError):
        life.move(HEADS[0], document)
    monkeypatch.undo()
    assert (len(findings(store)), "that no entry tells of" in findings(store)[0]) == (1, True)
    tell_late(store, "the disk was full")
    assert (findings(store), gaps(store)) == ([], [])


@pytest.mark.parametrize(
    "heads", ["x", [7], ["x"], ["heads/../x 1"], ["heads/a/b -1"], ["heads/a/b 123456789"]]
)
def test_entry_that_names_no_move_is_a_finding(store, heads):
    audit(store, "run", run="r1", heads=heads)
    assert [("no entry of the event" in one) for one in findings(store)] == [True]


def test_run_beside_a_damaged_head_is_told_without_its_number(store):
    life = Life(store)
    life.run(HEADS[0])
    ref_path(store, HEADS[0], 1).write_bytes(b"{}")
    life.write(life.document(HEADS[0]))
    assert [one.about.get("heads") for one in events(store, "run")] == [[f"{HEADS[0]} 1"], None]


@pytest.mark.slow
def test_older_result_is_not_brought_back_unseen_by_taking_the_last_move_away(make_project, mlnb):
    settings = "[mlnb]\nrequire_signed = true\nremote = ../there\n[pipeline.demo]\nnotebooks = nbs\n"
    project = make_project({}, settings)

    def run(n):
        project.stage("nbs/10_a.ipynb", "from mlnb import save", f"save('x', {n})")
        return mlnb("run", "demo", cwd=project.root)

    def checked():
        return [mlnb(*verb, cwd=project.root) for verb in (("verify",), ("audit", "verify"))]

    run(0)
    assert mlnb("audit", "init", cwd=project.root).code == 0
    assert [run(n).code for n in (1, 2, 1, 3)] == [0, 0, 0, 0]
    assert run(3).code == 0
    assert [one.code for one in checked()] == [0, 0]
    assert mlnb("push", cwd=project.root).code == 0
    moves = sorted((project.root / ".mlnb" / "refs" / "heads" / "demo" / "default").iterdir())
    moves[-1].rename(moves[-1].with_suffix(".aside"))
    verified, audited = checked()
    assert (verified.code, audited.code) == (0, 5)
    assert f"move {len(moves)} of `heads/demo/default` is gone" in audited.stderr
    assert "`mlnb run demo` sets the head anew" in audited.stderr
    pushed = mlnb("push", cwd=project.root)
    assert (pushed.code, "stays where it is there: a move of it is gone here" in pushed.stderr) == (3, True)
    assert run(3).code == 0
    assert [one.code for one in checked()] == [0, 0]
    moves[-2].unlink()
    verified, audited = checked()
    assert (verified.code, audited.code) == (5, 0)
    assert f"move {len(moves) - 1} of heads/demo/default" in verified.stdout
    assert mlnb("verify", "--repair", cwd=project.root).code == 0
    assert [one.code for one in checked()] == [0, 0]
    assert mlnb("push", cwd=project.root).code == 0
