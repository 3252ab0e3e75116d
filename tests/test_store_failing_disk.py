"""A disk that fails, a clock that is wrong, a file with a second name, a hundred thousand artifacts: each is
a sentence and a code, and nothing is lost."""

import datetime
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from plain_records import commit, write_run

from mlnb.care.audit import audit, verify_log
from mlnb.care.gc import collect
from mlnb.care.roots import Retention
from mlnb.care.verify import verify_store
from mlnb.store.digests import sha256
from mlnb.store.documents import sealed
from mlnb.store.errors import IntegrityError
from mlnb.store.objects import get, open_store, path_of, put
from mlnb.store.runs import new_run_id

RUN = "20261127T100000000-00ab"
SETTINGS = "[mlnb]\nstore = .mlnb\n[pipeline.demo]\nnotebooks = nbs\n"


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    "A library that lets calls fail."
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C compiler on Linux")
    made = tmp_path_factory.mktemp("shim") / "failing.so"
    source = Path(__file__).with_name("data") / "failing.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", made, source, "-ldl"], check=True)
    return str(made)


@pytest.fixture(scope="module")
def made(make_shared_project, mlnb):
    "A project that ran once; never changed."
    save = "from mlnb import save\nimport helper\nsave('out', k)"
    project = make_shared_project({"10_a.ipynb": [("parameters", "k: int = 1  # any"), save]}, SETTINGS)
    (project.root / "helper.py").write_text("X = 1\n")
    assert mlnb("run", "demo", cwd=project.root).code == 0
    return project.root


@pytest.fixture
def root(made, tmp_path):
    "A copy of it."
    shutil.copytree(made, tmp_path / "shop", symlinks=True)
    return tmp_path / "shop"


READS = [
    ("/objects/", ("get", "out"), 69),
    ("/objects/", ("verify",), 5),
    ("/records/", ("status",), 5),
    ("/records/", ("verify",), 5),
    ("/records/", ("gc",), 69),
    ("/run.json", ("runs",), 0),  # which names the run that it leaves out
    ("/run.json", ("gc",), 69),
    ("/audit/log.jsonl", ("audit",), 69),
    ("/audit/log.jsonl", ("audit", "verify"), 69),
    ("/.mlnb/format", ("status",), 69),
    ("/settings.ini", ("status",), 69),
]
WRITES = [
    (op, path)
    for op in ("write", "fsync")
    for path in ("/objects/", "/records/", "/runs/", "/refs/", "/audit/log.jsonl")
]


@pytest.mark.parametrize(
    "path, verb, code",
    [*READS[:3], *(pytest.param(*one, marks=pytest.mark.slow) for one in READS[3:])],
    ids=lambda one: str(one),
)
def test_disk_that_cannot_be_read_is_a_sentence_and_nothing_is_lost(root, mlnb, shim, path, verb, code):
    result = mlnb(*verb, cwd=root, LD_PRELOAD=shim, EIO_OP="read", EIO_PATH=path)
    assert (result.code, "Traceback" in result.stderr) == (code, False)
    assert "mend:" in result.stderr or "`mlnb verify --repair` tells it again" in result.stderr
    if verb != ("verify",):  # which sets aside what it cannot read
        assert mlnb("verify", cwd=root).code == 0


UNFORESEEN = [  # how, where, with which number -> what is said of it
    ("list", "/nbs", errno.EIO, "error: the disk failed (input/output error) at "),
    ("open", "/helper.py", errno.EACCES, "error: permission denied at "),
    ("stat", "/.mlnb/objects/", errno.ESTALE, "error: the network share was lost at "),
    ("list", "/.mlnb/runs", errno.EMFILE, "error: too many open files at "),
]


@pytest.mark.parametrize("op, path, number, said", UNFORESEEN, ids=lambda one: str(one))
def test_refusal_of_the_system_that_nobody_foresaw_is_a_sentence(root, mlnb, shim, op, path, number, said):
    failing = {"LD_PRELOAD": shim, "EIO_OP": op, "EIO_PATH": path, "EIO_NUMBER": str(number)}
    result = mlnb("status", cwd=root, **failing)
    assert (result.code, "Traceback" in result.stderr) == (69, False), result.stderr
    assert said in result.stderr and "mend:" in result.stderr
    assert path in result.stderr


