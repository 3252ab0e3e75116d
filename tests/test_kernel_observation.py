"""The report of a stage's process: every way to open a file, load a module or start a program is told as what
it is, whatever the stage does to the one who tells, and a warm kernel reports what a cold one does."""

import json
import subprocess
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from mlnb.kernel.link import can_serve
from mlnb.kernel.report_lines import Seen, fact_in, facts_in, read_observations

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="paths and forks as on Linux")

PROGRAM = """
import json, sys
from pathlib import Path
from IPython.core.interactiveshell import InteractiveShell
from mlnb.kernel.observation import observe
place = Path.cwd()
shell = InteractiveShell.instance()
shell.run_line_magic("colors", "nocolor")
cells = json.loads(sys.stdin.read())
sys.path.insert(0, "")
observe(shell, place / "try" / "observed.jsonl", str(place))
for cell in cells:
    if not shell.run_cell(cell).success:
        print("failed:", cell)
"""


@dataclass(frozen=True)
class Told:
    "What a program of some cells told of itself."

    place: Path
    seen: Seen
    output: str

    def inside(self, names):
        "Names below the working folder, without the report's own."
        paths = [Path(name) for name in names]
        return {str(path.relative_to(self.place)) for path in paths if path.is_relative_to(self.place)}

    @property
    def absent(self):
        return self.inside(path for path, state in self.seen.opened.items() if state is None)

    @property
    def read(self):
        return self.inside(path for path, state in self.seen.opened.items() if state is not None)

    def kind(self, name):
        "What one file was to the program."
        kinds = {
            "absent": self.absent,
            "read": self.read - self.inside(self.seen.rewritten),
            "rewritten": self.inside(self.seen.rewritten),
            "made": self.inside(self.seen.made),
            "listed": self.inside(self.seen.listed),
        }
        return "+".join(kind for kind, names in kinds.items() if name in names)


def tell(place, cells, files=()):
    place = place.resolve()
    (place / "try").mkdir(parents=True)
    for name, content in dict(files).items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=json.dumps(cells), cwd=place, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return Told(place, read_observations(place / "try" / "observed.jsonl"), done.stdout + done.stderr)


# one way after the other; {f} is a file of its own

