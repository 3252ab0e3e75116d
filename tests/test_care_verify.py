"""Damage is found wherever it is, named by what it belongs to, and repaired when anybody has the content."""

import pytest
from msgspec import structs
from plain_records import commit, write_run

from mlnb.care.concerned import naming_damage, sound_records
from mlnb.care.repair import from_files, from_store, repair_store, set_evidence_aside, set_records_aside
from mlnb.care.verify import missing_objects, verify_store
from mlnb.store.descriptions import Artifact
from mlnb.store.digests import canonical_json, sha256
from mlnb.store.errors import IntegrityError, StoreError
from mlnb.store.objects import get, has, open_store, path_of, put
from mlnb.store.records import find_record, record_path
from mlnb.store.refs import move_ref

PARTS = [{"path": f"part-{n}", "digest": sha256(f"part {n}".encode()), "bytes": 6} for n in (0, 1)]
TREE = canonical_json(PARTS)
RUNS = ("20261123T100000000-aaaa", "20261123T110000000-bbbb")


@pytest.fixture
def store(tmp_path):
    "Two stages; the model in two parts; a second run that found everything cached."
    store, keys = open_store(tmp_path / "store"), {}
    tree = put(store, TREE)
    parts = [put(store, b"part 0"), put(store, b"part 1")]
    for n, (stage, output) in enumerate(
        {
            "features": {"digest": put(store, b"features"), "codec": "text", "bytes": 8},
            "train": {"digest": tree, "codec": "frames", "bytes": 12, "parts": parts},
        }.items()
    ):
        keys[stage] = f"{n}" * 64
        commit(
            store,
            {
                "key": keys[stage],
                "parts": {},
                "pipeline": "fraud",
                "stage": stage,
                "run": RUNS[0],
                "inputs": {},
                "outputs": {{"features": "features", "train": "model"}[stage]: output},
                "metrics": {},
                "notebook": put(store, f"notebook of {stage}".encode()),
                "source": put(store, f"source of {stage}".encode()),
                "modules": {"shop": put(store, b"module")},
                "lock": put(store, b"lock"),
            },
        )
    for run in RUNS:
        write_run(store, {"run": run, "pipeline": "fraud", "state": "committed", "keys": keys})
    move_ref(store, "heads/fraud/default", RUNS[1], "committed")
    return store


def spoil(store, content):
    digest = put(store, content)
    path_of(store, digest).chmod(0o600)
    path_of(store, digest).write_bytes(b"spoilt")
    return digest


def test_whole_store_is_clean(store):
    found = verify_store(store)
    assert found.clean and found.damaged == [] and found.temporaries == []
    assert found.objects == len(list((store.root / "objects").glob("*/*"))) == 10 and found.documents == 5
    assert found.bytes == sum(p.stat().st_size for p in (store.root / "objects").glob("*/*"))


@pytest.mark.parametrize(
    "content, names",
    [
        (b"features", ["fraud/features"]),
        (b"part 1", ["fraud/model"]),
        (TREE, ["fraud/model"]),
        (b"notebook of train", ["fraud/train (notebook)"]),
        (b"source of train", ["fraud/train (source)"]),
        (b"module", ["fraud/features (module shop)", "fraud/train (module shop)"]),
        (b"lock", ["fraud/features (lock)", "fraud/train (lock)"]),
    ],
)
@pytest.mark.parametrize("how", ["altered", "missing"])
def test_damage_is_named_by_what_it_is_and_whom_it_concerns(store, content, names, how):
    digest = spoil(store, content)
    if how == "missing":
        path_of(store, digest).unlink()
    found = verify_store(store)
    assert [(d.digest, d.kind, d.names, d.runs) for d in found.damaged] == [(digest, how, names, list(RUNS))]
    assert not found.clean and found.quarantined == (how == "altered") and not has(store, digest)
    assert (found.quarantined_before, verify_store(store).quarantined_before) == (0, found.quarantined)


def test_looking_only_sets_nothing_aside(store):
    digest = spoil(store, b"features")
    assert not verify_store(store, set_aside=False).clean and has(store, digest)
    assert not list((store.root / "quarantine").glob("*"))


def test_stray_file_among_the_objects_is_reported_and_left(store):
    (store.root / "objects" / "ab").mkdir(exist_ok=True)
    (store.root / "objects" / "ab" / "notes.txt").write_text("mine")
    found = verify_store(store)
    assert [(d.kind, d.file) for d in found.damaged] == [("stray", "objects/no/notes.txt")] or [
        d.kind for d in found.damaged
    ] == ["stray"]
    assert (store.root / "objects" / "ab" / "notes.txt").exists()


