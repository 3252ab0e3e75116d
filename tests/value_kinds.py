"""A value of every kind that people save: what is kept, what is refused, and what the mend gives when it is
followed. The tests go through the list, and `scripts/value_kinds.py` makes the table of the docs from it."""

import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

VALUE_WORDS = (
    "value",
    "array",
    "frame",
    "series",
    "index",
    "table",
    "figure",
    "axes",
    "grid",
    "chart",
    "batch",
)


@dataclass(frozen=True)
class Kind:
    "One kind of value, with what happens to it."

    group: str  # heading of the table
    name: str  # as the table calls it
    make: Callable[[Path], Any]  # an example; told an empty folder
    codec: str = ""  # that keeps it; empty: it is refused
    mend: str = ""  # of a refusal: code in its mend, to be carried out; `…` for what differs
    again: Callable[[Any], Any] | None = None  # what is loaded -> the value, when the mend says how
    note: str = ""  # in what it does not come back the same
    needs: str = ""  # package without which the row is left out

    @property
    def is_here(self) -> bool:
        "Whether what it needs is installed."
        return not self.needs or find_spec(self.needs) is not None


def followed(kind: Kind, value: Any, mend: str) -> Any:
    "What the mend of a refusal gives when its code is carried out."
    codes = re.findall("`([^`]+)`", mend)
    [code] = [one for one in codes if one == kind.mend or one.startswith(kind.mend.partition("…")[0])][:1]
    known = {word: value for word in VALUE_WORDS} | {type(value).__name__: value}
    return eval(code, {"numpy": np, "pandas": pd, "pyarrow": pa, "Path": Path, **known})


def same(one: Any, other: Any) -> bool:
    "Whether two values are equal in type and value."
    if type(one) is not type(other):
        return False
    if isinstance(one, Path):
        return _folder_of(one) == _folder_of(other)
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and _items(one) == _items(other)
    if isinstance(one, pd.DataFrame | pd.Series):
        check = (
            pd.testing.assert_frame_equal if isinstance(one, pd.DataFrame) else pd.testing.assert_series_equal
        )
        return check(one, other, check_exact=True, check_freq=True) is None
    if isinstance(one, pa.Table):
        return bool(one.equals(other, check_metadata=True))
    if hasattr(one, "to_json"):
        return bool(json.loads(one.to_json()) == json.loads(other.to_json()))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def _items(array: np.ndarray) -> str:
    return repr(array.tolist())


def _folder_of(path: Path) -> dict[str, tuple[bytes, bool]]:
    "What lies at a path: content and whether it can be run, by name."
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {
        file.relative_to(path).as_posix(): (file.read_bytes(), bool(file.stat().st_mode & 0o100))
        for file in files
    }


