"""The pf backend: the anchor `portgate` of OpenBSD, FreeBSD and macOS, through pfctl."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from portgate.backends import Session
    from portgate.core.capture import Artifact, Loaded, Reading, Step
    from portgate.core.ruleset import Feature, Rule, Ruleset

ANCHOR = "portgate"
MARK = "# Made by portgate from its policy."  # how the text of the anchor is told from other files
NO_PF = "there is no pfctl here; pf is the packet filter of OpenBSD, FreeBSD and macOS"
LACKING = (
    "INTERFACE_PREFIXES", "INTERFACE_WORDS", "FORWARDED", "TIMED_ELEMENTS", "OTHER_PORTS", "DCCP_PORTS", "OTHER_LIMITS",
    "SOFT_LIMITS", "BURSTS", "INTERFACE_PLUS", "PROTOCOL_ZERO", "UDPLITE_FORWARDS",
)  # fmt: skip


class Pf:
    """See `portgate.backends.Backend`. Everything is imported when it is used, because start-up shall be quick."""

    name = "pf"
    reading_kinds: tuple[str, ...] = ("pf",)
    routing_words: tuple[str, ...] = ()
    languages: tuple[str, ...] = ("pf",)

    lacking: tuple[str, ...] = LACKING

    @property
    def features(self) -> frozenset[Feature]:
        from portgate.core.ruleset import Feature

        return frozenset(Feature) - {Feature[name] for name in self.lacking}

    def available(self) -> str | None:
        from sys import platform

        if platform == "linux":
            return NO_PF
        from portgate.backends.pf import session

        return session.available()

    def lower(self, desired: Ruleset) -> Ruleset:
        return desired

    def emit(self, desired: Ruleset, dialect: str | None = None) -> Artifact:
        from portgate.backends.pf import emit, session

        return emit.emit(desired, dialect or session.native_dialect())

    def parse(self, readings: tuple[Reading, ...]) -> Ruleset:
        from portgate.backends.pf import parse

        return parse.parse(readings)

    def transaction(self, observed: Ruleset, desired: Ruleset) -> Artifact | None:
        from portgate.backends.pf import emit, session

        return emit.transaction(observed, desired, session.native_dialect())

    def restoring(self, own: Reading, elapsed: float = 0) -> Artifact:
        from portgate.core.capture import Artifact

        return Artifact(self.name, own.text or f"{MARK}\n")

    def starting(self, closed: str, text: str) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
        from portgate.core.capture import Step

        program = ("pfctl", "-a", ANCHOR, "-f")
        return (Step(program, "pf", closed),), (Step(program, "pf", text),)

    def words(self, rule: Rule) -> str:
        from portgate.core import words

        return words.rule_text(rule)

    def session(self, loaded: Loaded | None = None) -> Session:
        from portgate.backends.pf import session

        return session.PfSession()


BACKEND = Pf()
