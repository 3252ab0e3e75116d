"""The store keeps what was put whole, private and verified, on any disk and beside any other writer."""

import errno
import multiprocessing
import os
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plain_records import commit, write_run

from mlnb.store import objects
from mlnb.store.digests import canonical_json, digest_of, sha256, sha256_file
from mlnb.store.disk import make_folder, write_durably
from mlnb.store.documents import read_json
from mlnb.store.errors import IntegrityError, LockedError, StoreError
from mlnb.store.objects import get, has, open_store, path_of, put, put_file
from mlnb.store.pins import forget_pins
from mlnb.store.records import find_record, records_of
from mlnb.store.refs import move_ref, read_ref, ref_history
from mlnb.store.runs import new_run_id, read_run, run_ids

FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "store")


def temporaries(folder):
    return [p for p in folder.rglob("*") if p.name.startswith(".tmp-")]


def example_record(digest, key="1" * 64, run="r1", size=5):
    return {
        "key": key,
        "pipeline": "fraud",
        "stage": "train",
        "run": run,
        "outputs": {"model": {"codec": "text", "digest": digest, "bytes": size}},
        "metrics": {},
    }


# content


@FEW
@given(st.binary(max_size=4096))
def test_put_any_bytes_come_back_under_their_digest(store, data):
    digest = put(store, data)
    assert digest == sha256(data)
    assert get(store, digest) == data
    assert put(store, data) == digest


def test_put_of_file_equals_put_of_its_bytes(store, tmp_path):
    data = os.urandom(3 << 20)
    (tmp_path / "big").write_bytes(data)
    assert put(store, tmp_path / "big") == sha256(data) == sha256_file(tmp_path / "big")
    assert get(store, sha256(data)) == data


def test_put_of_a_file_that_is_still_written_keeps_what_was_read_under_its_own_digest(
    store, tmp_path, monkeypatch
):
    growing = tmp_path / "growing"
    growing.write_bytes(b"a" * (1 << 20))
    real = open

    class Writer:
        "The file being read; somebody writes to it after its first piece."

        def __init__(self, file):
            self.file, self.pieces = file, 0

        def __enter__(self):
            return self

        def __exit__(self, *about):
            self.file.close()

        def read(self, size):
            if self.pieces == 1:
                with real(growing, "ab") as other:
                    other.write(b"late")
            self.pieces += 1
            return self.file.read(size)

    with monkeypatch.context() as patch:
        patch.setattr(
            "builtins.open",
            lambda path, *a, **k: Writer(real(path, *a, **k)) if path == growing else real(path, *a, **k),
        )
        digest, size = put_file(store, growing)
    whole = b"a" * (1 << 20) + b"late"
    assert (digest, size) == (sha256(whole), len(whole)) and get(store, digest) == whole
    assert not temporaries(store.root)


