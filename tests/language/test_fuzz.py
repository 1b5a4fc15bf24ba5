"""Whatever is in a policy file, loading it ends with a value, and every diagnostic points into a file."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portgate.core.diagnostics import Span, errors
from portgate.language import Loaded, load, parse
from portgate.language.lint import lint
from portgate.report.diagnostics import as_dict, render

TODAY = date(2026, 6, 1)
POLICIES = sorted((Path(__file__).parents[2] / "policies").glob("*.yaml"))
FILES = {
    "common/base.yaml": (POLICIES[0].parent / "common" / "base.yaml").read_bytes(),
    "lists/abusers.netset": b"203.0.113.66\n2001:db8::/32\n",
}
"""Any other path is the fuzzed file again, so that includes form circles."""
TEXTS = [path.read_text() for path in POLICIES]
PIECES = [
    "port", "from", "to", "any", "except", "ssh", "8080", "99999/tcp", "1.2.3.4/8", "{", "}", "[", "]", ": ", ",", "- ", "\n",
    "  ", "\t", '"', "'", "&a ", "*a", "!!t ", "|\n", ">\n", "---\n", "#", "%YAML 1.1\n", "? ", "<<", "\x00", "\u202e", "\ud800",
    "\u2028", "\ufeff", "é", "日本", "\U0001f600", "include", "file", "portgate: 1\n", "~", "@", "`", "\\", "zones", "null", "",
]  # fmt: skip


def check(loaded: Loaded) -> None:
    assert (loaded.policy is None) == bool(errors(loaded.diagnostics))
    doubts = lint(loaded.policy, TODAY) if loaded.policy else ()
    for one in (*loaded.diagnostics, *doubts):
        assert one.kind.explanation
        for span in [one.span, *(span for span, _ in one.related)]:
            assert span is None or lies_inside(span, loaded), (one, span)
        assert as_dict(one)["code"] == one.code
    shown = render((*loaded.diagnostics, *doubts), loaded.sources)
    assert shown.replace("\n", "").isprintable()


def lies_inside(span: Span, loaded: Loaded) -> bool:
    if span.file not in loaded.sources:
        return span[1:] == (1, 1, 1, 1)
    lines = loaded.sources[span.file].split("\n")
    start, end = (span.line, span.column), (span.end_line, span.end_column)
    return (
        start <= end
        and 1 <= span.line <= span.end_line <= len(lines)
        and 1 <= span.column <= len(lines[span.line - 1]) + 1
        and 1 <= span.end_column <= len(lines[span.end_line - 1]) + 2
    )


def load_bytes(content: bytes) -> Loaded:
    return load("fuzz.yaml", lambda path: FILES.get(path, content), TODAY)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes(content: bytes) -> None:
    check(load_bytes(content))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40))
def test_random_pieces_of_the_language(pieces: list[str]) -> None:
    check(load_bytes("".join(pieces).encode("utf-8", "surrogatepass")))


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(TEXTS), st.data())
def test_policies_with_mistakes_made_in_them(text: str, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        gone = data.draw(st.sampled_from([0, 0, 1, 1, 2, 7, 40]))
        text = text[:at] + data.draw(st.sampled_from(PIECES)) + text[at + gone :]
    check(load_bytes(text.encode("utf-8", "surrogatepass")))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(TEXTS), st.data())
def test_the_parser_written_in_python_fails_no_worse(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text)))
    text = text[:at] + data.draw(st.sampled_from([*PIECES, '"\\U99999999"', '"\\uD800"'])) + text[at + 1 :]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parse, "Parser", parse.PythonParser)
        check(load_bytes(text.encode("utf-8", "surrogatepass")))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(TEXTS), st.data())
def test_an_entry_less_changes_no_other_id(text: str, data: st.DataObject) -> None:
    lines = text.split("\n")
    whole = load_bytes(text.encode()).policy
    entries = [number for number, line in enumerate(lines) if line.lstrip().startswith("- ")]
    del lines[data.draw(st.sampled_from(entries))]
    less = load_bytes("\n".join(lines).encode()).policy
    if whole is not None and less is not None:
        ids = {grant.id for grant in whole.grants()}
        assert {grant.id for grant in less.grants()} <= ids
