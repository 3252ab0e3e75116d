"""The fast way of a scorer equals `predict_proba` in every decision, or there is none."""

import json
import os
import subprocess
import sys
import threading
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy.sparse import csr_array
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    PolynomialFeatures,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.tree import DecisionTreeClassifier

from mlnb.models.alerts import is_alert
from mlnb.models.attributions import explainer
from mlnb.models.fast import scorer
from mlnb.models.fast_versions import fast_of_version, rows_of_schema
from mlnb.models.input_schema import inputs_of_version
from mlnb.models.mlflow_folders import positive_place
from mlnb.models.onnx_models import compared_rows
from mlnb.models.scoring import EDGE, FEW_ROWS, Scorer, on_edge, one_thread
from mlnb.models.training import InputError
from mlnb.models.tree_import import NotTreesError, tree_import
from mlnb.models.tree_text import ExplanationError
from mlnb.store.artifacts import put_value
from mlnb.store.derived_objects import derived_files
from mlnb.store.documents import sealed
from mlnb.store.errors import UsageError
from mlnb.store.input_columns import InputColumn
from mlnb.store.model_settings import model_declared
from mlnb.store.objects import open_store, path_of, put
from mlnb.store.record import Record
from mlnb.store.records import commit
from mlnb.store.versions import ModelVersion


def money(seed, n=300, n_classes=2, missing=False, kind="float64"):
    "Payments with cents and their labels."
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame({"amount": rng.exponential(50, n).round(2), "hour": rng.integers(0, 24, n)})
    rows = rows.assign(risk=rng.random(n).round(3)).astype(kind)
    labels = np.digitize(rows.amount / 50 + rng.normal(size=n), [0.9, 1.8][: n_classes - 1])
    if missing:
        rows = rows.mask(rng.random(rows.shape) < 0.1)
    return rows, labels


def compare(found, model, rows):
    "One row at a time against `predict_proba` of all: the same score, the same decision at any threshold."
    if found.how == "scikit-learn":  # one row of 32 bits and many differ by themselves: BLAS
        rows = rows[:10]
        slow = np.vstack([model.predict_proba(rows[k : k + 1]) for k in range(10)])
    else:
        slow = model.predict_proba(rows)
    fast = np.vstack([found.probabilities(rows[k : k + 1]) for k in range(len(rows))])
    np.testing.assert_allclose(fast, slow, rtol=0, atol=1e-9)
    for column in range(slow.shape[1]):
        thresholds = slow[:, column]
        alerts = is_alert(fast[:, column, None], thresholds[None])
        np.testing.assert_array_equal(alerts, is_alert(slow[:, column, None], thresholds[None]))


@pytest.mark.parametrize("kind", ["float64", "float32"])
def test_single_rows_equal_predict_proba_behind_scaling(kind):
    rows, labels = money(0, 120, kind=kind)
    model = make_pipeline(StandardScaler(), RandomForestClassifier(3, max_depth=4, random_state=0))
    found = scorer(model.fit(rows, labels), rows)
    assert (found.how, found.largest_difference) == ("treelite", 0.0)
    compare(found, model, rows[:12])
    one = rows[3:4]
    assert found.score(one.astype("float64").to_numpy().tolist()).shape == (1,)
    assert found.score(rows).tolist() == model.predict_proba(rows)[:, 1].tolist()
    assert found.score(one[["risk", "amount", "hour"]]).tolist() == found.score(one).tolist()


def by_name(rows):
    "Rows in another order of columns, as several libraries hold them."
    turned = rows[rows.columns[::-1]]
    return [turned, pl.from_pandas(turned), pa.Table.from_pandas(turned, preserve_index=False)]


