"""What papermill is told when it is called with mlnb's engine: each argument is obeyed or refused, and of a
notebook that is not checked this is said."""

import inspect
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from io import StringIO
from pathlib import Path

import pytest

from mlnb.store.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent
PARAMETERS = ("parameters", "days: int = 7  # 1..60")
SHELL = {"km", "kernel_manager_class", "log", "ipython_hist_file"}  # refused
CELLS = {
    "10_a.ipynb": [PARAMETERS, "import os\nprint(days, os.path.basename(os.getcwd()))"],
    "20_many.ipynb": [
        "import os, sys\nprint('out'); print('err', file=sys.stderr)\nprint(os.path.basename(os.getcwd()))",
        ("mine", "raise ValueError('is skipped')"),
        "n = 1",
    ],
    "30_slow.ipynb": ["import time\ntime.sleep(6)", "print('after')"],
    "40_fails.ipynb": ["1 / 0", "print('after')"],
    "50_ends.ipynb": [
        "import atexit, pathlib\natexit.register(pathlib.Path('ended.txt').write_text, 'well')"
    ],
}


@pytest.fixture(scope="module")
def project(make_shared_project):
    made = make_shared_project(CELLS)
    (made.root / "other").mkdir()
    return made.root


@pytest.fixture
def here(project, monkeypatch):
    "The project, as working folder."
    monkeypatch.chdir(project)
    return project


def run(given, **told):
    import papermill

    told = {"engine_name": "mlnb", "progress_bar": False} | told
    return papermill.execute_notebook(given, None, **told)


def printed(notebook, cell=-1):
    return "".join(output.get("text", "") for output in notebook.cells[cell].outputs)


@pytest.fixture
def clients(monkeypatch):
    "Clients that would have run, and what they were to be executed with; no kernel is started."
    from papermill.engines import PapermillNotebookClient

    from mlnb.kernel import door

    seen = []
    monkeypatch.setattr(door, "open_way", lambda *_: None)
    monkeypatch.setattr(
        PapermillNotebookClient, "execute", lambda self, **told: seen.append((self, told)) or self.nb
    )
    return seen


@pytest.fixture
def stock(monkeypatch):
    "Notebooks that would have been run as papermill runs them; no kernel is started."
    from papermill.engines import NBClientEngine

    seen = []
    monkeypatch.setattr(
        NBClientEngine, "execute_managed_notebook", lambda nb_man, name, **told: seen.append((name, told))
    )
    return seen


# every argument


