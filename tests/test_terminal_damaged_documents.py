"""A document of the store that says nothing, something else, or is gone: each verb says so in a sentence and
ends with a code that is documented; `verify` names it."""

import json
import shutil

import pytest
from every_verb import COMMANDS, lines_for, spoken

from mlnb.store.digests import sha256
from mlnb.store.documents import sealed

OURS = "from mlnb import load, metric, save"
STAGES = {
    "10_kept.ipynb": [
        ("parameters", "kind: str = 'a'"),
        OURS,
        "save('kept', 1)\nsave('text', 'a')\nmetric('n', 1)",
    ],
    "20_more.ipynb": [OURS, "save('more', load('kept'))"],
}
DOCUMENTED = {0, 1, 2, 3, 4, 5, 6, 69, 75}
HARMLESS = [v for v in COMMANDS if v not in ("run", "reproduce", "init", "kernels")]


@pytest.fixture(scope="module")
def made(make_shared_project):
    project = make_shared_project(STAGES)
    assert spoken(["audit", "init"], project.root)[0] == 0
    assert spoken(["run", "demo"], project.root)[0] == 0
    assert spoken(["push", "remote/"], project.root)[0] == 0
    return project.root


@pytest.fixture
def root(made, tmp_path):
    shutil.copytree(made, tmp_path / "shop", symlinks=True)
    return tmp_path / "shop"


def only(found):
    return sorted(found)[0]


PLACES = {
    "run": lambda store: only(store.glob("runs/*/run.json")),
    "record": lambda store: only(store.glob("records/demo/kept/*.json")),
    "ref": lambda store: only(store.glob("refs/heads/demo/default/*.json")),
}
CONTENTS = {
    "nothing": {},
    "another": {"run": 1},
    "list": [],
    "text": "run",
    "number": 7,
    "null": None,
    "numbers": {
        "run": 1,
        "pipeline": 2,
        "stage": 3,
        "stages": 4,
        "key": 5,
        "outputs": 6,
        "keys": 7,
        "parts": 8,
    },
    "wrong inside": {"stages": [1], "outputs": {"kept": 1}, "keys": {"kept": 1}, "inputs": [], "metrics": 1},
}  # what such a document may hold: of every JSON type, and of the right keys with wrong values


def spoil(path, content, with_seal):
    path.chmod(0o600)
    if content == CONTENTS["wrong inside"]:
        content = json.loads(path.read_text()) | content
        content.pop("sha256", None)
    has_seal = with_seal and isinstance(content, dict) and content
    path.write_bytes(sealed(path, content) if has_seal else json.dumps(content).encode())


def check(words, root):
    code, out, err = spoken(words, root)
    assert code in DOCUMENTED, (words, code, err.decode()[-1500:])
    assert b"Traceback" not in out + err, (words, err)
    if code and "--json" not in words:
        assert b"error: " in err or code == 1 or (code == 3 and b"`mlnb " in err), (words, code, err)
    return code, out + err


EACH = [
    pytest.param(place, name, seal, id=f"{place}-{name}-{'sealed' if seal else 'bare'}")
    for place in PLACES
    for name in CONTENTS
    for seal in (False, True)
    if not seal or (isinstance(CONTENTS[name], dict) and CONTENTS[name])
]


@pytest.mark.slow
@pytest.mark.parametrize(("place", "name", "seal"), EACH)
def test_damaged_document_ends_every_verb_with_a_sentence(root, made, place, name, seal):
    path = PLACES[place](root / ".mlnb")
    run = only((made / ".mlnb" / "runs").iterdir()).name
    spoil(path, CONTENTS[name], seal)
    for words in lines_for(run, "remote/", [v for v in HARMLESS if v not in ("gc", "erase")]):
        check(words, root)


@pytest.mark.parametrize(
    ("place", "name", "seal"), [p for p in EACH if p.values[1] in ("nothing", "another")]
)
def test_damaged_document_is_named_by_verify(root, place, name, seal):
    path = PLACES[place](root / ".mlnb")
    spoil(path, CONTENTS[name], seal)
    code, said = check(["verify", "--json"], root)
    assert code == 5
    assert path.relative_to(root / ".mlnb").as_posix().encode() in said


