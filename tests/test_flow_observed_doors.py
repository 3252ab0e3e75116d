"""What is laid at a stage's door: not what git's filters, libraries and bystanders open, but what lies beyond
the project; and what of it is kept, said and refused."""

import json
import os
import shutil
import subprocess
import sys
import time
from hashlib import sha256

import pytest
from observed_ways import HERE, SETTINGS

from mlnb.flow.outside import counts_outside, folders_of_others, outside_name, outside_place
from mlnb.kernel.bystanders import facts_of_process, held_files
from mlnb.kernel.folder_watch import FolderWatch
from mlnb.kernel.link import can_serve
from mlnb.store.objects import open_store
from mlnb.store.records import records_of

needs_watch = pytest.mark.skipif(not can_serve(), reason="reads of other processes are seen on Linux only")
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
OURS = "from mlnb import save"
FILTER = "import strip_rules, sys, time\ntime.sleep(.3)\nsys.stdout.write(sys.stdin.read())"
NATIVE = [
    f"{OURS}\nimport os, subprocess",
    "names = ['../../' + name for name in (''.join(['priv', 'ate/k', 'ey.txt']), 'named.txt')]",
    "text = subprocess.check_output(['cat', *names], text=True)\nsave('native', len(text))",
]
OUTSIDE = [OURS, "import os\ntext = open(os.environ['HOME'] + '/data/o.csv').read()\nsave('outside', text)"]
STRICT = [f"#| strict\n{OURS}", "found = __import__(''.join(['plug', 'gy']))\nsave('strict', found.__name__)"]