def names_in_tables():
    "Names in the first column of the tables of the notebook that teaches the door."
    cells = json.loads((ROOT / "nbs/kernel/300_papermill_options.ipynb").read_text())["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    rows = re.findall(r"(?m)^\| (`.*?) \|", text)
    return [name for row in rows for name in re.findall(r"`(\w+)`", row)]


def names_in(call):
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {name for name, one in inspect.signature(call).parameters.items() if one.kind not in kinds}


def client_traits():
    from papermill.engines import PapermillNotebookClient

    return {n: t for n, t in PapermillNotebookClient.class_traits().items() if not n.startswith("_")}


def test_every_argument_of_papermill_has_its_line_in_the_notebook():
    import papermill
    from papermill.engines import Engine, NBClientEngine, PapermillNotebookClient

    known = names_in(papermill.execute_notebook) | set(client_traits())
    known |= names_in(Engine.execute_notebook) | names_in(NBClientEngine.execute_managed_notebook)
    known |= names_in(PapermillNotebookClient.__init__)
    named = names_in_tables()
    assert sorted(named) == sorted(known - {"self", "nb", "nb_man"})


def test_every_option_of_the_command_line_is_an_argument_that_is_known():
    from papermill.cli import papermill

    others = {"engine": "engine_name", "kernel": "kernel_name", "notebook_path": "input_path"}
    parameters = re.compile("parameters.*|inject_.*|help_notebook|log_level|version")
    options = {others.get(one.name, one.name) for one in papermill.params}
    assert {name for name in options if not parameters.fullmatch(name)} <= set(names_in_tables())


def another_value(trait):
    "A value that a trait does not have by itself."
    import traitlets
    from traitlets.config import Config

    kinds = {
        traitlets.Bool: lambda: not trait.default_value,
        traitlets.Integer: lambda: 77,
        traitlets.Enum: lambda: next(v for v in trait.values if v != trait.default_value),
        traitlets.Unicode: lambda: "another",
        traitlets.List: lambda: ["another"],
        traitlets.Dict: lambda: {"evalue": "another"},
        traitlets.Callable: lambda: lambda **told: told,
    }
    found = next((make for kind, make in kinds.items() if isinstance(trait, kind)), None)
    return (
        found()
        if found
        else Config()
        if trait.name == "config"
        else None
        if trait.name == "parent"
        else print
    )


def test_every_setting_of_the_client_reaches_it_or_is_refused(here, clients):
    for name, trait in client_traits().items():
        if name == "kernel_name":
            continue
        value = another_value(trait)
        if name in SHELL:
            with pytest.raises(UsageError, match=f"`{name}`"):
                run("nbs/10_a.ipynb", **{name: value})
            continue
        run("nbs/10_a.ipynb", **{name: value})
        got = getattr(clients[-1][0], name)
        if name in ("on_cell_start", "on_cell_executed"):
            told = {"cell": clients[-1][0].nb.cells[0], "cell_index": 0}
            reply = {"execute_reply": {"content": {"status": "ok"}}} if name == "on_cell_executed" else {}
            assert got(**told, **reply) == told | reply
        else:
            assert got == value, name


@pytest.mark.parametrize(
    ("told", "mend"),
    [
        ({"km": object()}, "leave it out"),
        ({"record_timings": False}, "did you mean `record_timing`"),
        ({"launch": "now"}, "which nobody knows"),
        ({"kernel_name": "pyhton3"}, "did you mean `python3`"),
        ({"language": "R"}, "leave `language`"),
        ({"parameters": {"dayz": 1}}, "did you mean `days`"),
        ({"parameters": {"days": 1}, "language": "scala"}, "leave `language`"),
        ({"parameters": {"dayz": 1}, "prepare_only": True}, "did you mean `days`"),
        ({"parameters": {"dayz": 1}, "prepare_only": True, "cwd": "other"}, "did you mean `days`"),
    ],
)
def test_what_cannot_be_obeyed_is_refused_before_there_is_a_kernel(here, clients, told, mend):
    with pytest.raises(UsageError, match=mend):
        run("nbs/10_a.ipynb", **told)
    assert clients == []


def test_kernel_of_another_interpreter_is_refused_and_one_of_this_is_not(
    here, clients, tmp_path, monkeypatch
):
    specs = {
        "elsewhere": ["/opt/other/bin/python", "python"],
        "ir": ["R", "R"],
        "ours": [sys.executable, "python"],
    }
    for name, (command, language) in specs.items():
        (tmp_path / "kernels" / name).mkdir(parents=True)
        spec = {"argv": [command, "-f", "{connection_file}"], "display_name": name, "language": language}
        (tmp_path / "kernels" / name / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    for name in ("elsewhere", "ir"):
        with pytest.raises(UsageError, match=f"given the kernel `{name}`, on this machine "):
            run("nbs/10_a.ipynb", kernel_name=name)
    for name in ("ours", "python3", "mlnb"):
        run("nbs/10_a.ipynb", kernel_name=name)
    assert [client.kernel_name for client, _ in clients] == ["mlnb"] * 3


@pytest.mark.parametrize(
    ("told", "folder"),
    [
        ({}, "nbs"),
        ({"cwd": "other"}, "other"),
        ({"cwd": "."}, ""),
        ({"cwd": Path("other")}, "other"),
        ({"resources": {"metadata": {"path": "other"}}}, "other"),
    ],
)
def test_kernel_works_where_papermill_is_told(here, clients, told, folder):
    run("nbs/10_a.ipynb", **told)
    assert Path(clients[0][1]["cwd"]) == here / folder


def test_arguments_of_the_kernel_and_a_namesake_in_its_folder_keep_it_from_being_warm(here, monkeypatch):
    from mlnb.kernel import provisioner

    seen = []

    def start(folder, launch):
        seen.append(launch)
        raise InterruptedError

    monkeypatch.setattr(provisioner, "kernel_manager", start)
    (here / "other/pandas.py").write_text("")
    source = (here / "nbs/10_a.ipynb").read_text().replace("import os", "import pandas, numpy, os")
    (here / "nbs/60_imports.ipynb").write_text(source)
    for told in ({}, {"cwd": "other"}, {"extra_arguments": ["--quiet"]}):
        with pytest.raises(InterruptedError):
            run("nbs/60_imports.ipynb", **told)
    assert [launch.modules for launch in seen[:2]] == [["numpy", "pandas"], ["numpy"]]
    assert [launch.server is None for launch in seen] == [False, False, True]


def test_papermill_saves_as_often_as_it_is_told(here, clients, monkeypatch):
    from papermill import engines

    written = []
    monkeypatch.setattr(engines, "write_ipynb", lambda nb, path: written.append(path))
    engine = engines.papermill_engines.get_engine("mlnb")
    from papermill.iorw import load_notebook_node

    notebook = load_notebook_node("nbs/10_a.ipynb")
    engine.execute_notebook(
        notebook, "python3", output_path="o.ipynb", progress_bar=False, input_path="nbs/10_a.ipynb"
    )
    manager = clients[0][0].nb_man
    before = len(written)
    manager.save()
    manager.save()
    assert len(written) == before + 2


# checked, or said not to be


@pytest.mark.parametrize(
    "given", ["nbs/10_a.ipynb", "nbs/../nbs/10_a.ipynb", "{root}/nbs/10_a.ipynb", "link.ipynb"]
)
@pytest.mark.parametrize(
    "told", [{}, {"cwd": "other"}, {"cwd": "/"}, {"cwd": "."}, {"kernel_name": "python3"}]
)
def test_notebook_of_a_project_is_checked_from_wherever_it_is_run(here, given, told):
    link = here / "link.ipynb"
    if not link.is_symlink():
        link.symlink_to("nbs/10_a.ipynb")
    for path in (given.format(root=here), Path(given.format(root=here))):
        with pytest.raises(UsageError, match="did you mean `days`"):
            run(path, parameters={"dayz": 3}, **told)


@pytest.mark.parametrize("given", ["nbs/10_a.ipynb", "link.ipynb"])
@pytest.mark.parametrize("cwd", ["other", "/", ".", "{tmp_path}"])
def test_verbs_belong_to_the_notebook_wherever_its_kernel_works(
    here, clients, tmp_path, monkeypatch, given, cwd
):
    from mlnb.flow.session import session_by_hand

    if not (here / "link.ipynb").is_symlink():
        (here / "link.ipynb").symlink_to("nbs/10_a.ipynb")
    run(given, cwd=cwd.format(tmp_path=tmp_path))
    ((_, told),) = clients
    monkeypatch.setenv("MLNB_PLACE", told["env"]["MLNB_PLACE"])
    monkeypatch.chdir(told["cwd"])
    session = session_by_hand()
    assert (session.root, session.pipeline) == (here, "demo" if given.startswith("nbs") else None)


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ({}, "1 notebook names a kernel not installed here (`nosuch`): all stages run in mlnb's own Python"),
        ({"kernel_name": "python3"}, "the kernel `python3` was asked for: the notebook runs on mlnb's own"),
        ({"kernel_name": "mlnb"}, None),
    ],
)
def test_kernel_that_mlnb_stands_for_is_said_in_one_line(here, clients, capfd, told, line):
    run(str(a_notebook(here, kernelspec={"name": "nosuch", "display_name": "x"})), **told)
    said = [one for one in capfd.readouterr().err.splitlines() if one.startswith("mlnb: ")]
    assert len(clients) == 1 and len(said) == (line is not None)
    assert line is None or said[0].startswith(f"mlnb: {line}")


def test_notebook_that_names_another_interpreter_is_refused_as_in_a_run(here, clients, tmp_path, monkeypatch):
    from mlnb.notebook.kernel_name import kernel_folders

    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setattr("mlnb.kernel.door.kernel_folders", kernel_folders.__wrapped__)
    (tmp_path / "kernels/gone").mkdir(parents=True)
    spec = {"argv": ["/nonexistent/python"], "display_name": "Gone", "language": "python"}
    (tmp_path / "kernels/gone/kernel.json").write_text(json.dumps(spec))
    path = str(a_notebook(here, kernelspec={"name": "gone", "display_name": "Gone"}))
    with pytest.raises(UsageError, match=r"`gone`.* does not exist.*choose the kernel `Python \(mlnb\)`"):
        run(path)
    run(path, kernel_name="mlnb")
    assert len(clients) == 1


@pytest.fixture
def elsewhere(tmp_path):
    "The notebook in a folder that is no project."
    path = tmp_path / "a.ipynb"
    path.write_bytes((Path("nbs") / "10_a.ipynb").read_bytes())
    return path


def a_notebook(here, **metadata):
    import nbformat

    notebook = nbformat.read("nbs/10_a.ipynb", 4)
    notebook.metadata.update(metadata)
    path = here / "nbs/70_other.ipynb"
    nbformat.write(notebook, path)
    return path


class Memory:
    "What papermill reads `memory://` with."

    @staticmethod
    def read(path):
        return Path("nbs/10_a.ipynb").read_text()

    @staticmethod
    def pretty_path(path):
        return path


def given_as(kind, here, elsewhere, monkeypatch):
    import nbformat
    from papermill.iorw import papermill_io

    if kind == "memory://":
        monkeypatch.setattr(papermill_io, "_handlers", [("memory://", Memory), *papermill_io._handlers])
        return "memory://me:secret@a.ipynb"
    if kind == "-":
        monkeypatch.setattr(sys, "stdin", StringIO(Path("nbs/10_a.ipynb").read_text()))
        return "-"
    if kind == "R":
        return str(a_notebook(here, kernelspec={"name": "ir", "language": "R", "display_name": "R"}))
    read = Path("nbs/10_a.ipynb").read_text()
    text = read.replace("{", "{{").replace("}", "}}")  # papermill formats what it is given
    return {"text": text, "object": nbformat.reads(read, 4), "no project": str(elsewhere)}[kind]


@pytest.mark.filterwarnings("ignore:the file is not specified:UserWarning")
@pytest.mark.filterwarnings("ignore:The specified file:UserWarning")
@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("-", "it was read from standard input, not from a file"),
        ("memory://", "it was read from memory://, not from a file"),
        ("object", "it was given as an object, not as a file"),
        ("text", "it was given as text, not as a file"),
        ("no project", "it lies in no project (no settings.ini with a [mlnb] section beside or above it)"),
        ("R", "70_other.ipynb is written for a R kernel"),
    ],
)
def test_notebook_that_is_not_checked_is_said_so_in_one_line(
    here, stock, elsewhere, capfd, monkeypatch, kind, why
):
    run(given_as(kind, here, elsewhere, monkeypatch), cwd="other", timeout=5)
    said = capfd.readouterr()
    name = "ir" if kind == "R" else "python3"
    line = f"mlnb: this notebook is not checked, papermill runs it on the kernel `{name}`: {why}"
    assert [one for one in said.err.splitlines() if "mlnb" in one] == [line]
    assert said.out == "" and stock[0][1]["timeout"] == 5


