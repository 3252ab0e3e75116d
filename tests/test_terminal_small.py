"""What stands in a store's place, who may read what is made, which folder hides mlnb, what a dry run says."""

import os
import re
import stat
import subprocess
import sys

import pytest
import typer
from every_verb import COMMANDS, lines_for, spoken, spoken_at_terminal

from mlnb.cli import import_verbs
from mlnb.terminal.frame import app

OURS = "from mlnb import load, metric, save"
STAGES = {"10_kept.ipynb": [OURS, "save('kept', 1)"], "20_fails.ipynb": [OURS, "load('kept')\n1 / 0"]}
NO_PROJECT = ("init", "kernels", "run", "reproduce", "dag")  # verbs that open no store, or need a kernel


def link_to(target):
    return lambda root: (root / ".mlnb").symlink_to(target)


def below_a_link(root):
    (root / "disk").symlink_to("/nowhere/at/all")
    (root / "settings.ini").write_text("[mlnb]\nstore = disk/store\n[pipeline.demo]\nnotebooks = nbs\n")


PLACES = {
    "dangling": (link_to("/nowhere/at/all"), "is a link to /nowhere/at/all, which is not there"),
    "circle": (link_to(".mlnb"), "which leads back to it"),
    "file": (lambda root: (root / ".mlnb").write_text("x"), "is no folder, and the store would be one"),
    "below a dangling link": (below_a_link, "is a link to /nowhere/at/all, which is not there"),
}


@pytest.mark.parametrize("verbs", ["some", pytest.param("all", marks=pytest.mark.slow)])
@pytest.mark.parametrize("place", PLACES)
def test_odd_place_of_a_store_is_said_by_every_verb(make_project, place, verbs):
    project = make_project(STAGES)
    make, said = PLACES[place]
    make(project.root)
    before = sorted(project.root.rglob("*"))
    asked = ("status", "publish", "verify") if verbs == "some" else set(COMMANDS) - set(NO_PROJECT)
    for words in [*lines_for(verbs=sorted(asked)), ["run", "demo"]]:
        if words[0] in ("erase", "overlay") or words[:2] in (["audit", "distrust"], ["audit", "trust"]):
            continue
        code, out, err = spoken(words, project.root)
        assert (code, said.encode() in out + err) == (69, True), (words, code, err)
    assert sorted(project.root.rglob("*")) == before, "nothing was made"


IMPOSSIBLE = (
    "/proc",
    "/proc/x",
    "/sys/x",
    "/dev/null/x",
    "/proc/1/root/x",
    "settings.ini/x",
    "link/x",
    "link",
)


@pytest.mark.parametrize("setting", ["store", "reports"])
def test_place_where_no_folder_can_be_is_said_with_a_mend(make_project, setting):
    project = make_project(STAGES)
    (project.root / "link").symlink_to("nowhere")
    for place in IMPOSSIBLE:
        lines = f"[mlnb]\n{setting} = {place}\n[pipeline.demo]\nnotebooks = nbs\n"
        (project.root / "settings.ini").write_text(lines)
        for words in (["status"], ["publish"]):
            code, _, err = spoken(words, project.root)
            allowed = (0, 2, 69) if words == ["status"] else (2, 69)
            assert code in allowed and (code == 0 or b"mend: " in err), (words, place, code, err)


def test_place_for_a_checkpoint_that_cannot_be_made_is_not_to_be_made(make_project):
    project = make_project(STAGES)
    (project.root / "link").symlink_to("nowhere")
    assert spoken(["audit", "init"], project.root)[0] == 0
    for place in (*IMPOSSIBLE, "absent/x"):
        for words in (["audit", "checkpoint", "--out", place], ["audit", "anchor", place]):
            code, _, err = spoken(words, project.root)
            is_meant = place == "link" and code == 0  # a file is written where the link leads
            assert is_meant or (code in (2, 69) and b"mend: " in err), (words, code, err)
            assert (b"mkdir" in err) == (place == "absent/x"), (words, err)


@pytest.mark.parametrize("target", ["store", "../kept"])
def test_store_behind_a_good_link_works(make_project, target):
    project = make_project({"10_kept.ipynb": STAGES["10_kept.ipynb"]})
    (project.root / target).mkdir()
    (project.root / ".mlnb").symlink_to(target)
    assert [spoken(words, project.root)[0] for words in (["status"], ["audit", "init"], ["verify"])] == [
        0,
        0,
        0,
    ]
    assert (project.root / target / "format").is_file()