def test_stray_file_among_records_disturbs_no_verb(root, made):
    (root / ".mlnb" / "records" / "foo.json").write_text("{}")
    (root / ".mlnb" / "records" / "demo" / "foo.json").write_text("{}")
    run = only((made / ".mlnb" / "runs").iterdir()).name
    for words in lines_for(run, "remote/", ("status", "artifacts", "lineage", "verify", "show")):
        check(words, root)


def test_stray_file_among_records_is_named_by_verify(root):
    (root / ".mlnb" / "records" / "foo.json").write_text("{}")
    code, said = check(["verify", "--json"], root)
    assert code == 5
    assert b"records/foo.json" in said


def test_lost_head_document_is_a_pipeline_without_a_head(root, made):
    for path in (root / ".mlnb" / "refs" / "heads" / "demo" / "default").iterdir():
        path.unlink()
    run = only((made / ".mlnb" / "runs").iterdir()).name
    for words in lines_for(
        run, "remote/", ("status", "artifacts", "lineage", "show", "publish", "get", "why")
    ):
        code, said = check(words, root)
        assert code in (0, 2), (words, said)


LOST = {"run": "runs/*/run.json", "record": "records/demo/kept/*.json"}


@pytest.mark.parametrize("place", LOST)
def test_lost_document_ends_no_verb_with_a_fault(root, made, place):
    run = only((made / ".mlnb" / "runs").iterdir()).name
    only((root / ".mlnb").glob(LOST[place])).unlink()
    for words in lines_for(
        run, "remote/", ("status", "artifacts", "lineage", "show", "runs", "verify", "why")
    ):
        check(words, root)


@pytest.mark.parametrize(
    "line", ["{", "[]", "7", '{"event": "cell"}', '{"event": "stage", "at_utc": 1}', "\x00"]
)
def test_damaged_line_of_events_is_left_out(root, made, line):
    events = only((root / ".mlnb").glob("runs/*/events.jsonl"))
    events.write_text(f"{line}\n" + events.read_text())
    code, said = check(["show", events.parent.name, "--follow"], root)
    assert code == 0
    assert b"end: demo committed" in said


NO_NOTEBOOKS = {
    "no JSON": b"\x00\x01no",
    "a list": b"[3]",
    "no cells": b'{"nbformat": 4}',
    "odd cells": b'{"nbformat": 4, "cells": [5]}',
    "odd outputs": b'{"nbformat": 4, "metadata": {}, "cells": [{"cell_type": "code", "source": "", '
    b'"metadata": {}, "outputs": [{"output_type": "display_data", "data": {"text/html": 7}}]}]}',
    "odd metadata": b'{"nbformat": 4, "metadata": [], "cells": [{"cell_type": "code", "source": ""}]}',
    "deep": b'{"nbformat": 4, "cells": ' + b"[" * 9000 + b"]" * 9000 + b"}",
}


def spoil_notebook(root, member, how):
    "Let the notebook that a record keeps be altered, gone, or something else of the right digest."
    store = root / ".mlnb"
    path = only(store.glob("records/demo/kept/*.json"))
    record = json.loads(path.read_text())
    place = store / "objects" / record[member][:2] / record[member]
    place.chmod(0o600)
    if how == "gone":
        place.unlink()
    elif how == "altered":
        place.write_bytes(b"{}")
    else:
        digest = sha256(NO_NOTEBOOKS[how])
        (store / "objects" / digest[:2]).mkdir(exist_ok=True)
        (store / "objects" / digest[:2] / digest).write_bytes(NO_NOTEBOOKS[how])
        del record["sha256"]
        path.chmod(0o600)
        path.write_bytes(sealed(path, record | {member: digest}))


HOW = ("altered", "gone", *NO_NOTEBOOKS)


@pytest.mark.parametrize("how", HOW)
def test_executed_notebook_that_is_damaged_is_named_by_publish_which_goes_on(root, made, how):
    spoil_notebook(root, "notebook", how)
    code, said = check(["publish"], root)
    run = only((made / ".mlnb" / "runs").iterdir()).name
    assert code == 0
    assert said.count(f"demo/kept of run {run}".encode()) == 1
    for words in (["show", run], ["lineage", "demo/kept"], ["runs"], ["diff", run, run]):
        assert check(words, root)[0] == 0


