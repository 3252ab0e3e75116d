"""A model file names only what is listed, each name for its own loader; what is refused says where it stands,
and every mend works."""

import json
import threading
from functools import partial

import numpy as np
import pandas as pd
import pytest
import scipy
import sklearn
import skops.io
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.cluster import Birch
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import fbeta_score, make_scorer
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    RandomizedSearchCV,
    RepeatedStratifiedKFold,
    ShuffleSplit,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MultiLabelBinarizer, StandardScaler
from sklearn.svm import SVC
from sklearn.utils import all_estimators
from test_store_bombs import call, members_of, model, node, plain, row, zipped

from mlnb.store import model_types
from mlnb.store.errors import IntegrityError, ValueRefusedError
from mlnb.store.model_files import dump_model, load_model, trusted_names
from mlnb.store.model_types import LISTED_FOR, all_listed, is_distribution, listed, made_types

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 3))
y = (X[:, 0] > 0).astype(int)


# the list


@pytest.mark.skipif(sklearn.__version__ != LISTED_FOR, reason="the tables are of another scikit-learn")
def test_written_tables_are_those_of_the_installed_scikit_learn():
    objects, functions = made_types()
    assert model_types._full_names(model_types._OBJECT_TABLE) == objects
    assert model_types._full_names(model_types._FUNCTION_TABLE) == functions


def test_every_public_estimator_is_listed():
    names = {f"{kind.__module__}.{kind.__name__}" for _, kind in all_estimators()}
    assert len(names) > 200 and names <= listed("ObjectNode")


def test_every_listed_name_is_found_and_no_object_is_called():
    for loader in model_types._BY_LOADER:
        for name in listed(loader):
            if name.startswith("sklearn.") or loader == "FunctionNode":
                assert model_types._found(name) is not None
    assert not any(name.startswith(("sklearn.", "os.")) for name in listed("ConstructorFromReduceNode"))


def test_functions_that_read_write_or_build_are_not_listed():
    wanted = (
        "make_scorer",
        "get_scorer",
        "load",
        "fromfile",
        "save",
        "fetch",
        "frompyfunc",
        "vectorize",
        "memmap",
    )
    own = {name.rpartition(".")[2] for name in listed("FunctionNode")}
    assert not [name for name in own if name.startswith(wanted)]


def test_model_of_another_version_is_judged_by_a_list_made_anew(monkeypatch):
    monkeypatch.setattr(model_types, "LISTED_FOR", "0.1")
    for cached in (model_types._of_this_version, listed):
        cached.cache_clear()
    try:
        assert "sklearn.neighbors._kd_tree.KDTree" in listed("ObjectNode")
    finally:
        monkeypatch.undo()
        for cached in (model_types._of_this_version, listed):
            cached.cache_clear()


METRIC, SCALER = "sklearn.metrics._ranking.auc", "sklearn.preprocessing._data.StandardScaler"
KEYED = node("builtins", "dict", "DictNode", content={"1": plain(1)})


def _split(name):
    return name.rpartition(".")[::2]


ABUSES = {
    "metric called": call(*_split(METRIC), plain(1), plain(2)),
    "metric of a list": node(*_split(METRIC), "ListNode", content=[plain(1)]),
    "metric of a set": node(*_split(METRIC), "SetNode", content=[plain(1)]),
    "metric of an array": node(*_split(METRIC), "NdArrayNode", type="json", content=[], shape=row()),
    "metric as a loss": node(*_split(METRIC), "LossNode", __reduce__={"args": row(plain(1))}, content=row()),
    "metric as a generator": node(*_split(METRIC), "RandomStateNode", content=row()),
    "metric as a dict": node(*_split(METRIC), "DictNode", content={}, key_types=row(kind="list")),
    "metric as a key": KEYED | {"key_types": row(node(*_split(METRIC), "FunctionNode"), kind="list")},
    "metric as an object": node(*_split(METRIC), "ObjectNode"),
    "estimator called": call(*_split(SCALER), plain(1)),
    "estimator as a function": node(*_split(SCALER), "FunctionNode"),
    "estimator as a type": node(*_split(SCALER), "TypeNode"),
    "distribution as an object": node("scipy.stats", "norm", "ObjectNode", content=plain({})),
    "state of a distribution": node("scipy.stats._continuous_distns", "norm_gen", "ObjectNode"),
    "no distribution": node("scipy.stats", "fit", "FunctionNode"),
    "function of two names": node(*_split(METRIC), "FunctionNode", content={"function": "x"}),
    "tree as a list": node("sklearn.tree._tree", "Tree", "ListNode", content=[]),
    "other tree": node(
        "sklearn.utils._bunch", "Bunch", "TreeNode", __reduce__={"args": row()}, content=row()
    ),
}


