"""What a user's own type checker says of a module that calls mlnb, installed as he has it."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import mlnb

CALLS = """from mlnb import load, metric, require, run_id, save

table = load("features", columns=["a"], as_="pandas")
save("n", len(table))
metric("ap", 0.5, low=0.4)
require(len(table) > 0, "rows are needed")
who: str | None = run_id()
"""
WRONG = 'from mlnb import laod, metric, save\n\nsave(1, 2)\nmetric("a", "b")\n'


@pytest.mark.slow
def test_calls_of_a_user_are_typed_by_the_installed_package(tmp_path):
    root = Path(mlnb.__file__).parent.parent
    build = ["pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, root]
    subprocess.run([sys.executable, "-m", *build], check=True, capture_output=True)
    shutil.rmtree(root / "build", ignore_errors=True)
    zipfile.ZipFile(next(tmp_path.glob("*.whl"))).extractall(tmp_path / "site")
    (tmp_path / "right.py").write_text(CALLS)
    (tmp_path / "wrong.py").write_text(WRONG)
    about = {"cwd": tmp_path, "capture_output": True, "text": True}
    about["env"] = os.environ | {"MYPYPATH": str(tmp_path / "site")}
    checker = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "right.py", "wrong.py"]
    said = subprocess.run(checker, **about).stdout
    found = re.findall(r"^(\w+)\.py:(\d+): error: .*\[(.*)\]$", said, re.MULTILINE)
    assert found == [
        ("wrong", "1", "attr-defined"),
        ("wrong", "3", "arg-type"),
        ("wrong", "4", "arg-type"),
    ], said
