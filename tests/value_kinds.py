"""A value of every kind that people save: what is kept, what is refused, and what the mend gives when it is
followed. The tests go through the list, and `scripts/value_kinds.py` makes the table of the docs from it."""

import collections
import datetime as dt
import decimal
import enum
import io
import json
import re
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import scipy.sparse
import scipy.stats

POINTS = np.array([[0.0], [1.0], [2.0]])
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
    "relation",
    "results",
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
    code = f"value{code}" if code.startswith(".") else code.replace("...", "value")
    known = {word: value for word in VALUE_WORDS} | {type(value).__name__: value}
    if "plotly." in code:
        import_module("plotly.graph_objects")
    named = {
        name: sys.modules[name] for name in ("numpy", "pandas", "pyarrow", "plotly") if name in sys.modules
    }
    return eval(code, {"Path": Path, **named, **known})


def _same_tables(one: Any, other: Any) -> bool:
    "Whether two tables are equal, whoever's they are."
    if isinstance(one, pd.DataFrame):
        return pd.testing.assert_frame_equal(one, other, check_exact=True, check_freq=True) is None
    if isinstance(one, pd.Series):
        return pd.testing.assert_series_equal(one, other, check_exact=True, check_freq=True) is None
    if isinstance(one, pa.Table):
        return bool(one.equals(other, check_metadata=True))
    return bool(one.equals(other))


def _same_arrays(one: Any, other: Any) -> bool:
    "Whether two arrays, or sparse matrices, are equal."
    if scipy.sparse.issparse(one):
        return one.format == other.format and one.dtype == other.dtype and not (one != other).nnz
    return one.dtype == other.dtype and one.shape == other.shape and _items(one) == _items(other)


def _same_items(one: Any, other: Any) -> bool:
    "Whether two containers hold the same in the same order."
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[name], other[name]) for name in one)
    return len(one) == len(other) and all(map(same, one, other))


SAMENESS = {
    "builtins": lambda one, other: (
        _same_items(one, other) if isinstance(one, dict | list | tuple) else one == other
    ),
    "pathlib": lambda one, other: _folder_of(one) == _folder_of(other),
    "numpy": lambda one, other: _same_arrays(one, other) if isinstance(one, np.ndarray) else one == other,
    "scipy": lambda one, other: (
        one.cdf(1.5) == other.cdf(1.5) if hasattr(one, "cdf") else _same_arrays(one, other)
    ),
    "pandas": lambda one, other: _same_tables(one, other) if hasattr(one, "equals") else one == other,
    "pyarrow": _same_tables,
    "polars": _same_tables,
    "sklearn": lambda one, other: np.array_equal(one.predict(POINTS), other.predict(POINTS)),
    "xgboost": lambda one, other: np.array_equal(one.predict(POINTS), other.predict(POINTS)),
    "lightgbm": lambda one, other: np.array_equal(one.predict(POINTS), other.predict(POINTS)),
    "plotly": lambda one, other: json.loads(one.to_json()) == json.loads(other.to_json()),
}  # whose type it is -> whether two values of one type are equal


def same(one: Any, other: Any) -> bool:
    "Whether two values are equal in type and value."
    is_same = SAMENESS.get(type(one).__module__.partition(".")[0], lambda a, b: a == b)
    return type(one) is type(other) and bool(is_same(one, other))


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
HOUR = dt.datetime(2026, 11, 27, 12, tzinfo=dt.timezone(dt.timedelta(hours=2)))
Level = enum.Enum("Level", "low high")
TYPED = [
    Kind("Plain values", "tuple", lambda _: (1, ("a", None)), "typed"),
    Kind("Plain values", "set, frozenset", lambda _: [{1, 2}, frozenset("ab")], "typed"),
    Kind("Plain values", "dict with any keys", lambda _: {2: "b", (1, None): 0.5, HOUR: 1}, "typed"),
    Kind("Plain values", "infinite", lambda _: {"highest": float("inf")}, "typed"),
    Kind("Plain values", "bytes", lambda _: b"\x00\xff", "typed"),
    Kind("Plain values", "complex", lambda _: 1 + 2j, "typed"),
    Kind("Plain values", "Decimal", lambda _: decimal.Decimal("1.50"), "typed"),
    Kind("Plain values", "UUID", lambda _: uuid.UUID(int=7), "typed"),
    Kind("Plain values", "date, time, duration", lambda _: [HOUR.date(), HOUR.time(), HOUR - HOUR], "typed"),
    Kind("Plain values", "datetime with its zone", lambda _: HOUR, "typed"),
    Kind(
        "Plain values", "time of pandas, with its unit", lambda _: pd.Timestamp(HOUR).as_unit("ms"), "typed"
    ),
    Kind("Plain values", "time of NumPy, with its unit", lambda _: np.datetime64("2026-11-27", "D"), "typed"),
    Kind("Plain values", "duration of NumPy", lambda _: np.timedelta64(3, "M"), "typed"),
    Kind("Plain values", "range", lambda _: range(2, 9, 3), "typed"),
    Kind("Plain values", "number of NumPy", lambda _: np.float64(0.5), "json", note="comes back as Python's"),
    Kind("Plain values", "long double", lambda _: np.longdouble(0.5), mend="float(...)"),
    Kind("Plain values", "member of an Enum", lambda _: Level.low, mend=".value"),
    Kind("Plain values", "OrderedDict", lambda _: collections.OrderedDict(a=1), mend="dict(...)"),
    Kind("Plain values", "values of a dict", lambda _: {"a": 1}.values(), mend="list(...)"),
    Kind("Plain values", "slice", lambda _: slice(1, None), mend="(value.start, value.stop, value.step)"),
    Kind(
        "Plain values",
        "generator of random numbers",
        lambda _: np.random.default_rng(0),
        mend="value.bit_generator.state",
    ),
]


