"""No text from anywhere steers a terminal: every verb, every place of a store where a text can stand."""

import json
import re
import shutil
import unicodedata
from pathlib import Path

import pytest
from every_verb import COMMANDS, lines_for, spoken, spoken_at_terminal, verbs_of_app
from hypothesis import given, settings
from hypothesis import strategies as st

import mlnb
from mlnb.store.documents import sealed
from mlnb.store.shown_text import PAINT, shown_painted, shown_text
from mlnb.terminal.output import folded_lines, json_text

FORGED = "".join(f"{end}FORGED ok" for end in ("\n", "\r\n", "\v", "\f", "\x85", "\u2028", "\u2029", "\n \n"))
PLAIN_NAMED = (
    "\x1b]0;title\x07\x1b]8;;http://e.invalid\x1b\\link\x1b]52;c;cm0gLXJm\x07\x1b[31mred\x1b[2J\x1bc\x9b2J"
    "\x9d0;t\x9c\x90q\x08\x08\rover\x7f\u202egnp\u2066\u200b\ufeff\u2028\xad[red]x[/red][link=http://e]y[/link]:fire:"
)  # what can stand in one line
NAMED = PLAIN_NAMED + FORGED + "\nerror: FORGED\n  mend: FORGED"  # what can stand in the name of a file
HOSTILE = NAMED + "\x00\ud800"
OURS = "from mlnb import load, metric, save"
STAGES = {
    "10_kept.ipynb": [
        ("parameters", f"kind: str = {('a' + NAMED)!r}"),
        OURS,
        f"save('kept', {{{HOSTILE.replace(chr(0xD800), '')!r}: kind}})\nmetric('n_rows', 1)\n"
        f"print({NAMED!r})",
        f"save('text', {NAMED!r})",
    ],
    "20_fails.ipynb": [
        ("md", f"# A {NAMED}"),
        OURS,
        f"load('kept')\nsave('never', 1)\nraise ValueError({HOSTILE!r})",
    ],
}
STAY = ("state", "format", "sha256", "seal", "hash", "event")  # keys that tell a reader how to go on
NAMES = ("pipeline", "stage", "name", "kind", "codec", "type", "run", "parameter", "profile")
FORMED = {
    *NAMES,
    "origin",
    "outcome",
    "notebook",
    "opened",
    "file",
}  # what is no name is damage when it is read
PLAIN = re.compile(r"[0-9a-f]{12,}|\d{8}T\d{9}-[0-9a-f]{4}")  # digests, ids of runs


def poisoned(value, key="", all_of_it=False):
    "A document with a hostile text in each of its texts, or only in those that nothing is looked up by."
    if isinstance(value, dict):
        return {
            (name + HOSTILE if all_of_it and name not in STAY else name): poisoned(one, name, all_of_it)
            for name, one in value.items()
        }
    if isinstance(value, list):
        return [poisoned(one, key, all_of_it) for one in value]
    if not isinstance(value, str) or key in STAY:
        return value
    is_kept = PLAIN.fullmatch(value) or key in FORMED or key.endswith("_utc")
    return value if is_kept and not all_of_it else value + HOSTILE


def poison(store, all_of_it):
    "Poison every document of a store."
    for path in [*store.rglob("*.json"), *store.rglob("*.jsonl")]:
        if "objects" in path.parts or "cache" in path.parts:
            continue
        text = path.read_text()
        path.chmod(0o600)
        if path.suffix == ".jsonl":
            lines = [
                json.dumps(poisoned(json.loads(line), "", all_of_it)) for line in text.splitlines() if line
            ]
            path.write_text("\n".join([*lines, ""]))
            continue
        document = poisoned(json.loads(text), "", all_of_it)
        was_sealed = document.pop("sha256", None)
        path.write_bytes(sealed(path, document) if was_sealed else json.dumps(document).encode())


