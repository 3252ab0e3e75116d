"""Records and documents of runs written as plain JSON, as other tools see them."""

from mlnb.store import records, runs
from mlnb.store.record import Record
from mlnb.store.run_entries import RunDocument


def as_record(plain):
    return plain if isinstance(plain, Record) else Record.from_dict(plain)


def commit(store, record, replace=False, sign=dict):
    return records.commit(store, as_record(record), replace, sign)


def as_run(plain):
    return plain if isinstance(plain, RunDocument) else RunDocument.from_dict(plain)


def write_run(store, document, sign=dict):
    runs.write_run(store, as_run(document), sign)
