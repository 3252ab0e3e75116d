"""A mend is part of the contract: whoever follows it literally is rid of the problem.

Every mend of the rooms `store`, `sources`, `notebook` and `flow` that holds code is found in the text of the
modules; each has a test here (or in the file that is named) that triggers it, applies the code as it stands,
and looks again."""

import ast
import re
import warnings
from pathlib import Path, PurePosixPath

import pytest

from mlnb.flow.grid import read_axis
from mlnb.flow.parameter_values import NO_PARAMETERS, read_values_file, resolve
from mlnb.flow.session import current
from mlnb.notebook.each import read_each
from mlnb.notebook.parameters import read_parameters
from mlnb.notebook.pipeline import read_pipeline
from mlnb.notebook.scaffold import write_scaffold
from mlnb.store.crash_points import wanted
from mlnb.store.errors import DefinitionError, UsageError, ValueRefusedError
from mlnb.store.names import parse_name
from mlnb.store.settings import find_project, read_project

ROOT = Path(__file__).parents[1]

# what holds code, and where it is tried

ROOMS = ("store", "sources", "notebook", "flow")
VERBS = (
    *("add", "correct", "end", "give", "join", "keep", "leave", "make", "move", "put", "remove", "run"),
    *("save", "set", "start", "use", "write"),
)
TRIED = {
    "notebook/clear_secrets": "test_terminal_secrets.py",
    "notebook/each": "fan-outs",
    "notebook/edges": "names",
    "notebook/gone": "test_notebook_gone.py",
    "notebook/missing": "test_notebook_variables.py",
    "notebook/model_stages": "test_notebook_model_stages.py",
    "notebook/notebook_file": "test_notebook_variables.py",
    "notebook/parameters": "declarations, and test_notebook_parameters.py",
    "notebook/pipeline": "names",
    "notebook/scaffold": "commands",
    "notebook/stage": "test_notebook_variables.py",
    "flow/aliases": "test_history_champion.py",
    "flow/fanout_parts": "exports",
    "flow/grid": "grids",
    "flow/heads": "commands",
    "flow/meaning": "commands, and test_flow_names.py",
    "flow/metric_values": "test_flow_metric.py",
    "flow/overlay": "test_terminal_overlay.py",
    "flow/parameter_values": "values",
    "flow/plan": "test_flow_bound.py",
    "flow/registering": "test_store_versions.py",
    "flow/selection": "commands",
    "flow/session": "names",
    "store/arrays": "saved values",
    "store/border": "test_terminal_damaged_documents.py",
    "store/artifacts": "exports",
    "store/codecs": "saved values",
    "store/crash_points": "crash points",
    "store/errors": "test_sources_misread.py",
    "store/exports": "commands",
    "store/ini_file": "settings",
    "store/model_files": "test_store_model_files.py",
    "store/broken_off": "test_store_value_kinds.py",
    "store/charts": "test_store_value_kinds.py",
    "store/figures": "test_store_value_kinds.py",
    "store/folder_files": "test_store_nested_values.py",
    "store/model_states": "test_store_model_types.py",
    "store/known_types": "test_store_tables.py",
    "store/model_settings": "test_store_versions.py",
    "store/names": "names",
    "store/plain_values": "saved values",
    "store/polars_frames": "test_store_matrices.py",
    "store/sparse_matrices": "test_store_matrices.py",
    "store/typed_scalars": "saved values",
    "store/typed_values": "test_store_typed_values.py",
    "store/records": "test_care_vouched.py",
    "store/runs": "commands",
    "store/settings": "settings",
    "store/source_forms": "test_sources_reading.py",
    "store/source_places": "settings",
    "store/table_axes": "saved values",
    "store/table_cells": "test_store_tables.py",
    "store/table_changes": "saved values",
    "store/table_notes": "saved values",
    "store/tables": "saved values",
    "store/url": "test_terminal_secrets.py",
    "sources/folder_keys": "sources",
    "sources/loose_tables": "test_terminal_checks.py",
    "sources/lake_tables": "test_sources_lakes.py",
    "sources/last_pin": "test_sources_last_pin.py",
    "sources/misread": "test_sources_misread.py",
    "sources/one_table": "test_sources_one_table.py, test_sources_misread.py",
    "sources/reading": "test_sources_reading.py",
    "sources/relations": "test_sources_misread.py",
    "sources/table_files": "test_sources_misread.py",
    "sources/text_tables": "test_sources_misread.py",
}  # module -> the section of this file, or another file, that tries its mends


