"""Every kind of value comes back equal in type and value, or is refused with a mend that works."""

import importlib.util
import json
import re
import shutil
import stat
from pathlib import Path
from xml.dom.minidom import parseString

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from value_kinds import KINDS, followed, same

from mlnb.flow.key import input_part
from mlnb.store import codecs
from mlnb.store.artifacts import get_value, put_value
from mlnb.store.descriptions import Artifact, Parts
from mlnb.store.digests import canonical_json, sha256
from mlnb.store.errors import IntegrityError, ValueRefusedError
from mlnb.store.exports import export_value
from mlnb.store.figures import figure_svg
from mlnb.store.objects import get, open_store, put
from mlnb.store.value_limits import ValueLimits

HERE = [kind for kind in KINDS if kind.is_here]


def back(store, value, files):
    return get_value(store, put_value(store, value), files)


def made_in(tmp_path):
    (tmp_path / "made").mkdir()
    return tmp_path / "made"


def is_picture(value):
    return isinstance(value, Figure)


def by_name(kind):
    return f"{kind.group}: {kind.name}"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return open_store(tmp_path_factory.mktemp("kinds") / "store")


@pytest.mark.parametrize("kind", [kind for kind in HERE if kind.codec], ids=by_name)
def test_value_of_a_kind_comes_back_equal_and_gives_the_same_bytes_again(kind, store, tmp_path):
    value = kind.make(made_in(tmp_path))
    kept = put_value(store, value)
    assert kept.codec == kind.codec
    again = get_value(store, kept, tmp_path / "files")
    assert kind.note or same(again, value)
    assert put_value(store, again).digest == kept.digest


@pytest.mark.parametrize("kind", [kind for kind in HERE if not kind.codec], ids=by_name)
def test_value_of_a_kind_that_is_refused_can_be_kept_as_the_mend_says(kind, store, tmp_path):
    value = kind.make(made_in(tmp_path))
    with pytest.raises(ValueRefusedError) as refused:
        put_value(store, value)
    instead = followed(kind, value, refused.value.mend)
    getattr(value, "close", lambda: None)()
    loaded = back(store, instead, tmp_path / "files")
    assert instead is not value and (is_picture(instead) or same(loaded, instead))
    assert kind.again is None or same(kind.again(loaded), value)


# arrays

LONG = [np.dtype(code) for code in ("g", "G", ">g", ">G")]
WITH_LONG = [
    *LONG,
    np.dtype([("n", "u1"), ("x", "g")]),
    np.dtype([("n", "?"), ("x", "G", (2, 2))]),
    np.dtype([("in", [("n", "i2"), ("x", ">g")]), ("y", "g")], align=True),
]


def long_memory(dtype, filling):
    "Memory that held something else before, with equal values put into it."
    array = np.frombuffer(bytes([filling]) * dtype.itemsize * 6, dtype).copy().reshape(2, 3)[:, ::-1]
    for field in [array] if dtype.names is None else leaves(array):
        number = np.array(1, field.dtype) / 3 if field.dtype.kind in "fc" else np.array(1, field.dtype)
        narrow = field[..., None].view("u1")
        count = np.array(number, field.dtype)[..., None].view("u1")
        for at in counting_bytes(field.dtype):
            narrow[..., at] = count[at]
    return array


def leaves(array):
    "The fields of an array of records that are no records."
    if array.dtype.names is None:
        return [array]
    return [leaf for name in array.dtype.names for leaf in leaves(array[name])]


def counting_bytes(dtype):
    "Which bytes of an element make its value."
    if dtype.kind not in "fc" or np.finfo(dtype).nmant != 63:
        return range(dtype.itemsize)
    width = dtype.itemsize if dtype.kind == "f" else dtype.itemsize // 2
    first = 0 if dtype.isnative else width - 10
    return [part + first + n for part in range(0, dtype.itemsize, width) for n in range(10)]


@pytest.mark.parametrize("dtype", WITH_LONG, ids=str)
def test_long_doubles_do_not_depend_on_what_the_memory_held_before(dtype, store, tmp_path):
    one, other = (long_memory(dtype, filling) for filling in (0x00, 0xA5))
    kept = put_value(store, one)
    assert put_value(store, other) == kept
    loaded = get_value(store, kept, tmp_path)
    assert loaded.dtype == dtype and repr(loaded.tolist()) == repr(other.tolist())


def test_true_is_one_whatever_byte_said_so(store):
    for dtype in ("?", [("flag", "?"), ("n", "u1")]):
        one, other = (np.frombuffer(bytes([true, 7, 0, 7]), dtype) for true in (1, 2))
        assert put_value(store, other[::2]) == put_value(store, one[::2])