def test_put_file_twice_changes_nothing_and_mends_a_cut_object(store, tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    digest, size = put_file(store, tmp_path / "a")
    before = path_of(store, digest).stat()
    assert put_file(store, tmp_path / "a") == (digest, size) == (sha256(b"content"), 7)
    assert path_of(store, digest).stat() == before and not temporaries(store.root)
    path_of(store, digest).chmod(0o600)
    path_of(store, digest).write_bytes(b"cont")
    put_file(store, tmp_path / "a")
    assert get(store, digest) == b"content" and stat.S_IMODE(path_of(store, digest).stat().st_mode) == 0o400


@FEW
@given(st.binary(min_size=1, max_size=300), st.data())
def test_get_one_flipped_bit_anywhere_raises_and_sets_the_object_aside(store, data, draw):
    digest = put(store, data)
    position = draw.draw(st.integers(0, len(data) * 8 - 1))
    altered = bytearray(data)
    altered[position // 8] ^= 1 << position % 8
    path = path_of(store, digest)
    path.chmod(0o600)
    path.write_bytes(altered)
    with pytest.raises(IntegrityError, match="not what was stored"):
        get(store, digest)
    assert not has(store, digest)
    assert bytes(altered) in [p.read_bytes() for p in (store.root / "quarantine").glob(f"{digest}-*")]
    assert get(store, put(store, data)) == data


@pytest.mark.parametrize(
    "damage",
    [
        lambda p: p.write_bytes(b""),
        lambda p: p.write_bytes(p.read_bytes()[:-1]),
        lambda p: p.write_bytes(p.read_bytes() + b"\0"),
    ],
    ids=["emptied", "cut", "grown"],
)
def test_get_altered_length_raises(store, damage):
    digest = put(store, b"content of a model")
    path_of(store, digest).chmod(0o600)
    damage(path_of(store, digest))
    with pytest.raises(IntegrityError):
        get(store, digest)


def test_get_missing_object_says_what_mends_it(store):
    with pytest.raises(IntegrityError, match="missing") as caught:
        get(store, sha256(b"never put"))
    assert caught.value.mend and caught.value.exit_code == 5


@pytest.mark.parametrize(
    "digest", ["", "ab", "../" * 20 + "etc", "A" * 64, "g" * 64, "a" * 63 + "/", "a" * 65, "0" * 63 + "\n"]
)
def test_path_of_anything_but_a_digest_is_refused(store, digest):
    with pytest.raises(ValueError, match="not a SHA-256 digest"):
        path_of(store, digest)


@FEW
@given(JSON)
def test_canonical_json_depends_on_content_and_not_on_order(value):
    def turned(v):
        if isinstance(v, dict):
            return {k: turned(v[k]) for k in reversed(v)}
        return [turned(i) for i in v] if isinstance(v, list) else v

    assert canonical_json(turned(value)) == canonical_json(value)
    assert digest_of(value) == sha256(canonical_json(value))
    assert canonical_json(value).isascii()


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": -float("inf")}])
def test_canonical_json_of_what_json_cannot_say_is_refused(value):
    with pytest.raises(ValueError):
        canonical_json(value)


# private


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_store_any_umask_stays_private_and_readable_by_its_owner(tmp_path, umask):
    before = os.umask(umask)
    try:
        store = open_store(tmp_path / "parent" / "store")
        digest = put(store, b"secret")
        commit(store, example_record(digest, size=6))
        move_ref(store, "heads/fraud/default", "r1", "test")
        write_run(store, {"run": "r1", "pipeline": "fraud", "state": "committed"})
    finally:
        os.umask(before)
    assert get(store, digest) == b"secret"
    for path in (store.root, *store.root.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert stat.S_IMODE(path_of(store, digest).stat().st_mode) & 0o222 == 0


def test_store_without_umask_is_never_open_to_others_not_even_for_an_instant(tmp_path, monkeypatch):
    seen = []
    real_chmod, real_fchmod = Path.chmod, os.fchmod

    def chmod(path, mode, **options):
        seen.append(stat.S_IMODE(path.stat().st_mode))
        real_chmod(path, mode, **options)

    def fchmod(handle, mode):
        seen.append(stat.S_IMODE(os.fstat(handle).st_mode))
        real_fchmod(handle, mode)

    monkeypatch.setattr(Path, "chmod", chmod)
    monkeypatch.setattr(objects.os, "fchmod", fchmod)
    before = os.umask(0)
    try:
        make_folder(tmp_path / "a" / "b")
        write_durably(tmp_path / "a" / "b" / "file", b"secret")
        (tmp_path / "source").write_bytes(b"x")
        put_file(open_store(tmp_path / "store"), tmp_path / "source")
    finally:
        os.umask(before)
    assert len(seen) >= 7 and not [oct(mode) for mode in seen if mode & 0o077]


def test_make_folder_that_somebody_else_made_meanwhile_keeps_its_permissions(tmp_path, monkeypatch):
    real = Path.mkdir

    def beaten(path, *args, **options):
        real(path)
        os.chmod(path, 0o750)
        raise FileExistsError(path)

    monkeypatch.setattr(Path, "mkdir", beaten)
    make_folder(tmp_path / "a", 0o700)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o750


def test_store_shared_with_a_group_lets_the_group_in_and_nobody_else(tmp_path):
    import grp

    group = grp.getgrgid(os.getgid()).gr_name
    store = open_store(tmp_path / "store", group)
    digest = put(store, b"shared")
    commit(store, example_record(digest, size=6))
    for path in (store.root, *store.root.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o007 == 0, path
        assert mode & 0o040, path
        assert path.is_file() or mode & stat.S_ISGID, path


# disks that refuse


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("step", ["fsync", "replace", "link", "open"])
def test_write_refused_by_the_disk_is_a_store_error_and_leaves_nothing(store, monkeypatch, number, step):
    def refuse(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        if step == "open":
            patch.setattr("builtins.open", refuse)
        else:
            patch.setattr(objects.os, step, refuse)
        with pytest.raises(StoreError) as caught:
            write_durably(store.root / "refs" / "x" / "1", b"value", exclusive=step == "link")
    assert caught.value.exit_code == 69 and caught.value.mend
    assert not temporaries(store.root) and not (store.root / "refs" / "x" / "1").exists()
    assert get(store, put(store, b"value")) == b"value"


def test_write_disk_full_while_writing_keeps_the_old_content(store, monkeypatch):
    path = store.root / "runs" / "r1" / "run.json"
    write_durably(path, b"before")

    class Full:
        "A file whose disk is full after four bytes."

        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *about):
            self.file.close()

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, data):
            self.file.write(data[:4])
            raise OSError(errno.ENOSPC, "No space left on device")

    real = open
    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", lambda *a, **k: Full(real(*a, **k)))
        with pytest.raises(StoreError, match="no room left"):
            write_durably(path, b"after, and much longer")
    assert path.read_bytes() == b"before" and not temporaries(store.root)


@pytest.fixture
def small_disk(tmp_path):
    "A file system of 256 KiB."
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    if (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True
        ).returncode
        != 0
    ):
        pytest.skip("this machine lets nobody mount a tmpfs")
    yield folder
    forget_pins()  # an open pin file keeps the disk busy
    subprocess.run(["umount", folder], check=True)


def test_put_on_a_full_disk_is_a_store_error_and_works_again_with_room(small_disk):
    store = open_store(small_disk / "store")
    kept = put(store, os.urandom(100_000))
    with pytest.raises(StoreError, match="no room left"):
        put(store, os.urandom(400_000))
    assert not temporaries(store.root)
    assert len(get(store, kept)) == 100_000
    path_of(store, kept).unlink()
    assert len(get(store, put(store, b"x" * 150_000))) == 150_000


def test_put_on_a_read_only_disk_is_a_store_error_and_reading_goes_on(small_disk):
    store = open_store(small_disk / "store")
    kept = put(store, b"kept")
    if subprocess.run(["mount", "-o", "remount,ro", small_disk], capture_output=True).returncode != 0:
        pytest.skip("this machine lets nobody remount")
    with pytest.raises(StoreError, match="read-only"):
        put(store, b"more")
    assert get(open_store(small_disk / "store"), kept) == b"kept"


def test_open_store_where_a_file_stands_is_a_store_error(tmp_path):
    (tmp_path / "store").write_text("a file")
    with pytest.raises(StoreError):
        open_store(tmp_path / "store")
    with pytest.raises(StoreError):
        open_store(tmp_path / "store" / "below")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_put_in_a_read_only_folder_is_a_store_error(store):
    (store.root / "objects").mkdir()
    (store.root / "objects").chmod(0o500)
    with pytest.raises(StoreError, match="permission denied"):
        put(store, b"more")


@pytest.mark.parametrize("text", ["4", "99", "", "one", "1.5", "0"])
def test_open_store_of_an_unknown_layout_is_refused(tmp_path, text):
    (tmp_path / "format").write_text(text)
    with pytest.raises(StoreError):
        open_store(tmp_path)


@pytest.mark.parametrize(
    ("text", "said", "mend"),
    [
        ("", "damaged", "write 3 into it"),
        ("one", "damaged", "write 3 into it"),
        ("\xff", "damaged", "write 3 into it"),
        ("4", "layout 4", "install a newer mlnb"),
        ("4\nneeds mlnb 0.9.0\n", "layout 4", "install mlnb 0.9.0"),
    ],
)
def test_open_store_says_damaged_or_newer_as_it_is(tmp_path, text, said, mend):
    (tmp_path / "format").write_text(text, encoding="latin-1")
    with pytest.raises(StoreError) as caught:
        open_store(tmp_path)
    assert said in caught.value.message and caught.value.mend.startswith(mend)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"3", b"\xff"])