def texts_of(tree):
    "Texts of a module but its docstrings, `{}` for what is filled in."
    apart = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    apart |= {id(part) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for part in n.values}
    for node in ast.walk(tree):
        if id(node) in apart:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)


def code_in(text):
    "What a mend says to paste."
    parts = re.findall(r"`([^`]+)`", text)
    return [
        p for p in parts if re.search(r"[=(:.@]|mlnb |--| in |\{\}/", p) and p not in ("{}", "settings.ini")
    ]


def mends_with_code():
    "Mends that hold code, by module."
    found = {}
    for path in (p for room in ROOMS for p in sorted((ROOT / "mlnb" / room).glob("*.py"))):
        for text in texts_of(ast.parse(path.read_text(encoding="utf-8"))):
            if code_in(text) and (text.split()[0] in VERBS or text.startswith("`mlnb ")):
                found.setdefault(f"{path.parent.name}/{path.stem}", []).append(text)
    return found


def test_every_module_whose_mends_hold_code_is_tried():
    found = mends_with_code()
    assert sum(map(len, found.values())) > 50
    assert sorted(found) == sorted(TRIED), "try the new mends here, or take the module out of `TRIED`"


# declarations


def mend_of(problems):
    "The only mend, and the code in it."
    (problem,) = problems
    return problem.mend, code_in(problem.mend)


@pytest.mark.parametrize(
    "line",
    [
        "days = 7",
        "days: Optional[int] = 7",
        "days: list = [1, 2]",
        "days = [1, 2.5]",
        "days = (1, 2)",
        "days = []",
        "days: Literal[1, 2.5] = 1",
    ],
)
def test_declaration_as_the_mend_writes_it_is_accepted(line):
    _, (code,) = mend_of(read_parameters(line)[1])
    assert read_parameters(code)[1] == []


@pytest.mark.parametrize(
    "comment",
    ["n, 1..60 days", "1..60 [days]", "5%..10%", "60..1", "days, 1-60", "[1, 60]", "> 0", "1,000..5,000"],
)
def test_range_as_the_mend_writes_it_is_accepted(comment):
    _, ranges = mend_of(read_parameters(f"days: int | None = None  # {comment}\nother: int = 1")[1])
    assert ranges
    for code in ranges:
        parameters, problems = read_parameters(f"days: int | None = None  # {code}\nother: int = 1")
        assert problems == [] and parameters[0].low + parameters[0].high


def test_lines_that_the_mends_show_are_accepted():
    _, (line,) = mend_of(read_parameters("print(1)")[1])
    name, kind, literal = re.fullmatch(r"(\w+): (\w+) = (\w+)", line).groups()
    assert (name, kind, literal) == ("name", "type", "literal")
    assert read_parameters(NO_PARAMETERS.split("`")[3])[1] == []


# fan-outs, grids, crash points, values


@pytest.mark.parametrize(
    ("wrong", "read"), [("fold", read_each), ("fold in 3..0", read_each), ("fold in []", read_each)]
)
def test_option_each_as_the_mend_writes_it_is_read(wrong, read):
    with pytest.raises(ValueError) as error:
        read(wrong)
    codes = code_in(str(error.value)) or re.findall(r"`([^`]+)`", str(error.value))
    for code in codes:
        again = code if " in " in code else f"fold in {code}"
        assert read(again.replace("NAME", "fold").replace("[..]", "[1, 2]")).parameter == "fold"


@pytest.mark.parametrize("wrong", ["depth", "depth=", "depth=1,,2", "depth=[1"])
def test_grid_as_the_mend_writes_it_is_read(wrong):
    with pytest.raises(UsageError) as error:
        read_axis(wrong)
    (code,) = code_in(error.value.mend)
    assert read_axis(code.removeprefix("--grid ").replace("NAME", "depth")) == ("depth", ["5", "10", "20"])


