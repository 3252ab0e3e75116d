"""A file of a store is what its place and name say, or it is damage, which nothing believes or breaks on."""

import pytest
from plain_records import commit, write_run

from mlnb.care.gc import collect
from mlnb.care.repair import repair_documents
from mlnb.care.roots import Retention
from mlnb.care.verify import verify_store
from mlnb.care.vouched import Keys, standings
from mlnb.sharing.push import ref_names
from mlnb.store.documents import read_json, sealed
from mlnb.store.errors import IntegrityError
from mlnb.store.objects import open_store
from mlnb.store.records import find_record, record_at, record_path, records_of, results_of
from mlnb.store.refs import move_ref, read_ref, ref_history
from mlnb.store.runs import run_ids

KEY, RUN = "ab" * 32, "20261123T120000000-0001"
HEAD = "heads/fraud/default"
FOLDERS = ["records", "runs", "refs", "heads", "remotes", "objects", "trash"]
STRAYS = [f"records/{place}/{KEY}.json" for place in ("records/other", "other/runs", "records/runs/records")]
NO_MOVES = ["1.json", "0000000_1.json", "0000000x.json", "1e5.json", "1²٣.json", "9" * 240 + ".json"]


@pytest.fixture
def store(tmp_path):
    "One result of one run, and a head that was moved twice."
    store = open_store(tmp_path / "store")
    commit(store, {"key": KEY, "pipeline": "fraud", "stage": "train", "run": RUN, "outputs": {}})
    write_run(store, {"run": RUN, "pipeline": "fraud", "state": "committed", "keys": {"train": KEY}})
    move_ref(store, HEAD, "20261122T120000000-0000", "first")
    move_ref(store, HEAD, RUN, "second")
    return store


def copied(path, to):
    "A document under another name, with a seal that fits."
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(sealed(to, read_json(path)))
    return to


@pytest.mark.parametrize("name", NO_MOVES)
def test_move_of_another_name_is_damage_and_moves_nothing(store, name):
    folder = store.root / "refs" / HEAD
    stray = copied(folder / "00000001.json", folder / name)
    assert (read_ref(store, HEAD).target, len(ref_history(store, HEAD))) == (RUN, 2)
    assert (ref_names(store), len(standings(store, Keys({})))) == ([HEAD], 4)
    damaged = verify_store(store).damaged
    assert [(one.kind, one.file) for one in damaged] == [("document", f"refs/{HEAD}/{name}")]
    assert "set aside" in repair_documents(store, damaged).told_again[0].message
    assert verify_store(store).clean and not stray.exists()