def test_read_json_of_what_is_no_object_is_damaged(tmp_path, text):
    (tmp_path / "run.json").write_bytes(text)
    with pytest.raises(IntegrityError, match="is damaged"):
        read_json(tmp_path / "run.json")


# overlays


def test_overlay_reads_through_and_writes_to_itself_only(store, tmp_path):
    below = put(store, b"below")
    before = sorted(p for p in store.root.rglob("*"))
    overlay = open_store(tmp_path / "overlay", below=store)
    mine = put(overlay, b"mine")
    put(overlay, b"below")
    assert get(overlay, below) == b"below" and has(overlay, mine) and not has(store, mine)
    assert sorted(p for p in store.root.rglob("*")) == before


# several writers


def race(work, n=6):
    "Run `work(number, barrier, queue)` in n processes at once and return what they put into the queue."
    context = multiprocessing.get_context("fork")
    barrier, queue = context.Barrier(n), context.Queue()
    processes = [context.Process(target=work, args=(number, barrier, queue)) for number in range(n)]
    for p in processes:
        p.start()
    found = [queue.get(timeout=60) for _ in processes]
    for p in processes:
        p.join(60)
    assert [p.exitcode for p in processes] == [0] * n
    return found


def test_put_of_one_content_by_racing_processes_gives_one_whole_object(store):
    data = b"x" * 500_000

    def work(number, barrier, queue):
        barrier.wait()
        queue.put(put(store, data))

    assert set(race(work)) == {sha256(data)}
    assert get(store, sha256(data)) == data and not temporaries(store.root)
    assert len(list((store.root / "objects").rglob("*"))) == 2


