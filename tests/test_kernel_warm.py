"""Warm kernels are the same as cold ones: same results, same sight of modules, same faults; and their server
leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from mlnb.kernel.link import (
    Question,
    ServerStatus,
    StopAnswer,
    ask,
    can_serve,
    connect,
    running_servers,
    server_address,
    server_identity,
)
from mlnb.kernel.private_places import server_folder
from mlnb.kernel.server_process import remove_remains

SLOW = pytest.mark.slow
pytestmark = pytest.mark.skipif(not can_serve(), reason="the kernel server needs Linux")

IMPORTS = (
    "import random\nimport numpy as np\nimport pandas as pd\nimport pyarrow as pa\n"
    "import pyarrow.compute as pc\nimport matplotlib.pyplot as plt\n"
    "from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier\n"
    "from mlnb import load, save, metric"
)
PIPELINE = {
    "10_draw.ipynb": [
        ("parameters", "rows: int = 4000  # 100..100000"),
        IMPORTS,
        "frame = pd.DataFrame({'x': np.random.normal(size=rows), 'y': [random.random() for _ in "
        "range(rows)]})\nframe['t'] = (frame.x + frame.y + np.random.normal(size=rows) > "
        "0.5).astype(int)",
        "save('frame', frame)\nsave('words', list({'alpha', 'beta', 'gamma', 'delta', 'epsilon'}))",
    ],
    "20_fit.ipynb": [
        "#| threads: 2",
        IMPORTS,
        "frame = load('frame')\nforest = RandomForestClassifier(20, random_state=0).fit(frame[['x', "
        "'y']], frame.t)\nboosted = HistGradientBoostingClassifier(max_iter=20).fit(frame[['x', 'y']], "
        "frame.t)",
        "save('forest', forest)\nsave('scores', boosted.predict_proba(frame[['x', 'y']])[:, 1])\n"
        "metric('mean', float(pc.mean(pa.array(frame.x)).as_py()))",
    ],
    "30_show.ipynb": [
        IMPORTS,
        "frame = load('frame')\nfigure, axis = plt.subplots()\n_ = axis.hist(frame.x, bins=30)",
        "save('figure', figure)",
    ],
}
ABOUT = """import json, os, signal, sys, warnings, logging, threading
its_own = ("MLNB_STAGE", "JPY_PARENT_PID", "MLNB_ROOT")
signals = [str(signal.getsignal(s)) for s in sorted(signal.valid_signals())]
threads = [t.name for t in threading.enumerate()]
about = {"modules": sorted(sys.modules), "path": sys.path, "cwd": os.getcwd(), "argv0": sys.argv[0],
         "environment": {n: v for n, v in os.environ.items() if n not in its_own},
         "filters": [str(f) for f in warnings.filters],
         "handlers": [str(type(h)) for h in logging.root.handlers], "umask": oct(os.umask(0o077)),
         "main": sorted(n for n in globals() if not n.startswith("_")),
         "signals": [s for s in signals if "function" not in s],
         "threads": sorted(t for t in threads if not t.startswith("Thread-")),
         "hooks": [type(sys.excepthook).__name__, type(sys.displayhook).__name__]}