@pytest.mark.parametrize("kind", [RandomForestClassifier, HistGradientBoostingClassifier, AdaBoostClassifier])
def test_frames_of_every_library_are_read_by_name(kind):
    rows, labels = money(3, n=80)
    model = kind(random_state=0).set_params(
        **({"max_iter": 3} if kind().get_params().get("max_iter") else {})
    )
    found = scorer(model.fit(rows, labels), rows)
    expected, told = model.predict_proba(rows[:9])[:, 1], explained_rows(model, rows[:9])
    for turned in by_name(rows[:9]):
        np.testing.assert_allclose(found.score(turned), expected, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(explained_rows(model, turned), told)
    for twice in (
        pd.concat([rows, rows[["hour"]]], axis=1)[:9],
        rows[["amount", "amount", "hour", "risk"]][:9],
    ):
        with pytest.raises(InputError, match=r"there more than once: [a-z]+: keep one column of each name"):
            found.score(twice)
        np.testing.assert_allclose(
            found.score(twice.loc[:, ~twice.columns.duplicated()]), expected, rtol=0, atol=1e-12
        )


def explained_rows(model, rows):
    "What an explanation adds up to; nothing of a model that has none."
    try:
        return explainer(model).explain(rows).explained
    except ExplanationError:
        return np.zeros(0)


def test_names_that_are_absent_are_few_and_harmless():
    names = ["\x1b[31m\nred", "\u202eleft", "x" * 9999, *map(str, range(90))]
    rows = pd.DataFrame(np.eye(8, len(names)), columns=names)
    found = scorer(RandomForestClassifier(2, random_state=0).fit(rows, [0, 1] * 4))
    with pytest.raises(InputError) as said:
        found.score(rows.iloc[:1, -1:])
    assert len(str(said.value)) < 400 and str(said.value).isprintable() and "87 more" in str(said.value)


@pytest.mark.parametrize("levels", [["1", "2"], ["x", "2"]])
def test_words_of_a_list_stay_words(levels):
    rows, labels = money(4)
    rows = rows.assign(hour=np.where(labels == 1, *levels))
    model = HistGradientBoostingClassifier(max_iter=3, categorical_features=["hour"]).fit(rows, labels)
    found, some = scorer(model, rows), rows[:FEW_ROWS]
    expected = model.predict_proba(some)[:, 1]
    listed = some.to_numpy(object).tolist()
    np.testing.assert_allclose(found.score(listed), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.score(listed * 2)[:FEW_ROWS], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "rows", [None, 3.0, "words", iter([[1.0, 2.0, 3.0]]), {"amount": [1.0]}, [[1.0], [2.0, 3.0]]]
)
def test_what_is_no_rows_is_refused(rows):
    known, labels = money(5, n=60)
    found = scorer(RandomForestClassifier(2, random_state=0).fit(known, labels), known)
    with pytest.raises(InputError, match="pass a list of rows"):
        found.score(rows)


def test_sparse_rows_and_missing_integers_are_left_to_scikit_learn():
    rows, labels = money(6, n=60)
    model = RandomForestClassifier(2, random_state=0).fit(rows.to_numpy(), labels)
    sparse = csr_array(rows.to_numpy()[:4])
    assert scorer(model, rows.to_numpy()).score(sparse).tolist() == model.predict_proba(sparse)[:, 1].tolist()
    behind = make_pipeline(StandardScaler(), ColumnTransformer([], remainder="passthrough"))
    behind = make_pipeline(*behind.set_output(transform="pandas"), HistGradientBoostingClassifier(max_iter=2))
    holed = rows[:4].assign(hour=pd.array([1, None, 2, 3], dtype="Int64"))
    found = scorer(behind.fit(rows, labels), rows)
    np.testing.assert_allclose(found.score(holed), behind.predict_proba(holed)[:, 1], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "labels", [[0, 1], [1, 2], [-1, 1], [False, True], ["no", "yes"], [1, 0], [5, 9], ["0", "1"]]
)
def test_every_way_means_the_same_positive_class(labels):
    rows, classes = money(7, n=60)
    model = RandomForestClassifier(2, random_state=0).fit(rows, np.array(labels)[classes])
    place = positive_place(model, "fraud@1")
    assert scorer(model, rows).score(rows[:9]).tolist() == model.predict_proba(rows[:9])[:, place].tolist()
    assert explainer(model).of_class == model.classes_[place]


@pytest.mark.parametrize("weights", [[0, 0], [1, -1]])
def test_vote_without_weight_is_refused(weights):
    rows, labels = money(8, n=60)
    members = [("one", RandomForestClassifier(2)), ("two", RandomForestClassifier(2))]
    vote = VotingClassifier(members, voting="soft", weights=[1, 2]).fit(rows, labels)
    vote.weights = weights
    for ask in (scorer, explainer):
        with pytest.raises(UsageError, match="weights above 0"):
            ask(vote)


def test_early_stopping_has_as_many_trees_as_were_made():
    rows, labels = money(1, 80)
    model = GradientBoostingClassifier(n_estimators=500, n_iter_no_change=1, max_depth=1).fit(rows, labels)
    model.n_estimators = 10_000
    assert tree_import(model).model.num_tree == len(model.estimators_)


def test_trees_that_ask_for_more_than_a_row_has_are_refused():
    rows, labels = money(1, 60)
    forest = RandomForestClassifier(2, random_state=0).fit(rows, labels)
    forest.n_features_in_ = 1
    with pytest.raises(NotTreesError, match="more than its 1 inputs"):
        tree_import(forest)


def test_levels_are_words_and_a_new_one_is_missing():
    rows, labels = money(2, 120)
    rows["shop"] = pd.Categorical(np.array(["a", "b", "ü, `x"])[np.arange(120) % 3])
    model = HistGradientBoostingClassifier(max_iter=3, categorical_features="from_dtype")
    with one_thread():
        found = scorer(model.fit(rows, labels), rows)
    new = rows[:6].astype({"shop": object}).assign(shop=["a", "z", None, "ü, `x", "", "b"])
    assert found.how == "treelite"
    with one_thread():
        compare(found, model, new)


def test_what_scikit_learn_refuses_is_refused_in_its_words():
    rows, labels = money(3, 60)
    found = scorer(GradientBoostingClassifier(n_estimators=2).fit(rows, labels))
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match=r"contains (NaN|infinity)"):
            found.score(rows[:1].assign(risk=bad))
    with pytest.raises(InputError, match="risk"):
        found.score(rows[["amount", "hour"]])
    with pytest.raises(InputError, match="a list of rows"):
        found.score([1.0, 2.0, 3.0])


