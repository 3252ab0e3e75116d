"""Every public estimator of scikit-learn is kept and gives equal answers, or is refused with the attribute
named; equal fits are equal bytes in any process. The page of it says the same."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sklearn
from every_estimator import FORMS, PLACES, difference, every_choice, every_estimator, one_table, outcome
from sklearn.utils import all_estimators
from threadpoolctl import threadpool_limits

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "own-pages" / "estimators.json"
QUICK = {"Isomap", "KNeighborsRegressor", "SplineTransformer"}
pytestmark = pytest.mark.filterwarnings("ignore")  # small data converge badly


@pytest.fixture(autouse=True)
def _one_thread():
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def script():
    "The script as a module."
    spec = importlib.util.spec_from_file_location("estimators", ROOT / "scripts" / "estimators.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def is_good(found):
    "Whether an outcome is one of those that are promised."
    return found.startswith(("kept", "not fitted: ")) or (
        found.startswith("refused: ") and "`model." in found
    )


def test_some_estimators_are_kept_in_every_form():
    table = one_table(QUICK)
    assert table.keys() == QUICK and all(is_good(found) for row in table.values() for found in row.values())
    assert all(row["dense"] == "kept" for row in table.values())


def test_difference_of_answers_is_seen():
    one = {"predict": np.array([1.0, 2.0])}
    assert difference(one, {"predict": np.array([1.0, 2.0])}) == ""
    assert difference(one, {"predict": np.array([1.0, 2.0 + 1e-12])}) == "last bits"
    assert difference(one, {"predict": np.array([1.0, 2.1])}) == difference(one, {}) == "other"


def test_page_is_that_of_its_result_and_names_every_estimator(script):
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    assert RESULT.with_suffix(".html").read_text(encoding="utf-8") == script.page_of(result), (
        "run `make estimators`"
    )
    assert all(set(row) == {*FORMS, *PLACES} for row in result["table"].values())
    assert all(is_good(found) for row in result["table"].values() for found in row.values())
    if result["sklearn"] == sklearn.__version__:
        assert {name for name, _ in all_estimators()} == {name.split()[0] for name in result["table"]}


@pytest.mark.slow
def test_table_made_anew_is_the_one_that_is_committed(script):
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    made = script.made_result()
    if made["sklearn"] != result["sklearn"]:
        pytest.skip("the table is of another scikit-learn")
    rows = {
        name: {form: script.shown(found) for form, found in row.items()}
        for name, row in made["table"].items()
    }
    said = {
        name: {form: script.shown(found) for form, found in row.items()}
        for name, row in result["table"].items()
    }
    assert rows == said


@pytest.mark.slow
def test_every_choice_of_every_estimator_is_kept_or_refused_with_its_place():
    found = {name: outcome(estimator, "dense") for name, estimator in every_choice()}
    assert len(found) > 1_000
    assert {name: said for name, said in found.items() if not is_good(said)} == {}


FIT = """
import hashlib, json, sys, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, {tests!r})
from every_estimator import FORMS, every_estimator, fitted
from threadpoolctl import threadpool_limits
from mlnb.store.errors import ValueRefusedError
from mlnb.store.model_files import dump_model
threadpool_limits(1)
said = {{}}
for name, estimator in every_estimator():
    for form in (*FORMS, "in a search"):
        try:
            said[f"{{name}}, {{form}}"] = hashlib.sha256(dump_model(fitted(estimator, form)[0])).hexdigest()
        except Exception as error:
            said[f"{{name}}, {{form}}"] = type(error).__name__
print(json.dumps(said))
"""


@pytest.mark.slow
def test_equal_fits_of_every_estimator_in_two_processes_are_equal_bytes():
    code = FIT.format(tests=str(ROOT / "tests"))
    one, other = (
        json.loads(
            subprocess.run(
                [sys.executable, "-c", code],
                env={**os.environ, "PYTHONHASHSEED": seed, "MALLOC_PERTURB_": seed, "OMP_NUM_THREADS": "1"},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for seed in ("1", "77")
    )
    assert {name for name in one if one[name] != other[name]} == set()
    assert sum(len(digest) == 64 for digest in one.values()) > 500 and len(list(every_estimator())) > 200