UNITS = [
    f"{kind}8[{unit}]"
    for kind in "Mm"
    for unit in ("Y", "M", "W", "D", "h", "m", "25s", "ms", "us", "ns", "as")
]


@pytest.mark.parametrize("unit", [*UNITS, ">M8[s]", "M8", "m8"])
def test_times_of_a_unit_come_back_with_it(unit, store, tmp_path):
    array = np.array([1, "NaT", -5] if unit != "M8" else ["NaT"], unit)
    again = back(store, array, tmp_path)
    assert again.dtype == array.dtype and again.tobytes() == array.tobytes()


# files

MODES = {0o600: False, 0o644: False, 0o755: True, 0o4755: True, 0o2711: True, 0o1700: True, 0o655: False}


def in_folder(folder, modes):
    "A folder with a file of each mode."
    folder.mkdir()
    for mode in modes:
        (folder / f"{mode:o}").write_text(f"{mode:o}")
        (folder / f"{mode:o}").chmod(mode)
    return folder


@pytest.mark.parametrize("way", ["load", "out", "overlay", "copied store"])
def test_whether_a_file_can_be_executed_is_all_that_is_kept_of_its_permissions(way, tmp_path):
    below = open_store(tmp_path / "below")
    store = open_store(tmp_path / "above", below=below) if way == "overlay" else below
    kept = put_value(store, in_folder(tmp_path / "tools", MODES))
    if way == "copied store":
        shutil.copytree(store.root, tmp_path / "copy", copy_function=shutil.copyfile)
        store = open_store(tmp_path / "copy")
    out = tmp_path / "out"
    place = get_value(store, kept, out) if way != "out" else export_value(store, kept, out, True)
    found = {int(file.name, 8): stat.S_IMODE(file.stat().st_mode) for file in place.iterdir()}
    assert found == {mode: 0o700 if is_program else 0o600 for mode, is_program in MODES.items()}


def test_folder_without_programs_keeps_the_bytes_of_its_list(tmp_path, store):
    plain, _ = in_folder(tmp_path / "plain", [0o644]), in_folder(tmp_path / "tool", [0o644])
    (tmp_path / "tool" / "644").chmod(0o755)
    listed = {"path": "644", "digest": sha256(b"644"), "bytes": 3}
    assert get(store, put_value(store, plain).digest) == canonical_json([listed])
    tools = put_value(store, tmp_path / "tool")
    assert json.loads(get(store, tools.digest)) == [listed | {"executable": True}]
    assert (tools.parts, tools.bytes) == (put_value(store, plain).parts, 3)
    assert put_value(store, plain / "644").as_dict().keys() == {
        "codec",
        "digest",
        "bytes",
        "type",
        "filename",
    }


def test_program_and_file_of_one_content_and_name_do_not_meet(tmp_path, store):
    file = in_folder(tmp_path / "a", [0o644]) / "644"
    plain = put_value(store, file)
    file.chmod(0o755)
    program = put_value(store, file)
    places = [get_value(store, one, tmp_path / "files") for one in (plain, program, plain)]
    assert [bool(place.stat().st_mode & 0o111) for place in places] == [False, True, False]
    assert input_part(plain) != input_part(program)
    assert Parts("n", (1,), (plain,)).digest != Parts("n", (1,), (program,)).digest


@pytest.mark.parametrize("said", ["yes", 1, 0o4755, None, [True]])
def test_list_that_says_something_else_of_a_program_is_damage(said, store, tmp_path):
    digest = put(store, b"tool")
    tree = put(store, canonical_json([{"path": "a", "digest": digest, "bytes": 4, "executable": said}]))
    with pytest.raises(IntegrityError, match="no list of files"):
        get_value(store, Artifact("folder", tree, 4, "pathlib.Path"), tmp_path / "out")
    with pytest.raises(IntegrityError, match="damaged"):
        Artifact.from_dict({"codec": "file", "digest": digest, "bytes": 4, "executable": said})


# figures


def scattered(axes, n=25_000):
    axes.scatter(*np.random.default_rng(0).random((2, n)), s=1)


def parts_of(name):
    "A figure with more dots than vectors are good for, somewhere in it."
    figure, numbers = Figure(figsize=(3, 2)), np.random.default_rng(0)
    if name == "part of a figure":
        scattered(figure.subfigures(1, 2)[1].subplots())
        return figure
    axes = figure.subplots()
    if name == "axes in axes in axes":
        scattered(axes.inset_axes([0.5, 0.5, 0.5, 0.5]).inset_axes([0, 0, 0.5, 0.5]))
    elif name == "arrows":
        axes.quiver(*numbers.random((4, 21_000)))
    elif name == "image":
        axes.imshow(numbers.random((1100, 1100)), interpolation="none")
    elif name == "texts":
        for _ in range(2_001):
            axes.text(0, 0, "a", clip_on=True)
    else:
        figure.figimage(numbers.random((500, 500, 3)))
    return figure


