"""The ipfw backend: FreeBSD's rules, in a set of their own, through ipfw."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from portgate.backends import Session
    from portgate.core.capture import Artifact, Loaded, Reading, Step
    from portgate.core.ruleset import Feature, Rule, Ruleset

MARK = "portgate:"  # begins the comment of every rule of ours
TABLES = "portgate-"  # begins the name of every table of ours
FLOW = ":portgate"  # the name of our states
LIVE, SPARE, GUARD = 28, 29, 31  # sets: of the rules in force, of those on their way in or out, of the guard
GUARD_NUMBER = 65521  # behind all rules of ours
NO_IPFW = "there is no ipfw here; it is a packet filter of FreeBSD"
LACKING = (
    "DNAT", "FORWARDED", "SOURCE_LIMITS", "OTHER_LIMITS", "SOFT_LIMITS", "BURSTS", "TIMED_ELEMENTS", "DCCP_PORTS",
    "OTHER_REDIRECTS", "RARE_ICMP_TYPES", "EXTREME_LIMITS", "INTERFACE_PLUS", "PROTOCOL_ZERO", "UDPLITE_FORWARDS",
)  # fmt: skip


class Ipfw:
    """See `portgate.backends.Backend`. Everything is imported when it is used, because start-up shall be quick."""

    name = "ipfw"
    reading_kinds: tuple[str, ...] = ("ipfw",)
    routing_words: tuple[str, ...] = ()
    languages: tuple[str, ...] = ("ipfw",)

    lacking: tuple[str, ...] = LACKING

    @property
    def features(self) -> frozenset[Feature]:
        from portgate.core.ruleset import Feature

        return frozenset(Feature) - {Feature[name] for name in self.lacking}

    def available(self) -> str | None:
        from sys import platform

        if not platform.startswith("freebsd"):
            return NO_IPFW
        from portgate.backends.ipfw import session

        return session.available()

    def lower(self, desired: Ruleset) -> Ruleset:
        return desired

    def emit(self, desired: Ruleset, dialect: str | None = None) -> Artifact:
        from portgate.backends.ipfw import emit

        return emit.emit(desired, dialect or "sh")

    def parse(self, readings: tuple[Reading, ...]) -> Ruleset:
        from portgate.backends.ipfw import parse

        return parse.parse(readings)

    def transaction(self, observed: Ruleset, desired: Ruleset) -> Artifact | None:
        from portgate.backends.ipfw import emit

        return emit.transaction(observed, desired)

    def restoring(self, own: Reading, elapsed: float = 0) -> Artifact:
        from portgate.backends.ipfw import emit

        return emit.restoring(own)

    def starting(self, closed: str, text: str) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
        from portgate.core.capture import Step

        return (Step(("sh",), "sh", closed),), (Step(("sh",), "sh", text),)

    def words(self, rule: Rule) -> str:
        from portgate.core import words

        return words.rule_text(rule)

    def session(self, loaded: Loaded | None = None) -> Session:
        from portgate.backends.ipfw import session

        return session.IpfwSession()


BACKEND = Ipfw()
