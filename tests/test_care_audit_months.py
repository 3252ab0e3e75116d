"""The log cut by the month: one chain whatever happens between, and lines that go only when they were kept
long enough, in the open."""

import gzip
import multiprocessing
import random
import signal
import subprocess
import sys

import pytest

from mlnb.care import months
from mlnb.care.audit import audit, events, init_audit, make_checkpoint, verify_log
from mlnb.care.chain import NOTHING, audit_entry, new_line
from mlnb.care.log_file import log_path, read_log, write_head
from mlnb.care.months import closed_files, closed_path, month_before
from mlnb.care.retention import DroppedLines, drop_months
from mlnb.care.signing import trusted_keys
from mlnb.care.tree_heads import Elsewhere, origin_of, signed_head, vouched
from mlnb.store.digests import canonical_json, digest_of, sha256
from mlnb.store.objects import open_store


@pytest.fixture(autouse=True)
def no_key_from_outside(monkeypatch):
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "store")


def dated(n, previous, month, about=None):
    "A line of some month."
    entry = audit_entry(new_line(n, previous, "run", "ok", None, about or {"n": n}))
    plain = entry.as_dict() | {"at_utc": f"{month}-15T12:00:00.000+00:00"}
    del plain["hash"]
    return canonical_json(plain | {"hash": digest_of(plain)})


def written(store, by_file, current=(), first=None):
    "Write a log: for each closed file the months of its lines, then those of the current one."
    n, previous = 0, NOTHING
    folder = log_path(store).parent / "closed"
    folder.mkdir(parents=True, mode=0o700)
    for months_of in (*by_file, current):
        lines = []
        for month in months_of:
            lines.append(dated(n := n + 1, previous, month, None if n > 1 else first))
            previous = sha256(lines[-1])
        data = b"".join(line + b"\n" for line in lines)
        is_current = months_of is current
        path = log_path(store) if is_current else closed_path(folder, n - len(lines) + 1, n, max(months_of))
        if lines:
            path.write_bytes(data)
            write_head(store, n, lines[-1])
    return n


def names(store):
    return [path.name for path in sorted((log_path(store).parent / "closed").glob("*"))]


# closing


def test_first_event_of_a_month_closes_the_file_of_the_one_before(store):
    written(store, [], ["2026-09", "2026-10"])
    audit(store, "run", run="r3")
    assert names(store) == ["000000000001-000000000002.2026-10.jsonl"]
    assert len(log_path(store).read_bytes().splitlines()) == 1
    found = verify_log(store)
    assert (found.state, found.entries, len(events(store))) == ("ok", 3, 3)
    assert log_path(store).stat().st_mode & 0o777 == 0o600


def test_months_that_need_not_be_at_hand_are_compressed_and_stay_one_chain(store):
    written(store, [["2026-06"], ["2026-07"], ["2026-08"], ["2026-09"]], ["2026-10"])
    audit(store, "run", run="now")
    assert [name.partition(".")[2] for name in names(store)] == [
        "2026-06.jsonl.gz",
        "2026-07.jsonl.gz",
        "2026-08.jsonl.gz",
        "2026-09.jsonl",
        "2026-10.jsonl",
    ]
    assert (verify_log(store).state, len(events(store))) == ("ok", 6)


@pytest.mark.parametrize("month", ["9998-12", "2099-01"])
def test_clock_that_ran_ahead_and_went_back_closes_nothing(store, month):
    written(store, [], [month])
    for _ in range(3):
        audit(store, "run", run="now")
    assert (names(store), verify_log(store).state) == ([], "ok")


def write_some(root, name):
    for n in range(5):
        audit(open_store(root), "run", run=f"{name}-{n}")


def test_writers_that_meet_at_the_end_of_a_month_close_it_once_and_lose_nothing(store):
    written(store, [], ["2026-10"])
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=write_some, args=(store.root, f"w{n}")) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    found = events(store)
    assert [e.n for e in found] == list(range(1, 22))
    assert (verify_log(store).state, len(names(store))) == ("ok", 1)


KILLED = """
import sys
from mlnb.care.audit import audit
from mlnb.care.retention import drop_months
from mlnb.store.objects import open_store
store = open_store(sys.argv[1])
drop_months(store, 12) if sys.argv[2] == "drop" else audit(store, "run", run="killed")
"""


def killed(store, what, point, outside_environment):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(store.root), what],
        env=outside_environment(MLNB_CRASH=point),
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("point", ["audit.closed", "audit.exchanged:1", "audit.exchanged:2"])
def test_kill_while_a_month_is_closed_leaves_a_log_that_goes_on(store, point, outside_environment):
    written(store, [["2026-06"], ["2026-07"], ["2026-08"], ["2026-09"]], ["2026-10"])
    killed(store, "audit", point, outside_environment)
    assert (verify_log(store).state, len(events(store))) == ("ok", 5)
    audit(store, "run", run="after")
    assert (verify_log(store).state, [e.n for e in events(store)]) == ("ok", [1, 2, 3, 4, 5, 6])


# what is wrong with closed files


def change(path):
    is_packed = path.suffix == ".gz"
    data = gzip.decompress(path.read_bytes()) if is_packed else path.read_bytes()
    changed = data.replace(b'"ok"', b'"no"', 1)
    path.write_bytes(gzip.compress(changed) if is_packed else changed)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def remove(path):
    path.unlink()


