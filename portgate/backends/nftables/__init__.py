"""The nftables backend: the table `inet portgate`, through libnftables."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from portgate.backends import Session
    from portgate.core.capture import Artifact, Loaded, Reading, Step
    from portgate.core.ruleset import Feature, Rule, Ruleset

TABLE = "inet portgate"
HEADER = "# Made by portgate from its policy. Edits are overwritten by the next apply.\n"


class Nftables:
    """See `portgate.backends.Backend`. Everything is imported when it is used, because start-up shall be quick."""

    name = "nftables"
    reading_kinds = ("nft-json", "nft")
    routing_words = ("fib saddr", '"fib"')
    languages: tuple[str, ...] = ("nftables",)

    lacking: tuple[str, ...] = ()

    @property
    def features(self) -> frozenset[Feature]:
        from portgate.core.ruleset import Feature

        return frozenset(Feature)

    def available(self) -> str | None:
        from portgate.backends.nftables import session

        return session.available()

    def lower(self, desired: Ruleset) -> Ruleset:
        from portgate.backends.nftables import lower

        return lower.lower(desired)

    def emit(self, desired: Ruleset, dialect: str | None = None) -> Artifact:
        from portgate.backends.nftables import emit

        return emit.emit(desired, dialect)

    def parse(self, readings: tuple[Reading, ...]) -> Ruleset:
        from portgate.backends.nftables import parse

        return parse.parse(readings)

    def transaction(self, observed: Ruleset, desired: Ruleset) -> Artifact | None:
        from portgate.backends.nftables.alike import alike

        if alike(observed, desired):
            return None
        from portgate.backends.nftables import transaction

        return transaction.transaction(observed, desired)

    def restoring(self, own: Reading, elapsed: float = 0) -> Artifact:
        from portgate.backends.nftables import transaction

        return transaction.restoring(own, elapsed)

    def starting(self, closed: str, text: str) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
        from portgate.core.capture import Step

        return (Step(("nft", "-f"), "nft", closed),), (Step(("nft", "-f"), "nft", text),)

    def words(self, rule: Rule) -> str:
        from portgate.backends.nftables import transaction

        return transaction.words(rule)

    def session(self, loaded: Loaded | None = None) -> Session:
        from portgate.backends.nftables import session

        return session.NftablesSession(loaded)


BACKEND = Nftables()
