"""Where and when: projects that cannot be written, kernels that notebooks name, modules that a stage writes,
and the commit that a run was made from."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_records import as_run

from mlnb.notebook.cells import parse_cell
from mlnb.notebook.kernel_name import replaced_kernel, said_language, unknown_kernels_line
from mlnb.notebook.magics import kind_of_line, magic_problems, magics_of
from mlnb.store import git_state
from mlnb.store.errors import IntegrityError
from mlnb.store.git_state import LONGEST_S, MOST_NAMES, git_line, noting_git, repository_of
from mlnb.store.run_entries import GitStanding

SOME = settings(max_examples=60, deadline=None)
OURS = "from mlnb import load, save"
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


# -- a project that cannot be written


def closed_shell(script, cwd):
    "Run a script of the shell in a folder that nobody can write; skips where the system does not allow it."
    return mounting_shell(f"mount --bind . . && mount -o remount,ro,bind . && cd $PWD && {script}", cwd)


def mounting_shell(script, cwd):
    "Run a script of the shell that mounts something, for itself alone."
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLNB_")} | {"NO_COLOR": "1"}
    tried = subprocess.run(["unshare", "-m", "true"], capture_output=True, cwd="/")
    if tried.returncode:
        pytest.skip("a read-only folder needs the right to mount")
    return subprocess.run(
        ["unshare", "-m", "bash", "-c", script], cwd=cwd, env=environment, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def fresh(make_shared_project, mlnb):
    "A project of two stages with everything fresh."
    stages = {
        "10_a.ipynb": [OURS, "import helper\nsave('a', helper.one())"],
        "20_b.ipynb": [OURS, "save('b', load('a') + 1)"],
    }
    project = make_shared_project(stages)
    (project.root / "nbs" / "helper.py").write_text("def one():\n    return 1\n")
    assert mlnb("run", "demo", cwd=project.root).code == 0
    return project


ASK_ALL = """
import json, sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from mlnb.cli import run_command
told = []
for words in json.loads(sys.argv[1]):
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        code = run_command(words)
    told.append([words, code, out.getvalue(), err.getvalue()])
