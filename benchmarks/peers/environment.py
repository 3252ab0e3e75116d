"""One virtual environment for each peer, made once and found again by the next benchmark."""

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

SHARED = (  # in every environment in the version that mlnb has, so that only the tools differ
    "ipykernel",
    "ipython",
    "jupyter_client",
    "matplotlib",
    "nbclient",
    "nbformat",
    "numpy",
    "pandas",
    "papermill",
    "pyarrow",
    "scikit-learn",
    "scipy",
)


class EnvironmentNotMadeError(Exception):
    "An environment could not be made; the message is pip's."


def default_folder() -> Path:
    "Where environments are kept when nobody says where: a private folder of the temporary directory."
    named = os.environ.get("MLNB_BENCH_ENVIRONMENTS")
    return Path(named) if named else Path(tempfile.gettempdir(), f"mlnb-benchmarks-{os.getuid()}")


def private(folder: Path) -> Path:
    "Make `folder` if it is missing; refuse one that belongs to somebody else."
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise SystemExit(f"{folder} belongs to somebody else: name another folder with --environments")
    return folder.resolve()


def environment(
    folder: Path,  # where environments are kept
    name: str,  # of the peer
    requirements: tuple[str, ...],  # what the peer adds to `SHARED`, as pip reads it
) -> Path:  # the environment's folder; raises `EnvironmentNotMadeError`
    "Find the environment of a peer, or make it with the Python that runs this."
    home = folder / name
    wanted = "\n".join([*requirements, *(f"{package}=={version(package)}" for package in SHARED)])
    ready = home / "ready.txt"
    if ready.is_file() and ready.read_text(encoding="utf-8") == wanted and (home / "bin/python").exists():
        return home
    print(f"making the environment of {name}, once; it is kept in {home}", file=sys.stderr, flush=True)
    pip = [
        home / "bin/python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--retries",
        "1",
        "--disable-pip-version-check",
    ]
    for command in ([sys.executable, "-m", "venv", "--clear", home], [*pip, *wanted.splitlines()]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            shutil.rmtree(home, ignore_errors=True)
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise EnvironmentNotMadeError((errors or done.stderr.splitlines() or ["no reason given"])[-1])
    ready.write_text(wanted, encoding="utf-8")
    return home


def variables(
    home: Path,  # an environment
    scratch: Path,  # home folder of the commands: nobody's settings, nobody's kernels
) -> dict[str, str]:
    """What an activated environment sets; nothing of the caller's own Python or Jupyter, and no report to
    anybody's server."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "JUPYTER", "IPYTHON", "MLNB_", "XDG_"))
    }
    return kept | {
        "PATH": f"{home / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "VIRTUAL_ENV": str(home),
        "HOME": str(scratch),
        "XDG_RUNTIME_DIR": str(scratch),  # mlnb's kernel server of this benchmark is not the one of its user
        "DVC_SITE_CACHE_DIR": str(scratch / "dvc"),
        "DVC_NO_ANALYTICS": "true",
        "PLOOMBER_STATS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "NO_COLOR": "1",
    }
