"""What a parameters cell says: ranges, types, lines and mends; and cells that would say it again."""

import ast
import io
import json
import re
import tokenize
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from IPython.core.displayhook import DisplayHook
from papermill.translators import PythonTranslator

from mlnb.flow.parameter_values import read_values_file, resolve
from mlnb.notebook.cells import shows_last, with_plain_ends
from mlnb.notebook.options import misplaced_options, read_options
from mlnb.notebook.parameters import Parameter, check_value, comments_of, read_parameters, read_text
from mlnb.notebook.pipeline import read_pipeline
from mlnb.notebook.ranges import bound_value, is_sure_range, misread_ranges, range_of, read_number
from mlnb.notebook.stage import read_content
from mlnb.notebook.types import type_of
from mlnb.store.errors import DefinitionError, UsageError
from mlnb.store.settings import Project

ROOT = Path(__file__).parents[1]
SOME = settings(max_examples=40, deadline=None)


def declared(comment, kind="float", default="None", more=""):
    "Read one parameter with a comment; `more` are lines above it."
    return read_parameters(f"{more}value: {kind} | None = {default}  # {comment}")


def rules(source, level="error"):
    return [p.rule for p in read_parameters(source)[1] if p.level == level]


# ranges that are read

READ = [
    ("1_000..50_000", 1000, 50_000),
    ("a share, 0..1.", 0, 1),
    ("1 .. 30", 1, 30),
    ("1.. 30", 1, 30),
    ("1 ..30", 1, 30),
    ("1E-5..1E-1", 1e-5, 0.1),
    ("1e-5..1e+1", 1e-5, 10),
    ("[0..100]", 0, 100),
    ("(0..1)", 0, 1),
    ("(0..1).", 0, 1),
    (".1..9", 0.1, 9),
    ("0...5".replace("...", ".. ."), 0, 0.5),
    ("0x10..0x20", 16, 32),
    ("0b1..0o17", 1, 15),
    ("01..12", 1, 12),
    ("+1..+5", 1, 5),
    ("-1..1", -1, 1),
    ("-9..-1", -9, -1),
    ("1..60.", 1, 60),
    ("length [days],1..60", 1, 60),
    ("days: 1..60", 1, 60),
    ("range=1..60", 1, 60),
    ("(length of the window, 1..60)", 1, 60),
    ("0..", 0, None),
    ("at least 0 ..", 0, None),
    ("..1", None, 1),
    ("length ..60", None, 60),
    ("days, .. 60", None, 60),
    ("other+1..60", 8, 60),
    ("other..other+1_0", 7, 17),
    ("other-.5..1e3", 6.5, 1000),
    ("1..other", 1, 7),
    ("(1 .. other).", 1, 7),
    ("number of rows - 1..60", 1, 60),
    ("see ../data, 1..60", 1, 60),
    ("1, 2, ..., 1..60", 1, 60),
]


@pytest.mark.parametrize(("comment", "low", "high"), READ)
def test_range_in_any_spelling_is_read(comment, low, high):
    parameters, problems = declared(comment, more="other: int = 7\n")
    assert problems == []
    ends = [
        bound_value(end, {"other": 7}) if end else None for end in (parameters[1].low, parameters[1].high)
    ]
    assert ends == [low, high]
    for end, step in ((low, -1), (high, 1)):
        if end is not None:
            assert check_value(parameters[1], float(end), {"other": 7}) == end
            with pytest.raises(UsageError, match="must be at"):
                check_value(parameters[1], float(end + step), {"other": 7})


NUMBERS = st.one_of(
    st.integers(-(10**12), 10**12).map(str),
    st.integers(0, 10**9).map(lambda n: f"{n:_}"),
    st.integers(0, 10**6).map(hex),
    st.floats(-1e9, 1e9).map(repr),
    st.floats(1e-9, 1e9).map("{:E}".format),
    st.integers(0, 99).map("{}.".format),
    st.integers(0, 99).map(".{}".format),
    st.integers(0, 99).map("+{}".format),
)


@SOME
@given(
    NUMBERS,
    NUMBERS,
    st.sampled_from(["..", " ..", ".. ", " .. "]),
    st.sampled_from(["{}", "[{}]", "({})", "x [days], {}", "{}."]),
)
def test_any_two_literals_are_a_range_of_their_values(low, high, dots, around):
    if (low.endswith(".") and not dots.startswith(" ")) or (high.startswith(".") and not dots.endswith(" ")):
        return
    if high.endswith(".") and around.endswith("."):
        return
    if low.endswith(".") and not dots.endswith(" "):
        return  # `0. ..1` may be meant as `0 .. .1`, and is refused for that
    found = range_of(around.format(low + dots + high))
    assert found and list(misread_ranges(around.format(low + dots + high))) == []
    assert [read_number(end) for end in found] == [ast.literal_eval(low), ast.literal_eval(high)]


