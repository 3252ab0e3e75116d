"""settings.ini is read as written, and whatever is wrong with it is said, all at once."""

import difflib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from every_verb import spoken

from mlnb.store.errors import DefinitionError, UsageError
from mlnb.store.ini_file import read_ini
from mlnb.store.settings import find_project, profile_name, project_store, read_project


def write(folder, text, encoding="utf-8"):
    (folder / "settings.ini").write_bytes(text.encode(encoding))
    return folder


def problems(folder, text):
    with pytest.raises(DefinitionError) as caught:
        read_project(write(folder, text))
    assert caught.value.exit_code == 2
    assert all(p.file == "settings.ini" and p.message and p.mend for p in caught.value.problems)
    return [(p.rule, p.mend) for p in caught.value.problems]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("MaxDepth = 5", "5"),
        ("MaxDepth=5", "5"),
        ("MaxDepth: 5", "5"),
        ("MaxDepth = 5 ; trees", "5"),
        ("MaxDepth = 5%", "5%"),
        ("MaxDepth = %(x)s", "%(x)s"),
        ("MaxDepth = ${x}", "${x}"),
        ("MaxDepth = a;b", "a;b"),
        ("MaxDepth = # no comment", "# no comment"),
        ("MaxDepth = [1, 2]", "[1, 2]"),
        ("MaxDepth = ", ""),
        ("MaxDepth = a = b", "a = b"),
        ("MaxDepth = Zürich", "Zürich"),
        ('MaxDepth = "quoted"', '"quoted"'),
    ],
)
def test_read_ini_keeps_case_and_text(tmp_path, line, value):
    assert read_ini(write(tmp_path, f"[mlnb]\n[profile.ci.fraud]\n{line}\n") / "settings.ini")[
        "profile.ci.fraud"
    ] == {"MaxDepth": value}


@pytest.mark.parametrize(
    "head",
    ["\ufeff[mlnb]\n", "; first\n[mlnb]\n", "# first\n\n[mlnb]\r\n"],
    ids=["byte order mark", "comment", "carriage return"],
)
def test_read_project_tolerates_what_editors_add(tmp_path, head):
    assert read_project(write(tmp_path, head + "store = kept\n")).store == tmp_path / "kept"


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("[mlnb]\nstor = x\n", [("unknown-key", "did you mean `store`?")]),
        ("[mlnb]\nStore = x\n", [("unknown-key", "did you mean `store`?")]),
        (
            "[mlbn]\n[pipelin.fraud]\nnotebooks = nbs\n",
            [("unknown-section", "did you mean `mlnb`?"), ("unknown-section", None)],
        ),
        ("[mlnb]\n[pipeline.fraud]\n", [("missing-key", "add a line `notebooks = …`")]),
        ("[mlnb]\n[pipeline.Fraud]\nnotebooks = nbs\n", [("bad-name", None)]),
        (
            "[mlnb]\n[pipeline.fraud]\nnotebook = nbs\n",
            [("unknown-key", "did you mean `notebooks`?"), ("missing-key", None)],
        ),
        (
            "[mlnb]\n[source.raw]\npath = x\n[profile.ci.source.rew]\npath = y\n",
            [("unknown-section", "did you mean `raw`?")],
        ),
        (
            "[mlnb]\n[profile.ci.frod]\ndays = 1\n[pipeline.fraud]\nnotebooks = nbs\n",
            [("unknown-section", "did you mean `fraud`?")],
        ),
        ("[mlnb]\n[profile.ci]\ndays = 1\n", [("unknown-section", None)]),
        ("[mlnb]\n[a.b.c.d]\n", [("unknown-section", None)]),
        ("[mlnb]\n[mlnb.x]\n", [("unknown-section", None)]),
        ("[mlnb]\n[pipeline]\nnotebooks = nbs\n", [("unknown-section", None)]),
        ("[mlnb]\nstore\n", [("settings-syntax", None)]),
        ("store = x\n[mlnb]\n", [("settings-syntax", None)]),
        ("[mlnb]\nstore = a\nstore = b\n", [("settings-syntax", None)]),
        ("[mlnb]\n[mlnb]\n", [("settings-syntax", None)]),
        ("[mlnb\n", [("settings-syntax", None)]),
    ],
)
def test_read_project_wrong_file_lists_every_problem_with_a_mend(tmp_path, text, rules):
    found = problems(tmp_path, text)
    assert [rule for rule, _ in found] == [rule for rule, _ in rules]
    assert all(wanted is None or wanted == mend for (_, mend), (_, wanted) in zip(found, rules, strict=True))


