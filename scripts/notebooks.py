"""Keep the notebooks in the form in which they are committed.

notebooks.py sync          format and clean every notebook, export the library, make README.md
notebooks.py check         say what `sync` would change, without changing it; exit code 1 if anything
notebooks.py filter PATH   clean one notebook from stdin to stdout, as git's `clean` filter wants it
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from fastcore.nbio import nb2str
from nbdev.clean import clean_nb
from nbdev.config import get_config
from nbdev.doclinks import nbdev_export

UNEXECUTED = (
    "nbs/pipelines/",
    "nbs/tutorials/",
)  # stored without outputs: a run belongs to the store, not to git


def clean(
    text: str,  # a notebook's JSON
    path: str,  # where it lies, relative to the project, with slashes
) -> (
    str
):  # the same notebook without what a kernel or an editor left in it; raises `ValueError` for broken JSON
    "Clean a notebook as `nbdev-clean` does, and drop the outputs of stage notebooks."
    notebook, config = json.loads(text), get_config()
    clean_nb(
        notebook,
        clean_ids=config.clean_ids,
        allowed_metadata_keys=config.allowed_metadata_keys,
        allowed_cell_metadata_keys=config.allowed_cell_metadata_keys,
    )
    for cell in notebook["cells"]:
        if "outputs" in cell and path.startswith(UNEXECUTED):
            cell["outputs"] = []
    return nb2str(notebook)


def committed_notebooks() -> list[Path]:
    "Paths of the notebooks that belong to the project, in order."
    found = sorted(Path("nbs").rglob("*.ipynb"))
    return [path for path in found if not any(part.startswith((".", "_")) for part in path.parts)]


def readme() -> str:
    "README.md from nbs/index.ipynb; nbconvert needs to be told the language of code that was never run."
    import nbformat
    from nbconvert import MarkdownExporter

    notebook = nbformat.read("nbs/index.ipynb", as_version=4)
    notebook.metadata["language_info"] = {"name": "python"}
    body, _ = MarkdownExporter().from_notebook_node(notebook)
    body = re.sub(
        r"\]\(([^)\s:#]+)\)", lambda link: f"]({os.path.normpath(f'nbs/{link[1]}')})", body
    )  # as seen from the README's place
    return "<!-- made from nbs/index.ipynb by `make sync` -->\n" + body.strip() + "\n"


def sync() -> None:
    "Format and clean every notebook that is not so, export the library and make the README."
    subprocess.run([Path(sys.executable).with_name("ruff"), "format", "--quiet", "nbs"], check=True)
    for path in committed_notebooks():
        before = path.read_text(encoding="utf-8")
        try:
            after = clean(before, path.as_posix())
        except ValueError as error:
            sys.exit(f"{path} is no valid notebook: {error}")
        if after != before:
            path.write_text(after, encoding="utf-8")
    nbdev_export.__wrapped__()
    Path("README.md").write_text(readme(), encoding="utf-8")


def contents() -> dict[str, bytes]:
    "Bytes of every file that `sync` may write, by path."
    files = [
        path
        for folder in ("nbs", "mlnb")
        for path in Path(folder).rglob("*")
        if path.suffix in (".ipynb", ".py", ".txt")
    ] + [Path("README.md")]
    return {path.as_posix(): path.read_bytes() for path in files if ".ipynb_checkpoints" not in path.parts}


def check() -> None:
    "Leave with exit code 1 if `sync` would change, add or remove a file, naming each."
    with tempfile.TemporaryDirectory() as folder:
        for name in ("nbs", "mlnb"):
            shutil.copytree(name, Path(folder, name), ignore=shutil.ignore_patterns("__pycache__", ".*"))
        for name in ("pyproject.toml", "README.md"):
            shutil.copy(name, folder)
        before, home = contents(), Path.cwd()
        os.chdir(folder)
        try:
            sync()
            after = contents()
        finally:
            os.chdir(home)
    changed = sorted(path for path in before | after if before.get(path) != after.get(path))
    if changed:
        sys.exit("not clean or not exported, `make sync` mends it:\n  " + "\n  ".join(changed))


def main() -> None:
    match sys.argv[1:]:
        case ["sync"]:
            sync()
        case ["check"]:
            check()
        case ["filter", path]:
            sys.stdout.write(clean(sys.stdin.read(), path))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