# what looks like a range and is none

REFUSED = {
    "1..30 days": "1..30",
    "1..60 [days]": "1..60",
    "1..60 as measured": "1..60",
    "0.., whole": "0..",
    "0..5 or 10..20": None,
    "1..2..3": None,
    "0..inf": "0..",
    "-inf..0": "..0",
    "nan..1": "..1",
    "0..∞": "0..",
    "1…60": "1..60",
    "1 … 60": "1..60",
    "1‥60": "1..60",
    "0...1": "0..1",
    "1 ... 60": "1..60",
    "days, 1-60": "1..60",
    "length [days], 1–60": "1..60",
    "1 - 60": "1..60",
    "days: 1 — 60": "1..60",
    "length [days] 1–60": "1..60",
    "[0..1)": "0..1",
    "(0..1]": "0..1",
    "]0..1[": None,
    "1,000..50,000": None,
    "5%..10%": None,
    "1__0..20": None,
    "0..1e999": None,
    "1..other+1e999": None,
    "other..other+1_": None,
    "other+0x_..": None,
    "0 .. 2**32": None,
    "1..other - 1": "1..other-1",
    "other - 1..60": "other-1..60",
    "other + 1 .. 60": "other+1..60",
    "other -1..60": "other-1..60",
    "length .. 60": "..60",
    "'1..60'": "1..60",
    "other..60 days": "other..60",
    "1..len(rows)": None,
    "[0, 100]": "0..100",
    "(0, 100)": "0..100",
    "n [1, 30].": "1..30",
    "[0, 1)": "0..1",
    "share (0; inf)": "0..",
    "[1, other]": "1..other",
    ">= 1": "1..",
    "<= 30": "..30",
    "days, > 0": "0..",
    "≥ 1": "1..",
    "1<=a<=30": "1..30",
    "30 >= a >= 1": "1..30",
    "0 < share < 1": "0..1",
    ">= 1, <= 30": "1..30",
    "a > 1 and a < other": "1..other",
    "0 < share": "0..",
    "> 3 >= 1": None,
    "1 . . 30": "1..30",
    "1…": "1..",
    "…9": "..9",
    "at most ‥9": "..9",
    "3...": "3..",
    "1~60": "1..60",
    "−5..5": "-5..5",
    "10^0..10^3": None,
    "1/2..9": None,
    "of it (1..30 days)": "1..30",
    "1..30, days": "1..30",
}


@pytest.mark.parametrize("comment", REFUSED)
def test_what_looks_like_a_range_and_cannot_be_read_is_an_error_whose_mend_is_read(comment):
    parameters, problems = declared(comment, more="other: int = 7\n")
    assert problems and {p.rule for p in problems} == {"bad-range"}
    assert all("`value`" in p.message and p.mend for p in problems)
    meant = REFUSED[comment]
    if meant is None:
        return
    (problem,) = problems
    assert problem.message.split("`")[1] in comment
    whole = re.fullmatch("write the comment as `([^`]+)`, or say it in words .*", problem.mend)[1]
    assert whole.endswith(meant) and (whole == meant or whole.removesuffix(meant).endswith(", "))
    parameters, problems = declared(whole, more="other: int = 7\n")
    assert problems == [] and range_of(meant, {"other"}) == (parameters[1].low, parameters[1].high)


@pytest.mark.parametrize(
    ("kind", "comment", "meant"),
    [
        ("int", "> 0", "1.."),
        ("int", "0 < a < 10", "1..9"),
        ("list[int]", "< other", "..other-1"),
        ("float", "> 0", "0.."),
        ("int", "> 0.5", "0.5.."),
    ],
)
def test_ends_that_a_comparison_leaves_out_are_left_out_of_whole_numbers(kind, comment, meant):
    _, (problem,) = declared(comment, kind, more="other: int = 7\n")
    assert problem.mend.startswith(f"write the comment as `{meant}`")


def test_what_is_written_is_quoted_whole():
    for comment in ("1,000..5,000", "−5..5", "10^0..10^3", "1/2..9"):
        _, (problem,) = declared(comment)
        assert problem.message.startswith(f"`{comment}` in ")


