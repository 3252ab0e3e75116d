"""What is written out is followed: files of an import, and folders that are searched, are those of Python."""

import ast
import importlib
import json
import os
import random
import sys
import time
from importlib.machinery import EXTENSION_SUFFIXES, PathFinder
from itertools import product
from pathlib import Path

import pytest

from mlnb.flow.dependencies import dependencies
from mlnb.notebook.by_name import _CALLED, may_name
from mlnb.notebook.imports import module_files, read_module
from mlnb.notebook.reach import read_reach, scripts_of
from mlnb.notebook.stage import Stage, read_stage

SUFFIXES = (".py", ".pyc", ".so", *EXTENSION_SUFFIXES[:2])
NAMES = [".".join(parts) for n in (1, 2, 3) for parts in product("ab", repeat=n)]


def files_by_python(dotted: str, folders: list[Path]) -> dict[str, Path]:
    "What Python's own finder gives for each part of a name, one below the other."
    found, places, parts = {}, [str(folder) for folder in folders], dotted.split(".")
    for n, part in enumerate(parts, 1):
        spec = PathFinder.find_spec(part, places)
        if spec is None:
            return found
        if spec.has_location:
            found[".".join(parts[:n])] = Path(spec.origin)
        places = list(spec.submodule_search_locations or ())
        if not places:
            return found
    return found


def put_anything(folder: Path, rng: random.Random) -> None:
    "A module, a package or an empty folder somewhere below a folder, unless something is in its way."
    parts = [rng.choice("ab") for _ in range(rng.randint(1, 3))]
    is_package = len(parts) > 1 and rng.random() < 0.5
    name = "__init__" if is_package else parts[-1]
    path = folder.joinpath(*parts[:-1], name + rng.choice(("", *SUFFIXES)))
    if any(parent.is_file() for parent in path.parents) or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix and rng.random() < 0.9:
        path.touch()
    else:
        path.mkdir()


@pytest.mark.parametrize(
    "seed", [pytest.param(7, id="quick"), *(pytest.param(n, marks=pytest.mark.slow) for n in range(8))]
)
def test_files_of_a_module_are_those_that_python_finds(seed, tmp_path):
    rng, n_found = random.Random(seed), 0
    for n in range(15 if seed == 7 else 300):
        folders = [tmp_path / f"{n}" / name for name in "123"]
        for folder in folders * 4:
            put_anything(folder, rng)
        sys.path_importer_cache.clear()
        importlib.invalidate_caches()
        for dotted in NAMES:
            expected = files_by_python(dotted, folders)
            assert module_files(dotted, folders) == expected, (
                dotted,
                sorted(tmp_path.joinpath(f"{n}").rglob("*")),
            )
            n_found += len(expected) > 1
    assert n_found > 10


def test_a_compiled_module_counts_by_its_bytes(tmp_path):
    path = tmp_path / "fast.so"
    path.write_bytes(b"\x7fELF import shop")
    first = read_module(path, "")
    path.write_bytes(b"\x7fELF import shop, pandas")
    assert (first[1], read_module(path, "")[1]) == ([], [])
    assert first[0] != read_module(path, "")[0]


@pytest.mark.parametrize("source", [b"x = '\0'", b"x = (", b"\xff", b"-" * 60_000 + b"1"])
def test_a_module_that_cannot_be_parsed_counts_by_its_bytes(source, tmp_path):
    (tmp_path / "bad.py").write_bytes(source)
    assert read_module(tmp_path / "bad.py", "") == (read_module(tmp_path / "bad.py", "pkg")[0], [])


# What is written out, and what Python makes of it

SET_UP = "import sys, os, site, os.path as osp\nfrom pathlib import Path\nfrom os import path as p\n"
PLACES = (
    ("'lib'", "str(Path('lib'))", "osp.abspath('lib')", "os.getcwd() + '/lib'"),
    ("'../lib'", "str(Path.cwd().parent / 'lib')", "p.join(os.pardir, 'lib')"),
    ("'..'", "os.path.dirname(os.getcwd())", "Path('..').as_posix()", "os.path.realpath(os.pardir)"),
    ("str(Path('../a').resolve())", "str(Path('../a/').absolute())"),
    ("p.join('a', 'b')", "f'{Path()}/a/b'"),
    ("f'{UP}/c'", "str(Path(UP).joinpath('c'))"),
    ("UP + '/d'", "osp.normpath(osp.join(UP, 'd', 'e', '..'))"),
    ("str(Path().absolute().parents[1])", "os.path.dirname(os.path.dirname(osp.abspath('')))"),
    ("str(PATHS / 'x')", "os.fspath(PATHS / 'x')"),
)  # in each line, ways to write one place
CHANGES = (
    "sys.path.append({0})",
    "sys.path.insert(0, {0})",
    "sys.path.insert(1, {0})",
    "sys.path.extend([{0}, {1}])",
    "sys.path += [{0}, {1}]",
    "sys.path = [{0}] + sys.path",
    "sys.path = [{0}, *sys.path, {1}]",
    "sys.path = sys.path + [{0}]",
    "sys.path[:0] = [{0}, {1}]",
    "sys.path[0:0] = [{0}]",
    "sys.path[:] = [*sys.path, {0}]",
    "for place in ({0}, {1}):\n    if place not in sys.path:\n        sys.path.insert(0, place)",
    "[sys.path.append(place) for place in [{0}, {1}]]",
    "from sys import path as q\nq.append({0})",
    "import sys as s\ns.path.append({0})",
    "if {0} not in sys.path: sys.path.append({0})",
)