THERE = {  # way -> (code, what the file is to the stage); the file is there before
    "open": ("open({f!r}).close()", "read"),
    "open_binary": ("open({f!r}, 'rb').close()", "read"),
    "open_bytes_path": ("open({f!r}.encode()).close()", "read"),
    "open_absolute": ("open(os.path.abspath({f!r})).close()", "read"),
    "open_dotted": ("open('./sub/../' + {f!r}).close()", "read"),
    "open_twice": ("open({f!r}).close(); open({f!r}, 'rb').close()", "read"),
    "open_without_buffer": ("open({f!r}, 'rb', buffering=0).close()", "read"),
    "io_open": ("io.open({f!r}).close()", "read"),
    "codecs": ("codecs.open({f!r}).close()", "read"),
    "open_code": ("io.open_code(os.path.abspath({f!r})).close()", "read"),
    "file_io": ("io.FileIO({f!r}).close()", "read"),
    "os_open": ("os.close(os.open({f!r}, os.O_RDONLY))", "read"),
    "os_open_both": ("os.close(os.open({f!r}, os.O_RDWR))", "rewritten"),
    "os_open_in_place": ("os.close(os.open({f!r}, os.O_WRONLY))", "made"),
    "os_open_truncated": ("os.close(os.open({f!r}, os.O_RDWR | os.O_CREAT | os.O_TRUNC))", "made"),
    "opener": ("open({f!r}, opener=lambda path, flags: os.open(path, flags)).close()", "read"),
    "descriptor": ("n = os.open({f!r}, os.O_RDONLY); open(n).close()", "read"),
    "read_text": ("pathlib.Path({f!r}).read_text()", "read"),
    "read_bytes": ("pathlib.Path({f!r}).read_bytes()", "read"),
    "fileinput": ("list(fileinput.input([{f!r}]))", "read"),
    "linecache": ("linecache.getlines({f!r})", "read"),
    "tokenize": ("tokenize.open({f!r}).close()", "read"),
    "exec": ("exec(open({f!r}).read())", "read"),
    "runpy": ("runpy.run_path({f!r})", "read"),
    "mmap": ("f = open({f!r}, 'rb'); mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ).close()", "read"),
    "copy_from": ("shutil.copy({f!r}, 'copy_of_it')", "read"),
    "csv": ("list(csv.reader(open({f!r})))", "read"),
    "thread": ("t = threading.Thread(target=lambda: open({f!r}).close()); t.start(); t.join()", "read"),
    "to_thread": ("asyncio.run(asyncio.to_thread(pathlib.Path({f!r}).read_text))", "read"),
    "coroutine": ("async def g(): open({f!r}).close()\nasyncio.run(g())", "read"),
    "fork": ("p = os.fork()\nif not p:\n    open({f!r}).close(); os._exit(0)\n_ = os.waitpid(p, 0)", "read"),
    "pool": ("p = FORK.Pool(1); p.map(look, [{f!r}]); p.terminate()", "read"),
    "update": ("open({f!r}, 'r+').close()", "rewritten"),
    "append_and_read": ("open({f!r}, 'a+').close()", "rewritten"),
    "write": ("open({f!r}, 'w').close()", "made"),
    "write_and_read": ("open({f!r}, 'wb+').close()", "made"),
    "append": ("open({f!r}, 'a').close()", "made"),
    "append_then_read": ("open({f!r}, 'a').close(); open({f!r}).close()", "rewritten"),
    "exclusive": ("try: open({f!r}, 'x')\nexcept FileExistsError: open({f!r}).close()", "read"),
    "read_then_write": ("open({f!r}).close(); open({f!r}, 'w').close()", "rewritten"),
    "write_then_read": ("open({f!r}, 'w').close(); open({f!r}).close()", "made"),
    "replaced": ("open('tmp1', 'w').close(); os.replace('tmp1', {f!r}); open({f!r}).close()", "made"),
    "read_then_replaced": (
        "open({f!r}).close(); open('tmp2', 'w').close(); os.replace('tmp2', {f!r})",
        "rewritten",
    ),
    "renamed_away": ("os.rename({f!r}, 'elsewhere'); open('elsewhere').close()", "read"),
    "linked_away": ("os.link({f!r}, 'hard'); open('hard').close()", "read"),
    "link_made": ("os.symlink({f!r}, 'soft'); open('soft').close()", "read"),
    "written_by_fork": (
        "p = os.fork()\nif not p:\n    open({f!r}, 'w').close(); os._exit(0)\n"
        "_ = os.waitpid(p, 0); open({f!r}).close()",
        "made",
    ),
    "sqlite": ("sqlite3.connect({f!r}).close()", "rewritten"),
    "sqlite_path": ("sqlite3.connect(pathlib.Path({f!r})).close()", "rewritten"),
    "sqlite_url": ("sqlite3.connect('file:' + {f!r} + '?mode=ro', uri=True).close()", "rewritten"),
    "dlopen": ("try: ctypes.CDLL('./' + {f!r})\nexcept OSError: pass", "read"),
    "read_then_removed": ("open({f!r}).close(); os.remove({f!r}); open({f!r}, 'w').close()", "rewritten"),
    "read_then_removed_below": (
        "open({f!r}).close(); n = os.open('.', os.O_RDONLY); os.unlink({f!r}, dir_fd=n); os.close(n)",
        "rewritten",
    ),
    "read_then_renamed": (
        "open({f!r}).close(); os.rename({f!r}, 'old'); open({f!r}, 'w').close()",
        "rewritten",
    ),
    "read_then_truncated": ("open({f!r}).close(); os.truncate({f!r}, 0)", "rewritten"),
    "only_asked_for": ("os.path.exists({f!r}); os.stat({f!r})", ""),
    "removed": ("os.remove({f!r})", ""),
}
NOT_THERE = {  # the same where there is no file before
    "missing": ("try: open({f!r})\nexcept FileNotFoundError: pass", "absent"),
    "missing_update": ("try: open({f!r}, 'r+')\nexcept FileNotFoundError: pass", "absent"),
    "missing_then_made": (
        "try: open({f!r})\nexcept FileNotFoundError: open({f!r}, 'w').close()\nopen({f!r}).close()",
        "made",
    ),
    "new": ("open({f!r}, 'w').close()", "made"),
    "new_exclusive": ("open({f!r}, 'x').close(); open({f!r}).close()", "made"),
    "new_append": ("open({f!r}, 'a+').close(); open({f!r}).close()", "made"),
    "new_pathlib": ("pathlib.Path({f!r}).write_text(''); pathlib.Path({f!r}).read_text()", "made"),
    "touch": ("pathlib.Path({f!r}).touch(); open({f!r}).close()", "made"),
    "new_copy": ("shutil.copyfile('there_csv', {f!r}); open({f!r}).close()", "made"),
    "new_zip": ("zipfile.ZipFile({f!r}, 'w').close(); zipfile.ZipFile({f!r}).close()", "made"),
    "new_gzip": ("gzip.open({f!r}, 'wb').close(); gzip.open({f!r}).close()", "made"),
    "new_database": ("sqlite3.connect({f!r}).execute('create table t (a)')", "made"),
    "new_folder": ("os.mkdir({f!r}); os.listdir({f!r})", "listed"),
    "moved_folder": (
        "os.mkdir('d1'); open('d1/x', 'w').close(); os.rename('d1', {f!r}); open({f!r} + '/x').close()",
        "",
    ),
    "memory": ("sqlite3.connect(':memory:').close()", ""),
}
WAYS = {f"there_{way}": case for way, case in THERE.items()} | NOT_THERE
IMPORTS = (
    "import asyncio, codecs, csv, ctypes, fileinput, gzip, io, linecache, mmap, multiprocessing, os, "
    "pathlib, runpy, shutil, sqlite3, threading, tokenize, zipfile\n"
    "FORK = multiprocessing.get_context('fork')\ndef look(path): return open(path).read()"
)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    "All ways in one process, each in a cell of its own."
    cells = [IMPORTS, *(code.format(f=way) for way, (code, _) in WAYS.items())]
    files = dict.fromkeys((f"there_{way}" for way in THERE), "x = 1\n") | {"sub/keep": ""}
    return tell(tmp_path_factory.mktemp("opened"), cells, files)


