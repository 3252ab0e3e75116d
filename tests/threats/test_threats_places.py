"""The folder of the pages and the temporary folder while somebody else is at them: killed publications, links
put in their places at any moment, hostile names; and locks whose holders die."""

import contextlib
import fcntl
import os
import random
import signal
import stat
import time

import pytest

import mlnb.publish.site as site
from mlnb.publish.site import publish
from mlnb.store.disk import try_lock
from mlnb.store.errors import MlnbError
from mlnb.store.settings import read_project

N_PAGES = 30
LINK = "settings.ini"


def own_pages(root, word):
    "Pages of the project's own that all say one word, linked from the index."
    (root / "own-pages").mkdir(exist_ok=True)
    for n in range(N_PAGES):
        (root / f"own-pages/{n}.html").write_text(f"<title>{word} {n}</title>{word * 2_000}")


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "project"
    root.mkdir()
    (root / "settings.ini").write_text("[mlnb]\n")
    own_pages(root, "old")
    return read_project(root)


def files_below(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def in_child(work):
    "A forked process that does some work and ends."
    if pid := os.fork():
        return pid
    with contextlib.suppress(BaseException):
        work()
    os._exit(0)


def kill_while_publishing(project, times, longest):
    "Publish two sites in turn, each publication killed at any moment; what is there is one of them, whole."
    draw, whole, seen = random.Random(0), {}, set()
    for word in ("old", "new"):
        own_pages(project.root, word)
        publish(project)
        whole[word] = files_below(project.reports)
    for n in range(times):
        own_pages(project.root, ("old", "new")[n % 2])
        pid = in_child(lambda: publish(project))
        time.sleep(draw.uniform(0, longest))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        found = [word for word, files in whole.items() if files_below(project.reports) == files]
        assert len(found) == 1, n
        seen.add(found[0])
    own_pages(project.root, "old")
    publish(project)
    assert files_below(project.reports) == whole["old"]
    return seen


def test_publication_killed_at_any_moment_leaves_one_whole_site(project):
    kill_while_publishing(project, 8, 0.05)


@pytest.mark.slow
def test_fifty_publications_killed_at_any_moment_leave_one_whole_site(project):
    assert kill_while_publishing(project, 50, 0.08) == {"old", "new"}


def steps_of(monkeypatch, attack):
    "Let an attack happen before the given step of a publication."
    for name in ("_fill_folder", "require_own", "_keep_files", "_settle_modes", "put_in_place"):
        real = getattr(site, name)

        def stepped(*arguments, name=name, real=real):
            attack(name, arguments)
            return real(*arguments)

        monkeypatch.setattr(site, name, stepped)


@pytest.fixture
def victim(tmp_path):
    "A folder of somebody else that links lead to."
    folder = tmp_path / "victim"
    folder.mkdir()
    (folder / "precious").write_text("precious")
    (folder / "README.md").write_text("secret of somebody else")
    (folder / "index.html").write_text("not a page of ours")
    folder.chmod(0o755)
    return folder


STEPS = ("_fill_folder", "require_own", "_keep_files", "_settle_modes", "put_in_place")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("exists", [False, True])
def test_link_in_place_of_reports_leads_no_publication_elsewhere(project, victim, monkeypatch, step, exists):
    if exists:
        publish(project)
    before, mode = files_below(victim), stat.S_IMODE(victim.stat().st_mode)

    def attack(name, arguments):
        if name == step and not project.reports.is_symlink():
            if project.reports.exists():
                os.rename(project.reports, project.root / "moved")
            project.reports.symlink_to(victim)

    steps_of(monkeypatch, attack)
    with contextlib.suppress(MlnbError):
        publish(project)
    monkeypatch.undo()
    assert files_below(victim) == before and stat.S_IMODE(victim.stat().st_mode) == mode
    shown = b"".join(files_below(project.reports).values()) if not project.reports.is_symlink() else b""
    assert b"secret of somebody else" not in shown
    assert [path.name for path in project.root.iterdir() if path.name.startswith(".reports-")] == []


@pytest.mark.parametrize("step", STEPS[1:])
def test_link_in_place_of_a_page_or_an_own_page_is_not_followed(project, victim, monkeypatch, step):
    publish(project)
    before = files_below(victim)

    def attack(name, arguments):
        if name == step:
            for page in (project.reports / "index.html", project.reports / "README.md"):
                page.unlink(missing_ok=True)
                page.symlink_to(victim / page.name)

    steps_of(monkeypatch, attack)
    with contextlib.suppress(MlnbError):
        publish(project)
    monkeypatch.undo()
    assert files_below(victim) == before
    pages = [path for path in project.reports.rglob("*") if path.is_file() and not path.is_symlink()]
    assert not any(b"somebody else" in page.read_bytes() for page in pages)


def test_own_page_that_becomes_a_link_meanwhile_is_not_published(project, victim, monkeypatch):
    def attack(name, arguments):
        page = project.root / "own-pages/3.html"
        if name == "_fill_folder" and not page.is_symlink():
            page.unlink()
            page.symlink_to(victim / "README.md")

    steps_of(monkeypatch, attack)
    with pytest.raises(MlnbError, match=r"3\.html"):
        publish(project)
    monkeypatch.undo()
    assert not project.reports.exists()


def test_site_that_is_being_built_is_nobody_else_s_under_any_umask(project, monkeypatch):
    "Who could write there meanwhile could put a link in the place of a page that is yet to be written."
    seen = []

    def look(name, arguments):
        if name == "_keep_files":
            seen.append(stat.S_IMODE(arguments[1].stat().st_mode))

    steps_of(monkeypatch, look)
    before = os.umask(0)
    try:
        publish(project)
    finally:
        os.umask(before)
    assert seen == [0o700]


# the temporary folder

NAMES = ["a b", "-rf", "$(touch attacked)", "a'b\"c", "ü😀", "new\nline", "%s{0}", "x" * 200, "..."]


def run_with_tmpdir(make_project, mlnb, folder):
    "A run, its pages and a verification with a temporary folder of that name."
    cells = ["from mlnb import save\nimport tempfile\nsave('place', tempfile.gettempdir())"]
    root = make_project({"10_a.ipynb": cells}).root
    (root / folder).mkdir(parents=True, exist_ok=True)
    surroundings = {"TMPDIR": str(root / folder), "XDG_RUNTIME_DIR": ""}
    for verb in (["run", "demo", "--force"], ["publish"], ["verify"]):
        done = mlnb(*verb, cwd=root, **surroundings)
        assert (done.code, "Traceback" in done.stderr) == (0, False), (verb, done.stderr)
    mlnb("kernels", "stop", "--all", "--force", cwd=root, **surroundings)
    assert not list(root.rglob("attacked")) and not (root.parent / "attacked").exists()
    return root / folder


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_temporary_folder_of_any_name_is_used_as_it_is(make_project, mlnb, name):
    run_with_tmpdir(make_project, mlnb, name)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["link", "file", "missing", "read-only"])
