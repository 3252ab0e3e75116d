"""What a stage was seen to read by itself is an object of its record: kept, verified, sent, taken, erased,
and laid out when the stage is run again, never outside of the temporary project."""

import gc
import json
import shutil
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import MAGIC_NUMBER

import pytest
from msgspec import to_builtins
from msgspec.structs import replace
from plain_records import as_record, commit

from mlnb.care.audit import init_audit
from mlnb.care.erase import erase
from mlnb.care.gc import Retention, collect
from mlnb.care.repair import from_files, repair_store
from mlnb.care.signing import own_key
from mlnb.care.verify import verify_store
from mlnb.care.vouched import sign_result, signer
from mlnb.flow.key import STAGE_FORMAT
from mlnb.flow.parameter_values import resolve
from mlnb.flow.plan import make_plan
from mlnb.flow.run import run_pipeline
from mlnb.flow.run_document import RunSettings
from mlnb.flow.selection import select
from mlnb.history.carried import observed_problems, site_of_stage
from mlnb.history.checkout import checkout, environment_differences, write_modules
from mlnb.history.reproduce import reproduce, sources_moved, trees_of_stage
from mlnb.notebook.installed_files import startup_files
from mlnb.notebook.packages import InstalledPackage
from mlnb.notebook.pipeline import read_pipeline, require_sound
from mlnb.sharing.pull import pull
from mlnb.sharing.push import push
from mlnb.sharing.remote import open_remote, write_remote
from mlnb.sharing.trust import object_place, record_found, record_place
from mlnb.store.digests import canonical_json, digest_of, sha256
from mlnb.store.errors import IntegrityError
from mlnb.store.objects import get, has, open_store, path_of, put
from mlnb.store.pins import forget_pins
from mlnb.store.records import find_record
from mlnb.store.settings import Project, project_store, read_project
from mlnb.store.tombstones import ErasedError, is_erased

# nbclient leaves the event loop of each thread, and its sockets, to the garbage collector
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:Exception ignored in. <{what}")
    for what in ("function BaseEventLoop.__del__", "socket.socket fd", "zmq.")
]
RUN = "20261123T100000000-0a1b"
TABLE, TOOL, LARGE = b"card,amount\n1,2.50\n", b"RATE = 7\n", b"too large to be kept"
SPEC = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}


@pytest.fixture(autouse=True)
def no_key_from_outside(monkeypatch):
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)


@pytest.fixture
def store(tmp_path):
    "A store in which nobody signs anything."
    return open_store(tmp_path / "store")


@pytest.fixture
def audited(store):
    "The same with an audit log, and so with a key."
    init_audit(store)
    return store


@pytest.fixture
def project(tmp_path):
    "A working tree in which what was not kept is still the same."
    root = tmp_path / "tree"
    (root / "data").mkdir(parents=True)
    (root / "data" / "large.bin").write_bytes(LARGE)
    (root / "data" / "kept.csv").write_bytes(b"edited since")
    return Project(root, root / ".mlnb", root / "reports", pipelines={"demo": root})


def observed_record(store, **changes):
    "A record of a stage that read a table, a large file, nothing where it looked for one, and a module."
    groups = {"data/kept.csv": put(store, TABLE), "data/large.bin": sha256(LARGE), "data/none.csv": None}
    parts = {
        "format": STAGE_FORMAT,
        "python": ["cpython", "3.11", "linux"],
        "packages": {},
        "options": {"env": {}},
        "modules": {},
        "sources": {},
        "parameters": {},
        "observed": {"files": groups, "modules": {"tools.rates": put(store, TOOL)}},
    }
    cells = [{"cell_type": "code", "id": "a", "metadata": {}, "source": "save('x', 1)", "outputs": []}]
    cells[0]["execution_count"] = None
    notebook = {"cells": cells, "metadata": SPEC, "nbformat": 4, "nbformat_minor": 5}
    made = put(store, b"made of it")
    record = {
        "key": digest_of(parts),
        "parts": parts,
        "observed": {
            "kept": sorted([sha256(TABLE), sha256(TOOL)]),
            "modules": {"tools.rates": "tools/rates.py"},
            "made": [],
            "python": "observed",
            "native": "observed",
        },
        "pipeline": "demo",
        "stage": "train",
        "run": RUN,
        "inputs": {},
        "outputs": {"x": {"digest": made, "codec": "text", "type": "str", "bytes": 10}},
        "metrics": {},
        "notebook": put(store, b"executed"),
        "source": put(store, json.dumps(notebook).encode()),
        "file": "nbs/10_train.ipynb",
        "modules": {},
        "environment": {"packages": {}},
    }
    return record | changes


