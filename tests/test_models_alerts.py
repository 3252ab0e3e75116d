"""One rule for a score that meets a threshold, and nobody else's."""

import ast
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlnb.models.alerts import decided_scores, is_alert
from mlnb.models.capacity import CaseWork, worked_cases
from mlnb.models.threshold import best_threshold, savings, worth

ROOT = Path(__file__).parent.parent
PLACES = ("mlnb/**/*.py", "nbs/**/*.ipynb", "scripts/*.py", "benchmarks/*.py")
SCORE = re.compile(r"score|proba|champion|candidate|highest")
THRESHOLD = re.compile(r"threshold|alert_from|\bcut\b|cutoff")
THE_RULE = ("mlnb/models/alerts.py", "nbs/models/060_alerts.ipynb")
CALLS = {"ge", "gt", "le", "lt", "greater", "greater_equal", "less", "less_equal"}


def code_of(path: Path) -> str:
    text = path.read_text()
    if path.suffix == ".py" or not (SCORE.search(text) and THRESHOLD.search(text)):
        return text if path.suffix == ".py" else ""
    cells = [c["source"] for c in json.loads(text)["cells"] if c["cell_type"] == "code"]
    sources = ("".join(source) for source in cells)
    return "\n".join(source for source in sources if not re.search(r"^[%!]", source, re.M))


def sides(node: ast.AST) -> list[ast.AST]:
    "What is compared by a node."
    if isinstance(node, ast.Compare):
        ordered = any(isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE) for op in node.ops)
        return [node.left, *node.comparators] if ordered else []
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CALLS:
        return [node.func.value, *node.args]
    return []


def comparisons(code: str) -> list[str]:
    "Comparisons of a score with a threshold."
    if not (SCORE.search(code) and THRESHOLD.search(code)):
        return []
    found = []
    for node in ast.walk(ast.parse(code)):
        texts = [ast.unparse(side) for side in sides(node)]
        scores = [text for text in texts if SCORE.search(text) and not THRESHOLD.search(text)]
        if scores and any(THRESHOLD.search(text) for text in texts):
            found.append(ast.unparse(node))
    return found


def test_no_other_place_compares_a_score_with_a_threshold():
    files = [path for place in PLACES for path in ROOT.glob(place) if ".ipynb_checkpoints" not in path.parts]
    found = {str(path.relative_to(ROOT)): comparisons(code_of(path)) for path in files if path.is_file()}
    assert {path: lines for path, lines in found.items() if lines and path not in THE_RULE} == {}
    assert len(found) > 500


@pytest.mark.parametrize(
    "code",
    [
        "scores >= threshold",
        "rows['score'].ge(work.threshold)",
        "np.greater_equal(champion, alert_from)",
        "threshold[name] <= model.predict_proba(rows)[:, 1]",
        "x[highest < cut]",
    ],
)
def test_comparison_of_a_score_with_a_threshold_is_found(code):
    assert comparisons(code)


numbers = st.floats(0, 1) | st.integers(0, 20).map(lambda n: n / 20)


@settings(max_examples=40, deadline=None)
@given(scores=st.lists(numbers, min_size=1, max_size=20), at=st.integers(0, 19), ulps=st.integers(-3, 3))
def test_decision_does_not_hang_on_the_last_bits(scores, at, ulps):
    threshold = scores[at % len(scores)]
    other = [score + ulps * np.spacing(score) for score in scores]
    away = np.abs(np.modf(np.array(scores) * 1e9)[0] - 0.5) > 1e-5  # of a half of the ninth digit
    away &= abs(np.modf(threshold * 1e9)[0] - 0.5) > 1e-5
    same = is_alert(scores, threshold) == is_alert(other, threshold)
    assert same[away].all()
    rounded = decided_scores(scores)
    assert (decided_scores(rounded) == rounded).all()
    assert (is_alert(rounded, threshold) == is_alert(scores, threshold)).all()


@settings(max_examples=15, deadline=None)
@given(scores=st.lists(st.integers(0, 8), min_size=2, max_size=20), shift=st.integers(-2, 2))
def test_money_and_cases_are_those_of_the_rule(scores, shift):
    exact = np.array(scores) / 10
    moved = exact + shift * np.spacing(exact)
    labels, amounts = np.arange(len(scores)) % 2, np.arange(len(scores)) * 7.0
    chosen = best_threshold(savings(exact, labels, amounts, 1))
    assert worth(chosen, moved, labels, amounts, 1) == worth(chosen, exact, labels, amounts, 1)
    assert worth(chosen, exact, labels, amounts, 1)["alerts_per_day"] == is_alert(moved, chosen).sum()
    pd.testing.assert_frame_equal(savings(exact, labels, amounts, 1), savings(moved, labels, amounts, 1))
    work, units = CaseWork(0.3, 2, 1.0, 1.0), np.arange(len(scores))
    days = np.zeros(len(scores))
    assert (worked_cases(exact, units, days, work) == worked_cases(moved, units, days, work)).all()
