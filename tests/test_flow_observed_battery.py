"""Every way of `observed_ways` alone, strict, on a second machine and repeated from what was kept; one
pipeline started in many ways; and what the record says where nothing can be observed."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import pytest
from conftest import Result, clean_environment, write_project
from observed_ways import HERE, SETTINGS, WAYS, World, cells_of, stage_of

from mlnb.kernel.link import can_serve
from mlnb.store.objects import get, open_store
from mlnb.store.records import records_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_serve(), reason="reads of other processes are seen on Linux only"),
]
SHARED = [name for name, way in WAYS.items() if not way.is_of_site and not way.is_alone and not way.missing]
NATIVE = [name for name in SHARED if WAYS[name].is_native]


@dataclass(frozen=True)
class Lab:
    "A project whose stages each go one way, and the command line of one environment in it."

    world: World
    names: tuple[str, ...]
    python: str = sys.executable
    more: dict = field(default_factory=dict)

    def ask(self, *arguments, **environment):
        variables = self.world.variables([WAYS[name] for name in self.names]) | self.more | environment
        done = subprocess.run(
            [self.python, "-m", "mlnb", *map(str, arguments)],
            cwd=self.world.root,
            env=clean_environment(**variables),
            capture_output=True,
            text=True,
            timeout=600,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def write(self, n):
        for name in self.names:
            self.world.write(WAYS[name], n)

    def run(self, *options, **environment):
        return self.ask("run", "demo", "-k", "--json", "-j", 1, *options, **environment)

    def status(self):
        "What is stale: stage -> entries of `why`."
        stages = self.ask("status", "--json").json["stages"]
        return {stage["name"]: stage["why"] for stage in stages if stage["state"] != "fresh"}


def lab_of(folder, names, python=sys.executable, site=None, first="from mlnb import save", more=SETTINGS):
    "A project in `folder` whose stages go the ways, in the state before the edit."
    root = folder / "project"
    write_project(root, dict(stage_of(name, first) for name in names), more, HERE)
    lab = Lab(World(root, folder / "outside", site), tuple(names), python)
    lab.write(1)
    return lab


def found_wrong(result, names, n):
    "Ways whose stage did not find what is there: way -> what happened."
    wrong = {}
    for name in names:
        entry = result.stage(name)
        is_right = entry["outputs"].get(name) == sha256(WAYS[name].values[n - 1].encode()).hexdigest()
        if not is_right:
            wrong[name] = entry["error"] or f"{entry['state']}: the value is not {WAYS[name].values[n - 1]}"
    return wrong


def not_named(told, names):
    "Ways of which `why` does not say what was edited: way -> what it says instead."
    return {name: told.get(name) for name in names if not names_it(WAYS[name], told.get(name, []))}


def names_it(way, why):
    return any(e["kind"] in way.kinds and way.label in f"{e['name']} {e['message']}" for e in why)


# each way alone, and all together


@pytest.fixture(scope="module")
def own_environment(tmp_path_factory):
    "An environment over that of the tests, whose site-packages may be changed: its Python, its folder."
    folder = tmp_path_factory.mktemp("own") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    site = next((folder / "lib").iterdir()) / "site-packages"
    base = next(Path(sys.prefix, "lib").glob("python*")) / "site-packages"
    (site / "aa_base.pth").write_text(f"import site; site.addsitedir({str(base)!r})\n")
    yield str(folder / "bin" / "python"), site
    stop = [folder / "bin" / "python", "-m", "mlnb", "kernels", "stop", "--force"]
    subprocess.run(stop, cwd="/", check=True)


@pytest.fixture
def alone(request, tmp_path):
    "A project of one stage; a way through site-packages gets an environment of its own."

    def of(name, **options):
        if missing := WAYS[name].missing:
            pytest.skip(f"{', '.join(missing)} is not here")
        if not WAYS[name].is_of_site:
            return lab_of(tmp_path, [name], **options)
        python, site = request.getfixturevalue("own_environment")
        outside = site.parents[3] / "outside"
        lab = lab_of(tmp_path, [], python, site, **options)
        path, cells = stage_of(name, options.get("first", "from mlnb import save"))
        write_project(lab.world.root, {path: cells}, options.get("more", SETTINGS), HERE)
        lab = Lab(World(lab.world.root, outside, site), (name,), python)
        lab.write(1)
        request.addfinalizer(lambda: lab.world.remove(WAYS[name]))
        return lab

    return of


@pytest.mark.parametrize("name", WAYS)
def test_each_way_alone_from_the_first_run_over_touch_and_edit_and_back(alone, name):
    lab = alone(name)
    first = lab.run()
    assert (first.code, found_wrong(first, [name], 1)) == (0, {}), first.stderr
    assert lab.status() == {}
    assert lab.run().states == {name: "cached"}
    lab.world.touch(WAYS[name])
    assert lab.status() == {}
    lab.write(2)
    assert not_named(lab.status(), [name]) == {}
    second = lab.run()
    assert (second.states, found_wrong(second, [name], 2)) == ({name: "committed"}, {}), second.stderr
    assert lab.status() == {}
    lab.write(1)
    assert lab.status() == {}
    back = lab.run()
    assert (back.states, found_wrong(back, [name], 1)) == ({name: "cached"}, {})


@pytest.fixture(scope="module")
def from_nothing(tmp_path_factory):
    "Runs of all ways that can share a project, before and after the edit, each with a fresh store."
    lab, results = lab_of(tmp_path_factory.mktemp("nothing"), SHARED), {}
    for n in (1, 2):
        lab.write(n)
        results[n] = lab.run()
        shutil.rmtree(lab.world.root / ".mlnb")
    return results


@pytest.mark.parametrize("name", WAYS)
def test_edit_changes_what_a_fresh_store_gives(request, name):
    if name in SHARED:
        for n, result in request.getfixturevalue("from_nothing").items():
            assert found_wrong(result, [name], n) == {}
        return
    lab = request.getfixturevalue("alone")(name)
    for n in (1, 2):
        lab.write(n)
        result = lab.run()
        assert found_wrong(result, [name], n) == {}, result.stderr
        shutil.rmtree(lab.world.root / ".mlnb")


STRICT = {  # where it is said: first cell of the stage, settings
    "stage": {"first": "#| strict\nfrom mlnb import save"},
    "project": {"more": SETTINGS.replace("[mlnb]", "[mlnb]\nstrict = true")},
}


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    "A run of all ways that can share a project, for each way of being strict."
    return {
        where: lab_of(tmp_path_factory.mktemp(where), SHARED, **options).run()
        for where, options in STRICT.items()
    }


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("where", STRICT)
def test_strict_stage_fails_with_the_mend_unless_its_text_says_all(request, name, where):
    if name in SHARED:
        result = request.getfixturevalue("strict")[where]
    else:
        result = request.getfixturevalue("alone")(name, **STRICT[where]).run()
    way, entry = WAYS[name], result.stage(name)
    if way.is_followed or (way.is_followed is None and entry["state"] == "committed"):
        assert entry["state"] == "committed", entry["error"]
        return
    assert (result.code, entry["state"], entry["outputs"]) == (1, "failed", {})
    said = entry["error"]["evalue"]
    assert way.label in said and any(word in said for word in ("[source.", "import ", "put it into"))


@pytest.fixture(scope="module")
def all_ways(tmp_path_factory):
    "A project in which every way that can share one is a stage, after its first run; leave it as it is."
    lab = lab_of(tmp_path_factory.mktemp("all"), SHARED)
    result = lab.run()
    assert (result.code, found_wrong(result, SHARED, 1)) == (0, {}), result.stderr
    return lab


def copy_of(lab, folder):
    "The project as a clone has it, and what lies outside of it, without any store."
    shutil.copytree(
        lab.world.root,
        folder / "project",
        symlinks=True,
        ignore=shutil.ignore_patterns(".mlnb", "__pycache__"),
    )
    shutil.copytree(lab.world.outside, folder / "outside", symlinks=True)
    return Lab(World(folder / "project", folder / "outside"), lab.names, lab.python)


def test_all_ways_in_one_pipeline_are_stale_each_for_its_own_reason(all_ways, tmp_path):
    lab = copy_of(all_ways, tmp_path)
    assert found_wrong(lab.run(), SHARED, 1) == {}
    assert lab.status() == {}
    wrong = {}
    for name in SHARED:
        lab.world.write(WAYS[name], 2)
        told = lab.status()
        lab.world.write(WAYS[name], 1)
        if list(told) != [name] or not_named(told, [name]):
            wrong[name] = {stage: [(e["kind"], e["name"]) for e in why] for stage, why in told.items()}
    assert wrong == {}
    lab.write(2)
    second = lab.run()
    assert (found_wrong(second, SHARED, 2), lab.status()) == ({}, {})
    lab.write(1)
    assert lab.status() == {}


@pytest.mark.parametrize("jobs", [1, 2])
def test_stages_beside_each_other_are_not_fresh_by_mistake(all_ways, tmp_path, jobs):
    "Side by side a record may say that it did not observe, but never that it did and miss something."
    lab = copy_of(all_ways, tmp_path)
    assert lab.ask("run", "demo", "-k", "--json", "-j", jobs).code == 0
    store = open_store(lab.world.root / ".mlnb")
    said = {name: records_of(store, "demo", name)[0].observed for name in SHARED}
    lab.write(2)
    told = lab.status()
    due = {
        name
        for name in SHARED
        if said[name].python == "observed" and not (WAYS[name].is_native and said[name].native != "observed")
    }
    assert due - set(told) == set()
    assert len(due) > len(SHARED) - len(NATIVE) - 1
    assert jobs == 2 or due == set(SHARED)
    notes = {s["native"] for s in said.values()} - {"observed"}
    assert all(note.startswith("not observed: ") for note in notes)


# a second machine, and once more


@pytest.fixture(scope="module")
def remote(all_ways, tmp_path_factory):
    "The records of all ways in a folder that others can pull from: the folder, the key of who pushed."
    folder = tmp_path_factory.mktemp("between") / "remote"
    key = all_ways.ask("audit", "init", "--json").json["key"]
    pushed = all_ways.ask("push", folder, "--sign-unsigned", "--json")
    assert (pushed.code, pushed.json["left_out"]) == (0, []), pushed.stderr
    return folder, key


@pytest.mark.parametrize("has", ["the same", "another", "none"])
def test_pulled_record_counts_where_what_was_used_is_the_same(all_ways, remote, tmp_path, has):
    folder, key = remote
    lab = copy_of(all_ways, tmp_path)
    if has == "another":
        lab.write(2)
    if has == "none":
        for name in SHARED:
            lab.world.remove(WAYS[name])
    for arguments in (("audit", "init"), ("audit", "trust", "ann", key), ("pull", folder)):
        done = lab.ask(*arguments)
        assert done.code == 0, done.stderr
    told = lab.status()
    if has == "the same":
        assert told == {}
        return
    is_first_absent = {n for n in SHARED if has == "none" and not all_ways.world.at(WAYS[n].place).exists()}
    assert set(SHARED) - set(told) == is_first_absent
    if has == "another":
        assert found_wrong(lab.run(), SHARED, 2) == {}


def test_run_is_reproduced_after_all_that_it_used_was_edited_or_deleted(all_ways, tmp_path):
    lab = copy_of(all_ways, tmp_path)
    assert found_wrong(lab.run(), SHARED, 1) == {}
    for name in SHARED:
        lab.world.remove(WAYS[name])
    result = lab.ask("reproduce", "latest", "--json")
    wrong = {s["name"]: s for s in result.json.get("stages", []) if s["state"] != "reproduced"}
    assert (result.code, wrong) == (0, {}), result.stderr


# writing


def run_twice(folder, *cells):
    write_project(
        folder / "project", {f"{HERE}/10_a.ipynb": ["from mlnb import save", *cells]}, SETTINGS, HERE
    )
    lab = Lab(World(folder / "project", folder / "outside"), ())
    return lab, lab.run(), lab.run()


def test_module_that_a_stage_writes_and_imports(tmp_path):
    cells = ("%%writefile written_mod.py\nX = 1", "import written_mod\nsave('a', written_mod.X)")
    lab, first, second = run_twice(tmp_path, *cells)
    assert first.states == {"a": "committed"}, first.stderr
    assert second.states == {"a": "cached"}
    (lab.world.root / HERE / "written_mod.py").unlink()
    assert lab.status() == {}


def test_file_that_a_stage_writes_and_reads_is_its_own(tmp_path):
    cells = (
        "import os\nos.makedirs('made', exist_ok=True)",
        "with open('made/t.txt', 'w') as file:\n    _ = file.write('1')",
        "import subprocess\nsaid = subprocess.check_output(['cat', 'made/t.txt'], text=True)",
        "save('a', open('made/t.txt').read() + said)",
    )
    lab, first, second = run_twice(tmp_path, *cells)
    assert (first.states, second.states) == ({"a": "committed"}, {"a": "cached"}), first.stderr
    (lab.world.root / HERE / "made" / "t.txt").write_text("edited")
    assert lab.status() == {}
    shutil.rmtree(lab.world.root / HERE / "made")
    assert lab.status() == {}
    assert lab.ask("reproduce", "latest").code == 0


def test_file_that_a_stage_reads_and_writes_again_counts_as_it_was_read(tmp_path):
    path = tmp_path / "project" / HERE / "table.txt"
    path.parent.mkdir(parents=True)
    path.write_text("1 ")
    cells = (
        "text = open('table.txt').read()",
        "with open('table.txt', 'w') as file:\n    _ = file.write(text.strip())",
        "save('a', text.strip())",
    )
    lab, first, second = run_twice(tmp_path, *cells)
    assert first.code == second.code == 0, first.stderr
    assert lab.status() == {}
    path.write_text("2")
    assert list(lab.status()) == ["a"]
    assert lab.run().stage("a")["outputs"]["a"] == sha256(b"2").hexdigest()
    assert lab.status() == {}


def test_file_that_a_stage_counts_up_is_never_taken_for_the_one_that_it_read(tmp_path):
    path = tmp_path / "project" / HERE / "count.txt"
    path.parent.mkdir(parents=True)
    path.write_text("1")
    cells = (
        "n = int(open('count.txt').read())",
        "with open('count.txt', 'w') as file:\n    _ = file.write(str(n + 1))",
        "save('a', str(n))",
    )
    lab, _, _ = run_twice(tmp_path, *cells)
    if "a" in lab.status():
        return
    shown = lab.run().stage("a")["outputs"]["a"]
    assert shown == sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("add", ["!echo run >> log.txt", "open('log.txt', 'a').write('run')"])
def test_file_that_a_stage_adds_to_and_a_program_reads_counts_as_it_was(tmp_path, add):
    path = tmp_path / "project" / HERE / "log.txt"
    path.parent.mkdir(parents=True)
    path.write_text("1\n")
    lab, first, _ = run_twice(tmp_path, f"_ = None\n{add}", "said = !head -1 log.txt\nsave('a', said[0])")
    assert first.code == 0, first.stderr
    path.write_text("2\n")
    assert names_file_of(lab.status()["a"], "log.txt")


def names_file_of(why, name):
    return any(entry["kind"] == "input" and entry["name"].endswith(name) for entry in why)


def test_file_that_a_program_begins_anew_is_the_stages_own_each_time(tmp_path):
    cells = ("!echo one > new.txt; echo two >> new.txt", "said = !cat new.txt\nsave('a', said[1])")
    lab, first, _ = run_twice(tmp_path, *cells)
    assert first.code == 0, first.stderr
    assert lab.status() == {}
    again = lab.ask("run", "demo", "a", "--json", "--force", "--replace")
    assert (again.code, lab.status()) == (0, {}), again.stderr


def test_link_that_a_stage_points_elsewhere_itself_is_its_own(tmp_path):
    point = "if os.path.lexists('now'):\n    os.unlink('now')\nos.symlink('made', 'now')"
    cells = (f"import os\nos.makedirs('made', exist_ok=True)\n{point}", "!echo 1 > made/x.csv")
    lab, first, second = run_twice(tmp_path, *cells, "said = !cat now/x.csv\nsave('a', said[0])")
    assert (first.states, second.states) == ({"a": "committed"}, {"a": "cached"}), first.stderr
    (lab.world.root / HERE / "now").unlink()
    assert lab.status() == {}


def test_folder_that_is_called_as_mlnb_is_a_folder_like_any(tmp_path):
    cells = ["from mlnb import save", "save('a', open('../../mlnb/rates.csv').read())"]
    root = write_project(tmp_path / "project", {f"{HERE}/10_a.ipynb": cells}, SETTINGS, HERE).root
    (root / "mlnb").mkdir()
    states = []
    for text in ("1", "1", "2"):
        (root / "mlnb" / "rates.csv").write_text(text)
        command = [Path(sys.executable).with_name("mlnb"), "run", "demo", "--json"]
        done = subprocess.run(command, cwd=root, env=clean_environment(), capture_output=True, timeout=300)
        states += [stage["state"] for stage in json.loads(done.stdout)["stages"]]
    assert states == ["committed", "cached", "committed"]


def test_name_in_an_own_module_is_enough_beside_another_stage(tmp_path):
    wait = (
        "import pathlib, time\npathlib.Path('here_{0}').touch()\nend = time.monotonic() + 20\n"
        "while not pathlib.Path('here_{1}').exists() and time.monotonic() < end:\n    time.sleep(0.02)"
    )
    read = (
        "import duckdb\nimport places\nx = duckdb.sql(f\"SELECT a FROM '{places.RATES}'\").fetchall()[0][0]"
    )
    stages = {
        f"{HERE}/10_a.ipynb": ["from mlnb import save", wait.format("a", "b"), read, "save('a', x)"],
        f"{HERE}/20_b.ipynb": [
            "from mlnb import save",
            "x = open('../../data/rates.csv').read()",
            wait.format("b", "a"),
            "time.sleep(3)\nsave('b', x)",
        ],
    }
    lab = Lab(World(write_project(tmp_path / "project", stages, SETTINGS, HERE).root, tmp_path), ())
    lab.world.at(f"{HERE}/places.py").write_text(
        "from pathlib import Path\nRATES = Path('../..') / 'data' / 'rates.csv'\n"
    )
    lab.world.at("data").mkdir()
    lab.world.at("data/rates.csv").write_text("a\n1\n")
    first = lab.ask("run", "demo", "--json", "-j", 2)
    assert first.code == 0, first.stderr
    lab.world.at("data/rates.csv").write_text("a\n2\n")
    assert sorted(lab.status()) == ["a", "b"]


@pytest.mark.parametrize("ending", ["", "-wal"])
def test_database_that_a_stage_only_reads_stays_as_it_was(tmp_path, ending):
    import sqlite3

    path = tmp_path / "project" / HERE / "t.db"
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA journal_mode = {'WAL' if ending else 'DELETE'}")
        connection.execute("CREATE TABLE t AS SELECT 1 AS x")
    connection.close()
    cell = (
        "import sqlite3\nc = sqlite3.connect('t.db')\nsave('a', c.execute('SELECT x FROM t').fetchone()[0])"
    )
    _, first, second = run_twice(tmp_path, cell)
    assert (first.states, second.states) == ({"a": "committed"}, {"a": "cached"}), first.stderr


# the same, however it is started

LIBRARIES = """import json, locale, signal, time, warnings
import duckdb, matplotlib, numpy as np, pandas as pd, pyarrow as pa, sklearn
from mlnb import save"""
ABOUT = """about = {
    "columns": pd.options.display.max_columns, "width": pd.options.display.width,
    "print": repr(np.get_printoptions()), "line": matplotlib.rcParams["lines.linewidth"],
    "backend": matplotlib.get_backend(), "sklearn": repr(sklearn.get_config()), "zone": list(time.tzname),
    "locale": list(locale.getlocale()), "random": np.random.rand(2).tolist(), "cpus": pa.cpu_count(),
    "threads": duckdb.sql("SELECT current_setting('threads')").fetchall()[0][0],
    "hash": hash("a"), "text": str(pd.DataFrame({f"c{n}": [n] for n in range(40)})),
}"""
MANY = ("append", "computed", "open", "beside_module", "read_csv", "absent", "glob")
STARTS = {  # how a run is started: options of the run, environment
    "warm": ((), {}),
    "cold": (("--cold",), {}),
    "side by side": (("-j", "2"), {}),
    "C": ((), {"LC_ALL": "C", "LANG": "C"}),
    "German": ((), {"LC_ALL": "de_DE.UTF-8", "LANG": "de_DE.UTF-8"}),
    "UTF-8": ((), {"LC_ALL": "C.UTF-8"}),
    "Tokyo": ((), {"TZ": "Asia/Tokyo"}),
    "New York": ((), {"TZ": "America/New_York"}),
    "other home": ((), {"HOME": "home"}),
    "terminal": ((), {"COLUMNS": "50", "LINES": "10", "TERM": "dumb"}),
}
PIPELINE = {
    f"{HERE}/10_many.ipynb": [*cells_of(MANY, LIBRARIES), "save('many', got)"],
    f"{HERE}/20_about.ipynb": [LIBRARIES, ABOUT, "save('about', about)", "print(json.dumps(about))"],
}


def started(folder, options=(), **environment):
    "Keys and outputs of the stages of a fresh copy of the project: stage -> both."
    lab = Lab(World(folder / "project", folder / "outside"), MANY)
    write_project(lab.world.root, PIPELINE, SETTINGS, HERE)
    lab.write(1)
    if "HOME" in environment:
        home = folder / environment["HOME"]
        (home / ".config" / "matplotlib").mkdir(parents=True)
        (home / ".config" / "matplotlib" / "matplotlibrc").write_text("lines.linewidth: 9\n")
        environment["HOME"] = str(home)
    result = lab.run(*options, **environment)
    assert result.code == 0, result.stderr
    return lab, {s["name"]: (s["key"], s["outputs"]) for s in result.json["stages"]}


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    "What all the others are compared with."
    return started(tmp_path_factory.mktemp("warm"))


@pytest.mark.parametrize("how", STARTS)
def test_keys_and_values_are_equal_however_a_run_is_started(warm, tmp_path, how):
    options, environment = STARTS[how]
    lab, others = started(tmp_path, options, **environment)
    for name in others:
        assert content(lab, others, name) == content(*warm, name)
    assert others == warm[1]


def content(lab, stages, name):
    return json.loads(get(open_store(lab.world.root / ".mlnb"), stages[name][1][name]))


def test_keys_and_values_are_equal_after_the_server_was_started_again(warm, tmp_path):
    assert warm[0].ask("kernels", "stop").code == 0
    assert started(tmp_path)[1] == warm[1]


@pytest.mark.parametrize("environment", [{}, {"LC_ALL": "C", "TZ": "Asia/Tokyo"}], ids=["here", "elsewhere"])
def test_papermill_by_hand_gives_the_same_values(warm, tmp_path, environment):
    lab = warm[0]
    command = [
        sys.executable,
        "-m",
        "papermill",
        "--engine",
        "mlnb",
        "20_about.ipynb",
        tmp_path / "out.ipynb",
    ]
    folder = lab.world.root / HERE
    done = subprocess.run(
        command, cwd=folder, env=clean_environment(**environment), capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    cells = json.loads((tmp_path / "out.ipynb").read_text())["cells"]
    printed = "".join("".join(o.get("text", "")) for o in cells[-1]["outputs"])
    assert json.loads(printed.splitlines()[-1]) == content(*warm, "about")


# what cannot be observed is said


def only_record(root, stage="a"):
    return records_of(open_store(root / ".mlnb"), "demo", stage)[-1]


CLEARED = (
    "shell = get_ipython()\nfor event in shell.events.callbacks:\n    shell.events.callbacks[event].clear()"
)


def test_stage_that_clears_the_callbacks_of_its_shell_is_still_observed_or_says_so(tmp_path):
    path = tmp_path / "project" / HERE / "t.txt"
    path.parent.mkdir(parents=True)
    path.write_text("1")
    lab, first, _ = run_twice(tmp_path, CLEARED, "save('a', open('t.txt').read())")
    assert first.code == 0, first.stderr
    said = only_record(lab.world.root).observed.python
    path.write_text("2")
    assert said.startswith("not observed: ") or (said == "observed" and list(lab.status()) == ["a"])


PATCHED = """import sys
import mlnb.kernel.folder_watch as watch
def refuse(self):
    raise OSError("this system has no inotify")
{what}
from mlnb.cli import main
sys.exit(main())"""
BLIND = {  # how watching fails
    "no inotify": "watch.Inotify.__init__ = refuse",
    "too many folders": "watch.MOST_FOLDERS = 1",
    "watch refused": "watch.Inotify.add = lambda *_: refuse(None)",
}


@pytest.mark.parametrize("how", BLIND)
def test_record_says_when_the_folders_cannot_be_watched(tmp_path, how):
    lab = lab_of(tmp_path, ["open", "subprocess_cat"])
    command = [sys.executable, "-c", PATCHED.format(what=BLIND[how]), "run", "demo", "-j", "1"]
    done = subprocess.run(
        command, cwd=lab.world.root, env=clean_environment(), capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    said = {name: only_record(lab.world.root, name).observed for name in lab.names}
    assert all(s.python == "observed" and s.native.startswith("not observed: ") for s in said.values())
    lab.write(2)
    assert "open" in lab.status()


LOST = {  # what a stage does to what observes it, before it reads
    "changes folder": "import os\nos.chdir('/')",
    "removes the report": (
        "import os, pathlib\nfolder = pathlib.Path(os.environ['MLNB_STAGE']).parent\n"
        "for file in folder.glob('observed*'):\n    file.unlink()"
    ),
}


@pytest.mark.parametrize("what", LOST)
def test_record_never_says_observed_when_it_was_not(tmp_path, what):
    path = tmp_path / "project" / HERE / "t.txt"
    path.parent.mkdir(parents=True)
    path.write_text("1")
    lab, first, _ = run_twice(tmp_path, LOST[what], f"save('a', open({str(path)!r}).read())")
    assert first.code == 0, first.stderr
    said = only_record(lab.world.root).observed.python
    path.write_text("2")
    assert said.startswith("not observed: ") or list(lab.status()) == ["a"]


def test_two_stages_at_once_of_which_one_reads_natively(tmp_path):
    wait = (
        "import pathlib, time\npathlib.Path('here_{0}').touch()\nend = time.monotonic() + 20\n"
        "while not pathlib.Path('here_{1}').exists() and time.monotonic() < end:\n    time.sleep(0.02)"
    )
    read = "import subprocess\ntext = subprocess.check_output(['cat', 'n.txt'], text=True)\ntime.sleep(0.3)"
    stages = {
        f"{HERE}/10_a.ipynb": ["from mlnb import save", wait.format("a", "b"), read, "save('a', text)"],
        f"{HERE}/20_b.ipynb": [
            "from mlnb import save",
            wait.format("b", "a"),
            "time.sleep(0.3)\nsave('b', 1)",
        ],
    }
    lab = Lab(World(write_project(tmp_path / "project", stages, SETTINGS, HERE).root, tmp_path), ())
    lab.world.at(f"{HERE}/n.txt").write_text("1")
    first = lab.ask("run", "demo", "--json", "-j", 2)
    assert first.code == 0, first.stderr
    said = {name: only_record(lab.world.root, name).observed for name in "ab"}
    for place in ("here_a", "here_b"):
        lab.world.at(f"{HERE}/{place}").unlink()
    assert set(lab.status()) == set()
    lab.world.at(f"{HERE}/n.txt").write_text("2")
    told = lab.status()
    assert said["a"].native.startswith("not observed: ") or "a" in told
    assert "b" not in told or said["b"].native == "observed"


def test_file_of_another_owner_is_counted_and_not_kept(tmp_path):
    path = tmp_path / "project" / HERE / "secret.txt"
    path.parent.mkdir(parents=True)
    path.write_text("1")
    path.chmod(0o600)
    lab, first, second = run_twice(tmp_path, "save('a', len(open('secret.txt').read()))")
    assert (first.code, second.states) == (0, {"a": "cached"}), first.stderr
    record = only_record(lab.world.root)
    digest = sha256(b"1").hexdigest()
    assert record.counted.observed.files[f"{HERE}/secret.txt"] == digest
    assert digest not in record.observed.kept
    path.write_text("22")
    assert list(lab.status()) == ["a"]


def test_check_and_run_say_in_one_line_what_would_be_better_declared(tmp_path):
    lab = lab_of(tmp_path, ["computed", "open"])
    result = lab.run()
    named = ("by_computed", "opened.txt")
    lines = [line for line in result.stderr.splitlines() if any(name in line for name in named)]
    assert len(lines) == 2, result.stderr
    problems = lab.ask("check", "--json").json["problems"]
    assert "by_computed" in json.dumps(problems) and "opened.txt" in json.dumps(problems)
    assert "reads-outside" not in [problem["rule"] for problem in problems]