def test_notebook_that_is_only_prepared_is_said_to_be_unchecked_too(here, elsewhere, clients, capfd):
    prepared = run(str(elsewhere), parameters={"dayz": 3}, prepare_only=True)
    assert "dayz = 3" in prepared.cells[1].source and clients == []
    assert capfd.readouterr().err.count("mlnb: this notebook is not checked: it lies in no project") == 1
    assert "days = 8" in run("nbs/10_a.ipynb", parameters={"days": 8}, prepare_only=True).cells[1].source


def test_notice_stands_on_a_line_of_its_own_above_the_progress_bar(here, stock, elsewhere, capfd):
    run(str(elsewhere), progress_bar=True)
    assert re.search(r"(?:^|[\r\n])mlnb: this notebook is not checked.*\n", capfd.readouterr().err)


def test_notebook_without_a_kernelspec_is_checked_or_said_not_to_be(here, stock, clients, capfd):
    path = a_notebook(here)
    source = json.loads(path.read_text())
    source["metadata"] = {}
    path.write_text(json.dumps(source))
    run(str(path))
    named = {"kernel_name": "python3", "language": "python"}  # papermill asks for them where it finds none
    try:
        run(str(path), parameters={"dayz": 3}, **named)
    except UsageError as error:
        assert "did you mean `days`" in str(error) and len(clients) == 1
    else:
        assert capfd.readouterr().err.count("is not checked") == 2 and stock[0][0] == "python3"


