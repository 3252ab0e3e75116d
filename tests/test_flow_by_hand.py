"""A notebook by hand: the same numbers as in a run, and one line where something is forgotten or differs."""

import getpass
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from mlnb.kernel.judgement import without_colours

OVERLAY = f".mlnb/overlay/{getpass.getuser()}/values/demo"
DRAWS = """import random, time, os, threading
import numpy as np
from mlnb import save
numbers = {
    "random": [random.random() for _ in range(3)],
    "numpy": np.random.rand(3).tolist(),
    "hash": hash("x"),
    "set": list({"one", "two", "three", "four", "five"}),
    "zone": list(time.tzname),
    "hour": time.localtime(0).tm_hour,
    "threads": [os.environ.get(name) for name in ("OMP_NUM_THREADS", "LOKY_MAX_CPU_COUNT")],
    "locale": os.environ.get("LC_ALL"),
}"""
SAVE = 'save("numbers", numbers)'
FORGOTTEN = (
    "Cell In[{1}], line 1\n----> 1 {2}\nNotImportedError: `{0}` is not imported: write `from mlnb import {0}`"
)


@contextmanager
def opened(kernel, folder, session="", **environment):
    "A kernel as JupyterLab starts it; gives a function that executes a cell and says what came of it."
    manager = KernelManager(kernel_name=kernel)
    unset = {n: v for n, v in os.environ.items() if n not in ("TZ", "PYTHONHASHSEED", "OMP_NUM_THREADS")}
    manager.start_kernel(cwd=str(folder), env=unset | {"JPY_SESSION_NAME": session} | environment)
    client = manager.client()
    client.start_channels()

    def execute(source):
        messages = []
        reply = client.execute_interactive(source, timeout=60, output_hook=messages.append)["content"]
        texts = [m["content"].get("text") or m["content"].get("traceback") for m in messages]
        said = "".join(text if isinstance(text, str) else "\n".join(text) for text in texts if text)
        return reply["status"], said

    try:
        client.wait_for_ready(timeout=60)
        yield execute
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


@pytest.fixture
def lab_kernel(tmp_path, monkeypatch):
    "The kernelspec `mlnb`, known to Jupyter in this test."
    from mlnb.kernel.provisioner import install_kernelspec

    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    install_kernelspec(for_user=True)
    return "mlnb"


@pytest.mark.slow
def test_kernel_of_jupyterlab_says_once_what_differs_and_what_to_import(make_project):
    project = make_project({"10_a.ipynb": ["1"]})
    with opened("python3", project.root / "nbs", TZ="Asia/Tokyo") as execute:
        status, said = execute("import mlnb, mlnb.store.names")
        assert (status, said.count("\n")) == ("ok", 1)
        assert "(hash seed, random seeds, time zone, threads); choose the kernel `Python (mlnb)`" in said
        for n, name in enumerate(("load", "save", "metric", "require"), 2):
            call = f'{name}("x", 1)'
            assert execute(call) == ("error", FORGOTTEN.format(name, n, call))
        assert execute("print('save' in dir(), 'save' in globals(), In[1])") == (
            "ok",
            "False False import mlnb, mlnb.store.names\n",
        )
        assert execute("%who") == ("ok", "mlnb\t \n")
        assert execute("from mlnb import save") == ("ok", "")
        status, said = execute("def f():\n    return load('x')\nf()")
        assert (status, said.splitlines()[1:-1]) == (
            "error",
            ["----> 3 f()", "Cell In[9], line 2, in f", "----> 2     return load('x')"],
        )
        assert execute('save("x", 1)')[1] == "x: kept in your overlay (1 bytes); " + NOT_WRITTEN
        assert execute("ls") == ("ok", "10_a.ipynb\r\n")


def test_numbers_by_hand_in_the_kernel_of_mlnb_are_those_of_a_run(make_project, mlnb, lab_kernel):
    project = make_project({"10_draw.ipynb": ["#| threads: 2\n" + DRAWS, SAVE]})
    done = mlnb("run", "demo", "--json", cwd=project.root, TZ="Asia/Tokyo")
    assert done.code == 0, done.stderr
    with opened(lab_kernel, project.root / "nbs", "nbs/10_draw.ipynb", TZ="Asia/Tokyo") as execute:
        assert execute("#| threads: 2\n" + DRAWS) == ("ok", "")  # no line: nothing differs
        assert execute(SAVE)[0] == "ok"
        assert execute("ls")[1] == "10_draw.ipynb\r\n"
        call = 'require(True, "x")'
        assert execute(call) == ("error", FORGOTTEN.format("require", 4, call))
    mine = json.loads((project.root / OVERLAY / "numbers.json").read_text())
    assert mine["digest"] == done.stage("draw")["outputs"]["numbers"]