def test_read_project_profile_source_without_path_is_a_problem(tmp_path):
    assert (
        problems(tmp_path, "[mlnb]\n[source.raw]\npath = x\n[profile.ci.source.raw]\n")[0][0] == "missing-key"
    )


def test_read_ini_other_encoding_is_a_problem_and_no_traceback(tmp_path):
    write(tmp_path, "[mlnb]\n; Zürich\n", "latin-1")
    with pytest.raises(DefinitionError, match="cannot be read"):
        read_project(tmp_path)


def test_find_project_takes_the_nearest_with_a_mlnb_section(tmp_path):
    inner = tmp_path / "a" / "b"
    (inner / "nbs").mkdir(parents=True)
    write(tmp_path, "[mlnb]\n")
    write(tmp_path / "a", "[DEFAULT]\nlib_name = other\n")
    assert find_project(inner).root == tmp_path
    write(inner, "[mlnb]\n")
    assert find_project(inner / "nbs").root == inner
    with pytest.raises(UsageError, match="mlnb init"):
        find_project("/")


def test_paths_are_relative_to_the_project_or_absolute(tmp_path):
    project = read_project(
        write(
            tmp_path,
            f"[mlnb]\nstore = deep/kept\nreports = {tmp_path}/pages\n[pipeline.fraud]\n"
            "notebooks = nbs/fraud\n",
        )
    )
    assert (project.store, project.reports, project.pipelines) == (
        tmp_path / "deep" / "kept",
        tmp_path / "pages",
        {"fraud": tmp_path / "nbs" / "fraud"},
    )
    assert project_store(project).root == tmp_path / "deep" / "kept"


def test_profile_option_wins_over_the_environment_and_unknown_is_refused(tmp_path, monkeypatch):
    project = read_project(
        write(tmp_path, "[mlnb]\n[pipeline.p]\nnotebooks = n\n[profile.ci.p]\n[profile.full.p]\n")
    )
    assert profile_name(project) == "default"
    monkeypatch.setenv("MLNB_PROFILE", "ci")
    assert (profile_name(project), profile_name(project, "full"), profile_name(project, "default")) == (
        "ci",
        "full",
        "default",
    )
    monkeypatch.setenv("MLNB_PROFILE", "ful")
    with pytest.raises(UsageError, match="did you mean `full`"):
        profile_name(project)


def test_shared_with_a_group_that_does_not_exist_is_a_problem_of_the_file(tmp_path):
    assert problems(tmp_path, "[mlnb]\nshared = no-such-group-here\n")[0][0] == "unknown-group"
    with pytest.raises(DefinitionError, match="no-such-group-here"):
        read_project(tmp_path)


def test_shared_with_a_group_that_exists_or_left_empty_is_read(tmp_path):
    import grp

    name = grp.getgrgid(os.getgid()).gr_name
    assert read_project(write(tmp_path, f"[mlnb]\nshared = {name}\n")).group == name
    assert read_project(write(tmp_path, "[mlnb]\nshared =\n")).group is None


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("[mlnb]\nstore =\n", "empty-value"),
        ("[mlnb]\nreports =\n", "empty-value"),
        ("[mlnb]\nstore = .\n", "bad-place"),
        ("[mlnb]\nstore = ..\n", "bad-place"),
        ("[mlnb]\nstore = nbs/..\n", "bad-place"),
        ("[mlnb]\nstore = /\n", "bad-place"),
        ("[mlnb]\nstore = nbs\n[pipeline.p]\nnotebooks = nbs/p\n", "bad-place"),
        ("[mlnb]\nstore = nbs/p\n[pipeline.p]\nnotebooks = nbs/p\n", "bad-place"),
        ("[mlnb]\n[source.raw]\npath = a\n[profile.ci.source.raw]\npath =\n", "empty-value"),
        ("[mlnb]\n[source.raw]\npath = a\n[profile.ci.source.raw]\n", "missing-key"),
    ],
)
def test_place_that_would_do_harm_is_one_problem(tmp_path, text, rule):
    (tmp_path / "nbs" / "p").mkdir(parents=True)
    assert [r for r, _ in problems(tmp_path, text)] == [rule]