def changed_path(source: str, folder: Path, monkeypatch) -> tuple[list[str], list[str]]:
    "What a program puts in front of `sys.path` of a kernel and behind it, as absolute paths."
    own = ["/python.zip", "/python", "/python/lib-dynload", "", "/root", "/site-packages"]
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(own))
    exec(source, {})
    here, root = sys.path.index(""), sys.path.index("/root")
    first, last = sys.path[:here], sys.path[root + 1 :]
    return [absolute(one, folder) for one in first if one not in own], [
        absolute(one, folder) for one in last if one not in own
    ]


def absolute(place: str, folder: Path) -> str:
    "A place as seen from a folder."
    return os.path.normpath(os.path.join(folder, place))


def once(places: list[str]) -> list[str]:
    "Each place once; the first counts."
    return list(dict.fromkeys(places))


@pytest.mark.parametrize(
    "seed", [pytest.param(7, id="quick"), *(pytest.param(n, marks=pytest.mark.slow) for n in range(8))]
)
def test_folders_are_those_that_the_program_searches(seed, tmp_path, monkeypatch):
    rng, folder = random.Random(seed), tmp_path.resolve() / "a" / "b"
    folder.mkdir(parents=True)
    for _ in range(60 if seed == 7 else 1000):
        places = [rng.choice(ways) for ways in rng.sample(PLACES, 6)]
        lines = [rng.choice(CHANGES).format(*places[2 * n :]) for n in range(rng.randint(1, 3))]
        source = "\n".join([SET_UP, "UP = '..'", "PATHS = Path('y')", *lines])
        with monkeypatch.context() as patch:
            first, last = changed_path(source, folder, patch)
        reach = read_reach([(1, ast.parse(source))])
        assert not reach.is_path_computed, source
        assert once([absolute(one, folder) for one in reach.search_first]) == once(first), source
        assert once([absolute(one, folder) for one in reach.search_last]) == once(last), source


NOT_WRITTEN = ("os.environ['LIB']", "osp.expanduser('~/lib')", "Path.home()", "sys.argv[1]", "f()", "name")


@pytest.mark.parametrize("change", CHANGES)
def test_a_folder_that_is_not_written_out_is_said_to_be_unread(change):
    for place in NOT_WRITTEN:
        source = SET_UP + change.format(place, place)
        assert read_reach([(1, ast.parse(source))]).is_path_computed, source


@pytest.mark.parametrize(
    "source",
    [
        "import sys\nprint(sys.path)\nn = len(sys.path)\nold = list(sys.path)",
        "from os import path\npath.join('a', 'b')",
        "import shop\nshop.path.append(f())\nshop.path += [f()]",
        "path = []\npath.append(f())\npath += [f()]\ndel path[0]",
        "def f(path):\n    path.append(g())\n    path = [1]",
    ],
)
def test_what_is_not_the_path_changes_nothing(source):
    reach = read_reach([(1, ast.parse(source))])
    assert (reach.search_first, reach.search_last, reach.is_path_computed) == ((), (), False)


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "x + " * 900 + "x",
        "a = b\n" * 50 + "b = a\nsys.path.append(a)",
        "\n".join(f"a{n} = a{n + 1} + a{n + 1}" for n in range(60)) + "\nimport sys\nsys.path.append(a0)",
        "import sys\nsys.path.append(" + "'a' + " * 900 + "'a')",
    ],
)
def test_strange_programs_are_read_in_no_time(text):
    started = time.monotonic()
    read_reach([(1, ast.parse(text))])
    assert time.monotonic() - started < 2


# Every way to a module of one's own