def test_every_cell_ran_as_it_should(opened):
    assert "failed:" not in opened.output, opened.output
    assert opened.seen.n_cells == len(WAYS) + 1


@pytest.mark.parametrize("way", WAYS)
def test_way_of_opening_is_told_as_what_it_is(opened, way):
    assert opened.kind(way) == WAYS[way][1]


def test_what_is_made_in_a_folder_stays_the_stages_where_the_folder_goes(opened):
    assert opened.kind("moved_folder/x") == "made" and opened.kind("d1/x") == "made"


def test_signature_is_that_of_the_first_reading(opened):
    for way in ("there_open", "there_read_text", "there_fork"):
        status = (opened.place / way).stat()
        signature = [status.st_size, status.st_mtime_ns, status.st_ino]
        assert opened.seen.opened[str(opened.place / way)] == signature
    before = opened.seen.opened[str(opened.place / "there_read_then_write")]
    assert before[0] == 6 and (opened.place / "there_read_then_write").stat().st_size == 0


def test_what_may_be_written_counts_as_it_was_when_it_was_opened(opened):
    ways = [way for way, (_, kind) in WAYS.items() if kind == "rewritten"]
    digest = sha256(b"x = 1\n").hexdigest()
    told = {way: opened.seen.before.get(str(opened.place / way)) for way in ways}
    assert told == dict.fromkeys(ways, digest)


# folders, places, programs