def test_project_whose_settings_cannot_be_read_is_no_reason_to_leave_the_checks_out(tmp_path, here, clients):
    (tmp_path / "settings.ini").write_text("[mlnb]\nstor = x\n")
    (tmp_path / "a.ipynb").write_bytes((here / "nbs/10_a.ipynb").read_bytes())
    with pytest.raises(UsageError, match="stor"):
        run(str(tmp_path / "a.ipynb"))


def test_paths_that_papermill_injects_are_no_unknown_parameters(here, clients):
    run("nbs/10_a.ipynb", parameters={"PAPERMILL_INPUT_PATH": "nbs/10_a.ipynb", "days": 8})
    assert "days = 8" in clients[0][0].nb.cells[1].source


# on kernels


def test_what_papermill_is_told_at_once_is_obeyed_at_once(here, tmp_path):
    heard = []

    async def later(**told):
        heard.append("executed")

    names = ["notebook_start", "cell_start", "cell_execute", "cell_complete", "notebook_complete"]
    hooks = {f"on_{name}": lambda name=name, **told: heard.append(name) for name in names}
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        notebook = run(
            "nbs/20_many.ipynb",
            cwd="other",
            record_timing=False,
            skip_cells_with_tag="mine",
            stdout_file=out,
            stderr_file=err,
            coalesce_streams=True,
            shutdown_kernel="graceful",
            on_cell_executed=later,
            **hooks,
        )
    assert [output.text for output in notebook.cells[0].outputs] == ["out\nother\n", "err\n"]
    assert ((tmp_path / "out").read_text(), (tmp_path / "err").read_text()) == ("out\nother\n", "err\n")
    assert "execution" not in notebook.cells[0].metadata and notebook.cells[2].execution_count
    one = ["cell_start", "cell_execute", "cell_complete", "executed"]
    assert heard == ["notebook_start", *one, "cell_start", *one, "notebook_complete"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "told",
    [
        {"timeout": 1},
        {"execution_timeout": 1},
        {"timeout_func": lambda cell: 1},
        {"timeout": 9, "execution_timeout": 1},
    ],
)
def test_cell_that_takes_longer_than_papermill_is_told_is_ended(here, told):
    from nbclient.exceptions import CellTimeoutError

    started = time.monotonic()
    with pytest.raises(CellTimeoutError, match="after 1 seconds"):
        run("nbs/30_slow.ipynb", **told)
    assert time.monotonic() - started < 30


