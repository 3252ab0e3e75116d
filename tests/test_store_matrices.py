"""Sparse matrices and frames of Polars come back equal, in the same class, equal ones with equal bytes."""

import datetime as dt
import io
import json
from decimal import Decimal

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from scipy import sparse

from mlnb.store.codecs import decode, encode
from mlnb.store.errors import IntegrityError, UsageError, ValueRefusedError
from mlnb.store.value_limits import ValueLimits

FORMATS = ("csr", "csc", "coo", "bsr", "dia", "lil", "dok")
DTYPES = ("?", "i1", "u8", "f4", "f8", "c8", "c16")


def back(value):
    stored = encode(value)
    return decode(stored.codec, stored.data)


def matrix(format_, dtype="f8", kind="array", shape=(7, 5)):
    "A matrix of a format, with a row and a column of zeros."
    dense = np.random.default_rng(1).integers(0, 3, shape) * np.ones(shape)
    dense[2] = dense[:, 3] = 0
    return getattr(sparse, f"{format_}_{kind}")(dense.astype(dtype))


@pytest.mark.parametrize("kind", ["array", "matrix"])
@pytest.mark.parametrize("format_", FORMATS)
def test_sparse_matrix_of_a_format_comes_back_equal(format_, kind):
    for dtype in DTYPES:
        value = matrix(format_, dtype, kind)
        again = back(value)
        assert (type(again), again.dtype, again.shape) == (type(value), value.dtype, value.shape)
        np.testing.assert_array_equal(again.toarray(), value.toarray())
        assert encode(again).data == encode(value).data
    for shape in ((0, 3), (3, 0), (1, 1)):
        assert back(matrix("csr", shape=(7, 5))[:1, :1].asformat(format_)).shape == (1, 1)
        if format_ != "bsr":
            assert back(getattr(sparse, f"{format_}_{kind}")(shape)).shape == shape


def test_order_room_and_width_of_places_do_not_count():
    value = matrix("csr")
    order = np.concatenate(
        [np.arange(a, b)[::-1] for a, b in zip(value.indptr, value.indptr[1:], strict=False)]
    )
    mixed = sparse.csr_array((value.data[order], value.indices[order], value.indptr), shape=value.shape)
    roomy = sparse.csr_array(
        (np.append(value.data, 9), np.append(value.indices, 0), value.indptr), value.shape
    )
    wide = value.copy()
    wide.indices, wide.indptr = wide.indices.astype("i8"), wide.indptr.astype("i8")
    assert {encode(one).data for one in (value, mixed, roomy, wide, value.tocsc().tocsr())} == {
        encode(value).data
    }
    one, other = (sparse.dia_array((np.array([[1.0, 2.0], [x, 3.0]]), [0, 1]), shape=(2, 2)) for x in (7, 8))
    assert encode(one).data == encode(other).data


def test_bytes_that_are_true_in_another_way_are_one_truth():
    value = sparse.csr_array(np.eye(3, dtype=bool))
    other = value.copy()
    other.data = np.array([2, 3, 255], "u1").view(bool)
    assert encode(other).data == encode(value).data


BROKEN = {
    "indices": [99, -1],  # beyond the matrix, and before it
    "indptr": [999],  # beyond the entries
    "offsets": [1],  # a diagonal twice
    "coords": [99, -1],
}


@pytest.mark.parametrize("format_", ["csr", "csc", "bsr", "coo", "dia"])
@pytest.mark.parametrize("part", BROKEN)
def test_matrix_that_contradicts_itself_is_refused_when_it_is_saved(format_, part):
    for number in BROKEN[part] if hasattr(matrix(format_), part) else ():
        value = matrix(format_)
        places = value.coords[0] if part == "coords" else getattr(value, part)
        places[0 if part == "offsets" else 1] = number if part != "offsets" else places[1]
        with pytest.raises(ValueRefusedError, match="contradicts itself") as refused:
            encode(value)
        assert "make it again" in refused.value.mend
        assert (back(matrix(format_)) != matrix(format_)).nnz == 0


