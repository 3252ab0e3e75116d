"""What DuckDB has and a table has not is refused by name, and the cast that the mend writes is followed."""

import datetime
import decimal
import re
import sqlite3
import threading

import duckdb
import pytest

from mlnb.sources.source import read_source
from mlnb.sources.sql import HeldError, pin_sql
from mlnb.store.errors import StoreError, UsageError
from mlnb.store.objects import open_store


@pytest.fixture
def ask(tmp_path):
    "The answer of a query as rows, by way of the store."
    store = open_store(tmp_path / "store")

    def of(sql, as_="arrow", connection=None):
        pinned = pin_sql(store, tmp_path, sql, connection, "raw")
        found = read_source(tmp_path, pinned, as_=as_, store=store)
        return found.to_pylist() if as_ == "arrow" else found

    return of


NO_EQUAL = {
    "340282366920938463463374607431768211455::UHUGEINT": "340282366920938463463374607431768211455",
    "'01:02:03+02'::TIMETZ": "01:02:03+02",
    "'101'::BIT": "101",
    "'123456789012345678901234567890123456789012'::BIGNUM": "123456789012345678901234567890123456789012",
    "INTERVAL 1 DAY": "1 day",
    "'infinity'::DATE": "infinity",
    "'-infinity'::DATE": "-infinity",
    "'infinity'::TIMESTAMP": "infinity",
    "'infinity'::TIMESTAMPTZ": "infinity",
    "'infinity'::TIMESTAMP_S": "infinity",
    "'infinity'::TIMESTAMP_MS": "infinity",
    "'infinity'::TIMESTAMP_NS": "infinity",
    "'20000-01-01'::DATE": "20000-01-01",
    "170141183460469231731687303715884105727::HUGEINT": "170141183460469231731687303715884105727",
    "5::UNION(n INTEGER, s VARCHAR)": "5",
    "['01:02:03+02'::TIMETZ]": "['01:02:03+02']",
    "{'a': '101'::BIT}": "{'a': 101}",
    "MAP {'a': 5::UHUGEINT}": "{a=5}",
    "[{'day': 'infinity'::DATE}]": "[{'day': infinity}]",
}


@pytest.mark.parametrize("name", ["v", "a day"])
@pytest.mark.parametrize("value", NO_EQUAL)
def test_what_no_table_holds_is_refused_and_the_cast_of_the_mend_works(ask, value, name):
    query = f'SELECT {value} AS "{name}"'
    with pytest.raises(UsageError, match=f"column `{name}` of source `raw`") as caught:
        ask(query)
    cast = re.search(r"write (CAST\(.*\)) in its query", caught.value.mend)[1]
    assert ask(f"SELECT {cast} AS v FROM ({query}) ORDER BY 1") == [{"v": NO_EQUAL[value]}]


KEPT = {
    "1::TINYINT": 1,
    "18446744073709551615::UBIGINT": 18446744073709551615,
    "1.50::DECIMAL(9, 2)": decimal.Decimal("1.50"),
    "12345678901234567890123456789012345678::DECIMAL(38, 0)": decimal.Decimal(
        "12345678901234567890123456789012345678"
    ),
    "DATE '9999-12-31'": datetime.date(9999, 12, 31),
    "DATE '0001-01-01'": datetime.date(1, 1, 1),
    "TIMESTAMP '2026-11-23 01:02:03.000004'": datetime.datetime(2026, 11, 23, 1, 2, 3, 4),
    "TIME '01:02:03'": datetime.time(1, 2, 3),
    "'x'::ENUM('x', 'y')": "x",
    "[1, NULL]": [1, None],
    "{'a': [DATE '2026-11-23']}": {"a": [datetime.date(2026, 11, 23)]},
    "'\\xAA'::BLOB": b"\xaa",
    "'b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::UUID": "b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    "NULL::DATE": None,
}


@pytest.mark.parametrize("value", KEPT)
def test_what_a_table_holds_comes_back(ask, value):
    assert ask(f"SELECT {value} AS v") == [{"v": KEPT[value]}]


@pytest.mark.parametrize(
    ("values", "total", "kind"),
    [
        ("(1), (2)", 3, "int64"),
        ("(9223372036854775807)", 2**63 - 1, "int64"),
        ("(9223372036854775807), (1)", decimal.Decimal(2**63), "object"),
        ("(-9223372036854775808)", -(2**63), "int64"),
    ],
)
def test_a_sum_of_integers_is_an_integer_where_that_is_exact(ask, values, total, kind):
    found = ask(f"SELECT sum(n) AS total FROM (VALUES {values}) t(n)", as_=None)["total"]
    assert (found[0], str(found.dtype)) == (total, kind) and type(found.tolist()[0]) is type(total)


def hold_briefly(tmp_path, seconds):
    "Lock a database of SQLite, and let it go after a while."
    holder = sqlite3.connect(tmp_path / "a.db", isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN EXCLUSIVE")
    timer = threading.Timer(seconds, holder.close)
    timer.start()
    return timer


@pytest.fixture
def database(tmp_path):
    "A database of SQLite with one row."
    with sqlite3.connect(tmp_path / "a.db") as made:
        made.execute("CREATE TABLE t AS SELECT 1 AS n")
    made.close()


def test_a_lock_that_is_soon_gone_stops_nobody(ask, tmp_path, database):
    timer = hold_briefly(tmp_path, 1.3)  # longer than SQLite itself waits
    assert ask("SELECT n FROM t ORDER BY n", connection="sqlite:///a.db") == [{"n": 1}]
    timer.join()


def test_a_lock_that_stays_is_nobodys_mistake(ask, tmp_path, database, monkeypatch):
    monkeypatch.setattr("mlnb.sources.sql.LOCK_WAITS_S", ())
    timer = hold_briefly(tmp_path, 60)
    try:
        with pytest.raises(HeldError) as caught:
            ask("SELECT n FROM t", connection="sqlite:///a.db?timeout=0")
    finally:
        timer.cancel()
        timer.function()
    assert isinstance(caught.value, StoreError) and caught.value.exit_code == 69
    assert "try again" in caught.value.mend and "sql" not in caught.value.mend


def test_a_lock_of_duckdb_is_asked_again(monkeypatch, ask, tmp_path):
    duckdb.connect(str(tmp_path / "shop.duckdb")).close()
    real, n_tries = duckdb.connect, []

    def connect(*about, **more):
        n_tries.append(1)
        if len(n_tries) < 3:
            raise duckdb.IOException(
                'IO Error: Could not set lock on file "shop.duckdb": Conflicting lock is held'
            )
        return real(*about, **more)

    monkeypatch.setattr("mlnb.sources.sql.LOCK_WAITS_S", (0, 0))
    monkeypatch.setattr(duckdb, "connect", connect)
    assert ask("SELECT 1 AS n", connection="duckdb:shop.duckdb") == [{"n": 1}] and len(n_tries) == 3
