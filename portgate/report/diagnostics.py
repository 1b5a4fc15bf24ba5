"""Diagnostics as text and as JSON values: the line, a caret under the mistake, related places, what to do.

Facts
    What is shown comes from other people's files, and a terminal obeys what it is sent. Every piece of it is therefore escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from portgate.core.diagnostics import CATALOGUE, Diagnostic, Severity, Span
from portgate.report.text import escape
from portgate.report.text import width as cells

WIDTH = 100
TAB = 4

_COLOURS = {Severity.ERROR: "1;31", Severity.WARNING: "1;33", Severity.NOTE: "1;36"}
_BLUE, _BOLD, _GREEN = "1;34", "1", "1;32"


def render(
    diagnostics: Iterable[Diagnostic], sources: Mapping[str, str], color: bool = False, width: int = WIDTH
) -> str:
    """All of them, parted by empty lines; "" for none. `sources` are the texts of files by name, as far as known."""
    painter = _Painter(sources, color, max(width, 40))
    return "\n\n".join(painter.diagnostic(one) for one in diagnostics)


def as_dict(diagnostic: Diagnostic) -> dict[str, Any]:
    """For JSON. **Units** as in Span: from 1, columns in characters, the end exclusive."""
    return {
        "code": diagnostic.code,
        "severity": diagnostic.severity.value,
        "summary": diagnostic.summary,
        "detail": diagnostic.detail,
        "remedy": diagnostic.remedy,
        "span": _span_dict(diagnostic.span),
        "related": [{"span": _span_dict(span), "message": told} for span, told in diagnostic.related],
    }


def explain(code: str) -> str | None:
    """The long form of a code; None when there is no such code."""
    from textwrap import wrap

    kind = CATALOGUE.get(code.upper())
    if kind is None:
        return None
    return f"{kind.severity.value}[{kind.code}]: {kind.summary}\n\n" + "\n".join(wrap(kind.explanation, WIDTH))


def _shown(text: str) -> str:
    """As a terminal may be sent it; a tab has the same width wherever it stands."""
    return escape(text.replace("\t", " " * TAB))


def _span_dict(span: Span | None) -> dict[str, Any] | None:
    return None if span is None else span._asdict()


class _Painter:
    def __init__(self, sources: Mapping[str, str], color: bool, columns: int) -> None:
        self._sources = sources
        self._color = color
        self._columns = columns
        self._lines: dict[str, list[str]] = {}

    def diagnostic(self, one: Diagnostic) -> str:
        tone = _COLOURS[one.severity]
        title = self._paint(f"{one.severity.value}[{one.code}]", tone) + self._paint(f": {one.summary}", _BOLD)
        places = ([(one.span, "")] if one.span else []) + list(one.related)
        margin = max((len(str(span.line)) for span, _ in places), default=1)
        rows = [title]
        if one.span:
            rows += self._excerpt(one.span, "", tone, margin, "-->")
        rows += self._remark("", one.detail, margin)
        for span, told in one.related:
            rows += self._excerpt(span, told, _BLUE, margin, ":::")
        if one.remedy:
            rows += self._remark("help: ", one.remedy, margin)
        return "\n".join(rows)

    def _excerpt(self, span: Span, told: str, tone: str, margin: int, arrow: str) -> list[str]:
        """The place, its line, and a caret under each character of it."""
        place = f"{_shown(span.file)}:{span.line}:{span.column}"
        rows = [f"{' ' * margin}{self._paint(arrow, _BLUE)} {place}"]
        line = self._line(span)
        if line is None:
            return [*rows, f"{' ' * margin} {self._paint('=', _BLUE)} {_shown(told)}"] if told else rows
        start = min(span.column - 1, len(line))
        end = min(span.end_column - 1, len(line)) if span.end_line == span.line else len(line.rstrip())
        before, marked, after = _shown(line[:start]), _shown(line[start:end]), _shown(line[end:])
        shown, offset = self._window(before, marked, after, margin)
        carets = "^" * max(1, min(cells(marked), self._room(margin) - offset))
        bar = self._paint("|", _BLUE)
        rows.append(f"{self._paint(f'{span.line:>{margin}}', _BLUE)} {bar} {shown}".rstrip())
        rows.append(f"{' ' * margin} {bar} {' ' * offset}{self._paint(f'{carets} {_shown(told)}'.rstrip(), tone)}")
        return rows

    def _window(self, before: str, marked: str, after: str, margin: int) -> tuple[str, int]:
        """The part of a line that fits, and the column at which the mark begins in it."""
        room = self._room(margin)
        offset = cells(before)
        whole = before + marked + after
        if cells(whole) <= room:
            return whole, offset
        if offset > room // 2:
            before = "..." + before[-(room // 3) :]
            offset = cells(before)
        return _cut(before + marked + after, room), min(offset, room - 1)

    def _room(self, margin: int) -> int:
        return max(20, self._columns - margin - 3)

    def _remark(self, label: str, text: str, margin: int) -> list[str]:
        """Behind a `=`, wrapped."""
        indent = " " * (margin + 3 + len(label))
        from textwrap import wrap

        lines = wrap(
            _shown(text), max(20, self._columns - len(indent)), break_long_words=False, break_on_hyphens=False
        ) or [""]
        sign = f"{' ' * margin} {self._paint('=', _BLUE)} {self._paint(label, _GREEN) if label else ''}"
        return [sign + lines[0], *(indent + line for line in lines[1:])]

    def _line(self, span: Span) -> str | None:
        if span.file not in self._lines:
            text = self._sources.get(span.file)
            self._lines[span.file] = text.split("\n") if text is not None else []
        lines = self._lines[span.file]
        return lines[span.line - 1] if 0 < span.line <= len(lines) else None

    def _paint(self, text: str, tone: str) -> str:
        return f"\x1b[{tone}m{text}\x1b[0m" if self._color and text else text


def _cut(text: str, room: int) -> str:
    """At most `room` columns, with dots where more follows."""
    if cells(text) <= room:
        return text
    kept, used = [], 0
    for character in text:
        used += cells(character)
        if used > room - 3:
            break
        kept.append(character)
    return "".join(kept) + "..."