@pytest.mark.slow
def test_cell_is_interrupted_at_its_timeout_and_the_notebook_goes_on(here):
    from papermill import PapermillExecutionError

    cells = []
    with pytest.raises(PapermillExecutionError, match="KeyboardInterrupt"):
        run(
            "nbs/30_slow.ipynb",
            timeout=1,
            interrupt_on_timeout=True,
            allow_errors=True,
            on_cell_executed=lambda **told: cells.append(told["cell"]),
        )
    assert [printed for cell in cells[1:] for printed in cell.outputs[0].text.split()] == ["after"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("told", "n_run"), [({}, 1), ({"allow_errors": True}, 2), ({"force_raise_errors": True}, 1)]
)
def test_errors_are_allowed_as_papermill_is_told_and_it_ends_with_them_all_the_same(here, told, n_run):
    from papermill import PapermillExecutionError

    heard = []
    with pytest.raises(PapermillExecutionError, match="ZeroDivisionError"):
        run("nbs/40_fails.ipynb", on_cell_executed=lambda **told: heard.append(told["cell_index"]), **told)
    assert len(heard) == n_run


@pytest.mark.slow
@pytest.mark.parametrize(("told", "is_there"), [({"shutdown_kernel": "graceful"}, True), ({}, False)])
def test_kernel_ends_gracefully_when_papermill_is_told_so(here, told, is_there):
    (here / "nbs/ended.txt").unlink(missing_ok=True)
    run("nbs/50_ends.ipynb", **told)
    assert (here / "nbs/ended.txt").exists() == is_there


