"""A warm kernel gives what a cold one gives: what a stage sees of its process, of the usual libraries and of
what they read at import is the same in every life, and follows what is installed."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from mlnb.kernel.link import can_serve

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not can_serve(), reason="the kernel server needs Linux")]

PROCESS = Path(__file__).with_name("data") / "process.py"
LIBRARIES = (
    "pandas, numpy, matplotlib.pyplot, sklearn.ensemble, pyarrow.parquet, duckdb, plotly.express, IPython, "
    "scipy.stats, joblib, threadpoolctl, rich.console, requests, yaml, statsmodels.api, skops.io"
)
EVIDENTLY = "evidently, evidently.presets, nltk, litestar"


@pytest.fixture(scope="module")
def place(tmp_path_factory, outside_environment):
    "A short folder with a runtime folder, whose kernel servers end afterwards."
    folder = tmp_path_factory.mktemp("wc")
    (folder / "rt").mkdir(mode=0o700)
    yield folder
    stop_servers(outside_environment(XDG_RUNTIME_DIR=str(folder / "rt")))


def stop_servers(environment):
    stop = [sys.executable, "-m", "mlnb", "kernels", "stop", "--force"]
    subprocess.run(stop, env=environment, cwd="/", check=True)


class Stage:
    "A project with one stage that writes down what it sees, and the ways to run it."

    def __init__(self, project, place, environment):
        self.project, self.place, self.environment = project, place, environment
        self.said = project.root.parent / "said.json"

    def write(self, *cells, imports=""):
        last = f"import json, pathlib\npathlib.Path({str(self.said)!r}).write_text(json.dumps(seen))"
        first = "\n".join(f"import {name.strip()}" for name in imports.split(",") if name.strip())
        self.project.stage(
            "nbs/10_look.ipynb", first + "\nfrom mlnb import save", *cells, last + "\nsave('x', 1)"
        )
        return self

    def environment_of(self, **more):
        return self.environment(XDG_RUNTIME_DIR=str(self.place / "rt"), **more)

    def answer(self, command, cwd=None, **more):
        self.said.unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=cwd or self.project.root,
            env=self.environment_of(**more),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return json.loads(self.said.read_text())

    def run(self, *options, **more):
        return self.answer(["mlnb", "run", "demo", "--force", *options], **more)

    def papermill(self, **more):
        paths = [str(self.project.root / "nbs/10_look.ipynb"), str(self.said.with_name("out.ipynb"))]
        return self.answer(["papermill", "--engine", "mlnb", *paths], **more)

    def lives(self, **more):
        return [self.run(**more), self.run("--cold", **more), self.papermill(**more)]

    def late(self, **more):
        done = subprocess.run(
            [sys.executable, "-m", "mlnb", "kernels", "--json"],
            cwd=self.project.root,
            env=self.environment_of(**more),
            capture_output=True,
            text=True,
        )
        servers = json.loads(done.stdout)["servers"]
        return {name: why for server in servers for name, why in server["imported_by_stages"].items()}


@pytest.fixture
def stage(make_project, place, outside_environment):
    return Stage(make_project({}), place, outside_environment)


def differing(one, other, name=""):
    "Names of what two answers differ in."
    if isinstance(one, dict) and isinstance(other, dict):
        return [n for key in {*one, *other} for n in differing(one.get(key), other.get(key), f"{name}/{key}")]
    return [] if one == other else [f"{name}: {one!r} {other!r}"]


# what a stage sees


@pytest.mark.parametrize("imports", [LIBRARIES, EVIDENTLY])
def test_process_and_libraries_are_the_same_in_every_life(stage, imports):
    stage.write(PROCESS.read_text(), "seen = about(get_ipython())", imports=imports)
    warm = stage.run()
    assert not set(stage.late()) & {name.strip() for name in imports.split(",")}
    assert len(warm["libraries"]) > 3 and len(warm["process"]["builtins"]) > 150
    cold = stage.run("--cold")
    assert differing(warm, cold) == []
    stop_servers(stage.environment_of())
    assert differing(stage.run(), cold) == []
    left = [found for found in differing(stage.papermill(), cold) if "/MLNB_" not in found]
    assert left == []


CALLERS = [
    {"LANG": "de_DE.UTF-8", "LC_ALL": "de_DE.UTF-8", "TZ": "Asia/Tokyo", "COLUMNS": "300", "LINES": "9"},
    {
        "LANG": "C",
        "LC_ALL": "POSIX",
        "TZ": "America/New_York",
        "PYTHONWARNINGS": "error",
        "PYTHONHASHSEED": "7",
    },
    {"LC_NUMERIC": "fr_FR.UTF-8", "MPLBACKEND": "svg", "PLOTLY_RENDERER": "svg", "OMP_NUM_THREADS": "7"},
]


def test_caller_decides_nothing(stage):
    imports = "pandas, numpy, matplotlib.pyplot, plotly.express, rich.console"
    stage.write(PROCESS.read_text(), "seen = about(get_ipython())", imports=imports)
    first = stage.run()
    for caller in CALLERS:
        for life in stage.lives(**caller):
            assert [f for f in differing(life, first) if "/MLNB_" not in f] == [], caller


def test_terminal_of_the_caller_is_not_seen(stage):
    cell = "import os, shutil\nseen = [str(shutil.get_terminal_size()), *map(os.isatty, range(3))]"
    stage.write(cell)
    expected = ["os.terminal_size(columns=80, lines=24)", False, False, False]
    for options in ([], ["--cold"]):
        stage.said.unlink(missing_ok=True)
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(stage.project.root)
            command = [sys.executable, "-m", "mlnb", "run", "demo", "--force", *options]
            os.execve(sys.executable, command, stage.environment_of())
        subprocess.run(["stty", "cols", "222"], stdin=terminal, check=True)
        drain(terminal)
        assert os.waitpid(pid, 0)[1] == 0
        assert json.loads(stage.said.read_text()) == expected, options


def drain(terminal):
    "Read what is shown until there is nobody left to show anything."
    try:
        while os.read(terminal, 4096):
            continue
    except OSError:
        os.close(terminal)


# what an installed module sees

ASKER = """
import builtins, multiprocessing.process, os, shutil, sys, tempfile
import __main__
shell = get_ipython()
seen = {
    "shell": [str(type(shell)), shell.__class__.__name__, hasattr(shell, "kernel")],
    "application": "IPKernelApp" in shell.config,
    "builtins": [hasattr(builtins, name) for name in ("display", "__IPYTHON__", "exit", "quit")],
    "prompts": [sys.ps1, sys.ps2, sys.ps3],
    "arguments": [sys.argv[:2], sys.argv[3:], sys.flags.interactive, hasattr(__main__, "__file__")],
    "streams": [[s.isatty(), s.encoding, s.errors] for s in (sys.stdout, sys.stderr)],
    "terminal": str(shutil.get_terminal_size()),
    "environment": {n: v for n, v in os.environ.items() if not n.startswith(("MLNB_", "JPY_"))},
    "places": [tempfile.gettempdir(), sys.prefix],
}
kept, out = shell, sys.stdout
def later(text, out=sys.stdout):
    print(text, file=out)
    return [multiprocessing.process.ORIGINAL_DIR, kept.execution_count > 0, type(kept.kernel).__name__]
