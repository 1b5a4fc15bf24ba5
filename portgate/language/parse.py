"""YAML text to nodes, by the parser's event stream.

Theory
    The parser stops at its first mistake. To find the next ones the offending lines are blanked, and it runs again.
    Where there is no mistake, long runs of simple lines never reach the parser (lines.py).
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import yaml
from yaml.events import (
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from portgate.core.diagnostics import Span
from portgate.language.mistakes import Mark, Mistakes, Placed, Related, span_of
from portgate.language.nodes import Broken, Mapping, Node, Pair, Part, Scalar, Sequence
from portgate.language.text import without_tabs


class PythonParser(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser):
    """For a PyYAML built without libyaml: the same events, about ten times slower."""

    def __init__(self, stream: io.StringIO) -> None:
        yaml.reader.Reader.__init__(self, stream)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)


Parser: Callable[[io.StringIO], Any] = PythonParser
with suppress(ImportError):
    from yaml._yaml import CParser

    Parser = CParser

MANY = 200  # lines, that some of them are folded
DEPTH = 16
ATTEMPTS = 25
LARGE = 1 << 20
ATTEMPTS_LARGE = 4


def parse(text: str, file: str, mistakes: Mistakes) -> Node | None:
    """The root of the only document; None when the file is empty or can't be read."""
    text = without_tabs(text, file, mistakes)
    if text.count("\n") > MANY and (root := _parse_folded(text, file, mistakes)):
        return root
    lines = text.split("\n")
    last_cut = -2
    for _ in range(ATTEMPTS if len(text) < LARGE else ATTEMPTS_LARGE):
        found = Mistakes()
        try:
            root = _Composer(text, file, found).document()
        except yaml.MarkedYAMLError as error:
            if "nesting depth" in str(error.problem):  # libyaml has a limit of its own since PyYAML 6.0.4
                _refuse_depth(_place(error, lines, file), mistakes)
                return None
            first, last = _offending_lines(error, lines)
            if first != last_cut + 1 or not _may_follow(error):
                _report_syntax(error, lines, file, mistakes)
            mistakes.damaged = True
            lines[first : last + 1] = [""] * (last + 1 - first)
            last_cut = last
            text = "\n".join(lines)
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            mistakes.add("PG104", str(error), Span(file, 1, 1, 1, 1))
            return None
        except _TooDeepError as error:
            _refuse_depth(error.place, mistakes)
            return None
        else:
            mistakes.extend(found)
            return root
    return None


def _refuse_depth(place: Placed | Span, mistakes: Mistakes) -> None:
    mistakes.add("PG111", f"more than {DEPTH} levels", place, "remove some of the brackets")
    mistakes.damaged = True


def _parse_folded(text: str, file: str, mistakes: Mistakes) -> Node | None:
    """None if it does not go smoothly: if there are mistakes of syntax, or what is folded turns out to be no list."""
    from portgate.language.lines import fold  # whose patterns take as long to compile as so many lines to parse

    folded = fold(text, file)
    if not folded.stretches:
        return None
    found = Mistakes()
    composer = _Composer(folded.text, file, found, folded.stretches)
    try:
        root = composer.document()
    except (yaml.YAMLError, _TooDeepError, ValueError, OverflowError):
        return None
    if composer.stretches:
        return None
    mistakes.extend(found)
    return root


# ------------------------------------------------------------------ events to nodes


class _TooDeepError(Exception):
    def __init__(self, place: Placed) -> None:
        self.place = place


class _Stream(io.StringIO):
    """The parser copies `name` into every mark."""

    def __init__(self, text: str, name: str) -> None:
        super().__init__(text)
        self.name = name