def test_crash_point_as_the_mend_writes_it_is_read():
    with pytest.raises(UsageError) as error:
        wanted("record.flushed:0")
    assert wanted(code_in(error.value.mend)[0]) == ("record.flushed", 1)


@pytest.mark.parametrize("wrong", ["days", "- 1", "days: [", "days: 1\ndays: 2"])
@pytest.mark.parametrize("name", ["values.yaml", "values.json"])
def test_file_of_values_as_the_mend_writes_it_is_read(tmp_path, wrong, name):
    (tmp_path / name).write_text(wrong)
    with pytest.raises(UsageError) as error:
        read_values_file(tmp_path / name)
    (code,) = code_in(error.value.mend)
    (tmp_path / name).write_text(code)
    assert read_values_file(tmp_path / name) == {"name": "value"}


def test_values_for_a_pipeline_without_parameters_are_taken_once_the_mend_is_followed(make_project):
    def given(cells):
        root = make_project({"10_a.ipynb": cells}).root
        project = find_project(root)
        return resolve(project, read_pipeline(project, "demo"), "default", {}, {"days": "8"})

    with pytest.raises(DefinitionError) as error:
        given(["x = 1"])
    _, line = error.value.mend.split("`")[1::2]
    tag = error.value.mend.split("`")[1]
    assert given([(tag, line), "x = 1"])["days"].value == 8


# names

PIPELINES = "[mlnb]\n[pipeline.demo]\nnotebooks = nbs\n[pipeline.other]\nnotebooks = nbs/other\n"


def problems_of(make_project, cells, saved="model", settings=PIPELINES):
    project = make_project(
        {"10_a.ipynb": cells, "nbs/other/10_b.ipynb": [f"from mlnb import save\nsave('{saved}', 1)"]},
        settings,
    )
    return list(read_pipeline(find_project(project.root), "demo").problems)


IMPORT = "from mlnb import load, save\n"


def test_name_of_another_pipeline_as_the_mend_writes_it_is_found(make_project):
    _, (code,) = mend_of(problems_of(make_project, [IMPORT + "load('model')"]))
    assert code == 'load("other/model")'
    assert problems_of(make_project, [IMPORT + code]) == []


@pytest.mark.parametrize("call", ["load(name)", "save(name, 1)"])
def test_name_written_out_as_the_mend_writes_it_is_found(make_project, call):
    _, (code,) = mend_of(problems_of(make_project, [IMPORT + call]))
    again = code.replace(", …", ", 1") if code.startswith("save") else code.replace(", …", "")
    found = problems_of(
        make_project, [IMPORT + again, IMPORT + 'save("name", 1)'][: 1 + again.startswith("load")]
    )
    assert [p.rule for p in found] in ([], ["cycle"])


def test_name_in_the_form_of_the_mend_is_a_name():
    with pytest.raises(UsageError) as error:
        parse_name("Other/Model")
    (form,) = code_in(error.value.mend)
    assert form == "[PIPELINE/]NAME[@REF]"
    for text in ("model", "other/model", "model@latest", "other/model@latest"):
        assert str(parse_name(text)) == text


@pytest.mark.parametrize(
    ("cells", "rule", "apply"),
    [
        (["x = 1", "#| threads: 2\ny = 1"], "option-place", lambda c: ["#| threads: 2\nx = 1", "y = 1"]),
        (["#| theads: 2\nx = 1"], "unknown-option", lambda c: ["#| threads: 2\nx = 1"]),
        (
            [("parameters", "n: int = 1"), ("injected-parameters", "n = 2")],
            "injected-parameters",
            lambda c: c[:1],
        ),
        (
            [("parameters", "n: int = 1"), ("parameters", "m: int = 2")],
            "two-parameters-cells",
            lambda c: c[:1],
        ),
        ([("parameters", "n: int = 1"), "n = 2\nx = n"], "parameter-set-again", lambda c: [c[0], "x = n"]),
        (["#| each: m in 0..3\nx = 1"], "bad-each", lambda c: [c[0], ("parameters", "m: int = 1")]),
        (
            [("parameters", "n: int = 1  # m+1..3")],
            "bad-range",
            lambda c: [("parameters", "n: int = 1  # 1..3")],
        ),
        (["import pandas\npandas.read_csv('a.csv')"], "reads-outside", lambda c: [IMPORT + 'load("table")']),
    ],
)
def test_notebook_changed_as_the_mend_says_has_no_problem(make_project, cells, rule, apply):
    settings = PIPELINES + "[source.table]\npath = a.csv\n"
    assert [p.rule for p in problems_of(make_project, cells, settings=settings)] == [rule]
    assert problems_of(make_project, apply(cells), settings=settings) == []