PLAIN = [
    Kind("Plain values", "text", lambda _: "päivä", "text"),
    Kind("Plain values", "whole number", lambda _: 3, "json"),
    Kind("Plain values", "number", lambda _: 0.75, "json"),
    Kind("Plain values", "true or false", lambda _: True, "json"),
    Kind("Plain values", "None", lambda _: None, "json"),
    Kind(
        "Plain values",
        "dict with text keys, list, nested",
        lambda _: {"a": [1, None], "b": {"c": 0.5}},
        "json",
    ),
]
TABLES = [
    Kind("Tables", "DataFrame", lambda _: pd.DataFrame({"n": [1, 2], "s": ["x", None]}), "frame"),
    Kind("Tables", "Series", lambda _: pd.Series([1.5, 2.5], name="x"), "series"),
    Kind("Tables", "pyarrow Table", lambda _: pa.table({"n": [1, None]}), "arrow"),
    Kind(
        "Tables",
        "pyarrow RecordBatch",
        lambda _: pa.record_batch({"n": [1, None]}),
        mend="pyarrow.Table.from_batches([batch])",
    ),
]
RECORDS = np.dtype([("n", "i4"), ("share", "f8")])
ARRAYS = [
    Kind(
        "Arrays",
        "numbers, any size, order and layout",
        lambda _: np.arange(6, dtype=">f4").reshape(2, 3).T,
        "array",
    ),
    Kind("Arrays", "one number without a dimension", lambda _: np.array(5), "array"),
    Kind("Arrays", "long double", lambda _: np.array([1, 3], np.longdouble) / 3, "array"),
    Kind("Arrays", "complex numbers", lambda _: np.array([1j]), "array"),
    Kind("Arrays", "text and bytes of fixed width", lambda _: np.array(["a", "bb"]), "array"),
    Kind(
        "Arrays", "times and durations, any unit", lambda _: np.array(["2026-11-27", "NaT"], "M8[D]"), "array"
    ),
    Kind("Arrays", "records", lambda _: np.array([(1, 0.5)], RECORDS), "array"),
    Kind("Arrays", "objects", lambda _: np.array([1, None, "x"], object), mend="array.tolist()"),
    Kind(
        "Arrays", "numbers kept as objects", lambda _: np.array([1, 2.5], object), mend="array.astype(float)"
    ),
    Kind(
        "Arrays",
        "text of any width (StringDType)",
        lambda _: np.array(["a"], np.dtypes.StringDType()),
        mend="array.tolist()",
    ),
    Kind(
        "Arrays",
        "masked array",
        lambda _: np.ma.array([1, 2], mask=[0, 1]),
        mend="array.toflex()",
        again=np.ma.fromflex,
    ),
    Kind(
        "Arrays",
        "matrix",
        lambda _: np.eye(2).view(np.matrix),
        mend="numpy.asarray(array)",
        again=lambda array: array.view(np.matrix),
    ),
    Kind(
        "Arrays",
        "array of records asked by attribute",
        lambda _: np.array([(1, 0.5)], RECORDS).view(np.recarray),
        mend="array.view((numpy.void, array.dtype), numpy.ndarray)",
        again=lambda array: array.view(np.recarray),
    ),
    Kind(
        "Arrays",
        "records asked by attribute",
        lambda _: np.asarray(np.array([(1, 0.5)], RECORDS).view(np.recarray)),
        mend="array.view((numpy.void, array.dtype))",
    ),
    Kind(
        "Arrays",
        "array over a file (memmap)",
        lambda folder: np.memmap(folder / "m", mode="w+", shape=3),
        mend="numpy.asarray(array)",
    ),
    Kind("Arrays", "elements without a byte", lambda _: np.zeros(3, []), mend="list(array.shape)"),
]


def _written(folder: Path, *names: str, mode: int = 0o644) -> Path:
    "A folder with small files of these names; of a single name the file."
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
        (folder / name).chmod(mode)
    return folder / names[0] if len(names) == 1 else folder


def _linked(folder: Path) -> Path:
    "A folder with a link to one of its files."
    _written(folder, "a.txt", "b.txt")
    (folder / "c.txt").symlink_to(folder / "a.txt")
    return folder


FILES = [
    Kind("Files", "file (its `Path`)", lambda folder: _written(folder, "a.csv"), "file"),
    Kind("Files", "program", lambda folder: _written(folder, "a.sh", mode=0o755), "file"),
    Kind("Files", "folder", lambda folder: _written(folder, "a/b.txt", "c.txt"), "folder"),
    Kind("Files", "folder of programs", lambda folder: _written(folder, "a", "b", mode=0o700), "folder"),
    Kind("Files", "folder with links, kept as what they lead to", _linked, "folder"),
    Kind("Files", "open file", lambda folder: _written(folder, "a.csv").open(), mend="Path(…"),
    Kind("Files", "text in memory", lambda _: io.StringIO("a"), mend="value.getvalue()"),
]


def _drawing() -> Any:
    "A small figure of matplotlib."
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1])
    return figure


def _grid(folder: Path) -> Any:
    import seaborn

    return seaborn.FacetGrid(pd.DataFrame({"a": [1, 2]}))


def _plotly(folder: Path) -> Any:
    from plotly.graph_objects import Figure

    return Figure({"data": [{"type": "bar", "x": ["a", "b"], "y": np.array([1.5, np.nan])}]})


def _altair(folder: Path) -> Any:
    import altair

    return altair.Chart(pd.DataFrame({"a": [1, 2]})).mark_bar().encode(x="a:Q")


PICTURE = "comes back as its picture (SVG)"
FIGURES = [
    Kind("Figures", "matplotlib Figure", lambda _: _drawing(), "figure", note=PICTURE),
    Kind(
        "Figures", "part of a figure", lambda _: _drawing().subfigures(), mend="figure.get_figure(root=True)"
    ),
    Kind("Figures", "matplotlib Axes", lambda _: _drawing().axes[0], mend="axes.get_figure(root=True)"),
    Kind("Figures", "grid of seaborn", _grid, "figure", note=PICTURE, needs="seaborn"),
    Kind("Figures", "plotly Figure", _plotly, "plotly", needs="plotly"),
    Kind("Figures", "altair Chart", _altair, mend="chart.to_dict()", needs="altair"),
]
KINDS = [*PLAIN, *TABLES, *ARRAYS, *FILES, *FIGURES]
