"""A stranger finds the way: the table of rooms is the tree, links lead somewhere, each notebook links the
next, one word is one thing."""

import ast
import builtins
import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import pytest
import typer

import mlnb
from mlnb.cli import VERBS, import_verbs
from mlnb.terminal.frame import MOST_VERBS, TASKS, app

import_verbs([])  # all of them

ROOT = Path(__file__).resolve().parent.parent
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
ROOM_ROW = re.compile(r"^\| `([a-z]+)/` \| [^|]+ \| ([^|]+) \|$", re.MULTILINE)
ROOMS = {room: [name.strip() for name in names.split(",")] for room, names in ROOM_ROW.findall(ARCHITECTURE)}
PAGES = (
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "README.md",
    "CHANGELOG.md",
    "reports/README.md",
    "tests/data/README.md",
)


def notebooks_of(room: str) -> list[Path]:
    "Notebooks of a room in reading order."
    return sorted((ROOT / "nbs" / room).glob("*.ipynb"))


def name_of(path: Path) -> str:
    return path.stem.partition("_")[2]


def markdown(path: Path) -> list[str]:
    "Texts of the markdown cells of a notebook."
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]


def in_reading_order() -> list[Path]:
    "Every notebook of the library, from the first to the last."
    return [*(path for room in ROOMS for path in notebooks_of(room)), ROOT / "nbs" / "010_cli.ipynb"]


@pytest.mark.parametrize("room", ROOMS)
def test_table_of_rooms_names_the_notebooks_in_their_order(room):
    assert ROOMS[room] == [name_of(path) for path in notebooks_of(room)]


def test_table_of_rooms_knows_every_folder_of_the_library():
    folders = {path.parent.name for path in (ROOT / "mlnb").glob("*/__init__.py")}
    assert set(ROOMS) == folders and len(ROOMS) == 14


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_modules_that_a_page_names_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(rf"(?<![\w/.])({'|'.join(ROOMS)})/([a-z_]+)(?![\w/])(?!\.\w)", text))
    assert named
    assert sorted(f"{room}/{name}" for room, name in named if name not in ROOMS[room]) == []


def links(text: str) -> list[str]:
    "Targets of the markdown links in a text that lie in the repository."
    found = re.findall(r"\]\(([^)\s]+)\)", text)
    return [
        target.partition("#")[0]
        for target in found
        if "://" not in target and not target.startswith(("#", "mailto:"))
    ]


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_somewhere(page):
    path = ROOT / page
    assert [
        link for link in links(path.read_text(encoding="utf-8")) if not (path.parent / link).exists()
    ] == []


def test_links_of_notebooks_lead_somewhere():
    paths = [path for path in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts]
    broken = [
        (path.name, link)
        for path in paths
        for text in markdown(path)
        for link in links(text)
        if not (path.parent / link).exists()
    ]
    assert broken == []


def test_every_notebook_links_the_next_one():
    way = in_reading_order()
    assert len(way) > 120
    wrong = []
    for path, following in pairwise(way):
        (found,) = re.findall(
            r"^Next: \[([^\]]+)\]\(([^)]+)\), \S.*\.$", markdown(path)[-1], re.MULTILINE
        ) or [("", "")]
        heading = re.match(r"# (.+)", markdown(following)[0])[1]
        if found[0] != heading or (path.parent / found[1]).resolve() != following:
            wrong.append(f"{path.relative_to(ROOT)} should link {heading!r} in {following.name}, not {found}")
    assert wrong == []


def test_list_of_modules_is_complete():
    listed = re.findall(
        r"^- `mlnb\.([a-z_.]+)`: \S", mlnb.__doc__, re.MULTILINE
    )  # what help(mlnb) shows, and nbs/llms.txt
    assert sorted(listed) == sorted(
        [*(f"{room}.{name}" for room, names in ROOMS.items() for name in names), "cli"]
    )


# one word, one thing