@pytest.mark.parametrize("round_", range(5))
def test_move_ref_by_racing_processes_has_exactly_one_winner(store, round_):
    first = move_ref(store, "heads/fraud/ci", "r0", "start")

    def work(number, barrier, queue):
        barrier.wait()
        try:
            queue.put(move_ref(store, "heads/fraud/ci", f"r{number + 1}", "race", after=first.number).target)
        except LockedError:
            queue.put(None)

    winners = [w for w in race(work) if w]
    assert len(winners) == 1
    assert [v.target for v in ref_history(store, "heads/fraud/ci")] == ["r0", *winners]
    assert read_ref(store, "heads/fraud/ci").number == 2


@pytest.mark.parametrize("round_", range(5))
def test_commit_by_racing_processes_has_exactly_one_winner_and_keeps_evidence(store, round_):
    digests = [put(store, f"output {n}".encode()) for n in range(6)]

    def work(number, barrier, queue):
        barrier.wait()
        queue.put((number, *commit(store, example_record(digests[number], run=f"r{number}", size=8))[:3]))

    found = race(work)
    winner = [number for number, _, is_first, _ in found if is_first]
    assert len(winner) == 1
    assert {record.run for _, record, _, _ in found} == {f"r{winner[0]}"}
    assert [is_reproduced for number, _, _, is_reproduced in sorted(found)] == [
        n == winner[0] for n in range(6)
    ]
    assert find_record(store, "fraud", "train", "1" * 64).run == f"r{winner[0]}"
    folder = store.root / "records" / "fraud" / "train"
    assert len(list(folder.glob("*.evidence"))) == 5 and len(records_of(store, "fraud", "train")) == 1


def test_writer_killed_before_the_rename_leaves_no_final_name(store):
    def work(number, barrier, queue):
        queue.put(number)
        queue.close()
        queue.join_thread()
        objects.os.replace = lambda *a: os._exit(0)
        put(store, b"never finished")

    race(work, n=1)
    assert not has(store, sha256(b"never finished"))
    assert get(store, put(store, b"never finished")) == b"never finished"


# records and runs


def test_record_whose_output_is_gone_is_no_result(store):
    digest = put(store, b"model")
    commit(store, example_record(digest))
    assert find_record(store, "fraud", "train", "1" * 64)
    path_of(store, digest).unlink()
    assert find_record(store, "fraud", "train", "1" * 64) is None


def test_record_of_a_second_equal_result_changes_no_byte(store):
    digest = put(store, b"model")
    commit(store, example_record(digest))
    path = next((store.root / "records").rglob("*.json"))
    before = path.read_bytes()
    again = commit(store, example_record(digest, run="r2"))
    assert (again.is_first, again.is_reproduced, again.record.run) == (False, True, "r1")
    assert path.read_bytes() == before


def test_record_with_a_nan_is_never_written(store):
    with pytest.raises(IntegrityError, match=r"metrics"):
        commit(store, example_record(put(store, b"model")) | {"metrics": {"auc": float("nan")}})
    assert records_of(store, "fraud", "train") == []


def test_broken_record_is_no_result_and_no_bare_json_error(store):
    commit(store, example_record(put(store, b"model")))
    path = next((store.root / "records").rglob("*.json"))
    path.chmod(0o600)
    path.write_text("{")
    for ask in (
        lambda: find_record(store, "fraud", "train", "1" * 64),
        lambda: records_of(store, "fraud", "train"),
    ):
        with pytest.raises(IntegrityError):
            ask()


def test_run_ids_sort_as_they_were_made_and_a_beginning_is_enough(store):
    made = []
    for hour in (9, 10, 23):
        from datetime import UTC, datetime

        made.append(new_run_id(datetime(2026, 11, 23, hour, tzinfo=UTC)))
        write_run(store, {"run": made[-1], "pipeline": "fraud", "state": "committed"})
    assert run_ids(store) == made[::-1]
    assert read_run(store, made[0][:11]).run == made[0]
    assert read_run(store, "latest").run == made[2]


def test_objects_are_found_where_the_layout_says(store):
    digest = put(store, b"abc")
    assert path_of(store, digest) == Path(store.root / "objects" / digest[:2] / digest)