@pytest.mark.parametrize(
    "name",
    [
        "axes in axes in axes",
        "part of a figure",
        "image",
        "beside axes",
        pytest.param("arrows", marks=pytest.mark.slow),
        pytest.param("texts", marks=pytest.mark.slow),
    ],
)
def test_figure_stays_small_wherever_it_is_dense(name):
    figure = parts_of(name)
    svg = figure_svg(figure)
    assert len(svg) <= 1 << 20 and "<image" in svg
    assert not any(artist.get_rasterized() for artist in figure.findobj())
    assert parseString(svg).documentElement.tagName == "svg"


LABELS = st.text(st.characters(exclude_characters="$\\"), max_size=4)


@settings(max_examples=10, deadline=None)
@given(LABELS, LABELS)
@pytest.mark.filterwarnings("ignore:Glyph|Matplotlib currently does not support")
def test_figure_with_any_label_is_well_formed_or_refused_with_a_mend_that_works(label, gid):
    figure = Figure(figsize=(1, 1))
    figure.text(0, 0, label, gid=gid.encode("utf-8", "replace").decode())
    try:
        svg = figure_svg(figure)
    except ValueRefusedError as error:
        assert "`text.encode('utf-8', 'replace').decode()`" in error.mend
        figure.texts[0].set_text(label.encode("utf-8", "replace").decode())
        svg = figure_svg(figure)
    assert parseString(svg) and figure_svg(figure) == svg


@pytest.mark.parametrize("text", ["$a{$", r"$\foo$", "from $5{$", r"$\frac{1}$", "$ $ $x_$"])
@pytest.mark.parametrize("place", ["title", "label", "tick", "inner title"])
def test_text_that_is_no_formula_is_named_with_a_mend_that_works(text, place):
    def drawn(text):
        figure = Figure(figsize=(2, 2))
        axes = figure.subplots()
        inner = axes.inset_axes([0, 0, 1, 1]) if place == "inner title" else axes
        setters = {"label": inner.set_xlabel, "tick": lambda text: inner.bar([text], [1])}
        setters.get(place, inner.set_title)(text)
        return figure

    with pytest.raises(ValueRefusedError, match="cannot be drawn") as refused:
        figure_svg(drawn(text))
    assert repr(text) in refused.value.message
    code = re.findall("`(text.+?)`", refused.value.mend)[0]
    assert "<svg" in figure_svg(drawn(eval(code, {"text": text})))


# charts

HOSTILE_CHARTS = [
    b"[]",
    b"{",
    b'{"data":[{"type":"nothing"}]}',
    b'{"layout":{"__class__":1}}',
    b"[" * 100_000,
    b'{"data":"\xff"}',
]


@pytest.mark.parametrize("data", HOSTILE_CHARTS, ids=lambda data: repr(data[:20]))
def test_specification_that_is_none_is_damage(data, store, tmp_path):
    pytest.importorskip("plotly")
    kept = Artifact("plotly", put(store, data), len(data), "plotly.Figure")
    with pytest.raises(IntegrityError):
        get_value(store, kept, tmp_path)


def test_specification_that_would_grow_is_refused_before_it_is_read(tmp_path):
    small = open_store(tmp_path / "small", limits=ValueLimits(memory=1 << 20))
    data = b'{"data":[' + b"{}," * 1_000 + b"{}]}"
    kept = Artifact("plotly", put(small, data), len(data), "plotly.Figure")
    with pytest.raises(IntegrityError, match="would grow to"):
        get_value(small, kept, tmp_path)


# bad input


class NoLength(list):
    def __len__(self):
        raise RuntimeError("no length")


class NoText:
    def __repr__(self):
        raise RuntimeError("no text")

    __str__ = __repr__


class NoAttributes:
    def __getattr__(self, name):
        raise NoWords


class NoWords(Exception):
    def __str__(self):
        raise RuntimeError("no words")


class Unequal:
    def __eq__(self, other):
        raise RuntimeError("not equal")

    __hash__ = object.__hash__


class LongLie(dict):
    def __len__(self):
        return 10**12


class OtherClass:
    __class__ = property(lambda self: dict)


ODD = (NoLength, NoText, NoAttributes, Unequal, LongLie, OtherClass)
HOLDERS = {
    "alone": lambda one: one,
    "in a list": lambda one: [one],
    "in a dict": lambda one: {"a": one},
    "in a frame": lambda one: pd.DataFrame({"a": pd.Series([one, one], dtype=object)}),
    "in `attrs`": lambda one: with_attrs(one),
    "as a column": lambda one: pd.DataFrame([[1]], columns=pd.Index([one], dtype=object)),
}