print(json.dumps(told))
"""


def ask_closed(project, *commands):
    "What commands come to, one after the other, in a project that cannot be written."
    listed = json.dumps([command.split() for command in commands])
    script = f"{sys.executable} -c '{ASK_ALL}' '{listed}'"
    done = closed_shell(script.replace("\n\n", "\n"), project.root)
    assert done.returncode == 0, done.stderr
    return {" ".join(words): (code, out, err) for words, code, out, err in json.loads(done.stdout)}


def test_read_only_project_with_everything_fresh_is_run_and_leaves_no_trace(fresh):
    before = sorted(path for path in fresh.root.rglob("*"))
    told = ask_closed(fresh, "run demo --json", "run demo --force", "publish", "status --json")
    code, out, _ = told["run demo --json"]
    document = json.loads(out)
    assert (code, document["state"], document["run"], document["head"]) == (0, "committed", None, True)
    assert [entry["state"] for entry in document["stages"]] == ["cached", "cached"]
    code, _, said = told["run demo --force"]
    assert code == 69 and "read-only" in said and "`store`" in said
    code, _, said = told["publish"]
    assert code == 69 and "/reports" in said and "set `reports`" in said and "`store`" not in said
    assert told["status --json"][0] == 0
    assert sorted(path for path in fresh.root.rglob("*")) == before


def test_failed_run_in_a_read_only_project_with_its_store_elsewhere_says_why_there_is_no_copy(
    make_project, tmp_path
):
    store = tmp_path / "store"
    project = make_project(
        {"10_a.ipynb": ["1 / 0"]}, f"[mlnb]\nstore = {store}\n[pipeline.demo]\nnotebooks = nbs\n"
    )
    done = closed_shell(f"{sys.executable} -m mlnb run demo --json", project.root)
    (entry,) = json.loads(done.stdout)["stages"]
    assert (done.returncode, entry["state"], entry["opened"]) == (1, "failed", None)
    assert entry["error"]["ename"] == "ZeroDivisionError" and "read-only" in entry["not_opened"]
    assert f"(no copy for JupyterLab: {entry['not_opened']})" in done.stderr
    assert done.stderr.count("Traceback") == 1 and Path(entry["notebook"]).is_file()  # that of the cell


def test_first_project_in_an_environment_that_cannot_be_written_runs_after_one_notice(tmp_path):
    jupyter = Path(sys.prefix, "share", "jupyter")
    jupyter.mkdir(parents=True, exist_ok=True)
    mlnb = f"{sys.executable} -m mlnb"
    script = f"mount -t tmpfs -o ro none {jupyter} && {mlnb} init shop && cd shop"
    done = mounting_shell(
        f"{script} && {mlnb} run first --only sales --cold && {mlnb} check && ! {mlnb} kernels install",
        tmp_path,
    )
    assert done.returncode == 0 and "committed, 1 run" in done.stdout, done.stderr
    notices = [line for line in done.stderr.splitlines() if "mlnb" in line]
    assert len(notices) == 3 and "`mlnb kernels install --user` makes it known" in notices[0]
    assert "cannot be installed in" in notices[1] and "Read-only" in notices[1] and "--user" in notices[2]


READING = ["status", "why a", "params demo", "check", "dag demo", "runs", "show latest", "artifacts", "get b"]
READING += [
    "lineage b",
    "verify",
    "diff latest latest",
    "audit",
    "run demo",
    "run demo --dry-run",
    "gc --dry-run",
]
READING += ["run demo --to a", "run demo --only a --json", "status --json", "runs --compare latest"]


@pytest.mark.slow
def test_every_verb_that_reads_works_in_a_read_only_project(fresh):
    told = ask_closed(fresh, *READING)
    assert {command: code for command, (code, _, _) in told.items()} == dict.fromkeys(READING, 0)
    assert not any("Traceback" in err for _, _, err in told.values())


@pytest.mark.slow
def test_head_that_cannot_be_moved_is_said_and_nothing_else_fails(make_project, mlnb):
    project = make_project({"10_a.ipynb": [("parameters", "n: int = 1"), OURS, "save('a', n)"]})
    assert mlnb("run", "demo", "-p", "n", "2", cwd=project.root).code == 0
    project.settings("[mlnb]\n[pipeline.demo]\nnotebooks = nbs\n[profile.two.demo]\nn = 2\n")
    told = ask_closed(project, "run demo --profile two", "run demo")
    code, out, _ = told["run demo --profile two"]
    assert code == 0 and "the head stays, because the file system is read-only" in out
    assert told["run demo"][0] == 69  # there is something to do


def test_anchor_and_checkpoint_of_a_closed_store_blame_the_store(fresh, tmp_path, mlnb):
    root, stick = shutil.copytree(fresh.root, tmp_path / "closed"), tmp_path / "stick"
    stick.mkdir()
    assert mlnb("audit", "init", cwd=root).code == 0
    audit = f"{sys.executable} -m mlnb audit"
    told = closed_shell(
        f"{audit} anchor {stick}/; echo $?; {audit} checkpoint --out {stick}/c; echo $?", root
    )
    assert (told.stdout.split(), list(stick.iterdir())) == (["69", "69"], [])
    assert told.stderr.count("the file system is read-only at") == 2 and f"{stick}" not in told.stderr


# -- the kernel that a notebook names


def kernel_file(folder, name, command, language="python"):
    (folder / name).mkdir(parents=True, exist_ok=True)
    spec = {"argv": [command, "-m", "x"], "display_name": name}
    (folder / name / "kernel.json").write_text(
        json.dumps(spec | ({"language": language} if language else {}))
    )


# what is installed under the name -> what is said to be replaced
INSTALLED = {
    "another python": (("/bin/sh", "python"), "the interpreter /bin/sh"),
    "another python without a language": (("/bin/sh", None), "the interpreter /bin/sh"),
    "a python that is gone": (
        ("/opt/o/bin/python3", "python"),
        "the interpreter /opt/o/bin/python3, which does not exist",
    ),
    "a launcher": (("conda", "python"), "the interpreter conda"),
    "another language": ((sys.executable, "R"), "a kernel for R"),
    "this python": ((sys.executable, "python"), ""),
    "a bare python": (("python3", "python"), ""),
    "another spelling": ((sys.executable, "IPython3"), ""),
}


@pytest.mark.parametrize("case", INSTALLED)
def test_kernel_of_this_machine_is_replaced_only_by_itself(tmp_path, case):
    (command, language), said = INSTALLED[case]
    for name in ("mine", "python3", "mlnb"):
        kernel_file(tmp_path, name, command, language)
    assert replaced_kernel("mine", [tmp_path]) == said == replaced_kernel("Mine", [tmp_path])
    assert [replaced_kernel(name, [tmp_path]) for name in ("python3", "mlnb", "", "elsewhere")] == [""] * 4


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b'{"argv": []}', b'{"argv": [1]}', b'{"argv": "python"}', b"\xff"]
)
def test_kernel_file_that_is_none_counts_as_not_installed(tmp_path, content):
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "kernel.json").write_bytes(content)
    assert replaced_kernel("odd", [tmp_path]) == ""
    assert "`odd`" in unknown_kernels_line(["odd"], [tmp_path])


@pytest.mark.parametrize("name", ["../x", "a/b", ".", "..", "x\0y", "x" * 300, "é", " "])
def test_name_that_is_no_name_of_a_kernel_is_looked_up_nowhere(tmp_path, name):
    kernel_file(tmp_path.parent, "x", "/opt/other/bin/python")
    assert replaced_kernel(name, [tmp_path / "kernels", tmp_path]) == ""


ODD = [None, 3, [], {}, "python3", True]


@pytest.mark.parametrize("spec", ODD)
@pytest.mark.parametrize("about", [*ODD, {"name": None}, {"name": 7}])
def test_metadata_of_any_form_is_python(spec, about):
    assert said_language({"kernelspec": spec, "language_info": about}) == ""
    assert (
        said_language({"kernelspec": {"name": spec, "language": spec if spec != "python3" else None}}) == ""
    )


def test_kernel_of_another_interpreter_is_refused_and_others_are_named_once(make_project, asked, monkeypatch):
    from mlnb.notebook import kernel_name

    project = make_project({"10_a.ipynb": [OURS, "save('a', 1)"]})
    kernel_file(project.root / "kernels", "other-env", "/opt/other/bin/python")
    monkeypatch.setattr(kernel_name, "kernel_folders", lambda: (project.root / "kernels",))
    monkeypatch.setattr("mlnb.notebook.pipeline.kernel_folders", kernel_name.kernel_folders)
    for n, name in enumerate(["colab", "venv (3.12)", "colab", "python3"]):
        metadata = {"kernelspec": {"name": name, "display_name": name, "language": "python"}}
        project.stage(f"nbs/{20 + n}_s{n}.ipynb", "x = 1", metadata=metadata)
    found = asked("check", "--json", cwd=project.root)
    assert (found.code, found.json["problems"], found.stderr.count("not installed here")) == (0, [], 1)
    assert "3 notebooks name kernels not installed here (`colab`, `venv (3.12)`)" in found.stderr
    metadata = {"kernelspec": {"name": "other-env", "display_name": "x", "language": "python"}}
    project.stage("nbs/30_t.ipynb", "x = 1", metadata=metadata)
    found = asked("run", "demo", "--json", cwd=project.root)
    assert (found.code, [p["rule"] for p in found.json["problems"]]) == (2, ["other-kernel"])
    assert "/opt/other/bin/python" in found.json["problems"][0]["message"]


@pytest.mark.slow
@pytest.mark.parametrize("warm", [(), ("--cold",)])
def test_notebooks_without_a_kernel_run_in_mlnb_s_own_interpreter(make_project, mlnb, warm):
    project = make_project({})
    metas = [{}, {"kernelspec": None}, {"kernelspec": "python3"}, {"language_info": {"name": "python"}}]
    metas += [{"kernelspec": {"name": "colab"}}, {"kernelspec": {"name": "x", "language": "python3"}}]
    code = {"cell_type": "code", "id": "a", "metadata": {}, "outputs": [], "execution_count": None}
    for n, metadata in enumerate(metas):
        cell = code | {"source": f"import sys\nfrom mlnb import save\nsave('p{n}', sys.executable)"}
        about = {"cells": [cell], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
        (project.root / "nbs" / f"{10 + n}_s{n}.ipynb").write_text(json.dumps(about))
    done = mlnb("run", "demo", "-j", "2", *warm, cwd=project.root)
    assert done.code == 0, done.stdout + done.stderr
    for n in range(len(metas)):
        assert sys.executable in mlnb("get", f"p{n}", cwd=project.root).stdout


# -- modules that a stage writes itself

WRITERS = {
    "cell magic": ["%%writefile m.py\ndef f(): return 1"],
    "cell magic twice": ["%%writefile m.py\ndef f(): return g()", "%%writefile -a m.py\ndef g(): return 1"],
    "open": ["with open('m.py', 'w') as file:\n    file.write('def f(): return 1')"],
    "open at once": ["_ = open('m.py', 'w').write('def f(): return 1')"],
    "pathlib": ["from pathlib import Path\n_ = Path('m.py').write_text('def f(): return 1')"],
    "shell": ["!echo 'def f(): return 1' > m.py"],
    "script": ["%%bash\necho 'def f(): return 1' > m.py"],
    "package": [
        "import os\nos.makedirs('m', exist_ok=True)",
        "_ = open('m/__init__.py', 'w').write('def f(): return 1')",
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WRITERS)
@pytest.mark.parametrize("is_other", [False, True])
def test_module_that_a_stage_writes_counts_by_the_cell_that_writes_it(make_project, mlnb, way, is_other):
    use = "import m\nsave('b', m.f())"
    stages = {"10_a.ipynb": [OURS, *WRITERS[way], "save('a', 1)" if is_other else use]}
    stages |= {"20_b.ipynb": [OURS, f"n = load('a')\n{use}"]} if is_other else {}
    project = make_project(stages)
    first = mlnb("run", "demo", "--json", cwd=project.root)
    assert first.code == 0, first.stderr
    again = mlnb("run", "demo", "--json", cwd=project.root)
    assert {*again.states.values()} == {"cached"}
    notebook = project.root / "nbs" / "10_a.ipynb"
    notebook.write_text(notebook.read_text().replace("return 1", "return 7"))
    stale = {one["name"]: one["state"] for one in mlnb("status", "--json", cwd=project.root).json["stages"]}
    assert "fresh" not in stale.values()
    assert mlnb("run", "demo", cwd=project.root).code == 0
    assert mlnb("get", "b", cwd=project.root).stdout.split()[-1] == "7"
    assert {*mlnb("run", "demo", "--json", cwd=project.root).states.values()} == {"cached"}


# -- magics

SHOWING = """
%matplotlib inline
%matplotlib
%autosave 0
%load_ext autoreload
%reload_ext autoreload
%autoreload 2
%time x = 1
%timeit 1 + 1
%config InlineBackend.figure_format = 'retina'
%precision 3
%xmode Minimal
%pdb off
%who
%whos DataFrame
%pwd
%ls
%ls -la data
%pip list
%pip show pandas
%pip --version
%conda list
%history -n 1-3
x?
x??
%lsmagic
!pwd
!ls
!ls -la data | head -3
!ls *.csv | wc -l
!/bin/ls
!pip list
!pip freeze | grep -i torch
!pip3 show pandas
!python --version
!python -m pip list
!python3 -V
!conda info --envs
!conda env list
!nvidia-smi
!nvcc --version
!git log -1
!git status
!git rev-parse HEAD
!echo done
!date
!whoami; hostname
!df -h && free -g
!which python 2>/dev/null
!java -version 2>&1
!du -sh . 2> /dev/null
"""
SHOWING_CELLS = [
    "%%time\nx = 1",
    "%%timeit -n 1\nx = 1",
    "%%capture\nx = 1",
    "%%html\n<b>x</b>",
    "%%latex\nx",
    "%%javascript\n1",
]
CHANGING = {
    "installs": """
