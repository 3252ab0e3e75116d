"""Names of files that look like others, or that no other machine takes: refused when they are saved, damage
when they are read; and a file that is there already is never replaced by one that nobody named."""

from pathlib import Path

import pytest

from mlnb.care.verify import verify_store
from mlnb.flow.fanout_parts import export_parts
from mlnb.store.artifacts import get_value, put_tree, put_value
from mlnb.store.border import is_inner
from mlnb.store.descriptions import Artifact, Parts, TreeFile
from mlnb.store.errors import IntegrityError, UsageError, ValueRefusedError
from mlnb.store.exports import export_value
from mlnb.store.objects import open_store, put
from mlnb.store.record import Record
from mlnb.store.records import commit

UNSEEN = {
    "zero width space": "\u200b",
    "zero width joiner": "\u200d",
    "zero width non-joiner": "\u200c",
    "byte order mark": "\ufeff",
    "soft hyphen": "\xad",
    "right to left": "\u202e",
    "isolate": "\u2066",
    "mark of direction": "\u061c",
    "variation selector": "\ufe0f",
    "further selector": "\U000e0100",
    "tag": "\U000e0041",
    "private use": "\ue000",
    "private plane": "\U00100000",
    "not a character": "\ufffe",
    "unassigned": "\u0378",
    "unassigned plane": "\U00050000",
    "line separator": "\u2028",
    "paragraph separator": "\u2029",
    "filler": "\u3164",
    "grapheme joiner": "\u034f",
    "delete": "\x7f",
    "escape": "\x1b",
    "C1": "\x9b",
    "half": "\ud800",
}
ENDS = ["a.", "a ", "a..", "a. ", "a\xa0", "a\u3000", " ", "...", "a\t"]
DEVICES = [
    "con",
    "CON",
    "Con.txt",
    "nul.tar.gz",
    "com1",
    "COM¹",
    "lpt².x",
    "con .txt",
    "aux:x",
    "CONIN$",
    "prn ",
]
LONG = ["x" * 256, "é" * 128, "表" * 86, "/".join("a" * 101), "/".join(["é" * 100] * 20)]
ODD = [f"a{char}b.csv" for char in UNSEEN.values()] + ENDS + DEVICES + LONG + ["", "a\\b", "C:x", "..", "a\0"]
PLAIN = [
    "a.csv",
    "naïve.md",
    "表.csv",
    ".hidden",
    "a b.csv",
    "..a",
    "console",
    "com10",
    "é" * 127,
    "Ωmega",
    "🙂.png",
]
MEETING = {
    "case": ["a.csv", "A.csv"],
    "case below": ["x/a", "X/A"],
    "accents": ["\u00e4.csv", "a\u0308.csv"],
    "accents and case": ["\u00c4", "a\u0308"],
    "twice": ["a", "a"],
    "file and folder": ["a", "a/b"],
    "file and folder in other case": ["A", "a/b"],
    "sharp s": ["straße", "STRASSE"],
}
DIGEST = "a" * 64


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "store")


def tree_with(store, names):
    "A tree whose list somebody else wrote."
    from mlnb.store.digests import canonical_json

    content = put(store, b"x")
    listed = put(store, canonical_json([{"path": name, "digest": content, "bytes": 1} for name in names]))
    return Artifact("folder", listed, len(names), "pathlib.Path", parts=(content,) * len(names))


@pytest.mark.parametrize("name", ODD)
def test_odd_name_is_damage_in_every_document_that_has_it(name):
    with pytest.raises(IntegrityError, match="is damaged"):
        TreeFile.from_dict({"path": name, "digest": DIGEST})
    if name:  # a value that is no file has none
        with pytest.raises(IntegrityError, match="is damaged"):
            Artifact.from_dict({"codec": "file", "digest": DIGEST, "bytes": 1, "filename": name})


@pytest.mark.parametrize("name", ODD)
def test_odd_name_in_any_part_of_a_path_is_damage(name):
    for path in (f"{name}/a", f"a/{name}/b", f"a/{name}"):
        assert not is_inner(path)


@pytest.mark.parametrize("name", PLAIN)
def test_name_that_people_see_is_a_name(name):
    assert is_inner(name)
    assert is_inner(f"{name}/{name}")


@pytest.mark.parametrize("name", ["a\u200b.csv", "a\ue000", "a.", "a\n", "con.txt", "\U000e0041"])
def test_save_refuses_a_file_that_other_machines_do_not_take(store, tmp_path, name):
    below = tmp_path / "made"
    below.mkdir()
    (below / name).write_text("x")
    for value in (below / name, below):
        with pytest.raises(ValueRefusedError, match="rename the file") as refused:
            put_value(store, value)
        assert refused.value.exit_code == 1


