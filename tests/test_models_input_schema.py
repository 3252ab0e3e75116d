"""What a version learnt from: the same whoever asks, however its table is kept and in which order its rows
are; written once; and what became of the data is said with the code of that error."""

import json
import math
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from mlnb.care.signing import make_key, trust
from mlnb.care.verify import verify_store
from mlnb.care.vouched import signer
from mlnb.history.champion import champion_now, move_champion
from mlnb.models.input_schema import MOST_LEVELS_TOLD, inputs_of_version, learn_inputs, table_learnt
from mlnb.sharing.pull import pull
from mlnb.sharing.push import push
from mlnb.store.artifacts import put_frames, put_value
from mlnb.store.derived_objects import FastWay, compared_with, derived_files, keep_derived
from mlnb.store.descriptions import Parts
from mlnb.store.documents import read_document
from mlnb.store.errors import IntegrityError, UsageError
from mlnb.store.input_columns import InputColumn, inputs_changed, not_served
from mlnb.store.model_settings import model_declared
from mlnb.store.objects import open_store, put
from mlnb.store.record import Record
from mlnb.store.records import commit
from mlnb.store.settings import read_project
from mlnb.store.version_statements import (
    VersionStatement,
    inputs_said,
    learnt_statement,
    statement_files,
    statement_place,
)
from mlnb.store.versions import ModelVersion, register_version

SAID = model_declared({"artifact": "shop/model", "gate": "gate"})
RUN = "20260101-120000-aa"
FLOATS = st.one_of(st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf]), st.floats(-1e9, 1e9))
WORDS = st.sampled_from(["a", "b", "ä", "x,y", "`", ""])
KINDS = {
    "float64": (FLOATS, "float64"),
    "float32": (st.floats(-1e6, 1e6, width=32), "float32"),
    "int64": (st.integers(-(2**53), 2**53), "int64"),
    "uint8": (st.integers(0, 255), "uint8"),
    "Int64": (st.one_of(st.none(), st.integers(-9, 9)), "Int64"),
    "bool": (st.booleans(), "bool"),
    "boolean": (st.one_of(st.none(), st.booleans()), "boolean"),
    "str": (st.one_of(st.none(), WORDS), "str"),
    "category": (st.sampled_from([None, "a", "b", "x,y"]), pd.CategoricalDtype(["a", "b", "x,y"])),
    "time": (st.datetimes(pd.Timestamp(2000, 1, 1), pd.Timestamp(2030, 1, 1)), "datetime64[us]"),
}


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory):
    return open_store(tmp_path_factory.mktemp("schema") / "store")


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)
    return open_store(tmp_path / "store")


@st.composite
def frames(draw):
    "A frame with a column of every kind."
    n = draw(st.integers(1, 6))
    columns = {name: (draw(st.lists(kind, min_size=n, max_size=n)), to) for name, (kind, to) in KINDS.items()}
    return pd.DataFrame({name: pd.Series(values, dtype=to) for name, (values, to) in columns.items()})


def expected(values, name):
    "The same in plain Python."
    present = [value for value in values if value is not None and value is not pd.NA and value == value]
    numbers = [float(v) for v in present if name in ("float64", "float32", "int64", "uint8", "Int64")]
    finite = [v for v in numbers if math.isfinite(v)]
    levels = {str(v) for v in present} if name in ("bool", "boolean", "str") else None
    levels = {"a", "b", "x,y"} if name == "category" else levels
    return InputColumn(
        name,
        str(values.dtype),
        min(finite, default=None),
        max(finite, default=None),
        None if levels is None else tuple(sorted(levels)),
        1 - len(present) / len(values),
    )


def told(column):
    return (column.name, column.type, column.low, column.high, column.levels, round(column.null_share, 12))


def kept_in_every_way(store, frame):
    "The table as it may be kept: whole, in parts, as a table of Arrow, as parts of a fan-out."
    half = len(frame) // 2
    parts = [part.reset_index(drop=True) for part in (frame[:half], frame[half:])]
    yield [put_value(store, frame)]
    yield [put_frames(store, iter(parts))]
    table = pa.Table.from_pandas(frame)
    place = table.schema.get_field_index("category")
    kind = pa.dictionary(pa.int8(), pa.string())
    yield [put_value(store, table.set_column(place, "category", table["category"].cast(kind)))]
    yield [put_value(store, part) for part in parts]