# settings

SECRET = "me:secret@host/a"
SOURCE = "[mlnb]\n[source.a]\n"
SETTINGS = [
    ("[mlnb]\nstore = .\n", "store = .", "store = .mlnb"),
    ("[mlnb]\nstore =\n", "store =", "store = …"),
    ("[mlnb]\n[pipeline.demo]\n", "", "notebooks = …"),
    (SOURCE, "", "path = …"),
    (SOURCE, "", "url = …"),
    (SOURCE, "", "sql = …"),
    (f"{SOURCE}path = x\nincremental = yes\n", "yes", "true"),
    (f"{SOURCE}url = x.csv\n", "x.csv", "https://…"),
    (f"{SOURCE}url = x.csv\n", "x.csv", "s3://…"),
    (f"{SOURCE}url = https://{SECRET}\n", f"url = https://{SECRET}", "url = env:NAME"),
    (
        f"{SOURCE}sql = x\nconnection = pg://{SECRET}\n",
        f"connection = pg://{SECRET}",
        "connection = env:NAME",
    ),
    (f"{SOURCE}path = https://{SECRET}\n", f"path = https://{SECRET}", "url = env:NAME"),
    ("[mlnb]\nstore\n", "store", "key = value"),
    ("[mlnb\n", "[mlnb", "[name]"),
    ("[mlnb]\nshared = no_such_group_here\n", "shared = no_such_group_here", "getent group"),
]


@pytest.mark.parametrize(("text", "old", "new"), SETTINGS)
def test_settings_changed_as_the_mend_says_are_read(tmp_path, text, old, new):
    (tmp_path / "settings.ini").write_text(text)
    with pytest.raises(DefinitionError) as error:
        read_project(tmp_path)
    (problem,) = error.value.problems
    assert f"`{new}`" in problem.mend
    meant = {"key = value": "store = place", "[name]": "[mlnb]", "getent group": ""}.get(new, new)
    meant = meant.replace("…", "place" if new.endswith("= …") and "url" not in new else "place/a.csv")
    meant = meant.replace("url = place", "url = https://place")
    (tmp_path / "settings.ini").write_text(text.replace(old, meant) if old else f"{text}{meant}\n")
    assert read_project(tmp_path).root == tmp_path


# sources


def test_source_that_cannot_be_read_is_loaded_as_the_mend_writes_it(make_project, monkeypatch):
    import mlnb

    settings = "[mlnb]\n[pipeline.demo]\nnotebooks = nbs\n[source.table]\npath = table.json\n"
    root = make_project({"10_a.ipynb": ["x = 1"]}, settings).root
    (root / "table.json").write_text("{")
    monkeypatch.chdir(root)
    with pytest.raises(UsageError) as error:
        mlnb.load("table")
    (code,) = code_in(error.value.mend)
    (found,) = eval(f'mlnb.load("table", {code})', {"mlnb": mlnb})
    assert Path(found).read_text() == "{"


@pytest.fixture
def source_project(make_project, monkeypatch):
    "A project with one source, `table`, of the files that are given; works in its folder."

    def of(path, **files):
        settings = f"[mlnb]\n[pipeline.demo]\nnotebooks = nbs\n[source.table]\npath = {path}\n"
        root = make_project({"10_a.ipynb": ["x = 1"]}, settings).root
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        monkeypatch.chdir(root)
        current.cache_clear()
        return root

    yield of
    current.cache_clear()