@pytest.mark.parametrize("names", MEETING.values(), ids=MEETING)
def test_files_that_meet_are_damage(store, tmp_path, names):
    with pytest.raises(IntegrityError, match=r"two spellings|as a file and as a folder"):
        get_value(store, tree_with(store, names), tmp_path)


@pytest.mark.parametrize("names", [v for k, v in MEETING.items() if "folder" not in k and k != "twice"])
def test_save_refuses_files_that_meet(store, tmp_path, names):
    for name in names:
        (tmp_path / "made" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "made" / name).write_text("x")
    with pytest.raises(ValueRefusedError, match="rename one of the two"):
        put_value(store, tmp_path / "made")


def test_list_of_other_files_than_the_record_names_is_damage(store, tmp_path):
    listed = tree_with(store, ["a"])
    other = Artifact(listed.codec, listed.digest, 1, parts=(DIGEST,))
    with pytest.raises(IntegrityError, match="other files than its record names"):
        get_value(store, other, tmp_path)


@pytest.mark.parametrize("names", [["../a"], ["a", "A"], ["a\u200b"], ["/etc/passwd"]])
def test_verify_names_a_list_that_cannot_be_written_out(store, names):
    made = {"out": tree_with(store, names)}
    _ = commit(store, Record(key="1" * 64, pipeline="p", stage="s", run="r1", outputs=made))
    found = verify_store(store)
    assert [(one.kind, one.names, one.runs) for one in found.damaged] == [("tree", ["p/out"], ["r1"])]


def kept(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def made_of(store, tmp_path, kind):
    "An artifact and what it puts into a folder."
    source = tmp_path / f"source-{kind}" / "note.txt"
    source.parent.mkdir(exist_ok=True)
    source.write_text("new")
    if kind == "value":
        return put_value(store, {"n": 1}), "value.json"
    if kind == "file":
        return put_value(store, source), "note.txt"
    if kind == "folder":
        return put_value(store, source.parent), "note.txt"
    import pandas as pd

    return put_value(store, iter([pd.DataFrame({"a": [1]})])), "part-00000.parquet"


@pytest.mark.parametrize("is_link", [False, True])
@pytest.mark.parametrize("kind", ["value", "file", "folder", "frames"])
def test_no_other_file_in_a_folder_is_replaced(store, tmp_path, kind, is_link):
    artifact, name = made_of(store, tmp_path, kind)
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "mine").write_text("mine")
    if is_link:
        (out / name).symlink_to(tmp_path / "mine")
    else:
        (out / name).write_text("mine")
    before = kept(tmp_path)
    with pytest.raises(UsageError, match="is there already, and is another file"):
        export_value(store, artifact, out, True)
    assert kept(tmp_path) == before


@pytest.mark.parametrize("kind", ["value", "file", "folder", "frames"])
def test_same_file_may_be_there_already(store, tmp_path, kind):
    artifact, name = made_of(store, tmp_path, kind)
    for _ in range(2):
        export_value(store, artifact, tmp_path / "out", True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]


def test_parts_of_a_fan_out_replace_nothing_and_none_is_written_alone(store, tmp_path):
    parts = Parts("fold", (0, 1), (put_value(store, "a"), put_value(store, "b")))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x.fold-1.txt").write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        export_parts(store, parts, "x", tmp_path / "out", True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["x.fold-1.txt"]


def test_file_that_is_named_is_written(store, tmp_path):
    (tmp_path / "a.txt").write_text("before")
    export_value(store, put_value(store, "after"), Path(tmp_path / "a.txt"), False)
    assert (tmp_path / "a.txt").read_text() == "after"


def test_list_with_a_name_is_never_written_past_the_border(store, tmp_path):
    sly = put_tree(store, "folder", "pathlib.Path", {"a\u200b": (put(store, b"x"), 1)})
    with pytest.raises(IntegrityError, match="is no list of files"):
        export_value(store, sly, tmp_path / "out", True)
    assert not (tmp_path / "out").exists()


def test_push_leaves_out_a_folder_that_cannot_be_written_out(store, tmp_path):
    from mlnb.care.signing import make_key
    from mlnb.care.vouched import signer
    from mlnb.sharing.push import push

    make_key(store)
    for n, names in enumerate((["a"], ["a", "A"])):
        made = {"out": tree_with(store, names)}
        one = Record(key=f"{n}" * 63 + "1", pipeline="p", stage="s", run=f"r{n}", outputs=made)
        commit(store, one, sign=signer(store, "record"))
    sent = push(store, str(tmp_path / "shared"))
    assert (sent.records, [one.reason for one in sent.left_out]) == (1, ["damaged"])
    assert "in two spellings" in sent.left_out[0].message
    assert len(list((tmp_path / "shared" / "objects").glob("*/*"))) == 2
