"""What a rule does: its `-j` or `-g` section -> effects and verdict.

Facts (Linux 6.18, net/netfilter)
    A target that only changes something goes on with the next rule. `CT --notrack` and NOTRACK act on packets that
    have no connection yet. `--set-xmark V/M` clears the bits of M, then flips those of V; `--set-mark V/M` is `V/(M|V)`.
    NETMAP, DNAT and REDIRECT translate destinations; NETMAP translates sources where it stands behind the routing.

Rules of this file
    A target that is neither a chain of the table nor known may decide: `Unknown`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from portgate.backends.iptables.parse_options import Option, Section
from portgate.backends.iptables.parse_values import NotUnderstoodError, address_range, masked, network, number
from portgate.core.net import PORT_MAX, Family, Interval
from portgate.core.ruleset import (
    Accept,
    Continue,
    Dnat,
    Drop,
    Effect,
    Field,
    Goto,
    Jump,
    Log,
    NoTrack,
    PlainVerdict,
    Queue,
    Reject,
    Return,
    SetMark,
    SideNote,
    Snat,
    Template,
    Unknown,
)

ALL_BITS = 0xFFFFFFFF
_PLAIN: Mapping[str, PlainVerdict] = {
    "ACCEPT": Accept(), "DROP": Drop(), "RETURN": Return(), "QUEUE": Queue(), "CONTINUE": Continue(),
}  # fmt: skip
# They change what no test of ours looks at, or nothing.
_SILENT = frozenset(
    [
        "ACCOUNT",
        "AUDIT",
        "CHECKSUM",
        "CLASSIFY",
        "CONNSECMARK",
        "DSCP",
        "ECN",
        "HL",
        "IDLETIMER",
        "LED",
        "NFACCT",
        "RATEEST",
        "SECMARK",
        "SET",
        "TCPMSS",
        "TCPOPTSTRIP",
        "TEE",
        "TOS",
        "TRACE",
        "TTL",
    ]
)


class Outcome(NamedTuple):
    """What happens to a packet that matches."""

    verdict: PlainVerdict = Continue()
    effects: tuple[Effect, ...] = ()


def outcome(section: Section | None, chains: Collection[str], family: Family, chain: str) -> Outcome:
    """Of the target's section; None is a rule that only counts. `chain` is where the rule stands."""
    if section is None:
        return Outcome()
    if section.kind == "-g":
        return Outcome(Goto(section.name))
    if section.name in chains:
        return Outcome(Jump(section.name))
    if section.name in _PLAIN:
        return Outcome(_PLAIN[section.name])
    reader = _TARGETS.get(section.name)
    if reader is None:
        silent = section.name in _SILENT
        return Outcome(effects=(SideNote(section.text()),)) if silent else Outcome(Unknown(section.text()))
    try:
        return reader(section, family, chain)
    except NotUnderstoodError:
        return Outcome(_anywhere(family) if section.name in _TRANSLATING else Unknown(section.text()))


# ------------------------------------------------------------------ verdicts


_TRANSLATING = ("DNAT", "REDIRECT", "NETMAP")


def _anywhere(family: Family) -> Dnat:
    """A translation that is not understood may lead to any address and port."""
    return Dnat(family, (0, family.top), (0, PORT_MAX))


def _reject(section: Section, family: Family, chain: str) -> Outcome:
    option = section.get("--reject-with")
    return Outcome(Reject(option.value if option else ""))


def _queue(section: Section, family: Family, chain: str) -> Outcome:
    return Outcome(Queue(bypass=section.get("--queue-bypass") is not None))


def _snat(section: Section, family: Family, chain: str) -> Outcome:
    return Outcome(Snat(section.text()))


def _dnat(section: Section, family: Family, chain: str) -> Outcome:
    targets = [one for one in section.options if _abbreviates(one.name, "--to-destination")]
    if len(targets) != 1:
        raise NotUnderstoodError(section.text())
    addresses, ports = _destination(targets[0].value, family)
    if not addresses:
        raise NotUnderstoodError(section.text())  # the port alone changes
    return Outcome(Dnat(family, address_range(family, addresses), _ports(ports) if ports else None))


def _abbreviates(option: str, name: str) -> bool:
    """Restore programs take the beginning of an option for the option: `--to`."""
    return option.startswith("--to") and name.startswith(option)


