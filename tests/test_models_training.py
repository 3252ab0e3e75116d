"""Training and scoring: named inputs, models that do not depend on threads, refusals that name the column."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from mlnb.fraud.features import INPUTS
from mlnb.models.training import CLASSIFIERS, InputError, classifier, inputs, scores, train
from mlnb.store.errors import UsageError


@pytest.fixture(scope="module")
def payments():
    draws = np.random.default_rng(0)
    frame = pd.DataFrame({name: draws.random(600) for name in INPUTS})
    risky = frame["TX_AMOUNT"] + frame["TERMINAL_ID_RISK_30DAY_WINDOW"]
    return frame.assign(
        TX_FRAUD=(risky + 0.2 * draws.random(600) > 1.5).astype("int64"), TRANSACTION_ID=np.arange(600)
    )


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_scores_columns_in_another_order_gives_the_same(payments, kind):
    model = train(classifier(kind, n_estimators=10, max_depth=5), payments, "TX_FRAUD", INPUTS)
    found = scores(model, payments)
    assert_array_equal(found, scores(model, payments[sorted(payments.columns)]))
    assert ((found >= 0) & (found <= 1)).all()
    assert found[payments.TX_FRAUD == 1].mean() > found[payments.TX_FRAUD == 0].mean() + 0.3


def test_train_any_number_of_threads_gives_the_same_model(payments):
    one, two = (train(classifier(n_estimators=12), payments, "TX_FRAUD", INPUTS, threads=n) for n in (1, 2))
    assert_array_equal(scores(one, payments), scores(two, payments))
    assert one[-1].n_jobs is None and two[-1].n_jobs is None
    assert one.get_params().keys() == two.get_params().keys()


def test_train_again_gives_the_same_model(payments):
    assert_array_equal(
        *(
            scores(train(classifier(n_estimators=12), payments, "TX_FRAUD", INPUTS), payments)
            for _ in range(2)
        )
    )


def test_train_knows_the_names_of_its_inputs_in_order(payments):
    assert list(train(classifier("tree"), payments, "TX_FRAUD", INPUTS).feature_names_in_) == list(INPUTS)


def test_inputs_absent_column_is_named(payments):
    with pytest.raises(InputError, match="TX_DURING_NIGHT") as caught:
        inputs(payments.drop(columns="TX_DURING_NIGHT"), INPUTS)
    assert "TX_AMOUNT" not in str(caught.value)
    assert caught.value.mend


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_inputs_missing_or_infinite_value_is_refused(payments, hole):
    spoilt = payments.copy()
    spoilt.loc[7, "TX_AMOUNT"] = hole
    with pytest.raises(InputError, match="missing or infinite values: TX_AMOUNT"):
        inputs(spoilt, INPUTS)


def test_inputs_doubled_column_is_refused(payments):
    with pytest.raises(InputError, match="twice"):
        inputs(pd.concat([payments, payments[["TX_AMOUNT"]]], axis=1), INPUTS)


def test_inputs_text_column_is_refused(payments):
    with pytest.raises(InputError, match="not numbers: TX_AMOUNT"):
        inputs(payments.assign(TX_AMOUNT=payments["TX_AMOUNT"].astype(str)), INPUTS)


@pytest.mark.parametrize("label", [0, 1])
def test_train_one_class_is_refused(payments, label):
    with pytest.raises(InputError, match=f"every `TX_FRAUD` is {label}"):
        train(classifier("tree"), payments.assign(TX_FRAUD=label), "TX_FRAUD", INPUTS)


def test_train_more_than_two_classes_is_refused(payments):
    with pytest.raises(InputError, match="`TX_FRAUD` has 3 different values"):
        train(classifier("tree"), payments.assign(TX_FRAUD=payments.index % 3), "TX_FRAUD", INPUTS)


def test_scores_model_trained_on_an_array_is_refused(payments):
    model = classifier("tree").fit(payments[list(INPUTS)].to_numpy(), payments["TX_FRAUD"])
    with pytest.raises(InputError, match="does not know the names"):
        scores(model, payments)


def test_classifier_unknown_kind_suggests_one():
    with pytest.raises(UsageError, match="did you mean `logistic`"):
        classifier("logistics")
