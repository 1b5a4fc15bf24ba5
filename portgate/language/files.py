"""The files of a policy: reads them, follows includes, and unites them into one tree of nodes."""

from __future__ import annotations

import posixpath
from collections.abc import Callable

from portgate.core.diagnostics import Span
from portgate.language.mistakes import Mistakes, Placed, span_of
from portgate.language.nodes import Broken, Mapping, Node, Pair, Scalar, Sequence, is_null
from portgate.language.parse import parse
from portgate.language.text import POLICY_BYTES, decode

FILES = 200
KINDS = {Scalar: "a plain value", Mapping: "a mapping", Sequence: "a list"}


class Files:
    """**Shape** `policies` are the paths of policy files, the main one first; `sources` the texts that are worth showing."""

    def __init__(self, read: Callable[[str], bytes], mistakes: Mistakes) -> None:
        self.policies: list[str] = []
        self.sources: dict[str, str] = {}
        self._read = read
        self._mistakes = mistakes
        self._open: list[str] = []

    def gather(self, path: str) -> Mapping | None:
        """A policy file united with all that it includes."""
        return self._gather(path, None)

    def text(self, path: str, limit: int, place: Placed | None) -> str | None:
        """The text of a file, whose name stands at `place`."""
        span = span_of(place) if place else Span(path, 1, 1, 1, 1)
        if not path.isprintable():
            detail = "the path holds characters that cannot be shown"
            self._mistakes.add("PG101", detail, span, "give the file another name")
            return None
        try:
            data = self._read(path)
        except OSError as error:
            self._mistakes.add("PG101", f"`{path}`: {error.strerror or error}", span, _reading_remedy(path, error))
            return None
        return decode(data, path, limit, self._mistakes)

    def _gather(self, path: str, place: Placed | None) -> Mapping | None:
        if len(self.policies) == FILES:
            self._mistakes.add("PG102", f"the policy has more than {FILES} files", place)
            return None
        text = self.text(path, POLICY_BYTES, place)
        if text is None:
            self._mistakes.damaged = True
            return None
        self.policies.append(path)
        self.sources[path] = text
        root = self._root(parse(text, path, self._mistakes), path)
        if root is None:
            return None
        self._open.append(path)
        for entry in _entries(root.pairs.get("include")):
            self._include(root, entry)
        self._open.pop()
        return root

    def _root(self, root: Node | None, path: str) -> Mapping | None:
        if isinstance(root, Mapping):
            return root
        if root is None and not self._mistakes.damaged:
            self._mistakes.add("PG109", "the file is empty", Span(path, 1, 1, 1, 1), "begin it with `portgate: 1`")
        elif root is not None and not isinstance(root, Broken):
            self._mistakes.add(
                "PG108", f"a policy is a mapping, not {KINDS[type(root)]}", root, "write `key: value` lines"
            )
        return None

    def _include(self, root: Mapping, entry: Node) -> None:
        if not isinstance(entry, Scalar):
            if not isinstance(entry, Broken):
                self._mistakes.add("PG108", "a path is a plain value", entry, "include: [common/base.yaml]")
            return
        path = relative(entry)
        if path in self._open:
            way = " includes ".join(f"`{one}`" for one in [*self._open[self._open.index(path) :], path])
            self._mistakes.add("PG114", way, entry, "remove one of these includes")
        elif path not in self.policies and (more := self._gather(path, entry)) is not None:
            self._unite(root, more)

    def _unite(self, mine: Mapping, other: Mapping) -> None:
        """Takes what another file says into a mapping."""
        for text, (key, value) in other.pairs.items():
            if text == "include":
                continue
            if text not in mine.pairs:
                mine.pairs[text] = (key, value)
                continue
            first_key, first = mine.pairs[text]
            mine.pairs[text] = (first_key, self._united(text, first, value))

    def _united(self, name: str, first: Node, second: Node) -> Node:
        match first, second:
            case (Mapping(), Mapping()):
                both = Mapping(first.start_mark, first.end_mark, dict(first.pairs))
                self._unite(both, second)
                return both
            case (Sequence(), Sequence()):
                return Sequence(first.start_mark, first.end_mark, [*first.parts, *second.parts])
            case (Scalar(), Scalar()) if first.value == second.value:
                return first
            case (Scalar(), Mapping() | Sequence()) if is_null(first):
                return second
            case (Mapping() | Sequence(), Scalar()) if is_null(second):
                return first
            case (Broken(), _) | (_, Broken()):
                return Broken(first)
        related = ((span_of(second), "and here"),)
        detail = f"`{name}` is set in two files, and not to the same"
        self._mistakes.add("PG115", detail, first, "keep one of the two", related)
        if type(first) is type(second):
            return first
        self._mistakes.damaged = True  # which of them is of the wrong kind is not known here, nor what it should define
        return Broken(first)


def relative(entry: Scalar) -> str:
    """The path that an entry names, which is relative to the file it stands in."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(entry.start_mark.name), entry.value))


def _entries(pair: Pair | None) -> list[Node]:
    if pair is None or is_null(pair[1]):
        return []
    return pair[1].items if isinstance(pair[1], Sequence) else [pair[1]]


def _reading_remedy(path: str, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "run as somebody who may read it, or change its permissions"
    return "check the path" if posixpath.isabs(path) else "check the path; it is relative to the file that names it"