WAYS = {
    "append": "import sys\nsys.path.append('../lib')\nimport {0}",
    "addsitedir": "import site, pathlib\nLIB = pathlib.Path('..')\nsite.addsitedir(LIB / 'lib')\nimport {0}",
    "literal": "import sys, importlib\nsys.path.insert(0, '../lib')\nm = importlib.import_module('{0}')",
    "renamed": "import sys\nsys.path.insert(0, '../lib')\nfrom importlib import import_module as i\ni('{0}')",
    "dunder": "import sys\nsys.path[:0] = ['../lib']\n__import__('{0}')",
    "loop": "import sys, importlib\nsys.path += ['../lib']\nfor n in ['{0}']: importlib.import_module(n)",
    "run module": "import sys, runpy\nsys.path += ['../lib']\nrunpy.run_module('{0}')",
    "extension": "import sys\nsys.path += ['../lib']\n%load_ext {0}",
    "aimport": "import sys\nsys.path += ['../lib']\n%load_ext autoreload\n%aimport {0}",
    "magic -m": "import sys\nsys.path += ['../lib']\n%run -m {0}",
    "timed": "%%time\nimport sys\nsys.path += ['../lib']\nimport {0}",
    "cd": "%cd ../lib\nimport {0}",
    "chdir": "import os\nos.chdir('../lib')\nimport {0}",
    "function": "import sys\nsys.path += ['../lib']\ndef f():\n    import {0}\n    return {0}",
}
TOOLS = {
    "shell": "!python -m {0} --all",
    "own python": "!{{sys.executable}} -m {0}",
    "assigned": "lines = !python3 -m {0}",
    "bash": "%%bash\nset -e\npython -u -m {0}",
    "words": "import subprocess, sys\nsubprocess.run([sys.executable, '-m', '{0}'], check=True)",
    "named words": "import subprocess as s, sys\nwords = [sys.executable, '-m', '{0}', day]\ns.call(words)",
    "text": "from subprocess import check_output\ncheck_output('python -m {0}', shell=True)",
    "system": "import os\nos.system('cd .. && python -m {0}')",
    "async": "import asyncio, sys\nawait asyncio.create_subprocess_exec(sys.executable, '-m', '{0}')",
}
SCRIPTS = {
    "run": "%run ../lib/{0}.py 5",
    "run without suffix": "%run -i ../lib/{0}",
    "run path": "from runpy import run_path\nrun_path('../lib/{0}.py')",
    "run path object": "import runpy, pathlib as p\nrunpy.run_path(str(p.Path.cwd().parent / 'lib/{0}.py'))",
    "spec": "import importlib.util as u\nspec = u.spec_from_file_location('m', '../lib/{0}.py')",
    "process": "import subprocess, sys\nsubprocess.run([sys.executable, '../lib/{0}.py'])",
    "shell": "!python ../lib/{0}.py",
}


def project_with(tmp_path: Path, source: str, files: dict[str, str]) -> Stage:
    "The stage of a notebook with one cell, in a project with some files."
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    cells = [{"cell_type": "code", "source": text, "metadata": {}} for text in source.split("\n---\n")]
    spec = {"kernelspec": {"name": "python3", "language": "python"}}
    path = tmp_path / "nbs" / "10_a.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"nbformat": 4, "cells": cells, "metadata": spec}))
    return read_stage(path, "p", tmp_path)


def modules_of(stage: Stage, root: Path) -> dict[str, str]:
    "Own modules behind a stage, with their digests."
    return dependencies([*stage.imports, *stage.tools], stage.folders(root), {}).modules


@pytest.mark.parametrize("source", WAYS.values(), ids=WAYS)
def test_every_way_to_a_module_is_followed(source, tmp_path):
    stage = project_with(
        tmp_path, source.format("shared"), {"lib/shared.py": "import deeper", "lib/deeper.py": ""}
    )
    assert list(modules_of(stage, tmp_path)) == ["deeper", "shared"]
    assert (
        (stage.problems, stage.imports.keys() & {"autoreload"}) == ((), set())
        or "cd" in source
        or "autoreload" in source
    )


@pytest.mark.parametrize("source", TOOLS.values(), ids=TOOLS)
def test_every_way_to_a_tool_is_followed(source, tmp_path):
    files = {"tool/__init__.py": "", "tool/__main__.py": "from . import rules", "tool/rules.py": ""}
    stage = project_with(tmp_path, source.format("tool"), files)
    assert list(modules_of(stage, tmp_path)) == ["tool", "tool.__main__", "tool.rules"]
    assert "tool" not in stage.imports


