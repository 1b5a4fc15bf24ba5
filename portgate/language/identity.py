"""The ids of grants: readable, derived from what an entry says, the same wherever it stands."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from zlib import crc32

from portgate.language import nodes
from portgate.language.nodes import Node, Scalar, Sequence

READABLE = 34
"""With a dash, six digits and a counter of as many this stays within the 48 characters that an id may have."""

KEYS = frozenset({"port", "proto", "from", "to", "limit"})
_FURTHER = ("from", "to", "limit")
_PLAIN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
_SLUG = bytes(byte if byte in _PLAIN else ord("-") for byte in range(256))
_SLUGS = _SLUG[:10] + b"\n" + _SLUG[11:]


def derive(label: str, said: Mapping[str, str]) -> str:
    """`ssh-from-office-3f9a1c`, from what an entry says. `label` tells which list it is in, "" for the grants of inbound."""
    text = label + (said.get("port") or said.get("proto") or "all")
    for key in _FURTHER:
        if key in said:
            text += f"\0{key}\0{said[key]}"
    content = text.encode("utf-8", "backslashreplace")
    readable = content[:READABLE].translate(_SLUG).strip(b"-.").decode("ascii")
    return f"{readable}-{crc32(content) & 0xFFFFFF:06x}"


def derived(label: str, columns: Mapping[str, Collection[str]]) -> list[str]:
    """The same of many entries that say the same keys, by columns. **Shape** no word holds a newline."""
    further = [key for key in _FURTHER if key in columns]
    form = f"{label}%s" + "".join(f"\0{key}\0%s" for key in further)
    texts = map(form.__mod__, zip(columns["port"], *(columns[key] for key in further), strict=True))
    content = "\n".join(texts).encode("utf-8", "backslashreplace")
    readable = content.translate(_SLUGS).decode("ascii").split("\n")
    return [
        f"{slug[:READABLE].strip('-.')}-{crc32(one) & 0xFFFFFF:06x}"
        for slug, one in zip(readable, content.split(b"\n"), strict=True)
    ]


def written(node: Node) -> str:
    """What stands there, whatever the order of its items."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Sequence):
        return ",".join(sorted(map(written, node.items)))
    if isinstance(node, nodes.Mapping):
        return ",".join(f"{name}-{written(value)}" for name, (_, value) in sorted(node.pairs.items()))
    return ""
