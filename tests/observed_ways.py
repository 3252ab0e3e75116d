"""Ways in which a stage comes to code and data that the imports and loads of its text do not name: what the
stage says, which files it needs, and which of them is edited.

Every way binds `found`, which as a text is `1` before the edit and `2` after it, if `values` says nothing
else."""

import base64
import json
import os
import py_compile
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

HERE = "nbs/demo"  # the notebooks' folder, in which the stages run
CODE, DATA, PACKAGE = ("module", "input"), ("input",), ("package",)  # kinds of an entry of `why`
SETTINGS = f"[mlnb]\n[pipeline.demo]\nnotebooks = {HERE}\n"


@dataclass(frozen=True)
class Way:
    "One way; places are paths below the project, `OUT` a folder outside of it, `SITE` site-packages."

    cells: tuple[str, ...]
    files: dict[str, str | Callable[[Path, int], None]]  # place -> text with `{n}`, or what writes it
    changed: str = ""  # place of what is edited, else the first of `files`
    named: str = ""  # what `why` says of it, else the file's name without suffix
    kinds: tuple[str, ...] = CODE
    values: tuple[str, str] = ("1", "2")
    is_followed: bool | None = False  # by the static reader, so that `strict` lets it pass; None: either
    is_native: bool = False  # by a library or a process that no audit hook of the kernel sees
    is_alone: bool = False  # it would change what other ways of the same project find
    needs: tuple[str, ...] = ()  # programs without which it cannot be tried
    variables: dict[str, str] = field(default_factory=dict)  # of the caller; a value may be a place

    @property
    def place(self):
        return self.changed or next(iter(self.files))

    @property
    def label(self):
        return self.named or Path(self.place).name.partition(".")[0]

    @property
    def is_of_site(self):
        return any(place.startswith("SITE/") for place in self.files)

    @property
    def missing(self):
        "The programs that are not there."
        return [program for program in self.needs if not shutil.which(program)]


@dataclass(frozen=True)
class World:
    "A project, a folder beside it, and the site-packages of an environment that may be changed."

    root: Path
    outside: Path
    site: Path | None = None

    def at(self, place):
        head, _, rest = place.partition("/")
        return {"OUT": self.outside, "SITE": self.site}.get(head, self.root / head) / rest

    def variables(self, ways):
        "Variables of the caller that the ways need, places put in."
        return {n: str(self.at(v)) for way in ways for n, v in way.variables.items()}

    def write(self, way, n):
        "Bring the files of a way into the state before (1) or after (2) the edit."
        for place, content in way.files.items():
            path = self.at(place)
            path.parent.mkdir(parents=True, exist_ok=True)
            write = content if callable(content) else text_writer(content)
            write(path, n)

    def touch(self, way):
        "New times, the same bytes."
        for place in way.files:
            if self.at(place).is_file():
                os.utime(self.at(place))

    def remove(self, way):
        "Take away what would be edited."
        path = self.at(way.place)
        is_folder = path.is_dir() and not path.is_symlink()
        shutil.rmtree(path) if is_folder else path.unlink(missing_ok=True)


def source(n, line="X = {n}"):
    "Text of a module; the sizes differ, because Python tells compiled files apart by seconds and size."
    return line.replace("{n}", str(n)) + "\n" + "# edited\n" * (n - 1)


def text_writer(text):
    def write(path, n):
        is_edited = path.suffix == ".py" and "{n}" in text
        path.write_text(source(n, text) if is_edited else text.replace("{n}", str(n)))

    return write


def later(text):
    "A file that is not there before the edit."

    def write(path, n):
        path.unlink(missing_ok=True) if n == 1 else text_writer(text)(path, n)

    return write


def later_table(path, n):
    "A table that is not there before the edit."
    path.unlink(missing_ok=True) if n == 1 else parquet(path, n)