class _Composer:
    def __init__(
        self, text: str, file: str, mistakes: Mistakes, stretches: dict[str, list[Part]] | None = None
    ) -> None:
        self.stretches = dict(stretches or {})
        self._next: Callable[[], Any] = Parser(_Stream(text, file)).get_event
        self._mistakes = mistakes
        self._depth = 0

    def document(self) -> Node | None:
        self._next()  # the start of the stream
        if type(self._next()) is StreamEndEvent:
            return None
        root = self._node(self._next())
        self._next()  # the end of the document
        kind = type(more := self._next())
        if kind is DocumentStartEvent:
            self._mistakes.add("PG113", "a second document begins here", more, "put it into a file of its own")
        return root

    def _node(self, event: Any) -> Node:
        kind = type(event)
        if kind is ScalarEvent:
            return self._scalar(event)
        if kind is not MappingStartEvent and kind is not SequenceStartEvent:
            self._mistakes.add("PG110", f"`*{event.anchor}` is an alias", event, 'write it out; quote a pattern: "*"')
            return Broken(event)
        if event.anchor is not None or event.tag is not None:
            self._refuse(event)
        self._depth += 1
        if self._depth > DEPTH:
            raise _TooDeepError(event)
        node = self._mapping(event) if kind is MappingStartEvent else self._sequence(event)
        self._depth -= 1
        return node

    def _scalar(self, event: Scalar) -> Scalar:
        if event.anchor is not None or event.tag is not None:
            self._refuse(event)
        return event

    def _refuse(self, event: Any) -> None:
        tag = str(event.tag).replace("tag:yaml.org,2002:", "!!")
        what = f"`&{event.anchor}` is an anchor" if event.anchor else f"`{tag}` is a tag"
        self._mistakes.add("PG110", what, event, "remove it, and quote the value if it begins with & or !")

    def _mapping(self, start: Any) -> Mapping | Broken:
        pairs: dict[str, Pair] = {}
        next_event = self._next
        value: Any = start
        refused = False
        while (kind := type(key := next_event())) is not MappingEndEvent:
            if kind is not ScalarEvent:
                self._refuse_key(self._node(key))
                value = self._node(next_event())
                refused = True
                continue
            value = next_event()
            if type(value) is not ScalarEvent or value.anchor is not None or value.tag is not None:
                value = self._node(value)
            text = key.value
            if text in pairs:
                self._report_duplicate(pairs[text][0], key)
            else:
                pairs[text] = (key, value)
        found = Mapping(start.start_mark, key.end_mark if start.flow_style else value.end_mark, pairs)
        return Broken(found) if refused and not pairs else found

    def _sequence(self, start: Any) -> Sequence:
        parts: list[Part] = []
        next_event = self._next
        item: Any = start
        while (kind := type(event := next_event())) is not SequenceEndEvent:
            if kind is ScalarEvent and event.value in self.stretches and (folded := self._folded_at(event, start)):
                parts += folded
                item = folded[-1]
                continue
            item = self._node(event)
            parts.append(item)
        return Sequence(start.start_mark, event.end_mark if start.flow_style else item.end_mark, parts)

    def _folded_at(self, marker: Any, start: Any) -> list[Part]:
        """What a marker stands for; nothing if it isn't where that was, or where no entries can be."""
        first = self.stretches[marker.value][0]
        here = span_of(marker)[:3] == span_of(first)[:3]
        if start.flow_style or self._depth == DEPTH or not here:
            return []
        return self.stretches.pop(marker.value)

    def _report_duplicate(self, first: Scalar, second: Scalar) -> None:
        related = ((span_of(first), "first written here"),)
        self._mistakes.add("PG106", f"`{second.value}` is written twice", second, "join the two", related)

    def _refuse_key(self, key: Node) -> None:
        if isinstance(key, Mapping):
            detail = "braces in braces are the sign of a template that was not filled in"
            self._mistakes.add("PG108", detail, key, "check what the template makes of it")
        elif not isinstance(key, Broken):
            self._mistakes.add("PG108", "a key is a plain word", key, "write `key: value`")


# ------------------------------------------------------------------ mistakes of syntax

