"""Models of XGBoost and LightGBM come back from their own text, alone and inside of estimators; a text that
lies is refused before it is read."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlnb.store.artifacts import get_value, put_value
from mlnb.store.boosted_models import lightgbm_bytes, xgboost_bytes
from mlnb.store.codecs import decode, encode
from mlnb.store.errors import IntegrityError, ValueRefusedError
from mlnb.store.objects import open_store
from mlnb.store.value_limits import ValueLimits

lightgbm = pytest.importorskip("lightgbm")
xgboost = pytest.importorskip("xgboost")

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 3))
X[::9, 1] = np.nan
y = (X[:, 0] > 0).astype(int)
FRAME = pd.DataFrame(X, columns=["amount", "risk", "hour"]).assign(kind=pd.Categorical(list("abc") * 20))
GROUPS = np.repeat([20, 20, 20], 1)
XGB = {"n_estimators": 3, "n_jobs": 1, "max_depth": 3, "random_state": 0}
LGBM = {"n_estimators": 3, "n_jobs": 1, "min_child_samples": 3, "verbose": -1, "random_state": 0}
MODELS = {
    "xgboost classifier": lambda: xgboost.XGBClassifier(**XGB).fit(X, y),
    "xgboost three classes": lambda: xgboost.XGBClassifier(**XGB).fit(X, np.arange(60) % 3),
    "xgboost regressor": lambda: xgboost.XGBRegressor(**XGB).fit(X, X[:, 0]),
    "xgboost two targets": lambda: xgboost.XGBRegressor(**XGB).fit(X, X[:, [0, 2]]),
    "xgboost leaves of two": lambda: xgboost.XGBRegressor(**XGB, multi_strategy="multi_output_tree").fit(
        X, X[:, [0, 2]]
    ),
    "xgboost forest": lambda: xgboost.XGBRFClassifier(**XGB).fit(X, y),
    "xgboost forest regressor": lambda: xgboost.XGBRFRegressor(**XGB).fit(X, X[:, 0]),
    "xgboost ranker": lambda: xgboost.XGBRanker(**XGB).fit(X, y, group=GROUPS),
    "xgboost dart": lambda: xgboost.XGBRegressor(**XGB, booster="dart").fit(X, X[:, 0]),
    "xgboost linear": lambda: xgboost.XGBRegressor(n_estimators=3, n_jobs=1, booster="gblinear").fit(
        np.nan_to_num(X), X[:, 0]
    ),
    "xgboost stopping": lambda: xgboost.XGBClassifier(
        **XGB | {"n_estimators": 30}, early_stopping_rounds=1
    ).fit(X, y, eval_set=[(X, 1 - y)], verbose=False),
    "xgboost categories": lambda: xgboost.XGBClassifier(**XGB, enable_categorical=True).fit(FRAME, y),
    "xgboost sparse": lambda: xgboost.XGBClassifier(**XGB).fit(sparse.csr_matrix(np.nan_to_num(X)), y),
    "lightgbm classifier": lambda: lightgbm.LGBMClassifier(**LGBM).fit(X, np.where(y, "yes", "no")),
    "lightgbm three classes": lambda: lightgbm.LGBMClassifier(**LGBM).fit(X, np.arange(60) % 3),
    "lightgbm regressor": lambda: lightgbm.LGBMRegressor(**LGBM).fit(X, X[:, 0]),
    "lightgbm ranker": lambda: lightgbm.LGBMRanker(**LGBM).fit(X, y, group=GROUPS),
    "lightgbm stopping": lambda: lightgbm.LGBMClassifier(**LGBM | {"n_estimators": 30}).fit(
        X, y, eval_X=X, eval_y=1 - y, callbacks=[lightgbm.early_stopping(1, verbose=False)]
    ),
    "lightgbm categories": lambda: lightgbm.LGBMClassifier(**LGBM).fit(FRAME, y),
    "lightgbm linear": lambda: lightgbm.LGBMRegressor(**LGBM, linear_tree=True).fit(X, X[:, 0]),
    "lightgbm random forest": lambda: lightgbm.LGBMClassifier(
        **LGBM, boosting_type="rf", subsample=0.5, subsample_freq=1
    ).fit(X, y),
    "lightgbm one leaf": lambda: lightgbm.LGBMRegressor(**LGBM).fit(X, np.ones(60)),
    "lightgbm sparse": lambda: lightgbm.LGBMClassifier(**LGBM).fit(sparse.csr_matrix(np.nan_to_num(X)), y),
    "unfitted": lambda: make_pipeline(xgboost.XGBClassifier(), lightgbm.LGBMRegressor()),
    "in a pipeline": lambda: make_pipeline(StandardScaler(), lightgbm.LGBMClassifier(**LGBM)).fit(X, y),
    "over columns": lambda: make_pipeline(
        ColumnTransformer([("n", StandardScaler(), ["amount"])]), xgboost.XGBClassifier(**XGB)
    ).fit(FRAME, y),
    "in a search": lambda: GridSearchCV(xgboost.XGBClassifier(**XGB), {"max_depth": [1, 2]}, cv=2).fit(X, y),
}


QUICK = {
    "xgboost categories",
    "xgboost regressor",
    "lightgbm regressor",
    "lightgbm stopping",
    "in a pipeline",
}


def _params(names):
    "Names for a test, those that are not quick among the slow ones."
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in names]


BOOSTERS = [name for name in MODELS if name.startswith(("xgboost", "lightgbm"))]


def _asked(name):
    if "categories" in name or "columns" in name:
        return FRAME
    return sparse.csr_matrix(np.nan_to_num(X)) if "sparse" in name else np.nan_to_num(X)


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize("name", _params(MODELS))
def test_estimator_comes_back_with_equal_predictions_and_equal_fits_are_equal_bytes(name):
    model = MODELS[name]()
    stored = encode(model)
    assert stored.codec == "estimator" and encode(MODELS[name]()).data == stored.data
    back = decode("estimator", stored.data)
    assert encode(back).data == stored.data
    for method in ("predict", "predict_proba", "apply"):
        if name != "unfitted" and hasattr(model, method) and not (method == "apply" and "linear" in name):
            given = _asked(name)
            np.testing.assert_array_equal(getattr(back, method)(given), getattr(model, method)(given))
    for attribute in ("best_iteration", "best_iteration_", "best_score_", "feature_names_in_"):
        if name.endswith(("stopping", "categories")) and hasattr(model, attribute):
            np.testing.assert_array_equal(getattr(back, attribute), getattr(model, attribute))


def _booster(name):
    model = MODELS[name]()
    return model.get_booster() if name.startswith("x") else model.booster_


@pytest.mark.parametrize("name", _params(BOOSTERS))
def test_booster_is_a_file_of_its_own_library(name, tmp_path):
    booster = _booster(name)
    stored = encode(booster)
    package = name.split()[0]
    assert (stored.codec, stored.suffix) == (package, ".json" if package == "xgboost" else ".txt")
    back = decode(stored.codec, stored.data)
    assert type(back) is type(booster) and encode(back).data == stored.data
    path = tmp_path / f"model{stored.suffix}"
    path.write_bytes(stored.data)
    other = (xgboost if package == "xgboost" else lightgbm).Booster(model_file=str(path))
    if package == "xgboost":
        given = xgboost.DMatrix(_asked(name), enable_categorical=True)
        np.testing.assert_array_equal(back.predict(given), booster.predict(given))
        np.testing.assert_array_equal(other.predict(given), booster.predict(given))
        return
    np.testing.assert_array_equal(back.predict(_asked(name)), booster.predict(_asked(name)))
    assert (back.num_trees(), back.best_score) == (booster.num_trees(), booster.best_score)
    assert max(back.best_iteration, 0) == max(booster.best_iteration, 0)
    assert other.num_trees() == booster.num_trees()


def test_booster_goes_through_a_store(tmp_path):
    store = open_store(tmp_path / "store")
    for booster in (MODELS["xgboost regressor"]().get_booster(), MODELS["lightgbm regressor"]().booster_):
        kept = put_value(store, booster)
        assert type(get_value(store, kept, tmp_path / "files")) is type(booster)


def test_function_of_ones_own_is_refused_with_its_place():
    def objective(labels, scores):
        return scores - labels, np.ones_like(labels)

    model = xgboost.XGBRegressor(**XGB, objective=objective)
    with pytest.raises(
        ValueRefusedError, match=r"objective`, which is not on the list.*at `model\.objective`"
    ):
        encode(model)


FIT = """
import hashlib, sys
sys.path.insert(0, {tests!r})
from test_store_boosted_models import MODELS, encode
print([hashlib.sha256(encode(MODELS[name]()).data).hexdigest() for name in MODELS])
"""


@pytest.mark.slow
def test_equal_fits_in_two_processes_are_equal_bytes():
    found = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", FIT.format(tests=os.path.dirname(__file__))],
            env={**os.environ, "PYTHONHASHSEED": seed, "MALLOC_PERTURB_": seed, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "77")
    ]
    assert found[0] == found[1] and found[0].count("'") == 2 * len(MODELS)


# what lies


def _forged(package, change):
    if package == "xgboost":
        document = json.loads(xgboost_bytes(MODELS["xgboost categories"]().get_booster()))
        change(document["learner"], document["learner"]["gradient_booster"]["model"])
        return json.dumps(document).encode()
    return change(lightgbm_bytes(MODELS["lightgbm regressor"]().booster_).decode()).encode()


def _in_tree(name, place, value):
    def change(learner, model):
        model["trees"][0][name][place] = value

    return change


def _in_block(name, word, value):
    def change(text):
        head, _, rest = text.partition(f"\n{name}=")
        line, _, rest = rest.partition("\n")
        words = line.split(" ")
        grown = len(value) - len(words[word])
        words[word] = value
        size = head.partition("tree_sizes=")[2].partition(" ")[0]
        head = head.replace(f"tree_sizes={size}", f"tree_sizes={int(size) + grown}", 1)
        return f"{head}\n{name}={' '.join(words)}\n{rest}"

    return change


LIES = {
    "child outside": ("xgboost", _in_tree("left_children", 0, 10**6)),
    "child of itself": ("xgboost", _in_tree("left_children", 0, 0)),
    "one child": ("xgboost", _in_tree("left_children", 0, -1)),
    "feature": ("xgboost", _in_tree("split_indices", 0, 99)),
    "fewer nodes": ("xgboost", lambda learner, model: model["trees"][0]["split_conditions"].pop()),
    "many nodes": (
        "xgboost",
        lambda learner, model: model["trees"][0]["tree_param"].update(num_nodes="9999999"),
    ),
    "fewer trees": ("xgboost", lambda learner, model: model["trees"].pop()),
    "class": ("xgboost", lambda learner, model: model["tree_info"].__setitem__(0, 7)),
    "classes": (
        "xgboost",
        lambda learner, model: learner["learner_model_param"].update(num_class="999999999"),
    ),
    "rounds": ("xgboost", lambda learner, model: model["iteration_indptr"].__setitem__(-1, 10**6)),
    "no trees": ("xgboost", lambda learner, model: model.pop("trees")),
    "left outside": ("lightgbm", _in_block("left_child", 0, "999999")),
    "leaf outside": ("lightgbm", _in_block("right_child", 0, "-999999")),
    "left to the root": ("lightgbm", _in_block("left_child", 0, "0")),
    "feature of a line": ("lightgbm", _in_block("split_feature", 0, "77")),
    "leaves": ("lightgbm", _in_block("num_leaves", 0, "99999999")),
    "categories": ("lightgbm", _in_block("num_cat", 0, "1")),
    "kind": ("lightgbm", _in_block("decision_type", 0, "1")),
    "value": ("lightgbm", _in_block("leaf_value", 0, "")),
    "size": ("lightgbm", lambda text: text.replace("tree_sizes=", "tree_sizes=9")),
    "width": (
        "lightgbm",
        lambda text: text.replace("num_tree_per_iteration=1", "num_tree_per_iteration=99999999"),
    ),
    "many classes": ("lightgbm", lambda text: text.replace("num_class=1\n", "num_class=99999999\n", 1)),
    "cut": ("lightgbm", lambda text: text[: len(text) // 3]),
    "nothing": ("lightgbm", lambda text: ""),
}


@pytest.mark.parametrize("name", LIES)
def test_text_that_lies_is_refused_before_it_is_read(name):
    package, change = LIES[name]
    with pytest.raises(IntegrityError, match=f"no readable model of {package}") as refused:
        decode(package, _forged(package, change))
    assert refused.value.mend


SPOIL = """
import pathlib, random, sys
import numpy as np
from mlnb.store.boosted_models import lightgbm_from, xgboost_from
from mlnb.store.errors import IntegrityError
package, data = sys.argv[1], pathlib.Path(sys.argv[2]).read_bytes()
import pandas as pd
import xgboost
FRAME = pd.DataFrame(np.ones((30, 3)), columns=["amount", "risk", "hour"])
FRAME["kind"] = pd.Categorical(list("abc") * 10)
chooser, read = random.Random(int(sys.argv[3])), 0
digits = [at for at, byte in enumerate(data) if chr(byte).isdigit()]
for _ in range(int(sys.argv[4])):
    spoilt = bytearray(data)
    for at in chooser.sample(digits, chooser.choice([1, 1, 2, 5])):
        spoilt[at] = chooser.choice(b"0123456789-")
    try:
        model = (xgboost_from if package == "xgboost" else lightgbm_from)(bytes(spoilt))
        width = model.num_features() if package == "xgboost" else model.num_feature()
        X = np.abs(np.random.default_rng(0).normal(size=(20, width)))
        model.predict(xgboost.DMatrix(X) if package == "xgboost" else X, validate_features=False)
        if width == 4 and package == "xgboost":
            model.predict(xgboost.DMatrix(FRAME, enable_categorical=True))
        read += 1
    except (IntegrityError, ValueError, RuntimeError, TypeError):
        pass
