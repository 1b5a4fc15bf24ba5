"""Hostile text is shown, never obeyed; columns stand in line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portgate.report.text import Style, coloured, escape, folded, plain, table, width


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("two\nlines", r"two\nlines"),
        ("a\x9bb", r"a\x9bb"),
        ("abc\u202edcba", r"abc\u202edcba"),
        ("zero\u200bwidth", r"zero\u200bwidth"),
        ("broken\udcffbyte", r"broken\udcffbyte"),
    ],
)
def test_what_a_terminal_would_obey_is_spelled_out(hostile: str, shown: str) -> None:
    assert escape(hostile) == shown


def test_ordinary_text_of_any_script_stays_as_it_is() -> None:
    assert escape("Zürich 東京 naïve \\d 100 %") == "Zürich 東京 naïve \\d 100 %"


@given(st.text())
def test_escaped_text_is_one_printable_line_that_stdout_can_encode(text: str) -> None:
    shown = escape(text)
    assert len(shown.splitlines()) <= 1
    assert all(ord(one) >= 0x20 and one not in "\x7f\x9b\u202e\u2066" for one in shown)
    shown.encode()


def test_columns_stand_in_line_whatever_the_width_of_a_letter() -> None:
    lines = list(table(["NAME", "PORT"], [["東京", "80"], ["x", "443"]]))
    assert lines == ["NAME  PORT", "東京  80", "x     443"]


def test_a_column_without_content_is_left_out() -> None:
    assert list(table(["A", "B", "C"], [["1", "", "3"]])) == ["A  C", "1  3"]


def test_a_cell_cannot_break_out_of_its_table() -> None:
    assert list(table(["A"], [["x\nfake row"]])) == ["A", r"x\nfake row"]


def test_only_the_painted_text_carries_colour() -> None:
    assert plain(Style.BAD, "no") == "no"
    assert coloured(Style.BAD, "no") == "\x1b[1;31mno\x1b[0m"
    assert coloured(Style.BAD, "") == ""


def test_width_counts_cells() -> None:
    assert width("abc") == 3
    assert width("日本") == 4
    assert width("e\u0301") == 1


ROWS = [["tcp", "a text that is longer than its column can be on this terminal", "x"]]


@pytest.mark.parametrize("room", [30, 40, 60])
def test_a_table_fits_the_terminal_and_loses_no_word(room: int) -> None:
    lines = list(table(["PROTO", "TEXT", "END"], ROWS, room=room))
    assert max(map(width, lines)) <= room
    column = [line[lines[0].index("TEXT") : lines[0].index("END")] for line in lines[1:]]
    assert " ".join(" ".join(column).split()) == ROWS[0][1]


def test_a_table_without_a_terminal_is_as_wide_as_it_is() -> None:
    assert len(list(table(["PROTO", "TEXT", "END"], ROWS))) == 2


def test_a_long_line_goes_on_below_with_a_deeper_indent() -> None:
    assert folded("  + one two three", 12) == ["  + one two", "      three"]
    assert folded("  + one", 12) == ["  + one"]