@pytest.mark.parametrize("name", ["reports", "opened"])
def test_links_in_a_circle_are_no_fault(make_project, name):
    project = make_project(STAGES)
    (project.root / name).symlink_to(name)
    (project.root / "nbs" / "30_round.ipynb").symlink_to("30_round.ipynb")
    for words in (["status"], ["check"], ["publish"], ["run", "demo"], ["push", f"{name}/x"]):
        assert spoken(words, project.root)[0] != 70, words


@pytest.mark.slow
@pytest.mark.parametrize("umask", ["000", "022", "077", "0277"])
def test_everything_written_is_private_under_any_umask(make_project, umask):
    project = make_project(STAGES)
    verbs = ["run demo", "publish", "audit init", "audit checkpoint", "push remote/", "verify", "gc"]
    script = "; ".join([f"umask {umask}", *(f"{sys.executable} -m mlnb {line}" for line in verbs)])
    done = subprocess.run(
        ["bash", "-c", script], cwd=project.root, capture_output=True, text=True, timeout=200
    )
    assert "fault of mlnb" not in done.stderr
    assert "demo: failed, 1 run, 1 failed" in done.stdout, done.stdout + done.stderr
    for top in (".mlnb", "opened", "reports"):
        assert (project.root / top).is_dir()
        for path in [project.root / top, *(project.root / top).rglob("*")]:
            mode = stat.S_IMODE(path.lstat().st_mode)
            assert path.is_symlink() or (mode & 0o077, mode & 0o400) == (0, 0o400), (path, oct(mode))
    for path in (project.root / "remote").rglob("*"):
        assert path.stat().st_mode & stat.S_IWOTH == 0, path


@pytest.mark.parametrize("has_init", [False, True])
def test_folder_that_hides_mlnb_is_said(make_project, outside_environment, has_init):
    project = make_project(STAGES)
    (project.root / "mlnb").mkdir()
    if has_init:
        (project.root / "mlnb" / "__init__.py").touch()
    about = {"cwd": project.root, "capture_output": True, "text": True, "env": outside_environment()}
    done = subprocess.run([sys.executable, "-m", "mlnb", "status"], **about)
    if done.returncode == 0:
        pytest.skip("mlnb is installed so that no folder hides it")
    assert done.returncode in (1, 2), done.stderr
    assert "hides the package mlnb" in done.stderr or "No module named mlnb" in done.stderr
    assert "Traceback" not in done.stderr
    assert subprocess.run([sys.executable, "-P", "-m", "mlnb", "status"], **about).returncode == 0


@pytest.mark.slow
def test_cold_stage_beside_a_folder_called_mlnb_runs_and_keeps_to_its_notebook(make_project, mlnb):
    project = make_project(
        {"10_kept.ipynb": [OURS, "import os\nos.write(2, b'\\x1b]0;title\\x07')\nsave('kept', 1)"]}
    )
    (project.root / "nbs" / "mlnb").mkdir()
    done = mlnb("run", "demo", "--cold", cwd=project.root)
    assert (done.code, done.stderr) == (0, "")
    assert "title" not in done.stdout


def test_dry_run_says_what_a_run_refuses(make_project):
    many = [OURS, "save('weeks', list(range(20)))"]
    each = [f"#| each: week in weeks\n{OURS}", ("parameters", "week: int = 1"), "save('judged', week)"]
    settings = "[mlnb]\nmost_values = 5\n[pipeline.demo]\nnotebooks = nbs\n"
    project = make_project({"10_weeks.ipynb": many, "20_judge.ipynb": each}, settings)
    assert spoken(["run", "demo", "weeks"], project.root)[0] == 0
    dry, told, _ = spoken(["run", "demo", "--dry-run"], project.root)
    code, out, _ = spoken(["run", "demo"], project.root)
    said = b"there are 20 values of `week`, at most 5 are run"
    assert (dry, code, said in told, said in out) == (1, 1, True, True), (told, out)
    assert b"would fail" in told