def test_score_on_an_edge_is_asked_of_scikit_learn():
    rows, labels = money(4, 60)
    model = RandomForestClassifier(2, max_depth=1, random_state=0).fit(rows, labels)
    found = scorer(model)
    asked = []
    model.predict_proba = lambda some: asked.append(len(some)) or np.full((len(some), 2), 0.25)
    probabilities = np.array([[0.5 - 1 / 1024, 1 / 1024], [0.75, 0.25]])
    assert found._sure(rows[:2], probabilities.copy()).tolist() == [[0.25, 0.25], [0.75, 0.25]]
    assert asked == [1]
    halves = (np.arange(20) + 0.5) / 1e9
    assert on_edge(halves).all() and on_edge(halves + EDGE).all() and not on_edge(halves + 3e-13).any()


def test_members_do_not_change_each_others_rows():
    rows, labels = money(6, 60)
    parts = [
        make_pipeline(step, RandomForestClassifier(2)) for step in (StandardScaler(), PolynomialFeatures(2))
    ]
    model = VotingClassifier([("a", parts[0]), ("b", parts[1])], voting="soft").fit(rows, labels)
    before = rows.copy()
    found = scorer(model, rows)
    assert [one.takes_arrays for one in found.members] == [True, False]
    compare(found, model, rows[:5])
    pd.testing.assert_frame_equal(rows, before)


def test_fast_way_that_differs_is_not_used(monkeypatch):
    rows, labels = money(5, 60)
    model = RandomForestClassifier(2, random_state=0).fit(rows, labels)
    monkeypatch.setattr(
        "mlnb.models.hard_rows.tree_probabilities", lambda trees, seen: np.full((len(seen), 2), 0.5)
    )
    found = scorer(model, rows)
    assert (found.how, found.members) == ("scikit-learn", ())
    assert "differs from `predict_proba` by up to 5" in found.why
    assert found.score(rows[:3]).tolist() == model.predict_proba(rows[:3])[:, 1].tolist()


