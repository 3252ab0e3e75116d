"""A folder of the library imports only from folders above it, and `import mlnb` stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = (
    "store",
    "sources",
    "care",
    "sharing",
    "notebook",
    "kernel",
    "flow",
    "history",
    "data",
    "models",
    "monitor",
    "publish",
    "fraud",
    "terminal",
    "cli",
    "__main__",
)  # the table of ARCHITECTURE.md, from the ground up
EXAMPLE = "fraud"  # the framework never imports it
ABOVE = {
    room: {one for one in ROOMS[:n] if one != EXAMPLE} for n, room in enumerate(ROOMS)
}  # what each room may import, besides itself
ABOVE["data"] -= {"notebook", "kernel", "flow", "history"}
CONTRACT = {
    "load",
    "metric",
    "require",
    "save",
}  # public names of the package, which live in mlnb.flow.session
HEAVY = {
    "IPython",
    "evidently",
    "jupyter_client",
    "matplotlib",
    "nbclient",
    "nbconvert",
    "nbformat",
    "numpy",
    "pandas",
    "papermill",
    "pyarrow",
    "pydantic",
    "rich",
    "scipy",
    "skops",
    "sklearn",
    "typer",
}


def module_name(path: Path) -> str:
    "Dotted name of a file of the package."
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def from_targets(node: ast.ImportFrom, module: str) -> list[str]:
    "Dotted names that a `from … import …` in `module` may mean, relative ones made absolute."
    package = module.split(".")[: -node.level] if node.level else []
    base = ".".join([*package, *([node.module] if node.module else [])])
    return [f"{base}.{alias.name}" for alias in node.names]


def imported(source: str, module: str) -> set[str]:
    "Dotted names below mlnb that `source` imports anywhere, `import_module` with a literal included."
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= set(from_targets(node, module))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            names |= {
                arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
            }
    return {name for name in names if name.startswith("mlnb.")}


def folder_of(name: str) -> str | None:
    "Folder (or face) a dotted name belongs to; None for the version."
    first = name.split(".")[1]
    if first in CONTRACT:
        return "flow"
    return None if first.startswith("__version") else first


def violations(source: str, module: str) -> list[str]:
    "Imports of `source` that go up the table, or to a folder the table does not know."
    own = module.split(".")[1]
    folders = {name: folder_of(name) for name in sorted(imported(source, module))}
    return [
        f"{module} imports {name}"
        for name, folder in folders.items()
        if folder and folder != own and folder not in ABOVE[own]
    ]


@pytest.mark.parametrize(
    "source, module",
    [
        ("from mlnb.flow.plan import plan", "mlnb.store.refs"),
        ("def late():\n    import mlnb.publish.pages", "mlnb.monitor.drift"),
        ("from ..flow import plan", "mlnb.data.schema"),
        ("from ..data.schema import check", "mlnb.flow.plan"),
        ("from mlnb import load", "mlnb.store.codecs"),
        ("from importlib import import_module\nimport_module('mlnb.cli')", "mlnb.terminal"),
        ("from mlnb.utils import anything", "mlnb.cli"),
    ],
)
def test_layers_import_going_up_is_found(source, module):
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    "source, module",
    [
        ("from ..store.digests import sha256", "mlnb.flow.plan"),
        ("from .schema import check", "mlnb.fraud.features"),
        ("from mlnb import __version__", "mlnb.store.records"),
        ("from .flow.run import run", "mlnb.cli"),
        ("import json, pandas", "mlnb.store.codecs"),
    ],
)
def test_layers_import_going_down_is_allowed(source, module):
    assert violations(source, module) == []


def test_layers_of_the_library_hold():
    modules = [
        path for path in (ROOT / "mlnb").rglob("*.py") if path.name not in ("__init__.py", "_modidx.py")
    ]
    assert modules
    assert [
        line for path in modules for line in violations(path.read_text(encoding="utf-8"), module_name(path))
    ] == []


def reading_order() -> dict[str, int]:
    "Number of each notebook of a room, by the dotted name of its module."
    paths = [path for path in (ROOT / "nbs").glob("*/*.ipynb") if path.parent.name in ROOMS]
    return {
        f"mlnb.{path.parent.name}.{path.stem.partition('_')[2]}": int(path.stem.partition("_")[0])
        for path in paths
    }


def test_notebook_imports_only_what_stands_before_it_in_its_room():
    numbers = reading_order()
    assert len(numbers) > 100
    wrong = []
    for module in numbers:
        path = (ROOT / Path(*module.split("."))).with_suffix(".py")
        own = {
            n
            for name in imported(path.read_text(encoding="utf-8"), module)
            for n in (name, name.rpartition(".")[0])
        } & set(numbers)
        wrong += [
            f"{module} imports {name}"
            for name in own
            if name.split(".")[1] == module.split(".")[1] and numbers[name] >= numbers[module]
        ]
    assert wrong == []


def test_notebooks_of_a_room_are_numbered_in_tens():
    for room in {name.split(".")[1] for name in reading_order()}:
        numbers = sorted(n for name, n in reading_order().items() if name.split(".")[1] == room)
        assert numbers == [10 * (n + 1) for n in range(len(numbers))], room


def test_layers_packages_hold_nothing():
    packages = [path for path in (ROOT / "mlnb").glob("*/__init__.py")]
    assert packages
    assert [path.parent.name for path in packages if path.read_text(encoding="utf-8").strip()] == []


def test_layers_no_module_imports_what_a_reader_cannot_see():
    modules = [
        path
        for path in (ROOT / "mlnb").rglob("*.py")
        if path.name not in ("__init__.py", "_modidx.py", "__main__.py")
    ]
    computed = [
        module_name(path)
        for path in modules
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith(("import_module", "__import__"))
        and not isinstance(node.args[0], ast.Constant)
    ]
    assert sorted(set(computed)) == [
        "mlnb.cli",
        "mlnb.data.named_schemas",
        "mlnb.kernel.executor",
        "mlnb.kernel.import_traces",
        "mlnb.kernel.process",
        "mlnb.kernel.templates",
        "mlnb.store.model_types",
    ]  # libraries; `cli` its verbs, and schemas of projects


def test_import_mlnb_loads_nothing_heavy():
    code = "import sys, mlnb; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "mlnb" in loaded
    assert loaded & HEAVY == set()