@pytest.mark.parametrize("name", ABUSES)
def test_listed_name_for_another_loader_is_refused(name):
    with pytest.raises(IntegrityError) as refused:
        load_model(model(ABUSES[name]))
    assert refused.value.mend and ("model.coef_" in str(refused.value) or "no readable" in str(refused.value))


def test_file_that_asks_for_nothing_unlisted_gets_only_the_names_it_needs(monkeypatch):
    given_names = []
    loads = skops.io.loads
    monkeypatch.setattr(
        skops.io, "loads", lambda data, trusted: given_names.append(trusted) or loads(data, trusted=trusted)
    )
    load_model(dump_model(RandomForestClassifier(2).fit(X, y)))
    assert given_names[-1] == ["sklearn.tree._tree.Tree"] and len(trusted_names()) > 500


# what comes back

KEPT = {
    "neighbours": lambda: KNeighborsClassifier(3),
    "ball tree": lambda: KNeighborsClassifier(3, algorithm="ball_tree", metric="chebyshev"),
    "metric of SciPy": lambda: KNeighborsClassifier(
        3, metric=scipy.spatial.distance.cityblock, algorithm="ball_tree"
    ),
    "scorer": lambda: GridSearchCV(LogisticRegression(), {"C": [1.0]}, scoring="roc_auc", cv=2),
    "scorers": lambda: GridSearchCV(
        LogisticRegression(), {"C": [1.0]}, scoring={"f": make_scorer(fbeta_score, beta=2)}, refit="f", cv=2
    ),
    "grids": lambda: GridSearchCV(
        LogisticRegression(), [{"C": [0.5]}, {"max_iter": range(90, 92)}], cv=ShuffleSplit(2, random_state=0)
    ),
    "distributions": lambda: RandomizedSearchCV(
        RandomForestClassifier(random_state=0),
        {"n_estimators": stats.randint(2, high=5), "min_samples_split": stats.uniform(0.1, 0.5)},
        n_iter=2,
        cv=2,
        random_state=0,
    ),
    "selector": lambda: ColumnTransformer(
        [("n", StandardScaler(), make_column_selector(dtype_include=np.number))]
    ),
    "mixture that says what it does": lambda: GaussianMixture(
        2, verbose=2, verbose_interval=1, random_state=0
    ),
}


@pytest.mark.parametrize("name", KEPT)
def test_search_neighbours_and_selector_come_back_and_equal_fits_are_equal_bytes(name, capsys):
    frame = pd.DataFrame(X, columns=list("abc"))
    fitted, again = (KEPT[name]().fit(frame, y) for _ in range(2))
    data = dump_model(fitted)
    assert dump_model(again) == data
    back = load_model(data)
    method = "predict" if hasattr(fitted, "predict") else "transform"
    np.testing.assert_array_equal(getattr(back, method)(frame), getattr(fitted, method)(frame))
    assert dump_model(fitted) == data  # asking it changed nothing that is kept


def test_results_of_a_search_come_back_without_their_seconds():
    search = KEPT["grids"]().fit(X, y)
    back = load_model(dump_model(search)).cv_results_
    times = {name for name in search.cv_results_ if name.endswith("_time")}
    assert len(times) == 4 and all(np.isnan(back[name]).all() for name in times)
    assert list(back) == list(search.cv_results_)
    for name in search.cv_results_.keys() - times:
        np.testing.assert_array_equal(back[name], search.cv_results_[name])