def committed(store, **changes):
    return commit(store, observed_record(store, **changes), sign=signer(store, "record")).record


def test_collection_keeps_it_as_long_as_the_record(audited):
    committed(audited)
    loose = put(audited, b"nothing leads here")
    forget_pins()
    for _ in range(2):
        collect(audited)
    assert [has(audited, sha256(one)) for one in (TABLE, TOOL)] == [True, True]
    assert not has(audited, loose)
    for _ in range(2):
        collect(audited, Retention(records=0, runs=0))
    assert [has(audited, sha256(one)) for one in (TABLE, TOOL)] == [False, False]


@pytest.mark.parametrize(
    ("content", "role"), [(TABLE, "file data/kept.csv"), (TOOL, "module tools.rates")], ids=["file", "module"]
)
@pytest.mark.parametrize("damage", ["altered", "missing"])
def test_verification_names_it_and_repair_takes_it_from_files(store, tmp_path, content, role, damage):
    committed(store)
    path = path_of(store, sha256(content))
    path.chmod(0o600)
    path.write_bytes(b"altered") if damage == "altered" else path.unlink()
    found = verify_store(store)
    assert [(d.kind, d.names) for d in found.damaged] == [(damage, [f"demo/train ({role})"])]
    (tmp_path / "copy").write_bytes(content)
    assert repair_store(store, found.damaged, [from_files([tmp_path / "copy"])]).repaired == [sha256(content)]
    assert verify_store(store).clean


def shared(store, tmp_path):
    "Push to a folder, and a store of somebody who trusts the one who pushed."
    push(store, f"{tmp_path}/shared")
    return open_store(tmp_path / "other"), {own_key(store): "ana"}


def test_it_travels(audited, tmp_path):
    record = committed(audited)
    other, trusted = shared(audited, tmp_path)
    taken = pull(other, f"{tmp_path}/shared", trusted=trusted)
    assert (taken.exit_code, taken.records, taken.incomplete) == (0, 1, [])
    assert [get(other, sha256(one)) for one in (TABLE, TOOL)] == [TABLE, TOOL]
    assert find_record(other, "demo", "train", record.key) == record


def test_record_is_not_taken_without_it(audited, tmp_path):
    committed(audited)
    other, trusted = shared(audited, tmp_path)
    (tmp_path / "shared" / object_place(sha256(TABLE))).unlink()
    taken = pull(other, f"{tmp_path}/shared", trusted=trusted)
    assert (taken.records, len(taken.incomplete)) == (0, 1)
    push(audited, f"{tmp_path}/shared")
    assert pull(other, f"{tmp_path}/shared", trusted=trusted).records == 1


def test_record_is_not_sent_without_it(audited, tmp_path):
    committed(audited)
    path_of(audited, sha256(TOOL)).unlink()
    sent = push(audited, f"{tmp_path}/shared")
    assert (sent.records, sent.left_out[0].message) == (0, "1 of its objects are missing here")


def test_altered_content_is_refused(audited, tmp_path):
    committed(audited)
    other, trusted = shared(audited, tmp_path)
    place = tmp_path / "shared" / object_place(sha256(TABLE))
    place.chmod(0o600)
    place.write_bytes(b"another")
    taken = pull(other, f"{tmp_path}/shared", trusted=trusted)
    assert (taken.exit_code, taken.records, has(other, sha256(TABLE))) == (5, 0, False)


