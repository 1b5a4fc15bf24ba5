"""Collects the diagnostics of one load, and turns places of the YAML text into spans."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from portgate.core.diagnostics import Diagnostic, Span

LIMIT = 1_000
SUGGESTIONS = 100  # difflib is slow, and nobody reads more of them

MAY_STAND_ELSEWHERE = frozenset({"PG205", "PG208"})
"""Unknown names, which the part of a file that could not be read may define."""
DID_YOU_MEAN = "did you mean"

Related = tuple[tuple[Span, str], ...]


class Mark(Protocol):
    """A place as the YAML reader gives it; lines and columns count from 0, `name` is the file."""

    @property
    def name(self) -> str: ...
    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...


class Placed(Protocol):
    """Whatever has a place: YAML events and nodes."""

    @property
    def start_mark(self) -> Mark: ...
    @property
    def end_mark(self) -> Mark: ...


class MistakeError(ValueError):
    """A value is wrong; the caller, who knows its place, turns this into a diagnostic."""

    def __init__(self, code: str, detail: str, remedy: str | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.remedy = remedy


def span_of(placed: Placed) -> Span:
    start, end = placed.start_mark, placed.end_mark
    return Span(start.name, start.line + 1, start.column + 1, end.line + 1, end.column + 1)


class Mistakes:
    """The diagnostics found so far, at most LIMIT of them.

    `damaged` is set when part of the text could not be read: names and keys that seem to be missing may stand there,
    so their absence is only reported where something similar exists.
    """

    def __init__(self) -> None:
        self.damaged = False
        self._found: list[Diagnostic] = []
        self._suggested = 0

    @property
    def count(self) -> int:
        return len(self._found)

    def add(
        self, code: str, detail: str, place: Placed | Span | None, remedy: str | None = None, related: Related = ()
    ) -> None:
        if len(self._found) > LIMIT:
            return
        span = place if place is None or isinstance(place, Span) else span_of(place)
        if len(self._found) == LIMIT:
            code, detail, remedy, related = "PG116", f"there are more than {LIMIT} mistakes", None, ()
        self._found.append(Diagnostic(code, detail, span, remedy, related))

    def wrong(self, error: MistakeError, place: Placed) -> None:
        excused = (
            self.damaged and error.code in MAY_STAND_ELSEWHERE and not (error.remedy or "").startswith(DID_YOU_MEAN)
        )
        if not excused:
            self.add(error.code, error.detail, place, error.remedy)

    def extend(self, more: Mistakes) -> None:
        self._found.extend(more._found[: LIMIT + 1 - len(self._found)])
        self.damaged |= more.damaged

    def suggest(self, text: str, known: Iterable[str]) -> str | None:
        """`did you mean ...`, if something known is close enough."""
        self._suggested += 1
        if self._suggested > SUGGESTIONS:
            return None
        from difflib import get_close_matches

        names = list(known)
        near = [name for name in names if name == text.lower()] or get_close_matches(text[:64], names, n=1, cutoff=0.7)
        return f"{DID_YOU_MEAN} `{near[0]}`?" if near else None

    def found(self, order: list[str]) -> tuple[Diagnostic, ...]:
        """In the order of the text; files in the order given, then the others."""
        ranks = {file: rank for rank, file in enumerate(order)}
        return tuple(sorted(self._found, key=lambda one: _sort_key(one, ranks)))


def _sort_key(one: Diagnostic, ranks: dict[str, int]) -> tuple[int, str, int, int]:
    if one.span is None:
        return -1, "", 0, 0
    return ranks.get(one.span.file, len(ranks)), one.span.file, one.span.line, one.span.column
