"""A program of its own: prints the legacy tables of a family as iptables-save does, through python-iptables.

    python library.py ip|ip6

It is run as a process, because python-iptables prints what it reads of a rule to standard output, and may end the process.
For hosts where a container has made legacy rules and iptables-legacy-save is not installed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any


def _listing(family: str) -> Iterator[str]:
    import iptc  # noqa: PLC0415 - an optional package, for which whoever starts this program has looked

    kind = iptc.Table6 if family == "ip6" else iptc.Table
    with open(f"/proc/self/net/{family}_tables_names", encoding="ascii") as names:  # noqa: PTH123 - no pathlib: it starts quicker
        tables = names.read().split()
    for name in tables:
        table = kind(name, autocommit=False)
        yield f"*{name}"
        for chain in table.chains:
            policy = chain.get_policy() if table.builtin_chain(chain) else None
            yield f":{chain.name} {policy.name if policy else '-'} [0:0]"
        for chain in table.chains:
            yield from (" ".join(["-A", chain.name, *_words(rule)]) for rule in chain.rules)
        yield "COMMIT"


def _words(rule: Any) -> Iterator[str]:
    ends = (("-s", rule.src), ("-d", rule.dst), ("-i", rule.in_interface), ("-o", rule.out_interface))
    for option, value in (*ends, ("-p", rule.protocol)):
        if value and value.lstrip("!") not in _ANY:
            yield from (["!"] if value.startswith("!") else [])
            yield from (option, _quoted(value.lstrip("!")))
    for match in rule.matches:
        yield from ("-m", match.name, *_parameters(match))
    if rule.target is not None and rule.target.name:
        yield from ("-g" if rule.target.goto else "-j", _quoted(rule.target.name), *_parameters(rule.target))


_ANY = {"0.0.0.0/0.0.0.0", "::/0", "0", "ip"}


def _parameters(extension: Any) -> Iterator[str]:
    for option, values in extension.get_all_parameters().items():
        yield from (["!"] if values[:1] == ["!"] else [])
        yield f"--{option}"
        yield from map(_quoted, values[1:] if values[:1] == ["!"] else values)


def _quoted(text: str) -> str:
    """A word as iptables-save writes it. What python-iptables has left of its escapes is undone."""
    text = text.replace("\\'", "'")
    plain = text and all(one.isalnum() or one in "_.,:/-+*" for one in text)
    return text if plain else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


if __name__ == "__main__":
    text = "".join(f"{line}\n" for line in _listing(sys.argv[1]))
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