def test_year_in_a_sentence_is_refused_with_a_mend_for_the_sentence():
    _, (problem,) = read_parameters("n: int = 7  # years 2019..")
    assert problem.rule == "bad-default"
    assert problem.mend.endswith("if `2019..` is none, write the sentence without `..`")


@pytest.mark.parametrize(
    "kind", ["Optional[int]", "list", "tuple[int, int]", "np.int64", "Literal[1, 2.5]", "int]"]
)
def test_beside_a_type_that_cannot_be_read_nothing_is_said_of_ranges(kind):
    for comment in ("n, 1..30", "1..30 days", "[0, 9]"):
        assert rules(f"a: {kind} = 5  # {comment}\nb: int = 5  # a..9") == ["parameters-cell"]


@pytest.mark.parametrize(
    "comment", ["2026-01-01..2026-12-31", "of it (a..z).", "from 10:00 .. 11:00", "v1..v2"]
)
def test_range_of_texts_is_an_error_unless_it_is_the_form_of_the_value(comment):
    for kind, default in (("str", "'a'"), ("list[str]", "['a']"), ("Literal['a', 'b']", "'a'")):
        _, (problem,) = declared(comment, kind, default)
        assert (problem.rule, problem.message.endswith("a range is for numbers")) == ("bad-range", True)
    assert declared(comment, "str", "'a..b'")[1] == declared(f"{comment} or so", "str", "'a'")[1] == []
    assert declared(comment.replace("..", " to "), "str", "'a'")[1] == []


@pytest.mark.parametrize("comment", ["60..1", "1e3..1", "-1..-2", "other+5..other", "other..other-1"])
def test_range_that_holds_no_number_is_an_error_whose_mend_is_read(comment):
    _, (problem,) = declared(comment, more="other: int = 7\n")
    assert problem.rule == "bad-range" and "holds no number" in problem.message
    assert declared(problem.mend.split("`")[1], more="other: int = 7\n")[1] == []


@pytest.mark.parametrize(
    "more", ["region: str = 'eu'\n", "region: bool = True\n", "region: list[int] = [1]\n"]
)
def test_range_that_depends_on_what_is_no_number_is_an_error(more):
    _, (problem,) = declared("region+1..60", more=more)
    assert problem.rule == "bad-range" and "depends on `region`" in problem.message
    assert [p.rule for p in declared("value+1..60")[1]] == ["bad-range"]


@pytest.mark.parametrize(
    ("kind", "default", "is_refused"),
    [
        ("str", "'a'", True),
        ("bool", "True", True),
        ("list[str]", "['a']", True),
        ("Literal['a', 'b']", "'a'", True),
        ("dict[str, bool]", "{}", True),
        ("Literal[1, 2]", "1", False),
        ("list[int]", "[1, 2]", False),
        ("dict[str, list[float]]", "{'a': [1.5]}", False),
        ("list[int | None]", "[1, None]", False),
    ],
)
def test_range_is_refused_where_the_type_holds_no_number_and_limits_each_one_where_it_does(
    kind, default, is_refused
):
    (parameter,), problems = declared("of it, 1..2", kind, default)
    assert [p.rule for p in problems] == ["bad-range"] * is_refused
    assert declared("see 1..2 of it, etc..", kind, default)[1] == [] or not is_refused
    if not is_refused and kind.startswith("list"):
        with pytest.raises(UsageError, match="at most 2, not 3"):
            check_value(parameter, [1, 3])


# where a range stands


@pytest.mark.parametrize(
    "source",
    [
        "# of training, 1..60\nn: int = 7",
        "n: int = 7\n# 1..60",
        "n: int = 7  # of training\n# n must lie in 1..60 for now\nm: int = 8",
        "n: list[int] = [\n    7,  # 1..60\n    8,\n]",
        "n: int = (  # 1..60\n    7\n)  # of training",
        "n: int = 7; m: int = 8  # 1..60",
        "# 1…60\nn: int = 7",
    ],
)
def test_range_beside_no_parameter_or_several_is_an_error(source):
    assert rules(source) == ["bad-range"]


@pytest.mark.parametrize(
    "source",
    [
        "# n: int = 7  # of training, 1..60\nn: int = 8",
        "# n = 7  # 1..60\nn: int = 8",
        "#| each: n in 0..3\n#| timeout: 5m\nn: int = 1",
        "# all lengths are in days\nn: int = 8  # 1..60",
        "n: int = 8  # of training\n\n# and so on...",
        "n: int = (\n    7  # 1..60\n)",
        "n: int = (  # 1..60\n    7\n)",
        "a: str = '''\n# 1..60\n'''",
    ],
)
def test_lines_that_are_no_comment_of_a_parameter_are_left_in_peace(source):
    assert rules(source) == []


