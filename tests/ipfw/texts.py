"""Reading and writing ipfw in tests."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from portgate import language
from portgate.backends.ipfw import BACKEND
from portgate.core.capture import Reading
from portgate.core.compile import compile as compile_policy
from portgate.core.policy import Policy
from portgate.core.ruleset import Ruleset
from portgate.core.semantics import NEW_CONNECTION
from portgate.core.verify import Difference, Scope, differences

TODAY = date(2026, 11, 21)
DIALECTS = ("sh", "file")
POLICIES = Path(__file__).parents[2] / "policies"


def read(text: str) -> Ruleset:
    return BACKEND.parse((Reading("ipfw", text, "a test"),))


def loaded(text: str) -> Policy:
    """A policy of one file, written in a test."""

    def file(_: str) -> bytes:
        return text.encode()

    found = language.load("policy.yaml", file, TODAY)
    assert found.policy is not None, found.diagnostics
    return found.policy


def rules(text: str) -> Ruleset:
    return compile_policy(loaded("portgate: 1\nname: test\n" + text), TODAY)


def lines(text: str, dialect: str = "file") -> list[str]:
    """What a policy is in ipfw, without comments."""
    return [one for one in BACKEND.emit(rules(text), dialect).text.splitlines() if not one.startswith("#")]


def unequal(left: Ruleset, right: Ruleset) -> list[Difference]:
    """Where two rulesets treat new connections differently; ICMP of the other family is on no network."""
    found = differences(left, right, known=NEW_CONNECTION, most_cubes=1)
    return [one for one in found if one.scope is not Scope.ODD]