"""


@pytest.fixture
def installed(tmp_path):
    "A folder of installed packages of one's own."
    folder = tmp_path / "own" / "site-packages"
    folder.mkdir(parents=True)
    return folder


def test_installed_module_sees_the_same_ahead_as_in_a_cell(stage, installed):
    (installed / "asker.py").write_text(ASKER)
    stage.write("seen = [asker.seen, asker.later('shown later')]", imports="asker")
    more = {"PYTHONPATH": str(installed), "TMPDIR": str(stage.place)}
    warm, cold, papermill = stage.lives(**more)
    assert stage.late(**more) == {}
    assert differing({"": warm}, {"": cold}) == differing({"": papermill}, {"": cold}) == []
    assert (cold[1][0], cold[0]["places"][0]) == (str(stage.project.root / "nbs"), str(stage.place))
    assert "shown later" in stage.said.with_name("out.ipynb").read_text()


@pytest.mark.parametrize(
    "code",
    [
        "comms = get_ipython().kernel.comm_manager",
        "history = get_ipython().history_manager",
        "import os\nhere = os.getcwd()",
        "from pathlib import Path\nhere = str(Path('data').resolve())",
        "import sys\nraw = sys.stdout.fileno()",
        "import asyncio\nasyncio.set_event_loop_policy(type('P', (asyncio.DefaultEventLoopPolicy,), {})())",
    ],
)
def test_what_cannot_be_answered_ahead_is_asked_in_the_stage(stage, installed, code):
    (installed / "asker.py").write_text(code)
    stage.write(
        "seen = [str(type(v)) for n, v in vars(asker).items() if n in ('comms', 'history', 'here')]",
        imports="asker",
    )
    more = {"PYTHONPATH": str(installed)}
    assert stage.run(**more) == stage.run("--cold", **more)
    assert list(stage.late(**more)) == ["asker"]


# what is installed changes


def test_edited_module_is_imported_anew_by_the_next_run(stage, installed):
    stage.write("seen = rates.RATE", imports="rates, pandas")
    more = {"PYTHONPATH": str(installed)}
    for rate in (1, 22, 333):
        (installed / "rates.py").write_text(f"RATE = {rate}")
        assert stage.run(**more) == rate
    assert stage.late(**more) == {}


@pytest.mark.parametrize("name", ["sitecustomize", "usercustomize"])
def test_what_python_imports_by_itself_is_followed(stage, installed, name):
    stage.write("import decimal\nseen = decimal.getcontext().prec")
    more = {"PYTHONPATH": str(installed)}
    found = [stage.run(**more)]
    for precision in (9, 10):
        (installed / f"{name}.py").write_text(f"import decimal\ndecimal.getcontext().prec = {precision}")
        found.append(stage.run(**more))
    (installed / f"{name}.py").unlink()
    found += [stage.run(**more)]
    assert found == [28, 9, 10, 28] or (name == "usercustomize" and set(found) == {28})


# configuration

CONFIGURATIONS = {
    ".ipython/profile_default/startup/00-first.py": "import decimal\ndecimal.getcontext().prec = 9",
    ".ipython/profile_default/ipython_kernel_config.py": "c.InteractiveShellApp.exec_lines = ['E = 1']",
    ".ipython/profile_default/ipython_config.py": "c.InteractiveShell.ast_node_interactivity = 'all'",
    ".config/matplotlib/matplotlibrc": "lines.linewidth: 9",
    ".matplotlib/matplotlibrc": "lines.linewidth: 9",
    ".config/matplotlib/stylelib/mine.mplstyle": "lines.linewidth: 9",
    ".plotly/.config": "{}",
    ".jupyter/jupyter_config.py": "",
}


def test_home_decides_nothing(stage, tmp_path):
    homes = [tmp_path / "empty", tmp_path / "configured"]
    for path, text in CONFIGURATIONS.items():
        (homes[1] / path).parent.mkdir(parents=True, exist_ok=True)
        (homes[1] / path).write_text(text)
    homes[0].mkdir()
    stage.write(
        "import decimal\nplt = matplotlib.pyplot\nshell = get_ipython()\n"
        "seen = [plt.rcParams['lines.linewidth'], 'E' in globals(), shell.ast_node_interactivity, "
        "decimal.getcontext().prec, 'mine' in plt.style.available]",
        imports="matplotlib.pyplot",
    )
    for home in homes:
        for life in stage.lives(HOME=str(home)):
            assert life == [1.5, False, "last_expr", 28, False], home
        folder = home / ".cache/mlnb/configuration"
        assert folder.stat().st_mode & 0o777 == 0o700
        assert list((folder / "matplotlib").glob("fontlist*"))


def test_what_a_stage_puts_into_the_private_folder_decides_nothing_later(stage, tmp_path):
    stage.write(
        "import pathlib, matplotlib\nseen = matplotlib.rcParams['lines.linewidth']\n"
        "pathlib.Path(matplotlib.get_configdir(), 'matplotlibrc').write_text('lines.linewidth: 9')",
        imports="matplotlib",
    )
    more = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert [stage.run(*options, **more) for options in ([], ["--cold"], ["--cold"])] == [1.5] * 3
    stop_servers(stage.environment_of())
    assert stage.run(**more) == 1.5


def test_cache_folder_that_others_may_write_to_is_not_used(stage, tmp_path):
    (tmp_path / "cache/mlnb/configuration").mkdir(parents=True)
    (tmp_path / "cache/mlnb/configuration").chmod(0o777)
    (tmp_path / "tmp").mkdir()
    stage.write("import os\nseen = [os.environ['MPLCONFIGDIR'], os.environ['IPYTHONDIR']]")
    more = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "TMPDIR": str(tmp_path / "tmp")}
    places = stage.run("--cold", **more)
    assert all(Path(p).is_relative_to(tmp_path / "tmp") for p in places), places


def test_configuration_beside_the_notebook_is_honoured_in_every_life(stage):
    stage.write("seen = matplotlib.pyplot.rcParams['lines.linewidth']", imports="matplotlib.pyplot, pandas")
    assert stage.lives() == [1.5] * 3
    for width in (9.0, 4.0):
        (stage.project.root / "nbs/matplotlibrc").write_text(f"lines.linewidth: {width}")
        assert stage.lives() == [width] * 3
    (stage.project.root / "nbs/matplotlibrc").unlink()
    assert stage.lives() == [1.5] * 3