@pytest.mark.parametrize("how", HOW)
def test_kept_notebook_that_is_damaged_is_named_by_whoever_reads_it(root, made, how):
    if how in ("odd outputs", "odd metadata"):
        pytest.skip("a notebook as it was written has no outputs to read")
    spoil_notebook(root, "source", how)
    run = only((made / ".mlnb" / "runs").iterdir()).name
    code, said = check(["diff", run, run], root)
    assert code == 0
    assert f"the code of kept of run {run} is not compared".encode() in said
    code, said = check(["reproduce", run], root)
    assert code == 5
    assert run.encode() in said and (b"mlnb verify --repair" in said or b"ask who committed it" in said)


def test_damaged_run_stops_neither_runs_nor_publish(root, made):
    first = only((made / ".mlnb" / "runs").iterdir()).name
    other = "20261123T100000000-aaaa"
    (root / ".mlnb" / "runs" / other).mkdir()
    (root / ".mlnb" / "runs" / other / "run.json").write_text("{")
    for words in (["runs"], ["runs", "demo"], ["publish"], ["runs", "--compare", "demo"]):
        code, said = check(words, root)
        assert (code, said.count(f"left out: run {other}".encode())) == (0, 1)
    code, said = check(["runs", "--json"], root)
    found = json.loads(said[: said.rindex(b"}") + 1])
    assert ([one["run"] for one in found["runs"]], found["damaged"]) == ([first], [other])


KEY_PARTS = ("cells", "options", "parameters", "inputs", "sources", "modules", "packages", "builds", "edited")
KEY_PARTS += ("startup", "python", "format", "stage")
PART_IS = {
    "gone": None,
    "a number": 7,
    "a list": [],
    "an object": {},
    "text": "x",
    "odd": [[1]],
    "other": {"a": 1},
}


@pytest.mark.parametrize(
    ("part", "how"),
    [
        ("all", "gone"),
        *(pytest.param(part, how, marks=pytest.mark.slow) for part in KEY_PARTS for how in PART_IS),
    ],
)
def test_key_that_says_less_or_something_odd_is_no_fault_of_any_verb(root, made, part, how):
    path = only((root / ".mlnb").glob("records/demo/kept/*.json"))
    record = json.loads(path.read_text())
    parts = {name: one for name, one in record["parts"].items() if part not in ("all", name)}
    spoil(
        path,
        record | {"sha256": None, "parts": parts if how == "gone" else parts | {part: PART_IS[how]}},
        False,
    )
    stage = root / "nbs" / "10_kept.ipynb"
    stage.write_text(stage.read_text().replace("metric('n', 1)", "metric('n', 2)"))
    run = only((made / ".mlnb" / "runs").iterdir()).name
    for words in lines_for(run, verbs=("status", "why", "diff", "publish", "lineage", "check", "show")):
        check(words, root)


def test_damaged_run_is_mended_by_a_repair_whoever_says_so(root, made):
    run = only((made / ".mlnb" / "runs").iterdir()).name
    spoil(root / ".mlnb" / "runs" / run / "run.json", CONTENTS["another"], False)
    for line in ("show latest", f"show {run}", "get demo/kept", "lineage demo/kept", "artifacts demo/kept"):
        code, said = check(line.split(), root)
        assert (code, b"`mlnb verify --repair` tells it again" in said) == (5, True), (line, said)
    code, said = check(["diff", run, run], root)
    assert (code, b"`mlnb verify --repair` tells it again" in said) == (5, True), said
    assert check(["publish"], root)[0] == 0
    page = (root / "reports" / "index.html").read_text()
    assert "Never ran" not in page and "1 document of runs cannot be read" in page
    check(["verify", "--repair"], root)
    assert [check(words, root)[0] for words in (["verify"], ["get", "demo/kept"])] == [0, 0]


def test_pipeline_of_which_nobody_vouches_for_a_run_did_run(root):
    (ref,) = (root / ".mlnb" / "refs" / "heads" / "demo" / "default").iterdir()
    ref.unlink()
    settings = root / "settings.ini"
    settings.write_text(settings.read_text().replace("[mlnb]\n", "[mlnb]\nrequire_signed = true\n", 1))
    shutil.rmtree(root / ".mlnb" / "private")
    assert check(["publish"], root)[0] == 0
    page = (root / "reports" / "index.html").read_text()
    assert "Never ran" not in page and "None of its runs can be shown" in page