@pytest.mark.parametrize("digest", [sha256(TABLE), sha256(LARGE)], ids=["kept", "not kept"])
def test_erasure_names_what_was_made_of_it(audited, digest):
    record = committed(audited)
    if digest == sha256(LARGE):
        put(audited, LARGE)
    before = erase(audited, digest, "asked for", dry_run=True)
    made = {(one.kind, one.stage, one.digest) for one in before.made_from}
    assert ("output", "train", record.outputs["x"].digest) in made
    done = erase(audited, digest, "asked for", down=True)
    assert record.outputs["x"].digest in done.erased
    assert is_erased(audited.root, digest) and not has(audited, digest)
    with pytest.raises(ErasedError):
        get(audited, digest)
    assert verify_store(audited).clean


def test_erasure_travels(audited, tmp_path):
    committed(audited)
    other, trusted = shared(audited, tmp_path)
    pull(other, f"{tmp_path}/shared", trusted=trusted)
    erase(audited, sha256(TABLE), "asked for")
    push(audited, f"{tmp_path}/shared")
    assert not (tmp_path / "shared" / object_place(sha256(TABLE))).exists()
    assert pull(other, f"{tmp_path}/shared", trusted=trusted).erased == 1
    assert not has(other, sha256(TABLE))


def laid_out(store, project, records):
    "Files of the temporary project and of the sites of its stages, after each stage was laid out in turn."
    records = [*map(as_record, records)]
    with checkout(project, store, records, "default") as (plan, step_of, scratch):
        root, found = plan.project.root, []
        for number, record in enumerate(records):
            write_modules(store, record, root, scratch / "site")
            step_of(record)
            site = site_of_stage(store, record, scratch / "site", scratch / f"site-{number}")
            files = {p.relative_to(root).as_posix(): p for p in root.rglob("*") if p.is_file()}
            files |= {f"site/{p.relative_to(site)}": p for p in site.rglob("*.py")} if site else {}
            found.append({name: (path.read_bytes(), path.is_symlink()) for name, path in files.items()})
    return found


def test_checkout_lays_it_out(store, project):
    record = committed(store)
    assert observed_problems(store, project, record) == []
    [files] = laid_out(store, project, [record])
    assert files.pop("nbs/10_train.ipynb")[0] == get(store, record.source)
    del files["settings.ini"]
    assert files == {
        "data/kept.csv": (TABLE, False),
        "data/large.bin": (LARGE, True),
        "site/tools/rates.py": (TOOL, False),
    }


def test_each_stage_gets_what_it_read_itself(store, project):
    "Two stages saw two states of one file and of one module; the second saw none where the first had one."
    first = observed_record(store)
    later = {
        "files": {"data/kept.csv": put(store, b"new")},
        "modules": {"tools.rates": put(store, b"RATE = 8\n")},
    }
    later["files"]["data/large.bin"] = None
    about = first["observed"] | {"kept": [sha256(b"new"), sha256(b"RATE = 8\n")]}
    second = first | {"stage": "judge", "file": "nbs/20_judge.ipynb", "observed": about}
    second |= {"parts": first["parts"] | {"observed": later}}
    before, after = laid_out(store, project, [first, second])
    names = ("data/kept.csv", "data/large.bin", "site/tools/rates.py")
    assert [before[name][0] for name in names] == [TABLE, LARGE, TOOL]
    assert [after.get(name, (None,))[0] for name in names] == [b"new", None, b"RATE = 8\n"]
    assert (project.root / "data" / "large.bin").read_bytes() == LARGE


def test_own_module_lies_where_it_was_beside_what_it_reads(store, project):
    record = observed_record(store)
    record["modules"] = {"own": put(store, b"FACTOR = 2")}
    record["parts"]["modules"] = {"own": "5" * 64}
    record["observed"]["places"] = {"own": "data/own.py", "gone": "data/gone.py"}
    [files] = laid_out(store, project, [record])
    assert files["own.py"][0] == files["data/own.py"][0] == b"FACTOR = 2"
    assert "data/kept.csv" in files and "data/gone.py" not in files


