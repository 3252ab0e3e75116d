"""Run the pipelines under the profile `ci` and build the site, in a copy of the project.

Under `ci` the models are small, and none of them may become the champion of this project. So the copy says of
its model that heads of that profile register, and has a store and a champion of its own: `build/ci`."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
COPIED = ("nbs/pipelines", "data", "own-pages")
COMMANDS = (
    ("run", "fraud"),
    ("promote", "fraud"),
    ("run", "score"),
    ("run", "monitor"),
    ("run", "employment"),
    ("publish",),
)  # each under the profile `ci`


def settings_for_ci(
    text: str,  # of settings.ini
) -> str:
    "Settings under which heads of the profile `ci` register the model."
    return re.sub(r"(?m)^(\[model\.fraud\].*)$", r"\1\nprofile = ci", text)


def copy_for_ci(
    root: Path,  # folder of the copy; its store stays, so that what is fresh is not run again
) -> None:
    "Copy what a project is made of."
    root.mkdir(parents=True, exist_ok=True)
    text = (REPOSITORY / "settings.ini").read_text(encoding="utf-8")
    (root / "settings.ini").write_text(settings_for_ci(text), encoding="utf-8")
    for folder in COPIED:
        shutil.rmtree(root / folder, ignore_errors=True)
        shutil.copytree(
            REPOSITORY / folder, root / folder, ignore=shutil.ignore_patterns(".ipynb_checkpoints")
        )


def main() -> None:
    root, tool = REPOSITORY / "build" / "ci", Path(sys.executable).with_name("mlnb")
    copy_for_ci(root)
    for command in COMMANDS:
        code = subprocess.run([tool, *command, "--profile", "ci"], cwd=root).returncode
        if code:
            sys.exit(code)
    print(f"site: {root / 'reports' / 'index.html'}")


if __name__ == "__main__":
    main()
