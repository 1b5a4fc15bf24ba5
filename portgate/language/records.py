"""Nodes against the grammar: kinds, known and required keys, lists of scalars."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from portgate.language import values
from portgate.language.files import KINDS
from portgate.language.grammar import Record
from portgate.language.mistakes import MistakeError, Mistakes
from portgate.language.nodes import Broken, Entry, Mapping, Node, Pair, Scalar, Sequence, is_merge, is_null

T = TypeVar("T")


class Records:
    def __init__(self, mistakes: Mistakes) -> None:
        self._mistakes = mistakes

    def expected(self, what: str, node: Node, remedy: str | None = None) -> None:
        """Reports a node of the wrong kind, unless that may follow from what is reported already."""
        if isinstance(node, Broken) or (self._mistakes.damaged and is_null(node)):
            return
        found = "nothing" if is_null(node) else KINDS[type(node)]
        if remedy is None:
            remedy = (
                "write one, or remove the entry" if is_null(node) else "write one value, without brackets or braces"
            )
        self._mistakes.add("PG108", f"expected {what}, found {found}", node, remedy)

    def fields(self, node: Node, record: Record) -> dict[str, Pair] | None:
        """The pairs of a mapping, all of whose keys are known. None when it is no mapping."""
        if not isinstance(node, Mapping):
            keys = ", ".join(f"{key.name}: {key.example}" for key in record.keys if key.required)
            keys = keys or f"{record.keys[0].name}: {record.keys[0].example}"
            self.expected("a mapping", node, f"write `{{{keys}}}`")
            return None
        if not node.pairs.keys() <= record.names:
            self._report_unknown(node, record)
        elif not node.pairs.keys() >= record.required and not self._mistakes.damaged:
            self._report_missing(node, record)
        return node.pairs

    def named(self, root: Mapping, section: str) -> dict[str, Pair]:
        """The definitions of a section by name."""
        pair = root.pairs.get(section)
        if pair is None or is_null(pair[1]):
            return {}
        if not isinstance(pair[1], Mapping):
            self.expected("a mapping from names", pair[1], f"write `{section}:`, and below it `name: ...` lines")
            self._mistakes.damaged = True
            return {}
        for key, value in pair[1].pairs.values():
            if not is_merge(key.value, value):
                self.convert(key, values.name)
        return pair[1].pairs

    def items(self, pair: Pair) -> list[Node]:
        """The items of a list, or the one value that stands in its place."""
        node = pair[1]
        if isinstance(node, Sequence):
            return node.items
        if is_null(node):
            self.expected("a value or a list", node)
            return []
        return [node]

    def entries(self, pair: Pair | None) -> list[Node | Entry]:
        """The items of what must be a list, one by one; none when nothing stands there."""
        found = self.listed(pair)
        return found.entries if found else []

    def listed(self, pair: Pair | None) -> Sequence | None:
        """What must be a list, where anything stands there."""
        if pair is None or is_null(pair[1]):
            return None
        if isinstance(pair[1], Sequence):
            return pair[1]
        self.expected("a list", pair[1], f"begin each entry of `{pair[0].value}` with `- `")
        return None

    def not_empty(self, node: Node) -> None:
        """Reports an empty list: that nothing is listed must never come to mean everything."""
        if isinstance(node, Sequence) and not node.parts:
            self._mistakes.add("PG217", "an empty list matches nothing", node, "list something, or remove the entry")

    def scalars(self, pair: Pair | None, convert: Callable[[str], T]) -> list[T]:
        """Every item converted; what is wrong is reported and left out."""
        if pair is None:
            return []
        found = (self.scalar(item, convert) for item in self.items(pair))
        return [value for value in found if value is not None]

    def scalar(self, node: Node, convert: Callable[[str], T]) -> T | None:
        """A plain value converted. None when it is wrong, which is reported."""
        if type(node) is not Scalar or is_null(node):
            self.expected("a plain value", node)
            return None
        return self.convert(node, convert)

    def convert(self, node: Scalar, convert: Callable[[str], T]) -> T | None:
        """What the text stands for. None when it is wrong, which is reported."""
        try:
            return convert(node.value)
        except MistakeError as error:
            self._mistakes.wrong(error, node)
            return None

    def optional(self, fields: dict[str, Pair], key: str, convert: Callable[[str], T]) -> T | None:
        """The value of a key that may be absent."""
        pair = fields.get(key)
        return None if pair is None else self.scalar(pair[1], convert)

    def word(self, pair: Pair | None, words: tuple[str, ...], otherwise: str) -> str:
        """One of some words; `otherwise` when it is absent or wrong."""
        if pair is None:
            return otherwise
        node = pair[1]
        if isinstance(node, Scalar) and node.value in words:
            return node.value
        if not isinstance(node, Scalar) or is_null(node):
            self.expected(" or ".join(words), node)
            return otherwise
        detail = f"{values.shown(node.value)} is not one of: {', '.join(words)}"
        remedy = self._mistakes.suggest(node.value, words) or f"write {' or '.join(f'`{word}`' for word in words)}"
        self._mistakes.add("PG228", detail, node, remedy)
        return otherwise

    def _report_missing(self, node: Mapping, record: Record) -> None:
        missing = [key for key in record.keys if key.required and key.name not in node.pairs]
        names = " and ".join(f"`{key.name}`" for key in missing)
        remedy = f"add `{'` and `'.join(f'{key.name}: {key.example}' for key in missing)}`"
        self._mistakes.add("PG109", f"{names} {'is' if len(missing) == 1 else 'are'} missing", node, remedy)

    def _report_unknown(self, node: Mapping, record: Record) -> None:
        known = ", ".join(key.name for key in record.keys)
        for text, (key, value) in node.pairs.items():
            name, _, rest = text.partition(":")
            if text not in record.names and not is_merge(text, value):
                remedy = self._mistakes.suggest(text, record.names) or f"the keys here are {known}"
                if name in record.names:
                    remedy = f"write `{name}: {rest.strip()}`, with a space behind the colon"
                self._mistakes.add("PG107", f"{values.shown(text)} is not a key of {record.title}", key, remedy)
