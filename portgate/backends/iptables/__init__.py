"""The iptables backend: chains of our own in the tables of either store, through the restore programs and ipset."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portgate.backends import Backend, Reader, Session
    from portgate.core.capture import Artifact, Capture, Loaded, Reading, Step
    from portgate.core.ruleset import Feature, Rule, Ruleset

HEADER = "# Made by portgate from its policy. Edits are overwritten by the next apply.\n"
LACKING = ("TIMED_ELEMENTS", "EXTREME_LIMITS", "INTERFACE_PLUS", "PROTOCOL_ZERO", "UDPLITE_FORWARDS")


class Iptables:
    """See `portgate.backends.Backend` and `Reader`. Everything is imported when it is used, because start-up shall be quick.

    `store` is "nft" or "legacy", "" for the one that this host uses.
    """

    name = "iptables"
    languages: tuple[str, ...] = ("iptables", "ip6tables")
    reading_kinds: tuple[str, ...] = (
        "iptables-save", "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save", "ipset", "iptables",
    )  # fmt: skip
    routing_words: tuple[str, ...] = ("-m rpfilter",)

    def __init__(self, store: str = "") -> None:
        self._store = store

    lacking: tuple[str, ...] = LACKING

    @property
    def features(self) -> frozenset[Feature]:
        from portgate.core.ruleset import Feature

        return frozenset(Feature) - {Feature[name] for name in self.lacking}

    def available(self) -> str | None:
        from portgate.backends.iptables.live import store

        return store.available(self._store)

    def lower(self, desired: Ruleset) -> Ruleset:
        from portgate.backends.iptables import lower

        return lower.lower(desired)

    def emit(self, desired: Ruleset, dialect: str | None = None) -> Artifact:
        from portgate.backends.iptables import emit

        return emit.emit(desired, dialect)

    def parse(self, readings: tuple[Reading, ...]) -> Ruleset:
        from portgate.backends.iptables import parse

        return parse.parse(readings)

    def transaction(self, observed: Ruleset, desired: Ruleset) -> Artifact | None:
        from portgate.backends.iptables import transaction

        return transaction.transaction(observed, desired)

    def restoring(self, own: Reading, elapsed: float = 0) -> Artifact:
        from portgate.backends.iptables import transaction

        return transaction.restoring(own)

    def starting(self, closed: str, text: str) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
        from portgate.backends.iptables import session

        return session.starting(closed, text, self._store)

    def words(self, rule: Rule) -> str:
        from portgate.backends.iptables import transaction

        return transaction.words(rule)

    def session(self, loaded: Loaded | None = None) -> Session:
        from portgate.backends.iptables import session

        return session.IptablesSession(self._store)

    def capture(self, others: Sequence[Reading] = ()) -> Capture:
        from portgate.backends.iptables import live

        return live.capture(others)


BACKEND: Backend = Iptables()
READER: Reader = Iptables()