def call_differently(path):
    path.rename(path.with_name("x" + path.name))


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("place", [0, 1, 3])
@pytest.mark.parametrize("harm", [change, cut, remove, call_differently, empty], ids=lambda h: h.__name__)
def test_closed_file_that_was_touched_is_found_and_the_line_named(store, harm, place):
    written(store, [["2026-06"], ["2026-07"], ["2026-08"], ["2026-09"]], ["2026-10"])
    audit(store, "run", run="now")
    path = closed_files(log_path(store).parent)[place].path
    harm(path)
    found = verify_log(store)
    assert (found.state, found.first_bad) == ("bad", place + 1)


def test_random_edits_of_closed_files_are_all_found(store):
    written(store, [["2026-07"] * 3, ["2026-08"] * 3, ["2026-09"] * 3], ["2026-10"] * 3)
    audit(store, "run", run="now")
    rng, paths = random.Random(3), [one.path for one in closed_files(log_path(store).parent)]
    for _ in range(60):
        path = rng.choice(paths)
        data, at = path.read_bytes(), rng.randrange(path.stat().st_size)
        path.write_bytes(rng.choice([data[:at], data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], b""]))
        found = verify_log(store)
        if found.state == "ok":  # a bit in the head of the packed file, which says when it was packed
            assert gzip.decompress(path.read_bytes()) == gzip.decompress(data)
        path.write_bytes(data)
    assert verify_log(store).state == "ok"


# retention


YEARS = [[month_before("2026-11", n)] * 2 for n in range(18, 0, -1)]


def test_nothing_goes_without_the_setting_and_nothing_that_is_younger_than_asked(store):
    written(store, YEARS, ["2026-11"])
    assert drop_months(store, None) == DroppedLines(0, 0)
    assert drop_months(store, 18).entries == 0
    assert drop_months(store, 12).entries == 12
    left = [one for one in closed_files(log_path(store).parent) if one.form != "leaves"]
    assert min(one.month for one in left) == "2025-11"
    found = verify_log(store)
    assert (found.state, found.removed, found.entries) == ("ok", 12, 37 + 6)


@pytest.mark.parametrize("n_files", [3, 12])
def test_clock_in_another_century_removes_nothing_young(store, n_files):
    written(store, YEARS[-n_files:], ["2099-01"])
    assert drop_months(store, 12).entries == 0


def test_checkpoints_and_tree_heads_of_lines_that_went_still_hold(store, tmp_path):
    written(store, YEARS, ["2026-11"])
    init_audit(store)
    note = str(signed_head(store, read_log(store)))
    make_checkpoint(store, tmp_path / "kept.json")
    drop_months(store, 12)
    head = vouched(note, origin_of(store), trusted_keys(store))
    found = verify_log(store, (tmp_path / "kept.json",), elsewhere=Elsewhere((), (head,)))
    assert (found.state, found.removed, found.signed_to) == ("ok", 12, 38)
    make_checkpoint(store, tmp_path / "later.json")
    assert verify_log(store, (tmp_path / "later.json",)).state == "ok"


@pytest.mark.parametrize("point", ["audit.exchanged:1", "audit.exchanged:3"])
def test_kill_while_lines_go_leaves_a_log_that_verifies_and_the_next_time_goes_on(
    store, point, outside_environment
):
    written(store, YEARS, ["2026-11"])
    killed(store, "drop", point, outside_environment)
    assert verify_log(store).state == "ok"
    drop_months(store, 12)
    assert (verify_log(store).state, verify_log(store).removed) == ("ok", 12)


def test_nothing_goes_from_a_log_that_does_not_verify(store):
    written(store, YEARS, ["2026-11"])
    change(closed_files(log_path(store).parent)[0].path)
    before = names(store)
    assert (drop_months(store, 12).entries, names(store)) == (0, before)


def test_lines_that_somebody_removed_himself_are_found(store):
    written(store, YEARS, ["2026-11"])
    first = closed_files(log_path(store).parent)[0]
    months.to_leaves(first, 0o600)
    found = verify_log(store)
    assert (found.state, found.first_bad) == ("bad", 1)
    assert "no entry says that they were kept long enough" in found.message


def test_gc_keeps_to_the_setting_and_refuses_less_than_a_year(tmp_path, asked):
    root = tmp_path / "shop"
    (root / "nbs").mkdir(parents=True)
    settings = "[mlnb]\nstore = .mlnb\naudit_months = {}\n[pipeline.shop]\nnotebooks = nbs\n"
    store = open_store(root / ".mlnb")
    written(store, YEARS, ["2026-11"])
    (root / "settings.ini").write_text(settings.format("6"))
    result = asked("gc", cwd=root)
    assert (result.code, "although less than 12" in result.stderr) == (2, True)
    (root / "settings.ini").write_text(settings.format("14"))
    assert asked("gc", "--dry-run", "--json", cwd=root).json["audit"] == {"entries": 0, "bytes": 0}
    result = asked("gc", "--json", cwd=root)
    assert (result.code, result.json["audit"]["entries"]) == (0, 8)
    (root / "settings.ini").write_text(settings.format("6 although less than 12"))
    result = asked("gc", cwd=root)
    assert "removed from the audit log: 16 entries kept long enough" in result.stdout
    told = events(store, "retention")[-1].about
    assert (told["months"], told["less_than_asked"]) == (6, True)
    result = asked("audit", "verify", cwd=root)
    assert (result.code, result.stdout.count(" entries (24 kept no longer), ")) == (0, 1)