import builtins, re
from pandas._config import config
about["argv"], about["prompts"] = sys.argv[3:], [sys.ps1, sys.ps2, sys.ps3]
about["builtins"] = {n: str(type(v)) for n, v in vars(builtins).items() if n != "_"}
about["options"] = {n: re.sub("0x[0-9a-f]+", "", repr(pd.get_option(n))) for n in config._registered_options}
about["settings"] = {n: repr(v) for n, v in dict.items(plt.matplotlib.rcParams)}
save("about", about)"""


def outputs(result):
    return {(s["name"], n): d for s in result.json["stages"] for n, d in s["outputs"].items()}


def value(mlnb, root, name):
    found = mlnb("get", name, "--out", root / "value.json", cwd=root)
    assert found.code == 0, found.stderr
    return json.loads((root / "value.json").read_text())


def runtime_folder(folder):
    yield {"XDG_RUNTIME_DIR": str(folder)}
    subprocess.run(
        [sys.executable, "-m", "mlnb", "kernels", "stop", "--force"],
        env=os.environ | {"XDG_RUNTIME_DIR": str(folder)},
        cwd="/",
        check=True,
        capture_output=True,
    )


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    "A folder for the kernel server of these tests, which is stopped afterwards."
    yield from runtime_folder(tmp_path_factory.mktemp("rt"))


@pytest.fixture
def own_runtime(tmp_path_factory):
    "The same for one test."
    yield from runtime_folder(tmp_path_factory.mktemp("rt"))


def servers(mlnb, root, runtime):
    return mlnb("kernels", "--json", cwd=root, **runtime).json["servers"]


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def are_ready(templates):
    return all(t["state"] == "ready" and (t["spares"] or t["modules"] == ["papermill"]) for t in templates)


SMALL = {  # the same with a module that is imported in no time
    "10_draw.ipynb": [
        "import random\nimport idna.codec\nfrom mlnb import save",
        "save('x', random.random())",
    ],
    "20_show.ipynb": ["import idna.codec\nfrom mlnb import load, save", "save('y', [load('x'), *'ab'])"],
}


@pytest.mark.parametrize(
    ("stages", "module", "options"),
    [
        pytest.param(SMALL, "idna.codec", ["--cold"], id="small"),
        pytest.param(PIPELINE, "sklearn.ensemble", ["--cold"], id="cold", marks=SLOW),
        pytest.param(PIPELINE, "sklearn.ensemble", [], id="another server", marks=SLOW),
    ],
)
def test_warm_imports_ahead_and_results_are_those_of_cold_kernels_and_of_a_new_server(
    make_project, mlnb, own_runtime, stages, module, options
):
    project = make_project(stages)
    said = mlnb("kernels", "warm", "--json", cwd=project.root, **own_runtime)
    assert said.json["warmed"] == {"demo": len(stages)}, said.stderr
    wait_until(lambda: are_ready(servers(mlnb, project.root, own_runtime)[0]["templates"]), seconds=90)
    (before,) = servers(mlnb, project.root, own_runtime)
    imported = [module for template in before["templates"] for module in template["modules"]]
    assert before["kernels_given"] == 0 and module in imported
    warm = mlnb("run", "demo", "--json", cwd=project.root, **own_runtime)
    assert warm.code == 0, warm.stderr
    (after,) = servers(mlnb, project.root, own_runtime)
    assert (after["pid"], after["kernels_given"]) == (before["pid"], len(stages))
    assert len(after["templates"]) == len(before["templates"])
    assert after["imported_by_stages"] == {}  # also with two threads, where BLAS starts one of its own
    kept = outputs(warm)
    mlnb("kernels", "stop", cwd=project.root, **own_runtime)
    again = mlnb("run", "demo", "--json", "--force", *options, cwd=project.root, **own_runtime)
    assert again.code == 0, again.stderr
    assert outputs(again) == kept
    assert all(s["is_reproduced"] for s in again.json["stages"]), again.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["warm", "shop"], "shop"), (["stop", "demo"], "takes no pipeline"), (["worm"], "warm")],
)
def test_warm_of_nothing_and_unknown_actions_are_usage_errors(
    make_project, mlnb, own_runtime, arguments, named
):
    found = mlnb("kernels", *arguments, cwd=make_project(PIPELINE).root, **own_runtime)
    assert found.code == 2 and named in found.stderr and "mend:" in found.stderr


@pytest.mark.parametrize("options", [[], pytest.param(["--cold"], marks=SLOW)])
def test_module_changed_within_a_second_and_of_the_same_size_is_seen(make_project, mlnb, runtime, options):
    project = make_project(
        {
            "10_rate.ipynb": [
                ("parameters", "n: int = 1"),
                "from mlnb import save\nfrom own import RATE",
                "save('rate', RATE * n)",
            ]
        }
    )
    for rate in (1, 2):
        (project.root / "own.py").write_text(f"RATE = {rate}\n")
        os.utime(project.root / "own.py", ns=(1_700_000_000_000_000_000 + rate,) * 2)
        assert mlnb("run", "demo", *options, cwd=project.root, **runtime).code == 0
        assert value(mlnb, project.root, "rate") == rate
    assert not (project.root / "__pycache__").exists()


LOOKING = """import json, logging, os, random, signal, sys, threading, warnings
import idna
from mlnb import save
its_own = ("MLNB_STAGE", "JPY_PARENT_PID", "MLNB_ROOT", "MLNB_CONTEXT")
try:
    forgot = idna.codec.__name__
