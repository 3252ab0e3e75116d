"""Turns are taken by one at a time, also while one is judged to be left behind."""

import os
import threading
import time

import pytest

from mlnb.store import holders
from mlnb.store.holders import by_turns


def test_turn_that_is_judged_left_behind_is_not_taken_from_who_has_it_meanwhile(tmp_path, monkeypatch):
    path, has_turn, done = tmp_path / "model.turn", threading.Event(), threading.Event()

    def take_it():
        with by_turns(tmp_path, path, 0o600):
            has_turn.set()
            done.wait(10)

    other = threading.Thread(target=take_it)
    judged = holders.judged

    def judged_slowly(root, mark):
        if other.ident is None:
            path.unlink()  # its holder ends, and somebody else comes
            other.start()
            time.sleep(0.2)
            return "gone"
        return judged(root, mark)

    path.write_text(holders.mark_line(holders.own_mark()))
    monkeypatch.setattr(holders, "judged", judged_slowly)
    assert holders._wait_turn(tmp_path, path, 0o600) is False
    assert has_turn.wait(10) and path.exists()
    done.set()
    other.join(10)
    assert not path.exists()


@pytest.mark.parametrize("n_processes", [8])
def test_of_many_processes_one_at_a_time_has_the_turn(tmp_path, n_processes):
    count = tmp_path / "count"
    count.write_text("0")

    def add_one():
        with by_turns(tmp_path, tmp_path / "model.turn", 0o600):
            before = int(count.read_text())
            time.sleep(0.002)
            count.write_text(str(before + 1))

    children = []
    for _ in range(n_processes * 3):
        child = os.fork()
        if child == 0:
            add_one()
            os._exit(0)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * len(children)
    assert int(count.read_text()) == len(children)
