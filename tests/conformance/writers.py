"""Every language that portgate writes: each backend, and each dialect of those that have several."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from portgate import backends
from portgate.backends import Backend
from portgate.core.capture import Reading
from portgate.core.ruleset import Ruleset
from portgate.core.semantics import NEW_CONNECTION
from portgate.core.verify import Difference, Scope, differences

DIALECTS = {"pf": ("openbsd", "freebsd", "macos"), "ipfw": ("sh", "file")}


class Writer(NamedTuple):
    """A backend in one dialect, None where it has but one."""

    backend: Backend
    dialect: str | None

    def __str__(self) -> str:
        return "-".join(part for part in (self.backend.name, self.dialect) if part)

    def text(self, desired: Ruleset) -> str:
        return self.backend.emit(desired, self.dialect).text

    def read(self, text: str) -> Ruleset:
        """What is ours in a text of this language."""
        return self.backend.parse((Reading(self.backend.reading_kinds[-1], text, f"what {self} wrote"),)).owned()

    def unequal(self, desired: Ruleset, text: str) -> list[Difference]:
        """Where a text treats a new connection differently than was meant."""
        return unequal(desired, self.read(text))


def unequal(desired: Ruleset, found: Ruleset) -> list[Difference]:
    """ICMP of the other family exists on no network, and not every backend can speak of it."""
    told = differences(desired, found, known=NEW_CONNECTION, most_cubes=1)
    return [one for one in told if one.scope is not Scope.ODD]


def _all() -> Iterator[Writer]:
    for name in sorted(backends.names()):
        for dialect in DIALECTS.get(name, (None,)):
            yield Writer(backends.get(name), dialect)


WRITERS = tuple(_all())
