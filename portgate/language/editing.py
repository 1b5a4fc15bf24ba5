"""Entries put into a policy file and taken out of it, with everything else left as it is, to the byte.

Theory
    A file is edited as text, at the places where its nodes stand: after the last entry of a list, around one entry. New text takes
    the form of what is beside it: block or flow, indentation, line ends. Nothing here proves that the result says what was
    meant; who edits loads it again and compares.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping

from portgate.core.dataclasses import dataclass
from portgate.core.diagnostics import Span
from portgate.language import nodes
from portgate.language.mistakes import Mark, Mistakes
from portgate.language.nodes import Entry, Node, Scalar, Sequence
from portgate.language.parse import parse
from portgate.language.text import POLICY_BYTES, decode

_LINE_END = re.compile(r"\r\n|\r|\n")
_BOM = "\ufeff"
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]*")
_STEP = 2


class CannotEditError(ValueError):
    """The file is written in a way that is not edited here."""


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry of `inbound`. `book` is "allow" or "block"; `words` are its keys, each with one value or several."""

    book: str
    words: Mapping[str, tuple[str, ...]]

    def flow(self) -> str:
        """As it stands in a list in brackets, or behind a dash: `https`, `{port: ssh, from: office}`."""
        if self.words.keys() == {"port"} and len(self.words["port"]) == 1:
            return _quoted(self.words["port"][0])
        return "{" + ", ".join(f"{key}: {_value(values)}" for key, values in self.words.items()) + "}"

    def block(self) -> list[str]:
        """With each key on a line of its own."""
        return [f"{key}: {_value(values)}" for key, values in self.words.items()]


def _value(values: tuple[str, ...]) -> str:
    return _quoted(values[0]) if len(values) == 1 else "[" + ", ".join(map(_quoted, values)) + "]"


