"""Model files are canonical, faithful, and built from listed types only."""

import io
import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    StackingClassifier,
)
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    OneHotEncoder,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

from mlnb.store.codecs import decode, encode
from mlnb.store.errors import IntegrityError, ValueRefusedError
from mlnb.store.model_files import canonical_model, dump_model, load_model, trusted_names


@pytest.fixture(autouse=True)
def _one_thread():
    "Boosted trees in two processes on few cores are many times slower than one."
    with threadpool_limits(1):
        yield


rng = np.random.default_rng(0)
X = pd.DataFrame(rng.normal(size=(200, 4)), columns=["amount", "hour", "risk", "night"])
X["hour"] = rng.integers(0, 24, 200)
X.loc[:9, "risk"] = np.nan
FULL = X.fillna(0.0)
y = (FULL.amount + rng.normal(size=200) > 0.5).astype(int).to_numpy()


def columns():
    return ColumnTransformer(
        [
            ("scaled", StandardScaler(), ["amount"]),
            ("ranks", QuantileTransformer(n_quantiles=10), ["risk"]),
            ("bins", KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf"), ["hour"]),
            ("codes", OneHotEncoder(handle_unknown="ignore"), ["night"]),
        ],
        remainder="passthrough",
    )


MODELS = {
    "forest": lambda: make_pipeline(StandardScaler(), RandomForestClassifier(5, max_depth=6, random_state=0)),
    "forest_numpy_seed": lambda: ExtraTreesClassifier(3, random_state=np.random.RandomState(0)),
    "tree": lambda: DecisionTreeClassifier(random_state=0),
    "boosted": lambda: GradientBoostingClassifier(n_estimators=3, random_state=0),
    "histogram": lambda: HistGradientBoostingClassifier(max_iter=5, random_state=0),
    "histogram_stopping": lambda: HistGradientBoostingClassifier(
        max_iter=5, early_stopping=True, categorical_features=["hour"], random_state=0
    ),
    "histogram_regression": lambda: HistGradientBoostingRegressor(max_iter=3, random_state=0),
    "logistic": lambda: make_pipeline(RobustScaler(), LogisticRegression(class_weight={0: 1.0, 1: 9.0})),
    "gradient_descent": lambda: SGDClassifier(loss="log_loss", random_state=0),
    "columns": lambda: make_pipeline(columns(), LogisticRegression()),
    "imputed": lambda: make_pipeline(SimpleImputer(), SelectKBest(k=2), LogisticRegression()),
    "ufunc": lambda: make_pipeline(FunctionTransformer(np.cbrt), LogisticRegression()),
    "calibrated_forest": lambda: CalibratedClassifierCV(RandomForestClassifier(3, random_state=0), cv=2),
    "calibrated_isotonic": lambda: CalibratedClassifierCV(
        HistGradientBoostingClassifier(max_iter=3, random_state=0), method="isotonic", cv=2
    ),
    "threshold": lambda: FixedThresholdClassifier(LogisticRegression(), threshold=0.3),
    "search": lambda: GridSearchCV(DecisionTreeClassifier(random_state=0), {"max_depth": [1, 2]}, cv=2),
    "stacked": lambda: StackingClassifier([("a", LogisticRegression()), ("b", GaussianNB())], cv=2),
    "network": lambda: MLPClassifier((3,), solver="lbfgs", max_iter=500, tol=1e-2, random_state=0),
    "outliers": lambda: IsolationForest(n_estimators=3, random_state=0),
}
WITH_MISSING = {"histogram", "histogram_stopping", "imputed"}


@pytest.mark.parametrize("name", MODELS)
def test_model_of_a_family_comes_back_equal_and_canonical(name):
    frame = X if name in WITH_MISSING else FULL
    model = MODELS[name]().fit(frame, y)
    data = dump_model(model)
    back = load_model(data)
    assert type(back) is type(model) and dump_model(back) == data
    np.testing.assert_array_equal(back.predict(frame), model.predict(frame))
    if hasattr(model, "predict_proba"):
        np.testing.assert_array_equal(back.predict_proba(frame), model.predict_proba(frame))
    assert list(back.feature_names_in_) == list(FULL)
    assert dump_model(MODELS[name]().fit(frame, y)) == data


def test_model_through_the_codec_is_a_skops_file():
    model = MODELS["forest"]().fit(FULL, y)
    stored = encode(model)
    assert (stored.codec, stored.suffix, stored.type) == ("estimator", ".skops", "sklearn.pipeline.Pipeline")
    np.testing.assert_array_equal(
        decode("estimator", stored.data).predict_proba(FULL), model.predict_proba(FULL)
    )
    assert skops.io.loads(stored.data, trusted=trusted_names()).n_features_in_ == 4


def test_unfitted_and_sparse_models_come_back():
    assert load_model(dump_model(RandomForestClassifier(7))).n_estimators == 7
    words = make_pipeline(CountVectorizer(stop_words=["the", "a"]), LogisticRegression()).fit(
        ["a cat", "the dog", "dog"], [0, 1, 1]
    )
    assert load_model(dump_model(words)).predict(["dog"]) == [1]


def test_shared_and_repeated_objects_stay_what_they_are():
    scaler, other = StandardScaler(), StandardScaler()
    shared = load_model(dump_model(ColumnTransformer([("a", scaler, [0]), ("b", scaler, [1])])))
    apart = load_model(dump_model(ColumnTransformer([("a", scaler, [0]), ("b", other, [1])])))
    assert shared.transformers[0][1] is shared.transformers[1][1]
    assert apart.transformers[0][1] is not apart.transformers[1][1]


FIT = """
import hashlib
import numpy as np, pandas as pd
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from mlnb.store.model_files import dump_model
rng = np.random.default_rng(0)
X = pd.DataFrame(rng.normal(size=(500, 4)), columns=list("abcd"))
y = (X.a + rng.normal(size=500) > 0).astype(int)
models = [make_pipeline(StandardScaler(), RandomForestClassifier(8, random_state=0, n_jobs=2)),
          HistGradientBoostingClassifier(max_iter=8, random_state=0),
          CalibratedClassifierCV(RandomForestClassifier(4, random_state=0), cv=2)]
texts = CountVectorizer(stop_words=list("xyzw")).fit(["cat dog", "dog"])
texts.extra = {"x", "y", "z", "w", 1, 2}
print([hashlib.sha256(dump_model(m)).hexdigest() for m in [*(m.fit(X, y) for m in models), texts]])
"""


def test_same_fit_in_processes_with_other_hash_seeds_gives_the_same_bytes():
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", FIT],
            env={**os.environ, "PYTHONHASHSEED": seed, "MALLOC_PERTURB_": seed, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "77")
    ]
    one, other = (process.communicate()[0] for process in processes)
    assert one == other and one.count("'") == 8


