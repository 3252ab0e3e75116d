"""Daily partitions: what is read is what was written and pinned, and every other state of the files is
refused by name."""

import shutil

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from mlnb.data.partitions import pin_days, read_days, write_days
from mlnb.data.schema import SchemaError
from mlnb.fraud.daily import simulate_days
from mlnb.fraud.payments import TIME_COLUMN, TRANSACTIONS
from mlnb.fraud.simulator import START, simulate
from mlnb.store.errors import InputChangedError, UsageError

SIZE = (4, 60, 1000)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream") / "payments"
    write_days(simulate_days(*SIZE), folder, START, TIME_COLUMN)
    return folder


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "payments")


def part(folder, day):
    return folder / f"day=2018-04-0{day}" / "part-0.parquet"


def test_read_days_gives_the_written_stream(folder):
    assert_frame_equal(
        pd.concat(read_days(folder, TIME_COLUMN, schema=TRANSACTIONS), ignore_index=True),
        simulate(*SIZE),
        check_exact=True,
    )


def test_equal_streams_give_equal_bytes(folder, tmp_path):
    again = write_days(simulate_days(*SIZE), tmp_path / "again", START, TIME_COLUMN)
    assert [path.read_bytes() for path in again] == [part(folder, day).read_bytes() for day in range(1, 5)]


def test_day_of_several_files_is_read_in_the_order_of_their_names(folder):
    day = pd.read_parquet(part(folder, 2))
    day.head(30).to_parquet(part(folder, 2))
    day.tail(-30).to_parquet(part(folder, 2).with_name("part-1.parquet"))
    assert_frame_equal(list(read_days(folder, TIME_COLUMN))[1], day)


def test_unfinished_file_is_not_read(folder):
    part(folder, 2).with_name(".part-1.parquet").write_bytes(b"half")
    assert len(list(read_days(folder, TIME_COLUMN))) == 4


def test_empty_day_is_an_empty_frame(folder):
    pd.read_parquet(part(folder, 3)).head(0).to_parquet(part(folder, 3))
    days = list(read_days(folder, TIME_COLUMN))
    assert [len(day) > 0 for day in days] == [True, True, False, True]
    assert days[2].dtypes.equals(days[0].dtypes)


@pytest.mark.parametrize(
    ("spoil", "error", "said"),
    [
        (lambda path: path.write_bytes(b""), UsageError, "day=2018-04-02/part-0.parquet cannot be read"),
        (
            lambda path: path.write_bytes(path.read_bytes()[:-100]),
            UsageError,
            "day=2018-04-02/part-0.parquet cannot be read",
        ),
        (lambda path: path.unlink(), SchemaError, "1 days have no partition, the first is 2018-04-02"),
        (lambda path: path.rename(path.with_suffix(".csv")), UsageError, "is no partition of a day"),
        (
            lambda path: path.rename(path.parent.parent / "part-9.parquet"),
            UsageError,
            "is no partition of a day",
        ),
    ],
)
def test_file_that_is_no_partition_is_refused(folder, spoil, error, said):
    spoil(part(folder, 2))
    with pytest.raises(error, match=said) as raised:
        list(read_days(folder, TIME_COLUMN))
    assert raised.value.mend


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda day: day.drop(columns="TX_FRAUD"),
            "day=2018-04-02/part-0.parquet: column `TX_FRAUD` is missing",
        ),
        (
            lambda day: day.assign(CHANNEL=1),
            "day=2018-04-02/part-0.parquet: column `CHANNEL` is not in the schema",
        ),
        (lambda day: day.astype({"CUSTOMER_ID": float}), "column `CUSTOMER_ID` is float64 instead of int64"),
        (
            lambda day: day.assign(TX_DATETIME=day["TX_DATETIME"].dt.tz_localize("Europe/Rome")),
            "instead of datetime64",
        ),
        (
            lambda day: day.assign(TX_DATETIME=day["TX_DATETIME"] + pd.Timedelta(hours=2)),
            "rows of day=2018-04-02 are dated on another day",
        ),
        (
            lambda day: day.assign(
                TX_DATETIME=day["TX_DATETIME"].where(
                    day.index != 3, day["TX_DATETIME"] + pd.Timedelta(days=1)
                )
            ),
            "1 rows of day=2018-04-02",
        ),
    ],
)
def test_day_unlike_the_others_is_refused(folder, change, said):
    change(pd.read_parquet(part(folder, 2))).to_parquet(part(folder, 2))
    with pytest.raises(SchemaError, match=said) as raised:
        list(read_days(folder, TIME_COLUMN))
    assert raised.value.mend


def test_partition_that_changes_while_others_are_read_is_refused(folder):
    days = read_days(folder, TIME_COLUMN)
    first = next(days)
    part(folder, 2).write_bytes(part(folder, 3).read_bytes())
    with pytest.raises(InputChangedError, match="day=2018-04-02"):
        next(days)
    assert len(first)


def test_partition_that_vanishes_or_changed_after_pinning_is_refused(folder):
    pinned = pin_days(folder)
    part(folder, 4).unlink()
    with pytest.raises(InputChangedError, match="day=2018-04-04"):
        list(read_days(folder, TIME_COLUMN, pinned))


def test_second_stream_in_one_folder_is_refused(folder):
    before = part(folder, 1).read_bytes()
    with pytest.raises(UsageError, match="holds data already"):
        write_days(simulate_days(2, 60, 1000), folder, START, TIME_COLUMN)
    assert part(folder, 1).read_bytes() == before


def test_rows_of_another_day_are_not_written(tmp_path):
    with pytest.raises(SchemaError, match="dated on another day"):
        write_days(simulate_days(2, 60, 1000), tmp_path, np.datetime64("2024-01-01"), TIME_COLUMN)
    assert list(tmp_path.rglob("*.parquet")) == []