# ---------------------------------------------------------------- the battery

STEPS = {
    "standard": StandardScaler,
    "min_max": lambda: MinMaxScaler(clip=True),
    "max_abs": MaxAbsScaler,
    "robust": RobustScaler,
    "median": lambda: SimpleImputer(strategy="median"),
    "indicator": lambda: SimpleImputer(add_indicator=True),
    "quantile": lambda: QuantileTransformer(n_quantiles=20),
}
FAST = {
    "forest": lambda s: RandomForestClassifier(7, max_depth=6, random_state=s),
    "deep": lambda s: RandomForestClassifier(3, random_state=s, class_weight="balanced"),
    "extra": lambda s: ExtraTreesClassifier(5, random_state=s, bootstrap=True),
    "histogram": lambda s: HistGradientBoostingClassifier(max_iter=8, random_state=s),
}
REFUSING = {  # missing values
    "boosting": lambda s: GradientBoostingClassifier(n_estimators=6, random_state=s),
    "zero": lambda s: GradientBoostingClassifier(n_estimators=4, init="zero", random_state=s),
}
SLOW = {
    "tree": lambda s: DecisionTreeClassifier(max_depth=3, random_state=s),
    "bagging": lambda s: BaggingClassifier(n_estimators=2, random_state=s),
    "ada": lambda s: AdaBoostClassifier(n_estimators=2, random_state=s),
    "calibrated": lambda s: CalibratedClassifierCV(RandomForestClassifier(2, random_state=s), cv=2),
    "line": lambda s: make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()),
}


def with_steps(rng, estimator, is_filled):
    names = [name for name in rng.choice(list(STEPS), rng.integers(0, 3), replace=False)]
    names = ["median", *names] if is_filled else names
    return make_pipeline(*[STEPS[name]() for name in names], estimator) if names else estimator


def drawn_estimator(rng, missing):
    "An estimator, and whether it has a fast way."
    kind = rng.choice([*FAST, *REFUSING, *SLOW, "vote", "vote"])
    seed = int(rng.integers(100))
    if kind == "vote":
        parts = [drawn_estimator(rng, missing) for _ in range(2)]
        weights = [None, [2, 1], [0.3, 0.9]][rng.integers(3)]
        named = [(f"m{k}", one) for k, (one, _) in enumerate(parts)]
        return VotingClassifier(named, voting="soft", weights=weights), all(fast for _, fast in parts)
    if kind in SLOW:
        is_filled = missing and kind in ("ada", "calibrated")
        return with_steps(rng, SLOW[kind](seed), is_filled), False
    made = (FAST | REFUSING)[kind](seed)
    return with_steps(rng, made, missing and kind in REFUSING), True


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(200))
def test_battery_of_random_estimators(seed):
    rng = np.random.default_rng(seed)
    missing, n_classes = bool(rng.integers(2)), int(rng.integers(2, 4))
    kind = ["float64", "float32"][rng.integers(2)]
    rows, labels = money(seed, n_classes=n_classes, missing=missing, kind=kind)
    model, is_fast = drawn_estimator(rng, missing)
    given = rows if rng.integers(2) else rows.to_numpy()
    with warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore")
        model.fit(given, labels)
    model = FrozenEstimator(model) if rng.integers(2) else model
    with warnings.catch_warnings(), one_thread():
        warnings.simplefilter("error")
        found = scorer(model, given if rng.integers(2) else None)
        assert found.how == ("treelite" if is_fast else "scikit-learn"), found.why
        assert bool(found.why) == (not is_fast)
        new, _ = money(seed + 1000, 40, missing=missing, kind=kind)
        compare(found, model, new if given is rows else new.to_numpy())
    if is_fast:
        assert found.largest_difference <= EDGE


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_battery_of_levels(seed):
    rng = np.random.default_rng(seed)
    rows, labels = money(seed, n_classes=2 + seed % 2, missing=True)
    levels = [["a", "b", "c", "ä"], [1, 2, 7], [0.5, 1.5, -3.0], list("abcdefghijklmnopqrst")][seed % 4]
    shop = pd.Series(rng.choice(levels, len(rows)))
    shop = shop.mask(rng.random(len(rows)) < 0.1)
    rows.insert(int(rng.integers(4)), "shop", shop.astype("category") if seed % 3 else shop)
    categories = "from_dtype" if seed % 3 else ["shop"]
    model = HistGradientBoostingClassifier(max_iter=6, categorical_features=categories).fit(rows, labels)
    found = scorer(model, rows)
    assert found.how == "treelite", found.why
    odd = "z" if isinstance(levels[0], str) else 99
    new = rows[:40].astype({"shop": object if isinstance(levels[0], str) else float})
    compare(found, model, new.assign(shop=new.shop.where(np.arange(40) % 5 > 0, odd)))
    compare(found, model, rows[:20])