@pytest.fixture(scope="module")
def made(make_shared_project, mlnb):
    "A project whose run holds hostile texts, pushed once."
    project = make_shared_project(STAGES)
    assert spoken(["audit", "init"], project.root)[0] == 0
    result = mlnb("run", "demo", "--json", cwd=project.root)
    assert result.states == {"kept": "committed", "fails": "failed"}, result.stderr
    assert spoken(["push", "remote/"], project.root)[0] == 0
    about = ["--what", NAMED, "--owner", NAMED, "--known-since", "2026-01-01"]
    assert spoken(["audit", "report", *about], project.root)[0] == 0
    return project.root, result


@pytest.fixture
def root(made, tmp_path):
    shutil.copytree(made[0], tmp_path / "shop", symlinks=True)
    return tmp_path / "shop"


def unsafe(data):
    "What of bytes a terminal would obey, nobody would see, or looks like a line of mlnb's own."
    text = data.decode()
    forged = re.findall(r"(?m)^ ?(?:FORGED|error: FORGED)|^  mend: FORGED", text)
    is_odd = {
        c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c not in "\n\t"
    }
    return {*(is_odd - {"\u200d", "\u200c"}), *forged}


def strict(data):
    def refuse(token):
        raise AssertionError(token)

    text = json.loads(data, parse_constant=refuse)
    assert re.search("[\ud800-\udfff]", json.dumps(text, ensure_ascii=False)) is None
    assert data.isascii()


WITHOUT_KERNEL = [verb for verb in COMMANDS if verb not in ("run", "reproduce")]


def scan(root, run, verbs):
    for words in lines_for(run, "remote/", verbs):
        _, out, err = spoken(words, root)
        assert (unsafe(out), unsafe(err)) == (set(), set()), (words, out, err)
        if words[-1] == "--json":
            strict(out)


def test_verbs_each_have_their_words():
    assert set(verbs_of_app()) == set(COMMANDS)


def test_run_with_a_hostile_error_shows_it_as_text(made):
    for text in (made[1].stdout, made[1].stderr):
        assert unsafe(text.encode()) == set()
    (error,) = [entry["error"] for entry in made[1].json["stages"] if entry["state"] == "failed"]
    assert error["ename"] == "ValueError"
    assert error["evalue"].endswith("\\ud800"), "half a character hides nothing"


def test_hostile_texts_of_a_store_are_shown_as_text(root, made):
    poison(root / ".mlnb", False)
    scan(root, made[1].json["run"], ("show", "audit"))
    _, out, _ = spoken(["show", made[1].json["run"]], root)
    assert rb"\x1b]0;title\x07" in out, "it is shown, and not left out"


@pytest.mark.slow
@pytest.mark.parametrize("all_of_it", [False, True])
def test_store_of_hostile_texts_steers_no_terminal_in_any_verb(root, made, all_of_it):
    poison(root / ".mlnb", all_of_it)
    scan(root, made[1].json["run"], WITHOUT_KERNEL)


def test_terminal_is_sent_colours_and_moves_at_most(root, made):
    poison(root / ".mlnb", False)
    for verb in ("status", "runs", "show", "show --follow", "audit", "check", "lineage", "get"):
        verb, _, option = verb.partition(" ")
        words = [made[1].json["run"] if w == "RUN" else w for w in f"{COMMANDS[verb][0]} {option}".split()]
        _, sent = spoken_at_terminal(words, root)
        assert unsafe(PAINT.sub("", sent.decode()).encode()) == set(), (words, sent)
        assert b"\x1b[31m" not in sent
        assert verb != "show" or b"[red]x[/red][link=http://e]y[/link]:fire:" in sent