def test_range_of_another_stage_s_parameter_is_known_and_one_of_nobody_s_is_an_error(make_project):
    project = make_project(
        {
            "10_a.ipynb": [("parameters", "train_days: int = 7  # 1..60")],
            "20_b.ipynb": [
                ("parameters", "days: int = 60  # train_days+14..183, a word\nrows: int = 1  # etc..")
            ],
            "30_c.ipynb": [("parameters", "days: int = 60\nweeks: int = 3  # train_day+14.. days")],
            "40_d.ipynb": [("parameters", "months: int = 3  # trains_days-5..9")],
            "50_e.ipynb": [("parameters", "years: int = 3  # train_days-5..9")],
        }
    )
    found = read_pipeline(
        Project(project.root, project.root, project.root, pipelines={"demo": project.root / "nbs"}), "demo"
    ).errors()
    assert [(p.rule, Path(p.file).name, p.cell) for p in found] == [
        ("bad-range", "20_b.ipynb", 1),
        ("bad-range", "30_c.ipynb", 1),
        ("bad-range", "40_d.ipynb", 1),
    ]
    assert found[-1].mend == "did you mean `train_days`?"


PROSE = (
    """
of each tree; see ../data, ..\\data and data/..|etc..|and so on ..|1, 2, 3, ...|0, 1, 2, … 9|wait...
a..b in a sentence|from a..b|version 1.2.3|v1.2..v1.3 of it|1.2.3..1.2.4|2020-01-01..2020-12-31
10:00:00..11:00:00|HEAD~3..HEAD|origin/main..HEAD|http://a.b/../c|years 2010–2020|pages 3-5
Vol. 39, 398-411|the 5 .. no, 6 days|a ratio of 1:2|one of 1, 2, 4|None = no limit|x.. y|self...
(...)|[...]|…|~/.. or ./..|0.5|3.|.5|e.g. 3...|of each one .. or two|ISO 8601-1|12.5 %
-1 = all|a-b|1/2..|a|1 to 30|between 1 and 30|1:30|one of (1, 2)|e.g. [1, 30]|such as > 0|f(1, 2)|(30, 1)
rows where amount > 0|if days >= 1|a -> 1|a => 1|x > y|(a, b)|> 0 days|[1, 30] days|3.1415…|pick 1, 2, … 9
""".strip()
    .replace("\n", "|")
    .split("|")
)


@pytest.mark.parametrize("comment", PROSE)
def test_ordinary_comment_is_no_range(comment):
    parameters, problems = declared(comment, more="other: int = 7\n")
    assert problems == []
    assert not is_sure_range((parameters[1].low, parameters[1].high))
    assert declared(comment, more=f"# {comment}\n")[1] == []
    is_of_texts = re.search(r"\w\.\.\w\S*$", comment) is not None
    assert [p.rule for p in declared(comment, "str", "'a'")[1]] == ["bad-range"] * is_of_texts