def _quoted(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def edited(content: bytes, path: str, gone: Iterable[Span], come: Iterable[NewEntry]) -> bytes:
    """A policy file without the entries at some places, and with some more.

    Errors: CannotEditError.
    """
    for place in sorted(gone, reverse=True):
        content = _File(content, path).without(place)
    for entry in come:
        content = _File(content, path).with_entry(entry)
    return content


class _File:
    """One file as text and as nodes. **Units** offsets count characters of the text, in which each line ends with a newline."""

    def __init__(self, content: bytes, path: str) -> None:
        mistakes = Mistakes()
        text = decode(content, path, POLICY_BYTES, mistakes)
        root = None if text is None else parse(text, path, mistakes)
        if text is None or mistakes.count or not isinstance(root, nodes.Mapping):
            raise CannotEditError("it can't be read")
        self._raw = content.decode("utf-8")
        self._text = text
        self._root = root
        self._starts = [0, *(found.end() for found in _LINE_END.finditer(text))]

    # ---- places

    def _offset(self, mark: Mark) -> int:
        return self._starts[mark.line] + mark.column

    def _line_of(self, offset: int) -> int:
        return bisect_right(self._starts, offset) - 1

    def _column_of(self, offset: int) -> int:
        return offset - self._starts[self._line_of(offset)]

    def _is_flow(self, node: Node | Entry) -> bool:
        return self._text[self._offset(node.start_mark)] in "[{"

    def _end(self, node: Node | Entry) -> int:
        """Behind its last character; marks of block nodes lie on the line where the next one begins."""
        return len(self._text[: self._offset(node.end_mark)].rstrip())

    def _behind_line(self, offset: int) -> int:
        """The first character of the next line."""
        return self._starts[self._line_of(offset) + 1]

    # ---- putting in

    def with_entry(self, entry: NewEntry) -> bytes:
        pair = self._root.pairs.get("inbound")
        if pair is None:
            lines = ["", "inbound:", *_indented(_list_lines(entry))]
            return self._with_key(self._root, f"inbound: {{{entry.book}: [{entry.flow()}]}}", lines)
        book = pair[1]
        if not isinstance(book, nodes.Mapping):
            raise CannotEditError("`inbound` is no mapping")
        if entry.book not in book.pairs:
            return self._with_key(book, f"{entry.book}: [{entry.flow()}]", _list_lines(entry))
        key, entries = book.pairs[entry.book]
        if _is_nothing(entries):
            return self._with_list(book, key, entry)
        if not isinstance(entries, Sequence):
            raise CannotEditError(f"`{entry.book}` is no list")
        return self._in_brackets(entries, entry) if self._is_flow(entries) else self._behind_dashes(entries, entry)

    def _with_key(self, mapping: nodes.Mapping, flow: str, lines: list[str]) -> bytes:
        """A further key, as it is written in braces and as lines."""
        if self._is_flow(mapping):
            return self._in_braces(mapping, flow)
        return self._lines_behind(self._end(mapping), self._offset(mapping.start_mark), lines)

    def _with_list(self, book: nodes.Mapping, key: Scalar, entry: NewEntry) -> bytes:
        """A list for a key that has nothing: beside it in braces, else below it."""
        end = self._offset(key.end_mark)
        if self._is_flow(book):
            return self._changed(self._text.index(":", end) + 1, 0, f" [{entry.flow()}]")
        return self._lines_behind(end, self._offset(key.start_mark), _indented([f"- {entry.flow()}"]))

    def _in_braces(self, mapping: nodes.Mapping, pair: str) -> bytes:
        if not mapping.pairs:
            return self._changed(self._offset(mapping.start_mark) + 1, 0, pair)
        last_key, last = list(mapping.pairs.values())[-1]
        end = self._offset(last_key.end_mark) + 1 if _is_nothing(last) else self._end(last)
        return self._changed(end, 0, f", {pair}")

    def _in_brackets(self, entries: Sequence, entry: NewEntry) -> bytes:
        if not entries.entries:
            return self._changed(self._offset(entries.start_mark) + 1, 0, entry.flow())
        last = entries.entries[-1]
        start, end = self._offset(last.start_mark), self._end(last)
        closing = self._offset(entries.end_mark) - 1
        has_line = self._line_of(start) > self._line_of(self._offset(entries.start_mark))
        if not has_line or self._line_of(closing) == self._line_of(end):
            return self._changed(end, 0, f", {entry.flow()}")
        comma = self._text[end:].lstrip(" ").startswith(",")
        line = " " * self._column_of(start) + entry.flow() + ("," if comma else "") + "\n"
        behind = self._behind_line(end)
        between = self._text[end:behind]
        return self._changed(end, behind - end, ("" if comma else ",") + between + line)

    def _behind_dashes(self, entries: Sequence, entry: NewEntry) -> bytes:
        last = entries.entries[-1]
        mappings = [one for one in entries.entries if isinstance(one, nodes.Mapping | Entry)]
        in_lines = bool(mappings) and not self._is_flow(mappings[-1])
        first, *more = entry.block() if in_lines else [entry.flow()]
        return self._lines_behind(
            self._end(last), self._offset(entries.start_mark), [f"- {first}", *(f"  {line}" for line in more)]
        )

    def _lines_behind(self, offset: int, beside: int, lines: list[str]) -> bytes:
        """Below the line of one place, as deep as another."""
        indent = " " * self._column_of(beside)
        text = "".join(f"{indent}{line}\n" if line else "\n" for line in lines)
        return self._changed(self._behind_line(offset), 0, text)

    # ---- taking out

    def without(self, place: Span) -> bytes:
        start = self._starts[place.line - 1] + place.column - 1
        end = len(self._text[: self._starts[place.end_line - 1] + place.end_column - 1].rstrip())
        entries = self._list_at(start)
        return self._out_of_brackets(start, end) if self._is_flow(entries) else self._with_its_lines(start, end)

    def _list_at(self, offset: int) -> Sequence:
        """The list of `inbound` that has an entry at a place."""
        book = self._root.pairs["inbound"][1] if "inbound" in self._root.pairs else None
        for _, entries in book.pairs.values() if isinstance(book, nodes.Mapping) else ():
            if isinstance(entries, Sequence) and any(self._offset(one.start_mark) == offset for one in entries.entries):
                return entries
        raise CannotEditError("an entry is not where it was")

    def _with_its_lines(self, start: int, end: int) -> bytes:
        """From the dash to the end of the line, with a comment that stands there."""
        dash = len(self._text[:start].rstrip()) - 1
        first = self._starts[self._line_of(dash)]
        if self._text[dash] != "-" or self._text[first:dash].strip():
            raise CannotEditError("an entry shares its line with something else")
        return self._changed(first, self._behind_line(end) - first, "")

    def _out_of_brackets(self, start: int, end: int) -> bytes:
        """With one comma; with the line and its comment, where nothing else stands on it."""
        after = len(self._text[end:]) - len(self._text[end:].lstrip())
        before = len(self._text[:start].rstrip())
        if self._text[end + after] == ",":
            end += after + 1
            end += len(self._text[end:]) - len(self._text[end:].lstrip(" "))
        elif self._text[before - 1] == ",":
            start = before - 1
        line, behind = self._starts[self._line_of(start)], self._behind_line(end - 1)
        if not self._text[line:start].strip() and self._text[end:behind].strip()[:1] in ("", "#"):
            start, end = line, behind
        return self._changed(start, end - start, "")

    # ---- the change

    def _changed(self, offset: int, length: int, text: str) -> bytes:
        """The raw content, with the line ends and the byte order mark that it had."""
        newline = found[0] if (found := _LINE_END.search(self._raw)) else "\n"
        body = self._raw.removeprefix(_BOM)
        starts = [0, *(found.end() for found in _LINE_END.finditer(body))]
        begin, end = (self._raw_offset(one, starts, len(body)) for one in (offset, offset + length))
        text = text.replace("\n", newline)
        if begin == len(body) and body and not _LINE_END.search(body[-1:]):
            text = newline + text.removesuffix(newline)  # the last line has no end, and gets none
        return (self._raw[: len(self._raw) - len(body)] + body[:begin] + text + body[end:]).encode()

    def _raw_offset(self, offset: int, starts: list[int], size: int) -> int:
        line = self._line_of(offset)
        return min(starts[line] + offset - self._starts[line], size) if line < len(starts) else size


def _is_nothing(node: Node) -> bool:
    return isinstance(node, Scalar) and not node.value and not node.style


def _list_lines(entry: NewEntry) -> list[str]:
    return [f"{entry.book}:", *_indented([f"- {entry.flow()}"])]


def _indented(lines: list[str]) -> list[str]:
    return [" " * _STEP + line for line in lines]