print(read)
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "name",
    [
        "xgboost three classes",
        "xgboost dart",
        "xgboost leaves of two",
        "xgboost categories",
        "lightgbm three classes",
        "lightgbm linear",
        "lightgbm categories",
    ],
)
def test_spoilt_text_never_kills_the_process(name, seed, tmp_path):
    package = name.split()[0]
    (tmp_path / "model").write_bytes(encode(_booster(name)).data)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SPOIL, package, tmp_path / "model", str(seed), "150"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_text_that_would_grow_is_refused_with_the_line_that_admits_it():
    data = encode(MODELS["xgboost regressor"]().get_booster()).data
    with pytest.raises(IntegrityError, match="limits") as refused:
        decode("xgboost", data, limits=ValueLimits(memory=1 << 10))
    assert "memory" in refused.value.mend
    assert decode("xgboost", data, limits=ValueLimits(memory=1 << 20))


MISSING = """
import pathlib, sys
sys.modules[sys.argv[1]] = None
from mlnb.store.codecs import decode
from mlnb.store.errors import IntegrityError
for codec, path in ((sys.argv[1], sys.argv[2]), ("estimator", sys.argv[3])):
    try:
        decode(codec, pathlib.Path(path).read_bytes())
    except IntegrityError as error:
        print(error.mend)
"""