def repository_comments():
    "Comments of the cells in the repository's notebooks that hold dots or a dash between numbers."
    for path in sorted((ROOT / "nbs").rglob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            source = "".join(cell["source"])
            if cell["cell_type"] == "code" and re.search(r"#.*(\.\.|[…‥]|\d\s?[-–]\s?\d)", source):
                yield from comments_of(source).values()


def test_ordinary_comments_of_the_repository_are_no_ranges_and_its_ranges_are_read():
    comments = list(repository_comments())
    odd = {comment: shown for comment in comments for shown, _ in misread_ranges(comment)}
    assert all(shown in ("0..1", "0..3", "0 .. 2**32", "..1") for shown in odd.values()), odd
    read = [comment for comment in comments if is_sure_range(range_of(comment))]
    assert len(comments) > 200 and len(read) > 30
    assert all(re.search(r"\.\.[0-9.]*[^.]*$", comment) for comment in read)


@SOME
@given(st.text("0123456789.-–…e, []()abn\\/%'`", max_size=30))
def test_any_comment_is_read_once_or_refused_or_prose(comment):
    ends, odd = range_of(comment, {"n"}), list(misread_ranges(comment, {"n"}))
    assert ends is None or all(
        end == "" or read_number(end) is not None or end.isidentifier() or end[0].isalpha() for end in ends
    )
    for _, meant in odd:
        assert meant == "" or is_sure_range(range_of(meant, {"n"}), {"n"})
        assert list(misread_ranges(f"in words, {meant}", {"n"})) == []


ODD_ENDS = (
    "1",
    "-.5",
    "1_",
    "1__0",
    "0x_",
    "0b2",
    "1e400",
    "other",
    "other+1",
    "other+1e400",
    "other-1_",
    "∞",
)


@pytest.mark.parametrize("other", ["7", "1e308", "9" * 400, "-" + "9" * 400, "None"])
def test_any_two_ends_are_a_range_that_can_be_compared_or_an_error(other):
    kind = {"1e308": "float", "None": "int | None"}.get(other, "int")
    for comment in (f"{low}{dots}{high}" for low in ODD_ENDS for dots in ("..", " < ") for high in ODD_ENDS):
        (_, value), problems = declared(comment, "float", "1.0", f"other: {kind} = {other}\n")
        assert {p.rule for p in problems} <= {"bad-range", "bad-default"}
        values = {"other": 5}
        assert all(bound_value(end, values) is not None for end in (value.low, value.high) if end)


def test_value_is_compared_with_an_end_beyond_all_floats():
    (_, value), problems = declared("0..other+0.5", "float", "1.0", "other: int = 7\n")
    assert problems == []
    check_value(value, 2.5, {"other": 10**400})
    with pytest.raises(UsageError, match="must be at most"):
        check_value(value, 2.5, {"other": -(10**400)})


def test_comment_of_any_length_costs_no_more_than_its_length():
    for part in ("1..", "a" * 50, " ", "..", "1, ", "n - ", "[", "0" * 9):
        text = part * (40_000 // len(part))
        range_of(text, {"n"})
        list(misread_ranges(text[:4_000], {"n"}))


# lines

ENDS = ("\n", "\r\n", "\r")
LINES = [
    "#| threads: 2",
    "#| each: n in 0..3",
    "# a\x0cform feed",
    "# a\x0bvertical tab",
    "# a\x85next line",
    "# a\u2028separator",
    "n: int = 7  # of training, 1..60",
    "m: float = 0.5  # a share, 0..1",
    "\x0c",
    "",
    "k: int = (",
    "    5  # 1..9",
    ")",
    "s: str = '''two",
    "lines'''  # a text",
]


@SOME
@given(st.lists(st.sampled_from(ENDS), min_size=len(LINES), max_size=len(LINES)), st.booleans())
def test_reading_does_not_depend_on_how_lines_end(ends, has_last):
    text = "".join(line + end for line, end in zip(LINES, ends, strict=True))
    text = text if has_last else text.rstrip("\r\n")
    plain = with_plain_ends(text)
    assert "\r" not in plain and ast.dump(ast.parse(text)) == ast.dump(ast.parse(plain))
    assert read_parameters(text) == read_parameters(plain)
    assert [p.high for p in read_parameters(text)[0]] == ["60", "1", "9", ""]
    assert comments_of(text) == comments_of(plain)
    assert read_options(text) == read_options(plain) and read_options(text)[0].threads == 2
    assert misplaced_options(text) == misplaced_options(plain) == ["threads", "each"]


@SOME
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["f()", "f();", "# c", "x = 1;", "# a\x0cb;", "", "  # d"]), st.sampled_from(ENDS)
        )
    )
)
def test_shown_is_what_ipython_shows_however_lines_end(lines):
    source = "".join(line + end for line, end in lines)
    try:
        tree = ast.parse(source)
        list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (SyntaxError, tokenize.TokenError):
        return
    is_expression = bool(tree.body) and isinstance(tree.body[-1], ast.Expr)
    is_quiet = DisplayHook.semicolon_at_end_of_expression(source) if is_expression else True
    assert shows_last(source, tree) == (is_expression and not is_quiet)


# types: notebook × text × file × papermill

BASES = {
    "bool": (True, ["true", "false", "True"], ["1", "yes"]),
    "int": (7, ["8", "-1", "1_000"], ["8.0", "true", "x"]),
    "float": (0.5, ["8", "1e-3"], ["nan", "true", "x"]),
    "str": ("a", ["8", "", "None "], []),
    "Literal['a', 'b c']": ("a", ["b c"], ["c"]),
    "Literal[1, 2]": (1, ["2"], ["3", "True"]),
    "Literal[1, '1', True]": (1, ["1", "True"], ["2"]),
    "list[int]": ([1], ["[]", "[1, 2]"], ["1", "[1.5]", "[true]", "(1,)"]),
    "list[int | None]": ([1, None], ["[null]", "[None, 2]"], ["[true]", "['a']"]),
    "list[Literal[1, 2]]": ([1], ["[2, 1]"], ["[true]", "[3]"]),
    "dict[str, list[float]]": ({"a": [0.5]}, ["{}", '{"b": [1]}'], ["[]", "{1: [1]}", '{"b": 1}']),
    "dict[str, Literal['x'] | None]": ({"a": "x"}, ['{"b": null}', "{'b': 'x'}"], ["{'b': 'y'}"]),
}