def test_score_that_is_called_like_a_time_is_kept():
    search = GridSearchCV(
        LogisticRegression(), {"C": [1.0]}, scoring={"fit_time": "accuracy"}, refit=False, cv=2
    )
    search.fit(X, y)
    back = load_model(dump_model(search)).cv_results_
    assert back["mean_test_fit_time"] == search.cv_results_["mean_test_fit_time"]


def test_binarizer_that_was_asked_is_the_same_file():
    binarizer = MultiLabelBinarizer().fit([(1, 2), (3,)])
    data = dump_model(binarizer)
    binarizer.transform([(1,)])
    assert dump_model(binarizer) == data
    np.testing.assert_array_equal(load_model(data).transform([(2, 3)]), [[0, 1, 1]])


def test_frozenset_is_kept_in_one_order():
    words = [f"w{n}" for n in range(50)]
    data = dump_model(CountVectorizer(stop_words=frozenset(words)))
    assert dump_model(CountVectorizer(stop_words=frozenset(reversed(words)))) == data
    assert load_model(data).stop_words == frozenset(words)


@pytest.mark.parametrize(
    "name", sorted(name for name in vars(stats) if is_distribution(f"scipy.stats.{name}"))
)
def test_every_distribution_is_kept_by_its_name(name):
    distribution = getattr(stats, name)
    search = RandomizedSearchCV(LogisticRegression(), {"C": distribution})
    assert load_model(dump_model(search)).param_distributions["C"] is distribution


NUMBERS = st.floats(0.1, 5.0)