LISTINGS = {  # way -> code that lists the folder {f}
    "listdir": "os.listdir({f!r})",
    "scandir": "list(os.scandir({f!r}))",
    "walk": "list(os.walk({f!r}))",
    "glob": "glob.glob({f!r} + '/*')",
    "glob_below": "glob.glob('**/*.txt', root_dir={f!r}, recursive=True)",
    "iterdir": "list(pathlib.Path({f!r}).iterdir())",
    "path_glob": "list(pathlib.Path({f!r}).rglob('*'))",
    "bytes": "os.listdir({f!r}.encode())",
    "descriptor": "n = os.open({f!r}, os.O_RDONLY); os.listdir(n); os.close(n)",
    "working_folder": "os.chdir({f!r}); os.listdir(); os.chdir('..')",
    "copytree": "shutil.copytree({f!r}, 'copy_of_' + {f!r})",
    "plugins": "list(pkgutil.iter_modules([{f!r}]))",
    "by_resources": "sys.path.insert(0, ''); list(resources.files({f!r}).iterdir()); sys.path.pop(0)",
    "of_resources": "sys.path.insert(0, ''); list(resources.contents({f!r})); sys.path.pop(0)",
    "at_import": "sys.path.insert(0, 'beside'); import lists_at_import; sys.path.pop(0)",
}
UNASKED = {  # listings of Python itself
    "import": "sys.path.insert(0, {f!r}); importlib.invalidate_caches(); import no_such",
    "metadata": "sys.path.insert(0, {f!r}); list(importlib.metadata.distributions())",
    "all_modules": "sys.path.insert(0, os.path.abspath({f!r})); list(pkgutil.iter_modules())",
    "complete": "get_ipython().complete('open(\"{f}/')",
}


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    first = "import glob, importlib, importlib.metadata, os, pathlib, pkgutil, shutil, sys\n"
    first += "import importlib.resources as resources"
    cells = [first, *(code.format(f=way) for way, code in (LISTINGS | UNASKED).items())]
    files = {f"{way}/a.txt": "" for way in LISTINGS | UNASKED}
    files["of_resources/__init__.py"] = ""
    files["beside/lists_at_import.py"] = "import os\nNAMES = os.listdir('at_import')"
    return tell(tmp_path_factory.mktemp("listed"), cells, files)


@pytest.mark.parametrize("way", LISTINGS)
def test_listing_that_the_stage_asks_for_is_told(listed, way):
    assert way in listed.inside(listed.seen.listed), listed.output


@pytest.mark.parametrize("way", UNASKED)
def test_listing_of_python_itself_is_not_told(listed, way):
    assert way not in listed.inside(listed.seen.listed)


def test_folder_that_is_changed_to_is_the_one_relative_names_begin_at(tmp_path):
    told = tell(
        tmp_path / "p",
        [
            "import os\nos.symlink('../other/deep', 'sub/link')",
            "open('a').close(); os.chdir('sub'); open('a').close()",
            "open('link/../b').close(); open('link/x').close()",
        ],
        {"a": "1", "sub/a": "1", "sub/b": "1", "other/b": "1", "other/deep/x": "1"},
    )
    assert {"a", "sub/a", "other/b", "sub/link/x"} <= told.read
    assert not {"b", "sub/b"} & told.read


STARTS = {  # code -> whether a program is told to have been started
    "import os; os.system('true')": True,
    "import subprocess; subprocess.run(['true'])": True,
    "!true": True,
    "import os; os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)": True,
    "import os; os.spawnv(os.P_WAIT, '/bin/true', ['true'])": True,
    "import multiprocessing as m\nm.get_context('spawn').Process(target=print).start()": True,
    "import os\np = os.fork()\nif not p: os._exit(0)\nos.waitpid(p, 0)": False,
    "import subprocess, multiprocessing": False,
}


@pytest.mark.slow
@pytest.mark.parametrize("code", STARTS)
def test_started_program_is_told(tmp_path, code):
    assert tell(tmp_path / "p", [code]).seen.is_spawning == STARTS[code]


# modules