def _model() -> Any:
    from sklearn.linear_model import LinearRegression

    return LinearRegression().fit(POINTS, [1.0, 3.0, 5.0])


def _search(folder: Path) -> Any:
    from scipy.stats import randint
    from sklearn.model_selection import RandomizedSearchCV
    from sklearn.tree import DecisionTreeRegressor

    X, y = np.arange(20.0).reshape(-1, 1), np.arange(20.0)
    depths = {"max_depth": randint(2, 5)}
    return RandomizedSearchCV(
        DecisionTreeRegressor(random_state=0), depths, n_iter=2, cv=2, random_state=0
    ).fit(X, y)


def _search_results(folder: Path) -> Any:
    return _search(folder).cv_results_


def _boosted(package: str) -> Any:
    "A small model of one of the packages for boosted trees."
    X, y = np.arange(40.0).reshape(-1, 1), np.arange(40.0)
    if package == "xgboost":
        from xgboost import XGBRegressor

        return XGBRegressor(n_estimators=2).fit(X, y)
    from lightgbm import LGBMRegressor

    return LGBMRegressor(n_estimators=2, verbose=-1).fit(X, y)


def _fitted() -> Any:
    import statsmodels.api

    X = pd.DataFrame({"one": 1.0, "x": np.arange(9.0)})
    return statsmodels.api.OLS(np.arange(9.0) ** 2, X).fit()


def _distribution(name: str, args: tuple[Any, ...], kwds: dict[str, Any]) -> Any:
    return getattr(scipy.stats, name)(*args, **kwds)


def _display() -> Any:
    from sklearn.metrics import RocCurveDisplay

    return RocCurveDisplay.from_predictions([0, 1, 1], [0.1, 0.9, 0.3])