@pytest.mark.parametrize("is_sealed", [True, False])
@pytest.mark.parametrize(
    "place",
    [
        f"records/fraud/train/\udcff{KEY[1:]}.json",
        f"records/fraud/train/{KEY}.\udcff.evidence",
        f"records/fraud/\udcff/{KEY}.json",
        f"records/\udcff/train/{KEY}.json",
        "runs/\udcff/run.json",
        f"refs/{HEAD}/1\udcff.json",
        "refs/heads/\udcff/default/00000001.json",
        "refs/remotes/origin/heads/\udcff/00000001.json",
    ],
)
def test_name_that_is_no_utf8_is_damage_and_no_traceback(store, place, is_sealed):
    path, folder = store.root / place, place.partition("/")[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    origin = {
        "records": record_path(store, "fraud", "train", KEY),
        "runs": store.root / "runs" / RUN / "run.json",
    }
    data = origin.get(folder, store.root / "refs" / HEAD / "00000001.json").read_bytes()
    path.write_bytes(data if is_sealed else b"{" + data.partition(b"\n")[2])
    assert (ref_names(store), len(standings(store, Keys({}))), run_ids(store)) == ([HEAD], 4, [RUN])
    damaged = verify_store(store).damaged
    assert [(one.kind, one.file) for one in damaged] == [("document", place)]
    repair_documents(store, damaged)


@pytest.mark.parametrize(
    "place",
    [
        f"records/fraud/score/{KEY}.json",
        f"records/other/train/{KEY}.json",
        f"records/fraud/train/{'cd' * 32}.json",
        f"records/fraud/train/{KEY}.000000000000.evidence",
        f"records/fraud/train/{KEY}.x.y.z.evidence",
        f"records/fraud/train/deeper/{KEY}.json",
    ],
)
def test_record_that_lies_elsewhere_than_it_says_is_damage_and_no_result(store, place):
    copied(record_path(store, "fraud", "train", KEY), store.root / place)
    assert [(one.kind, one.file) for one in verify_store(store).damaged] == [("document", place)]
    assert [len(results_of(store, "fraud", stage)) for stage in ("train", "score")] == [1, 0]
    with pytest.raises(IntegrityError, match="belongs elsewhere"):
        record_at(store.root / place)


@pytest.mark.parametrize("stage", FOLDERS)
@pytest.mark.parametrize("pipeline", FOLDERS)
def test_pipelines_and_stages_may_be_called_as_folders_of_the_store(tmp_path, pipeline, stage):
    store, head = open_store(tmp_path / "store"), f"heads/{pipeline}/{stage}"
    commit(store, {"key": KEY, "pipeline": pipeline, "stage": stage, "run": RUN, "outputs": {}})
    write_run(store, {"run": RUN, "pipeline": pipeline, "state": "committed", "keys": {stage: KEY}})
    move_ref(store, head, RUN, "first")
    assert find_record(store, pipeline, stage, KEY) == records_of(store, pipeline, stage)[0]
    assert (ref_names(store), run_ids(store), read_ref(store, head).target) == ([head], [RUN], RUN)
    assert verify_store(store).clean and len(standings(store, Keys({}))) == 3
    before = sorted(store.root.rglob("*.json"))
    collect(store, Retention(records=1))
    assert sorted(store.root.rglob("*.json")) == before
    strays = [copied(record_path(store, pipeline, stage, KEY), store.root / one) for one in STRAYS]
    damaged = verify_store(store).damaged
    assert {one.file for one in damaged} == {path.relative_to(store.root).as_posix() for path in strays}
    assert len(records_of(store, pipeline, stage)) == 1


MISPLACED = [
    f"records/fraud/score/{KEY}.json",
    f"records/other/train/{KEY}.json",
    f"records/fraud/train/\udcff{KEY[1:]}.json",
    f"records/fraud/train/deeper/{KEY}.json",
    f"records/{KEY}.json",
    "records/fraud/train/notes.json",
    f"records/fraud/score/{KEY}.000000000000.evidence",
    f"records/fraud/train/{KEY}.x.y.z.evidence",
    "runs/20261123T130000000-0001/run.json",
    "runs/\udcff/run.json",
    "refs/00000001.json",
    "refs/heads/\udcff/default/00000001.json",
]


@pytest.mark.parametrize("place", MISPLACED)
@pytest.mark.parametrize("is_anew", [True, False])
def test_what_does_not_belong_where_it_lies_is_set_aside_and_nothing_made_again_for_it(store, place, is_anew):
    origin = {
        "records": record_path(store, "fraud", "train", KEY),
        "runs": store.root / f"runs/{RUN}/run.json",
    }
    source = origin.get(place.partition("/")[0], store.root / "refs" / HEAD / "00000001.json")
    path = store.root / place
    if is_anew and "\udcff" not in place:
        copied(source, path)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.read_bytes())
    damaged = verify_store(store).damaged
    assert [(one.kind, one.file, one.stages) for one in damaged] == [("document", place, [])]
    done = repair_documents(store, damaged)
    assert ([one.file for one in done.told_again], done.unknown) == ([place], [])
    assert verify_store(store).clean and (store.root / "quarantine").is_dir() and source.exists()


def test_record_in_the_place_of_a_result_that_runs_rest_on_has_its_stage_made_again(store):
    other = {"key": "cd" * 32, "pipeline": "fraud", "stage": "score", "run": RUN, "outputs": {}}
    commit(store, other)
    path = record_path(store, "fraud", "train", KEY)
    path.unlink()
    copied(record_path(store, "fraud", "score", other["key"]), path)
    (damage,) = verify_store(store).damaged
    assert [one.place for one in damage.stages] == [("fraud", "train", KEY)]
