"""What commands found, in the form that the formats of CI systems share: suites of cases with diagnostics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from portgate.core.dataclasses import dataclass
from portgate.core.diagnostics import Diagnostic, Severity


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that was checked. It failed when there are diagnostics other than notes."""

    name: str
    diagnostics: tuple[Diagnostic, ...] = ()

    @property
    def failures(self) -> tuple[Diagnostic, ...]:
        return tuple(one for one in self.diagnostics if one.severity is not Severity.NOTE)


@dataclass(frozen=True, slots=True)
class Suite:
    """The cases of one policy or one host. `file` is where a finding without a place belongs, None for a host."""

    name: str
    cases: tuple[Case, ...]
    file: str | None = None


def findings(suites: Iterable[Suite]) -> Iterator[tuple[Suite, Diagnostic]]:
    """Every diagnostic, in order."""
    for suite in suites:
        for case in suite.cases:
            yield from ((suite, one) for one in case.diagnostics)