def test_store_behind_a_link_to_the_project_is_refused(tmp_path):
    (tmp_path / "project").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "project")
    assert problems(tmp_path / "project", "[mlnb]\nstore = ../link\n")[0][0] == "bad-place"


def test_home_is_expanded_and_makes_no_folder_named_like_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    project = read_project(
        write(tmp_path, "[mlnb]\nstore = ~/zz\nreports = ~/pages\n[pipeline.p]\nnotebooks = ~/nbs\n")
    )
    assert (project.store, project.reports, project.pipelines["p"]) == tuple(
        tmp_path / "home" / name for name in ("zz", "pages", "nbs")
    )
    project_store(project)
    assert (tmp_path / "home" / "zz" / "format").exists() and not (tmp_path / "~").exists()


def test_reading_settings_imports_nothing_heavy(tmp_path):
    code = "import sys; from mlnb.store.settings import find_project; find_project(); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        cwd=write(tmp_path, "[mlnb]\n"),
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    ).stdout.split()
    assert not {
        "pandas",
        "numpy",
        "nbformat",
        "papermill",
        "sklearn",
        "pyarrow",
        "pydantic",
        "IPython",
    } & set(loaded)


NOTEBOOKS = "[pipeline.demo]\nnotebooks = nbs\n"
UNREADABLE = {
    "NUL": b"[mlnb]\nstore = a\0b\n",
    "control": b"[mlnb]\n[profile.ci.demo]\nkind = a\x1bb\n",
    "direction": "[mlnb]\nremote = a\u202eb\n".encode(),
    "unseen": "[mlnb]\nsto\u200bre = a\n".encode(),
    "vertical tab": b"[mlnb]\nstore = a\vb\n",
    "UTF-16": "[mlnb]\n".encode("utf-16"),
    "UTF-16 without mark": "[mlnb]\n".encode("utf-16-le"),
    "Latin": b"[mlnb]\nstore = caf\xe9\n",
    "twice": b"[mlnb]\nstore = a\nstore = b\n",
    "section twice": b"[mlnb]\n[mlnb]\n",
    "megabytes": b"[mlnb]\n" + b"; x\n" * 2_600_000,
}
NO_PLACE = {
    "device": "store = /dev/null/x",
    "file": "store = settings.ini",
    "below a file": "reports = settings.ini/x",
    "long": f"store = {'a' * 300}",
    "long path": f"reports = {'a/' * 3000}",
    "nobody's home": "store = ~nobody_of_this_name/x",
}