SOURCES = "[mlnb]\n[pipeline.demo]\nnotebooks = nbs\n" + "".join(
    f"[source.{name}]\npath = raw/{path}\n"
    for name, path in (
        ("one", "a.csv"),
        ("some", "*.csv"),
        ("deep", "**/a.csv"),
        ("all", ""),
        ("in_any", "*/b.csv"),
    )
)
OF_SOURCES = [
    ("one", "stat", "/raw/a.csv"),
    ("some", "list", "/raw"),
    *(("some", op, "/raw/a.csv") for op in ("stat", "open", "read")),
    ("deep", "list", "/raw/2026"),
    ("in_any", "stat", "/raw/2026/b.csv"),
    *(("all", op, "/raw/2026") for op in ("list", "stat", "open")),
    *(("one", op, "/10_a.ipynb") for op in ("open", "read")),
]


@pytest.fixture(scope="module")
def fed(make_shared_project):
    "A project whose stages would read files; nothing ran."
    load = "from mlnb import load, save\nsave('{0}_n', len(load('{0}')))"
    names = dict.fromkeys(name for name, *_ in OF_SOURCES)
    stages = {f"{n}0_{'abcdefg'[n - 1]}.ipynb": [load.format(name)] for n, name in enumerate(names, 1)}
    project = make_shared_project(stages, SOURCES)
    for path in ("a.csv", "2026/a.csv", "2026/b.csv"):
        (project.root / "raw" / path).parent.mkdir(parents=True, exist_ok=True)
        (project.root / "raw" / path).write_text("a\n1\n")
    return project.root


@pytest.mark.slow
@pytest.mark.parametrize("name, op, path", OF_SOURCES)
def test_source_on_a_disk_that_fails_is_never_taken_for_one_without_files(fed, mlnb, shim, name, op, path):
    unit = {name: "abcdefg"[n] for n, name in enumerate(dict.fromkeys(one for one, *_ in OF_SOURCES))}[name]
    result = mlnb("run", "demo", unit, cwd=fed, LD_PRELOAD=shim, EIO_OP=op, EIO_PATH=path)
    assert (result.code, "Traceback" in result.stderr) == (69, False), result.stderr
    assert "nput/output error" in result.stdout + result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("op, path", WRITES)
def test_disk_that_cannot_be_written_ends_a_run_with_69_and_the_next_run_goes_on(root, mlnb, shim, op, path):
    failing = {"LD_PRELOAD": shim, "EIO_OP": op, "EIO_PATH": path}
    result = mlnb("run", "demo", "--force", cwd=root, **failing)
    assert (result.code, "Traceback" in result.stderr) in ((69, False), (0, False))
    assert result.code == 69 or path == "/refs/"
    assert mlnb("verify", cwd=root).code == 0
    assert mlnb("run", "demo", cwd=root).code == 0
    assert mlnb("audit", "tell", "--why", "the disk failed", cwd=root).code == 0
    assert mlnb("audit", "verify", cwd=root).code == 0


@pytest.mark.slow
def test_stage_whose_notes_cannot_be_written_is_no_fault_of_its_code(make_project, mlnb, shim):
    cell = "#| env: LD_PRELOAD, EIO_OP, EIO_PATH\nfrom mlnb import save\nsave('out', 1)"
    root = make_project({"10_a.ipynb": [cell]}, SETTINGS).root
    failing = {"LD_PRELOAD": shim, "EIO_OP": "write", "EIO_PATH": "/journal.jsonl"}
    result = mlnb("run", "demo", "--cold", cwd=root, **failing)
    assert (result.code, "[infra]" in result.stderr + result.stdout) == (69, True), result.stderr
    assert mlnb("run", "demo", "--cold", cwd=root).code == 0


# folders that cannot be listed, or looked at

CLOSED = [  # a folder, and what must not pass over it
    ("records", ("verify", "gc", "audit verify", "status")),
    ("records/demo", ("verify", "gc", "status")),
    ("records/demo/a", ("verify", "gc", "status")),
    ("refs/heads/demo/default", ("verify", "gc", "get out")),
    ("runs", ("verify", "gc", "runs")),
    ("objects", ("verify", "gc")),
    ("pins", ("gc",)),
]
PASSED_OVER = [(op, folder, verb) for op in ("list", "stat") for folder, verbs in CLOSED for verb in verbs]


