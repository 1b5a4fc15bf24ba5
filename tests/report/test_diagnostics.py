"""Diagnostics on a terminal and as JSON values."""

from __future__ import annotations

import json
import re

import pytest

from portgate.core.diagnostics import CATALOGUE, Diagnostic, Span
from portgate.report.diagnostics import as_dict, explain, render


def shown(line: str, start: int, end: int, width: int = 100) -> list[str]:
    diagnostic = Diagnostic("PG202", "`8080` does not say which protocol", Span("web.yaml", 1, start, 1, end))
    return render([diagnostic], {"web.yaml": line + "\n"}, width=width).split("\n")


def under(rows: list[str]) -> str:
    """What stands above the carets."""
    start = rows[3].index("^")
    return rows[2][start : start + rows[3].count("^")]


def test_the_caret_stands_under_every_character_of_the_mistake() -> None:
    rows = shown("allow: [8080]", 9, 13)

    assert rows == [
        "error[PG202]: a port without a protocol",
        " --> web.yaml:1:9",
        "1 | allow: [8080]",
        "  |         ^^^^",
        "  = `8080` does not say which protocol",
    ]


def test_wide_and_combining_characters_do_not_move_the_caret() -> None:
    """A terminal gives a CJK character two cells and a combining mark none."""
    assert shown("日本: 8080", 5, 9)[3] == "  |       ^^^^"
    assert shown("e\u0301: 8080", 5, 9)[3] == "  |    ^^^^"


def test_a_tab_does_not_move_the_caret() -> None:
    assert under(shown("\t\tallow: 8080", 10, 14)) == "8080"


def test_nothing_of_a_file_reaches_the_terminal_as_a_command() -> None:
    hostile = "\x1b[2J \u202e \x07 8080"
    diagnostic = Diagnostic(
        "PG101", hostile, Span(hostile, 1, 1, 1, 3), hostile, ((Span(hostile, 1, 1, 1, 2), hostile),)
    )
    text = render([diagnostic], {hostile: hostile})

    assert text.replace("\n", "").isprintable()
    assert "\\x1b[2J" in text


@pytest.mark.parametrize("at", [1, 30, 150, 290])
def test_a_long_line_is_cut_around_the_mistake(at: int) -> None:
    line = "x" * (at - 1) + "8080" + "y" * (300 - at)
    rows = shown(line, at, at + 4, width=60)

    assert all(len(row) <= 60 for row in rows)
    assert under(rows) == "8080"


def test_a_mistake_of_several_lines_is_shown_at_its_first() -> None:
    diagnostic = Diagnostic("PG221", "nothing", Span("a", 1, 3, 2, 9))

    assert render([diagnostic], {"a": "- note: x\n  owner: y\n"}).split("\n")[2:4] == ["1 | - note: x", "  |   ^^^^^^^"]


def test_related_places_follow_with_what_they_have_to_do_with_it() -> None:
    related = ((Span("b", 12, 1, 12, 4), "first written here"),)
    text = render([Diagnostic("PG106", "twice", Span("a", 3, 1, 3, 4), "join them", related)], {"a": "\n\nabc\n"})

    assert text.split("\n") == [
        "error[PG106]: a key is written twice",
        "  --> a:3:1",
        " 3 | abc",
        "   | ^^^",
        "   = twice",
        "  ::: b:12:1",
        "   = first written here",
        "   = help: join them",
    ]


def test_without_a_place_there_is_no_excerpt() -> None:
    assert render([Diagnostic("PG901", "oops")], {}).split("\n")[1:] == ["  = oops"]


def test_colour_adds_nothing_but_colour() -> None:
    diagnostic = Diagnostic("PG202", "d", Span("a", 1, 1, 1, 3), "r")
    plain, coloured = (render([diagnostic], {"a": "abc"}, color) for color in (False, True))

    assert coloured != plain
    assert re.sub("\x1b\\[[0-9;]*m", "", coloured) == plain


def test_diagnostics_are_json_values() -> None:
    related = ((Span("b", 1, 1, 1, 2), "there"),)
    found = as_dict(Diagnostic("PG106", "twice", Span("a", 3, 1, 3, 4), None, related))

    assert json.loads(json.dumps(found)) == found
    assert found["severity"] == "error"
    assert found["span"] == {"file": "a", "line": 3, "column": 1, "end_line": 3, "end_column": 4}
    assert found["related"][0]["message"] == "there"


def test_every_code_can_be_explained() -> None:
    for code in CATALOGUE:
        text = explain(code.lower())

        assert text is not None
        assert text.startswith(f"{CATALOGUE[code].severity}[{code}]: ")
        assert len(text) > 80
    assert explain("PG000") is None
