"""Broken expectations as diagnostics: at the expectation, and at the grants that cause it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from itertools import islice

from portgate.core.diagnostics import Diagnostic, Span
from portgate.core.expect import CLOSED, MOST, Counterexample, Result
from portgate.core.net import PORT_PROTOCOLS, protocol_name
from portgate.core.packets import Packet
from portgate.core.policy import Expectation, Outcome, Peer, Policy, Traffic
from portgate.core.semantics import Fate


def title(expectation: Expectation) -> str:
    """`22/tcp from office is accepted`, `only 22/tcp, 443/tcp`"""
    traffic = ", ".join(map(_traffic_text, expectation.traffic)) or "everything"
    if expectation.outcome is None:
        return f"only {traffic if expectation.traffic else 'nothing'}"
    words = [traffic]
    if expectation.sources:
        words += ["from", ", ".join(map(peer_text, expectation.sources))]
    if expectation.destinations:
        words += ["to", ", ".join(map(peer_text, expectation.destinations))]
    return " ".join([*words, "is", expectation.outcome.value])


def _traffic_text(traffic: Traffic) -> str:
    if (traffic.first, traffic.last) == (0, 0xFFFF):
        return protocol_name(traffic.protocol)
    numbers = str(traffic.first) if traffic.first == traffic.last else f"{traffic.first}-{traffic.last}"
    if traffic.protocol in PORT_PROTOCOLS:
        return f"{numbers}/{protocol_name(traffic.protocol)}"
    return f"{protocol_name(traffic.protocol)} type {numbers}"


def peer_text(peer: Peer) -> str:
    """What the policy calls it, else its first interfaces and addresses."""
    if peer.name:
        return peer.name
    texts = list(peer.interfaces)
    if peer.addresses is not None:
        texts += islice(peer.addresses.texts(), 4)
    return ", ".join(texts[:3]) + (", ..." if len(texts) > 3 else "") if texts else "any"


def diagnostic(policy: Policy, result: Result, today: date) -> Diagnostic | None:
    """What is wrong, at the expectation and at the grants that cause it; None when it holds."""
    if result.holds:
        return None
    told = _Told(policy, result, today)
    return Diagnostic(told.code(), told.detail(), result.expectation.span, told.remedy(), tuple(told.related()))


class _Told:
    """A broken expectation in words."""

    def __init__(self, policy: Policy, result: Result, today: date) -> None:
        self._policy = policy
        self._today = today
        self._outcome = result.expectation.outcome
        self._found = result.counterexamples
        self._blocks = {one.id for one in policy.inbound.block}

    def code(self) -> str:
        return {Outcome.ACCEPTED: "PG620", Outcome.BLOCKED: "PG621", None: "PG622"}[self._outcome]

    def detail(self) -> str:
        """About the first packet; the others are told at their grants."""
        first = self._found[0]
        return f"{first.packet} {self._fate(first)}: {self._reason(first)}"

    def _fate(self, one: Counterexample) -> str:
        return {
            Fate.ACCEPT: "is accepted",
            Fate.DEPENDS: "is accepted, up to a rate limit",
            Fate.DROP: "is dropped",
            Fate.REJECT: "is rejected",
        }[one.fate]

    def _reason(self, one: Counterexample) -> str:
        if one.grant is None:
            default = f"the default is {self._policy.inbound.default}"
            return default if one.fate not in CLOSED else f"no grant allows it, and {default}"
        if one.grant.id in self._blocks:
            return f"the block {one.grant.id} wins over every grant"
        return f"the grant {one.grant.id} allows it"

    def remedy(self) -> str:
        if self._outcome is not Outcome.ACCEPTED:
            return "narrow or remove the grant, or correct the expectation"
        if any(one.grant for one in self._found):
            return (
                "leave what is blocked out of the expectation with `from: {any: ..., except: ...}`, or remove the block"
            )
        return "grant it, or correct the expectation"

    def related(self) -> Iterator[tuple[Span, str]]:
        for one in self._found:
            if one.grant is not None and one.grant.span is not None:
                verb = "blocks" if one.grant.id in self._blocks else "allows"
                yield one.grant.span, f"{verb} {one.packet}"
            elif one.grant is None and one.fate in CLOSED:
                yield from self._near(one.packet)

    def _near(self, packet: Packet) -> Iterator[tuple[Span, str]]:
        """The grants of the same port that miss the packet for another reason."""
        grants = (*self._policy.inbound.allow, *(one.grant for one in self._policy.forwards))
        near = (one for one in grants if one.span and any(_names(traffic, packet) for traffic in one.traffic))
        for grant in islice(near, MOST):
            if grant.span is not None:
                expired = "is expired" if grant.expired(self._today) else "does not hold for this packet"
                yield grant.span, f"allows the port, and {expired}"


def _names(traffic: Traffic, packet: Packet) -> bool:
    number = packet.dport if packet.dport is not None else packet.icmp_type
    return traffic.protocol == packet.protocol and (number is None or traffic.first <= number <= traffic.last)
