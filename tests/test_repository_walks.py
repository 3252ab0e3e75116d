"""The walks of CONTRIBUTING.md are walked: each exported cell is added to its module, and its example holds."""

import re
import sys
from importlib import import_module
from pathlib import Path
from textwrap import dedent

import numpy as np
import pandas as pd
import pytest
from fastcore.test import test_eq as equal

from mlnb.cli import run_command
from mlnb.notebook.scaffold import write_scaffold

ROOT = Path(__file__).resolve().parent.parent
WALKS = re.split(r"^### ", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Three walks")[2].partition("\n## ")[0], flags=re.MULTILINE)[1:]


def parts(title: str) -> tuple[Path, list[str]]:
    "The notebook that a walk leads to, and its cells: the exported one, then its example."
    (walk,) = [walk for walk in WALKS if walk.startswith(title)]
    notebook = ROOT / re.search(r"nbs/[a-z]+/\d+_[a-z_]+\.ipynb", walk.replace("(nbs/terminal/030_frame.ipynb)", ""))[0]
    return notebook, [dedent(block) for block in re.findall(r"```python\n(.*?)```", walk, re.DOTALL)]


@pytest.fixture
def walked(monkeypatch):
    "Walk: run the exported cell where it would stand; give the names its example may use."

    def walk(title: str) -> tuple[str, dict]:
        notebook, (exported, example) = parts(title)
        assert notebook.is_file() and exported.startswith("#| export")
        module = import_module(f"mlnb.{notebook.parent.name}.{notebook.stem.partition('_')[2]}")
        for name, value in vars(module).items():
            if isinstance(value, dict) and not name.startswith("__"):
                monkeypatch.setattr(module, name, dict(value))  # registries are as before afterwards
        exec(compile(exported, str(notebook), "exec"), vars(module))
        return example, vars(module) | {"test_eq": equal}

    return walk


def test_there_are_three_walks():
    assert [walk.partition("\n")[0] for walk in WALKS] == ["A codec", "A verb", "A drift method"]


def test_walk_codec_saves_a_value_of_another_type(walked):
    example, names = walked("A codec")
    exec(example, names)
    names["equal_ranges"] = equal_ranges = (range(0), range(5, 5))
    assert equal_ranges[0] == equal_ranges[1]
    assert len({names["encode"](one).data for one in equal_ranges}) == 2  # the trap that its third step tells of


def test_walk_verb_answers_on_the_command_line(walked, tmp_path, monkeypatch, capsys):
    from mlnb.terminal.frame import app

    write_scaffold(tmp_path / "shop")
    monkeypatch.setattr(app, "registered_commands", list(app.registered_commands))
    example, names = walked("A verb")
    exec(example, names | {"os": __import__("os"), "folder": tmp_path, "here": Path.cwd()})
    monkeypatch.chdir(tmp_path / "shop")
    assert run_command(["where"]) == 0
    assert str(tmp_path / "shop") in capsys.readouterr().out
    assert run_command(["where", "--help"]) == 0
    assert "Example: mlnb where" in capsys.readouterr().out


def test_walk_drift_method_judges_a_column(walked):
    example, names = walked("A drift method")
    exec(example, names)
    same = pd.Series(np.random.default_rng(0).choice(list("abc"), 1000))
    assert names["column_drift"](same, same.sample(frac=1, random_state=0))["verdict"] == "ok"
    assert "mlnb.monitor.drift" in sys.modules