def test_looking_at_a_matrix_changes_nothing_in_it():
    value = matrix("csr")
    value.data, value.indices = (np.concatenate([part, part[:3]]) for part in (value.data, value.indices))
    before = [(part, part.copy()) for part in (value.data, value.indices, value.indptr)]
    encode(value)
    kept = (value.data, value.indices, value.indptr)
    assert all(now is was for (was, _), now in zip(before, kept, strict=True))
    assert all((was == copied).all() for was, copied in before)


def test_zeros_that_are_stored_and_entries_that_stand_twice_are_kept():
    zeros = sparse.csr_array((np.array([0.0, 1.0]), np.array([0, 1]), np.array([0, 2])), shape=(1, 2))
    assert back(zeros).nnz == 2
    twice = sparse.coo_array(([1.0, 2.0, 3.0], ([1, 0, 1], [1, 0, 1])), shape=(2, 2))
    assert back(twice).data.tolist() == [2.0, 1.0, 3.0]
    cube = sparse.coo_array(([1.0, 2.0], ([1, 0], [1, 0], [0, 1])), shape=(2, 2, 2))
    assert back(cube).shape == (2, 2, 2) and back(cube).toarray()[1, 1, 0] == 1.0
    line = sparse.coo_array(([1.0], ([3],)), shape=(5,))
    assert back(line).toarray().tolist() == [0, 0, 0, 1, 0]


def test_sparse_file_is_one_of_scipy():
    for format_ in ("csr", "csc", "coo", "bsr", "dia"):
        value = matrix(format_)
        read = sparse.load_npz(io.BytesIO(encode(value).data))
        assert type(read) is type(value) and (read != value).nnz == 0


def members(**changed):
    "A file of a matrix with other members."
    value = matrix("csr")
    parts = {"indices": value.indices, "indptr": value.indptr, "data": value.data, "format": np.array(b"csr")}
    parts |= {"shape": np.array(value.shape), "_is_array": np.array(True)}
    buffer = io.BytesIO()
    np.savez(buffer, **{name: part for name, part in (parts | changed).items() if part is not None})
    return buffer.getvalue()


@pytest.mark.parametrize(
    "changed",
    [
        {"indices": np.full(matrix("csr").nnz, 99)},
        {"indices": np.full(matrix("csr").nnz, -1)},
        {"indptr": np.array([0, 1 << 40])},
        {"shape": np.array([7, 2])},
        {"shape": np.array([-7, 5])},
        {"format": np.array(b"os")},
        {"format": np.array(b"coo")},
        {"data": None},
        {"data": np.array([], dtype=object)},
        {"kept_as": np.array(b"system"), "format": np.array(b"coo")},
    ],
)
def test_sparse_file_that_makes_no_sense_is_damage(changed):
    with pytest.raises(IntegrityError):
        decode("sparse", members(**changed))


def test_sparse_matrix_that_would_fill_the_memory_is_refused():
    hollow = sparse.coo_array(([1.0], ([0], [0])), shape=(1 << 40, 2))
    data = encode(hollow).data
    assert back(hollow).shape == hollow.shape
    parts = dict(np.load(io.BytesIO(data)))
    buffer = io.BytesIO()
    np.savez(buffer, **parts, kept_as=np.array(b"lil"))
    with pytest.raises(IntegrityError, match="would grow to"):
        decode("sparse", buffer.getvalue(), limits=ValueLimits())


@pytest.mark.parametrize("kept_as", ["csr", "csc", "bsr", "dia", "coo"])
@pytest.mark.parametrize("shape", [(1 << 40, 1), (1, 1 << 40)])
def test_entries_become_no_format_that_takes_room_for_each_row_or_diagonal(kept_as, shape):
    parts = dict(np.load(io.BytesIO(encode(sparse.coo_array(([1.0], ([0], [0])), shape=shape)).data)))
    buffer = io.BytesIO()
    np.savez(buffer, **parts, kept_as=np.array(kept_as.encode()))
    with pytest.raises(IntegrityError, match=r"would grow to|not kept entry by entry"):
        decode("sparse", buffer.getvalue())