def with_attrs(one):
    frame = pd.DataFrame({"a": [1]})
    frame.attrs["a"] = one
    return frame


def files_of(store):
    return {path for path in store.root.rglob("*") if path.is_file() and "pins" not in path.parts}


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("odd", ODD)
def test_object_that_lies_or_raises_is_refused_and_leaves_nothing(odd, holder, store):
    value, before = HOLDERS[holder](odd()), files_of(store)
    with pytest.raises(ValueRefusedError) as refused:
        put_value(store, value)
    assert refused.value.mend and files_of(store) == before


@pytest.mark.parametrize("error", [ValueError("torn"), FileNotFoundError("a.csv"), NoWords(), MemoryError()])
@pytest.mark.parametrize("before", [0, 3])
def test_iterator_that_raises_in_the_middle_says_where_and_leaves_nothing(error, before, store):
    error = type(error)(*error.args)

    def days():
        yield from (pd.DataFrame({"n": [n], "odd": [repr(error)]}) for n in range(before))
        raise error

    held = files_of(store)
    with pytest.raises(type(error)) as raised:
        put_value(store, days())
    assert raised.value is error and files_of(store) == held
    assert f"asked for part {before}; nothing was kept" in error.__notes__[0]


def test_interrupted_iterator_leaves_nothing(store):
    def days():
        yield pd.DataFrame({"interrupted": [1]})
        raise KeyboardInterrupt

    held = files_of(store)
    with pytest.raises(KeyboardInterrupt):
        put_value(store, days())
    assert files_of(store) == held


CHANGED = {
    "array": (lambda: np.arange(1000.0), lambda array: array.sort()),
    "bytes": (lambda: np.zeros(1003, "u1"), lambda array: array.__setitem__(1002, 1)),
    "frame": (lambda: pd.DataFrame({"a": np.arange(1000.0)[::-1]}), lambda f: f["a"].array.to_numpy().sort()),
    "large frame": (
        lambda: pd.DataFrame({"a": np.zeros(3_000_000)}),
        lambda f: f.isetitem(0, np.ones(3_000_000)),
    ),
    "series": (lambda: pd.Series(range(9)), lambda series: series.__setitem__(3, 7)),
}


@pytest.mark.parametrize("kind", CHANGED)
def test_value_that_is_changed_while_it_is_saved_is_refused_and_leaves_nothing(kind, store, monkeypatch):
    make, change = CHANGED[kind]
    value, held = (make()[::-1] if kind == "array" else make()), files_of(store)
    encode, in_pieces = codecs.encode, codecs.in_pieces

    def meanwhile(*given):
        done = encode(*given)
        change(value)
        return done

    def pieces(value):
        write = in_pieces(value)
        return write and (lambda add: (write(add), change(value)))

    monkeypatch.setattr(codecs, "encode", meanwhile)
    monkeypatch.setattr(codecs, "in_pieces", pieces)
    with pytest.raises(ValueRefusedError, match="changed by something else") as refused:
        put_value(store, value)
    monkeypatch.undo()
    assert files_of(store) == held
    [code] = re.findall("`(.*?)`", refused.value.mend)
    assert put_value(store, eval(code, {"value": value}))


def test_table_of_a_million_columns_is_refused_before_memory_ends(store):
    frame = pd.DataFrame(np.zeros((1, 200_001)))
    with pytest.raises(ValueRefusedError, match=r"table of 200,001 columns.*`frame.melt\(\)`"):
        put_value(store, frame)
    assert len(frame.iloc[:, :3].melt()) == 3


def test_array_that_is_too_large_for_memory_is_refused(store):
    held = files_of(store)
    with pytest.raises(ValueRefusedError, match="not enough memory"):
        put_value(store, np.broadcast_to(1.0, (10**8, 10**8)))
    assert files_of(store) == held


# the table of the docs


@pytest.fixture(scope="module")
def table():
    "The script that makes it."
    place = Path(__file__).resolve().parents[1] / "scripts" / "value_table.py"
    spec = importlib.util.spec_from_file_location("value_table", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_table_of_the_docs_is_what_saving_each_kind_gives_now(table):
    rows = table.read_rows()
    assert table.all_rows(rows) == rows, "make it anew with `make values`"
    assert table.DATA.with_suffix(".html").read_text(encoding="utf-8") == table.page_of(rows, table.DATA.name)
    assert {row["result"] for row in rows} == {"kept", "refused"}
    assert len({(row["group"], row["name"]) for row in rows}) == len(KINDS)