@pytest.mark.parametrize(
    "op, folder, verb",
    [pytest.param(*one, marks=[] if one in PASSED_OVER[:2] else pytest.mark.slow) for one in PASSED_OVER],
)
def test_folder_that_nobody_may_look_into_is_said_and_nothing_below_it_counts_as_absent(
    root, mlnb, shim, op, folder, verb
):
    unharmed = [mlnb(*verb.split(), cwd=root) for _ in range(2)]
    before = sorted((root / ".mlnb" / "objects").rglob("*"))
    closed = {"LD_PRELOAD": shim, "EIO_OP": op, "EIO_PATH": f"/.mlnb/{folder}", "EIO_NUMBER": "13"}
    for whole in unharmed:  # what one collection moves away, the next one deletes
        result = mlnb(*verb.split(), cwd=root, **closed)
        is_refused = result.code == 69 and "error: permission denied at " in result.stderr
        assert is_refused or result == whole, (result, whole)  # or it needs nothing that stands there
        assert not is_refused or ("mend:" in result.stderr and "Traceback" not in result.stderr)
    assert sorted((root / ".mlnb" / "objects").rglob("*")) == before
    assert mlnb("verify", cwd=root).code == 0


# clocks


def seconds_to(year):
    return int((datetime.datetime(year, 3, 1) - datetime.datetime.now()).total_seconds())


CLOCKS = {
    "1901": {"CLOCK_OFFSET": str(seconds_to(1901))},
    "1969": {"CLOCK_OFFSET": str(seconds_to(1969))},
    "2039": {"CLOCK_OFFSET": str(seconds_to(2039))},
    "2107": {"CLOCK_OFFSET": str(seconds_to(2107))},
    "backwards": {"CLOCK_BACK": "3600"},
}


