"""The ids of grants: readable, derived from what an entry says, the same wherever it stands."""

from __future__ import annotations

from zlib import crc32

from portgate.language.nodes import Mapping, Node, Pair, Scalar, Sequence

READABLE = 34
"""With a dash, six digits and a counter of as many this stays within the 48 characters that an id may have."""

_PLAIN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
_SLUG = bytes(byte if byte in _PLAIN else ord("-") for byte in range(256))


def derive(label: str, what: str, sources: str = "", destinations: str = "", limit: str = "") -> str:
    """`ssh-from-office-3f9a1c`, from what is written. `label` says which list the entry is in, "" for the grants of inbound."""
    said = label + (what or "all")
    if sources:
        said += "\0from\0" + sources
    if destinations:
        said += "\0to\0" + destinations
    if limit:
        said += "\0limit\0" + limit
    content = said.encode("utf-8", "backslashreplace")
    readable = content[:READABLE].translate(_SLUG).strip(b"-.").decode("ascii")
    return f"{readable}-{crc32(content) & 0xFFFFFF:06x}"


def written(pair: Pair | None) -> str:
    """What stands there, whatever the order of its items; "" for an absent key."""
    return "" if pair is None else _text(pair[1])


def _text(node: Node) -> str:
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Sequence):
        return ",".join(sorted(map(_text, node.items)))
    if isinstance(node, Mapping):
        return ",".join(f"{name}-{_text(value)}" for name, (_, value) in sorted(node.pairs.items()))
    return ""
