"""Cells of the tutorials that are too slow for every run, executed with what they promise."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["20_published_table"])
def test_slow_cells_of_a_tutorial_hold(name, outside_environment):
    path = REPOSITORY / "nbs" / "tutorials" / f"{name}.ipynb"
    assert "#| slow" in path.read_text(encoding="utf-8")
    done = subprocess.run(
        [Path(sys.executable).with_name("nbdev-test"), path, "--flags", "slow", "--cell-timeout", "600"],
        cwd=REPOSITORY,
        env=outside_environment(),
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
