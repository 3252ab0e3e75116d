"""A file that one stage wrote and the next one opened by itself joins the two, from the run to erasing; a
cache of a stage's own is counted and not told."""

import json
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from mlnb.care.erase import trace
from mlnb.history.lineage import lineage_of
from mlnb.history.reproduce import clues
from mlnb.store.digests import sha256
from mlnb.store.objects import open_store
from mlnb.store.record import Observations
from mlnb.store.records import records_of
from mlnb.store.settings import find_project

WRITES = [
    "from mlnb import load, save",
    "from pathlib import Path\nPath('out').mkdir(exist_ok=True)\nrows = load('rows')",
    "Path('out/rows.txt').write_text(f'{len(rows)} rows')\nPath('out/gone.txt').write_text('1')",
    "Path('out/gone.txt').unlink()",
    "save('n', 1)",
]
READS = [
    "from mlnb import load, save\nload('n')",
    "from pathlib import Path\nnote = Path('out/rows.txt').read_text()",
    "cache = Path('cache/note.txt')",
    "if not cache.exists():\n    cache.parent.mkdir()\n    cache.write_text(note.upper())",
    "save('note', cache.read_text() + '!')",
]
SETTINGS = "[mlnb]\n[pipeline.demo]\nnotebooks = nbs\n[source.rows]\npath = rows.csv\n"


@pytest.fixture(scope="module")
def done(make_shared_project, mlnb):
    "The project after a run and a forced one, with what the second said."
    project = make_shared_project({"10_writes.ipynb": WRITES, "20_reads.ipynb": READS}, SETTINGS)
    (project.root / "rows.csv").write_text("a\n1\n2\n")
    first = mlnb("run", "demo", "--json", cwd=project.root)
    assert first.code == 0, first.stderr
    second = mlnb("run", "demo", "reads", "--force", cwd=project.root)
    assert second.code == 0, second.stderr
    found = find_project(project.root)
    store = open_store(found.store)
    records = {stage: records_of(store, "demo", stage) for stage in ("writes", "reads")}
    return SimpleNamespace(project=found, store=store, records=records, first=first, second=second)


def test_record_says_what_its_stage_left_in_the_project(done):
    (writes,) = done.records["writes"]
    assert writes.observed.written == {"nbs/out/rows.txt": sha256(b"2 rows")}
    assert "nbs/out/gone.txt" in writes.observed.made


def test_what_was_made_from_the_rows_is_found_over_the_file(done):
    (partition,) = done.records["writes"][0].sources["rows"]
    note = done.records["reads"][0].outputs["note"].digest
    found = {one.digest: (one.kind, one.name) for one in trace(done.store, [partition[2]]).made}
    assert found[note] == ("output", "note")
    assert found[sha256(b"2 rows")] == ("file", "nbs/out/rows.txt")  # kept, since it was read


def test_lineage_goes_over_the_file_in_both_directions(done):
    file = f"file:nbs/out/rows.txt@{sha256(b'2 rows')[:12]}"
    for name, direction in (("note", "up"), ("rows", "down")):
        edges = lineage_of(done.store, done.project, name, "default", direction).edges
        assert any(e.end == file and e.start.startswith("stage:demo/writes") for e in edges)
        assert any(e.start == file and e.end.startswith("stage:demo/reads") for e in edges)


def test_cache_of_its_own_counts_and_is_not_told(done, asked):
    last = done.records["reads"][-1]
    assert "nbs/cache/note.txt" in last.parts["observed"]["files"]
    assert "nbs/out/rows.txt" in done.second.stdout and "cache" not in done.second.stdout
    said = json.dumps(asked("check", "--json", cwd=done.project.root).json)
    assert "nbs/out/rows.txt" in said and "cache" not in said


def test_file_that_was_kept_is_no_clue_and_one_that_was_not_is(done):
    record = done.records["reads"][0]
    assert [clue for clue in clues(done.store, record) if clue.kind == "file"] == []
    blind = replace(record.observed, native="not observed: no inotify here")
    for observed in (replace(record.observed, kept=()), blind, Observations()):
        other = replace(record, observed=observed)
        assert [clue.kind for clue in clues(done.store, other)] == ["file", "file"]
