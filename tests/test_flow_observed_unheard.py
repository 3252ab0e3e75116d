"""What no hook of Python hears and the system sees: files that another stage opened as well, databases that
are attached, names relative to an open folder, and folders that libraries and programs list by themselves."""

import pytest
from observed_ways import HERE, SETTINGS, database

from mlnb.kernel.link import can_serve
from mlnb.store.objects import open_store
from mlnb.store.records import records_of

pytestmark = [
    pytest.mark.skipif(not can_serve(), reason="the system tells of what is opened on Linux only"),
    pytest.mark.slow,
]
FIRST = [
    "from mlnb import save\nimport both_code",
    "save('first', both_code.X + len(open('../../data/both.csv').read()))",
]
SECOND = [
    "from mlnb import save\nimport os, sqlite3, subprocess, sys",
    "read = subprocess.check_output(['cat', '../../data/both.csv'], text=True)",
    "code = subprocess.check_output([sys.executable, 'BOTH_CODE'.lower() + '.py'], text=True)",
    "found = subprocess.check_output(['find', '../../found', '-name', '*.txt'], text=True)",
    "base = sqlite3.connect(':memory:')\nbase = base.execute(\"ATTACH 'attached.db' AS o\")",
    "away = os.open('away', os.O_RDONLY)\naway = os.read(os.open('a.txt', os.O_RDONLY, dir_fd=away), 9)",
    "save('second', len(read))",
]
EDITS = {  # place -> its text after the edit; None = it goes
    f"{HERE}/both_code.py": "X = 22",
    "data/both.csv": "edited",
    "found/old.txt": None,
    "found/new.txt": "",
    f"{HERE}/away/a.txt": "edited",
    f"{HERE}/attached.db": "edited",
}
OF_BOTH = {f"{HERE}/both_code.py", "data/both.csv"}


@pytest.fixture(scope="module")
def root(make_shared_project, mlnb):
    "A project after its run, in which nothing changed."
    stages = {f"{HERE}/10_first.ipynb": FIRST, f"{HERE}/20_second.ipynb": SECOND}
    root = make_shared_project(stages, SETTINGS, HERE).root
    for place in ("data/both.csv", "found/old.txt", "logs/old.txt", f"{HERE}/away/a.txt"):
        (root / place).parent.mkdir(parents=True)
        (root / place).write_text("as it was")
    (root / HERE / "both_code.py").write_text("X = 1")
    database(root / HERE / "attached.db", 1)
    done = mlnb("run", "demo", "--json", "-j", 1, cwd=root)
    assert done.code == 0, done.stdout
    return root


@pytest.fixture
def stale(root, asked):
    "Names of the stages that are stale now."

    def of():
        stages = asked("status", "--json", cwd=root).json["stages"]
        return [stage["name"] for stage in stages if stage["state"] != "fresh"]

    return of


@pytest.mark.parametrize("place", EDITS)
def test_what_was_used_unheard_makes_its_stage_stale_and_the_way_back_fresh(root, stale, place):
    path, text = root / place, EDITS[place]
    before = path.read_bytes() if path.exists() else None
    path.unlink() if text is None else path.write_text(text)
    assert stale() == ["first", "second"][place not in OF_BOTH :]
    path.unlink(missing_ok=True) if before is None else path.write_bytes(before)
    assert stale() == []


def test_folders_that_nobody_asked_for_are_not_observed(root, stale):
    (record,) = records_of(open_store(root / ".mlnb"), "demo", "second")
    assert sorted(record.parts["observed"]["folders"]) == ["found", f"{HERE}/away"]
    for place in ("logs/new.txt", f"{HERE}/new.txt", "data/new.csv"):
        (root / place).write_text("")
    assert stale() == []


def test_file_that_was_read_unheard_and_edited_before_the_end_is_not_taken_for_a_product(make_project, mlnb):
    edit = "(sleep .2; echo late > late.txt) >/dev/null 2>&1"
    cells = ["import subprocess\nfrom mlnb import save"]
    cells += ["text = subprocess.check_output(['cat', 'late.txt'], text=True)\nsave('edited', text)"]
    project = make_project({f"{HERE}/10_edited.ipynb": [*cells, f"!{edit}"]}, SETTINGS, HERE)
    (project.root / HERE / "late.txt").write_text("early\n")
    assert mlnb("run", "demo", "--json", cwd=project.root).states == {"edited": "committed"}
    (stage,) = mlnb("status", "--json", cwd=project.root).json["stages"]
    assert (stage["state"], stage["why"][0]["name"]) == ("stale", f"{HERE}/late.txt")
    assert mlnb("run", "demo", "--json", cwd=project.root).states == {"edited": "committed"}
