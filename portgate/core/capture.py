"""The values that cross the rim: what was read from a host, and what is to be loaded into one.

Theory
    A capture is everything that portgate learns from a host, as raw text. All commands are pure functions of
    (policy, capture), so CI, bug reports, other operating systems and golden tests share one mechanism.
"""

from __future__ import annotations

from dataclasses import dataclass

from portgate.core.diagnostics import Diagnostic


@dataclass(frozen=True, slots=True)
class Reading:
    """Native text, as the host gave it.

    **Shape** `kind` names the parser: `nft-json`, `nft`, `iptables-save`, `ss`, `linux-sockets`, `interfaces`,
    `sysctl`, ... `source` says in words where it came from ("nft -j list ruleset", a file name).
    """

    kind: str
    text: str
    source: str


@dataclass(frozen=True, slots=True)
class Capture:
    """All readings of one host. `notes` say what could not be read, and why."""

    readings: tuple[Reading, ...]
    notes: tuple[Diagnostic, ...] = ()

    def of_kind(self, *kinds: str) -> tuple[Reading, ...]:
        return tuple(one for one in self.readings if one.kind in kinds)


@dataclass(frozen=True, slots=True)
class Artifact:
    """Native text to be loaded. `backend` is its name, `dialect` a variant of the language."""

    backend: str
    text: str
    dialect: str | None = None