# what is refused


class Majority(ClassifierMixin, BaseEstimator):
    "Predicts the class seen most often."

    def fit(self, X, y):
        self.classes_, counts = np.unique(y, return_counts=True)
        self.best_ = self.classes_[counts.argmax()]
        return self

    def predict(self, X):
        return np.full(len(X), self.best_)


NAME = f"{Majority.__module__}.Majority"


def test_type_outside_the_list_is_refused_at_save_with_the_setting_and_accepted_with_it():
    model = Majority().fit(FULL, y)
    with pytest.raises(ValueRefusedError, match=NAME) as refused:
        dump_model(model)
    assert "trusted_types" in refused.value.mend and "[mlnb]" in refused.value.mend
    stored = encode(model, trusted_types=(NAME,))
    with pytest.raises(IntegrityError, match=NAME):
        decode("estimator", stored.data)
    np.testing.assert_array_equal(
        decode("estimator", stored.data, trusted_types=[NAME]).predict(FULL), model.predict(FULL)
    )


@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(class_weight={False: 1.0, True: 2.0}),
        RandomForestClassifier(class_weight={None: 1.0}),
        FunctionTransformer(lambda X: X),
        LogisticRegression(C=(i for i in range(3))),
    ],
    ids=["bool_key", "none_key", "lambda", "generator"],
)
def test_model_that_would_not_come_back_is_refused_at_save(model):
    with pytest.raises(ValueRefusedError) as refused:
        dump_model(model)
    assert refused.value.mend


def rewritten(data, change):
    "The model file with its schema changed by a hostile hand."
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(members["schema.json"])
    change(schema)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in {**members, "schema.json": json.dumps(schema)}.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def call_node(folder):
    "A node that would call `os.mkdir(folder)` if it were built."
    args = {
        "__class__": "tuple",
        "__module__": "builtins",
        "__loader__": "TupleNode",
        "content": [
            {
                "__class__": "str",
                "__module__": "builtins",
                "__loader__": "JsonNode",
                "content": json.dumps(str(folder)),
                "is_json": True,
            }
        ],
    }
    return {
        "__class__": "mkdir",
        "__module__": "os",
        "__loader__": "ConstructorFromReduceNode",
        "content": args,
    }


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_file_with_a_type_outside_the_list_is_refused_and_never_run(tmp_path, protocol):
    def hide(schema):
        schema["content"]["content"]["steps"] = call_node(tmp_path / "ran")
        schema["protocol"] = protocol

    data = rewritten(dump_model(MODELS["forest"]()), hide)
    with pytest.raises(IntegrityError, match=r"os\.mkdir.*nothing of it was run"):
        load_model(data)
    assert not (tmp_path / "ran").exists()
    assert (
        skops.io.loads(data, trusted=["os.mkdir", "posix.mkdir"]) is not None and (tmp_path / "ran").exists()
    )  # the trap is live


@pytest.mark.parametrize(
    "change",
    [
        lambda schema: schema.pop("__class__"),
        lambda schema: schema.update(__loader__="NoNode"),
        lambda schema: schema.update(protocol=99),
        lambda schema: schema.update(__class__="NoSuchClass", __module__="sklearn.pipeline"),
    ],
    ids=["no_class", "loader", "protocol", "class"],
)
def test_damaged_schema_is_an_integrity_error(change):
    data = rewritten(dump_model(LogisticRegression().fit(FULL, y)), change)
    with pytest.raises(IntegrityError):
        load_model(data)


@pytest.mark.parametrize("cut", [0, 1, 100, -1, -200])
def test_truncated_file_is_an_integrity_error(cut):
    with pytest.raises(IntegrityError):
        load_model(dump_model(LogisticRegression().fit(FULL, y))[:cut])


def test_attributes_named_like_the_format_are_kept():
    model = LogisticRegression()
    model.notes_ = {"file": "a", "__id__": 3, "__loader__": "x", "content": {"file": ["b"]}}
    assert load_model(dump_model(model)).notes_ == model.notes_


def test_order_in_which_attributes_were_set_does_not_count():
    a, b = LogisticRegression(), LogisticRegression()
    a.first_, a.second_ = 1, 2
    b.second_, b.first_ = 2, 1
    assert dump_model(a) == dump_model(b)


def test_canonical_file_of_a_canonical_file_is_the_same():
    data = dump_model(MODELS["histogram"]().fit(X, y))
    assert canonical_model(data) == data