def compiled(path, n):
    "A compiled module without its source."
    made = path.with_suffix(".py")
    made.write_text(source(n))
    py_compile.compile(
        made,
        path,
        dfile=made.name,  # else it names the folder, and a copy of the project holds another file
        doraise=True,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    made.unlink()


def with_cache(path, n):
    "A module whose compiled file lies in its place, so that Python need not open the source."
    path.write_text(source(n, "print({n})"))
    subprocess.run([sys.executable, "-m", "compileall", "-q", "-f", path], check=True)


C_MODULE = """#include <Python.h>
static PyObject *f(PyObject *s, PyObject *a) { return PyLong_FromLong(%d); }
static PyMethodDef m[] = {{"f", f, METH_NOARGS, ""}, {0}};
static struct PyModuleDef d = {PyModuleDef_HEAD_INIT, "by_extension", 0, -1, m};
PyMODINIT_FUNC PyInit_by_extension(void) { return PyModule_Create(&d); }
"""


def c_built(text):
    def write(path, n):
        command = ["gcc", "-shared", "-fPIC", "-I", sysconfig.get_path("include"), "-x", "c", "-", "-o", path]
        path.unlink(missing_ok=True)
        subprocess.run(command, input=text.replace("%d", str(n)).encode(), check=True)

    return write


def numbers(path, n):
    import numpy as np

    np.array([n], dtype="int64").tofile(path)


def parquet(path, n):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": [n]}), path)


def database(path, n):
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t AS SELECT ? AS x", (n,))
    connection.close()


def packed(path, n):
    with zipfile.ZipFile(path, "w") as pack:
        pack.writestr(zipfile.ZipInfo("in.txt"), str(n))


def linked(target):
    "A file in a folder that is a link to another one."

    def write(path, n):
        real = path.parent.parent / target
        real.mkdir(parents=True, exist_ok=True)
        (real / path.name).write_text(str(n))
        if not path.parent.is_symlink():
            path.parent.rmdir()
            path.parent.symlink_to(target)

    return write


def pointed(inside=""):
    "A link to one of two places of the project: folders with a file in it, or that file itself."

    def write(path, n):
        for k in (1, 2):
            folder = path.with_name(f"{path.name.partition('.')[0]}_v{k}")
            folder.mkdir(exist_ok=True)
            (folder / "x.csv").write_text(f"x\n{k}\n")
        path.unlink(missing_ok=True)
        path.symlink_to(f"{path.name.partition('.')[0]}_v{n}/{inside}")

    return write


def certificates(path, n):
    "As many certificates in one file as `n` says; they are made once, in the file's folder."
    path.parent.mkdir(exist_ok=True)
    texts = []
    for k in range(n):
        one = path.parent / f".made_{k}"
        if not one.exists():
            command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
            command += ["-nodes", "-keyout", os.devnull, "-out", one, "-subj", f"/CN=a{k}", "-days", "3000"]
            subprocess.run(command, check=True, capture_output=True)
        texts.append(one.read_text())
    path.write_text("".join(texts))


def distribution(name, source_url=None):
    """A distribution of one module that is installed again under its version: what differs is its RECORD, or
    the hash of its URL."""

    def write(path, n):
        path.write_text(source(n))
        info = path.parent / f"{name}-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "INSTALLER").write_text("pip\n")
        digest = base64.urlsafe_b64encode(sha256(path.read_bytes()).digest()).decode().rstrip("=")
        recorded = f"{name}.py,sha256={digest},{path.stat().st_size}\n"
        (info / "RECORD").write_text(f"{recorded}{name}-1.0.dist-info/METADATA,,\n")
        if source_url:
            url = {"url": source_url, "archive_info": {"hash": f"sha256={n:064x}"}}
            (info / "direct_url.json").write_text(json.dumps(url))

    return write


def from_git(name):
    "A distribution from version control, installed again from another commit under its version."

    def write(path, n):
        distribution(name)(path, n)
        direct = {"url": "https://host/repository", "vcs_info": {"vcs": "git", "commit_id": f"{n:040x}"}}
        (path.parent / f"{name}-1.0.dist-info" / "direct_url.json").write_text(json.dumps(direct))

    return write


def edited_in_place(name):
    "A module of a distribution, edited where it is installed: RECORD goes on saying what was installed."

    def write(path, n):
        distribution(name)(path, 1)
        path.write_text(source(n))

    return write


def editable(name):
    "A distribution that is no more than a pointer to a folder, in which a module is edited."

    def write(path, n):
        folder = path.parents[4] / "outside" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.py").write_text(source(n))
        path.write_text(f"{folder}\n")
        info = path.parent / f"{name}-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "RECORD").write_text(f"{path.name},,\n{info.name}/METADATA,,\n")
        (info / "top_level.txt").write_text(f"{name}\n")
        url = {"url": folder.as_uri(), "dir_info": {"editable": True}}
        (info / "direct_url.json").write_text(json.dumps(url))

    return write


def path_file(path, n):
    "A line of site-packages that puts a folder on the path of the interpreter."
    path.write_text(f"{path.parents[4] / 'outside' / 'pth'}\n")


WAYS = {  # code
    "append": Way(
        ("import sys\nsys.path.append('..')\nimport by_append", "found = by_append.X"),
        {"nbs/by_append.py": "X = {n}"},
        is_followed=True,
    ),
    "insert": Way(
        ("import sys\nsys.path.insert(0, '../lib_literal')\nimport by_insert\nfound = by_insert.X",),
        {"nbs/lib_literal/by_insert.py": "X = {n}"},
        is_followed=True,
    ),
    "computed": Way(
        (
            "import os, sys\nsys.path.insert(0, os.path.join('..', 'LIB_COMPUTED'.lower()))",
            "import by_computed\nfound = by_computed.X",
        ),
        {"nbs/lib_computed/by_computed.py": "X = {n}"},
    ),
    "computed_package": Way(
        (
            "import sys\nfrom pathlib import Path\nsys.path.append(str(Path.cwd().parent / 'lib_package'))",
            "from by_package.inner import X as found",
        ),
        {"nbs/lib_package/by_package/inner.py": "X = {n}", "nbs/lib_package/by_package/__init__.py": ""},
        named="inner",
        is_followed=True,
    ),
    "import_joined": Way(
        ("import importlib\nname = 'by_' + 'joined'\nfound = importlib.import_module(name).X",),
        {f"{HERE}/by_joined.py": "X = {n}"},
        is_followed=True,
    ),
    "pythonpath": Way(
        ("import by_pythonpath\nfound = by_pythonpath.X",),
        {"OUT/more/by_pythonpath.py": "X = {n}"},
        variables={"PYTHONPATH": "OUT/more"},
        is_followed=None,
    ),
    "import_variable": Way(
        ("import importlib\nname = 'BY_VARIABLE'.lower()\nfound = importlib.import_module(name).X",),
        {f"{HERE}/by_variable.py": "X = {n}"},
    ),
    "import_literal": Way(
        ("import importlib\nfound = importlib.import_module('by_literal').X",),
        {f"{HERE}/by_literal.py": "X = {n}"},
        is_followed=True,
    ),
    "dunder": Way(("found = __import__('BY_DUNDER'.lower()).X",), {f"{HERE}/by_dunder.py": "X = {n}"}),
    "namespace": Way(
        ("from ns_two.far import X as found",),
        {"ns_two/far.py": "X = {n}", f"{HERE}/ns_two/near.py": "Y = 1"},
        is_followed=True,
    ),
    "percent_run": Way(
        ("%run other_script.py\nfound = X",), {f"{HERE}/other_script.py": "X = {n}"}, is_followed=True
    ),
    "runpy_literal": Way(
        ("import runpy\nfound = runpy.run_path('by_path.py')['X']",),
        {f"{HERE}/by_path.py": "X = {n}"},
        is_followed=True,
    ),
    "runpy_module": Way(
        ("import runpy\nfound = runpy.run_module('BY_RUNNER'.lower())['X']",),
        {f"{HERE}/by_runner.py": "X = {n}"},
    ),
    "load_ext": Way(
        ("%load_ext by_extension_file\nfound = from_extension",),
        {
            f"{HERE}/by_extension_file.py": (
                "def load_ipython_extension(shell): shell.push({'from_extension': {n}})"
            )
        },
        is_followed=True,
    ),
    "exec_open": Way(("exec(open('by_exec.py').read())\nfound = X",), {f"{HERE}/by_exec.py": "X = {n}"}),
    "spec": Way(
        (
            "import importlib.util as iu\nspec = iu.spec_from_file_location('loaded', '../parts/by_spec.py')",
            "loaded = iu.module_from_spec(spec)\nspec.loader.exec_module(loaded)\nfound = loaded.X",
        ),
        {"nbs/parts/by_spec.py": "X = {n}"},
        is_followed=True,
    ),
    "extension": Way(
        ("import by_extension\nfound = by_extension.f()",),
        {f"{HERE}/by_extension.so": c_built(C_MODULE)},
        is_followed=True,
        needs=("gcc",),
    ),
    "shared_library": Way(
        ("import ctypes, os\nfound = ctypes.CDLL(os.path.abspath('libfound.so')).f()",),
        {f"{HERE}/libfound.so": c_built("int f(void) { return %d; }")},
        is_native=True,
        needs=("gcc",),
    ),
    "sourceless": Way(
        ("import by_compiled\nfound = by_compiled.X",),
        {f"{HERE}/by_compiled.pyc": compiled},
        is_followed=True,
    ),
    "own_by_computed_name": Way(
        ("import caller\nfound = caller.X",),
        {
            f"{HERE}/called_by_name.py": "X = {n}",
            f"{HERE}/caller.py": "import importlib\nX = importlib.import_module('CALLED_BY_NAME'.lower()).X",
        },
    ),
    "bang_python_m": Way(
        ("import sys\nsaid = !{sys.executable} -m tool_bang\nfound = said[-1]",),
        {f"{HERE}/tool_bang.py": "print({n})"},
        is_followed=True,
        is_native=True,
    ),
    "python_m": Way(
        (
            "import subprocess, sys",
            "command = [sys.executable, '-m', 'tool_sub']\n"
            "found = subprocess.run(command, capture_output=True, text=True, check=True).stdout",
        ),
        {f"{HERE}/tool_sub.py": "print({n})"},
        is_followed=True,
        is_native=True,
    ),
    "python_m_compiled": Way(
        (
            "import subprocess, sys",
            "found = subprocess.check_output([sys.executable, '-c', 'import tool_cached'], text=True)",
        ),
        {f"{HERE}/tool_cached.py": with_cache},
        is_native=True,
    ),
    "executable": Way(
        ("import subprocess\nfound = subprocess.check_output(['./tool.sh'], text=True)",),
        {f"{HERE}/tool.sh": lambda path, n: (path.write_text(f"#!/bin/sh\necho {n}\n"), path.chmod(0o755))},
        is_native=True,
    ),
}
WAYS |= {  # data beside code, and data
    "beside_module": Way(
        ("import beside\nfound = beside.X",),
        {
            f"{HERE}/beside_it.txt": "{n}",
            f"{HERE}/beside.py": (
                "from pathlib import Path\nX = Path(__file__).with_name('beside_it.txt').read_text()"
            ),
        },
        kinds=DATA,
    ),
    "resources": Way(
        (
            "from importlib.resources import files\nimport pack",
            "found = files('pack').joinpath('resource.txt').read_text()",
        ),
        {f"{HERE}/pack/resource.txt": "{n}", f"{HERE}/pack/__init__.py": ""},
        kinds=DATA,
    ),
    "get_data": Way(
        ("import pkgutil\nimport packed_up\nfound = pkgutil.get_data('packed_up', 'got.txt').decode()",),
        {f"{HERE}/packed_up/got.txt": "{n}", f"{HERE}/packed_up/__init__.py": ""},
        kinds=DATA,
    ),
}


def data_way(code, place="", text="{n}", **options):
    place = place or f"{HERE}/{code.partition(chr(39))[2].partition(chr(39))[0]}"
    return Way(tuple(code.split("\n\n")), {place: text}, kinds=DATA, **options)


WAYS |= {
    "open": data_way("found = open('opened.txt').read()"),
    "open_absolute": data_way(
        "import os\nfound = open(os.path.abspath('full.txt')).read()", f"{HERE}/full.txt"
    ),
    "open_far": data_way("found = open('../../data/far.txt').read()", "data/far.txt"),
    "os_open": data_way(
        "import os\nhandle = os.open('low.txt', os.O_RDONLY)\nfound = os.read(handle, 9).decode()",
        f"{HERE}/low.txt",
    ),
    "read_text": data_way("from pathlib import Path\nfound = Path('a_text.txt').read_text()"),
    "json": data_way(
        "import json\nfound = json.load(open('a.json'))['x']", text='{"x": {n}}', named="a.json"
    ),
    "linecache": data_way("import linecache\nfound = linecache.getline('lines.txt', 1)"),
    "zip": data_way(
        "import zipfile\nfound = zipfile.ZipFile('pack.zip').read('in.txt').decode()", text=packed
    ),
    "loadtxt": data_way("import numpy as np\nfound = int(np.loadtxt('loadtxt.txt'))"),
    "fromfile": data_way(
        "import numpy as np\nfound = int(np.fromfile('raw.bin', dtype='int64')[0])", text=numbers
    ),
    "memmap": data_way(
        "import numpy as np\nfound = int(np.memmap('map.bin', dtype='int64')[0])", text=numbers
    ),
    "read_csv": data_way("import pandas as pd\nfound = pd.read_csv('pandas.csv').x[0]", text="x\n{n}\n"),
    "read_parquet": data_way(
        "import pandas as pd\nfound = pd.read_parquet('pandas.parquet').x[0]", text=parquet, is_native=True
    ),
    "read_table": data_way(
        "import pyarrow.parquet as pq\nfound = pq.read_table('arrow.parquet')['x'][0].as_py()",
        text=parquet,
        is_native=True,
    ),
    "arrow_csv": data_way(
        "import pyarrow.csv as ac\nfound = ac.read_csv('by_arrow.csv')['x'][0].as_py()",
        text="x\n{n}\n",
        is_native=True,
    ),
    "duckdb": data_way(
        "import duckdb\nfound = duckdb.sql('SELECT x FROM \"by_duck.csv\"').fetchall()[0][0]",
        f"{HERE}/by_duck.csv",
        "x\n{n}\n",
        is_native=True,
    ),
    "dataset_folder": data_way(
        "import pyarrow.dataset as ds\nfound = ds.dataset('rows_of').to_table().num_rows",
        f"{HERE}/rows_of/second.parquet",
        later_table,
        named="rows_of",
        is_native=True,
    ),
    "duckdb_glob": data_way(
        "import duckdb\nfound = duckdb.sql(\"SELECT count(*) FROM 'of_duck/*.parquet'\").fetchall()[0][0]",
        f"{HERE}/of_duck/second.parquet",
        later_table,
        named="of_duck",
        is_native=True,
    ),
    "find": data_way(
        "import subprocess\nfound = subprocess.check_output(['find', 'sought', '-type', 'f']).count(b'\\n')",
        f"{HERE}/sought/second.txt",
        later("x"),
        named="sought",
        is_native=True,
    ),
    "attach": data_way(
        "import sqlite3\nbase = sqlite3.connect(':memory:')\nnone = base.execute(\"ATTACH 'more.db' AS o\")\n"
        "found = base.execute('SELECT x FROM o.t').fetchone()[0]",
        f"{HERE}/more.db",
        database,
        is_native=True,
    ),
    "dir_fd": data_way(
        "import os\nhandle = os.open('opened_folder', os.O_RDONLY)\n"
        "found = os.read(os.open('inside.txt', os.O_RDONLY, dir_fd=handle), 9).decode()",
        f"{HERE}/opened_folder/inside.txt",
        is_native=True,
    ),
    "sqlite": data_way(
        "import sqlite3\nfound = sqlite3.connect('by_sqlite.db').execute('SELECT x FROM t').fetchone()[0]",
        text=database,
        is_native=True,
    ),
    "bang_cat": data_way("said = !cat cat.txt\nfound = said[0]", f"{HERE}/cat.txt", is_native=True),
    "cell_magic": data_way(
        "import os\n\n%%bash --out found\ncat bash.txt", f"{HERE}/bash.txt", is_native=True
    ),
    "subprocess_cat": data_way(
        "import subprocess\nfound = subprocess.check_output(['cat', 'sub.txt'], text=True)",
        f"{HERE}/sub.txt",
        is_native=True,
    ),
    "fork_pool": data_way(
        "import multiprocessing\ndef read_it(path):\n    return open(path).read()\n\n"
        "with multiprocessing.get_context('fork').Pool(1) as pool:\n"
        "    found = pool.map(read_it, ['fork.txt'])[0]",
        f"{HERE}/fork.txt",
    ),
    "spawn_pool": Way(
        (
            "import multiprocessing\nimport spawned",
            "with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
            "    found = pool.map(spawned.read_it, ['spawn.txt'])[0]",
        ),
        {
            f"{HERE}/spawn.txt": "{n}",
            f"{HERE}/spawned.py": "def read_it(path):\n    return open(path).read()",
        },
        kinds=DATA,
        is_native=True,
    ),
    "thread": data_way(
        "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(1) as pool:\n"
        "    found = pool.submit(lambda: open('threaded.txt').read()).result()",
        f"{HERE}/threaded.txt",
    ),
    "glob": data_way(
        "from glob import glob\nfound = len(glob('many/*.txt'))",
        f"{HERE}/many/second.txt",
        later("x"),
        named="many",
    ),
    "iterdir": data_way(
        "from pathlib import Path\nfound = len(list(Path('../../days').iterdir()))",
        "days/second.txt",
        later("x"),
        named="days",
    ),
    "absent": data_way(
        "try:\n    found = open('maybe.txt').read()\nexcept FileNotFoundError:\n    found = 'absent'",
        f"{HERE}/maybe.txt",
        later("{n}"),
        values=("absent", "2"),
    ),
    "absent_settings": data_way(
        "from configparser import ConfigParser\nmaybe = ConfigParser()\nnone = maybe.read('maybe_too.ini')\n"
        "found = maybe.get('a', 'x', fallback='absent') if maybe.has_section('a') else 'absent'",
        f"{HERE}/maybe_too.ini",
        later("[a]\nx = {n}\n"),
        values=("absent", "2"),
    ),
    "link_inside": data_way(
        "found = open('linked/in_link.txt').read()", f"{HERE}/linked/in_link.txt", linked("real_folder")
    ),
    "link_outside": data_way(
        "found = open('../away/in_far_link.txt').read()",
        "nbs/away/in_far_link.txt",
        linked("../../outside/real"),
    ),
    "matplotlibrc": data_way(
        "import matplotlib.pyplot as plt\nfound = int(plt.rcParams['lines.linewidth'])",
        f"{HERE}/matplotlibrc",
        "lines.linewidth: {n}\n",
        is_followed=True,
    ),
    "matplotlibrc_appears": data_way(
        "import matplotlib.pyplot as plt\nfound = plt.rcParams['lines.linewidth']",
        f"{HERE}/matplotlibrc",
        later("lines.linewidth: {n}\n"),
        values=("1.5", "2.0"),
        is_followed=True,
        is_alone=True,
    ),
}
for name in ("matplotlibrc", "matplotlibrc_appears"):  # counts among the modules of who uses matplotlib
    WAYS[name] = replace(WAYS[name], kinds=CODE)
for name, first in (("glob", f"{HERE}/many"), ("iterdir", "days"), ("find", f"{HERE}/sought")):
    WAYS[name].files[f"{first}/first.txt"] = "x"
for name, folder in (("dataset_folder", "rows_of"), ("duckdb_glob", "of_duck")):
    WAYS[name].files[f"{HERE}/{folder}/first.parquet"] = lambda path, n: parquet(path, 1)
WAYS |= {  # links of the project that are pointed elsewhere
    name: data_way(code, f"{HERE}/{name}{end}", pointed(inside), is_native=is_native)
    for name, code, end, inside, is_native in (
        (
            "link_duck",
            "import duckdb\nfound = duckdb.sql(\"SELECT x FROM 'link_duck/x.csv'\").fetchall()[0][0]",
            "",
            "",
            True,
        ),
        (
            "link_arrow",
            "import pyarrow.csv as ac\nfound = ac.read_csv('link_arrow.csv')['x'][0].as_py()",
            ".csv",
            "x.csv",
            True,
        ),
        ("link_shell", "said = !cat link_shell/x.csv\nfound = said[1]", "", "", True),
        (
            "link_cwd",
            "import subprocess\n"
            "found = subprocess.check_output(['tail', '-1', 'x.csv'], cwd='link_cwd', text=True)",
            "",
            "",
            True,
        ),
        (
            "link_resolve",
            "from pathlib import Path\n"
            "found = (Path('link_resolve').resolve() / 'x.csv').read_text().split()[1]",
            "",
            "",
            False,
        ),
        (
            "link_chdir",
            "import os\nhere = os.getcwd()\nos.chdir('LINK_CHDIR'.lower())\n"
            "found = open('x.csv').read().split()[1]\nos.chdir(here)",
            "",
            "",
            False,
        ),
        (
            "link_up",
            "place = 'LINK_UP'.lower()\nfound = open(place + '/../' + place + '/x.csv').read().split()[1]",
            "",
            "",
            False,
        ),
        ("link_text", "import os\nfound = os.readlink('link_text').rstrip('/')[-1]", "", "", False),
        ("link_said", "said = !readlink link_said\nfound = said[0].rstrip('/')[-1]", "", "", False),
        ("link_listed", "said = !ls -l link_listed\nfound = said[0].rstrip('/')[-1]", "", "", False),
    )
}
WAYS |= {  # what is looked for in vain without Python
    "absent_arrow": data_way(
        "import pyarrow.csv as ac\ntry:\n    found = ac.read_csv('maybe_arrow.csv')['x'][0].as_py()\n"
        "except FileNotFoundError:\n    found = 'absent'",
        f"{HERE}/maybe_arrow.csv",
        later("x\n{n}\n"),
        values=("absent", "2"),
        is_followed=None,
        is_native=True,
    ),
    "absent_shell": data_way(
        "said = !cat maybe_shell.csv 2>/dev/null || echo absent\nfound = said[0]",
        f"{HERE}/maybe_shell.csv",
        later("{n}"),
        values=("absent", "2"),
        is_followed=None,
        is_native=True,
    ),
}
ON_ROOT = "import sys\nsys.path.insert(0, '../..')\n"
WAYS |= {  # what is taken for something else
    "resources_listed": data_way(
        f"{ON_ROOT}from importlib.resources import files\n"
        "found = len([*files('of_no_package').iterdir()])\nsys.path.remove('../..')",
        "of_no_package/second.txt",
        later("x"),
        named="of_no_package",
    ),
    "resources_contents": data_way(
        f"{ON_ROOT}import importlib.resources as r\n"
        "found = len([n for n in r.contents('of_a_package') if n.endswith('txt')])\nsys.path.remove('../..')",
        "of_a_package/second.txt",
        later("x"),
        named="of_a_package",
    ),
    "readline": data_way(
        "import readline\nreadline.clear_history()\nreadline.read_history_file('history.txt')\n"
        "found = readline.get_history_item(1)",
        f"{HERE}/history.txt",
        "{n}\n",
        is_native=True,
    ),
    "certificates": data_way(
        "import ssl\ncontext = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)\n"
        "context.load_verify_locations('trusted.pem')\nfound = len(context.get_ca_certs())",
        f"{HERE}/trusted.pem",
        certificates,
        is_native=True,
        needs=("openssl",),
    ),
    "flags": data_way(
        "import os\nflags = os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK\n"
        "handle = os.open(os.path.abspath('flags.txt'), flags)\n"
        "found = os.read(handle, 9).decode()",
        f"{HERE}/flags.txt",
    ),
}
WAYS["resources_listed"].files["of_no_package/first.txt"] = "x"
WAYS["resources_contents"].files.update({"of_a_package/__init__.py": "", "of_a_package/first.txt": "x"})
WAYS |= {  # in an environment of its own
    "pth": Way(
        ("import by_pth\nfound = by_pth.X",),
        {"OUT/pth/by_pth.py": "X = {n}", "SITE/zz_more.pth": path_file},
        is_followed=None,
    ),
    "loose": Way(("import by_loose\nfound = by_loose.X",), {"SITE/by_loose.py": "X = {n}"}, is_followed=None),
    "installed_again": Way(
        ("import again_pkg\nfound = again_pkg.X",),
        {"SITE/again_pkg.py": distribution("again_pkg")},
        named="again",
        kinds=PACKAGE,
        is_followed=True,
    ),
    "other_wheel": Way(
        ("import wheel_pkg\nfound = wheel_pkg.X",),
        {"SITE/wheel_pkg.py": distribution("wheel_pkg", "https://host/w.whl")},
        named="wheel",
        kinds=PACKAGE,
        is_followed=True,
    ),
    "edited_package": Way(
        ("import edited_pkg\nfound = edited_pkg.X",),
        {"SITE/edited_pkg.py": edited_in_place("edited_pkg")},
        named="edited",
        kinds=PACKAGE + CODE,
        is_followed=True,
    ),
    "editable": Way(
        ("import pointed_pkg\nfound = pointed_pkg.X",),
        {"SITE/zz_pointed.pth": editable("pointed_pkg")},
        changed="OUT/pointed_pkg/pointed_pkg.py",
        kinds=PACKAGE + CODE,
        is_followed=None,
    ),
    "by_variable_package": Way(
        ("import importlib\nfound = importlib.import_module('HIDDEN_PKG'.lower()).X",),
        {"SITE/hidden_pkg.py": distribution("hidden_pkg")},
        named="hidden",
        kinds=PACKAGE + CODE,
    ),
    "by_variable_git": Way(
        ("import importlib\nfound = importlib.import_module('MOVING_PKG'.lower()).X",),
        {"SITE/moving_pkg.py": from_git("moving_pkg")},
        named="moving",
        kinds=PACKAGE + CODE,
    ),
    "sitecustomize": Way(
        ("import builtins\nfound = getattr(builtins, 'by_site', 1)",),
        {"SITE/sitecustomize.py": later("import builtins\nbuiltins.by_site = {n}")},
        kinds=("python",),
        is_followed=True,
        is_alone=True,
    ),
}
NUMBERED = {name: n for n, name in enumerate(WAYS, 10)}


def cells_of(ways, first="from mlnb import save"):
    "Cells of one stage that goes all the ways and collects what they found."
    collected = [cell for name in ways for cell in (*WAYS[name].cells, f"got[{name!r}] = str(found).strip()")]
    return [first, "got = {}", *collected]


def stage_of(name, first="from mlnb import save"):
    "File name and cells of a stage that goes one way and saves under its name what it found."
    cells = (*WAYS[name].cells, f"found = str(found).strip()\nsave({name!r}, found)")
    return f"{HERE}/{NUMBERED[name]}_{name}.ipynb", [first, *cells]
