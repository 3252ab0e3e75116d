"""All estimators of the installed scikit-learn, with small data that each of them can be fitted to, and what
each of them says afterwards: for the tests of model files and for the table of them."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, clone
from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import all_estimators, get_tags
from sklearn.utils._param_validation import Options, StrOptions
from sklearn.utils._test_common.instance_generator import _construct_instances
from sklearn.utils.estimator_checks import _enforce_estimator_tags_X, _enforce_estimator_tags_y

from mlnb.store.errors import ValueRefusedError
from mlnb.store.model_files import dump_model, load_model

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 4))
y = (X[:, 0] + rng.normal(size=40) > 0).astype(int)
FORMS = {"dense": np.asarray, "sparse matrix": sparse.csr_matrix, "sparse array": sparse.csr_array}
PLACES = ("in a pipeline", "over columns", "in a search")  # where else an estimator may stand
_OWN_DATA = {
    "DictVectorizer": ([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}], None),
    "FeatureHasher": ([{"a": 1, "b": 2}] * 3, None),
    "IsotonicRegression": (X[:, 0], y),
    "LabelBinarizer": (y, None),
    "LabelEncoder": (y, None),
    "MultiLabelBinarizer": ([(1, 2), (3,)], None),
    "PatchExtractor": (rng.random((2, 8, 8)), None),
    "SparseCoder": (X[:, :3], None),
}
_METHODS = (
    "predict",
    "predict_proba",
    "decision_function",
    "score_samples",
    "transform",
    "kneighbors",
    "apply",
)


def _with_gaps(X: np.ndarray) -> np.ndarray:
    "Data with missing values."
    holes = X.copy()
    holes[::7, 1] = np.nan
    return holes


def data_for(estimator: BaseEstimator) -> tuple[Any, Any]:
    "What an estimator can be fitted to; no `y` where it takes none."
    name, tags = type(estimator).__name__, get_tags(estimator)
    if name in _OWN_DATA:
        return _OWN_DATA[name]
    if tags.input_tags.string and not tags.input_tags.two_d_array:
        return ["a cat", "the dog", "dog cat cow"] * 3, None
    if "Imputer" in name or name == "MissingIndicator":
        return _with_gaps(X), y
    return _enforce_estimator_tags_X(estimator, X), _enforce_estimator_tags_y(estimator, y)


def _seeded(estimator: BaseEstimator) -> BaseEstimator:
    "An estimator that gives the same twice."
    made = clone(estimator)
    seeds = {name: 0 for name in made.get_params() if name.rpartition("__")[2] == "random_state"}
    return made.set_params(**seeds)


def every_estimator() -> Iterator[tuple[str, BaseEstimator]]:
    "Each of `all_estimators()`, as scikit-learn's own tests make it; some twice."
    for name, kind in all_estimators():
        if name == "FrozenEstimator":
            yield name, FrozenEstimator(LogisticRegression().fit(X, y))
            continue
        for number, made in enumerate(_construct_instances(kind), 1):
            yield f"{name} {number}".removesuffix(" 1"), _seeded(made)


def _choices(estimator: BaseEstimator) -> Iterator[tuple[str, Any]]:
    "Parameters with the values that scikit-learn lets one choose from."
    for name, kinds in getattr(estimator, "_parameter_constraints", {}).items():
        for kind in kinds if isinstance(kinds, list) else []:
            if isinstance(kind, StrOptions | Options):
                yield from ((name, value) for value in sorted(kind.options, key=str))


def every_choice() -> Iterator[tuple[str, BaseEstimator]]:
    "Each estimator with each of its choices, one at a time."
    for name, estimator in every_estimator():
        given = estimator.get_params(deep=False)
        for parameter, value in _choices(estimator):
            if parameter in given and given[parameter] != value:
                yield f"{name}({parameter}={value!r})", clone(estimator).set_params(**{parameter: value})


def _placed(estimator: BaseEstimator, form: str) -> BaseEstimator:
    "An estimator, or what holds it."
    if form == "in a pipeline":
        return Pipeline([("same", FunctionTransformer()), ("it", estimator)])
    if form == "over columns":
        return ColumnTransformer([("it", estimator, slice(0, None))])
    return GridSearchCV(estimator, {}, cv=2) if form == "in a search" else estimator


def fitted(estimator: BaseEstimator, form: str = "dense") -> tuple[BaseEstimator, Any]:
    "A fitted clone in one of the forms or places, and what it was fitted to."
    data, target = data_for(estimator)
    is_table = hasattr(data, "shape") and np.ndim(data) == 2
    if form != "dense" and not is_table:
        raise ValueError("takes no table")
    data = FORMS.get(form, np.asarray)(data) if is_table else data
    made = _placed(clone(estimator), form)
    return (made.fit(data) if target is None else made.fit(data, target)), data


def answers(estimator: BaseEstimator, data: Any) -> dict[str, Any]:
    "What each method says of data, or which error it raises; what else a fit is for."
    found = {}
    for method in _METHODS:
        if not hasattr(estimator, method):
            continue
        try:
            found[method] = getattr(estimator, method)(deepcopy(data))  # some look whether it is their own
        except Exception as error:
            found[method] = f"{type(error).__name__}: {error}"
    return found | {
        name: vars(estimator)[name] for name in ("labels_", "embedding_") if name in vars(estimator)
    }


def _plain(value: Any) -> Any:
    "A result as dense arrays."
    if sparse.issparse(value):
        return value.toarray()
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def _numbers(value: Any) -> Any:
    "Numbers for a comparison of all but the last bits."
    return np.asarray(value, dtype=float)


def _differs(one: Any, other: Any) -> str:
    "How far two results differ."
    try:
        np.testing.assert_equal(other, one)
        return ""
    except AssertionError:
        pass
    try:
        np.testing.assert_allclose(_numbers(other), _numbers(one), rtol=1e-9, atol=1e-12)
        return "last bits"
    except (AssertionError, ValueError, TypeError):
        return "other"


def difference(one: dict[str, Any], other: dict[str, Any]) -> str:
    "How far two sets of answers differ: not at all, in the last bits, otherwise."
    found = {
        _differs(*(_plain(answer.get(method, "none")) for answer in (one, other))) for method in one | other
    }
    return "other" if "other" in found else max(found, default="")


def outcome(estimator: BaseEstimator, form: str) -> str:
    "What becomes of an estimator that is fitted in one of the forms or places, saved and loaded."
    try:
        model, data = fitted(estimator, form)
    except Exception as error:
        return f"not fitted: {type(error).__name__}"
    try:
        kept = dump_model(model)
    except ValueRefusedError as error:
        return f"refused: {error.message}"
    found = difference(answers(model, data), answers(load_model(kept), data))
    return {"": "kept", "last bits": "kept, other in the last bits"}.get(found, "came back other")


def one_table(names: set[str] | None = None) -> dict[str, dict[str, str]]:
    "Outcome by estimator, and form or place."
    forms = (*FORMS, *PLACES)
    chosen = ((name, one) for name, one in every_estimator() if not names or name in names)
    return {name: {form: outcome(estimator, form) for form in forms} for name, estimator in chosen}