def learnt_alike(store, frame, order):
    "Whether a table says the same however it is kept, and what is expected of it."
    wanted = ["missing", *reversed(KINDS)]
    right = [told(expected(frame[name], name)) for name in wanted[1:]]
    for tables in kept_in_every_way(store, frame):
        assert [told(one) for one in table_learnt(store, tables, wanted)] == right
    turned = put_value(store, frame.iloc[order].reset_index(drop=True))
    first, second = (table_learnt(store, [one], wanted) for one in (put_value(store, frame), turned))
    plain = [[one.as_dict() for one in columns] for columns in (first, second)]
    assert json.dumps(plain[0]) == json.dumps(plain[1])
    assert [InputColumn.from_dict(one) for one in json.loads(json.dumps(plain[0]))] == list(first)
    assert inputs_changed(first, second) == () == not_served(first, second)


def test_columns_are_learnt_the_same_however_the_table_is_kept(store):
    odd = [0.0, -0.0, math.nan, math.inf]
    values = {"float": odd, "int": [3, 1, 2, 0], "Int": [None, 1, 2, 0], "bool": [True, False, True, True]}
    words = {"uint8": [0, 255, 3, 1], "boolean": [None, True, None, True], "str": ["b", None, "ä", "b"]}
    values |= {**words, "category": ["b", None, "b", "b"], "time": pd.date_range("2026-01-01", periods=4)}
    named = {name: values.get(name, values.get(name.removesuffix("32").removesuffix("64"))) for name in KINDS}
    frame = pd.DataFrame({name: pd.Series(one, dtype=KINDS[name][1]) for name, one in named.items()})
    learnt_alike(store, frame, [2, 0, 3, 1])


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(frames(), st.randoms(use_true_random=False))
def test_columns_of_any_table_are_learnt_the_same(shared_store, frame, random):
    learnt_alike(shared_store, frame, random.sample(range(len(frame)), len(frame)))


def test_levels_are_told_while_they_are_few(store):
    for n, is_told in ((MOST_LEVELS_TOLD, True), (MOST_LEVELS_TOLD + 1, False)):
        table = put_value(store, pd.DataFrame({"word": [str(k) for k in range(n)]}))
        (column,) = table_learnt(store, [table], ["word"])
        assert (column.levels is not None) == is_told
    (column,) = table_learnt(store, [put_value(store, pd.DataFrame({"word": ["x" * 999]}))], ["word"])
    assert column.levels is None


def test_a_wide_table_is_read_a_few_columns_at_a_time(store, monkeypatch):
    frame = pd.DataFrame(np.arange(200.0).reshape(1, -1), columns=[f"c{n}" for n in range(200)])
    monkeypatch.setattr("mlnb.models.input_schema._MOST_HELD", 50)
    found = table_learnt(store, [put_value(store, frame)], list(frame.columns))
    assert [one.high for one in found] == list(range(200))


def registered(store, table, model=None, names=("hour", "amount"), key="a", **about):
    "A version whose stage loaded a table."
    frame = pd.DataFrame({name: [0.0, 1.0, 2.0, 3.0] for name in names})
    output = put_value(store, model or LogisticRegression(C=float(ord(key))).fit(frame, [0, 1, 0, 1]))
    said = {"stage": "train", "key": key * 64, "run": RUN}
    inputs = {} if table is None else {"features": table}
    notebook = put(store, b"{}")
    record = Record(pipeline="shop", outputs={"model": output}, inputs=inputs, notebook=notebook, **said)
    commit(store, record, sign=signer(store, "record"))
    version = ModelVersion(model="shop", number=1, output=output, **said, **{"declared": SAID, **about})
    return register_version(store, version, signer(store, "version")).version


def shop(store, **changes):
    "Training data with other columns as they are given."
    columns = {"amount": [1.0, 2.0], "hour": [0, 23], **changes}
    return put_value(store, pd.DataFrame(columns))


def test_inputs_come_from_the_first_table_that_has_them_also_behind_the_stage(store):
    version = registered(store, None, upstream={"b" * 64: "features"})
    with pytest.raises(UsageError, match="no table that shop@1 was made from has its inputs"):
        inputs_of_version(store, version)
    halves = [shop(store, amount=values) for values in ([1.0, 2.0], [9.0, 5.0])]
    parts = Parts("half", (1, 2), tuple(halves))
    other = put_value(store, pd.DataFrame({"hour": ["late"], "night": [True]}))
    about = {
        "key": "b" * 64,
        "pipeline": "shop",
        "stage": "features",
        "run": RUN,
        "notebook": put(store, b"{}"),
    }
    commit(store, Record(outputs={}, inputs={"a": put_value(store, 1), "b": parts, "c": other}, **about))
    found = {one.name: one for one in learn_inputs(store, version, ["hour", "night", "amount", "none"])}
    assert (found["hour"].type, found["night"].type, found["none"].type) == ("int64", "bool", "not known")
    assert (found["amount"].low, found["amount"].high, found["hour"].high) == (1.0, 9.0, 23.0)


