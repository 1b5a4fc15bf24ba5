"""The ids of grants: readable, derived from what an entry says, the same wherever it stands."""

from __future__ import annotations

from collections.abc import Mapping
from zlib import crc32

from portgate.language import nodes
from portgate.language.nodes import Node, Scalar, Sequence

READABLE = 34
"""With a dash, six digits and a counter of as many this stays within the 48 characters that an id may have."""

KEYS = frozenset({"port", "proto", "from", "to", "limit"})
_FURTHER = ("from", "to", "limit")
_PLAIN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
_SLUG = bytes(byte if byte in _PLAIN else ord("-") for byte in range(256))


def derive(label: str, said: Mapping[str, str]) -> str:
    """`ssh-from-office-3f9a1c`, from what an entry says. `label` tells which list it is in, "" for the grants of inbound."""
    text = label + (said.get("port") or said.get("proto") or "all")
    for key in _FURTHER:
        if key in said:
            text += f"\0{key}\0{said[key]}"
    content = text.encode("utf-8", "backslashreplace")
    readable = content[:READABLE].translate(_SLUG).strip(b"-.").decode("ascii")
    return f"{readable}-{crc32(content) & 0xFFFFFF:06x}"


def written(node: Node) -> str:
    """What stands there, whatever the order of its items."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Sequence):
        return ",".join(sorted(map(written, node.items)))
    if isinstance(node, nodes.Mapping):
        return ",".join(f"{name}-{written(value)}" for name, (_, value) in sorted(node.pairs.items()))
    return ""
