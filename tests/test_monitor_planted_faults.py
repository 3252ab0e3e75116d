"""Planted faults: each is caught, the broken column is named, and windows without a fault are left alone.

Windows and faults are those of `benchmarks/faults.py`, which lays Evidently and NannyML beside them."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

BATTERY = Path(__file__).parent.parent / "benchmarks/faults.py"
PEOPLE_BROKEN = ["AGEP", "predicted_probability", "SCHL", "MAR", "CIT", "RELP", "DEAR", "DEYE", "SEX"]
FEW = ["card", "when", "amount", "hour", "kind", "area"]


@pytest.fixture(scope="module")
def battery():
    spec = importlib.util.spec_from_file_location("planted_faults", BATTERY)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def said(battery, case, warn=0.1):
    "Columns, and rules of whole rows, that are no longer ok."
    found = battery.together(
        battery.severities_of_drift(case.windows, warn, 2 * warn), battery.severities_of_quality(case.windows)
    )
    return {name for name, value in found.items() if value >= 1}


@pytest.fixture(scope="module")
def some_people(battery):
    people = battery.read_people()[[*PEOPLE_BROKEN, "year", "employed"]]
    return battery.people_of(0, people, n_reference=3000, n_current=1500)


@pytest.fixture(scope="module")
def some_payments(battery):
    payments = battery.payments_of(n_cards=250, n_terminals=500)
    week = battery.week_of(0, payments, n_seeds=1)
    known = [*FEW, *battery.DAYS_OF_CARD]
    return week._replace(reference=week.reference[known], current=week.current[known])


def check_plain_faults(battery, windows, faults):
    "All plain faults but the slow one, whose size is just where drift begins to count."
    faults = [fault for fault in faults if not fault.name.startswith("slow")]
    for case in battery.planted_in(windows, faults, 0):
        found = said(battery, case) if case.size == "plain" else set()
        assert case.size == "slight" or found, case.name
        assert found <= {*(case.broken or ["(repeated)"])}, (case.name, found)


def test_plain_fault_of_people_is_caught_and_its_column_named(battery, some_people):
    check_plain_faults(battery, some_people[0], battery.OF_PEOPLE)
    assert not any(said(battery, battery.Case("", "", windows)) for windows in some_people)


def test_plain_fault_of_payments_is_caught_and_its_column_named(battery, some_payments):
    check_plain_faults(battery, some_payments, battery.OF_PAYMENTS)


def test_season_and_holiday_and_other_cards_are_no_faults(battery, some_payments):
    found = {
        name: said(battery, battery.Case(name, "", windows))
        for name, windows in battery.without_fault(some_payments, np.random.default_rng(0))
    }
    assert len(found) == 5 and not any(found.values()), found