MODULE_FILES = {
    "plain.py": "X = 1",
    "pkg/__init__.py": "from . import inner",
    "pkg/inner.py": "X = 2",
    "portion/part.py": "X = 3",
    "gone.py": "X = 4",
    "swapped.py": "import sys\nclass Rules: X = 5\nsys.modules[__name__] = Rules()",
    "lazy.py": "raise RuntimeError('a lazy module was woken')",
    "tags/site-packages-of-mine/inside.py": "X = 6",
    "fake/site-packages/lib/__init__.py": "",
    "fake/site-packages/lib/more.py": "",
    "fake/site-packages/alone.py": "",
    "random_.py": "",
}
MODULE_CELLS = [
    "import sys, importlib.util, types",
    "1 / 0",
    "def broken(:",
    "",
    "import plain, pkg, portion.part",
    "import gone; del sys.modules['gone']; import swapped",
    "sys.path[:0] = ['tags/site-packages-of-mine', 'fake/site-packages']; import inside, lib.more, alone",
    "spec = importlib.util.find_spec('lazy'); spec.loader = importlib.util.LazyLoader(spec.loader)\n"
    "sys.modules['lazy'] = importlib.util.module_from_spec(spec)\n"
    "spec.loader.exec_module(sys.modules['lazy'])",
    "sys.modules['nothing'] = None; sys.modules['odd'] = 7; sys.modules[3] = sys; sys.modules['c'] = dict\n"
    "WOKEN = []\nclass Trap:\n    def __getattr__(self, name): WOKEN.append(name)\n"
    "sys.modules['trap'] = Trap()",
    "import py_compile, os; py_compile.compile('plain.py', 'bare.pyc'); os.remove('plain.py'); import bare",
    "print('woken:', WOKEN)",
]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return tell(tmp_path_factory.mktemp("loaded"), MODULE_CELLS, MODULE_FILES)


def test_modules_that_are_not_installed_are_told_by_name_and_file(loaded):
    files = {name: str(Path(file).relative_to(loaded.place)) for name, file in loaded.seen.modules.items()}
    assert files == {
        "plain": "plain.py",
        "pkg": "pkg/__init__.py",
        "pkg.inner": "pkg/inner.py",
        "portion.part": "portion/part.py",
        "inside": "tags/site-packages-of-mine/inside.py",
        "lazy": "lazy.py",
        "bare": "bare.pyc",
    }


def test_module_that_hides_is_known_by_the_opening_of_its_file(loaded):
    assert {"gone.py", "swapped.py"} <= loaded.read and loaded.kind("bare.pyc") == "made"


def test_installed_modules_are_told_by_their_package(loaded):
    assert loaded.seen.tops == {"lib": None, "alone": str(loaded.place / "fake/site-packages/alone.py")}


def test_odd_entries_are_left_asleep_and_every_cell_counts(loaded):
    assert "was woken" not in loaded.output and "woken: []" in loaded.output
    assert loaded.seen.n_cells == len(MODULE_CELLS)
    assert not loaded.seen.is_native and not loaded.seen.is_spawning


@pytest.mark.slow
def test_machine_code_is_told(tmp_path):
    assert tell(tmp_path / "p", ["import _cffi_backend"]).seen.is_native
    assert tell(tmp_path / "q", ["import ctypes; ctypes.CDLL('libc.so.6')"]).seen.is_native
    assert not tell(tmp_path / "r", ["import zlib, sqlite3, ctypes; ctypes.CDLL(None)"]).seen.is_native
    assert tell(tmp_path / "s", ["import sqlite3; sqlite3.connect(':memory:')"]).seen.is_native
    assert tell(tmp_path / "t", ["import os; os.open('x', 0, dir_fd=os.open('/', 0))"]).seen.is_native


# a stage that does odd things to its witness