@settings(max_examples=8, deadline=None)
@given(st.sampled_from(["norm", "gamma", "loguniform", "beta"]), NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_frozen_distribution_gives_the_same_numbers_and_equal_ones_are_equal_bytes(name, a, b, loc, scale):
    distribution = getattr(stats, name)
    shapes = {"norm": (), "gamma": (a,), "loguniform": (a, a + b), "beta": (a, b)}[name]
    one, other = distribution(*shapes, loc, scale), distribution(*shapes, scale=scale, loc=loc)
    data = dump_model(RandomizedSearchCV(LogisticRegression(), {"C": one}))
    assert dump_model(RandomizedSearchCV(LogisticRegression(), {"C": other})) == data
    back = load_model(data).param_distributions["C"]
    np.testing.assert_array_equal(back.rvs(5, random_state=0), one.rvs(5, random_state=0))


# what is refused, where, and what to do


class Own(BaseEstimator):
    "Something of the project."


def double(values):
    "Something that the project does."
    return 2 * values


def _inner():
    def inner(values):
        return values

    return inner


def _cyclic():
    made = make_pipeline(StandardScaler())
    made.steps[0][1].parent_ = {"of": [made]}
    return made


LAMBDA = FunctionTransformer(lambda values: values)
REFUSED = {
    "lambda": (make_pipeline(StandardScaler(), LAMBDA), "model.steps[1][1].func"),
    "own function": (make_pipeline(FunctionTransformer(double)), "model.steps[0][1].func"),
    "inner function": (FunctionTransformer(_inner()), "model.func"),
    "own type": (ColumnTransformer([("a", Own(), [0])]), "model.transformers[0][1]"),
    "generator": (LogisticRegression(C=(n for n in range(3))), "model.C"),
    "cycle": (_cyclic(), "model.steps[0][1].parent_['of'][0]"),
    "keys": (make_pipeline(RandomForestClassifier(class_weight={None: 1})), "model.steps[0][1].class_weight"),
    "lock": (GridSearchCV(LogisticRegression(C=threading.Lock()), {}), "model.estimator.C"),
    "distribution": (
        RandomizedSearchCV(LogisticRegression(), {"C": stats.rv_histogram(np.histogram(X[:, 0]))}),
        "model.param_distributions['C']",
    ),
    "distribution with numbers": (
        RandomizedSearchCV(
            LogisticRegression(),
            [
                {
                    "C": stats.norm_gen(name="norm", seed=3)
                    if hasattr(stats, "norm_gen")
                    else type(stats.norm)(name="norm", seed=3)
                }
            ],
        ),
        "model.param_distributions[0]['C']",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusal_names_the_attribute(name):
    estimator, place = REFUSED[name]
    with pytest.raises(ValueRefusedError) as refused:
        dump_model(estimator)
    assert f"`{place}`" in refused.value.message and refused.value.mend


@pytest.mark.parametrize(
    "estimator", [FunctionTransformer(double), make_pipeline(Own())], ids=["function", "type"]
)
def test_mend_of_an_unlisted_name_lets_it_be_saved_and_loaded(estimator):
    with pytest.raises(ValueRefusedError) as refused:
        dump_model(estimator)
    said = refused.value.mend.partition("trusted_types = ")[2].partition("`")[0]
    data = dump_model(estimator, (said,))
    with pytest.raises(IntegrityError, match="nothing of it was run"):
        load_model(data)
    assert type(load_model(data, (said,))) is type(estimator)


def test_mend_of_a_second_name_keeps_those_that_are_trusted_already():
    first, model = (f"{__name__}.Own",), FunctionTransformer(double)
    with pytest.raises(
        ValueRefusedError, match=r"write `trusted_types = .*Own, .*double` in `\[mlnb\]`"
    ) as refused:
        dump_model(model, first)
    said = refused.value.mend.partition("trusted_types = ")[2].partition("`")[0]
    assert dump_model(model, tuple(said.split(", "))) and dump_model(Own(), tuple(said.split(", ")))


def test_mend_of_a_lambda_lets_it_be_saved():
    with pytest.raises(ValueRefusedError) as refused:
        dump_model(LAMBDA)
    assert "with `def`" in refused.value.mend
    data = dump_model(FunctionTransformer(double), (f"{__name__}.double",))
    np.testing.assert_array_equal(load_model(data, (f"{__name__}.double",)).transform(np.ones(2)), [2, 2])


@pytest.mark.parametrize("name", ["generator", "cycle", "lock", "inner function"])
def test_mend_of_a_value_that_cannot_be_written_lets_the_model_be_saved(name):
    estimator, place = REFUSED[name]
    with pytest.raises(ValueRefusedError) as refused:
        dump_model(estimator)
    assert f"replace `{place}`" in refused.value.mend
    if name == "cycle":
        estimator.steps[0][1].parent_["of"][0] = None
    else:
        parameter = {"generator": "C", "lock": "estimator__C", "inner function": "func"}[name]
        estimator.set_params(**{parameter: None})
    assert dump_model(estimator)


def test_frozen_distributions_of_a_group_split_survive_together():
    search = RandomizedSearchCV(LogisticRegression(), {"C": stats.expon(scale=2)}, cv=GroupKFold(3), n_iter=2)
    back = load_model(dump_model(search))
    assert back.cv.n_splits == 3 and back.param_distributions["C"].mean() == 2


def test_what_a_model_needs_is_one_list():
    assert listed("ObjectNode") | listed("FunctionNode") <= all_listed() == set(trusted_names())


FIT = """
import hashlib, json, sys, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, {tests!r})
from every_estimator import every_estimator, fitted
from mlnb.store.model_files import dump_model
names = json.loads(sys.argv[1])
said = {{}}
for name, estimator in every_estimator():
    if not names or name in names:
        try:
            said[name] = hashlib.sha256(dump_model(fitted(estimator)[0])).hexdigest()
        except Exception as error:
            said[name] = str(error)
print(json.dumps(said))
"""


def test_mends_of_a_distribution_let_the_search_be_saved():
    for name in ("distribution", "distribution with numbers"):
        with pytest.raises(ValueRefusedError) as refused:
            dump_model(REFUSED[name][0])
        assert "scipy.stats.uniform(0, 1)" in refused.value.mend or "`random_state`" in refused.value.mend
    assert dump_model(RandomizedSearchCV(LogisticRegression(), {"C": stats.uniform(0, 1)}, random_state=3))


def _birch_lists(change):
    "The file of a `Birch` whose lists were changed."
    members = members_of(dump_model(Birch(threshold=0.2, branching_factor=3).fit(X[:12])))
    schema = json.loads(members["schema.json"])
    assert schema["__class__"] == "birch_from"
    _, nodes, chain = schema["content"]["content"]
    change(nodes["content"], chain["content"])
    members["schema.json"] = json.dumps(schema).encode()
    return zipped(members.items())


@pytest.mark.parametrize(
    "change",
    [
        lambda nodes, chain: chain.pop(),
        lambda nodes, chain: chain.append(chain[0]),
        lambda nodes, chain: chain[0].update(content="99"),
        lambda nodes, chain: nodes[1]["content"][-1]["content"][0]["content"][-1].update(content="1"),
        lambda nodes, chain: nodes[1]["content"][-1]["content"][0]["content"][-1].update(content="99"),
    ],
    ids=["leaf missing", "leaf twice", "leaf outside", "circle", "node outside"],
)
def test_birch_whose_lists_are_no_tree_is_refused(change):
    assert load_model(_birch_lists(lambda nodes, chain: None)).predict(X).shape == (60,)
    with pytest.raises(IntegrityError, match=r"circle|cannot be built"):
        load_model(_birch_lists(change))


def test_birch_goes_on_after_it_was_loaded():
    birch = Birch(threshold=0.2, branching_factor=3, n_clusters=None).fit(X[:12])
    back = load_model(dump_model(birch))
    for more in (X[:6] + 0.3, X[12:18] * 2):
        birch.partial_fit(more.copy())
        back.partial_fit(more.copy())
        np.testing.assert_array_equal(back.subcluster_centers_, birch.subcluster_centers_)
    assert dump_model(back) == dump_model(birch)


class OwnBirch(Birch):
    "A class of the project that would be lost."


def test_class_that_comes_from_birch_is_refused_and_the_mend_works():
    with pytest.raises(ValueRefusedError, match=r"at `model\.steps\[0\]\[1\]`: a `OwnBirch`") as refused:
        dump_model(make_pipeline(OwnBirch()))
    assert refused.value.mend == "use a plain `Birch`" and dump_model(make_pipeline(Birch()))


SMALL = pd.DataFrame(X, columns=list("abc"))
ODD = {
    "routed": lambda: LogisticRegression().set_fit_request(sample_weight=True).fit(X, y),
    "repeated splits": lambda: GridSearchCV(
        LogisticRegression(),
        {"C": [1.0]},
        cv=RepeatedStratifiedKFold(n_splits=2, n_repeats=1, random_state=0),
    ).fit(X, y),
    "missing": lambda: SimpleImputer(missing_values=pd.NA, strategy="most_frequent"),
    "kernel": lambda: SVC(kernel=partial(rbf_kernel, gamma=0.5)).fit(X, y),
    "kernels": lambda: GaussianProcessRegressor(ConstantKernel() * Matern() + WhiteKernel() ** 2).fit(X, y),
    "pandas output": lambda: make_pipeline(StandardScaler().set_output(transform="pandas")).fit(SMALL),
    "ufuncs": lambda: FunctionTransformer(np.log1p, inverse_func=np.expm1).fit(SMALL.abs()),
    "function": lambda: FunctionTransformer(partial(np.clip, a_min=0, a_max=1)).fit(X),
    "list of splits": lambda: GridSearchCV(
        LogisticRegression(), {"C": np.logspace(-1, 0, 2)}, cv=[(np.arange(40), np.arange(40, 60))]
    ).fit(X, y),
}


@pytest.mark.parametrize("name", ODD)
def test_estimator_with_odd_parameters_comes_back_and_equal_fits_are_equal_bytes(name):
    with config_context(enable_metadata_routing=name == "routed"):
        data = dump_model(ODD[name]())
        assert dump_model(ODD[name]()) == dump_model(load_model(data)) == data
    if name == "missing":
        assert load_model(data).missing_values is pd.NA
    if name == "routed":
        assert load_model(data).get_metadata_routing().fit.requests == {"sample_weight": True}


def test_mend_of_a_frame_inside_of_a_model_lets_it_be_saved():
    with pytest.raises(ValueRefusedError, match=r"at `model\._BaseLibSVM__Xfit`") as refused:
        dump_model(SVC(kernel=rbf_kernel).fit(SMALL, y))
    assert refused.value.mend.startswith("fit it to an array, `X.to_numpy()`")
    assert dump_model(SVC(kernel=rbf_kernel).fit(SMALL.to_numpy(), y))