@pytest.mark.slow
@pytest.mark.parametrize("package", ["xgboost", "lightgbm"])
def test_model_of_a_package_that_is_not_installed_says_what_to_install(package, tmp_path):
    for codec, name in ((package, f"{package} regressor"), ("estimator", f"{package} regressor")):
        value = MODELS[name]() if codec == "estimator" else _booster(name)
        (tmp_path / codec).write_bytes(encode(value).data)
    given = [package, tmp_path / package, tmp_path / "estimator"]
    done = subprocess.run([sys.executable, "-c", MISSING, *given], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == f"install `mlnb[{package}]`"
    assert done.stdout.splitlines()[1].startswith(f"install `{package}")


def test_results_of_statsmodels_are_refused_and_the_mend_works():
    linear = pytest.importorskip("statsmodels.regression.linear_model")
    model = linear.OLS(FRAME.amount, FRAME[["hour"]])
    for value in (model.fit(), model.fit()._results):
        with pytest.raises(ValueRefusedError) as refused:
            encode(value)
        assert "`results.params` and `results.summary().as_text()`" in refused.value.mend
    results = model.fit()
    pd.testing.assert_series_equal(decode("series", encode(results.params).data), results.params)
    assert decode("text", encode(results.summary().as_text()).data).startswith(" ")
    with pytest.raises(ValueRefusedError, match="cannot be saved") as refused:
        encode(model)
    assert "save its data" in refused.value.mend


def test_class_that_comes_from_a_booster_is_refused_and_the_mend_works():
    class Own(xgboost.Booster):
        "A class of the project that would be lost."

    own = Own(model_file=bytearray(xgboost_bytes(_booster("xgboost regressor"))))
    with pytest.raises(ValueRefusedError, match="would come back as a plain `Booster`") as refused:
        encode(own)
    assert refused.value.mend == "save it as a plain `Booster`"
    assert encode(xgboost.Booster(model_file=bytearray(xgboost_bytes(own)))).codec == "xgboost"
    model = MODELS["xgboost regressor"]()
    model._Booster = own
    with pytest.raises(ValueRefusedError, match=r"at `model\._Booster`"):
        encode(model)