@pytest.mark.parametrize("clock", ["1969", pytest.param("2039", marks=pytest.mark.slow)])
def test_verbs_under_a_wrong_clock_do_what_they_do(root, mlnb, shim, clock):
    for verb in (("gc",), ("audit", "verify")):
        result = mlnb(*verb, cwd=root, LD_PRELOAD=shim, **CLOCKS[clock])
        assert result.code == 0, (verb, result.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("clock", CLOCKS)
def test_runs_under_a_wrong_clock_and_after_it_keep_one_store_and_one_log(root, mlnb, shim, clock):
    wrong = {"LD_PRELOAD": shim, "XDG_RUNTIME_DIR": str(root)} | CLOCKS[clock]
    for verb in (
        ("run", "demo", "-p", "k", "3"),
        ("status",),
        ("runs",),
        ("gc",),
        ("verify",),
        ("audit", "verify"),
    ):
        result = mlnb(*verb, cwd=root, **wrong)
        assert result.code == 0, (verb, result.stderr)
    mlnb("kernels", "stop", "--all", "--force", cwd=root, **wrong)
    assert mlnb("run", "demo", "-p", "k", "3", "--json", cwd=root).states == {"a": "cached"}
    assert mlnb("run", "demo", "-p", "k", "4", "--json", cwd=root).states == {"a": "committed"}
    for verb in (("gc",), ("verify",), ("audit", "verify")):
        assert mlnb(*verb, cwd=root).code == 0


def test_run_id_of_any_year_is_one(monkeypatch):
    for year in (1, 1900, 1969, 1970, 2038, 2262, 9999):
        run = new_run_id(datetime.datetime(year, 2, 3, 4, 5, 6, 789000, tzinfo=datetime.UTC))
        assert len(run) <= 64 and run.endswith(run[-4:])


# a second name


def test_object_with_a_second_name_that_was_written_to_is_found_and_made_again(tmp_path):
    store = open_store(tmp_path / "store")
    digest = put(store, b"a model")
    os.link(path_of(store, digest), tmp_path / "other")
    (tmp_path / "other").chmod(0o600)
    (tmp_path / "other").write_bytes(b"a trap!")
    found = verify_store(store, set_aside=False)
    assert [(one.digest, one.kind) for one in found.damaged] == [(digest, "altered")]
    with pytest.raises(IntegrityError, match="is not what was stored"):
        get(store, digest)
    assert put(store, b"a model") == digest and get(store, digest) == b"a model"
    assert (tmp_path / "other").read_bytes() == b"a trap!"


def test_record_and_log_with_a_second_name_that_was_written_to_are_found(tmp_path):
    store = open_store(tmp_path / "store")
    record = {"pipeline": "demo", "stage": "a", "key": "a" * 64, "run": RUN, "outputs": {}}
    commit(store, record)
    audit(store, "run", run=RUN)
    path = store.root / "records" / "demo" / "a" / f"{'a' * 64}.json"
    log = store.root / "audit" / "log.jsonl"
    for one in (path, log):
        os.link(one, tmp_path / one.name)
        (tmp_path / one.name).write_bytes(one.read_bytes().replace(b"00ab", b"00ac"))
    assert [one.file for one in verify_store(store).damaged] == [path.relative_to(store.root).as_posix()]
    assert verify_log(store).first_bad == 1


# a hundred thousand artifacts


def filled(root, n, per=10):
    "A store of `n` artifacts, written past the store's own ways, which flush each file."
    store = open_store(root)
    for k in range(n // per):
        outputs = {}
        for j in range(per):
            data = f"artifact {k} {j}".encode()
            path = path_of(store, sha256(data))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            outputs[f"out{j}"] = {"digest": path.name, "codec": "text", "type": "str", "bytes": len(data)}
        key, run = sha256(str(k).encode()), f"20261127T{k:09d}-{k % 65536:04x}"
        record = {"pipeline": "demo", "stage": "a", "key": key, "run": run, "outputs": outputs, "inputs": {}}
        stages = [{"name": "a", "attempts": 1, "state": "committed", "key": key}]
        document = {
            "run": run,
            "pipeline": "demo",
            "state": "committed",
            "keys": {"a": key},
            "stages": stages,
        }
        for path, said in (
            (store.root / "records" / "demo" / "a" / f"{key}.json", record),
            (store.root / "runs" / run / "run.json", document),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(sealed(path, said))
    return store


def counted_reads(store, action):
    "How many files an action opened."
    n, real = [0], os.open

    def count(*arguments, **options):
        n[0] += 1
        return real(*arguments, **options)

    os.open = count
    try:
        action(store)
    finally:
        os.open = real
    return n[0]


ACTIONS = {
    "verify": verify_store,
    "gc": lambda store: collect(store, Retention(10, 10), dry_run=True),
    "audit verify": lambda store: verify_log(store, with_runs=True),
}


@pytest.mark.parametrize("action", ACTIONS)
def test_ten_times_the_artifacts_are_ten_times_the_files_read(tmp_path, action):
    few, many = (counted_reads(filled(tmp_path / str(n), n), ACTIONS[action]) for n in (100, 1000))
    assert 8 * few <= many <= 11 * few + 50


@pytest.mark.slow
def test_hundred_thousand_artifacts_are_verified_collected_and_compared(tmp_path):
    store = filled(tmp_path / "many", 100_000)
    found = verify_store(store)
    assert (found.objects, found.clean) == (100_000, True)
    assert verify_log(store, with_runs=True).untold.records == 10_000
    moved = collect(store, Retention(10, 10)).moved
    assert (moved.objects, moved.records, moved.runs) == (99_900, 9_990, 9_990)
    assert verify_store(store).objects == 100


def test_unreadable_run_is_no_reason_to_call_others_untold(tmp_path):
    store = open_store(tmp_path / "store")
    write_run(
        store,
        {
            "run": RUN,
            "pipeline": "demo",
            "state": "committed",
            "stages": [{"name": "a", "state": "committed", "attempts": 1}],
        },
    )
    audit(store, "run", run=RUN)
    (store.root / "runs" / RUN / "run.json").write_text("{")
    assert verify_log(store, with_runs=True).state == "ok"


@pytest.mark.slow
def test_what_lets_no_file_be_moved_between_folders_is_said_with_its_mend(root):
    confine = [sys.executable, "-S", Path(__file__).with_name("confine.py"), "no-moving"]
    command = [sys.executable, "-m", "mlnb", "run", "demo", "--cold", "-p", "k", "2"]
    done = subprocess.run([*confine, *command], cwd=root, capture_output=True, text=True)
    if done.returncode == 99:
        pytest.skip("no Landlock here")
    assert done.returncode == 69 and "Traceback" not in done.stderr, done.stderr
    assert "error: the system moves no file from one folder to another at " in done.stderr
    assert "let who confines mlnb (Landlock: `refer`) allow it" in done.stderr
    assert verify_store(open_store(root / ".mlnb")).clean
