"""The ids of grants: readable, derived from what an entry says, the same wherever it stands."""

from __future__ import annotations

from hashlib import blake2b

from portgate.language.nodes import Mapping, Node, Pair, Scalar, Sequence

READABLE = 36
"""With a dash, six digits and a counter this stays below the 48 characters that an id may have."""


class _Slug(dict[int, str]):
    def __missing__(self, key: int) -> str:
        return "-"


_SLUG = _Slug({ord(one): one for one in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"})


def derive(label: str, fields: dict[str, Pair]) -> str:
    """`ssh-from-office-3f9a1c`. `label` says which list the entry is in, "" for the grants of inbound."""
    what = _written(fields, "port") or _written(fields, "proto")
    sources, destinations = _written(fields, "from"), _written(fields, "to")
    content = f"{label}\0{what}\0{sources}\0{destinations}\0{_written(fields, 'limit')}"
    digest = blake2b(content.encode("utf-8", "backslashreplace"), digest_size=3).hexdigest()
    readable = f"{label}{what or 'all'}"
    if sources:
        readable += f"-from-{sources}"
    if destinations:
        readable += f"-to-{destinations}"
    return f"{readable[:READABLE].translate(_SLUG).strip('-.')}-{digest}"


def _written(fields: dict[str, Pair], key: str) -> str:
    """What stands there, whatever the order of its items; "" for an absent key."""
    pair = fields.get(key)
    return "" if pair is None else _text(pair[1])


def _text(node: Node) -> str:
    if type(node) is Scalar:
        return str(node.value)
    if isinstance(node, Sequence):
        return ",".join(sorted(map(_text, node.items)))
    if isinstance(node, Mapping):
        return ",".join(f"{name}-{_text(value)}" for name, (_, value) in sorted(node.pairs.items()))
    return ""