def test_temporary_folder_that_is_none_is_no_fault(make_project, mlnb, victim, kind):
    root = make_project({"10_a.ipynb": ["from mlnb import save\nsave('a', 1)"]}).root
    place, before = root / "tmp", files_below(victim)
    if kind == "link":
        place.symlink_to(victim)
    if kind == "file":
        place.write_text("a file")
    if kind == "read-only":
        place.mkdir(mode=0o500)
    surroundings = {"TMPDIR": str(place), "XDG_RUNTIME_DIR": ""}
    for verb in (["run", "demo"], ["publish"], ["verify"]):
        done = mlnb(*verb, cwd=root, **surroundings)
        assert (done.code, "Traceback" in done.stderr) == (0, False), (verb, done.stderr)
    mlnb("kernels", "stop", "--all", "--force", cwd=root, **surroundings)
    after = files_below(victim)
    assert before.items() <= after.items()


# locks whose holder is killed


def test_lock_of_a_killed_holder_is_free_a_hundred_times(tmp_path):
    path = tmp_path / "lock"
    for _ in range(100):
        reading, writing = os.pipe()

        def hold(writing=writing):
            handle = os.open(path, os.O_RDWR | os.O_CREAT)
            assert try_lock(handle)
            os.write(writing, b"held")
            time.sleep(60)

        pid = in_child(hold)
        assert os.read(reading, 4) == b"held"
        handle = os.open(path, os.O_RDWR)
        assert not try_lock(handle)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert try_lock(handle)
        fcntl.flock(handle, fcntl.LOCK_UN)
        for one in (handle, reading, writing):
            os.close(one)
