"""Which store of iptables a host uses, and whether portgate can drive it.

Every command that reads a host asks this, also where another backend is in use: so little is imported.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from portgate import programs
from portgate.backends.iptables import live
from portgate.backends.iptables.names import CHAIN_PREFIX, PROGRAMS
from portgate.core.diagnostics import Diagnostic, PortgateError

CAP_NET_ADMIN = 12
_INSTALL = "`apt install iptables` on Debian and Ubuntu, `dnf install iptables-nft` on Fedora"


def available(store: str = "") -> str | None:
    """None when this process can drive iptables, else why not and what to do."""
    missing = [name for name in _needed(store or default_store()) if programs.find(name) is None]
    if missing:
        return f"there is no {missing[0]} here; install it: {_INSTALL}"
    if not _may_change():
        return "no permission for the firewall; run this command as root"
    return None


def _needed(store: str) -> list[str]:
    return [f"{name}-{store}-{verb}" for name in PROGRAMS.values() for verb in ("save", "restore")]


def default_store() -> str:
    """The store that holds our rules, else that of the program `iptables`, else nf_tables."""
    if any(CHAIN_PREFIX in text for text in _legacy_listings()):
        return "legacy"
    usual = programs.find("iptables")
    has_nft = programs.find("iptables-nft-restore") is not None
    return "legacy" if not has_nft or (usual and "legacy" in os.path.basename(os.path.realpath(usual))) else "nft"


def _legacy_listings() -> Iterator[str]:
    for family, name in (("ip", "iptables"), ("ip6", "ip6tables")):
        program = programs.find(f"{name}-legacy-save")
        if program and _may_change() and live.has_legacy_tables(family):
            yield said([program])


def _may_change() -> bool:
    """Whether this process has CAP_NET_ADMIN."""
    try:
        with open("/proc/self/status", errors="replace") as file:
            status = file.read()
    except OSError:
        return False
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return found is not None and bool(int(found[1], 16) >> CAP_NET_ADMIN & 1)


def said(argv: list[str]) -> str:
    try:
        return programs.run(argv)
    except programs.ProgramError as error:
        raise PortgateError(Diagnostic("PG463", f"{' '.join(argv)}: {error}")) from error
