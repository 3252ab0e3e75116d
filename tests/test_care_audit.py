"""The audit log: every change of it is found, a crash is not mistaken for one, and writers do not disturb
each other."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys

import pytest

from mlnb.care import log_file
from mlnb.care.audit import audit, events, init_audit, make_checkpoint, verify_log
from mlnb.care.chain import audit_entry, new_line, split_lines
from mlnb.care.log_file import log_path
from mlnb.care.signing import sign
from mlnb.care.violations import evidence_digests, report_violation, violation_page, violations
from mlnb.store.digests import canonical_json, digest_of, sha256
from mlnb.store.errors import IntegrityError, StoreError, UsageError
from mlnb.store.objects import open_store, put


@pytest.fixture(autouse=True)
def no_key_from_outside(monkeypatch):
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "store")


def filled(store, n=12):
    "A log of `n` events, the fourth line of it torn by a crash."
    for number in range(n):
        if number == 3:
            with open(log_path(store), "ab") as file:
                file.write(new_line(4, "0" * 64, "run", "ok", None, {})[:57])
        audit(
            store,
            "run",
            digest=sha256(str(number).encode()),
            run=f"r{number}",
            text="a little more, so that edits hit values as well as names",
        )
    return store


def write_log(store, data):
    log_path(store).write_bytes(data)


# random edits


def replaced(data, place, size, new):
    return data[:place] + new + data[place + size :]


def joined(lines):
    return b"\n".join(lines) + b"\n"


def zeroed(data, place, rng):
    size = min(rng.randint(1, 40), len(data) - place)
    return replaced(data, place, size, bytes(size))


def swapped(lines, a, b):
    moved = list(lines)
    moved[a], moved[b] = moved[b], moved[a]
    return joined(moved)


BYTE_EDITS = {
    "bit": lambda data, place, rng: replaced(data, place, 1, bytes([data[place] ^ 1 << rng.randrange(8)])),
    "byte": lambda data, place, rng: replaced(data, place, 1, rng.randbytes(1)),
    "cut": lambda data, place, rng: data[:place],
    "insert": lambda data, place, rng: replaced(data, place, 0, rng.randbytes(rng.randint(1, 40))),
    "remove": lambda data, place, rng: replaced(data, place, rng.randint(1, 40), b""),
    "zero": zeroed,
}
LINE_EDITS = {
    "swap": swapped,
    "remove line": lambda lines, a, b: joined(lines[:a] + lines[a + 1 :]),
    "double line": lambda lines, a, b: joined([*lines[:b], lines[a], *lines[b:]]),
}


def edited(data, rng):
    "The log after one edit of a random kind, and the number of the first line that differs."
    lines, _ = split_lines(data)
    kind = rng.choice([*BYTE_EDITS, *LINE_EDITS, "end"])
    if kind in BYTE_EDITS:
        new = BYTE_EDITS[kind](data, rng.randrange(len(data)), rng)
    elif kind in LINE_EDITS:
        new = LINE_EDITS[kind](lines, rng.randrange(len(lines)), rng.randrange(len(lines)))
    else:
        new = data + rng.randbytes(rng.randint(1, 40)) + b"\n" + rng.choice([b"x\n", lines[-1] + b"\n"])
    if new == data:
        return edited(data, rng)
    changed, _ = split_lines(new)
    first = next(
        (n for n, (x, y) in enumerate(zip(lines, changed, strict=False), 1) if x != y),
        min(len(lines), len(changed)) + 1,
    )
    return new, first


def all_edits_found(store, n_edits, seed):
    data, rng = log_path(store).read_bytes(), random.Random(seed)
    for number in range(n_edits):
        new, first = edited(data, rng)
        write_log(store, new)
        found = verify_log(store, trusted={})
        if new.startswith(data):
            assert found.state in ("bad", "torn"), f"edit {number}"
            continue
        assert found.state == "bad", f"edit {number}"
        assert first - 1 <= found.first_bad <= first, f"edit {number}: {found}, not {first}"
    write_log(store, data)
    assert verify_log(store, trusted={}).state == "ok"
    return number + 1


def test_random_edits_of_the_log_are_all_found(store):
    all_edits_found(filled(store), 300, seed=1)


@pytest.mark.slow
def test_eight_writers_of_a_thousand_events_each_keep_one_chain(store):
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=write_many, args=(store.root, f"w{n}", 1000)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(600)
    assert [worker.exitcode for worker in workers] == [0] * 8
    found = events(store)
    assert [e.n for e in found] == list(range(1, 8001))
    assert len({e.about["run"] for e in found}) == 8000
    assert verify_log(store).state == "ok"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_ten_thousand_random_edits_of_the_log_are_all_found(store, record_property, seed):
    record_property("times", all_edits_found(filled(store), 2000, seed=100 + seed))


def test_every_single_byte_of_the_log_counts_and_its_line_is_named(store):
    data = log_path(filled(store, 3)).read_bytes()
    for place in range(0, len(data), 2):
        write_log(store, data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        found = verify_log(store, trusted={})
        assert (found.state, found.first_bad) == ("bad", data[:place].count(b"\n") + 1)


def test_every_truncation_of_the_log_is_found_and_names_the_first_line_gone(store):
    data = log_path(filled(store, 3)).read_bytes()
    for size in range(len(data)):
        write_log(store, data[:size])
        found = verify_log(store, trusted={})
        assert (found.state, found.first_bad) == ("bad", data[:size].count(b"\n") + 1)


def test_edit_is_still_found_after_further_events(store):
    for seed in range(12):
        fresh = open_store(store.root.parent / f"store-{seed}")
        data = log_path(filled(fresh, 5)).read_bytes()
        new, first = edited(data, random.Random(seed))
        write_log(fresh, new)
        if verify_log(fresh, trusted={}).state == "torn":
            continue
        audit(fresh, "run", run="later")
        audit(fresh, "run", run="later still")
        found = verify_log(fresh, trusted={})
        assert found.state == "bad"
        assert found.first_bad <= first + 1


# a chain computed anew


def rewritten(store, keep, lines):
    "Compute a consistent log from `lines` (event, about), after the first `keep` lines of the present one."
    present, _ = split_lines(log_path(store).read_bytes())
    new = present[:keep]
    for event, about in lines:
        new.append(new_line(len(new) + 1, sha256(new[-1]) if new else "0" * 64, event, "ok", None, about))
    write_log(store, b"".join(line + b"\n" for line in new))
    log_path(store).with_name("head.json").write_bytes(
        canonical_json({"n": len(new), "hash": sha256(new[-1])})
    )


def test_chain_computed_anew_is_found_by_a_checkpoint_kept_elsewhere(store, tmp_path):
    init_audit(store)
    for number in range(5):
        audit(store, "run", run=f"r{number}")
    make_checkpoint(store, tmp_path / "kept.json")
    for checkpoint in log_path(store).parent.glob("checkpoints/*"):
        checkpoint.unlink()
    rewritten(store, 3, [("run", {"run": "forged"})] * 3)
    assert verify_log(store).state == "ok"
    found = verify_log(store, (tmp_path / "kept.json",))
    assert (found.state, found.first_bad) == ("bad", 1)


def test_checkpoints_narrow_down_where_the_log_was_rewritten(store):
    init_audit(store)
    audit(store, "run", run="r1")
    make_checkpoint(store)
    audit(store, "run", run="r2")
    audit(store, "run", run="r3")
    make_checkpoint(store)
    rewritten(store, 2, [("run", {"run": "forged"})] * 2)
    found = verify_log(store)
    assert (found.first_bad, found.signed_to) == (3, 2)
    assert "entries 3 to 4" in found.message


def as_written_anew(line, **fields):
    "A line with other fields and a digest that fits them."
    said = {**json.loads(line), **fields}
    del said["hash"]
    return canonical_json(said | {"hash": digest_of(said)})


FORGED_FOURTH = {
    "previous": (
        lambda line: [as_written_anew(line, previous="a" * 64)],
        4,
        "entry 4 fits neither entry 3 nor",
    ),
    "number": (lambda line: [as_written_anew(line, n=(1 << 63) - 1)], 4, "entry 4 was changed"),
    "content": (lambda line: [as_written_anew(line, actor="eve")], 4, "entries 4 and 5 do not follow"),
    "before": (lambda line: [as_written_anew(line, actor="eve"), line], 4, "two lines say to be entry 4"),
    "twice": (lambda line: [line, line], 5, "entry 4 stands there twice"),
}


@pytest.mark.parametrize("way", FORGED_FOURTH)
def test_no_innocent_entry_is_blamed(store, way):
    init_audit(store)
    for number in range(2):
        audit(store, "run", run=f"r{number}")
    make_checkpoint(store)
    for number in range(3):
        audit(store, "run", run=f"s{number}")
    lines, _ = split_lines(log_path(store).read_bytes())
    forge, first, said = FORGED_FOURTH[way]
    write_log(store, joined([*lines[:3], *forge(lines[3]), *lines[4:]]))
    found = verify_log(store)
    assert (found.state, found.first_bad, found.signed_to) == ("bad", first, 3)
    assert found.message.startswith(said)


FORGED_PAIRS = {  # what is done to the second of two entries, of which the first was written anew
    "content": lambda line: as_written_anew(line, actor="mallory"),
    "previous": lambda line: as_written_anew(line, previous="a" * 64),
    "number": lambda line: as_written_anew(line, n=9),
    "not sealed": lambda line: line.replace(b'"run"', b'"rum"'),
}


@pytest.mark.parametrize("n_between", [0, 1])
@pytest.mark.parametrize("way", FORGED_PAIRS)
def test_of_two_forged_entries_the_earliest_is_named_first(store, way, n_between):
    init_audit(store)
    for number in range(6):
        audit(store, "run", run=f"r{number}")
    lines, _ = split_lines(log_path(store).read_bytes())
    second = 3 + n_between
    lines[2] = as_written_anew(lines[2], actor="eve")
    lines[second] = FORGED_PAIRS[way](lines[second])
    write_log(store, joined(lines))
    found = verify_log(store)
    assert (found.state, found.first_bad, found.signed_to) == ("bad", 3, 1)


def test_checkpoint_that_fits_vouches_for_the_entry_before_a_broken_end(store):
    init_audit(store)
    make_checkpoint(store)
    audit(store, "run", run="r")
    lines, _ = split_lines(log_path(store).read_bytes())
    write_log(store, joined([lines[0], as_written_anew(lines[1], previous="a" * 64)]))
    found = verify_log(store)
    assert (found.first_bad, found.signed_to) == (2, 1)
    assert found.message.startswith("entries 1 and 2 do not follow from one another")


def test_head_that_claims_more_entries_than_there_are(store):
    init_audit(store)
    audit(store, "run", run="r")
    last = split_lines(log_path(store).read_bytes())[0][-1]
    head = {"n": 10**18, "hash": sha256(last)}
    log_path(store).with_name("head.json").write_bytes(canonical_json(head).ljust(100) + b"\n")
    found = verify_log(store)
    assert (found.state, found.first_bad) == ("bad", 3)
    assert "audit/head.json was changed" in found.message


def test_truncation_that_rewrites_the_head_too_is_found_by_a_checkpoint(store):
    init_audit(store)
    audit(store, "promotion", alias="champion")
    make_checkpoint(store)
    rewritten(store, 1, [])
    found = verify_log(store)
    assert (found.state, found.first_bad) == ("bad", 2)


def test_checkpoint_of_another_store_or_of_nobody_is_refused(store, tmp_path):
    init_audit(store)
    other = open_store(tmp_path / "other")
    init_audit(other)
    make_checkpoint(other, tmp_path / "other.json")
    assert "not trusted" in verify_log(store, (tmp_path / "other.json",)).message
    (tmp_path / "mine.json").write_text(
        json.dumps(sign(store, "checkpoint", {"format": 1, "log": "f" * 64, "n": 1, "hash": "f" * 64}))
    )
    assert "another store" in verify_log(store, (tmp_path / "mine.json",)).message
    (tmp_path / "broken.json").write_text("{")
    assert verify_log(store, (tmp_path / "broken.json",)).state == "bad"


def test_checkpoint_is_not_made_of_a_broken_log(store):
    init_audit(store)
    audit(store, "run", run="r1")
    write_log(store, log_path(store).read_bytes().replace(b'"r1"', b'"r2"'))
    with pytest.raises(IntegrityError, match="entry 2 was changed"):
        make_checkpoint(store)


# crashes


def test_line_torn_at_any_byte_is_closed_and_the_log_stays_good(store):
    audit(store, "run", run="r0")
    whole, line = log_path(store).read_bytes(), new_line(2, "0" * 64, "run", "ok", None, {"run": "r1"})
    head = log_path(store).with_name("head.json").read_bytes()
    for torn in [line[:size] for size in range(1, len(line) + 1, 7)] + [
        bytes(40),
        bytes(40) + b"\n",
        line[:40] + b"\n",
    ]:
        write_log(store, whole + torn)
        log_path(store).with_name("head.json").write_bytes(head)
        assert verify_log(store).state == "torn"
        audit(store, "run", run="r2")
        assert verify_log(store).state == "ok"
        assert [e.event for e in events(store)][-2:] == ["closed_torn_line", "run"]
        assert torn.rstrip(b"\n") in log_path(store).read_bytes()


KILLED = """
import os, signal, sys
from mlnb.care import audit as log
from mlnb.store.objects import open_store
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
store, at = open_store(sys.argv[1]), sys.argv[2]
log.audit(store, "run", run="before")
if at == "half a line":
    def half(handle, data): os.write(handle, data[: len(data) // 2]); die()
    log.write_all = half
elif at == "before the flush": os.fsync = die
elif at == "before the head": log.write_head = die
log.audit(store, "run", run="killed")
"""


@pytest.mark.parametrize(
    "at, state, n_events",
    [("half a line", "torn", 1), ("before the flush", "ok", 2), ("before the head", "ok", 2)],
)
def test_kill_while_an_event_is_written_leaves_a_log_that_goes_on(store, at, state, n_events):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(store.root), at], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (verify_log(store).state, len(events(store))) == (state, n_events)
    audit(store, "run", run="after")
    assert verify_log(store).state == "ok"
    assert events(store)[-1].about == {"run": "after"}


def test_torn_line_that_was_on_the_disk_is_tampering(store):
    audit(store, "run", run="r0")
    audit(store, "promotion", alias="champion")
    os.truncate(log_path(store), log_path(store).stat().st_size - 30)
    assert (verify_log(store).state, verify_log(store).first_bad) == ("bad", 2)


def test_disk_that_takes_half_a_line_is_one_clear_error_and_the_log_goes_on(store, monkeypatch):
    audit(store, "run", run="r0")
    real, written = os.write, []

    def full(handle, data):
        if written:
            raise OSError(28, "No space left on device")
        written.append(real(handle, data[:50]))
        return 50

    monkeypatch.setattr(log_file.os, "write", full)
    with pytest.raises(StoreError, match="no room left"):
        audit(store, "run", run="r1")
    monkeypatch.undo()
    assert verify_log(store).state == "torn"
    audit(store, "run", run="r2")
    assert verify_log(store).state == "ok"


# writers side by side


def write_many(root, name, n):
    for number in range(n):
        audit(open_store(root), "run", run=f"{name}-{number}")


def test_four_writers_lose_no_event_and_keep_one_chain(store):
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=write_many, args=(store.root, f"w{number}", 10)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert sorted(e.about["run"] for e in events(store)) == sorted(
        f"w{w}-{n}" for w in range(4) for n in range(10)
    )
    found = verify_log(store)
    assert (found.state, found.entries) == ("ok", 40)


# what is written


def test_event_names_actor_object_and_outcome(store):
    digest = put(store, b"page")
    entry = audit(store, "publication", outcome="refused", digest=digest, page="index.html")
    assert entry.actor and (entry.object, entry.outcome, entry.about) == (
        digest,
        "refused",
        {"page": "index.html"},
    )
    assert audit_entry(log_path(store).read_bytes()[:-1]) == entry


def test_event_without_init_is_written_unsigned(store):
    audit(store, "run", run="r1")
    found = verify_log(store)
    assert (found.state, found.signed_to) == ("ok", 0)


def test_event_of_an_overlay_goes_to_the_log_of_its_store(store, tmp_path):
    audit(open_store(tmp_path / "overlay", below=store), "run", run="r1")
    assert len(events(store)) == 1
    assert not (tmp_path / "overlay" / "audit").exists()


def test_event_that_no_strict_json_can_hold_is_refused_and_nothing_is_written(store):
    with pytest.raises(ValueError):
        audit(store, "run", value=float("nan"))
    with pytest.raises(UsageError):
        audit(store, "rum")
    assert not log_path(store).exists()


def test_log_is_private(store):
    audit(store, "run")
    assert {path.name: path.stat().st_mode & 0o777 for path in log_path(store).parent.iterdir()} == {
        "log.jsonl": 0o600,
        "head.json": 0o600,
    }


def test_log_that_cannot_be_written_is_one_clear_error(store):
    (store.root / "audit").write_text("a file stands here")
    with pytest.raises(StoreError, match="audit is no folder"):
        audit(store, "run")


# violations


def test_violation_keeps_its_evidence_until_it_is_closed(store):
    digest = put(store, b"evidence")
    found = report_violation(store, "card number on a page", "ana", (digest,), "2026-11-20")
    assert evidence_digests(store) == {digest}
    report_violation(store, "card number on a page", "ana", (digest,), "2026-11-20", "closed", found.id)
    assert evidence_digests(store) == set()
    assert len(violations(store)) == 1


def test_violation_page_holds_no_markup_of_its_texts(store):
    report_violation(store, "<script>alert(1)</script>\n# a heading", "a|b", status="open\n- x")
    page = violation_page(store, violations(store)[0])
    assert "<script" not in page
    assert "\n# a heading" not in page and "\n- x" not in page


@pytest.mark.parametrize(
    "given", [{"evidence": ("../x",)}, {"known_since": "yesterday"}, {"violation": "v-1"}]
)
def test_violation_with_wrong_fields_is_refused(store, given):
    with pytest.raises(UsageError):
        report_violation(store, "x", "ana", **given)
    assert events(store) == []
