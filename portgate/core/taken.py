"""Packets that a rule has taken for a connection of its choice before connection tracking sees them.

**Source** xt_CT.c and nft_ct.c of Linux 6.18: a packet with a template, also one for zone 0, is left alone by NOTRACK.
"""

from __future__ import annotations

from collections.abc import Callable

from portgate.core.dataclasses import replace
from portgate.core.ruleset import All, Chain, NoTrack, Opaque, Rule, SideNote

_NOT_TAKEN = Opaque(
    "NOTRACK behind a zone", "whether a rule has taken the packet for a zone or a helper before NOTRACK"
)


def behind_takers(chains: tuple[Chain, ...], takes: Callable[[str], bool]) -> tuple[Chain, ...]:
    """The chains of a container, where NOTRACK is a doubt if a rule `takes` packets: that is told by the text of what it does."""
    effects = (effect for chain in chains for rule in chain.rules for effect in rule.effects)
    if not any(isinstance(one, SideNote) and takes(one.text) for one in effects):
        return chains
    return tuple(replace(chain, rules=tuple(map(_unless_taken, chain.rules))) for chain in chains)


def _unless_taken(rule: Rule) -> Rule:
    return replace(rule, match=All((rule.match, _NOT_TAKEN))) if NoTrack() in rule.effects else rule