def top_level_names() -> dict[str, set[str]]:
    "Modules in which each name is defined at the top level."
    found = defaultdict(set)
    for path in (ROOT / "mlnb").rglob("*.py"):
        if path.name in ("__init__.py", "_modidx.py", "__main__.py"):
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            targets = (
                node.targets
                if isinstance(node, ast.Assign)
                else [node.target]
                if isinstance(node, ast.AnnAssign)
                else []
            )
            names = [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.append(node.name)
            for name in names:
                found[name].add(path.relative_to(ROOT).as_posix())
    return found


def test_no_name_is_defined_in_two_modules():
    twice = {
        name: sorted(files)
        for name, files in top_level_names().items()
        if len(files) > 1 and name != "__all__"
    }
    assert twice == {}


# *repair* in the store, *make again* in a run; a *rebuild* is another environment's
REPAIRS = r"\b(heal(s|ed|ing)?|mend(ed|ing)|rebuilt|rebuilding|regenerat\w+)\b"


def test_repairing_has_two_words():
    named = [
        name
        for name in top_level_names()
        if re.search(r"(^|_)(heal|mended?|rebuil[dt]|regenerate)(_|$)", name)
    ]
    assert named == []
    paths = [path for path in in_reading_order() if path.parent.name in ROOMS]
    assert [
        (path.name, found[0])
        for path in paths
        for text in markdown(path)
        if (found := re.search(REPAIRS, text))
    ] == []
    texts = {
        path: path.read_text(encoding="utf-8")
        .replace('"rebuilt', "")
        .replace("`rebuilt`", "")
        .replace("rebuilt=", "")
        .replace("rebuilt: bool", "")
        for path in (ROOT / "mlnb").rglob("*.py")
        if path.name != "_modidx.py"
    }
    assert [
        (path.name, found[0]) for path, text in texts.items() if (found := re.search(REPAIRS, text))
    ] == []  # `rebuilt` is a key of documents


def test_no_module_is_called_like_a_builtin_or_a_drawer():
    names = Counter(name for names in ROOMS.values() for name in names)
    assert set(names) & ({"core", "utils", "helpers", "common", "misc", "base"} | set(dir(builtins))) == set()


# the command's help


def verbs_by_task() -> dict[str, list[str]]:
    "Visible verbs of each task of `mlnb --help`."
    found = defaultdict(list)
    for name, command in typer.main.get_command(app).commands.items():
        found[command.rich_help_panel].append(name)
    return found


def test_help_is_grouped_by_task_and_no_task_has_too_many_verbs():
    tasks = verbs_by_task()
    assert set(tasks) <= set(TASKS.values())
    assert {task: len(names) for task, names in tasks.items() if len(names) > MOST_VERBS} == {}
    assert MOST_VERBS == 9


def test_verbs_are_found_in_the_module_that_is_imported_for_them():
    code = (
        "import sys; from mlnb.cli import import_verbs; import_verbs([sys.argv[1]]); from "
        "mlnb.terminal.frame import app; print(*(c.name for c in app.registered_commands), *(g.name for g "
        "in app.registered_groups))"
    )
    for verbs in VERBS.values():
        done = subprocess.run(
            [sys.executable, "-c", code, verbs[0]], capture_output=True, text=True, check=True
        )
        assert sorted(done.stdout.split()) == sorted(verbs)
    assert sorted(name for verbs in VERBS.values() for name in verbs) == sorted(
        name for names in verbs_by_task().values() for name in names
    )


def test_help_shows_every_verb_once_under_its_task(capsys):
    from mlnb.cli import run_command

    assert run_command(["--help"]) == 0
    shown, heading = defaultdict(list), None
    for line in capsys.readouterr().out.splitlines():
        if found := re.fullmatch(r"(\S.*):", line):
            heading = found[1]
        elif heading in TASKS.values() and (found := re.match(r"  (\w+)  ", line)):
            shown[heading].append(found[1])
    assert dict(shown) == dict(verbs_by_task())
    assert list(shown) == [task for task in TASKS.values() if task in shown]


def commands() -> list[tuple[str, object]]:
    "Every verb and sub-verb, with its command."
    root = typer.main.get_command(app).commands
    below = [
        (f"{name} {one}", sub)
        for name, command in root.items()
        for one, sub in getattr(command, "commands", {}).items()
    ]
    return [*root.items(), *below]


@pytest.mark.parametrize("name, command", commands(), ids=[name for name, _ in commands()])
def test_help_of_a_verb_ends_with_an_example_and_offers_json(name, command):
    assert command.epilog.startswith("\b\nExample: mlnb " + name.split()[0])
    assert "as_json" in [parameter.name for parameter in command.params]
    assert command.help and len(command.help.splitlines()[0]) <= (
        60 if " " in name else 66
    )  # one line in a terminal of 80 columns