@pytest.mark.parametrize("source", SCRIPTS.values(), ids=SCRIPTS)
def test_every_way_to_a_script_is_followed(source, tmp_path):
    stage = project_with(
        tmp_path, source.format("more"), {"lib/more.py": "import beside", "lib/beside.py": ""}
    )
    assert scripts_of(stage) == [tmp_path / "lib" / "more.py"]
    assert read_module(tmp_path / "lib" / "more.py", "")[1] == ["beside"]
    assert tmp_path / "lib" in stage.folders(tmp_path)


def test_all_functions_that_are_read_are_looked_for():
    for name in _CALLED:
        module, _, function = name.rpartition(".")
        source = f"from {module} import {function} as f\nf('a')" if module else f"{name}('a')"
        assert may_name(ast.walk(ast.parse(source))), source


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("%run more.py", []),
        ("%run {name}.py", ["%run"]),
        ("%run $name", ["%run"]),
        ("%run -m shop", []),
        ("%load_ext autoreload\n%load_ext shop", []),
        ("%load_ext {name}", ["%load_ext"]),
        ("%run more.py\n%matplotlib inline\n!make", ["!make"]),
        ("%autoreload 2\n%config InlineBackend.figure_format = 'svg'", []),
        ("!python -m shop", ["!python"]),
        ("%%writefile a.py\nx = 1", []),
    ],
)
def test_a_magic_that_is_followed_needs_no_warning(source, shown, tmp_path):
    stage = project_with(tmp_path, source, {})
    assert [p.message.split("`")[1] for p in stage.problems if p.rule == "opaque-magic"] == shown


@pytest.mark.parametrize(
    ("written", "imported", "is_left"),
    [
        ("made.py", "import made", False),
        ("-a made.py", "from made import f", False),
        ("../made.py", "import made", False),
        ("pkg/made.py", "import pkg.made", False),
        ("pkg/__init__.py", "from pkg import made", False),
        ("../lib/made.py", "import sys\nsys.path.append('../lib')\nimport made", False),
        ("../lib/made.py", "import made", True),
        ("made.txt", "import made", True),
        ("$name.py", "import made", True),
    ],
)
def test_a_module_that_the_stage_writes_is_no_import_from_outside(written, imported, is_left, tmp_path):
    stage = project_with(tmp_path, f"%%writefile {written}\nx = 1\n---\n{imported}", {})
    assert bool([name for name in stage.imports if "made" in name]) == is_left


def test_a_script_or_tool_that_the_stage_writes_is_none_of_the_project(tmp_path):
    source = "%%writefile made.py\nx = 1\n---\n%run made.py\n!python -m made"
    stage = project_with(tmp_path, source, {"nbs/made.py": ""})
    assert (stage.tools, scripts_of(stage), modules_of(stage, tmp_path)) == ((), [], {})


def test_scripts_are_followed_to_what_they_run_and_search(tmp_path):
    cells = [
        {"cell_type": "code", "source": text}
        for text in ("import sys\nsys.path.append('../lib')", "%run ../tools/two.py")
    ]
    files = {
        "nbs/set_up.ipynb": json.dumps({"nbformat": 4, "cells": cells}),
        "tools/two.py": "import sys, os\nsys.path.append(os.path.join(os.path.dirname(__file__), 'extra'))",
        "tools/extra/far.py": "",
        "lib/shared.py": "",
    }
    stage = project_with(tmp_path, "%run set_up.ipynb\n%run gone.py\nimport shared, far", files)
    assert scripts_of(stage) == [tmp_path / "nbs/set_up.ipynb", tmp_path / "tools/two.py"]
    assert list(modules_of(stage, tmp_path)) == ["far", "shared"]


def test_a_cycle_of_scripts_ends(tmp_path):
    files = {
        "nbs/one.py": "import runpy\nrunpy.run_path('two.py')",
        "nbs/two.py": "import runpy\nrunpy.run_path('one.py')",
    }
    stage = project_with(tmp_path, "%run one.py", files)
    assert [path.name for path in scripts_of(stage)] == ["one.py", "two.py"]


def test_a_script_that_an_own_module_runs_is_followed_from_it(tmp_path):
    stage = project_with(
        tmp_path, "import own", {"own.py": "import runpy\nrunpy.run_path('../more.py')", "more.py": ""}
    )
    assert scripts_of(stage, [tmp_path / "own.py"]) == [tmp_path / "more.py"]


def test_places_are_seen_from_the_folder_behind_a_link(tmp_path):
    real = project_with(tmp_path / "real", "import sys\nsys.path.append('../lib')", {})
    (tmp_path / "linked").symlink_to(tmp_path / "real" / "nbs")
    stage = read_stage(tmp_path / "linked" / real.path.name, "p", tmp_path)
    assert stage.folders(tmp_path) == [tmp_path / "linked", tmp_path, tmp_path / "real" / "lib"]