def child(work):
    if (pid := os.fork()) == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return pid


def test_of_many_who_ask_at_once_all_get_the_same_and_one_document_is_written(store):
    version = registered(store, shop(store))
    pids = [child(lambda: inputs_of_version(store, version)) for _ in range(4)]
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * 4
    (path,) = statement_files(store.root)
    said = read_document(path, VersionStatement)
    assert path == store.root / statement_place(said) and said.inputs == inputs_of_version(store, version)
    plain = {**said.as_dict(), "says": "revoked", "inputs": None}
    assert (
        "inputs"
        not in VersionStatement.from_dict({k: v for k, v in plain.items() if v is not None}).as_dict()
    )


def test_a_document_that_says_what_cannot_be_is_damage(store):
    version = registered(store, shop(store))
    plain = learnt_statement(version, inputs_of_version(store, version)).as_dict()
    for name, value in (("null_share", 2.0), ("low", "0"), ("levels", "ab"), ("name", None), ("high", 1e999)):
        wrong = {**plain, "inputs": [{**plain["inputs"][0], name: value}]}
        with pytest.raises(IntegrityError):
            VersionStatement.from_dict(wrong)


def test_what_was_learnt_is_verified_pushed_and_pulled_as_every_statement_is(tmp_path, monkeypatch):
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)
    url = str(tmp_path / "remote")
    mine, theirs = (open_store(tmp_path / name) for name in ("mine", "theirs"))
    trust(theirs, "mine", make_key(mine))
    version = registered(mine, shop(mine))
    inputs = inputs_of_version(mine, version, signer(mine, "version"))
    keep_derived(mine, FastWay(digest=version.digest, made_with=compared_with(), how="treelite"))
    push(mine, url)
    assert pull(theirs, url).refused == [] and inputs_said(theirs, version) == inputs
    assert not [path for path in (tmp_path / "remote").rglob("*") if "derived" in path.name]
    assert (len(derived_files(mine.root)), derived_files(theirs.root)) == (1, [])
    (path,) = statement_files(theirs.root)
    assert verify_store(theirs).clean
    path.chmod(0o600)
    path.write_bytes(path.read_bytes().replace(b"23.0", b"24.0"))
    assert not verify_store(theirs).clean
    with pytest.raises(IntegrityError):
        inputs_said(theirs, version)


SETTINGS = """[mlnb]
[pipeline.shop]
notebooks = shop
[pipeline.gate]
notebooks = gate
[model.shop]
artifact = shop/model
gate = gate
"""
OURS = "from mlnb import load, save\nimport pandas as pd"
ROWS = "save('rows', pd.DataFrame({'amount': [1.0, 2.0, 3.0, c], 'kind': [0, 1, 0, 1], 'y': [0, 1, 0, 1]}))"
TRAIN = """from sklearn.linear_model import LogisticRegression
rows = load('rows')
save('model', LogisticRegression().fit(rows[['amount', 'kind']], rows['y']))"""


@pytest.mark.parametrize(
    ("now", "code", "said"),
    [
        ({"amount": [1.0, 2.0]}, 0, ""),
        (
            {"amount": [1, 2]},
            2,
            "what shop@1 needs is not served any more: `amount` is int64, and was float64",
        ),
        ({"amount": [1.0, None]}, 0, "shop@1 has not seen all that is served: `amount` has missing values"),
        (None, 0, "shop@1 was not compared with what is served: its inputs are not known"),
    ],
)
def test_going_back_is_refused_to_what_is_no_longer_served(make_project, asked, monkeypatch, now, code, said):
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)
    root = make_project({"shop/10_a.ipynb": ["1"], "gate/10_a.ipynb": ["1"]}, SETTINGS, under=".").root
    store = open_store(root / ".mlnb")
    old = registered(store, shop(store))
    new = registered(store, shop(store, **now) if now else None, key="b")
    for version in (old, new):
        move_champion(store, version, "passed", champion_now(store, SAID))
    answer = asked("rollback", "shop", cwd=root)
    assert answer.code == code and said in answer.stderr
    assert (champion_now(store, SAID).target == old.digest) == (code == 0)
    if code:
        assert "`--to N`" in answer.stderr and "`mlnb promote shop@1`" in answer.stderr