def test_sparse_matrix_of_another_type_of_data_is_kept_once_the_mend_was_followed():
    value = matrix("csr", "longdouble")
    with pytest.raises(ValueRefusedError, match=r"value\.astype\('float64'\)"):
        encode(value)
    assert back(value.astype("float64")).dtype == "f8"


# Polars

POLARS = {
    "numbers": pl.DataFrame({"i": [1, None], "f": [1.5, float("nan")], "b": [True, None], "u": [1, 2**63]}),
    "small": pl.DataFrame(
        {"i": pl.Series([1, -1], dtype=pl.Int8), "f": pl.Series([0.5, None], dtype=pl.Float32)}
    ),
    "text": pl.DataFrame({"s": ["ä", None], "": ["", "x"], "x": [b"\x00", None]}),
    "times": pl.DataFrame(
        {
            "d": [dt.date(2018, 4, 1), None],
            "t": [dt.time(1, 2, 3, 4), None],
            "ms": pl.Series([dt.datetime(2018, 4, 1), None], dtype=pl.Datetime("ms")),
            "ns": pl.Series([dt.datetime(2018, 4, 1), None], dtype=pl.Datetime("ns", "Europe/Berlin")),
            "us": pl.Series([dt.timedelta(1), None], dtype=pl.Duration("us")),
        }
    ),
    "nested": pl.DataFrame({"l": [["a"], []], "s": [{"k": 1}, None], "ll": [[[1.5]], None]}),
    "vectors": pl.DataFrame({"e": pl.Series([[1.0, 2.0], [3.0, 4.0]], dtype=pl.Array(pl.Float32, 2))}),
    "levels": pl.DataFrame(
        {
            "c": pl.Series(["b", None], dtype=pl.Categorical),
            "e": pl.Series(["x", None], dtype=pl.Enum(["y", "x", "z"])),
        }
    ),
    "money": pl.DataFrame({"m": pl.Series([Decimal("1.50"), None], dtype=pl.Decimal(10, 2))}),
    "nothing": pl.DataFrame({"n": [None, None]}),
    "empty": pl.DataFrame(),
}


@pytest.mark.parametrize("name", POLARS)
def test_frame_of_polars_comes_back_as_one_with_the_same_bytes(name):
    for frame in (POLARS[name], POLARS[name].clear()):
        stored = encode(frame)
        again = decode(stored.codec, stored.data)
        assert type(again) is pl.DataFrame and again.schema == frame.schema and again.equals(frame)
        assert encode(again).data == stored.data
        assert encode(pl.concat([frame[:1], frame[1:]], rechunk=False)).data == stored.data
        assert pq.read_table(io.BytesIO(stored.data)).num_rows == frame.height
    for column in POLARS[name]:
        again = back(column)
        assert (
            type(again) is pl.Series
            and again.dtype == column.dtype
            and again.equals(column, check_names=True)
        )


def test_bytes_of_categories_do_not_depend_on_what_the_process_has_seen():
    before = encode(POLARS["levels"]).data
    pl.Series([f"other{n}" for n in range(50)], dtype=pl.Categorical)
    assert (
        encode(pl.DataFrame(POLARS["levels"].to_dict(as_series=False), schema=POLARS["levels"].schema)).data
        == before
    )


def test_columns_of_a_frame_of_polars_are_chosen():
    data = encode(POLARS["numbers"]).data
    assert decode("polars", data, columns=["b", "i"]).columns == ["b", "i"]
    assert decode("polars", data, as_="pandas").shape == (2, 4)
    assert decode("polars", data, columns=["f"], as_="arrow").column_names == ["f"]
    with pytest.raises(UsageError, match="there is no column `x`"):
        decode("polars", data, columns=["x"])


