"""Numbers of a model file that lead out of the memory are refused before anything is built; honest ones
of every kind pass."""

import io
import json

import numpy as np
import pytest
from scipy import sparse
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.neighbors import KernelDensity, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer
from test_store_bombs import members_of, zipped

from mlnb.store.errors import IntegrityError
from mlnb.store.model_files import dump_model, load_model
from mlnb.store.model_places import place_in_schema

rng = np.random.default_rng(0)
X = rng.normal(size=(80, 3))
X[:, 2] = rng.integers(0, 3, 80)
y = (X[:, 0] > 0).astype(int)
HONEST = {
    "neighbours": lambda: NearestNeighbors(algorithm="kd_tree", leaf_size=5).fit(X),
    "ball": lambda: NearestNeighbors(algorithm="ball_tree", leaf_size=5).fit(X),
    "density": lambda: KernelDensity().fit(X, sample_weight=np.ones(80)),
    "weighed": lambda: NearestNeighbors(
        algorithm="ball_tree", metric="seuclidean", metric_params={"V": np.ones(3)}
    ).fit(X),
    "mahalanobis": lambda: NearestNeighbors(
        algorithm="ball_tree", metric="mahalanobis", metric_params={"VI": np.eye(3)}
    ).fit(X),
    "minkowski": lambda: NearestNeighbors(algorithm="ball_tree", metric="minkowski", p=3).fit(X),
    "haversine": lambda: NearestNeighbors(algorithm="ball_tree", metric="haversine").fit(X[:, :2]),
    "boosted": lambda: HistGradientBoostingClassifier(max_iter=2, categorical_features=[2]).fit(X, y),
    "boosted of three": lambda: HistGradientBoostingClassifier(max_iter=2).fit(X, np.arange(80) % 3),
    "spline": lambda: make_pipeline(SplineTransformer()).fit(X),
    "periodic spline": lambda: SplineTransformer(extrapolation="periodic", degree=2).fit(X),
    **{
        f"sparse {form}": lambda form=form: NearestNeighbors().fit(sparse.csr_matrix(X).asformat(form))
        for form in ("csr", "csc", "coo", "bsr", "dia")
    },
    "sparse array": lambda: NearestNeighbors().fit(sparse.csr_array(X)),
    "empty line": lambda: NearestNeighbors().fit(sparse.csr_matrix((5, 3))),
}


QUICK = {"neighbours", "mahalanobis", "boosted", "spline", "sparse csr"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in HONEST]
)
def test_honest_numbers_pass(name):
    model = HONEST[name]()
    data = dump_model(model)
    assert dump_model(load_model(data)) == data


def _nodes(schema, is_wanted):
    "The first node that is wanted."
    found = []
    place_in_schema(schema, lambda node: is_wanted(node) and found.append(node) is None)
    return found[0]


def _of_class(name):
    return lambda node: node["__class__"].startswith(name)


def _array(place, change):
    "A change of the array at a place of the state of a search tree."

    def forge(schema, members):
        state = _nodes(schema, lambda node: "_tree" in node["__module__"])["content"]["content"]
        _rewrite(members, state[place]["file"], change)

    return forge


def _rewrite(members, name, change):
    array = np.load(io.BytesIO(members[name]))
    buffer = io.BytesIO()
    np.save(buffer, change(array))
    members[name] = buffer.getvalue()


def _set(where, value):
    def change(array):
        array[where] = value
        return array

    return change


def _field(name, place, value):
    def change(array):
        array[name][place] = value
        return array

    return change


def _predictor(change, name="nodes"):
    def forge(schema, members):
        node = _nodes(schema, _of_class("TreePredictor"))
        _rewrite(members, node["content"]["content"][name]["file"], change)

    return forge


def _spline(name, change):
    def forge(schema, members):
        held = _nodes(schema, _of_class("BSpline"))["content"]["content"]
        if name == "k":
            held["k"]["content"] = change
        else:
            _rewrite(members, held[name]["file"], change)

    return forge