@pytest.mark.parametrize("other", ["lake/README", "lake/notes.md", "lake/deep/a.json"])
def test_source_of_several_kinds_is_named_as_the_mend_writes_it(source_project, other):
    import mlnb

    root = source_project("lake", **{"lake/a.csv": "n\n1\n", "lake/deep/b.csv": "n\n2\n", other: "{}"})
    with pytest.raises(UsageError, match=other) as error:
        mlnb.load("table")
    (pattern,) = re.findall(r"`([^`]+)`", error.value.mend)
    settings = root / "settings.ini"
    settings.write_text(settings.read_text().replace("path = lake", f"path = {pattern}"))
    assert mlnb.load("table")["n"].tolist() == ["1", "2"]


def test_source_whose_folder_says_something_else_is_loaded_as_the_mend_writes_it(source_project):
    import mlnb

    source_project("day=1", **{"day=1/a.csv": "day\n2\n"})
    with pytest.raises(UsageError, match="does not say what its folder") as error:
        mlnb.load("table")
    (code,) = code_in(error.value.mend)
    assert len(eval(f'mlnb.load("table", {code})', {"mlnb": mlnb})) == 1


# saved values


def values_to_save():
    "Values that `save` refuses with code to paste; how they are called there."
    import collections
    import dataclasses
    import datetime
    import enum
    import types

    import dateutil.tz
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    nullable = pd.arrays.FloatingArray(np.array([np.nan, 1.0]), np.array([False, True]))
    seconds = pd.array([[1]], dtype=pd.ArrowDtype(pa.list_(pa.timestamp("s"))))
    frames = {
        "sparse": pd.DataFrame({"a": pd.arrays.SparseArray([0, 1])}),
        "NaN in a nullable column": pd.DataFrame({"a": nullable}),
        "seconds of Arrow": pd.DataFrame({"a": seconds}),
        "wide": pd.DataFrame([[0] * 100_001]),
        "holidays": pd.DataFrame(
            {"a": [1]},
            pd.date_range("2018", periods=1, freq=pd.offsets.CustomBusinessDay(holidays=["2018-01-03"])),
        ),
    }
    inner = {
        "array": np.array([1]),
        "series": pd.Series([1], index=["a"]),
        "subclass": type("Own", (list,), {})([1]),
        "enum": enum.IntEnum("Level", "low high").low,
        "text of an enum": enum.Enum("Colour", "red", type=str).red,
        "longdouble": np.longdouble(1) / 3,
        "clongdouble": np.clongdouble(1j),
        "record": np.zeros(1, "i4,M8[ns]")[0],
        "path": PurePosixPath("a/b"),
        "offset": pd.offsets.Day(2),
        "dtype": np.dtype("f4"),
        "dtype of pandas": pd.CategoricalDtype(["a"]),
        "pattern": re.compile("a+"),
        "namespace": types.SimpleNamespace(n=1),
        "view": memoryview(b"x"),
        "type": int,
        "exception": ValueError("x"),
        "queue": collections.deque([1]),
        "keys": {"k": 1}.keys(),
        "named tuple": collections.namedtuple("Own", "n")(1),
        "counter": collections.Counter("aab"),
        "dataclass": dataclasses.make_dataclass("Own", ["n"])(1),
        "digits": 10**5000,
        "zone": pd.Timestamp("2020", tz="dateutil/Europe/Berlin"),
        "time of a zone": datetime.time(1, tzinfo=dateutil.tz.gettz("Europe/Berlin")),
    }
    others = {
        "index": pd.Index([1, 2]),
        "named index": pd.Index([1, 2], name="k"),
        "levels of an index": pd.MultiIndex.from_tuples([("a", 1), ("b", "x")]),
        "batch": pa.RecordBatch.from_pydict({"a": [1]}),
        "generator": (n for n in range(3)),
        "pandas array": pd.array([1, 2]),
        "array of objects": np.array([1, 2.5], dtype=object),
    }
    return frames | {name: {"a": value} for name, value in inner.items()} | others