@pytest.mark.parametrize(
    "words",
    [
        [NAMED],
        ["run", NAMED],
        ["run", "demo", NAMED],
        ["show", NAMED],
        ["get", NAMED],
        ["why", NAMED],
        ["status", "--profile", NAMED],
        ["run", "demo", "-p", NAMED, NAMED],
        ["push", f"{NAMED}/x"],
        ["pull", f"s3x://{NAMED}"],
        ["overlay", NAMED],
        ["audit", "trust", NAMED, NAMED],
        ["status", f"--{NAMED}"],
        ["get", "demo/kept", "--out", f"no/{NAMED}/x"],
        ["lineage", NAMED],
        ["init", f"no\0{NAMED}"],
    ],
    ids=lambda words: words[0] if words[0] != NAMED else "no verb",
)
def test_name_on_the_command_line_is_shown_as_text(root, words):
    for more in ([], ["--json"]):
        code, out, err = spoken([*words, *more], root)
        assert (unsafe(out), unsafe(err)) == (set(), set()), (words, out, err)
        assert code != 70, (words, err)


def test_names_of_files_are_shown_as_text(root, made):
    named = PLAIN_NAMED.replace("/", "|") + "\nFORGED\r\nFORGED\n  mend: FORGED"
    (root / "nbs" / f"30_{named}.ipynb").write_text((root / "nbs" / "10_kept.ipynb").read_text())
    (root / "nbs" / f"40_x{named}.ipynb").write_text("{")
    (root / "nbs" / f"mod{named}.py").write_text("x = (")
    scan(root, made[1].json["run"], ("status", "check", "why", "params", "dag", "publish"))
    code, out, err = spoken(["run", "demo"], root)
    assert (code, unsafe(out), unsafe(err)) == (2, set(), set())


def test_settings_are_shown_as_text(root, made):
    ini, plain = root / "settings.ini", PLAIN_NAMED.replace("/", "|")
    ini.write_text(
        ini.read_text() + f"[source.raw]\npath = {PLAIN_NAMED}.csv\n[profile.{plain}.demo]\nodd = 1\n"
    )
    scan(root, made[1].json["run"], ("status", "check"))


ORDINARY = "naïve café, 価格表, Привет, مثال‌ها, क्‍ष, שלום, 👩‍🔬 👨‍👩‍👧 ❤️‍🔥 👍🏽, €\t½\n"


def test_ordinary_text_stays_as_it_is():
    assert shown_text(ORDINARY) == ORDINARY
    assert shown_painted(ORDINARY) == ORDINARY


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(), max_size=40))
def test_shown_text_holds_nothing_unsafe_and_settles_at_once(text):
    shown = shown_text(text)
    assert shown_text(shown) == shown
    odd = {c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in "\n\t"}
    assert odd == set()
    if text.isascii() and text.isprintable():
        assert shown == text
    shown.encode()


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(), max_size=20), st.text(st.sampled_from('\ud800\udc00\\u"d8\x7f'), max_size=12))
def test_json_is_ascii_and_strict_for_any_text(text, halves):
    strict(json_text({"value": [text, {halves: text + halves}]}).encode())


OWN_WAYS = {"output.py", "frame.py"}  # who may call `print`: lines and tables, help


def test_verbs_print_lines_and_tables_only():
    found = [
        path.name for path in Path(mlnb.__file__).parent.glob("terminal/*.py") if "print(" in path.read_text()
    ]
    assert set(found) <= OWN_WAYS, "`show_lines` lets no text begin a line"


def test_long_name_in_the_first_column_is_folded_away_from_the_margin():
    rows = [["x" * n + "error: forged " * 9, "failed"] for n in range(1, 40)]
    for width in (20, 40, 80):
        lines = folded_lines(["stage", "state"], rows, width)
        assert [line for line in lines if re.match("error|forged", line)] == []


def test_published_pages_show_what_a_terminal_shows(root, made):
    poison(root / ".mlnb", False)
    code, _, err = spoken(["publish"], root)
    assert code == 0, err
    pages = {path.name: path.read_text() for path in (root / "reports").rglob("*.html")}
    assert {"index.html", "kept.html", "fails.html"} <= pages.keys()
    odd = {"\n", "\t"}
    for name, page in pages.items():
        found = {c for c in page if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - odd
        assert found == set(), name
    assert r"\u202egnp" in pages["fails.html"].partition("</title>")[0], "the title of the window too"