_REMEDIES = (
    ("',' or '}'", "close the brace, and part its entries with commas"),
    ("',' or ']'", "close the bracket, and part its items with commas"),
    ("mapping values are not allowed", "quote a value that holds `: `, or put the key on a line of its own"),
    ("escape", "write a backslash in single quotes, or twice in double quotes"),
    ("quoted scalar", "close the quote"),
    ("could not find expected ':'", "write `key: value`, with a space after the colon"),
    ("cannot start any token", "quote a value that begins with this character"),
    ("alphabetic or numeric", 'quote a value that begins with `*` or `&`: "*"'),
    ("scanning a tag", "quote a value that begins with `!`"),
    ("unexpected ':'", "quote a value that holds colons"),
    ("<document start>", "remove what stands behind the end of the document"),
)


def _opened_at(error: yaml.MarkedYAMLError) -> Mark | None:
    """Where the bracket or quote was opened that is not closed on its line."""
    context, problem = error.context_mark, error.problem_mark
    if context is None or problem is None or context.line >= problem.line:
        return None
    return context if "flow" in str(error.context) or "quoted" in str(error.context) else None


def _may_follow(error: yaml.MarkedYAMLError) -> bool:
    """Whether the lines left out just above may be all that is wrong here: only indentation depends on them."""
    return "block" in str(error.context) and not _opened_at(error)


_GLUED = re.compile(r" *(?:- +)?(?P<key>[a-z]+):(?P<value>[^\s:#][^:#]*)")


def _glued(error: yaml.MarkedYAMLError, lines: list[str]) -> tuple[int, re.Match[str]] | None:
    """The line above that lacks the space behind its colon, so that YAML takes it and the next for one word."""
    mark = error.problem_mark
    if mark is None or "mapping values are not allowed" not in str(error.problem):
        return None
    above = next((number for number in range(min(mark.line, len(lines)) - 1, -1, -1) if lines[number].strip()), 0)
    match = _GLUED.fullmatch(lines[above].rstrip())
    return (above, match) if match and above < mark.line else None


def _place(error: yaml.MarkedYAMLError, lines: list[str], file: str) -> Span:
    if glued := _glued(error, lines):
        line, match = glued
        return Span(file, line + 1, match.start("key") + 1, line + 1, match.end() + 1)
    mark = _opened_at(error) or error.problem_mark or error.context_mark
    line = min(mark.line, len(lines) - 1) if mark else 0
    column = min(mark.column, len(lines[line])) if mark else 0
    return Span(file, line + 1, column + 1, line + 1, min(column + 1, len(lines[line])) + 1)


def _report_syntax(error: yaml.MarkedYAMLError, lines: list[str], file: str, mistakes: Mistakes) -> None:
    told = f"{error.context or ''} {error.problem or ''}".strip()
    remedy = next(
        (remedy for sign, remedy in _REMEDIES if sign in told), "compare the indentation with the lines around"
    )
    related: Related = ()
    mark = error.problem_mark
    if _opened_at(error) and mark and mark.line < len(lines):
        column = min(mark.column, len(lines[mark.line])) + 1
        related = ((Span(file, mark.line + 1, column, mark.line + 1, column), "noticed here"),)
    place = _place(error, lines, file)
    if glued := _glued(error, lines):
        key, value = glued[1]["key"], glued[1]["value"]
        mistakes.add("PG104", "there is no space behind the colon", place, f"write `{key}: {value}`")
        return
    character = lines[place.line - 1][place.column - 1 : place.column]
    if character == "\t":
        mistakes.add("PG105", "there is a tab behind the dash or colon", place, "write a space")
        return
    if character == ":" and "flow" in told:
        remedy = "quote a value that holds `: `"
    mistakes.add("PG104", told, place, remedy, related)


def _offending_lines(error: yaml.MarkedYAMLError, lines: list[str]) -> tuple[int, int]:
    """The lines to leave out: one with an unclosed bracket, else the one complained of with all that is deeper."""
    first = _place(error, lines, "").line - 1
    while first > 0 and not lines[first].strip():
        first -= 1
    last = first
    if not _opened_at(error):
        indent = _indent(lines[first])
        while last + 1 < len(lines) and (not lines[last + 1].strip() or _indent(lines[last + 1]) > indent):
            last += 1
    return first, last


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
