"""Hostile names at every verb that takes one: nothing outside the project is read or written."""

import re

import pytest
from every_verb import spoken

CANARY = "CANARY-6f1d"
OURS = "from mlnb import save"
CLIMBS = ["..", "../canary", "../../canary", "../../../../../../etc/passwd", "a/../../canary", "./../canary"]
CODED = ["%2e%2e/canary", "%2e%2e%2fcanary", "%252e%252e%252fcanary", "..%c0%afcanary", "..%5ccanary"]
ABSOLUTE = ["/etc/passwd", "//etc/passwd", "file:///etc/passwd", "~/canary", "~root", "$HOME/canary", "/"]
WINDOWS = ["..\\canary", "C:\\canary", "C:canary", "\\\\host\\share", "\\\\?\\C:\\x", "con", "NUL.txt", "aux"]
UNICODE = [
    "․․/canary",
    "‥/canary",
    "．．／canary",
    "..∕canary",
    "..⧸canary",
    "\u202e..",
    "\ufeff..",
    "é",
    "é",
]
SHAPES = ["", " ", ".", "...", "-", "--", "-rf", "--json", "*", "?", "[x]", "x" * 300, "x/" * 150, "a\nb"]
WORDS = [
    "link",
    "link/canary",
    "`id`",
    "$(id)",
    "a;id",
    "a|id",
    "'",
    '"',
    "<b>",
    "a@",
    "@a",
    "a@@b",
    "a#b",
    "a?b",
]
CODES = (0, 1, 2, 3, 5, 6, 69, 75)  # of a fault it would be 70
NAMES = [*CLIMBS, *CODED, *ABSOLUTE, *WINDOWS, *UNICODE, *SHAPES, *WORDS]
LINES = [
    "get NAME",
    "get demo/NAME",
    "get kept@NAME",
    "show NAME",
    "why NAME",
    "diff NAME NAME",
    "lineage NAME",
    "artifacts NAME",
    "params NAME",
    "status NAME",
    "dag NAME",
    "check NAME",
    "runs NAME",
    "run NAME --dry-run",
    "run demo NAME --dry-run",
    "run demo --profile NAME --dry-run",
    "run demo -p NAME 1 --dry-run",
    "reproduce NAME",
    "erase NAME --reason why --dry-run",
    "overlay drop NAME",
    "publish --profile NAME",
    "audit verify --checkpoint NAME",
    "audit distrust NAME",
]


@pytest.fixture
def root(make_project, mlnb, tmp_path):
    "A project with one saved value, a canary beside it, and a link that leads out."
    (tmp_path / "canary").write_text(CANARY)
    root = make_project({"10_kept.ipynb": [OURS, "save('kept', 1)"]}).root
    assert mlnb("run", "demo", cwd=root).code == 0
    (root / "link").symlink_to(tmp_path)
    return root


def outside(root):
    "What lies around the project."
    return {path: path.read_bytes() for path in root.parent.iterdir() if path.is_file()} | {
        path: None for path in root.parent.iterdir() if path.is_dir()
    }


def try_names(root, names):
    "Every line with every name: a documented code, no traceback, and nothing outside is touched or shown."
    before, passwd, wrong = outside(root), re.compile(rb"root:[^:]*:0:0"), []
    for name in names:
        for line in LINES:
            words = [word.replace("NAME", name) for word in line.split()]
            code, *said = spoken(words, root)
            text = b"".join(said)
            leaks = CANARY.encode() in text or passwd.search(text)
            if code not in CODES or b"Traceback" in text or leaks:
                wrong.append((words, code, text[-300:]))
    assert wrong == []
    assert outside(root) == before


def test_hostile_names_at_every_verb_touch_nothing_outside(root):
    try_names(root, ["../canary", "x" * 300, "link/canary"])


@pytest.mark.slow
def test_sixty_hostile_names_at_every_verb_touch_nothing_outside(root):
    assert len(set(NAMES)) >= 60
    try_names(root, NAMES)