def same(a, b):
    return type(a) is type(b) and repr(a) == repr(b)


def injected(value):
    "A value after papermill has written it into a cell and Python has run that."
    scope = {}
    exec(PythonTranslator.codify({"x": value}), {"__builtins__": {}}, scope)
    return scope["x"]


def resolved(make_project, line, profile="", file_values=None, options=None):
    project = make_project({"10_a.ipynb": [("parameters", line)]})
    (project.root / "settings.ini").write_text(
        "[mlnb]\n[pipeline.demo]\nnotebooks = nbs\n[profile.p.demo]\n"
        + (f"x = {profile}\n" if profile else "")
    )
    from mlnb.store.settings import find_project

    found = find_project(project.root)
    return resolve(found, read_pipeline(found, "demo"), "p", file_values or {}, options or {})["x"].value


@pytest.mark.parametrize("is_optional", [False, True])
@pytest.mark.parametrize("base", BASES)
def test_type_reads_the_same_value_from_every_place(make_project, tmp_path, base, is_optional):
    kind = f"{base} | None" if is_optional else base
    value, texts, wrong = BASES[base]
    parameter = Parameter("x", kind, value)
    assert same(check_value(parameter, value), value) and type_of(kind)
    line = f"from typing import Literal\nx: {kind} = {value!r}"
    assert read_parameters(line)[1] == []
    assert rules(f"x: {kind} = None") == ([] if is_optional else ["bad-default"])
    for text in texts + ["None"] * is_optional:
        read = check_value(parameter, read_text(parameter, text))
        if base != "Literal[1, '1', True]" or text == "True":
            assert same(check_value(parameter, injected(read)), read)
        assert same(check_value(parameter, json.loads(json.dumps(read))), read)
    for text in [*wrong, *["None"] * (not is_optional and base != "str")]:
        with pytest.raises(UsageError):
            check_value(parameter, read_text(parameter, text))
    text = texts[0]
    read = check_value(parameter, read_text(parameter, text))
    (tmp_path / "values.yaml").write_text(json.dumps({"x": read}))
    of_file = read_values_file(tmp_path / "values.yaml")
    for place in ({"profile": text}, {"options": {"x": text}}, {"file_values": of_file}):
        assert same(resolved(make_project, line, **place), read)
    if is_optional:
        assert resolved(make_project, line, options={"x": "None"}) is None
        assert resolved(make_project, line, file_values={"x": None}) is None
    elif base != "str":
        with pytest.raises(DefinitionError):
            resolved(make_project, line, options={"x": "None"})


@pytest.mark.parametrize(
    ("kind", "default"),
    [
        ("Optional[int]", "5"),
        ("Optional[list[int]]", "None"),
        ("Union[int, None]", "None"),
        ("None | int", "5"),
        ("typing.Optional[str]", "'a'"),
        ("'int'", "5"),
        ("List[int]", "[1]"),
        ("Dict[str, List[float]]", "{'a': [1.5]}"),
        ("Literal[1, 2, None]", "None"),
        ("list", "[1, 2]"),
        ("list", "[1, 2.5]"),
        ("list", "['a', None]"),
        ("list", "[]"),
        ("dict", "{}"),
        ("dict", "{'a': [1, None]}"),
        ("tuple[int, ...]", "(1, 2)"),
        ("set", "{2, 1}"),
        ("int | str", "5"),
        ("Literal['x'] | Literal['y']", "'x'"),
        ("Literal['x'] | Literal[2] | None", "None"),
        ("Union[Literal[1], Literal['y'], None]", "'y'"),
        ("Literal[1, 2.5]", "1"),
        ("Literal[-0.5, 2.5, None]", "None"),
        ("Literal[()]", "1"),
        (r"Literal['\ud800']", "'a'"),
        ("Literal[0x" + "f" * 5000 + "]", "1"),
        ("Literal[{[]: 1}]", "1"),
        ("datetime", "'2020-01-01'"),
        ("np.int64", "5"),
    ],
)
def test_type_outside_the_set_is_an_error_whose_line_is_accepted(kind, default):
    _, (problem,) = read_parameters(f"x: {kind} = {default}")
    assert (problem.rule, problem.level) == ("parameters-cell", "error")
    line = problem.mend.split("`")[1]
    assert read_parameters(line)[1] == []
    if not default.startswith(("(", "{2")):
        assert read_parameters(line)[0][0].default == ast.literal_eval(default)
    choices = (
        re.findall(r"'[xy]'|-?[\d.]+", kind)
        if kind.startswith(("Literal[1", "Literal['x", "Literal[-", "Union[L"))
        else ()
    )
    assert all(choice in line for choice in choices)