def followed(value, code):
    "A value after the code of a mend."
    import dataclasses
    import datetime

    import numpy
    import pandas
    import pyarrow

    scope = {"pandas": pandas, "pyarrow": pyarrow, "numpy": numpy}
    scope |= {"dataclasses": dataclasses, "datetime": datetime}
    scope |= dict.fromkeys(("frame", "series", "array", "index", "batch", "value"), value)
    code = code.replace("rename_axis(...)", "rename_axis('k')").replace("'...'", "'x'")
    if re.match(r"(frame)?\.?[\w.]+ = ", code):
        exec(code if code.startswith("frame") else f"frame{code}", scope)
        return scope["frame"]
    if not code.startswith(".") and "(...)" not in code:
        return eval(code, scope)
    is_part = isinstance(value, dict) or (isinstance(value, pandas.DataFrame) and "a" in value.columns)
    scope["part"] = value["a"] if is_part else value
    made = eval(f"part{code}" if code.startswith(".") else code.replace("...", "part"), scope)
    if isinstance(value, dict):
        return {"a": made}
    return value.assign(a=made) if is_part else made


def test_value_that_is_refused_is_saved_once_the_mend_is_followed():
    from mlnb.store.codecs import encode

    for name, value in values_to_save().items():
        said = []
        for _ in range(3):
            try:
                with warnings.catch_warnings(action="ignore"):
                    encode(value)
                break
            except ValueRefusedError as error:
                assert error.message not in said, f"{name}: {error}"
                said.append(error.message)
                value = followed(value, code_in(error.mend)[0])
        else:
            raise AssertionError(f"{name}: {said}")
        assert said, name


def test_columns_given_as_the_mend_writes_them_are_taken():
    from mlnb.store.codecs import check_request

    with pytest.raises(UsageError) as error:
        check_request("frame", "a", None)
    (code,) = code_in(error.value.mend)
    eval(f"check_request('frame', {code}, as_=None)", {"check_request": check_request})


# commands


def test_project_is_made_as_the_mend_writes_it(tmp_path, mlnb):
    with pytest.raises(UsageError) as error:
        find_project(tmp_path)
    (code,) = code_in(error.value.mend)
    assert mlnb(*code.split()[1:], cwd=tmp_path).code == 0
    assert find_project(tmp_path).root == tmp_path
    with pytest.raises(UsageError) as error:
        write_scaffold(tmp_path)
    (code,) = code_in(error.value.mend)
    assert mlnb(*code.replace("FOLDER", "other").split()[1:], cwd=tmp_path).code == 0


@pytest.mark.slow
def test_commands_of_the_mends_do_what_is_missing(tmp_path, mlnb):
    assert mlnb("init", cwd=tmp_path).code == 0
    settings = tmp_path / "settings.ini"
    settings.write_text(settings.read_text() + "[pipeline.second]\nnotebooks = nbs/second\n")
    (tmp_path / "nbs/second").mkdir()
    text = (
        (tmp_path / "nbs/first/20_forecast.ipynb").read_text().replace('load(\\"sales', 'load(\\"first/sales')
    )
    (tmp_path / "nbs/second/20_forecast.ipynb").write_text(text)

    def follow(*words):
        refused = mlnb(*words, cwd=tmp_path)
        assert refused.code == 2, refused.stdout
        lines = " ".join((refused.stdout + refused.stderr).split())
        for code in re.findall(r"`(mlnb [^`]+)`", lines):
            done = mlnb(*code.replace("PIPELINE", "first").split()[1:], cwd=tmp_path)
            assert done.code == 0, (code, done.stderr)
        return lines

    assert "mlnb run PIPELINE" in follow("show", "latest")
    assert mlnb("show", "latest", cwd=tmp_path).code == 0
    follow("get", "first/sales@nobody")
    follow("run", "first", "sales", "--from", "forecast")
    assert mlnb("run", "second", cwd=tmp_path).code == 0
    assert "--profile ci" in follow("run", "second", "--profile", "ci")
    assert mlnb("run", "second", "--profile", "ci", cwd=tmp_path).code == 0
    refused = mlnb("get", "first/sales", "--out", "nbs", cwd=tmp_path)
    assert refused.code == 2 and "write `--out nbs/`" in refused.stderr
    assert mlnb("get", "first/sales", "--out", "nbs/", cwd=tmp_path).code == 0
    both = mlnb("get", "forecast", cwd=tmp_path)
    assert both.code == 2 and "write `first/forecast`" in both.stderr
    assert mlnb("get", "first/forecast", cwd=tmp_path).code == 0