@pytest.mark.slow
def test_dead_kernel_keeps_papermill_s_exit_code(make_project, papermill, tmp_path):
    made = make_project({"10_a.ipynb": ["import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"]})
    path = made.root / "nbs/10_a.ipynb"
    code, said, _ = papermill("--engine", "mlnb", path, cwd=tmp_path, out=tmp_path / "o.ipynb")
    assert code == 138 and "DeadKernelError" in said


# in other processes and threads

HEAD = """
import asyncio, multiprocessing, os, sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
import papermill
def run(k):
    told = {"engine_name": "mlnb", "progress_bar": False}
    done = papermill.execute_notebook("nbs/10_a.ipynb", f"o{k}.ipynb", {"days": k}, **told)
    return int(done.cells[-1].outputs[0].text.split()[0])
def forked():
    child = os.fork()
    if child == 0:
        os._exit(run(42))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
def started(how):
    return ProcessPoolExecutor(2, multiprocessing.get_context(how))
async def inside(call):
    return call()
if __name__ == "__main__":
    print(run(7), flush=True)
"""
WAYS = {
    "process pool": "with ProcessPoolExecutor(2) as pool: print(*pool.map(run, [1, 2, 3]))",
    "pool of a pool's worker": "with ProcessPoolExecutor(1) as pool: print(pool.submit(forked).result())",
    "multiprocessing": "with multiprocessing.Pool(2) as pool: print(*pool.map(run, [1, 2, 3]))",
    "spawn": "with started('spawn') as pool: print(*pool.map(run, [1, 2]))",
    "forkserver": "with started('forkserver') as pool: print(*pool.map(run, [1, 2]))",
    "fork": "print(forked())",
    "threads": "with ThreadPoolExecutor(3) as pool: print(*pool.map(run, [1, 2, 3]))",
    "joblib": "from joblib import Parallel, delayed; print(*Parallel(2)(delayed(run)(k) for k in [1, 2]))",
    "loop": "print(asyncio.run(inside(lambda: run(1))))",
    "fork in a loop": "print(asyncio.run(inside(lambda: (run(1), forked()))))",
    "loop in a fork in a loop": (
        "asyncio.run(inside(lambda: run(1))); child = os.fork()\n"
        "    if child == 0: os._exit(asyncio.run(inside(lambda: run(42))))\n"
        "    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    ),
    "process pool of a thread": "with ThreadPoolExecutor(1) as pool: print(pool.submit(forked).result())",
}
ANSWERS = {
    "process pool": "1 2 3",
    "pool of a pool's worker": "42",
    "multiprocessing": "1 2 3",
    "spawn": "1 2",
    "forkserver": "1 2",
    "fork": "42",
    "threads": "1 2 3",
    "joblib": "1 2",
    "loop": "1",
    "fork in a loop": "(1, 42)",
    "loop in a fork in a loop": "42",
    "process pool of a thread": "42",
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_notebook_returns_from_every_kind_of_worker(make_project, way, outside_environment):
    made = make_project(CELLS)
    (made.root / "run.py").write_text(HEAD + "    " + WAYS[way])
    done = subprocess.run(
        [sys.executable, "run.py"],
        cwd=made.root,
        env=outside_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.split("\n")[:2] == ["7", ANSWERS[way]], done.stderr[-3000:]


def test_notebook_of_a_worker_is_given_up_when_a_person_interrupts_it():
    from mlnb.kernel.forked import in_thread

    over = threading.Event()

    def interrupted():
        os.kill(os.getpid(), signal.SIGINT)
        assert over.wait(60)

    with pytest.raises(KeyboardInterrupt):
        in_thread(interrupted, over.set)
    assert over.is_set()


@pytest.mark.slow
@pytest.mark.parametrize("cold", [(), ("--cold",)])
def test_stage_may_call_papermill_itself(make_project, mlnb, cold):
    call = (
        "import papermill\ntold = {'engine_name': 'mlnb', 'progress_bar': False}\n"
        "done = papermill.execute_notebook('../tools/a.ipynb', None, {'days': 9}, **told)"
    )
    made = make_project(
        {
            "10_a.ipynb": ["from mlnb import save", call, "save('said', done.cells[-1].outputs[0].text)"],
            "tools/a.ipynb": [PARAMETERS, "print('got', days)"],
        }
    )
    result = mlnb("run", "demo", "--json", *cold, cwd=made.root, timeout=120)
    assert result.code == 0, result.stderr
    assert mlnb("get", "said", cwd=made.root).stdout.strip().endswith("got 9")


# nothing left


def left_in(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("mlnb-"))


SAVES = {
    "10_a.ipynb": ["from mlnb import save\nsave('x', 1)", "import time\ntime.sleep(0)"],
    "20_b.ipynb": ["from mlnb import save\nsave('x', 1)", "import time\nprint('asleep')\ntime.sleep(60)"],
}


@pytest.mark.slow
def test_papermill_leaves_nothing_in_the_temporary_folder_also_when_killed(
    make_project, papermill, tmp_path, outside_environment
):
    made, place = make_project(SAVES), tmp_path / "t"
    place.mkdir()
    told = {"TMPDIR": str(place)}
    code, said, _ = papermill(
        "--engine", "mlnb", "nbs/10_a.ipynb", cwd=made.root, out=tmp_path / "o.ipynb", **told
    )
    assert code == 0 and left_in(place) == [], said
    killed = subprocess.Popen(
        [sys.executable, "-m", "papermill", "--engine", "mlnb", "nbs/20_b.ipynb", str(tmp_path / "p.ipynb")],
        cwd=made.root,
        env=outside_environment(**told),
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not left_in(place) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert left_in(place) != []
    papermill("--engine", "mlnb", "nbs/10_a.ipynb", cwd=made.root, out=tmp_path / "o.ipynb", **told)
    assert left_in(place) == []


@pytest.mark.slow
def test_plain_kernel_that_was_killed_leaves_nothing_for_longer_than_the_next_one(
    make_project, tmp_path, monkeypatch
):
    made = make_project(SAVES)
    (tmp_path / "t").mkdir()
    end = "import os, mlnb; mlnb.save('x', 1); {}"
    for how in ("os.kill(os.getpid(), 9)", "pass"):
        subprocess.run(
            [sys.executable, "-c", end.format(how)],
            cwd=made.root / "nbs",
            env=os.environ | {"TMPDIR": str(tmp_path / "t")},
            check=False,
        )
        assert len(left_in(tmp_path / "t")) == (how != "pass")


# one document


@pytest.mark.slow
@pytest.mark.parametrize("cold", [(), ("--cold",)])
def test_what_a_stage_s_programs_write_never_stands_in_the_command_s_document(make_project, mlnb, cold):
    cell = "import os, subprocess\nsubprocess.run(['echo', 'a'])\nos.system('echo b')\nos.write(1, b'c\\n')"
    made = make_project({"10_a.ipynb": ["from mlnb import save", cell, "save('x', 1)"]})
    result = mlnb("run", "demo", "--json", *cold, cwd=made.root)
    assert result.code == 0 and result.json["exit_code"] == 0


@pytest.mark.slow
def test_notebook_that_papermill_writes_to_its_output_is_one_document(make_project, outside_environment):
    made = make_project({"10_a.ipynb": ["import subprocess\nsubprocess.run(['echo', 'a'])"]})
    done = subprocess.run(
        [sys.executable, "-m", "papermill", "--engine", "mlnb", "nbs/10_a.ipynb", "-"],
        cwd=made.root,
        env=outside_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert json.loads(done.stdout)["cells"][0]["outputs"][0]["text"] == ["a\n"]
