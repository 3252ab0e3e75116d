"""What it costs to keep a value safely: the store beside the same file written plainly, and beside `dvc
add`.

`--before FOLDER` names a checkout of an earlier mlnb: each part is measured in processes of their own, the
two checkouts in turns, `--rounds` times, and the medians stand beside each other with their ratio."""

import argparse
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mlnb.care.gc import Retention, collect
from mlnb.care.verify import verify_store
from mlnb.store import codecs
from mlnb.store.artifacts import get_value, put_value
from mlnb.store.disk import flush_folder, make_folder
from mlnb.store.errors import MlnbError
from mlnb.store.objects import get, open_store, put
from mlnb.store.pins import forget_pins
from mlnb.store.records import commit, find_record, records_of

try:
    from mlnb.store.record import Record
except ImportError:  # an earlier mlnb
    Record = dict

ROUNDS = 5
FRAME_ROUNDS = 9
PARTS = (
    "bytes",
    "frames",
    "cells",
    "objects",
    "nested",
    "figures",
    "forest",
    "file",
    "trees",
    "records",
    "small",
)
SHOWN: dict[str, float] = {}  # all that was measured, by title and name


def seconds(work) -> float:
    "Wall time of one call [s]."
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turns(works: dict, rounds: int = ROUNDS) -> dict[str, float]:
    """Median time of each piece of work [s]; in turns, so that a busy moment of the machine falls on all of
    them. What an earlier mlnb refuses is left out."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for round_ in range(rounds):
        for name in [*times]:
            try:
                times[name].append(seconds(partial(works[name], round_)))
            except MlnbError:
                del times[name]
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
        SHOWN[f"{title}: {name}"] = value
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


def read_and_hash(path: Path) -> bytes:
    "The content of a file, which is hashed, as a careful script does."
    data = path.read_bytes()
    hashlib.sha256(data).digest()
    return data


@dataclass(frozen=True)
class ByHand:
    "How a value is kept without a store."

    name: str  # of the format
    write: Callable  # told the value and a path
    read: Callable  # told the path
    budget: str = ""  # what the store may take of its time


def beside(title: str, value, store, by_hand: ByHand, rounds: int = ROUNDS) -> None:
    """Save and load a value: the store beside a file that is written and read by hand, hashed and flushed.
    An earlier mlnb may refuse the value."""
    folder = store.root.parent
    path = folder / "by-hand"
    try:
        kept = put_value(store, value)
    except MlnbError as error:
        print(f"\n{title}: this mlnb refuses it ({error.message})")
        return

    def write_by_hand(n):
        by_hand.write(value, path)
        write_plainly(folder / "by-hand.copy", path.read_bytes(), True)

    def read_by_hand(n):
        read_and_hash(path)
        return by_hand.read(path)

    peer = f"{by_hand.name} + SHA-256, flushed"
    writes = {peer: write_by_hand, "store: put": lambda n: put_value(store, value)}
    show(f"save {title}", in_turns(writes, rounds), peer, by_hand.budget)
    reads = {
        f"SHA-256 + {by_hand.name}": read_by_hand,
        "store: get": lambda n: get_value(store, kept, folder),
    }
    show(f"load {title}", in_turns(reads, rounds), f"SHA-256 + {by_hand.name}", by_hand.budget)


def cells(store) -> None:
    "A million vectors in cells, and a pivot: the store beside pandas' own Parquet."
    import numpy as np
    import pandas as pd

    chooser = np.random.default_rng(0)
    vectors = pd.DataFrame({"vector": list(chooser.random((1_000_000, 64), dtype="float32"))})
    sales = pd.DataFrame(
        chooser.random((100_000, 48)), pd.date_range("2018-04-01", periods=100_000, freq="min")
    )
    sales.columns = pd.MultiIndex.from_product([["amount", "count"], range(24)])

    def write(frame, path):
        is_pivot = frame.columns.nlevels > 1
        plain = frame.set_axis([str(name) for name in frame.columns], axis=1) if is_pivot else frame
        plain.to_parquet(path)

    beside("1 M vectors of 64", vectors, store, ByHand("Parquet", write, pd.read_parquet, "1.3x"))
    beside("a pivot, 100,000 x 48", sales, store, ByHand("Parquet", write, pd.read_parquet, "1.3x"))


def objects(store) -> None:
    "A million cells that hold lists of mixed kinds: the store beside JSON in Parquet."
    import pandas as pd

    rows = [[n, str(n), n / 7, None] for n in range(1_000_000)]
    frame = pd.DataFrame({"row": pd.Series(rows, dtype=object)})

    def write(frame, path):
        pd.DataFrame({"row": [json.dumps(row) for row in frame["row"]]}).to_parquet(path)

    def read(path):
        return pd.Series([json.loads(text) for text in pd.read_parquet(path)["row"]], dtype=object)

    beside("1 M lists of mixed kinds", frame, store, ByHand("JSON in Parquet", write, read), 3)


def figures(store) -> None:
    "Figures of many dots: the store beside the file that the library writes."
    import matplotlib
    import numpy as np
    from matplotlib.figure import Figure

    matplotlib.use("svg")
    dots = np.random.default_rng(0).normal(size=(2, 100_000))
    figure = Figure()
    figure.subplots().scatter(*dots, s=1)
    lines = Figure()
    for axes in lines.subplots(2, 2).flat:
        axes.plot(dots[0, :500].cumsum())

    def write(figure, path):
        figure.savefig(path, format="svg")

    beside("a scatter of 100,000 dots", figure, store, ByHand("SVG", write, Path.read_text))
    beside("four lines of 500 points", lines, store, ByHand("SVG", write, Path.read_text))
    try:
        from plotly import graph_objects, io
    except ImportError:
        return
    chart = graph_objects.Figure(graph_objects.Scattergl(x=dots[0], y=dots[1], mode="markers"))
    by_hand = ByHand(
        "JSON",
        lambda chart, path: path.write_text(chart.to_json()),
        lambda path: io.from_json(path.read_text()),
    )
    beside("a plotly figure of 100,000 dots", chart, store, by_hand)


def forest(store) -> None:
    "A forest of 1,000 trees: the store beside joblib, whose files run whatever is in them."
    import joblib
    import numpy as np
    from sklearn.ensemble import RandomForestClassifier

    rows = np.random.default_rng(0).normal(size=(2_000, 12))
    is_late = rows[:, 0] * rows[:, 1] + rows[:, 2] > 0.3
    model = RandomForestClassifier(1_000, random_state=0, n_jobs=-1).fit(rows, is_late)
    beside("a forest of 1,000 trees", model, store, ByHand("joblib", joblib.dump, joblib.load), 3)


def nested(folder: Path, store) -> None:
    "A dict of 20 frames, beside 20 Parquet files written and read by hand; and 100,000 plain values."
    import pandas as pd

    made = [{f"f{k}": frame_of(50_000, 6, 100 * n + k) for k in range(20)} for n in range(ROUNDS)]
    kept = {}

    def by_hand(n, flush):
        for name, frame in made[n].items():
            path = folder / f"{n}-{name}.parquet"
            frame.to_parquet(path, compression="zstd", compression_level=1)
            write_plainly(path, path.read_bytes(), flush)

    times = in_turns(
        {
            "Parquet by hand + SHA-256": lambda n: by_hand(n, False),
            "Parquet by hand + SHA-256, flushed": lambda n: by_hand(n, True),
            "store: put": lambda n: kept.update({n: put_value(store, made[n])}),
        }
    )
    show("put a dict of 20 frames of 50,000 x 6", times, "Parquet by hand + SHA-256, flushed")

    def read(n):
        for name in made[n]:
            hashlib.sha256((folder / f"{n}-{name}.parquet").read_bytes())
        return {name: pd.read_parquet(folder / f"{n}-{name}.parquet") for name in made[n]}

    works = {"Parquet by hand + SHA-256": read}
    if kept:
        works["store: get"] = lambda n: get_value(store, kept[n], folder / "out")
    times = in_turns(works)
    show("get the dict", times, "Parquet by hand + SHA-256")
    plain = {f"k{n}": [n, n / 7, "x", None, True] for n in range(20_000)}
    times = in_turns(
        {
            "json and SHA-256": lambda n: hashlib.sha256(json.dumps(plain | {"n": n}).encode()).digest(),
            "store: put": lambda n: put_value(store, plain | {"n": n}),
        }
    )
    show("put 100,000 plain values", times, "json and SHA-256")


def peak_mib() -> float:
    "Most memory that this process used so far [MiB]."
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def one_file(folder: Path, store, mib: int) -> None:
    "A file that a stage saves and another loads, with the memory that both take beyond what was used before."
    path = folder / "model.bin"
    with open(path, "wb") as file:
        for _ in range(mib):
            file.write(os.urandom(1 << 20))
    before, found = peak_mib(), {}
    times = {
        "put": seconds(lambda: found.update(made=put_value(store, path))),
        "get": seconds(lambda: get_value(store, found["made"], folder / "out")),
    }
    show(f"a file of {mib:,} MiB", times)
    print(f"  {'memory beyond that of the program':44}{peak_mib() - before:10.1f} MiB")
    path.unlink()


def trees(folder: Path, store, n: int) -> None:
    "A folder of small files."
    place, found = folder / "tree", {}
    for i in range(n):
        path = place / f"d{i % 40}" / f"{i}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"value {i}")
    times = {
        "put": seconds(lambda: found.update(made=put_value(store, place))),
        "put again": seconds(lambda: put_value(store, place)),
        "get": seconds(lambda: get_value(store, found["made"], folder / "out")),
    }
    show(f"a folder of {n:,} files", times)


def record(n: int, digest: str, size: int) -> "Record | dict":
    "A record as large as a usual one; an earlier mlnb takes it as plain JSON."
    document = {
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
    return Record.from_dict(document) if hasattr(Record, "from_dict") else document


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


def measure(given: argparse.Namespace, part: str, folder: Path) -> None:
    "Measure one part and print what it took."
    store = open_store(folder / part)
    for n in range(256):  # once in the life of a store; not part of what is measured
        make_folder(store.root / "objects" / f"{n:02x}")
    works = {
        "bytes": lambda: (bytes_of(folder, store, 1 << 20, 60), bytes_of(folder, store, 100 << 20)),
        "frames": lambda: frames(folder, store),
        "nested": lambda: nested(folder, store),
        "file": lambda: one_file(folder, store, given.mib),
        "trees": lambda: trees(folder, store, given.files),
        "records": lambda: many_records(folder, given.records),
        "cells": lambda: cells(store),
        "objects": lambda: objects(store),
        "figures": lambda: figures(store),
        "forest": lambda: forest(store),
        "small": lambda: small_artifacts(folder, given.small),
        "dvc": lambda: dvc(folder, given.dvc, given.small),
    }
    works[part]()
    forget_pins()


def measured_by(checkout: Path, given: argparse.Namespace, part: str) -> dict[str, float]:
    "What one part takes with the mlnb of a checkout [s]."
    sizes = [f"--{name}={getattr(given, name)}" for name in ("small", "records", "files", "mib")]
    place = [f"--folder={given.folder}"] if given.folder else []
    with tempfile.NamedTemporaryFile() as answer:
        command = [sys.executable, "-P", __file__, "--only", part, f"--json={answer.name}", *sizes, *place]
        environment = os.environ | {"PYTHONPATH": str(checkout)}
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        return json.load(answer)


def compare(given: argparse.Namespace, parts: list[str]) -> None:
    "Print what each part takes before and now, and their ratio."
    checkouts = {"before": given.before, "now": Path(__file__).parents[1]}
    for part in parts:
        found: dict[str, list[dict[str, float]]] = {who: [] for who in checkouts}
        for _ in range(given.rounds):
            for who, checkout in checkouts.items():
                found[who].append(measured_by(checkout, given, part))
        for name in found["now"][0]:
            now = statistics.median(one[name] for one in found["now"])
            if name not in found["before"][0]:
                print(f"{name:74}{'refused':>12}{now:10.4f} s", flush=True)
                continue
            before = statistics.median(one[name] for one in found["before"])
            print(f"{name:74}{before:10.4f} s{now:10.4f} s{now / before:8.2f}x", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dvc", type=Path, help="python of an environment that has DVC")
    parser.add_argument("--small", type=int, default=100_000, help="number of small artifacts")
    parser.add_argument("--records", type=int, default=10_000, help="number of records")
    parser.add_argument("--files", type=int, default=2_000, help="number of files in a folder")
    parser.add_argument("--mib", type=int, default=1024, help="size of a file [MiB]")
    parser.add_argument("--only", nargs="+", choices=[*PARTS, "dvc"], help="some parts")
    parser.add_argument("--folder", help="where to measure; the temporary directory otherwise")
    parser.add_argument("--before", type=Path, help="checkout of an earlier mlnb to compare with")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each checkout with --before")
    parser.add_argument("--json", type=Path, help="file that gets the times")
    given = parser.parse_args()
    parts = given.only or [*PARTS, *(["dvc"] if given.dvc else [])]
    if given.before:
        compare(given, parts)
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        for part in parts:
            measure(given, part, Path(name))
    if given.json:
        given.json.write_text(json.dumps(SHOWN))


if __name__ == "__main__":
    main()