MODELS = [
    Kind("Models", "estimator of scikit-learn", lambda _: _model(), "estimator"),
    Kind(
        "Models",
        "search with distributions",
        _search,
        "estimator",
        note="the times that its fits took come back as not known",
    ),
]
MODELS += [
    Kind("Models", "XGBoost", lambda _: _boosted("xgboost"), "estimator", needs="xgboost"),
    Kind("Models", "LightGBM", lambda _: _boosted("lightgbm"), "estimator", needs="lightgbm"),
    Kind("Models", "results of statsmodels", lambda _: _fitted(), mend="results.params", needs="statsmodels"),
    Kind(
        "Models",
        "summary of statsmodels",
        lambda _: _fitted().summary(),
        mend="value.as_text()",
        needs="statsmodels",
    ),
    Kind("Models", "results of a search (`cv_results_`)", _search_results, mend="pandas.DataFrame(...)"),
    Kind(
        "Models",
        "distribution of SciPy",
        lambda _: scipy.stats.norm(1, scale=2),
        mend="[value.dist.name, value.args, value.kwds]",
        again=lambda said: _distribution(*said),
    ),
]
NESTED = [
    Kind(
        "Several in one",
        "dict of a frame and an array",
        lambda _: {"f": pd.DataFrame({"n": [1]}), "a": np.ones(2)},
        "values",
    ),
    Kind(
        "Several in one",
        "list of frames",
        lambda _: [pd.DataFrame({"n": [1]}), pd.DataFrame({"n": [2]})],
        "values",
    ),
    Kind("Several in one", "tuple of models", lambda _: (_model(), _model()), "values"),
    Kind("Several in one", "dict of a file", lambda folder: {"raw": _written(folder, "a.csv")}, "values"),
]
SALES = pd.DataFrame({"shop": ["a", "a", "b"], "year": [2025, 2026, 2026], "amount": [1.0, 2.0, 3.0]})
DAYS = pd.date_range("2026-11-23", periods=3, freq="D")
FRAMES = [
    Kind(
        "Tables",
        "pivot: whole numbers as labels",
        lambda _: SALES.pivot_table("amount", "shop", "year"),
        "frame",
    ),
    Kind(
        "Tables",
        "pivot: labels of several levels",
        lambda _: SALES.pivot_table(["amount"], "shop", "year"),
        "frame",
    ),
    Kind("Tables", "index with a frequency", lambda _: pd.DataFrame({"n": [1, 2, 3]}, DAYS), "frame"),
    Kind("Tables", "intervals (`pd.cut`)", lambda _: pd.DataFrame({"age": pd.cut([1, 5, 9], 3)}), "frame"),
    Kind(
        "Tables", "empty categories", lambda _: pd.DataFrame({"k": pd.Categorical(["a"])}).iloc[:0], "frame"
    ),
    Kind(
        "Tables", "numbers as categories", lambda _: pd.DataFrame({"k": pd.Categorical([1, 2, 1])}), "frame"
    ),
    Kind("Tables", "lists in cells", lambda _: pd.DataFrame({"tags": [["a"], ["b", "c"]]}), "frame"),
    Kind(
        "Tables",
        "vectors in cells (embeddings)",
        lambda _: pd.DataFrame({"e": list(np.eye(2, dtype="f4"))}),
        "frame",
    ),
    Kind(
        "Tables",
        "dates, Decimals, UUIDs in cells",
        lambda _: pd.DataFrame({"d": [HOUR.date()], "p": [decimal.Decimal("1.5")], "u": [uuid.UUID(int=7)]}),
        "frame",
    ),
    Kind(
        "Tables",
        "types of Arrow",
        lambda _: pd.DataFrame({"n": pd.array([[1.0]], pd.ArrowDtype(pa.list_(pa.float32())))}),
        "frame",
    ),
    Kind("Tables", "sparse matrix of scipy", lambda _: scipy.sparse.csr_array(np.eye(3)), "sparse"),
    Kind("Tables", "frame of Polars", lambda _: _polars(), "polars", needs="polars"),
]


def _polars() -> Any:
    import polars

    return polars.DataFrame({"n": [1, None], "s": ["x", "y"]})


def _relation() -> Any:
    import duckdb

    return duckdb.sql("SELECT 1 AS n")


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
    Kind("Tables", "pyarrow Array", lambda _: pa.array([1, None]), mend="array.to_pylist()", again=pa.array),
    Kind("Tables", "relation of DuckDB", lambda _: _relation(), mend="relation.to_arrow_table()"),
    Kind("Tables", "groups of pandas", lambda _: SALES.groupby("shop"), mend="list(value)"),
    Kind("Tables", "styled table", lambda _: SALES.style, mend="value.data"),
    Kind(
        "Tables", "lazy frame of Polars", lambda _: _polars().lazy(), mend="value.collect()", needs="polars"
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
    Kind(
        "Arrays",
        "array of Axes (`plt.subplots(2)`)",
        lambda _: _drawing(2),
        mend="array.flat[0].get_figure(root=True)",
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


def _drawing(n_axes: int = 1) -> Any:
    "A small figure of matplotlib; of several axes these."
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2, 1))
    axes = figure.subplots(n_axes, squeeze=False)
    axes[0, 0].plot([0, 1])
    return figure if n_axes == 1 else axes


def _grid(folder: Path) -> Any:
    import seaborn

    return seaborn.FacetGrid(pd.DataFrame({"a": [1, 2]}))


def _plotly(folder: Path) -> Any:
    from plotly.graph_objects import Figure

    return Figure({"data": [{"type": "bar", "x": ["a", "b"], "y": np.array([1.5, np.nan])}]})


def _map() -> Any:
    import plotly.express

    return plotly.express.choropleth(locations=["DEU"], color=[1])


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
    Kind("Figures", "display of scikit-learn", lambda _: _display(), mend="value.figure_"),
    Kind("Figures", "plotly Figure", _plotly, "plotly", needs="plotly"),
    Kind(
        "Figures",
        "plotly map",
        lambda _: _map(),
        "plotly",
        note="without the objects in it that are empty, which Plotly drops",
        needs="plotly",
    ),
    Kind(
        "Figures",
        "trace of plotly",
        lambda _: _plotly(Path()).data[0],
        mend="plotly.graph_objects.Figure(value)",
        needs="plotly",
    ),
    Kind("Figures", "altair Chart", _altair, mend="chart.to_dict()", needs="altair"),
]
KINDS = [*PLAIN, *TYPED, *NESTED, *TABLES, *FRAMES, *MODELS, *ARRAYS, *FILES, *FIGURES]
