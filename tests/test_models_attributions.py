"""Contributions add up to the score that scikit-learn gives, for every kind of model, and what
is not explained says what can be done instead."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from all_subsets import shapley
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.feature_selection import SelectKBest
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    QuantileTransformer,
    StandardScaler,
    TargetEncoder,
)
from sklearn.tree import DecisionTreeClassifier, ExtraTreeClassifier
from threadpoolctl import threadpool_limits

from mlnb.models.attributions import Attributions, explainer
from mlnb.models.fast import scorer
from mlnb.models.training import InputError
from mlnb.models.tree_text import ExplanationError

rng = np.random.default_rng(7)
N = 240
SHOPS = np.array(["a", "b", 'c"}', "</script>", "ä"])
ROWS = pd.DataFrame(
    {
        "amount": rng.exponential(60, N).round(2),
        'a "name" {with}: [json], \n': rng.normal(size=N).round(3),
        "hour": rng.integers(0, 24, N),
        "used by nothing": np.ones(N),
    }
)
HOLES = ROWS.astype(float).mask(rng.random(ROWS.shape) < 0.15)
WITH_SHOP = ROWS.assign(shop=pd.Categorical(SHOPS[rng.integers(0, 5, N)]))
LABELS = ((ROWS.amount > 70) & (ROWS.hour < 13) | (rng.random(N) < 0.15)).astype(int).to_numpy()
KINDS = LABELS + (ROWS.hour.to_numpy() > 16) * 1
SMALL = {"n_estimators": 5, "random_state": 0}
HIST = {"max_iter": 5, "random_state": 0, "min_samples_leaf": 5}
LGBM = {"n_estimators": 5, "verbose": -1, "n_jobs": 1, "min_child_samples": 5}


QUICK = {
    *("tree", "forest, missing", "boosted, exponential", "histograms, categories", "xgboost"),
    *("lightgbm, categories", "filled in", "levels", "vote of boosted", "vote of forests"),
    *("vote", "components", "calibrated", "two scales", "no model at all"),
}


def quick_first(names: dict) -> list:
    "All names, those that are not in `QUICK` as slow tests."
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.fixture(autouse=True)
def one_thread():
    with threadpool_limits(1):
        yield


def vote(*members: object, **options: object) -> VotingClassifier:
    named = [(f"m{n}", member) for n, member in enumerate(members)]
    return VotingClassifier(named, voting="soft", **options)


def by_column(*transformers: object) -> object:
    return make_column_transformer(*transformers, remainder="passthrough")


MODELS = {
    "tree": lambda: (DecisionTreeClassifier(max_depth=4, random_state=0), HOLES),
    "extra tree": lambda: (ExtraTreeClassifier(random_state=0), ROWS),
    "forest": lambda: (RandomForestClassifier(**SMALL), ROWS),
    "forest, missing": lambda: (RandomForestClassifier(**SMALL), HOLES),
    "forest, weights": lambda: (RandomForestClassifier(class_weight="balanced_subsample", **SMALL), ROWS),
    "extra trees": lambda: (ExtraTreesClassifier(bootstrap=True, **SMALL), ROWS),
    "boosted": lambda: (GradientBoostingClassifier(**SMALL), ROWS),
    "boosted, sampled": lambda: (GradientBoostingClassifier(subsample=0.5, **SMALL), ROWS),
    "boosted, exponential": lambda: (GradientBoostingClassifier(loss="exponential", **SMALL), ROWS),
    "boosted, from zero": lambda: (GradientBoostingClassifier(init="zero", **SMALL), ROWS),
    "boosted, stopped": lambda: (
        GradientBoostingClassifier(n_estimators=60, n_iter_no_change=1, random_state=0),
        ROWS,
    ),
    "histograms": lambda: (HistGradientBoostingClassifier(**HIST), ROWS),
    "histograms, missing": lambda: (HistGradientBoostingClassifier(**HIST), HOLES),
    "histograms, categories": lambda: (HistGradientBoostingClassifier(**HIST), WITH_SHOP),
    "histograms, no split": lambda: (HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=200), ROWS),
    "lightgbm": lambda: (lightgbm.LGBMClassifier(**LGBM), HOLES.rename(columns={HOLES.columns[1]: "risk"})),
    "lightgbm, categories": lambda: (
        lightgbm.LGBMClassifier(sigmoid=2.0, **LGBM),
        WITH_SHOP.rename(columns={HOLES.columns[1]: "risk"}),
    ),
    "xgboost": lambda: (
        xgboost.XGBClassifier(n_estimators=5, n_jobs=1),
        HOLES.rename(columns={HOLES.columns[1]: "risk"}),
    ),
    "regression": lambda: (LogisticRegression(max_iter=1000), ROWS),
    "discriminant": lambda: (LinearDiscriminantAnalysis(), ROWS.iloc[:, :3]),
    "descent": lambda: (
        make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss", random_state=0)),
        ROWS,
    ),
    "scaled forest": lambda: (make_pipeline(StandardScaler(), RandomForestClassifier(**SMALL)), ROWS),
    "filled in": lambda: (
        make_pipeline(SimpleImputer(add_indicator=True), MinMaxScaler(), "passthrough", LogisticRegression()),
        HOLES,
    ),
    "levels": lambda: (
        make_pipeline(by_column((OneHotEncoder(), ["shop"])), LogisticRegression(max_iter=3000)),
        WITH_SHOP,
    ),
    "levels, sparse": lambda: (
        make_pipeline(OneHotEncoder(handle_unknown="ignore"), RandomForestClassifier(**SMALL)),
        WITH_SHOP[["shop", "hour"]],
    ),
    "ordinals": lambda: (
        make_pipeline(by_column((OrdinalEncoder(), ["shop"])), GradientBoostingClassifier(**SMALL)),
        WITH_SHOP,
    ),
    "targets": lambda: (
        make_pipeline(by_column((TargetEncoder(), ["shop"])), ExtraTreesClassifier(**SMALL)),
        WITH_SHOP,
    ),
    "bins": lambda: (
        make_pipeline(
            KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf"),
            SelectKBest(k=4),
            LogisticRegression(),
        ),
        ROWS.iloc[:, :3],
    ),
    "union": lambda: (
        make_pipeline(
            make_union(QuantileTransformer(n_quantiles=20), FunctionTransformer()),
            HistGradientBoostingClassifier(**HIST),
        ),
        ROWS,
    ),
    "frozen": lambda: (FrozenEstimator(RandomForestClassifier(**SMALL).fit(ROWS, LABELS)), ROWS),
    "vote of forests": lambda: (
        vote(RandomForestClassifier(**SMALL), ExtraTreesClassifier(**SMALL), weights=[3, 1]),
        ROWS,
    ),
    "vote of boosted": lambda: (
        vote(
            HistGradientBoostingClassifier(**HIST),
            make_pipeline(StandardScaler(), LogisticRegression()),
            GradientBoostingClassifier(**SMALL),
            "drop",
            weights=[1, 2, 1, 9],
        ),
        ROWS,
    ),
}


def log_odds(score: np.ndarray) -> np.ndarray:
    return np.log(score) - np.log1p(-score)


def require_additive(
    model: object, rows: object, why: Attributions, place: int = 1, digits: float = 1e-9
) -> None:
    "The parts add up to what is explained, and this is the model's own score."
    score = np.asarray(model.predict_proba(rows), dtype=float)[:, place]
    np.testing.assert_allclose(why.base + why.values.sum(axis=1), why.explained, rtol=0, atol=digits)
    own = score if why.scale == "probability" else log_odds(score)
    np.testing.assert_allclose(why.explained - why.gap, own, rtol=digits, atol=digits)


@pytest.mark.parametrize("name", quick_first(MODELS))
def test_contributions_of_every_kind_add_up_to_the_models_own_score(name, capfd):
    model, rows = MODELS[name]()
    model.fit(rows, LABELS)
    digits = 1e-4 if name == "xgboost" else 1e-9
    for place in (1, 0):
        why = explainer(model, of_class=place).explain(rows)
        require_additive(model, rows, why, place, digits)
    assert [name.replace("_", " ") for name in why.names] == rows.columns.to_list()
    if rows is ROWS and name != "regression":
        assert not why.values[:, 3].any(), "a column that is always the same explains nothing"
    assert capfd.readouterr() == ("", "")


CLASSES = {
    "tree": lambda: (DecisionTreeClassifier(max_depth=5, random_state=0), HOLES),
    "forest": lambda: (RandomForestClassifier(**SMALL), ROWS),
    "boosted": lambda: (GradientBoostingClassifier(**SMALL), ROWS),
    "histograms": lambda: (HistGradientBoostingClassifier(**HIST), WITH_SHOP),
    "lightgbm": lambda: (lightgbm.LGBMClassifier(**LGBM), ROWS.iloc[:, [0, 2]]),
    "xgboost": lambda: (xgboost.XGBClassifier(n_estimators=5, n_jobs=1), ROWS.iloc[:, [0, 2]]),
    "regression": lambda: (make_pipeline(StandardScaler(), LogisticRegression()), ROWS),
    "vote": lambda: (vote(RandomForestClassifier(**SMALL), DecisionTreeClassifier(max_depth=3)), ROWS),
}


@pytest.mark.parametrize("name", quick_first(CLASSES))
def test_each_of_three_classes_is_explained_alone(name):
    model, rows = CLASSES[name]()
    labels = [0, 1, 2] if name == "xgboost" else ["fine", "odd", "stolen"]
    model.fit(rows, np.array(labels)[KINDS])
    each = [explainer(model, of_class=label).explain(rows) for label in labels]
    digits = 1e-4 if name == "xgboost" else 1e-9
    for why in each:
        np.testing.assert_allclose(why.base + why.values.sum(axis=1), why.explained, rtol=0, atol=digits)
    said = np.column_stack([why.explained for why in each])
    if each[0].scale == "margin":
        said = np.exp(said) / np.exp(said).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(said, model.predict_proba(rows), rtol=0, atol=digits)
    with pytest.raises(ExplanationError, match="say `of_class=`"):
        explainer(model)


BASES = {
    "tree": (DecisionTreeClassifier(max_depth=6), HOLES),
    "forest": (RandomForestClassifier(bootstrap=False, max_features=2, **SMALL), ROWS),
    "boosted": (GradientBoostingClassifier(**SMALL), ROWS),
    "histograms": (HistGradientBoostingClassifier(**HIST), WITH_SHOP.assign(hour=HOLES.hour)),
    "regression": (make_pipeline(StandardScaler(), LogisticRegression()), ROWS),
}


@pytest.mark.parametrize("name", BASES)
def test_the_base_is_the_mean_over_the_training_rows(name):
    model, rows = BASES[name]
    why = explainer(model.fit(rows, LABELS)).explain(rows)
    np.testing.assert_allclose(why.base, why.explained.mean(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", quick_first(MODELS))
def test_equal_rows_get_equal_bytes_in_any_company_order_and_number_of_threads(name):
    model, rows = MODELS[name]()
    why, scores = explainer(model.fit(rows, LABELS)), model.predict_proba(rows)[:, 1]
    whole, order = why.explain(rows, scores), np.random.default_rng(1).permutation(N)
    turned = why.explain(rows.iloc[order], scores[order], n_threads=2)
    some = [why.explain(rows.iloc[n : n + 1], scores[n : n + 1]) for n in range(0, N, 60)]
    for part in ("values", "base", "explained"):
        assert getattr(turned, part).tobytes() == getattr(whole, part)[order].tobytes(), part
        alone = np.concatenate([getattr(one, part) for one in some])
        assert alone.tobytes() == getattr(whole, part)[::60].tobytes(), part


def test_money_between_two_floats_and_levels_never_seen_are_explained_as_they_are_scored():
    cents = pd.DataFrame({"amount": [0.1, 0.2, 0.3, 16777217.0, 16777216.0, 1e-40, 33.34, 0.07] * 10})
    forest = RandomForestClassifier(**SMALL).fit(cents, [0, 1, 0, 1, 0, 1, 1, 0] * 10)
    require_additive(forest, cents, explainer(forest).explain(cents))
    model, rows = MODELS["histograms, categories"]()
    unseen = rows.assign(shop=pd.Categorical(["new", None] * (N // 2)))
    require_additive(model.fit(rows, LABELS), unseen, explainer(model).explain(unseen))
    histograms, holes = HistGradientBoostingClassifier(**HIST).fit(HOLES, LABELS), HOLES.copy()
    holes.iloc[::3, 0], holes.iloc[1::3, 0] = np.inf, -np.inf
    require_additive(histograms, holes, explainer(histograms).explain(holes))


def test_rows_come_as_a_frame_an_array_or_a_list():
    model = make_pipeline(StandardScaler(), RandomForestClassifier(**SMALL)).fit(ROWS, LABELS)
    wanted = explainer(model).explain(ROWS).values
    extra = ROWS.assign(more="text")[["more", *reversed(ROWS.columns)]]
    for rows in (extra, ROWS.to_numpy(), ROWS.to_numpy().tolist()):
        assert explainer(model).explain(rows).values.tobytes() == wanted.tobytes()
    nameless = RandomForestClassifier(**SMALL).fit(ROWS.to_numpy(), LABELS)
    assert explainer(nameless).explain(ROWS).names == ("x0", "x1", "x2", "x3")


def test_transformers_that_work_in_place_change_no_rows():
    rows = ROWS.to_numpy(dtype=float)
    model = make_pipeline(StandardScaler(copy=False), RandomForestClassifier(**SMALL))
    why = explainer(model.fit(rows.copy(), LABELS)).explain(rows)
    assert rows.tobytes() == ROWS.to_numpy(dtype=float).tobytes()
    require_additive(model, rows.copy(), why)


@pytest.mark.slow
def test_rows_come_as_a_frame_of_polars():
    polars = pytest.importorskip("polars")
    model = RandomForestClassifier(**SMALL).fit(ROWS, LABELS)
    why = explainer(model)
    assert why.explain(polars.from_pandas(ROWS)).values.tobytes() == why.explain(ROWS).values.tobytes()


def test_a_linear_model_is_explained_against_a_background():
    model = LogisticRegression(max_iter=2000).fit(ROWS, LABELS)
    why = explainer(model, background=ROWS[:50]).explain(ROWS)
    require_additive(model, ROWS, why)
    slopes = model.coef_[0] * (ROWS - ROWS[:50].mean()).to_numpy()
    np.testing.assert_allclose(why.values, slopes, rtol=0, atol=1e-9)


def test_threads_explain_alike_and_a_fork_meanwhile_explains_too():
    model, rows = MODELS["vote of boosted"]()
    why, scores = explainer(model.fit(rows, LABELS)), model.predict_proba(rows)[:, 1]
    wanted = why.explain(rows, scores).values
    with ThreadPoolExecutor(4) as pool:
        found = [pool.submit(why.explain, rows, scores) for _ in range(12)]
        child = os.fork()
        if child == 0:
            own = why.explain(rows[:1], scores[:1]).values
            os._exit(int(own.tobytes() != wanted[:1].tobytes()))
        assert {one.result().values.tobytes() for one in found} == {wanted.tobytes()}
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def steps_behind(model: object, rows: pd.DataFrame) -> tuple[object, object]:
    return model[1:], model[:1].transform(rows)


def without_holes(model: object, rows: pd.DataFrame) -> tuple[object, object]:
    return make_pipeline(SimpleImputer(), RandomForestClassifier(**SMALL)).fit(rows, LABELS), rows


NO_FOREST = "train a forest, boosted trees or a linear model, alone, in a pipeline or in a soft vote"
REFUSED = {
    "neighbours": (KNeighborsClassifier(), ROWS, NO_FOREST, without_holes),
    "a number for each tree": (AdaBoostClassifier(**SMALL), ROWS, NO_FOREST, without_holes),
    "no model at all": (DummyClassifier(), ROWS, NO_FOREST, without_holes),
    "calibrated": (
        CalibratedClassifierCV(RandomForestClassifier(**SMALL), cv=2),
        ROWS,
        "explain what it calibrated, such as `model.calibrated_classifiers_[0].estimator`",
        lambda model, rows: (model.calibrated_classifiers_[0].estimator, rows),
    ),
    "components": (
        make_pipeline(PCA(2), LogisticRegression()),
        ROWS,
        "explain the steps behind it, such as `model[1:]`",
        steps_behind,
    ),
    "products": (
        make_pipeline(PolynomialFeatures(), RandomForestClassifier(**SMALL)),
        ROWS,
        "`model[1:]`",
        steps_behind,
    ),
    "a function": (
        make_pipeline(FunctionTransformer(np.cbrt), RandomForestClassifier(**SMALL)),
        ROWS,
        "`model[1:]`",
        steps_behind,
    ),
    "two scales": (
        vote(RandomForestClassifier(**SMALL), HistGradientBoostingClassifier(**HIST)),
        ROWS,
        "explain the members one by one, such as `model.estimators_[0]`",
        lambda model, rows: (model.estimators_[0], rows),
    ),
    "a start of its own": (
        GradientBoostingClassifier(init=LogisticRegression(), **SMALL),
        ROWS,
        "`init=None`",
        lambda model, rows: (model.set_params(init=None).fit(rows, LABELS), rows),
    ),
    "another loss": (
        SGDClassifier(loss="modified_huber", random_state=0),
        ROWS,
        'loss="log_loss"',
        lambda model, rows: (
            make_pipeline(StandardScaler(), model.set_params(loss="log_loss")).fit(rows, LABELS),
            rows,
        ),
    ),
    "linear trees": (
        lightgbm.LGBMClassifier(linear_tree=True, **LGBM),
        ROWS.iloc[:, [0, 2]],
        "`linear_tree=False`",
        lambda model, rows: (model.set_params(linear_tree=False).fit(rows, LABELS), rows),
    ),
    "a loss of squares": (
        xgboost.XGBClassifier(n_estimators=3, n_jobs=1, objective="binary:hinge"),
        ROWS.iloc[:, [0, 2]],
        'objective="binary:logistic"',
        lambda model, rows: (model.set_params(objective="binary:logistic").fit(rows, LABELS), rows),
    ),
}


@pytest.mark.parametrize("name", quick_first(REFUSED))
def test_what_is_not_explained_says_what_can_be_done_and_that_works(name, capfd):
    model, rows, mend, followed = REFUSED[name]
    model.fit(rows, LABELS)
    with pytest.raises(ExplanationError) as refused:
        explainer(model)
    assert mend in refused.value.mend
    mended, given = followed(model, rows)
    why = explainer(mended).explain(given)
    np.testing.assert_allclose(why.base + why.values.sum(axis=1), why.explained, rtol=0, atol=1e-4)
    assert capfd.readouterr() == ("", "")


def test_rows_and_scores_of_another_model_are_refused():
    model = make_pipeline(RandomForestClassifier(**SMALL)).fit(ROWS, LABELS)
    why, own = explainer(model), model.predict_proba(ROWS)[:, 1]
    assert why.explain(ROWS, own).values.shape == (N, 4)
    for scores in (own + 1e-6, own[:-1], 0.5, own[::-1], np.full(N, np.nan)):
        with pytest.raises(ExplanationError, match="give the scores that this model gave") as refused:
            why.explain(ROWS, scores)
        assert "leave `scores` out" in refused.value.mend
    for rows in (ROWS[:0], ROWS.iloc[0].to_numpy(), ROWS.to_numpy()[:, :2], ROWS.drop(columns="hour")):
        with pytest.raises((ExplanationError, InputError), match=r"give|pass a list|compute them"):
            why.explain(rows)
    boosted = GradientBoostingClassifier(**SMALL).fit(ROWS, LABELS)
    with pytest.raises(ExplanationError, match="missing value"):
        explainer(boosted).explain(HOLES, scores=np.zeros(N))
    with pytest.raises(ExplanationError, match="no class 7"):
        explainer(boosted, of_class=7)


def random_model(draw: np.random.Generator, n_classes: int) -> object:
    "An estimator of any explained kind, its parameters drawn."
    seed, n = int(draw.integers(1000)), int(draw.integers(1, 12))
    depth = draw.choice(np.array([None, 1, 3, 8], dtype=object))
    grown = {"n_estimators": n, "max_depth": depth, "random_state": seed}
    weight = draw.choice(np.array([None, "balanced"], dtype=object))
    kinds = [
        DecisionTreeClassifier(max_depth=depth, class_weight=weight, random_state=seed),
        RandomForestClassifier(class_weight=weight, bootstrap=bool(seed % 2), **grown),
        ExtraTreesClassifier(class_weight=weight, bootstrap=bool(seed % 2), **grown),
        GradientBoostingClassifier(subsample=draw.choice([0.5, 1.0]), **grown | {"max_depth": depth or 4}),
        HistGradientBoostingClassifier(
            max_iter=n, max_depth=depth, min_samples_leaf=3, class_weight=weight, random_state=seed
        ),
        lightgbm.LGBMClassifier(**LGBM | {"n_estimators": n}, class_weight=weight, random_state=seed),
        xgboost.XGBClassifier(n_estimators=n, n_jobs=1, max_depth=int(depth or 6)),
        make_pipeline(StandardScaler(), LogisticRegression(C=10 ** draw.normal(), class_weight=weight)),
    ]
    if n_classes == 2 and draw.random() < 0.3:
        kind = SAME_SCALE[int(draw.integers(len(SAME_SCALE)))]
        return vote(*(kinds[k] for k in kind), weights=draw.uniform(0.1, 3, size=len(kind)).tolist())
    chosen_one = kinds[int(draw.integers(len(kinds)))]
    scaled = make_pipeline(
        draw.choice(np.array([StandardScaler(), MinMaxScaler()], dtype=object)), chosen_one
    )
    return scaled if draw.random() < 0.3 else chosen_one


SAME_SCALE = [(0, 1), (1, 2), (0, 1, 2), (3, 4), (4, 7), (3, 4, 7), (4, 5)]


def takes_holes(model: object) -> bool:
    "Whether all of a model's members know missing values."
    names = ("GradientBoostingClassifier(", "LogisticRegression", "ExtraTrees")
    return not any(name in repr(model).replace("HistGradientBoosting", "") for name in names)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(200))
def test_battery_of_random_estimators_on_money_holes_and_several_classes(seed):
    draw = np.random.default_rng(seed)
    n, n_classes = int(draw.integers(30, 400)), int(draw.choice([2, 2, 3, 4]))
    values = np.column_stack([draw.exponential(80, n).round(2), draw.normal(size=n), draw.integers(0, 6, n)])
    rows = pd.DataFrame(values, columns=["amount", "risk", "shop"]).astype(
        draw.choice(["float32", "float64"])
    )
    labels = (draw.random(n) * n_classes + (rows.amount > 100) * 0.7).astype(int).clip(0, n_classes - 1)
    labels[:n_classes] = range(n_classes)
    model = random_model(draw, n_classes)
    if takes_holes(model):
        rows = rows.astype("float64").mask(draw.random(rows.shape) < draw.choice([0, 0.2]))
    model.fit(rows, labels)
    is_rough = "XGB" in repr(model) or ("Logistic" in repr(model) and rows.dtypes.iloc[0] == "float32")
    digits = 1e-4 if is_rough else 1e-9
    for label in range(n_classes):
        why = explainer(model, of_class=label).explain(rows)
        np.testing.assert_allclose(why.base + why.values.sum(axis=1), why.explained, rtol=digits, atol=digits)
        score = np.asarray(model.predict_proba(rows), dtype=float)[:, label]
        if why.scale == "probability":
            np.testing.assert_allclose(why.explained, score, rtol=0, atol=1e-9)
        elif why.scale == "log-odds":
            given = 1 / (1 + np.exp(-(why.explained - why.gap)))
            np.testing.assert_allclose(given, score, rtol=0, atol=1e-5 if digits > 1e-9 else 1e-9)


def expected_by_arrays(nodes: dict, at: int, row: np.ndarray, known: frozenset[int]) -> float:
    "What one of scikit-learn's trees says where only some inputs are known, by its own arrays."
    left, right = int(nodes["left"][at]), int(nodes["right"][at])
    if nodes["is_leaf"][at]:
        return float(nodes["value"][at])
    split = int(nodes["input"][at])
    if split not in known:
        shares = [nodes["n"][child] / nodes["n"][at] for child in (left, right)]
        said = [expected_by_arrays(nodes, child, row, known) for child in (left, right)]
        return shares[0] * said[0] + shares[1] * said[1]
    value = row[split]
    goes_left = nodes["missing_left"][at] if np.isnan(value) else nodes["goes_left"](at, value)
    return expected_by_arrays(nodes, left if goes_left else right, row, known)


def arrays_of_tree(tree: object) -> dict:
    "Of a tree of a forest, which compares 32 bits."
    return {
        "left": tree.children_left,
        "right": tree.children_right,
        "is_leaf": tree.children_left < 0,
        "input": tree.feature,
        "n": tree.n_node_samples,
        "value": tree.value[:, 0, 1],
        "missing_left": tree.missing_go_to_left,
        "goes_left": lambda at, value: float(np.float32(value)) <= tree.threshold[at],
    }


def arrays_of_histogram(predictor: object) -> dict:
    "Of a tree of histogram boosting whose categories are bits."
    nodes, bits = predictor.nodes, predictor.raw_left_cat_bitsets

    def goes_left(at: int, value: float) -> bool:
        if not nodes["is_categorical"][at]:
            return value <= nodes["num_threshold"][at]
        words = bits[nodes["bitset_idx"][at]]
        return bool(int(words[int(value) // 32]) >> (int(value) % 32) & 1)

    names = {"left": "left", "right": "right", "is_leaf": "is_leaf", "input": "feature_idx", "n": "count"}
    found = {name: nodes[own] for name, own in names.items()}
    return found | {
        "value": nodes["value"],
        "missing_left": nodes["missing_go_to_left"],
        "goes_left": goes_left,
    }


def require_by_definition(
    trees: list[dict], weight: float, start: float, seen: np.ndarray, why: Attributions
) -> None:
    "Contributions to rows, and these as the trees see them, their columns in the order of the contributions."
    for row, values, base in zip(seen, why.values, why.base, strict=True):

        def value(known: frozenset[int], row: np.ndarray = row) -> float:
            return start + weight * sum(expected_by_arrays(tree, 0, row, known) for tree in trees)

        np.testing.assert_allclose(values, shapley(value, seen.shape[1]), rtol=0, atol=1e-12)
        np.testing.assert_allclose(base, value(frozenset()), rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 40))])
def test_contributions_equal_those_by_definition_from_scikit_learns_own_arrays(seed):
    draw = np.random.default_rng(seed)
    money = np.round(draw.exponential(20, size=(120, 3)), 2)
    money[draw.random(money.shape) < 0.15] = np.nan
    labels = draw.integers(0, 2, 120)
    forest = RandomForestClassifier(3, max_depth=4, random_state=seed).fit(money, labels)
    by_arrays = [arrays_of_tree(one.tree_) for one in forest.estimators_]
    require_by_definition(by_arrays, 1 / 3, 0.0, money[:6], explainer(forest).explain(money[:6]))
    shops = np.column_stack([money[:, :2], draw.integers(0, 40, 120) % 7])
    shops[draw.random(120) < 0.2, 2] = np.nan
    options = {"max_iter": 3, "max_leaf_nodes": 6, "min_samples_leaf": 4}
    boosted = HistGradientBoostingClassifier(**options, categorical_features=[2]).fit(shops, labels)
    boosted_by_arrays = [arrays_of_histogram(one[0]) for one in boosted._predictors]
    why = explainer(boosted).explain(shops[:6])
    category_first = why._replace(values=why.values[:, [2, 0, 1]])
    start, seen = float(boosted._baseline_prediction[0, 0]), boosted._preprocess_X(shops[:6], reset=False)
    require_by_definition(boosted_by_arrays, 1.0, start, seen, category_first)


def test_what_is_no_mean_and_no_sum_is_refused_and_the_mend_works():
    rows = np.random.default_rng(0).normal(size=(80, 2))
    labels = (rows[:, 0] > 0).astype(int)
    members = [(name, HistGradientBoostingClassifier(max_iter=2)) for name in ("one", "two")]
    vote = VotingClassifier(members, voting="soft", weights=[-1, 3]).fit(rows, labels)
    averaged = {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.7}
    boosted = lightgbm.LGBMClassifier(n_estimators=2, verbose=-1, n_jobs=1, **averaged).fit(rows, labels)
    for model, mended in ((vote, {"weights": [0, 3]}), (boosted, {"boosting_type": "gbdt"})):
        with pytest.raises(ExplanationError, match=r"is no mean|means of trees"):
            explainer(model)
        again = model.set_params(**mended).fit(rows, labels)
        assert np.isfinite(explainer(again).explain(rows[:3]).gap).all()


def test_a_fork_scores_and_explains_though_its_parent_used_all_threads():
    rows = np.random.default_rng(0).normal(size=(80, 2))
    model = HistGradientBoostingClassifier(max_iter=2).fit(rows, rows[:, 0] > 0)
    found, why, expected = scorer(model, rows), explainer(model), model.predict_proba(rows)[:, 1]
    child = os.fork()
    if not child:
        signal.alarm(20)
        os._exit(not (len(why.explain(rows).base) == 80 and np.array_equal(found.score(rows), expected)))
    assert os.waitpid(child, 0)[1] == 0