def test_file_that_the_stage_writes_is_no_link(store, project):
    record = observed_record(store)
    record["observed"]["made"] = ["data/large.bin"]
    [files] = laid_out(store, project, [record])
    assert files["data/large.bin"] == (LARGE, False)


def test_scripts_and_modules_that_are_no_text_come_back_under_their_names(store, project):
    compiled, library = MAGIC_NUMBER + b"code", b"\x7fELF and more"
    cells = ["%run ../tools/clean.py\nimport fast\nimport old"]
    notebook = json.loads(get(store, observed_record(store)["source"]))
    notebook["cells"][0]["source"] = cells[0]
    contents = {"../tools/clean.py": b"x = 1\n", "fast": library, "old": compiled}
    modules = {name: put(store, content) for name, content in contents.items()}
    record = observed_record(store, modules=modules, source=put(store, json.dumps(notebook).encode()))
    record["parts"]["modules"] = dict.fromkeys(modules, "0" * 64)
    [files] = laid_out(store, project, [record])
    assert files["tools/clean.py"][0] == b"x = 1\n"
    assert (files["old.pyc"][0], files[f"fast{EXTENSION_SUFFIXES[0]}"][0]) == (compiled, library)
    trees = trees_of_stage([], modules, lambda digest: get(store, digest))
    assert [name for name, _ in trees] == ["module ../tools/clean.py"]


GONE = {
    "edited": (lambda tree: (tree / "data" / "large.bin").write_bytes(b"x"), "has other content now"),
    "gone": (lambda tree: (tree / "data" / "large.bin").unlink(), "is gone"),
}


@pytest.mark.parametrize("kind", GONE)
def test_what_is_neither_kept_nor_there_is_said_beforehand(store, project, kind):
    change, said = GONE[kind]
    change(project.root)
    expected = [f"data/large.bin, which train read by itself, {said}"]
    assert sources_moved(project, store, "default", [as_record(observed_record(store))]) == expected


def test_lost_content_is_taken_from_the_working_tree_if_it_is_the_same(store, project):
    record = committed(store)
    path_of(store, sha256(TABLE)).unlink()
    assert "kept.csv" in observed_problems(store, project, record)[0]
    (project.root / "data" / "kept.csv").write_bytes(TABLE)
    assert observed_problems(store, project, record) == []
    [files] = laid_out(store, project, [record])
    assert files["data/kept.csv"] == (TABLE, True)


def test_erased_content_stops_it(audited, project):
    record = committed(audited)
    erase(audited, sha256(TABLE), "asked for")
    with pytest.raises(ErasedError):
        observed_problems(audited, project, record)


def test_lost_module_is_said(store, project):
    record = committed(store)
    path_of(store, sha256(TOOL)).unlink()
    said = "module `tools.rates`, which train imported from elsewhere, is gone"
    assert observed_problems(store, project, record) == [said]


ASTRAY = [
    "../out.csv",
    "/OUT/out.csv",
    "data/../../out.csv",
    "out\0.csv",
    "",
    "link/out.csv",
    "..",
    "data//x",
]


def is_found(record):
    "Whether plain JSON that somebody signed is taken for a record."
    try:
        return bool(record_found(record, f"records/demo/train/{record['key']}.json"))
    except IntegrityError:
        return False


