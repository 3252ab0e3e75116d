"""The store, its refs and its collections against plain dicts, in random order."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from plain_records import commit

from mlnb.care.gc import Retention, collect
from mlnb.care.verify import verify_store
from mlnb.store.digests import sha256
from mlnb.store.errors import IntegrityError, LockedError
from mlnb.store.objects import get, has, open_store, path_of, put
from mlnb.store.pins import forget_pins
from mlnb.store.records import find_record, output_digests
from mlnb.store.refs import move_ref, read_ref, ref_history

VALUES = st.sampled_from([f"value {n}".encode() for n in range(8)])
KEYS = st.sampled_from([f"{n}" * 64 for n in range(5)])
ALIASES = st.sampled_from(
    ["names/fraud/model/champion", "names/fraud/model/candidate", "heads/fraud/default"]
)


class StoreMachine(RuleBasedStateMachine):
    "What the store must know: values that are needed, one record a key, the history of each ref."

    @initialize()
    def make(self):
        self.folder = Path(tempfile.mkdtemp(prefix="mlnb-model-"))
        self.store = open_store(self.folder / "store")
        self.records, self.refs, self.pinned, self.number = {}, {}, set(), 0

    def teardown(self):
        forget_pins()
        shutil.rmtree(self.folder, ignore_errors=True)

    def put(self, value):
        digest = put(self.store, value)
        assert digest == sha256(value)
        self.pinned.add(value)
        return digest

    @rule(value=VALUES)
    def put_value(self, value):
        self.put(value)

    @rule(key=KEYS, value=VALUES)
    def commit_record(self, key, value):
        "The first record of a key wins as long as its value is there."
        self.number += 1
        digest = self.put(value)
        done = commit(
            self.store,
            {
                "key": key,
                "parts": {},
                "pipeline": "fraud",
                "stage": "train",
                "run": f"r{self.number:06d}",
                "inputs": {},
                "metrics": {},
                "outputs": {"model": {"digest": digest, "codec": "text", "bytes": len(value)}},
            },
        )
        if key in self.records:
            kept = self.records[key]
            assert (done.is_first, done.is_reproduced) == (False, kept == value)
            assert output_digests(done.record) == {"model": sha256(kept)}
        else:
            assert done.is_first
            self.records[key] = value

    @rule(name=ALIASES, value=VALUES)
    def move(self, name, value):
        self.put(value)
        history = self.refs.setdefault(name, [])
        assert move_ref(self.store, name, sha256(value), "moved").number == len(history) + 1
        history.append(value)

    @rule(name=ALIASES, value=VALUES, behind=st.integers(1, 3))
    def move_too_late(self, name, value, behind):
        history = self.refs.get(name, [])
        if len(history) < behind:
            return
        with pytest.raises(LockedError):
            move_ref(self.store, name, sha256(value), "too late", after=len(history) - behind)

    @rule()
    def processes_end(self):
        forget_pins()
        self.pinned = set()

    @rule()
    def open_again(self):
        self.store = open_store(self.folder / "store")

    @rule()
    def collect_garbage(self):
        collect(self.store)

    @rule()
    def collect_twice_with_everything_ended(self):
        "Nothing is left but what the model needs."
        self.processes_end()
        collect(self.store)
        collect(self.store)
        left = {p.name for p in (self.store.root / "objects").glob("*/*")}
        assert self.needed() <= left <= self.needed() | self.of_evidence()

    @rule(key=KEYS)
    def forget_a_record(self, key):
        "Retention of none: only records that refs lead to stay."
        named = {
            v
            for name, history in self.refs.items()
            for v in (history if name.endswith("champion") else history[-1:])
        } | self.pinned
        collect(self.store, Retention(records=0))
        gone = [k for k, v in self.records.items() if v not in named]
        collect(self.store, Retention(records=0))
        for k in gone:
            if find_record(self.store, "fraud", "train", k) is None:
                del self.records[k]

    @rule(value=VALUES)
    def damage(self, value):
        path = path_of(self.store, sha256(value))
        if not path.exists():
            return
        path.chmod(0o600)
        path.write_bytes(b"damaged")
        with pytest.raises(IntegrityError):
            get(self.store, sha256(value))
        assert not path.exists()
        assert get(self.store, put(self.store, value)) == value
        self.pinned.add(value)

    def needed(self):
        refs = {
            v
            for name, history in self.refs.items()
            for v in (history if name.endswith("champion") else history[-1:])
        }
        return {sha256(v) for v in refs | set(self.records.values()) | self.pinned}

    def of_evidence(self):
        from mlnb.care.roots import digests_in

        return {d for p in (self.store.root / "records").rglob("*.evidence") for d in digests_in(p)}

    @invariant()
    def what_is_needed_is_there(self):
        if not hasattr(self, "store"):
            return
        assert all(has(self.store, digest) for digest in self.needed())
        for key, value in self.records.items():
            record = find_record(self.store, "fraud", "train", key)
            assert (
                output_digests(record) == {"model": sha256(value)} and get(self.store, sha256(value)) == value
            )
        for name, history in self.refs.items():
            assert [v.target for v in ref_history(self.store, name)] == [
                sha256(v) for v in history
            ] and read_ref(self.store, name).target == sha256(history[-1])

    @invariant()
    def it_verifies(self):
        if hasattr(self, "store"):
            found = verify_store(self.store)
            assert found.clean and found.temporaries == []


QUICK = settings(
    max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
LONG = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


class TestStoreQuick(StoreMachine.TestCase):
    settings = QUICK


@pytest.mark.slow
class TestStoreLong(StoreMachine.TestCase):
    settings = LONG
