"""What is not there, or not any more, is no surprise: each reader says so in the words that it has for it."""

import fcntl

import pytest

from mlnb.care.audit import audit
from mlnb.care.chain import audit_entry
from mlnb.care.log_file import read_log
from mlnb.sharing.push import send_ref
from mlnb.sharing.remote import open_remote, sizes_below
from mlnb.sharing.trust import Exchange
from mlnb.store.disk import lock_file
from mlnb.store.holders import holder_of
from mlnb.store.hosts import NOBODY_KNOWN
from mlnb.store.layout import migrate, read_layout
from mlnb.store.objects import open_store
from mlnb.store.user_lines import line_in_magic


def test_file_that_is_locked_without_a_mark_is_held_by_nobody_known(tmp_path):
    path = tmp_path / "alive"
    path.touch()
    with open(path) as file:
        lock_file(file.fileno(), fcntl.LOCK_EX)
        held = holder_of(tmp_path, path)
    assert str(path) in str(held) and NOBODY_KNOWN.host in str(held)
    assert held.as_dict()["file"] == str(path) and not held.is_elsewhere
    assert holder_of(tmp_path, path) is None


def test_store_that_is_removed_before_its_migration_begins_is_not_made_again(tmp_path):
    migrate(tmp_path, False)
    assert read_layout(tmp_path) is None and not (tmp_path / "format").exists()


@pytest.mark.parametrize(
    "line",
    [
        "get_ipython().run_line_magic('time', 'load(x)') and load(x)",
        "get_ipython().run_line_magic('time', text)",
        "get_ipython().run_cell_magic('time', '',",
        "get_ipython().run_line_magic().args",
    ],
)
def test_call_of_a_magic_that_holds_no_text_has_no_line(line):
    assert line_in_magic(line, 1) is None


def test_ref_that_is_gone_is_not_sent(tmp_path):
    store, remote = open_store(tmp_path / "mine"), open_remote(str(tmp_path / "there"))
    exchange = Exchange(store, remote, "there")
    assert send_ref(exchange, "heads/fraud/default", 0) == "behind"
    assert sizes_below(remote, "refs") == {}


def test_entry_that_was_written_is_given_back_as_it_stands_in_the_log(tmp_path):
    store = open_store(tmp_path / "mine")
    written = audit(store, "promotion", who="é ☃", n=1 << 60, share=0.1 + 0.2)
    assert written == audit_entry(read_log(store).lines[-1])
