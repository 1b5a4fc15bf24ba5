"""Reading and writing pf in tests."""

from __future__ import annotations

from portgate.backends.pf import BACKEND
from portgate.core.capture import Reading
from portgate.core.ruleset import Ruleset
from tests.written import rules

DIALECTS = ("openbsd", "freebsd", "macos")


def read(text: str) -> Ruleset:
    return BACKEND.parse((Reading("pf", text, "a test"),))


def lines(text: str, dialect: str = "openbsd") -> list[str]:
    """What a policy is in pf, without comments."""
    found = BACKEND.emit(rules(text), dialect).text.splitlines()
    return [one for one in found if not one.startswith("#")]
