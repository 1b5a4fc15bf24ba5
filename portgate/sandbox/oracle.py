"""What the kernel decides about single packets, exactly.

Theory
    Every probe carries a tag that no firewall changes. Rules of our own look for the tags at both ends of a
    packet's way: before all others, to be sure that it arrived at all, and after all others, where only those arrive
    that everybody accepted. There it is dropped, before conntrack remembers it, so each probe is
    new to the host and nothing has to be answered. Rejections are recognised by the answer on its way out, which
    carries the tag of its cause.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from portgate.core.diagnostics import Diagnostic, PortgateError
from portgate.core.net import DCCP, TCP
from portgate.sandbox.frames import RST, TAG_MAX, Probe, packet
from portgate.sandbox.sandbox import Sandbox

TABLE: Final = "portgate_oracle"
PATIENCE: Final = 5.0


class Fate(StrEnum):
    """INPUT and FORWARD: accepted, to the host itself or on its way through it."""

    INPUT = "input"
    FORWARD = "forward"
    REJECTED = "rejected"
    DROPPED = "dropped"


def _sets() -> str:
    """Two each: a set holds IPv4 identifications or IPv6 flow labels; answers quote the start of the packet."""
    keys = {
        "arrived": ("ip id", "ip6 flowlabel"),
        "input": ("ip id", "ip6 flowlabel"),
        "forward": ("ip id", "ip6 flowlabel"),
        "refused": ("@th,96,16", "@th,64,32"),
        "reset": ("tcp sequence", "tcp ackseq"),
    }
    return "\n".join(
        f"set {name}{number} {{ typeof {key}; flags dynamic; size 65536; }}"
        for name, pair in keys.items()
        for number, key in enumerate(pair)
    )


RULES: Final = f"""
table inet {TABLE} {{
    {_sets()}
    chain arrived {{
        type filter hook prerouting priority -500;
        update @arrived0 {{ ip id }}
        update @arrived1 {{ ip6 flowlabel }}
    }}
    chain input {{
        type filter hook input priority 2000;
        update @input0 {{ ip id }}
        update @input1 {{ ip6 flowlabel }}
        drop
    }}
    chain forward {{
        type filter hook forward priority 2000;
        update @forward0 {{ ip id }}
        update @forward1 {{ ip6 flowlabel }}
        drop
    }}
    chain answers {{
        type filter hook output priority -2000;
        icmp type destination-unreachable update @refused0 {{ @th,96,16 }}
        icmpv6 type destination-unreachable update @refused1 {{ @th,64,32 }}
        tcp flags & (rst | ack) == rst update @reset0 {{ tcp sequence }}
        tcp flags & (rst | ack) == rst | ack update @reset1 {{ tcp ackseq }}
        drop
    }}
}}
"""


class Oracle:
    """Judges probes by the rules that are loaded on the host of a sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._used = False

    def attach(self) -> None:
        """Watches the rules that the sandbox's host has. No packet reaches a program from now on."""
        self._sandbox.run(["nft", "-f", "-"], RULES)
        self._used = False

    def load(self, rules: str) -> None:
        """Replaces all rules of the sandbox's host by these. Errors: PortgateError when nft refuses them."""
        self._sandbox.run(["nft", "-f", "-"], f"flush ruleset\n{rules}\n{RULES}")
        self._used = False

    def judge(self, probes: Sequence[Probe]) -> list[Fate]:
        """One fate for each probe, in order. Errors: PortgateError PG593 when not all of them arrive."""
        fates: list[Fate] = []
        for start in range(0, len(probes), TAG_MAX):
            fates += self._judge_tagged(probes[start : start + TAG_MAX])
        return fates

    def _judge_tagged(self, probes: Sequence[Probe]) -> list[Fate]:
        if self._used:
            self._forget()
        self._used = True
        self._inject(probes)
        self._await(len(probes))
        seen = self._seen()
        return [_fate(seen, tag) for tag in range(1, len(probes) + 1)]

    def _forget(self) -> None:
        names = (f"{name}{number}" for name in ("arrived", "input", "forward", "refused", "reset") for number in (0, 1))
        self._sandbox.run(["nft", "-f", "-"], "\n".join(f"flush set inet {TABLE} {name}" for name in names))

    def _inject(self, probes: Sequence[Probe]) -> None:
        for tag, probe in enumerate(probes, 1):
            self._sandbox.inject(probe.link, (packet(probe, tag),))

    def _await(self, count: int) -> None:
        """Packets arrive while they are sent, unless the machine is busy."""
        expected = set(range(1, count + 1))
        deadline = time.monotonic() + PATIENCE
        while missing := expected - self._seen()["arrived"]:
            if time.monotonic() > deadline:
                raise PortgateError(
                    Diagnostic(
                        "PG593", f"{len(missing)} of {count} probes never arrived, the first is number {min(missing)}"
                    )
                )

    def _seen(self) -> dict[str, set[int]]:
        """The tags in each pair of sets."""
        listing = self._sandbox.run(["nft", "-j", "list", "table", "inet", TABLE]).stdout
        seen: dict[str, set[int]] = {}
        for entry in json.loads(listing)["nftables"]:
            if "set" in entry:
                tags = seen.setdefault(entry["set"]["name"][:-1], set())
                tags.update(element & 0xFFFFF for element in entry["set"].get("elem", ()))
        return seen


def is_unanswerable(protocol: int, tcp_flags: int) -> bool:
    """Whether a rejection of such a packet can't be told from a drop: nobody answers a reset, and DCCP only sometimes."""
    return protocol == DCCP or (protocol == TCP and bool(tcp_flags & RST))


def _fate(seen: dict[str, set[int]], tag: int) -> Fate:
    if tag in seen["input"]:
        return Fate.INPUT
    if tag in seen["forward"]:
        return Fate.FORWARD
    return Fate.REJECTED if tag in seen["refused"] or tag in seen["reset"] else Fate.DROPPED
