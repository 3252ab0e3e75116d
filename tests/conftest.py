"""What several test files share: small projects, the command line as a process, and one run of the
repository's own pipelines."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlnb.kernel.import_guard import without

with without("rfc3987_syntax"):  # a grammar that costs each process a second, and that nothing here asks for
    import nbformat
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

REPOSITORY = Path(__file__).resolve().parents[1]
KERNEL = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}


ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
COLLECTED = pytest.StashKey[set]()  # `file::test` below tests/, the slow ones too


def refuse(token):
    raise AssertionError(f"{token} is no strict JSON")


def clean_environment(**more):
    "The environment of this process without what would steer mlnb, and without colour."
    return {k: v for k, v in os.environ.items() if not k.startswith("MLNB_")} | {"NO_COLOR": "1"} | more


@dataclass(frozen=True)
class Result:
    "What a command gave back."

    code: int
    stdout: str
    stderr: str

    @property
    def json(self):
        "The one document on stdout; fails when there is more or less than one, or it is not strict."
        return json.loads(self.stdout, parse_constant=refuse)

    @property
    def states(self):
        return {e["name"]: e["state"] for e in self.json["stages"]}

    def stage(self, name):
        return next(e for e in self.json["stages"] if e["name"] == name)


@dataclass(frozen=True)
class Folder:
    "A project in a scratch folder."

    root: Path

    def settings(self, text):
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / "settings.ini").write_text(text)

    def stage(self, path, *cells, metadata=KERNEL):
        """Write a notebook: a text is a code cell, `("md", text)` a markdown cell, `(tag, text)` a tagged
        code cell."""
        made = []
        for n, cell in enumerate(cells, 1):
            kind, text = ("", cell) if isinstance(cell, str) else cell
            new = new_markdown_cell if kind == "md" else new_code_cell
            made.append(
                new(text, id=f"cell-{n}", metadata={"tags": [kind]} if kind not in ("", "md") else {})
            )
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(new_notebook(cells=made, metadata=metadata), self.root / path)
        return self.root / path


def write_project(root, stages, settings="[mlnb]\n[pipeline.demo]\nnotebooks = nbs\n", under="nbs"):
    project = Folder(root)
    project.settings(settings)
    (project.root / under).mkdir(parents=True, exist_ok=True)
    for name, cells in stages.items():
        project.stage(name if "/" in name else f"{under}/{name}", *cells)
    return project


@pytest.fixture
def make_project(tmp_path):
    """Make a project: `make_project({"10_a.ipynb": [cells], …})` is one pipeline `demo`; `settings` replaces
    settings.ini."""
    return lambda stages, *args, **options: write_project(tmp_path / "project", stages, *args, **options)


@pytest.fixture(scope="module")
def make_shared_project(tmp_path_factory):
    "The same for a project that several tests of a file look at."
    return lambda stages, *args, **options: write_project(
        tmp_path_factory.mktemp("shared") / "project", stages, *args, **options
    )


def call(*arguments, cwd, timeout=300, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "mlnb", *map(str, arguments)],
        cwd=cwd,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.hookimpl(tryfirst=True)  # before `-m` leaves any out
def pytest_collection_modifyitems(config, items):
    "Files of few tests begin first: those start kernels, and thousands of quick tests fill up at the end."
    names = (item.nodeid.partition("[")[0] for item in items)
    config.stash[COLLECTED] = {name.removeprefix("tests/") for name in names}
    n_tests = Counter(item.path for item in items)
    items.sort(key=lambda item: n_tests[item.path])


def pytest_configure(config):
    "Kernel servers of the tests are nobody else's; all workers share them, which saves imports."
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a script
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):
        os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="mlnb-tests-")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    "A command is deaf to signals when it ends; the next test and its children are not."
    before = {number: signal.getsignal(number) for number in ENDING}
    answer = yield
    for number, handler in before.items():
        signal.signal(number, handler)
    return answer


def pytest_unconfigure(config):
    "They end with the tests."
    if not hasattr(config, "workerinput"):
        call("kernels", "stop", "--all", "--force", cwd="/")
        shutil.rmtree(os.environ["XDG_RUNTIME_DIR"], ignore_errors=True)


@pytest.fixture
def unflushed(monkeypatch):
    "Nothing waits for the disk: for tests whose many small files need to last no power cut."
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture(scope="session")
def mlnb():
    'Run the command line as a process of its own: `mlnb("run", "demo", cwd=folder, NAME=value)`.'
    return call


@pytest.fixture
def asked(capsys, monkeypatch):
    "The command line inside this process, for verbs that start no kernel."

    def of(*arguments, cwd):
        from mlnb.cli import run_command

        monkeypatch.chdir(cwd)
        capsys.readouterr()
        code = run_command([str(a) for a in arguments])
        return Result(code, *capsys.readouterr())

    return of


@pytest.fixture(scope="session")
def command_result():
    "What `mlnb` returns, for tests that call it in another way."
    return Result


@pytest.fixture(scope="session")
def outside_environment():
    "Environment for other programs, as `mlnb` gives it to its own."
    return clean_environment


@pytest.fixture(scope="session")
def papermill():
    "Run papermill's command line; gives exit code, all it printed, and the notebook it wrote."

    def of(*arguments, cwd, out, **environment):
        done = subprocess.run(
            [sys.executable, "-m", "papermill", *map(str, arguments[:-1]), str(arguments[-1]), str(out)],
            cwd=cwd,
            env=clean_environment(**environment),
            capture_output=True,
            text=True,
            timeout=300,
        )
        return (
            done.returncode,
            done.stdout + done.stderr,
            json.loads(out.read_text()) if out.exists() else None,
        )

    return of


@dataclass(frozen=True)
class Demo:
    "The repository's own pipelines after one run."

    root: Path
    runs: dict  # pipeline -> Result of `run --json`
    unpromoted: Result  # of `run score --json` before there was a champion
    promotion: Result  # of `promote fraud --json`


@pytest.fixture(scope="session")
def demo_project(tmp_path_factory):
    """A copy of the repository's pipelines, run once under profile `ci`, with a champion; about a minute or
    two, only when a test asks for it."""
    from pipelines_ci import copy_for_ci

    root, runs = tmp_path_factory.mktemp("demo"), {}

    def run(*arguments):
        return call(*arguments, "--profile", "ci", "--json", cwd=root, timeout=600)

    copy_for_ci(root, ("nbs/pipelines", "data"))
    runs["fraud"] = run("run", "fraud")
    unpromoted, promotion = run("run", "score"), run("promote", "fraud")
    assert promotion.code == 0, promotion.stderr + promotion.stdout
    for pipeline in ("score", "monitor", "employment"):
        runs[pipeline] = run("run", pipeline)
    for result in runs.values():
        assert result.code == 0, result.stderr + result.stdout
    return Demo(root, runs, unpromoted, promotion)