@pytest.mark.slow
def test_threads_and_forks_share_a_scorer():
    rows, labels = money(7, missing=True)
    model = VotingClassifier(
        [("a", HistGradientBoostingClassifier(max_iter=5)), ("b", RandomForestClassifier(5))], voting="soft"
    ).fit(rows, labels)
    found, answers = scorer(model, rows), []
    expected = found.score(rows[:FEW_ROWS]).tolist()

    def ask():
        answers.extend(found.score(rows[:FEW_ROWS]).tolist() == expected for _ in range(20))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 120
    child = os.fork()
    if child == 0:
        os._exit(0 if found.score(rows[:FEW_ROWS]).tolist() == expected else 1)
    assert os.waitpid(child, 0)[1] == 0


BUILT = """
import json, sys
from pathlib import Path
from mlnb.models.fast_versions import fast_of_version
from mlnb.store.derived_objects import derived_files
from mlnb.store.objects import open_store, path_of, put
from mlnb.store.record import Record
from mlnb.store.records import commit
from mlnb.store.versions import ModelVersion
store = open_store(sys.argv[1])
found = fast_of_version(store, ModelVersion.from_dict(json.loads(sys.argv[2])))
print(json.dumps([found.way.how, *found.notes]))
"""


def version_of(store, model):
    declared = model_declared({"artifact": "shop/model", "gate": "gate"})
    about = {"stage": "train", "key": "a" * 64, "run": "20260101-120000-aa", "declared": declared}
    return ModelVersion(model="shop", number=1, output=put_value(store, model), **about)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*FAST, *REFUSING, "tree"])
def test_every_fast_way_is_built_again_with_the_same_bytes(tmp_path, kind):
    rows, labels = money(8)
    store = open_store(tmp_path / "store")
    version = version_of(store, (FAST | REFUSING | SLOW)[kind](0).fit(rows, labels))
    files = []
    for seed in ("0", "7"):
        for path in derived_files(store.root):
            path.unlink()
        done = subprocess.run(
            [sys.executable, "-c", BUILT, str(store.root), json.dumps(version.as_dict())],
            capture_output=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
            check=True,
        )
        assert done.stderr == b""
        files.append([path.read_bytes() for path in derived_files(store.root)])
        assert json.loads(done.stdout) == ["scikit-learn" if kind == "tree" else "treelite"]
    assert files[0] == files[1]
    assert len(files[0]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["flip", "cut", "other version", "folder"])
def test_damaged_fast_way_is_built_again_and_said(tmp_path, damage):
    rows, labels = money(9)
    store = open_store(tmp_path / "store")
    version = version_of(store, FAST["forest"](0).fit(rows, labels))
    first = fast_of_version(store, version)
    [path] = derived_files(store.root)
    good = path.read_bytes()
    if damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        flipped = bytes([*good[:200], good[200] ^ 1, *good[201:]])
        path.write_bytes({"flip": flipped, "cut": good[:-5]}.get(damage, good.replace(b"e", b"f")))
    again = fast_of_version(store, version)
    assert again.way == first.way
    assert "compared again" in again.notes[0]
    assert damage == "folder" or path.read_bytes() == good
    assert again.scorer.score(rows[:3]).tolist() == first.scorer.score(rows[:3]).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("difference", [2 * EDGE, -1.0, None])
