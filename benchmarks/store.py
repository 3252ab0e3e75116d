"""What it costs to keep a value safely: the store beside the same file written plainly, and beside `dvc
add`."""

import argparse
import hashlib
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from mlnb.care.gc import Retention, collect
from mlnb.care.verify import verify_store
from mlnb.store import codecs
from mlnb.store.artifacts import put_value
from mlnb.store.disk import flush_folder, make_folder
from mlnb.store.objects import get, open_store, put
from mlnb.store.pins import forget_pins
from mlnb.store.records import commit, find_record, records_of

ROUNDS = 5
FRAME_ROUNDS = 9


def seconds(work) -> float:
    "Wall time of one call [s]."
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turns(works: dict, rounds: int = ROUNDS) -> dict[str, float]:
    """Median time of each piece of work [s]; in turns, so that a busy moment of the machine falls on all of
    them."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for round_ in range(rounds):
        for name, work in works.items():
            times[name].append(seconds(lambda work=work, round_=round_: work(round_)))
    return {name: statistics.median(found) for name, found in times.items()}


def write_plainly(path: Path, data: bytes, flush: bool) -> str:
    """Write a file and hash it, as a careful script does; `flush` also waits until content and name would
    survive a power cut."""
    with open(path, "wb") as file:
        file.write(data)
        if flush:
            file.flush()
            os.fsync(file.fileno())
    if flush:
        flush_folder(path.parent)
    return hashlib.sha256(data).hexdigest()


def content(size: int, round_: int) -> bytes:
    "Bytes that no store has yet."
    return round_.to_bytes(8, "big") + os.urandom(1 << 20) * (size >> 20)


def show(title: str, times: dict[str, float], peer: str | None = None, budget: str = "") -> None:
    print(f"\n{title}{f'  (budget {budget})' if budget else ''}")
    for name, value in times.items():
        print(f"  {name:44}{value:10.4f} s" + (f"{value / times[peer]:8.2f}x" if peer else ""))


def bytes_of(folder: Path, store, size: int, rounds: int = ROUNDS) -> None:
    contents = [content(size, n) for n in range(rounds)]
    digests = [hashlib.sha256(c).hexdigest() for c in contents]
    put_times = in_turns(
        {
            "plain file + SHA-256": lambda n: write_plainly(folder / f"a{n}", contents[n], False),
            "plain file + SHA-256, flushed": lambda n: write_plainly(folder / f"b{n}", contents[n], True),
            "store: put": lambda n: put(store, contents[n]),
        },
        rounds,
    )
    show(f"put {size >> 20} MiB", put_times, "plain file + SHA-256, flushed", "1.25x of the flushed file")
    get_times = in_turns(
        {
            "plain file + SHA-256": lambda n: hashlib.sha256((folder / f"b{n}").read_bytes()),
            "store: get": lambda n: get(store, digests[n]),
        },
        rounds,
    )
    show(f"get {size >> 20} MiB", get_times, "plain file + SHA-256", "1.25x")
    for path in folder.glob("[ab][0-9]*"):
        path.unlink()


def frame_of(rows: int, columns: int, round_: int):
    import numpy as np
    import pandas as pd

    chooser = np.random.default_rng(round_)
    return pd.DataFrame(
        {
            f"c{n}": chooser.normal(size=rows) if n % 2 else chooser.integers(0, 1000, rows)
            for n in range(columns)
        }
    )


def frames(folder: Path, store) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    made = [frame_of(1_000_000, 20, n) for n in range(FRAME_ROUNDS)]
    digests = {}

    def plainly(n, flush):
        path = folder / f"f{n}.parquet"
        pq.write_table(
            pa.Table.from_pandas(made[n]),
            path,
            compression="zstd",
            compression_level=1,
            version="2.6",
            row_group_size=1 << 20,
            write_page_checksum=True,
        )
        if flush:
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)
            flush_folder(folder)
        with open(path, "rb") as file:
            hashlib.file_digest(file, "sha256")

    def keep(n):
        digests[n] = put_value(store, made[n]).digest

    times = in_turns(
        {
            "plain Parquet + SHA-256": lambda n: plainly(n, False),
            "plain Parquet + SHA-256, flushed": lambda n: plainly(n, True),
            "store: put": keep,
        },
        FRAME_ROUNDS,
    )
    show(
        "put a frame of 1,000,000 x 20",
        times,
        "plain Parquet + SHA-256, flushed",
        "1.25x of the flushed file",
    )

    def read(n):
        with open(folder / f"f{n}.parquet", "rb") as file:
            hashlib.file_digest(file, "sha256")
        return pq.read_table(folder / f"f{n}.parquet", page_checksum_verification=True).to_pandas()

    times = in_turns(
        {
            "plain Parquet + SHA-256": read,
            "store: get and decode": lambda n: codecs.decode("frame", get(store, digests[n])),
        },
        FRAME_ROUNDS,
    )
    show("get the frame", times, "plain Parquet + SHA-256", "1.25x")


def record(n: int, digest: str, size: int) -> dict:
    "A record as large as a usual one."
    return {
        "key": f"{n:064x}",
        "parts": {"cells": [f"{n:064x}"] * 12},
        "pipeline": "many",
        "stage": "small",
        "run": f"20261123T{n:09d}-aaaa",
        "inputs": {},
        "outputs": {"value": {"digest": digest, "codec": "text", "bytes": size, "type": "str"}},
        "metrics": {"n": n},
        "environment": {"packages": {f"package{i}": "1.0" for i in range(30)}},
    }


def small_artifacts(folder: Path, n: int) -> None:
    store = open_store(folder / "small")
    values = [f"value {i}".encode() for i in range(n)]
    times = {
        f"put {n:,}": seconds(lambda: [put(store, v) for v in values]),
        "put them again": seconds(lambda: [put(store, v) for v in values]),
        "list": seconds(lambda: sum(1 for _ in (store.root / "objects").glob("*/*"))),
        "verify": seconds(lambda: verify_store(store)),
    }
    forget_pins()
    times["gc, dry run"] = seconds(lambda: collect(store, dry_run=True))
    times["gc, all to the trash"] = seconds(lambda: collect(store))
    times["gc, trash emptied"] = seconds(lambda: collect(store))
    show(f"{n:,} small artifacts", times)


def many_records(folder: Path, n: int) -> None:
    store = open_store(folder / "records")
    digest = put(store, b"one value")
    times = {
        f"commit {n:,} records": seconds(lambda: [commit(store, record(i, digest, 9)) for i in range(n)]),
        "list every record": seconds(lambda: records_of(store, "many", "small")),
        "find every record, outputs looked for": seconds(
            lambda: [find_record(store, "many", "small", f"{i:064x}") for i in range(n)]
        ),
        "verify": seconds(lambda: verify_store(store)),
        "gc": seconds(lambda: collect(store, Retention(records=n))),
    }
    show(f"{n:,} records", times, budget="listing <= 0.5 s")


def dvc(folder: Path, python: Path, n: int) -> None:
    "The same with DVC: one folder of small files, one file of 100 MiB."
    program = [str(python.parent / "dvc")]
    work = folder / "dvc"
    (work / "small").mkdir(parents=True)
    for i in range(n):
        (work / "small" / f"{i}.txt").write_text(f"value {i}")
    (work / "big").write_bytes(content(100 << 20, 0))
    environment = os.environ | {"DVC_NO_ANALYTICS": "1", "PYTHONPATH": ""}

    def call(*arguments):
        subprocess.run([*program, *arguments], cwd=work, check=True, capture_output=True, env=environment)

    subprocess.run(["git", "init", "-q"], cwd=work, check=True)
    call("init", "-q")
    show(
        "the same with DVC, as a process each",
        {
            "dvc --version": seconds(lambda: call("--version")),
            "dvc add, 100 MiB": seconds(lambda: call("add", "big")),
            f"dvc add, {n:,} small files in one folder": seconds(lambda: call("add", "small")),
            "dvc status": seconds(lambda: call("status")),
        },
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dvc", type=Path, help="python of an environment that has DVC")
    parser.add_argument("--small", type=int, default=100_000, help="number of small artifacts")
    parser.add_argument("--records", type=int, default=10_000, help="number of records")
    parser.add_argument("--only", choices=["bytes", "frames", "small", "records", "dvc"], help="one part")
    parser.add_argument("--folder", help="where to measure; the temporary directory otherwise")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        store = open_store(folder / "store")
        for n in range(256):  # once in the life of a store; not part of what is measured
            make_folder(store.root / "objects" / f"{n:02x}")
        if given.only in (None, "bytes"):
            bytes_of(folder, store, 1 << 20, 60)
            bytes_of(folder, store, 100 << 20)
        if given.only in (None, "frames"):
            frames(folder, store)
        if given.only in (None, "records"):
            many_records(folder, given.records)
        if given.only in (None, "small"):
            small_artifacts(folder, given.small)
        if given.dvc and given.only in (None, "dvc"):
            dvc(folder, given.dvc, given.small)
        forget_pins()


if __name__ == "__main__":
    main()