HOSTILE = {  # code -> whether the report is still whole
    "get_ipython().events.callbacks['post_run_cell'].clear()": False,
    "get_ipython().events.reset = None; get_ipython().events.callbacks['post_run_cell'][:] = []": False,
    "import sys; sys.audit('open', 'too few')": False,
    "import sys; sys.audit('os.listdir'); sys.audit('open', 1, 2, 3)": True,
    "import sys; sys.audit('open', 'a\\0b', 'r', 0); sys.audit('open', 'a' * 5000, 'r', 0)": True,
    "import sys; sys.audit('my.event', object()); sys.addaudithook(lambda *_: None)": True,
    "import os; os.closerange(3, 64)": True,
    "import os; os.mkdir('x'); os.chdir('x'); os.rmdir('../x'); os.path.exists('a')": True,
    "import os; os.remove('try/observed.jsonl')": False,
    "def f(): f()\ntry: f()\nexcept RecursionError: pass": True,
    "import sys; sys.settrace(lambda *_: None); open('a').close(); sys.settrace(None)": True,
    "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\nopen('b')": False,
    "import builtins; builtins.open = None; builtins.len = None; builtins.isinstance = None": None,
}


@pytest.mark.slow
@pytest.mark.parametrize("code", HOSTILE)
def test_report_is_whole_or_known_not_to_be(tmp_path, code):
    told = tell(tmp_path / "p", ["open('a').close()", code, "x = 1", "y = 2"], {"a": "1", "b": "1"})
    is_whole = told.seen.n_cells == 4
    assert HOSTILE[code] in (is_whole, None)
    assert not is_whole or "a" in told.read


@pytest.mark.slow
def test_unwritable_place_of_the_report_ends_nothing(tmp_path):
    told = tell(
        tmp_path / "p", ["import shutil; shutil.rmtree('try')", "open('a').close(); print('went on')"]
    )
    assert (told.seen.n_cells, "went on" in told.output) == (0, True)


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_report_that_is_cut_short_says_less_and_nothing_else(tmp_path, cut):
    facts = [{"opened": "/a", "as": [1, 2, 3]}, {"cell": 1}, {"made": "/b"}, {"cell": 2}]
    whole = "".join(json.dumps(fact) + "\n" for fact in facts).encode()
    path = tmp_path / "observed.jsonl"
    path.write_bytes(whole[: len(whole) - cut])
    assert facts_in(path) == [fact_in(fact) for fact in facts][: len(facts_in(path))]
    assert read_observations(path).n_cells <= 2


# in kernels

REPORTER = """import os, shutil
from mlnb import save
save("x", 1)"""
KEEP = """report = os.path.join(os.path.dirname(os.environ["MLNB_STAGE"]), "observed.jsonl")
_ = shutil.copy(report, os.environ["KEPT"])"""
STAGE = ["#| env: KEPT\nimport rates", "import cycler\nimport _cffi_backend", REPORTER, KEEP]


@pytest.mark.skipif(not can_serve(), reason="the kernel server needs Linux")
@pytest.mark.slow
def test_warm_kernel_reports_what_a_cold_one_does(make_project, mlnb, tmp_path):
    project = make_project({"10_a.ipynb": STAGE})
    (project.root / "nbs" / "rates.py").write_text("RATE = 2")
    seen = {}
    for how in ("--cold", None):
        kept = tmp_path / f"{how}.jsonl"
        done = mlnb("run", "demo", "--force", *([how] if how else []), cwd=project.root, KEPT=str(kept))
        assert done.code == 0, done.stderr
        seen[how] = read_observations(kept)
    warm, cold = seen[None], seen["--cold"]
    assert mlnb("kernels", "--json", cwd=project.root).json["servers"][0]["kernels_given"] >= 1
    assert warm.modules == cold.modules == {"rates": str(project.root / "nbs" / "rates.py")}
    assert {"cycler", "_cffi_backend"} <= warm.tops.keys() and warm.tops == cold.tops
    assert not {"ipykernel", "IPython", "zmq", "traitlets", "debugpy", "psutil", "mlnb"} & warm.tops.keys()
    assert (warm.is_native, warm.n_cells) == (cold.is_native, cold.n_cells) == (True, 3)
    assert str(project.root / "nbs" / "rates.py") in warm.opened.keys() & cold.opened.keys()
    store = str(project.root / ".mlnb")  # which is no affair of the stage; `flow/use` leaves it out
    assert all(folder.startswith(store) for folder in warm.listed | cold.listed)
