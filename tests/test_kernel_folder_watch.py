"""What is opened in the project in the window of an attempt is reported, or the report says why not."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import mlnb.kernel.folder_watch as folder_watch
from mlnb.kernel.folder_watch import FolderWatch, Opened

needs_inotify = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="inotify is Linux's")


@pytest.fixture
def project(tmp_path):
    "A project with data, an environment, a store and hidden folders."
    root = tmp_path / "project"
    for name in ("data/raw", "lib", ".git", ".mlnb", "node_modules", "env/lib", "conda/conda-meta"):
        (root / name).mkdir(parents=True)
    (root / "env" / "pyvenv.cfg").touch()
    (root / "reports").mkdir()
    for name in ("data/a.csv", "data/raw/b.csv", "lib/tool.py", "top.csv"):
        (root / name).write_text("1\n")
    for name in (".git/c", ".mlnb/d", "node_modules/e", "env/lib/f", "conda/g", "reports/h"):
        (root / name).write_text("1\n")
    return root


@pytest.fixture
def watch(project):
    "Its watch, as a run has it."
    with FolderWatch(project, [project / "reports"]) as made:
        yield made


def seen(watch, program):
    "What the window of a process of its own is told."
    token = watch.begin("stage")
    subprocess.run(["sh", "-ec", program], cwd=watch.root, check=True)
    return watch.end(token)


READS = {
    "a program": ("cat data/a.csv", ["data/a.csv"]),
    "below": ("cat data/raw/b.csv top.csv", ["data/raw/b.csv", "top.csv"]),
    "a program of the project": ("sh lib/tool.py || true", ["lib/tool.py"]),
    "only looked at": ("ls -l data; test -f data/a.csv; stat data/a.csv", []),
    "what is passed over": ("cat .git/c .mlnb/d node_modules/e env/lib/f conda/g reports/h", []),
    "many times": ("cat data/a.csv data/a.csv; cat data/a.csv", ["data/a.csv"]),
}


@needs_inotify
@pytest.mark.parametrize("kind", READS)
def test_reading(watch, kind):
    program, expected = READS[kind]
    opened = seen(watch, program)
    assert (sorted(opened.files), opened.made, opened.problem) == (expected, set(), None)


MADE = {
    "new": ("echo 1 > data/new.csv", {"data/new.csv"}),
    "moved in": ("echo 1 > .git/x; mv .git/x data/x", {"data/x"}),
    "renamed": ("mv data/a.csv data/z.csv", {"data/z.csv"}),
    "more at its end": ("echo 2 >> data/a.csv", {"data/a.csv"}),
    "cut": (": > data/a.csv", {"data/a.csv"}),
    "in new folders": ("mkdir -p deep/er; echo 1 > deep/er/x; cat deep/er/x", {"deep/er/x"}),
    "a folder moved in": ("mkdir .git/k; echo 1 > .git/k/x; mv .git/k k", {"k/x"}),
    "made and gone": ("echo 1 > t; rm t", {"t"}),
}


@needs_inotify
@pytest.mark.parametrize("kind", MADE)
def test_writing(watch, kind):
    program, expected = MADE[kind]
    assert seen(watch, program).made == expected


@needs_inotify
def test_opened_for_writing_only_to_read(watch):
    with_database = seen(watch, f"{sys.executable} -S -c \"open('data/a.csv', 'r+').read()\"")
    assert (list(with_database.files), with_database.made) == (["data/a.csv"], set())


@needs_inotify
def test_written_through_memory(watch):
    program = "import mmap, time; f = open('data/a.csv', 'r+b'); m = mmap.mmap(f.fileno(), 0)"
    opened = seen(
        watch, f"{sys.executable} -S -c \"{program}; time.sleep(.02); m[0:1] = b'7'; m.close(); f.close()\""
    )
    assert (list(opened.files), opened.made) == (["data/a.csv"], {"data/a.csv"})


@needs_inotify
def test_signature_is_of_what_was_read(watch):
    token, file = watch.begin("stage"), watch.root / "top.csv"
    before = file.stat()
    file.read_text()
    time.sleep(0.02)
    file.write_text("later\n")
    opened = watch.end(token)
    assert opened.files == {"top.csv": [before.st_size, before.st_mtime_ns, before.st_ino]}
    assert opened.made == {"top.csv"}


@needs_inotify
def test_compiled_modules_stand_for_their_source(watch):
    program = f"cd lib; {sys.executable} -m tool"
    assert set(seen(watch, program).files) >= {"lib/tool.py"}
    imports = f"unset PYTHONDONTWRITEBYTECODE; cd lib; {sys.executable} -c 'import tool'"
    seen(watch, imports)
    assert (watch.root / "lib" / "__pycache__").is_dir()
    again = seen(watch, imports)
    assert (sorted(again.files), again.made) == (["lib/tool.py"], set())


@needs_inotify
def test_links_are_followed_and_circles_end(project, tmp_path):
    data = tmp_path / "elsewhere"
    (data / "deep").mkdir(parents=True)
    for name in ("x.csv", "deep/y.csv"):
        (data / name).write_text("1\n")
    (project / "data" / "far").symlink_to(data)
    (data / "deep" / "back").symlink_to(project)
    (project / "one.csv").symlink_to(tmp_path / "one.csv")
    (tmp_path / "one.csv").write_text("1\n")
    (project / "inside.csv").symlink_to(project / "data" / "a.csv")
    (project / "nowhere").symlink_to(tmp_path / "none")
    with FolderWatch(project) as watch:
        opened = seen(watch, "cat data/far/x.csv data/far/deep/y.csv one.csv inside.csv")
        seen(watch, "ln -s ../../one.csv data/late.csv; ln -s ../elsewhere/deep late")
        late = seen(watch, "cat data/late.csv late/y.csv")
    assert sorted(opened.files) == ["data/a.csv", "data/far/deep/y.csv", "data/far/x.csv", "one.csv"]
    assert opened.problem is None
    assert "data/far/deep/y.csv" in late.files


@needs_inotify
def test_windows_are_exact(watch):
    "What was opened before a window, or after it, is not in it: 100 windows without a pause between them."
    file, other = watch.root / "data" / "a.csv", watch.root / "top.csv"
    for _ in range(100):
        other.read_text()
        token = watch.begin("stage")
        file.read_text()
        opened = watch.end(token)
        other.read_text()
        assert list(opened.files) == ["data/a.csv"]


@needs_inotify
def test_windows_of_many_threads(project):
    "Each of eight attempts at once is told its own file, and the names of all that it met."
    found, barrier = {}, threading.Barrier(8)
    for n in range(8):
        (project / f"{n}.csv").write_text("1\n")

    def attempt(n):
        token = watch.begin(str(n))
        barrier.wait()
        (project / f"{n}.csv").read_text()
        barrier.wait()
        found[n] = watch.end(token)

    with FolderWatch(project) as watch:
        threads = [threading.Thread(target=attempt, args=(n,)) for n in range(8)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    for n, opened in found.items():
        assert set(opened.files) == {f"{m}.csv" for m in range(8)}
        assert set(opened.beside) == {str(m) for m in range(8)} - {str(n)}


@needs_inotify
def test_too_many_folders(project, monkeypatch):
    monkeypatch.setattr(folder_watch, "MOST_FOLDERS", 3)
    with FolderWatch(project) as watch:
        assert watch.end(watch.begin("stage")).problem == "not observed: the project has more than 3 folders"


@needs_inotify
def test_lost_events_are_said_and_new_folders_found(project):
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 20_000:
        pytest.skip("this system keeps too many events for a quick test")
    with FolderWatch(project) as watch:
        token = watch.begin("stage")
        with watch._lock:
            for n in range(limit + 10):
                (project / ("top.csv", "data/a.csv")[n % 2]).read_text()
            (project / "unseen").mkdir()
        lost = watch.end(token)
        (project / "unseen" / "x.csv").write_text("1\n")
        after = seen(watch, "cat unseen/x.csv")
    assert lost.problem.startswith("not observed: so many files")
    assert (list(after.files), after.problem) == (["unseen/x.csv"], None)


def test_without_inotify(project, monkeypatch):
    def refuse(self):
        raise OSError("this system has no inotify")

    monkeypatch.setattr(folder_watch.Inotify, "__init__", refuse)
    with FolderWatch(project) as watch:
        token = watch.begin("stage")
        (project / "top.csv").read_text()
        assert watch.end(token) == Opened(problem="not observed: this system has no inotify")


@needs_inotify
def test_no_watches_left(project, monkeypatch):
    def refuse(self, path, what):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(folder_watch.Inotify, "add", refuse)
    with FolderWatch(project) as watch:
        assert watch.end(watch.begin("stage")).problem.startswith("not observed: ")


@needs_inotify
def test_nothing_is_left_behind(project):
    before = sorted(os.listdir("/proc/self/fd"))
    watch = FolderWatch(project)
    watch.close()
    watch.close()
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert all(one.name != "mlnb-folder-watch" for one in threading.enumerate())
