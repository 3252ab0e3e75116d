"""Trees of every form give LightGBM the same sums, and contributions equal to those over all subsets."""

import math

import lightgbm
import numpy as np
import pytest
import treelite
from all_subsets import shapley
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from treelite.model_builder import Metadata, ModelBuilder, PostProcessorFunc, TreeAnnotation

from mlnb.models.tree_text import ExplanationError, TreeText, tree_text

N_INPUTS = 4  # three numbers, then a category
ODD_NUMBERS = (
    0.0,
    -0.0,
    1e-36,
    -1e-36,
    5e-324,
    1.5,
    0.1,
    0.1 + 2**-56,
    -1.7976931348623157e308,
    math.inf,
    -math.inf,
)
numbers = st.sampled_from(ODD_NUMBERS) | st.floats(allow_nan=False)
categories = st.lists(st.integers(0, 5) | st.just(40), max_size=4, unique=True)
leaves = st.tuples(st.just("leaf"), st.floats(-5, 5), st.integers(1, 50))


def splits(children: st.SearchStrategy) -> st.SearchStrategy:
    by_number = st.tuples(
        st.just("number"),
        st.integers(0, 2),
        st.sampled_from(["<", "<="]),
        numbers | st.just(math.nan),
        st.booleans(),
    )
    by_category = st.tuples(st.just("category"), st.just(3), st.booleans(), categories, st.booleans())
    return st.tuples(by_number | by_category, children, children)


trees = st.recursive(leaves, splits, max_leaves=6)
rows = st.lists(
    st.tuples(*[numbers | st.just(math.nan)] * 3, st.sampled_from([0.0, 1, 2, 3, 4, 5, 6, 40, 41, math.nan])),
    min_size=1,
    max_size=5,
)


def n_rows(tree: tuple) -> int:
    return tree[2] if tree[0] == "leaf" else n_rows(tree[1]) + n_rows(tree[2])


def goes_left(split: tuple, value: float) -> bool:
    kind, _, how, what, is_missing_left = split
    if math.isnan(value):
        return is_missing_left
    if kind == "category":
        return (value in what) != how
    return value < what if how == "<" else value <= what


def expected(tree: tuple, row: tuple, known: frozenset[int]) -> float:
    "What the tree says where only some inputs are known: the mean over the rows that went each way."
    if tree[0] == "leaf":
        return tree[1]
    split, *children = tree
    said = [expected(child, row, known) for child in children]
    if split[1] in known:
        return said[0] if goes_left(split, row[split[1]]) else said[1]
    shares = [n_rows(child) / n_rows(tree) for child in children]
    return shares[0] * said[0] + shares[1] * said[1]


def add_tree(builder: ModelBuilder, tree: tuple) -> None:
    builder.start_tree()
    waiting, key = [(0, tree)], 0
    while waiting:
        own, node = waiting.pop()
        builder.start_node(own)
        if node[0] == "leaf":
            builder.leaf(node[1])
        else:
            (kind, number, how, what, is_missing_left), *children = node
            ways = {"default_left": is_missing_left, "left_child_key": key + 1, "right_child_key": key + 2}
            if kind == "category":
                builder.categorical_test(number, category_list=what, category_list_right_child=how, **ways)
            else:
                builder.numerical_test(number, what, opname=how, **ways)
            waiting += [(key + 1 + n, child) for n, child in enumerate(children)]
            key += 2
        builder.data_count(n_rows(node))
        builder.end_node()
    builder.end_tree()


def built(forest: list[tuple], is_mean: bool, base: float) -> treelite.Model:
    builder = ModelBuilder(
        threshold_type="float64",
        leaf_output_type="float64",
        metadata=Metadata(N_INPUTS, "kRegressor", is_mean, 1, [1], (1, 1)),
        tree_annotation=TreeAnnotation(len(forest), [0] * len(forest), [0] * len(forest)),
        postprocessor=PostProcessorFunc("identity"),
        base_scores=[base],
    )
    for tree in forest:
        add_tree(builder, tree)
    return builder.commit()