@pytest.mark.slow
def test_show_and_diff_say_what_was_learnt_and_end_with_the_code_of_what_became_of_the_data(
    make_project, mlnb
):
    project = make_project(
        {
            "shop/10_rows.ipynb": [("parameters", "c: float = 4.0"), OURS, ROWS],
            "shop/20_train.ipynb": [OURS, TRAIN],
            "gate/10_a.ipynb": ["1"],
        },
        settings=SETTINGS,
        under=".",
    )
    root = project.root
    assert mlnb("run", "shop", cwd=root).code == 0
    shown = mlnb("model", "show", "shop@1", "--json", cwd=root)
    about = {"levels": None, "null_share": 0.0}
    assert shown.code == 0 and shown.json["inputs"] == [
        {"name": "amount", "type": "float64", "low": 1.0, "high": 4.0, **about},
        {"name": "kind", "type": "int64", "low": 0.0, "high": 1.0, **about},
    ]
    assert "float64, 1 … 4" in mlnb("model", "show", "shop@1", cwd=root).stdout
    project.stage(
        "shop/10_rows.ipynb",
        ("parameters", "c: float = 5.0"),
        OURS,
        ROWS.replace("[0, 1, 0, 1], 'y'", "[.5, 1, 0, 1], 'y'"),
    )
    assert mlnb("run", "shop", cwd=root).code == 0
    table = mlnb("model", "show", "shop@2", "--json", cwd=root).json["about"]["inputs"]["rows"]
    for path in (root / ".mlnb/versions/shop").glob("000002.*.json"):
        path.unlink()
    place = root / ".mlnb/objects" / table[:2] / table
    place.chmod(0o600)
    place.write_bytes(b"other")
    damaged = mlnb("model", "diff", "shop@1", "shop@2", "--json", cwd=root)
    assert damaged.code == 5 and damaged.json["schema"] is None and damaged.json["data"]
    assert (
        "stage `train` of shop@2 loaded `rows`" in damaged.stderr
        and "`mlnb verify --repair`" in damaged.stderr
    )
    assert mlnb("verify", "--repair", cwd=root).code == 0
    mended = mlnb("model", "diff", "shop@1", "shop@2", "--json", cwd=root)
    assert mended.code == 0 and mended.json["schema"] == [
        {
            "name": "kind",
            "a": "int64, 0 … 1",
            "b": "float64, 0 … 1",
            "said": "`kind` is float64, and was int64",
        }
    ]
    assert "`kind` is float64" in mlnb("model", "diff", "shop@1", "shop@2", cwd=root).stdout
    assert mlnb("audit", "init", cwd=root).code == 0
    assert mlnb("erase", f"shop/rows@{table}", "--reason", "asked for", "--yes", cwd=root).code == 0
    kept = mlnb("model", "show", "shop@2", "--json", cwd=root)
    assert kept.code == 0 and kept.json["inputs"][1]["type"] == "float64"
    for path in (root / ".mlnb/versions/shop").glob("000002.*.json"):
        path.unlink()
    erased = mlnb("model", "show", "shop@2", "--json", cwd=root)
    assert erased.code == 6 and erased.json["inputs"] is None and "was erased" in erased.stderr
    assert mlnb("model", "show", "shop@1", cwd=root).code == 0


def test_a_model_without_names_takes_those_of_the_declared_features(make_project, asked, monkeypatch):
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)
    settings = f"{SETTINGS}features = shop_inputs:INPUTS\n"
    root = make_project({"shop/10_a.ipynb": ["1"], "gate/10_a.ipynb": ["1"]}, settings, under=".").root
    features = ", ".join(f"Feature('{name}', 'card', 'count')" for name in ("amount", "hour"))
    (root / "shop_inputs.py").write_text(f"from mlnb.data.definition import Feature\nINPUTS = ({features})\n")
    store, said = open_store(root / ".mlnb"), read_project(root).models["shop"]
    for key, n_inputs in (("a", 2), ("b", 1)):
        rows = np.arange(4.0 * n_inputs).reshape(4, -1)
        registered(store, shop(store), LogisticRegression().fit(rows, [0, 1, 0, 1]), key=key, declared=said)
    shown = asked("model", "show", "shop@1", "--json", cwd=root)
    assert [one["name"] for one in shown.json["inputs"]] == ["amount", "hour"]
    shown = asked("model", "show", "shop@2", "--json", cwd=root)
    assert (shown.code, shown.json["inputs"]) == (0, None)
    assert "2 features are declared for its 1 inputs" in shown.stderr
