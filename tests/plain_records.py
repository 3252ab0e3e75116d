"""Records written as plain JSON, as other tools see them."""

from mlnb.store import records
from mlnb.store.record import Record


def as_record(plain):
    return plain if isinstance(plain, Record) else Record.from_dict(plain)


def commit(store, record, replace=False):
    return records.commit(store, as_record(record), replace)
