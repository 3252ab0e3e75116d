"""The shape of the repository: notebooks, exported modules, requirements and what must not be committed."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import nbformat
import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import mlnb

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NOT_EXPORTED = {"__init__", "__main__", "_modidx"}
UNEXECUTED = ("pipelines", "tutorials")
TEXT = {
    ".cfg",
    ".css",
    ".html",
    ".ini",
    ".ipynb",
    ".js",
    ".json",
    ".lock",
    ".md",
    ".py",
    ".sh",
    ".toml",
    ".txt",
    ".yaml",
    ".yml",
    "",
}


def source(cell: dict) -> str:
    return "".join(cell["source"])


def notebooks() -> dict[str, dict]:
    "Every notebook of the project by its path below nbs/."
    paths = [path.relative_to(ROOT / "nbs") for path in sorted((ROOT / "nbs").rglob("*.ipynb"))]
    kept = [path for path in paths if not any(part.startswith((".", "_")) for part in path.parts)]
    return {path.as_posix(): json.loads((ROOT / "nbs" / path).read_text(encoding="utf-8")) for path in kept}


def default_exp(notebook: dict) -> list[str]:
    "Modules that a notebook says it exports: none or one."
    code = "\n".join(source(cell) for cell in notebook["cells"] if cell["cell_type"] == "code")
    return re.findall(r"^#\|\s*default_exp:?\s+(\S+)", code, re.MULTILINE)


NOTEBOOKS = notebooks()
LIBRARY = {path: notebook for path, notebook in NOTEBOOKS.items() if default_exp(notebook)}
STAGES = {path: notebook for path, notebook in NOTEBOOKS.items() if path.startswith(UNEXECUTED)}


def committed_files() -> list[Path]:
    "Text files that git has or would take."
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listing.returncode:
        pytest.skip("no git checkout: nothing says which files are committed")
    paths = [ROOT / name for name in listing.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and path.suffix in TEXT]


def lines_with(pattern: str, paths: list[Path]) -> list[str]:
    "Places (`file:line`) where `pattern` is found."
    found = re.compile(pattern)
    return [
        f"{path.relative_to(ROOT)}:{number}"
        for path in paths
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if found.search(line)
    ]


# every notebook


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_notebook_is_valid_with_unique_cell_ids(path):
    notebook = NOTEBOOKS[path]
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert [
        cell_id for cell_id, n in Counter(cell["id"] for cell in notebook["cells"]).items() if n > 1
    ] == []
    nbformat.validate(notebook)


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_notebook_names_its_kernel(path):
    assert NOTEBOOKS[path]["metadata"]["kernelspec"]["name"] == "python3"


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_notebook_has_title_and_sentence(path):
    title = next(source(cell) for cell in NOTEBOOKS[path]["cells"] if cell["cell_type"] == "markdown")
    assert re.match(r"# \S.*\n+> \S", title), title


# notebooks of the library


def test_two_notebooks_never_export_one_module():
    exported = Counter(name for notebook in LIBRARY.values() for name in default_exp(notebook))
    assert [name for name, n in exported.items() if n > 1] == []


@pytest.mark.parametrize("path", LIBRARY)
def test_library_notebook_stands_where_its_module_does(path):
    expected = ".".join(re.sub(r"^\d+_", "", part) for part in Path(path).with_suffix("").parts)
    assert default_exp(LIBRARY[path]) == [expected]


@pytest.mark.parametrize("path", LIBRARY)
def test_library_notebook_begins_with_its_module_alone(path):
    first = LIBRARY[path]["cells"][0]
    assert first["cell_type"] == "code"
    assert re.fullmatch(r"#\|\s*default_exp:?\s+\S+", source(first).strip())


@pytest.mark.parametrize("path", LIBRARY)
def test_library_notebook_ends_with_its_limits(path):
    text = "\n".join(source(cell) for cell in LIBRARY[path]["cells"] if cell["cell_type"] == "markdown")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings[-1] == "Limits"


@pytest.mark.parametrize("path", LIBRARY)
def test_library_notebook_holds_no_line_that_breaks_export(path):
    code = [source(cell) for cell in LIBRARY[path]["cells"] if cell["cell_type"] == "code"]
    assert [text for text in code if re.search(r"^# %%", text, re.MULTILINE)] == []


def test_exported_modules_and_notebooks_match():
    files = [path.relative_to(ROOT / "mlnb").with_suffix("") for path in (ROOT / "mlnb").rglob("*.py")]
    modules = {".".join(path.parts) for path in files if path.name not in NOT_EXPORTED}
    assert modules == {name for notebook in LIBRARY.values() for name in default_exp(notebook)}


# stage notebooks


def code_cells(path: str) -> list[dict]:
    return [cell for cell in STAGES[path]["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", STAGES)
def test_stage_notebook_is_stored_without_outputs(path):
    assert [
        cell["id"] for cell in code_cells(path) if cell["outputs"] or cell["execution_count"] is not None
    ] == []


@pytest.mark.parametrize("path", STAGES)
def test_stage_notebook_defines_nothing_and_uses_no_magics(path):
    trees = [
        ast.parse(source(cell)) for cell in code_cells(path)
    ]  # a magic or `!command` is a SyntaxError here
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    assert [node.name for tree in trees for node in ast.walk(tree) if isinstance(node, defined)] == []


# requirements and versions


DIRECT = [Requirement(text) for text in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]]
LOCK = [
    line
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    if not line.lstrip().startswith("#")
]


def locked() -> dict[str, str]:
    "Version by name of what the lock file installs here."
    pinned = [
        re.fullmatch(r"([\w.\[\]-]+)==(\S+?)(?: ; (.+?))? \\", line)
        for line in LOCK
        if not line.startswith(" ")
    ]
    return {canonicalize_name(m[1]): m[2] for m in pinned if m[3] is None or Marker(m[3]).evaluate()}


@pytest.mark.parametrize("requirement", DIRECT, ids=str)
def test_direct_dependency_has_a_floor(requirement):
    assert {clause.operator for clause in requirement.specifier} & {">=", "=="}


@pytest.mark.parametrize("name", ["nbdev", "fastcore", "execnb"])
def test_notebook_tools_are_pinned_exactly(name):
    clauses = [
        clause for requirement in DIRECT if requirement.name == name for clause in requirement.specifier
    ]
    assert [clause.operator for clause in clauses] == ["=="]


@pytest.mark.parametrize("requirement", DIRECT, ids=str)
def test_lock_holds_direct_dependency_at_an_allowed_version(requirement):
    assert requirement.specifier.contains(locked()[canonicalize_name(requirement.name)])


def test_lock_entry_has_a_hash_and_names_no_registry():
    entries = re.split(r"\n(?=\S)", "\n".join(LOCK).strip())
    assert len(entries) > len(DIRECT)
    assert [
        entry.split()[0]
        for entry in entries
        if "==" not in entry or not re.search(r"--hash=sha256:[0-9a-f]{64}", entry)
    ] == []
    assert [line for line in LOCK if re.search(r"://|--(extra-)?index-url|--find-links| @ ", line)] == []


def test_versions_agree():
    newest = re.search(
        r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert newest
    assert PROJECT["version"] == mlnb.__version__ == newest[1]


SET = r"^os\.environ\[(\w+|\"\w+\")\] = |^os\.environ \|= \{\"(\w+)\""
UNSET = r"os\.environ\[(\w+|\"\w+\")\]"


@pytest.mark.parametrize("path", LIBRARY)
def test_examples_leave_no_variable_behind_for_the_next_notebook(path):
    cells = [cell for cell in LIBRARY[path]["cells"] if cell["cell_type"] == "code"]
    examples = "\n".join(source(cell) for cell in cells if "#| export" not in source(cell))
    names = {name.strip('"') for pair in re.findall(SET, examples, re.MULTILINE) for name in pair if name}
    unset = "\n".join(re.findall(r"^del (.*)", examples, re.MULTILINE))
    assert names <= {name.strip('"') for name in re.findall(UNSET, unset)}


# what must not be committed


def test_committed_files_hold_no_merge_markers():
    assert lines_with(r"^\s*\"?(<{7} |>{7} |={7}(\\n)?\"?,?$)", committed_files()) == []


def test_committed_files_name_no_path_of_this_machine():
    here = "|".join(re.escape(str(folder)) for folder in (ROOT, Path.home()) if len(folder.parts) > 1)
    assert lines_with(rf"(?<![\w.-])({here})/", committed_files()) == []


def test_notebooks_and_modules_name_no_private_folder():
    paths = [
        path
        for path in committed_files()
        if path.suffix in (".ipynb", ".py") and path.parts[len(ROOT.parts)] in ("nbs", "mlnb")
    ]
    assert lines_with(r"(?<![\w.*/-])/(home|Users|root|tmp)/\w", paths) == []


# the tool that keeps notebooks so


def filtered(notebook: dict, path: str) -> dict:
    "What git would store for `notebook` at `path`."
    done = subprocess.run(
        [sys.executable, "scripts/notebooks.py", "filter", path],
        cwd=ROOT,
        input=json.dumps(notebook),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def executed() -> dict:
    "A small notebook as a kernel and an editor leave it."
    shown = nbformat.v4.new_output("execute_result", {"text/plain": "2"}, execution_count=7)
    cell = nbformat.v4.new_code_cell(
        "days: int = 2\ndays",
        id="abc",
        execution_count=7,
        outputs=[shown],
        metadata={"tags": ["parameters"], "collapsed": True},
    )
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel, "widgets_state": {}})


@pytest.mark.parametrize(
    "path, n_outputs",
    [
        ("nbs/pipelines/fraud/10_ingest.ipynb", 0),
        ("nbs/tutorials/10_first.ipynb", 0),
        ("nbs/store/170_objects.ipynb", 1),
    ],
)
def test_filter_keeps_outputs_of_library_notebooks_only(path, n_outputs):
    cell = filtered(executed(), path)["cells"][0]
    assert (len(cell["outputs"]), cell["execution_count"]) == (n_outputs, None)


def test_filter_keeps_tags_and_kernel_and_drops_the_editors_own():
    notebook = filtered(executed(), "nbs/pipelines/fraud/10_ingest.ipynb")
    assert notebook["metadata"] == {
        "kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}
    }
    assert notebook["cells"][0]["metadata"] == {"tags": ["parameters"]}
    assert filtered(notebook, "nbs/pipelines/fraud/10_ingest.ipynb") == notebook


def test_filter_broken_notebook_is_refused():
    done = subprocess.run(
        [sys.executable, "scripts/notebooks.py", "filter", "nbs/x.ipynb"],
        cwd=ROOT,
        input="{",
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert done.stdout == ""
