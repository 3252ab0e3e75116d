"""The walks of CONTRIBUTING.md lead where they say: their cells are tried here, and walked whole in a copy of
the repository when there is time."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from textwrap import dedent

import numpy as np
import pandas as pd
import pytest
from fastcore.test import test_eq as equal
from nbformat.v4 import new_code_cell

from mlnb.cli import import_verbs, run_command
from mlnb.notebook.scaffold import write_scaffold

ROOT = Path(__file__).resolve().parent.parent
TEXT = (
    (ROOT / "CONTRIBUTING.md")
    .read_text(encoding="utf-8")
    .partition("## Three walks")[2]
    .partition("\n## ")[0]
)
WALKS = {walk.partition("\n")[0]: walk for walk in re.split(r"^### ", TEXT, flags=re.MULTILINE)[1:]}


def notebook_of(title: str) -> Path:
    "The notebook that a walk leads to."
    walk = WALKS[title].replace("(nbs/terminal/050_frame.ipynb)", "")
    return Path(re.search(r"nbs/[a-z]+/\d+_[a-z_]+\.ipynb", walk)[0])


def cells_of(title: str) -> list[str]:
    "Its cells: the exported one, then its example."
    return [dedent(block) for block in re.findall(r"```python\n(.*?)```", WALKS[title], re.DOTALL)]


@pytest.fixture
def walked(monkeypatch):
    "Run the exported cell of a walk where it would stand; give its example and the names that this may use."
    before = {}

    def walk(title: str) -> tuple[str, dict]:
        notebook, (exported, example) = notebook_of(title), cells_of(title)
        assert exported.startswith("#| export")
        module = import_module(f"mlnb.{notebook.parent.name}.{notebook.stem.partition('_')[2]}")
        before[module] = vars(module).copy()
        for name, value in before[module].items():
            if isinstance(value, dict) and not name.startswith("__"):
                monkeypatch.setattr(module, name, dict(value))  # registries are as before afterwards
        exec(compile(exported, str(notebook), "exec"), vars(module))
        return example, vars(module) | {"test_eq": equal}

    yield walk
    for module, names in before.items():
        for added in vars(module).keys() - names.keys():
            delattr(module, added)
        vars(module).update(names)


def test_there_are_three_walks():
    assert list(WALKS) == ["A codec", "A verb", "A drift method"]


def test_walk_codec_saves_a_value_of_another_type(walked):
    example, names = walked("A codec")
    exec(example, names)
    empty, other = range(0), range(5, 5)
    assert (
        empty == other and names["encode"](empty).data != names["encode"](other).data
    )  # the trap that its third step tells of


def test_walk_verb_answers_on_the_command_line(walked, tmp_path, monkeypatch, capsys):
    from mlnb.terminal.frame import app

    write_scaffold(tmp_path / "shop")
    import_verbs([])  # all of them stay registered when the list of before is put back
    monkeypatch.setattr(app, "registered_commands", list(app.registered_commands))
    example, names = walked("A verb")
    exec(example, names | {"os": os, "folder": tmp_path, "here": Path.cwd()})
    monkeypatch.chdir(tmp_path / "shop")
    assert run_command(["where"]) == 0
    assert str(tmp_path / "shop") in capsys.readouterr().out
    assert run_command(["where", "--help"]) == 0
    assert "Example: mlnb where" in capsys.readouterr().out


def test_walk_drift_method_judges_a_column(walked):
    example, names = walked("A drift method")
    exec(example, names)
    same = pd.Series(np.random.default_rng(0).choice([True, False], 1000))
    once = names["ONCE_EACH"]
    measured = names["measure"]([same, same.sample(frac=1, random_state=0)], [once, once])
    assert (measured.method, measured.distance) == ("share", 0.0)


# the whole way


def insert(path: Path, marker: str, before: bool, text: str) -> None:
    "Put a code cell beside the cell that begins or defines something."
    notebook = json.loads(path.read_text(encoding="utf-8"))
    places = [
        n
        for n, cell in enumerate(notebook["cells"])
        if re.search(marker, "".join(cell["source"]), re.MULTILINE)
    ]
    place = places[-1] if before else places[0] + 1
    notebook["cells"].insert(place, dict(new_code_cell(text.rstrip("\n"))))
    path.write_text(json.dumps(notebook), encoding="utf-8")


def name_verbs(path: Path, walk: str) -> None:
    "Put the line of `VERBS` that a walk names in the place of the old one."
    for line, task in re.findall(r"`((\"\w+\"): \([^`]+\))`", walk):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            source = "".join(cell["source"])
            cell["source"] = re.sub(rf"{task}: \([^)]*\)", lambda _, new=line: new, source)
        path.write_text(json.dumps(notebook), encoding="utf-8")


@pytest.fixture
def copy(tmp_path):
    "A copy of the repository's tracked files; a command runs in it, with its own mlnb."
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    for name in filter(None, names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)

    def run(*command: str) -> str:
        environment = os.environ | {
            "PYTHONPATH": str(tmp_path),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    return tmp_path, run


@pytest.mark.slow
@pytest.mark.parametrize(
    "title, behind", [("A codec", r"^_DECODERS"), ("A verb", ""), ("A drift method", r"^DISTANCES")]
)
def test_walk_is_walked_whole_in_a_copy(copy, title, behind):
    root, run = copy
    notebook, (exported, example) = notebook_of(title), cells_of(title)
    insert(root / notebook, behind or "^## Limits", not behind, exported)
    insert(root / notebook, "^## Limits", True, example)
    name_verbs(root / "nbs" / "010_cli.ipynb", WALKS[title])
    run(sys.executable, "scripts/notebooks.py", "sync")
    run("nbdev-test", str(notebook))
    run("ruff", "check", "nbs")
    tests = sorted(set(re.findall(r"tests/test_\w+\.py", WALKS[title])))
    assert tests
    tests += [f"tests/test_repository_{what}.py" for what in ("way", "layers", "style")]  # as `make lint`
    run(
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-o",
        "addopts=",
        "-m",
        "not slow",
        "-p",
        "no:cacheprovider",
        *tests,
    )


@pytest.mark.slow
def test_walk_codec_with_the_pair_of_its_third_step_fails_as_it_says(copy):
    root, run = copy
    insert(root / notebook_of("A codec"), r"^_DECODERS", False, cells_of("A codec")[0])
    file = root / "tests" / "test_store_codecs.py"
    file.write_text(
        file.read_text().replace("EQUAL_VALUES = [", "EQUAL_VALUES = [\n    (range(0), range(5, 5)),", 1)
    )
    run(sys.executable, "scripts/notebooks.py", "sync")
    with pytest.raises(AssertionError, match="test_equal_values_have_equal_bytes"):
        run(
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-o",
            "addopts=",
            "-p",
            "no:cacheprovider",
            "-k",
            "equal_values",
            str(file),
        )