def test_what_polars_cannot_give_back_is_refused_until_the_mend_is_followed():
    objects = pl.DataFrame({"n": [1], "o": pl.Series([{1}], dtype=pl.Object)})
    with pytest.raises(ValueRefusedError, match=r"use `frame\.drop\('o'\)`"):
        encode(objects)
    assert back(objects.drop("o")).columns == ["n"]
    nested = pl.DataFrame({"l": pl.Series([["a"]], dtype=pl.List(pl.Categorical))})
    with pytest.raises(ValueRefusedError, match=r"e\.g\. `polars\.List\(polars\.String\)`"):
        encode(nested)
    assert back(nested.cast({"l": pl.List(pl.String)})).schema == {"l": pl.List(pl.String)}
    with pytest.raises(ValueRefusedError, match=r"save `value\.collect\(\)`"):
        encode(POLARS["text"].lazy())
    assert back(POLARS["text"].lazy().collect()).equals(POLARS["text"])


REFUSED_BY_POLARS = {
    "wide": lambda: pl.DataFrame({"n": pl.Series([2**100, None], dtype=pl.Int128), "m": [1, 2]}),
    "wide unsigned": lambda: pl.DataFrame({"n": pl.Series([2**100], dtype=pl.UInt128)}),
    "empty wide": lambda: pl.DataFrame({"n": pl.Series([], dtype=pl.Int128)}),
    "NUL": lambda: pl.DataFrame({"a\0b": [1]}),
    "objects": lambda: pl.DataFrame({"n": [1], "o": pl.Series([{1}], dtype=pl.Object)}),
}


@pytest.mark.parametrize("name", REFUSED_BY_POLARS)
def test_frame_of_polars_that_is_refused_is_kept_once_its_mend_was_followed(name):
    frame = REFUSED_BY_POLARS[name]()
    with pytest.raises(ValueRefusedError) as caught:
        encode(frame)
    mended = eval(caught.value.mend.split("`")[1], {"frame": frame, "polars": pl})
    assert back(mended).equals(mended) and mended.height == frame.height


NESTED_OF_POLARS = {
    "wide in a list": ({"l": [[1]]}, {"l": pl.List(pl.Int128)}, pl.List(pl.String)),
    "wide in an array": ({"l": [[1]]}, {"l": pl.Array(pl.Int128, 1)}, pl.List(pl.String)),
    "words in a list": ({"l": [["a"]]}, {"l": pl.List(pl.Enum(["a"]))}, pl.List(pl.String)),
    "words in a struct": (
        {"l": [{"k": "a"}]},
        {"l": pl.Struct({"k": pl.Categorical})},
        pl.Struct({"k": pl.String}),
    ),
}


@pytest.mark.parametrize("name", NESTED_OF_POLARS)
def test_frame_of_polars_with_such_values_inside_is_kept_as_text_inside(name):
    data, schema, mended = NESTED_OF_POLARS[name]
    frame = pl.DataFrame(data, schema=schema)
    with pytest.raises(ValueRefusedError, match="column `l`") as caught:
        encode(frame)
    assert "text inside" in caught.value.mend
    assert back(frame.cast({"l": mended})).equals(frame.cast({"l": mended}))


def test_names_of_fields_are_no_types_and_rows_without_columns_are_not_lost():
    frame = pl.DataFrame({"s": [{"Categorical": 1, "Enum": None, "Int128": "x"}]})
    assert back(frame).equals(frame)
    with pytest.raises(ValueRefusedError, match="NUL"):
        encode(pl.DataFrame({"s": [{"a\0": 1}]}))
    with pytest.raises(ValueRefusedError, match="3 rows without a column") as caught:
        encode(pl.DataFrame(height=3))
    assert "`.height`" in caught.value.mend
    assert back(pl.DataFrame()).equals(pl.DataFrame())


@pytest.mark.parametrize(
    "notes", [{"categories": "x"}, {"enumerations": {"i": ["a"]}}, {"categories": ["b"]}]
)
def test_notes_of_polars_that_make_no_sense_are_damage(notes):
    table = pq.read_table(io.BytesIO(encode(POLARS["numbers"]).data))
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({b"mlnb.polars": json.dumps(notes).encode()}), sink)
    with pytest.raises(IntegrityError):
        decode("polars", sink.getvalue())