def contributions(made: TreeText, given_rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    "What LightGBM says of rows: the sum, and the part of each input with the mean last."
    booster = lightgbm.Booster(model_str=made.text)
    codes = made.codes(given_rows)
    both = (booster.predict(codes, num_threads=1, pred_contrib=way) for way in (False, True))
    said, parts = both
    return said + made.base, parts + made.base * (np.arange(N_INPUTS + 1) == N_INPUTS)


def check(forest: list[tuple], is_mean: bool, base: float, given_rows: list[tuple]) -> None:
    made = tree_text(built(forest, is_mean, base))
    said, parts = contributions(made, np.array(given_rows, dtype=float))
    weight = 1 / len(forest) if is_mean else 1.0
    for row, total, part in zip(given_rows, said, parts, strict=True):

        def value(known: frozenset[int], row: tuple = row) -> float:
            return base + weight * sum(expected(tree, row, known) for tree in forest)

        np.testing.assert_allclose(total, value(frozenset(range(N_INPUTS))), rtol=0, atol=1e-12)
        np.testing.assert_allclose(part[:-1], shapley(value, N_INPUTS), rtol=0, atol=1e-12)
        np.testing.assert_allclose(part[-1], value(frozenset()), rtol=0, atol=1e-12)


ANY = {
    "forest": st.lists(trees, min_size=1, max_size=3),
    "is_mean": st.booleans(),
    "base": st.floats(-3, 3),
    "given_rows": rows,
}


@settings(max_examples=12, deadline=None)
@given(**ANY)
def test_contributions_of_random_trees_equal_those_over_all_subsets(forest, is_mean, base, given_rows):
    check(forest, is_mean, base, given_rows)


@pytest.mark.slow
@settings(max_examples=1500, deadline=None)
@given(**ANY)
def test_contributions_of_many_random_trees_equal_those_over_all_subsets(forest, is_mean, base, given_rows):
    check(forest, is_mean, base, given_rows)


NUMBER_SPLITS = [
    ("number", 0, how, what, left)
    for how in ("<", "<=")
    for what in (*ODD_NUMBERS, math.nan)
    for left in (True, False)
]
CATEGORY_SPLITS = [
    ("category", 3, how, what, left)
    for how in (True, False)
    for what in ([], [0], [1, 40], [31, 32, 64])
    for left in (True, False)
]


def test_each_split_sends_each_value_where_the_tree_says():
    leaves_of_both = ("leaf", 1.0, 2), ("leaf", 3.0, 5)
    values = [*ODD_NUMBERS, math.nan]
    forest = [(split, *leaves_of_both) for split in NUMBER_SPLITS]
    by_category = [(split, *leaves_of_both) for split in CATEGORY_SPLITS]
    for chosen, given_rows in (
        (forest, [(value, 0.0, 0.0, 0.0) for value in values]),
        (by_category, [(0.0, 0.0, 0.0, value) for value in (0.0, 1, 2, 31, 32, 40, 64, 65, math.nan)]),
    ):
        for tree in chosen:
            said, _ = contributions(tree_text(built([tree], False, 0.0)), np.array(given_rows))
            assert said.tolist() == [expected(tree, row, frozenset(range(4))) for row in given_rows], tree


def test_a_deep_forest_is_written_exactly():
    rng = np.random.default_rng(0)
    cents = rng.integers(1, 5000, size=(300, 3)).astype("float32")
    labels = rng.integers(0, 3, size=300)
    for model in (RandomForestClassifier(5, random_state=0), ExtraTreesClassifier(5, random_state=0)):
        imported = treelite.sklearn.import_model(model.fit(cents, labels))
        shares = [
            lightgbm.Booster(model_str=made.text).predict(made.codes(cents))
            for made in (tree_text(imported, n) for n in range(3))
        ]
        np.testing.assert_allclose(np.transpose(shares), model.predict_proba(cents), rtol=0, atol=1e-14)


def test_equal_trees_give_equal_texts():
    rng = np.random.default_rng(1)
    values, labels = rng.normal(size=(200, 3)), rng.integers(0, 2, size=200)
    texts = {
        tree_text(
            treelite.sklearn.import_model(HistGradientBoostingClassifier(max_iter=3).fit(values, labels))
        ).text
        for _ in range(2)
    }
    assert len(texts) == 1


def test_trees_without_counts_or_with_several_outputs_are_refused():
    forest = RandomForestClassifier(2, random_state=0).fit(np.eye(4), np.eye(4)[:, :2])
    with pytest.raises(ExplanationError, match="several outputs"):
        tree_text(treelite.sklearn.import_model(forest))
    counted = built([(("number", 0, "<", 1.0, True), ("leaf", 1.0, 1), ("leaf", 2.0, 1))], False, 0.0)
    counted.get_tree_accessor(0).set_field("data_count", np.zeros(3, dtype="uint64"))
    with pytest.raises(ExplanationError, match="how many training rows"):
        tree_text(counted)