@pytest.mark.parametrize(
    "folder, names, runs",
    [("records", ["fraud/train"], []), ("refs", ["heads/fraud/default"], []), ("runs", [], [RUNS[0]])],
)
def test_damaged_document_is_named(store, folder, names, runs):
    path = {
        "records": record_path(store, "fraud", "train", "1" * 64),
        "refs": store.root / "refs/heads/fraud/default/00000001.json",
        "runs": store.root / "runs" / RUNS[0] / "run.json",
    }[folder]
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1])
    assert [(d.kind, d.names, d.runs) for d in verify_store(store).damaged] == [("document", names, runs)]


def test_error_of_a_reader_names_artifact_runs_and_mend(store):
    digest = spoil(store, b"features")
    with pytest.raises(IntegrityError) as caught, naming_damage(store):
        get(store, digest)
    assert "`fraud/features`" in caught.value.message and all(run in caught.value.message for run in RUNS)
    assert (
        caught.value.mend == "make it again with `mlnb run fraud features`"
        and caught.value.exit_code == 5
        and "\n" not in str(caught.value)
    )


def test_error_about_nothing_known_and_other_errors_pass_unchanged(store):
    with pytest.raises(IntegrityError, match="is missing") as caught, naming_damage(store):
        get(store, "f" * 64)
    assert caught.value.mend == "run the stage that makes it again"
    with pytest.raises(StoreError, match="as it was"), naming_damage(store):
        raise StoreError("as it was")


def test_repair_takes_what_files_and_other_stores_have_and_lists_the_rest(store, tmp_path):
    other = open_store(tmp_path / "copy")
    put(other, b"features")
    (tmp_path / "shop.py").write_bytes(b"module")
    (tmp_path / "wrong.py").write_bytes(b"something else")
    digests = {content: spoil(store, content) for content in (b"features", b"module", b"part 0")}
    found = verify_store(store)
    repaired = repair_store(
        store,
        found.damaged,
        [from_files(tmp_path.glob("*.py")), lambda digest: b"a liar's content", from_store(other)],
    )
    assert set(repaired.repaired) == {digests[b"features"], digests[b"module"]} and repaired.lost == []
    assert [(s.pipeline, s.stage) for s in repaired.rerun] == [("fraud", "train")]
    assert [d.digest for d in verify_store(store).damaged] == [digests[b"part 0"]]


def test_records_set_aside_are_stale_and_the_store_clean(store):
    spoil(store, b"notebook of train")
    repaired = repair_store(store, verify_store(store).damaged)
    assert (
        find_record(store, "fraud", "train", "1" * 64) is not None
    )  # its outputs are whole: it would stay cached
    assert set_records_aside(store, repaired.rerun) == [("fraud", "train")]
    assert find_record(store, "fraud", "train", "1" * 64) is None and find_record(
        store, "fraud", "features", "0" * 64
    )
    assert verify_store(store).clean


def test_damaged_output_is_made_again_by_the_next_run_without_being_asked(make_project, mlnb):
    project = make_project({"10_rows.ipynb": ["from mlnb import save\nsave('rows', list(range(50)))"]})
    assert mlnb("run", "demo", cwd=project.root).code == 0
    store = open_store(project.root / ".mlnb")
    digest = next((store.root / "records").glob("*/*/*.json"))
    from mlnb.store.documents import read_json

    output = read_json(digest)["outputs"]["rows"]["digest"]
    path_of(store, output).chmod(0o600)
    path_of(store, output).write_bytes(b"spoilt")
    found = verify_store(store)
    assert [d.names for d in found.damaged] == [["demo/rows"]]
    again = mlnb("run", "demo", "--json", cwd=project.root)
    assert again.code == 0 and again.states == {"rows": "committed"} and verify_store(store).clean


def test_missing_object_of_evidence_is_named_and_the_evidence_set_aside_not_the_record(store):
    (first,) = [one for one in sound_records(store) if one.stage == "train"]
    lost = put(store, b"another model")
    commit(store, structs.replace(first, run="r9", outputs={"model": Artifact("text", lost, 13)}))
    assert verify_store(store).clean
    path_of(store, lost).unlink()
    (damage,) = verify_store(store).damaged
    assert (damage.kind, damage.names, damage.runs) == ("missing", ["fraud/model (evidence)"], ["r9"])
    repaired = repair_store(store, [damage])
    assert (repaired.rerun, repaired.lost) == ([], [lost])
    assert len(set_evidence_aside(store, missing_objects(store))) == 1
    assert verify_store(store).clean and first in sound_records(store)
