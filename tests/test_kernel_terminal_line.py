"""What a stream shows after its lines were written over, in pieces cut at any place: as on a terminal, and as
JupyterLab shows it (which deletes at a backspace, where a terminal only moves)."""

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlnb.kernel.output_caps import Caps, StreamText
from mlnb.kernel.terminal_line import LINE_CHARS, OpenLine

PLAIN = st.text(st.sampled_from("ab \r\b\n€"), max_size=60)
COLOURED = st.lists(
    st.sampled_from(["a", "bc", " ", "\r", "\b", "\n", "\r\n", "\x1b[31m", "\x1b[0m", "\x1b[1m", "\x1b[m"]),
    max_size=30,
).map("".join)
CUTS = st.lists(st.integers(0, 60), max_size=6)


def in_pieces(text, cuts):
    ends = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    return [text[a:b] for a, b in pairwise(ends)]


def shown(pieces, caps=None, path=None):
    stream, outputs = StreamText("stdout", caps or Caps(), path), []
    for piece in pieces:
        stream.add(outputs, piece)
    stream.finish(outputs)
    return "".join(output.text for output in outputs)


def on_a_terminal(text):
    "Rows of cells, one character each."
    rows, column = [[]], 0
    for character in text:
        if character == "\n":
            rows.append([])
            column = 0
        elif character == "\r":
            column = 0
        elif character == "\b":
            column = max(0, column - 1)
        else:
            rows[-1][column : column + 1] = [character]
            column += 1
    return "\n".join("".join(row) for row in rows)


def in_jupyterlab(text):
    "`processText` of JupyterLab 4.6 (packages/outputarea/src/model.ts), line for line."
    made, index, start = "", 0, 0
    while True:
        found = re.compile("[\n\b\r]").search(text, start)
        segment = text[start : found.start()] if found else text[start:]
        made = made[:index] + segment + made[index + len(segment) :]
        index += len(segment)
        if found is None:
            return made
        start = found.end()
        if found[0] == "\b":
            if index > 0 and made[index - 1] != "\n":
                made = made[: index - 1] + made[index + 1 :]
                index -= 1
        elif found[0] == "\r":
            while index > 0 and made[index - 1] != "\n":
                index -= 1
        else:
            made += "\n"
            index = len(made)


def seen(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


SPINS = st.lists(st.sampled_from(["ab", "\b|", "\b\bxy", "\b\b100%", "\n", "\r\n"]), max_size=20).map("".join)


@settings(deadline=None)
@given(PLAIN, CUTS)
def test_stream_cut_anywhere_shows_what_a_terminal_shows(text, cuts):
    assert shown(in_pieces(text, cuts)) == on_a_terminal(text)


@settings(deadline=None)
@given(PLAIN.map(lambda text: text.replace("\b", "")) | SPINS)
def test_jupyterlab_shows_the_same_unless_a_backspace_is_the_last_word(text):
    assert shown([text]) == in_jupyterlab(text)


@settings(deadline=None)
@given(COLOURED, CUTS)
def test_colours_take_no_room_and_may_be_cut_in_two(text, cuts):
    assert seen(shown(in_pieces(text, cuts))) == on_a_terminal(seen(text))


@settings(deadline=None)
@given(st.text(st.sampled_from("ab\n\x1b[31m€\t")), CUTS)
def test_text_that_moves_no_cursor_is_kept_to_the_last_byte(text, cuts):
    assert shown(in_pieces(text, cuts)) == text


@settings(max_examples=50, deadline=None)
@given(PLAIN, CUTS, st.integers(1, 30), st.integers(1, 30))
def test_capped_stream_has_the_beginning_and_its_file_has_all(tmp_path_factory, text, cuts, head, tail):
    path = tmp_path_factory.getbasetemp() / "full.txt"
    path.unlink(missing_ok=True)
    caps = Caps(path.parent, head_chars=head, tail_chars=tail)
    said, full = shown(in_pieces(text, cuts), caps, path), on_a_terminal(text)
    if path.exists():
        assert path.read_text() == full
    begin, cut, end = re.fullmatch(r"(?s)(.*?)(?:\n\[mlnb: ([\d,]+) characters .*?\]\n(.*))?", said).groups()
    if cut is None:
        assert said == full
    else:
        assert full.startswith(begin) and full.endswith(end)
        assert len(begin) + int(cut) + len(end) == len(full)


def test_text_behind_a_figure_does_not_reach_what_stands_before_it():
    stream, outputs = StreamText("stdout", Caps(), None), []
    stream.add(outputs, "abc")
    outputs.append("a figure")
    stream.add(outputs, "\rX")
    stream.finish(outputs)
    assert [getattr(output, "text", output) for output in outputs] == ["abc", "a figure", "X"]


@pytest.mark.parametrize("move", ["\r", "\b", "\r\r"])
def test_line_of_megabytes_is_never_written_over_and_never_lost(move):
    line = OpenLine()
    long = "x" * (LINE_CHARS + 1)
    assert line.take(long)[1] + line.take(f"{move}done")[1] + line.take(f"{move}\nok")[1] == f"{long}done\nok"
    assert line.take("\rOK") == (2, "OK")
    fresh = OpenLine()
    assert fresh.take(f"{long}{move}\nab\rX") == (0, f"{long}\nXb")
