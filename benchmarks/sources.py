"""What it costs to load a source: time, and the memory at its peak beside what was asked for, each in a
process of its own; and the same read by hand, with pyarrow and without a comparison that counts."""

import argparse
import hashlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mlnb.sources.partition import Partition
from mlnb.sources.reading import FileReading, reading_marks

SCHEMA = {"id": "int64", "amount": "float64", "x": "float64", "day": "datetime64[us]", "shop": "str"}
TYPES = {
    "text": FileReading(types="text"),
    "infer": FileReading(types="infer"),
    "schema": FileReading(types="schema", columns=tuple(SCHEMA.items())),
    "own": FileReading(),
}
CASES = [  # file, types, columns
    ("wide.parquet", "own", "c0,c3,c6,c9,c12,c15"),
    ("wide.parquet", "own", ""),
    ("big.csv", "text", "id,shop"),
    ("big.csv", "text", ""),
    ("big.csv", "infer", ""),
    ("big.csv", "schema", ""),
    ("lines.jsonl", "own", ""),
]


def write_files(folder: Path, mib: int) -> None:
    "A Parquet file of 20 columns, a CSV of about `mib` MiB, and JSON lines of a tenth of it."
    import numpy as np
    import pyarrow as pa
    from pyarrow import csv, parquet

    chooser = np.random.default_rng(0)
    wide = pa.table({f"c{k}": chooser.normal(size=mib << 13) for k in range(16)})
    parquet.write_table(wide, folder / "wide.parquet", use_dictionary=False)
    rows = 100_000
    columns = {
        "id": np.arange(rows),
        "amount": chooser.normal(size=rows).round(2),
        "x": chooser.normal(size=rows),
        "day": pa.array(np.datetime64("2020-01-01", "s") + chooser.integers(0, 10**8, rows).astype("m8[s]")),
        "shop": [f"shop{k % 500:04d}" for k in range(rows)],
    }
    csv.write_csv(pa.table(columns), part := folder / "part.csv")
    header, body = part.read_bytes().split(b"\n", 1)
    with open(folder / "big.csv", "wb") as file:
        file.write(header + b"\n")
        for _ in range(max(1, (mib << 20) // len(body))):
            file.write(body)
    part.unlink()
    with open(folder / "lines.jsonl", "w") as file:
        for k in range(mib << 10):
            file.write(json.dumps({"id": k, "x": k / 7, "shop": f"shop{k % 500}", "ok": k % 2 == 0}) + "\n")


def peak_mib() -> float:
    "Most memory that this process used since it was asked to begin anew [MiB]; since its start elsewhere."
    status = Path("/proc/self/status")
    found = (
        [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        if status.exists()
        else []
    )
    return (
        int(found[0].split()[1]) / 1024
        if found
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    )


def by_hand(path: Path, columns: list[str] | None):
    "A file as pyarrow reads it, with a digest that nobody compares."
    from pyarrow import csv, parquet
    from pyarrow import json as lines

    with open(path, "rb") as file:
        hashlib.file_digest(file, "sha256")
    if path.suffix == ".parquet":
        return parquet.read_table(path, columns=columns, page_checksum_verification=True).to_pandas()
    if path.suffix == ".csv":
        options = csv.ConvertOptions(include_columns=columns)
        return csv.read_csv(path, convert_options=options).to_pandas()
    return lines.read_json(path).to_pandas()


def load_once(path: Path, types: str, columns: list[str] | None, who: str) -> dict[str, float]:
    "Load a file in this process: time [s], memory beyond that of the program, and what was asked for [MiB]."
    import pandas as pd
    import pyarrow.compute
    import pyarrow.csv
    import pyarrow.json
    import pyarrow.parquet

    from mlnb.sources.source import read_source

    pd.DataFrame({"n": pyarrow.array([1]).to_pandas()})
    digest = path.with_suffix(".sha").read_text()
    given = [*reading_marks(TYPES[types]), Partition(path.name, path.stat().st_size, digest)]
    if (reset := Path("/proc/self/clear_refs")).exists():
        reset.write_text("5")
    before, start = peak_mib(), time.perf_counter()
    frame = by_hand(path, columns) if who == "by hand" else read_source(path.parent, given, columns)
    took, top = time.perf_counter() - start, peak_mib() - before
    return {"s": took, "peak": top, "asked": frame.memory_usage(deep=True).sum() / 2**20}


def in_processes(path: Path, types: str, columns: str, rounds: int) -> dict[str, dict[str, float]]:
    "Medians of both ways, in turns."
    found: dict[str, list[dict[str, float]]] = {"by hand": [], "load": []}
    for _ in range(rounds):
        for who, ones in found.items():
            command = [sys.executable, __file__, "--one", str(path), types, columns, who]
            answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            ones.append(json.loads(answer.splitlines()[-1]))
    return {
        who: {key: statistics.median(one[key] for one in ones) for key in ones[0]}
        for who, ones in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=512, help="size of the CSV [MiB]")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each way")
    parser.add_argument("--folder", help="where to measure; the temporary directory otherwise")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        path, types, columns, who = given.one
        print(json.dumps(load_once(Path(path), types, columns.split(",") if columns else None, who)))
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        write_files(Path(name), given.mib)
        for file in ("wide.parquet", "big.csv", "lines.jsonl"):
            with open(path := Path(name) / file, "rb") as opened:
                path.with_suffix(".sha").write_text(hashlib.file_digest(opened, "sha256").hexdigest())
        print(f"{'':44}{'time':>10}{'asked for':>14}{'peak':>12}   of what is asked for")
        for file, types, columns in CASES:
            for who, one in in_processes(Path(name) / file, types, columns, given.rounds).items():
                title = (
                    f"{file}, {types}{f', {columns.count(chr(44)) + 1} columns' if columns else ''}: {who}"
                )
                print(
                    f"{title:44}{one['s']:8.2f} s{one['asked']:10.0f} MiB{one['peak']:8.0f} MiB"
                    f"{one['peak'] / one['asked']:8.2f}x",
                    flush=True,
                )


if __name__ == "__main__":
    main()