except AttributeError as error:
    forgot = type(error).__name__
signals = [str(signal.getsignal(s)) for s in sorted(signal.valid_signals())]
save("seen", {"forgot": forgot, "path": sys.path, "argv": sys.argv[3:], "prompts": [sys.ps1, sys.ps2],
     "environment": {n: v for n, v in sorted(os.environ.items()) if n not in its_own},
     "filters": [str(f) for f in warnings.filters], "umask": oct(os.umask(0o077)), "cwd": os.getcwd(),
     "handlers": [str(type(h)) for h in logging.root.handlers],
     "signals": [s for s in signals if "function" not in s],
     "main": sorted(n for n in globals() if not n.startswith("_")),
     "threads": sorted(t.name for t in threading.enumerate() if not t.name.startswith("Thread-")),
     "hooks": [type(sys.excepthook).__name__, type(sys.displayhook).__name__]})
save("draws", [random.random(), *{"alpha", "beta", "gamma", "delta"}])"""


def test_small_stage_sees_draws_and_misses_the_same_warm_and_cold(make_project, mlnb, runtime):
    "What the slow tests below show of large libraries, for a module that is imported in no time."
    project = make_project({"10_look.ipynb": [LOOKING], "20_has.ipynb": ["import idna.codec"]})
    for options in ([], ["--cold", "--force"]):
        done = mlnb("run", "demo", "-j", "2", "--json", *options, cwd=project.root, EXTRA="no", **runtime)
        assert (done.code, "cold" in done.stderr) == (0, False), done.stderr
    assert all(stage["is_reproduced"] for stage in done.json["stages"])
    seen = value(mlnb, project.root, "seen")
    assert seen["forgot"] == "AttributeError" and "EXTRA" not in seen["environment"]


@SLOW
def test_process_of_a_stage_looks_the_same_warm_and_cold(make_project, mlnb, runtime):
    project = make_project(
        {
            "10_look.ipynb": [
                ("parameters", "#| env: REGION\nway: str = 'warm'"),
                "import pandas as pd\nimport matplotlib.pyplot as plt\n"
                "from sklearn.linear_model import LogisticRegression\nfrom mlnb import save",
                ABOUT,
            ]
        }
    )
    seen = {}
    for name, options in (("warm", []), ("cold", ["--cold"])):
        done = mlnb(
            "run",
            "demo",
            "--json",
            "-p",
            "way",
            name,
            *options,
            cwd=project.root,
            REGION="north",
            EXTRA="no",
            **runtime,
        )
        assert (done.code, done.states) == (0, {"look": "committed"}), done.stderr
        digest = done.stage("look")["outputs"]["about"]
        seen[name] = json.loads((project.root / ".mlnb" / "objects" / digest[:2] / digest).read_text())
    warm, cold = seen["warm"], seen["cold"]
    assert warm["environment"]["MLNB_SEED"] == cold["environment"]["MLNB_SEED"]
    assert warm["environment"]["REGION"] == "north" and "EXTRA" not in warm["environment"]
    assert {
        m for m in set(warm["modules"]) - set(cold["modules"]) if "." in m and not m.startswith("mlnb.")
    } == set()  # a module without a dot is invisible until it is imported
    for what in (
        "path",
        "environment",
        "filters",
        "handlers",
        "cwd",
        "argv0",
        "umask",
        "main",
        "hooks",
        "signals",
        "threads",
        "argv",
        "prompts",
        "builtins",
        "options",
        "settings",
    ):
        assert warm[what] == cold[what], what
    assert warm["options"]["display.max_columns"] == "20"


@pytest.mark.parametrize(
    "cells",
    [
        pytest.param(["import pandas as pd", "import pyarrow as pa", "pa.parquet.read_table"], marks=SLOW),
        pytest.param(["import matplotlib", "matplotlib.pyplot.figure()"], marks=SLOW),
        pytest.param(["import xml", "xml.dom.minidom"], marks=SLOW),
    ],
)
def test_missing_import_fails_cold_and_warm(make_project, mlnb, runtime, cells):
    "A second stage imports what the first one forgot, so the server has it."
    project = make_project(
        {
            "10_forgot.ipynb": cells,
            "20_has.ipynb": ["import pyarrow.parquet\nimport matplotlib.pyplot\nimport xml.dom.minidom"],
        }
    )
    for options in ([], ["--cold"]):
        done = mlnb("run", "demo", "-k", "-j", "1", "--json", *options, cwd=project.root, **runtime)
        assert (done.stage("forgot")["state"], done.stage("forgot")["error"]["ename"]) == (
            "failed",
            "AttributeError",
        ), done.stderr


@SLOW
def test_threads_of_a_stage_are_its_budget_warm_and_cold(make_project, mlnb, runtime):
    count = (
        "import json\nimport numpy\nimport sklearn.ensemble\nimport pyarrow as pa\nimport threadpoolctl\n"
        "from mlnb import save\nsave('{0}', [pa.cpu_count(), *sorted({{p['num_threads'] for p in "
        "threadpoolctl.threadpool_info()}})])"
    )
    project = make_project(
        {
            "10_one.ipynb": [("parameters", "way: str = 'warm'"), count.format("one")],
            "20_two.ipynb": [("parameters", "#| threads: 2\nway: str = 'warm'"), count.format("two")],
        }
    )
    seen = []
    for way, options in (("warm", []), ("cold", ["--cold"])):
        done = mlnb("run", "demo", "--json", "-p", "way", way, *options, cwd=project.root, **runtime)
        assert (done.code, set(done.states.values())) == (0, {"committed"}), done.stderr
        seen.append(
            [
                json.loads((project.root / ".mlnb" / "objects" / d[:2] / d).read_text())
                for d in (done.stage(n)["outputs"][n] for n in ("one", "two"))
            ]
        )
    assert seen[0] == seen[1]
    assert seen[0][0] == [1, 1] and seen[0][1][0] == max(seen[0][1]) == 2


@SLOW
def test_libraries_that_start_processes_and_threads_work_in_a_warm_kernel(make_project, mlnb, runtime):
    project = make_project(
        {
            "10_all.ipynb": [
                "#| threads: 2",
                "import multiprocessing\nfrom concurrent.futures import ProcessPoolExecutor, "
                "ThreadPoolExecutor\nimport numpy as np\nimport duckdb\nimport joblib\n"
                "import matplotlib.pyplot as plt\nimport pandas as pd\nimport pyarrow as pa\n"
                "import pyarrow.compute as pc\n"
                "from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier\n"
                "from mlnb import save",
                "X = np.random.default_rng(0).normal(size=(20000, 5)); y = (X[:, 0] > 0).astype(int)",
                "a = HistGradientBoostingClassifier(max_iter=20).fit(X, y).score(X, y)",
                "b = RandomForestClassifier(10, n_jobs=2, random_state=0).fit(X, y).score(X, y)",
                "c = joblib.Parallel(n_jobs=2, backend='loky')(joblib.delayed(abs)(n) for n in range(-3, 3))",
                "with multiprocessing.get_context('fork').Pool(2) as pool: d = pool.map(abs, range(-3, 3))",
                "with multiprocessing.get_context('spawn').Pool(1) as pool: e = pool.map(abs, range(-3, 3))",
                "with ProcessPoolExecutor(2) as pool: f = list(pool.map(abs, range(-3, 3)))",
                "g = pc.sum(pa.chunked_array([pa.array(range(1000))] * 50)).as_py(); pa.table({'x': "
                "range(100000)}).group_by('x').aggregate([('x', 'count')])",
                "h = duckdb.sql('select sum(i) from range(1000000) t(i)').fetchall()[0][0]",
                "figure, axis = plt.subplots(); axis.plot([1, 2]); plt.show()",
                "save('result', [a > 0.95, b > 0.95, c, d, e, f, g, int(h)])",
            ]
        }
    )
    before = sum(s["kernels_given"] for s in servers(mlnb, project.root, runtime))
    done = mlnb("run", "demo", "--json", cwd=project.root, **runtime)
    assert done.code == 0, done.stderr
    assert value(mlnb, project.root, "result") == [
        True,
        True,
        *[[3, 2, 1, 0, 1, 2]] * 4,
        50 * 499500,
        499999500000,
    ]
    assert sum(s["kernels_given"] for s in servers(mlnb, project.root, runtime)) == before + 1


@SLOW
def test_package_that_warns_at_import_is_imported_by_the_stage(make_project, mlnb, own_runtime):
    project = make_project({"10_use.ipynb": ["import numpy\nimport tqdm.autonotebook"]})
    for options in ([], ["--cold"]):
        done = mlnb("run", "demo", "--json", "--force", *options, cwd=project.root, **own_runtime)
        assert done.code == 0, done.stderr
        shown = mlnb("show", "latest", "--json", cwd=project.root).json["stages"][0]["notebook"]
        kept = (project.root / ".mlnb" / "objects" / shown[:2] / shown).read_text()
        assert "TqdmExperimentalWarning" in kept, options
    (server,) = servers(mlnb, project.root, own_runtime)
    assert list(server["imported_by_stages"]) == ["tqdm.autonotebook"]
    assert (
        "tqdm.autonotebook is imported by each stage itself: it writes"
        in mlnb("kernels", cwd=project.root, **own_runtime).stdout
    )


def test_server_killed_during_a_stage_the_stage_runs_cold(
    make_project, mlnb, own_runtime, outside_environment
):
    project = make_project(
        {
            "10_waits.ipynb": [
                "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(.05)",
                "from mlnb import save\nsave('x', 1)",
            ]
        }
    )
    run = subprocess.Popen(
        [sys.executable, "-m", "mlnb", "run", "demo", "--json"],
        cwd=project.root,
        env=outside_environment(**own_runtime),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(
        lambda: (
            servers(mlnb, project.root, own_runtime) and servers(mlnb, project.root, own_runtime)[0]["leases"]
        ),
        60,
    )
    (server,) = servers(mlnb, project.root, own_runtime)
    members = {psutil.Process(server["pid"]), *psutil.Process(server["pid"]).children(recursive=True)}
    os.kill(server["pid"], signal.SIGKILL)
    (project.root / "nbs" / "go").touch()
    out, err = run.communicate(timeout=120)
    assert (run.returncode, json.loads(out)["stages"][0]["state"]) == (0, "committed"), err
    assert err.count("the kernel server went away") == 1
    wait_until(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in members))


def test_run_killed_its_warm_kernel_and_what_that_started_end(
    make_project, mlnb, own_runtime, outside_environment
):
    project = make_project(
        {
            "10_slow.ipynb": [
                "import subprocess, sys, time\n"
                "open('pid', 'w').write(str(subprocess.Popen([sys.executable, '-c', 'import time; "
                "time.sleep(600)'], start_new_session=True).pid))\ntime.sleep(600)"
            ]
        }
    )
    run = subprocess.Popen(
        [sys.executable, "-m", "mlnb", "run", "demo"],
        cwd=project.root,
        env=outside_environment(**own_runtime),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(
        lambda: (project.root / "nbs" / "pid").exists() and (project.root / "nbs" / "pid").read_text(), 60
    )
    child, (server,) = (
        int((project.root / "nbs" / "pid").read_text()),
        servers(mlnb, project.root, own_runtime),
    )
    (kernel,) = server["leases"]
    run.kill()
    run.wait()
    wait_until(lambda: not psutil.pid_exists(kernel) and not psutil.pid_exists(child))
    wait_until(lambda: servers(mlnb, project.root, own_runtime)[0]["leases"] == [])


def start_server(address, idle_s, **environment):
    command = [
        sys.executable,
        "-c",
        "from mlnb.kernel.server_process import serve; serve()",
        str(address),
        str(idle_s),
    ]
    return subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.DEVNULL)


def test_server_that_nobody_uses_ends_and_removes_its_socket(tmp_path):
    server = start_server(tmp_path / "s.sock", 1)
    wait_until(lambda: (tmp_path / "s.sock").exists())
    pids = {p.pid for p in psutil.Process(server.pid).children(recursive=True)}
    assert server.wait(30) == 0
    assert not (tmp_path / "s.sock").exists()
    wait_until(lambda: not any(psutil.pid_exists(p) for p in pids))


def test_two_servers_started_at_once_one_stays(tmp_path):
    both = [start_server(tmp_path / "s.sock", 60) for _ in range(2)]
    wait_until(lambda: any(s.poll() is not None for s in both))
    wait_until(lambda: (tmp_path / "s.sock").exists())
    assert [s.poll() for s in both].count(None) == 1
    assert ask(tmp_path / "s.sock", Question("stop"), StopAnswer).stopped
    assert [s.wait(30) for s in both] == [0, 0]


def test_server_hears_nonsense_and_goes_on(tmp_path):
    server = start_server(tmp_path / "s.sock", 60)
    wait_until(lambda: (tmp_path / "s.sock").exists())
    for nonsense in (
        b"not json\n",
        b"[1]\n",
        b'{"do": "fly"}\n',
        b'{"do": "kernel"}\n',
        b"\xff\xfe\n",
        b"x" * 100_000,
    ):
        link = connect(tmp_path / "s.sock")
        link.socket.sendall(nonsense)
        link.close()
    assert ask(tmp_path / "s.sock", Question("status"), ServerStatus).leases == ()
    ask(tmp_path / "s.sock", Question("stop"), StopAnswer)
    assert server.wait(30) == 0


def test_remains_of_a_killed_server_are_removed_by_the_next(tmp_path):
    (tmp_path / "old.lock").touch()
    (tmp_path / "old.log").touch()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "k1.json").touch()
    remove_remains(tmp_path / "new.sock")
    assert list(tmp_path.iterdir()) == []


@SLOW
def test_folder_that_others_may_write_to_stays_empty_and_the_next_place_has_the_server(make_project, mlnb):
    places = [Path(tempfile.mkdtemp(prefix="tk-", dir="/tmp")) for _ in range(2)]
    told = dict(zip(("XDG_RUNTIME_DIR", "TMPDIR"), map(str, places), strict=True))
    opened, used = (place / f"mlnb-{os.getuid()}" for place in places)
    opened.mkdir()
    opened.chmod(0o777)
    project = make_project({"10_a.ipynb": ["from mlnb import save\nsave('x', 1)"]})
    done = mlnb("run", "demo", cwd=project.root, **told)
    assert (done.code, "cold" in done.stderr, list(opened.iterdir())) == (0, False, []), done.stderr
    assert list(used.glob("*.sock")) and used.stat().st_mode & 0o777 == 0o700
    assert mlnb("kernels", "stop", "--force", cwd=project.root, **told).code == 0
    assert [list(place.rglob("*.sock")) for place in places] == [[], []]


def test_identity_follows_what_the_interpreter_reads_at_its_start(monkeypatch):
    before = server_identity()
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    assert server_identity() != before
    assert server_address("0" * 64).parent == server_folder()


def test_kernelspec_gives_jupyter_a_warm_kernel_that_survives_a_restart(
    make_project, runtime, monkeypatch, tmp_path
):
    from jupyter_client import BlockingKernelClient, KernelManager

    from mlnb.kernel.provisioner import install_kernelspec

    for name, place in runtime.items():
        monkeypatch.setenv(name, place)
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    assert (install_kernelspec(for_user=True) / "kernel.json").exists()
    project = make_project({"10_a.ipynb": ["import pandas"]})
    manager = KernelManager(kernel_name="mlnb")
    manager.start_kernel(
        cwd=str(project.root / "nbs"), env=os.environ | {"JPY_SESSION_NAME": "nbs/10_a.ipynb"}
    )
    client: BlockingKernelClient = manager.client()
    client.start_channels()
    try:
        for _ in range(2):
            client.wait_for_ready(timeout=60)
            assert manager.provisioner.lease is not None
            messages = []
            client.execute_interactive(
                "import os, sys; print(os.path.basename(os.getcwd()), 'pandas' in sys.modules, 'x' in "
                "globals()); x = 1",
                timeout=60,
                output_hook=messages.append,
            )
            said = [m["content"]["text"] for m in messages if m["msg_type"] == "stream"]
            assert said == ["nbs True False\n"]
            manager.restart_kernel(now=True)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_running_servers_of_a_fresh_folder_are_none(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("rt")))
    assert running_servers() == []
    assert Path(server_folder()).stat().st_mode & 0o777 == 0o700
