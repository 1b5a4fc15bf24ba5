"""What went wrong, where, and what to do: errors are values that are collected, then shown together.

Rules of this file
    A code is stable and never reused. Its summary never contains a user's names, so that the same
    mistake always reads the same; the detail says what is wrong here, the remedy what to do.
    Classes by fault: 1xx text, 2xx meaning, 3xx backend, 4xx reading the host, 5xx applying,
    6xx findings, 9xx a bug of portgate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Span(NamedTuple):
    """A piece of a text file. Units: lines and columns count from 1, columns in characters; the end is exclusive."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Kind:
    """An entry of the catalogue. `explanation` is what `portgate explain CODE` prints."""

    code: str
    severity: Severity
    summary: str
    explanation: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One mistake or finding. `related` are further places with what each has to do with it."""

    code: str
    detail: str
    span: Span | None = None
    remedy: str | None = None
    related: tuple[tuple[Span, str], ...] = ()

    @property
    def kind(self) -> Kind:
        return CATALOGUE[self.code]

    @property
    def severity(self) -> Severity:
        return self.kind.severity

    @property
    def summary(self) -> str:
        return self.kind.summary


class PortgateError(Exception):
    """A command can't go on. Carries all that is known about why, at least one diagnostic."""

    def __init__(self, *diagnostics: Diagnostic) -> None:
        super().__init__("; ".join(f"{one.code}: {one.detail}" for one in diagnostics))
        self.diagnostics = diagnostics

    @property
    def exit_code(self) -> int:
        """2: the command line or a policy is wrong; 3: the host could not be read or changed; 4: our bug."""
        worst = max(one.code[2] for one in self.diagnostics)
        return {"1": 2, "2": 2, "3": 2, "9": 4}.get(worst, 3)


def errors(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    return tuple(one for one in diagnostics if one.severity is Severity.ERROR)


def raise_errors(diagnostics: Iterable[Diagnostic]) -> None:
    """Errors: PortgateError with every diagnostic given, when one of them is an error."""
    all_of_them = tuple(diagnostics)
    if errors(all_of_them):
        raise PortgateError(*all_of_them)


def _catalogue(*kinds: Kind) -> Mapping[str, Kind]:
    table = {kind.code: kind for kind in kinds}
    if len(table) != len(kinds):
        raise AssertionError("a diagnostic code is defined twice")
    return MappingProxyType(table)


E, W, N = Severity.ERROR, Severity.WARNING, Severity.NOTE

# fmt: off
CATALOGUE = _catalogue(
    # ---- 1xx: the text of a policy (language/)
    # ---- 2xx: the meaning of a policy (language/, core/compile.py)
    # ---- 3xx: what a backend can't express (backends/)
    # ---- 4xx: reading the host (host.py, backends/, sockets/)
    # ---- 5xx: applying (apply/, sessions)
    # ---- 6xx: findings of the audit (core/audit.py)
    Kind("PG601", W, "listening, and blocked", "A socket listens, and the live rules let no new connection reach it. Either grant its port in the policy, or stop the program if nobody needs it."),
    Kind("PG602", W, "listening and reachable, but the policy does not allow it", "The live rules let packets through to this listener that the policy does not allow. Apply the policy, or grant the port."),
    Kind("PG603", N, "allowed, and nothing listens", "The policy opens a port on which no socket listens. It is harmless today and a surprise tomorrow: remove the grant or start the service."),
    Kind("PG604", W, "reachable in spite of the policy", "Rules that are not portgate's (another tool's, a container engine's published port) or the other IP family let packets through that the policy denies."),
    Kind("PG605", W, "allowed by the policy, dropped by another tool's rules", "Every base chain of a hook must accept a packet. The policy allows this one, a rule that is not portgate's drops it."),
    Kind("PG606", N, "listening on all addresses where the policy opens one", "The socket is bound to the wildcard address although the policy opens the port on one address only. Bind it to that address."),
    Kind("PG607", W, "legacy and nft rules both filter this host", "iptables-legacy and nf_tables rules are active at once, and a packet must pass both. Move the legacy rules over and empty the legacy tables."),
    Kind("PG608", N, "a rule that can never match, or that another makes redundant", "No packet reaches this rule, because earlier rules decide all that it matches."),
    Kind("PG609", N, "a listener on a port of the ephemeral range", "The kernel hands ports of this range to outgoing connections, so the service can fail to start, and its number may change. Use a port outside of ip_local_port_range."),
    Kind("PG610", W, "a packet or raw socket that firewalls do not see", "Packet sockets read frames before any firewall rule does, and raw sockets need no port. What such a program answers cannot be fenced with rules."),
    # ---- 9xx: a bug of portgate
    Kind("PG901", E, "portgate failed in a way that it should not", "This is a bug of portgate. The message names a file that reproduces it; please report it."),
    Kind("PG902", E, "portgate's own output does not mean what the policy says", "Before anything is loaded, portgate reads its own output back and compares the two meanings. They differ, so nothing was loaded. This is a bug of portgate."),
)
# fmt: on