@pytest.mark.slow
def test_kernel_without_a_notebook_has_all_of_a_run_but_the_seeds_and_says_so(make_project, lab_kernel):
    project = make_project({"10_a.ipynb": ["1"]})
    program = "import time, os; print(hash('abc'), *time.tzname, os.environ['OMP_NUM_THREADS'])"
    fixed = os.environ | {"PYTHONHASHSEED": "0", "TZ": "UTC", "OMP_NUM_THREADS": "1"}
    in_run = subprocess.run([sys.executable, "-c", program], env=fixed, capture_output=True, text=True).stdout
    with opened(lab_kernel, project.root / "nbs", TZ="Asia/Tokyo", OMP_NUM_THREADS="8") as execute:
        status, said = execute("from mlnb import load")
        assert (status, said.count("\n")) == ("ok", 1)
        assert "(random seeds); it does not know its notebook" in said
        assert execute(program) == ("ok", in_run)


NOT_WRITTEN = "no saved notebook of `demo` writes it: save the notebook if its cell is new\n"
SENTENCE = "UsageError: `demo/a` was never committed under profile `default`: run `mlnb run demo`"
ERRORS = {
    "plain": ("load('a')", ["----> 1 load('a')"]),
    "spread": ("load(\n    'a',\n)", ["----> 1 load("]),
    "function": ("f()", ["----> 1 f()", "----> 5     return load('a')"]),
    "module": ("helper.inner()", ["----> 1 helper.inner()", "----> 4     return load('a')"]),
    "timed": ("%%time\n1\nload('a')", ["----> 3 load('a')"]),
    "timed line": ("%time load('a')", ["----> 1 load('a')"]),
    "captured": ("%%capture\nload('a')", ["----> 1 load('a')"]),
    "async": ("async def g():\n    load('a')\nawait g()", ["----> 3 await g()", "----> 2     load('a')"]),
    "library": ("list(map(f, ()))\nfunctools.reduce(lambda a, b: f(), [1, 2])", ["----> 2 functools.reduce"]),
    "while": (
        "try:\n    {}['k']\nexcept KeyError:\n    load('a')",
        ["----> 2     {}['k']", "----> 4     load('a')"],
    ),
    "from": (
        "try:\n    load('a')\nexcept Exception as e:\n    raise OSError('own') from e",
        ["load('a')", "OSError: own"],
    ),
    "group": ("raise ExceptionGroup('two', [caught])", ["ExceptionGroup: two"]),
}


def test_error_by_hand_shows_the_lines_of_its_reader_one_sentence_and_no_frame_of_mlnb(make_project):
    project = make_project({"10_a.ipynb": ["from mlnb import save", "save('a', 1)"]})
    (project.root / "helper.py").write_text("from mlnb import load\n\ndef inner():\n    return load('a')\n")
    begin = "import functools\nfrom mlnb import load\nimport helper\ndef f():\n    return load('a')"
    catch = "try:\n    load('a')\nexcept Exception as error:\n    caught = error"
    with opened("python3", project.root / "nbs") as execute:
        assert (execute(begin)[0], execute(catch)[0]) == ("ok", "ok")
        for name, (source, lines) in ERRORS.items():
            said = without_colours(execute(source)[1])
            assert (name, [line for line in lines if line not in said]) == (name, [])
            assert "/mlnb/flow" not in said and ("site-packages" not in said or name == "group"), name
            if name not in ("from", "group"):  # which IPython shows by itself
                assert (said.count("\n") < 10, said.count(SENTENCE)) == (True, 1), name
        for mode in ("Plain", "Minimal", "Verbose"):
            execute(f"%xmode {mode}")
            assert execute("load('a')")[1].splitlines()[1:] == ["----> 1 load('a')", SENTENCE]