@pytest.mark.parametrize("path", ASTRAY)
@pytest.mark.parametrize("place", ["kept file", "linked file", "absent file", "module"])
def test_no_path_leads_out(store, project, tmp_path, path, place):
    "Whatever path a record gives, nothing outside of the temporary project is written or removed."
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "out.csv").write_bytes(LARGE)
    path = path.replace("/OUT", str(outside))
    record = observed_record(store)
    if place == "module":
        if path == "link/out.csv":
            pytest.skip("nothing makes links where modules lie")
        good = as_record(record)
        astray = replace(good, observed=replace(good.observed, modules={"tools.rates": path}))
        record["observed"]["modules"] = {"tools.rates": path}
    else:
        digest = {"kept file": sha256(TABLE), "linked file": sha256(LARGE), "absent file": None}[place]
        record["parts"]["observed"]["files"] = {path: digest}
        record["observed"]["kept"] = [sha256(TABLE)] * (place == "kept file") + [sha256(TOOL)]
    record["sources"] = {"raw": [["link", 1, "0" * 64]]}
    (project.root / "link").symlink_to(outside)
    before = sorted(str(p) for p in tmp_path.rglob("*") if "store" not in p.parts)
    is_sound = path == "link/out.csv"  # what it is, only the folder tells
    with pytest.raises(
        IntegrityError, match=r"outside of it|not the form that it must have" if is_sound else "is damaged"
    ):
        laid_out(store, project, [record])
    if place == "module":  # a module that came past the border is held back once more
        with pytest.raises(IntegrityError, match=r"outside of it|not the form that it must have"):
            laid_out(store, project, [astray])
    assert sorted(str(p) for p in tmp_path.rglob("*") if "store" not in p.parts) == before
    assert (outside / "out.csv").read_bytes() == LARGE
    assert is_sound or not is_found(record)


@pytest.mark.parametrize(
    "change",
    [
        {"file": "../../out.ipynb"},
        {"modules": {"x/../../out": sha256(TOOL)}},
        {"modules": {"/tmp/out": sha256(TOOL)}},
        {"sources": {"raw": [["link", 1, "0" * 64], ["link/deep/x", 1, "0" * 64]]}},
    ],
    ids=["notebook", "module", "absolute module", "source through a link"],
)
def test_nothing_else_of_a_record_leads_out(store, project, tmp_path, change):
    "The notebook, the modules and the sources of a record are held to the temporary project, too."
    (tmp_path / "outside").mkdir()
    (project.root / "link").symlink_to(tmp_path / "outside")
    record = observed_record(store, **change)
    record["parts"]["modules"] = dict.fromkeys(record["modules"], "0" * 64)
    with pytest.raises(IntegrityError, match=r"outside of it|not the form that it must have"):
        laid_out(store, project, [record])
    assert list((tmp_path / "outside").iterdir()) == []


def test_no_link_is_written_through(store, project):
    "A module and an observed file at the place of a linked source replace the link, not what it leads to."
    (project.root / "own.py").write_bytes(b"of the working tree")
    (project.root / "data" / "kept.csv").write_bytes(b"of the working tree")
    record = observed_record(store, modules={"own": put(store, TOOL)})
    record["parts"]["modules"] = {"own": "0" * 64}
    record["sources"] = {"raw": [["own.py", 1, "0" * 64], ["data/kept.csv", 1, "0" * 64]]}
    files, again = laid_out(store, project, [record, record])
    assert files["data/kept.csv"][0] == again["data/kept.csv"][0] == TABLE
    for name in ("own.py", "data/kept.csv"):
        assert (project.root / name).read_bytes() == b"of the working tree"


def test_forged_record_is_refused_where_it_arrives(audited, tmp_path):
    record = observed_record(audited)
    record["parts"]["observed"]["files"] = {"../../out.csv": sha256(TABLE)}
    other, trusted = shared(audited, tmp_path)
    body = canonical_json(sign_result(audited, "record", record))
    write_remote(open_remote(f"{tmp_path}/shared"), record_place(as_record(observed_record(audited))), body)
    taken = pull(other, f"{tmp_path}/shared", trusted=trusted)
    assert (taken.exit_code, taken.records, len(taken.refused)) == (5, 0, 1)


ODD = [
    {"kept": ["../x"]},
    {"kept": "a" * 64},
    {"kept": ["0" * 64]},
    {"modules": ["tool.py"]},
    {"made": ["../x"]},
    {"places": {"own": "/etc/own.py"}},
    {"places": ["own.py"]},
    {"places": {"own": "a" * 256}},
    {"places": {"own": "a/" * 2000 + "own.py"}},
    {"kept": None, "modules": {"tool": 7}},
    [],
    "observed",
]


