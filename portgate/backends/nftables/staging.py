"""A first load of long lists: what can be filled before any rule is there, so that the rules come into force in one short transaction.

Theory
    A set that no rule looks up and a table without chains have no effect on any packet. So new sets are declared and filled first, by transactions of their own,
    and the rules follow in one. libnftables would need 13 s and 1 GB for a million addresses (nft 1.0.6). Where a set is in force already, there
    is no such way: then everything stays one transaction.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from portgate.backends.nftables import TABLE
from portgate.backends.nftables.batch import Change
from portgate.backends.nftables.bulk import columns_of
from portgate.core.dataclasses import dataclass

LONG = 1 << 16  # characters of a list
_MOST = 100_000  # addresses in a transaction
_ANEW = f"table {TABLE}\ndelete table {TABLE}\n"
_OPEN, _SET, _ELEMENTS, _END = f"table {TABLE} {{\n", "\tset ", "\n\t\telements = {\n\t\t\t", "\n\t\t}"
_HEADER = re.compile(r"(?:#.*\n)*")


@dataclass(frozen=True, slots=True)
class Stage:
    """`declared` is loaded first, then the `lists`, then `rest`.

    **Shape** `sets` are the names of what is declared, none of which may be there yet; `anew`: there may be no table of ours.
    """

    declared: str
    lists: tuple[Change, ...]
    rest: str
    sets: tuple[str, ...]
    anew: bool


def staged(script: str) -> Stage | None:
    """None where no long list is to be loaded into a new set."""
    header = _HEADER.match(script)
    start = header.end() if header else 0
    anew = script.startswith(_ANEW, start)
    start += len(_ANEW) if anew else 0
    end = script.find("\n}\n", start) + 1
    if not end or not script.startswith(_OPEN, start):
        return None
    chains = script.find("\n\tchain ", start, end) + 1 or end
    blocks = re.split(r"^(?=\tset )", script[start + len(_OPEN) : chains], flags=re.MULTILINE)[1:]
    divided = [_divided(block) for block in blocks]
    lists = tuple(part for declared, keys, comments in divided for part in _parts(_name(declared), keys, comments))
    if not lists:
        return None
    declared, rest = f"{_OPEN}{''.join(one for one, _, _ in divided)}}}\n", f"{_OPEN}{script[chains:]}"
    return Stage(declared, lists, rest, tuple(map(_name, blocks)), anew)


def declared_sets(script: str) -> list[str]:
    """The sets that a script declares which does nothing else."""
    return [] if "\tchain " in script else re.findall(r"(?m)^\tset (\S+) \{$", script)


def _name(block: str) -> str:
    return block[len(_SET) :].split(None, 1)[0]


def _divided(block: str) -> tuple[str, Sequence[str], Sequence[str]]:
    """The declaration of a set, and its elements with their comments where they are many plain ones."""
    start = block.find(_ELEMENTS)
    end = block.find(_END, start)
    if start < 0 or end - start < LONG:
        return block, (), ()
    keys, comments = columns_of(block[start + len(_ELEMENTS) : end] + "\n")
    return (block[:start] + block[end + len(_END) :] if keys else block), keys, comments


def _parts(name: str, keys: Sequence[str], comments: Sequence[str]) -> Iterator[Change]:
    for start in range(0, len(keys), _MOST):
        end = start + _MOST
        yield Change("add", name, keys[start:end], comments[start:end])
