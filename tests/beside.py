"""Other people's tools in an environment beside this one, so that none of them is a dependency of mlnb.
`make test-formats` makes it; without it, tests that need it skip and say so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "beside"
WHY_ABSENT = (
    "the environment beside is not here: `make test-formats` makes it (BESIDE_PYTHON may name its Python)"
)


def beside_python():
    "The Python of the environment beside; skips a test where there is none."
    python = Path(os.environ.get("BESIDE_PYTHON") or FOLDER / "bin" / "python")
    if not python.is_file():
        pytest.skip(WHY_ABSENT)
    return python


def run_beside(module, *args, check=True, **surroundings):
    "Run a module, or a file `tests/….py`, of others there; what it ended with, as text."
    named = [str(ROOT / module)] if module.endswith(".py") else ["-m", module]
    command = [str(beside_python()), *named, *map(str, args)]
    kept = {name: os.environ[name] for name in ("HOME", "PATH", "TMPDIR", "LANG") if name in os.environ}
    done = subprocess.run(command, capture_output=True, text=True, env=kept | surroundings)
    assert not check or done.returncode == 0, (
        f"{command} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    )
    return done


def with_packages_beside():
    "Let this process import packages of the environment beside that it does not have itself."
    (place,) = beside_python().parents[1].glob("lib/python3*/site-packages")
    if str(place) not in sys.path:
        sys.path.append(str(place))