def _destination(text: str, family: Family) -> tuple[str, str]:
    """`10.0.0.1-10.0.0.9:80-90` as addresses and ports; IPv6 addresses with ports stand in brackets."""
    if family is Family.IPV6:
        addresses, bracket, ports = text.removeprefix("[").partition("]")
        if bracket and addresses and ports.startswith("-["):
            raise NotUnderstoodError(text)
        return addresses, ports.removeprefix(":")
    addresses, _, ports = text.partition(":")
    return addresses, ports


def _ports(text: str) -> Interval:
    """`80`, `80-90`; `80-90/8000` counts from 8000, which makes it any of them."""
    first, dash, last = text.partition("/")[0].partition("-")
    start = number(first, PORT_MAX)
    return start, number(last, PORT_MAX) if dash else start


def _redirect(section: Section, family: Family, chain: str) -> Outcome:
    option = next((one for one in section.options if _abbreviates(one.name, "--to-ports")), None)
    return Outcome(Dnat(None, None, _ports(option.value) if option else None))


def _netmap(section: Section, family: Family, chain: str) -> Outcome:
    option = section.get("--to")
    if option is None or chain not in ("PREROUTING", "OUTPUT", "POSTROUTING", "INPUT"):
        raise NotUnderstoodError(section.text())
    if chain in ("POSTROUTING", "INPUT"):
        return Outcome(Snat(section.text()))
    return Outcome(Dnat(family, network(family, option.value), None))


# ------------------------------------------------------------------ effects


def _log(section: Section, family: Family, chain: str) -> Outcome:
    prefix = section.get("--log-prefix", "--nflog-prefix", "--ulog-prefix")
    return Outcome(effects=(Log(prefix.value if prefix else ""),))


def _ct(section: Section, family: Family, chain: str) -> Outcome:
    if section.name == "NOTRACK" or section.get("--notrack"):
        return Outcome(effects=(NoTrack(),))
    return Outcome(effects=(Template(section.text()),))


def _mark(section: Section, family: Family, chain: str) -> Outcome:
    return _marked(section, Field.MARK)


def _connmark(section: Section, family: Family, chain: str) -> Outcome:
    target = Field.MARK if section.get("--restore-mark") else Field.CT_MARK
    if section.get("--left-shift-mark", "--right-shift-mark"):
        return Outcome(effects=(SetMark(target, ALL_BITS, None),))
    packet, connection = _mask(section, "--nfmask"), _mask(section, "--ctmask")
    if section.get("--restore-mark"):
        return Outcome(effects=(SetMark(target, packet, 0, connection),))
    if section.get("--save-mark"):
        return Outcome(effects=(SetMark(target, connection, 0, packet),))
    return _marked(section, target)


def _mask(section: Section, name: str) -> int:
    option = section.get(name, "--mask")
    return number(option.value) if option else ALL_BITS


def _hmark(section: Section, family: Family, chain: str) -> Outcome:
    return Outcome(effects=(SetMark(Field.MARK, ALL_BITS, None),))


def _marked(section: Section, field: Field) -> Outcome:
    for option in section.options:
        if option.name in _MARKINGS:
            value, mask = _MARKINGS[option.name](option)
            return Outcome(effects=(SetMark(field, mask, value),))
    raise NotUnderstoodError(section.text())


def _set_mark(option: Option) -> tuple[int, int]:
    value, mask = masked(option.value)
    return value, mask | value


_MARKINGS: Mapping[str, Callable[[Option], tuple[int, int]]] = {
    "--set-xmark": lambda option: masked(option.value),
    "--set-mark": _set_mark,
    "--and-mark": lambda option: (0, number(option.value) ^ ALL_BITS),
    "--or-mark": lambda option: (number(option.value), number(option.value)),
    "--xor-mark": lambda option: (number(option.value), 0),
}

_TARGETS: Mapping[str, Callable[[Section, Family, str], Outcome]] = {
    "REJECT": _reject, "NFQUEUE": _queue, "SNAT": _snat, "MASQUERADE": _snat, "DNAT": _dnat, "REDIRECT": _redirect,
    "NETMAP": _netmap, "LOG": _log, "NFLOG": _log, "ULOG": _log, "CT": _ct, "NOTRACK": _ct, "MARK": _mark,
    "CONNMARK": _connmark, "HMARK": _hmark,
}  # fmt: skip