!pip install seaborn
!pip3 install -q seaborn
!python -m pip install seaborn
!{sys.executable} -m pip install seaborn
!sudo apt-get install -y graphviz
!conda install -y x
!uv pip install x
!pip list; pip install x
%pip install x
%conda install x
!pip uninstall -y x
""",
    "moves": "\n%cd data\n%pushd data\n%popd\n",
    "environment": "\n%env KEY=1\n%env KEY\n%set_env KEY 1\n%dotenv\n",
    "runs": """
!cat f.csv
!head -3 f.csv
!wget https://example.org/x
!curl -O https://example.org/x
!ls > files.txt
!echo x >> f
!make
!python script.py
!git clone https://example.org/x
!git pull
!rm -rf data
!ls | xargs rm
!unzip data.zip
files = !ls
here = !pwd
names = %ls
%run $name
""",
    "unread": "\n%mystery\n%sql SELECT 1\n%memit f()\n%lprun -f f f()\n%pylab inline\n",
}
CHANGING |= {"files": "\n%load x.py\n%save x.py 1\n%loadpy x.py\n", "keeps": "\n%store x\n%store -r x\n"}
CHANGING_CELLS = {
    "runs": ["%%bash\nls", "%%sh\nls", "%%perl\n1", "%%script node\n1"],
    "unread": ["%%cython\n1", "%%R\n1"],
}


@pytest.mark.parametrize("source", [*SHOWING.split("\n")[1:-1], *SHOWING_CELLS])
def test_magic_that_only_shows_is_never_warned_of(source):
    assert list(magic_problems([(1, parse_cell(source))])) == []


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        (kind, source)
        for kind, text in CHANGING.items()
        for source in [*text.split("\n")[1:-1], *CHANGING_CELLS.get(kind, [])]
    ],
)
def test_magic_that_may_change_a_result_is_warned_of_with_a_mend(kind, source):
    assert {magic.kind for magic in magics_of(parse_cell(source))} == {kind}
    (found,) = magic_problems([(3, parse_cell(source))])
    assert (found.rule, found.level, found.cell) == ("opaque-magic", "warning", 3)
    assert found.mend and found.message.startswith("`")


def test_a_notebook_is_warned_once_of_each_kind(make_project, asked):
    cells = [f"%matplotlib inline\n!cat {n}.csv\n!wget {n}\n%cd {n}" for n in range(9)]
    project = make_project({"10_a.ipynb": [OURS, *cells], "20_b.ipynb": ["!cat x"]})
    found = asked("check", "--json", cwd=project.root).json["problems"]
    assert [(p["file"][-7:], p["cell"], p["cell_id"]) for p in found] == [
        ("a.ipynb", 2, "cell-2"),
        ("a.ipynb", 2, "cell-2"),
        ("b.ipynb", 1, "cell-1"),
    ]
    assert found[0]["message"].startswith("`!cat`, `!wget` (cells 2, 3, 4, 5, 6…) run a program")


@SOME
@given(st.text(alphabet="abc ls|;&<>$`'\"\\\\-/=!%\n{}()", max_size=40))
def test_any_line_for_the_shell_has_a_kind(line):
    assert kind_of_line(line) in ("shows", "installs", "runs")


# -- what git says


def git(*words, cwd):
    about = ("-c", "user.name=Ada", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")
    about += ("-c", "protocol.file.allow=always")
    subprocess.run(["git", *about, *words], cwd=cwd, check=True, capture_output=True)


PLAIN = {"pipeline": "demo", "state": "committed"}


def told_of(root, **options):
    told = []
    with noting_git(told.append, root, **options):
        pass
    (said,) = told
    return said


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    "A repository with one commit, and a project in a folder of it."
    root = tmp_path_factory.mktemp("git") / "top"
    (root / "shop" / "nbs").mkdir(parents=True)
    (root / "shop" / "settings.ini").write_text("[mlnb]\n")
    (root / "other.txt").write_text("1")
    git("init", cwd=root)
    git("add", ".", cwd=root)
    git("commit", "-m", "one", cwd=root)
    return root


def copied(repository, tmp_path):
    return shutil.copytree(repository, tmp_path / "top", symlinks=True)


@needs_git
def test_clean_changed_new_deleted_and_staged_files_of_the_project_are_named(repository, tmp_path):
    root = copied(repository, tmp_path)
    clean = told_of(root / "shop")
    assert (clean.branch, clean.dirty, clean.n_dirty, len(clean.commit)) == ("main", (), 0, 40)
    (root / "other.txt").write_text("2")  # not of the project
    (root / "shop" / "settings.ini").write_text("[mlnb]\n# more\n")
    (root / "shop" / "nbs" / "10 a\n.ipynb").write_text("{}")
    (root / "shop" / "nbs" / os.fsdecode(b"\xff.csv")).write_text("")
    for apart in (".mlnb", "reports"):
        (root / "shop" / apart).mkdir()
        (root / "shop" / apart / "x").write_text("")
    git("add", "shop/nbs", cwd=root)
    own = (root / "shop" / ".mlnb", root / "shop" / "reports")
    dirty = told_of(root / "shop", apart=own)
    assert dirty.dirty == ("nbs/10 a\n.ipynb", "nbs/\\xff.csv", "settings.ini")
    json.dumps(dirty.as_dict()).encode()
    assert told_of(root).n_dirty == 6


@needs_git
def test_detached_unborn_worktree_and_submodule_are_told_apart(repository, tmp_path):
    root = copied(repository, tmp_path)
    git("worktree", "add", "-b", "side", str(tmp_path / "side"), cwd=root)
    assert told_of(tmp_path / "side" / "shop").branch == "side"
    git("init", str(tmp_path / "outer"), cwd=tmp_path)
    assert told_of(tmp_path / "outer") == GitStanding(None, "main", (), 0)
    git("submodule", "add", str(repository), "part", cwd=tmp_path / "outer")
    assert told_of(tmp_path / "outer" / "part" / "shop").branch == "main"
    git("checkout", "--detach", cwd=root)
    assert told_of(root / "shop").branch is None


@needs_git
def test_nothing_is_said_outside_of_a_repository_in_a_bare_one_and_in_a_broken_one(repository, tmp_path):
    assert told_of(tmp_path) is None
    git("init", "--bare", str(tmp_path / "bare"), cwd=tmp_path)
    assert told_of(tmp_path / "bare") is None
    (tmp_path / "broken").mkdir()
    for content in ("gitdir: /nowhere", "", "\0"):
        (tmp_path / "broken" / ".git").write_text(content)
        assert told_of(tmp_path / "broken") is None


def test_nothing_is_said_without_git(tmp_path, monkeypatch):
    (tmp_path / ".git").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert told_of(tmp_path) is None


@needs_git
def test_variables_of_a_hook_and_programs_of_the_repository_change_nothing(repository, tmp_path, monkeypatch):
    root = copied(repository, tmp_path)
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\n")
    trap.chmod(0o755)
    for hook in ("post-index-change", "fsmonitor-watchman"):
        (root / ".git" / "hooks").mkdir(exist_ok=True)
        shutil.copy(trap, root / ".git" / "hooks" / hook)
    for name in ("core.fsmonitor", "core.pager", "core.editor", "core.sshCommand"):
        git("config", name, str(trap), cwd=root)
    (tmp_path / "sprung").unlink(missing_ok=True)  # `git config` itself may have run some of them
    os.utime(root / "shop" / "settings.ini", (1, 1))  # the index would be written anew
    index = (root / ".git" / "index").read_bytes()
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_OBJECT_DIRECTORY"):
        monkeypatch.setenv(name, "/nowhere")
    assert told_of(root / "shop").dirty == ()
    assert (root / ".git" / "index").read_bytes() == index
    assert not (tmp_path / "sprung").exists()


@needs_git
def test_names_are_capped_and_their_number_is_not(repository, tmp_path):
    root = copied(repository, tmp_path)
    (root / "shop" / "nbs" / "kept").write_text("")
    git("add", "shop/nbs/kept", cwd=root)
    for n in range(MOST_NAMES + 20):
        (root / "shop" / "nbs" / f"{n:03}.csv").write_text("")
    found = told_of(root / "shop")
    assert (len(found.dirty), found.n_dirty) == (MOST_NAMES, MOST_NAMES + 21)
    assert git_line(found).endswith("001.csv, nbs/002.csv and 118 more")


SLOW_GIT = """#!/bin/sh
case "$*" in *status*) sleep 60 & echo $! > {pid}; wait;; *) exec {git} "$@";; esac
"""


@needs_git
def test_git_that_takes_too_long_is_ended_with_what_it_started(repository, tmp_path, monkeypatch):
    root, pid = copied(repository, tmp_path), tmp_path / "pid"
    (tmp_path / "bin").mkdir()
    slow = tmp_path / "bin" / "git"
    slow.write_text(SLOW_GIT.format(pid=pid, git=shutil.which("git")))
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(git_state, "LONGEST_S", 0.3)
    found = told_of(root / "shop")
    assert (found.branch, found.dirty, found.n_dirty) == ("main", None, None)
    assert git_line(found).endswith("of main, changes unknown")
    with pytest.raises(ProcessLookupError):
        for _ in range(100):  # until the system has taken it away
            os.kill(int(pid.read_text()), 0)
            time.sleep(0.02)


def test_document_of_somebody_else_cannot_break_the_line():
    for state in (None, {}, {"commit": None}, {"dirty": None}):
        assert isinstance(git_line(as_run(PLAIN | {"git": state}).git), str)
    for state in ("x", [], 3):
        with pytest.raises(IntegrityError, match=r"`\$\.git`"):
            as_run(PLAIN | {"git": state})
    assert LONGEST_S <= 5 and repository_of(git_state.Path("/")) is None


@needs_git
@pytest.mark.slow
def test_run_names_its_commit_in_every_place_and_a_run_without_work_asks_nothing(make_project, mlnb):
    project = make_project(
        {"10_a.ipynb": [OURS, "save('a', 1)"], "20_b.ipynb": [OURS, "1 / load('a')\n1 / 0"]}
    )
    git("init", cwd=project.root)
    git("add", ".", cwd=project.root)
    git("commit", "-m", "one", cwd=project.root)
    first = mlnb("run", "demo", "--to", "a", "--json", cwd=project.root).json
    assert first["git"]["dirty"] == [] and first["git"]["branch"] == "main"
    (project.root / "nbs" / "new.py").write_text("")
    failed = mlnb("run", "demo", "--json", cwd=project.root)
    assert (failed.code, failed.json["git"]["dirty"]) == (1, ["nbs/new.py"])
    assert "git" not in mlnb("run", "demo", "--to", "a", "--json", cwd=project.root).json
    commit = first["git"]["commit"]
    assert f"commit {commit[:12]} of main" in mlnb("show", first["run"], cwd=project.root).stdout
    runs = {one["run"]: one["git"] for one in mlnb("runs", "--json", cwd=project.root).json["runs"]}
    assert runs[first["run"]] == first["git"] and None in runs.values()
    found = mlnb("diff", first["run"], failed.json["run"], "--json", cwd=project.root).json["git"]
    assert found == [{"name": "changed files", "a": None, "b": "nbs/new.py"}]
    assert mlnb("publish", cwd=project.root).code == 0
    for page in (project.root / "reports").rglob("*.html"):
        if page.stem in ("a", "b"):
            assert commit[:12] in page.read_text()