@pytest.mark.slow
def test_repair_shows_its_table_once_and_repeats_one_part(make_project):
    each = [f"#| each: week in 1..3\n{OURS}", ("parameters", "week: int = 1"), "save('judged', week * 111)"]
    project = make_project({"10_judge.ipynb": each})
    assert spoken(["run", "demo"], project.root)[0] == 0
    objects = (project.root / ".mlnb" / "objects").glob("*/*")
    (lost,) = [path for path in objects if path.read_bytes() == b"222"]
    lost.chmod(0o600)
    lost.write_text("altered")
    code, out, _ = spoken(["verify", "--repair"], project.root)
    assert (code, out.count(b"damaged  what")) == (0, 1), out
    assert (b"judge[week=2] done" in out, b"judge[week=1]" in out) == (True, False), out


@pytest.mark.slow
def test_run_at_a_terminal_moves_its_lines_and_nothing_else(make_project):
    project = make_project(
        {"10_kept.ipynb": [OURS, "save('kept', 1)\nraise ValueError('\\x1b]0;title\\x07[red]x[/red]')"]}
    )
    before = os.environ.pop("CI", None)
    code, sent = spoken_at_terminal(["run", "demo"], project.root)
    os.environ |= {"CI": before} if before else {}
    assert code == 1
    assert b"\x1b]" not in sent and b"\x07" not in sent
    assert rb"\x1b]0;title\x07[red]x[/red]" in sent
    assert b"\x1b[2K" in sent, "lines move"


@pytest.mark.parametrize("name", [v for v in COMMANDS if not v.startswith(("audit", "push", "pull"))])
def test_example_of_a_verb_fits_a_line_and_names_what_there_is(name):
    import_verbs([])
    command = typer.main.get_command(app)
    for word in name.split():
        command = command.commands[word]
    line = command.epilog.removeprefix("\b\nExample: ")
    assert line.startswith("mlnb ")
    assert len(line) <= 80 - len("  Example: "), "a folded line cannot be pasted"
    assert re.search(r"…|\.\.\.|[0-9a-f]{8}|[A-Z]{3,}(?==)?$", line) is None, line
    texts = [option.help or "" for option in command.params if hasattr(option, "help")]
    assert [text for text in texts if "Example: " in text] == [], "the help of an option is folded"


@pytest.mark.slow
def test_example_of_diff_compares_the_two_newest_runs(make_project, mlnb):
    project = make_project({"10_kept.ipynb": [("parameters", "n: int = 1"), OURS, "save('kept', n)"]})
    for n in "12":
        assert mlnb("run", "demo", "-p", "n", n, cwd=project.root).code == 0
    line = typer.main.get_command(app).commands["diff"].epilog.removeprefix("\b\nExample: ")
    line = line.replace("mlnb ", f"{sys.executable} -m mlnb ").replace("fraud", "demo")
    done = subprocess.run(["bash", "-c", line], cwd=project.root, capture_output=True, text=True)
    assert (done.returncode, "kept" in done.stdout) == (0, True), done


def test_table_is_out_before_a_note_that_follows_it(tmp_path):
    code = "from mlnb.terminal.output import *\nshow_table(['a'], [['row']], '')\n"
    code += "import sys; show_lines('note', file=sys.stderr)"
    with (tmp_path / "both").open("w") as both:
        subprocess.run([sys.executable, "-c", code], stdout=both, stderr=both, check=True)
    said = (tmp_path / "both").read_text()
    assert said.index("row") < said.index("note")


def test_ref_in_git_is_said_to_need_a_push_and_the_command_works(make_project, asked, tmp_path, monkeypatch):
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)
    project = make_project({}).root
    assert asked("audit", "init", cwd=project).code == 0
    there = tmp_path / "there"
    for arguments in (("init", "-q"), ("init", "-q", "--bare", there), ("remote", "add", "b", there)):
        subprocess.run(["git", *map(str, arguments)], cwd=project, check=True)
    said = asked("audit", "anchor", "git", cwd=project).stderr
    command = re.search("`(git push .+?)`", said)[1]
    assert "until it is pushed" in said and command == "git push b refs/mlnb/audit"
    subprocess.run(command.split(), cwd=project, check=True, capture_output=True)
    kept = subprocess.run(
        ["git", "for-each-ref"], cwd=there, check=True, capture_output=True, text=True
    ).stdout
    assert kept.endswith("refs/mlnb/audit\n")