def _sparse(name, change):
    def forge(schema, members):
        node = _nodes(schema, lambda node: node["__loader__"] == "SparseMatrixNode")
        parts = members_of(members[node["file"]])
        _rewrite(parts, f"{name}.npy", change)
        members[node["file"]] = zipped(parts.items())

    return forge


def _count(place, value):
    def forge(schema, members):
        state = _nodes(schema, lambda node: "_tree" in node["__module__"])["content"]["content"]
        state[place]["content"] = value

    return forge


def _weights(schema, members):
    metric = _nodes(schema, _of_class("SEuclidean"))["content"]["content"]
    _rewrite(members, metric[1]["file"], lambda array: array[:1])


LIES = {
    "point outside": ("neighbours", _array(1, _set(0, 10**9))),
    "point twice": ("neighbours", _array(1, lambda order: np.zeros_like(order))),
    "node outside": ("neighbours", _array(2, _field("idx_end", 0, 10**9))),
    "node before": ("ball", _array(2, _field("idx_start", 1, -5))),
    "no end": ("neighbours", _array(2, _field("is_leaf", slice(None), 0))),
    "fewer nodes": ("neighbours", _array(2, lambda nodes: nodes[:4])),
    "fewer bounds": ("neighbours", _array(3, lambda bounds: bounds[:, :2].copy())),
    "one bound": ("neighbours", _array(3, lambda bounds: bounds[:1].copy())),
    "more levels": ("neighbours", _count(5, "60")),
    "more nodes": ("neighbours", _count(6, "1000000")),
    "fewer weights of points": ("density", _array(12, lambda weights: weights[:3])),
    "fewer weights of features": ("weighed", _weights),
    "boosted child": ("boosted", _predictor(_field("left", 0, 10**6))),
    "boosted circle": ("boosted", _predictor(_field("left", 0, 0))),
    "boosted feature": ("boosted", _predictor(_field("feature_idx", 0, 3))),
    "boosted without leaf": ("boosted", _predictor(_field("is_leaf", slice(None), 0))),
    "boosted set": ("boosted", _predictor(lambda sets: sets[:0], "raw_left_cat_bitsets")),
    "spline of fewer": ("spline", _spline("_c", lambda weights: weights[:2])),
    "spline unsorted": ("spline", _spline("_t", lambda knots: knots[::-1].copy())),
    "spline of degree": ("spline", _spline("k", "90")),
    "sparse place": ("sparse csr", _sparse("indices", _set(0, 10**6))),
    "sparse below": ("sparse csc", _sparse("indices", _set(0, -9))),
    "sparse falling": ("sparse csr", _sparse("indptr", _set(1, 10**6))),
    "sparse short": ("sparse csr", _sparse("indptr", lambda begins: begins[:5])),
    "sparse block": ("sparse bsr", _sparse("indices", _set(0, 77))),
}


@pytest.mark.parametrize("name", LIES)
def test_number_that_leads_out_is_refused_before_it_is_built(name):
    kind, forge = LIES[name]
    members = members_of(dump_model(HONEST[kind]()))
    schema = json.loads(members["schema.json"])
    if name == "boosted set":
        held = _nodes(schema, _of_class("TreePredictor"))["content"]["content"]
        _rewrite(members, held["nodes"]["file"], _field("is_categorical", 0, 1))
    forge(schema, members)
    members["schema.json"] = json.dumps(schema).encode()
    with pytest.raises(IntegrityError, match="no readable model file") as refused:
        load_model(zipped(members.items()))
    assert refused.value.mend


def test_search_tree_or_boosted_tree_in_another_loader_is_refused():
    for kind, part in (("neighbours", "KDTree"), ("boosted", "TreePredictor")):
        members = members_of(dump_model(HONEST[kind]()))
        schema = json.loads(members["schema.json"])
        _nodes(schema, _of_class(part))["__loader__"] = "ListNode"
        members["schema.json"] = json.dumps(schema).encode()
        with pytest.raises(IntegrityError):
            load_model(zipped(members.items()))
