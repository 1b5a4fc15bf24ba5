"""Policies that are written in a test, and how two rulesets differ."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from portgate import language
from portgate.core.compile import compile as compile_policy
from portgate.core.policy import Policy
from portgate.core.ruleset import Ruleset
from portgate.core.semantics import NEW_CONNECTION
from portgate.core.verify import Difference, Scope, differences

TODAY = date(2026, 11, 21)
POLICIES = Path(__file__).parents[1] / "policies"


def loaded(text: str) -> Policy:
    """A policy of one file."""

    def file(_: str) -> bytes:
        return text.encode()

    found = language.load("policy.yaml", file, TODAY)
    assert found.policy is not None, found.diagnostics
    return found.policy


def rules(text: str) -> Ruleset:
    """Of a policy without its head."""
    return compile_policy(loaded("portgate: 1\nname: test\n" + text), TODAY)


def unequal(left: Ruleset, right: Ruleset) -> list[Difference]:
    """Where two rulesets treat new connections differently; ICMP of the other family is on no network."""
    found = differences(left, right, known=NEW_CONNECTION, most_cubes=1)
    return [one for one in found if one.scope is not Scope.ODD]