def test_way_that_is_not_equal_is_not_believed(tmp_path, difference):
    rows, labels = money(9, n=60)
    store = open_store(tmp_path / ".mlnb")
    version = version_of(store, RandomForestClassifier(2, random_state=0).fit(rows, labels))
    way = fast_of_version(store, version).way
    path = derived_files(store.root)[0]
    path.write_bytes(sealed(path, way.as_dict() | {"largest_difference": difference}))
    again = fast_of_version(store, version)
    assert again.way == way and "compared again" in again.notes[0]
    assert fast_of_version(store, version).notes == ()


@pytest.mark.parametrize("ends", [(-1e308, 1e308), (5.0, 1.0), (0.0, 2.0**63), (3.0, 3.0)])
def test_rows_of_any_range_are_drawn(ends):
    column = InputColumn(name="amount", type="int64", low=ends[0], high=ends[1])
    drawn = rows_of_schema((column,)).amount
    assert drawn.between(min(ends), max(ends)).all()
    assert np.isfinite(compared_rows(None, [column])).all()


def test_store_that_cannot_be_written_scores_all_the_same(tmp_path, monkeypatch):
    rows, labels = money(10)
    store = open_store(tmp_path / "store")
    version = version_of(store, FAST["forest"](0).fit(rows, labels))
    (store.root / "derived").write_text("in the way")
    found = fast_of_version(store, version)
    assert isinstance(found.scorer, Scorer) and found.way.how == "treelite"
    assert "is not kept" in found.notes[0]


@pytest.mark.slow
@pytest.mark.parametrize("n_classes", [2, 3])
def test_other_boosters_are_exact_or_fall_back(n_classes):
    from lightgbm import LGBMClassifier

    rows, labels = money(12, n_classes=n_classes, missing=True)
    model = LGBMClassifier(n_estimators=8, verbosity=-1, n_jobs=1)
    found = scorer(model.fit(rows, labels), rows)
    assert found.how == "treelite"
    compare(found, model, rows[:40])
    shops = rows.assign(shop=pd.Categorical(np.array(["a", "b", "c"])[np.arange(len(rows)) % 3]))
    found = scorer(model.fit(shops, labels), shops)
    assert "numbers the categories of pandas" in found.why
    xgboost = pytest.importorskip("xgboost")
    found = scorer(xgboost.XGBClassifier(n_estimators=4, n_jobs=1).fit(rows, labels), rows)
    assert "XGBClassifier cannot be taken over" in found.why
    compare(found, found.model, rows[:20])


@pytest.mark.slow
def test_version_whose_data_is_gone_is_compared_on_rows_of_its_schema(tmp_path):
    rows, labels = money(13)
    store = open_store(tmp_path / "store")
    table = put_value(store, rows.assign(fraud=labels))
    version = version_of(store, FAST["histogram"](0).fit(rows, labels))
    about = {"stage": version.stage, "key": version.key, "run": version.run, "notebook": put(store, b"{}")}
    made = {"outputs": {"model": version.output}, "inputs": {"features": table}}
    commit(store, Record(pipeline="shop", **about, **made))
    with_data = fast_of_version(store, version)
    assert len(inputs_of_version(store, version)) == 3
    path_of(store, table.digest).unlink()
    for path in derived_files(store.root):
        path.unlink()
    without = fast_of_version(store, version)
    assert (without.way.how, without.notes) == (with_data.way.how, ())
    assert without.way.trees == with_data.way.trees


@pytest.mark.slow
def test_transformer_that_mixes_columns_runs_as_it_is():
    rows, labels = money(11)
    model = make_pipeline(PolynomialFeatures(2), StandardScaler(), RandomForestClassifier(5, random_state=0))
    found = scorer(model.fit(rows, labels), rows)
    assert (found.how, found.members[0].steps) == ("treelite", None)
    compare(found, model, rows[:20])