def test_choice_that_is_written_alike_twice_is_that_of_the_default_s_type():
    for default in (1, "1"):
        assert same(read_text(Parameter("x", "Literal['1', 1]", default), "1"), default)


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', "{'a': 1, 'a': 2}", '{"b": {"a": 1, "a": 1}}'])
def test_name_that_stands_twice_in_a_dict_is_refused(text):
    with pytest.raises(UsageError):
        read_text(Parameter("x", "dict[str, int]", {}), text)
    _, (problem,) = read_parameters(f"x: dict[str, int] = {text}")
    assert problem.rule == "parameters-cell" and "'a' twice" in problem.message


HALF = ("\udcff", "a\ud800b")


@pytest.mark.parametrize("half", HALF)
def test_half_a_character_is_refused_wherever_it_comes_from(make_project, tmp_path, half):
    assert (
        rules(f"x: str = {half!r}")
        == rules(f"x: dict[str, list[str]] = {{'a': [{half!r}]}}")
        == ["bad-default"]
    )
    written = tmp_path / "values.json"
    written.write_text(json.dumps({"x": half}))
    places = {"options": {"x": half}}, {"file_values": read_values_file(written)}
    for place in places:
        with pytest.raises(DefinitionError, match="`x` holds half a character"):
            resolved(make_project, "x: str = 'a'", **place)


def test_name_that_python_lets_nobody_assign_is_no_parameter():
    assert (
        rules("__debug__: int = 1")
        == rules("None: int = 1")
        == rules("class: int = 1")
        == ["parameters-cell"]
    )


def test_file_of_json_is_read_as_json(tmp_path):
    written = tmp_path / "values.JSON"
    written.write_text('{"rate": 1e-3, "n": 1E5}')
    assert read_values_file(written) == {"rate": 0.001, "n": 100_000.0}
    for text in ('{"a": NaN}', '{"a": 1, "a": 2}', "a: 1", "[1]", '{"a": -Infinity}', "[" * 100_000):
        written.write_text(text)
        with pytest.raises(UsageError):
            read_values_file(written)


DEFAULTS = {
    "7": "int",
    "-7": "int",
    "1.5": "float",
    "-1e-9": "float",
    "True": "bool",
    "'a'": "str",
    "'it\\'s \"so\"\\n\\t\\\\ é'": "str",
    "'a' 'b'": "str",
    "None": "int | None",
    "0x10": "int",
    "1_000": "int",
    "9" * 400: "int",
    "[1, 2]": "list[int]",
    "[1, 2.5]": "list[float]",
    "['a', None]": "list[str | None]",
    "[[1], [], [2.5, None]]": "list[list[float | None]]",
    "[True, False]": "list[bool]",
    "{'a': 1}": "dict[str, int]",
    "{'a': [1.5], 'b': []}": "dict[str, list[float]]",
    "{'a': {'b': {}}, 'c': {'d': {'e': 1}}}": "dict[str, dict[str, dict[str, int]]]",
}


@pytest.mark.parametrize("default", DEFAULTS)
def test_declaration_without_type_gives_a_line_that_is_accepted(default):
    (found,), (problem,) = read_parameters(f"x = {default}")
    assert (found.type, problem.rule, problem.level) == (DEFAULTS[default], "no-annotation", "warning")
    (again,), problems = read_parameters(problem.mend.removeprefix("write `").removesuffix("`"))
    assert problems == [] and same(again.default, found.default) and again.is_annotated


@pytest.mark.parametrize(
    "default", ["[]", "{}", "[[]]", "[None]", "{'a': []}", "(1, 2)", "{1, 2}", "([1], [2.5])"]
)
def test_default_that_shows_no_type_is_an_error_with_a_line_that_is_accepted(default):
    _, (problem,) = read_parameters(f"x = {default}")
    assert problem.level == "error" and "does not show one" in problem.message
    assert read_parameters(problem.mend.split("`")[1])[1] == []


