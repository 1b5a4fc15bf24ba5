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
    what = fields.get("port") or fields.get("proto")
    content = label + (_text(what[1]) if what else "all")
    if "from" in fields:
        content += "\0from\0" + _text(fields["from"][1])
    if "to" in fields:
        content += "\0to\0" + _text(fields["to"][1])
    readable = content[:READABLE].translate(_SLUG).strip("-.")
    if "limit" in fields:
        content += "\0limit\0" + _text(fields["limit"][1])
    return f"{readable}-{blake2b(content.encode('utf-8', 'backslashreplace'), digest_size=3).hexdigest()}"


def _text(node: Node) -> str:
    """What stands there, whatever the order of its items."""
    if type(node) is Scalar:
        return node.value
    if isinstance(node, Sequence):
        return ",".join(sorted(map(_text, node.items)))
    if isinstance(node, Mapping):
        return ",".join(f"{name}-{_text(value)}" for name, (_, value) in sorted(node.pairs.items()))
    return ""
