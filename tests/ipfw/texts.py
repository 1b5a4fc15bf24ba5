"""Reading and writing ipfw in tests."""

from __future__ import annotations

from portgate.backends.ipfw import BACKEND
from portgate.core.capture import Reading
from portgate.core.ruleset import Ruleset
from tests.written import rules

DIALECTS = ("sh", "file")


def read(text: str) -> Ruleset:
    return BACKEND.parse((Reading("ipfw", text, "a test"),))


def lines(text: str, dialect: str = "file") -> list[str]:
    """What a policy is in ipfw, without comments."""
    found = BACKEND.emit(rules(text), dialect).text.splitlines()
    return [one for one in found if not one.startswith("#")]