@pytest.mark.parametrize(
    "default", ["[1, 'a']", "b'a'", "1j", "{1: 2}", "...", "[True, 1]", "[(1, 2)]", "{'a', 1}"]
)
def test_default_that_can_have_no_type_is_an_error_that_names_the_types(default):
    _, (problem,) = read_parameters(f"x = {default}")
    assert problem.level == "error" and problem.mend.startswith("use bool, int, float, str")


@pytest.mark.parametrize(
    "default",
    ["10**3", "f()", "1 + 1", "[n]", "0x" + "f" * 4000, "-0x" + "f" * 4000, "[0x" + "f" * 4000 + "]"],
)
def test_default_that_is_no_literal_or_too_long_is_an_error_and_no_traceback(default):
    for line in (f"x = {default}", f"x: int = {default}"):
        assert rules(line) == ["parameters-cell"]


# cells that set parameters again


def content_of(*cells):
    made = [
        {"cell_type": kind, "id": f"c{n}", "metadata": {"tags": list(tags)}, "source": source, "outputs": []}
        for n, (kind, source, *tags) in enumerate(cells, 1)
    ]
    spec = {"kernelspec": {"name": "python3", "language": "python"}}
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": spec, "cells": made}).encode()


def problems_of(*cells):
    found = read_content(content_of(*cells), "nbs/10_a.ipynb").problems
    return [(p.rule, p.cell, p.level) for p in found]


PARAMETERS = ("code", "n: int = 1\nname: str = 'a'", "parameters")
INJECTED = ("injected-parameters", 2, "error")


@pytest.mark.parametrize(
    "cell",
    [
        ("code", "# Parameters\nn = 42\n", "injected-parameters"),
        ("code", "n = 42", "injected-parameters"),
        ("code", "# Parameters\nn = 42\n", "injected-parameters", "skip-execution"),
        ("code", "", "injected-parameters"),
        ("markdown", "n = 42", "injected-parameters"),
        ("code", "# Parameters\nn = 42\nname = 'b'\n"),
        ("code", "# Parameters\r\nn = 42"),
    ],
)
def test_injected_cell_that_was_left_is_an_error_that_names_it(cell):
    assert problems_of(PARAMETERS, cell, ("code", "print(n)")) == [INJECTED]
    assert problems_of(PARAMETERS, ("code", "print(n)")) == []


def test_each_injected_cell_is_named():
    left = ("code", "n = 2", "injected-parameters")
    assert problems_of(PARAMETERS, left, left) == [INJECTED, ("injected-parameters", 3, "error")]


@pytest.mark.parametrize(("source", "n"), [("n = 42", 1), ("x = 1\nn: int = 42\nname = 'b'", 2)])
def test_parameter_set_to_a_literal_by_a_later_cell_is_a_warning(source, n):
    assert problems_of(PARAMETERS, ("code", source)) == [("parameter-set-again", 2, "warning")] * n


@pytest.mark.parametrize(
    "source",
    [
        "# Parameters\nprint(n)",
        "# Parameters of the model\nrate = 1",
        "n = n * 2",
        "n = min(n, 28)",
        "n += 1",
        "n: int",
        "m = 42",
        "def f():\n    n = 42",
        "for n in (1, 2):\n    print(n)",
        "print('n = 42')",
        "if n > 5:\n    n = 5",
    ],
)
def test_cell_that_follows_the_given_value_is_left_in_peace(source):
    assert problems_of(PARAMETERS, ("code", source)) == []


@pytest.mark.parametrize(
    "other", [("markdown", "# n", "parameters"), ("code", "n = 2", "parameters", "skip-execution")]
)
def test_cell_that_papermill_would_take_for_the_parameters_is_an_error(other):
    assert problems_of(other, PARAMETERS) == [("two-parameters-cells", 1, "error")]
    assert problems_of(other, ("code", "x = 1")) == []


def test_papermill_s_own_output_is_refused_and_its_mend_is_right(make_project, tmp_path):
    import nbformat
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    project = make_project(
        {"10_a.ipynb": [("parameters", "n: int = 1"), "from mlnb import save\nsave('a', n)"]}
    )
    path = project.root / "nbs/10_a.ipynb"
    written = parameterize_notebook(load_notebook_node(str(path)), {"n": 42})
    found = read_content(nbformat.writes(written).encode(), "a.ipynb").problems
    (problem,) = found
    assert (problem.rule, problem.cell) == ("injected-parameters", 2) and "remove cell 2" in problem.mend
    del written.cells[problem.cell - 1]
    assert read_content(nbformat.writes(written).encode(), "a.ipynb").problems == ()