@pytest.mark.parametrize("about", ODD, ids=map(str, range(len(ODD))))
def test_odd_observations_are_no_record(store, about):
    record = observed_record(store)
    assert is_found(record)
    odd = record | {"observed": record["observed"] | about if isinstance(about, dict) else about}
    assert not is_found(odd)


def test_record_from_before_is_laid_out_as_ever(store, project):
    record = observed_record(store)
    del record["observed"], record["parts"]["observed"]
    [files] = laid_out(store, project, [record])
    assert sorted(files) == ["nbs/10_train.ipynb", "settings.ini"]
    assert is_found(record) and observed_problems(store, project, as_record(record)) == []


ENVIRONMENT = {
    "same": ({}, {}, None),
    "built again": ({"builds": {"numpy": "a" * 64}}, {"build": "b" * 64}, "installed again"),
    "same build": ({"builds": {"numpy": "b" * 64}}, {"build": "b" * 64}, None),
    "observed": ({"observed": {"packages": {"lxml": "6.0 " + "a" * 64}}}, {}, "lxml"),
    "observed, same": ({"observed": {"packages": {"numpy": "2.4 " + "b" * 64}}}, {"build": "b" * 64}, None),
    "observed, other": (
        {"observed": {"packages": {"numpy": "2.4 " + "c" * 64}}},
        {"build": "b" * 64},
        "numpy",
    ),
    "edited then": ({"edited": {"numpy/core.py": "a" * 64}}, {}, "edited numpy/core.py"),
    "startup then": ({"startup": {"odd.pth": "a" * 64}}, {}, "at startup odd.pth"),
}


@pytest.mark.parametrize("kind", ENVIRONMENT)
def test_environment(store, kind):
    "What of the environment differs, by the parts of a key; records without a part are not compared by it."
    further, about, said = ENVIRONMENT[kind]
    parts = observed_record(store)["parts"] | {"packages": {"numpy": "2.4"}} | further
    installed = {"numpy": InstalledPackage("2.4", **about)}
    here = {"python", *(f"at startup {name}" for name in startup_files(installed))}
    found = [
        d
        for d in environment_differences(
            [as_record({"pipeline": "demo", "stage": "train", "run": RUN, "parts": parts})], installed
        )
        if d.name not in here
    ]
    assert [said in json.dumps(to_builtins(d)) for d in found] == ([] if said is None else [True])


STAGES = {
    "nbs/demo/10_rows.ipynb": [
        "from mlnb import save\nimport importlib\nimport subprocess\nimport sys\nfrom pathlib import Path",
        "sys.path.append('/'.join(['..', '..', 'lib']))",
        "factor = importlib.import_module('fac' + 'tor').FACTOR",
        "rates = Path('..', 'rates' + '.csv').read_text().split()\nis_there = Path('no.csv').exists()",
        "native = subprocess.run(['cat', '../native.csv'], capture_output=True, text=True).stdout",
        "save('rows', [factor, *rates, native, is_there])",
    ]
}


@pytest.mark.slow
def test_run_is_reproduced_after_all_it_read_by_itself_has_changed(make_project):
    "A real run: what its kernel and the system saw is carried, although the working tree has moved on."
    root = make_project(STAGES, "[mlnb]\n[pipeline.demo]\nnotebooks = nbs/demo\n").root
    (root / "lib").mkdir()
    files = {"lib/factor.py": "FACTOR = 3\n", "nbs/rates.csv": "1 2\n", "nbs/native.csv": "n\n"}
    for name, text in files.items():
        (root / name).write_text(text)
    project = read_project(root)
    pipeline = require_sound(read_pipeline(project, "demo"))
    values = resolve(project, pipeline, "default", {}, {})
    plan = make_plan(project, project_store(project), pipeline, "default", values)
    document = run_pipeline(plan, select(plan.pipeline), RunSettings(is_profile_run=False))
    assert document.state == "committed", document
    for name in files:
        (root / name).unlink()
    shutil.rmtree(root / "lib")
    (root / "nbs" / "demo" / "10_rows.ipynb").unlink()
    found = reproduce(project, plan.store, document)
    gc.collect()
    assert (found.state, found.stages[0].error) == ("reproduced", None), found