@pytest.mark.parametrize("kind", [*UNREADABLE, *NO_PLACE])
def test_settings_that_cannot_be_are_a_problem_of_every_verb(tmp_path, kind):
    text = UNREADABLE.get(kind) or f"[mlnb]\n{NO_PLACE[kind]}\n".encode()
    (tmp_path / "settings.ini").write_bytes(text + NOTEBOOKS.encode())
    for words in (["check"], ["status", "--json"], ["run", "demo", "--dry-run"], ["publish"], ["runs"]):
        code, _, err = spoken(words, tmp_path)
        assert (code, b"error: " in err, b"\n  mend: " in err) == (2, True, True), (words, err)
        assert b"Traceback" not in err
        assert kind not in UNREADABLE or kind == "megabytes" or b"line " in err
    assert [path.name for path in tmp_path.iterdir()] == ["settings.ini"], "nothing was made"


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no file system that takes no folders")
@pytest.mark.parametrize("place", ["/proc/x", "/proc", "/proc/self/x/y"])
def test_store_where_the_system_makes_nothing_is_a_sentence_of_every_verb(tmp_path, place):
    (tmp_path / "settings.ini").write_text(f"[mlnb]\nstore = {place}\n{NOTEBOOKS}")
    (tmp_path / "nbs").mkdir()
    for words in (["publish"], ["gc"], ["audit", "init"], ["run", "demo"], ["pull", str(tmp_path)], ["runs"]):
        code, _, err = spoken(words, tmp_path)
        assert code == 0 or b"\n  mend: " in err, (words, err)
        assert code in (0, 2, 69) and b"Traceback" not in err, (words, err)
        assert code == 0 or words[0] in ("run", "pull") or b"set `store` in settings.ini" in err, (words, err)
    (tmp_path / "settings.ini").write_text(f"[mlnb]\nreports = {place}/pages\n{NOTEBOOKS}")
    code, _, err = spoken(["publish"], tmp_path)
    assert code in (2, 69) and b"set `reports` in settings.ini" in err and b"Traceback" not in err, err


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text here")
def test_project_in_a_folder_whose_name_is_no_text_is_refused_by_every_verb(tmp_path):
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller"))
    (root / "nbs").mkdir(parents=True)
    write(root, f"[mlnb]\n{NOTEBOOKS}")
    for words in (["check"], ["status", "--json"], ["run", "demo"], ["publish"], ["audit", "init"]):
        code, _, err = spoken(words, root)
        assert (code, b"is not UTF-8" in err, b"mend: rename that folder" in err) == (2, True, True), err
    assert sorted(path.name for path in root.iterdir()) == ["nbs", "settings.ini"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="file names are text here")
@pytest.mark.parametrize("name", ["TMPDIR", "HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"])
def test_place_of_the_surroundings_whose_name_is_no_text_is_used_or_refused(
    make_project, mlnb, tmp_path, name
):
    project = make_project({"10_a.ipynb": ["from mlnb import save", "save('x', 1)"]})
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller")
    os.mkdir(odd, 0o700)
    told = {name: odd}
    for words in (
        ["run", "demo"],
        ["audit", "init"],
        ["verify"],
        ["publish"],
        ["get", "x"],
        ["gc"],
        ["status"],
    ):
        done = mlnb(*words, cwd=project.root, **told)
        assert (done.code, "codec" in done.stderr, "Traceback" in done.stderr) == (0, False, False), (
            done.stderr
        )
    done = mlnb("reproduce", "latest", cwd=project.root, **told)
    assert done.code == (2 if name == "TMPDIR" else 0), done.stderr
    assert name != "TMPDIR" or done.stderr.endswith("mend: set TMPDIR to another folder\n")


def test_settings_with_ten_thousand_sections_are_read_in_one_pass(tmp_path):
    sections = "".join(f"[profile.p{n}.demo]\nx=1\n" for n in range(10_000))
    assert len(read_project(write(tmp_path, f"[mlnb]\n{NOTEBOOKS}{sections}")).profiles) == 10_000


def test_thousands_of_wrong_names_are_compared_with_few(tmp_path, monkeypatch):
    compared, real = [], difflib.get_close_matches

    def counting(word, possibilities, *rest, **more):
        compared.append(len(possibilities))
        return real(word, possibilities, *rest, **more)

    monkeypatch.setattr(difflib, "get_close_matches", counting)
    n = range(2000)
    keys = "[source.s]\npath = x\n" + "".join(f"pathh{i} = 1\n" for i in n)
    sections = "".join(f"[pipeline.a{i}]\nnotebooks = nbs\n[pipelin.a{i}]\n" for i in n)
    profiles = "".join(f"[profile.ci.b{i}]\nx = 1\n" for i in n)
    for wrong, most in ((keys, 20), (sections, 20), (profiles, len(n))):
        compared.clear()
        with pytest.raises(DefinitionError) as found:
            read_project(write(tmp_path, f"[mlnb]\n{NOTEBOOKS}{wrong}"))
        assert len(found.value.problems) == len(n)
        assert len(compared) <= most and max(compared) <= 30