def git(*words, cwd):
    about = ("-c", "user.name=Ada", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")
    subprocess.run(["git", *about, *words], cwd=cwd, check=True, capture_output=True)


def record_of(root, stage):
    return records_of(open_store(root / ".mlnb"), "demo", stage)[-1]


@pytest.fixture(scope="module")
def ran(make_shared_project, mlnb):
    "A project in a repository with a slow clean filter in Python, after its run: root, home and result."
    stages = {"10_native": NATIVE, "20_outside": OUTSIDE, "30_strict": STRICT}
    root = make_shared_project({f"{HERE}/{n}.ipynb": s for n, s in stages.items()}, SETTINGS, HERE).root
    home = root.parent / "home"
    for folder in (root / "private", root / "papers", home / "data"):
        folder.mkdir(parents=True)
    (home / "data" / "o.csv").write_text("a\n1\n")
    (root / "private" / "key.txt").write_text("SECRET")
    (root / "named.txt").write_text("public")
    (root / "strip.py").write_text(FILTER)
    (root / "strip_rules.py").write_text("X = 1")
    (root / "papers" / "note.ipynb").write_text("{}")
    if shutil.which("git"):
        git("init", cwd=root)
        (root / ".gitattributes").write_text("papers/*.ipynb filter=strip\n")
        git("config", "filter.strip.clean", f"{sys.executable} strip.py", cwd=root)
        git("add", "papers", ".gitattributes", cwd=root)
        git("commit", "-m", "x", cwd=root)
        os.utime(root / "papers" / "note.ipynb", (1, 1))
    result = mlnb("run", "demo", "-k", "--json", "-j", 1, cwd=root, HOME=str(home))
    return root, home, result


@needs_git
@needs_watch
def test_files_that_git_and_its_filter_open_are_not_laid_at_the_door_of_a_stage(ran):
    root, _, result = ran
    assert result.json["git"]["n_dirty"] is not None  # it answered
    used = record_of(root, "native").parts["observed"]["files"]
    assert {path for path, digest in used.items() if digest} == {"private/key.txt", "named.txt"}
    assert [path for path in used if path.startswith(("papers", "strip"))] == []


@needs_watch
def test_content_that_only_the_system_heard_of_is_kept_when_the_text_speaks_of_it(ran):
    root, _, result = ran
    record = record_of(root, "native")
    assert record.observed.kept == (sha256(b"public").hexdigest(),)
    assert record.observed.unsure == ("private/key.txt",)
    assert record.observed.names == {}
    kept = [path for path in (root / ".mlnb" / "objects").rglob("*") if path.is_file()]
    assert not any(b"SECRET" in path.read_bytes() for path in kept)
    (doubtful,) = [line for line in result.stderr.splitlines() if "`private/key.txt`" in line]
    assert "or something else read it meanwhile" in doubtful
    (sure,) = [line for line in result.stderr.splitlines() if "`named.txt`" in line]
    assert "something else" not in sure and ";" not in sure.partition("Better: ")[2]


def test_file_outside_the_project_counts_without_its_home_and_is_said(ran, asked, monkeypatch):
    root, home, result = ran
    monkeypatch.setenv("HOME", str(home))
    record = record_of(root, "outside")
    assert record.parts["observed"] == {"outside": {"~/data/o.csv": sha256(b"a\n1\n").hexdigest()}}
    assert record.observed.kept == () and str(home) not in json.dumps(record.parts)
    assert "outside used `~/data/o.csv`, which lies outside the project" in result.stderr
    problems = asked("check", "--json", cwd=root).json["problems"]
    assert [p["level"] for p in problems if p["rule"] == "outside-read"] == ["warning"]
    lineage = asked("lineage", "demo/outside", "--json", cwd=root).json
    assert "~/data/o.csv" in [node["name"] for node in lineage["nodes"]]
    states = []
    for text in ("a\n2\n", "a\n1\n"):
        (home / "data" / "o.csv").write_text(text)
        stages = asked("status", "--json", cwd=root).json["stages"]
        (stage,) = [stage for stage in stages if stage["name"] == "outside"]
        states.append((stage["state"], [why["name"] for why in stage["why"]]))
    assert states == [("stale", ["~/data/o.csv"]), ("fresh", [])]


def test_strict_refuses_what_the_stage_itself_imports_by_a_computed_name(ran):
    _, _, result = ran
    entry = result.stage("strict")
    assert (result.code, entry["state"], entry["kind"]) == (1, "failed", "user_error")
    assert "the stage used `pluggy`" in entry["error"]["evalue"]
    assert [result.stage(name)["state"] for name in ("native", "outside")] == ["committed"] * 2


COUNTS = {
    "/data/o.csv": True,
    "~/o.csv": True,
    "/tmp/x/o.csv": True,
    "/data/.hidden/o.csv": False,
    "~/.cache/x/o.csv": False,
    "~/scikit_learn_data/o.gz": False,
    "/etc/ssl/openssl.cnf": False,
    "/usr/share/zoneinfo/Europe/Berlin": False,
    "/usr/share/fonts/a.ttf": False,
    "/proc/meminfo": False,
    "/dev/shm/a": False,
    "/data/tool.py": False,
    "/v/lib/python3.11/site-packages/x/data.json": False,
    f"{sys.prefix}/share/a.json": False,
    "/config/of/matplotlib/fontlist.json": False,
}


@pytest.mark.parametrize("path", COUNTS)
def test_file_outside_counts_where_it_is_data(path, tmp_path, monkeypatch):
    monkeypatch.setenv("MPLCONFIGDIR", "/config/of/matplotlib")
    whole = os.path.expanduser(path)
    assert counts_outside(whole, [1, 1, 1], tmp_path, folders_of_others(), 2) is COUNTS[path]
    assert str(outside_place(outside_name(whole))) == whole


HOLD = "exec 3<data/a.csv; read line"


def held(watch, holder):
    "Wait until a process holds the file."
    for _ in range(1000):
        if f"{watch.root}/data/a.csv" in held_files(holder.pid):
            return
        time.sleep(0.002)
    raise AssertionError("nobody opened the file")


@pytest.mark.skipif(facts_of_process(os.getsid(0)) is None, reason="nobody knows who began this session")
@pytest.mark.parametrize(
    ("how", "is_left_out"),
    [
        ("somebody else", True),
        ("twice", False),
        ("the stage too", False),
        ("the stage", False),
        ("unknown", False),
    ],
)
def test_file_is_a_bystanders_only_when_that_is_certain(tmp_path, how, is_left_out):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text("1\n")
    pipe = {"stdin": subprocess.PIPE, "cwd": tmp_path}
    kernel = subprocess.Popen(["sh", "-c", "read line"], start_new_session=True, **pipe)
    with FolderWatch(tmp_path) as watch:
        token = watch.begin("stage", lambda: None if how == "unknown" else kernel.pid)
        if how == "the stage too":
            subprocess.run(["cat", "data/a.csv"], cwd=tmp_path, check=True, capture_output=True)
        time.sleep(0.03)  # what tells processes of before has hundredths of a second
        holder = subprocess.Popen(["sh", "-c", HOLD], start_new_session=how == "the stage", **pipe)
        held(watch, holder)
        time.sleep(0.03)
        if how == "twice":
            subprocess.run(["cat", "data/a.csv"], cwd=tmp_path, check=True, capture_output=True)
        opened = watch.end(token)
    for process in (kernel, holder):
        process.communicate()
    assert ("data/a.csv" not in opened.files) is is_left_out


# what takes long

ORDINARY = {
    "show": ["import pandas as pd", "pd.DataFrame({'a': [1, 2]})"],
    "frame": ["import pandas as pd", "save('frame', pd.DataFrame({'a': [1, 2]}))"],
    "fit": [
        "from sklearn.linear_model import LogisticRegression",
        "save('fit', LogisticRegression().fit([[0], [1]], [0, 1]))",
    ],
    "figure": ["import matplotlib.pyplot as plt", "plt.plot([1, 2])"],
    "web": ["import requests", "save('web', requests.__version__)"],
    "arrow": ["import pyarrow as pa", "save('arrow', pa.table({'a': [1]}).num_rows)"],
    "duck": ["import duckdb", "save('duck', duckdb.sql('select 1').fetchall()[0][0])"],
    "asks": ["import importlib.util", "importlib.util.find_spec(''.join(['duck', 'db']))"],
}
DYNAMIC = {
    "module": "__import__('importlib').import_module(''.join(['sk', 'learn']))",
    "import": "__import__(''.join(['re', 'quests']))",
    "exec": "exec(''.join(['import re', 'quests']))",
    "plugin": "from importlib.metadata import EntryPoint\nEntryPoint('a', 'duckdb:connect', 'g').load()",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [("-j", 1), ("-j", 2), ("-j", 1, "--cold")], ids=["alone", "beside", "cold"]
)
def test_strict_lets_ordinary_stages_pass_and_refuses_dynamic_imports(make_project, mlnb, options):
    stages = {f"{HERE}/1{n}_{name}.ipynb": [OURS, *cells] for n, (name, cells) in enumerate(ORDINARY.items())}
    stages |= {f"{HERE}/2{n}_by_{name}.ipynb": [OURS, cell] for n, (name, cell) in enumerate(DYNAMIC.items())}
    settings = SETTINGS.replace("[mlnb]", "[mlnb]\nstrict = true")
    root = make_project(stages, settings, HERE).root
    result = mlnb("run", "demo", "-k", "--json", *options, cwd=root)
    passed = {
        stage["name"]: stage["error"] for stage in result.json["stages"] if stage["state"] == "committed"
    }
    assert {*passed} == {*ORDINARY}, [(s["name"], s["error"]) for s in result.json["stages"]]
    for name in DYNAMIC:
        assert "import it in the notebook" in result.stage(f"by_{name}")["error"]["evalue"]
    beside = [records_of(open_store(root / ".mlnb"), "demo", name)[0].observed.native for name in ORDINARY]
    assert {*beside} == {"observed"}
    stages = mlnb("status", "--json", cwd=root).json["stages"]
    assert {stage["name"] for stage in stages if stage["state"] == "fresh"} == {*ORDINARY}