def test_value_and_name_that_a_run_would_refuse_say_so_by_hand_in_one_line_each(make_project, lab_kernel):
    cells = [
        ("parameters", "days: int = 5   # 1..60"),
        "from mlnb import load, save",
        "save('sales', [days])",
    ]
    project = make_project({"10_a.ipynb": cells})
    refused = "mlnb: parameter `days` {}; a run refuses it\n"
    most = refused.format("must be at most 60, not 99: give 60 or less")
    for kernel in ("python3", lab_kernel):
        with opened(kernel, project.root / "nbs", str(project.root / "nbs/10_a.ipynb")) as execute:
            assert execute("days: int = 99   # 1..60") == ("ok", most if kernel == lab_kernel else "")
            said = execute("from mlnb import load, save")[1]
            assert (said.count(most), said.count("\n")) == ((0, 0) if kernel == lab_kernel else (1, 2))
            assert execute("1 + 1")[1] in ("", "2")
            assert execute("days = 'x'")[1] == refused.format("is int, 'x' is not: give a value like 5")
            assert execute("days: int = 99   # 1..100") == ("ok", "")
            assert execute("save('sales', [1])")[1].endswith("bytes); pipelines do not see it\n")
            said = execute("save('sale', [1])")[1]
            assert said.endswith("save the notebook if its cell is new, did you mean `sales`?\n")
            status, said = execute("load('sales', as_='pandas')")
            assert (status, "this is kept as json: load it without them" in said) == ("error", True)


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--cold"]])
def test_numbers_by_hand_of_one_part_are_those_of_this_part_in_a_run(make_project, mlnb, lab_kernel, options):
    part = "#| each: fold in 0..2\nfold: int = 1"
    project = make_project({"10_draw.ipynb": [("parameters", part), DRAWS, SAVE]})
    done = mlnb("run", "demo", "--json", *options, cwd=project.root)
    assert done.code == 0, done.stderr
    made = [stage["outputs"]["numbers"] for stage in done.json["stages"] if "numbers" in stage["outputs"]]
    assert len(set(made)) == 3
    with opened(lab_kernel, project.root / "nbs", "nbs/10_draw.ipynb") as execute:
        assert [execute(text)[0] for text in (part, DRAWS, SAVE)] == ["ok"] * 3
    mine = json.loads((project.root / OVERLAY / "numbers.json").read_text())
    assert (mine["values"], mine["artifacts"][0]["digest"]) == ([1], made[1])


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--cold"]])
def test_line_of_a_stage_is_no_magic_without_its_sign(make_project, mlnb, options):
    project = make_project({"10_a.ipynb": ["%pwd", "pwd"]})
    done = mlnb("run", "demo", "--json", *options, cwd=project.root)
    assert (done.code, done.stage("a")["state"]) == (1, "failed")
    assert "NameError" in done.stdout


@pytest.mark.slow
def test_papermill_with_the_engine_says_what_to_import_and_takes_no_line_for_a_magic(
    make_project, outside_environment, tmp_path
):
    project = make_project({"10_a.ipynb": ['save("x", 1)'], "20_b.ipynb": ["pwd"]})
    for stage, word in (("10_a", "write `from mlnb import save`"), ("20_b", "name 'pwd' is not defined")):
        command = [sys.executable, "-m", "papermill", "--engine", "mlnb", f"nbs/{stage}.ipynb"]
        done = subprocess.run(
            [*command, tmp_path / "out.ipynb"],
            cwd=project.root,
            env=outside_environment(),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1 and word in done.stderr


@pytest.mark.slow
def test_kernel_outside_a_project_says_nothing_and_one_started_as_in_a_run_neither(make_project, tmp_path):
    with opened("python3", tmp_path) as execute:
        assert execute("import mlnb") == ("ok", "")
        call = 'save("x", 1)'
        assert execute(call) == ("error", FORGOTTEN.format("save", 2, call))
    project = make_project({"10_a.ipynb": ["1"]})
    with opened("python3", project.root / "nbs", MLNB_SEED="1") as execute:
        assert execute("from mlnb import save") == ("ok", "")


@pytest.mark.slow
def test_kernel_of_mlnb_that_jupyter_starts_without_mlnb_says_where_to_start_it(make_project, lab_kernel):
    project, spec = make_project({"10_a.ipynb": ["1"]}), KernelSpecManager().get_kernel_spec(lab_kernel)
    about = spec.to_dict() | {"metadata": {}}  # as a Jupyter reads it that does not have the provisioner
    Path(spec.resource_dir, "kernel.json").write_text(json.dumps(about))
    with opened(lab_kernel, project.root / "nbs", "nbs/10_a.ipynb") as execute:
        status, said = execute("from mlnb import load")
        assert (status, said.count("\n")) == ("ok", 1)
        assert "start JupyterLab from the environment that mlnb is installed in" in said
